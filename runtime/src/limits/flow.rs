//! What flows in and out of a guest through its standard streams.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Acquire;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::Ordering::Release;
use std::task::Waker;

use futures_util::task::AtomicWaker;

use crate::units::Bytes;

use super::figures::Figure;
use super::figures::Figures;
use super::figures::NONE;

/// How much of what a guest wrote last is kept, in bytes: an error and what it is about.
const LAST_WORDS_SIZE: usize = 4 << 10;

/// Counts of what a guest read and wrote, and how much it may write.
#[derive(Debug)]
pub(crate) struct Flow {
    figures: Arc<Figures>,
    input_stopped: AtomicBool,
    reader: AtomicWaker,
    /// Whether what is written is kept: a guest that was never refused anything costs no copy.
    listening: AtomicBool,
    last_words: Mutex<Vec<u8>>,
}

/// The guest wrote more than it may. Its end, when it reaches whoever runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the guest wrote more than its output limit")]
pub(crate) struct Overflow;

impl Flow {
    /// The flow whose figures these are.
    pub(crate) fn new(figures: Arc<Figures>) -> Self {
        Self {
            figures,
            input_stopped: AtomicBool::new(false),
            reader: AtomicWaker::new(),
            listening: AtomicBool::new(false),
            last_words: Mutex::default(),
        }
    }

    pub(crate) fn set_limit(&self, limit: Option<Bytes>) {
        self.figures.set(Figure::OutputLimit, limit.map_or(NONE, Bytes::get));
    }

    /// Counts what was read.
    pub(crate) fn note_read(&self, count: usize) {
        self.figures.at(Figure::BytesIn).fetch_add(count as u64, Relaxed);
    }

    /// How many of `wanted` bytes may still be written. Fewer than wanted is an overflow, of which
    /// the part that fits is written.
    pub(crate) fn allow(&self, wanted: usize) -> usize {
        let left = self.figures.get(Figure::OutputLimit).saturating_sub(self.bytes_out());
        let allowed = usize::try_from(left).unwrap_or(usize::MAX).min(wanted);
        if allowed < wanted {
            self.figures.set(Figure::Overflowed, 1);
        }
        allowed
    }

    /// Counts what was written.
    pub(crate) fn note_written(&self, bytes: &[u8]) {
        self.figures.at(Figure::BytesOut).fetch_add(bytes.len() as u64, Relaxed);
        if self.listening.load(Relaxed) {
            let mut words = self.last_words.lock().unwrap_or_else(PoisonError::into_inner);
            words.extend_from_slice(&bytes[bytes.len().saturating_sub(LAST_WORDS_SIZE)..]);
            let beyond = words.len().saturating_sub(LAST_WORDS_SIZE);
            words.drain(..beyond);
        }
    }

    /// Notes what standard output ends with.
    pub(crate) fn note_end_of_line(&self, bytes: &[u8]) {
        if let Some(last) = bytes.last() {
            self.figures.set(Figure::MidLine, u64::from(*last != b'\n'));
        }
    }

    /// Whether standard output ended in the middle of a line.
    pub(crate) fn is_mid_line(&self) -> bool {
        self.figures.get(Figure::MidLine) != 0
    }

    /// From now on, the end of what the guest writes is kept.
    pub(crate) fn listen(&self) {
        self.listening.store(true, Relaxed);
    }

    /// What the guest wrote last, on both of its outputs, since somebody began to listen.
    pub(crate) fn last_words(&self) -> Vec<u8> {
        self.last_words.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn overflowed(&self) -> bool {
        self.figures.get(Figure::Overflowed) != 0
    }

    /// From now on, the guest's input reads as ended.
    pub(crate) fn stop_input(&self) {
        self.input_stopped.store(true, Release);
        self.reader.wake();
    }

    /// Whether the input was stopped; otherwise `reader` is woken when it is.
    pub(crate) fn input_stopped(&self, reader: &Waker) -> bool {
        self.reader.register(reader);
        self.input_stopped.load(Acquire)
    }

    pub(crate) fn bytes_in(&self) -> u64 {
        self.figures.get(Figure::BytesIn)
    }

    pub(crate) fn bytes_out(&self) -> u64 {
        self.figures.get(Figure::BytesOut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(limit: Option<Bytes>) -> Flow {
        let flow = Flow::new(Arc::new(Figures::own()));
        flow.set_limit(limit);
        flow
    }

    #[test]
    fn what_fits_is_allowed_and_the_rest_is_an_overflow() {
        let flow = flow(Some(Bytes::new(10)));
        assert_eq!(flow.allow(6), 6);
        flow.note_written(b"sixbyt");
        assert!(!flow.overflowed());
        assert_eq!(flow.allow(6), 4);
        assert!(flow.overflowed());
        assert_eq!(flow.bytes_out(), 6);
    }

    #[test]
    fn the_end_of_what_was_written_is_kept_once_somebody_listens() {
        let flow = flow(None);
        flow.note_written(b"unheard");
        flow.listen();
        flow.note_written(b"heard, ");
        flow.note_written(b"and heard");
        assert_eq!(flow.last_words(), b"heard, and heard");

        flow.note_written(&[b'x'; 3 * LAST_WORDS_SIZE]);
        flow.note_written(b"last");

        let words = flow.last_words();
        assert_eq!(words.len(), LAST_WORDS_SIZE);
        assert!(words.ends_with(b"xlast"));
    }
}
