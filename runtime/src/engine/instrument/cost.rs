//! What operators weigh, and the numbers that bound the work between two looks at the clock.

use wasmparser::Operator;

/// Work between two looks at the clock. One operator weighs about one, and takes a fifth of a
/// nanosecond where all goes well: a look every 20 to 100 microseconds. At the worst, where each
/// load misses every cache (8 of weight in 100 ns), it is less than 2 milliseconds.
pub(super) const INTERVAL: i32 = if cfg!(test) { 128 } else { 1 << 17 };

/// What a function may weigh and not count its work by itself: its callers count it.
pub(super) const LEAF_MAX: i64 = 64;

/// A call, without what is done by who is called.
pub(super) const CALL_ITSELF: i64 = 4;

/// A call of a function that may be such a leaf.
pub(super) const CALL: i64 = LEAF_MAX + CALL_ITSELF;

/// A call of the host, which may take long: there is a look after a few of them.
pub(super) const HOST_CALL: i64 = INTERVAL as i64 / 8;

/// Work that may be done before it is counted. It is what a branch that was not taken is counted
/// too much at the most.
pub(super) const UNCOUNTED_MAX: i64 = 128;

/// Work that a function pays for when it is entered, at the most.
pub(super) const PREPAID_MAX: i64 = 256;

/// Work on the way forward, without a loop or a call, between two looks.
pub(super) const UNSEEN_MAX: i64 = 1024;

/// The same after a call has returned: a deep chain of calls can do this much at each of its
/// returns and not be seen.
pub(super) const UNSEEN_AFTER_CALL_MAX: i64 = 128;

/// What a call counts for in that: a function with a loop may not look when it is entered.
pub(super) const UNSEEN_CALL: i64 = 16;

/// What a call of the host counts for in that: it may take long.
pub(super) const UNSEEN_HOST_CALL: i64 = 64;

/// Locals of a loop that are kept elsewhere while the host is asked.
pub(super) const SAVED_MAX: u32 = 24;

/// Bytes that a bulk operation moves at the weight of one, as a power of two.
pub(super) const BULK_SHIFT: i32 = 6;

/// What an operator costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cost {
    /// This much, whatever its operands are.
    Fixed(i64),
    /// In proportion to the topmost operand, an `i32` number of bytes.
    Bulk,
    /// Nobody knows: there is a look right after it.
    Long,
    /// Counting does not understand it.
    Unknown,
}

/// What the operator costs; `wide` says that the module has memories of 64 bits.
pub(super) fn cost(operator: &Operator<'_>, wide: bool) -> Cost {
    match operator {
        Operator::Nop
        | Operator::Block { .. }
        | Operator::End
        | Operator::Drop
        | Operator::LocalGet { .. } => Cost::Fixed(0),
        Operator::I32Load { .. }
        | Operator::I64Load { .. }
        | Operator::F32Load { .. }
        | Operator::F64Load { .. }
        | Operator::I32Load8S { .. }
        | Operator::I32Load8U { .. }
        | Operator::I32Load16S { .. }
        | Operator::I32Load16U { .. }
        | Operator::I64Load8S { .. }
        | Operator::I64Load8U { .. }
        | Operator::I64Load16S { .. }
        | Operator::I64Load16U { .. }
        | Operator::I64Load32S { .. }
        | Operator::I64Load32U { .. }
        | Operator::V128Load { .. }
        | Operator::TableGet { .. }
        | Operator::TableSet { .. } => Cost::Fixed(4),
        Operator::I32DivS
        | Operator::I32DivU
        | Operator::I32RemS
        | Operator::I32RemU
        | Operator::I64DivS
        | Operator::I64DivU
        | Operator::I64RemS
        | Operator::I64RemU
        | Operator::F64Sqrt
        | Operator::F64Div => Cost::Fixed(8),
        Operator::MemoryCopy { .. } | Operator::MemoryFill { .. } if !wide => Cost::Bulk,
        Operator::MemoryCopy { .. }
        | Operator::MemoryFill { .. }
        | Operator::MemoryInit { .. }
        | Operator::MemoryGrow { .. }
        | Operator::MemoryDiscard { .. }
        | Operator::DataDrop { .. }
        | Operator::TableCopy { .. }
        | Operator::TableFill { .. }
        | Operator::TableGrow { .. }
        | Operator::TableInit { .. }
        | Operator::ElemDrop { .. }
        | Operator::StructNew { .. }
        | Operator::StructNewDefault { .. }
        | Operator::ArrayNew { .. }
        | Operator::ArrayNewDefault { .. }
        | Operator::ArrayNewFixed { .. }
        | Operator::ArrayNewData { .. }
        | Operator::ArrayNewElem { .. }
        | Operator::ArrayCopy { .. }
        | Operator::ArrayFill { .. }
        | Operator::ArrayInitData { .. }
        | Operator::ArrayInitElem { .. } => Cost::Long,
        Operator::Try { .. }
        | Operator::Catch { .. }
        | Operator::CatchAll
        | Operator::Delegate { .. }
        | Operator::Rethrow { .. }
        | Operator::Resume { .. }
        | Operator::ResumeThrow { .. }
        | Operator::ResumeThrowRef { .. }
        | Operator::ContNew { .. }
        | Operator::ContBind { .. }
        | Operator::Suspend { .. }
        | Operator::Switch { .. }
        | Operator::BrOnCastDescEq { .. }
        | Operator::BrOnCastDescEqFail { .. } => Cost::Unknown,
        _ => Cost::Fixed(1),
    }
}
