//! Section 4.5: the command line, and the process that `aril` was started from.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Pid;
use rustix::process::Signal;

use super::guest::BUFFER;
use super::guest::CREATE;
use super::guest::Guest;
use super::guest::READ;
use super::guest::RETURNED;
use super::guest::WRITE;
use super::host::Host;
use crate::support::Run;
use crate::support::aril_path;
use crate::support::wait_until;

/// Runs with these flags before a guest that would say that it ran.
#[track_caller]
fn refused<I: Into<OsString>>(flags: impl IntoIterator<Item = I>, code: i32, text: &str) {
    let host = Host::new();
    let ran = Guest::new().say("ran", "(i32.const 1)");
    let attack = host.attack(flags, &ran).expect_code(code).expect_error(text);
    assert_eq!(attack.outcome.stdout, "", "nothing ran");
}

#[test]
fn arguments_and_variables_beyond_bounds_are_refused_before_anything_runs() {
    let host = Host::new();
    let ran = host.bench().file("guest.wat", Guest::new().say("ran", "(i32.const 1)").wat());
    let many =
        std::iter::once(ran.clone().into_os_string()).chain((0..100_000).map(|_| "a".into()));
    let outcome = host.run(many).outcome().expect_code(125);
    assert!(outcome.stderr.contains("65536") && outcome.stdout.is_empty(), "{outcome:#?}");
    // 10 MB of variables come from a file: a command line does not take so many.
    let file = host.bench().file("env", format!("A={}\n", "x".repeat(10 << 20)));
    let flags = ["--env-file".into(), file.into_os_string(), ran.clone().into_os_string()];
    host.run(flags).outcome().expect_code(125).expect_error("larger than 2 MiB").expect_output("");
    let file = host
        .bench()
        .file("env", format!("A={}\nB={}\n", "x".repeat(1 << 20), "x".repeat(1_048_565)));
    let flags = ["--env-file".into(), file.into_os_string(), ran.into_os_string()];
    host.run(flags).outcome().expect_code(0);
}

#[test]
fn a_volume_that_makes_no_sense_is_refused_before_anything_runs() {
    let host = Host::new();
    let grant = host.path("grant");
    let grant = grant.to_str().unwrap();
    let file = host.path("canary");
    for (volume, text) in [
        ("/no/such/place:/data".to_owned(), "cannot open `/no/such/place`"),
        (format!("{}:/", file.display()), "a file needs a name"),
        ("/dev/null:/data".to_owned(), "is no regular file"),
        ("::".to_owned(), "HOST:GUEST"),
        (String::new(), "HOST:GUEST"),
        (grant.to_owned(), "HOST:GUEST"),
        ("no name:/data".to_owned(), "cannot be a volume's name"),
        ("name:data".to_owned(), "must be absolute"),
        ("name:/a/../b".to_owned(), "lead elsewhere"),
        (format!("{grant}:data"), "must be absolute"),
        (format!("{grant}:/a/../b"), "lead elsewhere"),
        (format!("{grant}:/.."), "lead elsewhere"),
    ] {
        refused(["-v".to_owned(), volume], 125, text);
    }
    let twice = [format!("{grant}:/a"), format!("{grant}:/a/")];
    refused(
        ["-v".to_owned(), twice[0].clone(), "-v".to_owned(), twice[1].clone()],
        125,
        "granted twice",
    );
    refused(["-w".to_owned(), "/data".to_owned()], 125, "not in a granted directory");
    refused(["-w".to_owned(), "../data".to_owned()], 125, "must be absolute");
}

#[test]
fn the_name_of_a_file_is_a_name_and_never_a_flag_or_a_path_elsewhere() {
    let host = Host::new();
    let wat = Guest::new()
        .call("sizes", "args_sizes_get", "(i32.const 8) (i32.const 12)")
        .call("args", "args_get", format!("(i32.const {BUFFER}) (i32.const {})", BUFFER + 65536))
        .code(format!("(call $print (i32.const {}) (i32.load (i32.const 12)))", BUFFER + 65536));
    let work = host.bench().path();
    for name in ["-rf", "a\nb", "\u{1b}[2J", "\u{1f600}", "..."] {
        fs::write(work.join(name), wat.wat()).unwrap();
        let outcome = host.run(["--", name]).outcome().expect_code(0);
        assert!(outcome.stdout.ends_with(&format!("{name}\0")), "{outcome:#?}");
    }
    let long = format!("{}.wasm", "x".repeat(4096));
    host.run([long.as_str()]).outcome().expect_code(126);
    host.run(["../x"]).outcome().expect_code(127);
}

#[test]
fn a_limit_that_cannot_be_is_refused_with_what_can() {
    for (flag, values) in [
        ("--memory", &["0", "-1", "1e30", "10XB", "18446744073709551616", "1.5g", ""][..]),
        ("--memory", &["1m", "64k", "1"]),
        ("--cpus", &["0", "-1", "1e30", "nan", "inf", "2000"]),
        ("--deadline", &["0", "-1s", "1e30", "18446744073709551616", "1ns", "forever"]),
        ("--cpu-time", &["0", "-1s", "1e30"]),
        ("--fuel", &["0", "-1", "1e30", "18446744073709551616"]),
        ("--output", &["0", "-1", "10XB"]),
        ("--open-files", &["0", "-1", "4294967296", "1e30"]),
        ("--table-elements", &["0", "-1", "4294967296"]),
        ("--instances", &["0", "-1"]),
        ("--stack", &["0", "1k", "1g", "unlimited"]),
    ] {
        for value in values {
            let host = Host::new();
            let ran = Guest::new().say("ran", "(i32.const 1)");
            let attack = host.attack([format!("{flag}={value}")], &ran).expect_code(125);
            assert_eq!(attack.outcome.stdout, "", "{flag}={value}");
            let says = ["from", "leaves the guest nothing"];
            let said = says.iter().any(|says| attack.outcome.stderr.contains(says));
            assert!(said, "{flag}={value}: {attack:#?}");
        }
    }
}

#[test]
fn an_unknown_flag_is_refused_with_the_nearest() {
    refused(["--memroy", "64m"], 125, "--memory");
}

#[test]
fn a_cache_that_others_could_have_written_to_is_refused() {
    let host = Host::new();
    let ran = Guest::new().say("ran", "(i32.const 1)");
    let refused = |folder: &std::path::Path, text: &str| {
        let attack = host.attack(["--cache".into(), folder.as_os_str().to_owned()], &ran);
        let attack = attack.expect_code(125).expect_error(text);
        assert_eq!(attack.outcome.stdout, "");
    };
    let open = host.folder("open");
    for mode in [0o777, 0o770, 0o702] {
        fs::set_permissions(&open, fs::Permissions::from_mode(mode)).unwrap();
        refused(&open, "others may write");
    }
    host.folder("real");
    host.symlink("real", "link");
    refused(&host.path("link"), "symbolic link");
    refused(&host.path("canary"), "not a directory");
    refused(std::path::Path::new("/proc/version"), "not a directory");
    if rustix::process::geteuid().is_root() {
        let foreign = host.folder("foreign");
        std::os::unix::fs::chown(&foreign, Some(1), Some(1)).unwrap();
        refused(&foreign, "another user");
    }
    // An inner folder that somebody put there beforehand is looked at as well.
    let cache = host.folder("cache");
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::symlink(host.path("real"), cache.join("artifacts")).unwrap();
    refused(&cache, "symbolic link");
}

#[test]
fn arguments_that_are_no_text_are_refused() {
    let host = Host::new();
    let ran = host.bench().file("guest.wat", Guest::new().say("ran", "(i32.const 1)").wat());
    let odd = OsString::from_vec(b"a\xffb".to_vec());
    let run = |args: Vec<OsString>| host.run(args).outcome().expect_code(125).expect_output("");
    run(vec![ran.clone().into(), odd.clone()]).expect_error("UTF-8");
    run(vec!["-e".into(), odd.clone(), ran.clone().into()]).expect_error("UTF-8");
    run(vec!["-v".into(), odd, ran.into()]).expect_error("HOST:GUEST");
}

#[test]
fn with_the_standard_streams_closed_no_file_takes_their_place() {
    let host = Host::new().free("grant");
    host.file("grant/file", "inside");
    let guest = Guest::new()
        .open(3, "file", CREATE, READ | WRITE)
        .code("(call $print (i32.const 4096) (i32.const 4))")
        .code(
            "(i32.store (i32.const 32) (i32.const 4096)) (i32.store (i32.const 36) (i32.const 4))",
        )
        .code("(drop (call $fd_write (i32.const 2) (i32.const 32) (i32.const 1) (i32.const 40)))");
    let guest = host.bench().file("guest.wat", guest.wat());
    let [flag, grant] = host.grant("grant", "/");
    // A shell closes the descriptors before it becomes `aril`.
    let status = Command::new("/bin/sh")
        .args(["-c", "exec \"$0\" \"$@\" 0<&- 1>&- 2>&-"])
        .arg(aril_path())
        .args(["run".into(), flag, grant, guest.into_os_string()])
        .env_clear()
        .env("ARIL_CACHE_DIR", host.bench().cache())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(0));
    assert_eq!(fs::read_to_string(host.path("grant/file")).unwrap(), "inside");
    super::host::nothing_is_left(&host);
}

#[test]
fn what_the_caller_left_open_and_where_it_was_is_out_of_reach() {
    let host = Host::new();
    let mut guest = Guest::new();
    for fd in 4..16 {
        guest = guest.call(
            "inherited",
            "fd_prestat_get",
            format!("(i32.const {fd}) (i32.const {BUFFER})"),
        );
    }
    let guest = host.bench().file("guest.wat", guest.read(7, "canary").code(super::PAUSE).wat());
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", "exec 7<\"$1\" 9<\"$1\"; cd \"$1\"; shift; exec \"$@\"", "sh"])
        .arg(host.path("outside"))
        .arg(aril_path())
        .args(["run".into(), "-i".into(), guest.into_os_string()])
        .env_clear()
        .env("ARIL_CACHE_DIR", host.bench().cache());
    let mut run = host.run(["unused"]);
    run.command = command;
    let outside = host.path("outside");
    let (open, place) = super::look(run, |pid| {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        let open: Vec<_> =
            open.flatten().filter_map(|entry| fs::read_link(entry.path()).ok()).collect();
        (open, fs::read_link(format!("/proc/{pid}/cwd")).unwrap())
    });
    assert!(!open.contains(&outside), "{open:?}");
    assert_eq!(place, std::path::Path::new("/"));
}

#[test]
fn the_callers_variables_change_nothing_for_the_guest() {
    let host = Host::new();
    let guest = Guest::new()
        .call("sizes", "environ_sizes_get", "(i32.const 8) (i32.const 12)")
        .say("variables", RETURNED)
        .code("unreachable");
    let plain = host.attack([] as [&str; 0], &guest).expect_code(134);
    let odd = host.attack_wat([] as [&str; 0], guest.wat(), |run| {
        run.env("LD_PRELOAD", "/no/such/library.so")
            .env("LD_LIBRARY_PATH", "/tmp")
            .env("RUST_LOG", "trace")
            .env("RUST_BACKTRACE", "full")
            .env("WASMTIME_BACKTRACE_DETAILS", "1")
            .env("WASMTIME_LOG", "trace")
            .env("TMPDIR", "/etc")
            .env("RAYON_NUM_THREADS", "0")
            .env("TOKIO_WORKER_THREADS", "0")
    });
    let odd = odd.expect_code(134);
    assert_eq!(odd.number("variables"), 0);
    assert_eq!(
        (plain.outcome.stdout, plain.outcome.stderr),
        (odd.outcome.stdout, odd.outcome.stderr)
    );
}

#[test]
fn a_role_is_not_for_callers() {
    let host = Host::new();
    let bench = host.bench();
    for args in [
        &["--aril-role"][..],
        &["--aril-role", "chef", "1", "1", "1"],
        &["--aril-role", "compiler", "x", "y", "z"],
    ] {
        bench.aril(args).outcome().expect_code(125).expect_output("");
    }
    // Whoever is not its parent gets nothing compiled.
    let args = ["--aril-role", "compiler", "1", "4294967296", "60", "plain", "sha256:00"];
    bench.aril(args).outcome().expect_code(125).expect_output("");
}

#[test]
fn as_an_ordinary_user_the_same_limits_hold() {
    if !rustix::process::geteuid().is_root() {
        return crate::support::skip("only root can become another user");
    }
    let host = Host::new();
    // Everything it needs in a folder of its own.
    let home = host.bench().path().join("home");
    fs::create_dir(&home).unwrap();
    fs::set_permissions(host.bench().path(), fs::Permissions::from_mode(0o711)).unwrap();
    std::os::unix::fs::chown(&home, Some(65534), Some(65534)).unwrap();
    let grown = Guest::new().code("(drop (memory.grow (i32.const 9999))) unreachable");
    let wat = home.join("guest.wat");
    fs::write(&wat, grown.wat()).unwrap();
    let aril = home.join("aril");
    // Copied by another process: one that this process writes to cannot be started as long as a
    // child of another test has inherited it.
    assert!(Command::new("cp").arg(aril_path()).arg(&aril).status().unwrap().success());
    let run = |flags: &[&str]| {
        let mut command = Command::new(&aril);
        std::os::unix::process::CommandExt::uid(&mut command, 65534);
        std::os::unix::process::CommandExt::gid(&mut command, 65534);
        let command = command.arg("run").args(flags).arg(&wat).env_clear().current_dir("/");
        command.env("ARIL_CACHE_DIR", home.join("cache")).output().unwrap()
    };
    assert_eq!(run(&["--memory", "8m"]).status.code(), Some(137));
    fs::write(&wat, "(module (func (export \"_start\") (loop $l (br $l))))").unwrap();
    for flags in [&["--deadline", "100ms"][..], &["--cpu-time", "100ms"], &["--fuel", "1000"]] {
        assert_eq!(run(flags).status.code(), Some(124), "{flags:?}");
    }
    // Root's cache is not this user's.
    fs::remove_dir_all(home.join("cache")).unwrap();
    fs::create_dir(home.join("cache")).unwrap();
    fs::set_permissions(home.join("cache"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(run(&[]).status.code(), Some(125));
}

/// The calls that a kernel may lack, of those that a wall of ours depends on.
const LATE_CALLS: [&str; 3] = ["openat2", "close_range", "pidfd_open"];

/// Lets a run happen under a kernel that lacks calls; nothing, said aloud, where no program can.
fn without(host: &Host, calls: &str, run: Run) -> Option<Run> {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        crate::support::skip("strace is not there");
        return None;
    }
    // `-D`: the process that is started is `aril`, and the tracer its grandchild.
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-qq", "-e", &format!("trace={calls}")]);
    command.args(["-e", &format!("inject={calls}:error=ENOSYS"), "-o"]).arg(trace(host));
    command.arg(run.command.get_program()).args(run.command.get_args());
    command.env_clear().env("ARIL_CACHE_DIR", host.bench().cache());
    command.current_dir(host.bench().path());
    let mut run = run;
    run.command = command;
    Some(run)
}

fn trace(host: &Host) -> std::path::PathBuf {
    host.bench().path().join("trace")
}

/// Fails where nobody used a call that was missing.
#[track_caller]
fn was_missing(host: &Host, call: &str) {
    let trace = fs::read_to_string(trace(host)).unwrap();
    let missed = trace.lines().any(|line| line.contains(call) && line.contains("(INJECTED)"));
    assert!(missed, "`{call}` was not used: {trace}");
}

#[test]
fn a_kernel_without_openat2_is_as_strict() {
    let host = Host::new();
    host.symlink("../canary", "grant/link");
    host.symlink("../outside/", "grant/folder");
    host.file("grant/file", "inside");
    host.folder("grant/inner");
    let guest = Guest::new()
        .read(3, "../canary")
        .read(3, "link")
        .read(3, "folder/canary")
        .open(3, "folder/", CREATE, WRITE)
        .read(3, "file");
    let guest = host.bench().file("guest.wat", guest.wat());
    let [flag, grant] = host.grant("grant", "/:ro");
    let args = [flag.clone(), grant.clone(), guest.clone().into_os_string()];
    // Compiled before: what is looked at is the run.
    host.run(args.clone()).outcome().expect_code(0);
    let watch = host.watch();
    let Some(run) = without(&host, &LATE_CALLS.join(","), host.run(args.clone())) else { return };
    let outcome = run.outcome();
    was_missing(&host, "openat2");
    watch.check(&host, &outcome);
    super::host::Attack { outcome }.expect(&[
        ("open ../canary", "perm"),
        ("open link", "perm"),
        ("open folder/canary", "perm"),
        ("open folder/", "perm"),
        ("open file", "ok"),
    ]);
    // A directory in a grant is held by nothing else: that is refused.
    let inner = ["-w".into(), "/inner".into()].into_iter().chain(args);
    let Some(run) = without(&host, "openat2", host.run(inner)) else { return };
    run.outcome()
        .expect_code(125)
        .expect_error("cannot open the working directory")
        .expect_output("");
}

#[test]
fn a_kernel_without_close_range_still_leaves_the_guest_nothing_that_was_inherited() {
    let host = Host::new();
    let guest = host.bench().file("guest.wat", Guest::new().code(super::PAUSE).wat());
    let run = host.run(["-i".into(), guest.into_os_string()]);
    let Some(mut run) = without(&host, "close_range", run) else { return };
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", "exec 7<\"$1\" 9<\"$1\"; shift; exec \"$@\"", "sh"])
        .arg(host.path("outside"));
    shell.arg(run.command.get_program()).args(run.command.get_args());
    shell.env_clear().env("ARIL_CACHE_DIR", host.bench().cache());
    run.command = shell;
    let open: Vec<_> = super::look(run, |pid| {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        open.flatten().filter_map(|entry| fs::read_link(entry.path()).ok()).collect()
    });
    was_missing(&host, "close_range");
    assert!(!open.is_empty() && !open.contains(&host.path("outside")), "{open:?}");
}

#[test]
fn a_kernel_without_pidfd_open_keeps_the_deadline_of_a_guest_with_much_memory() {
    let host = Host::new();
    let wat = "(module (memory 2000) (func (export \"_start\")
      (memory.fill (i32.const 0) (i32.const 1) (i32.const 131072000)) (loop $l (br $l))))";
    let guest = host.bench().file("guest.wat", wat);
    let args = ["--deadline".into(), "300ms".into(), guest.into_os_string()];
    let Some(run) = without(&host, "pidfd_open", host.run(args)) else { return };
    let outcome = run.outcome().expect_code(124).expect_error("reached its deadline");
    assert!(outcome.elapsed < Duration::from_secs(5), "{:?}", outcome.elapsed);
    was_missing(&host, "pidfd_open");
    super::host::nothing_is_left(&host);
}

#[test]
fn the_doctor_names_each_call_that_the_kernel_lacks() {
    let host = Host::new();
    let plain = host.bench().aril(["doctor"]).outcome().expect_code(0);
    for call in LATE_CALLS {
        assert!(!plain.stdout.contains(call), "{plain:#?}");
        let Some(run) = without(&host, call, host.bench().aril(["doctor"])) else { return };
        let outcome = run.outcome().expect_code(0);
        let line = outcome.stdout.lines().find(|line| line.contains(&format!("the call `{call}`")));
        assert!(line.is_some_and(|line| line.starts_with("weak")), "{outcome:#?}");
        for other in LATE_CALLS.iter().filter(|other| **other != call) {
            assert!(!outcome.stdout.contains(other), "{outcome:#?}");
        }
    }
}

/// Starts a guest of this text, and waits until it says something.
fn started(host: &Host, flags: &[&str], guest: &Guest) -> (Child, std::io::PipeReader) {
    let wasm = host.bench().file("guest.wat", guest.wat());
    let (mut output, stdout) = std::io::pipe().unwrap();
    let flags = flags.iter().map(|flag| OsString::from(*flag));
    let mut run = host.run(flags.chain([wasm.into_os_string()]));
    let child =
        run.command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::null()).spawn().unwrap();
    drop(run);
    let mut said = [0];
    std::io::Read::read_exact(&mut output, &mut said).unwrap();
    (child, output)
}

fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// How a child ended, in time.
#[track_caller]
fn end(child: &mut Child) -> std::process::ExitStatus {
    let since = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(since.elapsed() < Duration::from_secs(10), "it did not end");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_signal_ends_a_run_with_its_code_and_nothing_is_left() {
    let forever = || Guest::new().say("running", "(i32.const 1)").code("(loop $l (br $l))");
    for (signal, code) in
        [(Signal::INT, 130), (Signal::QUIT, 131), (Signal::TERM, 143), (Signal::HUP, 143)]
    {
        let host = Host::new();
        let (mut child, _output) = started(&host, &["--stop-timeout", "100ms"], &forever());
        send(&child, signal);
        assert_eq!(end(&mut child).code(), Some(code), "{signal:?}");
        super::host::nothing_is_left(&host);
    }
    // A pipe that breaks is the guest's error, and not our end.
    let host = Host::new();
    let (mut child, _output) = started(&host, &["--deadline", "500ms"], &forever());
    send(&child, Signal::PIPE);
    assert_eq!(end(&mut child).code(), Some(124));
    super::host::nothing_is_left(&host);
}

#[test]
fn a_second_request_to_stop_does_not_wait_for_the_grace() {
    let host = Host::new();
    let guest = Guest::new().say("running", "(i32.const 1)").code("(loop $l (br $l))");
    let (mut child, _output) = started(&host, &["--stop-timeout", "1h"], &guest);
    let asked = Instant::now();
    send(&child, Signal::TERM);
    while asked.elapsed() < Duration::from_secs(5) && child.try_wait().unwrap().is_none() {
        send(&child, Signal::TERM);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(end(&mut child).code(), Some(143));
}

#[test]
fn a_stopped_and_continued_run_goes_on() {
    let host = Host::new();
    let guest = Guest::new().say("running", "(i32.const 1)").code("(loop $l (br $l))");
    let (mut child, _output) = started(&host, &["--cpu-time", "300ms"], &guest);
    stop_and_continue(&child);
    assert_eq!(end(&mut child).code(), Some(124));
    super::host::nothing_is_left(&host);
}

/// Stops a process as its terminal does, and lets it go on once it has stopped.
#[track_caller]
fn stop_and_continue(child: &Child) {
    send(child, Signal::TSTP);
    wait_until("it has stopped", || is_stopped(child.id()));
    send(child, Signal::CONT);
    wait_until("it goes on", || !is_stopped(child.id()));
}

fn is_stopped(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.starts_with('T')
}

/// The compilers that a process has started.
fn compilers_of(pid: u32) -> Vec<u32> {
    let call = format!("--aril-role\0compiler\0{pid}\0");
    let all = fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&call)
    })
    .collect()
}

/// Whether a process is no more, and holds no file any more: what it was started as is forgotten a
/// moment earlier.
fn has_ended(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit(')').next().is_none_or(|rest| !rest.starts_with([' ']) || rest.starts_with(" Z"))
}

/// Starts a run that says nothing and reads nothing.
fn silent(mut run: Run) -> Child {
    let command = run.command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// What asks a run to end, before it has a guest.
const ASKS: [Signal; 3] = [Signal::INT, Signal::TERM, Signal::HUP];

#[test]
fn a_signal_while_compiling_ends_the_compiler_and_what_it_wrote_is_cleared_away() {
    let Some(guest) = crate::support::guest("cpython.wasm") else { return };
    let host = Host::new();
    for signal in ASKS.into_iter().chain([Signal::KILL]) {
        let mut child = silent(host.run([guest.clone()]));
        let drafts = || {
            let names = fs::read_dir(host.bench().cache().join("artifacts")).into_iter().flatten();
            let names = names.flatten().map(|entry| entry.file_name());
            names.filter(|name| name.to_string_lossy().starts_with(".draft")).count()
        };
        wait_until("a compiler", || !compilers_of(child.id()).is_empty());
        let compilers = compilers_of(child.id());
        // Neither of these is a reason to end.
        send(&child, Signal::PIPE);
        stop_and_continue(&child);
        send(&child, signal);
        // A shell says 128 and the signal's number.
        assert_eq!(end(&mut child).signal(), Some(signal.as_raw()));
        wait_until("the compiler's end", || compilers.iter().all(|pid| has_ended(*pid)));
        assert!(drafts() <= 1, "of the one that was just killed");
    }
    // The next that compiles clears it away.
    host.attack([] as [&str; 0], &Guest::new()).expect_code(0);
}

#[test]
fn a_signal_while_waiting_for_anothers_compiler_ends_the_one_that_waits_alone() {
    let Some(guest) = crate::support::guest("cpython.wasm") else { return };
    let host = Host::new();
    let mut first = silent(host.run([guest.clone()]));
    wait_until("a compiler", || !compilers_of(first.id()).is_empty());
    // It keeps its turn for as long as that.
    let compiler = compilers_of(first.id())[0];
    // It has threads once it is at work: before that, it may not have seen to ending with its parent.
    let threads = || fs::read_dir(format!("/proc/{compiler}/task")).map_or(0, Iterator::count);
    wait_until("the compiler to be at work", || 1 < threads());
    crate::support::signal(compiler, "STOP");
    for signal in ASKS {
        let mut child = silent(host.run([guest.clone()]));
        wait_until("it waits for its turn", || has_thread(child.id(), "turn"));
        send(&child, Signal::PIPE);
        stop_and_continue(&child);
        send(&child, signal);
        assert_eq!(end(&mut child).signal(), Some(signal.as_raw()));
        assert_eq!(compilers_of(first.id()), [compiler], "the other's goes on");
    }
    send(&first, Signal::INT);
    assert_eq!(end(&mut first).signal(), Some(Signal::INT.as_raw()));
    // Its first thread may be gone before the others are.
    wait_until("the compiler's end", || has_ended(compiler) && threads() <= 1);
    host.attack([] as [&str; 0], &Guest::new()).expect_code(0);
}

fn has_thread(pid: u32, name: &str) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let mut names = threads.filter_map(|entry| fs::read_to_string(entry.path().join("comm")).ok());
    names.any(|found| found.trim_end() == name)
}
