//! The socket of a server: one for each address, whoever comes first.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::FlockOperation;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::AddressFamily;
use rustix::net::SocketAddrUnix;
use rustix::net::SocketFlags;
use rustix::net::SocketType;

/// The longest path of a socket, in bytes: what containerd's own take, and no more than any system has.
pub(crate) const PATH_SIZE_MAX: usize = 104;

/// A socket that is listened at.
pub(crate) type Listening = UnixListener;

/// A socket to listen at: nothing where somebody listens there already. What a server left that is no
/// more is removed.
pub(crate) fn listen(path: &Path) -> io::Result<Option<UnixListener>> {
    let folder = path.parent().ok_or(Errno::INVAL)?;
    fs::DirBuilder::new().recursive(true).mode(0o711).create(folder)?;
    let _turn = turn(folder)?;
    if is_heard(path)? {
        return Ok(None);
    }
    remove_socket(path)?;
    // Nobody else may connect, from the first moment on.
    let mask = rustix::process::umask(Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path);
    rustix::process::umask(mask);
    listener.map(Some)
}

/// Removes the socket of a server that is no more.
pub(crate) fn clear(path: &Path) -> io::Result<()> {
    let Some(folder) = path.parent().filter(|folder| folder.is_dir()) else { return Ok(()) };
    let _turn = turn(folder)?;
    if is_heard(path)? { Ok(()) } else { remove_socket(path) }
}

/// Removes the socket of this server, before it stops to listen.
pub(crate) fn leave(path: &Path) -> io::Result<()> {
    remove_socket(path)
}

/// Waits for others that make or remove sockets in a folder.
fn turn(folder: &Path) -> io::Result<impl Sized> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let held = rustix::fs::open(folder, flags, Mode::empty())?;
    rustix::fs::flock(&held, FlockOperation::LockExclusive)?;
    Ok(held)
}

/// Whether somebody listens.
fn is_heard(path: &Path) -> io::Result<bool> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &address) {
        // One whose callers wait in a row is there too.
        Ok(()) | Err(Errno::AGAIN) => Ok(true),
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn remove_socket(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        },
        Ok(_) => Err(io::Error::new(io::ErrorKind::AlreadyExists, "what is there is no socket")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn an_address_has_one_listener_and_what_a_dead_one_left_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s/one");
        let first = listen(&path).unwrap().unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(listen(&path).unwrap().is_none(), "somebody listens");
        clear(&path).unwrap();
        assert!(path.exists(), "the socket of one who listens was removed");
        drop(first);
        let second = listen(&path).unwrap().unwrap();
        drop(second);
        clear(&path).unwrap();
        assert!(!path.exists());
        clear(&dir.path().join("missing/one")).unwrap();
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "kept").unwrap();
        assert_eq!(listen(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "kept");
    }
}
