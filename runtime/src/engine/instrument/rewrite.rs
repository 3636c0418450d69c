//! Writes a function again, with its work counted.

use std::borrow::Cow;

use wasm_encoder::BlockType;
use wasm_encoder::BranchHint;
use wasm_encoder::Function;
use wasm_encoder::Instruction;
use wasm_encoder::reencode::Reencode as _;
use wasmparser::Operator;

use super::Uncountable;
use super::census::Callee;
use super::census::Census;
use super::census::count;
use super::cost::BULK_SHIFT;
use super::cost::CALL;
use super::cost::CALL_ITSELF;
use super::cost::Cost;
use super::cost::HOST_CALL;
use super::cost::INTERVAL;
use super::cost::PREPAID_MAX;
use super::cost::UNCOUNTED_MAX;
use super::cost::UNSEEN_AFTER_CALL_MAX;
use super::cost::UNSEEN_CALL;
use super::cost::UNSEEN_HOST_CALL;
use super::cost::UNSEEN_MAX;
use super::cost::cost;
use super::flow::Flow;
use super::flow::Opening;
use super::flow::Point;
use super::module::Shift;
use super::survey::Shape;
use super::survey::Survey;

/// Where the count is while the function runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counter {
    /// Nowhere: those who call the function count its work.
    Nobody,
    /// In the module's global.
    Global,
    /// In a local, which a processor's register can be, between the calls.
    Local,
}

/// The labels of a construct that was written, as numbers of constructs from the outside.
#[derive(Clone, Copy, Debug)]
struct Place {
    label: u32,
    rest: Rest,
}

/// How a branch back to a loop's head gives the interval its due.
#[derive(Clone, Copy, Debug)]
enum Rest {
    /// It is no branch back.
    Never,
    /// The head looks.
    AtHead,
    /// By leaving the loop to this label, in this loop around it, in this block around that.
    Outside { yields: u32, outer: u32, exit: u32 },
}

/// The shape of a loop that is entered again, from the outside: the block that is left for good,
/// the loop around the look, the block that is left for the look, and the loop itself.
const SPLIT_LABELS: u32 = 4;

/// A function that is being written again.
pub(super) struct Rewriter<'a> {
    census: &'a Census<'a>,
    survey: &'a Survey,
    shift: Shift,
    out: Function,
    hints: Vec<BranchHint>,
    flow: Flow<Place>,
    /// How many labels are open in what is written.
    labels: u32,
    counter: Counter,
    /// The local of the count, and another one for a moment.
    local: u32,
    loops: usize,
}

/// A function that was written again, and where its branches are that are hardly ever taken.
pub(super) type Rewritten = (Function, Vec<BranchHint>);

impl<'a> Rewriter<'a> {
    pub(super) fn new(
        census: &'a Census<'a>,
        defined: usize,
        shift: Shift,
    ) -> Result<Self, Uncountable> {
        let body = census.bodies.get(defined).ok_or(Uncountable::TooLarge)?;
        let survey = census.surveys.get(defined).ok_or(Uncountable::TooLarge)?;
        let counter = if survey.is_leaf() {
            Counter::Nobody
        } else if survey.has_loop() && !survey.catches {
            Counter::Local
        } else {
            // What is thrown comes back with the local as it was before.
            Counter::Global
        };
        let mut locals = Vec::new();
        let mut local = census.params(defined).ok_or(Uncountable::TooLarge)?;
        let mut shift = shift;
        for group in body.get_locals_reader()? {
            let (number, ty) = group?;
            local = local.checked_add(number).ok_or(Uncountable::TooLarge)?;
            locals.push((number, shift.val_type(ty)?));
        }
        if counter != Counter::Nobody {
            locals.push((2, wasm_encoder::ValType::I32));
        }
        let place = Place { label: 0, rest: Rest::Never };
        Ok(Self {
            census,
            survey,
            shift,
            out: Function::new(locals),
            hints: Vec::new(),
            flow: Flow::new(Point::default(), place),
            labels: 1,
            counter,
            local,
            loops: 0,
        })
    }

    /// Writes the function.
    pub(super) fn write(mut self, defined: usize) -> Result<Rewritten, Uncountable> {
        let body = self.census.bodies.get(defined).ok_or(Uncountable::TooLarge)?;
        self.enter();
        let mut reader = body.get_operators_reader()?;
        while !reader.eof() {
            let operator = reader.read()?;
            if !self.flow.leaves_out(&operator) {
                self.operator(operator)?;
            }
        }
        Ok((self.out, self.hints))
    }

    // --- Counting.

    fn enter(&mut self) {
        let repeats = self.survey.has_loop() || self.survey.catches;
        let mut here = Point::default();
        match self.counter {
            Counter::Nobody => {}
            Counter::Local => {
                self.reload();
                if self.survey.looks_at_entry() {
                    self.put(&Instruction::LocalGet(self.local));
                    self.look();
                } else {
                    here.unseen = UNSEEN_MAX - UNSEEN_AFTER_CALL_MAX;
                }
            }
            Counter::Global => {
                // What can be left by a throw, or done twice, is not paid for beforehand.
                let prepaid = if repeats { 1 } else { self.survey.weight.clamp(1, PREPAID_MAX) };
                self.subtract(prepaid);
                self.look();
                here.uncounted = -prepaid;
            }
        }
        if repeats {
            here.uncounted = 0;
        }
        self.flow.here = Some(here);
        if let Some(function) = self.flow.frames.first_mut() {
            function.start = here;
        }
    }

    fn here(&self) -> Point {
        self.flow.here.unwrap_or_default()
    }

    fn put(&mut self, instruction: &Instruction<'_>) {
        self.out.instruction(instruction);
    }

    fn global(&self) -> u32 {
        self.census.globals
    }

    /// Takes `weight` off the count, and leaves the count on the stack.
    fn subtract(&mut self, weight: i64) {
        let weight = i32::try_from(weight).unwrap_or(i32::MAX / 2);
        match self.counter {
            Counter::Nobody => self.put(&Instruction::I32Const(1)),
            Counter::Local => {
                self.put(&Instruction::LocalGet(self.local));
                self.put(&Instruction::I32Const(weight));
                self.put(&Instruction::I32Sub);
                self.put(&Instruction::LocalTee(self.local));
            }
            Counter::Global => {
                self.put(&Instruction::GlobalGet(self.global()));
                self.put(&Instruction::I32Const(weight));
                self.put(&Instruction::I32Sub);
                self.put(&Instruction::LocalTee(self.local));
                self.put(&Instruction::GlobalSet(self.global()));
                self.put(&Instruction::LocalGet(self.local));
            }
        }
    }

    /// Takes `weight` off the count.
    fn charge(&mut self, weight: i64) {
        if self.counter == Counter::Nobody || weight <= 0 {
            return;
        }
        let weight = i32::try_from(weight).unwrap_or(i32::MAX / 2);
        let (get, set) = match self.counter {
            Counter::Local => {
                (Instruction::LocalGet(self.local), Instruction::LocalSet(self.local))
            }
            _ => (Instruction::GlobalGet(self.global()), Instruction::GlobalSet(self.global())),
        };
        self.put(&get);
        self.put(&Instruction::I32Const(weight));
        self.put(&Instruction::I32Sub);
        self.put(&set);
    }

    /// Counts all that was done, where it is more than `spare`.
    fn settle(&mut self, spare: i64) {
        let mut here = self.here();
        if spare < here.uncounted {
            self.charge(here.uncounted);
            here.uncounted = 0;
            self.flow.here = Some(here);
        }
    }

    /// Makes the count known to others before they count on.
    fn hand_over(&mut self, weight: i64) {
        let due = self.here().uncounted + weight;
        match self.counter {
            Counter::Nobody => {}
            Counter::Global => self.charge(due),
            Counter::Local => {
                self.put(&Instruction::LocalGet(self.local));
                if 0 < due {
                    self.put(&Instruction::I32Const(i32::try_from(due).unwrap_or(i32::MAX / 2)));
                    self.put(&Instruction::I32Sub);
                }
                self.put(&Instruction::GlobalSet(self.global()));
            }
        }
    }

    fn reload(&mut self) {
        if self.counter == Counter::Local {
            self.put(&Instruction::GlobalGet(self.global()));
            self.put(&Instruction::LocalSet(self.local));
        }
    }

    /// Asks whether the interval is over; the count is on the stack.
    fn is_over(&mut self) {
        self.put(&Instruction::I32Const(0));
        self.put(&Instruction::I32LeS);
    }

    /// The interval is over: the host is asked, and the next one begins.
    fn next_interval(&mut self) {
        self.put(&Instruction::Call(self.shift.helper()));
        if self.counter == Counter::Local {
            self.put(&Instruction::I32Const(INTERVAL));
            self.put(&Instruction::LocalSet(self.local));
        }
    }

    /// Begins the next interval if this one is over; the count is on the stack.
    fn look(&mut self) {
        self.is_over();
        self.hint();
        self.put(&Instruction::If(BlockType::Empty));
        self.next_interval();
        self.put(&Instruction::End);
    }

    /// Counts all that was done, and looks.
    fn settle_and_look(&mut self) {
        if self.counter == Counter::Nobody {
            return;
        }
        self.subtract(self.here().uncounted.max(1));
        self.look();
        self.flow.here = Some(Point::default());
    }

    /// Notes that the branch which comes next is hardly ever taken.
    fn hint(&mut self) {
        if let Ok(offset) = u32::try_from(self.out.byte_len()) {
            self.hints.push(BranchHint { branch_func_offset: offset, branch_hint_value: 0 });
        }
    }

    // --- Operators.

    fn operator(&mut self, operator: Operator<'_>) -> Result<(), Uncountable> {
        match cost(&operator, self.census.wide) {
            Cost::Unknown => return Err(Uncountable::Operator),
            Cost::Fixed(weight) => self.add(weight),
            Cost::Long => {
                self.original(operator)?;
                self.next_interval();
                self.flow.here = Some(Point::default());
                return Ok(());
            }
            Cost::Bulk => return self.bulk(operator),
        }
        match &operator {
            Operator::Block { .. } => {
                self.original(operator)?;
                self.open(Opening::Block, Rest::Never);
            }
            Operator::If { .. } => {
                self.original(operator)?;
                self.open(Opening::If, Rest::Never);
            }
            Operator::Loop { .. } => self.open_loop(operator)?,
            Operator::TryTable { .. } => self.open_try(operator)?,
            Operator::Else => {
                self.original(operator)?;
                self.flow.otherwise();
            }
            Operator::End => self.close(),
            Operator::Br { relative_depth } => self.branch(*relative_depth)?,
            Operator::BrIf { relative_depth } => self.branch_if(*relative_depth)?,
            Operator::BrTable { targets } => {
                let list = targets.targets().collect::<Result<Vec<_>, _>>()?;
                self.branch_table(list, targets.default())?;
            }
            Operator::BrOnNull { relative_depth }
            | Operator::BrOnNonNull { relative_depth }
            | Operator::BrOnCast { relative_depth, .. }
            | Operator::BrOnCastFail { relative_depth, .. } => {
                self.prepare_branches(&[*relative_depth]);
                self.original(operator)?;
            }
            Operator::Return | Operator::Throw { .. } | Operator::ThrowRef => {
                self.hand_over(0);
                self.original(operator)?;
                self.flow.stop();
            }
            Operator::Unreachable => {
                self.original(operator)?;
                self.flow.stop();
            }
            Operator::ReturnCall { function_index } => {
                self.hand_over(self.weight_of_call(Some(*function_index)));
                self.original(operator)?;
                self.flow.stop();
            }
            Operator::ReturnCallIndirect { .. } | Operator::ReturnCallRef { .. } => {
                self.hand_over(self.weight_of_call(None));
                self.original(operator)?;
                self.flow.stop();
            }
            Operator::Call { function_index } => {
                let function = *function_index;
                self.call(operator, Some(function))?;
            }
            Operator::CallIndirect { .. } | Operator::CallRef { .. } => {
                self.call(operator, None)?;
            }
            _ => self.original(operator)?,
        }
        Ok(())
    }

    /// Adds an operator's work to what was done, and counts where that becomes much.
    fn add(&mut self, weight: i64) {
        if UNSEEN_MAX < self.here().unseen + weight {
            self.settle_and_look();
        } else if UNCOUNTED_MAX < self.here().uncounted + weight {
            self.settle(0);
        }
        if let Some(here) = &mut self.flow.here {
            here.add(weight);
        }
    }

    /// Writes the operator as it is, with its numbers as they are now.
    fn original(&mut self, operator: Operator<'_>) -> Result<(), Uncountable> {
        let mut instruction = self.shift.instruction(operator)?;
        if let Instruction::BrOnNull(depth)
        | Instruction::BrOnNonNull(depth)
        | Instruction::BrOnCast { relative_depth: depth, .. }
        | Instruction::BrOnCastFail { relative_depth: depth, .. } = &mut instruction
        {
            *depth = self.depth_of(self.place(*depth)?.label);
        }
        self.put(&instruction);
        Ok(())
    }

    fn place(&self, depth: u32) -> Result<Place, Uncountable> {
        self.flow.target(depth).map(|frame| frame.place).ok_or(Uncountable::Operator)
    }

    /// What leads to this label from here.
    fn depth_of(&self, label: u32) -> u32 {
        (self.labels - 1).saturating_sub(label)
    }

    fn open(&mut self, opening: Opening, rest: Rest) {
        self.flow.open(opening, Place { label: self.labels, rest });
        self.labels += 1;
    }

    fn open_try(&mut self, operator: Operator<'_>) -> Result<(), Uncountable> {
        use wasm_encoder::Catch;
        let Instruction::TryTable(ty, catches) = self.shift.instruction(operator)? else {
            return Err(Uncountable::Operator);
        };
        let mut catches = catches.into_owned();
        for catch in &mut catches {
            let (Catch::One { label, .. }
            | Catch::OneRef { label, .. }
            | Catch::All { label }
            | Catch::AllRef { label }) = catch;
            // Whoever throws has counted its work, and so did this function before the call.
            let unseen = UNSEEN_MAX - UNSEEN_AFTER_CALL_MAX;
            self.flow.branch(*label, Point { uncounted: 0, unseen });
            *label = self.depth_of(self.place(*label)?.label);
        }
        self.put(&Instruction::TryTable(ty, Cow::Owned(catches)));
        self.open(Opening::Block, Rest::Never);
        Ok(())
    }

    fn open_loop(&mut self, operator: Operator<'_>) -> Result<(), Uncountable> {
        let shape = self.survey.loops.get(self.loops).copied().ok_or(Uncountable::Operator)?;
        self.loops += 1;
        if shape == Shape::Once {
            self.original(operator)?;
            self.open(Opening::Loop, Rest::Never);
            return Ok(());
        }
        if let Some(here) = &mut self.flow.here {
            // What is paid for beforehand is lost to those who come from elsewhere.
            here.uncounted = here.uncounted.max(0);
        }
        // What is left to be counted here would be carried around in the loop.
        if UNSEEN_MAX / 2 < self.here().unseen {
            self.settle_and_look();
        } else {
            self.settle(UNCOUNTED_MAX / 8);
        }
        if shape == Shape::Plain {
            self.original(operator)?;
            self.open(Opening::Loop, Rest::AtHead);
            self.put(&match self.counter {
                Counter::Local => Instruction::LocalGet(self.local),
                _ => Instruction::GlobalGet(self.global()),
            });
            self.look();
            return Ok(());
        }
        let Instruction::Loop(ty) = self.shift.instruction(operator)? else {
            return Err(Uncountable::Operator);
        };
        let exit = self.labels;
        self.put(&Instruction::Block(ty));
        self.put(&Instruction::Loop(BlockType::Empty));
        self.put(&Instruction::Block(BlockType::Empty));
        self.put(&Instruction::Loop(ty));
        self.labels += SPLIT_LABELS - 1;
        let rest = Rest::Outside { exit, outer: exit + 1, yields: exit + 2 };
        self.open(Opening::Loop, rest);
        Ok(())
    }

    fn close(&mut self) {
        if self.flow.frames.len() == 1 {
            if self.flow.here.is_some() {
                self.hand_over(0);
            }
            self.put(&Instruction::End);
            return;
        }
        let Some(frame) = self.flow.close() else { return };
        self.put(&Instruction::End);
        self.labels -= 1;
        if let Rest::Outside { outer, exit, .. } = frame.place.rest {
            self.put(&Instruction::Br(self.depth_of(exit)));
            self.put(&Instruction::End);
            self.labels -= 1;
            self.next_interval();
            self.put(&Instruction::Br(self.depth_of(outer)));
            self.put(&Instruction::End);
            self.put(&Instruction::Unreachable);
            self.put(&Instruction::End);
            self.labels -= 2;
        }
        if self.flow.here.is_none() {
            // What follows is left out, and the stack is not what it would leave behind.
            self.put(&Instruction::Unreachable);
        }
    }

    /// What a branch back to the head of that loop has to be counted.
    fn due(&self, depth: u32) -> i64 {
        let head = self.flow.target(depth).map_or(0, |frame| frame.start.uncounted);
        (self.here().uncounted - head).max(1)
    }

    /// Counts before branches that may or may not be taken, where they do not count by themselves.
    fn prepare_branches(&mut self, depths: &[u32]) {
        let at_head = |depth: &&u32| {
            self.flow.target(**depth).is_some_and(|frame| matches!(frame.place.rest, Rest::AtHead))
        };
        let due = depths.iter().filter(at_head).map(|depth| self.due(*depth)).max();
        if let Some(due) = due {
            self.charge(due);
            if let Some(here) = &mut self.flow.here {
                here.uncounted -= due;
            }
        }
        if depths.iter().any(|depth| self.flow.leaves(*depth)) {
            match self.counter {
                // Where it is not taken, the local still has the count.
                Counter::Local => self.hand_over(0),
                _ => self.settle(0),
            }
        }
        for depth in depths {
            self.flow.branch(*depth, self.here());
        }
    }

    /// A branch back to a loop that is left when the interval is over.
    fn branch_back(&mut self, due: i64, label: u32, yields: u32) {
        self.subtract(due);
        self.is_over();
        self.hint();
        self.put(&Instruction::BrIf(self.depth_of(yields)));
        self.put(&Instruction::Br(self.depth_of(label)));
    }

    fn branch(&mut self, depth: u32) -> Result<(), Uncountable> {
        let Place { label, rest } = self.place(depth)?;
        if let Rest::Outside { yields, .. } = rest {
            self.branch_back(self.due(depth), label, yields);
        } else {
            self.prepare_branches(&[depth]);
            self.put(&Instruction::Br(self.depth_of(label)));
        }
        self.flow.stop();
        Ok(())
    }

    fn branch_if(&mut self, depth: u32) -> Result<(), Uncountable> {
        let Place { label, rest } = self.place(depth)?;
        if let Rest::Outside { yields, .. } = rest {
            self.put(&Instruction::If(BlockType::Empty));
            self.labels += 1;
            self.branch_back(self.due(depth), label, yields);
            self.put(&Instruction::End);
            self.labels -= 1;
        } else {
            self.prepare_branches(&[depth]);
            self.put(&Instruction::BrIf(self.depth_of(label)));
        }
        Ok(())
    }

    /// A branch by a table: what leads back to loops that are left when the interval is over leads
    /// to a landing first.
    fn branch_table(&mut self, mut list: Vec<u32>, default: u32) -> Result<(), Uncountable> {
        list.push(default);
        self.prepare_branches(&list);
        let mut landings: Vec<u32> = Vec::new();
        for depth in &list {
            if matches!(self.place(*depth)?.rest, Rest::Outside { .. }) {
                landings.push(*depth);
            }
        }
        landings.sort_unstable();
        landings.dedup();
        if !landings.is_empty() {
            self.put(&Instruction::LocalSet(self.local + 1));
            for _ in &landings {
                self.put(&Instruction::Block(BlockType::Empty));
            }
            self.put(&Instruction::LocalGet(self.local + 1));
        }
        self.labels += count(landings.len())?;
        let mut depths = Vec::with_capacity(list.len());
        for depth in list {
            depths.push(match landings.binary_search(&depth) {
                Ok(landing) => count(landing)?,
                Err(_) => self.depth_of(self.place(depth)?.label),
            });
        }
        let default = depths.pop().unwrap_or(0);
        self.put(&Instruction::BrTable(Cow::Owned(depths), default));
        for depth in landings {
            self.put(&Instruction::End);
            self.labels -= 1;
            let Place { label, rest } = self.place(depth)?;
            if let Rest::Outside { yields, .. } = rest {
                self.branch_back(self.due(depth), label, yields);
            }
        }
        self.flow.stop();
        Ok(())
    }

    fn weight_of_call(&self, function: Option<u32>) -> i64 {
        match function.map(|function| self.census.callee(function)) {
            Some(Some(Callee::Host)) => HOST_CALL,
            Some(Some(Callee::Guest(survey))) if survey.is_leaf() => survey.weight + CALL_ITSELF,
            None if self.census.host_by_reference => HOST_CALL,
            _ => CALL,
        }
    }

    fn call(&mut self, operator: Operator<'_>, function: Option<u32>) -> Result<(), Uncountable> {
        let weight = self.weight_of_call(function);
        let callee = function.and_then(|function| self.census.callee(function));
        match callee {
            Some(Callee::Guest(survey)) if survey.is_leaf() => {
                self.add(weight);
                self.original(operator)?;
            }
            Some(Callee::Host) => {
                if let Some(here) = &mut self.flow.here {
                    here.uncounted += weight;
                }
                self.settle(0);
                self.original(operator)?;
                self.returned(UNSEEN_HOST_CALL);
            }
            _ => {
                let own = if callee.is_none() { weight } else { CALL_ITSELF };
                self.hand_over(own);
                if let Some(here) = &mut self.flow.here {
                    here.uncounted = (here.uncounted + own).min(0);
                }
                self.original(operator)?;
                self.reload();
                self.returned(UNSEEN_CALL);
            }
        }
        Ok(())
    }

    /// Not much is done behind a call without a look, nor many calls.
    fn returned(&mut self, unseen: i64) {
        if let Some(here) = &mut self.flow.here {
            here.unseen = here.unseen.max(UNSEEN_MAX - UNSEEN_AFTER_CALL_MAX) + unseen;
        }
    }

    /// A bulk operation, whose number of bytes is on the stack.
    fn bulk(&mut self, operator: Operator<'_>) -> Result<(), Uncountable> {
        self.put(&Instruction::LocalTee(self.local + 1));
        self.original(operator)?;
        self.settle(0);
        let (get, set) = match self.counter {
            Counter::Local => (Instruction::LocalGet(self.local), None),
            _ => {
                (Instruction::GlobalGet(self.global()), Some(Instruction::GlobalSet(self.global())))
            }
        };
        self.put(&get);
        self.put(&Instruction::LocalGet(self.local + 1));
        self.put(&Instruction::I32Const(BULK_SHIFT));
        self.put(&Instruction::I32ShrU);
        self.put(&Instruction::I32Sub);
        self.put(&Instruction::I32Const(8));
        self.put(&Instruction::I32Sub);
        self.put(&Instruction::LocalTee(self.local));
        if let Some(set) = set {
            self.put(&set);
            self.put(&Instruction::LocalGet(self.local));
        }
        self.look();
        self.flow.here = Some(Point::default());
        Ok(())
    }
}
