//! Puts the means to interrupt a guest into its own code, before it is compiled.
//!
//! The engine can do the same with its epochs. Their price is high where it matters most: at each
//! turn of a loop two places in memory are compared, and what is called when an epoch is over keeps
//! what the loop has in the processor's registers in memory all the time. Here the work is counted
//! in a register, and who has worked for an interval asks the host:
//!
//! ```text
//! loop $head
//!   if (count <= 0)         ;; hardly ever: the engine is told so
//!     ...                   ;; what the loop's rounds hand on is put into globals
//!     call $helper          ;; asks the host, and sets the count to an interval again
//!     ...                   ;; and is taken back
//!   end
//!   ...                     ;; the body; before a branch back to the head:
//!   count -= due
//!   br $head
//! end
//! ```
//!
//! # Why no guest can work much longer than an interval unseen
//!
//! The *count* begins at [`cost::INTERVAL`], and each operator's weight is taken off it. It is in
//! one global; a function with loops keeps it in a local, writes it back before whatever else
//! could count (a call, a return, a throw) and reads it again after a call. A function that
//! catches exceptions never keeps it in a local, so that no path leads around the writing back.
//!
//! *All work is counted, but for a bounded rest.* Between two branches back, control only goes
//! forward. The walk over a function ([`flow`]) knows for each point the most that can have been
//! done on any way forward to it and was not counted. Where that would exceed
//! [`cost::UNCOUNTED_MAX`] it is counted; before a call, a return or a throw it is counted; and a
//! branch back counts so much (one at the least) that at the loop's head there is never more
//! uncounted than when the loop was entered. So only the function that is running has work that is
//! not counted, and never more than that maximum. A leaf (no loops, no calls but of leaves by name,
//! at most [`cost::LEAF_MAX`] with all of those) is counted by who calls it; who calls through a
//! reference counts as if it were a leaf. What a bulk operation moves is counted when it has moved it, and there is a look.
//! An operator whose work nobody knows ends the interval, and a call of the host counts for an
//! eighth of one.
//!
//! *When the count is used up, it is seen soon.* There is a look at the head of each loop that
//! repeats, at each entry of a function that calls (and is no leaf), at least once in [`cost::UNSEEN_MAX`] on the way forward, and once in
//! [`cost::UNSEEN_AFTER_CALL_MAX`] after a call has returned. From the moment when the count is
//! used up, a guest that is not seen can thus take no branch back and enter nothing that calls. It
//! can only go forward and return: at most `UNSEEN_MAX` in the running function, and
//! `UNSEEN_AFTER_CALL_MAX` (with the few leaves called in it) in each of the functions that it
//! returns to. Those are as many as frames fit on its stack, of 16 bytes at least: 8 operators
//! for each byte of a stack, which is a few milliseconds at 1 MiB for a guest that does its worst.
//! What the walk leaves out can never run. The count cannot wrap: it begins at 2^17, is at most
//! that much below nothing for the reasons above, and a bulk operation takes 2^26 at the most.
//!
//! That a guest cannot get around it: it has no name for the global, the local and the functions
//! that are added. They are behind all that is its own, validation has seen before that it names
//! nothing which is not there, and they are neither exported nor in a table.

mod census;
mod cost;
mod counter;
mod flow;
mod module;
mod rewrite;
#[cfg(test)]
mod samples;
mod slots;
mod survey;
#[cfg(test)]
mod tests;

use census::Census;
use module::Writer;

/// The module that provides what counted code imports.
pub(crate) const MODULE: &str = "aril:interrupt";

/// The function that says whether a guest must give way: `() -> i32`.
pub(crate) const DUE: &str = "due";

/// The function in which it gives way: `() -> ()`. The host may end it there.
pub(crate) const REST: &str = "rest";

/// By how much the numbers of functions change that are the guest's own: two imports, and the one
/// function that calls them.
pub(crate) const SHIFT: u32 = 3;

/// Why the work of a module cannot be counted.
#[derive(Debug, thiserror::Error)]
pub(super) enum Uncountable {
    #[error("it imports from `{MODULE}`")]
    Reserved,
    #[error("it has an operator that is not understood")]
    Operator,
    #[error("it is too large")]
    TooLarge,
    #[error("it cannot be read")]
    Read(#[from] wasmparser::Error),
    #[error("it cannot be written: {0}")]
    Write(#[from] wasm_encoder::reencode::Error),
}

/// The module with its work counted. It must be valid; whoever compiles the result validates it
/// again.
///
/// # Errors
///
/// Fails where it does not know how, and then something else must interrupt the guest.
pub(super) fn instrument(wasm: &[u8]) -> Result<Vec<u8>, Uncountable> {
    let census = Census::take(wasm)?;
    if census.bodies.is_empty() {
        return Ok(wasm.to_vec());
    }
    Writer::new(&census)?.write(wasm)
}
