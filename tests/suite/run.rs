//! What `aril` lets a guest touch, and what its verbs say.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;

use crate::support::Bench;
use crate::support::Outcome;
use crate::support::guest;

/// A bench whose folder `data` holds `a.txt`, a link out of it, and a folder.
fn bench_with_data() -> Bench {
    let bench = Bench::with_shared_cache();
    bench.file("dir/a.txt", "what is in a");
    bench.file("dir/inner/b.txt", "what is in b");
    bench.file("secret.txt", "a secret");
    symlink("../secret.txt", bench.path().join("dir/out")).unwrap();
    symlink(bench.path().join("secret.txt"), bench.path().join("dir/absolute")).unwrap();
    symlink("../nothing.txt", bench.path().join("dir/nowhere")).unwrap();
    bench
}

/// `aril run FLAGS... GUEST ARGS...`.
fn run(bench: &Bench, flags: &[&str], guest: &Path, args: &[&str]) -> Outcome {
    let texts = |texts: &[&str]| texts.iter().map(OsString::from).collect::<Vec<_>>();
    let args = [texts(flags), vec![guest.into()], texts(args)].concat();
    bench.run(args).outcome()
}

// --- Directories.

#[test]
fn a_directory_granted_for_writing_can_be_read_and_written() {
    let Some(open) = guest("open.wasm") else { return };
    let bench = bench_with_data();
    let grant = ["-v", "./dir:/data"];

    run(&bench, &grant, &open, &["/data/a.txt"]).expect_code(0).expect_output("what is in a");
    run(&bench, &grant, &open, &["-w", "/data/new.txt", "new"]).expect_code(0);
    run(&bench, &grant, &open, &["-a", "/data/inner/b.txt", " and more"]).expect_code(0);
    run(&bench, &grant, &open, &["-u", "/data/a.txt"]).expect_code(0);

    let read = |name: &str| fs::read_to_string(bench.path().join("dir").join(name));
    assert_eq!(read("new.txt").unwrap(), "new");
    assert_eq!(read("inner/b.txt").unwrap(), "what is in b and more");
    assert_eq!(read("a.txt").unwrap_err().kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn a_directory_granted_for_reading_cannot_be_changed() {
    let Some(open) = guest("open.wasm") else { return };
    let bench = bench_with_data();
    let grant = ["-v", "./dir:/data:ro"];

    run(&bench, &grant, &open, &["/data/a.txt"]).expect_code(0).expect_output("what is in a");
    for change in [
        &["-w", "/data/a.txt", "x"][..],
        &["-a", "/data/a.txt", "x"],
        &["-w", "/data/new.txt", "x"],
        &["-u", "/data/a.txt"],
    ] {
        let outcome = run(&bench, &grant, &open, change).expect_code(1);
        outcome.expect_error("it was granted with `:ro`; grant it without");
    }

    assert_eq!(fs::read_to_string(bench.path().join("dir/a.txt")).unwrap(), "what is in a");
    assert!(!bench.path().join("dir/new.txt").exists());
}

#[test]
fn a_grant_ends_at_its_directory() {
    let Some(open) = guest("open.wasm") else { return };
    let bench = bench_with_data();

    for path in [
        "/data/out",
        "/data/absolute",
        "/data/../secret.txt",
        "/data/inner/../../secret.txt",
        "/data/inner/../../../../../../../../../../etc/passwd",
    ] {
        for grant in ["./dir:/data:ro", "./dir:/data"] {
            let outcome = run(&bench, &["-v", grant], &open, &[path]).expect_code(1);
            let outcome = outcome.expect_output("");
            outcome.expect_error(&format!("was denied `{path}`")).expect_error("leads out of");
        }
    }
    run(&bench, &["-v", "./dir:/data"], &open, &["-w", "/data/out", "x"]).expect_code(1);
    assert_eq!(fs::read_to_string(bench.path().join("secret.txt")).unwrap(), "a secret");
}

#[test]
fn a_guest_cannot_tell_what_exists_outside_of_its_grants() {
    let Some(open) = guest("open.wasm") else { return };
    let bench = bench_with_data();
    let told = |flags: &[&str], path: &str| {
        let outcome = run(&bench, flags, &open, &[path]).expect_code(1);
        let guests_own = outcome.stderr.lines().next().unwrap();
        guests_own.strip_prefix(path).unwrap().to_owned()
    };
    let grant = &["-v", "./dir:/data:ro"];

    for (flags, exists, missing) in [
        (&[][..], "/etc/passwd", "/etc/no-such-file"),
        (&[][..], "/etc/passwd", "/no/such/place"),
        (grant, "/etc/passwd", "/no-such-file"),
        (grant, "/data/out", "/data/nowhere"),
        (grant, "/data/../secret.txt", "/data/../nothing.txt"),
        (grant, "/data/../data/a.txt", "/data/../nothing/a.txt"),
    ] {
        assert_eq!(told(flags, exists), told(flags, missing), "{exists} and {missing}");
    }
}

#[test]
fn a_grant_is_the_directory_that_was_granted_whatever_takes_its_name() {
    let bench = bench_with_data();
    // Asks for a byte of input, and opens a.txt once it has it.
    let guest = bench.file(
        "guest.wat",
        r#"(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1) (data (i32.const 100) "a.txtready\n")
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 105)) (i32.store (i32.const 4) (i32.const 6))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 52)))
    (i32.store (i32.const 0) (i32.const 200)) (i32.store (i32.const 4) (i32.const 64))
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 52)))
    (if (call $open (i32.const 3) (i32.const 0) (i32.const 100) (i32.const 5)
      (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 48)) (then unreachable))
    (drop (call $read (i32.load (i32.const 48)) (i32.const 0) (i32.const 1) (i32.const 52)))
    (i32.store (i32.const 4) (i32.load (i32.const 52)))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 52)))))"#,
    );
    bench.file("other/a.txt", "what is in the other");
    let mut command = bench.run(["-i", "-v", "./dir:/data:ro"]).command;
    let mut child = command
        .arg(&guest)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut said).unwrap();

    fs::rename(bench.path().join("dir"), bench.path().join("moved")).unwrap();
    symlink("other", bench.path().join("dir")).unwrap();
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"go").unwrap();
    let output = child.wait_with_output().unwrap();

    assert_eq!(String::from_utf8_lossy(&output.stdout), "what is in a", "{output:?}");
}

#[test]
fn a_guest_without_grants_has_an_empty_root_that_it_cannot_write_to() {
    let Some(open) = guest("open.wasm") else { return };
    let bench = bench_with_data();

    run(&bench, &[], &open, &["-l", "/"]).expect_code(0).expect_output(".\n..\n");
    run(&bench, &[], &open, &["-w", "/new.txt", "x"]).expect_code(1);

    assert_eq!(fs::read_dir(bench.cache().join("empty")).unwrap().count(), 0);
}

#[test]
fn several_grants_are_seen_beside_each_other() {
    let Some(open) = guest("open.wasm") else { return };
    let bench = bench_with_data();
    let grants = ["-v", "./dir:/data:ro", "-v", "./dir/inner:/data/deep:ro"];

    run(&bench, &grants, &open, &["/data/a.txt"]).expect_code(0).expect_output("what is in a");
    run(&bench, &grants, &open, &["/data/deep/b.txt"]).expect_code(0).expect_output("what is in b");
}

// --- The working directory.

#[test]
fn a_program_starts_in_its_working_directory_in_every_world() {
    let bench = bench_with_data();
    let flags = ["-v", "./dir:/data:ro", "-w", "/data/inner"];

    for (name, args) in [
        ("open.wasm", &["b.txt"][..]),
        ("component-py.wasm", &["cat", "b.txt"]),
        ("cpython.wasm", &["-c", "print(open('b.txt').read(), end='')"]),
    ] {
        let Some(guest) = guest(name) else { continue };
        run(&bench, &flags, &guest, args).expect_code(0).expect_output("what is in b");
    }
}

#[test]
fn a_working_directory_cannot_be_reached_through_a_link_out_of_its_grant() {
    let bench = bench_with_data();
    let guest = bench.file("guest.wat", "(module (func (export \"_start\")))");
    symlink("/", bench.path().join("dir/root")).unwrap();
    symlink("inner", bench.path().join("dir/within")).unwrap();

    for directory in ["/data/root", "/data/root/etc", "/data/missing", "/data/a.txt"] {
        let flags = ["-v", "./dir:/data:ro", "-w", directory];
        let outcome = run(&bench, &flags, &guest, &[]).expect_code(125);
        outcome.expect_error(&format!("cannot open the working directory `{directory}`"));
    }
    run(&bench, &["-v", "./dir:/data:ro", "-w", "/data/within"], &guest, &[]).expect_code(0);
}

// --- Variables.

/// What a guest in Python sees of its environment, sorted.
fn environment(bench: &Bench, flags: &[&str]) -> Option<Vec<String>> {
    let guest = guest("component-py.wasm")?;
    let texts = flags.iter().map(OsString::from).chain([guest.into(), "env".into()]);
    let run = bench.run(texts).env("SECRET", "hidden").env("PASSED", "on");
    let outcome = run.outcome().expect_code(0);
    let mut lines: Vec<String> = outcome.stdout.lines().map(str::to_owned).collect();
    lines.sort();
    Some(lines)
}

#[test]
fn a_guest_sees_nothing_of_the_hosts_environment() {
    let bench = Bench::with_shared_cache();

    let Some(seen) = environment(&bench, &[]) else { return };

    assert_eq!(seen, Vec::<String>::new());
}

#[test]
fn variables_are_set_passed_on_and_read_from_files_and_the_later_wins() {
    let bench = Bench::with_shared_cache();
    bench.file("vars", "# a comment\nFROM_FILE=1\nBOTH=file\nPASSED\nABSENT\n");
    let flags = ["--env-file", "vars", "-e", "BOTH=flag", "-e", "ABSENT", "-e", "WITH=a=b"];

    let Some(seen) = environment(&bench, &flags) else { return };

    assert_eq!(seen, ["BOTH=flag", "FROM_FILE=1", "PASSED=on", "WITH=a=b"]);
}

// --- Arguments and streams.

#[test]
fn a_guest_has_its_own_name_and_exactly_the_arguments_that_were_given() {
    let Some(python) = guest("cpython.wasm") else { return };
    let bench = Bench::with_shared_cache();
    let script = "import sys; print(sys.orig_argv[0], sys.argv[1:])";

    let outcome = run(&bench, &[], &python, &["-c", script, "one", "", "two words", "--x=ä"]);

    outcome.expect_code(0).expect_output("cpython.wasm ['one', '', 'two words', '--x=ä']\n");
}

#[test]
fn what_follows_the_program_is_the_programs_even_where_it_looks_like_a_flag_of_ours() {
    let Some(component) = guest("component-py.wasm") else { return };
    let bench = Bench::with_shared_cache();
    let args = ["args", "-i", "--memory", "1", "-e", "A=1", "--help", "--", "--bogus"];

    let outcome = run(&bench, &[], &component, &args).expect_code(0);
    let Some(open) = guest("open.wasm") else { return };
    // `-w` right behind the program.
    let denied = run(&bench, &[], &open, &["-w", "/data/new.txt", "x"]);

    outcome.expect_output("-i\n--memory\n1\n-e\nA=1\n--help\n--\n--bogus\n");
    denied.expect_code(1).expect_error("the guest was denied `/data/new.txt`");
}

#[test]
fn a_guest_reads_standard_input_only_where_it_was_given() {
    let Some(cat) = guest("cat-stdin.wasm") else { return };
    let bench = Bench::with_shared_cache();
    let large = "a line of input\n".repeat(50_000);

    let given = bench.run(["-i".into(), cat.clone()]).input(large.clone()).outcome();
    let kept = bench.run([cat]).input("unheard").outcome();

    given.expect_code(0).expect_output(&large);
    kept.expect_code(0).expect_output("").expect_error("0 bytes");
}

#[test]
fn a_closed_standard_output_is_the_readers_choice() {
    let bench = Bench::with_shared_cache();
    let guest = bench.file(
        "guest.wat",
        r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 2)
  (func (export "_start") (local $errno i32)
    (i32.store (i32.const 0) (i32.const 100)) (i32.store (i32.const 4) (i32.const 65536))
    (loop $l
      (local.set $errno (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 52)))
      (br_if $l (i32.eqz (local.get $errno))))
    (call $exit (local.get $errno))))"#,
    );
    let mut child =
        bench.run([guest]).command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut byte = [0];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut byte).unwrap();

    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();

    // EPIPE of WASI: the guest is told, and decides.
    assert_eq!(output.status.code(), Some(64), "{output:?}");
}

// --- Invoking.

/// A module of functions that take and return numbers.
const NUMBERS: &str = r#"(module
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "long") (param i64) (result i64) (i64.add (local.get 0) (i64.const 1)))
  (func (export "half") (param f64) (result f64) (f64.div (local.get 0) (f64.const 2)))
  (func (export "third") (param f32) (result f32) (f32.div (local.get 0) (f32.const 3)))
  (func (export "both") (result i32 f64) (i32.const 7) (f64.const 0.1))
  (func (export "nothing")))"#;

#[test]
fn a_function_of_a_module_is_called_with_numbers_and_its_results_are_printed() {
    let bench = Bench::with_shared_cache();
    let guest = bench.file("guest.wat", NUMBERS);

    for (function, args, printed) in [
        ("add", &["40", "2"][..], "42\n"),
        ("add", &["-1", "0x10"], "15\n"),
        ("add", &["4294967295", "0"], "-1\n"),
        ("long", &["9223372036854775806"], "9223372036854775807\n"),
        ("half", &["-5"], "-2.5\n"),
        ("half", &["inf"], "inf\n"),
        ("third", &["1"], "0.33333334\n"),
        ("both", &[], "7\n0.1\n"),
        ("nothing", &[], ""),
    ] {
        let outcome = run(&bench, &["--invoke", function], &guest, args);
        outcome.expect_code(0).expect_output(printed);
    }
}

#[test]
fn a_function_of_a_component_is_called_with_wave_and_its_result_is_wave() {
    let bench = Bench::with_shared_cache();
    // Functions at the root and in an interface; a string that is given back as it is.
    let guest = bench.file(
        "guest.wat",
        r#"(component
  (core module $m
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 1024))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (global.get $next) (global.set $next (i32.add (global.get $next) (local.get 3))))
    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
    (func (export "echo") (param i32 i32) (result i32)
      (i32.store (i32.const 8) (local.get 0)) (i32.store (i32.const 12) (local.get 1))
      (i32.const 8)))
  (core instance $i (instantiate $m))
  (func $add (param "a" u32) (param "b" u32) (result u32) (canon lift (core func $i "add")))
  (func $echo (param "text" (list string)) (result (list string))
    (canon lift (core func $i "echo") (memory (core memory $i "memory"))
      (realloc (core func $i "realloc"))))
  (component $shim
    (import "add" (func $add (param "a" u32) (param "b" u32) (result u32)))
    (export "add" (func $add)))
  (instance $math (instantiate $shim (with "add" (func $add))))
  (export "add" (func $add))
  (export "echo" (func $echo))
  (export "acme:demo/math@1.0.0" (instance $math)))"#,
    );

    for (function, args, printed) in [
        ("add", &["40", "2"][..], "42\n"),
        ("acme:demo/math@1.0.0#add", &["1", "2"], "3\n"),
        ("echo", &[r#"["one", "two \"quoted\""]"#], "[\"one\", \"two \\\"quoted\\\"\"]\n"),
    ] {
        let outcome = run(&bench, &["--invoke", function], &guest, args);
        outcome.expect_code(0).expect_output(printed);
    }
    let outcome = run(&bench, &["--invoke", "add"], &guest, &["-1", "2"]);
    outcome.expect_code(125).expect_error("the argument `-1` does not fit");
}

#[test]
fn a_reactor_is_initialised_before_its_function_is_called() {
    let bench = Bench::with_shared_cache();
    let guest = bench.file(
        "guest.wat",
        r#"(module (global $ready (mut i32) (i32.const 0))
  (func (export "_initialize") (global.set $ready (i32.add (global.get $ready) (i32.const 1))))
  (func (export "how_often") (result i32) (global.get $ready)))"#,
    );

    run(&bench, &["--invoke", "how_often"], &guest, &[]).expect_code(0).expect_output("1\n");

    let outcome = run(&bench, &[], &guest, &[]).expect_code(126);
    outcome.expect_error("exports no `_start`").expect_error("`how_often`");
}

#[test]
fn a_real_reactor_runs_one_of_its_functions() {
    let Some(reactor) = guest("qjs-reactor.wasm") else { return };
    let bench = Bench::with_shared_cache();

    let outcome = run(&bench, &["--invoke", "malloc"], &reactor, &["16"]).expect_code(0);

    let address: u32 = outcome.stdout.trim().parse().unwrap();
    assert_ne!(address, 0);
}

// --- Worlds.

#[test]
fn real_programs_run_in_every_world() {
    let bench = Bench::with_shared_cache();

    for (name, args, printed) in [
        ("hello.wasm", &[][..], "hello\n"),
        ("hello-rs.wasm", &["you"], "hello from Rust\nargument: you\n"),
        ("hello-c.wasm", &["you"], "hello from C\nargument: you\n"),
        ("component-py.wasm", &[], "hello from a component\n"),
        ("cpython.wasm", &["-c", "print(6 * 7)"], "42\n"),
    ] {
        let Some(guest) = guest(name) else { continue };
        run(&bench, &[], &guest, args).expect_code(0).expect_output(printed);
    }
}

#[test]
fn a_program_keeps_its_own_end() {
    let bench = Bench::with_shared_cache();

    for (name, args, code) in [
        ("hello-rs.wasm", &["--exit", "3"][..], 3),
        ("hello-c.wasm", &["--exit", "200"], 200),
        ("component-py.wasm", &["fail"], 1),
        ("cpython.wasm", &["-c", "import sys; sys.exit(99)"], 99),
    ] {
        let Some(guest) = guest(name) else { continue };
        run(&bench, &[], &guest, args).expect_code(code);
    }
}

#[test]
fn a_program_whose_imports_nobody_provides_runs_where_it_does_not_use_them() {
    let Some(micropython) = guest("micropython.wasm") else { return };
    let bench = Bench::with_shared_cache();

    let refused = run(&bench, &[], &micropython, &["-c", "print(6 * 7)"]);
    let ran = run(&bench, &["--trap-unknown-imports"], &micropython, &["-c", "print(6 * 7)"]);

    refused.expect_code(126).expect_error("which nobody provides").expect_error("it imports `");
    ran.expect_code(0).expect_output("42\n");
}

#[test]
fn a_component_whose_imports_are_provided_runs_as_ever_where_others_would_trap() {
    let Some(component) = guest("component-py.wasm") else { return };
    let bench = Bench::with_shared_cache();

    let outcome = run(&bench, &["--trap-unknown-imports"], &component, &[]);

    outcome.expect_code(0).expect_output("hello from a component\n");
}

#[test]
fn a_server_of_http_says_that_it_comes_with_p() {
    let bench = Bench::with_shared_cache();
    let importer = bench.file(
        "importer.wat",
        r#"(component (import "wasi:http/types@0.2.0" (instance (export "f" (func)))))"#,
    );
    let server = bench.file(
        "server.wat",
        r#"(component
  (core module $m (func (export "handle")))
  (core instance $i (instantiate $m))
  (func $handle (canon lift (core func $i "handle")))
  (component $shim (import "handle" (func $handle)) (export "handle" (func $handle)))
  (instance $handler (instantiate $shim (with "handle" (func $handle))))
  (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))"#,
    );

    for guest in [importer, server] {
        let outcome = run(&bench, &[], &guest, &[]).expect_code(126);
        outcome.expect_error("`wasi:http`, which comes with `-p`");
    }
}

// --- Denials.

#[test]
fn a_denial_names_the_path_and_the_flag_in_c_rust_and_python() {
    let bench = Bench::with_shared_cache();

    for (name, args) in [
        ("hello-c.wasm", &["--read", "/etc/hostname"][..]),
        ("hello-rs.wasm", &["--read", "/etc/hostname"]),
        ("cpython.wasm", &["-c", "open('/etc/hostname')"]),
        ("component-py.wasm", &["cat", "/etc/hostname"]),
    ] {
        let Some(guest) = guest(name) else { continue };
        let outcome = run(&bench, &[], &guest, args).expect_code(1);
        outcome
            .expect_error("aril: the guest was denied `/etc/hostname`")
            .expect_error("grant one with `-v HOST_DIR:/etc:ro`");
    }
}

/// A folder `app` of a program in Python that is denied a path deep inside of a module, and of one
/// that fails for a reason of its own.
fn bench_with_programs() -> Bench {
    let bench = Bench::with_shared_cache();
    let helper = "def one(p): return two(p)\ndef two(p): return three(p)\n\
                  def three(p): return four(p)\ndef four(p):\n    return open(p).read()\n";
    bench.file("app/helper.py", helper);
    bench.file("app/main.py", "import helper\nprint(helper.one('/etc/hostname'))\n");
    bench.file("app/broken.py", "import helper\nhelper.one(helper.gone)\n");
    bench
}

#[test]
fn a_denial_is_told_however_much_a_program_reads_to_tell_where_it_failed() {
    let Some(python) = guest("cpython.wasm") else { return };
    let bench = bench_with_programs();

    for grant in ["./app:/app:ro", "./app:/app"] {
        let outcome = run(&bench, &["-v", grant], &python, &["/app/main.py"]).expect_code(1);
        let outcome = outcome.expect_error("line 5, in four");
        outcome.expect_error("aril: the guest was denied `/etc/hostname`: no directory is granted");
    }
}

#[test]
fn a_program_that_fails_for_another_reason_is_told_nothing_of_what_its_start_was_denied() {
    let Some(python) = guest("cpython.wasm") else { return };
    let bench = bench_with_programs();
    let record = bench.path().join("record.json");
    let flags = ["-v", "./app:/app:ro", "--json", record.to_str().unwrap()];

    // The last three read their own sources, or look for them, to tell where they were.
    for args in [
        &["-c", "1 / 0"][..],
        &["/app/broken.py"],
        &["-c", "import json; json.loads('{')"],
        &["-c", "import socket; socket.create_connection(('192.0.2.1', 80))"],
        &["-c", "print(1"],
    ] {
        let outcome = run(&bench, &flags, &python, args).expect_code(1).expect_error("Error: ");
        assert!(!outcome.stderr.contains("aril: "), "{outcome:#?}");
        let record: Value = serde_json::from_str(&fs::read_to_string(&record).unwrap()).unwrap();
        assert!(0 < record["stats"]["denials"].as_u64().unwrap(), "its start was denied nothing");
    }
}

#[test]
fn a_file_beside_the_root_is_granted_with_the_root() {
    let Some(python) = guest("cpython.wasm") else { return };
    let bench = Bench::with_shared_cache();
    bench.file("script.py", "print('mine')\n");

    let denied = run(&bench, &[], &python, &["script.py"]).expect_code(2);
    denied.expect_error("the guest was denied `/script.py`").expect_error("`-v HOST_DIR:/:ro`");
    run(&bench, &["-v", "./:/:ro"], &python, &["script.py"]).expect_code(0).expect_output("mine\n");
}

#[test]
fn a_program_that_handled_a_refusal_of_memory_is_told_of_it() {
    let Some(python) = guest("cpython.wasm") else { return };
    let bench = Bench::with_shared_cache();

    let outcome = run(&bench, &["-m", "64m"], &python, &["-c", "x = bytearray(100 << 20)"]);

    let outcome = outcome.expect_code(1).expect_error("MemoryError");
    outcome.expect_error("no more memory than 64 MiB; raise it with `--memory`");
}

#[test]
fn a_flag_of_another_tool_is_answered_with_what_to_do_instead() {
    let bench = Bench::new();

    for (flag, advice) in
        [("--network=none", "a guest has no network"), ("--mount", "`-v HOST:GUEST[:ro]`")]
    {
        let outcome = bench.aril(["run", flag, "x.wasm"]).outcome().expect_code(125);
        let outcome = outcome.expect_error(advice);
        assert!(!outcome.stderr.contains("to pass"), "{outcome:#?}");
    }
}

#[test]
fn the_record_on_standard_output_is_a_line_of_its_own() {
    let Some(python) = guest("cpython.wasm") else { return };
    let bench = Bench::with_shared_cache();

    for (script, before) in [("print('x')", "x\n"), ("print('x', end='')", "x\n")] {
        let outcome = run(&bench, &["--json", "-"], &python, &["-c", script]).expect_code(0);
        let record = outcome.stdout.strip_prefix(before).expect(script);
        serde_json::from_str::<Value>(record).unwrap();
    }
}

#[test]
fn a_program_that_says_nothing_is_told_what_it_was_denied_before_its_end() {
    let bench = Bench::with_shared_cache();
    let guest = bench.file(
        "guest.wat",
        r#"(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (memory (export "memory") 1) (data (i32.const 100) "a.txt")
  (func (export "_start")
    (if (call $open (i32.const 3) (i32.const 0) (i32.const 100) (i32.const 5)
      (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 0))
      (then unreachable))))"#,
    );

    let outcome = run(&bench, &[], &guest, &[]).expect_code(134);

    outcome.expect_error("aril: before it ended, the guest was denied `/a.txt`");
}

#[test]
fn a_component_in_python_is_told_why_each_call_on_a_path_was_denied() {
    let Some(component) = guest("component-py.wasm") else { return };
    let bench = bench_with_data();

    for (call, path) in [
        (&["mkdir", "/data/new"][..], "/data/new"),
        (&["rmdir", "/data/inner"], "/data/inner"),
        (&["unlink", "/data/a.txt"], "/data/a.txt"),
        (&["rename", "/data/a.txt", "/data/c.txt"], "/data/a.txt"),
        (&["link", "/data/a.txt", "/data/c.txt"], "/data/a.txt"),
        (&["symlink", "a.txt", "/data/c.txt"], "/data/c.txt"),
        (&["utime", "/data/a.txt"], "/data/a.txt"),
    ] {
        let args = [&["os"], call].concat();
        let outcome = run(&bench, &["-v", "./dir:/data:ro"], &component, &args).expect_code(1);
        outcome.expect_error(&format!("denied writing `{path}`: it was granted with `:ro`"));
    }
    for call in ["stat", "readlink"] {
        let outcome = run(&bench, &[], &component, &["os", call, "/etc/hostname"]).expect_code(1);
        outcome.expect_error("denied `/etc/hostname`: no directory is granted there");
    }
}

#[test]
fn a_denial_below_an_opened_directory_has_the_reason_of_its_grant() {
    let bench = bench_with_data();
    symlink("/etc", bench.path().join("dir/inner/out")).unwrap();
    let python = "import os, sys\nat = os.open('/data/inner', os.O_RDONLY)\n\
                  getattr(os, sys.argv[1])(*sys.argv[2:], dir_fd=at)";
    let call = |access: &str, call: &[&str]| -> Vec<Outcome> {
        let grant = format!("./dir:/data{access}");
        [
            ("cpython.wasm", [&["-c", python], call].concat()),
            ("component-py.wasm", [&["below", "/data/inner"], call].concat()),
        ]
        .into_iter()
        .filter_map(|(name, args)| Some(run(&bench, &["-v", &grant], &guest(name)?, &args)))
        .collect()
    };

    for outcome in call(":ro", &["mkdir", "new"]) {
        let outcome = outcome.expect_code(1);
        outcome.expect_error("denied writing `/data/inner/new`: it was granted with `:ro`");
    }
    for outcome in call("", &["stat", "out/hostname"]) {
        let outcome = outcome.expect_code(1);
        outcome.expect_error("denied `/data/inner/out/hostname`: it leads out of what was granted");
    }
    for outcome in call("", &["stat", "../../x"]) {
        outcome.expect_code(1).expect_error("it leads out of what was granted");
    }
}

#[test]
fn what_the_host_itself_refuses_is_no_denial() {
    let bench = bench_with_data();
    // No system lets a directory have a second name: it answers as a refusal would.
    let python = "import os\nos.link('/data/inner', '/data/second')";

    for (name, args) in [
        ("cpython.wasm", &["-c", python][..]),
        ("component-py.wasm", &["os", "link", "/data/inner", "/data/second"]),
    ] {
        let Some(guest) = guest(name) else { continue };
        let outcome = run(&bench, &["-v", "./dir:/data"], &guest, args).expect_code(1);
        let outcome = outcome.expect_error("Operation not permitted");
        assert!(!outcome.stderr.contains("denied `/data"), "{outcome:?}");
    }
}

#[test]
fn a_run_that_ends_well_says_nothing_of_its_denials() {
    let Some(python) = guest("cpython.wasm") else { return };
    let bench = Bench::with_shared_cache();
    let script = "import os; print(os.path.exists('/etc/hostname'))";
    run(&bench, &[], &python, &["--version"]).expect_code(0);

    let outcome = run(&bench, &[], &python, &["-c", script]);

    assert_eq!(outcome.expect_code(0).expect_output("False\n").stderr, "");
}

#[test]
fn python_reads_its_data_and_cannot_write_it_or_see_anything_else() {
    let Some(python) = guest("cpython.wasm") else { return };
    let bench = bench_with_data();
    let script = r"
import os
def attempt(what, do):
    try:
        print(what, do())
    except OSError as refusal:
        print(what, 'refused')
attempt('read', lambda: open('/data/a.txt').read())
attempt('write', lambda: open('/data/a.txt', 'w'))
attempt('create', lambda: open('/data/new.txt', 'w'))
attempt('remove', lambda: os.unlink('/data/a.txt'))
attempt('rename', lambda: os.rename('/data/a.txt', '/data/b.txt'))
attempt('mkdir', lambda: os.mkdir('/data/folder'))
attempt('truncate', lambda: os.truncate('/data/a.txt', 0))
attempt('times', lambda: os.utime('/data/a.txt', (0, 0)))
attempt('link', lambda: os.symlink('/etc', '/data/etc'))
attempt('outside', lambda: open('/etc/passwd').read())
attempt('climbing', lambda: open('/data/../secret.txt').read())
attempt('following', lambda: open('/data/out').read())
attempt('following far', lambda: open('/data/absolute').read())
attempt('list', lambda: sorted(os.listdir('/data')))
attempt('root', lambda: os.listdir('/'))
print('environment', dict(os.environ))
";
    let before = fs::metadata(bench.path().join("dir/a.txt")).unwrap().modified().unwrap();

    let args = ["-c", script];
    let outcome = run(&bench, &["-v", "./dir:/data:ro"], &python, &args).expect_code(0);

    outcome.expect_output(
        "read what is in a\nwrite refused\ncreate refused\nremove refused\nrename refused\n\
         mkdir refused\ntruncate refused\ntimes refused\nlink refused\noutside refused\n\
         climbing refused\nfollowing refused\nfollowing far refused\n\
         list ['a.txt', 'absolute', 'inner', 'nowhere', 'out']\nroot []\nenvironment {}\n",
    );
    let after = fs::metadata(bench.path().join("dir/a.txt")).unwrap().modified().unwrap();
    assert_eq!(before, after);
}

// --- The record.

#[test]
fn the_record_goes_to_a_file_or_behind_the_guests_own_output() {
    let bench = Bench::with_shared_cache();
    let guest = bench.file("guest.wat", NUMBERS);
    let record: PathBuf = bench.path().join("record.json");

    let shown = run(&bench, &["--json", "-", "--invoke", "add"], &guest, &["1", "2"]);
    let flags = ["--json", record.to_str().unwrap(), "--invoke", "add"];
    let written = run(&bench, &flags, &guest, &["1", "2"]);

    let shown = shown.expect_code(0);
    let (result, line) = shown.stdout.split_once('\n').unwrap();
    assert_eq!(result, "3");
    let shown: Value = serde_json::from_str(line).unwrap();
    written.expect_code(0).expect_output("3\n");
    let text = fs::read_to_string(record).unwrap();
    assert_eq!(text.lines().count(), 1);
    let written: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&shown["results"], &shown["reason"]), (&written["results"], &written["reason"]));
}

#[test]
fn a_record_that_cannot_be_written_is_found_out_before_the_guest_runs() {
    let bench = Bench::with_shared_cache();
    let guest = bench.file("guest.wat", NUMBERS);

    let outcome = run(&bench, &["--json", "no/such/place", "--invoke", "add"], &guest, &["1", "2"]);

    outcome.expect_code(125).expect_output("").expect_error("cannot write the record");
}

// --- Other verbs.

#[test]
fn compile_says_the_digest_of_each_file_and_stops_at_what_is_no_wasm() {
    let bench = Bench::new();
    let good = bench.file("good.wat", "(module)");
    let bad = bench.file("bad.wasm", "bad");

    let outcome = bench.aril(["compile".as_ref(), good.as_os_str(), bad.as_os_str()]).outcome();

    let outcome = outcome.expect_code(126).expect_error("bad.wasm").expect_error("neither wasm");
    assert_eq!(outcome.stdout.lines().count(), 1, "{outcome:#?}");
    assert!(outcome.stdout.starts_with("sha256:") && outcome.stdout.contains("good.wat"));
}

#[test]
fn doctor_shows_every_limit_with_what_holds_it() {
    let bench = Bench::new();

    let outcome = bench.aril(["doctor"]).outcome().expect_code(0);

    for (limit, held) in [
        ("memory", " (default: 1 GiB)"),
        ("cpus", " (default: unlimited)"),
        ("deadline", "held by watchdog (default: unlimited)"),
        ("cpu_time", "held by watchdog (default: unlimited)"),
        ("fuel", "held by fuel (default: unlimited)"),
        ("output", "held by count (default: unlimited)"),
        ("open_files", "held by count (default: 1024)"),
        ("table_elements", "held by meter (default: 1000000)"),
        ("instances", "held by meter (default: 1000)"),
        ("stack", "held by engine (default: 1 MiB)"),
    ] {
        let mut lines = outcome.stdout.lines();
        let line = lines.find(|line| line.contains(&format!("limit: {limit} "))).unwrap();
        assert!(line.starts_with("ok") && line.contains(held), "{line}");
    }
    // What holds these two is another on another host.
    for (limit, rungs) in [("memory", ["meter", "cgroup"]), ("cpus", ["epochs", "cgroup"])] {
        let held = |rung: &&str| {
            let expected = format!("held by {rung} ");
            let mut lines = outcome.stdout.lines();
            lines.any(|line| line.contains(&format!("limit: {limit} ")) && line.contains(&expected))
        };
        assert_eq!(rungs.iter().filter(|rung| held(rung)).count(), 1, "{limit}: {outcome:#?}");
    }
    assert!(outcome.stdout.contains("vm.max_map_count"), "{outcome:#?}");
    assert!(outcome.stdout.contains("wasmtime-48."), "{outcome:#?}");
}

#[test]
fn completions_are_made_for_every_shell() {
    let bench = Bench::new();

    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let outcome = bench.aril(["completions", shell]).outcome().expect_code(0);
        assert!(outcome.stdout.contains("doctor"), "{shell}");
    }
    bench.aril(["completions", "cobol"]).outcome().expect_code(125).expect_error("cobol");
}

#[test]
fn every_verb_has_a_man_page() {
    let bench = Bench::new();

    bench.aril(["man", "pages"]).outcome().expect_code(0);

    for page in ["aril", "aril-run", "aril-compile", "aril-doctor", "aril-completions", "aril-man"]
    {
        let text = fs::read_to_string(bench.path().join(format!("pages/{page}.1"))).unwrap();
        assert!(text.contains(".SH SYNOPSIS"), "{page}");
    }
}

#[test]
fn the_version_is_one_line_and_needs_no_cache() {
    let bench = Bench::new();

    let outcome = bench.aril(["--version"]).outcome();

    outcome.expect_code(0).expect_output(concat!("aril ", env!("CARGO_PKG_VERSION"), "\n"));
    assert!(!bench.cache().exists());
}

#[test]
fn help_names_every_verb_and_every_code() {
    let bench = Bench::new();

    let outcome = bench.aril(["--help"]).outcome().expect_code(0);

    for word in ["run", "compile", "doctor", "completions", "man", "124", "137", "153"] {
        assert!(outcome.stdout.contains(word), "`{word}` is not in {outcome:#?}");
    }
    let both = [["run", "--help"], ["help", "run"]].map(|args| bench.aril(args).outcome().stdout);
    assert_eq!(both[0], both[1], "`run` is described twice, and differently");
    assert!(both[0].contains("Usage: aril run [OPTIONS] FILE|IMAGE [ARGS]..."), "{}", both[0]);
}

#[test]
fn a_place_for_a_group_that_is_not_there_is_refused_and_not_left_out() {
    let bench = Bench::new();
    bench.file("hello.wat", "(module (func (export \"_start\")))");
    let outcome = bench.run(["--cgroup-parent", "/not-there-at-all", "hello.wat"]).outcome();
    outcome.expect_code(125).expect_error("a control group is required and missing");
}
