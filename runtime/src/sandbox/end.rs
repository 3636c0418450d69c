//! What the engine says when a guest ends, translated once.

use wasmtime::WasmBacktrace;
use wasmtime_wasi::I32Exit;

use crate::engine::INTERRUPT;
use crate::engine::SHIFT;
use crate::limits::Overflow;

use super::exit::Exit;
use super::exit::Frame;
use super::exit::MemoryWall;
use super::exit::Trap;
use super::exit::TrapKind;
use super::vitals::Ordered;
use super::vitals::Vitals;

/// How many calls of a backtrace are kept.
pub(super) const FRAMES_MAX: usize = 64;

/// The longest sentence of the engine that is kept, in characters.
const MESSAGE_SIZE_MAX: usize = 1000;

/// How the guest ended, when its run came back with `error`.
pub(super) fn exit_of(error: &wasmtime::Error, vitals: &Vitals) -> Exit {
    if let Some(I32Exit(code)) = error.downcast_ref() {
        return Exit::Exited(code.cast_unsigned());
    }
    if let Some(Ordered(exit)) = error.downcast_ref() {
        return exit.clone();
    }
    if error.downcast_ref::<Overflow>().is_some() || vitals.flow.overflowed() {
        return Exit::Output;
    }
    let Some(trap) = error.downcast_ref::<wasmtime::Trap>() else {
        let heap_is_full = error.downcast_ref::<wasmtime::GcHeapOutOfMemory<()>>().is_some();
        if heap_is_full && vitals.meter.last_refusal().is_some() {
            return Exit::OutOfMemory(MemoryWall::Meter);
        }
        let message = printable(&bounded(format!("{:#}", error.root_cause())));
        return Exit::Trapped(Trap {
            kind: TrapKind::HostRefused,
            message,
            backtrace: frames(error),
        });
    };
    match kind_of(*trap) {
        None => Exit::Fuel,
        Some(TrapKind::Unreachable | TrapKind::HostRefused)
            if vitals.meter.last_refusal().is_some() =>
        {
            Exit::OutOfMemory(MemoryWall::Meter)
        }
        Some(kind) => {
            Exit::Trapped(Trap { kind, message: trap.to_string(), backtrace: frames(error) })
        }
    }
}

/// The kind of the engine's trap, or nothing for the end of the fuel.
fn kind_of(trap: wasmtime::Trap) -> Option<TrapKind> {
    use wasmtime::Trap as Engine;
    Some(match trap {
        Engine::OutOfFuel => return None,
        Engine::UnreachableCodeReached => TrapKind::Unreachable,
        Engine::AllocationTooLarge => TrapKind::HostRefused,
        Engine::StackOverflow => TrapKind::StackOverflow,
        Engine::MemoryOutOfBounds | Engine::HeapMisaligned | Engine::ArrayOutOfBounds => {
            TrapKind::MemoryOutOfBounds
        }
        Engine::TableOutOfBounds => TrapKind::TableOutOfBounds,
        Engine::IndirectCallToNull | Engine::BadSignature | Engine::NullReference => {
            TrapKind::BadCall
        }
        Engine::IntegerOverflow
        | Engine::IntegerDivisionByZero
        | Engine::BadConversionToInteger => TrapKind::Arithmetic,
        Engine::AsyncDeadlock => TrapKind::Deadlock,
        // The engine may grow new kinds with each patch.
        _ => TrapKind::Other,
    })
}

fn frames(error: &wasmtime::Error) -> Vec<Frame> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return Vec::new() };
    let frame = |frame: &wasmtime::FrameInfo| {
        let number = frame.func_index();
        // Where work is counted, functions have other numbers than in the guest's own wasm, one is
        // not its own, and there is no way back from the place in the code.
        let (number, offset) = match first_own(frame.module()) {
            None => (number, frame.module_offset().map(|offset| offset as u64)),
            Some(own) if number < own => return None,
            Some(_) => (number.saturating_sub(SHIFT), None),
        };
        let name = frame.func_name().map(|name| bounded(name.to_owned()));
        Some(Frame { function: name.unwrap_or_else(|| format!("${number}")), offset })
    };
    backtrace.frames().iter().filter_map(frame).take(FRAMES_MAX).collect()
}

/// The number of the first function that is the guest's own, where its work is counted.
fn first_own(module: &wasmtime::Module) -> Option<u32> {
    let mut counted = false;
    let mut functions = 0_u32;
    for import in module.imports() {
        counted |= import.module() == INTERRUPT;
        functions += u32::from(matches!(import.ty(), wasmtime::ExternType::Func(_)));
    }
    // Behind the imports stands the function that calls the host.
    counted.then_some(functions + 1)
}

/// A text with a stranger's words in it, as it can be shown: what would move a terminal's cursor,
/// begin a line or turn the direction of reading is written out, as `\u{1b}`.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if acts_on_terminals(c) { shown.extend(c.escape_unicode()) } else { shown.push(c) }
    }
    shown
}

/// Whether a character does something else than being shown. All of those are below U+10000.
pub(super) fn acts_on_terminals(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}');
    // Among them are those that take no room, and so hide a difference.
    let hides = matches!(c, '\u{ad}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    c.is_control() || turns || hides
}

pub(super) fn bounded(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(MESSAGE_SIZE_MAX) {
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_text_cannot_write_to_a_terminal() {
        assert_eq!(printable("a\u{200b}\u{2066}\u{feff}"), "a\\u{200b}\\u{2066}\\u{feff}");
        assert_eq!(printable("a\x1b[2J\nb\u{9b}\u{202e}ä"), "a\\u{1b}[2J\\u{a}b\\u{9b}\\u{202e}ä");
    }
}
