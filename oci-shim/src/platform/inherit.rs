//! A process of this program that is started beside this one, and tells when it is ready.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::process::Child;
use std::process::Command;

use rustix::io::FdFlags;

/// The longest that it says.
const SAID_MAX: u64 = 64 << 10;

/// Starts this program again, with `args`, the number of the descriptor that it is to tell at, and what
/// is `behind`, and hears all that it says there up to the end of a line. Its streams are this one's.
pub(crate) fn start(
    args: Vec<OsString>,
    flag: &str,
    behind: &[String],
) -> io::Result<(Child, String)> {
    let (reader, writer) = io::pipe()?;
    let writer = OwnedFd::from(writer);
    rustix::io::fcntl_setfd(&writer, FdFlags::empty())?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(args).arg(format!("{flag}={}", writer.as_raw_fd())).args(behind);
    let child = command.spawn()?;
    drop(writer);
    let mut said = Vec::new();
    let mut reader = reader.take(SAID_MAX);
    let mut byte = [0; 1];
    // What is said is a line; who ends before that says none.
    while reader.read(&mut byte)? == 1 {
        said.push(byte[0]);
        if byte == *b"\n" {
            break;
        }
    }
    Ok((child, String::from_utf8_lossy(&said).into_owned()))
}

/// What a process tells at that was started so.
pub(crate) fn tell(number: u32) -> io::Result<File> {
    let file = File::options().write(true).open(format!("/proc/self/fd/{number}"))?;
    // Nothing that is started from here has it.
    Ok(file)
}

/// The standard streams of this process, as files for somebody else.
pub(crate) fn streams() -> io::Result<[File; 3]> {
    let own = |fd: BorrowedFd<'_>| {
        // Above the standard streams, whichever of these are closed.
        rustix::io::fcntl_dupfd_cloexec(fd, 3).map(File::from)
    };
    Ok([own(rustix::stdio::stdin())?, own(rustix::stdio::stdout())?, own(rustix::stdio::stderr())?])
}
