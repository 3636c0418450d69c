//! A sandbox stands still and goes on, in a process of its own and in one that it shares.

use std::time::Duration;

use aril::Bytes;
use aril::Event;
use aril::Exit;
use aril::Input;
use aril::Isolation;
use aril::Limits;
use aril::Output;
use aril::PauseError;
use aril::Runtime;
use aril::Sandbox;
use aril::SandboxSpec;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;

use crate::guests::ASK_FOR_MEMORY;
use crate::guests::CAT;
use crate::guests::SPIN;
use crate::support::Bench;
use crate::support::aril_path;
use crate::waiting::PATIENCE;
use crate::waiting::end_of;
use crate::waiting::until;

const WAYS: [Isolation; 2] = [Isolation::Process, Isolation::Shared];

async fn launch(bench: &Bench, text: &str, spec: SandboxSpec) -> Sandbox {
    let runtime = Runtime::builder(bench.cache()).program(aril_path()).open().unwrap();
    let artifact = runtime.prepare(bench.file("guest.wat", text)).await.unwrap();
    runtime.launch(&artifact, spec).await.unwrap()
}

fn spec(isolation: Isolation) -> SandboxSpec {
    SandboxSpec::new("guest").isolation(isolation)
}

fn streaming(isolation: Isolation) -> SandboxSpec {
    spec(isolation).stdin(Input::Stream).stdout(Output::Stream)
}

/// Waits until this much time of the sandbox has passed from now on.
async fn pass(sandbox: &Sandbox, span: Duration) {
    let then = sandbox.stats().elapsed + span;
    until("time to pass", || then < sandbox.stats().elapsed).await;
}

async fn goes_on(sandbox: &Sandbox) {
    let used = sandbox.stats().cpu_time;
    until("it to go on", || used < sandbox.stats().cpu_time).await;
}

async fn events_of(sandbox: &Sandbox) -> Vec<Event> {
    let (mut events, mut found) = (sandbox.events(), Vec::new());
    while let Some(event) = events.next().await {
        found.push(event);
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_spins_stands_still_until_it_is_resumed() {
    let bench = Bench::with_shared_cache();
    for way in WAYS {
        let sandbox = launch(&bench, SPIN, spec(way)).await;
        goes_on(&sandbox).await;
        assert!(!sandbox.is_paused());

        sandbox.pause().await.unwrap();

        assert!(sandbox.is_paused());
        let used = sandbox.stats().cpu_time;
        pass(&sandbox, Duration::from_millis(50)).await;
        assert_eq!(sandbox.stats().cpu_time, used, "{way:?}: it ran on");
        sandbox.resume().unwrap();
        assert!(!sandbox.is_paused());
        goes_on(&sandbox).await;
        sandbox.kill();
        assert_eq!(end_of(&sandbox).await, Exit::Killed(9));
        let expected =
            [Event::Started, Event::Paused, Event::Resumed, Event::Ended(Exit::Killed(9))];
        assert_eq!(events_of(&sandbox).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_waits_for_input_answers_once_it_is_resumed() {
    let bench = Bench::with_shared_cache();
    for way in WAYS {
        let sandbox = launch(&bench, CAT, streaming(way)).await;
        let (mut input, mut output) = (sandbox.stdin().unwrap(), sandbox.stdout().unwrap());
        sandbox.pause().await.unwrap();
        input.write_all(b"hello").await.unwrap();

        let mut answer = [0; 5];
        let early = tokio::time::timeout(Duration::from_millis(50), output.read(&mut answer)).await;
        assert!(early.is_err(), "{way:?}: it answered while it was paused");

        sandbox.resume().unwrap();
        output.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"hello");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_stands_still_with_it() {
    const DEADLINE: Duration = Duration::from_millis(200);
    const PAUSE: Duration = Duration::from_millis(400);
    let bench = Bench::with_shared_cache();
    let limits = Limits { deadline: DEADLINE.into(), ..Limits::default() };
    for way in WAYS {
        let sandbox = launch(&bench, SPIN, spec(way).limits(limits)).await;
        sandbox.pause().await.unwrap();
        pass(&sandbox, PAUSE).await;
        assert!(!sandbox.has_ended(), "{way:?}: its time went on");

        sandbox.resume().unwrap();

        assert_eq!(end_of(&sandbox).await, Exit::Deadline);
        let stats = sandbox.record().await.unwrap().stats;
        assert!(DEADLINE + PAUSE <= stats.elapsed, "{way:?}: {stats:?}");
        assert!(stats.elapsed < PATIENCE, "{way:?}: {stats:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_one_can_be_killed_and_dropped() {
    let bench = Bench::with_shared_cache();
    for way in WAYS {
        let sandbox = launch(&bench, SPIN, spec(way)).await;
        sandbox.pause().await.unwrap();
        sandbox.kill();
        assert_eq!(end_of(&sandbox).await, Exit::Killed(9));
        assert!(!sandbox.is_paused(), "what has ended does not stand still");

        let sandbox = launch(&bench, SPIN, spec(way)).await;
        let mut events = sandbox.events();
        sandbox.pause().await.unwrap();
        drop(sandbox);
        let mut last = None;
        while let Some(event) = events.next().await {
            last = Some(event);
        }
        assert_eq!(last, Some(Event::Ended(Exit::Killed(9))), "{way:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_one_that_is_stopped_goes_on_for_its_grace() {
    let bench = Bench::with_shared_cache();
    for way in WAYS {
        let sandbox = launch(&bench, CAT, streaming(way)).await;
        let _input = sandbox.stdin().unwrap();
        sandbox.pause().await.unwrap();

        assert_eq!(sandbox.stop(PATIENCE).await.unwrap(), Exit::Exited(5), "{way:?}");

        let expected = [
            Event::Started,
            Event::Paused,
            Event::Resumed,
            Event::Stopping,
            Event::Ended(Exit::Exited(5)),
        ];
        assert_eq!(events_of(&sandbox).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_one_is_changed_and_finds_that_when_it_goes_on() {
    let bench = Bench::with_shared_cache();
    let limits = Limits { memory: Bytes::mib(4).into(), ..Limits::default() };
    for way in WAYS {
        let sandbox = launch(&bench, ASK_FOR_MEMORY, streaming(way).limits(limits)).await;
        let (mut input, mut output) = (sandbox.stdin().unwrap(), sandbox.stdout().unwrap());
        let mut answer = async || {
            input.write_all(b"?").await.unwrap();
            output.read_u8().await.unwrap()
        };
        assert_eq!(answer().await, b'n');

        sandbox.pause().await.unwrap();
        sandbox.update(|limits| limits.memory = Bytes::mib(512).into()).unwrap();
        assert_eq!(sandbox.stats().memory_refusals, 1);
        sandbox.resume().unwrap();

        assert_eq!(answer().await, b'y', "{way:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_by_name() {
    let bench = Bench::with_shared_cache();
    for way in WAYS {
        let sandbox = launch(&bench, SPIN, spec(way)).await;
        assert_eq!(sandbox.resume(), Err(PauseError::NotPaused), "{way:?}");
        sandbox.pause().await.unwrap();
        assert_eq!(sandbox.pause().await, Err(PauseError::Paused), "{way:?}");
        assert!(sandbox.is_paused(), "{way:?}: a pause that was refused resumed it");
        sandbox.kill();
        end_of(&sandbox).await;
        assert_eq!(sandbox.pause().await, Err(PauseError::Ended), "{way:?}");
        assert_eq!(sandbox.resume(), Err(PauseError::Ended), "{way:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_that_is_given_up_leaves_it_running() {
    let bench = Bench::with_shared_cache();
    for way in WAYS {
        let sandbox = launch(&bench, SPIN, spec(way)).await;
        for _ in 0..20 {
            if let Ok(paused) = tokio::time::timeout(Duration::ZERO, sandbox.pause()).await {
                // It was quicker than it could be given up.
                paused.unwrap();
                sandbox.resume().unwrap();
            }
            assert!(!sandbox.is_paused());
            goes_on(&sandbox).await;
        }
    }
}
