//! The figures of one guest: what it uses, and what it may, in one place that can be shared with the
//! process that runs it.
//!
//! Whoever keeps a guest in another process reads there what the guest uses without asking, also of
//! one that spins or was killed, and changes there what it may, at once. What is read of another
//! process is its word.

use std::fs::File;
use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::platform::numbers::COUNT;
use crate::platform::numbers::Numbers;

/// One figure.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Figure {
    /// Memory, in bytes: what there may be, what there is, and the most that there was.
    MemoryLimit,
    MemoryUsed,
    MemoryPeak,
    /// Growths that were refused, and the total that the last one would have made.
    Refusals,
    RefusedTotal,
    /// Whether the last growth that was asked for was refused.
    RefusedLast,
    /// Bytes of standard input and output.
    BytesIn,
    BytesOut,
    OutputLimit,
    Overflowed,
    /// Whether standard output ended in the middle of a line.
    MidLine,
    /// When the guest was launched, in nanoseconds of the system's steady clock.
    LaunchedAt,
    /// Nanoseconds from launch to the first instruction, and to the end.
    FirstInstruction,
    EndedAfter,
    HostCalls,
    Denials,
    Fuel,
    /// Nanoseconds of processor time: used, and allowed.
    CpuTime,
    CpuLimit,
    /// The share of processors, in millionths of one.
    Share,
    OpenFilesMax,
}

const _: () = assert!((Figure::OpenFilesMax as usize) < COUNT, "there is a number for each figure");

/// What stands for no limit, and for what is not known yet.
pub(crate) const NONE: u64 = u64::MAX;

/// The figures of one guest.
#[derive(Debug)]
pub(crate) struct Figures(Numbers);

impl Figures {
    /// Figures that this process alone sees.
    pub(crate) fn own() -> Self {
        Self(Numbers::own())
    }

    /// Figures that whoever is given the file sees as well.
    pub(crate) fn shared() -> io::Result<(Self, File)> {
        Numbers::shared().map(|(numbers, file)| (Self(numbers), file))
    }

    /// The figures that somebody shares by this file.
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        Numbers::of(file).map(Self)
    }

    pub(crate) fn at(&self, figure: Figure) -> &AtomicU64 {
        &self.0.all()[figure as usize]
    }

    pub(crate) fn get(&self, figure: Figure) -> u64 {
        self.at(figure).load(Relaxed)
    }

    /// The figure, where there is one.
    pub(crate) fn known(&self, figure: Figure) -> Option<u64> {
        Some(self.get(figure)).filter(|figure| *figure != NONE)
    }

    pub(crate) fn set(&self, figure: Figure, value: u64) {
        self.at(figure).store(value, Relaxed);
    }
}
