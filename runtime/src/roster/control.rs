//! How a keeper is spoken to: one request on a connection, and one answer, beneath its sandbox's
//! own directory, which belongs to one user alone.
//!
//! After a request to attach, the connection carries frames both ways instead: what the guest writes,
//! and what it is to read.

use std::io;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use crate::platform::socket;
use crate::platform::tree::Directory;
use crate::process::receive;
use crate::process::receive_async;
use crate::process::send;
use crate::process::send_async;
use crate::sandbox::WireHold;
use crate::sandbox::WireLimits;
use crate::sandbox::WireStats;

use super::name::SandboxId;
use super::place::CONTROL;
use super::place::Held;
use super::place::Roster;

/// The longest request or answer that is read, in bytes.
const MESSAGE_SIZE_MAX: u32 = 1 << 20;

/// How long a request may take to come once somebody is connected.
pub(crate) const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);

/// What a keeper is asked.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) enum Request {
    /// To have the guest stop: with this grace, or its own. Answered once it ended.
    Stop { grace: Option<Duration> },
    /// To end the guest by this signal.
    Kill { signal: i32 },
    /// To hold it to these limits; those left to Aril stay as they are.
    Update(Box<WireLimits>),
    /// To have it stand still.
    Pause,
    /// To have it go on.
    Resume,
    /// What it uses.
    Stats,
    /// To answer once it ended.
    Wait,
    /// To hand on what it writes, and what it is to read.
    Attach,
    /// To look what it is called from now on.
    Rename,
    /// To give a handle of the directory that holds this path of the guest's.
    Files(String),
    /// To run another program beside it, and hand on its streams.
    Exec(Exec),
}

/// A program that is run beside the guest, with its files and within its limits.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Exec {
    /// A wasm file of this host, or nothing for a program of the image.
    pub(crate) file: Option<std::path::PathBuf>,
    /// Its arguments, of which the first is its own name, and the program where that is the image's.
    pub(crate) command: Vec<String>,
    /// Its variables, beside those of the guest.
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) working_directory: Option<String>,
    pub(crate) interactive: bool,
    /// The columns and rows of its terminal, where it is to have one.
    #[serde(default)]
    pub(crate) terminal: Option<(u16, u16)>,
}

/// What a keeper answers.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) enum Answer {
    /// It is done.
    Done,
    /// The guest ended with this code.
    Ended(u8),
    /// What it uses now, how each of its limits is held, and whether it stands still.
    Stats { stats: Box<WireStats>, limits: Vec<WireHold>, is_paused: bool },
    /// The handle of a directory comes next. What was asked for is at this way in it, and may be
    /// written where this says so.
    Files { way: String, may_write: bool },
    /// It cannot be done.
    Refused(String),
}

/// What goes over a connection that is attached.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// For the guest to read; nothing more comes after an empty one.
    Input(Vec<u8>),
    /// What the guest wrote.
    Output { is_error: bool, bytes: Vec<u8> },
    /// So many bytes were lost, because whoever is attached was too slow.
    Lost(u64),
    /// The guest ended with this code. The last.
    Ended(u8),
    /// The guest's terminal is to have so many columns and rows.
    Resize { columns: u16, rows: u16 },
    /// How the guest ended, as its record says.
    Record(String),
}

/// The longest content of a frame.
pub(crate) const FRAME_MAX: usize = 64 << 10;

impl Frame {
    fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Input(bytes) => [&[0], &bytes[..]].concat(),
            Self::Output { is_error, bytes } => [&[1 + u8::from(*is_error)], &bytes[..]].concat(),
            Self::Lost(count) => [&[3], &count.to_le_bytes()[..]].concat(),
            Self::Ended(code) => vec![4, *code],
            Self::Resize { columns, rows } => {
                [&[5], &columns.to_le_bytes()[..], &rows.to_le_bytes()[..]].concat()
            }
            Self::Record(text) => [&[6], text.as_bytes()].concat(),
        }
    }

    fn parse(bytes: &[u8]) -> io::Result<Self> {
        Ok(match bytes {
            [0, bytes @ ..] => Self::Input(bytes.to_vec()),
            [kind @ (1 | 2), bytes @ ..] => {
                Self::Output { is_error: *kind == 2, bytes: bytes.to_vec() }
            }
            [3, count @ ..] => {
                let count = count.try_into().map_err(|_| senseless())?;
                Self::Lost(u64::from_le_bytes(count))
            }
            [4, code] => Self::Ended(*code),
            [5, a, b, c, d] => Self::Resize {
                columns: u16::from_le_bytes([*a, *b]),
                rows: u16::from_le_bytes([*c, *d]),
            },
            [6, text @ ..] => {
                Self::Record(String::from_utf8(text.to_vec()).map_err(|_| senseless())?)
            }
            _ => return Err(senseless()),
        })
    }
}

fn senseless() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "what came makes no sense")
}

/// The longest frame that is taken from a keeper: a record has what a called function returned.
const TOLD_SIZE_MAX: u32 = 20 << 20;

fn size_max() -> u32 {
    // A frame and its kind.
    u32::try_from(FRAME_MAX + 16).unwrap_or(u32::MAX)
}

/// A connection to a keeper.
#[derive(Debug)]
pub(crate) struct Line(socket::Stream);

impl Roster {
    /// Connects to the keeper of a sandbox, if it listens.
    pub(crate) fn connect(&self, id: &SandboxId) -> io::Result<Line> {
        let directory = Directory::open(&self.path_of(id))?.into_file()?;
        socket::connect(&directory, CONTROL).map(Line)
    }
}

impl Line {
    /// The connection that the one who started a sandbox has from the beginning.
    pub(crate) const fn own(stream: socket::Stream) -> Self {
        Self(stream)
    }

    /// Asks something, and waits for the answer for as long as this at the most.
    pub(crate) fn ask(&mut self, request: &Request, limit: Option<Duration>) -> io::Result<Answer> {
        self.say(request)?;
        self.0.set_read_timeout(limit)?;
        let bytes = receive(&mut self.0, MESSAGE_SIZE_MAX)?;
        self.0.set_read_timeout(None)?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    fn say(&mut self, request: &Request) -> io::Result<()> {
        send(&mut self.0, &serde_json::to_vec(request)?)
    }

    /// Takes the handle that comes after an answer.
    pub(crate) fn take(&self) -> io::Result<std::fs::File> {
        socket::take(&self.0)
    }

    /// The same connection, for one who writes while another one reads.
    pub(crate) fn again(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// The next frame; nothing where the keeper is gone.
    pub(crate) fn next(&mut self) -> io::Result<Option<Frame>> {
        match receive(&mut self.0, TOLD_SIZE_MAX) {
            Ok(bytes) => Frame::parse(&bytes).map(Some),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Hands a frame on.
    pub(crate) fn give(&self, frame: &Frame) -> io::Result<()> {
        send(&mut &self.0, &frame.to_bytes())
    }

    /// Ends the connection for all who hold it.
    pub(crate) fn leave(&self) {
        // One that has ended already is as good as left.
        let _ended = self.0.shutdown(std::net::Shutdown::Both);
    }
}

/// Where a keeper is asked.
#[derive(Debug)]
pub(crate) struct Desk(socket::Listener);

/// Somebody who asks.
pub(crate) type Asker = socket::AsyncStream;

impl Held {
    /// Listens to those who ask.
    pub(crate) fn listen(&self) -> io::Result<Desk> {
        let directory = Directory::open(self.path())?.into_file()?;
        socket::Listener::bind(&directory, CONTROL).map(Desk)
    }
}

impl Desk {
    /// The next one who asks.
    pub(crate) async fn next(&self) -> io::Result<Asker> {
        self.0.accept().await
    }
}

/// What somebody asks.
pub(crate) async fn hear(asker: &mut Asker) -> io::Result<Request> {
    let heard = tokio::time::timeout(REQUEST_TIME_MAX, receive_async(asker, MESSAGE_SIZE_MAX));
    let bytes = heard.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    Ok(serde_json::from_slice(&bytes.unwrap_or_default())?)
}

/// Answers.
pub(crate) async fn answer(
    to: &mut (impl tokio::io::AsyncWrite + Unpin),
    answer: &Answer,
) -> io::Result<()> {
    send_async(to, &serde_json::to_vec(answer)?).await
}

/// Gives the handle that was promised.
pub(crate) async fn give(to: &Asker, file: &std::fs::File) -> io::Result<()> {
    socket::give(to, file).await
}

/// Hands a frame on.
pub(crate) async fn hand_on(
    to: &mut (impl tokio::io::AsyncWrite + Unpin),
    frame: &Frame,
) -> io::Result<()> {
    send_async(to, &frame.to_bytes()).await
}

/// The next frame of somebody who is attached; nothing where he left.
pub(crate) async fn next_frame(
    from: &mut (impl tokio::io::AsyncRead + Unpin),
) -> io::Result<Option<Frame>> {
    match receive_async(from, size_max()).await? {
        Some(bytes) => Frame::parse(&bytes).map(Some),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_they_were_written_and_others_are_refused() {
        for frame in [
            Frame::Input(b"in".to_vec()),
            Frame::Input(Vec::new()),
            Frame::Output { is_error: false, bytes: b"out".to_vec() },
            Frame::Output { is_error: true, bytes: b"err".to_vec() },
            Frame::Lost(7),
            Frame::Ended(255),
            Frame::Resize { columns: 300, rows: 7 },
            Frame::Record("{}".to_owned()),
        ] {
            assert_eq!(Frame::parse(&frame.to_bytes()).expect("a frame"), frame);
        }
        for bytes in [&[][..], &[3, 1], &[4], &[4, 1, 1], &[5, 1], &[6, 0xff], &[9]] {
            let error = Frame::parse(bytes).expect_err("refused");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{bytes:?}");
        }
    }
}
