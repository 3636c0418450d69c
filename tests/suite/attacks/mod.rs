//! The attacks that `tests/attacks.toml` lists: each ends as SECURITY.md says, and the host is as
//! it was.

mod component;
mod guest;
mod host;
mod layers;

// Sections of the list.
mod artifacts;
mod command_line;
mod crowd;
mod files;
mod limits;
// Its scripts are of one kind of processor.
#[cfg(target_arch = "x86_64")]
mod native;
mod network;
mod output;
mod registry;
mod scale;
mod secrets;
mod shared;
mod strange;
mod walls;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::PipeReader;
use std::io::PipeWriter;
use std::io::Read as _;
use std::io::Write as _;
use std::process::Child;
use std::process::Stdio;

use serde::Deserialize;

use crate::support::Outcome;
use crate::support::Run;
use crate::support::root;

/// How many attacks the list has.
const ATTACKS: u32 = 120;

/// How many of them may be explained rather than tested.
const REASONS_MAX: usize = 15;

/// The list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    attack: Vec<Entry>,
}

/// One attack: what it is, and what shows that it fails.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    number: u32,
    what: String,
    section: String,
    /// A test of this suite, or several.
    #[serde(default)]
    test: Names,
    /// A target of `tests/fuzz`, or several.
    #[serde(default)]
    fuzz: Names,
    /// A heading of SECURITY.md that says why there is nothing to attack.
    reason: Option<String>,
    /// What it waits for, or what of it waits.
    later: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(untagged)]
enum Names {
    #[default]
    None,
    One(String),
    Several(Vec<String>),
}

impl Names {
    fn all(&self) -> &[String] {
        match self {
            Self::None => &[],
            Self::One(name) => std::slice::from_ref(name),
            Self::Several(names) => names,
        }
    }
}

fn list() -> Vec<Entry> {
    let text = fs::read_to_string(root().join("tests/attacks.toml")).unwrap();
    toml::from_str::<List>(&text).unwrap().attack
}

/// The tests of this folder, those of images, their store and registries, of workers, of mounts, of disks and of
/// residents, by their paths in the suite, and those of the walls, by theirs in the library.
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let suite = root().join("tests/suite");
    let own = fs::read_dir(suite.join("attacks")).unwrap();
    let own = own.map(|entry| ("attacks::", entry.unwrap().path()));
    let residents = fs::read_dir(suite.join("residents")).unwrap();
    let residents = residents.map(|entry| ("residents::", entry.unwrap().path()));
    let others = [
        "images.rs",
        "image_files.rs",
        "crash.rs",
        "registry.rs",
        "workers.rs",
        "mounts.rs",
        "disk.rs",
    ]
    .map(|name| ("", suite.join(name)));
    let jail = ("aril::process::", root().join("runtime/src/process/jail.rs"));
    for (place, path) in own.chain(residents).chain(others).chain([jail]) {
        let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                is_test = true;
            } else if is_test && let Some((_, rest)) = line.split_once("fn ") {
                let name = rest.split('(').next().unwrap();
                found.insert(format!("{place}{module}::{name}"));
                is_test = false;
            }
        }
    }
    found
}

#[test]
fn every_attack_is_listed_once_and_in_order() {
    let numbers: Vec<u32> = list().iter().map(|entry| entry.number).collect();
    assert_eq!(numbers, (1..=ATTACKS).collect::<Vec<_>>());
    let words: BTreeMap<String, u32> =
        list().into_iter().map(|entry| (entry.what, entry.number)).collect();
    assert_eq!(words.len(), numbers.len(), "two attacks have the same words");
}

#[test]
fn every_attack_has_a_test_a_reason_or_what_it_waits_for() {
    for Entry { number, what, section, test, reason, later, .. } in list() {
        assert!(section.starts_with("4.") && 10 < what.len(), "{number}: {what}");
        let answers =
            test.all().len() + usize::from(reason.is_some()) + usize::from(later.is_some());
        assert!(0 < answers, "{number} has no answer: {what}");
        let alone = test.all().is_empty() && later.is_none();
        assert!(reason.is_none() || alone, "{number} has a reason and something else");
        assert!(
            later.is_none_or(|later| 10 < later.len()),
            "{number} does not say what it waits for"
        );
    }
}

#[test]
fn every_test_that_the_list_names_exists() {
    let tests = tests();
    for entry in list() {
        for name in entry.test.all() {
            assert!(tests.contains(name), "{}: there is no test `{name}`", entry.number);
        }
    }
}

#[test]
fn every_test_that_security_md_names_exists() {
    let (tests, text) = (tests(), fs::read_to_string(root().join("SECURITY.md")).unwrap());
    let quoted = text.split('`').skip(1).step_by(2);
    let named: Vec<&str> = quoted
        .filter(|name| {
            ["attacks::", "workers::", "aril::process"].iter().any(|at| name.starts_with(at))
        })
        .collect();
    assert!(10 < named.len(), "{named:?}");
    for name in named.into_iter().filter(|name| *name != "attacks::native") {
        assert!(tests.contains(name), "there is no test `{name}`");
    }
}

#[test]
fn every_fuzz_target_that_the_list_names_exists_and_is_run() {
    let folder = root().join("tests/fuzz");
    let run = fs::read_to_string(folder.join("run")).unwrap();
    let targets = run.lines().find_map(|line| line.strip_prefix("targets=")).unwrap();
    let run: BTreeSet<&str> = targets.trim_matches('"').split(' ').collect();
    let files = fs::read_dir(folder.join("fuzz_targets")).unwrap();
    let files = files.map(|entry| entry.unwrap().path().file_stem().unwrap().to_owned());
    let files: BTreeSet<String> = files.map(|name| name.into_string().unwrap()).collect();
    assert_eq!(run, files.iter().map(String::as_str).collect());
    for entry in list() {
        for name in entry.fuzz.all() {
            assert!(files.contains(name), "{}: there is no fuzz target `{name}`", entry.number);
        }
    }
}

#[test]
fn every_attack_on_what_exists_has_a_test() {
    // What is built: files, limits, the command line, the walls, images and registries, many at once,
    // the store.
    let (files, limits, command_line) = (1..=23, 24..=44, 74..=90);
    let (images, many_and_store) = (54..=73, 107..=120);
    let built = files.chain(limits).chain(command_line).chain(images).chain(many_and_store);
    let without = built.filter(|number| {
        let list = list();
        let entry = list.iter().find(|entry| entry.number == *number).unwrap();
        entry.test.all().is_empty()
    });
    assert_eq!(without.collect::<Vec<_>>(), [0; 0]);
}

#[test]
fn every_reason_is_a_heading_of_security_md_and_there_are_few() {
    let text = fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchors: BTreeSet<String> = headings.map(anchor).collect();
    let reasons: Vec<(u32, String)> =
        list().into_iter().filter_map(|entry| Some((entry.number, entry.reason?))).collect();
    assert!(reasons.len() <= REASONS_MAX, "{} reasons", reasons.len());
    for (number, reason) in reasons {
        assert!(anchors.contains(&reason), "{number}: SECURITY.md has no heading `{reason}`");
    }
}

/// The anchor that a heading has on a web page.
fn anchor(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = words.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// What a guest prints when it waits to be looked at, and how it waits: for the end of its input.
const PAUSE: &str = "
    (i32.store (i32.const 200) (i32.const 10))
    (i32.store8 (i32.const 210) (i32.const 64)) (i32.store8 (i32.const 211) (i32.const 10))
    (call $print (i32.const 210) (i32.const 2))
    (i32.store (i32.const 220) (i32.const 230)) (i32.store (i32.const 224) (i32.const 1))
    (drop (call $fd_read (i32.const 0) (i32.const 220) (i32.const 1) (i32.const 240)))";

/// Runs a guest to its `PAUSE`, looks at its process, and lets it end.
fn look<T>(run: Run, at: impl FnOnce(u32) -> T) -> T {
    let mut watched = Watched::start(run);
    assert!(watched.pauses(), "it ended early: {}", watched.said());
    let seen = at(process_of_guest(watched.child.id()));
    watched.end();
    seen
}

/// Runs a guest that traps, with `--json -`, and looks at its process between its end and the
/// process's own.
///
/// Standard error is a pipe that is full: a process that has told of the end in its record waits
/// there, for as long as it takes to look.
fn look_at_end<T>(mut run: Run, at: impl FnOnce(u32) -> T) -> (T, Outcome) {
    let (mut records, stdout) = std::io::pipe().unwrap();
    let (mut errors, stderr) = std::io::pipe().unwrap();
    let padding = fill(&stderr);
    let started = std::time::Instant::now();
    let mut child = run.command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn().unwrap();
    drop(run);
    let mut first = [0];
    records.read_exact(&mut first).unwrap();
    let elapsed = started.elapsed();
    let seen = at(child.id());
    let mut said = Vec::new();
    errors.read_to_end(&mut said).unwrap();
    let mut record = first.to_vec();
    records.read_to_end(&mut record).unwrap();
    let code = child.wait().unwrap().code();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&record), text(&said[padding..]));
    (seen, Outcome { code, stdout, stderr, elapsed })
}

/// The process that a guest runs in: the worker of its keeper, or that itself where it has none.
fn process_of_guest(keeper: u32) -> u32 {
    crate::support::worker_so_far(keeper).unwrap_or(keeper)
}

/// Fills a pipe, and says with how many bytes.
fn fill(pipe: &PipeWriter) -> usize {
    rustix::io::ioctl_fionbio(pipe, true).unwrap();
    let mut count = 0;
    while let Ok(written) = rustix::io::write(pipe, &[b' '; 4096]) {
        count += written;
    }
    rustix::io::ioctl_fionbio(pipe, false).unwrap();
    count
}

/// Runs a guest with any number of `PAUSE`s, and looks at its process at each. Returns also what
/// it said.
fn look_each<T>(run: Run, mut at: impl FnMut(u32) -> T) -> (Vec<T>, String) {
    let mut watched = Watched::start(run);
    let mut seen = Vec::new();
    while watched.pauses() {
        seen.push(at(process_of_guest(watched.child.id())));
        watched.go_on();
    }
    (seen, watched.end())
}

/// A guest that is looked at where it pauses.
struct Watched {
    child: Child,
    input: PipeWriter,
    output: BufReader<PipeReader>,
    said: Vec<u8>,
}

impl Watched {
    fn start(mut run: Run) -> Self {
        let (stdin, input) = std::io::pipe().unwrap();
        let (output, stdout) = std::io::pipe().unwrap();
        let command = run.command.stdin(stdin).stdout(stdout).stderr(Stdio::inherit());
        let child = command.spawn().unwrap();
        Self { child, input, output: BufReader::new(output), said: Vec::new() }
    }

    /// Waits for its next pause, or its end.
    fn pauses(&mut self) -> bool {
        while 0 < self.output.read_until(b'\n', &mut self.said).unwrap() {
            if self.said.ends_with(b"@\n") {
                return true;
            }
        }
        false
    }

    fn go_on(&mut self) {
        self.input.write_all(b"x").unwrap();
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&self.said).into_owned()
    }

    /// Lets it end, with all that it still has to say.
    fn end(self) -> String {
        let Self { mut child, input, mut output, mut said } = self;
        drop(input);
        output.read_to_end(&mut said).unwrap();
        assert!(child.wait().unwrap().success());
        String::from_utf8_lossy(&said).into_owned()
    }
}

/// The most memory that a process ever had, in bytes.
fn peak_memory(pid: u32) -> u64 {
    crate::support::peak_memory(pid).unwrap()
}
