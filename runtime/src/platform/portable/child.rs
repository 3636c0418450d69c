//! A child that runs beside this process: none here, because the standard library gives a child no
//! more than its three streams.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::DuplexStream;

use crate::platform::ChildEnd;

/// Whether there are such children.
pub(crate) fn are_available() -> bool {
    false
}

/// What one of a child's standard streams would be.
#[derive(Debug)]
#[expect(dead_code, reason = "no child is started")]
pub(crate) enum Stream {
    Inherit,
    Null,
    Handle(File),
}

/// The near end of a channel to a child.
pub(crate) type Channel = DuplexStream;

/// The writing end of a child's standard input.
pub(crate) type InputPipe = DuplexStream;

/// The reading end of what a child writes.
pub(crate) type OutputPipe = DuplexStream;

fn none<T>() -> io::Result<T> {
    let reason = "this system has no processes that Aril could run a guest in";
    Err(io::Error::new(io::ErrorKind::Unsupported, reason))
}

/// Fails.
pub(crate) fn channel() -> io::Result<(Channel, File)> {
    none()
}

/// Fails.
pub(crate) fn input_pipe() -> io::Result<(InputPipe, File)> {
    none()
}

/// Fails.
pub(crate) fn output_pipe() -> io::Result<(OutputPipe, File)> {
    none()
}

/// Fails.
pub(crate) fn pipe() -> io::Result<(File, File)> {
    none()
}

/// Fails.
pub(crate) fn do_not_wait(_file: &File) -> io::Result<()> {
    none()
}

/// Fails.
pub(crate) fn end_with(_leash: &File) -> io::Result<()> {
    none()
}

/// Nothing finds anything by it.
pub(crate) fn number(_file: &File) -> u32 {
    0
}

/// Fails: nothing was given.
pub(crate) fn given(_number: u32) -> io::Result<File> {
    none()
}

/// There is none.
#[derive(Debug)]
pub(crate) struct Child(Infallible);

impl Child {
    pub(crate) fn set_oom_score(&self, _score: i32) -> io::Result<()> {
        match self.0 {}
    }

    /// Fails.
    pub(crate) fn start(
        _program: &Path,
        _args: &[String],
        _streams: &[Stream; 3],
        _given: &[&File],
    ) -> io::Result<Self> {
        none()
    }

    pub(crate) fn id(&self) -> u32 {
        match self.0 {}
    }

    pub(crate) fn kill(&self) {
        match self.0 {}
    }

    pub(crate) fn is_gone(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn stop(&self) -> io::Result<()> {
        match self.0 {}
    }

    pub(crate) fn go_on(&self) -> io::Result<()> {
        match self.0 {}
    }

    pub(crate) fn is_stopped(&self) -> io::Result<bool> {
        match self.0 {}
    }

    #[expect(clippy::unused_async, reason = "other systems wait")]
    pub(crate) async fn ended(&self) -> io::Result<ChildEnd> {
        match self.0 {}
    }

    pub(crate) fn cpu_time(&self) -> Option<Duration> {
        match self.0 {}
    }

    pub(crate) fn bound_memory(&self, _bytes: Option<u64>) -> io::Result<()> {
        match self.0 {}
    }
}
