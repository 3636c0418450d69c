//! What must be known of a function before it is rewritten.

use wasmparser::Catch;
use wasmparser::FunctionBody;
use wasmparser::Operator;

use super::cost::CALL;
use super::cost::Cost;
use super::cost::LEAF_MAX;
use super::cost::UNCOUNTED_MAX;
use super::cost::cost;
use super::flow::Flow;
use super::flow::Opening;
use super::flow::Point;
use super::locals::Locals;

use super::Uncountable;

/// Where a loop is seen to repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Nowhere: nothing leads back to its head.
    Never,
    /// Where it is led back, by this many branches.
    AtBranches(u32),
    /// At its head.
    AtHead,
}

/// What is known of a function.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Its loops that control can reach, in the order of their heads.
    pub(super) loops: Vec<Look>,
    pub(super) locals: Locals,
    /// What it weighs at the most, each loop taken once.
    pub(super) weight: i64,
    pub(super) calls: bool,
    pub(super) catches: bool,
    /// It does what nobody can weigh beforehand.
    pub(super) long: bool,
}

impl Survey {
    /// Whether those who call the function count its work.
    pub(super) fn is_leaf(&self) -> bool {
        let counts = self.calls || self.catches || self.long || self.has_loop();
        !counts && self.weight <= LEAF_MAX
    }

    /// Whether control can come back to something in it without a call.
    pub(super) fn has_loop(&self) -> bool {
        self.loops.iter().any(|look| *look != Look::Never)
    }

    /// Whether each call of the function looks whether the interval is over.
    pub(super) fn looks_at_entry(&self) -> bool {
        self.calls || self.catches || self.long || UNCOUNTED_MAX < self.weight
    }
}

/// Finds out what must be known of a function.
pub(super) fn survey(body: &FunctionBody<'_>, wide: bool) -> Result<Survey, Uncountable> {
    let mut found = Survey::default();
    let mut flow = Flow::new();
    let mut at = 0_u32;
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
        found.step(&operator, at, &mut flow);
        at = at.saturating_add(1);
    }
    found.weight = found.weight.max(flow.here.unwrap_or_default().uncounted);
    Ok(found)
}

impl Survey {
    fn step(&mut self, operator: &Operator<'_>, flow: &mut Flow) {
        match operator {
            Operator::Block { .. } => flow.open(Opening::Block, None),
            Operator::If { .. } => flow.open(Opening::If, None),
            Operator::Loop { .. } => {
                self.locals.open(at, flow.innermost());
                flow.open(Opening::Loop, Some(self.loops.len()));
                self.loops.push(Look::Never);
            }
            Operator::TryTable { try_table } => {
                self.catches = true;
                for catch in &try_table.catches {
                    let (Catch::One { label, .. }
                    | Catch::OneRef { label, .. }
                    | Catch::All { label }
                    | Catch::AllRef { label }) = catch;
                    self.branch(flow, *label, false);
                }
                flow.open(Opening::Block, None);
            }
            Operator::Else => flow.otherwise(),
            Operator::End => {
                let closed = flow.close();
                if let Some(number) = closed.and_then(|frame| frame.place) {
                    let repeats = self.loops.get(number) != Some(&Look::Never);
                    self.locals.close(number, at, repeats);
                }
            }
            Operator::Br { relative_depth } => {
                self.branch(flow, *relative_depth, true);
                flow.stop();
            }
            Operator::BrIf { relative_depth } => self.branch(flow, *relative_depth, true),
            Operator::BrTable { targets } => {
                for target in targets.targets().flatten().chain([targets.default()]) {
                    self.branch(flow, target, false);
                }
                flow.stop();
            }
            Operator::BrOnNull { relative_depth }
            | Operator::BrOnNonNull { relative_depth }
            | Operator::BrOnCast { relative_depth, .. }
            | Operator::BrOnCastFail { relative_depth, .. } => {
                self.branch(flow, *relative_depth, false);
            }
            Operator::Return | Operator::Unreachable => self.leave(flow),
            Operator::Throw { .. } | Operator::ThrowRef => {
                // Who catches it does not go on where the work was counted.
                self.calls = true;
                self.leave(flow);
            }
            Operator::ReturnCall { .. }
            | Operator::ReturnCallIndirect { .. }
            | Operator::ReturnCallRef { .. } => {
                self.call(flow);
                self.leave(flow);
            }
            Operator::Call { .. } | Operator::CallIndirect { .. } | Operator::CallRef { .. } => {
                self.call(flow);
            }
            Operator::LocalGet { local_index } => self.locals.note(at, *local_index, true),
            Operator::LocalSet { local_index } | Operator::LocalTee { local_index } => {
                self.locals.note(at, *local_index, false);
            }
            _ => {}
        }
    }

    fn branch(&mut self, flow: &mut Flow, depth: u32, direct: bool) {
        let found = flow.target(depth).and_then(|frame| frame.place);
        if let Some(known) = found.and_then(|index| self.loops.get_mut(index)) {
            *known = match *known {
                Look::Never if direct && 0 < LOOKS_MAX => Look::AtBranches(1),
                Look::AtBranches(times) if direct && times < LOOKS_MAX => {
                    Look::AtBranches(times + 1)
                }
                _ => Look::AtHead,
            };
        } else if let Some(here) = flow.here {
            flow.branch(depth, here);
        }
    }

    fn call(&mut self, flow: &mut Flow) {
        self.calls = true;
        if let Some(here) = &mut flow.here {
            here.add(CALL);
        }
    }

    fn leave(&mut self, flow: &mut Flow) {
        self.weight = self.weight.max(flow.here.unwrap_or_default().uncounted);
        flow.stop();
    }
}

/// Branches back to one loop that look by themselves, at the most.
const LOOKS_MAX: u32 = if cfg!(look_at_head) { 0 } else { 2 };
