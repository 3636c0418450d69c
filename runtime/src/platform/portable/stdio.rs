//! The standard streams of this process, through the standard library.

use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

/// Ends standard input for those who read next; who waits already is not woken here.
#[derive(Debug)]
pub(crate) struct InputEnd {
    ended: AtomicBool,
}

impl InputEnd {
    #[expect(clippy::unnecessary_wraps, reason = "other systems can fail")]
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { ended: AtomicBool::new(false) })
    }

    /// Fails: no child is given anything here.
    pub(crate) fn share(&self) -> io::Result<File> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Nobody gives anything.
    pub(crate) fn of(_file: File) -> Self {
        Self { ended: AtomicBool::new(false) }
    }

    /// From now on, standard input reads as ended.
    pub(crate) fn end(&self) {
        self.ended.store(true, Relaxed);
    }
}

/// Reads standard input into `buffer`, waiting until there is something.
pub(crate) fn read_input(buffer: &mut [u8], end: &InputEnd) -> io::Result<usize> {
    if end.ended.load(Relaxed) {
        return Ok(0);
    }
    io::stdin().lock().read(buffer)
}

/// The same: the standard library cannot tell whether there is something.
pub(crate) fn try_read_input(buffer: &mut [u8], end: &InputEnd) -> io::Result<Option<usize>> {
    read_input(buffer, end).map(Some)
}

/// Writes all of `bytes` to standard output, or to standard error.
pub(crate) fn write_output(error: bool, bytes: &[u8]) -> io::Result<()> {
    if error {
        return io::stderr().write_all(bytes);
    }
    let mut output = io::stdout().lock();
    output.write_all(bytes)?;
    output.flush()
}

/// True: the standard library cannot tell, so that a read may wait.
pub(crate) fn input_ready(_end: &InputEnd, _wait: bool) -> bool {
    true
}
