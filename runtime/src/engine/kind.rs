//! What an artifact is compiled for.

use std::fmt;
use std::hash::DefaultHasher;
use std::hash::Hash;
use std::hash::Hasher as _;
use std::str::FromStr;

use crate::digest::Digest;

use super::ENGINE;

/// The form of a wasm file, found by its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// A core module.
    Module,
    /// A core module whose work cannot be counted: epochs interrupt it.
    UncountedModule,
    /// A component without concurrency of its own: WASI 0.2.
    Component,
    /// A component that needs the engine's support for concurrency: WASI 0.3.
    ConcurrentComponent,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Module => "module",
            Self::UncountedModule => "uncounted-module",
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
            "uncounted-module" => Ok(Self::UncountedModule),
            "component" => Ok(Self::Component),
            "concurrent-component" => Ok(Self::ConcurrentComponent),
            _ => Err(()),
        }
    }
}

/// By what a guest can be interrupted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Interruption {
    /// By nothing.
    #[default]
    None,
    /// By the engine's checks in loops and functions.
    Epochs,
    /// By our own, which are in the wasm before it is compiled: see
    /// [`instrument`](super::instrument). Only a [`Form::Module`] can have them; epochs interrupt
    /// the other forms.
    Counted,
}

/// What machine code has compiled in beside the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Kind {
    pub(crate) interruption: Interruption,
    /// A price on each instruction.
    pub(crate) fuel: bool,
}

impl Kind {
    /// A word for it, in the names of files.
    pub(crate) const fn word(self) -> &'static str {
        match (self.interruption, self.fuel) {
            (Interruption::None, false) => "plain",
            (Interruption::Epochs, false) => "epochs",
            (Interruption::Counted, false) => "counted",
            (Interruption::None, true) => "fuel",
            (Interruption::Epochs, true) => "epochs+fuel",
            (Interruption::Counted, true) => "counted+fuel",
        }
    }

    /// By what code of this kind and form is interrupted in fact.
    pub(crate) const fn interruption(self, form: Form) -> Interruption {
        match (self.interruption, form) {
            (Interruption::Counted, Form::Module) => Interruption::Counted,
            (Interruption::Counted | Interruption::Epochs, _) => Interruption::Epochs,
            (Interruption::None, _) => Interruption::None,
        }
    }

    /// The kind with that word.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        let interruptions = [Interruption::None, Interruption::Epochs, Interruption::Counted];
        let kinds =
            interruptions.map(|interruption| [false, true].map(|fuel| Self { interruption, fuel }));
        kinds.into_iter().flatten().find(|kind| kind.word() == word)
    }
}

/// What an artifact is kept under: the wasm that it was made from, and what it was made into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) wasm: Digest,
    /// Form, kind, engine and processor, hashed. No secret and no signature: the engine itself
    /// refuses code that was made for another.
    pub(crate) build: u64,
}

impl Key {
    pub(crate) fn new(wasm: Digest, form: Form, kind: Kind) -> Self {
        // Not a cryptographic hash, because the first of a process asks the processor what it can,
        // which takes a virtual machine tens of microseconds.
        let mut hasher = DefaultHasher::new();
        (form, kind, ENGINE).hash(&mut hasher);
        hash_processor(&mut hasher);
        Self { wasm, build: hasher.finish() }
    }

    /// The name of the artifact's file.
    pub(crate) fn file_name(&self) -> String {
        format!("{}-{:016x}", self.wasm.hex(), self.build)
    }
}

/// The processor, as far as machine code may depend on it.
///
/// The engine refuses code that needs what a processor lacks; the name sees to it that two
/// machines with one cache directory do not take turns in replacing each other's code.
fn hash_processor(hasher: &mut DefaultHasher) {
    std::env::consts::ARCH.hash(hasher);
    #[cfg(target_arch = "x86_64")]
    {
        let features = [
            std::arch::is_x86_feature_detected!("sse3"),
            std::arch::is_x86_feature_detected!("ssse3"),
            std::arch::is_x86_feature_detected!("sse4.1"),
            std::arch::is_x86_feature_detected!("sse4.2"),
            std::arch::is_x86_feature_detected!("popcnt"),
            std::arch::is_x86_feature_detected!("avx"),
            std::arch::is_x86_feature_detected!("avx2"),
            std::arch::is_x86_feature_detected!("fma"),
            std::arch::is_x86_feature_detected!("bmi1"),
            std::arch::is_x86_feature_detected!("bmi2"),
            std::arch::is_x86_feature_detected!("lzcnt"),
            std::arch::is_x86_feature_detected!("cmpxchg16b"),
            std::arch::is_x86_feature_detected!("avx512f"),
            std::arch::is_x86_feature_detected!("avx512dq"),
            std::arch::is_x86_feature_detected!("avx512vl"),
            std::arch::is_x86_feature_detected!("avx512vbmi"),
            std::arch::is_x86_feature_detected!("avx512bitalg"),
        ];
        features.hash(hasher);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lead_back_to_their_kinds_and_forms() {
        for kind in ["plain", "epochs", "counted", "fuel", "epochs+fuel", "counted+fuel"] {
            assert_eq!(Kind::from_word(kind).map(Kind::word), Some(kind));
        }
        assert_eq!(Kind::from_word("other"), None);
        for form in
            [Form::Module, Form::UncountedModule, Form::Component, Form::ConcurrentComponent]
        {
            assert_eq!(form.to_string().parse(), Ok(form));
        }
    }

    #[test]
    fn every_part_of_a_key_tells() {
        let wasm = Digest::of(b"wasm");
        let plain = Kind::default();
        let keys = [
            Key::new(wasm, Form::Module, plain),
            Key::new(Digest::of(b"other"), Form::Module, plain),
            Key::new(wasm, Form::Component, plain),
            Key::new(wasm, Form::Module, Kind { fuel: true, ..plain }),
            Key::new(wasm, Form::Module, Kind { interruption: Interruption::Epochs, ..plain }),
            Key::new(wasm, Form::Module, Kind { interruption: Interruption::Counted, ..plain }),
        ];
        for (i, one) in keys.iter().enumerate() {
            assert!(keys[i + 1..].iter().all(|other| one != other));
        }
    }
}
