//! A socket of whole messages, with open files along.

use std::fs::File;
use std::io;
use std::io::IoSlice;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::AsFd as _;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::net::AddressFamily;
use rustix::net::RecvAncillaryBuffer;
use rustix::net::RecvAncillaryMessage;
use rustix::net::RecvFlags;
use rustix::net::SendAncillaryBuffer;
use rustix::net::SendAncillaryMessage;
use rustix::net::SendFlags;
use rustix::net::SocketAddrUnix;
use rustix::net::SocketFlags;
use rustix::net::SocketType;
use tokio::io::Interest;
use tokio::net::UnixListener;
use tokio::net::UnixStream;

/// How many files come along with a message at the most.
const FILES_MAX: usize = 3;

/// How many callers may wait in a row.
const BACKLOG: i32 = 64;

/// A socket at a path.
#[derive(Debug)]
pub(crate) struct Listener(UnixListener);

/// A connection, as a keeper has it.
#[derive(Debug)]
pub(crate) struct Talk(UnixStream);

/// A connection, as a caller has it who waits for the answer.
#[derive(Debug)]
pub(crate) struct Call(OwnedFd);

fn socket(flags: SocketFlags) -> io::Result<OwnedFd> {
    let flags = flags | SocketFlags::CLOEXEC;
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// Acts in the folder of a path, whose own length is no matter then. The process must have one thread.
fn in_folder<T>(path: &Path, act: impl FnOnce(&SocketAddrUnix) -> io::Result<T>) -> io::Result<T> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no path of a socket"));
    };
    let own = std::env::current_dir()?;
    std::env::set_current_dir(folder)?;
    let done = SocketAddrUnix::new(name).map_err(Into::into).and_then(|address| act(&address));
    std::env::set_current_dir(own)?;
    done
}

impl Listener {
    /// Listens at a path where nothing is yet.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        let socket = socket(SocketFlags::NONBLOCK)?;
        in_folder(path, |address| Ok(rustix::net::bind(&socket, address)?))?;
        rustix::net::listen(&socket, BACKLOG)?;
        // What is whole there are messages; it is waited for as at any other socket.
        Ok(Self(UnixListener::from_std(socket.into())?))
    }

    /// The next caller.
    pub(crate) async fn accept(&self) -> io::Result<Talk> {
        Ok(Talk(self.0.accept().await?.0))
    }
}

impl Talk {
    /// The next message, of at most `size_max` bytes, with the files that came along: nothing where the
    /// other one is gone.
    pub(crate) async fn receive(
        &self,
        size_max: usize,
    ) -> io::Result<Option<(Vec<u8>, Vec<File>)>> {
        self.0.async_io(Interest::READABLE, || receive(self.0.as_fd(), size_max)).await
    }

    /// Sends a message.
    pub(crate) async fn send(&self, message: &[u8]) -> io::Result<()> {
        self.0.async_io(Interest::WRITABLE, || send(self.0.as_fd(), message, &[])).await
    }
}

impl Call {
    /// Calls whoever listens at a path.
    pub(crate) fn to(path: &Path) -> io::Result<Self> {
        let socket = socket(SocketFlags::empty())?;
        in_folder(path, |address| Ok(rustix::net::connect(&socket, address)?))?;
        Ok(Self(socket))
    }

    /// Has an answer waited for no longer than this: who answers later is not heard.
    pub(crate) fn answer_within(&self, limit: Duration) -> io::Result<()> {
        let kind = rustix::net::sockopt::Timeout::Recv;
        Ok(rustix::net::sockopt::set_socket_timeout(&self.0, kind, Some(limit))?)
    }

    /// Sends a message, with these files.
    pub(crate) fn send(&self, message: &[u8], files: &[&File]) -> io::Result<()> {
        send(self.0.as_fd(), message, files)
    }

    /// The next message, of at most `size_max` bytes: nothing where the other one is gone.
    pub(crate) fn receive(&self, size_max: usize) -> io::Result<Option<Vec<u8>>> {
        Ok(receive(self.0.as_fd(), size_max)?.map(|(message, _)| message))
    }
}

/// Sends an open file to whoever listens at a path, with its name as the message: as engines take the
/// near end of a terminal.
pub(crate) fn hand_over(path: &Path, name: &str, file: &File) -> io::Result<()> {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    in_folder(path, |address| Ok(rustix::net::connect(&socket, address)?))?;
    send(socket.as_fd(), name.as_bytes(), &[file])
}

fn send(socket: BorrowedFd<'_>, message: &[u8], files: &[&File]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
    let mut along = SendAncillaryBuffer::new(&mut space);
    let files: Vec<_> = files.iter().map(|file| file.as_fd()).collect();
    if !files.is_empty() && !along.push(SendAncillaryMessage::ScmRights(&files)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many files for a message"));
    }
    let flags = SendFlags::NOSIGNAL;
    let sent = rustix::net::sendmsg(socket, &[IoSlice::new(message)], &mut along, flags)?;
    if sent < message.len() {
        return Err(io::Error::new(io::ErrorKind::WriteZero, "the message was cut"));
    }
    Ok(())
}

fn receive(socket: BorrowedFd<'_>, size_max: usize) -> io::Result<Option<(Vec<u8>, Vec<File>)>> {
    let mut message = vec![0; size_max + 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
    let mut along = RecvAncillaryBuffer::new(&mut space);
    let into = &mut [IoSliceMut::new(&mut message)];
    let received = rustix::net::recvmsg(socket, into, &mut along, RecvFlags::CMSG_CLOEXEC)?;
    let mut files = Vec::new();
    for came in along.drain() {
        if let RecvAncillaryMessage::ScmRights(handles) = came {
            files.extend(handles.map(File::from));
        }
    }
    if size_max < received.bytes {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the message is too long"));
    }
    message.truncate(received.bytes);
    Ok((0 < received.bytes).then_some((message, files)))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::io::Write as _;

    use super::*;

    #[tokio::test]
    async fn a_message_comes_whole_with_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x".repeat(120)).join("socket");
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        let listener = Listener::at(&path).unwrap();
        let call = Call::to(&path).unwrap();
        let talk = listener.accept().await.unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        let writer = File::from(OwnedFd::from(writer));
        call.send(b"hello", &[&writer]).unwrap();
        call.send(b"again", &[]).unwrap();
        drop(writer);
        let (message, files) = talk.receive(5).await.unwrap().unwrap();
        assert_eq!((&message[..], files.len()), (&b"hello"[..], 1));
        (&files[0]).write_all(b"written").unwrap();
        drop(files);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "written");
        let error = talk.receive(4).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        talk.send(b"answer").await.unwrap();
        assert_eq!(call.receive(64).unwrap().as_deref(), Some(&b"answer"[..]));
        drop(call);
        assert!(talk.receive(5).await.unwrap().is_none());
    }
}
