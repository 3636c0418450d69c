//! The cases of `tests/conformance`, run through every door.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use aril::Access;
use aril::Directory;
use aril::Exit;
use aril::Input;
use aril::Invocation;
use aril::Isolation;
use aril::Limit;
use aril::Limits;
use aril::MemoryWall;
use aril::Output;
use aril::Runtime;
use aril::Sandbox;
use aril::SandboxSpec;
use aril::Trap;
use aril::TrapKind;
use serde::Deserialize;
use serde_json::Value;

use crate::support::Bench;
use crate::support::aril_path;
use crate::support::root;

/// What a guest that is to be ended says once it runs.
const READY: &str = "ready\n";

/// The time to end by itself that a guest has which is asked to.
const GRACE: Duration = Duration::from_millis(50);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    #[serde(rename = "case")]
    cases: Vec<Case>,
}

/// See `tests/conformance/README.md`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    guest: Option<String>,
    guest_bytes: Option<Vec<u8>>,
    guest_file: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: Vec<String>,
    stdin: Option<String>,
    invoke: Option<String>,
    workdir: Option<String>,
    #[serde(default)]
    trap_unknown_imports: bool,
    #[serde(default)]
    limits: BTreeMap<String, String>,
    #[serde(default)]
    grants: Vec<Grant>,
    order: Option<Order>,
    skip_door: Option<SkipDoor>,
    #[serde(default)]
    expect: BTreeMap<String, toml::Value>,
    #[serde(default)]
    expect_process: BTreeMap<String, toml::Value>,
    #[serde(default)]
    expect_shared: BTreeMap<String, toml::Value>,
    refused: Option<Refused>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Grant {
    guest: String,
    access: String,
    #[serde(default)]
    files: BTreeMap<String, String>,
    #[serde(default)]
    links: BTreeMap<String, String>,
}

/// Who ends the guest once it runs.
#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Order {
    Interrupt,
    Kill,
    Stop,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SkipDoor {
    door: String,
    reason: String,
}

/// An error instead of a run.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refused {
    kind: String,
    code: i32,
    text: Vec<String>,
}

/// Where a case comes in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Door {
    /// The command, for people.
    CommandLine,
    /// The library, where guests share the process.
    Library,
    /// The library, where each guest has a process of its own.
    Workers,
}

/// What came of a case behind a door.
enum Told {
    /// A run, with its record and what it wrote to standard output.
    Run(Value, String),
    /// An error: its kind or code, and its text.
    Refused(String, String),
}

fn cases() -> Vec<Case> {
    let mut files: Vec<PathBuf> = fs::read_dir(root().join("tests/conformance"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "toml"))
        .collect();
    files.sort();
    let read = |path: PathBuf| {
        let cases: Cases = toml::from_str(&fs::read_to_string(&path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        cases.cases
    };
    files.into_iter().flat_map(read).collect()
}

/// A guest, and what it is granted: what of the host, where it sees that, and what it may do with it.
type LaidOut = (PathBuf, Vec<(PathBuf, String, Access)>);

/// The guest of a case, and its grants, in a folder of the case's own.
fn lay_out(case: &Case, bench: &Bench) -> LaidOut {
    let guest = match (&case.guest, &case.guest_bytes, &case.guest_file) {
        (Some(text), None, None) => bench.file("guest.wat", text),
        (None, Some(bytes), None) => bench.file("guest.wasm", bytes),
        (None, None, Some(name)) => root().join("tests/guests").join(name),
        _ => bench.path().join("absent.wasm"),
    };
    let grants = case.grants.iter().enumerate().map(|(i, grant)| {
        let folder = bench.path().join(format!("grant-{i}"));
        fs::create_dir(&folder).unwrap();
        for (name, text) in &grant.files {
            fs::write(folder.join(name), text).unwrap();
        }
        for (name, target) in &grant.links {
            std::os::unix::fs::symlink(target, folder.join(name)).unwrap();
        }
        let access = match grant.access.as_str() {
            "ro" => Access::ReadOnly,
            "rw" => Access::ReadWrite,
            other => panic!("`{}`: no access is called `{other}`", case.name),
        };
        (folder, grant.guest.clone(), access)
    });
    (guest, grants.collect())
}

/// The door that people use.
fn through_the_command_line(case: &Case) -> Told {
    let bench = Bench::with_shared_cache();
    let laid_out = lay_out(case, &bench);
    through_the_command(case, &bench, laid_out, None)
}

/// The same, as a user who may do nothing that others may not.
#[cfg(all(target_os = "linux", not(aril_portable)))]
fn as_an_ordinary_user(case: &Case) -> Told {
    let bench = Bench::new();
    let (mut guest, grants) = lay_out(case, &bench);
    if case.guest_file.is_some() {
        // Where the repository is, he may have no business.
        let own = bench.path().join(guest.file_name().unwrap());
        fs::copy(guest, &own).unwrap();
        guest = own;
    }
    let becoming = bench.give_to(12345);
    through_the_command(case, &bench, (guest, grants), Some(becoming))
}

fn through_the_command(
    case: &Case,
    bench: &Bench,
    (guest, grants): LaidOut,
    within: Option<std::process::Command>,
) -> Told {
    let record = bench.path().join("record.json");
    let mut args = vec!["--json".to_owned(), record.to_str().unwrap().to_owned()];
    for (name, amount) in &case.limits {
        args.extend([format!("--{name}"), amount.clone()]);
    }
    for (host, guest, access) in grants {
        let ending = if access == Access::ReadOnly { ":ro" } else { "" };
        args.extend(["-v".to_owned(), format!("{}:{guest}{ending}", host.display())]);
    }
    for variable in &case.env {
        args.extend(["-e".to_owned(), variable.clone()]);
    }
    for (flag, value) in [("-w", &case.workdir), ("--invoke", &case.invoke)] {
        args.extend(value.iter().flat_map(|value| [flag.to_owned(), value.clone()]));
    }
    if case.trap_unknown_imports {
        args.push("--trap-unknown-imports".to_owned());
    }
    if case.stdin.is_some() {
        args.push("-i".to_owned());
    }
    args.extend(["--stop-timeout".to_owned(), format!("{}ms", GRACE.as_millis())]);
    args.push(guest.to_str().unwrap().to_owned());
    args.extend(case.args.iter().cloned());

    let run = bench.run(args);
    let run = match within {
        Some(other) => run.within(other),
        None => run,
    };
    let run = match case.stdin.as_deref() {
        None => run,
        Some("open") => run.silent_input(),
        Some(text) => run.input(text),
    };
    let running = run.start();
    if let Some(order) = case.order {
        running.wait_for_output(READY);
        running.signal(match order {
            Order::Interrupt => "INT",
            Order::Kill => "KILL",
            Order::Stop => "TERM",
        });
    }
    let outcome = running.outcome();
    let code = outcome.code.unwrap_or(-1);
    let told = fs::read_to_string(&record).unwrap_or_default();
    if told.is_empty() {
        return Told::Refused(code.to_string(), outcome.stderr);
    }
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["code"], code, "`{}`: the process ended with another code", case.name);
    Told::Run(told, outcome.stdout)
}

fn limit<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> Limit<T> {
    if text == "unlimited" { Limit::Unlimited } else { Limit::Of(text.parse().unwrap()) }
}

fn limits_of(case: &Case) -> Limits {
    let mut limits = Limits::default();
    for (name, amount) in &case.limits {
        match name.as_str() {
            "memory" => limits.memory = limit(amount),
            "cpus" => limits.cpus = limit(amount),
            "deadline" => limits.deadline = aril::parse_span(amount).unwrap().into(),
            "cpu-time" => limits.cpu_time = aril::parse_span(amount).unwrap().into(),
            "fuel" => limits.fuel = limit(amount),
            "output" => limits.output = limit(amount),
            "open-files" => limits.open_files = limit(amount),
            "table-elements" => limits.table_elements = limit(amount),
            "instances" => limits.instances = limit(amount),
            "stack" => limits.stack = limit(amount),
            other => panic!("`{}`: no limit is called `{other}`", case.name),
        }
    }
    limits
}

type Failed = Box<dyn std::error::Error>;

/// The door that services use.
async fn through_the_library(case: &Case, isolation: Isolation) -> Told {
    match run_in_the_library(case, isolation).await {
        Ok((sandbox, ended)) => {
            let told = serde_json::from_str(&ended.to_json()).unwrap();
            Told::Run(told, String::from_utf8_lossy(&sandbox.captured()).into_owned())
        }
        Err(error) => {
            let kind = error.downcast_ref::<aril::Error>().map(aril::Error::kind);
            let mut text = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                write!(text, ": {cause}").unwrap();
                source = cause.source();
            }
            Told::Refused(format!("{:?}", kind.unwrap()), text)
        }
    }
}

async fn run_in_the_library(
    case: &Case,
    isolation: Isolation,
) -> Result<(Sandbox, aril::Record), Failed> {
    let bench = Bench::with_shared_cache();
    let (guest, grants) = lay_out(case, &bench);
    let mut spec = SandboxSpec::new("guest")
        .isolation(isolation)
        .limits(limits_of(case))
        .stdout(Output::Capture)
        .stdin(match case.stdin.as_deref() {
            None => Input::Closed,
            Some("open") => Input::Stream,
            Some(text) => Input::Bytes(text.into()),
        });
    for (host, guest, access) in grants {
        spec = spec.directory(Directory::open(host, guest, access)?);
    }
    for variable in &case.env {
        let (name, value) = variable.split_once('=').unwrap();
        spec = spec.env(name, value)?;
    }
    if let Some(directory) = &case.workdir {
        spec = spec.working_directory(directory)?;
    }
    if case.trap_unknown_imports {
        spec = spec.trap_unknown_imports();
    }
    let arguments = case.args.clone();
    spec = match &case.invoke {
        Some(function) => spec.invoke(Invocation { function: function.clone(), arguments }),
        None => spec.args(arguments),
    };

    let runtime = Runtime::builder(bench.cache()).program(aril_path()).sandboxes_max(2).open()?;
    let artifact = runtime.prepare(guest).await?;
    let sandbox = runtime.launch(&artifact, spec).await?;
    if let Some(order) = case.order {
        while sandbox.captured() != READY.as_bytes() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        match order {
            // What a front end does that was interrupted.
            Order::Interrupt => sandbox.kill_as(2),
            Order::Kill => sandbox.kill(),
            Order::Stop => drop(sandbox.stop(GRACE).await?),
        }
    }
    let record = sandbox.record().await?;
    Ok((sandbox, record))
}

/// The part of a record that a path leads to.
fn part_of<'a>(record: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(record, |value, step| match value {
        Value::Array(list) => match step.parse::<usize>() {
            Ok(index) => list.get(index),
            Err(_) => list.iter().find(|element| element["name"] == step),
        },
        _ => value.get(step),
    })
}

/// What is wrong with a part of a record, if something is.
fn complaint(path: &str, found: Option<&Value>, expected: &toml::Value) -> Option<String> {
    let found_or_null = found.cloned().unwrap_or(Value::Null);
    let holds = match expected {
        toml::Value::String(word) if word == "absent" => found_or_null.is_null(),
        toml::Value::Table(conditions) => conditions.iter().all(|(condition, bound)| {
            let number = |value: &Value| value.as_i64();
            let count = found_or_null.as_array().map(|list| i64::try_from(list.len()).unwrap());
            match condition.as_str() {
                "min" => bound.as_integer() <= number(&found_or_null),
                "max" => number(&found_or_null).is_some_and(|n| n <= bound.as_integer().unwrap()),
                "count" => count == bound.as_integer(),
                "one_of" => {
                    let allowed = bound.as_array().unwrap().iter();
                    allowed
                        .map(|value| serde_json::to_value(value).unwrap())
                        .any(|value| value == found_or_null)
                }
                "max_count" => count.is_some_and(|count| count <= bound.as_integer().unwrap()),
                "contains" => bound.as_array().unwrap().iter().all(|part| {
                    let text = found_or_null.as_str();
                    text.is_some_and(|text| text.contains(part.as_str().unwrap()))
                }),
                other => panic!("there is no condition `{other}`"),
            }
        }),
        plain => found_or_null == serde_json::to_value(plain).unwrap(),
    };
    (!holds).then(|| format!("`{path}` is {found_or_null}, and should be {expected}"))
}

/// What is wrong with what was told of a case, if something is.
fn complaints(case: &Case, told: &Told, door: Door) -> Vec<String> {
    match (told, &case.refused) {
        (Told::Run(record, output), None) => {
            let own = match door {
                Door::CommandLine | Door::Workers => &case.expect_process,
                Door::Library => &case.expect_shared,
            };
            let output = Value::String(output.clone());
            let judge = |(path, expected): (&String, &toml::Value)| {
                let found = if path == "output" { Some(&output) } else { part_of(record, path) };
                complaint(path, found, expected)
            };
            let mut found: Vec<String> = case.expect.iter().chain(own).filter_map(judge).collect();
            if !found.is_empty() {
                found.push(format!("the record is {record}"));
            }
            found
        }
        (Told::Refused(how, text), Some(refused)) => {
            let cli = door == Door::CommandLine;
            let expected = if cli { refused.code.to_string() } else { refused.kind.clone() };
            let mut found: Vec<String> = refused
                .text
                .iter()
                .filter(|part| !text.contains(*part))
                .map(|part| format!("`{part}` is not in the error `{text}`"))
                .collect();
            if *how != expected {
                found.push(format!("refused as {how}, and not as {expected}: {text}"));
            }
            if cli && text.lines().count() != 1 {
                found.push(format!("the error is not one line: {text}"));
            }
            found
        }
        (Told::Run(record, _), Some(_)) => vec![format!("it ran: {record}")],
        (Told::Refused(how, text), None) => vec![format!("it was refused as {how}: {text}")],
    }
}

fn skipped(case: &Case, door: &str) -> bool {
    // The portable platform does not tell SIGTERM from Ctrl-C, and `aril doctor` says so.
    if cfg!(aril_portable) && door == "cli" && matches!(case.order, Some(Order::Stop)) {
        return true;
    }
    // There, the guest has no process beside that of the command.
    if cfg!(aril_portable) && door == "cli" && case.expect_process.contains_key("walls") {
        return true;
    }
    case.skip_door.as_ref().is_some_and(|skip| {
        assert!(!skip.reason.is_empty(), "`{}` is skipped without a reason", case.name);
        skip.door == door
    })
}

#[test]
fn every_case_holds_through_the_command_line() {
    let mut wrong = String::new();

    for case in cases().iter().filter(|case| !skipped(case, "cli")) {
        for complaint in complaints(case, &through_the_command_line(case), Door::CommandLine) {
            write!(wrong, "\n{}: {complaint}", case.name).unwrap();
        }
    }

    assert!(wrong.is_empty(), "{wrong}");
}

#[cfg(all(target_os = "linux", not(aril_portable)))]
#[test]
fn every_case_holds_through_the_command_line_as_an_ordinary_user() {
    if !rustix::process::geteuid().is_root() {
        // Whoever runs the tests is one then.
        return crate::support::skip("only root can become another user");
    }
    let mut wrong = String::new();

    for case in cases().iter().filter(|case| !skipped(case, "cli")) {
        for complaint in complaints(case, &as_an_ordinary_user(case), Door::CommandLine) {
            write!(wrong, "\n{}: {complaint}", case.name).unwrap();
        }
    }

    assert!(wrong.is_empty(), "{wrong}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_holds_through_the_library() {
    let mut wrong = String::new();

    for case in cases().iter().filter(|case| !skipped(case, "library")) {
        for complaint in
            complaints(case, &through_the_library(case, Isolation::Shared).await, Door::Library)
        {
            write!(wrong, "\n{}: {complaint}", case.name).unwrap();
        }
    }

    assert!(wrong.is_empty(), "{wrong}");
}

/// The texts that the cases expect at this path of a record.
fn expected_at(cases: &[Case], path: &str) -> BTreeSet<String> {
    let found = cases.iter().filter_map(|case| case.expect.get(path));
    found.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).collect()
}

/// One of each end. A new variant does not compile here until it is added.
fn every_end() -> Vec<Exit> {
    let trap = Trap { kind: TrapKind::Other, message: String::new(), backtrace: Vec::new() };
    let ends = vec![
        Exit::Exited(0),
        Exit::Trapped(trap),
        Exit::OutOfMemory(MemoryWall::Meter),
        Exit::Deadline,
        Exit::CpuTime,
        Exit::Fuel,
        Exit::Output,
        Exit::Stopped,
        Exit::Killed(9),
        Exit::Denied(String::new()),
    ];
    for end in &ends {
        match end {
            Exit::Exited(_)
            | Exit::Trapped(_)
            | Exit::OutOfMemory(MemoryWall::Meter | MemoryWall::Cgroup)
            | Exit::Deadline
            | Exit::CpuTime
            | Exit::Fuel
            | Exit::Output
            | Exit::Stopped
            | Exit::Killed(_)
            | Exit::Denied(_) => {}
        }
    }
    ends
}

#[test]
fn every_end_has_a_case() {
    let cases = cases();

    let reasons = expected_at(&cases, "reason");

    let all: BTreeSet<String> = every_end().iter().map(|end| end.reason().to_owned()).collect();
    assert_eq!(reasons, all);
}

#[test]
fn every_code_of_ours_has_a_case() {
    let cases = cases();

    let mut codes = expected_at(&cases, "code");
    codes.extend(cases.iter().filter_map(|case| case.refused.as_ref()).map(|r| r.code.to_string()));

    for code in [0, 1, 124, 125, 126, 127, 130, 134, 137, 143, 153, 200, 255] {
        assert!(codes.contains(&code.to_string()), "no case ends with {code}");
    }
}

#[test]
fn every_kind_of_trap_has_a_case() {
    let source = fs::read_to_string(root().join("runtime/src/sandbox/exit.rs")).unwrap();
    let table = source.split("impl TrapKind").nth(1).unwrap().split("\n}\n").next().unwrap();
    let words = table.lines().filter_map(|line| line.split_once(" => \""));
    let words: BTreeSet<&str> = words.map(|(_, rest)| rest.split('"').next().unwrap()).collect();

    let kinds = expected_at(&cases(), "trap.kind");

    assert!(5 < words.len(), "the words are no longer found in the source: {words:?}");
    for word in words {
        assert!(kinds.contains(word), "no case traps as `{word}`");
    }
}

#[test]
fn every_field_of_the_record_has_a_case() {
    let source = fs::read_to_string(root().join("runtime/src/sandbox/wire.rs")).unwrap();
    let structs = source.split("#[derive(Deserialize, Serialize)]").skip(1);
    let fields = structs.flat_map(|text| {
        let body = text.split_once('{').unwrap().1.split_once('}').unwrap().0;
        let lines = body.lines().filter(|line| !line.trim().starts_with('#'));
        let fields = lines.filter_map(|line| line.trim().split_once(": "));
        fields.map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
    });
    let fields: BTreeSet<String> = fields.collect();

    let cases = cases();
    let tried: BTreeSet<&str> = cases
        .iter()
        .flat_map(|case| case.expect.keys().chain(case.expect_process.keys()))
        .flat_map(|path| path.split('.'))
        .collect();

    // Where a guest went on behind a denial: told to the keeper, and left out where it is not so.
    // What a control group counts depends on the host: `groups.rs` tries it where there is one.
    let elsewhere = ["passed", "group"];
    let fields: BTreeSet<String> =
        fields.into_iter().filter(|field| !elsewhere.contains(&field.as_str())).collect();
    assert!(20 < fields.len(), "the fields are no longer found in the source: {fields:?}");
    for field in &fields {
        assert!(tried.contains(field.as_str()), "no case expects anything of `{field}`");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_holds_in_a_process_of_its_own() {
    if cfg!(aril_portable) {
        // There are none, and `aril doctor` says so.
        return;
    }
    if !Runtime::has_workers() {
        return crate::support::skip("this host cannot hold a guest's process");
    }
    let mut wrong = String::new();

    for case in cases().iter().filter(|case| !skipped(case, "workers")) {
        let told = through_the_library(case, Isolation::Process).await;
        for complaint in complaints(case, &told, Door::Workers) {
            write!(wrong, "\n{}: {complaint}", case.name).unwrap();
        }
    }

    assert!(wrong.is_empty(), "{wrong}");
}
