//! A guest in a process of its own: what it is given, what is known of it, and how it ends.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use aril::Access;
use aril::Artifact;
use aril::Bytes;
use aril::Directory;
use aril::Event;
use aril::Exit;
use aril::Input;
use aril::Isolation;
use aril::LaunchError;
use aril::Limits;
use aril::MemoryWall;
use aril::Output;
use aril::Refusal;
use aril::Runtime;
use aril::Sandbox;
use aril::SandboxSpec;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;

use crate::guests::ASK_FOR_MEMORY;
use crate::guests::CAT;
use crate::guests::FLOOD;
use crate::guests::HOG;
use crate::guests::SPIN;
use crate::support::Bench;
use crate::support::aril_path;
use crate::support::children_of;
use crate::support::signal;
use crate::support::skip;
use crate::support::wait_until;
use crate::support::worker_of;
use crate::waiting::PATIENCE;
use crate::waiting::end_of;
use crate::waiting::until;

/// How long a worker may outlive its keeper.
const OUTLIVES_MAX: Duration = Duration::from_millis(100);

struct Service {
    bench: Bench,
    runtime: Runtime,
}

impl Service {
    fn new() -> Self {
        Self::with_program(aril_path())
    }

    /// One whose workers are this program.
    fn with_program(program: PathBuf) -> Self {
        let bench = Bench::with_shared_cache();
        let runtime = Runtime::builder(bench.cache()).program(program).open().unwrap();
        Self { bench, runtime }
    }

    async fn prepare(&self, text: &str) -> Artifact {
        self.runtime.prepare(self.bench.file("guest.wat", text)).await.unwrap()
    }

    async fn launch(&self, text: &str, spec: SandboxSpec) -> Sandbox {
        let artifact = self.prepare(text).await;
        self.runtime.launch(&artifact, spec).await.unwrap()
    }
}

fn spec() -> SandboxSpec {
    SandboxSpec::new("guest").isolation(Isolation::Process)
}

/// Whether a process runs: one that has ended, and that nobody has waited for yet, does not.
fn is_running(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status
        .rsplit(')')
        .next()
        .is_some_and(|rest| !matches!(rest.trim().chars().next(), None | Some('Z' | 'X')))
}

#[tokio::test(flavor = "multi_thread")]
async fn its_streams_are_the_hosts_to_write_to_and_to_read() {
    let service = Service::new();
    let spec = spec().stdin(Input::Stream).stdout(Output::Stream);
    let sandbox = service.launch(CAT, spec).await;
    let (mut input, mut output) = (sandbox.stdin().unwrap(), sandbox.stdout().unwrap());

    for text in ["one", "another"] {
        input.write_all(text.as_bytes()).await.unwrap();
        let mut echoed = vec![0; text.len()];
        output.read_exact(&mut echoed).await.unwrap();
        assert_eq!(echoed, text.as_bytes());
    }
    drop(input);

    assert_eq!(end_of(&sandbox).await, Exit::Exited(5));
    let record = sandbox.record().await.unwrap();
    assert_eq!((record.stats.bytes_in, record.stats.bytes_out), (10, 10));
    assert_eq!(output.read(&mut [0]).await.unwrap(), 0, "the output has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_writes_is_kept_up_to_its_limit() {
    let service = Service::new();
    let input = vec![b'x'; 300_000];
    let captured = spec().stdin(Input::Bytes(input.clone())).stdout(Output::Capture);
    let cat = service.launch(CAT, captured).await;
    assert_eq!(end_of(&cat).await, Exit::Exited(5));
    assert!(cat.captured() == input, "{} bytes came back", cat.captured().len());

    let limits = Limits { output: Bytes::kib(100).into(), ..Limits::default() };
    let flood = service.launch(FLOOD, spec().limits(limits).stdout(Output::Capture)).await;
    assert_eq!(end_of(&flood).await, Exit::Output);
    assert_eq!(flood.captured().len(), 100 << 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_uses_is_known_while_it_spins_and_after_it_was_killed() {
    let service = Service::new();
    let sandbox = service.launch(SPIN, spec()).await;

    let used = || sandbox.stats().cpu_time;
    until("it to use a processor", || Duration::from_millis(20) < used()).await;
    assert!(sandbox.stats().first_instruction.is_some());
    sandbox.kill();

    assert_eq!(end_of(&sandbox).await, Exit::Killed(9));
    let record = sandbox.record().await.unwrap();
    assert!(Duration::from_millis(20) < record.stats.cpu_time, "{:?}", record.stats);
    assert!(record.stats.cpu_time <= record.stats.elapsed, "{:?}", record.stats);
    assert!(Bytes::mib(1) <= record.stats.memory_peak, "{:?}", record.stats);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_limit_on_time_ends_one_that_spins() {
    let service = Service::new();
    let short = Duration::from_millis(50);
    let deadline = Limits { deadline: short.into(), ..Limits::default() };
    let cpu_time = Limits { cpu_time: short.into(), ..Limits::default() };
    for (limits, expected) in [(deadline, Exit::Deadline), (cpu_time, Exit::CpuTime)] {
        let sandbox = service.launch(SPIN, spec().limits(limits)).await;
        assert_eq!(end_of(&sandbox).await, expected);
        let record = sandbox.record().await.unwrap();
        assert!(short <= record.stats.elapsed, "{:?}", record.stats);
    }

    let sandbox = service.launch(SPIN, spec()).await;
    assert_eq!(sandbox.stop(short).await.unwrap(), Exit::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_told_no_gets_more_memory_once_its_limit_is_raised() {
    let service = Service::new();
    let limits = Limits { memory: Bytes::mib(4).into(), ..Limits::default() };
    let spec = spec().limits(limits).stdin(Input::Stream).stdout(Output::Stream);
    let sandbox = service.launch(ASK_FOR_MEMORY, spec).await;
    let (mut input, mut output) = (sandbox.stdin().unwrap(), sandbox.stdout().unwrap());
    let mut answer = async || {
        input.write_all(b"?").await.unwrap();
        let mut answer = [0];
        output.read_exact(&mut answer).await.unwrap();
        char::from(answer[0])
    };

    assert_eq!(answer().await, 'n');
    sandbox.update(|limits| limits.memory = Bytes::mib(512).into()).unwrap();
    for _ in 0..100 {
        assert_eq!(answer().await, 'y');
    }
    assert_eq!(sandbox.stats().memory_refusals, 1);
    sandbox.update(|limits| limits.memory = Bytes::mib(4).into()).unwrap();
    assert_eq!(answer().await, 'n');
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_takes_all_memory_is_told_no_and_what_it_was_refused_is_told() {
    let service = Service::new();
    let limits = Limits { memory: Bytes::mib(8).into(), ..Limits::default() };
    let hog = service.launch(HOG, spec().limits(limits)).await;
    assert_eq!(end_of(&hog).await, Exit::OutOfMemory(MemoryWall::Meter));
    assert_eq!(hog.record().await.unwrap().stats.memory_peak, Bytes::mib(8));

    let folder = service.bench.path().join("granted");
    std::fs::create_dir(&folder).unwrap();
    let granted = Directory::open(&folder, "/granted", Access::ReadOnly).unwrap();
    let tries = service.launch(crate::guests::OPEN_ABSENT_GRANT, spec().directory(granted)).await;
    let mut events = tries.events();
    end_of(&tries).await;
    let record = tries.record().await.unwrap();
    assert_eq!(record.denials.len(), 1, "{:?}", record.denials);
    assert_eq!(record.denials[0].refusal, Refusal::NotGranted);
    let mut seen = Vec::new();
    while let Some(event) = events.next().await {
        seen.push(event);
    }
    assert!(seen.iter().any(|event| matches!(event, Event::Denied(_))), "{seen:?}");
    assert!(matches!(seen.last(), Some(Event::Ended(_))), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_gone_once_nobody_holds_it() {
    let service = Service::new();
    let sandbox = service.launch(SPIN, spec()).await;
    let [worker] = children_of(std::process::id())[..] else { panic!("one worker") };
    assert!(is_running(worker));

    drop(sandbox);

    until("the worker to be gone", || !is_running(worker)).await;
}

#[test]
fn a_worker_ends_with_its_keeper_however_that_ends() {
    let bench = Bench::with_shared_cache();
    let guest = bench.file("spin.wat", SPIN);
    // On a busy machine, another process may be first once.
    let outlived = (0..5).map(|_| {
        let running = bench.run([&guest]).start();
        let worker = worker_of(running.pid());
        let killed = Instant::now();
        running.signal("KILL");
        while is_running(worker) {
            assert!(killed.elapsed() < PATIENCE, "the worker goes on");
            std::thread::sleep(Duration::from_millis(1));
        }
        drop(running.outcome());
        killed.elapsed()
    });
    let least = outlived.min().unwrap();
    assert!(least < OUTLIVES_MAX, "it went on for {least:?}");
}

#[test]
fn a_worker_that_stands_still_ends_with_its_keeper() {
    let bench = Bench::with_shared_cache();
    let guest = bench.file("spin.wat", SPIN);
    let running = bench.run([&guest]).start();
    let worker = worker_of(running.pid());
    let status = || std::fs::read_to_string(format!("/proc/{worker}/status")).unwrap();
    // The last thing that it does before the guest begins.
    wait_until("its list of system calls", || status().contains("Seccomp:\t2"));
    // As a pause does where no group of v2 does it.
    signal(worker, "STOP");

    running.signal("KILL");

    wait_until("the worker to be gone", || !is_running(worker));
    drop(running.outcome());
}

#[test]
fn a_worker_has_none_of_the_hosts_variables() {
    let bench = Bench::with_shared_cache();
    let guest = bench.file("spin.wat", SPIN);
    let running = bench.run([&guest]).env("SECRET", "do not tell").start();
    let worker = worker_of(running.pid());

    let environment = std::fs::read(format!("/proc/{worker}/environ")).unwrap();

    // What stood there is overwritten.
    assert_eq!(String::from_utf8_lossy(&environment).trim_matches('\0'), "");
    running.signal("INT");
    assert_eq!(running.outcome().code, Some(130));
}

#[test]
fn a_workers_memory_has_nothing_of_what_its_keeper_was_told() {
    if !rustix::process::geteuid().is_root() {
        skip("only root looks into the memory of a worker");
        return;
    }
    let bench = Bench::with_shared_cache();
    let guest = bench.file("spin.wat", SPIN);
    let running = bench.run([&guest]).env("SECRET", "do-not-tell-anybody").start();
    let worker = worker_of(running.pid());
    let begun = format!("/proc/{worker}/status");
    wait_until("its walls", || std::fs::read_to_string(&begun).unwrap().contains("Seccomp:\t2"));

    let (keeper, worker) = (memory_of(running.pid()), memory_of(worker));

    let folder = guest.parent().unwrap().to_str().unwrap().as_bytes();
    for secret in [&b"do-not-tell-anybody"[..], folder] {
        let is_in = |memory: &[Vec<u8>]| {
            memory.iter().any(|part| part.windows(secret.len()).any(|found| found == secret))
        };
        assert!(is_in(&keeper), "it is looked for where it is");
        assert!(!is_in(&worker), "{:?}", String::from_utf8_lossy(secret));
    }
    running.signal("INT");
    assert_eq!(running.outcome().code, Some(130));
}

/// All that a process has in memory that it can write to, but for what was reserved and never used.
fn memory_of(process: u32) -> Vec<Vec<u8>> {
    let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let memory = std::fs::File::open(format!("/proc/{process}/mem")).unwrap();
    let parts = maps.lines().filter_map(|line| {
        let (place, rest) = line.split_once(' ')?;
        let (from, to) = place.split_once('-')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        let (from, to) = (number(from)?, number(to)?);
        rest.starts_with("rw").then_some((from, usize::try_from(to - from).ok()?))
    });
    let read = |(from, size)| {
        let mut bytes = vec![0; size];
        let done = std::os::unix::fs::FileExt::read_exact_at(&memory, &mut bytes, from);
        done.is_ok().then_some(bytes)
    };
    parts.filter_map(read).collect()
}

/// A program of the shell's that compiles as Aril does, and is a worker as the script says. `$6` is
/// the number of its channel.
fn impostor(bench: &Bench, script: &str) -> PathBuf {
    let aril = aril_path();
    let text = format!(
        "#!/bin/bash\nif [ \"$2\" = worker ]; then\n{script}\nfi\nexec '{}' \"$@\"\n",
        aril.display()
    );
    let path = bench.file("impostor", text);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

async fn failure_of(script: &str) -> Result<Exit, String> {
    let bench = Bench::with_shared_cache();
    let service = Service::with_program(impostor(&bench, script));
    let artifact = service.prepare(SPIN).await;
    let launched = service.runtime.launch(&artifact, spec()).await;
    let ended = match launched {
        Ok(sandbox) => tokio::time::timeout(PATIENCE, sandbox.wait()).await.expect("it ends"),
        Err(error) => {
            let source = std::error::Error::source(&error).unwrap();
            Err(source.downcast_ref::<LaunchError>().unwrap().clone())
        }
    };
    let left = children_of(std::process::id());
    assert!(left.iter().all(|worker| !is_running(*worker)), "something is left of {script}");
    ended.map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_talks_nonsense_is_ended_and_not_believed() {
    let frame = r#"say() { printf "\\x$(printf %02x ${#1})\\x00\\x00\\x00%s" "$1" >&"$6"; }"#;
    for script in [
        "printf 'garbage, and more of it' >&\"$6\"; sleep 60",
        "printf '\\xff\\xff\\xff\\x7f' >&\"$6\"; sleep 60",
        &format!("{frame}\nset -- \"$@\"; say '{{\"Sing\":1}}' 2 3 4 5 \"$6\"; sleep 60"),
        &format!(
            "{frame}\nset -- \"$@\"; say '{{\"Ended\":\"no record\"}}' 2 3 4 5 \"$6\"; sleep 60"
        ),
    ] {
        let told = failure_of(script).await;
        let error = told.expect_err("it is an error");
        assert!(error.contains("makes no sense"), "{script}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_says_forges_no_line_and_steers_no_terminal() {
    let frame = r#"say() { printf "\x$(printf %02x ${#1})\x00\x00\x00%s" "$1" >&"$6"; }"#;
    let word = r#"{"Failed":{"Engine":"x\naril: all is well\u001b[2J\u202e"}}"#;
    let script = format!("{frame}\nset -- \"$@\"; say '{word}' 2 3 4 5 \"$6\"; exit 0");
    let error = failure_of(&script).await.expect_err("it is an error");
    assert!(error.contains("all is well"), "{error}");
    assert!(!error.contains(['\n', '\u{1b}', '\u{202e}']), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_ends_without_a_word_is_told_by_how_it_ended() {
    let error = failure_of("exit 3").await.expect_err("it is an error");
    assert!(error.contains("ended with 3 and without a word"), "{error}");
    assert_eq!(failure_of("kill -SEGV $$").await, Ok(Exit::Killed(11)));
    // A word that is cut.
    let error = failure_of("printf '\\x09\\x00\\x00\\x00abc' >&\"$6\"; exit 4").await;
    let error = error.expect_err("it is an error");
    assert!(error.contains("ended with 4 and without a word"), "{error}");
}
