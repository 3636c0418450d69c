//! Section 4.8 for guests that have a process each: many at once, one after the other, and from a host
//! that is busy itself.

use std::fs;
use std::process::Command;
use std::process::Stdio;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use std::time::Instant;

use aril::Artifact;
use aril::Bytes;
use aril::ErrorKind;
use aril::Exit;
use aril::Isolation;
use aril::Limits;
use aril::MemoryWall;
use aril::Output;
use aril::Runtime;
use aril::SandboxSpec;

use super::guest::Guest;
use crate::guests::SPIN;
use crate::support::Bench;
use crate::support::aril_path;
use crate::support::children_of;
use crate::support::skip;
use crate::support::wait_until;

/// How many, where nobody wants the full count: `ARIL_TEST_CROWD=1000`.
fn count(few: usize) -> usize {
    std::env::var("ARIL_TEST_CROWD").map_or(few, |count| count.parse().unwrap())
}

fn runtime(bench: &Bench, sandboxes: usize) -> Runtime {
    let builder = Runtime::builder(bench.cache()).program(aril_path());
    builder.sandboxes_max(u32::try_from(sandboxes).unwrap()).open().unwrap()
}

fn spec(deadline: Duration) -> SandboxSpec {
    let memory = Bytes::mib(8).into();
    let limits = Limits { memory, deadline: deadline.into(), ..Limits::default() };
    SandboxSpec::new("guest").isolation(Isolation::Process).limits(limits).stdout(Output::Capture)
}

/// Longer than anything here takes, on a busy machine as well.
const LONG: Duration = Duration::from_secs(50);

async fn prepare(runtime: &Runtime, bench: &Bench, name: &str, wat: &str) -> Artifact {
    runtime.prepare(bench.file(name, wat)).await.unwrap()
}

/// What this process holds of the host.
#[derive(Debug)]
struct Held {
    descriptors: usize,
    threads: usize,
    children: usize,
    groups: usize,
    resident: u64,
}

impl Held {
    fn now() -> Self {
        let count = |folder: &str| fs::read_dir(folder).unwrap().count();
        let statm = fs::read_to_string("/proc/self/statm").unwrap();
        Self {
            descriptors: count("/proc/self/fd"),
            threads: count("/proc/self/task"),
            children: children_of(std::process::id()).len(),
            groups: groups(),
            resident: statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() << 12,
        }
    }
}

/// How many control groups there are beneath those of this process that we made.
fn groups() -> usize {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let lines = own.lines().map(|line| line.splitn(3, ':').collect::<Vec<_>>());
    let number = std::process::id().to_string();
    let folders = lines.filter(|line| line.len() == 3).map(|line| {
        let slash = if line[1].is_empty() { "" } else { "/" };
        format!("/sys/fs/cgroup{slash}{}{}", line[1], line[2])
    });
    let entries = folders.filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("aril-") && name.contains(&number)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_with_processes_end_as_they_should_whatever_many_others_do() {
    let many = count(60);
    let bench = Bench::with_shared_cache();
    let runtime = runtime(&bench, many);
    let mut greedy = Guest::new();
    let root = greedy.text(".");
    let open = format!(
        "(br_if $done (call $path_open (i32.const 3) (i32.const 0) {root} (i32.const 2)
          (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 8)))"
    );
    let greedy = greedy.times(5000, open);
    let wats = [
        Guest::new().say("healthy", "(i32.const 7)").wat(),
        "(module (func (export \"_start\") unreachable))".to_owned(),
        crate::guests::HOG.to_owned(),
        SPIN.to_owned(),
        greedy.say("done", "(i32.const 1)").wat(),
    ];
    let mut artifacts = Vec::new();
    for (i, wat) in wats.iter().enumerate() {
        artifacts.push(prepare(&runtime, &bench, &format!("guest-{i}.wat"), wat).await);
    }
    // A tenth each of those that crash, take all memory, never end, and open all they can.
    let kind = |i: usize| if i % 10 < 4 { i % 10 + 1 } else { 0 };
    let mut launching = Vec::new();
    for i in 0..many {
        let (runtime, artifact) = (runtime.clone(), artifacts[kind(i)].clone());
        let deadline = if kind(i) == 3 { Duration::from_millis(300) } else { LONG };
        launching.push(tokio::spawn(async move {
            let sandbox = runtime.launch(&artifact, spec(deadline)).await.unwrap();
            (sandbox.record().await.unwrap(), sandbox.captured())
        }));
    }
    let mut starts = Vec::new();
    for (i, launched) in launching.into_iter().enumerate() {
        let (record, said) = launched.await.unwrap();
        let said = String::from_utf8(said).unwrap();
        match kind(i) {
            0 => {
                assert_eq!((record.exit, said.as_str()), (Exit::Exited(0), "healthy 7\n"), "{i}");
                starts.push(record.stats.first_instruction.unwrap());
            }
            1 => assert!(matches!(record.exit, Exit::Trapped(_)), "{}", record.exit),
            2 => assert_eq!(record.exit, Exit::OutOfMemory(MemoryWall::Meter)),
            3 => assert_eq!(record.exit, Exit::Deadline),
            _ => assert_eq!((record.exit, said.as_str()), (Exit::Exited(0), "done 1\n"), "{i}"),
        }
    }
    starts.sort_unstable();
    let (median, late) = (starts[starts.len() / 2], starts[starts.len() * 99 / 100]);
    assert!(
        late < 50 * median,
        "half of them began within {median:?}, and one of 100 after {late:?}"
    );
    assert_eq!(runtime.alive(), 0);
    assert_eq!((children_of(std::process::id()).len(), groups()), (0, 0), "something is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_of_guests_one_after_the_other_leave_nothing_behind() {
    let bench = Bench::with_shared_cache();
    let runtime = runtime(&bench, 8);
    let hello = Guest::new().say("ran", "(i32.const 1)").wat();
    let hello = prepare(&runtime, &bench, "hello.wat", &hello).await;
    let spin = prepare(&runtime, &bench, "spin.wat", SPIN).await;
    let rounds = async |count: usize| {
        for i in 0..count {
            // One in eight is not waited for: nobody holds it any more.
            if i % 8 == 7 {
                drop(runtime.launch(&spin, spec(LONG)).await.unwrap());
            } else {
                let sandbox = runtime.launch(&hello, spec(LONG)).await.unwrap();
                assert_eq!(sandbox.wait().await.unwrap(), Exit::Exited(0));
                assert_eq!(sandbox.captured(), b"ran 1\n");
            }
        }
        let started = Instant::now();
        while 0 < runtime.alive() || !children_of(std::process::id()).is_empty() {
            assert!(started.elapsed() < LONG, "one that nobody holds goes on");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    rounds(40).await;
    let before = Held::now();
    rounds(count(160)).await;
    let after = Held::now();
    assert_eq!(after.descriptors, before.descriptors, "{before:?}, {after:?}");
    assert_eq!((after.children, after.groups), (0, 0), "{after:?}");
    // A pool of threads may be a few larger, at one moment or another.
    assert!(after.threads <= before.threads + 8, "{before:?}, {after:?}");
    assert!(after.resident <= before.resident + (8 << 20), "{before:?}, {after:?}");
}

/// Says to a test that it was started again, to have a process to itself.
const AGAIN: &str = "ARIL_TEST_AGAIN";

/// Starts this test again, alone, after a script; returns whether this is that.
fn is_alone(name: &str, script: &str) -> bool {
    if std::env::var_os(AGAIN).is_some() {
        return true;
    }
    let mut again = Command::new("sh");
    again.args(["-ec", &format!("{script}\nexec \"$0\" \"$@\"")]);
    again.arg(std::env::current_exe().unwrap()).args(["--exact", "--nocapture", name]);
    assert!(again.env(AGAIN, "1").stdout(Stdio::null()).status().unwrap().success());
    false
}

#[test]
fn more_processes_than_there_is_room_for_are_refused_until_there_is_room() {
    let name =
        "attacks::crowd::more_processes_than_there_is_room_for_are_refused_until_there_is_room";
    if !is_alone(name, "ulimit -n 100") {
        return;
    }
    let bench = Bench::with_shared_cache();
    let runtime = runtime(&bench, 1000);
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let spin = prepare(&runtime, &bench, "spin.wat", SPIN).await;
        let mut held = Vec::new();
        let refused = loop {
            match runtime.launch(&spin, spec(LONG)).await {
                Ok(sandbox) => held.push(sandbox),
                Err(error) => break error,
            }
        };
        assert!(1 < held.len() && held.len() < 100, "{}", held.len());
        assert_eq!(refused.kind(), ErrorKind::Exhausted, "{refused:?}");
        for _ in 0..20 {
            let error = runtime.launch(&spin, spec(LONG)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Exhausted, "{error:?}");
        }
        let workers = children_of(std::process::id()).len();
        assert_eq!(workers, held.len(), "who is refused leaves nothing");
        for _ in 0..2 {
            let one = held.pop().unwrap();
            one.kill();
            assert_eq!(one.wait().await.unwrap(), Exit::Killed(9));
        }
        held.push(runtime.launch(&spin, spec(LONG)).await.unwrap());
        for sandbox in held {
            sandbox.kill();
            assert_eq!(sandbox.wait().await.unwrap(), Exit::Killed(9));
        }
    });
}

/// How many signals of its own the host heard.
static HEARD: [AtomicU32; 2] = [AtomicU32::new(0), AtomicU32::new(0)];

/// Whether the host is to be busy no more.
static END: AtomicBool = AtomicBool::new(false);

extern "C" fn hears(signal: libc::c_int) {
    HEARD[usize::from(signal == libc::SIGSEGV)].fetch_add(1, Relaxed);
}

fn raise(signal: libc::c_int) {
    // SAFETY: both signals have a handler that counts.
    #[expect(unsafe_code, reason = "sends this process a signal")]
    let sent = unsafe { libc::raise(signal) };
    assert_eq!(sent, 0);
}

/// Threads that allocate, start processes and send signals, until they are told to end.
fn busy(threads: usize) -> Vec<std::thread::JoinHandle<u32>> {
    let work = || {
        let mut started = 0;
        while !END.load(Relaxed) {
            drop(std::hint::black_box(vec![1_u8; 100_000]));
            assert!(Command::new("true").status().unwrap().success());
            raise(libc::SIGUSR1);
            started += 1;
        }
        started
    };
    (0..threads).map(|_| std::thread::spawn(work)).collect()
}

#[test]
fn a_host_of_threads_with_handlers_of_its_own_launches_and_keeps_them() {
    let name = "attacks::crowd::a_host_of_threads_with_handlers_of_its_own_launches_and_keeps_them";
    if !is_alone(name, "") {
        return;
    }
    for signal in [libc::SIGUSR1, libc::SIGSEGV] {
        let handler: extern "C" fn(libc::c_int) = hears;
        // SAFETY: the handler adds to a number, and nothing else.
        #[expect(unsafe_code, reason = "sets a handler")]
        let set = unsafe { libc::signal(signal, handler as *const () as usize) };
        assert_ne!(set, libc::SIG_ERR);
    }
    let bench = Bench::with_shared_cache();
    let busy = busy(3);
    let launchers: Vec<_> = (0..8)
        .map(|i| {
            let runtime = runtime(&bench, 8);
            // A trap by a signal, in this process and in others: an access outside of the memory.
            let wat = "(module (memory 1) (func (export \"_start\")
              (drop (i32.load (i32.const 0x7fffffff)))))";
            let file = bench.file(&format!("guest-{i}.wat"), wat);
            std::thread::spawn(move || {
                let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build();
                tokio.unwrap().block_on(async {
                    let artifact = runtime.prepare(file).await.unwrap();
                    for isolation in [Isolation::Process, Isolation::Shared].repeat(6) {
                        let spec = spec(LONG).isolation(isolation);
                        let sandbox = runtime.launch(&artifact, spec).await.unwrap();
                        let end = sandbox.wait().await.unwrap();
                        assert!(matches!(end, Exit::Trapped(_)), "{end}");
                    }
                });
            })
        })
        .collect();
    for launcher in launchers {
        launcher.join().unwrap();
    }
    END.store(true, Relaxed);
    let sent: u32 = busy.into_iter().map(|thread| thread.join().unwrap()).sum();
    // A fault that is no guest's is the host's to handle.
    raise(libc::SIGSEGV);
    assert_eq!(HEARD.each_ref().map(|heard| heard.load(Relaxed)), [sent, 1]);
    assert_eq!(children_of(std::process::id()).len(), 0);
}

#[test]
fn a_keeper_ends_its_worker_by_a_descriptor_and_never_by_a_number() {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        return skip("strace is not there");
    }
    let bench = Bench::with_shared_cache();
    let guest = bench.file("spin.wat", SPIN);
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "trace"]);
    strace.args(["-e", "trace=kill,tkill,tgkill,rt_sigqueueinfo,pidfd_send_signal"]);
    strace.args(["-e", "signal=none"]);
    let run = bench.run(["--deadline".into(), "100ms".into(), guest.into_os_string()]);
    run.within(strace).outcome().expect_code(124);
    let trace = fs::read_to_string(bench.path().join("trace")).unwrap();
    assert!(trace.contains("pidfd_send_signal(") && trace.contains("SIGKILL"), "{trace}");
    let other = trace.lines().find(|line| line.contains("kill(") || line.contains("queueinfo("));
    assert_eq!(other, None, "{trace}");
    wait_until("nothing to be left", || children_of(std::process::id()).is_empty());
}
