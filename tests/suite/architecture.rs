//! The house keeps its own rules: what a room may know, where `unsafe` and systems may be named.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use crate::support::root;

/// Every room of `runtime`, with the rooms it may know; `*` is every room above.
///
/// A row may name only rows above it, so that a circle cannot be written down.
const ROOMS: &[(&str, &[&str])] = &[
    // Words: values that every room speaks.
    ("units", &[]),
    ("digest", &[]),
    // Rooms: each knows one thing.
    ("platform", &["units"]),
    ("content", &["units", "digest", "platform"]),
    ("limits", &["units", "platform"]),
    ("capabilities", &["units", "platform", "limits"]),
    ("engine", &["units", "digest", "platform", "content"]),
    ("process", &["units", "platform"]),
    // One guest, alive.
    ("sandbox", &["*"]),
    // The path.
    ("error", &["*"]),
    ("verbs", &["*"]),
    // For fuzz targets alone.
    ("fuzz", &["*"]),
];

/// Where `unsafe` may be opened, each block with its reason.
const UNSAFE_PLACES: &[&str] = &["engine/artifact.rs", "platform/linux/"];

/// Words that name an operating system, which only `platform` may.
const SYSTEMS: &[&str] = &["rustix", "libc::", "target_os", "cfg(unix", "cfg(windows", "std::os::"];

/// The most lines of code in a file, tests not counted.
const CODE_LINES_MAX: usize = 420;

/// Files that are longer, each with its reason.
const LONG_FILES: &[(&str, &str)] = &[
    ("sandbox/preview1.rs", "a table: one entry for each call of preview 1"),
    ("engine/instrument/rewrite.rs", "one walk over a function, with the steps it takes"),
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The files of the library: their names below `src`, and their texts.
fn library() -> Vec<(String, String)> {
    let src = root().join("runtime/src");
    let read = |path: PathBuf| {
        let name = path.strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
        (name, fs::read_to_string(path).unwrap())
    };
    sources(&src).into_iter().map(read).collect()
}

/// What is not a test of a file: all up to its test module.
fn code(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests").next().unwrap()
}

fn room_of(file: &str) -> &str {
    file.split(['/', '.']).next().unwrap()
}

/// The rooms that a text imports.
fn imports(text: &str) -> BTreeSet<&str> {
    let lines = code(text).lines().filter(|line| !line.trim_start().starts_with("//"));
    let after = lines.flat_map(|line| {
        line.match_indices("crate::").map(move |(i, word)| &line[i + word.len()..])
    });
    let names = after.map(|rest| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        &rest[..end]
    });
    names.filter(|name| name.starts_with(char::is_lowercase)).collect()
}

#[test]
fn a_row_of_the_room_table_names_only_rows_above_it() {
    for (i, (room, known)) in ROOMS.iter().enumerate() {
        let above: Vec<&str> = ROOMS[..i].iter().map(|(name, _)| *name).collect();
        for name in known.iter().filter(|name| **name != "*") {
            assert!(above.contains(name), "`{room}` may not know `{name}`, which is not above it");
        }
    }
}

#[test]
fn every_module_of_the_library_is_a_room_and_every_room_exists() {
    let files = library();
    let modules: BTreeSet<&str> =
        files.iter().map(|(file, _)| room_of(file)).filter(|room| *room != "lib").collect();
    let rooms: BTreeSet<&str> = ROOMS.iter().map(|(room, _)| *room).collect();
    assert_eq!(modules, rooms);
}

#[test]
fn a_room_imports_only_what_the_table_allows() {
    for (file, text) in library().iter().filter(|(file, _)| file != "lib.rs") {
        let room = room_of(file);
        let row = ROOMS.iter().position(|(name, _)| *name == room).unwrap();
        let above: Vec<&str> = ROOMS[..row].iter().map(|(name, _)| *name).collect();
        for name in imports(text).into_iter().filter(|name| *name != room) {
            let known = ROOMS[row].1;
            let allowed = known.contains(&name) || (known.contains(&"*") && above.contains(&name));
            assert!(allowed, "`{file}` imports `{name}`, which `{room}` may not know");
        }
    }
}

#[test]
fn unsafe_stays_in_its_places() {
    for (file, text) in library() {
        let opened = text.contains("unsafe {") || text.contains("expect(unsafe_code");
        let allowed = UNSAFE_PLACES.iter().any(|place| file.starts_with(place));
        assert!(allowed || !opened, "`{file}` opens `unsafe`");
    }
    for folder in ["cli/src", "oci-shim/src", "examples"] {
        for path in sources(&root().join(folder)) {
            let text = fs::read_to_string(&path).unwrap();
            assert!(!text.contains("unsafe {"), "`{}` opens `unsafe`", path.display());
        }
    }
}

#[test]
fn no_room_but_platform_names_an_operating_system() {
    for (file, text) in library().iter().filter(|(file, _)| room_of(file) != "platform") {
        for word in SYSTEMS {
            assert!(!code(text).contains(word), "`{file}` names a system: `{word}`");
        }
    }
    for path in sources(&root().join("cli/src")) {
        let text = fs::read_to_string(&path).unwrap();
        for word in SYSTEMS {
            assert!(!code(&text).contains(word), "`{}` names a system: `{word}`", path.display());
        }
    }
}

#[test]
fn the_platforms_have_the_same_files() {
    let names = |folder: &str| -> BTreeSet<String> {
        let folder = root().join("runtime/src/platform").join(folder);
        let files = sources(&folder).into_iter();
        files.map(|path| path.strip_prefix(&folder).unwrap().display().to_string()).collect()
    };
    assert_eq!(names("linux"), names("portable"));
}

#[test]
fn every_file_says_what_it_is_for() {
    for folder in ["runtime/src", "cli/src", "oci-shim/src", "examples", "tests"] {
        for path in sources(&root().join(folder)) {
            if path.components().any(|part| part.as_os_str() == "target") {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.starts_with("//!"), "`{}` does not begin with `//!`", path.display());
        }
    }
}

#[test]
fn no_file_is_too_long_to_be_read_at_one_sitting() {
    for (file, text) in library() {
        let lines = code(&text).lines().filter(|line| !line.trim_start().starts_with("//"));
        let count = lines.filter(|line| !line.trim().is_empty()).count();
        let excused = LONG_FILES.iter().any(|(name, _)| *name == file);
        assert!(excused || count <= CODE_LINES_MAX, "`{file}` has {count} lines of code");
    }
}

#[test]
fn the_front_ends_know_the_library_and_neither_the_engine_nor_each_other() {
    for (front, others) in
        [("cli", ["wasmtime", "aril-shim"]), ("oci-shim", ["wasmtime", "aril-cli"])]
    {
        let manifest = fs::read_to_string(root().join(front).join("Cargo.toml")).unwrap();
        for other in others {
            assert!(!manifest.contains(other), "`{front}` depends on `{other}`");
        }
    }
}

#[test]
fn no_wasmtime_type_is_a_public_name() {
    let lobby = fs::read_to_string(root().join("runtime/src/lib.rs")).unwrap();
    assert!(!lobby.contains("pub use wasmtime"), "the lobby hands out a type of the engine");
    for (file, text) in library() {
        let public = code(&text).lines().filter(|line| line.trim_start().starts_with("pub fn"));
        for line in public.filter(|line| !line.contains("pub(")) {
            assert!(!line.contains("wasmtime::"), "`{file}`: {line}");
        }
    }
}

#[test]
fn no_test_file_is_forgotten() {
    let suite = root().join("tests/suite");
    let main = fs::read_to_string(suite.join("main.rs")).unwrap();
    for path in sources(&suite).iter().filter(|path| path.parent() == Some(&suite)) {
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(name == "main" || main.contains(&format!("mod {name};")), "`{name}` is forgotten");
    }
}
