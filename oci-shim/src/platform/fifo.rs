//! FIFOs by which an engine hears and feeds a container, opened without waiting for the engine.
//!
//! The other end of each is opened as well, and kept: an engine that goes away and comes again then breaks
//! no pipe, and ends no input.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;

/// One end, and the other one, which is only held open.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) used: File,
    pub(crate) held: File,
}

/// Opens a FIFO to read from.
pub(crate) fn to_read(path: &Path) -> io::Result<Ends> {
    let place = place(path)?;
    let used = open(&place, true)?;
    let held = open(&place, false)?;
    Ok(Ends { used, held })
}

/// Opens a FIFO to write to.
pub(crate) fn to_write(path: &Path) -> io::Result<Ends> {
    let place = place(path)?;
    // A FIFO without a reader cannot be opened to write at once.
    let held = open(&place, true)?;
    let used = open(&place, false)?;
    Ok(Ends { used, held })
}

/// Has who reads or writes wait, as programs take for granted of their streams, or not.
pub(crate) fn wait(file: impl AsFd, wait: bool) -> io::Result<()> {
    Ok(rustix::io::ioctl_fionbio(file, !wait)?)
}

/// The FIFO itself, whatever happens to its name. Nothing else is opened: to open a device may do
/// something.
fn place(path: &Path) -> io::Result<File> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = rustix::fs::open(path, flags, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&place)?.st_mode) != FileType::Fifo {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no FIFO"));
    }
    Ok(place.into())
}

fn open(place: &File, to_read: bool) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let name = format!("/proc/self/fd/{}", place.as_raw_fd());
    OpenOptions::new().read(to_read).write(!to_read).custom_flags(flags).open(name)
}
