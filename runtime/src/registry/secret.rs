//! What nobody but the one it is for may read.

use std::fmt;

/// A password or a token. It is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    /// Keeps a text secret.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one that it is for.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// How somebody is known to a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Login {
    /// By a name and a password.
    Password {
        /// The name.
        user: String,
        /// The password, or what a registry takes for one.
        password: Secret,
    },
    /// By a token for which the registry's token server gives others.
    Identity(Secret),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show() {
        let login = Login::Password { user: "me".to_owned(), password: Secret::new("hunter2") };
        let shown = format!("{login:?} {:#?}", Login::Identity(Secret::new("hunter2")));
        assert!(shown.contains("me") && !shown.contains("hunter2"), "{shown}");
    }
}
