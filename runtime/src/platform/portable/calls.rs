//! System calls: other systems have no list of them that could be left to a process.

/// A call that ended a process. None does here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trapped {
    number: i32,
}

impl Trapped {
    /// How many bytes one is.
    pub(crate) const SIZE: usize = size_of::<i32>();

    pub(crate) fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        Self { number: i32::from_le_bytes(bytes) }
    }
}

impl std::fmt::Display for Trapped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the system call {}", self.number)
    }
}
