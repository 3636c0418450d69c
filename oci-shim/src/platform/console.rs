//! A terminal that another program makes and hands over: through a socket, whose name is short wherever
//! its folder is.

use std::fs::File;
use std::io;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::AsFd as _;
use std::os::fd::AsRawFd as _;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::AtFlags;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::RecvAncillaryBuffer;
use rustix::net::RecvAncillaryMessage;
use rustix::net::RecvFlags;
use rustix::termios::Winsize;
use tokio::io::Interest;
use tokio::net::UnixListener;
use tokio::net::unix::pipe::Receiver;
use tokio::net::unix::pipe::Sender;

/// The longest name that comes with a terminal.
const NAME_SIZE_MAX: usize = 4096;

/// A socket to which a terminal is sent; its name is gone with it.
#[derive(Debug)]
pub(crate) struct Console {
    folder: OwnedFd,
    name: String,
    listener: UnixListener,
}

impl Console {
    /// Listens in a folder, under a name that who works there can use.
    pub(crate) fn listen(folder: &Path, name: &str) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(folder, flags, Mode::empty())?;
        // What a shim before this one left, and was killed.
        let _left = rustix::fs::unlinkat(&folder, name, AtFlags::empty());
        // The kernel takes no more than a hundred bytes, and folders of engines are longer.
        let path = format!("/proc/self/fd/{}/{name}", folder.as_raw_fd());
        let listener = UnixListener::bind(path)?;
        Ok(Self { folder, name: name.to_owned(), listener })
    }

    /// The terminal that was sent.
    pub(crate) async fn terminal(&self) -> io::Result<Terminal> {
        let (stream, _nameless) = self.listener.accept().await?;
        loop {
            stream.readable().await?;
            let received = stream.try_io(Interest::READABLE, || Ok(receive(&stream)?));
            match received {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(Some(terminal)) => return Terminal::of(terminal),
                Ok(None) => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "no terminal came"));
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _gone = rustix::fs::unlinkat(&self.folder, &*self.name, AtFlags::empty());
    }
}

/// The descriptor that a message brings. Any others that it brings are closed.
fn receive(socket: &tokio::net::UnixStream) -> Result<Option<OwnedFd>, Errno> {
    let mut name = [0_u8; NAME_SIZE_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut name)];
    rustix::net::recvmsg(socket.as_fd(), &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut brought = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    });
    Ok(brought.next())
}

/// The end of a terminal at which people are.
#[derive(Debug)]
pub(crate) struct Terminal(File);

impl Terminal {
    fn of(fd: OwnedFd) -> io::Result<Self> {
        if !rustix::termios::isatty(&fd) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "what came is no terminal"));
        }
        super::fifo::wait(&fd, false)?;
        Ok(Self(fd.into()))
    }

    /// Says how large it is to who writes there.
    pub(crate) fn resize(&self, columns: u16, rows: u16) -> io::Result<()> {
        let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(rustix::termios::tcsetwinsize(&self.0, size)?)
    }

    /// What is shown there, and where to type.
    pub(crate) fn ends(&self) -> io::Result<(Receiver, Sender)> {
        let shown = Receiver::from_file_unchecked(self.0.try_clone()?)?;
        let typed = Sender::from_file_unchecked(self.0.try_clone()?)?;
        Ok((shown, typed))
    }
}
