//! Files that claim to be wasm or its text: each is compiled or refused with a reason.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // Larger ones only take longer.
    if bytes.len() <= 4096 {
        let reason = aril::fuzz::compile(bytes);
        assert!(reason.is_none_or(|reason| !reason.is_empty()));
    }
});
