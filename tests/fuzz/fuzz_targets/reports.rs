//! What a compiler process says and how a role is called: a claim, and never more than that.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    aril::fuzz::report(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        aril::fuzz::call(text.split('\n'));
        aril::fuzz::index_entry(text);
    }
});
