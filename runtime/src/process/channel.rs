//! Messages between a keeper and its worker: a length, and so many bytes.

use std::io;
use std::io::Read;
use std::io::Write;

use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt as _;

/// The longest message that is read. What is in one is bounded where it is made: the arguments and
/// the environment of a guest are the most of it.
pub(crate) const MESSAGE_SIZE_MAX: u32 = 64 << 20;

/// How much memory is there for a message before it comes: enough for most to be read with one call. A
/// length alone takes no more.
const AT_ONCE: usize = 4 << 10;

/// The length that stands in front of a message.
fn header(message: &[u8]) -> io::Result<[u8; 4]> {
    let size = u32::try_from(message.len()).ok().filter(|size| *size <= MESSAGE_SIZE_MAX);
    size.map(u32::to_le_bytes).ok_or_else(too_long)
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, "the message is too long")
}

fn size_of(header: [u8; 4], size_max: u32) -> io::Result<usize> {
    let size = u32::from_le_bytes(header);
    if size_max < size { Err(too_long()) } else { usize::try_from(size).map_err(|_| too_long()) }
}

/// Sends a message, in one piece where there is room for it.
pub(crate) fn send(to: &mut impl Write, message: &[u8]) -> io::Result<()> {
    to.write_all(&[&header(message)?, message].concat())
}

/// The next message, of at most `size_max` bytes.
pub(crate) fn receive(from: &mut impl Read, size_max: u32) -> io::Result<Vec<u8>> {
    let mut header = [0; 4];
    from.read_exact(&mut header)?;
    let size = size_of(header, size_max)?;
    let mut message = Vec::with_capacity(size.min(AT_ONCE));
    from.take(size as u64).read_to_end(&mut message)?;
    if message.len() < size { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(message) }
}

/// Sends a message without keeping the thread.
pub(crate) async fn send_async(
    to: &mut (impl AsyncWrite + Unpin),
    message: &[u8],
) -> io::Result<()> {
    to.write_all(&[&header(message)?, message].concat()).await
}

/// The next message, of at most `size_max` bytes; nothing where the other end is closed.
pub(crate) async fn receive_async(
    from: &mut (impl AsyncRead + Unpin),
    size_max: u32,
) -> io::Result<Option<Vec<u8>>> {
    let mut header = [0; 4];
    match from.read_exact(&mut header).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let size = size_of(header, size_max)?;
    let mut message = Vec::with_capacity(size.min(AT_ONCE));
    from.take(size as u64).read_to_end(&mut message).await?;
    if message.len() < size { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(Some(message)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_arrive_whole_and_apart_whoever_reads_them() {
        let mut sent = Vec::new();
        send(&mut sent, b"first").expect("sent");
        send_async(&mut sent, b"").await.expect("sent");
        send(&mut sent, b"last").expect("sent");
        let mut blocking = &sent[..];
        let mut waiting = &sent[..];
        for expected in [&b"first"[..], b"", b"last"] {
            assert_eq!(receive(&mut blocking, 5).expect("a message"), expected);
            let received = receive_async(&mut waiting, 5).await.expect("a message");
            assert_eq!(received.as_deref(), Some(expected));
        }
        assert!(receive_async(&mut waiting, 5).await.expect("the end").is_none());
        let error = receive(&mut blocking, 5).expect_err("the end");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn a_message_that_is_too_long_or_cut_is_refused() {
        let mut long = &[255, 255, 255, 255, 0][..];
        let error = receive(&mut long, MESSAGE_SIZE_MAX).expect_err("refused");
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        let mut cut = &[2, 0, 0, 0, 1][..];
        let error = receive_async(&mut cut, 5).await.expect_err("refused");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
