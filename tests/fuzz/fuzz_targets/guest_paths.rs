//! Paths that become a guest's: whatever is accepted is absolute and climbs nowhere.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(path) = aril::fuzz::guest_path(text) {
        assert!(path.starts_with('/'));
        assert!(path.split('/').all(|part| part != "." && part != ".."));
        assert!(!path.contains('\0') && (path == "/" || !path.ends_with('/')));
        assert_eq!(aril::fuzz::guest_path(&path).as_ref(), Ok(&path));
    }
});
