//! A server that goes on when who started it is gone.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use rustix::fs::Mode;
use rustix::fs::OFlags;

/// The number of the first descriptor that is no standard stream.
const FIRST_FREE: i32 = 3;

/// How readily the kernel ends this process when memory is short, and the most that can be said.
const OOM_SCORE: &str = "/proc/self/oom_score_adj";
const OOM_SCORE_MAX: i32 = 1000;

/// Starts this program again as a server, with a socket to listen at in the place of its input.
pub(crate) fn spawn(
    listener: UnixListener,
    folder: &Path,
    args: &[String],
    variables: impl IntoIterator<Item = (&'static str, String)>,
) -> io::Result<u32> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(args).current_dir(folder).env_clear().envs(variables);
    command.stdin(Stdio::from(OwnedFd::from(listener)));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    // Nobody waits for it: who starts it ends first.
    Ok(command.spawn()?.id())
}

/// Takes the socket that this server was started with, and leaves the session of who started it.
pub(crate) fn detach() -> io::Result<UnixListener> {
    let listener = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), FIRST_FREE)?;
    let listener = UnixListener::from(listener);
    listener.local_addr()?;
    let nothing = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&nothing)?;
    rustix::stdio::dup2_stdout(&nothing)?;
    rustix::stdio::dup2_stderr(&nothing)?;
    rustix::process::setsid()?;
    Ok(listener)
}

/// Has the kernel end this process a little more readily than the engine that it was inherited from.
pub(crate) fn yield_to_engine() -> io::Result<()> {
    let text = fs::read_to_string(OOM_SCORE)?;
    let score = text.trim().parse::<i32>().map_err(io::Error::other)?;
    fs::write(OOM_SCORE, (score + 1).min(OOM_SCORE_MAX).to_string())
}
