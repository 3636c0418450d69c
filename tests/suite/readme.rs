//! What the documents show is what happens: their commands, their programs, their tables, their
//! links.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;

use crate::support::Bench;
use crate::support::aril_path;
use crate::support::guest;
use crate::support::root;
use crate::support::skip;
use crate::support::wait_until;

/// The longest that an example, or one block of commands, may take.
const TIME_MAX: Duration = Duration::from_mins(1);

/// The guest that stands for all real programs in the documents.
const PYTHON: &str = "target/guests/cpython.wasm";

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).unwrap()
}

/// The blocks of code of one kind, in order.
fn blocks(text: &str, kind: &str) -> Vec<String> {
    let opening = format!("\n```{kind}\n");
    let after = text.split(&opening).skip(1);
    after.map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// A process that is ended with the test, however that ends.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        // It has ended already where all went well.
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

/// Runs a command to its end; returns what it said, on both streams, and its code.
fn said(command: &mut Command) -> (String, Option<i32>) {
    let mut both = tempfile::tempfile().unwrap();
    let errors = both.try_clone().unwrap();
    command.stdin(Stdio::null()).stdout(both.try_clone().unwrap()).stderr(errors);
    let mut child = Ending(command.spawn().unwrap());
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.0.try_wait().unwrap() {
            break status;
        }
        assert!(started.elapsed() < TIME_MAX, "`{command:?}` did not end");
        std::thread::sleep(Duration::from_millis(2));
    };
    let mut text = String::new();
    std::io::Seek::rewind(&mut both).unwrap();
    both.read_to_string(&mut text).unwrap();
    (text, status.code())
}

/// Whether `line` is what `shown` says, where `...` stands for anything.
fn matches(shown: &str, line: &str) -> bool {
    let mut parts = shown.split("...");
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap()) else { return false };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        let found = if parts.peek().is_none() && !part.is_empty() {
            rest.ends_with(part).then_some(rest.len())
        } else {
            rest.find(part).map(|at| at + part.len())
        };
        match found {
            Some(end) => rest = &rest[end..],
            None => return false,
        }
    }
    rest.is_empty() || shown.ends_with("...")
}

#[test]
fn dots_stand_for_anything_and_nothing_else_does() {
    for (shown, line) in [("a", "a"), ("a ... c", "a b c"), ("a...", "abc"), ("...", ""), ("", "")]
    {
        assert!(matches(shown, line), "{shown:?} {line:?}");
    }
    for (shown, line) in [("a", "ab"), ("a ... c", "a b d"), ("b...", "ab"), ("", "a")] {
        assert!(!matches(shown, line), "{shown:?} {line:?}");
    }
}

/// A shell script that says each command of a block before it runs it, as the block shows it.
fn script(block: &str) -> String {
    let commands = block.lines().filter_map(|line| line.strip_prefix("$ "));
    let step = |command: &str| {
        let quoted = command.replace('\'', r"'\''");
        format!("status=$?; printf '$ %s\\n' '{quoted}'; (exit $status)\n{command}\n")
    };
    commands.map(step).collect()
}

/// A folder in which the commands of the documents work as they do at the root of the repository.
fn like_the_root() -> Bench {
    let bench = Bench::with_shared_cache();
    fs::create_dir(bench.path().join("target")).unwrap();
    let link = |name: &str, to: PathBuf| {
        let status = Command::new("ln").arg("-s").arg(to).arg(bench.path().join(name)).status();
        assert!(status.unwrap().success());
    };
    link("examples", root().join("examples"));
    if let Some(python) = guest("cpython.wasm") {
        link("target/guests", python.parent().unwrap().to_owned());
    }
    bench
}

#[test]
fn what_the_readme_shows_on_a_console_is_what_happens() {
    let bench = like_the_root();
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", aril_path().parent().unwrap().display());
    for block in blocks(&readme(), "console") {
        if block.contains(PYTHON) {
            if !bench.path().join(PYTHON).is_file() {
                skip("the README's commands with Python");
                continue;
            }
            // The console shows a second run.
            bench.aril(["compile", PYTHON]).outcome().expect_code(0);
        }
        let mut shell = Command::new("sh");
        shell.args(["-c", &script(&block)]).env_clear().current_dir(bench.path());
        shell.env("PATH", &path).env("ARIL_CACHE_DIR", bench.cache());
        let (text, _) = said(shell.env("ARIL_DATA_DIR", bench.data()));
        let (shown, lines): (Vec<&str>, Vec<&str>) =
            (block.lines().collect(), text.lines().collect());
        let alike = shown.len() == lines.len()
            && shown.iter().zip(&lines).all(|(shown, line)| matches(shown, line));
        assert!(alike, "the README shows\n{block}\nand what happens is\n{text}");
    }
}

#[test]
fn the_program_in_the_readme_is_the_first_example() {
    let example = fs::read_to_string(root().join("examples/hello.rs")).unwrap();
    let (_, body) = example.split_once("\nuse ").unwrap();
    assert_eq!(blocks(&readme(), "rust"), [format!("use {body}")]);
}

#[test]
fn every_flag_in_the_readme_exists() {
    let bench = Bench::new();
    let verbs = [
        "run", "compile", "doctor", "man", "build", "pull", "push", "login", "logout", "images",
        "inspect", "tag", "rmi", "prune", "load", "save", "import", "metrics", "ps", "logs",
        "stop", "kill", "rm", "update", "exec", "attach", "stats", "top", "events", "generate",
    ];
    let help: String =
        verbs.map(|verb| bench.aril([verb, "--help"]).outcome().expect_code(0).stdout).concat();
    let text = readme();
    let ours =
        text.split('\n').filter(|line| !line.contains("cargo ") && !line.contains("RUSTFLAGS"));
    let words: BTreeSet<&str> = ours
        .flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric() && c != '-'))
        .filter(|word| word.starts_with("--") && word.len() > 3)
        .collect();
    assert!(words.len() > 10, "{words:?}");
    for word in words {
        assert!(help.contains(word), "`{word}` is in the README and in no help");
    }
}

/// The names of all fields of a record, as the README writes them.
fn fields(value: &Value, name: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let dot = if name.is_empty() { "" } else { "." };
                fields(value, &format!("{name}{dot}{key}"), into);
            }
        }
        Value::Array(items) => {
            for item in items {
                fields(item, &format!("{name}[]"), into);
            }
        }
        _ => drop(into.insert(name.to_owned())),
    }
}

const GROUP_STATS: [&str; 13] = [
    "memory_bytes",
    "memory_peak_bytes",
    "swap_bytes",
    "cpu_user_ns",
    "cpu_system_ns",
    "periods",
    "throttled_periods",
    "throttled_ns",
    "pids",
    "read_bytes",
    "written_bytes",
    "reads",
    "writes",
];

#[test]
fn the_readme_lists_the_fields_of_a_record() {
    let guests = root().join("examples/guests");
    let guest = |name: &str| guests.join(name).to_str().unwrap().to_owned();
    let bench = Bench::with_shared_cache();
    // These runs have no signal, and nothing of ours makes a call that is not on the list.
    let mut found = BTreeSet::from(["signal".to_owned(), "violation".to_owned()]);
    // Nor have they files of their own.
    found.insert("stats.disk_bytes".to_owned());
    // What a control group counts differs from one host to the next.
    found.extend(GROUP_STATS.map(|name| format!("stats.group.{name}")));
    for args in [
        vec!["--invoke".to_owned(), "mean".to_owned(), guest("divide.wat"), "1".into(), "1".into()],
        vec![guest("divide.wat")],
        vec![guest("cat.wat"), "secret.txt".to_owned()],
        vec!["--memory=8m".to_owned(), guest("hog.wat")],
        vec!["--fuel=1000".to_owned(), guest("spin.wat")],
    ] {
        let args = ["--json=record.json".to_owned()].into_iter().chain(args);
        bench.run(args).outcome();
        let record = fs::read_to_string(bench.path().join("record.json")).unwrap();
        fields(&serde_json::from_str(&record).unwrap(), "", &mut found);
    }

    let text = readme();
    let table = text.split("| field | what it says |").nth(1).unwrap();
    let table = table.split("\n\n").next().unwrap();
    let cells = table.lines().filter_map(|row| row.split('|').nth(1));
    let names = cells.flat_map(|cell| cell.split(',')).map(|name| name.trim().trim_matches('`'));
    let shown: BTreeSet<String> =
        names.map(str::to_owned).filter(|n| !n.starts_with('-')).collect();
    assert_eq!(shown, found);
}

#[test]
fn the_documents_link_to_what_is_there() {
    let mut documents: Vec<PathBuf> =
        ["", "docs/decisions", "examples/guests", "tests/guests", "tests/conformance"]
            .iter()
            .filter_map(|folder| fs::read_dir(root().join(folder)).ok())
            .flat_map(|folder| folder.map(|entry| entry.unwrap().path()))
            .filter(|path| path.extension().is_some_and(|ending| ending == "md"))
            .collect();
    documents.sort();
    assert!(documents.len() > 5, "{documents:?}");
    let mut astray = Vec::new();
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains("://")) {
            let file = target.split('#').next().unwrap();
            if !file.is_empty() && !document.parent().unwrap().join(file).exists() {
                astray.push(format!("`{}` links to `{target}`", document.display()));
            }
        }
    }
    assert!(astray.is_empty(), "{astray:#?}");
}

#[test]
fn every_file_that_the_specification_names_is_there() {
    // Names without a folder are those of the place that the section speaks of.
    const PLACES: &[&str] = &["", "tests/suite", "tests/conformance", "runtime/src"];
    let text = fs::read_to_string(root().join("SPECIFICATION.md")).unwrap();
    let quoted = text.split('`').skip(1).step_by(2);
    let is_file = |name: &&str| {
        let ending = Path::new(name).extension().is_some_and(|end| end == "rs" || end == "toml");
        ending || ["tests/", "runtime/", "cli/", "docs/"].iter().any(|top| name.starts_with(top))
    };
    let named: BTreeSet<&str> = quoted.filter(is_file).collect();
    assert!(named.len() > 20, "{named:?}");
    for name in named {
        let there = PLACES.iter().any(|place| root().join(place).join(name).exists());
        assert!(there, "the specification names `{name}`, which is not there");
    }
}

/// `./try` where these programs are installed and no others.
fn try_with(bench: &Bench, programs: &[(&str, &str)]) -> (String, Option<i32>) {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = bench.path().join("bin");
    fs::create_dir_all(&folder).unwrap();
    for (name, text) in programs {
        let program = bench.file(&format!("bin/{name}"), text);
        fs::set_permissions(program, fs::Permissions::from_mode(0o700)).unwrap();
    }
    let mut command = Command::new("/bin/sh");
    command.arg(root().join("try")).current_dir(bench.path()).env_clear().env("PATH", folder);
    said(command.env("ARIL", aril_path()).env("ARIL_CACHE_DIR", bench.cache()))
}

/// The folder of a script: all that `try` needs beside cargo.
const DIRNAME: (&str, &str) = ("dirname", "#!/bin/sh\necho \"${1%/*}\"\n");

#[test]
fn try_runs_a_guest_of_this_repository_where_there_is_no_python() {
    // As cargo, it builds what was built, and runs the command with what stands behind `--`.
    let cargo = "#!/bin/sh\necho \"cargo $*\"\n[ \"$1\" = build ] && exit 0\n\
                 while [ \"$1\" != -- ]; do shift; done\nshift\nexec \"$ARIL\" \"$@\"\n";

    let (text, code) = try_with(&Bench::new(), &[DIRNAME, ("cargo", cargo)]);

    assert_eq!(code, Some(0), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    for line in [
        "cargo build --release -p aril-cli",
        "$ aril run examples/guests/hello.wat",
        "Hello from the sandbox.",
    ] {
        assert!(lines.contains(&line), "`{line}` is not in {text}");
    }
    let manifest = fs::read_to_string(root().join("cli/Cargo.toml")).unwrap();
    assert!(manifest.contains("name = \"aril-cli\""), "`try` builds another package");
    // Where it takes Python from, and what it tells to do in the end.
    assert!(root().join("tests/setup").is_file());
    assert!(text.contains("cargo install --locked --path cli"), "{text}");
}

#[test]
fn try_says_what_is_missing_where_there_is_no_cargo() {
    let (text, code) = try_with(&Bench::new(), &[DIRNAME]);

    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("cargo is missing: install Rust with rustup"), "{text}");
}

#[test]
fn every_script_that_the_documents_tell_to_run_can_be_run() {
    use std::os::unix::fs::PermissionsExt as _;

    for script in ["try", "tests/run", "tests/setup", "tests/portable", ".ci/run"] {
        let metadata = fs::metadata(root().join(script)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o111, 0o111, "`{script}`");
        let text = fs::read_to_string(root().join(script)).unwrap();
        let shell = text.lines().next().unwrap().rsplit(['/', ' ']).next().unwrap();
        if matches!(shell, "sh" | "bash") {
            let (errors, code) = said(Command::new(shell).arg("-n").arg(root().join(script)));
            assert_eq!(code, Some(0), "`{script}`: {errors}");
        }
    }
}

#[test]
fn every_crate_that_may_be_there_twice_is_there() {
    let read = |name: &str| -> toml::Table {
        toml::from_str(&fs::read_to_string(root().join(name)).unwrap()).unwrap()
    };
    let (rules, lock) = (read("deny.toml"), read("Cargo.lock"));
    let packages = lock["package"].as_array().unwrap();

    let skipped = rules["bans"]["skip"].as_array().unwrap();
    assert!(!skipped.is_empty());
    for skip in skipped {
        let (name, version) = skip["crate"].as_str().unwrap().split_once(':').unwrap();
        assert!(!skip["reason"].as_str().unwrap().is_empty(), "`{name}` has no reason");
        let versions: Vec<&str> = packages
            .iter()
            .filter(|package| package["name"].as_str() == Some(name))
            .map(|package| package["version"].as_str().unwrap())
            .collect();
        let is_there = versions.iter().any(|other| {
            other.strip_prefix(version).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        });
        assert!(is_there && versions.len() > 1, "`{name}:{version}` is not one of {versions:?}");
    }
}

/// An example as it was built beside this test, in the root of the repository.
fn example(name: &str) -> Command {
    let own = std::env::current_exe().unwrap();
    let program = own.parent().and_then(Path::parent).unwrap().join("examples").join(name);
    assert!(program.is_file(), "`{}` is missing: run `cargo build --examples`", program.display());
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

#[track_caller]
fn shows(name: &str, shown: &str) {
    let (text, code) = said(&mut example(name));
    assert_eq!(code, Some(0), "{text}");
    let (shown, lines): (Vec<&str>, Vec<&str>) =
        (shown.trim().lines().collect(), text.lines().collect());
    let alike = shown.len() == lines.len()
        && shown.iter().zip(&lines).all(|(shown, line)| matches(shown, line));
    assert!(alike, "`{name}` shows\n{text}");
}

#[test]
fn the_example_hello_greets() {
    shows("hello", "Hello from the sandbox.\nexited with 0");
}

#[test]
fn the_example_limits_reaches_each() {
    shows(
        "limits",
        "
hog: out of memory (meter) (code 137)
    memory 16 MiB, held by meter
spin: reached its deadline (code 124)
    deadline 200ms, held by ...
spin: used up its processor time (code 124)
    cpu_time 200ms, held by ...
spin: used up its fuel (code 124)
    fuel 1000000, held by fuel
hello: wrote more than its output limit (code 153)
    output 5 bytes, held by count
refused: cannot launch ...: a memory limit of 64 KiB leaves the guest nothing: ...",
    );
}

#[test]
fn the_example_directory_reads_what_is_granted_and_no_more() {
    shows(
        "directory",
        "
cat report.txt (ReadOnly): exited with 0
all is well
cat ../secret.txt (ReadOnly): exited with 63
    denied: \"/data/../secret.txt\", outside
touch (ReadOnly): exited with 63
    denied: \"/data/note.txt\", read_only
touch (ReadWrite): exited with 0
note.txt is there: true",
    );
}

#[test]
fn the_example_runaway_ends_every_guest() {
    shows(
        "runaway",
        "
left alone: reached its deadline
asked to stop: stopped
killed: killed by signal 9
let go of: 0 alive",
    );
}

#[test]
fn the_example_many_gives_each_its_own_end() {
    shows(
        "many",
        "
100 launched
25 x hello    exited         at most ... each
25 x hog      out_of_memory  at most ... each
25 x patient  deadline       at most ... each
25 x spin     deadline       at most ... each",
    );
}

#[test]
fn the_example_resize_lets_a_guest_grow_that_was_told_no() {
    shows(
        "resize",
        "
the guest has ... of 16 MiB
the guest may have 64 MiB now
I was told no; I will wait.
I was told yes.
exited with 0, with ... at its peak
refused: the `stack` limit is fixed at launch; start another sandbox to change it",
    );
}

/// Sends a snippet to the service, and returns the status and the body of its answer.
fn post(address: &str, code: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(TIME_MAX)).unwrap();
    let length = code.len();
    let request = format!(
        "POST /run HTTP/1.1\r\nHost: {address}\r\nContent-Type: text/plain\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{code}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

#[test]
fn the_example_snippets_answers_with_output_and_reason() {
    let Some(python) = guest("cpython.wasm") else { return };
    let mut output = tempfile::NamedTempFile::new().unwrap();
    let mut service = example("snippets");
    service.arg(python).arg("0").stdin(Stdio::null()).stdout(output.reopen().unwrap());
    let _service = Ending(service.spawn().unwrap());
    let mut heard = String::new();
    wait_until("the service listens", || {
        output.read_to_string(&mut heard).unwrap();
        heard.contains("/run\n")
    });
    let address = heard.trim().strip_prefix("listening on http://").unwrap();
    let address = address.strip_suffix("/run").unwrap();

    for (snippet, printed, complained, reason, code) in [
        ("print(6 * 7)", "42\n", "", "exited", 0),
        ("import sys; print('bye'); sys.exit(7)", "bye\n", "", "exited", 7),
        ("1 / 0", "", "ZeroDivisionError", "exited", 1),
        ("open('/etc/passwd')", "", "FileNotFoundError", "exited", 1),
        ("import os; print(dict(os.environ), os.listdir('/'))", "{} []\n", "", "exited", 0),
        ("x = bytearray(1 << 30)", "", "MemoryError", "exited", 1),
        ("while True: pass", "", "", "deadline", 124),
        ("import time; time.sleep(60)", "", "", "deadline", 124),
    ] {
        let (status, body) = post(address, snippet);
        assert_eq!(status, "HTTP/1.1 200 OK", "{snippet}: {body}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(answer["output"], printed, "{snippet}: {body}");
        assert!(answer["errors"].as_str().unwrap().contains(complained), "{snippet}: {body}");
        assert_eq!((&answer["reason"], &answer["code"]), (&reason.into(), &code.into()), "{body}");
        assert!(answer["stats"]["memory_peak_bytes"].as_u64().unwrap() <= 64 << 20, "{body}");
    }
    let (_, flood) = post(address, "while True: print('x' * 1000)");
    assert!(flood.contains("\"reason\":\"output\",\"code\":153"), "{flood}");
    assert_eq!(post(address, "print(1)\0").0, "HTTP/1.1 400 Bad Request");
    assert_eq!(post(address, &"#".repeat(100_000)).0, "HTTP/1.1 413 Payload Too Large");
}
