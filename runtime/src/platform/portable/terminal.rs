//! Pseudo terminals: none here, because no guest has a process whose streams they could be.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;

/// There is none.
#[derive(Clone, Debug)]
pub(crate) struct Terminal(Infallible);

impl Terminal {
    /// Fails.
    pub(crate) fn open(_size: (u16, u16)) -> io::Result<(Self, File)> {
        let reason = "this system has no terminals that Aril could give a guest";
        Err(io::Error::new(io::ErrorKind::Unsupported, reason))
    }

    pub(crate) fn resize(&self, _size: (u16, u16)) -> io::Result<()> {
        match self.0 {}
    }
}

impl AsyncRead for Terminal {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.0 {}
    }
}

impl AsyncWrite for Terminal {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        match self.0 {}
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0 {}
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0 {}
    }
}
