//! The bytes of a layer: read, hashed, decompressed and bounded by a thread of their own.
//!
//! What the archive is made of is looked at by another thread, so that decompressing and writing go
//! on side by side. Both digests are known when the last byte is; until then nothing is believed.

use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::sync::mpsc;
use std::thread;

use flate2::bufread::MultiGzDecoder;
use sha2::Digest as _;
use sha2::Sha256;

use crate::digest::Digest;
use crate::image::Compression;
use crate::image::Layer;

use super::bounds::Bounds;
use super::bounds::ZSTD_WINDOW_LOG_MAX;
use super::error::UnpackError;

/// How many bytes are handed over at once.
const CHUNK_SIZE: usize = 128 << 10;

/// How many chunks the decompressing thread may be ahead: a megabyte.
const CHUNKS_AHEAD: usize = 8;

/// Lets `work` read what a layer unpacks to, and returns what it made of that, and how many bytes
/// it was, once the layer turned out to be what its image says.
pub(super) fn read<R: Read + Send, T>(
    layer: &Layer,
    source: R,
    bounds: &Bounds,
    work: impl FnOnce(&mut Stream) -> Result<T, UnpackError>,
) -> Result<(T, u64), UnpackError> {
    let (send_full, full) = mpsc::sync_channel(CHUNKS_AHEAD);
    let (send_empty, empty) = mpsc::channel();
    thread::scope(|scope| {
        let feed = Feed { layer, bounds, send_full, empty, produced: 0 };
        let feeding = thread::Builder::new()
            .name("layer".to_owned())
            .spawn_scoped(scope, move || feed.run(source))
            .map_err(|source| UnpackError::Read { layer: layer.blob.digest, source })?;
        let mut stream = Stream { full, send_empty, chunk: Vec::new(), at: 0 };
        let done = work(&mut stream);
        if done.is_ok() {
            stream.drain();
        }
        // Whoever still feeds learns that nobody wants more.
        drop(stream);
        let fed = feeding.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // A layer that is not what it should be explains all that was found wrong in it.
        let produced = fed?;
        Ok((done?, produced))
    })
}

/// What a layer unpacks to, in order.
#[derive(Debug)]
pub(super) struct Stream {
    full: mpsc::Receiver<Vec<u8>>,
    send_empty: mpsc::Sender<Vec<u8>>,
    chunk: Vec<u8>,
    at: usize,
}

impl Stream {
    fn drain(&mut self) {
        while let Ok(chunk) = self.full.recv() {
            let _nobody_feeds = self.send_empty.send(chunk);
        }
    }
}

impl BufRead for Stream {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.chunk.len() {
            // The end, where nothing comes any more.
            let next = self.full.recv().unwrap_or_default();
            let used = std::mem::replace(&mut self.chunk, next);
            let _nobody_feeds = self.send_empty.send(used);
            self.at = 0;
        }
        Ok(&self.chunk[self.at..])
    }

    fn consume(&mut self, count: usize) {
        self.at += count;
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

/// The thread that reads, hashes and decompresses.
struct Feed<'a> {
    layer: &'a Layer,
    bounds: &'a Bounds,
    send_full: mpsc::SyncSender<Vec<u8>>,
    empty: mpsc::Receiver<Vec<u8>>,
    produced: u64,
}

impl Feed<'_> {
    fn run(mut self, source: impl Read) -> Result<u64, UnpackError> {
        let layer = self.layer.blob.digest;
        let mut hashed = Hashed::new(source, self.layer.blob.size);
        let unpacked = self.decompress(&mut hashed);
        // The digest tells of every byte, also where the reader of the archive had enough.
        let _told_below = io::copy(&mut hashed, &mut io::sink());
        if let Some(source) = hashed.failed.take() {
            return Err(UnpackError::Read { layer, source });
        }
        hashed.verify(layer)?;
        match (unpacked?, self.layer.diff_id) {
            (Some(found), Some(expected)) if found != expected => Err(UnpackError::Broken {
                layer,
                reason: format!("it unpacks to {found}, and {expected} is expected"),
            }),
            _ => Ok(self.produced),
        }
    }

    /// Hands over all that the layer unpacks to. Returns its digest; nothing where it was not read
    /// to its end.
    fn decompress(
        &mut self,
        hashed: &mut Hashed<impl Read>,
    ) -> Result<Option<Digest>, UnpackError> {
        let layer = self.layer.blob.digest;
        let failed = |source| UnpackError::Decompress { layer, source };
        match self.layer.compression {
            // The same bytes: they are hashed as what they are read as.
            Compression::None => {
                let ended = self.hand_over(hashed, &mut |_: &[u8]| ())?;
                Ok(ended.then(|| Digest::from_hasher(hashed.hasher.clone())))
            }
            Compression::Gzip => {
                let buffered = BufReader::with_capacity(CHUNK_SIZE, hashed);
                self.hand_over_hashed(MultiGzDecoder::new(buffered))
            }
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::new(hashed).map_err(failed)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(failed)?;
                self.hand_over_hashed(decoder)
            }
        }
    }

    fn hand_over_hashed(&mut self, mut from: impl Read) -> Result<Option<Digest>, UnpackError> {
        let mut hasher = Sha256::new();
        let wanted = self.layer.diff_id.is_some();
        let ended = self.hand_over(&mut from, &mut |bytes: &[u8]| {
            if wanted {
                hasher.update(bytes);
            }
        })?;
        Ok((ended && wanted).then(|| Digest::from_hasher(hasher)))
    }

    /// Whether all was handed over; not so where the other thread had enough.
    fn hand_over(
        &mut self,
        from: &mut impl Read,
        see: &mut impl FnMut(&[u8]),
    ) -> Result<bool, UnpackError> {
        let layer = self.layer.blob.digest;
        let by_ratio = self.layer.blob.size.saturating_mul(self.bounds.ratio);
        let by_ratio = by_ratio.max(self.bounds.bytes_free);
        loop {
            let mut chunk = self.empty.try_recv().unwrap_or_default();
            chunk.resize(CHUNK_SIZE, 0);
            let mut filled = 0;
            while filled < chunk.len() {
                match from.read(&mut chunk[filled..]) {
                    Ok(0) => break,
                    Ok(count) => filled += count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(source) => return Err(UnpackError::Decompress { layer, source }),
                }
            }
            chunk.truncate(filled);
            self.produced += filled as u64;
            let too_large = |bytes, reason| UnpackError::TooLarge { layer, bytes, reason };
            if self.bounds.bytes < self.produced {
                let reason = "the layers of an image may have no more together";
                return Err(too_large(self.bounds.bytes, reason));
            }
            if by_ratio < self.produced {
                return Err(too_large(by_ratio, "it is too small for that much"));
            }
            if filled == 0 {
                return Ok(true);
            }
            see(&chunk);
            if self.send_full.send(chunk).is_err() {
                return Ok(false);
            }
        }
    }
}

/// The bytes of a blob, of which no more are read than it should have, and one.
struct Hashed<R> {
    source: R,
    hasher: Sha256,
    read: u64,
    size: u64,
    /// What the source failed at, however the reader above translates it.
    failed: Option<io::Error>,
}

impl<R: Read> Hashed<R> {
    fn new(source: R, size: u64) -> Self {
        Self { source, hasher: Sha256::new(), read: 0, size, failed: None }
    }

    fn verify(self, layer: Digest) -> Result<(), UnpackError> {
        let broken = |reason| Err(UnpackError::Broken { layer, reason });
        if self.size < self.read {
            return broken(format!("it is longer than the {} bytes it should have", self.size));
        }
        if self.read < self.size {
            return broken(format!("it ends after {} of {} bytes", self.read, self.size));
        }
        match Digest::from_hasher(self.hasher) {
            found if found == layer => Ok(()),
            found => broken(format!("its digest is {found}")),
        }
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.size.saturating_add(1).saturating_sub(self.read);
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let count = match self.source.read(&mut buffer[..wanted]) {
            Ok(count) => count,
            Err(error) => {
                let told = io::Error::from(error.kind());
                if error.kind() != io::ErrorKind::Interrupted {
                    self.failed.get_or_insert(error);
                }
                return Err(told);
            }
        };
        self.hasher.update(&buffer[..count]);
        self.read += count as u64;
        Ok(count)
    }
}
