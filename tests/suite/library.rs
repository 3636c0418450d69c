//! Many sandboxes in one process: each with limits, streams and an end of its own.

use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use aril::Access;
use aril::Artifact;
use aril::Bytes;
use aril::Cpus;
use aril::Directory;
use aril::ErrorKind;
use aril::Event;
use aril::Events;
use aril::Exit;
use aril::Fuel;
use aril::Input;
use aril::LaunchError;
use aril::Limit;
use aril::LimitError;
use aril::Limits;
use aril::MemoryWall;
use aril::Output;
use aril::Refusal;
use aril::Runtime;
use aril::Sandbox;
use aril::SandboxSpec;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;

use crate::guests::ASK_FOR_FILE;
use crate::guests::ASK_FOR_MEMORY;
use crate::guests::CAT;
use crate::guests::FLOOD;
use crate::guests::HOG;
use crate::guests::SLEEP;
use crate::guests::SPIN;
use crate::support::Bench;
use crate::support::aril_path;
use crate::waiting::PATIENCE;
use crate::waiting::end_of;
use crate::waiting::until;

/// A service, and a folder of its own.
struct Service {
    bench: Bench,
    runtime: Runtime,
}

impl Service {
    fn new(sandboxes_max: u32) -> Self {
        let bench = Bench::with_shared_cache();
        let runtime = Runtime::builder(bench.cache()).program(aril_path());
        let runtime = runtime.sandboxes_max(sandboxes_max).open().unwrap();
        Self { bench, runtime }
    }

    async fn prepare(&self, text: &str) -> Artifact {
        let guest: PathBuf = self.bench.file("guest.wat", text);
        self.runtime.prepare(guest).await.unwrap()
    }

    async fn launch(&self, text: &str, spec: SandboxSpec) -> Sandbox {
        let artifact = self.prepare(text).await;
        self.runtime.launch(&artifact, spec).await.unwrap()
    }
}

fn spec(limits: Limits) -> SandboxSpec {
    SandboxSpec::new("guest").limits(limits)
}

async fn all_of(mut events: Events) -> Vec<Event> {
    let mut all = Vec::new();
    while let Some(event) =
        tokio::time::timeout(PATIENCE, events.next()).await.expect("the events never end")
    {
        all.push(event);
    }
    all
}

// --- Each its own.

#[tokio::test(flavor = "multi_thread")]
async fn many_guests_at_once_have_limits_and_figures_of_their_own() {
    let service = Service::new(30);
    let hog = service.prepare(HOG).await;
    let mut sandboxes = Vec::new();

    for mib in 2..22 {
        let limits = Limits { memory: Bytes::mib(mib).into(), ..Limits::default() };
        sandboxes.push((mib, service.runtime.launch(&hog, spec(limits)).await.unwrap()));
    }

    for (mib, sandbox) in &sandboxes {
        assert_eq!(end_of(sandbox).await, Exit::OutOfMemory(MemoryWall::Meter));
        let record = sandbox.record().await.unwrap();
        assert_eq!(record.stats.memory_peak, Bytes::mib(*mib));
        assert_eq!(record.stats.memory_refusals, 1);
        assert_eq!(record.holds[0].amount, Some(Bytes::mib(*mib).to_string()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runaway_does_not_keep_its_neighbours_from_their_ends() {
    let service = Service::new(30);
    let spin = service.prepare(SPIN).await;
    let limits = Limits { deadline: Duration::from_secs(20).into(), ..Limits::default() };
    let mut runaways = Vec::new();
    for _ in 0..8 {
        runaways.push(service.runtime.launch(&spin, spec(limits)).await.unwrap());
    }

    let cat = service.launch(CAT, spec(Limits::default()).stdin(Input::Bytes(vec![1; 100]))).await;

    assert_eq!(end_of(&cat).await, Exit::Exited(5));
    assert!(runaways.iter().all(|runaway| !runaway.has_ended()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_guests_are_alive_at_once() {
    let service = Service::new(1000);
    let sleep = service.prepare(SLEEP).await;
    let mut sandboxes = Vec::new();

    for _ in 0..1000 {
        let spec = SandboxSpec::new("guest").arg("x".repeat(36_000));
        sandboxes.push(service.runtime.launch(&sleep, spec).await.unwrap());
    }
    until("all to sleep", || sandboxes.iter().all(|s| s.stats().host_calls == 2)).await;
    assert_eq!(service.runtime.alive(), 1000);

    for sandbox in &sandboxes {
        sandbox.kill();
    }
    for sandbox in &sandboxes {
        assert_eq!(end_of(sandbox).await, Exit::Killed(9));
    }
    until("nobody to be left", || service.runtime.alive() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_guest_more_than_there_is_room_for_is_an_error_that_passes() {
    let service = Service::new(2);
    let spin = service.prepare(SPIN).await;
    let launch = || async {
        let sandbox = service.runtime.launch(&spin, spec(Limits::default())).await;
        sandbox.map_err(|error| error.kind())
    };
    let (first, second) = (launch().await.unwrap(), launch().await.unwrap());
    until("both to run", || {
        first.stats().first_instruction.is_some() && second.stats().first_instruction.is_some()
    })
    .await;

    // It is found out at the launch, or by the first who waits.
    match launch().await {
        Err(kind) => assert_eq!(kind, ErrorKind::Exhausted),
        Ok(third) => {
            let error = tokio::time::timeout(PATIENCE, third.wait()).await.unwrap().unwrap_err();
            assert!(matches!(error, LaunchError::Exhausted { .. }), "{error}");
            assert!(error.to_string().contains("sandboxes_max"), "{error}");
        }
    }

    first.kill();
    assert_eq!(end_of(&first).await, Exit::Killed(9));
    let fourth = launch().await.unwrap();
    until("the fourth to run", || fourth.stats().first_instruction.is_some()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_guests_with_a_share_each_get_about_their_share() {
    let service = Service::new(10);
    let spin = service.prepare(SPIN).await;
    let share: Cpus = "0.03".parse().unwrap();
    let limits =
        Limits { cpus: share.into(), deadline: Duration::from_secs(1).into(), ..Limits::default() };
    let mut sandboxes = Vec::new();

    for _ in 0..10 {
        sandboxes.push(service.runtime.launch(&spin, spec(limits)).await.unwrap());
    }

    for sandbox in &sandboxes {
        assert_eq!(end_of(sandbox).await, Exit::Deadline);
        let used = sandbox.stats().cpu_time;
        // 30 ms, and 3 ms that each has at its start; a tick more where it is caught late. Less
        // where other tests take the processors. `tests/soak` measures it for ten seconds.
        let expected = Duration::from_millis(8)..Duration::from_millis(50);
        assert!(expected.contains(&used), "it got {used:?} in a second");
    }
}

// --- Live changes.

#[tokio::test(flavor = "multi_thread")]
async fn memory_that_was_refused_is_granted_after_an_update_without_a_restart() {
    let service = Service::new(1);
    let limits = Limits { memory: Bytes::mib(4).into(), ..Limits::default() };
    let spec = spec(limits).stdin(Input::Stream).stdout(Output::Stream);
    let sandbox = service.launch(ASK_FOR_MEMORY, spec).await;
    let (mut stdin, mut stdout) = (sandbox.stdin().unwrap(), sandbox.stdout().unwrap());
    let mut ask = async || {
        stdin.write_all(b"?").await.unwrap();
        char::from(stdout.read_u8().await.unwrap())
    };

    let refused = ask().await;
    sandbox.update(|limits| limits.memory = Bytes::mib(8).into()).unwrap();
    let granted = ask().await;
    // A guest keeps what it has, and gets no more.
    sandbox.update(|limits| limits.memory = Bytes::mib(2).into()).unwrap();
    let refused_again = ask().await;
    sandbox.update(|limits| limits.memory = Limit::Unlimited).unwrap();
    let unlimited = ask().await;

    assert_eq!((refused, granted, refused_again, unlimited), ('n', 'y', 'n', 'y'));
    drop(stdin);
    assert_eq!(end_of(&sandbox).await, Exit::Exited(0));
    assert_eq!(sandbox.stats().memory_refusals, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_can_be_extended_lifted_and_shortened() {
    let service = Service::new(3);
    let sleep = service.prepare(SLEEP).await;
    let deadline = |ms| Limits { deadline: Duration::from_millis(ms).into(), ..Limits::default() };
    let launch = async |limits, length: usize| {
        let spec = spec(limits).arg("x".repeat(length));
        service.runtime.launch(&sleep, spec).await.unwrap()
    };

    let extended = launch(deadline(300), 6).await;
    extended.update(|limits| limits.deadline = Duration::from_mins(1).into()).unwrap();
    let lifted = launch(deadline(300), 6).await;
    lifted.update(|limits| limits.deadline = Limit::Unlimited).unwrap();
    let shortened = launch(deadline(60_000), 600).await;
    shortened.update(|limits| limits.deadline = Duration::from_millis(200).into()).unwrap();

    assert_eq!(end_of(&extended).await, Exit::Exited(0));
    assert_eq!(end_of(&lifted).await, Exit::Exited(0));
    assert_eq!(end_of(&shortened).await, Exit::Deadline);
    assert!(Duration::from_millis(600) <= extended.stats().elapsed);
    assert!(shortened.stats().elapsed < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_is_past_already_ends_a_spinning_guest() {
    let service = Service::new(1);
    let sandbox = service.launch(SPIN, spec(Limits::default())).await;
    until("20 ms to pass", || Duration::from_millis(20) < sandbox.stats().elapsed).await;

    // Time that has passed counts.
    sandbox.update(|limits| limits.deadline = Duration::from_millis(10).into()).unwrap();

    assert_eq!(end_of(&sandbox).await, Exit::Deadline);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_of_processors_can_be_given_and_taken_back() {
    let service = Service::new(1);
    let limits = Limits { cpus: "0.01".parse::<Cpus>().unwrap().into(), ..Limits::default() };
    let sandbox = service.launch(SPIN, spec(limits)).await;
    until("half a second", || Duration::from_millis(500) < sandbox.stats().elapsed).await;
    let throttled = sandbox.stats().cpu_time;

    sandbox.update(|limits| limits.cpus = Limit::Unlimited).unwrap();
    until("the rest", || Duration::from_millis(60) < sandbox.stats().cpu_time).await;
    let took = sandbox.stats().elapsed.saturating_sub(Duration::from_millis(500));

    assert!(throttled < Duration::from_millis(30), "it got {throttled:?} of half a second");
    // At a hundredth, the rest would have taken at least three seconds.
    assert!(took < Duration::from_millis(2500), "it took {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn processor_time_can_be_added_and_cut() {
    let service = Service::new(2);
    let spin = service.prepare(SPIN).await;
    let limits = Limits { cpu_time: Duration::from_mins(1).into(), ..Limits::default() };

    let cut = service.runtime.launch(&spin, spec(limits)).await.unwrap();
    cut.update(|limits| limits.cpu_time = Duration::from_millis(50).into()).unwrap();
    let limits = Limits { cpu_time: Duration::from_millis(200).into(), ..limits };
    let more = service.runtime.launch(&spin, spec(limits)).await.unwrap();
    more.update(|limits| limits.cpu_time = Duration::from_millis(400).into()).unwrap();

    assert_eq!(end_of(&cut).await, Exit::CpuTime);
    assert_eq!(end_of(&more).await, Exit::CpuTime);
    assert!(cut.stats().cpu_time < Duration::from_secs(1));
    assert!(Duration::from_millis(400) <= more.stats().cpu_time);
}

#[tokio::test(flavor = "multi_thread")]
async fn open_files_can_be_raised_while_a_guest_runs() {
    let service = Service::new(1);
    service.bench.file("data/a.txt", "a");
    let grant =
        Directory::open(service.bench.path().join("data"), "/data", Access::ReadOnly).unwrap();
    let limits = Limits { open_files: 1.into(), ..Limits::default() };
    let spec = spec(limits).directory(grant).stdin(Input::Stream).stdout(Output::Stream);
    let sandbox = service.launch(ASK_FOR_FILE, spec).await;
    let (mut stdin, mut stdout) = (sandbox.stdin().unwrap(), sandbox.stdout().unwrap());
    let mut ask = async || {
        stdin.write_all(b"?").await.unwrap();
        char::from(stdout.read_u8().await.unwrap())
    };

    let answers = [ask().await, ask().await];
    sandbox.update(|limits| limits.open_files = 2.into()).unwrap();
    let more = [ask().await, ask().await];

    assert_eq!((answers, more), (['y', 'n'], ['y', 'n']));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_limit_can_be_raised_while_a_guest_runs() {
    let service = Service::new(1);
    let limits = Limits { output: Bytes::new(4).into(), ..Limits::default() };
    let spec = spec(limits).stdin(Input::Stream).stdout(Output::Stream);
    let sandbox = service.launch(CAT, spec).await;
    let (mut stdin, mut stdout) = (sandbox.stdin().unwrap(), sandbox.stdout().unwrap());
    let mut answer = [0; 4];

    stdin.write_all(b"four").await.unwrap();
    stdout.read_exact(&mut answer).await.unwrap();
    sandbox.update(|limits| limits.output = Bytes::new(8).into()).unwrap();
    stdin.write_all(b"more").await.unwrap();
    stdout.read_exact(&mut answer).await.unwrap();
    assert!(!sandbox.has_ended());
    stdin.write_all(b"!").await.unwrap();

    assert_eq!(end_of(&sandbox).await, Exit::Output);
    assert_eq!(sandbox.stats().bytes_out, 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_fixed_at_launch_is_refused_by_name_and_nothing_changes() {
    type Change = fn(&mut Limits);
    let service = Service::new(1);
    let sandbox = service.launch(SPIN, spec(Limits::default())).await;
    let fixed: [(&str, Change); 4] = [
        ("stack", |limits| limits.stack = Bytes::kib(128).into()),
        ("table_elements", |limits| limits.table_elements = 5.into()),
        ("instances", |limits| limits.instances = 5.into()),
        ("fuel", |limits| limits.fuel = Fuel::new(5).unwrap().into()),
    ];

    for (name, change) in fixed {
        let refused = sandbox.update(|limits| {
            // What could change does not, when it comes with what cannot.
            limits.deadline = Duration::from_millis(1).into();
            change(limits);
        });
        assert_eq!(refused, Err(LimitError::Fixed { name }));
    }
    let zero = sandbox.update(|limits| limits.cpu_time = Duration::ZERO.into());
    let small = sandbox.update(|limits| limits.memory = Bytes::kib(1).into());

    assert_eq!(zero, Err(LimitError::Zero { name: "cpu_time" }));
    assert!(matches!(small, Err(LimitError::MemoryTooSmall { .. })), "{small:?}");
    until("20 ms to pass", || Duration::from_millis(20) < sandbox.stats().elapsed).await;
    assert!(!sandbox.has_ended());
    sandbox.kill();
    end_of(&sandbox).await;
    let events = all_of(sandbox.events()).await;
    assert!(!events.contains(&Event::Updated), "{events:?}");
}

// --- Ends and events.

#[tokio::test(flavor = "multi_thread")]
async fn events_come_in_order_and_also_to_one_who_asks_late() {
    let service = Service::new(1);
    service.bench.file("data/a.txt", "a");
    let spec = spec(Limits::default()).stdin(Input::Stream).stdout(Output::Stream);
    // Without a grant, the first directory is the empty root.
    let sandbox = service.launch(ASK_FOR_FILE, spec).await;
    let early = sandbox.events();

    let (mut stdin, mut stdout) = (sandbox.stdin().unwrap(), sandbox.stdout().unwrap());
    stdin.write_all(b"?").await.unwrap();
    assert_eq!(stdout.read_u8().await.unwrap(), b'n');
    sandbox.update(|limits| limits.deadline = Duration::from_mins(1).into()).unwrap();
    assert_eq!(sandbox.stop(PATIENCE).await.unwrap(), Exit::Exited(0));

    let call = sandbox.record().await.unwrap().denials[0].call;
    let (path, refusal) = ("/a.txt".to_owned(), Refusal::NotGranted);
    let denial = aril::Denial { path, refusal, call, named: false, passed: false };
    let expected = [
        Event::Started,
        Event::Denied(denial.clone()),
        Event::Updated,
        Event::Stopping,
        Event::Ended(Exit::Exited(0)),
    ];
    assert_eq!(all_of(early).await, expected);
    assert_eq!(all_of(sandbox.events()).await, expected);
    assert_eq!(sandbox.record().await.unwrap().denials, [denial]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_is_the_last_event_whatever_is_asked_afterwards() {
    let service = Service::new(1);
    let spec = spec(Limits::default()).stdin(Input::Bytes(Vec::new()));
    let sandbox = service.launch(CAT, spec).await;
    let end = Exit::Exited(5);
    assert_eq!(end_of(&sandbox).await, end);

    assert_eq!(sandbox.stop(Duration::ZERO).await.unwrap(), end);
    sandbox.kill();
    sandbox.update(|limits| limits.deadline = Duration::from_millis(1).into()).unwrap();

    assert_eq!(end_of(&sandbox).await, end);
    assert_eq!(all_of(sandbox.events()).await, [Event::Started, Event::Ended(end)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_order_to_end_counts() {
    let service = Service::new(1);
    let sandbox = service.launch(SPIN, spec(Limits::default())).await;

    sandbox.kill();
    let stopped = sandbox.stop(Duration::ZERO).await.unwrap();

    assert_eq!(stopped, Exit::Killed(9));
    let waits = tokio::join!(sandbox.wait(), sandbox.wait(), sandbox.wait());
    assert_eq!(waits.0.unwrap(), Exit::Killed(9));
    assert_eq!(waits.2.unwrap(), Exit::Killed(9));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_hears_its_input_end_has_its_grace_and_one_that_does_not_is_stopped() {
    let service = Service::new(2);
    let cat = service.launch(CAT, spec(Limits::default()).stdin(Input::Stream)).await;
    let spin = service.launch(SPIN, spec(Limits::default())).await;

    let at = Instant::now();
    let heard = cat.stop(PATIENCE).await.unwrap();
    let heard_after = at.elapsed();
    let at = Instant::now();
    let deaf = spin.stop(Duration::from_millis(100)).await.unwrap();

    assert_eq!((heard, deaf), (Exit::Exited(5), Exit::Stopped));
    assert!(heard_after < PATIENCE / 2, "{heard_after:?}");
    assert!(Duration::from_millis(100) <= at.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_nobody_holds_ends() {
    let service = Service::new(2);
    let spin = service.launch(SPIN, spec(Limits::default())).await;
    let sleep = SandboxSpec::new("guest").arg("x".repeat(36_000));
    let sleep = service.launch(SLEEP, sleep).await;
    let events = [spin.events(), sleep.events()];
    until("both to run", || {
        spin.stats().first_instruction.is_some() && sleep.stats().first_instruction.is_some()
    })
    .await;
    assert_eq!(service.runtime.alive(), 2);

    drop(spin);
    drop(sleep);

    until("both to end", || service.runtime.alive() == 0).await;
    for events in events {
        assert_eq!(all_of(events).await, [Event::Started, Event::Ended(Exit::Killed(9))]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_whose_runtime_is_gone_can_still_be_ended() {
    let service = Service::new(2);
    let sandbox = service.launch(SPIN, spec(Limits::default())).await;

    drop(service);
    let stopped = sandbox.stop(Duration::from_millis(20)).await.unwrap();

    assert_eq!(stopped, Exit::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_is_blocked_in_a_file_call_ends_at_its_deadline() {
    let service = Service::new(1);
    let folder = service.bench.path().join("data");
    std::fs::create_dir(&folder).unwrap();
    let pipe = folder.join("a.txt");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let grant = Directory::open(&folder, "/data", Access::ReadOnly).unwrap();
    let limits = Limits { deadline: Duration::from_millis(200).into(), ..Limits::default() };
    let spec = spec(limits).directory(grant).stdin(Input::Bytes(vec![b'?']));

    let sandbox = service.launch(ASK_FOR_FILE, spec).await;
    let end = tokio::time::timeout(PATIENCE, sandbox.wait()).await;

    // The call that has begun is left behind: a writer lets it go, so that this test ends.
    let writer = tokio::task::spawn_blocking(move || {
        std::fs::OpenOptions::new().read(true).write(true).open(pipe).unwrap()
    });
    assert_eq!(end.unwrap().unwrap(), Exit::Deadline);
    assert!(sandbox.stats().elapsed < Duration::from_secs(2), "{:?}", sandbox.stats());
    drop(writer.await.unwrap());
}

// --- Streams.

#[tokio::test(flavor = "multi_thread")]
async fn streams_go_both_ways_and_a_slow_reader_makes_the_guest_wait() {
    const SIZE: usize = 1 << 20;
    let service = Service::new(1);
    let spec = spec(Limits::default()).stdin(Input::Stream).stdout(Output::Stream);
    let sandbox = service.launch(CAT, spec).await;
    let (mut stdin, mut stdout) = (sandbox.stdin().unwrap(), sandbox.stdout().unwrap());
    assert!(sandbox.stdin().is_none() && sandbox.stdout().is_none(), "each can be taken once");
    assert!(sandbox.stderr().is_none(), "what was not asked for is not there");
    let sent: Vec<u8> = (0..SIZE).map(|i| u8::try_from(i % 251).unwrap()).collect();

    let writing = sent.clone();
    let writer = tokio::spawn(async move { stdin.write_all(&writing).await.unwrap() });
    let mut first = vec![0; 1000];
    stdout.read_exact(&mut first).await.unwrap();
    // The guest is not ahead of its reader by more than the streams hold.
    let ahead = sandbox.stats().bytes_out;
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).await.unwrap();
    writer.await.unwrap();

    assert!(ahead < 400_000, "it was {ahead} bytes ahead");
    assert_eq!(first, sent[..1000]);
    assert_eq!(rest, sent[1000..]);
    assert_eq!(end_of(&sandbox).await, Exit::Exited(5));
    let stats = sandbox.stats();
    assert_eq!((stats.bytes_in, stats.bytes_out), (SIZE as u64, SIZE as u64));
}

#[tokio::test(flavor = "multi_thread")]
async fn captured_output_is_bounded_also_where_nobody_asked() {
    let service = Service::new(2);
    let flood = service.prepare(FLOOD).await;
    let limits = Limits { output: Bytes::new(1000).into(), ..Limits::default() };

    let by_default = spec(Limits::default()).stdout(Output::Capture);
    let by_default = service.runtime.launch(&flood, by_default).await.unwrap();
    let asked = spec(limits).stdout(Output::Capture);
    let asked = service.runtime.launch(&flood, asked).await.unwrap();

    assert_eq!(end_of(&by_default).await, Exit::Output);
    assert_eq!(by_default.captured().len(), 16 << 20);
    assert_eq!(end_of(&asked).await, Exit::Output);
    assert_eq!(asked.captured().len(), 1000);
    assert!(asked.captured_error().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_does_not_hang_the_guest() {
    let service = Service::new(1);
    let limits = Limits { deadline: Duration::from_secs(20).into(), ..Limits::default() };
    let spec = spec(limits).stdin(Input::Bytes(vec![1; 1 << 20])).stdout(Output::Stream);
    let sandbox = service.launch(CAT, spec).await;

    drop(sandbox.stdout().unwrap());

    // The guest is told that nobody reads, and aborts of it.
    let end = end_of(&sandbox).await;
    assert!(matches!(end, Exit::Trapped(_)), "{end}");
}

// --- What cannot be launched.

#[tokio::test(flavor = "multi_thread")]
async fn a_program_without_roles_is_told_what_to_do() {
    let bench = Bench::new();
    let guest = bench.file("guest.wat", SPIN);

    let runtime = Runtime::open(bench.cache()).unwrap();
    let error = runtime.prepare(guest).await.unwrap_err();

    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        cause.contains("aril::roles()") && cause.contains("RuntimeBuilder::program"),
        "{cause}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_is_the_runtimes_and_another_is_refused() {
    let bench = Bench::with_shared_cache();
    let guest = bench.file("guest.wat", "(module (func $f (export \"_start\") (call $f)))");
    let runtime = Runtime::builder(bench.cache()).program(aril_path()).sandboxes_max(2);
    let runtime = runtime.stack(Bytes::kib(256)).open().unwrap();
    let artifact = runtime.prepare(guest).await.unwrap();
    let stack = |stack| Limits { stack, ..Limits::default() };

    let other = runtime.launch(&artifact, spec(stack(Bytes::mib(2).into()))).await.unwrap_err();
    let same = runtime.launch(&artifact, spec(stack(Bytes::kib(256).into()))).await.unwrap();

    assert_eq!(other.kind(), ErrorKind::Denied);
    let cause = std::error::Error::source(&other).unwrap().to_string();
    assert!(cause.contains("RuntimeBuilder::stack") && cause.contains("256 KiB"), "{cause}");
    let Exit::Trapped(trap) = end_of(&same).await else { panic!("it did not trap") };
    assert_eq!(trap.kind, aril::TrapKind::StackOverflow);
    let record = same.record().await.unwrap();
    let hold = record.holds.iter().find(|hold| hold.name == "stack").unwrap();
    assert_eq!((hold.name, hold.amount.as_deref()), ("stack", Some("256 KiB")));
}

// --- The garbage-collected heap.

/// Makes arrays of 64 KiB and keeps them all.
const GC_HOG: &str = r#"(module
  (type $block (array (mut i64)))
  (type $node (struct (field (ref null $node)) (field (ref $block))))
  (func (export "_start") (local $list (ref null $node))
    (loop $l
      (local.set $list
        (struct.new $node (local.get $list) (array.new_default $block (i32.const 8192))))
      (br $l))))"#;

/// Makes arrays of 64 KiB and drops them.
const GC_CHURN: &str = r#"(module
  (type $block (array (mut i64)))
  (func (export "_start") (local $i i32)
    (loop $l
      (drop (array.new_default $block (i32.const 8192)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $l (i32.lt_u (local.get $i) (i32.const 1000))))))"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_garbage_collected_heap_is_in_the_total() {
    let service = Service::new(20);
    let limits = Limits {
        memory: Bytes::mib(16).into(),
        deadline: Duration::from_secs(20).into(),
        ..Limits::default()
    };

    let sandbox = service.launch(GC_HOG, spec(limits)).await;

    let end = end_of(&sandbox).await;
    let stats = sandbox.stats();
    assert_eq!(end, Exit::OutOfMemory(MemoryWall::Meter), "{stats:?}");
    assert!(stats.memory_peak <= Bytes::mib(16), "{stats:?}");
    assert!(Bytes::mib(4) <= stats.memory_peak, "the heap is not counted: {stats:?}");
    assert!(1 <= stats.memory_refusals, "{stats:?}");
}

#[test]
fn the_garbage_collected_heap_is_in_the_total_of_a_process_of_its_own() {
    let bench = Bench::with_shared_cache();
    let guest = bench.file("guest.wat", GC_HOG);

    let flags = ["--memory", "16m", "--deadline", "20s"].map(PathBuf::from);
    let outcome = bench.run([&flags[..], &[guest]].concat()).outcome();

    outcome.expect_code(137).expect_error("ran out of memory");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_collector_frees_can_be_used_again() {
    let service = Service::new(20);
    let limits = Limits {
        memory: Bytes::mib(16).into(),
        deadline: Duration::from_secs(20).into(),
        ..Limits::default()
    };

    // 64 MiB in all, of which one block is alive at a time.
    let sandbox = service.launch(GC_CHURN, spec(limits)).await;

    assert_eq!(end_of(&sandbox).await, Exit::Exited(0), "{:?}", sandbox.stats());
}

// --- Guests of any shape.

#[tokio::test(flavor = "multi_thread")]
async fn a_module_with_more_than_a_pool_is_made_for_runs_all_the_same() {
    let service = Service::new(2);
    let start = "(func (export \"_start\") (drop (memory.grow 1 (i32.const 1))))";
    for parts in
        ["(memory 1) (memory 1)", "(memory 1) (memory 1) (table 1 funcref) (table 2 funcref)"]
    {
        let sandbox =
            service.launch(&format!("(module {parts} {start})"), spec(Limits::default())).await;
        assert_eq!(end_of(&sandbox).await, Exit::Exited(0), "{parts}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_declares_too_much_is_denied_with_both_figures_as_by_the_command() {
    let service = Service::new(2);
    let start = "(func (export \"_start\"))";

    let large = format!("(module (memory i64 1638400) {start})");
    let sandbox = service.launch(&large, spec(Limits::default())).await;
    let Exit::Denied(what) = end_of(&sandbox).await else { panic!("100 GiB were granted") };
    assert!(what.contains("its limit is 1 GiB") && what.contains("in total"), "{what}");

    let table = format!("(module (table 1500000 funcref) {start})");
    let sandbox = service.launch(&table, spec(Limits::default())).await;
    assert!(matches!(end_of(&sandbox).await, Exit::Denied(_)));
    let more = Limits { table_elements: 2_000_000.into(), ..Limits::default() };
    let sandbox = service.launch(&table, spec(more)).await;
    assert_eq!(end_of(&sandbox).await, Exit::Exited(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_room_for_as_many_components_as_for_modules() {
    let Some(guest) = crate::support::guest("component-py.wasm") else { return };
    let service = Service::new(3);
    let artifact = service.runtime.prepare(guest).await.unwrap();
    let spec = || {
        let deadline = Duration::from_secs(20).into();
        spec(Limits { deadline, ..Limits::default() }).stdin(Input::Stream)
    };
    let mut alive = Vec::new();
    for _ in 0..3 {
        alive.push(service.runtime.launch(&artifact, spec()).await.unwrap());
    }
    for sandbox in &alive {
        assert!(matches!(end_of(sandbox).await, Exit::Exited(_)), "{:?}", sandbox.wait().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_of_its_own_needs_a_program_that_serves_it_and_a_shared_one_has_no_walls() {
    let service = Service::new(1);
    let artifact = service.prepare(SPIN).await;
    let reason_of = async |runtime: &Runtime, spec| {
        let error = runtime.launch(&artifact, spec).await.unwrap_err();
        let aril::Error::Launch { source: LaunchError::Isolation { reason }, .. } = &error else {
            panic!("{error:?}")
        };
        reason.clone()
    };

    let alone = Runtime::open(service.bench.cache()).unwrap();
    let apart = spec(Limits::default()).isolation(aril::Isolation::Process);
    let reason = reason_of(&alone, apart).await;
    assert!(reason.contains("aril::roles()") && reason.contains("program"), "{reason}");

    let walls = aril::Walls::ALL.with(aril::Wall::Seccomp, aril::Need::Required);
    let reason = reason_of(&service.runtime, spec(Limits::default()).walls(walls)).await;
    assert!(reason.contains("`seccomp`") && reason.contains("Isolation::Process"), "{reason}");
    let reason = reason_of(&service.runtime, spec(Limits::default()).require_cgroup()).await;
    assert!(reason.contains("control group"), "{reason}");
}

// --- The process's own input.

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_reads_the_input_of_the_process_keeps_nobody_waiting() {
    let (silent, _writer) = std::io::pipe().unwrap();
    // This test has a process to itself, or shares it with none that reads.
    rustix::stdio::dup2_stdin(&silent).unwrap();
    let service = Service::new(3);
    let cat = service.prepare(CAT).await;
    let launch = async |deadline: Limit<Duration>| {
        let spec = spec(Limits { deadline, ..Limits::default() }).stdin(Input::Inherit);
        service.runtime.launch(&cat, spec).await.unwrap()
    };
    let launched = async |deadline| {
        tokio::time::timeout(PATIENCE, launch(deadline)).await.expect("launching it waited")
    };

    let late = launched(Duration::from_millis(100).into()).await;
    assert_eq!(end_of(&late).await, Exit::Deadline);
    let stopped = launched(Limit::Default).await;
    let stopping = tokio::time::timeout(PATIENCE, stopped.stop(PATIENCE));
    assert_eq!(stopping.await.expect("it was not told").unwrap(), Exit::Exited(5));
    let killed = launched(Limit::Default).await;
    killed.kill();
    assert_eq!(end_of(&killed).await, Exit::Killed(9));
}

// --- Changes that are heard while a guest waits.

#[tokio::test(flavor = "multi_thread")]
async fn a_share_that_is_raised_is_felt_by_a_guest_that_waits_for_the_old_one() {
    let service = Service::new(2);
    let spin = service.prepare(SPIN).await;
    // After its first millisecond, it owes most of a second.
    let limits = Limits { cpus: Cpus::MIN.into(), ..Limits::default() };
    let raised = service.runtime.launch(&spin, spec(limits)).await.unwrap();
    until("its first turn", || Duration::ZERO < raised.stats().cpu_time).await;
    let before = (Instant::now(), raised.stats().cpu_time);

    raised.update(|limits| limits.cpus = Limit::Unlimited).unwrap();

    until("it to go on", || before.1 + Duration::from_millis(20) < raised.stats().cpu_time).await;
    assert!(before.0.elapsed() < Duration::from_millis(600), "{:?}", before.0.elapsed());

    // And so is a limit below what it has used.
    let cut = service.runtime.launch(&spin, spec(limits)).await.unwrap();
    until("its first turn", || Duration::ZERO < cut.stats().cpu_time).await;
    let before = Instant::now();
    cut.update(|limits| limits.cpu_time = Duration::from_millis(1).into()).unwrap();
    if Duration::from_millis(1) <= cut.stats().cpu_time {
        assert_eq!(end_of(&cut).await, Exit::CpuTime);
        assert!(before.elapsed() < Duration::from_millis(600), "{:?}", before.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_can_be_made_smaller_while_a_guest_runs() {
    let service = Service::new(1);
    let sandbox = service.launch(SPIN, spec(Limits::default())).await;
    until("it to run", || Duration::from_millis(5) < sandbox.stats().cpu_time).await;

    sandbox.update(|limits| limits.cpus = "0.01".parse::<Cpus>().unwrap().into()).unwrap();

    let from = (sandbox.stats().elapsed, sandbox.stats().cpu_time);
    until("half a second", || from.0 + Duration::from_millis(500) < sandbox.stats().elapsed).await;
    let got = sandbox.stats().cpu_time.saturating_sub(from.1);
    assert!(got < Duration::from_millis(30), "it got {got:?} of half a second");
    sandbox.kill();
    let holds = sandbox.record().await.unwrap().holds;
    let cpus = holds.into_iter().find(|hold| hold.name == "cpus").unwrap();
    assert_eq!(cpus.amount.as_deref(), Some("0.01"), "the record tells the limit of now");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_files_than_there_is_room_for_are_refused_on_a_live_sandbox() {
    let service = Service::new(1);
    let sandbox = service.launch(SPIN, spec(Limits::default())).await;
    let refused = sandbox.update(|limits| limits.open_files = 100_000.into()).unwrap_err();
    assert!(matches!(refused, LimitError::NoRung { name: "open_files", .. }), "{refused}");
    assert!(refused.to_string().contains("launch it with a higher limit"), "{refused}");
}
