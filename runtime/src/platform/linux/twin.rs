//! A second process that goes on where this one is, as a copy of it.

use std::io;
use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use rustix::net::RecvFlags;
use rustix::process::Pid;
use rustix::process::WaitOptions;
use rustix::process::waitpid;

use super::process::exit_now;
use super::process::thread_count;
use super::socket::Stream;

/// The other process, as the one sees it that was there before.
#[derive(Debug)]
pub(crate) struct Twin {
    pid: Pid,
    line: Stream,
}

/// The longest line that is heard, in bytes: an id and a name are much shorter.
const LINE_MAX: usize = 4096;

/// The code of a copy that could not begin.
const UNBEGUN: u8 = 125;

/// Goes on twice: in this process, which is told of the other, and in a new one, whose standard output
/// is a connection to the first one.
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
    let (line, far) = Stream::pair()?;
    // JUSTIFICATION: a program that is started anew takes a millisecond to be where this one is.
    // SAFETY: there is one thread, so that the copy has all that anybody holds.
    #[expect(unsafe_code, reason = "makes a copy of this process")]
    let pid = unsafe { libc::fork() };
    match pid {
        ..0 => Err(io::Error::last_os_error()),
        0 => match rustix::stdio::dup2_stdout(&far) {
            Ok(()) => Ok(None),
            // It would go on as if it were the other one.
            Err(_) => exit_now(UNBEGUN),
        },
        pid => {
            let pid = Pid::from_raw(pid).ok_or_else(|| io::Error::other("it has no number"))?;
            Ok(Some(Twin { pid, line }))
        }
    }
}

impl Twin {
    /// The next line that it says on its standard output, with its end; what it said of one, where it
    /// has closed that before. What comes behind is not read.
    pub(crate) fn hear(&mut self) -> io::Result<String> {
        let mut said = Vec::new();
        let mut ahead = [0; 256];
        while !said.ends_with(b"\n") && said.len() < LINE_MAX {
            let count = match rustix::net::recv(&self.line, &mut ahead, RecvFlags::PEEK) {
                Ok((0, _)) => break,
                Ok((count, _)) => count,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let end = ahead[..count].iter().position(|byte| *byte == b'\n');
            let line = &mut ahead[..end.map_or(count, |end| end + 1)];
            self.line.read_exact(line)?;
            said.extend_from_slice(line);
        }
        String::from_utf8(said).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// The connection to its standard output.
    pub(crate) fn into_line(self) -> Stream {
        self.line
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
