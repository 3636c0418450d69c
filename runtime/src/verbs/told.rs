//! How much a Dockerfile says: a few lines can say a name a thousand times as long, again and again.

use crate::units::Bytes;

use super::assets::invalid;
use super::images::Failure;

/// The most bytes of variables, arguments and labels of a stage, and the most of them.
const SIZE_MAX: usize = 1 << 20;
const COUNT_MAX: usize = 4096;

/// The most bytes of them in all stages together: each stage has a copy of what it begins with.
const SIZE_ALL_MAX: usize = 64 << 20;

/// What was said so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    size: usize,
    count: usize,
}

impl Told {
    /// Counts a variable, an argument or a label of a stage before it is kept.
    pub(super) fn one(&mut self, name: &str, value: &str) -> Result<(), Failure> {
        self.size += name.len() + value.len();
        self.count += 1;
        if SIZE_MAX < self.size || COUNT_MAX < self.count {
            return Err(invalid(format!(
                "the stage has more than {COUNT_MAX} variables, arguments and labels, or more than {} \
                 of them",
                Bytes::new(SIZE_MAX as u64)
            )));
        }
        Ok(())
    }

    /// Counts a stage.
    pub(super) fn all(&mut self, stage: &Self) -> Result<(), Failure> {
        self.size += stage.size;
        if SIZE_ALL_MAX < self.size {
            return Err(invalid(format!(
                "the stages have more than {} of variables, arguments and labels together",
                Bytes::new(SIZE_ALL_MAX as u64)
            )));
        }
        Ok(())
    }
}
