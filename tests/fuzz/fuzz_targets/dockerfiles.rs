//! Dockerfiles: read, or refused with a line.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| aril::fuzz::dockerfile(bytes));
