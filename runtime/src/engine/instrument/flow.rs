//! Where control can be, and how much work it can have done by then, in one walk over a function.

use wasmparser::Operator;

/// How much work there can be behind a point, at the most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Point {
    /// Since work was last counted. Less than nothing where work was counted beforehand.
    pub(super) uncounted: i64,
    /// Since the last look at whether the interval is over.
    pub(super) unseen: i64,
}

impl Point {
    fn worst(self, other: Self) -> Self {
        Self {
            uncounted: self.uncounted.max(other.uncounted),
            unseen: self.unseen.max(other.unseen),
        }
    }

    pub(super) fn add(&mut self, weight: i64) {
        self.uncounted = self.uncounted.saturating_add(weight);
        self.unseen = self.unseen.saturating_add(weight);
    }
}

/// What opened a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// A block, a `try_table` or the function itself.
    Block,
    Loop,
    If,
    Else,
}

/// A construct that is open, with what the walker keeps beside it.
#[derive(Debug)]
pub(super) struct Frame<T> {
    pub(super) opening: Opening,
    /// At its first operator: for a loop, at the head.
    pub(super) start: Point,
    /// At its end, of all branches that lead there.
    end: Option<Point>,
    pub(super) place: T,
}

/// The walk over one function.
#[derive(Debug)]
pub(super) struct Flow<T> {
    pub(super) frames: Vec<Frame<T>>,
    /// Nothing where control cannot be.
    pub(super) here: Option<Point>,
    /// Constructs that were opened where control cannot be.
    dead: u32,
}

impl<T> Flow<T> {
    pub(super) fn new(start: Point, place: T) -> Self {
        let frame = Frame { opening: Opening::Block, start, end: None, place };
        Self { frames: vec![frame], here: Some(start), dead: 0 }
    }

    /// Whether control cannot reach the operator, which is then to be left out.
    pub(super) fn leaves_out(&mut self, operator: &Operator<'_>) -> bool {
        if self.here.is_some() {
            return false;
        }
        match operator {
            Operator::Block { .. }
            | Operator::Loop { .. }
            | Operator::If { .. }
            | Operator::TryTable { .. } => self.dead += 1,
            Operator::End | Operator::Else if self.dead == 0 => return false,
            Operator::End => self.dead -= 1,
            _ => {}
        }
        true
    }

    pub(super) fn open(&mut self, opening: Opening, place: T) {
        let start = self.here.unwrap_or_default();
        self.frames.push(Frame { opening, start, end: None, place });
    }

    /// The frame that a branch leads to.
    pub(super) fn target(&self, depth: u32) -> Option<&Frame<T>> {
        let above = usize::try_from(depth).ok()?;
        let index = self.frames.len().checked_sub(above)?.checked_sub(1)?;
        self.frames.get(index)
    }

    /// Whether a branch leads out of the function.
    pub(super) fn leaves(&self, depth: u32) -> bool {
        usize::try_from(depth).is_ok_and(|depth| depth + 1 == self.frames.len())
    }

    /// Notes that a branch leads to the end of that frame with this much behind it. Branches to
    /// the heads of loops are the walker's to settle.
    pub(super) fn branch(&mut self, depth: u32, with: Point) {
        let index = usize::try_from(depth).ok().and_then(|d| self.frames.len().checked_sub(d + 1));
        if let Some(frame) = index.and_then(|index| self.frames.get_mut(index))
            && frame.opening != Opening::Loop
        {
            frame.end = Some(frame.end.map_or(with, |end| end.worst(with)));
        }
    }

    /// Control does not go on from here.
    pub(super) fn stop(&mut self) {
        self.here = None;
    }

    pub(super) fn otherwise(&mut self) {
        if let Some(here) = self.here {
            self.branch(0, here);
        }
        if let Some(frame) = self.frames.last_mut() {
            frame.opening = Opening::Else;
            self.here = Some(frame.start);
        }
    }

    /// Closes the innermost frame.
    pub(super) fn close(&mut self) -> Option<Frame<T>> {
        let frame = self.frames.pop()?;
        // Without an `else`, control may come right from the start.
        let passed = (frame.opening == Opening::If).then_some(frame.start);
        self.here = [self.here, frame.end, passed].into_iter().flatten().reduce(Point::worst);
        Some(frame)
    }
}
