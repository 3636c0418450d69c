//! What a Dockerfile says, and which files it leaves out. Nothing is read or built here.

mod ignore;
mod parse;
mod pattern;
mod words;

pub(crate) use ignore::Ignore;
pub(crate) use ignore::Met;
pub(crate) use parse::Argument;
pub(crate) use parse::Copy;
pub(crate) use parse::Dockerfile;
pub(crate) use parse::FILE_SIZE_MAX;
pub(crate) use parse::Instruction;
pub(crate) use parse::Stage;
pub(crate) use parse::Step;
pub(crate) use pattern::Names;
pub(crate) use pattern::is_pattern;
pub(crate) use words::Words;

/// What a Dockerfile, or a file of what it leaves out, has in it that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub(crate) struct Invalid {
    pub(crate) line: usize,
    pub(crate) reason: String,
}

impl Invalid {
    pub(crate) fn new(line: usize, reason: impl Into<String>) -> Self {
        Self { line, reason: reason.into() }
    }
}

/// A text of somebody else's as it can be shown: one line, nothing that a terminal obeys, not too
/// long.
pub(crate) fn shown(text: &str) -> String {
    const SHOWN: usize = 120;
    let mut shown = String::new();
    for c in text.chars().take(SHOWN) {
        match c {
            '"' | '\'' | '\\' => shown.push(c),
            c => shown.extend(c.escape_debug()),
        }
    }
    if text.chars().nth(SHOWN).is_some() {
        shown.push_str("...");
    }
    shown
}

/// The text of a file, or the line in which it is none. Lines that nobody writes are refused.
fn text_of(bytes: &[u8]) -> Result<&str, Invalid> {
    /// The longest line, in bytes: what docker takes.
    const LINE_MAX: usize = 65535;
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].split(|byte| *byte == b'\n').count();
        Invalid::new(line, "it is not UTF-8")
    })?;
    if let Some(at) = text.find('\0') {
        let line = text[..at].matches('\n').count();
        return Err(Invalid::new(line + 1, "it has a zero in it"));
    }
    match text.split('\n').position(|line| LINE_MAX < line.len()) {
        Some(at) => {
            Err(Invalid::new(at + 1, format!("it is longer than {LINE_MAX} bytes, as is no line")))
        }
        None => Ok(text.strip_prefix('\u{feff}').unwrap_or(text)),
    }
}
