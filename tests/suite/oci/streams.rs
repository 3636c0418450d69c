//! Streams and terminals, as engines hand them over.

use std::fs::File;
use std::io::IoSliceMut;
use std::io::Read as _;
use std::io::Write as _;
use std::mem::MaybeUninit;
use std::os::unix::net::UnixListener;

use rustix::net::RecvAncillaryBuffer;
use rustix::net::RecvAncillaryMessage;
use rustix::net::RecvFlags;
use serde_json::json;

use super::Yard;
use crate::guests::CAT;
use crate::residents::TICK;

/// The near end of the terminal that comes to this socket.
fn terminal(listener: &UnixListener) -> File {
    let (stream, _) = listener.accept().unwrap();
    let mut name = [0; 64];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut along = RecvAncillaryBuffer::new(&mut space);
    let into = &mut [IoSliceMut::new(&mut name)];
    rustix::net::recvmsg(&stream, into, &mut along, RecvFlags::CMSG_CLOEXEC).unwrap();
    let mut files = along.drain().filter_map(|came| match came {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    });
    File::from(files.next().expect("a file"))
}

/// Reads until something was said.
fn read_until(terminal: &mut File, text: &str) {
    let mut said = Vec::new();
    let mut block = [0; 4096];
    while !String::from_utf8_lossy(&said).contains(text) {
        let count = terminal.read(&mut block).unwrap();
        assert!(0 < count, "it ended without `{text}`");
        said.extend_from_slice(&block[..count]);
    }
}

#[test]
fn a_terminal_is_handed_over_and_what_is_typed_interrupts_the_guest() {
    let Some(yard) = Yard::new() else { return };
    let listener = UnixListener::bind(yard.path().join("console")).unwrap();
    yard.bundle_with("web", TICK, |config| {
        config["process"]["terminal"] = json!(true);
        config["process"]["consoleSize"] = json!({ "height": 11, "width": 22 });
    });
    let running = yard.oci("run --bundle web --console-socket console web".split(' ')).start();
    let mut terminal = terminal(&listener);
    // The terminal translates ends of lines.
    read_until(&mut terminal, "tick\r\n");
    let size = rustix::termios::tcgetwinsize(&terminal).unwrap();
    assert_eq!((size.ws_row, size.ws_col), (11, 22));
    terminal.write_all(b"\x03").unwrap();
    running.outcome().expect_code(130).expect_output("");
    yard.assert_nothing_left("web");
}

#[test]
fn an_engine_that_hangs_up_ends_the_guest() {
    let Some(yard) = Yard::new() else { return };
    let listener = UnixListener::bind(yard.path().join("console")).unwrap();
    yard.bundle_with("web", TICK, |config| config["process"]["terminal"] = json!(true));
    let running = yard.oci("run --bundle web --console-socket console web".split(' ')).start();
    let mut terminal = terminal(&listener);
    read_until(&mut terminal, "tick");
    drop(terminal);
    running.outcome().expect_code(129);
    yard.assert_nothing_left("web");
}

#[test]
fn a_terminal_that_nobody_takes_or_nobody_asked_for_is_refused() {
    let Some(yard) = Yard::new() else { return };
    yard.bundle("plain", TICK);
    yard.leaving("create --bundle plain --console-socket console plain", "plain").expect_code(1);
    yard.assert_nothing_left("plain");
    yard.bundle_with("web", TICK, |config| config["process"]["terminal"] = json!(true));
    let refused =
        yard.leaving("create --bundle web --console-socket console web", "web").expect_code(1);
    assert!(refused.stderr.contains("cannot hand the terminal over"), "{refused:?}");
    yard.assert_nothing_left("web");
}

#[test]
fn what_run_reads_and_writes_is_what_the_guest_does() {
    let Some(yard) = Yard::new() else { return };
    yard.bundle("cat", CAT);
    let ended = yard.oci("run --bundle cat cat".split(' ')).input("twelve bytes").outcome();
    ended.expect_code(5).expect_output("twelve bytes");
    yard.assert_nothing_left("cat");
}
