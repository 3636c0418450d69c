//! A process is made by a call, held before anybody else could take it, and given its terminal.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use oci_spec::runtime::LinuxNamespaceType;
use oci_spec::runtime::Process;
use oci_spec::runtime::Spec;
use tokio::runtime::Handle;

use super::NativeError;
use super::Runc;
use super::Streams;
use super::runc;
use super::runc::Call;
use super::streams::Attached;
use crate::bundle;
use crate::platform::console::Console;
use crate::platform::console::Terminal;
use crate::platform::reaper;
use crate::platform::reaper::Adopted;

/// The longest name of a container, in characters: more than any engine gives.
const ID_SIZE_MAX: usize = 256;

/// The longest number of a process in a file, with what stands behind it.
const PID_SIZE_MAX: u64 = 32;

/// How long a terminal is waited for that was said to be sent.
const TERMINAL_SPAN: Duration = Duration::from_secs(10);

/// A call under way that may bring a process that nobody holds yet.
pub(super) struct Making(Arc<AtomicUsize>);

impl Making {
    pub(super) fn begin(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What is undone where nobody waits for it any more.
pub(super) trait Undo: Send + 'static {
    fn undo(self) -> impl Future<Output = ()> + Send;
}

/// What was made, and nobody has taken yet.
struct Unclaimed<T: Undo>(Option<T>);

impl<T: Undo> Drop for Unclaimed<T> {
    fn drop(&mut self) {
        if let (Some(made), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(made.undo());
        }
    }
}

/// Makes something to its end, also where nobody waits for it any more; it is undone then.
pub(super) async fn whole<T: Undo>(
    work: impl Future<Output = Result<T, NativeError>> + Send + 'static,
) -> Result<T, NativeError> {
    let making = tokio::spawn(async move { work.await.map(|made| Unclaimed(Some(made))) });
    let mut made = making.await.map_err(|_gone| NativeError::Lost)??;
    made.0.take().ok_or(NativeError::Lost)
}

/// Makes a process by a call, holds it, and carries its terminal if it has one.
pub(super) async fn make(
    runc: &Runc,
    call: Call,
    bundle: &Path,
    label: &str,
    mut streams: Streams,
) -> Result<(Adopted, Attached), NativeError> {
    let id = call.id.clone();
    let pid_file = bundle.join(format!("{label}.pid"));
    let log = bundle.join(format!("{label}-log.json"));
    // Those of a call before this are none of this one.
    for old in [&pid_file, &log] {
        let _none = fs::remove_file(old);
    }
    let terminal_failed = |source| NativeError::Terminal { id: id.clone(), source };
    let socket = format!("{label}.sock");
    let console = streams.terminal.then(|| Console::listen(bundle, &socket)).transpose();
    let console = console.map_err(terminal_failed)?;
    let mut call = call.flag("--pid-file").flag(&pid_file);
    call.folder = Some(bundle.to_owned());
    if console.is_some() {
        // By its name in the folder where the program works: the kernel takes no long one.
        call = call.flag("--console-socket").flag(&socket);
    } else {
        call.streams = Some([streams.stdin.take(), streams.stdout.take(), streams.stderr.take()]);
        call.log = Some(log.clone());
    }
    let ran = runc.run(call).await;
    let _none = fs::remove_file(&log);
    ran?;
    let pid = read_pid(&pid_file)?;
    let adopted = Adopted::hold(pid).map_err(|source| NativeError::NotAdopted {
        id: id.clone(),
        pid,
        source,
    })?;
    let attached = async {
        let terminal = match &console {
            Some(console) => Some(received(console).await?),
            None => None,
        };
        streams.attach(terminal)
    };
    match attached.await {
        Ok(attached) => Ok((adopted, attached)),
        Err(error) => {
            // Nobody would see or stop it.
            let _gone = adopted.signal(reaper::KILL);
            let _how = adopted.ended().await;
            Err(terminal_failed(error))
        }
    }
}

async fn received(console: &Console) -> io::Result<Terminal> {
    match tokio::time::timeout(TERMINAL_SPAN, console.terminal()).await {
        Ok(terminal) => terminal,
        Err(late) => Err(io::Error::new(io::ErrorKind::TimedOut, late)),
    }
}

fn read_pid(path: &Path) -> Result<u32, NativeError> {
    let mut text = String::new();
    let read = fs::File::open(path)
        .and_then(|file| file.take(PID_SIZE_MAX).read_to_string(&mut text))
        .and_then(|_| text.trim().parse().map_err(io::Error::other));
    read.map_err(|source| NativeError::File { path: path.to_owned(), source })
}

/// Whether a name is one that is told from a flag, and leads nowhere as a folder's.
pub(super) fn check(id: &str) -> Result<(), NativeError> {
    let is_letter = |c: char| c.is_ascii_alphanumeric();
    let is_name = id.starts_with(is_letter)
        && id.len() <= ID_SIZE_MAX
        && id.chars().all(|c| is_letter(c) || matches!(c, '_' | '.' | '-' | '+'));
    if is_name {
        return Ok(());
    }
    let shown = id.chars().take(ID_SIZE_MAX).flat_map(runc::shown).collect();
    Err(NativeError::InvalidId { id: shown })
}

/// Whether a container's processes have numbers of their own, and so end with the first of them.
pub(super) fn has_own_numbers(spec: &Spec) -> bool {
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    namespaces.into_iter().flatten().any(|namespace| {
        let path = namespace.path().as_deref().unwrap_or(Path::new(""));
        namespace.typ() == LinuxNamespaceType::Pid && path.as_os_str().is_empty()
    })
}

/// Where a bundle says that its groups are: at its name, where it does not.
pub(super) fn groups_of(bundle: &Path, id: &str) -> String {
    let spec = bundle::read_spec(&bundle.join("config.json")).ok();
    let path = spec
        .as_ref()
        .and_then(|spec| spec.linux().as_ref()?.cgroups_path().as_deref())
        .map(Path::as_os_str)
        .and_then(OsStr::to_str);
    path.filter(|path| !path.is_empty()).unwrap_or(id).to_owned()
}

/// The same error, with what is behind a word of the program's that explains nothing.
pub(super) fn explained(mut error: NativeError, spec: &Spec) -> NativeError {
    let asked = spec.process().as_ref().and_then(Process::oom_score_adj);
    if let NativeError::Refused { said, .. } = &mut error
        && said.contains("final child")
        && let (Some(asked), Some(own)) = (asked.map(i64::from), reaper::own_oom_score())
        && asked < own
    {
        // Text takes whatever is written to it.
        let _written = write!(
            said,
            "; `process.oomScoreAdj` is {asked} and this shim's is {own}: to give less needs CAP_SYS_RESOURCE, \
             or `restrict_oom_score_adj = true` in containerd's configuration of CRI"
        );
    }
    error
}
