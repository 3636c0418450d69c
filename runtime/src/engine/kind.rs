//! What an artifact is compiled for.

use std::fmt;
use std::str::FromStr;

use sha2::Digest as _;

use crate::digest::Digest;

use super::ENGINE;

/// The form of a wasm file, found by its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// A core module.
    Module,
    /// A component without concurrency of its own: WASI 0.2.
    Component,
    /// A component that needs the engine's support for concurrency: WASI 0.3.
    ConcurrentComponent,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Module => "module",
            Self::Component => "component",
            Self::ConcurrentComponent => "concurrent-component",
        })
    }
}

impl FromStr for Form {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "module" => Ok(Self::Module),
            "component" => Ok(Self::Component),
            "concurrent-component" => Ok(Self::ConcurrentComponent),
            _ => Err(()),
        }
    }
}

/// What machine code has compiled in beside the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Kind {
    /// Checks in loops and functions, by which a guest can be interrupted.
    pub(crate) epochs: bool,
    /// A price on each instruction.
    pub(crate) fuel: bool,
}

impl Kind {
    /// A word for it, in the names of files.
    pub(crate) const fn word(self) -> &'static str {
        match (self.epochs, self.fuel) {
            (false, false) => "plain",
            (true, false) => "epochs",
            (false, true) => "fuel",
            (true, true) => "epochs+fuel",
        }
    }

    /// The kind with that word.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        let kinds = [(false, false), (true, false), (false, true), (true, true)];
        let kinds = kinds.map(|(epochs, fuel)| Self { epochs, fuel });
        kinds.into_iter().find(|kind| kind.word() == word)
    }
}

/// What an artifact is kept under: the wasm it was made from, the kind, the engine and the
/// processor.
pub(crate) fn key(wasm: &Digest, form: Form, kind: Kind) -> Digest {
    let mut hasher = sha2::Sha256::new();
    hasher.update(format!("{wasm}\n{form}\n{}\n{ENGINE}\n{}\n", kind.word(), processor()));
    let hex = hasher.finalize();
    Digest::from_bytes(hex.into())
}

/// The processor, as far as machine code may depend on it.
///
/// The engine refuses code that needs what a processor lacks; the name sees to it that two
/// machines with one cache directory do not take turns in replacing each other's code.
fn processor() -> String {
    let mut name = String::from(std::env::consts::ARCH);
    #[cfg(target_arch = "x86_64")]
    {
        let features = [
            ("sse3", std::arch::is_x86_feature_detected!("sse3")),
            ("ssse3", std::arch::is_x86_feature_detected!("ssse3")),
            ("sse4.1", std::arch::is_x86_feature_detected!("sse4.1")),
            ("sse4.2", std::arch::is_x86_feature_detected!("sse4.2")),
            ("popcnt", std::arch::is_x86_feature_detected!("popcnt")),
            ("avx", std::arch::is_x86_feature_detected!("avx")),
            ("avx2", std::arch::is_x86_feature_detected!("avx2")),
            ("fma", std::arch::is_x86_feature_detected!("fma")),
            ("bmi1", std::arch::is_x86_feature_detected!("bmi1")),
            ("bmi2", std::arch::is_x86_feature_detected!("bmi2")),
            ("lzcnt", std::arch::is_x86_feature_detected!("lzcnt")),
            ("cmpxchg16b", std::arch::is_x86_feature_detected!("cmpxchg16b")),
            ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
            ("avx512dq", std::arch::is_x86_feature_detected!("avx512dq")),
            ("avx512vl", std::arch::is_x86_feature_detected!("avx512vl")),
            ("avx512vbmi", std::arch::is_x86_feature_detected!("avx512vbmi")),
            ("avx512bitalg", std::arch::is_x86_feature_detected!("avx512bitalg")),
        ];
        for (feature, _) in features.into_iter().filter(|(_, present)| *present) {
            name.push('+');
            name.push_str(feature);
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lead_back_to_their_kinds_and_forms() {
        for kind in ["plain", "epochs", "fuel", "epochs+fuel"] {
            assert_eq!(Kind::from_word(kind).map(Kind::word), Some(kind));
        }
        assert_eq!(Kind::from_word("other"), None);
        for form in [Form::Module, Form::Component, Form::ConcurrentComponent] {
            assert_eq!(form.to_string().parse(), Ok(form));
        }
    }

    #[test]
    fn every_part_of_a_key_tells() {
        let wasm = Digest::of(b"wasm");
        let plain = Kind::default();
        let keys = [
            key(&wasm, Form::Module, plain),
            key(&Digest::of(b"other"), Form::Module, plain),
            key(&wasm, Form::Component, plain),
            key(&wasm, Form::Module, Kind { fuel: true, ..plain }),
        ];
        for (i, one) in keys.iter().enumerate() {
            assert!(keys[i + 1..].iter().all(|other| one != other));
        }
    }
}
