//! Names of images: what is read prints as something that is read the same, and holds what a registry's
//! address or a path on disk could be made of.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(reference) = text.parse::<aril::Reference>() {
        let shown = reference.to_string();
        assert_eq!(shown.parse().as_ref(), Ok(&reference));
        let repository = reference.repository();
        assert!(repository.split('/').all(|part| !part.is_empty() && part != "." && part != ".."));
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/".contains(c);
        assert!(repository.chars().all(is_plain) && repository.len() <= 255);
        assert!(reference.tag().is_some() || reference.digest().is_some());
        assert!(shown.is_ascii() && !shown.contains(char::is_whitespace));
        let registry = reference.registry().unwrap_or_default();
        assert!(!registry.contains(['/', '@', '?', '#']));
    }
});
