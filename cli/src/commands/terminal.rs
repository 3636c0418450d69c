//! The terminal of this process as that of a guest's: raw, with keys by which one leaves.

use std::str::FromStr;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::Once;
use std::sync::PoisonError;

use anyhow::Context as _;
use aril::WindowSize;
use ratatui::crossterm::terminal;

/// Whether this terminal is a guest's. Held by whoever changes how it is, so that nobody who goes on
/// takes it from the shell after the guest has ended.
static IS_GUESTS: Mutex<bool> = Mutex::new(false);

fn is_guests() -> MutexGuard<'static, bool> {
    IS_GUESTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// This terminal, which hands on what is typed as it is. It is as it was before when this goes, and
/// when this process panics.
#[derive(Debug)]
pub(super) struct Raw(());

impl Raw {
    pub(super) fn enter() -> anyhow::Result<Self> {
        static HOOK: Once = Once::new();
        // Before it is changed: a build may end at a panic, with nothing dropped.
        HOOK.call_once(|| {
            let told = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                restore();
                told(panic);
            }));
        });
        let mut is_guests = is_guests();
        terminal::enable_raw_mode().context("cannot use this terminal for the guest")?;
        *is_guests = true;
        Ok(Self(()))
    }

    /// Leaves the terminal as it was while this process stands still.
    pub(super) fn suspend() {
        if *is_guests() {
            restore();
        }
    }

    /// Takes it again, where it is still the guest's: whoever had it meanwhile may have changed it.
    pub(super) fn resume() {
        if *is_guests() {
            restore();
            // One that is gone is found out by who reads from it.
            let _gone = terminal::enable_raw_mode();
        }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let mut is_guests = is_guests();
        restore();
        *is_guests = false;
    }
}

fn restore() {
    // One that is gone needs nothing.
    let _gone = terminal::disable_raw_mode();
}

/// The size of this terminal; that of most, where it is none.
pub(super) fn size() -> WindowSize {
    match terminal::size() {
        Ok((columns, rows)) if 0 < columns && 0 < rows => WindowSize { columns, rows },
        _ => WindowSize::default(),
    }
}

/// The keys by which one leaves a guest's terminal, as docker spells them: `ctrl-p,ctrl-q`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DetachKeys {
    keys: Vec<u8>,
    /// Those that were typed so far, and not handed on.
    held: Vec<u8>,
}

impl Default for DetachKeys {
    fn default() -> Self {
        /// Ctrl-P and Ctrl-Q.
        const KEYS: [u8; 2] = [0x10, 0x11];
        Self { keys: KEYS.to_vec(), held: Vec::new() }
    }
}

impl FromStr for DetachKeys {
    type Err = String;

    /// Keys with commas between: characters, and `ctrl-` with a letter or one of `@[\\]^_`. Without
    /// any, none leave.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut keys = Vec::new();
        for key in text.split(',').filter(|_| !text.is_empty()) {
            let code = match key.as_bytes() {
                [code @ 0x20..=0x7e] => Some(*code),
                [b'c', b't', b'r', b'l', b'-', of @ (b'a'..=b'z' | b'@' | b'['..=b'_')] => {
                    // What a terminal sends: the character's last five bits.
                    Some(of & 0x1f)
                }
                _ => None,
            };
            keys.push(code.ok_or_else(|| {
                format!(
                    "`{key}` is no key: write a character, or `ctrl-` with a letter or one of \
                     `@[\\]^_`, and commas between them"
                )
            })?);
        }
        Ok(Self { keys, held: Vec::new() })
    }
}

impl DetachKeys {
    /// None: nothing that is typed leaves.
    pub(super) const fn none() -> Self {
        Self { keys: Vec::new(), held: Vec::new() }
    }

    /// What of the bytes that were typed is to be handed on now, and whether the keys came. What may
    /// still become them is held back.
    pub(super) fn sift(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(typed.len());
        for byte in typed {
            self.held.push(*byte);
            while !self.keys.starts_with(&self.held) {
                passed.push(self.held.remove(0));
            }
            if !self.keys.is_empty() && self.held == self.keys {
                return (passed, true);
            }
        }
        (passed, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_spelled_as_docker_spells_them() {
        for (text, expected) in [
            ("ctrl-p,ctrl-q", &[0x10, 0x11][..]),
            ("ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_", &[0, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f]),
            ("a,B,~", b"aB~"),
            ("", b""),
        ] {
            assert_eq!(text.parse::<DetachKeys>().expect("keys").keys, expected, "{text}");
        }
        for text in ["ctrl-", "ctrl-1", "ctrl-pq", "ab", "a,,b", "ctrl-P", "\u{e4}", "\n"] {
            let error = text.parse::<DetachKeys>().expect_err("refused");
            assert!(error.contains("is no key"), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_not_the_keys_is_handed_on_whole() {
        let sift = |keys: &str, typed: &[&str]| {
            let mut keys = keys.parse::<DetachKeys>().expect("keys");
            let mut passed = Vec::new();
            for piece in typed {
                let (some, is_over) = keys.sift(piece.as_bytes());
                passed.extend(some);
                if is_over {
                    return (String::from_utf8(passed).expect("text"), true);
                }
            }
            (String::from_utf8(passed).expect("text"), false)
        };
        assert_eq!(sift("a,b", &["xaby"]), ("x".to_owned(), true));
        assert_eq!(sift("a,b", &["xa", "b"]), ("x".to_owned(), true));
        assert_eq!(sift("a,b", &["a", "cb"]), ("acb".to_owned(), false));
        assert_eq!(sift("a,a,b", &["aaab"]), ("a".to_owned(), true));
        assert_eq!(sift("", &["ab"]), ("ab".to_owned(), false));
        assert_eq!(sift("a,b", &["xa"]), ("x".to_owned(), false), "it may still become the keys");
    }
}
