//! Native containers are made, seen, stopped and removed by the `runc` of this machine.

mod faults;

use std::fs;
use std::fs::File;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::pipe;

use super::*;
use crate::platform::traces;

/// Long enough for a machine with much to do.
const LIMIT: Duration = Duration::from_secs(20);

const TERM: i32 = 15;
const KILL: i32 = 9;

/// Says aloud that a test was skipped, or fails where nothing may be.
#[expect(clippy::print_stdout, reason = "what a test says is shown to who runs it")]
fn skip(reason: &str) {
    let required = std::env::var("ARIL_TEST_REQUIRE").is_ok_and(|value| value == "all");
    assert!(!required, "required, and missing: {reason}");
    println!("SKIPPED: {reason}");
}

/// A folder with bundles, and where `runc` keeps its state.
struct Bed {
    folder: tempfile::TempDir,
    busybox: PathBuf,
    runc: Runc,
}

impl Bed {
    /// Nothing, said aloud, where no containers can be made.
    fn new() -> Option<Self> {
        if !traces::is_root() {
            skip("this user is not root, as whom containers are made");
            return None;
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let find = |program: &str| {
            let found = std::env::split_paths(&path).map(|folder| folder.join(program));
            let found = found.into_iter().find(|file| file.is_file());
            if found.is_none() {
                skip(&format!("`{program}` is not installed"));
            }
            found
        };
        find("runc")?;
        let busybox = find("busybox")?;
        be_reaper().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let runc = Runc::new(folder.path().join("state"));
        Some(Self { folder, busybox, runc })
    }

    /// A bundle whose program is a line of the shell's.
    fn bundle(&self, id: &str, line: &str, change: impl FnOnce(&mut Value)) -> PathBuf {
        let bundle = self.folder.path().join(id);
        for folder in ["bin", "proc", "dev"] {
            fs::create_dir_all(bundle.join("rootfs").join(folder)).unwrap();
        }
        fs::copy(&self.busybox, bundle.join("rootfs/bin/busybox")).unwrap();
        let mut config = json!({
            "ociVersion": "1.0.2",
            "process": process(line),
            "root": { "path": "rootfs", "readonly": true },
            "mounts": [
                { "destination": "/proc", "type": "proc", "source": "proc" },
                { "destination": "/dev", "type": "tmpfs", "source": "tmpfs" },
                {
                    "destination": "/dev/pts", "type": "devpts", "source": "devpts",
                    "options": ["newinstance", "ptmxmode=0666"]
                }
            ],
            "linux": {
                "namespaces": [
                    { "type": "pid" }, { "type": "mount" }, { "type": "ipc" }, { "type": "uts" }
                ]
            }
        });
        change(&mut config);
        fs::write(bundle.join("config.json"), config.to_string()).unwrap();
        bundle
    }

    /// Makes a container that writes into a file.
    async fn create(&self, id: &str, line: &str) -> Native {
        self.create_with(id, line, |_| ()).await
    }

    async fn create_with(&self, id: &str, line: &str, change: impl FnOnce(&mut Value)) -> Native {
        let bundle = self.bundle(id, line, change);
        let streams = Streams {
            stdout: Some(File::create(self.output_path(id)).unwrap()),
            ..Streams::default()
        };
        within(Native::create(&self.runc, id, &bundle, streams)).await.unwrap()
    }

    fn output_path(&self, id: &str) -> PathBuf {
        self.folder.path().join(format!("{id}.out"))
    }

    fn output(&self, id: &str) -> String {
        fs::read_to_string(self.output_path(id)).unwrap()
    }

    /// Fails where something is left of containers.
    #[track_caller]
    fn expect_nothing_left(&self, ids: &[&str]) {
        let state: Vec<_> = fs::read_dir(&self.runc.root).unwrap().collect();
        assert!(state.is_empty(), "{state:?}");
        for id in ids {
            assert_eq!(traces::groups(id), Vec::<PathBuf>::new());
        }
        assert_eq!(traces::mounts_in(self.folder.path()), Vec::<String>::new());
        for id in ids {
            let entries = fs::read_dir(self.folder.path().join(id)).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            names.retain(|name| name != "init.pid");
            names.sort();
            assert_eq!(names, ["config.json", "rootfs"]);
        }
    }
}

/// A test that failed leaves no containers.
impl Drop for Bed {
    fn drop(&mut self) {
        for entry in fs::read_dir(&self.runc.root).into_iter().flatten().flatten() {
            let mut delete = Command::new(&self.runc.program);
            delete.arg("--root").arg(&self.runc.root).args(["delete", "--force"]);
            _ = delete.arg(entry.file_name()).status();
        }
    }
}

/// The process of a configuration.
fn process(line: &str) -> Value {
    json!({
        "args": ["/bin/busybox", "sh", "-c", line],
        "cwd": "/",
        "env": ["PATH=/bin"],
        "user": { "uid": 0, "gid": 0 }
    })
}

/// Fails where something takes too long.
async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, what).await.expect("it takes too long")
}

/// Waits until something is so.
#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    let started = Instant::now();
    let what = what.to_owned();
    async move {
        while !is_so() {
            assert!(started.elapsed() < LIMIT, "waited in vain for: {what} ({caller})");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

async fn end(native: &Native) -> Ended {
    native.kill(KILL, false).await.unwrap();
    let ended = within(native.wait()).await;
    within(native.delete()).await.unwrap();
    ended
}

#[tokio::test]
async fn a_container_runs_when_it_is_started_and_everybody_who_waits_is_told_its_code() {
    let Some(bed) = Bed::new() else { return };
    let native = bed.create("native-code", "echo said; exit 7").await;
    assert_eq!((bed.output("native-code").as_str(), native.process().ended()), ("", None));
    assert!(traces::is_there(native.pid()));
    let (first, second, started) =
        within(async { tokio::join!(native.wait(), native.wait(), native.start()) }).await;
    started.unwrap();
    assert_eq!((first.status, first), (7, second));
    assert_eq!(bed.output("native-code"), "said\n");
    within(native.delete()).await.unwrap();
    let error = native.delete().await.unwrap_err();
    assert!(matches!(error, NativeError::Gone { .. }), "{error}");
    assert!(!traces::is_there(native.pid()));
    bed.expect_nothing_left(&["native-code"]);
}

#[tokio::test]
async fn a_container_is_killed_and_neither_deleted_before_nor_killed_again() {
    let Some(bed) = Bed::new() else { return };
    let line = "trap 'exit 3' TERM; echo ready; while :; do busybox sleep 0.01; done";
    let native = bed.create("native-kill", line).await;
    native.start().await.unwrap();
    until("its trap", || bed.output("native-kill") == "ready\n").await;
    let error = native.delete().await.unwrap_err();
    assert!(matches!(error, NativeError::Running { .. }), "{error}");
    let error = native.start().await.unwrap_err();
    assert!(matches!(error, NativeError::Refused { verb: "start", .. }), "{error}");
    let error = native.kill(99, false).await.unwrap_err();
    assert!(matches!(error, NativeError::Signal { signal: 99, .. }), "{error}");

    native.kill(TERM, false).await.unwrap();
    assert_eq!(within(native.wait()).await.status, 3);
    for all in [false, true] {
        let error = native.kill(KILL, all).await.unwrap_err();
        assert!(matches!(error, NativeError::NotRunning { .. }), "{error}");
    }
    let late = process("true").to_string().into_bytes();
    let error = native.exec("late", &late, Streams::default()).await.unwrap_err();
    assert!(matches!(error, NativeError::NotRunning { .. }), "{error}");
    within(native.delete()).await.unwrap();

    // One that never ran as well.
    let native = bed.create("native-kill", "true").await;
    assert_eq!(end(&native).await.status, 137);
    let native = bed.create("native-kill", "busybox sleep 1000").await;
    native.start().await.unwrap();
    native.kill(KILL, true).await.unwrap();
    assert_eq!(within(native.wait()).await.status, 137);
    within(native.delete()).await.unwrap();
    bed.expect_nothing_left(&["native-kill"]);
}

#[tokio::test]
async fn processes_beside_the_first_have_streams_and_ends_of_their_own() {
    let Some(bed) = Bed::new() else { return };
    let native = bed.create("native-exec", "exec busybox sleep 1000").await;
    let stopped = native.exec("early", b"{}", Streams::default()).await.unwrap_err();
    assert!(matches!(stopped, NativeError::Refused { verb: "exec", .. }), "{stopped}");
    native.start().await.unwrap();

    let (input, output) = (bed.folder.path().join("in"), bed.folder.path().join("out"));
    for fifo in [&input, &output] {
        traces::make_fifo(fifo);
    }
    let mut heard = pipe::OpenOptions::new().open_receiver(&output).unwrap();
    let streams = Streams::fifos(Some(&input), Some(&output), None, false).unwrap();
    let spec = process("while read line; do echo got $line; done; exit 5").to_string();
    let reader = within(native.exec("../reader", spec.as_bytes(), streams)).await.unwrap();
    let mut typed = pipe::OpenOptions::new().open_sender(&input).unwrap();
    typed.write_all(b"one\n").await.unwrap();
    let mut block = [0; 64];
    let length = within(heard.read(&mut block)).await.unwrap();
    assert_eq!(&block[..length], b"got one\n");
    assert_eq!(native.pids().unwrap(), [native.pid(), reader.pid()]);

    // An engine that goes away and comes again ends nothing.
    drop((typed, heard));
    let mut heard = pipe::OpenOptions::new().open_receiver(&output).unwrap();
    let mut typed = pipe::OpenOptions::new().open_sender(&input).unwrap();
    typed.write_all(b"two\n").await.unwrap();
    let length = within(heard.read(&mut block)).await.unwrap();
    assert_eq!(&block[..length], b"got two\n");
    drop(typed);
    assert_eq!(reader.ended(), None);
    reader.close_stdin();
    assert_eq!(within(reader.wait()).await.status, 5);
    within(reader.close()).await;
    assert_eq!(within(heard.read(&mut block)).await.unwrap(), 0);

    // By any signal, also by one without a name.
    for (signal, status) in [(KILL, 137), (40, 168)] {
        let sleeper = process("exec busybox sleep 1000").to_string().into_bytes();
        let sleeper = within(native.exec("two", &sleeper, Streams::default())).await.unwrap();
        // It is the program that is to be signalled, and not yet what becomes it.
        until("the program", || traces::command(sleeper.pid()).contains("sleep\x001000")).await;
        sleeper.signal(signal).unwrap();
        assert_eq!(within(sleeper.wait()).await.status, status);
        let error = sleeper.signal(KILL).unwrap_err();
        assert!(matches!(error, NativeError::NotRunning { .. }), "{error}");
    }

    let none = json!({ "args": ["/no/such"], "cwd": "/", "user": { "uid": 0, "gid": 0 } });
    let none = none.to_string().into_bytes();
    let error = native.exec("none", &none, Streams::default()).await.unwrap_err();
    assert!(error.to_string().contains("/no/such"), "{error}");

    // It ends with the container.
    let last = process("exec busybox sleep 1000").to_string().into_bytes();
    let last = within(native.exec("last", &last, Streams::default())).await.unwrap();
    assert_eq!(end(&native).await.status, 137);
    assert_eq!(within(last.wait()).await.status, 137);
    bed.expect_nothing_left(&["native-exec"]);
}

/// Reads until it has heard a text.
async fn hear(from: &mut pipe::Receiver, text: &str) -> String {
    let mut heard = Vec::new();
    let listening = async {
        while !String::from_utf8_lossy(&heard).contains(text) {
            let mut block = [0; 256];
            let length = from.read(&mut block).await.unwrap();
            assert_ne!(length, 0, "{text:?} is not in {:?}", String::from_utf8_lossy(&heard));
            heard.extend_from_slice(&block[..length]);
        }
    };
    within(listening).await;
    String::from_utf8(heard).unwrap()
}

#[tokio::test]
async fn a_container_has_a_terminal_that_is_typed_at_and_has_a_size() {
    let Some(bed) = Bed::new() else { return };
    let line = "busybox tty; read line; busybox stty size; echo bye; exit 4";
    // Longer than the kernel takes names of sockets.
    let id = format!("native-terminal-{}", "x".repeat(100));
    let bundle = bed.bundle(&id, line, |config| config["process"]["terminal"] = true.into());
    let (input, output) = (bed.folder.path().join("in"), bed.folder.path().join("out"));
    for fifo in [&input, &output] {
        traces::make_fifo(fifo);
    }
    let mut heard = pipe::OpenOptions::new().open_receiver(&output).unwrap();
    let streams = Streams::fifos(Some(&input), Some(&output), None, true).unwrap();
    let native = within(Native::create(&bed.runc, &id, &bundle, streams)).await.unwrap();
    native.start().await.unwrap();
    hear(&mut heard, "/dev/pts/0\r\n").await;
    native.process().resize(91, 17).unwrap();
    let mut typed = pipe::OpenOptions::new().open_sender(&input).unwrap();
    typed.write_all(b"hello\n").await.unwrap();
    let said = hear(&mut heard, "bye\r\n").await;
    assert_eq!(said, "hello\r\n17 91\r\nbye\r\n");
    assert_eq!(within(native.wait()).await.status, 4);

    within(native.delete()).await.unwrap();
    let mut rest = Vec::new();
    within(heard.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"");
    let error = native.process().resize(1, 1).unwrap_err();
    assert!(matches!(error, NativeError::NoTerminal { .. }), "{error}");
    bed.expect_nothing_left(&[&id]);
}

#[tokio::test]
async fn output_that_nobody_reads_keeps_no_container_from_being_killed_and_deleted() {
    let Some(bed) = Bed::new() else { return };
    let output = bed.folder.path().join("out");
    traces::make_fifo(&output);
    for terminal in [false, true] {
        let bundle = bed.bundle("native-flood", "exec busybox yes flood", |config| {
            config["process"]["terminal"] = terminal.into();
        });
        let streams = Streams::fifos(None, Some(&output), Some(&output), terminal).unwrap();
        let native =
            within(Native::create(&bed.runc, "native-flood", &bundle, streams)).await.unwrap();
        native.start().await.unwrap();
        let mut heard = pipe::OpenOptions::new().open_receiver(&output).unwrap();
        hear(&mut heard, "flood").await;
        // Until it waits for a reader, or nearly.
        until("the FIFO to be full", || 32 << 10 < traces::unread(&heard)).await;
        let started = Instant::now();
        assert_eq!(end(&native).await.status, 137);
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    }
    bed.expect_nothing_left(&["native-flood"]);
}

#[tokio::test]
async fn what_is_no_fifo_is_opened_as_none() {
    let folder = tempfile::tempdir().unwrap();
    let (file, link) = (folder.path().join("file"), folder.path().join("link"));
    fs::write(&file, "kept").unwrap();
    traces::make_fifo(&link);
    for path in [&file, &folder.path().join("missing")] {
        for streams in [
            Streams::fifos(Some(path), None, None, false),
            Streams::fifos(None, Some(path), None, true),
            Streams::fifos(None, None, Some(path), false),
        ] {
            let error = streams.unwrap_err();
            assert!(matches!(error, NativeError::Stream { .. }), "{error}");
        }
    }
    assert_eq!(fs::read(&file).unwrap(), b"kept");
}

#[tokio::test]
async fn figures_and_limits_of_a_container_are_read_and_set_while_it_runs_or_rests() {
    let Some(bed) = Bed::new() else { return };
    let native = bed.create("native-figures", "while :; do :; done").await;
    native.start().await.unwrap();
    let used = |native: &Native| match native.stats().unwrap() {
        Usage::V1(metrics) => {
            (metrics.cpu.usage.total, metrics.memory.usage.limit, metrics.pids.limit)
        }
        Usage::V2(metrics) => {
            (metrics.cpu.usage_usec * 1000, metrics.memory.usage_limit, metrics.pids.limit)
        }
    };
    until("some work", || 10_000_000 < used(&native).0).await;
    assert_eq!(native.pids().unwrap(), [native.pid()]);

    let limits = json!({ "memory": { "limit": 64 << 20 }, "pids": { "limit": 9 } });
    native.update(limits.to_string().as_bytes()).await.unwrap();
    let (_, memory, pids) = used(&native);
    assert_eq!((memory, pids), (64 << 20, 9));
    let error = native.update(b"no json").await.unwrap_err();
    assert!(matches!(error, NativeError::Refused { verb: "update", .. }), "{error}");

    native.pause().await.unwrap();
    let before = used(&native).0;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(used(&native).0, before);
    native.resume().await.unwrap();
    until("more work", || before + 1_000_000 < used(&native).0).await;
    // One that rests dies all the same.
    native.pause().await.unwrap();
    assert_eq!(end(&native).await.status, 137);
    for error in [native.stats().unwrap_err(), native.pids().unwrap_err()] {
        assert!(matches!(error, NativeError::NotRunning { .. }), "{error}");
    }
    bed.expect_nothing_left(&["native-figures"]);
}

#[tokio::test]
async fn a_container_that_the_kernel_kills_for_its_memory_is_told_of() {
    let Some(bed) = Bed::new() else { return };
    let native = bed
        .create_with(
            "native-memory",
            "busybox tail /dev/zero; echo $?; exec busybox tail /dev/zero",
            |config| {
                // Its memory on disk would be a long way to the limit.
                let memory = json!({ "limit": 16 << 20, "swap": 16 << 20 });
                config["linux"]["resources"] = json!({ "memory": memory });
            },
        )
        .await;
    let told = async {
        let first = native.out_of_memory().await;
        // The two may be seen as one.
        if first < 2 { native.out_of_memory().await } else { first }
    };
    let (kills, started) = within(async { tokio::join!(told, native.start()) }).await;
    started.unwrap();
    let ended = within(native.wait()).await;
    assert_eq!((ended.status, ended.memory_kills, kills), (137, 2, 2));
    assert_eq!(bed.output("native-memory"), "137\n");
    within(native.delete()).await.unwrap();
    let more = tokio::time::timeout(Duration::from_millis(50), native.out_of_memory()).await;
    assert!(more.is_err(), "{more:?}");
    bed.expect_nothing_left(&["native-memory"]);
}
