//! Whoever speaks to a keeper, and in whatever way, hurts nobody.

use std::io::Read as _;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;
use std::time::Instant;

use super::AT_ONCE;
use super::Den;
use super::TICK;

fn connect(den: &Den, id: &str) -> UnixStream {
    let stream = UnixStream::connect(den.place(id).join("control")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

/// A message as a keeper takes it.
fn message(text: &str) -> Vec<u8> {
    [&u32::try_from(text.len()).unwrap().to_le_bytes()[..], text.as_bytes()].concat()
}

fn goes_on(den: &Den, id: &str) {
    let log = den.place(id).join("log");
    let length = || std::fs::metadata(&log).unwrap().len();
    let before = length();
    crate::support::wait_until("the guest to go on", || before < length());
}

#[test]
fn what_makes_no_sense_is_refused_and_forgotten() {
    let den = Den::new();
    let id = den.start("--name one", TICK);
    den.wait_for_log(&id, "tick");
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for bytes in [
        message(""),
        message("{}"),
        message("null"),
        message("\"Sing\""),
        message("{\"Kill\":{\"signal\":\"x\"}}"),
        message("{\"Kill\":{\"signal\":-9}}"),
        message("{\"Update\":7}"),
        message("{\"Exec\":{\"file\":null,\"command\":[]}}"),
        message(&deep),
        vec![0xff; 4],
        u32::MAX.to_le_bytes().to_vec(),
        (2_u32 << 20).to_le_bytes().to_vec(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    ] {
        let mut stream = connect(&den, &id);
        stream.write_all(&bytes).unwrap();
        let mut said = Vec::new();
        // Who is refused early may be cut off.
        _ = stream.read_to_end(&mut said);
        let said = String::from_utf8_lossy(&said);
        assert!(said.is_empty() || said.contains("Refused"), "{bytes:?}: {said}");
    }
    // Half of a message, and nothing more.
    for bytes in [&[][..], &[5], &[5, 0, 0], &[5, 0, 0, 0, b'"'], &[0, 0, 16, 0]] {
        connect(&den, &id).write_all(bytes).unwrap();
    }
    // Frames that make no sense of one who is attached.
    for bytes in [vec![0xff; 4], message("\u{9}x"), message("")] {
        let mut stream = connect(&den, &id);
        stream.write_all(&message("\"Attach\"")).unwrap();
        stream.write_all(&bytes).unwrap();
        _ = stream.read_to_end(&mut Vec::new());
    }
    goes_on(&den, &id);
    assert_eq!(den.status("one"), "running");
    let started = Instant::now();
    den.ok("stop -t 0 one");
    assert!(started.elapsed() < AT_ONCE, "{:?}", started.elapsed());
}

#[test]
fn many_who_say_nothing_hold_up_neither_the_guest_nor_who_comes_after_them() {
    let den = Den::new();
    let id = den.start("--name one", TICK);
    den.wait_for_log(&id, "tick");
    let silent: Vec<_> = (0..300).map(|_| connect(&den, &id)).collect();
    goes_on(&den, &id);
    assert!(den.ok("ps").contains("Up "));
    let busy = den.aril(["pause", "one"]);
    assert!(busy.elapsed < Duration::from_secs(30), "{busy:?}");
    drop(silent);
    den.ok("update --memory 64m one");
    let started = Instant::now();
    den.ok("stop -t 0 one");
    assert!(started.elapsed() < AT_ONCE, "{:?}", started.elapsed());
}

#[test]
fn those_who_only_watch_or_say_nothing_keep_nobody_from_ordering() {
    let den = Den::new();
    let id = den.start("--name one", TICK);
    den.wait_for_log(&id, "tick");
    den.bench.file("beside.wat", super::ending(3));
    let watching: Vec<_> = (0..256)
        .map(|number| {
            let mut stream = connect(&den, &id);
            let request = ["\"Attach\"", "\"Wait\""][number % 2];
            stream.write_all(&message(request)).unwrap();
            stream
        })
        .collect();
    let silent: Vec<_> = (0..600).map(|_| connect(&den, &id)).collect();
    // Who comes too late to watch is told so.
    let refused = den.aril(["attach", "--no-stdin", "one"]);
    refused.expect_code(125).expect_error("128 watch it or wait for its end already");
    for line in ["pause one", "resume one", "update --memory 64m one", "stats --no-stream one"] {
        let outcome = den.aril(line.split(' ')).expect_code(0);
        assert!(outcome.elapsed < AT_ONCE, "{line}: {outcome:?}");
    }
    den.aril(["exec", "--wasm", "beside.wat", "one"]).expect_code(3);
    // Those who are silent for longest have left.
    let mut said = String::new();
    (&silent[0]).read_to_string(&mut said).unwrap();
    assert!(said.contains("nothing was asked while 64 others came"), "{said}");
    let started = Instant::now();
    den.ok("stop -t 0 one");
    assert!(started.elapsed() < AT_ONCE, "{:?}", started.elapsed());
    drop((watching, silent));

    // Also one that takes its time to stop is killed at once, whoever waits for that.
    let id = den.start("--name two --stop-timeout 1h", TICK);
    let stopping: Vec<_> = (0..100)
        .map(|_| {
            let mut stream = connect(&den, &id);
            stream.write_all(&message("{\"Stop\":{\"grace\":null}}")).unwrap();
            stream
        })
        .collect();
    den.aril(["stop", "two"]).expect_code(1).expect_error("64 wait for that already");
    den.ok("kill two");
    assert_eq!(den.ok("wait two"), "137\n");
    drop(stopping);
}

#[test]
fn who_waits_and_leaves_takes_no_place() {
    let den = Den::new();
    let id = den.start("--name one", TICK);
    for _ in 0..600 {
        connect(&den, &id).write_all(&message("\"Wait\"")).unwrap();
    }
    den.ok("update --memory 64m one");
    let descriptors =
        || std::fs::read_dir(format!("/proc/{}/fd", den.keeper("one"))).unwrap().count();
    crate::support::wait_until("all to be forgotten", || descriptors() < 100);
    goes_on(&den, &id);
    den.ok("stop -t 0 one");
}
