//! Sockets with a name in a directory of ours, which nobody else can reach.

use std::fs::File;
use std::io;
use std::io::IoSlice;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::AsFd as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixListener as StdListener;
use std::path::PathBuf;

use rustix::net::RecvAncillaryBuffer;
use rustix::net::RecvAncillaryMessage;
use rustix::net::RecvFlags;
use rustix::net::SendAncillaryBuffer;
use rustix::net::SendAncillaryMessage;
use rustix::net::SendFlags;
use tokio::io::Interest;

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

/// The connection that this process has as its standard output.
pub(crate) fn of_output() -> io::Result<Stream> {
    let output = io::stdout().as_fd().try_clone_to_owned()?;
    rustix::net::sockopt::socket_type(&output)?;
    Ok(output.into())
}

/// Whether the other end is closed, and nothing of it is left to read.
pub(crate) fn is_closed(stream: &AsyncStream) -> bool {
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    matches!(rustix::net::recv(stream, &mut [0], flags), Ok((0, _)))
}

/// The same connection, in the tokio runtime that the caller is in.
pub(crate) fn to_async(stream: Stream) -> io::Result<AsyncStream> {
    stream.set_nonblocking(true)?;
    AsyncStream::from_std(stream)
}

/// How much room what is sent with one handle takes.
const ROOM: usize = rustix::cmsg_space!(ScmRights(1));

/// Gives the other end a handle of its own of an open file, with one byte.
pub(crate) async fn give(stream: &AsyncStream, file: &File) -> io::Result<()> {
    stream.writable().await?;
    let send = || {
        let files = [file.as_fd()];
        let mut room = [MaybeUninit::uninit(); ROOM];
        let mut handles = SendAncillaryBuffer::new(&mut room);
        if !handles.push(SendAncillaryMessage::ScmRights(&files)) {
            return Err(io::Error::other("there is no room for a handle"));
        }
        let byte = [IoSlice::new(&[0])];
        rustix::net::sendmsg(stream, &byte, &mut handles, SendFlags::NOSIGNAL)?;
        Ok(())
    };
    stream.async_io(Interest::WRITABLE, send).await
}

/// Takes a handle that the other end gives.
pub(crate) fn take(stream: &Stream) -> io::Result<File> {
    let mut room = [MaybeUninit::uninit(); ROOM];
    let mut handles = RecvAncillaryBuffer::new(&mut room);
    let mut byte = [0];
    let mut bytes = [IoSliceMut::new(&mut byte)];
    rustix::net::recvmsg(stream, &mut bytes, &mut handles, RecvFlags::CMSG_CLOEXEC)?;
    let taken = handles.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    });
    taken.map(File::from).ok_or_else(|| io::Error::other("no handle came"))
}
