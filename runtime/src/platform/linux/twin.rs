//! A second process that goes on where this one is, as a copy of it.

use std::fs::File;
use std::io;
use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use rustix::process::Pid;
use rustix::process::WaitOptions;
use rustix::process::waitpid;

use super::child::pipe;
use super::process::exit_now;
use super::process::thread_count;

/// The other process, as the one sees it that was there before.
#[derive(Debug)]
pub(crate) struct Twin {
    pid: Pid,
    said: File,
}

/// The code of a copy that could not begin.
const UNBEGUN: u8 = 125;

/// Goes on twice: in this process, which is told of the other, and in a new one, whose standard output
/// the first one hears.
///
/// # Errors
///
/// Fails where this process has more than one thread: the copy would have one, and what the others
/// hold, such as the lock of the heap, would be held for ever.
pub(crate) fn split() -> io::Result<Option<Twin>> {
    match thread_count() {
        Some(1) => {}
        Some(_) => return Err(io::Error::other("this process has several threads")),
        None => return Err(io::Error::other("the system does not tell its threads")),
    }
    let (said, saying) = pipe()?;
    // JUSTIFICATION: a program that is started anew takes a millisecond to be where this one is.
    // SAFETY: there is one thread, so that the copy has all that anybody holds.
    #[expect(unsafe_code, reason = "makes a copy of this process")]
    let pid = unsafe { libc::fork() };
    match pid {
        ..0 => Err(io::Error::last_os_error()),
        0 => match rustix::stdio::dup2_stdout(&saying) {
            Ok(()) => Ok(None),
            // It would go on as if it were the other one.
            Err(_) => exit_now(UNBEGUN),
        },
        pid => {
            let pid = Pid::from_raw(pid).ok_or_else(|| io::Error::other("it has no number"))?;
            Ok(Some(Twin { pid, said }))
        }
    }
}

impl Twin {
    /// All that it says on its standard output, once it has closed that.
    pub(crate) fn hear(&mut self) -> io::Result<String> {
        let mut said = String::new();
        self.said.read_to_string(&mut said)?;
        Ok(said)
    }

    /// Waits for its end.
    pub(crate) fn wait(self) -> io::Result<ExitStatus> {
        loop {
            match waitpid(Some(self.pid), WaitOptions::empty()) {
                Ok(Some((_, status))) => return Ok(ExitStatus::from_raw(status.as_raw())),
                Ok(None) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_several_threads_is_not_copied() {
        std::thread::scope(|scope| {
            let (stay, left) = std::sync::mpsc::channel::<()>();
            scope.spawn(move || left.recv());
            let error = split().expect_err("refused");
            assert!(error.to_string().contains("several threads"), "{error}");
            drop(stay);
        });
    }
}
