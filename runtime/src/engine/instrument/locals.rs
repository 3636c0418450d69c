//! Which locals are worth keeping while the host is asked: those that are read afterwards, as far
//! as their order in the code tells.
//!
//! It is a guess. A local that is kept for nothing costs a little, and so does one that is not
//! kept; what the function computes does not depend on it.

use super::census::index;

/// Locals that are looked at, and how many of them are kept at the most.
const LOOKED_AT_MAX: u32 = 512;
pub(super) const KEPT_MAX: usize = 32;

/// How often a local is looked up in one function, at the most.
const LOOKUPS_MAX: u32 = 1 << 20;

/// A stretch of the code that can be repeated, or all of it.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    end: u32,
    repeats: bool,
    parent: usize,
}

/// Who names which local where, in one function.
#[derive(Debug)]
pub(super) struct Locals {
    /// Of each local, the places where it is named, and whether it is read there.
    named: Vec<Vec<(u32, bool)>>,
    /// The function, and its loops in the order of their heads.
    spans: Vec<Span>,
}

impl Default for Locals {
    fn default() -> Self {
        let whole = Span { start: 0, end: u32::MAX, repeats: false, parent: 0 };
        Self { named: Vec::new(), spans: vec![whole] }
    }
}

impl Locals {
    pub(super) fn note(&mut self, at: u32, local: u32, reads: bool) {
        if local < LOOKED_AT_MAX {
            if self.named.len() <= index(local) {
                self.named.resize(index(local) + 1, Vec::new());
            }
            if let Some(named) = self.named.get_mut(index(local)) {
                named.push((at, reads));
            }
        }
    }

    /// Notes that a loop begins within another one, if there is one.
    pub(super) fn open(&mut self, at: u32, outer: Option<usize>) {
        let parent = outer.map_or(0, |outer| outer + 1);
        self.spans.push(Span { start: at, end: u32::MAX, repeats: false, parent });
    }

    pub(super) fn close(&mut self, number: usize, at: u32, repeats: bool) {
        if let Some(span) = self.spans.get_mut(number + 1) {
            span.end = at;
            span.repeats = repeats;
        }
    }

    /// Where a loop begins.
    pub(super) fn head(&self, number: usize) -> u32 {
        self.spans.get(number + 1).map_or(0, |span| span.start)
    }

    /// The locals that may be read after this place, which is in that loop.
    pub(super) fn live(&self, at: u32, number: Option<usize>, lookups: &mut u32) -> Vec<u32> {
        let count = u32::try_from(self.named.len()).unwrap_or(0);
        *lookups = lookups.saturating_add(count);
        if LOOKUPS_MAX < *lookups {
            return Vec::new();
        }
        let span = number.map_or(0, |number| number + 1);
        (0..count).filter(|local| self.is_live(*local, at, span)).take(KEPT_MAX).collect()
    }

    fn is_live(&self, local: u32, mut at: u32, mut number: usize) -> bool {
        let Some(named) = self.named.get(index(local)) else { return false };
        let next = |from: u32, to: u32| {
            let first = named.partition_point(|(place, _)| *place < from);
            named.get(first).filter(|(place, _)| *place < to).map(|(_, reads)| *reads)
        };
        // As deep as loops are nested, and no deeper than tells.
        for _ in 0..NESTING_MAX {
            let Some(span) = self.spans.get(number) else { return false };
            if let Some(reads) = next(at, span.end) {
                return reads;
            }
            if span.repeats && next(span.start, at) == Some(true) {
                return true;
            }
            if number == 0 {
                return false;
            }
            at = span.end;
            number = span.parent;
        }
        false
    }
}

/// How many loops around a place are looked at.
const NESTING_MAX: u32 = 8;
