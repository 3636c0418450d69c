//! Sockets with a name in a directory: none here, because not every system has them.

use std::convert::Infallible;
use std::fs::File;
use std::io;

/// A connection whose thread waits.
pub(crate) type Stream = std::net::TcpStream;

/// A connection in a tokio runtime.
pub(crate) type AsyncStream = tokio::net::TcpStream;

/// Where others would connect to.
#[derive(Debug)]
pub(crate) struct Listener(Infallible);

fn none<T>() -> io::Result<T> {
    let reason = "this system has no sockets that only one user can reach";
    Err(io::Error::new(io::ErrorKind::Unsupported, reason))
}

impl Listener {
    /// Fails.
    pub(crate) fn bind(_directory: &File, _name: &str) -> io::Result<Self> {
        none()
    }

    /// There is none to be asked.
    #[expect(clippy::unused_async, reason = "other systems wait here")]
    pub(crate) async fn accept(&self) -> io::Result<AsyncStream> {
        match self.0 {}
    }
}

/// Fails.
pub(crate) fn connect(_directory: &File, _name: &str) -> io::Result<Stream> {
    none()
}

/// Fails.
pub(crate) fn of_output() -> io::Result<Stream> {
    none()
}

/// There is none.
pub(crate) fn is_closed(_stream: &AsyncStream) -> bool {
    true
}

/// Fails.
pub(crate) fn to_async(_stream: Stream) -> io::Result<AsyncStream> {
    none()
}

/// Fails.
#[expect(clippy::unused_async, reason = "other systems wait here")]
pub(crate) async fn give(_stream: &AsyncStream, _file: &File) -> io::Result<()> {
    none()
}

/// Fails.
pub(crate) fn take(_stream: &Stream) -> io::Result<File> {
    none()
}
