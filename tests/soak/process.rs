//! What this process holds of the host, as Linux tells it.

use std::fmt;
use std::fs;

use anyhow::Context as _;

/// Figures that must stay flat.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) resident_kib: u64,
    pub(crate) descriptors: usize,
    pub(crate) threads: u64,
    pub(crate) mappings: usize,
}

impl Figures {
    pub(crate) fn now() -> anyhow::Result<Self> {
        let status = fs::read_to_string("/proc/self/status").context("needs Linux")?;
        let number = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name));
            let words = line.and_then(|line| line.split_whitespace().nth(1));
            words.and_then(|word| word.parse().ok()).with_context(|| format!("no `{name}`"))
        };
        Ok(Self {
            resident_kib: number("VmRSS:")?,
            descriptors: fs::read_dir("/proc/self/fd")?.count(),
            threads: number("Threads:")?,
            mappings: fs::read_to_string("/proc/self/maps")?.lines().count(),
        })
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resident_kib, descriptors, threads, mappings } = self;
        write!(f, "{resident_kib} KiB, {descriptors} descriptors, {threads} threads, ")?;
        write!(f, "{mappings} mappings")
    }
}
