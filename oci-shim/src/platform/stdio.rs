//! The streams of a container, as an engine names them: FIFOs that it made, and files.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write as _;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::fs::OFlags;
use tokio::io::Interest;
use tokio::net::unix::pipe;

/// The first look for somebody who writes, and the longest time between two.
const LOOKS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(200));

/// Where a container writes.
#[derive(Debug)]
pub(crate) struct Output {
    /// What it writes to; who writes waits for room.
    pub(crate) file: File,
    /// The other end of a FIFO: as long as it is held, an engine that goes away and comes again
    /// breaks no pipe.
    pub(crate) held: Option<File>,
}

/// Opens a FIFO, or a regular file that is there, to write to.
pub(crate) fn open_output(path: &Path) -> io::Result<Output> {
    let held = nonblocking(path, OpenOptions::new().read(true))?;
    let kind = held.metadata()?.file_type();
    if kind.is_fifo() {
        // There is one who reads now: ourselves. So this waits for nobody.
        let flags = OFlags::NOFOLLOW | OFlags::NOCTTY;
        let file = OpenOptions::new().write(true).custom_flags(bits(flags)).open(path)?;
        return Ok(Output { file, held: Some(held) });
    }
    if !kind.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is neither a FIFO nor a file"));
    }
    Ok(Output { file: append(path, false)?, held: None })
}

/// Opens a file to write at its end, and makes it where it is not there.
pub(crate) fn open_file(path: &Path) -> io::Result<Output> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let file = append(path, true)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    Ok(Output { file, held: None })
}

/// Opens the FIFO for what a shim says, so that neither a missing nor a slow reader stops it.
pub(crate) fn open_log(path: &Path) -> io::Result<File> {
    // Read as well: without any reader it could not be opened.
    let file = nonblocking(path, OpenOptions::new().read(true).write(true))?;
    if !file.metadata()?.file_type().is_fifo() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no FIFO"));
    }
    Ok(file)
}

/// Opens an output that somebody else writes to, to say something there as far as there is room. Who
/// reads it does not find its end before this is closed.
pub(crate) fn open_beside(path: &Path) -> io::Result<File> {
    let is_fifo = std::fs::symlink_metadata(path)?.file_type().is_fifo();
    if is_fifo { open_log(path) } else { append(path, false) }
}

fn append(path: &Path, make: bool) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::NONBLOCK;
    let mut options = OpenOptions::new();
    options.append(true).create(make).mode(0o644).custom_flags(bits(flags)).open(path)
}

fn nonblocking(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::NONBLOCK;
    options.custom_flags(bits(flags)).open(path)
}

fn bits(flags: OFlags) -> i32 {
    flags.bits().cast_signed()
}

/// What somebody writes into a FIFO, for a container to read.
#[derive(Debug)]
pub(crate) struct Source {
    fifo: pipe::Receiver,
    /// How long to wait before the next look for somebody who writes.
    pause: Duration,
}

impl Source {
    /// Opens a FIFO to read from. Nobody has to write yet.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = nonblocking(path, OpenOptions::new().read(true))?;
        Ok(Self { fifo: pipe::Receiver::from_file(file)?, pause: LOOKS.0 })
    }

    /// Reads some bytes: none once all who wrote are gone.
    pub(crate) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.fifo.readable().await?;
            match self.fifo.try_read(buffer) {
                Ok(0) if !self.was_written_to()? => {
                    tokio::time::sleep(self.pause).await;
                    self.pause = (self.pause * 2).min(LOOKS.1);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }

    /// Whether there was somebody who wrote, where there is nobody now: the kernel tells both apart.
    fn was_written_to(&self) -> io::Result<bool> {
        let mut looked = [PollFd::new(&self.fifo, PollFlags::IN)];
        rustix::event::poll(&mut looked, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
        Ok(looked[0].revents().contains(PollFlags::HUP))
    }
}

/// A pipe, for a program to read from and for this process to write to without waiting.
pub(crate) fn pipe() -> io::Result<(File, pipe::Sender)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&write, true)?;
    Ok((read.into(), pipe::Sender::from_owned_fd(write)?))
}

/// Where a terminal's output goes.
#[derive(Debug)]
pub(crate) enum Sink {
    Fifo(pipe::Sender),
    File(File),
}

impl Sink {
    /// Writes to what was opened.
    pub(crate) fn new(output: File) -> io::Result<Self> {
        if output.metadata()?.file_type().is_fifo() {
            return Ok(Self::Fifo(pipe::Sender::from_file(output)?));
        }
        Ok(Self::File(output))
    }

    /// Writes all of it, once there is room.
    pub(crate) async fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::File(file) => file.write_all(bytes),
            Self::Fifo(fifo) => {
                while !bytes.is_empty() {
                    fifo.ready(Interest::WRITABLE).await?;
                    match fifo.try_write(bytes) {
                        Ok(count) => bytes = &bytes[count..],
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use rustix::fs::Mode;

    use super::*;

    fn fifo(dir: &Path, name: &str) -> std::path::PathBuf {
        let path = dir.join(name);
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, Mode::from_raw_mode(0o600), 0).unwrap();
        path
    }

    #[test]
    fn an_output_without_a_reader_is_opened_and_keeps_what_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = fifo(dir.path(), "out");
        let mut output = open_output(&path).unwrap();
        output.file.write_all(b"early").unwrap();
        let mut reader = nonblocking(&path, OpenOptions::new().read(true)).unwrap();
        let mut bytes = [0; 5];
        reader.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"early");
        drop(reader);
        output.file.write_all(b"late").unwrap();
    }

    #[test]
    fn what_is_said_beside_a_program_waits_for_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = fifo(dir.path(), "out");
        let _held = open_output(&path).unwrap();
        let mut beside = open_beside(&path).unwrap();
        beside.write_all(b"a line\n").unwrap();
        let mut reader = nonblocking(&path, OpenOptions::new().read(true)).unwrap();
        let mut bytes = [0; 7];
        reader.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"a line\n");
        let full = (0..100).map(|_| beside.write_all(&[0; 4096])).find(Result::is_err);
        assert_eq!(full.unwrap().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        std::fs::write(dir.path().join("file"), "a").unwrap();
        open_beside(&dir.path().join("file")).unwrap().write_all(b"b").unwrap();
        assert_eq!(std::fs::read(dir.path().join("file")).unwrap(), b"ab");
        assert!(open_beside(&dir.path().join("missing")).is_err());
    }

    #[test]
    fn what_is_no_stream_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("link");
        std::os::unix::fs::symlink(fifo(dir.path(), "out"), &path).unwrap();
        assert!(open_output(&path).is_err(), "a link");
        assert!(open_output(dir.path()).is_err(), "a directory");
        let missing = open_output(&dir.path().join("missing")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        std::fs::write(dir.path().join("file"), "a").unwrap();
        open_output(&dir.path().join("file")).unwrap().file.write_all(b"b").unwrap();
        open_file(&dir.path().join("new/file")).unwrap().file.write_all(b"c").unwrap();
        assert_eq!(std::fs::read(dir.path().join("file")).unwrap(), b"ab");
        assert_eq!(std::fs::read(dir.path().join("new/file")).unwrap(), b"c");
    }

    #[tokio::test]
    async fn an_input_ends_when_who_wrote_is_gone_and_not_before_somebody_came() {
        let dir = tempfile::tempdir().unwrap();
        let path = fifo(dir.path(), "in");
        let mut source = Source::open(&path).unwrap();
        let mut bytes = [0; 16];
        let early = tokio::time::timeout(Duration::from_millis(30), source.read(&mut bytes)).await;
        assert!(early.is_err(), "it ended before somebody wrote");
        let mut writer = OpenOptions::new().write(true).open(&path).unwrap();
        writer.write_all(b"typed").unwrap();
        drop(writer);
        assert_eq!(source.read(&mut bytes).await.unwrap(), 5);
        assert_eq!(source.read(&mut bytes).await.unwrap(), 0);
    }
}
