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
    ("image", &["digest"]),
    ("dockerfile", &[]),
    // Rooms: each knows one thing.
    ("platform", &["units"]),
    ("content", &["units", "digest", "image", "platform"]),
    ("rootfs", &["units", "digest", "image", "platform", "content"]),
    ("limits", &["units", "platform"]),
    ("capabilities", &["units", "platform", "limits"]),
    ("engine", &["units", "digest", "platform", "content"]),
    ("process", &["units", "platform"]),
    ("registry", &["digest", "image"]),
    ("trust", &["digest", "image"]),
    // One guest, alive.
    ("sandbox", &["*"]),
    // The sandboxes of this host that go on alone.
    ("roster", &["units", "platform", "content", "process", "limits", "sandbox"]),
    // The path.
    ("error", &["*"]),
    ("verbs", &["*"]),
    // For fuzz targets alone.
    ("fuzz", &["*"]),
];

/// Where `unsafe` may be opened, each block with its reason.
const UNSAFE_PLACES: &[&str] = &["engine/artifact.rs", "platform/linux/"];

/// What only an operating system gives the doors of container engines: there they may name it, and
/// open `unsafe`.
const SHIM_PLATFORM: &str = "oci-shim/src/platform";

/// Words that name an operating system, or what only one has, which only `platform` may.
const SYSTEMS: &[&str] = &[
    "rustix",
    "libc::",
    "use libc",
    "windows_sys",
    "target_os",
    "target_family",
    "std::os::",
    "/proc/",
    "/sys/",
    "/dev/",
    "sysctl",
    "max_map_count",
    "os error ",
];

/// The same, where what is built depends on it.
const SYSTEM_CONDITIONS: &[&str] = &["unix", "windows", "linux", "macos"];

/// Crates of the engine: their types change with it, and so are no part of our promises.
const ENGINE_CRATES: &[&str] =
    &["wasmtime", "wasmtime_wasi", "wasmtime_environ", "wiggle", "wasmparser", "wasm_encoder"];

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

/// The rooms as ARCHITECTURE.md describes them, with what each is said to know.
fn described_rooms(text: &str) -> Vec<(String, String)> {
    let mut rooms = Vec::new();
    for paragraph in text.split("\n\n") {
        let Some((room, rest)) =
            paragraph.trim_start().strip_prefix("**").and_then(|rest| rest.split_once("** — "))
        else {
            continue;
        };
        let knows = rest.split("*Knows*").nth(1).unwrap_or_default().replace('\n', " ");
        let end = knows.find(['.', ';', ':']).unwrap_or(knows.len());
        rooms.push((room.to_owned(), knows[..end].trim().to_owned()));
    }
    rooms
}

#[test]
fn the_rooms_are_described_in_their_order_with_what_the_table_lets_them_know() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let described = described_rooms(&text);

    let order: Vec<&str> = described.iter().map(|(room, _)| room.as_str()).collect();
    let table: Vec<&str> = ROOMS.iter().map(|(room, _)| *room).collect();
    assert_eq!(order, table);
    for ((room, knows), (_, known)) in described.iter().zip(ROOMS) {
        let listed = knows.replace(" and ", ", ");
        let listed = listed.split(", ").collect::<BTreeSet<_>>();
        let expected = match known {
            [] => BTreeSet::from(["nothing"]),
            ["*"] => {
                assert!(knows.starts_with("all rooms above"), "`{room}` knows {knows}");
                continue;
            }
            known => known.iter().copied().collect(),
        };
        assert_eq!(listed, expected, "`{room}` is described as knowing {knows}");
    }
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
            let allowed = path.starts_with(root().join(SHIM_PLATFORM));
            assert!(allowed || !text.contains("unsafe {"), "`{}` opens `unsafe`", path.display());
        }
    }
}

/// The first name of an operating system in a text's code.
fn system_in(text: &str) -> Option<&'static str> {
    let lines = code(text).lines().filter(|line| !line.trim_start().starts_with("//"));
    let mut lines = lines;
    lines.find_map(|line| {
        // `cfg!(unix)`, and also a line of a condition that was broken up.
        let conditional = ["cfg", "any(", "all(", "not("].iter().any(|word| line.contains(word));
        let conditions = SYSTEM_CONDITIONS.iter().filter(|_| conditional);
        let mut words = SYSTEMS.iter().chain(conditions);
        words.find(|word| line.contains(**word)).copied()
    })
}

#[test]
fn a_name_of_an_operating_system_is_found_however_it_is_written() {
    for text in [
        "use libc;",
        "#[cfg(any(unix, target_arch = \"x86_64\"))]",
        "if cfg!(windows) {",
        "    not(unix),",
        "fs::read(\"/proc/self/maps\")",
        "text.contains(\"os error 12\")",
        "format!(\"raise it with `sysctl vm.max_map_count`\")",
    ] {
        assert!(system_in(text).is_some(), "{text}");
    }
    assert_eq!(system_in("// As in /proc.\nlet process = unixlike(2);"), None);
}

#[test]
fn no_room_but_platform_names_an_operating_system() {
    for (file, text) in library().iter().filter(|(file, _)| room_of(file) != "platform") {
        assert_eq!(system_in(text), None, "`{file}` names a system");
    }
    for folder in ["cli/src", "oci-shim/src"] {
        // What a configuration says is in the words of its specification, which names systems.
        let excused = [SHIM_PLATFORM, "oci-shim/src/bundle"].map(|place| root().join(place));
        let is_excused = |path: &PathBuf| {
            let inside = path.strip_prefix(root()).unwrap();
            let is_test = inside.components().any(|part| part.as_os_str() == "tests");
            is_test
                || path.ends_with("tests.rs")
                || excused.iter().any(|place| path.starts_with(place))
        };
        for path in sources(&root().join(folder)).into_iter().filter(|path| !is_excused(path)) {
            let text = fs::read_to_string(&path).unwrap();
            assert_eq!(system_in(&text), None, "`{}` names a system", path.display());
        }
    }
}

/// A folder is as good as a file: how a system does something is its own matter.
#[test]
fn the_platforms_have_the_same_files() {
    let names = |folder: &str| -> BTreeSet<String> {
        let folder = root().join("runtime/src/platform").join(folder);
        let files = sources(&folder).into_iter();
        files
            .map(|path| room_of(path.strip_prefix(&folder).unwrap().to_str().unwrap()).to_owned())
            .collect()
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
    let shim = sources(&root().join("oci-shim/src")).into_iter();
    let shim = shim.map(|path| (path.display().to_string(), fs::read_to_string(&path).unwrap()));
    for (file, text) in library().into_iter().chain(shim) {
        let lines = code(&text).lines().filter(|line| !line.trim_start().starts_with("//"));
        let count = lines.filter(|line| !line.trim().is_empty()).count();
        let excused = LONG_FILES.iter().any(|(name, _)| *name == file);
        assert!(excused || count <= CODE_LINES_MAX, "`{file}` has {count} lines of code");
    }
}

#[test]
fn a_worker_with_a_hole_is_built_for_one_test_and_for_nobody_else() {
    let manifests =
        ["runtime", "cli", "oci-shim", "examples", "tests/benches", "tests/fuzz", "tests"];
    for folder in manifests {
        let text = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        let manifest: toml::Table = text.parse().unwrap();
        let features = manifest.get("features").and_then(toml::Value::as_table);
        let expected: &[(&str, &[&str])] = match folder {
            "runtime" => &[("hostile", &[])],
            "tests" => &[("hostile", &["aril/hostile"])],
            _ => &[],
        };
        let all = features.into_iter().flatten().map(|(name, on)| {
            let on = on.as_array().unwrap().iter().map(|name| name.as_str().unwrap());
            (name.as_str(), on.collect::<Vec<_>>())
        });
        let expected: Vec<_> = expected.iter().map(|(name, on)| (*name, on.to_vec())).collect();
        // No feature is there by default, and no dependency asks for this one.
        assert_eq!(all.collect::<Vec<_>>(), expected, "{folder}");
        let lines = text.lines().filter(|line| line.contains("hostile") && !line.starts_with('#'));
        let most = if folder == "tests" { 4 } else { expected.len() };
        assert!(lines.count() <= most, "`{folder}` names it elsewhere");
    }
    let text = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(!text.contains("hostile"), "the workspace names it");
    for (file, text) in library() {
        let names = text.matches("feature = \"hostile\"").count();
        let places = ["lib.rs", "platform/", "sandbox/mod.rs", "sandbox/linking.rs"];
        assert!(names == 0 || places.iter().any(|place| file.starts_with(place)), "`{file}`");
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

/// The words of a text that a name could be.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// The names that a file takes from the engine.
fn engine_names(text: &str) -> BTreeSet<&str> {
    let imports = code(text).lines().filter_map(|line| line.trim().strip_prefix("use "));
    let engines = imports
        .filter(|import| words(import).next().is_some_and(|first| ENGINE_CRATES.contains(&first)));
    engines.filter_map(|import| words(import).last()).filter(|name| *name != "_").collect()
}

/// A text from a line on, to where the item or field that begins there ends: at the brace of a
/// body, or with all of the body where that is public too.
fn item_at(lines: &[&str], with_body: bool) -> String {
    let (mut item, mut depth) = (String::new(), 0_i32);
    for line in lines {
        let line = line.split("//").next().unwrap();
        item.push_str(line);
        item.push('\n');
        let count = |open: char| i32::try_from(line.matches(open).count()).unwrap();
        depth += count('{') - count('}');
        let body_begins = !with_body && line.contains('{');
        let ends = line.trim_end().ends_with([';', ',', '}', ')']) && depth <= 0;
        // A list of arguments goes on behind its commas.
        let open = item.matches(['(', '<']).count() > item.matches([')', '>']).count();
        if body_begins || ends && !open {
            break;
        }
    }
    if with_body { item } else { item.split('{').next().unwrap().to_owned() }
}

/// What a file promises to everybody: its public items and fields, and what its public types
/// implement. `public` are the names that the lobby hands out.
fn promises(text: &str, public: &BTreeSet<&str>) -> Vec<String> {
    let lines: Vec<&str> = code(text).lines().collect();
    let mut found = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        let line = line.trim_start();
        if line.starts_with("pub ") {
            let with_body = line.starts_with("pub enum") || line.starts_with("pub trait");
            let item = item_at(&lines[i..], with_body);
            // The parts of a tuple are private where they do not say otherwise.
            let hidden = line.starts_with("pub struct") && !item.contains("(pub ");
            found.extend((!hidden).then_some(item));
        } else if line.starts_with("impl") {
            let header = item_at(&lines[i..], false);
            // What a trait of the engine is implemented for is told by the trait's own name.
            let of_public = header.split(" for ").last().and_then(|ty| words(ty).next());
            if header.contains(" for ") && of_public.is_some_and(|name| public.contains(name)) {
                found.push(header);
            }
        }
    }
    found
}

/// What a file promises that names a type of the engine.
fn engine_promises(text: &str, public: &BTreeSet<&str>) -> Vec<String> {
    let names = engine_names(text);
    let names_engine = |item: &String| {
        words(item).any(|word| names.contains(word) || ENGINE_CRATES.contains(&word))
    };
    promises(text, public).into_iter().filter(names_engine).collect()
}

#[test]
fn a_type_of_the_engine_is_found_wherever_a_promise_names_it() {
    let public = BTreeSet::from(["Exit", "Runtime"]);
    for text in [
        "pub use wasmtime::Engine;",
        "pub fn engine(&self) -> wasmtime::Engine {",
        "use wasmtime::Engine;\npub fn engine(&self) -> &Engine {",
        "use wasmtime::Engine as Machine;\npub async fn with(\n    &self,\n    on: &Machine,\n) {",
        "use wasmtime::Engine;\npub struct Runtime {\n    pub engine: Engine,\n}",
        "pub struct Runtime(pub wasmtime::Engine);",
        "pub enum Exit {\n    Failed(\n        wasmtime::Error,\n    ),\n}",
        "pub type Failure = wasmtime::Error;",
        "impl From<wasmtime::Error> for Exit {",
        "use wasmtime::Error;\nimpl From<Error>\n    for Exit\n{",
        "use wasmtime_wasi::WasiView;\nimpl WasiView for Runtime {",
    ] {
        assert_eq!(engine_promises(text, &public).len(), 1, "{text}");
    }
    for text in [
        "use wasmtime::Engine;\npub(crate) fn engine(&self) -> &Engine {",
        "use wasmtime::Engine;\npub struct Runtime {\n    engine: Engine,\n}",
        "pub struct Runtime(wasmtime::Engine);",
        "use wasmtime::Engine;\npub fn open() {\n    Engine::default();\n}",
        "impl From<wasmtime::Error> for Inner {",
        "// pub fn engine(&self) -> wasmtime::Engine {",
    ] {
        assert_eq!(engine_promises(text, &public), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn no_wasmtime_type_is_a_public_name() {
    let lobby = fs::read_to_string(root().join("runtime/src/lib.rs")).unwrap();
    let uses = lobby.lines().filter_map(|line| line.strip_prefix("pub use "));
    let public: BTreeSet<&str> = uses.filter_map(|path| words(path).last()).collect();
    assert!(public.len() > 30, "{public:?}");
    for (file, text) in library() {
        let found = engine_promises(&text, &public);
        assert!(found.is_empty(), "`{file}` promises a type of the engine: {found:#?}");
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
