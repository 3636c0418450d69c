//! Terminals of a guest's own, and runs in the foreground that others find.

use std::fs;
use std::fs::File;
use std::io::Read as _;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::process::Child;
use std::process::Command;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

use rustix::pty::OpenptFlags;
use rustix::termios::LocalModes;
use rustix::termios::Winsize;

use crate::guests::CAT;
use crate::guests::FLOOD;
use crate::guests::SPIN;
use crate::support::Bench;
use crate::support::Run;
use crate::support::children_of;
use crate::support::signal;
use crate::support::wait_until;

use super::AT_ONCE;
use super::Den;
use super::TICK;
use super::ending;
use super::writing;

/// A guest that ends with the kind of its standard output, in the numbers of WASI: 2 is a terminal.
const KIND: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $stat (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (drop (call $stat (i32.const 1) (i32.const 104))) (call $exit (i32.load8_u (i32.const 104)))))"#;

/// A guest that says `said`, and ends with this code.
fn says(code: i32) -> String {
    format!(
        r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1) (data (i32.const 100) "said\n")
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 100)) (i32.store (i32.const 4) (i32.const 5))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 52)))
    (call $exit (i32.const {code}))))"#
    )
}

/// Somebody at a terminal, and the program that runs there.
struct Seat {
    near: File,
    shown: Arc<Mutex<Vec<u8>>>,
    program: Child,
}

impl Seat {
    /// Starts a program at a terminal of its own, which tells it of its size.
    fn new(run: Run) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let near = rustix::pty::openpt(flags).unwrap();
        rustix::pty::unlockpt(&near).unwrap();
        let far = rustix::pty::ioctl_tiocgptpeer(&near, flags).unwrap();
        let near = File::from(near);
        let mut session = Command::new("setsid");
        session.arg("--ctty");
        let mut command = run.within(session).command;
        let end = || OwnedFd::try_clone(&far).unwrap();
        let program = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        drop((far, command));
        let shown = Arc::<Mutex<Vec<u8>>>::default();
        let (mut from, into) = (near.try_clone().unwrap(), Arc::clone(&shown));
        std::thread::spawn(move || {
            let mut block = [0; 4096];
            // It fails where the program is gone.
            while let Ok(count @ 1..) = from.read(&mut block) {
                into.lock().unwrap().extend_from_slice(&block[..count]);
            }
        });
        let seat = Self { near, shown, program };
        seat.resize(100, 30);
        seat
    }

    fn resize(&self, columns: u16, rows: u16) {
        let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&self.near, size).unwrap();
    }

    fn types(&self, keys: &str) {
        (&self.near).write_all(keys.as_bytes()).unwrap();
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    #[track_caller]
    fn wait_for(&self, text: &str) {
        wait_until(text, || self.shown().contains(text));
    }

    /// Whether the terminal is as it was: it hands on lines, and shows what is typed.
    fn is_as_before(&self) -> bool {
        let modes = rustix::termios::tcgetattr(&self.near).unwrap().local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    #[track_caller]
    fn wait_until_it_is_the_guests(&self) {
        wait_until("the guest to have the terminal", || !self.is_as_before());
    }

    /// Waits for the program's end, which leaves the terminal as it was, and says its code.
    #[track_caller]
    fn code(&mut self) -> Option<i32> {
        let mut code = None;
        wait_until("the program to end", || {
            code = self.program.try_wait().unwrap();
            code.is_some()
        });
        assert!(self.is_as_before(), "{}", self.shown());
        code.unwrap().code()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        _ = self.program.kill();
        _ = self.program.wait();
    }
}

/// Runs a guest at a terminal.
fn seated(den: &Den, flags: &str, guest: &str) -> Seat {
    let name = format!("{:016x}.wat", super::fnv(guest));
    den.bench.file(&name, guest);
    let words = ["run"].into_iter().chain(flags.split_whitespace()).chain([name.as_str()]);
    Seat::new(den.command(words))
}

/// Starts a run in the foreground.
fn foreground(den: &Den, flags: &str, guest: &str) -> Run {
    let name = format!("{:016x}.wat", super::fnv(guest));
    den.bench.file(&name, guest);
    den.command(["run"].into_iter().chain(flags.split_whitespace()).chain([name.as_str()]))
}

#[test]
fn lines_that_are_typed_are_read_and_ctrl_d_ends_the_input() {
    let den = Den::new();
    let mut seat = seated(&den, "-it --rm", CAT);
    seat.wait_until_it_is_the_guests();
    seat.types("hel\x7flo\n");
    // Once as it is typed, and once as it is said.
    seat.wait_for("\r\nhelo\r\n");
    seat.types("\x04");
    assert_eq!(seat.code(), Some(5), "{}", seat.shown());
    den.is_empty("a run with `--rm`");
}

#[test]
fn ctrl_c_ends_it_by_that_signal_and_ctrl_v_takes_it_as_it_is() {
    let den = Den::new();
    for (guest, keys, code) in
        [(SPIN, "x\x03", 130), (CAT, "\x16\x03\n\x03", 130), (SPIN, "\x1c", 131)]
    {
        let mut seat = seated(&den, "-ti --name one --rm", guest);
        seat.wait_until_it_is_the_guests();
        seat.types(keys);
        assert_eq!(seat.code(), Some(code), "{}", seat.shown());
        seat.wait_for(&format!("\r\naril: the guest was ended by signal {}", code - 128));
    }
}

#[test]
fn a_repl_is_interrupted_and_ended_as_people_expect() {
    let Some(python) = crate::support::guest("cpython.wasm") else { return };
    let den = Den::new();
    let python = python.to_str().unwrap();
    for (keys, code) in [("\x04", 0), ("\x03", 130)] {
        let mut seat = Seat::new(den.command(["run", "-it", "--rm", python]));
        seat.wait_for(">>> ");
        seat.types("print(6*7)\n");
        seat.wait_for("\r\n42\r\n");
        seat.types(keys);
        assert_eq!(seat.code(), Some(code), "{}", seat.shown());
    }
}

#[test]
fn who_leaves_by_the_keys_comes_back_to_it() {
    let den = Den::new();
    let mut seat = seated(&den, "-it --name cat", CAT);
    seat.wait_until_it_is_the_guests();
    seat.types("one\n");
    seat.wait_for("\r\none\r\n");
    seat.types("\x10\x11");
    assert_eq!(seat.code(), Some(0), "{}", seat.shown());
    seat.wait_for("aril: it goes on; come back with `aril attach cat`");
    assert_eq!(den.status("cat"), "running");

    let mut again = Seat::new(den.command(["attach", "--detach-keys", "ctrl-a,x", "cat"]));
    again.wait_until_it_is_the_guests();
    again.types("\x10\x11two\n");
    again.wait_for("two\r\n");
    again.types("\x01x");
    assert_eq!(again.code(), Some(0), "{}", again.shown());

    let mut last = Seat::new(den.command(["attach", "cat"]));
    last.wait_until_it_is_the_guests();
    last.types("\x04");
    assert_eq!(last.code(), Some(5), "{}", last.shown());
    // One stream, as it was shown.
    let log = den.ok("logs cat");
    assert!(log.starts_with("one\r\none\r\n"), "{log:?}");
}

#[test]
fn the_guests_terminal_has_the_size_of_the_one_that_shows_it() {
    let den = Den::new();
    let seat = seated(&den, "-it --name cat", CAT);
    seat.wait_until_it_is_the_guests();
    let terminal = File::open(format!("/proc/{}/fd/0", den.worker("cat"))).unwrap();
    let has = |columns, rows| {
        let size = rustix::termios::tcgetwinsize(&terminal).unwrap();
        (size.ws_col, size.ws_row) == (columns, rows)
    };
    wait_until("the first size", || has(100, 30));
    for (columns, rows) in [(71, 11), (200, 50)] {
        seat.resize(columns, rows);
        wait_until("another size", || has(columns, rows));
    }
}

#[test]
fn a_worker_with_a_terminal_has_it_for_its_streams_and_in_no_session() {
    let den = Den::new();
    den.start("-it --name one", SPIN);
    let worker = den.worker("one");
    let places = [0, 1, 2].map(|number| fs::read_link(format!("/proc/{worker}/fd/{number}")));
    let places = places.map(Result::unwrap);
    assert!(places[0].starts_with("/dev/pts"), "{places:?}");
    assert!(places.iter().all(|place| *place == places[0]), "{places:?}");
    let status = fs::read_to_string(format!("/proc/{worker}/stat")).unwrap();
    let fields: Vec<&str> = status.rsplit(')').next().unwrap().split_whitespace().collect();
    // Its session is its own, and that has no terminal.
    assert_eq!((fields[3], fields[4]), (worker.to_string().as_str(), "0"), "{status}");
}

#[test]
fn a_guest_sees_whether_it_has_a_terminal() {
    let den = Den::new();
    foreground(&den, "-t --rm", KIND).outcome().expect_code(2);
    let without = foreground(&den, "--name one --rm", KIND).outcome();
    assert!(without.code != Some(2), "{without:#?}");
    den.start("-t --name two", KIND);
    assert_eq!(den.ok("wait two"), "2\n");
    assert_eq!(den.inspect("two")["Config"]["Tty"], true);
}

#[test]
fn a_terminal_that_only_shows_a_guests_ends_its_lines_once() {
    let den = Den::new();
    let guest = writing(&[(1, "one\\0atwo\\0a")]);
    let mut seat = seated(&den, "-t --name one", &guest);
    assert_eq!(seat.code(), Some(0), "{}", seat.shown());
    wait_until("the last line's end", || seat.shown().ends_with('\n'));
    assert_eq!(seat.shown(), "one\r\ntwo\r\n");
    // Elsewhere it is what the guest's terminal made of it, as docker has it.
    foreground(&den, "-t --rm", &guest).outcome().expect_output("one\r\ntwo\r\n");
}

#[test]
fn the_terminal_is_as_before_where_its_keeper_is_killed_and_where_we_are_asked_to_end() {
    let den = Den::new();
    let mut seat = seated(&den, "-it --name one", SPIN);
    seat.wait_until_it_is_the_guests();
    signal(den.keeper("one"), "KILL");
    assert_eq!(seat.code(), Some(125), "{}", seat.shown());
    seat.wait_for("its keeper is gone");

    den.start("-it --name two", SPIN);
    for (name, code) in [("TERM", 143), ("HUP", 129), ("INT", 130)] {
        let mut seat = Seat::new(den.command(["attach", "two"]));
        seat.wait_until_it_is_the_guests();
        signal(seat.program.id(), name);
        assert_eq!(seat.code(), Some(code), "{}", seat.shown());
        assert_eq!(den.status("two"), "running");
    }
    let mut seat = seated(&den, "-it --name three", SPIN);
    seat.wait_until_it_is_the_guests();
    signal(seat.program.id(), "HUP");
    assert_eq!(seat.code(), Some(129), "{}", seat.shown());
    assert_eq!(den.status("three"), "running", "a terminal that is gone ends nothing");
}

#[test]
fn without_a_terminal_here_there_is_none_for_the_guest_to_read() {
    let den = Den::new();
    let refused = foreground(&den, "-it", CAT).input("x").outcome();
    refused.expect_code(125).expect_error("the input device is not a TTY: leave out `-t`");
    den.is_empty("a refused run");
    den.start("-it --name cat", CAT);
    let refused = den.command(["attach", "cat"]).input("x").outcome();
    refused
        .expect_code(125)
        .expect_error("the input device is not a TTY")
        .expect_error("--no-stdin");
    let refused = den.aril(["exec", "-it", "--wasm", "x.wat", "cat"]);
    refused.expect_code(125).expect_error("the input device is not a TTY");
    let keeper = den.keeper("cat");
    let open = || fs::read_dir(format!("/proc/{keeper}/fd")).unwrap().count();
    let before = open();
    let looks = den.command(["attach", "--no-stdin", "cat"]).start();
    wait_until("it to be attached", || before < open());
    // It hears that its input ends, as with a pipe.
    den.ok("stop cat");
    looks.outcome().expect_code(5);
    for keys in ["ctrl-1", "ctrl-p,,ctrl-q", "\u{e4}"] {
        let refused = den.aril(["run", "-it", "--detach-keys", keys, "x.wat"]);
        refused.expect_code(125).expect_error("is no key");
    }
}

#[test]
fn a_program_beside_it_has_a_terminal_of_its_own() {
    let den = Den::new();
    den.bench.file("cat.wat", CAT);
    den.start("--name one", SPIN);
    for (keys, code) in [("hello\n\x04", 5), ("\x03", 130)] {
        let mut seat = Seat::new(den.command(["exec", "-it", "--wasm", "cat.wat", "one"]));
        seat.wait_until_it_is_the_guests();
        seat.types(keys);
        assert_eq!(seat.code(), Some(code), "{}", seat.shown());
    }
    assert_eq!(den.status("one"), "running");
}

#[test]
fn a_named_run_is_found_by_others_and_stays_until_it_is_removed() {
    let den = Den::new();
    let guest = writing(&[(1, "out\\0a"), (2, "err\\0a")]);
    let outcome = foreground(&den, "--name one -l a=b", &guest).outcome();
    outcome.expect_code(0).expect_output("out\n").expect_error("err\n");
    assert!(den.listed("one").contains("|exited|"));
    assert_eq!(den.ok("logs one"), "out\n");
    foreground(&den, "--name one", &guest).outcome().expect_code(125).expect_error("one");
    den.ok("rm one");
    foreground(&den, "--name one --rm", &ending(7)).outcome().expect_code(7);
    den.is_empty("a run with `--rm`");

    let runs = foreground(&den, "--name one", TICK).start();
    runs.wait_for_output("tick\n");
    assert_eq!(den.status("one"), "running");
    den.ok("stop -t 0 one");
    runs.outcome().expect_code(143).expect_error("the guest was stopped");
    let echoes = foreground(&den, "-i --name cat", CAT).input("typed").outcome();
    echoes.expect_code(5).expect_output("typed");
}

#[test]
fn many_runs_that_end_at_once_are_all_shown_whole_and_leave_nothing() {
    const AT_ONCE: usize = 24;
    let den = Den::new();
    den.bench.file("says.wat", says(7));
    // It is compiled once.
    den.aril(["run", "says.wat"]).expect_code(7);
    for _ in 0..2 {
        let start = |number| {
            let named = format!("--name run{number} --rm");
            let flags = if number % 2 == 0 { "-t --rm" } else { &named };
            den.command(format!("run {flags} says.wat").split(' ')).start()
        };
        let all: Vec<_> = (0..AT_ONCE).map(start).collect();
        for (number, run) in all.into_iter().enumerate() {
            let end = if number % 2 == 0 { "\r\n" } else { "\n" };
            let outcome = run.outcome().expect_code(7);
            assert_eq!(outcome.stdout, format!("said{end}"), "{outcome:#?}");
            assert_eq!(outcome.stderr, "", "{outcome:#?}");
        }
        den.is_empty("runs with `--rm`");
    }
}

#[test]
fn a_run_that_is_stopped_before_it_shows_anything_shows_all_of_it_later() {
    // So much is compiled first that there is time to stop it.
    let much =
        "(func (param i32) (result i32) (i32.mul (local.get 0) (i32.const 7)))".repeat(20_000);
    let den = Den::on(Bench::new());
    for (code, flags, end) in
        [(7, "--name one", "\n"), (8, "--name two --rm", "\n"), (9, "-t --name three --rm", "\r\n")]
    {
        let guest = says(code).replacen("(memory", &format!("{much}(memory"), 1);
        let run = foreground(&den, flags, &guest).start();
        wait_until("its keeper", || !children_of(run.pid()).is_empty());
        run.signal("STOP");
        let name = flags.split(' ').find(|word| ["one", "two", "three"].contains(word)).unwrap();
        wait_until("its guest's end", || den.actions(name).contains(&"die".to_owned()));
        if flags.contains("--rm") {
            wait_until("it to be gone", || den.ids().is_empty());
        } else {
            den.wait_for_status(name, "exited");
            den.ok("rm one");
        }
        run.signal("CONT");
        let outcome = run.outcome().expect_code(code);
        assert_eq!(outcome.stdout, format!("said{end}"), "{outcome:#?}");
        den.is_empty(flags);
    }
}

#[test]
fn the_terminal_is_the_shells_while_a_run_is_stopped_from_outside() {
    let den = Den::new();
    let is_stopped = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        status.rsplit(')').next().unwrap().trim().starts_with('T')
    };
    let mut seat = seated(&den, "-it --name cat", CAT);
    seat.wait_until_it_is_the_guests();
    let run = seat.program.id();
    for _ in 0..2 {
        signal(run, "TSTP");
        wait_until("the run to be stopped", || is_stopped(run));
        assert!(seat.is_as_before(), "{}", seat.shown());
        // A shell may leave it as it likes.
        seat.resize(90, 20);
        signal(run, "CONT");
        seat.wait_until_it_is_the_guests();
    }
    // One that is stopped without being asked has changed nothing, and finds what others changed.
    signal(run, "STOP");
    wait_until("the run to be stopped", || is_stopped(run));
    let mut modes = rustix::termios::tcgetattr(&seat.near).unwrap();
    modes.local_modes |= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
    rustix::termios::tcsetattr(&seat.near, rustix::termios::OptionalActions::Now, &modes).unwrap();
    signal(run, "CONT");
    seat.wait_until_it_is_the_guests();
    // It has gone on, and ends while it is stopped once more.
    seat.types("on\n");
    seat.wait_for("\r\non\r\n");
    signal(run, "TSTP");
    wait_until("the run to be stopped", || is_stopped(run));
    den.ok("kill cat");
    den.wait_for_status("cat", "exited");
    signal(run, "CONT");
    assert_eq!(seat.code(), Some(137), "{}", seat.shown());

    // Where there is no terminal, it stops and goes on as any program does.
    let runs = foreground(&den, "--name two", TICK).start();
    runs.wait_for_output("tick");
    runs.signal("TSTP");
    wait_until("the run to be stopped", || is_stopped(runs.pid()));
    runs.signal("CONT");
    den.ok("kill two");
    runs.outcome().expect_code(137);
}

#[test]
fn what_asks_a_named_run_to_end_asks_its_guest() {
    let den = Den::new();
    for (name, code) in [("INT", 130), ("QUIT", 131), ("TERM", 143)] {
        let runs = foreground(&den, "--name one --rm --stop-timeout 100ms", TICK).start();
        runs.wait_for_output("tick\n");
        runs.signal(name);
        runs.outcome().expect_code(code);
        den.is_empty(name);
    }
    let runs = foreground(&den, "--name one --rm --stop-timeout 1h", TICK).start();
    runs.wait_for_output("tick\n");
    runs.signal("TERM");
    wait_until("it to be asked", || den.actions("one").contains(&"stop".to_owned()));
    runs.signal("TERM");
    runs.outcome().expect_code(143);
}

#[test]
fn a_named_run_loses_nothing_to_a_slow_reader_and_can_be_stopped_meanwhile() {
    let den = Den::new();
    let runs = foreground(&den, "--name one --output 3m --log-opt max-size=64k", FLOOD).start();
    runs.wait_for_output("\0");
    runs.signal("STOP");
    std::thread::sleep(Duration::from_millis(50));
    runs.signal("CONT");
    let outcome = runs.outcome().expect_code(153);
    assert_eq!(outcome.stdout.len(), 3 << 20, "{}", outcome.stderr);

    let runs = foreground(&den, "--name two --log-opt max-size=64k", FLOOD).start();
    runs.wait_for_output("\0");
    runs.signal("STOP");
    let started = Instant::now();
    den.ok("stop -t 0 two");
    assert!(started.elapsed() < AT_ONCE, "{:?}", started.elapsed());
    assert_eq!(den.status("two"), "exited");
    runs.signal("CONT");
    runs.outcome().expect_code(143);
}

#[test]
fn nobody_but_who_started_it_is_waited_for() {
    let den = Den::new();
    let seat = seated(&den, "-it --name flood --log-opt max-size=64k", FLOOD);
    seat.wait_for("\0");
    // At a terminal as elsewhere, who only looks holds nobody up.
    let looks = den.command(["attach", "--no-stdin", "flood"]).start();
    looks.wait_for_output("\0");
    looks.signal("STOP");
    let count = || seat.shown.lock().unwrap().len();
    let enough = count() + (8 << 20);
    wait_until("the guest to go on", || enough < count());
    seat.types("\x03");
    looks.signal("CONT");
    looks.outcome().expect_code(130);
}
