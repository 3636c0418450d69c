//! Sockets with a name in a directory of ours, which nobody else can reach.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixListener as StdListener;
use std::path::PathBuf;

/// A connection whose thread waits.
pub(crate) type Stream = std::os::unix::net::UnixStream;

/// A connection in a tokio runtime.
pub(crate) type AsyncStream = tokio::net::UnixStream;

/// Where others connect to.
#[derive(Debug)]
pub(crate) struct Listener(tokio::net::UnixListener);

/// A path that is short enough for the address of a socket, however long that of the directory is.
fn path(directory: &File, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()))
}

impl Listener {
    /// Listens under a name. What was left there by somebody who is gone is replaced. The caller is
    /// in a tokio runtime.
    pub(crate) fn bind(directory: &File, name: &str) -> io::Result<Self> {
        let path = path(directory, name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = StdListener::bind(&path)?;
        listener.set_nonblocking(true)?;
        tokio::net::UnixListener::from_std(listener).map(Self)
    }

    /// The next connection.
    pub(crate) async fn accept(&self) -> io::Result<AsyncStream> {
        self.0.accept().await.map(|(stream, _)| stream)
    }
}

/// Connects to who listens under a name.
pub(crate) fn connect(directory: &File, name: &str) -> io::Result<Stream> {
    Stream::connect(path(directory, name))
}
