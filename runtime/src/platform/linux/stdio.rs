//! The standard streams of this process, used directly.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::PoisonError;

use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::io::Errno;

/// Wakes whoever reads standard input, for good.
///
/// It is a pipe that nobody writes to, because whoever shares it must not be able to make anybody
/// wait: closing its writing end never does.
#[derive(Debug)]
pub(crate) struct InputEnd {
    ended: OwnedFd,
    /// Where this process is the one that can end it, and did not yet.
    open: Mutex<Option<OwnedFd>>,
}

impl InputEnd {
    pub(crate) fn new() -> io::Result<Self> {
        let (ended, open) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        Ok(Self { ended, open: Mutex::new(Some(open)) })
    }

    /// The same, by which a child can be given it.
    pub(crate) fn share(&self) -> io::Result<File> {
        Ok(self.ended.try_clone()?.into())
    }

    /// What a parent gave.
    pub(crate) fn of(file: File) -> Self {
        Self { ended: file.into(), open: Mutex::new(None) }
    }

    /// From now on, standard input reads as ended.
    pub(crate) fn end(&self) {
        drop(self.open.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// Reads standard input into `buffer`, waiting until there is something; nothing once it has
/// ended, or `end` says so.
pub(crate) fn read_input(buffer: &mut [u8], end: &InputEnd) -> io::Result<usize> {
    let input = io::stdin();
    loop {
        let mut fds = [
            PollFd::new(&input, PollFlags::IN),
            PollFd::from_borrowed_fd(end.ended.as_fd(), PollFlags::IN),
        ];
        match rustix::event::poll(&mut fds, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        if !fds[1].revents().is_empty() {
            return Ok(0);
        }
        match rustix::io::read(&input, &mut *buffer) {
            Ok(count) => return Ok(count),
            // Somebody else took it, or the stream does not block.
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The same without waiting: nothing yet is `None`.
pub(crate) fn try_read_input(buffer: &mut [u8], end: &InputEnd) -> io::Result<Option<usize>> {
    /// Whoever finds something reads it before another guest of this process can.
    static READING: Mutex<()> = Mutex::new(());
    let _turn = READING.lock().unwrap_or_else(PoisonError::into_inner);
    if input_ready(end, false) { read_input(buffer, end).map(Some) } else { Ok(None) }
}

/// Writes all of `bytes` to standard output, or to standard error.
pub(crate) fn write_output(error: bool, mut bytes: &[u8]) -> io::Result<()> {
    let (out, err) = (io::stdout(), io::stderr());
    let fd = if error { err.as_fd() } else { out.as_fd() };
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
                // Whatever poll says, the next write tells.
                let _ready = rustix::event::poll(&mut fds, None);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Whether a read of standard input would not wait; with `wait`, returns when it would not.
pub(crate) fn input_ready(end: &InputEnd, wait: bool) -> bool {
    let input = io::stdin();
    let at_once = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    loop {
        let mut fds = [
            PollFd::new(&input, PollFlags::IN),
            PollFd::from_borrowed_fd(end.ended.as_fd(), PollFlags::IN),
        ];
        match rustix::event::poll(&mut fds, (!wait).then_some(&at_once)) {
            Err(Errno::INTR) => {}
            // An error shows in the read that follows.
            Err(_) => return true,
            Ok(ready) => return ready != 0,
        }
    }
}
