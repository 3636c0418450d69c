//! Who is attached to a sandbox that goes on alone: what its guest writes goes to each of them, and the
//! guest waits for one of them alone, the one who started it.

use std::cell::OnceCell;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::io::AsyncWriteExt as _;
use tokio::sync::Semaphore;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::error::TryRecvError;
use tokio::sync::mpsc;
use tokio::sync::watch;

use crate::roster::Answer;
use crate::roster::Asker;
use crate::roster::Ending;
use crate::roster::Frame;
use crate::roster::answer;
use crate::roster::hand_on;
use crate::roster::next_frame;
use crate::sandbox::WindowSize;

use super::desk::Post;

/// How many pieces of output wait for one who is attached and slow.
const PIECES_MAX: usize = 256;

/// How many pieces of output wait for the one who started it, until the guest waits for him.
const OWN_PIECES_MAX: usize = 16;

/// A piece of what the guest wrote.
type Piece = (bool, Arc<[u8]>);

/// Those who are attached.
#[derive(Default)]
pub(super) struct Audience {
    /// Made when the first one comes who did not start it: it has room for all pieces from then on.
    all: OnceCell<broadcast::Sender<Piece>>,
    owner: RefCell<Option<Owner>>,
}

/// The one who started it.
#[derive(Clone)]
struct Owner {
    pieces: mpsc::UnboundedSender<Piece>,
    /// For how many more pieces there is room; closed where nobody waits for it any more.
    room: Arc<Semaphore>,
}

/// What one of them is told.
enum Hearing {
    /// All of it, however long that takes.
    All { pieces: mpsc::UnboundedReceiver<Piece>, room: Arc<Semaphore> },
    /// As much of it as is taken in time.
    Latest(broadcast::Receiver<Piece>),
}

impl Audience {
    /// The guest wrote something: returns when more can be taken.
    pub(super) async fn tell(&self, is_error: bool, bytes: &[u8]) {
        if let Some(all) = self.all.get()
            && 0 < all.receiver_count()
        {
            let _unheard = all.send((is_error, bytes.into()));
        }
        let Some(owner) = self.owner.borrow().clone() else { return };
        // Where he is gone, or the guest has ended, there is no end of room.
        if let Ok(room) = owner.room.acquire().await {
            room.forget();
        }
        if owner.pieces.send((is_error, bytes.into())).is_err() {
            self.owner.replace(None);
        }
    }

    /// The guest has ended, and waits for nobody: what is left of what it wrote is little.
    pub(super) fn over(&self) {
        if let Some(owner) = &*self.owner.borrow() {
            owner.room.close();
        }
    }

    /// Waits until the one who started it has taken all that is for him, or is gone.
    pub(super) async fn owner_heard(&self) {
        let owner = self.owner.borrow().clone();
        if let Some(owner) = owner {
            owner.pieces.closed().await;
        }
    }

    /// One more comes.
    fn join(&self) -> Hearing {
        let all = self.all.get_or_init(|| broadcast::channel(PIECES_MAX).0);
        Hearing::Latest(all.subscribe())
    }

    /// The one who started it is there.
    fn join_as_owner(&self) -> Hearing {
        let (sender, pieces) = mpsc::unbounded_channel();
        let room = Arc::new(Semaphore::new(OWN_PIECES_MAX));
        self.owner.replace(Some(Owner { pieces: sender, room: Arc::clone(&room) }));
        Hearing::All { pieces, room }
    }
}

impl Hearing {
    const fn is_owner(&self) -> bool {
        matches!(self, Self::All { .. })
    }

    /// The next thing to tell.
    async fn next(&mut self) -> Frame {
        match self {
            Self::All { pieces, room } => match pieces.recv().await {
                Some(piece) => {
                    room.add_permits(1);
                    frame_of(Ok(piece))
                }
                // It is there as long as its keeper.
                None => std::future::pending().await,
            },
            Self::Latest(pieces) => frame_of(pieces.recv().await),
        }
    }

    /// The same, if there is something.
    fn next_now(&mut self) -> Option<Frame> {
        match self {
            Self::All { pieces, .. } => pieces.try_recv().ok().map(|piece| frame_of(Ok(piece))),
            Self::Latest(pieces) => match pieces.try_recv() {
                Ok(piece) => Some(frame_of(Ok(piece))),
                Err(TryRecvError::Lagged(count)) => Some(frame_of(Err(RecvError::Lagged(count)))),
                Err(TryRecvError::Empty | TryRecvError::Closed) => None,
            },
        }
    }
}

impl Drop for Hearing {
    fn drop(&mut self) {
        // Who leaves is waited for no more.
        if let Self::All { room, .. } = self {
            room.close();
        }
    }
}

fn frame_of(piece: Result<Piece, RecvError>) -> Frame {
    match piece {
        Ok((is_error, bytes)) => Frame::Output { is_error, bytes: bytes.to_vec() },
        Err(RecvError::Lagged(count)) => Frame::Lost(count),
        // It is there as long as its keeper.
        Err(RecvError::Closed) => Frame::Lost(0),
    }
}

/// Hands on what the guest writes, and what it is to read, until it ends or the other one leaves.
pub(super) async fn attach(mut asker: Asker, post: &Post) -> std::io::Result<()> {
    if let Err(refused) = post.sandbox() {
        return answer(&mut asker, &refused).await;
    }
    let (hearing, ends) = (post.audience().join(), post.ends());
    answer(&mut asker, &Answer::Done).await?;
    speak(asker, post, hearing, ends).await
}

/// Has the one who started the guest told of all that it writes from now on, and of how it ends. What
/// this returns hands that on, before and after the end, until he has it or is gone.
pub(super) fn attach_owner(
    asker: Asker,
    post: Rc<Post>,
) -> impl Future<Output = std::io::Result<()>> {
    let (hearing, ends) = (post.audience().join_as_owner(), post.ends());
    async move { speak(asker, &post, hearing, ends).await }
}

async fn speak(
    asker: Asker,
    post: &Post,
    mut hearing: Hearing,
    mut ends: watch::Receiver<(u32, u8)>,
) -> std::io::Result<()> {
    let (mut from, mut to) = tokio::io::split(asker);
    let sending = async {
        loop {
            tokio::select! {
                biased;
                frame = hearing.next() => hand_on(&mut to, &frame).await?,
                _ = ends.changed() => {
                    // What it wrote before.
                    while let Some(frame) = hearing.next_now() {
                        hand_on(&mut to, &frame).await?;
                    }
                    let code = ends.borrow().1;
                    if hearing.is_owner() && let Some(Ending::Told(record)) = post.resident().ending {
                        hand_on(&mut to, &Frame::Record(record.to_json())).await?;
                    }
                    return hand_on(&mut to, &Frame::Ended(code)).await;
                }
            }
        }
    };
    let receiving = async {
        while let Some(frame) = next_frame(&mut from).await? {
            match frame {
                Frame::Input(bytes) => read(post, &bytes).await,
                Frame::Resize { columns, rows } => post.resize(WindowSize { columns, rows }),
                _ => {}
            }
        }
        Ok(())
    };
    tokio::select! {
        sent = sending => sent,
        left = receiving => left,
    }
}

/// Has the guest read something; nothing is the end of its input.
async fn read(post: &Post, bytes: &[u8]) {
    match post.input() {
        Some(_) if bytes.is_empty() => post.close_input(),
        Some(input) => {
            // A guest that no longer reads is none that must be written to.
            let _unread = input.lock().await.write_all(bytes).await;
        }
        None => {}
    }
}
