//! Policies, and signatures that none of their keys made, apart by a byte that no text has; what a
//! registry asks for; settings, logins and private keys.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    aril::fuzz::challenge(bytes);
    let mut parts = bytes.splitn(2, |byte| *byte == 0xff);
    let text = String::from_utf8_lossy(parts.next().unwrap_or_default());
    aril::fuzz::policy(&text, parts.next().unwrap_or_default());
    aril::fuzz::settings(&text);
    let _key = aril::SigningKey::parse(bytes, None);
});
