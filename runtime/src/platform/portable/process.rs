//! Bounds that a process puts on itself: none here, so that each call says so or does nothing.

use std::io;

/// Does nothing: this platform has no bound on memory. `doctor` says so.
#[expect(clippy::unnecessary_wraps, reason = "other systems can fail")]
pub(crate) fn bound_memory(_bytes: u64) -> io::Result<()> {
    Ok(())
}

/// The same.
#[expect(clippy::unnecessary_wraps, reason = "other systems can fail")]
pub(crate) fn bound_memory_for_now(_bytes: u64) -> io::Result<()> {
    Ok(())
}

/// As many as are asked for: nobody knows better here.
pub(crate) fn open_files_max(_granted: usize) -> u32 {
    u32::MAX
}

/// Does nothing: files are counted where a guest opens them.
#[expect(clippy::unnecessary_wraps, reason = "other systems can fail")]
pub(crate) fn bound_open_files(_guests: u32, _granted: usize) -> io::Result<()> {
    Ok(())
}

/// Does nothing: the parent's deadline for the compiler holds alone.
#[expect(clippy::unnecessary_wraps, reason = "other systems can fail")]
pub(crate) fn bound_cpu_time(_seconds: u64) -> io::Result<()> {
    Ok(())
}

/// Does nothing.
#[expect(clippy::unnecessary_wraps, reason = "other systems can fail")]
pub(crate) fn leave_no_core() -> io::Result<()> {
    Ok(())
}

/// Does nothing: the standard library does not know who may read a process's memory.
#[expect(clippy::unnecessary_wraps, reason = "other systems can fail")]
pub(crate) fn keep_secrets() -> io::Result<()> {
    Ok(())
}

/// Does nothing: the standard library knows no signals.
pub(crate) fn bear_large_files() {}

/// Does nothing: the compiler ends by its own deadline.
#[expect(clippy::unnecessary_wraps, reason = "other systems can fail")]
pub(crate) fn end_with(_parent: u32) -> io::Result<()> {
    Ok(())
}

/// Does nothing: the standard library marks no handle as inherited.
pub(crate) fn close_inherited() {}

/// Handles that stay open when all others are closed: all do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept;

impl Kept {
    /// The standard three.
    pub(crate) fn standard() -> Self {
        Self
    }

    /// Keeps what was inherited under this number as well.
    pub(crate) fn keep_number(&mut self, _number: u32) {}

    /// An error: the standard library knows no handles but its own.
    pub(crate) fn close_others(&self) -> io::Result<String> {
        Err(io::Error::other("this platform does not list what is open"))
    }
}

/// Ends this process.
pub(crate) fn exit_now(code: u8) -> ! {
    #[expect(clippy::exit, reason = "this is the one place where a process ends")]
    std::process::exit(i32::from(code))
}

/// Does nothing: a process that ends gives its memory back itself.
pub(crate) fn leave_memory_behind() {}

/// Does nothing: the allocator is the system's own.
pub(crate) fn share_one_heap() {}

/// Fails: the standard library knows no terminals.
pub(crate) fn go_on_alone() -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system cannot leave a process behind"))
}

/// Does nothing: no process is started here.
pub(crate) fn leave_session() {}

/// Nobody tells: it may be there.
pub(crate) fn is_there(_process: u32) -> bool {
    true
}

/// Nobody tells.
pub(crate) fn thread_count() -> Option<usize> {
    None
}

/// Does nothing: the system calls it as its file is.
pub(crate) fn be_called(_name: &std::ffi::CStr) {}

/// There is one.
pub(crate) fn number_space() -> u64 {
    0
}

/// The program that this process runs.
pub(crate) fn own_program() -> io::Result<std::path::PathBuf> {
    std::env::current_exe()
}

/// Nothing: the standard library knows no signals.
pub(crate) fn ending_signal(_status: std::process::ExitStatus) -> Option<i32> {
    None
}

/// Nothing: no process of this kind has one.
pub(crate) fn set_umask(_mask: u32) {}
