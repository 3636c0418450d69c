//! Hooks: programs of the host that an engine has run at the turns of a container's life.

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use oci_spec::runtime::Hook;
use oci_spec::runtime::Hooks;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;

/// The most of what a hook says that is told where it fails.
const SAID_MAX: u64 = 4096;

/// A turn of a container's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Deprecated, and still used.
    Prestart,
    CreateRuntime,
    CreateContainer,
    StartContainer,
    Poststart,
    Poststop,
}

impl Turn {
    /// Its name in the configuration.
    fn word(self) -> &'static str {
        match self {
            Self::Prestart => "prestart",
            Self::CreateRuntime => "createRuntime",
            Self::CreateContainer => "createContainer",
            Self::StartContainer => "startContainer",
            Self::Poststart => "poststart",
            Self::Poststop => "poststop",
        }
    }

    fn hooks(self, hooks: &Hooks) -> &[Hook] {
        let hooks = match self {
            Self::Prestart => hooks.prestart(),
            Self::CreateRuntime => hooks.create_runtime(),
            Self::CreateContainer => hooks.create_container(),
            Self::StartContainer => hooks.start_container(),
            Self::Poststart => hooks.poststart(),
            Self::Poststop => hooks.poststop(),
        };
        hooks.as_deref().unwrap_or_default()
    }
}

/// A hook that failed.
#[derive(Debug, thiserror::Error)]
#[error("the {turn} hook `{}` {what}", path.display())]
pub(crate) struct HookError {
    turn: &'static str,
    path: PathBuf,
    what: String,
    source: Option<io::Error>,
}

/// Runs the hooks of a turn, one after the other, each with this state as its input, in the bundle. The
/// first one that fails is the last one.
pub(crate) async fn run(
    hooks: &Hooks,
    turn: Turn,
    state: &serde_json::Value,
    bundle: &Path,
) -> Result<(), HookError> {
    for hook in turn.hooks(hooks) {
        run_one(hook, turn, state, bundle).await?;
    }
    Ok(())
}

/// Runs all hooks of a turn, whatever becomes of the first ones, and says which failed.
pub(crate) async fn run_all(
    hooks: &Hooks,
    turn: Turn,
    state: &serde_json::Value,
    bundle: &Path,
) -> Vec<HookError> {
    let mut failed = Vec::new();
    for hook in turn.hooks(hooks) {
        failed.extend(run_one(hook, turn, state, bundle).await.err());
    }
    failed
}

async fn run_one(
    hook: &Hook,
    turn: Turn,
    state: &serde_json::Value,
    bundle: &Path,
) -> Result<(), HookError> {
    let failed = |what: &str, source: Option<io::Error>| HookError {
        turn: turn.word(),
        path: hook.path().clone(),
        what: what.to_owned(),
        source,
    };
    if !hook.path().is_absolute() {
        return Err(failed("is named by no absolute path", None));
    }
    let args = hook.args().as_deref().unwrap_or_default();
    let env = hook.env().as_deref().unwrap_or_default();
    let mut command = tokio::process::Command::new(hook.path());
    // The first one is its own name, by which some programs know what they are to do.
    if let Some(name) = args.first() {
        command.arg0(name);
    }
    command.args(args.iter().skip(1)).current_dir(bundle).env_clear();
    command.envs(env.iter().filter_map(|variable| variable.split_once('=')));
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| failed("cannot be started", Some(error)))?;
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    let over = async {
        if let Some(mut stdin) = stdin {
            // A hook need not read it.
            let _unread = stdin.write_all(state.to_string().as_bytes()).await;
        }
        let mut said = Vec::new();
        if let Some(stderr) = stderr {
            let _lost = stderr.take(SAID_MAX).read_to_end(&mut said).await;
        }
        child.wait().await.map(|status| (status, said))
    };
    let ended = match hook.timeout().and_then(|seconds| u64::try_from(seconds).ok()) {
        None => over.await,
        Some(seconds) => match tokio::time::timeout(Duration::from_secs(seconds), over).await {
            Ok(ended) => ended,
            Err(_) => return Err(failed(&format!("took longer than {seconds} s"), None)),
        },
    };
    let (status, said) = ended.map_err(|error| failed("was lost", Some(error)))?;
    if status.success() {
        return Ok(());
    }
    let said = aril::printable(String::from_utf8_lossy(&said).trim());
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    Err(failed(&format!("failed ({status}){said}"), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hooks(script: &str, timeout: Option<i64>) -> Hooks {
        let hook = serde_json::json!({
            "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["A=b"], "timeout": timeout,
        });
        serde_json::from_value(serde_json::json!({ "createRuntime": [hook] })).unwrap()
    }

    async fn run_in(dir: &Path, script: &str, timeout: Option<i64>) -> Result<(), HookError> {
        let state = serde_json::json!({ "id": "web" });
        run(&hooks(script, timeout), Turn::CreateRuntime, &state, dir).await
    }

    #[tokio::test]
    async fn a_hook_gets_the_state_its_variables_and_the_bundle() {
        let dir = tempfile::tempdir().unwrap();
        let script = "read -r state; echo \"$A $(pwd) $state ${HOME-none}\" > said; test $0 = sh";
        run_in(dir.path(), script, None).await.unwrap();
        let said = std::fs::read_to_string(dir.path().join("said")).unwrap();
        let own = dir.path().canonicalize().unwrap();
        assert_eq!(said.trim(), format!("b {} {{\"id\":\"web\"}} none", own.display()));
        let other = hooks("exit 1", None);
        run(&other, Turn::Poststop, &serde_json::Value::Null, dir.path()).await.unwrap();
    }

    #[tokio::test]
    async fn a_hook_that_fails_or_stays_says_which_and_why() {
        let dir = tempfile::tempdir().unwrap();
        let error = run_in(dir.path(), "echo no room >&2; exit 3", None).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("createRuntime hook `/bin/sh` failed (exit status: 3): no room"),
            "{text}"
        );
        let error = run_in(dir.path(), "exec sleep 60", Some(1)).await.unwrap_err();
        assert!(error.to_string().contains("took longer than 1 s"), "{error}");
    }
}
