//! What the kernel told this process when it was started: words and environment, in one piece of
//! memory above its stack.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::ptr::NonNull;

// JUSTIFICATION: the standard library copies words and variables, and tells nobody where they are.
// SAFETY: the C library has both, with these types.
#[expect(unsafe_code, reason = "names variables of the C library")]
unsafe extern "C" {
    /// What the C library knows this program by: its first word, where the kernel put it.
    static program_invocation_name: *const libc::c_char;
    static environ: *mut *const libc::c_char;
}

/// How long all of it can be: the kernel takes no more.
const SIZE_MAX: usize = 16 << 20;

/// Where that memory is: the words, then the environment, then the path that was started.
#[derive(Clone, Copy, Debug)]
struct Told {
    first: NonNull<u8>,
    /// How many bytes are the words'.
    words: usize,
    /// How many bytes it is in all.
    all: usize,
}

impl Told {
    /// Nothing where it is not laid out as this kernel does.
    fn find() -> Option<Self> {
        // SAFETY: the C library has set it before `main`, and nobody changes it.
        #[expect(unsafe_code, reason = "reads a variable of the C library")]
        let name = unsafe { program_invocation_name };
        let first = NonNull::new(name.cast_mut().cast::<u8>())?;
        let path = rustix::param::linux_execfn();
        let end = path.as_ptr().addr().checked_add(path.to_bytes_with_nul().len())?;
        let all =
            end.checked_sub(first.addr().get()).filter(|size| (1..SIZE_MAX).contains(size))?;
        let environment = NonNull::new(variables()).map(|list| {
            // SAFETY: the list has an end that is null, if nothing else.
            #[expect(unsafe_code, reason = "reads the first entry of the environment")]
            unsafe {
                list.read()
            }
        });
        let environment = environment.map_or(0, <*const libc::c_char>::addr);
        let path = path.as_ptr().addr();
        let words = if environment == 0 { path } else { environment.min(path) };
        let words = words.checked_sub(first.addr().get()).filter(|size| (1..all).contains(size))?;
        Some(Self { first, words, all })
    }
}

/// The environment as the C library has it: pointers, the last of which is null.
fn variables() -> *mut *const libc::c_char {
    // SAFETY: it is set before `main`. Whoever changes it says that nobody reads it meanwhile.
    #[expect(unsafe_code, reason = "reads a variable of the C library")]
    unsafe {
        environ
    }
}

/// Where that memory begins, if that is known: what is below it is the stack of the first thread.
pub(super) fn end_of_stack() -> Option<usize> {
    Told::find().map(|told| told.first.addr().get())
}

/// The place of the words that this process is listed by.
#[derive(Debug)]
pub(super) struct Listing {
    first: NonNull<u8>,
    room: usize,
}

impl Listing {
    /// Puts the first of these there that fits, and nothing else.
    pub(super) fn say(&self, words: &[&[u8]]) {
        // SAFETY: it is this process's own memory, `room` bytes of it, which nobody refers to since
        // it was forgotten what was there.
        #[expect(unsafe_code, reason = "overwrites words in their place")]
        unsafe {
            self.first.write_bytes(0, self.room);
        }
        let Some(words) = words.iter().find(|words| words.len() <= self.room) else { return };
        // SAFETY: as above; `words` is elsewhere, and fits.
        #[expect(unsafe_code, reason = "writes words in their place")]
        unsafe {
            self.first.copy_from_nonoverlapping(NonNull::from(*words).cast(), words.len());
        }
    }
}

/// Shows the words that this process was started with, its own name first, without a copy.
pub(crate) fn with_words<T>(look: impl FnOnce(&[&OsStr]) -> T) -> T {
    let Some(told) = Told::find() else {
        #[expect(clippy::disallowed_methods, reason = "there is no other place of them")]
        let words: Vec<_> = std::env::args_os().collect();
        return look(&words.iter().map(AsRef::as_ref).collect::<Vec<_>>());
    };
    // SAFETY: that memory is this process's as long as it lives. It is written in `forget` alone,
    // while nobody looks.
    #[expect(unsafe_code, reason = "reads what the kernel wrote")]
    let words = unsafe { std::slice::from_raw_parts(told.first.as_ptr(), told.words) };
    let words = words.strip_suffix(&[0]).unwrap_or(words);
    look(&words.split(|byte| *byte == 0).map(OsStr::from_bytes).collect::<Vec<_>>())
}

/// Overwrites all of it, and what the kernel gave to make secrets from: neither words nor variables
/// are in this process's memory any more. Returns where the words were.
///
/// This process has one thread, and nobody holds a reference to any of it.
pub(super) fn forget() -> Option<Listing> {
    let told = Told::find()?;
    if let Some(list) = NonNull::new(variables()) {
        // SAFETY: the list has an end that is null, if nothing else; it is cut here.
        #[expect(unsafe_code, reason = "empties the environment")]
        unsafe {
            list.write(std::ptr::null());
        }
    }
    // SAFETY: it is this process's own memory, `all` bytes of it, which nobody refers to.
    #[expect(unsafe_code, reason = "overwrites what the kernel wrote")]
    unsafe {
        told.first.write_bytes(0, told.all);
    }
    // SAFETY: asks for a number.
    #[expect(unsafe_code, reason = "asks for what the kernel gave")]
    let random = unsafe { libc::getauxval(libc::AT_RANDOM) };
    let random = usize::try_from(random).unwrap_or_default();
    if let Some(random) = NonNull::new(std::ptr::with_exposed_provenance_mut::<u8>(random)) {
        // SAFETY: the kernel put sixteen bytes there, which the C library has used by now.
        #[expect(unsafe_code, reason = "overwrites what the kernel wrote")]
        unsafe {
            random.write_bytes(0, 16);
        }
    }
    // The last byte stays as it is, by which the kernel knows that the words end there.
    Some(Listing { first: told.first, room: told.words - 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_that_the_standard_library_knows() {
        #[expect(clippy::disallowed_methods, reason = "they are compared with")]
        let known: Vec<_> = std::env::args_os().collect();
        with_words(|words| assert_eq!(words, known));
        assert!(Told::find().is_some());
    }
}
