//! How much an archive that comes from outside may make of this host's disk.

use std::cell::Cell;
use std::io;
use std::io::Read;
use std::path::Path;

use crate::platform::files;
use crate::units::Bytes;

/// How much an archive may unpack to, whatever its ratio.
const FREE: u64 = 256 << 20;

/// How many times its own size an archive may unpack to beyond that.
///
/// What is in it are the layers of an image, plain or compressed once more: programs reach five,
/// text ten. `gzip` alone could reach a thousand, with nothing in it but zeros.
const RATIO_MAX: u64 = 100;

/// How much of a disk is left to others when a file of an archive is written.
const SPARE: u64 = 1 << 20;

/// Fails where the file system that `path` is on has no room for a file of `size` bytes, before any
/// of it is written.
pub(super) fn room_for(path: &Path, size: u64) -> Result<(), String> {
    match files::free_space(path) {
        Some(free) if free < size.saturating_add(SPARE) && SPARE < size => Err(format!(
            "a file of it has {}, and `{}` has room for {}: make room there",
            Bytes::new(size),
            path.display(),
            Bytes::new(free)
        )),
        _ => Ok(()),
    }
}

/// Counts what is read.
pub(super) struct Counted<'a, R> {
    inner: R,
    count: &'a Cell<u64>,
}

impl<'a, R> Counted<'a, R> {
    pub(super) fn new(inner: R, count: &'a Cell<u64>) -> Self {
        Self { inner, count }
    }
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.count.set(self.count.get() + count as u64);
        Ok(count)
    }
}

/// What something compressed becomes, as long as that is not out of all proportion.
pub(super) struct Inflating<'a, R> {
    inner: R,
    taken: &'a Cell<u64>,
    made: u64,
}

impl<'a, R> Inflating<'a, R> {
    /// `taken` counts what `inner` takes to make what it makes.
    pub(super) fn new(inner: R, taken: &'a Cell<u64>) -> Self {
        Self { inner, taken, made: 0 }
    }
}

impl<R: Read> Read for Inflating<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.made = self.made.saturating_add(count as u64);
        if self.taken.get().saturating_mul(RATIO_MAX).max(FREE) < self.made {
            let taken = Bytes::new(self.taken.get());
            return Err(io::Error::other(format!(
                "{taken} of it unpack to more than {RATIO_MAX} times as much"
            )));
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_unpacks_out_of_all_proportion_is_refused_soon_and_what_is_ordinary_is_not() {
        let taken = Cell::new(0);
        let packed = Counted::new(io::repeat(0).take(10), &taken);
        let mut packed = io::BufReader::new(packed);
        io::copy(&mut packed, &mut io::sink()).expect("read");
        assert_eq!(taken.get(), 10);
        let mut bomb = Inflating::new(io::repeat(0), &taken);
        let error = io::copy(&mut bomb, &mut io::sink()).expect_err("refused");
        assert!(error.to_string().contains("100 times as much"), "{error}");
        assert!(bomb.made <= FREE + (1 << 20), "{} bytes were made", bomb.made);

        taken.set(FREE / 40);
        let mut honest = Inflating::new(io::repeat(0).take(FREE * 2), &taken);
        assert_eq!(io::copy(&mut honest, &mut io::sink()).expect("read"), FREE * 2);
    }

    #[test]
    fn a_file_that_no_disk_has_room_for_is_refused_before_it_is_written() {
        let dir = tempfile::tempdir().expect("a directory");
        room_for(dir.path(), 1000).expect("there is room");
        if files::free_space(dir.path()).is_some() {
            let error = room_for(dir.path(), u64::MAX).expect_err("there is none");
            assert!(error.contains("has room for"), "{error}");
        }
    }
}
