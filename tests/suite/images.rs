//! Images come, are named and go, through every door; what is broken never gets in.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use aril::Digest;
use serde_json::Value;
use serde_json::json;

use crate::layouts::CONFIG;
use crate::layouts::INDEX;
use crate::layouts::Layout;
use crate::layouts::MANIFEST;
use crate::layouts::WASM;
use crate::layouts::WASM_CONFIG;
use crate::layouts::archive;
use crate::layouts::gzip;
use crate::support::Bench;
use crate::support::Outcome;
use crate::support::OwnMounts;
use crate::support::skip;
use crate::traced::Then;
use crate::traced::traced;

/// A guest that says a line and ends.
fn saying(line: &str) -> String {
    format!(
        r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1) (data (i32.const 100) "{line}\n")
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 100)) (i32.store (i32.const 4) (i32.const {length}))
    (call $exit (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 52)))))"#,
        length = line.len() + 1,
    )
}

fn hello() -> Vec<u8> {
    wat::parse_str(saying("hello")).unwrap()
}

/// A guest that says `up`, and ends when its input does.
const WAITING: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1) (data (i32.const 100) "up\n")
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 100)) (i32.store (i32.const 4) (i32.const 3))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 52)))
    (i32.store (i32.const 0) (i32.const 200)) (i32.store (i32.const 4) (i32.const 1))
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 52)))))"#;

impl Bench {
    fn outcome(&self, line: &str) -> Outcome {
        self.aril(line.split(' ')).outcome()
    }

    #[track_caller]
    fn ok(&self, line: &str) -> String {
        self.outcome(line).expect_code(0).stdout
    }

    #[track_caller]
    fn fails(&self, line: &str, code: i32, text: &str) {
        let outcome = self.outcome(line).expect_code(code).expect_error(text);
        assert_eq!(outcome.stdout, "", "{outcome:#?}");
    }

    /// With `app:1` in its store, which says `hello`.
    fn with_app() -> Self {
        let bench = Self::new();
        bench.file("hello.wat", saying("hello"));
        bench.ok("import hello.wat app:1");
        bench
    }

    fn content(&self) -> PathBuf {
        self.data().join("content")
    }

    /// What is in which file of the store, but for locks and how the names were before.
    fn listing(&self) -> Vec<(String, Digest)> {
        fn walk(folder: &Path, root: &Path, found: &mut Vec<(String, Digest)>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, root, found);
                } else if !path.ends_with("lock") && !path.ends_with("index.previous.json") {
                    let name = path.strip_prefix(root).unwrap().display().to_string();
                    found.push((name, Digest::of(&fs::read(&path).unwrap())));
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.content(), &self.content(), &mut found);
        found.sort();
        found
    }

    /// The names of its images.
    fn names(&self) -> Vec<String> {
        let said = self.ok("images --format {{.Repository}}:{{.Tag}}");
        said.lines().map(str::to_owned).collect()
    }

    /// Fails unless each of these is refused, with a line of error, and changes nothing.
    #[track_caller]
    fn refuses(&self, forms: &[(PathBuf, i32, &str)]) {
        let (before, names) = (self.listing(), self.names());
        for (path, code, text) in forms {
            let outcome = self.aril(["load".as_ref(), "-i".as_ref(), path.as_os_str()]).outcome();
            let outcome = outcome.expect_code(*code).expect_error(text);
            assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:#?}");
            assert!(outcome.stderr.starts_with("aril: cannot load `"), "{outcome:#?}");
            assert_eq!(outcome.stdout, "", "{outcome:#?}");
            assert_eq!(self.names(), names, "nothing is named");
            self.ok("prune");
            assert_eq!(self.listing(), before, "nothing is left of `{}`", path.display());
        }
    }

    /// The same with a layout, as a folder and as an archive.
    #[track_caller]
    fn refuses_layout(&self, layout: &Layout, code: i32, text: &str) {
        self.refuses(&[
            (self.file("bad.tar", layout.archive()), code, text),
            (self.folder("bad", layout), code, text),
        ]);
    }

    /// Writes a layout into a folder that did not exist.
    fn folder(&self, name: &str, layout: &Layout) -> PathBuf {
        let path = self.path().join(name);
        let _absent = fs::remove_dir_all(&path);
        layout.write(&path);
        path
    }

    /// Runs somebody else's tool in the folder; nothing, said aloud, where there is none.
    fn tool(&self, line: &str) -> Option<String> {
        let mut words = line.split(' ');
        let name = words.next().unwrap();
        let mut command = Command::new(name);
        let found = Command::new(name).arg("--version").stdout(Stdio::null()).status();
        if !found.is_ok_and(|status| status.success()) {
            skip(&format!("`{name}`, which reads and writes images"));
            return None;
        }
        let output = command.args(words).current_dir(self.path()).output().unwrap();
        assert!(output.status.success(), "`{line}`: {output:?}");
        Some(String::from_utf8(output.stdout).unwrap())
    }
}

// --- Names.

#[test]
fn a_wasm_file_becomes_an_image_that_is_listed_and_runs() {
    let bench = Bench::new();
    bench.file("hello.wat", saying("hello"));

    let digest = bench.ok("import hello.wat app:1");
    let digest = digest.trim();

    assert!(digest.parse::<Digest>().is_ok(), "{digest}");
    bench.outcome("run app:1").expect_code(0).expect_output("hello\n");
    let short = &digest["sha256:".len()..][..12];
    let table = bench.ok("images");
    let lines: Vec<Vec<&str>> = table.lines().map(|l| l.split_whitespace().collect()).collect();
    let titles = ["REPOSITORY", "TAG", "IMAGE", "ID", "PLATFORM", "CREATED", "SIZE"];
    assert_eq!(lines[0], titles);
    assert_eq!(lines[1][..5], ["app", "1", short, "wasip1/wasm", "N/A"]);
    assert_eq!(lines.len(), 2, "{table}");
    assert_eq!(bench.ok("images -q"), format!("{short}\n"));
    assert_eq!(bench.ok("images -q --digests"), format!("{digest}\n"));
    let wide = bench.ok("images --digests");
    assert!(wide.contains("DIGEST") && wide.contains(digest), "{wide}");
    let row: Value = serde_json::from_str(&bench.ok("images --format json")).unwrap();
    assert_eq!((&row["Repository"], &row["Digest"]), (&json!("app"), &json!(digest)));
    assert_eq!(bench.ok("images --format {{.Tag}}@{{.ID}}"), format!("1@{short}\n"));
    bench.fails("images --format {{.Nothing}}", 125, "there are: CreatedAt");
}

#[test]
fn the_same_file_is_the_same_image_and_text_is_what_it_stands_for() {
    let bench = Bench::with_app();
    bench.file("hello.wasm", hello());

    let digests = [bench.ok("import hello.wasm b:1"), bench.ok("import hello.wat c:1")];

    assert_eq!(digests[0], digests[1]);
    assert_eq!(bench.ok("images -q").lines().count(), 3);
    assert_eq!(fs::read_dir(bench.content().join("blobs/sha256")).unwrap().count(), 3);
}

#[test]
fn what_is_no_wasm_does_not_become_an_image() {
    let bench = Bench::with_app();
    let before = bench.listing();
    let elf = [b"\x7fELF\x02\x01\x01".to_vec(), vec![0; 100]].concat();
    for (content, text) in [
        (vec![], "it is empty"),
        (elf, "it is neither wasm nor its text"),
        (b"(module (func".to_vec(), "it is neither wasm nor its text"),
    ] {
        bench.file("bad.wasm", content);
        bench.fails("import bad.wasm bad:1", 126, text);
    }
    // What ends early may only be found out when it is compiled.
    bench.file("bad.wasm", &hello()[..40]);
    if bench.outcome("import bad.wasm bad:1").code == Some(0) {
        bench.outcome("run bad:1").expect_code(126);
        bench.ok("rmi bad:1");
    }
    bench.fails("import missing.wasm bad:1", 127, "No such file");
    bench.fails("import . bad:1", 126, "not a regular file");
    bench.ok("prune");
    assert_eq!(bench.listing(), before);
}

#[test]
fn an_image_is_described_with_the_names_that_docker_has() {
    let bench = Bench::with_app();

    let all: Value = serde_json::from_str(&bench.ok("inspect app:1")).unwrap();

    let image = &all[0];
    assert_eq!(image["RepoTags"], json!(["app:1"]));
    let digest = format!("app@{}", image["Id"].as_str().unwrap());
    assert_eq!(image["RepoDigests"], json!([digest]));
    assert_eq!((&image["Os"], &image["Architecture"]), (&json!("wasip1"), &json!("wasm")));
    assert_eq!(image["Layers"].as_array().unwrap().len(), 1);
    let filled = bench.aril(["inspect", "app:1", "-f", "{{.Os}}/{{json .RepoTags}}"]).outcome();
    filled.expect_code(0).expect_output("wasip1/[\"app:1\"]\n");
    // By its digest, whatever it is called.
    bench.ok(&format!("inspect {digest}"));
    bench.ok(&format!("run {digest}"));
    for (line, text) in [
        ("inspect nothing:1", "there is neither a sandbox nor an image `nothing:1`"),
        ("inspect --type image nothing:1", "the store has no such image"),
    ] {
        bench.outcome(line).expect_code(1).expect_error(text).expect_output("[]\n");
    }
    // What is there is shown all the same.
    let some = bench.outcome("inspect nothing:1 -f {{.RepoTags}} app:1").expect_code(1);
    some.expect_error("`nothing:1`").expect_output("[\"app:1\"]\n");
    bench.fails("inspect app:1 --format {{.ID}}", 125, "there is no `ID`; there are:");
}

#[test]
fn a_name_is_given_moved_and_taken_away() {
    let bench = Bench::with_app();
    bench.file("other.wat", saying("other"));

    bench.ok("tag app:1 localhost:5000/deep/app:2");
    assert_eq!(bench.names(), ["app:1", "localhost:5000/deep/app:2"]);
    bench.ok("import other.wat app:1");
    bench.outcome("run app:1").expect_code(0).expect_output("other\n");
    bench.outcome("run localhost:5000/deep/app:2").expect_code(0).expect_output("hello\n");

    assert_eq!(bench.ok("rmi app:1"), "Untagged: app:1\n");
    bench.fails("run app:1", 127, "neither a file nor an image `app:1`");
    bench.fails("rmi app:1", 1, "the store has no such image");
    bench.fails("tag app:1 new", 127, "the store has no such image");
    bench.ok("rmi localhost:5000/deep/app:2");
    assert_eq!(bench.ok("images"), bench.ok("images app"), "only the titles are left");
    assert_eq!(fs::read_dir(bench.content().join("blobs/sha256")).unwrap().count(), 0);
}

#[test]
fn images_are_found_by_repository_and_by_name() {
    let bench = Bench::with_app();
    for name in ["app:2", "other:1", "app"] {
        bench.ok(&format!("tag app:1 {name}"));
    }
    let of = |name: &str| bench.ok(&format!("images -q {name}")).lines().count();
    assert_eq!([of("app"), of("app:2"), of("other"), of("nothing")], [3, 1, 1, 0]);
}

#[test]
fn prune_removes_what_no_name_leads_to_and_nothing_else() {
    let bench = Bench::with_app();
    let before = bench.listing();
    let stray = Digest::of(b"stray").hex();
    bench.file(&format!("data/content/blobs/sha256/{stray}"), "stray");
    bench.file(&format!("data/content/.aril/partial/{stray}"), "str");

    assert_eq!(bench.ok("prune -f"), "Removed 1 blobs, 5B\n");

    assert_eq!(bench.listing(), before);
    assert_eq!(bench.ok("prune"), "Removed 0 blobs, 0B\n");
    bench.outcome("run app:1").expect_code(0);
}

#[test]
fn a_file_comes_before_an_image_and_a_path_is_never_an_image() {
    let bench = Bench::with_app();
    bench.ok("tag app:1 app.wat:latest");
    bench.ok("tag app:1 hidden");
    bench.file("hidden", wat::parse_str(saying("file")).unwrap());

    bench.outcome("run hidden").expect_code(0).expect_output("file\n");
    bench.outcome("run hidden:latest").expect_code(0).expect_output("hello\n");
    bench.fails("run ./app:1", 127, "No such file");
    bench.fails("run app.wat", 127, "No such file");
    let unknown = bench.outcome("run unknown").expect_code(127);
    unknown.expect_error("there is neither a file nor an image `unknown`");
    bench.fails("run --pull never localhost:5000/app:1", 127, "the store has no such image");
}

#[test]
fn what_is_no_reference_is_refused_wherever_one_is_expected() {
    let bench = Bench::with_app();
    let before = bench.listing();
    let long = "a".repeat(300);
    for bad in [
        "",
        ":1",
        "app:",
        "app:1:2",
        "app:.1",
        "App",
        "../app",
        "app/../x",
        "/app",
        "app//x",
        "app/",
        "a b",
        "ä",
        "app\n",
        "app\0",
        "localhost:0/app",
        "localhost:65536/app",
        "[::1/app",
        "host_.x/app",
        "app@sha256:abc",
        "app@md5:d41d8cd98f00b204e9800998ecf8427e",
        "@",
        ":1@sha256",
        "-x",
        "app:1@",
        &long,
        &format!("a:{}", "1".repeat(129)),
        &format!("app@sha256:{}", "A".repeat(64)),
    ] {
        if bad.contains('\0') {
            continue;
        }
        let outcome = bench.aril(["tag", "app:1", "--", bad]).outcome().expect_code(125);
        assert!(!outcome.stderr.contains("panicked"), "{outcome:#?}");
        bench.aril(["rmi", "--", bad]).outcome().expect_code(125);
    }
    assert_eq!(bench.listing(), before);
    for good in ["[::1]:5000/app:1", "LOCALHOST:5000/app", "a.b/c__d/e-f.g:T_1", "127.0.0.1/x"] {
        bench.ok(&format!("tag app:1 {good}"));
        bench.ok(&format!("run {good}"));
    }
}

#[test]
fn an_image_that_runs_is_not_disturbed_by_its_removal() {
    let bench = Bench::new();
    bench.file("waiting.wat", WAITING);
    bench.ok("import waiting.wat app:1");
    let running = bench.run(["-i", "app:1"]).silent_input().start();
    running.wait_for_output("up");

    bench.ok("rmi app:1");
    bench.ok("prune");

    assert_eq!(fs::read_dir(bench.content().join("blobs/sha256")).unwrap().count(), 0);
    // It is asked to end, and its input ends.
    running.signal("TERM");
    running.outcome().expect_code(0).expect_output("up\n");
}

// --- Archives and layouts.

#[test]
fn the_files_of_an_image_that_runs_stay_until_it_has_ended() {
    let bench = Bench::new();
    bench.file("waiting.wat", WAITING);
    bench.file("assets/a.txt", "an asset\n");
    let build = "build waiting.wat -t files:1 -q --copy ./assets:/srv/";
    let roots = || {
        let found = fs::read_dir(bench.data().join("roots")).unwrap();
        let names = found.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != "locks").collect::<Vec<_>>()
    };
    for flags in ["", "--read-only "] {
        bench.ok(build);
        let line = format!("run -i {flags}files:1");
        let running = bench.aril(line.split(' ')).silent_input().start();
        running.wait_for_output("up\n");
        let before = roots();
        assert_eq!(before.len(), 1);
        bench.ok("rmi files:1");
        bench.ok("prune");
        assert_eq!(roots(), before, "the files of a guest that runs were removed");
        running.signal("TERM");
        running.outcome();
        bench.ok("prune");
        assert_eq!(roots(), [] as [&str; 0]);
    }
}

#[test]
fn what_is_saved_is_always_the_same_and_is_loaded_elsewhere() {
    let (bench, elsewhere) = (Bench::with_app(), Bench::new());
    bench.ok("tag app:1 registry.example:5000/team/app:2");
    let images = "app:1 registry.example:5000/team/app:2";
    bench.ok(&format!("save -o one.tar {images}"));
    bench.ok(&format!("save -o two.tar {images}"));
    let other_store = Bench::with_app();
    other_store.ok("tag app:1 registry.example:5000/team/app:2");
    other_store.ok(&format!("save -o three.tar {images}"));

    let one = fs::read(bench.path().join("one.tar")).unwrap();

    assert_eq!(one, fs::read(bench.path().join("two.tar")).unwrap());
    assert_eq!(one, fs::read(other_store.path().join("three.tar")).unwrap());
    let loaded = elsewhere.aril(["load"]).input(one.clone()).outcome().expect_code(0);
    assert_eq!(
        loaded.stdout,
        "Loaded image: app:1\nLoaded image: registry.example:5000/team/app:2\n"
    );
    elsewhere.outcome("run app:1").expect_code(0).expect_output("hello\n");
    elsewhere.ok(&format!("save -o four.tar {images}"));
    assert_eq!(one, fs::read(elsewhere.path().join("four.tar")).unwrap());
    // Compressed, it is the same; and again, it changes nothing.
    elsewhere.file("app.tar.gz", gzip(&one));
    let before = elsewhere.listing();
    assert_eq!(elsewhere.ok("load -q -i app.tar.gz"), "");
    assert_eq!(elsewhere.listing(), before);
}

#[test]
fn an_archive_that_cannot_be_written_leaves_what_was_there() {
    let bench = Bench::with_app();
    bench.file("app.tar", "before");
    bench.fails("save -o app.tar app:1 nothing:1", 127, "the store has no such image");
    bench.fails("save -o missing/app.tar app:1", 125, "cannot write the archive");
    assert_eq!(fs::read(bench.path().join("app.tar")).unwrap(), b"before");
    let left = fs::read_dir(bench.path()).unwrap().count();
    assert_eq!(left, 4, "the text, the archive, the store and the machine code's folder");
}

#[test]
fn a_layout_folder_and_an_archive_of_it_are_loaded() {
    let layout = Layout::of(|layout| layout.artifact(&[&hello()]));
    for form in ["folder", "archive", "compressed"] {
        let bench = Bench::new();
        let input = match form {
            "folder" => bench.folder("layout", &layout),
            "archive" => bench.file("layout", layout.archive()),
            _ => bench.file("layout", gzip(&layout.archive())),
        };
        let input = input.display().to_string();
        assert_eq!(bench.ok(&format!("load -i {input}")), "Loaded image: made:1\n");
        bench.outcome("run made:1").expect_code(0).expect_output("hello\n");
    }
}

/// What `docker save` wrote for years, of an image with these layers.
fn docker_saved(config: &Value, layers: &[Vec<u8>], tags: &Value) -> Vec<(String, Vec<u8>)> {
    let config = config.to_string().into_bytes();
    let config_name = format!("{}.json", Digest::of(&config).hex());
    let mut files = vec![(config_name.clone(), config)];
    let mut paths = Vec::new();
    for layer in layers {
        let hex = Digest::of(layer).hex();
        paths.push(format!("{hex}/layer.tar"));
        files.push((format!("{hex}/VERSION"), b"1.0".to_vec()));
        files.push((format!("{hex}/json"), b"{}".to_vec()));
        files.push((format!("{hex}/layer.tar"), layer.clone()));
    }
    let manifest = json!([{"Config": config_name, "RepoTags": tags, "Layers": paths}]);
    files.push(("manifest.json".to_owned(), manifest.to_string().into_bytes()));
    files.push(("repositories".to_owned(), b"{}".to_vec()));
    files
}

/// The configuration of an image with these layers.
fn config_of(layers: &[Vec<u8>]) -> Value {
    let diff_ids: Vec<String> = layers.iter().map(|l| Digest::of(l).to_string()).collect();
    json!({
        "architecture": "wasm", "os": "wasi",
        "config": {"Entrypoint": ["/app.wasm"], "Env": ["A=1"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
}

#[test]
fn what_docker_save_wrote_for_years_is_loaded() {
    let layers = [archive(&[("app.wasm", hello())]), archive(&[("data", b"data".to_vec())])];
    let files = docker_saved(&config_of(&layers), &layers, &json!(["app:1", "other/app:2"]));

    let bench = Bench::new();
    bench.file("saved.tar", archive(&files));
    let said = bench.ok("load -i saved.tar");

    assert_eq!(said, "Loaded image: app:1\nLoaded image: other/app:2\n");
    let image: Value = serde_json::from_str(&bench.ok("inspect app:1")).unwrap();
    assert_eq!(image[0]["Config"]["Entrypoint"], json!(["/app.wasm"]));
    assert_eq!(image[0]["Layers"].as_array().unwrap().len(), 2);
    bench.outcome("run app:1").expect_code(0).expect_output("hello\n");
    // What is saved of it is also what older versions of docker load.
    bench.ok("save -o again.tar app:1");
    let bytes = fs::read(bench.path().join("again.tar")).unwrap();
    let has_manifest = tar::Archive::new(&bytes[..])
        .entries()
        .unwrap()
        .any(|entry| entry.unwrap().path().unwrap() == Path::new("manifest.json"));
    assert!(has_manifest);
}

#[test]
fn an_image_without_a_name_is_loaded_and_goes_when_it_is_pruned() {
    let layers = [archive(&[("app.wasm", hello())])];
    let files = docker_saved(&config_of(&layers), &layers, &Value::Null);
    let bench = Bench::with_app();
    let before = bench.listing();
    bench.file("saved.tar", archive(&files));

    let said = bench.ok("load -i saved.tar");

    assert!(said.starts_with("Loaded image ID: sha256:"), "{said}");
    assert!(bench.names().contains(&"<none>:<none>".to_owned()));
    bench.ok("prune");
    assert_eq!((bench.listing(), bench.names()), (before, vec!["app:1".to_owned()]));
}

#[test]
fn an_archive_of_dockers_that_lacks_something_is_refused() {
    let bench = Bench::with_app();
    let layers = [archive(&[("app.wasm", hello())])];
    let files = docker_saved(&config_of(&layers), &layers, &json!(["made:1"]));
    let without = |end: &str| -> Vec<_> {
        files.iter().filter(|(path, _)| !path.ends_with(end)).cloned().collect()
    };
    let with = |path: &str, content: &str| -> Vec<_> {
        let mut files = without(path);
        files.push((path.to_owned(), content.into()));
        files
    };
    let evil = r#"[{"Config":"../../etc/passwd","RepoTags":["made:1"],"Layers":[]}]"#;
    let name = r#"[{"Config":"c","RepoTags":["../x"],"Layers":[]}]"#;
    for (files, text) in [
        (without("layer.tar"), "/layer.tar`, which is named"),
        (without("manifest.json"), "it has no `manifest.json`"),
        (with("manifest.json", "hello"), "its `manifest.json` is none"),
        (with("manifest.json", "[]"), "there is no image in it"),
        (with("manifest.json", evil), "it has no `../../etc/passwd`"),
        (with("manifest.json", name), "which is named"),
    ] {
        bench.refuses(&[(bench.file("bad.tar", archive(&files)), 126, text)]);
    }
    let large = with("manifest.json", &format!("[{}1]", "1,".repeat(3 << 20)));
    bench.refuses(&[(bench.file("bad.tar", archive(&large)), 126, "is larger than 4 MiB")]);
    // The layer is there, and is not what the configuration says.
    let mut files = files;
    let position = files.iter().position(|(path, _)| path.ends_with("layer.tar")).unwrap();
    files[position].1 = archive(&[("app.wasm", b"other".to_vec())]);
    bench.file("bad.tar", archive(&files));
    let outcome = bench.outcome("load -i bad.tar");
    if outcome.code == Some(0) {
        bench.outcome("run made:1").expect_code(126);
    }
}

// --- What is broken.

#[test]
fn an_archive_that_ends_early_is_refused_wherever_that_is() {
    let bench = Bench::with_app();
    let layout = Layout::of(|layout| layout.artifact(&[&hello()]));
    let whole = layout.archive();
    // Without the last blob, and the two blocks that end an archive.
    for end in [0, 1, 100, 512, 600, 1024, 1500, 2048, 2100, 2600, whole.len() - 1024 - 400] {
        let file = bench.file("bad.tar", &whole[..end]);
        let (before, names) = (bench.listing(), bench.names());
        let outcome = bench.aril(["load".as_ref(), "-i".as_ref(), file.as_os_str()]).outcome();
        assert_eq!(outcome.code, Some(126), "{end}: {outcome:#?}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:#?}");
        bench.ok("prune");
        assert_eq!((bench.listing(), bench.names()), (before, names), "{end}");
    }
    let compressed = gzip(&whole);
    for end in [10, compressed.len() / 2, compressed.len() - 9] {
        bench.refuses(&[(bench.file("bad.tar.gz", &compressed[..end]), 126, "load")]);
    }
    let layers = [archive(&[("app.wasm", hello())])];
    let saved = archive(&docker_saved(&config_of(&layers), &layers, &json!(["made:1"])));
    bench.refuses(&[(bench.file("bad.tar", &saved[..3000]), 126, "load")]);
    for text in ["no archive at all\n".repeat(100), "short".to_owned(), "\u{1b}[2J".repeat(1000)] {
        for bytes in [text.clone().into_bytes(), gzip(text.as_bytes())] {
            let said = "it is no archive: it is neither tar, nor tar compressed with gzip";
            bench.refuses(&[(bench.file("bad.tar", bytes), 126, said)]);
        }
    }
    // What is wrong further behind is told, and what is there instead is not.
    let broken =
        [&whole[..whole.len() - 1024], "no head of a file\n".repeat(100).as_bytes()].concat();
    bench.refuses(&[(bench.file("bad.tar", broken), 126, "what follows its file number")]);
    let long = serde_json::to_vec(&"A".repeat(100_000)).unwrap();
    for name in ["index.json", "manifest.json"] {
        bench.file("bad.tar", archive(&[(name, long.clone())]));
        let outcome = bench.outcome("load -i bad.tar").expect_code(126);
        let outcome = outcome.expect_error("is not what belongs there");
        assert!(outcome.stderr.len() < 300, "{outcome:#?}");
    }
    bench.fails("load -i nothing.tar", 125, "cannot open the archive `nothing.tar`");
}

#[test]
fn a_blob_that_is_not_what_it_is_called_is_refused() {
    let bench = Bench::with_app();
    // Each blob in turn: the program, the configuration, and the manifest.
    let new = wat::parse_str(saying("new")).unwrap();
    let good = Layout::of(|layout| layout.artifact(&[&new]));
    for hex in good.blobs.keys() {
        let mut flipped = good.clone();
        flipped.blobs.get_mut(hex).unwrap()[20] ^= 1;
        bench.refuses(&[(bench.file("bad.tar", flipped.archive()), 126, "its digest is sha256:")]);
        bench.refuses(&[(bench.folder("bad", &flipped), 126, "load")]);
        let mut missing = good.clone();
        missing.blobs.remove(hex);
        bench.refuses(&[(bench.file("bad.tar", missing.archive()), 126, "the store has no blob")]);
        bench.refuses(&[(bench.folder("bad", &missing), 126, "it has no blob")]);
        let mut long = good.clone();
        long.blobs.get_mut(hex).unwrap().push(0);
        bench.refuses(&[(bench.file("bad.tar", long.archive()), 126, "its digest is sha256:")]);
        bench.refuses(&[(bench.folder("bad", &long), 126, "load")]);
        let mut short = good.clone();
        short.blobs.get_mut(hex).unwrap().pop();
        bench.refuses(&[(bench.file("bad.tar", short.archive()), 126, "its digest is sha256:")]);
        bench.refuses(&[(bench.folder("bad", &short), 126, "load")]);
    }
}

#[test]
fn a_blob_of_another_size_than_it_should_have_is_refused() {
    let bench = Bench::with_app();
    // What is new, and what the store has by chance.
    for wasm in [wat::parse_str(saying("new")).unwrap(), hello()] {
        for size in [0, 5, wasm.len() - 1, wasm.len() + 1, 1 << 40] {
            let layer = Layout::of(|layout| {
                let config = layout.blob(WASM_CONFIG, r#"{"architecture":"wasm","os":"wasip1"}"#);
                let mut program = layout.blob(WASM, wasm.clone());
                program["size"] = size.into();
                layout.manifest(&config, &[program])
            });
            bench.refuses_layout(&layer, 126, "bytes");
        }
    }
    let config = Layout::of(|layout| {
        let mut config = layout.blob(WASM_CONFIG, r#"{"architecture":"wasm","os":"wasip1"}"#);
        config["size"] = 7.into();
        let program = layout.blob(WASM, hello());
        layout.manifest(&config, &[program])
    });
    bench.refuses_layout(&config, 126, "bytes");
    let manifest = Layout::of(|layout| {
        let mut manifest = layout.artifact(&[&hello()]);
        manifest["size"] = 7.into();
        manifest
    });
    bench.refuses_layout(&manifest, 126, "bytes");
}

#[test]
fn a_digest_that_is_none_is_refused() {
    let bench = Bench::with_app();
    for digest in [
        "sha256:../../../../etc/passwd",
        "sha256:",
        "",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        &format!("sha256:{}", "a".repeat(63)),
        &format!("sha256:{}", "A".repeat(64)),
        &format!("sha512:{}", "a".repeat(128)),
        &format!("sha256:{}/", "a".repeat(63)),
    ] {
        let entry = json!({"mediaType": MANIFEST, "digest": digest, "size": 10});
        let named = Layout::of(|_| entry.clone());
        bench.refuses_layout(&named, 126, "load");
        let inner = Layout::of(|layout| layout.manifest(&entry, &[]));
        bench.refuses_layout(&inner, 126, "");
    }
    for path in ["blobs/sha256/../../x", "blobs/sha256/abc", "blobs/sha256/"] {
        let mut bytes = Vec::new();
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_size(0);
        header.set_mode(0o644);
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(&[0; 1024]);
        bench.refuses(&[(bench.file("bad.tar", bytes), 126, "load")]);
    }
}

#[test]
fn an_index_that_is_none_is_refused() {
    let bench = Bench::with_app();
    let good = Layout::of(|layout| layout.artifact(&[&hello()]));
    let manifest = good.blobs.values().find(|blob| blob.starts_with(b"{\"config")).unwrap();
    let neither = br#"{"schemaVersion":2}"#.to_vec();
    let empty = br#"{"schemaVersion":2,"manifests":[]}"#.to_vec();
    for (index, text) in [
        (b"hello".to_vec(), "it is not what a manifest or an index should be"),
        (b"".to_vec(), "it is not what a manifest or an index should be"),
        (b"\0".repeat(1000), "it is not what a manifest or an index should be"),
        ("[".repeat(100_000).into(), "it is not what a manifest or an index should be"),
        (manifest.clone(), "its `index.json` is not an index"),
        (neither, "neither `layers` nor `manifests`"),
        (empty, "there is no image in it"),
        (br#"{"schemaVersion":1,"manifests":[]}"#.to_vec(), "first version"),
        (br#"{"schemaVersion":3,"manifests":[]}"#.to_vec(), "`schemaVersion` is 3"),
        (vec![b' '; 100 << 20], "is larger than 4 MiB"),
    ] {
        let layout = Layout { index: Some(index), ..good.clone() };
        bench.refuses_layout(&layout, 126, text);
    }
    let mut badly = good.clone();
    badly.entries[0]["annotations"]["org.opencontainers.image.ref.name"] = json!("../../x");
    bench.refuses_layout(&badly, 126, "cannot name an image");
    let nothing = Layout::default().files().split_off(1)[..0].to_vec();
    bench.refuses(&[(bench.file("bad.tar", archive(&nothing)), 126, "it has no `index.json`")]);
}

#[test]
fn an_image_that_is_no_program_is_refused() {
    let bench = Bench::with_app();
    let elf = [b"\x7fELF\x02\x01\x01".to_vec(), vec![0; 100]].concat();
    let files = archive(&[("app.wasm", hello())]);
    let other = wat::parse_str(saying("other")).unwrap();
    for (layers, text) in [
        (&[][..], "it has no layers"),
        (&[&hello()[..], &other], "it has 2 programs"),
        (&[&hello()[..], &files], "beside layers of files"),
        (&[&elf[..]], "its layer 0 is machine code"),
        (&[&hello()[..], &elf], "its layer 1 is machine code"),
        (&[b"#!/bin/sh\n"], "neither wasm nor an archive"),
        (&[b""], "neither wasm nor an archive"),
    ] {
        bench.refuses_layout(&Layout::of(|layout| layout.artifact(layers)), 126, text);
    }
}

#[test]
fn documents_in_documents_end_somewhere() {
    let bench = Bench::with_app();
    let nested = |depth: usize| {
        Layout::of(|layout| {
            let first = layout.artifact(&[&hello()]);
            (0..depth).fold(first, |inner, _| layout.nested(&[inner]))
        })
    };
    for depth in [6, 7, 1000] {
        bench.refuses_layout(&nested(depth), 126, "nested too deep");
    }
    bench.folder("fine", &nested(2));
    bench.ok("load -q -i fine");
    bench.outcome("run made:1").expect_code(0).expect_output("hello\n");
    bench.ok("rmi made:1");

    // One in the other for ever: only with names that lie.
    let (one, other) = ("1".repeat(64), "2".repeat(64));
    let leading = |hex: &str| {
        let entry = json!({"mediaType": INDEX, "digest": format!("sha256:{hex}"), "size": 200});
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}).to_string()
    };
    let mut circle =
        Layout::of(|_| json!({"mediaType": INDEX, "digest": format!("sha256:{one}"), "size": 200}));
    circle.blobs.insert(one.clone(), leading(&other).into());
    circle.blobs.insert(other, leading(&one).into());
    bench.refuses(&[(bench.file("bad.tar", circle.archive()), 126, "its digest is sha256:")]);
    bench.refuses(&[(bench.folder("bad", &circle), 126, "is not what its name says")]);

    // A thousand times the same in a thousand times the same.
    let wide = Layout::of(|layout| {
        let first = layout.nested(&[]);
        (0..3).fold(first, |inner, _| layout.nested(&vec![inner; 1000]))
    });
    bench.refuses_layout(&wide, 126, "");
}

#[test]
fn a_document_that_is_two_things_at_once_is_refused() {
    let bench = Bench::with_app();
    let made = |change: &dyn Fn(&mut Value)| {
        Layout::of(|layout| {
            let config = layout.blob(WASM_CONFIG, r#"{"architecture":"wasm","os":"wasip1"}"#);
            let program = layout.blob(WASM, hello());
            let mut manifest = json!({
                "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [program],
            });
            change(&mut manifest);
            layout.blob(MANIFEST, manifest.to_string())
        })
    };
    let both = made(&|manifest| manifest["manifests"] = json!([]));
    bench.refuses_layout(&both, 126, "both `layers` and `manifests`");
    let lying = made(&|manifest| manifest["mediaType"] = json!(INDEX));
    bench.refuses_layout(&lying, 126, INDEX);
    let old = made(&|manifest| manifest["schemaVersion"] = json!(1));
    bench.refuses_layout(&old, 126, "first version");
    let layers = made(&|manifest| manifest["layers"] = json!("none"));
    bench.refuses_layout(&layers, 126, "not what a manifest or an index should be");
}

#[test]
fn a_manifest_of_100_mb_is_refused_soon() {
    let bench = Bench::with_app();
    let mut layout = Layout::default();
    let config = layout.blob(WASM_CONFIG, r#"{"architecture":"wasm","os":"wasip1"}"#);
    let program = layout.blob(WASM, hello());
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": [program]}).to_string();
    let manifest = layout.blob(MANIFEST, [manifest, " ".repeat(100 << 20)].concat());
    layout.name("made:1", manifest);
    bench.refuses(&[(bench.file("bad.tar", layout.archive()), 126, "larger than 4194304 bytes")]);
    bench.refuses(&[(bench.folder("bad", &layout), 126, "larger than 4 MiB")]);
}

#[test]
fn a_configuration_of_absurd_size_depth_or_values_is_refused() {
    let bench = Bench::with_app();
    let refused = |config: &str, text: &str| {
        let layout = Layout::of(|layout| {
            let config = layout.blob(CONFIG, config);
            let program = layout.blob(WASM, hello());
            layout.manifest(&config, &[program])
        });
        bench.refuses_layout(&layout, 126, text);
    };
    let no_config = "its configuration is not one";
    let deep =
        format!(r#"{{"config":{{"Labels":{}{}}}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let deeper = format!(r#"{{"x":{}1{}}}"#, r#"{"a":"#.repeat(100_000), "}".repeat(100_000));
    for config in [
        "",
        "hello",
        "null",
        "3",
        "{",
        "\"",
        "{\"config\":3}",
        &deep,
        r#"{"config":{"Entrypoint":"app.wasm"}}"#,
        r#"{"config":{"Entrypoint":[3]}}"#,
        r#"{"config":{"Env":{"A":"1"}}}"#,
        r#"{"config":{"User":-1}}"#,
        r#"{"config":{"User":2147483648}}"#,
        r#"{"config":{"Cmd":["a"],"Cmd":["b"]}}"#,
        r#"{"os":"linux","os":"wasi"}"#,
        r#"{"created":NaN}"#,
        r#"{"config":{"Volumes":["/data"]}}"#,
        r#"{"rootfs":{"type":"layers","diff_ids":["sha256:../x"]}}"#,
    ] {
        refused(config, no_config);
    }
    refused(&format!("{{}}{}", " ".repeat(100 << 20)), "larger than");
    // What nobody looks at may be as deep as it likes.
    let layout = Layout::of(|layout| {
        let config = layout.blob(CONFIG, deeper);
        let program = layout.blob(WASM, hello());
        layout.manifest(&config, &[program])
    });
    bench.file("deep.tar", layout.archive());
    bench.ok("load -i deep.tar");
    bench.outcome("run made:1").expect_code(0).expect_output("hello\n");
}

#[test]
fn an_address_in_a_layer_is_never_looked_at() {
    let bench = Bench::with_app();
    let wasm = wat::parse_str(saying("elsewhere")).unwrap();
    let elsewhere = bench.file("elsewhere.wasm", &wasm);
    let layout = Layout::of(|layout| {
        let config = layout.blob(WASM_CONFIG, r#"{"architecture":"wasm","os":"wasip1"}"#);
        let mut program = layout.blob(WASM, wasm);
        layout.blobs.remove(&program["digest"].as_str().unwrap()["sha256:".len()..]);
        program["urls"] = json!([format!("file://{}", elsewhere.display())]);
        layout.manifest(&config, &[program])
    });
    bench.refuses_layout(&layout, 126, "has no blob sha256:");
}

#[test]
fn what_a_layer_is_is_decided_by_its_content_whatever_two_images_call_it() {
    let bench = Bench::new();
    let mut layout = Layout::default();
    for (name, media_type) in [
        ("one:1", WASM),
        ("two:1", "application/vnd.oci.image.layer.v1.tar+gzip"),
        ("three:1", "x"),
    ] {
        let config = layout.blob(CONFIG, r#"{"architecture":"wasm","os":"wasi"}"#);
        let program = layout.blob(media_type, hello());
        let manifest = layout.manifest(&config, &[program]);
        layout.name(name, manifest);
    }
    bench.folder("layout", &layout);

    bench.ok("load -i layout");

    for name in ["one:1", "two:1", "three:1"] {
        bench.outcome(&format!("run {name}")).expect_code(0).expect_output("hello\n");
    }
}

#[test]
fn all_images_of_an_archive_are_named_or_none() {
    let bench = Bench::with_app();
    let mut layout = Layout::default();
    let good = layout.artifact(&[&hello()]);
    layout.name("good:1", good);
    let bad = layout.artifact(&[]);
    layout.name("bad:1", bad);
    bench.refuses_layout(&layout, 126, "it has no layers");

    // More names than there can be: none of them is given.
    let mut many = Layout::default();
    let image = many.artifact(&[&hello()]);
    for number in 0..4096 {
        many.name(&format!("many:{number}"), image.clone());
    }
    bench.refuses_layout(&many, 125, "no room for more");
}

// --- The store.

#[test]
fn a_torn_index_does_not_lose_images() {
    let bench = Bench::with_app();
    bench.ok("tag app:1 second");
    bench.ok("tag app:1 third");
    let path = bench.content().join("index.json");
    let whole = fs::read(&path).unwrap();
    let half = [&whole[..whole.len() / 2], &vec![0; whole.len() / 2][..]].concat();
    for torn in [b"".to_vec(), vec![0; whole.len()], whole[..whole.len() / 2].to_vec(), half] {
        fs::write(&path, &torn).unwrap();
        // As they were before the last change.
        assert_eq!(bench.names(), ["app:1", "second:latest"]);
        bench.outcome("run app:1").expect_code(0).expect_output("hello\n");
        assert_eq!(bench.ok("prune"), "Removed 0 blobs, 0B\n");
        fs::write(&path, &whole).unwrap();
    }
    // The next change makes it whole.
    fs::write(&path, &whole[..50]).unwrap();
    bench.ok("tag app:1 fourth");
    assert_eq!(bench.names(), ["app:1", "fourth:latest", "second:latest"]);
    assert!(serde_json::from_slice::<Value>(&fs::read(&path).unwrap()).is_ok());

    // Both are lost: the images are there, without their names, and survive what prunes by name.
    for path in [path.clone(), bench.content().join(".aril/index.previous.json")] {
        fs::write(path, "{").unwrap();
    }
    assert_eq!(bench.names(), ["<none>:<none>"]);
    let digest = bench.ok("images -q --digests");
    bench.ok(&format!("tag lost@{} found:1", digest.trim()));
    bench.outcome("run found:1").expect_code(0).expect_output("hello\n");
    // Gone rather than torn.
    fs::remove_file(&path).unwrap();
    bench.ok("images");
    bench.outcome("run found:1");
}

#[test]
fn a_blob_that_rots_is_told_of_and_others_still_run() {
    let bench = Bench::with_app();
    bench.file("other.wat", saying("other"));
    bench.ok("import other.wat other:1");
    let image: Value = serde_json::from_str(&bench.ok("inspect app:1")).unwrap();
    let blobs = bench.content().join("blobs/sha256");
    let path_of = |digest: &Value| blobs.join(&digest.as_str().unwrap()["sha256:".len()..]);
    for (digest, at) in [(&image[0]["Id"], 10), (&image[0]["Layers"][0], 190)] {
        let path = path_of(digest);
        let whole = fs::read(&path).unwrap();
        bench.ok("save -o whole.tar app:1");
        let mut rotten = whole.clone();
        rotten[at] ^= 1;
        fs::write(&path, rotten).unwrap();

        let outcome = bench.outcome("run app:1").expect_code(126);

        assert_eq!(outcome.stdout, "", "{outcome:#?}");
        let _said = outcome.expect_error("its content is not what its name says");
        bench.outcome("run other:1").expect_code(0).expect_output("other\n");
        assert_eq!(bench.ok("images").lines().count(), 3);
        // It is not handed on to others.
        fs::write(bench.path().join("saved.tar"), "as before").unwrap();
        let saved = bench.outcome("save -o saved.tar app:1").expect_code(126);
        let _said = saved.expect_error("its content is not what its name says");
        assert_eq!(fs::read(bench.path().join("saved.tar")).unwrap(), b"as before");
        let told = bench.outcome("doctor --store").expect_code(1).stdout;
        assert!(told.contains("are not what its name says, which app:1 needs"), "{told}");
        assert!(told.contains("import or build `app:1` again"), "{told}");
        // Whole again, once it comes again.
        bench.ok("load -q -i whole.tar");
        bench.outcome("run app:1").expect_code(0).expect_output("hello\n");
        bench.ok("doctor --store");
    }
}

#[test]
fn whatever_brings_a_blob_again_repairs_it() {
    let bench = Bench::with_app();
    bench.file("assets/a.txt", "an asset\n");
    let build = "build hello.wat -t files:1 -q --copy ./assets:/srv/";
    bench.ok(build);
    bench.ok("save -o app.tar app:1");
    let app = Layout::of(|layout| layout.artifact(&[&hello()]));
    bench.folder("layout", &app);
    let digests: Vec<(PathBuf, Vec<u8>)> = fs::read_dir(bench.content().join("blobs/sha256"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    for (path, whole) in &digests {
        let mut rotten = whole.clone();
        rotten[0] ^= 1;
        for verb in [build, "import hello.wat app:1", "load -q -i app.tar", "load -q -i layout"] {
            fs::write(path, &rotten).unwrap();
            let told = bench.outcome("doctor --store").expect_code(1).stdout;
            assert!(told.contains(path.file_name().unwrap().to_str().unwrap()), "{told}");
            bench.outcome(verb);
            let is_whole = fs::read(path).unwrap() == *whole;
            assert_eq!(is_whole, bench.outcome("doctor --store").code == Some(0), "{verb}");
        }
        // One of the two has it, whichever blob it is.
        bench.ok(build);
        bench.ok("import hello.wat app:1");
        assert_eq!(fs::read(path).unwrap(), *whole);
        bench.ok("doctor --store");
    }
}

#[test]
fn machine_code_that_rots_is_found_by_the_check() {
    let bench = Bench::with_app();
    bench.ok("run app:1");
    let artifacts = bench.cache().join("artifacts");
    let path = fs::read_dir(artifacts).unwrap().next().unwrap().unwrap().path();
    bench.ok("doctor --store");
    let whole = fs::read(&path).unwrap();
    for at in [whole.len() / 2, whole.len() - 90] {
        let mut rotten = whole.clone();
        rotten[at] ^= 4;
        fs::write(&path, rotten).unwrap();
        let told = bench.outcome("doctor --store").expect_code(1).stdout;
        let line = format!("`{}`: it is not what was written", path.display());
        assert!(told.contains(&line), "{told}");
    }
    fs::remove_file(path).unwrap();
    bench.ok("doctor --store");
    bench.outcome("run app:1").expect_code(0).expect_output("hello\n");
}

#[test]
fn the_check_tells_of_all_that_is_wrong_and_changes_nothing() {
    let bench = Bench::with_app();
    bench.file("other.wat", saying("other"));
    bench.ok("import other.wat other:1");
    let image: Value = serde_json::from_str(&bench.ok("inspect app:1")).unwrap();
    let hex = |digest: &Value| digest.as_str().unwrap()["sha256:".len()..].to_owned();
    let blobs = bench.content().join("blobs/sha256");
    let told = |code: i32, texts: &[&str]| {
        let before = bench.listing();
        let outcome = bench.outcome("doctor --store").expect_code(code);
        for text in texts {
            assert!(outcome.stdout.contains(text), "`{text}` is not in {outcome:#?}");
        }
        assert_eq!(bench.listing(), before);
    };
    told(0, &["ok    images", "2 names and 6 blobs"]);

    // What is missing, by whom it is needed.
    let path = blobs.join(hex(&image[0]["Layers"][0]));
    let layer = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    told(1, &["is missing, which app:1 needs", "1 name and 5 blobs", "-> load, import or build"]);
    fs::write(&path, layer).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    told(0, &[]);

    // What only takes room is no fault.
    bench.file("data/content/.aril/partial/0123", "begun");
    bench.ok("import other.wat app:1");
    told(0, &["weak  images", "3 blobs", "of no name", "5 bytes) that were begun"]);
    bench.ok("prune");
    told(0, &["2 names and 3 blobs"]);

    // Names.
    let index = bench.content().join("index.json");
    let whole = fs::read(&index).unwrap();
    fs::write(&index, &whole[..whole.len() / 2]).unwrap();
    told(1, &["`index.json` is torn"]);
    let nowhere = String::from_utf8(whole.clone()).unwrap();
    let entry: Value = serde_json::from_str(&nowhere).unwrap();
    let digest = entry["manifests"][0]["digest"].as_str().unwrap();
    let nowhere = nowhere.replace(digest, &Digest::of(b"nothing").to_string());
    fs::write(&index, nowhere).unwrap();
    told(1, &["is missing, which "]);
    // Of an index, what was never fetched is no fault; where nothing was, it is one.
    fs::write(&index, &whole).unwrap();
    let absent = json!({"mediaType": MANIFEST, "digest": Digest::of(b"x").to_string(), "size": 1,
                        "platform": {"os": "linux", "architecture": "s390x"}});
    let mut layout = Layout::default();
    let here = layout.artifact(&[&hello()]);
    let both = layout.nested(&[here, absent]);
    layout.name("both:1", both);
    bench.file("both.tar", layout.archive());
    bench.ok("load -q -i both.tar");
    told(0, &["3 names"]);
}

#[test]
fn a_compressed_archive_that_would_fill_the_disk_is_refused_and_nothing_of_it_is_left() {
    let bench = Bench::with_app();
    let before = bench.listing();
    // Zeros, which say that they are a layer, in a few megabytes.
    let mut header = tar::Header::new_gnu();
    header.set_path("0123/layer.tar").unwrap();
    header.set_size(600 << 20);
    header.set_cksum();
    let script = "{ cat header; head -c 629145600 /dev/zero; } | gzip -1 > bomb.tar.gz";
    bench.file("header", header.as_bytes());
    let mut shell = Command::new("sh");
    assert!(shell.args(["-ec", script]).current_dir(bench.path()).status().unwrap().success());
    let outcome = bench.outcome("load -i bomb.tar.gz");
    let outcome = if outcome.stderr.contains("has room for") {
        outcome.expect_code(125)
    } else {
        outcome.expect_code(126).expect_error("unpack to more than 100 times as much")
    };
    assert!(outcome.stderr.lines().count() == 1, "{outcome:#?}");
    assert_eq!(bench.listing(), before);
}

#[test]
fn a_store_of_another_version_is_refused_and_left_as_it_is() {
    let bench = Bench::with_app();
    for (content, text) in [
        (r#"{"imageLayoutVersion":"2.0.0"}"#, "a layout of version `2.0.0`"),
        ("{}", "missing field"),
        ("", "is a layout of version"),
    ] {
        bench.file("data/content/oci-layout", content);
        let before = bench.listing();
        for verb in ["images", "run app:1", "rmi app:1", "prune", "import hello.wat new"] {
            bench.fails(verb, 125, text);
        }
        assert_eq!(bench.listing(), before);
    }
}

#[test]
fn a_store_that_others_can_write_to_is_refused() {
    let bench = Bench::with_app();
    for folder in ["", "blobs", "blobs/sha256", ".aril", ".aril/leases", ".aril/partial"] {
        let path = bench.content().join(folder);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        bench.fails("run app:1", 125, "cannot be trusted: others may write to it");
        bench.fails("images", 125, "cannot be trusted: others may write to it");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    }
    let moved = bench.path().join("moved");
    fs::rename(bench.content(), &moved).unwrap();
    std::os::unix::fs::symlink(&moved, bench.content()).unwrap();
    bench.fails("images", 125, "cannot be trusted: it is a symbolic link");
    fs::remove_file(bench.content()).unwrap();
    bench.file("data/content", "a file");
    bench.fails("images", 125, "cannot be trusted: it is not a directory");
    fs::remove_file(bench.content()).unwrap();
    fs::rename(&moved, bench.content()).unwrap();
    bench.outcome("run app:1").expect_code(0);
}

#[test]
fn a_store_of_another_user_is_refused() {
    let bench = Bench::with_app();
    let chown = |owner: &str| {
        let mut command = Command::new("chown");
        let status = command.arg(owner).arg(bench.content()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    if !chown("65534") {
        return skip("this user cannot give a folder to another");
    }
    bench.fails("images", 125, "cannot be trusted: it belongs to another user");
    assert!(chown("0"));
}

#[test]
fn a_full_disk_is_told_of_and_nothing_is_left() {
    let Some(mounts) = OwnMounts::new() else { return };
    let bench = Bench::with_app();
    let mut wasm = hello();
    // A section that means nothing, of 4 MiB.
    wasm.extend([0, 0x81, 0x80, 0x80, 0x02, 0]);
    wasm.extend(vec![0; 4 << 20]);
    bench.file("large.wasm", &wasm);
    let layout = Layout::of(|layout| layout.artifact(&[&wasm]));
    bench.file("large.tar", layout.archive());
    let aril = crate::support::aril_path();
    for (verb, text) in [
        ("import large.wasm large:1", "cannot write `"),
        ("import large.wasm large:1", "No space left on device"),
        ("load -i large.tar", "full/content` has room for"),
    ] {
        let script = format!(
            "mkdir -p full; mount -t tmpfs -o size=1m,mode=700 none full; export ARIL_DATA_DIR=full
             {0} import hello.wat app:1 > /dev/null
             code=0; {0} {verb} || code=$?
             {0} prune > /dev/null; {0} images -q; {0} run app:1; find full -type f | wc -l; exit $code",
            aril.display()
        );
        let shell = bench.aril::<&str>([]);
        let outcome = mounts.runs(shell, &script).outcome().expect_code(125);
        assert!(outcome.stderr.contains(text), "{outcome:#?}");
        // One image, which runs; three blobs, two files of the layout, the lock, the old names.
        assert!(outcome.stdout.ends_with("hello\n7\n"), "{outcome:#?}");
    }
}

#[test]
fn a_store_that_can_only_be_read_is_read() {
    let Some(mounts) = OwnMounts::new() else { return };
    let bench = Bench::with_app();
    bench.file("assets/a.txt", "an asset\n");
    bench.ok("build hello.wat -t files:1 -q --copy ./assets:/srv/");
    bench.ok("run files:1");
    let script = "mount --bind data data; mount -o remount,ro,bind data";
    let verb = |line: &str| mounts.runs(bench.aril(line.split(' ')), script).outcome();
    for line in ["tag app:1 new", "rmi app:1", "prune", "import hello.wat new"] {
        let outcome = verb(line).expect_code(125);
        assert!(outcome.stderr.contains("Read-only file system"), "{outcome:#?}");
    }
    assert_eq!(bench.names(), ["app:1", "files:1"]);
    for line in ["images", "inspect app:1", "save -o saved.tar files:1", "doctor --store"] {
        verb(line).expect_code(0);
    }
    verb("run app:1").expect_code(0).expect_output("hello\n");
    // What was unpacked is run as it is; only what a run writes has no place.
    verb("run --read-only files:1").expect_code(0).expect_output("hello\n");
    fs::remove_dir_all(bench.data().join("roots/locks")).unwrap();
    fs::create_dir(bench.data().join("roots/locks")).unwrap();
    verb("run --read-only files:1").expect_code(0).expect_output("hello\n");
    let outcome = verb("run files:1").expect_code(125);
    outcome.expect_error("cannot make room to write over the files of").expect_error("Read-only");
}

#[test]
fn many_at_once_never_leave_a_name_that_leads_to_nothing() {
    let bench = Bench::with_app();
    for number in 0..4 {
        bench.file(&format!("{number}.wat"), saying(&format!("number {number}")));
    }
    for _ in 0..3 {
        let running: Vec<_> = (0..24)
            .map(|number| {
                let which = number % 4;
                let line = match number % 6 {
                    0 | 1 => format!("import {which}.wat shared:{which}"),
                    2 => format!("tag app:1 shared:{which}"),
                    3 => format!("rmi shared:{which}"),
                    4 => "prune".to_owned(),
                    _ => format!("tag shared:{which} app:{}", which + 2),
                };
                (line.clone(), bench.aril(line.split(' ')).start())
            })
            .collect();
        for (line, running) in running {
            let outcome = running.outcome();
            // A name may be gone by the time that it is used; nothing else fails.
            let code = if line.starts_with("rmi") { 1 } else { 127 };
            let gone = outcome.code == Some(code) && outcome.stderr.contains("no such image");
            let raced = line.starts_with("tag shared") && outcome.stderr.contains("has no blob");
            assert!(outcome.code == Some(0) || gone || raced, "`{line}`: {outcome:#?}");
        }
        for name in bench.names() {
            let said = bench.ok(&format!("run {name}"));
            assert!(said == "hello\n" || said.starts_with("number "), "`{name}` says {said}");
        }
    }
    // Nobody left anything behind.
    bench.ok("prune");
    for folder in ["leases", "partial"] {
        let path = bench.content().join(".aril").join(folder);
        assert_eq!(fs::read_dir(path).unwrap().count(), 0, "{folder}");
    }
}

#[test]
fn the_first_use_of_a_store_may_be_several_at_once() {
    for _ in 0..5 {
        let bench = Bench::new();
        bench.file("hello.wat", saying("hello"));
        let lines = (0..10).map(|number| format!("import hello.wat app:{number}"));
        let running: Vec<_> = lines.map(|line| bench.aril(line.split(' ')).start()).collect();
        for running in running {
            running.outcome().expect_code(0);
        }
        assert_eq!(bench.names().len(), 10);
    }
}

// --- Other tools.

#[test]
fn other_tools_read_the_store_and_what_is_saved() {
    let bench = Bench::with_app();
    let layers = [archive(&[("app.wasm", hello())]), archive(&[("data", b"data".to_vec())])];
    let files = docker_saved(&config_of(&layers), &layers, &json!(["files:1"]));
    bench.file("saved.tar", archive(&files));
    bench.ok("load -i saved.tar");
    bench.ok("save -o files.tar files:1");
    let before = bench.listing();

    for place in ["oci:data/content:files:1", "oci-archive:files.tar", "docker-archive:files.tar"] {
        let Some(said) = bench.tool(&format!("skopeo inspect {place}")) else { return };
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!((&said["Os"], &said["Architecture"]), (&json!("wasi"), &json!("wasm")));
        assert_eq!(said["Layers"].as_array().unwrap().len(), 2, "{said}");
    }
    let digest = bench.ok("images -q --digests app:1");
    let raw = bench.tool("skopeo inspect --raw oci:data/content:app:1").unwrap();
    assert_eq!(Digest::of(raw.as_bytes()).to_string(), digest.trim());
    let Some(listed) = bench.tool("umoci ls --layout data/content") else { return };
    let listed: Vec<&str> = listed.lines().collect();
    assert!(listed.contains(&"app:1") && listed.contains(&"files:1"), "{listed:?}");
    let stat = bench.tool("umoci stat --image data/content:files:1 --json").unwrap();
    assert!(stat.contains("history"), "{stat}");
    bench.tool("umoci raw unpack --rootless --image data/content:files:1 unpacked");
    assert_eq!(fs::read(bench.path().join("unpacked/app.wasm")).unwrap(), hello());
    // They changed nothing.
    assert_eq!(bench.listing(), before);
}

#[test]
fn what_skopeo_copies_is_loaded_and_runs() {
    let bench = Bench::with_app();
    bench.ok("save -o app.tar app:1");
    for (number, (from, to)) in [
        ("oci:data/content:app:1", "oci:copy:copied:1"),
        ("oci-archive:app.tar", "oci-archive:copy.tar:copied:1"),
        ("oci:data/content:app:1", "oci:data/content:copied:1"),
    ]
    .into_iter()
    .enumerate()
    {
        if bench.tool(&format!("skopeo copy -q {from} {to}")).is_none() {
            return;
        }
        match number {
            0 => assert_eq!(bench.ok("load -i copy"), "Loaded image: copied:1\n"),
            1 => assert_eq!(bench.ok("load -i copy.tar"), "Loaded image: copied:1\n"),
            // It was written into our own store.
            _ => {}
        }
        bench.outcome("run copied:1").expect_code(0).expect_output("hello\n");
        bench.ok("rmi copied:1");
        bench.outcome("run app:1").expect_code(0).expect_output("hello\n");
    }
}

#[test]
fn what_skopeo_makes_of_files_is_loaded_whatever_the_form() {
    let bench = Bench::new();
    let layers = [archive(&[("app.wasm", hello())])];
    let files = docker_saved(&config_of(&layers), &layers, &json!(["files:1"]));
    bench.file("saved.tar", archive(&files));
    for to in
        ["oci:layout:files:1", "oci-archive:out.tar:files:1", "docker-archive:out2.tar:files:1"]
    {
        if bench.tool(&format!("skopeo copy -q docker-archive:saved.tar {to}")).is_none() {
            return;
        }
        let path = to.split(':').nth(1).unwrap();
        let said = bench.ok(&format!("load -i {path}"));
        assert!(said.ends_with("files:1\n"), "{to}: {said}");
        let name = said.trim().rsplit(' ').next().unwrap();
        bench.outcome(&format!("run {name}")).expect_code(0).expect_output("hello\n");
        bench.ok(&format!("rmi {name}"));
    }
    let mut forms = Vec::new();
    for compression in ["gzip", "zstd"] {
        let to = format!("oci:{compression}:files:1");
        bench.tool(&format!(
            "skopeo copy -q --dest-compress --dest-compress-format {compression} \
             docker-archive:saved.tar {to}"
        ));
        forms.push(compression);
    }
    for form in forms {
        bench.ok(&format!("load -q -i {form}"));
        bench.outcome("run files:1").expect_code(0).expect_output("hello\n");
    }
}

#[test]
fn what_umoci_makes_is_loaded_and_runs() {
    let bench = Bench::new();
    if bench.tool("umoci init --layout made").is_none() {
        return;
    }
    bench.tool("umoci new --image made:files");
    bench.tool("umoci unpack --rootless --image made:files bundle");
    bench.file("bundle/rootfs/app.wasm", hello());
    bench.tool("umoci repack --image made:files bundle");
    bench.tool("umoci config --image made:files --config.entrypoint /app.wasm");

    assert_eq!(bench.ok("load -i made"), "Loaded image: files:latest\n");

    bench.outcome("run files").expect_code(0).expect_output("hello\n");
    let entrypoint = bench.ok("inspect files -f {{.Config.Entrypoint}}");
    assert_eq!(entrypoint, "[\"/app.wasm\"]\n");
}

#[test]
fn an_image_of_a_layout_runs_and_is_pulled_by_its_folder() {
    let bench = Bench::with_app();
    bench.ok("import hello.wat other:2");
    let layout = Layout::of(|layout| layout.artifact(&[&hello()]));
    bench.folder("one", &layout);
    assert_eq!(bench.ok("run oci:one"), "hello\n");
    let several = bench.data().join("content");
    let several = several.to_str().unwrap();
    bench.fails(&format!("run oci:{several}"), 125, "it has several images: name one of app:1");
    assert_eq!(bench.ok(&format!("run oci:{several}:app:1")), "hello\n");
    bench.fails("run oci:one:none", 127, "it has no image that is called `none`");
    bench.fails("run oci:nowhere", 127, "cannot load `nowhere`");
    assert!(!bench.names().iter().any(|name| name.contains("made")), "it gets no name");

    let other = Bench::new();
    other.folder("one", &layout);
    let pulled = other.ok("pull oci:one");
    assert_eq!(pulled.lines().count(), 2, "{pulled}");
}

#[test]
fn a_name_with_a_digest_is_never_given_to_something_else() {
    let bench = Bench::with_app();
    let digest = bench.ok("images -q --digests").trim().to_owned();
    let name = format!("vendor.example/app@{digest}");
    bench.ok(&format!("tag app:1 {name}"));
    bench.file("other.wat", saying("other"));
    bench.ok("import other.wat other:1");
    bench.fails(&format!("tag other:1 {name}"), 125, "and not the one in the name");
    let other = wat::parse_str(saying("other")).unwrap();
    let mut layout = Layout::default();
    let entry = layout.artifact(&[&other]);
    layout.name(&name, entry);
    bench.refuses_layout(&layout, 125, "and not the one in the name");
    assert_eq!(bench.ok(&format!("run {name}")), "hello\n");

    // Nor where somebody else writes it into the index.
    let index = bench.content().join("index.json");
    let text = fs::read_to_string(&index).unwrap();
    let zeros = format!("sha256:{}", "0".repeat(64));
    fs::write(&index, text.replace(&name, &format!("vendor.example/app@{zeros}"))).unwrap();
    bench.fails(
        &format!("run --pull never vendor.example/app@{zeros}"),
        127,
        "the store has no such image",
    );
    let told = bench.outcome("doctor --store").expect_code(1);
    assert!(told.stdout.contains("and not the one in the name"), "{told:#?}");
}

#[test]
fn an_archive_tells_docker_of_the_configuration_for_a_system_that_it_knows() {
    let bench = Bench::new();
    bench.file("hello.wat", saying("hello"));
    bench.ok("build hello.wat -t app:1 -q");
    bench.ok("save app:1 -o app.tar");
    let member = |path: &str| -> Value {
        let mut archive = tar::Archive::new(fs::File::open(bench.path().join("app.tar")).unwrap());
        let mut entries = archive.entries().unwrap().map(Result::unwrap);
        let entry = entries.find(|entry| entry.path().unwrap() == Path::new(path)).unwrap();
        serde_json::from_reader(entry).unwrap()
    };
    let config = member("manifest.json")[0]["Config"].as_str().unwrap().to_owned();
    let config = member(&config);
    assert_eq!(
        (config["os"].as_str(), config["architecture"].as_str()),
        (Some("linux"), Some("amd64"))
    );
}

#[test]
fn an_image_runs_though_a_folder_has_its_name() {
    let bench = Bench::with_app();
    bench.ok("tag app:1 folder");
    fs::create_dir(bench.path().join("folder")).unwrap();
    assert_eq!(bench.ok("run folder"), "hello\n");
}

#[test]
fn an_image_is_never_pruned_in_part_whatever_its_index_lists() {
    let bench = Bench::new();
    let mut layout = Layout::default();
    let right = layout.artifact(&[&hello()]);
    let wrong = layout.artifact(&[&wat::parse_str(saying("wrong")).unwrap()]);
    let with = |entry: &Value, os: &str, architecture: &str| {
        let mut entry = entry.clone();
        entry["platform"] = json!({"os": os, "architecture": architecture});
        entry
    };
    // Many times what suits less, and a layer that is called a manifest, before what suits best.
    let mut manifests = vec![with(&wrong, "linux", "arm64"); 1100];
    let layer = layout.blob("application/wasm", hello());
    manifests.push(with(&layer, "linux", "amd64"));
    manifests.push(with(&right, "wasi", "wasm"));
    let index = layout.nested(&manifests);
    layout.name("many:1", index);
    bench.file("many.tar", layout.archive());
    bench.ok("load -q -i many.tar");
    bench.file("other.wat", saying("other"));
    bench.ok("import other.wat other:1");
    for verb in ["prune", "rmi other:1"] {
        bench.ok(verb);
        assert_eq!(bench.ok("run many:1"), "hello\n", "{verb}");
    }
    bench.ok("doctor --store");
}

#[test]
fn a_full_disk_is_made_empty_by_removing_images() {
    let Some(mounts) = OwnMounts::new() else { return };
    let bench = Bench::new();
    bench.file("hello.wat", saying("hello"));
    bench.file("other.wat", saying("other"));
    let script = format!(
        "mkdir full; mount -t tmpfs -o size=1m,mode=700 none full; export ARIL_DATA_DIR=$PWD/full
         {0} import hello.wat app:1 > /dev/null; {0} import other.wat other:1 > /dev/null
         dd if=/dev/zero of=full/fill bs=4k 2> /dev/null || true
         {0} rmi other:1; {0} images --format '{{{{.Repository}}}}'; {0} run app:1; exit 0",
        crate::support::aril_path().display()
    );
    let outcome = mounts.runs(bench.aril::<&str>([]), &script).outcome().expect_code(0);
    assert_eq!(outcome.stdout, "Untagged: other:1\napp\nhello\n", "{outcome:#?}");
}

#[test]
fn removing_many_names_looks_once_for_what_nothing_leads_to() {
    let bench = Bench::with_app();
    let names: Vec<String> = (0..20).map(|number| format!("app:n{number}")).collect();
    for name in &names {
        bench.ok(&format!("tag app:1 {name}"));
    }
    bench.ok("tag app:1 kept:1");
    let changes = |names: &[String]| {
        let run = bench.aril(std::iter::once("rmi").chain(names.iter().map(String::as_str)));
        let ended = traced(run, &bench.data(), |_| Then::GoOn, |_| {});
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.changes
    };
    let of_two = changes(&names[..2]);
    assert_eq!(changes(&names[2..]), of_two, "more is written for more names");
    assert_eq!(bench.names(), ["app:1", "kept:1"]);

    // What is not there is told of, and no reason to keep the others.
    let removed = bench.outcome("rmi none:1 app:1 app:1").expect_code(1);
    assert_eq!(removed.stdout, "Untagged: app:1\n");
    assert_eq!(removed.stderr.matches("the store has no such image").count(), 2, "{removed:#?}");
    bench.ok("run kept:1");
}

#[test]
fn an_image_is_found_by_the_start_of_its_digest() {
    // Two of which the digests begin alike.
    let artifact = |number: u32| {
        let mut layout = Layout::default();
        let mut wasm = hello();
        // A section that nobody reads.
        wasm.extend([0, 5, 0]);
        wasm.extend(number.to_le_bytes());
        let entry = layout.artifact(&[&wasm]);
        (entry["digest"].as_str().unwrap()[7..].to_owned(), layout, entry)
    };
    let mut seen = std::collections::BTreeMap::new();
    let alike = (0..).find_map(|number| {
        let hex = artifact(number).0;
        seen.insert(hex[..4].to_owned(), number).map(|other| (other, number))
    });
    let (one, other) = alike.unwrap();
    let ((one, mut first, one_entry), (_, mut second, other_entry)) =
        (artifact(one), artifact(other));
    first.name("one:1", one_entry);
    second.name("other:1", other_entry);
    let bench = Bench::new();
    for layout in [first, second] {
        bench.file("images.tar", layout.archive());
        bench.ok("load -q -i images.tar");
    }

    let id = bench.ok("images -q one:1");
    assert_eq!(id, format!("{}\n", &one[..12]));
    for id in [&one[..12], &one, &format!("sha256:{one}"), &format!("sha256:{}", &one[..20])] {
        assert_eq!(bench.ok(&format!("run {id}")), "hello\n");
        assert_eq!(bench.ok(&format!("inspect -f {{{{.RepoTags}}}} {id}")), "[\"one:1\"]\n");
    }
    let save = format!("save -o by-id.tar {}", &one[..12]);
    bench.ok(&save);
    bench.ok("save -o by-name.tar one:1");
    let read = |name: &str| fs::read(bench.path().join(name)).unwrap();
    assert_eq!(read("by-id.tar"), read("by-name.tar"));
    // Too little to tell them apart, and less than is taken for a digest at all.
    for (verb, many, none) in
        [("run", 125, 127), ("inspect", 1, 1), ("rmi", 1, 1), ("save -o x.tar", 125, 127)]
    {
        let several = bench.outcome(&format!("{verb} {}", &one[..4])).expect_code(many);
        several.expect_error("digests of several images begin so");
        bench.outcome(&format!("{verb} {}", &one[..3])).expect_code(none);
    }
    // A name comes first.
    bench.ok(&format!("tag other:1 {}", &one[..12]));
    bench.ok(&format!("rmi {}", &one[..12]));
    assert_eq!(bench.names(), ["one:1", "other:1"]);
    // Of an image with several names, it is not clear which is meant.
    bench.ok(&format!("tag {} again:1", &one[..12]));
    bench.fails(&format!("rmi {}", &one[..12]), 1, "it has several names: remove ");
    bench.ok("rmi again:1");
    assert_eq!(bench.ok(&format!("rmi {}", &one[..12])), "Untagged: one:1\n");
    assert_eq!(bench.names(), ["other:1"]);
}

#[test]
fn a_verb_whose_output_nobody_reads_ends_without_a_word() {
    let bench = Bench::with_app();
    bench.ok("volume create vol");
    for line in [
        "images",
        "images -q",
        "images --format json",
        "inspect app:1",
        "save app:1",
        "volume ls",
        "volume inspect vol",
        "doctor",
        "completions bash",
        "tag app:1 other:1",
        "rmi other:1",
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = bench.aril(line.split(' ')).command;
        let output = command.stdin(Stdio::null()).stdout(writer).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(said, "", "{line}");
        // As a shell tells of a program that was ended by the signal for that.
        let expected = if line.starts_with("tag") { 0 } else { 141 };
        assert_eq!(output.status.code(), Some(expected), "{line}");
    }
    // What it was to do is done all the same.
    assert_eq!(bench.names(), ["app:1"]);
}
