//! Documents of images: manifests, indexes and configurations, apart by bytes that no JSON has.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(3, |byte| *byte == 0xff);
    let mut next = || parts.next().unwrap_or_default();
    aril::fuzz::image(next(), next(), next());
});
