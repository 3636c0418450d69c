//! Layers: whatever an archive holds, plain or compressed, nothing of it is anywhere but in the
//! directory that it is unpacked into, and all that is there is files, directories and links.
#![no_main]

use std::fs;
use std::path::Path;

use libfuzzer_sys::fuzz_target;

fn look(folder: &Path) {
    for entry in fs::read_dir(folder).expect("a directory of ours") {
        let entry = entry.expect("an entry");
        let kind = entry.file_type().expect("a kind");
        assert!(kind.is_file() || kind.is_dir() || kind.is_symlink());
        if kind.is_dir() {
            look(&entry.path());
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let place = tempfile::tempdir().expect("a directory");
    let root = place.path().join("root");
    fs::create_dir(&root).expect("a directory");
    fs::write(place.path().join("canary"), "alive").expect("a file");
    if aril::fuzz::layer(bytes, &root) {
        look(&root);
    }
    let mut names: Vec<_> =
        fs::read_dir(place.path()).expect("ours").map(|it| it.expect("ours").file_name()).collect();
    names.sort();
    assert_eq!(names, ["canary", "root"]);
    assert_eq!(fs::read(place.path().join("canary")).expect("a file"), b"alive");
});
