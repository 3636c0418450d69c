//! How much an image may make of this host, whatever it says.

/// The most bytes that the layers of an image unpack to, together.
///
/// Without it a few kilobytes of archive fill the disk. Images of whole toolchains have some tens
/// of gigabytes; those of wasm programs have far less.
pub(crate) const BYTES_MAX: u64 = 64 << 30;

/// How much a layer may unpack to, whatever its ratio.
///
/// Small layers that compress very well are honest: a gigabyte of zeros in a test is one.
pub(crate) const BYTES_FREE: u64 = 1 << 30;

/// How many times its own size a layer may unpack to beyond that.
///
/// `gzip` cannot reach more than 1032; a layer of text reaches 5, of zeros what the method can do.
pub(crate) const RATIO_MAX: u64 = 1000;

/// The most entries that the layers of an image have, together.
///
/// Each costs an inode, which a disk runs out of, and a dozen microseconds. A distribution's
/// largest images have some hundred thousand.
pub(crate) const ENTRIES_MAX: u64 = 1_000_000;

/// The longest path of an entry, and the longest target of a link, in bytes: what Linux takes.
pub(crate) const PATH_MAX: usize = 4096;

/// The longest name in a path, in bytes: what file systems take.
pub(crate) const NAME_MAX: usize = 255;

/// How many directories deep an entry may be.
///
/// Whoever walks a tree holds something for each level; nobody nests by hand as deep as this.
pub(crate) const DEPTH_MAX: usize = 256;

/// How many symbolic links a way may lead through: what Linux takes. More are a circle.
pub(crate) const LINKS_MAX: usize = 40;

/// The most bytes that are told of an entry beside its header: long names, extended attributes.
///
/// They are read into memory before the entry is. Go's reader, and so other tools, take as much.
pub(crate) const EXTENSIONS_MAX: u64 = 1 << 20;

/// The largest window, as a power of two, that a layer of `zstd` may ask for: 128 MiB, which is
/// what `zstd --long` writes and what its readers take without being asked for more.
pub(crate) const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// The bounds of an unpacking, so that tests need no gigabytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) bytes: u64,
    pub(crate) bytes_free: u64,
    pub(crate) ratio: u64,
    pub(crate) entries: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { bytes: BYTES_MAX, bytes_free: BYTES_FREE, ratio: RATIO_MAX, entries: ENTRIES_MAX }
    }
}
