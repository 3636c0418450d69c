//! Section 4.2, the rest: what a guest writes, and what is shown of it.

use std::fs;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use super::guest::BUFFER;
use super::guest::CREATE;
use super::guest::Guest;
use super::guest::READ;
use super::host::Host;
use crate::support::guest as real_guest;

/// Writes blocks of 64 KiB, `count` of them or until one fails, and says on standard error how the
/// last ended.
fn flood(count: u32) -> Guest {
    let mut guest = Guest::new()
        .code(format!("(i32.store (i32.const 32) (i32.const {BUFFER})) (i32.store (i32.const 36) (i32.const 65536))"))
        .times(
            count,
            "(local.set $a (call $fd_write (i32.const 1) (i32.const 32) (i32.const 1) (i32.const 40)))
            (br_if $done (local.get $a))",
        );
    // Standard output may be what failed: the guest ends with the errno.
    guest = guest.code("(if (local.get $a) (then (call $proc_exit (local.get $a))))");
    guest
}

#[test]
fn a_flood_into_nothing_does_not_make_the_host_grow() {
    let host = Host::new();
    // 2 GiB, and then a look: standard output is a pipe, so that the flood goes to the other one.
    let guest = flood(32_768).wat().replacen(
        "(call $fd_write (i32.const 1) (i32.const 32)",
        "(call $fd_write (i32.const 2) (i32.const 32)",
        1,
    );
    let end = guest.rfind(")\n)").unwrap();
    let guest = format!("{}{}{}", &guest[..end], super::PAUSE, &guest[end..]);
    let guest = host.bench().file("guest.wat", guest);
    let mut run = host.run(["-i".into(), guest.into_os_string()]);
    run.command.stderr(Stdio::null());
    let peak = super::look(run, super::peak_memory);
    assert!(peak < 64 << 20, "{peak} bytes");
}

#[test]
fn a_reader_that_goes_away_and_a_full_disk_are_errors_that_the_guest_sees() {
    let host = Host::new();
    let guest = host.bench().file("guest.wat", flood(100_000).wat());
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut run = host.run([guest.clone()]);
    let status = run.command.stdout(writer).stdin(Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(64), "EPIPE");
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut run = host.run([guest]);
    let status = run.command.stdout(full).stdin(Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(51), "ENOSPC");
    super::host::nothing_is_left(&host);
}

#[test]
fn a_guest_that_writes_into_a_full_pipe_waits_and_keeps_its_deadline() {
    let host = Host::new();
    let guest = host.bench().file("guest.wat", flood(100_000).wat());
    let (_reader, writer) = std::io::pipe().unwrap();
    let mut run = host.run(["--deadline".into(), "200ms".into(), guest.into_os_string()]);
    let started = Instant::now();
    let mut child =
        run.command.stdout(writer).stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(124));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn a_deadline_is_kept_also_where_nobody_reads_what_we_say() {
    let host = Host::new();
    let guest =
        host.bench().file("guest.wat", "(module (func (export \"_start\") (loop $l (br $l))))");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut run = host.run(["--deadline".into(), "100ms".into(), guest.into_os_string()]);
    let status = run.command.stdout(Stdio::null()).stderr(writer).stdin(Stdio::null()).status();
    assert_eq!(status.unwrap().code(), Some(124));
}

#[test]
fn a_deadline_is_kept_also_where_there_is_no_room_for_what_we_say() {
    let host = Host::new();
    // The guest fills the pipe, which holds 64 KiB, without waiting; and goes on.
    let guest = Guest::new()
        .code(format!("(i32.store (i32.const 32) (i32.const {BUFFER})) (i32.store (i32.const 36) (i32.const 65536))"))
        .code("(drop (call $fd_write (i32.const 2) (i32.const 32) (i32.const 1) (i32.const 40)))")
        .code("(loop $forever (br $forever))");
    let guest = host.bench().file("guest.wat", guest.wat());
    let (_reader, writer) = std::io::pipe().unwrap();
    let mut run = host.run(["--deadline".into(), "200ms".into(), guest.into_os_string()]);
    let mut child =
        run.command.stdout(Stdio::null()).stderr(writer).stdin(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Duration::from_secs(5) < started.elapsed() {
            child.kill().unwrap();
            panic!("the guest outlived its deadline because nobody read its end");
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    assert_eq!(status.code(), Some(124));
}

/// What steers a terminal: commands of both sets of control characters, what turns the direction of
/// reading, and ends of lines with what could be one of ours behind them.
const STEERING: &str = "\u{1b}]52;c;cHduZWQ=\u{7}\u{9b}2J\u{90}\u{85}\u{202e}\u{2067}\u{200f}\u{61c}\
                        \u{2028}\u{7f}\r\naril: all is well";

/// A text as the text form of wasm can hold it.
fn hex(text: &str) -> String {
    let bytes: Vec<String> = text.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    bytes.concat()
}

/// Fails where a text of ours steers the terminal.
#[track_caller]
fn is_quiet(said: &str) {
    let turns = |c| matches!(c, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let steers = said.chars().any(|c| c.is_control() && c != '\n' || turns(c));
    assert!(!steers && !said.contains("\naril: all is well"), "{said:?}");
}

/// Fails where a text does that, or does not show what would have.
#[track_caller]
fn is_shown_escaped(said: &str) {
    is_quiet(said);
    for shown in
        ["\\u{1b}]52", "\\u{7}\\u{9b}2J\\u{90}\\u{85}\\u{202e}\\u{2067}\\u{200f}\\u{61c}\\u{2028}"]
    {
        assert!(said.contains(shown), "{said:?}");
    }
}

#[test]
fn what_a_guest_names_cannot_steer_the_terminal_through_our_messages() {
    // In a path that is denied: outside of all grants, and out of one.
    let host = Host::new();
    let attack = host.attack([] as [&str; 0], &Guest::new().read(3, STEERING).fail());
    is_shown_escaped(&attack.expect_code(1).outcome.stderr);
    host.symlink("..", "grant/up");
    let path = format!("up/{STEERING}");
    let attack = host.attack(host.grant("grant", "/"), &Guest::new().read(3, &path).fail());
    is_shown_escaped(&attack.expect_code(1).outcome.stderr);
    // In the names of imports, exports and functions, and in what the compiler quotes.
    let hex = hex(STEERING);
    let import = format!("(import \"{hex}\" \"{hex}\" (func $f))");
    let start = "(func (export \"_start\"))";
    let calls = "(func (export \"_start\") (call $f))";
    for (wat, flags, code) in [
        (format!("(module {import} {calls})"), &[][..], 126),
        (format!("(module {import} {calls})"), &["--trap-unknown-imports"], 134),
        (format!("(module (import \"{hex}\" \"{hex}\" (memory 1)) {start})"), &[], 126),
        (format!("(module (func (export \"{hex}\")))"), &[], 126),
        (format!("(module (func (export \"{hex}\")))"), &["--invoke", "x"], 125),
        (format!("(module (func $f (@name \"{hex}\") unreachable) {calls})"), &[], 134),
        (format!("(module (func (export \"{hex}\")) (func (export \"{hex}\")))"), &[], 126),
        (format!("(component (import \"{hex}\" (func)))"), &[], 126),
        (format!("(module {start} ;; {}\n )) ", STEERING.replace(['\r', '\n'], " ")), &[], 126),
        (format!("(module {start} {STEERING})"), &[], 126),
        (format!("(module (func (export \"_start\") (call $\"{hex}\")))"), &[], 126),
    ] {
        let attack = host.attack_wat(flags.iter().map(|flag| (*flag).to_owned()), &wat, |run| run);
        let attack = attack.expect_code(code);
        is_quiet(&attack.outcome.stderr);
        assert!(attack.outcome.stderr.contains("\\u{"), "{wat}: {attack:#?}");
    }
}

#[test]
fn what_a_function_returns_cannot_steer_the_terminal() {
    let host = Host::new();
    let hex = hex(STEERING);
    let size = STEERING.len();
    let wat = format!(
        "(component
          (core module $m (memory (export \"memory\") 1) (data (i32.const 16) \"{hex}\")
            (func (export \"f\") (result i32)
              (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const {size}))
              (i32.const 0)))
          (core instance $i (instantiate $m))
          (func (export \"f\") (result string)
            (canon lift (core func $i \"f\") (memory (core memory $i \"memory\")))))"
    );
    let attack = host.attack_wat(["--invoke", "f"], wat, |run| run).expect_code(0);
    is_shown_escaped(&attack.outcome.stdout);
}

#[test]
fn what_a_guest_writes_is_passed_on_as_it_is() {
    let host = Host::new();
    let mut guest = Guest::new();
    let bytes = b"\x1b]52;c;eA==\x07\0\xff\xfe\r\n";
    let text = guest.text(bytes);
    let guest = host.bench().file("guest.wat", guest.code(format!("(call $print {text})")).wat());
    let mut run = host.run([guest]);
    let output = run.command.stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.stdout, bytes);
}

#[test]
fn a_run_does_nothing_to_its_terminal_but_read_and_write() {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        return crate::support::skip("strace is not there");
    }
    let host = Host::new();
    // What a guest can try: to change how its streams behave, and calls that nobody provides.
    let mut guest = Guest::new();
    for fd in 0..3 {
        guest = guest.call("stat", "fd_fdstat_get", format!("(i32.const {fd}) (i32.const 64)"));
        let operands = format!("(i32.const {fd}) (i32.const 4)");
        guest = guest.call("set", "fd_fdstat_set_flags", operands);
    }
    host.bench().file("guest.wat", guest.wat());
    let aril = crate::support::aril_path();
    let session = format!(
        "stty -g >before
        strace -f -qq -o trace -e trace=ioctl,fcntl,setsid '{}' run -i guest.wat
        code=$?
        stty -g >after
        exit $code",
        aril.display()
    );
    host.bench().file("session", session);
    let Some(run) = host.bench().on_a_terminal("sh session") else { return };
    let outcome = run.outcome().expect_code(0);
    for said in ["stat 0", "set 8"] {
        assert_eq!(outcome.stdout.matches(said).count(), 3, "{outcome:#?}");
    }
    let read = |name: &str| fs::read_to_string(host.bench().path().join(name)).unwrap();
    assert_eq!(read("before"), read("after"), "the terminal behaves as before");
    let trace = read("trace");
    // `TIOCSTI` and `TIOCLINUX` type into it, others steer it; asking what it is does nothing.
    let asks = |line: &str| {
        ["TCGETS", "TIOCGWINSZ", "FIOCLEX", "F_GETFL", "F_GETFD", "F_SETFD", "F_DUPFD", "resumed"]
            .iter()
            .any(|ask| line.contains(ask))
    };
    // What it opened itself is no terminal.
    let is_own = |line: &str| {
        let fd = line.split(['(', ',']).nth(1).and_then(|fd| fd.parse::<u32>().ok());
        fd.is_some_and(|fd| 2 < fd)
    };
    let others: Vec<&str> =
        trace.lines().filter(|line| line.contains('(') && !asks(line) && !is_own(line)).collect();
    assert!(trace.contains("TCGETS"), "nothing was traced: {trace}");
    assert_eq!(others, Vec::<&str>::new());
    let wat = "(module (import \"env\" \"ioctl\" (func $ioctl (param i32 i32 i32) (result i32)))
      (func (export \"_start\") (drop (call $ioctl (i32.const 0) (i32.const 0x5412) (i32.const 0)))))";
    let attack = host.attack_wat(["-i"], wat, |run| run).expect_code(126);
    attack.expect_error("`ioctl` from `env`, which nobody provides");
}

#[test]
fn a_record_escapes_what_a_guest_chose() {
    let host = Host::new();
    let record = host.bench().path().join("record.json");
    let guest = Guest::new().read(3, "\u{1b}[2J\"\\\n/x").open(3, STEERING, CREATE, READ);
    host.attack(["--json", record.to_str().unwrap()], &guest).expect_code(0);
    let text = fs::read_to_string(record).unwrap();
    assert_eq!(text.trim_end().lines().count(), 1, "{text:?}");
    is_quiet(&text);
    let record: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(record["denials"][0]["path"], "/\u{1b}[2J\"\\\n/x");
    assert_eq!(record["denials"][1]["path"], format!("/{STEERING}"));
}

#[test]
fn a_real_program_that_floods_is_ended_at_its_output_limit() {
    let Some(guest) = real_guest("cat-stdin.wasm") else { return };
    let host = Host::new();
    let flags = ["--output".into(), "1m".into(), "-i".into(), guest.into_os_string()];
    let watch = host.watch();
    let outcome = host.run(flags).input(vec![b'x'; 4 << 20]).outcome();
    watch.check(&host, &outcome);
    assert_eq!((outcome.code, outcome.stdout.len()), (Some(153), 1 << 20), "{}", outcome.stderr);
}
