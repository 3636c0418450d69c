//! Sizes, shares, spans, fuel and digests as people and files write them: what is read prints as
//! something that is read the same.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(bytes) = text.parse::<aril::Bytes>() {
        assert!(0 < bytes.get());
        assert_eq!(bytes.to_string().trim_end_matches(" bytes").parse(), Ok(bytes));
    }
    if let Ok(cpus) = text.parse::<aril::Cpus>() {
        assert_eq!(cpus.to_string().parse(), Ok(cpus));
    }
    if let Ok(fuel) = text.parse::<aril::Fuel>() {
        assert_eq!(fuel.to_string().parse(), Ok(fuel));
    }
    if let Ok(digest) = text.parse::<aril::Digest>() {
        assert_eq!(digest.to_string(), text);
    }
    if let Ok(span) = aril::parse_span(text) {
        assert!(!span.is_zero());
    }
});
