//! What `.dockerignore` leaves out, and what patterns of `COPY` mean: the first line is a path.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (path, patterns) = text.split_once('\n').unwrap_or((text, ""));
    let is_path = !path.is_empty() && path.split('/').all(|name| !name.is_empty());
    // A mark of the order of bytes means nothing at the beginning, and itself elsewhere.
    if is_path && !patterns.starts_with('\u{feff}') {
        // The same patterns once more decide the same.
        let once = aril::fuzz::is_left_out(patterns.as_bytes(), path);
        let twice = aril::fuzz::is_left_out(format!("{patterns}\n{patterns}").as_bytes(), path);
        assert!(once.is_none() || twice.is_none() || once == twice);
        for pattern in patterns.lines() {
            let _means = aril::fuzz::means(pattern, path);
        }
        // A name means itself.
        if !path.contains(['*', '?', '[', '\\']) {
            assert_eq!(aril::fuzz::means(path, path), (path.len() <= 4096).then_some(true));
        }
    }
});
