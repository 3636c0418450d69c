//! What must be known of a function before it is rewritten.

use wasmparser::Catch;
use wasmparser::FunctionBody;
use wasmparser::Operator;

use super::census::index;
use super::cost::CALL;
use super::cost::CALL_ITSELF;
use super::cost::Cost;
use super::cost::SAVED_MAX;
use super::cost::UNCOUNTED_MAX;
use super::cost::cost;
use super::flow::Flow;
use super::flow::Opening;
use super::flow::Point;

use super::Uncountable;

/// What is known of a loop.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Whether anything leads back to its head.
    pub(super) repeats: bool,
    /// The locals that its rounds hand on to each other, as far as one can see in passing.
    pub(super) saved: Vec<u32>,
}

/// What is known of a function.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact that stands for itself")]
pub(super) struct Survey {
    /// Its loops that control can reach, in the order of their heads.
    pub(super) loops: Vec<Known>,
    /// What it weighs at the most, each loop taken once, without those whom it calls by name.
    pub(super) weight: i64,
    pub(super) calls: bool,
    /// It calls what it does not name: the host, through a reference, or instead of returning.
    pub(super) calls_unknown: bool,
    /// The functions that it calls by name, once for each call.
    pub(super) callees: Vec<u32>,
    /// What it weighs with all that it calls, where those who call it count its work.
    pub(super) leaf_weight: Option<i64>,
    pub(super) catches: bool,
    /// It does what nobody can weigh beforehand.
    pub(super) long: bool,
    /// The locals that the open loops name, and whether the first thing was to read them.
    accesses: Vec<Vec<(u32, bool)>>,
}

impl Survey {
    /// Whether those who call the function count its work.
    pub(super) fn is_leaf(&self) -> bool {
        self.leaf_weight.is_some()
    }

    /// Whether those who call the function could count its work, if the same is true of those
    /// whom it calls.
    pub(super) fn may_be_leaf(&self) -> bool {
        !(self.calls_unknown || self.catches || self.long || self.has_loop())
    }

    /// Whether control can come back to something in it without a call.
    pub(super) fn has_loop(&self) -> bool {
        self.loops.iter().any(|known| known.repeats)
    }

    /// Whether each call of the function looks whether the interval is over.
    pub(super) fn looks_at_entry(&self) -> bool {
        self.calls || self.catches || self.long || UNCOUNTED_MAX < self.weight
    }
}

/// Finds out what must be known of a function.
pub(super) fn survey(
    body: &FunctionBody<'_>,
    imported: u32,
    wide: bool,
) -> Result<Survey, Uncountable> {
    let mut found = Survey::default();
    // The place of a loop is where it stands in the list.
    let mut flow = Flow::new(Point::default(), None::<usize>);
    let mut reader = body.get_operators_reader()?;
    while !reader.eof() {
        let operator = reader.read()?;
        if flow.leaves_out(&operator) {
            continue;
        }
        let weight = match cost(&operator, wide) {
            Cost::Fixed(weight) => weight,
            Cost::Bulk | Cost::Long => {
                found.long = true;
                1
            }
            Cost::Unknown => return Err(Uncountable::Operator),
        };
        if let Some(here) = &mut flow.here {
            here.add(weight);
        }
        found.access(&operator);
        found.step(&operator, imported, &mut flow);
    }
    found.weight = found.weight.max(flow.here.unwrap_or_default().uncounted);
    Ok(found)
}

impl Survey {
    fn step(&mut self, operator: &Operator<'_>, imported: u32, flow: &mut Flow<Option<usize>>) {
        match operator {
            Operator::Block { .. } => flow.open(Opening::Block, None),
            Operator::If { .. } => flow.open(Opening::If, None),
            Operator::Loop { .. } => {
                flow.open(Opening::Loop, Some(self.loops.len()));
                self.loops.push(Known::default());
                self.accesses.push(Vec::new());
            }
            Operator::TryTable { try_table } => {
                self.catches = true;
                for catch in &try_table.catches {
                    let (Catch::One { label, .. }
                    | Catch::OneRef { label, .. }
                    | Catch::All { label }
                    | Catch::AllRef { label }) = catch;
                    self.branch(flow, *label);
                }
                flow.open(Opening::Block, None);
            }
            Operator::Else => flow.otherwise(),
            Operator::End => {
                let closed = flow.close();
                if let Some(number) = closed.and_then(|frame| frame.place) {
                    self.close_loop(number);
                }
            }
            Operator::Br { relative_depth } => {
                self.branch(flow, *relative_depth);
                flow.stop();
            }
            Operator::BrIf { relative_depth } => self.branch(flow, *relative_depth),
            Operator::BrTable { targets } => {
                for target in targets.targets().flatten().chain([targets.default()]) {
                    self.branch(flow, target);
                }
                flow.stop();
            }
            Operator::BrOnNull { relative_depth }
            | Operator::BrOnNonNull { relative_depth }
            | Operator::BrOnCast { relative_depth, .. }
            | Operator::BrOnCastFail { relative_depth, .. } => {
                self.branch(flow, *relative_depth);
            }
            Operator::Return | Operator::Unreachable => self.leave(flow),
            Operator::Throw { .. } | Operator::ThrowRef => {
                // Who catches it does not go on where the work was counted.
                self.calls = true;
                self.calls_unknown = true;
                self.leave(flow);
            }
            Operator::ReturnCall { .. }
            | Operator::ReturnCallIndirect { .. }
            | Operator::ReturnCallRef { .. } => {
                self.call(flow);
                self.leave(flow);
            }
            Operator::Call { function_index } if imported <= *function_index => {
                self.calls = true;
                self.callees.push(*function_index);
                if let Some(here) = &mut flow.here {
                    here.add(CALL_ITSELF);
                }
            }
            Operator::Call { .. } | Operator::CallIndirect { .. } | Operator::CallRef { .. } => {
                self.call(flow);
            }
            _ => {}
        }
    }

    fn branch(&mut self, flow: &mut Flow<Option<usize>>, depth: u32) {
        let found = flow.target(depth).and_then(|frame| frame.place);
        if let Some(known) = found.and_then(|index| self.loops.get_mut(index)) {
            known.repeats = true;
        } else if let Some(here) = flow.here {
            flow.branch(depth, here);
        }
    }

    /// Notes that the innermost loop names a local.
    fn access(&mut self, operator: &Operator<'_>) {
        let (local, reads) = match operator {
            Operator::LocalGet { local_index } => (*local_index, true),
            Operator::LocalSet { local_index } | Operator::LocalTee { local_index } => {
                (*local_index, false)
            }
            _ => return,
        };
        if let Some(known) = self.accesses.last_mut() {
            note(known, local, reads);
        }
    }

    /// What a loop names, the loop around it names as well.
    fn close_loop(&mut self, number: usize) {
        let inner = self.accesses.pop().unwrap_or_default();
        if let Some(known) = self.loops.get_mut(number) {
            let read = inner.iter().filter(|(_, reads)| *reads).map(|(local, _)| *local);
            known.saved = read.take(index(SAVED_MAX)).collect();
        }
        if let Some(outer) = self.accesses.last_mut() {
            for (local, reads) in inner {
                note(outer, local, reads);
            }
        }
    }

    fn call(&mut self, flow: &mut Flow<Option<usize>>) {
        self.calls = true;
        self.calls_unknown = true;
        if let Some(here) = &mut flow.here {
            here.add(CALL);
        }
    }

    fn leave(&mut self, flow: &mut Flow<Option<usize>>) {
        self.weight = self.weight.max(flow.here.unwrap_or_default().uncounted);
        flow.stop();
    }
}

fn note(accesses: &mut Vec<(u32, bool)>, local: u32, reads: bool) {
    if accesses.len() < ACCESSES_MAX && accesses.iter().all(|(other, _)| *other != local) {
        accesses.push((local, reads));
    }
}

/// How many locals of a loop are kept track of. Beyond that it is slower, and not wrong.
const ACCESSES_MAX: usize = 64;
