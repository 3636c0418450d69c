//! What is written into a function to count its work.

use wasm_encoder::BlockType;
use wasm_encoder::BranchHint;
use wasm_encoder::Function;
use wasm_encoder::Instruction;
use wasm_encoder::ValType;

use super::cost::BULK_SHIFT;
use super::cost::INTERVAL;
use super::slots::Slots;

/// Where the count is while the function runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nowhere: those who call the function count its work.
    Nobody,
    /// In the module's global.
    Global,
    /// In a local, which a processor's register can be, between the calls.
    Local,
}

/// What is written, and how its work is counted.
pub(super) struct Counter<'a> {
    pub(super) out: Function,
    /// Where its branches are that are hardly ever taken.
    pub(super) hints: Vec<BranchHint>,
    pub(super) place: Place,
    /// The types of the function's own locals.
    locals: Vec<ValType>,
    /// The global of the count.
    global: u32,
    helper: u32,
    slots: &'a mut Slots,
}

impl<'a> Counter<'a> {
    /// For a function with these parameters, and these other locals in groups.
    pub(super) fn new(
        place: Place,
        params: &[ValType],
        mut groups: Vec<(u32, ValType)>,
        (global, helper): (u32, u32),
        slots: &'a mut Slots,
    ) -> Self {
        let mut locals = params.to_vec();
        for (number, ty) in &groups {
            locals.extend((0..*number).map(|_| *ty));
        }
        if place != Place::Nobody {
            groups.push((2, ValType::I32));
        }
        let out = Function::new(groups);
        Self { out, hints: Vec::new(), place, locals, global, helper, slots }
    }

    pub(super) fn put(&mut self, instruction: &Instruction<'_>) {
        self.out.instruction(instruction);
    }

    /// The local of the count, or one for a moment where it is in the global.
    fn local(&self) -> u32 {
        u32::try_from(self.locals.len()).unwrap_or(u32::MAX)
    }

    fn get(&mut self) {
        self.put(&match self.place {
            Place::Local => Instruction::LocalGet(self.local()),
            _ => Instruction::GlobalGet(self.global),
        });
    }

    fn set(&mut self) {
        self.put(&match self.place {
            Place::Local => Instruction::LocalSet(self.local()),
            _ => Instruction::GlobalSet(self.global),
        });
    }

    /// Sets the count, and leaves it on the stack.
    fn tee(&mut self) {
        self.put(&Instruction::LocalTee(self.local()));
        if self.place == Place::Global {
            self.put(&Instruction::GlobalSet(self.global));
            self.put(&Instruction::LocalGet(self.local()));
        }
    }

    fn less(&mut self, weight: i64) {
        self.put(&Instruction::I32Const(i32::try_from(weight).unwrap_or(i32::MAX / 2)));
        self.put(&Instruction::I32Sub);
    }

    /// Takes `weight` off the count.
    pub(super) fn charge(&mut self, weight: i64) {
        if self.place != Place::Nobody && 0 < weight {
            self.get();
            self.less(weight);
            self.set();
        }
    }

    /// Makes the count known to others before they count on, with this much taken off.
    pub(super) fn hand_over(&mut self, weight: i64) {
        if self.place == Place::Local {
            self.get();
            if 0 < weight {
                self.less(weight);
            }
            self.put(&Instruction::GlobalSet(self.global));
        } else {
            self.charge(weight);
        }
    }

    /// Learns of the count what others made known.
    pub(super) fn take_over(&mut self) {
        if self.place == Place::Local {
            self.put(&Instruction::GlobalGet(self.global));
            self.set();
        }
    }

    /// Begins the next interval if this one is over.
    pub(super) fn look(&mut self, saved: &[u32]) {
        if self.place != Place::Nobody {
            self.get();
            self.look_at(saved);
        }
    }

    /// Takes `weight` off the count, and begins the next interval if this one is over.
    pub(super) fn charge_and_look(&mut self, weight: i64, saved: &[u32]) {
        if self.place != Place::Nobody {
            self.get();
            self.less(weight);
            self.tee();
            self.look_at(saved);
        }
    }

    /// Notes how many bytes a bulk operation will move: their number is on the stack, and stays.
    pub(super) fn note_bytes(&mut self) {
        self.put(&Instruction::LocalTee(self.local().saturating_add(1)));
    }

    /// Counts the bytes that were moved, and begins the next interval if this one is over.
    pub(super) fn charge_bytes_and_look(&mut self, weight: i64) {
        self.get();
        self.put(&Instruction::LocalGet(self.local().saturating_add(1)));
        self.put(&Instruction::I32Const(BULK_SHIFT));
        self.put(&Instruction::I32ShrU);
        self.put(&Instruction::I32Sub);
        self.less(weight);
        self.tee();
        self.look_at(&[]);
    }

    /// Begins the next interval if this one is over; the count is on the stack.
    fn look_at(&mut self, saved: &[u32]) {
        self.put(&Instruction::I32Const(0));
        self.put(&Instruction::I32LeS);
        if let Ok(offset) = u32::try_from(self.out.byte_len()) {
            self.hints.push(BranchHint { branch_func_offset: offset, branch_hint_value: 0 });
        }
        self.put(&Instruction::If(BlockType::Empty));
        self.next_interval(saved);
        self.put(&Instruction::End);
    }

    /// The interval is over: the host is asked, and the next one begins.
    ///
    /// The locals that are `saved` are in globals meanwhile, so that none of their values lives
    /// across the call: what does is in memory all the time where a processor's registers are few,
    /// which in a loop costs more than all the counting.
    pub(super) fn next_interval(&mut self, saved: &[u32]) {
        let known = |local: &u32| Some((*local, *self.locals.get(usize::try_from(*local).ok()?)?));
        let (saved, types): (Vec<u32>, Vec<ValType>) =
            saved.iter().filter_map(known).filter(|(_, ty)| !matches!(ty, ValType::Ref(_))).unzip();
        let slots = self.slots.for_types(&types);
        for (local, slot) in saved.iter().zip(&slots) {
            self.put(&Instruction::LocalGet(*local));
            self.put(&Instruction::GlobalSet(*slot));
        }
        self.put(&Instruction::Call(self.helper));
        for (local, slot) in saved.iter().zip(&slots) {
            self.put(&Instruction::GlobalGet(*slot));
            self.put(&Instruction::LocalSet(*local));
        }
        if self.place == Place::Local {
            self.put(&Instruction::I32Const(INTERVAL));
            self.set();
        }
    }
}
