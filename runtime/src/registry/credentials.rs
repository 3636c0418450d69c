//! Who we are to each registry: logins that were given, and those of docker's `config.json`.

use std::collections::BTreeMap;
use std::io;
use std::io::Read as _;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use tokio::sync::oneshot;

use super::error::Reason;
use super::secret::Login;
use super::secret::Secret;

/// The largest `config.json` that is read, in bytes.
const CONFIG_SIZE_MAX: usize = 1 << 20;

/// The most that is read of what a helper says, in bytes. A token of a cloud takes some KiB.
const HELPER_OUTPUT_MAX: u64 = 64 << 10;

/// How long a helper may take: some ask somebody to touch a key.
const HELPER_SPAN: Duration = Duration::from_mins(1);

/// What docker calls its own registry where it keeps logins.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// Logins by registry. The default has none.
///
/// One that was given with [`with`](Self::with) comes first; then those of each file, in their
/// order; of one, as docker's `config.json` has it, the registry's own helper (`credHelpers`), the
/// login in the file (`auths`, the one with the longest matching repository first, as podman writes
/// it), and the helper for all (`credsStore`).
#[derive(Clone, Debug, Default)]
pub(crate) struct Credentials {
    given: BTreeMap<String, Login>,
    files: Vec<Logins>,
    /// Where helpers are; else where programs are found.
    folder: Option<PathBuf>,
}

/// The logins of a file.
#[derive(Clone, Debug)]
struct Logins {
    kept: BTreeMap<String, Kept>,
    helpers: BTreeMap<String, String>,
    helper: Option<String>,
}

/// A login as `config.json` keeps it.
#[derive(Clone, Debug)]
struct Kept {
    basic: Option<Secret>,
    identity: Option<Secret>,
}

#[derive(Deserialize)]
struct ConfigFile {
    #[serde(default)]
    auths: BTreeMap<String, AuthEntry>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(default, rename = "credsStore")]
    helper: Option<String>,
}

#[derive(Default, Deserialize)]
struct AuthEntry {
    auth: Option<String>,
    identitytoken: Option<String>,
}

/// What a helper says.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

impl Logins {
    /// Reads docker's `config.json`. What it says of other things is left out.
    fn parse(text: &str) -> Result<Self, InvalidCredentials> {
        if CONFIG_SIZE_MAX < text.len() {
            return Err(InvalidCredentials::TooLarge);
        }
        // The text of a JSON error repeats what it stumbled over, which may be a secret.
        let file: ConfigFile = serde_json::from_str(text).map_err(|error| {
            InvalidCredentials::Syntax { line: error.line(), column: error.column() }
        })?;
        let secret = |text: Option<String>| text.filter(|text| !text.is_empty()).map(Secret::new);
        let kept = file.auths.into_iter().map(|(key, entry)| {
            let kept = Kept { basic: secret(entry.auth), identity: secret(entry.identitytoken) };
            (place(&key), kept)
        });
        let helper = file.helper.filter(|name| !name.is_empty());
        for name in file.helpers.values().chain(&helper) {
            let is_part = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            if name.is_empty() || !name.chars().all(is_part) {
                let name = name.chars().take(100).collect();
                return Err(InvalidCredentials::Helper { name });
            }
        }
        Ok(Self {
            kept: kept.collect(),
            helpers: file.helpers.into_iter().map(|(key, name)| (place(&key), name)).collect(),
            helper,
        })
    }
}

impl Credentials {
    /// The same with those of a file, which come after all others.
    pub(crate) fn and_file(mut self, text: &str) -> Result<Self, InvalidCredentials> {
        self.files.push(Logins::parse(text)?);
        Ok(self)
    }

    /// The same with a login of the caller's for a registry.
    #[must_use]
    pub(crate) fn with(mut self, registry: &str, login: Login) -> Self {
        self.given.insert(place(registry), login);
        self
    }

    /// The same, with helpers looked for in a folder.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn helpers_in(mut self, folder: PathBuf) -> Self {
        self.folder = Some(folder);
        self
    }

    /// The login for a repository of a registry.
    pub(super) async fn of(
        &self,
        registry: &str,
        repository: &str,
    ) -> Result<Option<Login>, Reason> {
        let host = place(registry);
        if let Some(login) = self.given.get(&host) {
            return Ok(Some(login.clone()));
        }
        for file in &self.files {
            if let Some(login) = self.of_file(file, &host, repository).await? {
                return Ok(Some(login));
            }
        }
        Ok(None)
    }

    /// The login that a file has for a repository.
    async fn of_file(
        &self,
        file: &Logins,
        host: &str,
        repository: &str,
    ) -> Result<Option<Login>, Reason> {
        if let Some(name) = file.helpers.get(host) {
            return self.ask(name, host).await;
        }
        let full = format!("{host}/{repository}");
        let covers = |key: &str| {
            let rest = full.strip_prefix(key);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let fitting = file.kept.iter().filter(|(key, _)| covers(key));
        let fitting = fitting.filter(|(_, kept)| kept.basic.is_some() || kept.identity.is_some());
        match (fitting.max_by_key(|(key, _)| key.len()), &file.helper) {
            (Some((_, kept)), _) => kept.login().map(Some).map_err(|reason| Reason::Login {
                host: host.to_owned(),
                reason: reason.to_owned(),
            }),
            (None, Some(name)) => self.ask(name, host).await,
            (None, None) => Ok(None),
        }
    }

    /// Asks a helper. Source: docker-credential-helpers, "Development".
    async fn ask(&self, name: &str, host: &str) -> Result<Option<Login>, Reason> {
        let program = format!("docker-credential-{name}");
        let failed = |reason: String| Reason::Login {
            host: host.to_owned(),
            reason: format!("`{program}` {reason}"),
        };
        let path = self.folder.as_ref().map_or(PathBuf::from(&program), |at| at.join(&program));
        let mut helper =
            Helper::start(&path).map_err(|error| failed(format!("cannot be started: {error}")))?;
        let key = if host == "docker.io" { HUB_KEY } else { host };
        let talk = helper.answer(format!("{key}\n"));
        let (status, said) = match tokio::time::timeout(HELPER_SPAN, talk).await {
            Ok(Ok(done)) => done,
            Ok(Err(error)) => return Err(failed(format!("cannot be asked: {error}"))),
            Err(_) => return Err(failed("does not answer".to_owned())),
        };
        match status {
            None => Err(failed("says more than a login".to_owned())),
            Some(status) if status.success() => {
                let answer: Answer = serde_json::from_slice(&said)
                    .map_err(|_| failed("does not say a login".to_owned()))?;
                Ok(Some(answer.login()))
            }
            Some(_) if String::from_utf8_lossy(&said).contains("credentials not found") => Ok(None),
            Some(status) => Err(failed(format!("failed: {status}"))),
        }
    }
}

/// A helper that runs. Dropped, it is killed.
///
/// It is none of tokio's: that has something for each signal of a process from the start of its
/// runtime on, in every process that has one, for the children that it might have.
struct Helper(Option<Child>);

impl Helper {
    fn start(path: &Path) -> io::Result<Self> {
        let (input, output) = (Stdio::piped(), Stdio::piped());
        let mut command = Command::new(path);
        command.arg("get").stdin(input).stdout(output).stderr(Stdio::null());
        command.spawn().map(|child| Self(Some(child)))
    }

    /// What it says to this, and how it ended; no end where it says more than a login.
    async fn answer(&mut self, question: String) -> io::Result<(Option<ExitStatus>, Vec<u8>)> {
        /// How often it is looked whether it has ended, once it has said all.
        const STEP: Duration = Duration::from_millis(2);
        let Some(child) = &mut self.0 else { return Ok((None, Vec::new())) };
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let talk = move || {
            if let Some(mut stdin) = stdin {
                // One that does not read what it is asked will say so.
                let _closed = stdin.write_all(question.as_bytes());
            }
            let mut said = Vec::new();
            if let Some(stdout) = stdout {
                stdout.take(HELPER_OUTPUT_MAX + 1).read_to_end(&mut said)?;
            }
            Ok(said)
        };
        // A thread that nobody waits for when the time is over: what the helper has started may have
        // its streams, and outlive it.
        let (told, hears) = oneshot::channel::<io::Result<Vec<u8>>>();
        thread::Builder::new().spawn(move || {
            let _unheard = told.send(talk());
        })?;
        let said = hears.await.map_err(io::Error::other)??;
        if HELPER_OUTPUT_MAX < said.len() as u64 {
            return Ok((None, said));
        }
        loop {
            if let Some(status) = child.try_wait()? {
                self.0 = None;
                return Ok((Some(status), said));
            }
            tokio::time::sleep(STEP).await;
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            // What cannot be killed has ended.
            let _ended = child.kill();
            // One that hangs in the kernel is not waited for here.
            let waiting = thread::Builder::new().spawn(move || child.wait());
            drop(waiting);
        }
    }
}

impl Answer {
    fn login(self) -> Login {
        let secret = Secret::new(self.secret);
        match self.username.as_str() {
            "<token>" => Login::Identity(secret),
            _ => Login::Password { user: self.username, password: secret },
        }
    }
}

impl Kept {
    fn login(&self) -> Result<Login, &'static str> {
        const BROKEN: &str = "its `auth` in `config.json` is not `USER:PASSWORD` in base64";
        if let Some(token) = &self.identity {
            return Ok(Login::Identity(token.clone()));
        }
        let basic = self.basic.as_ref().ok_or(BROKEN)?;
        let bytes = STANDARD.decode(basic.reveal()).map_err(|_| BROKEN)?;
        let text = String::from_utf8(bytes).map_err(|_| BROKEN)?;
        let (user, password) = text.split_once(':').ok_or(BROKEN)?;
        // Old ones end with a zero byte.
        let password = Secret::new(password.trim_end_matches('\0'));
        Ok(Login::Password { user: user.to_owned(), password })
    }
}

/// The value of an `Authorization` by name and password; nothing, where both together would say
/// something else.
pub(super) fn basic(user: &str, password: &Secret) -> Option<Secret> {
    let is_sound = !user.contains(':') && !user.chars().any(char::is_control);
    let pair = format!("{user}:{}", password.reveal());
    is_sound.then(|| Secret::new(format!("Basic {}", STANDARD.encode(pair))))
}

/// A registry, or a part of one, as it is written down in many ways: `HOST[/REPOSITORY]`.
fn place(key: &str) -> String {
    let key = key.trim();
    let plain = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    let text = plain.unwrap_or(key).trim_end_matches('/');
    let (host, path) = text.split_once('/').unwrap_or((text, ""));
    let host = match host.to_ascii_lowercase().as_str() {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        host => host.to_owned(),
    };
    match path {
        "" | "v1" | "v2" => host,
        path => format!("{host}/{path}"),
    }
}

/// A text that is no `config.json`. It repeats nothing of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidCredentials {
    #[error("it is larger than {} MiB", CONFIG_SIZE_MAX >> 20)]
    TooLarge,
    #[error("line {line}, column {column}: it is not what docker's `config.json` should be")]
    Syntax { line: usize, column: usize },
    #[error("`{}` is not the end of a helper's name", name.escape_debug())]
    Helper { name: String },
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn password(user: &str, password: &str) -> Login {
        Login::Password { user: user.to_owned(), password: Secret::new(password) }
    }

    async fn login(credentials: &Credentials, registry: &str, repository: &str) -> Option<Login> {
        credentials.of(registry, repository).await.unwrap()
    }

    #[tokio::test]
    async fn logins_are_found_as_docker_and_podman_write_them() {
        let text = format!(
            r#"{{"auths": {{
                "{HUB_KEY}": {{"auth": "{}"}},
                "https://registry.example:5000/v2/": {{"auth": "{}", "email": "x"}},
                "quay.example/team": {{"auth": "{}"}},
                "quay.example": {{"auth": "{}"}},
                "token.example": {{"auth": "", "identitytoken": "refresh"}},
                "empty.example": {{}}
            }}, "HttpHeaders": {{"X": "y"}}}}"#,
            STANDARD.encode("hub:a:b"),
            STANDARD.encode("five:thousand\0\0"),
            STANDARD.encode("team:t"),
            STANDARD.encode("all:a"),
        );
        let credentials = Credentials::default().and_file(&text).unwrap();

        for (registry, repository, expected) in [
            ("docker.io", "library/x", Some(password("hub", "a:b"))),
            ("registry.example:5000", "x", Some(password("five", "thousand"))),
            ("registry.example", "x", None),
            ("quay.example", "team/x", Some(password("team", "t"))),
            ("quay.example", "teams/x", Some(password("all", "a"))),
            ("token.example", "x", Some(Login::Identity(Secret::new("refresh")))),
            ("empty.example", "x", None),
            ("evil.example", "quay.example", None),
        ] {
            assert_eq!(login(&credentials, registry, repository).await, expected, "{registry}");
        }
        let given = credentials.with("docker.io", password("me", "mine"));
        assert_eq!(login(&given, "docker.io", "x").await, Some(password("me", "mine")));
    }

    #[tokio::test]
    async fn what_is_wrong_with_a_login_does_not_show_it() {
        for text in [
            r#"{"auths": {"a": {"auth": "hunter2"}, }}"#,
            r#"{"auths": {"a": "hunter2"}}"#,
            r#"{"auths": {"a": {"auth": {"hunter2": 1}}}}"#,
            r#"{"credsStore": "../hunter3"}"#,
        ] {
            let error = Credentials::default().and_file(text).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
        let credentials =
            Credentials::default().and_file(r#"{"auths":{"a":{"auth":"hunter2!"}}}"#).unwrap();
        let error = credentials.of("a", "x").await.unwrap_err();
        let shown = format!("{error} {error:?} {credentials:?}");
        assert!(shown.contains("base64") && !shown.contains("hunter2"), "{shown}");
    }

    #[tokio::test]
    async fn a_helper_is_asked_and_what_it_says_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        for (name, script) in [
            ("good", r#"read key; echo "{\"Username\":\"me\",\"Secret\":\"of $key\"}""#),
            ("token", r#"echo '{"ServerURL":"x","Username":"<token>","Secret":"t"}'"#),
            ("none", "echo credentials not found in native keychain; exit 1"),
            ("bad", "echo hunter2; exit 3"),
            ("talks", "while :; do echo hunter2hunter2hunter2; done"),
            ("lies", "echo hunter2"),
        ] {
            let path = folder.path().join(format!("docker-credential-{name}"));
            std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let helped = |name: &str| {
            Credentials::default()
                .and_file(&format!(r#"{{"credsStore": "{name}"}}"#))
                .unwrap()
                .helpers_in(folder.path().to_owned())
        };

        let good = login(&helped("good"), "docker.io", "x").await;
        assert_eq!(good, Some(password("me", &format!("of {HUB_KEY}"))));
        let token = login(&helped("token"), "a.example", "x").await;
        assert_eq!(token, Some(Login::Identity(Secret::new("t"))));
        assert_eq!(login(&helped("none"), "a.example", "x").await, None);
        for (name, said) in [
            ("bad", "failed"),
            ("talks", "says more than a login"),
            ("lies", "does not say a login"),
            ("absent", "cannot be started"),
        ] {
            let error = helped(name).of("a.example", "x").await.unwrap_err().to_string();
            assert!(error.contains(said) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_name_that_could_pass_for_a_password_is_not_sent() {
        let sent = basic("me", &Secret::new("a:b")).unwrap();
        assert_eq!(sent.reveal(), format!("Basic {}", STANDARD.encode("me:a:b")));
        assert_eq!(basic("m:e", &Secret::new("x")), None);
        assert_eq!(basic("me\r", &Secret::new("x")), None);
    }
}
