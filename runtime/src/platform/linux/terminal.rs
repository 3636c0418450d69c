//! Pseudo terminals: the end that a guest has for its streams, and the end that its keeper holds.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use rustix::io::Errno;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::Interest;
use tokio::io::ReadBuf;
use tokio::io::unix::AsyncFd;

/// The near end of a pseudo terminal: what is written here is typed, and what is read was shown.
/// Where the last of its holders is gone, the far end hangs up.
#[derive(Clone, Debug)]
pub(crate) struct Terminal(Arc<AsyncFd<OwnedFd>>);

impl Terminal {
    /// A new one of this size, in columns and rows, and its far end. It is nobody's controlling
    /// terminal, so that the system sends nobody signals for what is typed. The caller is in a tokio
    /// runtime.
    pub(crate) fn open(size: (u16, u16)) -> io::Result<(Self, File)> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let near = rustix::pty::openpt(flags)?;
        rustix::pty::unlockpt(&near)?;
        // By the near end itself: no path leads to a terminal of somebody else's.
        let far = rustix::pty::ioctl_tiocgptpeer(&near, flags)?;
        rustix::io::ioctl_fionbio(&near, true)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        // SAFETY: it stays open, under one number, until the watch is dropped with it.
        #[expect(unsafe_code, reason = "registers a descriptor")]
        let near = unsafe { AsyncFd::register_with_interest(near, interest) };
        let near = Self(Arc::new(near.map_err(io::Error::from)?));
        near.resize(size)?;
        Ok((near, far.into()))
    }

    /// Gives it another size, in columns and rows.
    pub(crate) fn resize(&self, (columns, rows): (u16, u16)) -> io::Result<()> {
        let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(rustix::termios::tcsetwinsize(self.0.get_ref(), size)?)
    }
}

impl AsyncRead for Terminal {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.0.poll_read_ready(cx))?;
            let into = buffer.initialize_unfilled();
            match ready.try_io(|near| Ok(rustix::io::read(near.get_ref(), &mut *into)?)) {
                Ok(Ok(count)) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                // Nobody holds the far end any more, and all that was shown is read.
                Ok(Err(error)) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => {
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_wait) => {}
            }
        }
    }
}

impl AsyncWrite for Terminal {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.0.poll_write_ready(cx))?;
            match ready.try_io(|near| Ok(rustix::io::write(near.get_ref(), bytes)?)) {
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(written) => return Poll::Ready(written),
                Err(_would_wait) => {}
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn what_is_typed_is_read_and_shown_and_its_end_is_told() {
        let (mut near, far) = Terminal::open((91, 17)).expect("a terminal");
        assert!(rustix::termios::isatty(&far));
        let size = rustix::termios::tcgetwinsize(&far).expect("a size");
        assert_eq!((size.ws_col, size.ws_row), (91, 17));
        near.write_all(b"abc\n").await.expect("typed");
        let mut line = [0; 8];
        assert_eq!(rustix::io::read(&far, &mut line).expect("read"), 4);
        assert_eq!(rustix::io::write(&far, b"said\n").expect("shown"), 5);
        drop(far);
        let mut shown = Vec::new();
        near.read_to_end(&mut shown).await.expect("its end");
        assert_eq!(shown, b"abc\r\nsaid\r\n");
    }
}
