//! What must be known of a function before it is rewritten.

use wasmparser::BlockType;
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

use super::Uncountable;

/// How a loop is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Nothing leads back to its head.
    Once,
    /// It is left when the interval is over, and entered again.
    Split,
    /// The look is at its head.
    Plain,
}

/// What is known of a function.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Its loops that control can reach, in the order of their heads.
    pub(super) loops: Vec<Shape>,
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
        self.loops.iter().any(|shape| *shape != Shape::Once)
    }

    /// Whether each call of the function looks whether the interval is over.
    pub(super) fn looks_at_entry(&self) -> bool {
        self.calls || self.catches || self.long || UNCOUNTED_MAX < self.weight
    }
}

/// Finds out what must be known of a function.
pub(super) fn survey(
    body: &FunctionBody<'_>,
    has_params: impl Fn(u32) -> bool,
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
        found.step(&operator, &mut flow, &has_params);
    }
    found.weight = found.weight.max(flow.here.unwrap_or_default().uncounted);
    Ok(found)
}

impl Survey {
    fn step(
        &mut self,
        operator: &Operator<'_>,
        flow: &mut Flow<Option<usize>>,
        has_params: impl Fn(u32) -> bool,
    ) {
        match operator {
            Operator::Block { .. } => flow.open(Opening::Block, None),
            Operator::If { .. } => flow.open(Opening::If, None),
            Operator::Loop { blockty } => {
                flow.open(Opening::Loop, Some(self.loops.len()));
                let plain = matches!(blockty, BlockType::FuncType(ty) if has_params(*ty));
                // A loop with parameters is plain if anything leads back to it.
                self.loops.push(Shape::Once);
                if plain {
                    self.loops.pop();
                    self.loops.push(Shape::Plain);
                }
            }
            Operator::TryTable { try_table } => {
                self.catches = true;
                for catch in &try_table.catches {
                    let (Catch::One { label, .. }
                    | Catch::OneRef { label, .. }
                    | Catch::All { label }
                    | Catch::AllRef { label }) = catch;
                    self.branch(flow, *label, Shape::Plain);
                }
                flow.open(Opening::Block, None);
            }
            Operator::Else => flow.otherwise(),
            Operator::End => {
                flow.close();
            }
            Operator::Br { relative_depth } => {
                self.branch(flow, *relative_depth, Shape::Split);
                flow.stop();
            }
            Operator::BrIf { relative_depth } => self.branch(flow, *relative_depth, Shape::Split),
            Operator::BrTable { targets } => {
                for target in targets.targets().flatten().chain([targets.default()]) {
                    self.branch(flow, target, Shape::Split);
                }
                flow.stop();
            }
            Operator::BrOnNull { relative_depth }
            | Operator::BrOnNonNull { relative_depth }
            | Operator::BrOnCast { relative_depth, .. }
            | Operator::BrOnCastFail { relative_depth, .. } => {
                self.branch(flow, *relative_depth, Shape::Plain);
            }
            Operator::Return => self.leave(flow),
            Operator::Throw { .. } | Operator::ThrowRef => {
                // Who catches it does not go on where the work was counted.
                self.calls = true;
                self.leave(flow);
            }
            Operator::Unreachable => self.leave(flow),
            Operator::ReturnCall { .. }
            | Operator::ReturnCallIndirect { .. }
            | Operator::ReturnCallRef { .. } => {
                self.call(flow);
                self.leave(flow);
            }
            Operator::Call { .. } | Operator::CallIndirect { .. } | Operator::CallRef { .. } => {
                self.call(flow);
            }
            _ => {}
        }
    }

    fn branch(&mut self, flow: &mut Flow<Option<usize>>, depth: u32, shape: Shape) {
        let found = flow.target(depth).and_then(|frame| frame.place);
        if let Some(known) = found.and_then(|index| self.loops.get_mut(index)) {
            if *known != Shape::Plain {
                *known = shape;
            }
        } else if let Some(here) = flow.here {
            flow.branch(depth, here);
        }
    }

    fn call(&mut self, flow: &mut Flow<Option<usize>>) {
        self.calls = true;
        if let Some(here) = &mut flow.here {
            here.add(CALL);
        }
    }

    fn leave(&mut self, flow: &mut Flow<Option<usize>>) {
        self.weight = self.weight.max(flow.here.unwrap_or_default().uncounted);
        flow.stop();
    }
}
