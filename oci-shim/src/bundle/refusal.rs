//! What a configuration asks for and a guest cannot have.

use std::fmt;

/// A setting that is refused: which, why, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    setting: String,
    reason: String,
}

impl Refusal {
    /// Refuses a setting, named by its path in the configuration.
    pub(super) fn new(setting: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { setting: setting.into(), reason: reason.into() }
    }

    /// The setting, by its path in the configuration.
    pub fn setting(&self) -> &str {
        &self.setting
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.setting, self.reason)
    }
}

impl std::error::Error for Refusal {}
