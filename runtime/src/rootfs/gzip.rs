//! A layer compressed by several threads: one member of gzip, and the same bytes however many
//! threads there are.
//!
//! What is written is cut into blocks of one size. Each is compressed on its own, with the end of
//! the one before as its dictionary, and ends at a whole byte, so that the blocks one behind the
//! other are one stream. Source: RFC 1951 and 1952; `pigz` does the same.

use std::io;
use std::io::Write;
use std::num::NonZero;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::mpsc;
use std::thread;

use flate2::Compress;
use flate2::Compression;
use flate2::Crc;
use flate2::FlushCompress;
use sha2::Digest as _;
use sha2::Sha256;

use crate::digest::Digest;

use super::layer::LayerError;

/// How many bytes are compressed at once. The bytes of a layer depend on it.
const BLOCK_SIZE: usize = 512 << 10;

/// How far back a match of the method reaches.
const DICTIONARY_SIZE: usize = 32 << 10;

/// How hard it is compressed: what comes out is no larger than what other builders make. One level
/// more takes a third longer for one part in a hundred.
const LEVEL: u32 = 5;

/// How even bytes must be so that a block is taken for dense, in hundredths: how often two of them
/// are the same, to how often they were if all were equally likely. Random bytes, and what is
/// compressed already, are below; text is at 1500.
const DENSE_EVENNESS: u64 = 105;

/// How much of a block that is so even is tried before it is left as it is.
const TRIED_SIZE: usize = 64 << 10;

/// How many threads compress at most: beyond, reading and hashing hold them up.
const THREADS_MAX: usize = 16;

/// How many blocks may be ahead for each thread. They bound the memory: with as many that are done
/// and wait to be written, three megabytes a thread.
const BLOCKS_AHEAD: usize = 2;

/// The head of a member: no name, no time, and no system, as other writers say it.
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// Lets `work` write, and writes that compressed to `out`. Returns `out`, and the digest of what
/// was written before it was compressed.
pub(crate) fn compress<W: Write + Send>(
    out: W,
    work: impl FnOnce(&mut Feed) -> Result<(), LayerError>,
) -> Result<(W, Digest), LayerError> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    compress_by(threads.min(THREADS_MAX), out, work)
}

fn compress_by<W: Write + Send>(
    threads: usize,
    out: W,
    work: impl FnOnce(&mut Feed) -> Result<(), LayerError>,
) -> Result<(W, Digest), LayerError> {
    let failed = |source| LayerError::Write { source };
    let (send_block, blocks) = mpsc::sync_channel(threads * BLOCKS_AHEAD);
    let (send_due, due) = mpsc::sync_channel(threads * BLOCKS_AHEAD);
    let blocks = Mutex::new(blocks);
    thread::scope(|scope| {
        let named = |name: &str| thread::Builder::new().name(name.to_owned());
        for _ in 0..threads {
            let blocks = &blocks;
            named("gzip").spawn_scoped(scope, move || pack_all(blocks)).map_err(failed)?;
        }
        let writing =
            named("layer").spawn_scoped(scope, move || write_all(out, &due)).map_err(failed)?;
        let mut feed = Feed {
            block: Vec::with_capacity(BLOCK_SIZE),
            dictionary: Vec::new(),
            hasher: Sha256::new(),
            send_block,
            send_due,
        };
        let worked = work(&mut feed);
        let hasher = feed.hasher.clone();
        let fed = worked.and_then(|()| feed.send(true).map_err(failed));
        // Those who compress and who writes learn that nothing more comes.
        drop(feed);
        let written = writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // Where nobody writes any more, why is what matters.
        match (fed, written) {
            (Err(LayerError::Write { .. }) | Ok(()), Err(source)) => Err(failed(source)),
            (fed, written) => {
                fed?;
                Ok((written.map_err(failed)?, Digest::from_hasher(hasher)))
            }
        }
    })
}

/// A block, and to whom it goes once it is compressed.
struct Block {
    bytes: Vec<u8>,
    dictionary: Vec<u8>,
    is_last: bool,
    done: mpsc::SyncSender<io::Result<Packed>>,
}

/// A block that is compressed, with the checksum of what is in it.
struct Packed {
    bytes: Vec<u8>,
    checksum: Crc,
}

/// Where a layer is written to that is to be compressed.
pub(crate) struct Feed {
    block: Vec<u8>,
    dictionary: Vec<u8>,
    hasher: Sha256,
    send_block: mpsc::SyncSender<Block>,
    send_due: mpsc::SyncSender<mpsc::Receiver<io::Result<Packed>>>,
}

impl Feed {
    fn send(&mut self, is_last: bool) -> io::Result<()> {
        let ended = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        let bytes = std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK_SIZE));
        let dictionary = bytes[bytes.len().saturating_sub(DICTIONARY_SIZE)..].to_vec();
        let dictionary = std::mem::replace(&mut self.dictionary, dictionary);
        let (done, packed) = mpsc::sync_channel(1);
        // Who writes takes them in this order, whichever is done first.
        self.send_due.send(packed).map_err(|_| io::ErrorKind::BrokenPipe)?;
        self.send_block.send(Block { bytes, dictionary, is_last, done }).map_err(ended)
    }
}

impl Write for Feed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.block.len() == BLOCK_SIZE {
            self.send(false)?;
        }
        let count = bytes.len().min(BLOCK_SIZE - self.block.len());
        self.block.extend_from_slice(&bytes[..count]);
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    // A block ends where it is full, whoever would like to see it before.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Compresses blocks until no more come.
fn pack_all(blocks: &Mutex<mpsc::Receiver<Block>>) {
    loop {
        // The lock is held while waiting, and not while working.
        let next = blocks.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Block { bytes, dictionary, is_last, done }) = next else { return };
        let _nobody_writes = done.send(pack(&bytes, &dictionary, is_last));
    }
}

fn pack(bytes: &[u8], dictionary: &[u8], is_last: bool) -> io::Result<Packed> {
    let level = if is_dense(bytes)? { Compression::none() } else { Compression::new(LEVEL) };
    let flush = if is_last { FlushCompress::Finish } else { FlushCompress::Sync };
    let packed = deflate(level, bytes, dictionary, flush)?;
    let mut checksum = Crc::new();
    checksum.update(bytes);
    Ok(Packed { bytes: packed, checksum })
}

fn deflate(
    level: Compression,
    bytes: &[u8],
    dictionary: &[u8],
    flush: FlushCompress,
) -> io::Result<Vec<u8>> {
    // Always a new one: what was compressed before shows in the bytes of one that is used again.
    let mut packer = Compress::new(level, false);
    if !dictionary.is_empty() {
        packer.set_dictionary(dictionary).map_err(io::Error::other)?;
    }
    let mut packed = Vec::with_capacity(bytes.len() / 2 + 1024);
    loop {
        let taken = usize::try_from(packer.total_in()).unwrap_or(bytes.len());
        packer.compress_vec(&bytes[taken..], &mut packed, flush).map_err(io::Error::other)?;
        // All of it is out only where there was room for more.
        if packed.len() < packed.capacity() {
            return Ok(packed);
        }
        packed.reserve(packed.capacity() / 2);
    }
}

/// Whether bytes cannot be made fewer, as far as a part of them tells: nearly all the time would go
/// into those.
fn is_dense(bytes: &[u8]) -> io::Result<bool> {
    let mut counts = [0_u64; 256];
    for byte in bytes {
        counts[usize::from(*byte)] += 1;
    }
    // In numbers without fractions, so that all hosts agree.
    let same: u64 = counts.iter().map(|count| count * count).sum();
    let all = bytes.len() as u64;
    if bytes.len() < TRIED_SIZE || DENSE_EVENNESS * all * all < same * 256 * 100 {
        return Ok(false);
    }
    // Even bytes may still repeat one another.
    let tried = &bytes[..TRIED_SIZE];
    let packed = deflate(Compression::new(2), tried, &[], FlushCompress::Finish)?;
    Ok(TRIED_SIZE - TRIED_SIZE / 100 < packed.len())
}

/// Writes what is compressed, in order.
fn write_all<W: Write>(
    mut out: W,
    due: &mpsc::Receiver<mpsc::Receiver<io::Result<Packed>>>,
) -> io::Result<W> {
    out.write_all(&HEAD)?;
    let mut checksum = Crc::new();
    while let Ok(packed) = due.recv() {
        let Ok(packed) = packed.recv() else { break };
        let packed = packed?;
        out.write_all(&packed.bytes)?;
        checksum.combine(&packed.checksum);
    }
    out.write_all(&checksum.sum().to_le_bytes())?;
    // Of the size, the lower half is told.
    out.write_all(&checksum.amount().to_le_bytes())?;
    out.flush()?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;

    fn compressed(threads: usize, bytes: &[u8]) -> Vec<u8> {
        let (out, digest) = compress_by(threads, Vec::new(), |feed| {
            feed.write_all(bytes).map_err(|source| LayerError::Write { source })
        })
        .expect("compressed");
        assert_eq!(digest, Digest::of(bytes));
        out
    }

    /// Bytes without an order, the same each time.
    fn noise(count: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let next = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        });
        next.take(count).collect()
    }

    #[test]
    fn all_threads_make_one_member_of_the_same_bytes() {
        let words = b"what is said more than once is said in fewer bytes. ";
        let text: Vec<u8> = words.iter().copied().cycle().take(BLOCK_SIZE + 1).collect();
        let mixed = [noise(BLOCK_SIZE * 2), text.clone(), noise(700)].concat();
        for bytes in [&b""[..], b"x", &text, &text[..BLOCK_SIZE], &noise(BLOCK_SIZE), &mixed] {
            let out = compressed(1, bytes);
            assert_eq!(out, compressed(5, bytes));
            let mut unpacked = Vec::new();
            // It reads one member alone, and leaves what is behind it.
            let mut reader = GzDecoder::new(out.as_slice());
            reader.read_to_end(&mut unpacked).expect("a member");
            assert!(reader.into_inner().is_empty());
            assert_eq!(unpacked, bytes);
        }
        let noise = noise(BLOCK_SIZE);
        assert!(is_dense(&noise).expect("tried") && !is_dense(&text).expect("tried"));
        let again: Vec<u8> = noise[..8192].iter().copied().cycle().take(BLOCK_SIZE).collect();
        assert!(!is_dense(&again).expect("tried"));
        assert!(compressed(2, &noise).len() < BLOCK_SIZE + 1024);
        assert!(compressed(2, &text).len() < BLOCK_SIZE / 50);
    }

    #[test]
    fn a_block_knows_the_end_of_the_one_before() {
        let mut bytes = noise(BLOCK_SIZE + 16 * 1024);
        let (before, after) = bytes.split_at_mut(BLOCK_SIZE);
        after.copy_from_slice(&before[BLOCK_SIZE - 16 * 1024..]);
        let one = compressed(2, &bytes[..BLOCK_SIZE]).len();
        assert!(compressed(2, &bytes).len() < one + 1024);
    }

    #[test]
    fn who_cannot_write_says_why_and_waits_for_nobody() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let bytes = vec![0; BLOCK_SIZE];
        let endless = compress_by(2, Full, |feed| {
            loop {
                feed.write_all(&bytes).map_err(|source| LayerError::Write { source })?;
            }
        });
        let Err(LayerError::Write { source }) = endless else { panic!("it was written") };
        assert_eq!(source.kind(), io::ErrorKind::StorageFull);
        let told = compress_by(2, Vec::new(), |_| Err(LayerError::TooMany));
        assert!(matches!(told, Err(LayerError::TooMany)));
    }
}
