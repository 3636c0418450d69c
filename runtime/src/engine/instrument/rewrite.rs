//! Writes a function again, with its work counted.

use wasm_encoder::BranchHint;
use wasm_encoder::Function;
use wasm_encoder::ValType;
use wasm_encoder::reencode::Reencode as _;
use wasmparser::Catch;
use wasmparser::Operator;

use super::Uncountable;
use super::census::Callee;
use super::census::Census;
use super::cost::CALL;
use super::cost::CALL_ITSELF;
use super::cost::Cost;
use super::cost::HOST_CALL;
use super::cost::PREPAID_MAX;
use super::cost::SAVED_MAX;
use super::cost::UNCOUNTED_MAX;
use super::cost::UNSEEN_AFTER_CALL_MAX;
use super::cost::UNSEEN_CALL;
use super::cost::UNSEEN_HOST_CALL;
use super::cost::UNSEEN_MAX;
use super::cost::cost;
use super::counter::Counter;
use super::counter::Place;
use super::flow::Flow;
use super::flow::Opening;
use super::flow::Point;
use super::module::Shift;
use super::slots::Slots;
use super::survey::Survey;

/// A function that is being written again.
pub(super) struct Rewriter<'a> {
    census: &'a Census<'a>,
    survey: &'a Survey,
    shift: Shift,
    counter: Counter<'a>,
    /// With the number of each loop.
    flow: Flow<Option<usize>>,
    loops: usize,
}

/// A function that was written again, and where its branches are that are hardly ever taken.
pub(super) type Rewritten = (Function, Vec<BranchHint>);

impl<'a> Rewriter<'a> {
    pub(super) fn new(
        census: &'a Census<'a>,
        defined: usize,
        mut shift: Shift,
        slots: &'a mut Slots,
    ) -> Result<Self, Uncountable> {
        let body = census.bodies.get(defined).ok_or(Uncountable::TooLarge)?;
        let survey = census.surveys.get(defined).ok_or(Uncountable::TooLarge)?;
        let place = if survey.is_leaf() {
            Place::Nobody
        } else if survey.has_loop() && !survey.catches {
            Place::Local
        } else {
            // What is thrown comes back with the local as it was before.
            Place::Global
        };
        let params = census.params(defined).ok_or(Uncountable::TooLarge)?;
        let params = params.iter().map(|ty| shift.val_type(*ty));
        let params: Vec<ValType> = params.collect::<Result<_, _>>()?;
        let mut groups = Vec::new();
        for group in body.get_locals_reader()? {
            let (number, ty) = group?;
            groups.push((number, shift.val_type(ty)?));
        }
        let numbers = (census.globals, shift.helper());
        let counter = Counter::new(place, &params, groups, numbers, slots);
        let flow = Flow::new(Point::default(), None);
        let mut rewriter = Self { census, survey, shift, counter, flow, loops: 0 };
        rewriter.enter(params.len());
        Ok(rewriter)
    }

    /// Writes the function.
    pub(super) fn write(mut self, defined: usize) -> Result<Rewritten, Uncountable> {
        let body = self.census.bodies.get(defined).ok_or(Uncountable::TooLarge)?;
        let mut reader = body.get_operators_reader()?;
        while !reader.eof() {
            let operator = reader.read()?;
            if !self.flow.leaves_out(&operator) {
                self.operator(operator)?;
            }
        }
        Ok((self.counter.out, self.counter.hints))
    }

    fn enter(&mut self, params: usize) {
        let params: Vec<u32> = (0..SAVED_MAX).zip(0..params).map(|(local, _)| local).collect();
        let mut here = Point::default();
        match self.counter.place {
            Place::Nobody => {}
            Place::Local => {
                self.counter.take_over();
                if self.survey.looks_at_entry() {
                    self.counter.look(&params);
                } else {
                    here.unseen = UNSEEN_MAX - UNSEEN_AFTER_CALL_MAX;
                }
            }
            Place::Global if self.survey.has_loop() || self.survey.catches => {
                // What can be done twice is not paid for beforehand.
                self.counter.charge_and_look(1, &params);
            }
            Place::Global => {
                here.uncounted = -self.survey.weight.clamp(1, PREPAID_MAX);
                self.counter.charge_and_look(-here.uncounted, &params);
            }
        }
        self.flow.here = Some(here);
    }

    fn here(&self) -> Point {
        self.flow.here.unwrap_or_default()
    }

    /// Counts all that was done, where it is more than `spare`.
    fn settle(&mut self, spare: i64) {
        let mut here = self.here();
        if spare < here.uncounted {
            self.counter.charge(here.uncounted);
            here.uncounted = 0;
            self.flow.here = Some(here);
        }
    }

    /// Counts all that was done, and looks.
    fn settle_and_look(&mut self) {
        let innermost = self.flow.frames.iter().rev().find_map(|frame| frame.place);
        let saved = innermost.and_then(|number| self.survey.loops.get(number));
        let saved = saved.map_or(&[][..], |known| &known.saved);
        self.counter.charge_and_look(self.here().uncounted.max(1), saved);
        self.flow.here = Some(Point::default());
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
    fn put(&mut self, operator: Operator<'_>) -> Result<(), Uncountable> {
        let instruction = self.shift.instruction(operator)?;
        self.counter.put(&instruction);
        Ok(())
    }

    fn operator(&mut self, operator: Operator<'_>) -> Result<(), Uncountable> {
        match cost(&operator, self.census.wide) {
            Cost::Unknown => return Err(Uncountable::Operator),
            Cost::Fixed(weight) => self.add(weight),
            Cost::Long => {
                self.put(operator)?;
                self.counter.next_interval(&[]);
                self.flow.here = Some(Point::default());
                return Ok(());
            }
            Cost::Bulk => {
                self.counter.note_bytes();
                self.put(operator)?;
                self.counter.charge_bytes_and_look(self.here().uncounted.max(0) + CALL_ITSELF);
                self.flow.here = Some(Point::default());
                return Ok(());
            }
        }
        match &operator {
            Operator::Loop { .. } => return self.open_loop(operator),
            Operator::End => {
                self.close();
                return Ok(());
            }
            Operator::Call { function_index } => {
                let function = *function_index;
                return self.call(operator, Some(function));
            }
            Operator::CallIndirect { .. } | Operator::CallRef { .. } => {
                return self.call(operator, None);
            }
            _ => {}
        }
        self.prepare(&operator)?;
        let then = Then::of(&operator);
        self.put(operator)?;
        match then {
            Then::Next => {}
            Then::Open(opening) => self.flow.open(opening, None),
            Then::Otherwise => self.flow.otherwise(),
            Then::Stop => self.flow.stop(),
        }
        Ok(())
    }

    /// Counts what must be counted before the operator leads elsewhere.
    fn prepare(&mut self, operator: &Operator<'_>) -> Result<(), Uncountable> {
        match operator {
            Operator::Br { relative_depth }
            | Operator::BrIf { relative_depth }
            | Operator::BrOnNull { relative_depth }
            | Operator::BrOnNonNull { relative_depth }
            | Operator::BrOnCast { relative_depth, .. }
            | Operator::BrOnCastFail { relative_depth, .. } => self.branch(&[*relative_depth]),
            Operator::BrTable { targets } => {
                let mut depths = targets.targets().collect::<Result<Vec<_>, _>>()?;
                depths.push(targets.default());
                self.branch(&depths);
            }
            Operator::TryTable { try_table } => {
                for catch in &try_table.catches {
                    let (Catch::One { label, .. }
                    | Catch::OneRef { label, .. }
                    | Catch::All { label }
                    | Catch::AllRef { label }) = catch;
                    // Whoever throws has counted its work, and so did this function before.
                    let unseen = UNSEEN_MAX - UNSEEN_AFTER_CALL_MAX;
                    self.flow.branch(*label, Point { uncounted: 0, unseen });
                }
            }
            Operator::Return | Operator::Throw { .. } | Operator::ThrowRef => {
                self.counter.hand_over(self.here().uncounted);
            }
            Operator::ReturnCall { function_index } => {
                let weight = self.weight_of_call(Some(*function_index));
                self.counter.hand_over(self.here().uncounted + weight);
            }
            Operator::ReturnCallIndirect { .. } | Operator::ReturnCallRef { .. } => {
                let weight = self.weight_of_call(None);
                self.counter.hand_over(self.here().uncounted + weight);
            }
            _ => {}
        }
        Ok(())
    }

    /// Counts before branches that may or may not be taken.
    fn branch(&mut self, depths: &[u32]) {
        let here = self.here().uncounted;
        // At the head of a loop there must not be more that is not counted than at its start.
        let heads = depths.iter().filter_map(|depth| self.flow.target(*depth));
        let heads = heads.filter(|frame| frame.opening == Opening::Loop);
        let due = heads.map(|frame| (here - frame.start.uncounted).max(1)).max();
        if let Some(due) = due {
            self.counter.charge(due);
            if let Some(here) = &mut self.flow.here {
                here.uncounted -= due;
            }
        }
        if depths.iter().any(|depth| self.flow.leaves(*depth)) {
            match self.counter.place {
                // Where it is not taken, the local still has the count.
                Place::Local => self.counter.hand_over(self.here().uncounted),
                _ => self.settle(0),
            }
        }
        for depth in depths {
            self.flow.branch(*depth, self.here());
        }
    }

    fn open_loop(&mut self, operator: Operator<'_>) -> Result<(), Uncountable> {
        let number = self.loops;
        let known = self.survey.loops.get(number).ok_or(Uncountable::Operator)?;
        self.loops += 1;
        if known.repeats {
            if let Some(here) = &mut self.flow.here {
                // What is paid for beforehand is lost to those who come from elsewhere.
                here.uncounted = here.uncounted.max(0);
            }
            // What is left to be counted here would be carried around in the loop.
            self.settle(UNCOUNTED_MAX / 8);
        }
        self.put(operator)?;
        self.flow.open(Opening::Loop, Some(number));
        if known.repeats {
            self.counter.look(&known.saved);
            if let Some(here) = &mut self.flow.here {
                here.unseen = 0;
            }
        }
        Ok(())
    }

    fn close(&mut self) {
        let whole = self.flow.frames.len() == 1;
        if whole && self.flow.here.is_some() {
            self.counter.hand_over(self.here().uncounted);
        }
        self.flow.close();
        self.counter.put(&wasm_encoder::Instruction::End);
        if !whole && self.flow.here.is_none() {
            // What follows is left out, and the stack is not what it would leave behind.
            self.counter.put(&wasm_encoder::Instruction::Unreachable);
        }
    }

    fn weight_of_call(&self, function: Option<u32>) -> i64 {
        match function.map(|function| self.census.callee(function)) {
            Some(Some(Callee::Host)) => HOST_CALL,
            Some(Some(Callee::Guest(survey))) => survey.leaf_weight.unwrap_or(0) + CALL_ITSELF,
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
                self.put(operator)?;
                return Ok(());
            }
            Some(Callee::Host) => {
                if let Some(here) = &mut self.flow.here {
                    here.uncounted += weight;
                }
                self.settle(0);
                self.put(operator)?;
            }
            _ => {
                self.counter.hand_over(self.here().uncounted + weight);
                if let Some(here) = &mut self.flow.here {
                    here.uncounted = (here.uncounted + weight).min(0);
                }
                self.put(operator)?;
                self.counter.take_over();
            }
        }
        if let Some(here) = &mut self.flow.here {
            let returned = UNSEEN_MAX - UNSEEN_AFTER_CALL_MAX;
            here.unseen = match callee {
                Some(Callee::Guest(survey)) if survey.looks_at_entry() => returned,
                Some(Callee::Host) => here.unseen.max(returned) + UNSEEN_HOST_CALL,
                _ => here.unseen.max(returned) + UNSEEN_CALL,
            };
        }
        Ok(())
    }
}

/// Where control is behind an operator.
#[derive(Clone, Copy, Debug)]
enum Then {
    Next,
    Open(Opening),
    Otherwise,
    Stop,
}

impl Then {
    fn of(operator: &Operator<'_>) -> Self {
        match operator {
            Operator::Block { .. } | Operator::TryTable { .. } => Self::Open(Opening::Block),
            Operator::If { .. } => Self::Open(Opening::If),
            Operator::Else => Self::Otherwise,
            Operator::Br { .. }
            | Operator::BrTable { .. }
            | Operator::Return
            | Operator::ReturnCall { .. }
            | Operator::ReturnCallIndirect { .. }
            | Operator::ReturnCallRef { .. }
            | Operator::Throw { .. }
            | Operator::ThrowRef
            | Operator::Unreachable => Self::Stop,
            _ => Self::Next,
        }
    }
}
