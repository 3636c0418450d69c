//! A terminal that an engine holds the near end of.

use std::fs::File;
use std::io;

use rustix::pty::OpenptFlags;

/// What the near end of one is called.
pub(crate) const NAME: &str = "/dev/ptmx";

/// A new terminal: the near end, and the one that a guest has.
pub(crate) fn open() -> io::Result<(File, File)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let near = rustix::pty::openpt(flags)?;
    rustix::pty::unlockpt(&near)?;
    let far = rustix::pty::ioctl_tiocgptpeer(&near, flags)?;
    Ok((File::from(near), File::from(far)))
}

/// Gives a terminal its size, in columns and rows.
pub(crate) fn resize(terminal: &File, (columns, rows): (u16, u16)) -> io::Result<()> {
    let size =
        rustix::termios::Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(rustix::termios::tcsetwinsize(terminal, size)?)
}

/// Makes a terminal that of this process, which leads a session of its own and has none: what is typed
/// to interrupt it comes as signals.
pub(crate) fn control(terminal: &File) -> io::Result<()> {
    Ok(rustix::process::ioctl_tiocsctty(terminal)?)
}

/// Leaves the session of who started this process.
pub(crate) fn lead_session() {
    // Who leads a group of processes stays in it.
    let _stays = rustix::process::setsid();
}
