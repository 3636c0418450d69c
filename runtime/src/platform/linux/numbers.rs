//! A page of numbers: of this process alone, or shared with a child that holds the other end.

use std::fs::File;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use rustix::fs::MemfdFlags;
use rustix::fs::SealFlags;
use rustix::mm::MapFlags;
use rustix::mm::ProtFlags;

/// How many numbers there are. What is shared takes a page all the same.
pub(crate) const COUNT: usize = 32;

/// What the numbers take.
const SIZE: usize = COUNT * size_of::<AtomicU64>();

/// The numbers. All of them are zero at first.
#[derive(Debug)]
pub(crate) struct Numbers {
    place: Place,
}

#[derive(Debug)]
enum Place {
    Own(Box<[AtomicU64; COUNT]>),
    /// Where they are mapped, until this is dropped.
    Shared(NonNull<[AtomicU64; COUNT]>),
}

// SAFETY: atomics are made to be used from everywhere, and the mapping is nobody else's to undo.
#[expect(unsafe_code, reason = "a mapping of atomics is like a box of them")]
unsafe impl Send for Numbers {}

// SAFETY: as above.
#[expect(unsafe_code, reason = "a mapping of atomics is like a box of them")]
unsafe impl Sync for Numbers {}

impl Numbers {
    /// Numbers of this process alone.
    pub(crate) fn own() -> Self {
        Self { place: Place::Own(Box::new([const { AtomicU64::new(0) }; COUNT])) }
    }

    /// Numbers that whoever is given the file shares. What is found in them is what the others
    /// wrote, and no more to be trusted than they are.
    pub(crate) fn shared() -> io::Result<(Self, File)> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("aril-numbers", flags)?;
        rustix::fs::ftruncate(&file, SIZE as u64)?;
        // Whoever made it shorter would end whoever looks behind its end.
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&file, seals)?;
        let file = File::from(file);
        Ok((Self::of(&file)?, file))
    }

    /// The numbers that somebody shares by this file.
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        // A shorter file would end this process when it reads behind its end.
        if file.metadata()?.len() < SIZE as u64 {
            return Err(io::Error::other("it is too short for the numbers"));
        }
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, where the kernel chooses. It begins at a page.
        #[expect(unsafe_code, reason = "maps a file")]
        let start = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), SIZE, access, MapFlags::SHARED, file, 0)
        }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { place: Place::Shared(start) })
    }

    /// All of them.
    pub(crate) fn all(&self) -> &[AtomicU64; COUNT] {
        match &self.place {
            Place::Own(numbers) => numbers,
            // SAFETY: it is mapped as long as `self` is there, at a page, with the size of the
            // array; any bytes are numbers, and others change them by atomics alone or are not to
            // be trusted with what they find, which is theirs to bear.
            #[expect(unsafe_code, reason = "looks at what is mapped")]
            Place::Shared(start) => unsafe { start.as_ref() },
        }
    }
}

impl Drop for Numbers {
    fn drop(&mut self) {
        if let Place::Shared(start) = self.place {
            // SAFETY: it was mapped by `of` with this size, and nobody looks at it any more.
            #[expect(unsafe_code, reason = "ends the mapping")]
            let _unmapped = unsafe { rustix::mm::munmap(start.as_ptr().cast(), SIZE) };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    #[test]
    fn numbers_are_seen_by_whoever_has_the_file() {
        let (here, file) = Numbers::shared().expect("shared");
        let there = Numbers::of(&file).expect("mapped");
        here.all()[COUNT - 1].store(7, Relaxed);
        assert_eq!(there.all()[COUNT - 1].load(Relaxed), 7);
        drop(here);
        assert_eq!(there.all()[COUNT - 1].load(Relaxed), 7);
    }

    #[test]
    fn a_file_that_is_too_short_is_refused() {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(8).expect("a size");
        assert!(Numbers::of(&file).is_err());
    }
}
