//! Which registries there are, how they are reached, as whom, and what is believed of them.

use std::path::Path;

use crate::error::Error;
use crate::error::ErrorKind;
use crate::platform::files;
use crate::registry::Client;
use crate::registry::Credentials;
use crate::registry::Login;
use crate::registry::RegistryError;
use crate::registry::RegistryErrorKind;
use crate::registry::Secret;
use crate::registry::Settings;
use crate::trust::Policy;
use crate::trust::SigningKey;

use super::images::failed;

/// How registries are reached: settings, and logins; and what is believed of them: a policy.
///
/// Without any, registries are reached over TLS with the certificates that this host trusts, those
/// of this host itself (loopback) also without, and nobody is known to them; an image is then what
/// its registry says it is, and no signature is asked for or made.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Registries {
    settings: Settings,
    credentials: Credentials,
    pub(super) policy: Policy,
    pub(super) signing: Option<SigningKey>,
}

impl Registries {
    /// The same with the settings of a `registries.toml`:
    ///
    /// ```toml
    /// ca = ["/etc/ssl/our-authority.pem"]  # trusted beside those of this host
    /// timeout = "30s"  # the longest that a registry may keep us waiting (from 100 ms to an hour)
    /// attempts = 5     # how often in a row something is tried (from 1 to 100)
    ///
    /// [registry."registry.example"]
    /// mirrors = ["https://mirror.example/prefix"]  # asked first, in this order
    /// token_hosts = ["login.example"]  # where else its logins may be sent
    ///
    /// [registry."old.example:5000"]
    /// insecure = true  # plain HTTP
    /// ```
    ///
    /// # Errors
    ///
    /// Fails where the text is not of that form, or a certificate cannot be read; the line and the
    /// key are named.
    pub fn settings(mut self, text: &str) -> Result<Self, Error> {
        let mut read = |path: &Path| std::fs::read(path);
        self.settings = Settings::parse(text, &mut read).map_err(|error| {
            failed("read", "the settings of registries", ErrorKind::InvalidInput, error)
        })?;
        Ok(self)
    }

    /// The same with the logins of docker's `config.json`, and of the helpers that it names. They
    /// are asked where those that were given before know none.
    ///
    /// Who has logins in memory may want to [keep them there](crate::keep_secrets).
    ///
    /// # Errors
    ///
    /// Fails where the text is not of that form.
    pub fn logins(mut self, text: &str) -> Result<Self, Error> {
        self.credentials = self
            .credentials
            .and_file(text)
            .map_err(|error| failed("read", "the logins", ErrorKind::InvalidInput, error))?;
        Ok(self)
    }

    /// The same with a login for a registry.
    pub fn login(mut self, registry: &str, user: &str, password: &str) -> Self {
        let login = Login::Password { user: user.to_owned(), password: Secret::new(password) };
        self.credentials = self.credentials.with(registry, login);
        self
    }

    /// The same with a policy, which says which images may be pulled, and with which signatures: the
    /// `policy.json` of podman and skopeo, containers-policy.json(5).
    ///
    /// ```json
    /// {
    ///   "default": [{ "type": "reject" }],
    ///   "transports": { "docker": {
    ///     "registry.example/team": [{ "type": "sigstoreSigned", "keyPath": "/etc/aril/team.pub" }],
    ///     "mirror.example": [{ "type": "insecureAcceptAnything" }]
    ///   } }
    /// }
    /// ```
    ///
    /// It is asked by everything that pulls, before a layer is fetched. What it asks for must be
    /// said of what the name leads to, or of the manifest for this platform. Images that come from
    /// elsewhere (`load`, `import`, `build`), or that are in the store, are not held to it.
    ///
    /// # Errors
    ///
    /// Fails where the text is not of that form, a key cannot be read, or something is asked for that
    /// is not checked here, such as signatures of GPG, certificates and logs.
    pub fn policy(mut self, text: &str) -> Result<Self, Error> {
        let mut read = |path: &Path| std::fs::read(path);
        self.policy = Policy::parse(text, &mut read)
            .map_err(|error| failed("read", "the policy", ErrorKind::InvalidInput, error))?;
        Ok(self)
    }

    /// The same with a key by which what is pushed is signed.
    pub fn sign_by(mut self, key: SigningKey) -> Self {
        self.signing = Some(key);
        self
    }

    /// The same, with a registry that may be reached without encryption.
    pub fn insecure(mut self, registry: &str) -> Self {
        self.settings = self.settings.insecure(registry);
        self
    }

    /// Finds out whether a registry takes the login that there is for it.
    ///
    /// # Errors
    ///
    /// Fails where it does not, or cannot be reached.
    pub async fn sign_in(&self, registry: &str) -> Result<(), Error> {
        self.client()
            .sign_in(registry)
            .await
            .map_err(|error| at_registry("sign in to", registry, error))
    }

    pub(super) fn client(&self) -> Client {
        Client::new(self.settings.clone(), self.credentials.clone())
    }
}

/// Whether others than this user and root may read a file, so that what is secret in it is no more.
/// False where there is none, and where the system does not tell.
pub fn others_may_read(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| files::others_may_read(&metadata))
}

/// Whether others than this user and root may write to a file, so that what it says is not this
/// user's word. False where there is none, and where the system does not tell.
pub fn others_may_write(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| files::others_may_write(&metadata))
}

/// The failure of a registry in a verb.
pub(super) fn at_registry(
    doing: &'static str,
    what: impl std::fmt::Display,
    error: RegistryError,
) -> Error {
    let kind = match error.kind() {
        RegistryErrorKind::NotFound => ErrorKind::NotFound,
        RegistryErrorKind::Broken => ErrorKind::NotRunnable,
        RegistryErrorKind::Unauthorized | RegistryErrorKind::Refused => ErrorKind::Denied,
        RegistryErrorKind::Unavailable | RegistryErrorKind::Own => ErrorKind::Unavailable,
    };
    failed(doing, what, kind, error)
}
