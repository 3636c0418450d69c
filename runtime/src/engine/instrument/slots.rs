//! Where a function keeps its locals while the host is asked: globals that are added for it.

use wasm_encoder::ValType;

/// The globals, in the order in which they are needed first.
#[derive(Debug)]
pub(super) struct Slots {
    first: u32,
    types: Vec<ValType>,
}

impl Slots {
    pub(super) fn new(first: u32) -> Self {
        Self { first, types: Vec::new() }
    }

    /// A global for each local of these types; the same ones each time, because nobody asks the
    /// host while another one does.
    pub(super) fn for_types(&mut self, types: &[ValType]) -> Vec<u32> {
        let mut used = vec![false; self.types.len()];
        let mut slots = Vec::with_capacity(types.len());
        for ty in types {
            let free = self.types.iter().zip(&used).position(|(other, used)| other == ty && !used);
            let index = free.unwrap_or_else(|| {
                self.types.push(*ty);
                used.push(false);
                self.types.len() - 1
            });
            if let Some(used) = used.get_mut(index) {
                *used = true;
            }
            slots.push(self.first.saturating_add(u32::try_from(index).unwrap_or(u32::MAX)));
        }
        slots
    }

    pub(super) fn types(&self) -> &[ValType] {
        &self.types
    }
}
