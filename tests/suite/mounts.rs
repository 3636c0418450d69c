//! What is mounted for one guest: directories in memory, and single files.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use aril::Access;
use aril::Isolation;
use aril::Runtime;
use aril::SandboxSpec;
use aril::SingleFile;
use aril::Tmpfs;
use serde_json::Value;

use crate::disk::users;
use crate::disk::with_images;
use crate::image_files;
use crate::image_files::with_image;
use crate::support::Bench;
use crate::support::Outcome;
use crate::support::OwnMounts;
use crate::support::aril_path;
use crate::support::guest;
use crate::support::skip;
use crate::support::worker_of;

/// A bench whose guest is python, with files to grant; nothing, said aloud, where python is missing,
/// or nobody may mount anything here.
struct Python {
    bench: Bench,
    program: PathBuf,
}

/// What a script begins with: `tries` says how each of some things that a guest does ends.
const TRIES: &str = "
import errno, os
def tries(**what):
    for name, one in what.items():
        try:
            one()
            print(name, 'DONE')
        except OSError as error:
            print(name, errno.errorcode[error.errno])
";

impl Python {
    fn new() -> Option<Self> {
        OwnMounts::new()?;
        let program = guest("cpython.wasm")?;
        let bench = Bench::with_shared_cache();
        bench.file("conf", "conf\n");
        bench.file("secret", "secret\n");
        bench.file("dir/beside", "beside\n");
        bench.file("dir/inner/file", "inner\n");
        Some(Self { bench, program })
    }

    fn run(&self, flags: &[&str], script: &str) -> Outcome {
        let flags = flags.iter().map(std::ffi::OsString::from);
        let script = format!("{TRIES}{script}");
        let rest = [self.program.clone().into(), "-c".into(), script.into()];
        self.bench.run(flags.chain(rest)).outcome()
    }

    #[track_caller]
    fn says(&self, flags: &[&str], script: &str, expected: &str) -> Outcome {
        self.run(flags, script).expect_code(0).expect_output(expected)
    }

    /// Fails where the flags are not refused, before anything runs, with all of these words.
    #[track_caller]
    fn refuses(&self, flags: &[&str], words: &[&str]) {
        let outcome = self.run(flags, "print('it runs')").expect_code(125).expect_output("");
        words.iter().fold(outcome, |outcome, word| outcome.expect_error(word));
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.bench.path().join(name)).unwrap()
    }
}

// --- Directories in memory.

#[test]
fn a_directory_in_memory_is_empty_can_be_written_to_and_is_gone_with_the_guest() {
    let Some(python) = Python::new() else { return };
    let script = "
print(os.listdir('/tmp'))
os.makedirs('/tmp/a/b')
open('/tmp/a/b/c', 'w').write('x')
os.rename('/tmp/a/b/c', '/tmp/d')
os.symlink('d', '/tmp/l')
print(sorted(os.listdir('/tmp')), open('/tmp/l').read())
os.remove('/tmp/d')
";
    for _ in 0..2 {
        python.says(&["--tmpfs", "/tmp"], script, "[]\n['a', 'd', 'l'] x\n");
    }
    // Nothing is beside it.
    let beside = "tries(up=lambda: os.listdir('/tmp/..'), other=lambda: open('/other', 'w'))";
    python.says(&["--tmpfs", "/tmp"], beside, "up EPERM\nother EPERM\n");
}

#[test]
fn a_directory_in_memory_that_is_full_says_so_and_takes_more_once_there_is_room() {
    let Some(python) = Python::new() else { return };
    let script = "
def fill(path):
    count = 0
    with open(path, 'wb', buffering=0) as file:
        try:
            while True:
                count += file.write(b'x' * 4096)
        except OSError as error:
            return count, errno.errorcode[error.errno]
print(fill('/tmp/one'), fill('/tmp/two'))
os.remove('/tmp/one')
print(fill('/tmp/two'))
os.remove('/tmp/two')
made = 0
try:
    while True:
        open(f'/tmp/{made}', 'w').close()
        made += 1
except OSError as error:
    print(made, errno.errorcode[error.errno])
";
    let expected = "(1048576, 'ENOSPC') (0, 'ENOSPC')\n(1048576, 'ENOSPC')\n256 ENOSPC\n";
    python.says(&["--tmpfs", "/tmp:size=1m"], script, expected);
}

#[test]
fn what_is_in_memory_counts_as_memory_where_a_control_group_holds_it() {
    let Some(python) = Python::new() else { return };
    let flags = ["--memory", "64m", "--tmpfs", "/tmp:size=1g", "--json", "record.json"];
    let script = "
with open('/tmp/much', 'wb') as file:
    for _ in range(200):
        file.write(b'x' * (1 << 20))
print('written')";
    let outcome = python.run(&flags, script);
    let record: Value = serde_json::from_str(&python.read("record.json")).unwrap();
    let limits = record["limits"].as_array().unwrap();
    let memory = limits.iter().find(|limit| limit["name"] == "memory").unwrap();
    if memory["rung"] != "cgroup" {
        skip("a control group that holds memory");
        return;
    }
    outcome.expect_code(137).expect_output("");
    assert_eq!((&record["reason"], &record["wall"]), (&"out_of_memory".into(), &"cgroup".into()));
}

#[test]
fn a_directory_in_memory_is_one_of_the_places_of_an_image_and_may_hold_the_working_directory() {
    if OwnMounts::new().is_none() {
        return;
    }
    let Some(bench) = with_image(&image_files::python()) else { return };
    let script = "import os
print('fresh' in os.listdir('/'), os.listdir('/fresh'), os.listdir('/data'))
open('/data/new', 'w').write('new')
print(os.listdir('/data'), os.environ['PWD'])";
    let flags = ["--read-only", "--tmpfs", "/fresh", "--tmpfs", "/data", "-w", "/data"];
    image_files::says(&bench, &flags, script, "True [] []\n['new'] /data\n");
}

#[test]
fn a_directory_in_memory_that_cannot_be_had_is_refused_by_name() {
    let Some(python) = Python::new() else { return };
    python.refuses(&["--tmpfs", "/tmp", "--walls", "none"], &["`/tmp`", "`mount_namespace`"]);
    python.refuses(&["--tmpfs", "/tmp", "-v", "./dir:/tmp"], &["`/tmp` is granted twice"]);
    python.refuses(&["--tmpfs", "tmp"], &["cannot grant `--tmpfs tmp`", "absolute"]);
    python.refuses(&["--tmpfs", "/tmp:size=1"], &["holds nothing", "4 KiB"]);
    python.refuses(&["--tmpfs", "/tmp:mode=700"], &["`mode=700` cannot be had"]);
}

// --- Single files.

#[test]
fn of_single_files_a_guest_sees_exactly_those_and_nothing_beside_them() {
    let Some(python) = Python::new() else { return };
    let flags = ["-v", "./conf:/etc/app/conf", "-v", "./secret:/etc/secret:ro"];
    let script = "
for path in '/', '/etc', '/etc/app':
    print(path, sorted(os.listdir(path)))
print(open('/etc/app/conf').read() + open('/etc/secret').read(), end='')
open('/etc/app/conf', 'a').write('more\\n')
tries(
    append=lambda: open('/etc/secret', 'a'),
    truncate=lambda: os.truncate('/etc/secret', 0),
    beside=lambda: open('/etc/app/new', 'w'),
    make=lambda: os.mkdir('/etc/new'),
    link=lambda: os.link('/etc/secret', '/etc/app/linked'),
    missing=lambda: open('/etc/passwd'),
)
";
    let expected = "/ ['etc']\n/etc ['app', 'secret']\n/etc/app ['conf']\nconf\nsecret\n\
                    append EPERM\ntruncate EPERM\nbeside EPERM\nmake EPERM\nlink EPERM\nmissing ENOENT\n";

    python.says(&[&flags[..], &["--json", "record.json"]].concat(), script, expected);

    assert_eq!(python.read("conf"), "conf\nmore\n");
    assert_eq!(python.read("secret"), "secret\n");
    let record: Value = serde_json::from_str(&python.read("record.json")).unwrap();
    let denied = record["denials"].as_array().unwrap();
    let refusal = |path: &str| {
        let denial = denied.iter().find(|denial| denial["path"] == path).unwrap();
        denial["refusal"].as_str().unwrap()
    };
    assert_eq!(refusal("/etc/secret"), "read_only");
    assert_eq!(refusal("/etc/app/new"), "not_granted");
    assert_eq!(refusal("/etc/passwd"), "not_granted");
    // It can be neither removed nor renamed.
    let script = "tries(
    remove=lambda: os.remove('/etc/app/conf'),
    rename=lambda: os.rename('/etc/app/conf', '/etc/app/other'),
    replace=lambda: os.rename('/etc/secret', '/etc/app/conf'),
)";
    let outcome = python.run(&flags, script).expect_code(0);
    assert!(!outcome.stdout.contains("DONE"), "{outcome:#?}");
    assert_eq!(python.read("conf"), "conf\nmore\n");
}

#[test]
fn a_single_file_covers_the_one_of_an_image_or_is_seen_where_that_has_none() {
    if OwnMounts::new().is_none() {
        return;
    }
    let Some(bench) = with_image(&image_files::python()) else { return };
    let conf = bench.file("conf", "conf\n");
    let flags = ["-v", "./conf:/data/kept:ro", "-v", "./conf:/new/place/conf"];
    let script = "import os
print(open('/data/kept').read(), sorted(os.listdir('/data')), os.listdir('/new/place'), end='')
for path in '/data/kept', '/data/changed', '/new/place/conf', '/new/beside':
    try:
        open(path, 'a').write('more\\n')
        print('', path, end='')
    except OSError as error:
        print('', error.errno, end='')";
    let all = "conf\n ['changed', 'kept'] ['conf'] 63 /data/changed /new/place/conf /new/beside";

    image_files::says(&bench, &flags, script, all);
    assert_eq!(fs::read_to_string(&conf).unwrap(), "conf\nmore\n");
    let read_only = [&["--read-only"][..], &flags].concat();
    let some = "conf\nmore\n ['changed', 'kept'] ['conf'] 63 63 /new/place/conf 63";
    image_files::says(&bench, &read_only, script, some);
    assert_eq!(fs::read_to_string(&conf).unwrap(), "conf\nmore\nmore\n");

    // The image is as it was, and other runs see nothing of it.
    let script = "import os
print(open('/data/kept').read(), os.path.exists('/new'), end='')";
    image_files::says(&bench, &[], script, "kept\n False");
    // A link of the image leads where it would in a container.
    let script = "print(open('/data/kept').read(), end='')";
    image_files::says(&bench, &["-v", "./conf:/upwards"], script, "conf\nmore\nmore\n");
    let outcome = image_files::run(&bench, &["-v", "./conf:/data", "files:1"]);
    outcome.expect_code(125).expect_error("`/data`").expect_error("is not a file");
}

#[test]
fn a_single_file_covers_one_of_a_granted_directory_and_is_refused_where_there_is_none() {
    let Some(python) = Python::new() else { return };
    let file = ["-v", "./secret:/data/inner/file:ro"];
    let script = "
print(open('/data/inner/file').read(), end='')
tries(
    write=lambda: open('/data/inner/file', 'a'),
    remove=lambda: os.remove('/data/inner/file'),
    link=lambda: os.link('/data/inner/file', '/data/linked'),
    beside=lambda: open('/data/beside', 'a').write('more\\n'),
    move=lambda: os.rename('/data/inner', '/data/moved'),
)
print(open('/data/moved/file').read(), end='')
tries(write=lambda: open('/data/moved/file', 'a').write('x'))
";
    let expected =
        "secret\nwrite EPERM\nremove EBUSY\nlink EPERM\nbeside DONE\nmove DONE\nsecret\n";
    let outcome = python.run(&[&["-v", "./dir:/data"][..], &file].concat(), script);
    let outcome = outcome.expect_code(0);
    let (before, last) = outcome.stdout.split_at(expected.len());
    assert_eq!(before, expected, "{outcome:#?}");
    assert!(last.starts_with("write E"), "it is the same file wherever it is moved: {outcome:#?}");
    assert_eq!(python.read("dir/moved/file"), "inner\n", "what it covered is as it was");
    assert_eq!(python.read("secret"), "secret\n");

    // To be written to in a directory that may only be read.
    fs::rename(python.bench.path().join("dir/moved"), python.bench.path().join("dir/inner"))
        .unwrap();
    let script = "tries(
    write=lambda: open('/data/inner/file', 'a').write('more\\n'),
    beside=lambda: open('/data/beside', 'a'),
    new=lambda: open('/data/inner/new', 'w'),
    remove=lambda: os.remove('/data/beside'),
)";
    let flags = ["-v", "./dir:/data:ro", "-v", "./conf:/data/inner/file"];
    python.says(&flags, script, "write DONE\nbeside EPERM\nnew EPERM\nremove EPERM\n");
    assert_eq!(python.read("conf"), "conf\nmore\n");
    assert_eq!(python.read("dir/beside"), "beside\nmore\n");

    let words = ["`/data/new`", "granted as `/data`", "create one there"];
    python.refuses(&["-v", "./dir:/data", "-v", "./conf:/data/new"], &words);
    let words = ["`/data/inner`", "is not a file"];
    python.refuses(&["-v", "./dir:/data", "-v", "./conf:/data/inner"], &words);
    // A directory in memory is the guest's own, and gets what it lacks.
    let flags = ["--tmpfs", "/data:size=4k", "-v", "./conf:/data/etc/conf:ro"];
    let script = "print(os.listdir('/data'), open('/data/etc/conf').read(), end='')";
    python.says(&flags, script, "['etc'] conf\nmore\n");
}

#[test]
fn a_link_to_a_file_grants_what_it_leads_to_and_nothing_else() {
    let Some(python) = Python::new() else { return };
    symlink("secret", python.bench.path().join("link")).unwrap();
    symlink("missing", python.bench.path().join("dangling")).unwrap();

    let script = "print(os.listdir('/'), os.path.islink('/file'), open('/file').read(), end='')";
    python.says(&["-v", "./link:/file:ro"], script, "['file'] False secret\n");
    python.refuses(&["-v", "./dangling:/file"], &["cannot grant", "No such file"]);
}

#[test]
fn what_is_not_a_file_and_what_cannot_be_in_one_is_refused_by_name() {
    let Some(python) = Python::new() else { return };
    let fifo = python.bench.path().join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    let file = ["-v", "./conf:/file"];

    python.refuses(&["-v", "./fifo:/file"], &["fifo` is no regular file"]);
    python.refuses(&["-v", "/dev/null:/file"], &["`/dev/null` is no regular file"]);
    python.refuses(&["-v", "./conf:/"], &["a file needs a name"]);
    python.refuses(&["-v", "./missing:/file"], &["missing`", "No such file"]);
    let with_file = |flags: &[&str], words: &[&str]| {
        python.refuses(&[&file, flags].concat(), words);
    };
    with_file(&["-v", "./secret:/file"], &["`/file` is granted twice"]);
    with_file(&["-v", "./dir:/file"], &["`/file` is granted twice"]);
    with_file(&["-v", "./dir:/file/dir"], &["`/file/dir` cannot be in `/file`"]);
    with_file(&["-v", "./secret:/file/x"], &["`/file/x` cannot be in `/file`"]);
    with_file(&["--walls", "none"], &["`/file`", "`mount_namespace`"]);
    with_file(&["-w", "/file"], &["working directory", "`/file`"]);
    // What runs outside of every sandbox is not written to, one file of it neither.
    let cached = python.bench.cache().join("artifacts");
    let cached = fs::read_dir(cached).unwrap().next().unwrap().unwrap().path();
    let grant = format!("{}:/file", cached.display());
    python.refuses(&["-v", &grant], &["the folder for machine code"]);
}

/// Waits for a line of input, and then says what its file holds.
const WAITS: &str = "print('ready', flush=True); input(); print(open('/file').read(), end='')";

#[test]
fn a_file_stays_the_one_that_was_granted_whatever_takes_its_name() {
    let Some(python) = Python::new() else { return };
    let args = ["-i", "-v", "./conf:/file"].map(std::ffi::OsString::from);
    let rest = [python.program.clone().into(), "-c".into(), WAITS.into()];
    let mut command = python.bench.run(args.into_iter().chain(rest)).command;
    let mut child = command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut said).unwrap();
    // Nothing is open in its process that leads past the mount, and what that allows.
    let open = fs::read_dir(format!("/proc/{}/fd", worker_of(child.id()))).unwrap();
    let open: Vec<_> = open.map(|one| fs::read_link(one.unwrap().path()).unwrap()).collect();
    assert!(!open.is_empty() && open.iter().all(|one| !one.ends_with("conf")), "{open:?}");

    let path = |name: &str| python.bench.path().join(name);
    fs::rename(path("conf"), path("moved")).unwrap();
    fs::rename(path("secret"), path("conf")).unwrap();
    fs::remove_file(path("moved")).unwrap();
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"go\n").unwrap();
    let output = child.wait_with_output().unwrap();

    assert_eq!(String::from_utf8_lossy(&output.stdout), "conf\n", "{output:?}");
}

#[test]
fn an_ordinary_user_may_be_granted_files_too() {
    if OwnMounts::new().is_none() {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        skip("only root can become another user");
        return;
    }
    let bench = Bench::new();
    bench.file("conf", "conf\n");
    bench.file("secret", "secret\n");
    bench.file("guest.wat", WRITES);
    let run = |flags: &[&str]| {
        let theirs = bench.give_to(12345);
        // One is somebody else's.
        std::os::unix::fs::chown(bench.path().join("secret"), Some(0), Some(0)).unwrap();
        bench.run(flags.iter().chain(&["guest.wat"]).copied()).within(theirs).outcome()
    };

    run(&["-v", "./conf:/file", "--tmpfs", "/tmp:4k"]).expect_code(0);
    assert_eq!(fs::read_to_string(bench.path().join("conf")).unwrap(), "xonf\n");
    // It may not write there, whatever is granted, and is told so: `EACCES`, or that it may not.
    run(&["-v", "./secret:/file", "--tmpfs", "/tmp:4k"]).expect_code(2);
    run(&["-v", "./conf:/file:ro", "--tmpfs", "/tmp:4k"]).expect_code(63);
}

/// Writes a letter to `/file`, and ends with the error that it got.
const WRITES: &str = r#"(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1) (data (i32.const 100) "filex")
  (func (export "_start") (local $error i32)
    (i32.store (i32.const 0) (i32.const 104)) (i32.store (i32.const 4) (i32.const 1))
    ;; The directory in memory is 3, and `/` behind it.
    (local.set $error (call $open (i32.const 4) (i32.const 0) (i32.const 100) (i32.const 4)
      (i32.const 0) (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 48)))
    (if (local.get $error) (then (call $exit (local.get $error))))
    (call $exit
      (call $write (i32.load (i32.const 48)) (i32.const 0) (i32.const 1) (i32.const 52)))))"#;

// --- The library.

#[tokio::test(flavor = "multi_thread")]
async fn the_library_grants_both_to_a_guest_with_a_process_and_refuses_a_shared_one_by_name() {
    let Some(_) = OwnMounts::new() else { return };
    let bench = Bench::with_shared_cache();
    let conf = bench.file("conf", "conf\n");
    let runtime = Runtime::builder(bench.cache()).program(aril_path()).open().unwrap();
    let artifact = runtime.prepare(bench.file("guest.wat", WRITES)).await.unwrap();
    let tmpfs = || Tmpfs::new("/tmp").unwrap();
    let file = |access| SingleFile::open(&conf, "/file", access).unwrap();
    let spec = |access| SandboxSpec::new("guest").tmpfs(tmpfs()).file(file(access));

    for (access, code) in [(Access::ReadOnly, 63), (Access::ReadWrite, 0)] {
        let apart = spec(access).isolation(Isolation::Process);
        let sandbox = runtime.launch(&artifact, apart).await.unwrap();
        assert_eq!(sandbox.wait().await.unwrap(), aril::Exit::Exited(code), "{access:?}");
    }
    assert_eq!(fs::read_to_string(&conf).unwrap(), "xonf\n");

    for (spec, what) in [
        (SandboxSpec::new("guest").tmpfs(tmpfs()), "a directory in memory, at `/tmp`"),
        (SandboxSpec::new("guest").file(file(Access::ReadOnly)), "a single file, at `/file`"),
    ] {
        let error = runtime.launch(&artifact, spec).await.unwrap_err();
        assert_eq!(error.kind(), aril::ErrorKind::Denied);
        let text = std::error::Error::source(&error).unwrap().to_string();
        assert!(text.contains(what) && text.contains("Isolation::Process"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_replaced_before_its_guest_is_launched_is_told_of() {
    let Some(_) = OwnMounts::new() else { return };
    let bench = Bench::with_shared_cache();
    let runtime = Runtime::builder(bench.cache()).program(aril_path()).open().unwrap();
    let artifact = runtime.prepare(bench.file("guest.wat", WRITES)).await.unwrap();
    for access in [Access::ReadOnly, Access::ReadWrite] {
        let conf = bench.file("conf", "conf\n");
        let file = SingleFile::open(&conf, "/file", access).unwrap();
        let spec = SandboxSpec::new("guest").tmpfs(Tmpfs::new("/tmp").unwrap()).file(file);
        fs::remove_file(&conf).unwrap();
        fs::write(&conf, "other\n").unwrap();

        let launched = runtime.launch(&artifact, spec.isolation(Isolation::Process)).await;

        let error = launched.unwrap_err();
        let text = std::error::Error::source(&error).unwrap().to_string();
        // Where one of machine code would be is looked at first.
        let told = match access {
            Access::ReadOnly => "removed or replaced since it was granted",
            Access::ReadWrite => "cannot open",
        };
        assert!(text.contains(told), "{text}");
        let other = fs::read_to_string(&conf).unwrap();
        assert_eq!(other, "other\n", "what took its name was not granted");
    }
}

#[test]
fn the_files_of_an_image_are_covered_however_they_are_made_and_whoever_runs_it() {
    let Some(bench) = with_images(WRITES) else { return };
    for user in users() {
        for (image, flags) in [
            ("small", &[][..]),
            ("large", &[]),
            ("small", &["--read-only"]),
            ("large", &["--read-only"]),
        ] {
            bench.file("conf", "conf\n");
            let args = [&["--tmpfs", "/tmp:4k", "-v", "./conf:/file"], flags, &[image]].concat();
            let mut run = bench.run(args);
            if *user != 0 {
                let own = bench.give_to(*user);
                run = run.within(own);
            }
            let outcome = run.outcome().expect_code(0);
            let conf = fs::read_to_string(bench.path().join("conf")).unwrap();
            assert_eq!(conf, "xonf\n", "{image} {flags:?} {user}: {outcome:?}");
        }
    }
}

#[test]
fn what_is_mounted_for_a_guest_is_seen_by_nobody_else_also_where_the_hosts_mounts_are_shared() {
    let Some(mounts) = OwnMounts::new() else { return };
    let bench = Bench::with_shared_cache();
    let program = bench.file("rest.wat", REST);
    bench.file("dir/over", "the host's\n");
    bench.file("file", "the guest's\n");
    // As an engine has the folders of its containers, and systemd all of them.
    let script = format!(
        "set -e
mount --bind dir dir
mount --make-shared dir
cat /proc/self/mountinfo > before
'{}' run -v \"$PWD/dir:/\" -v \"$PWD/file:/over\" --tmpfs /dir '{}' > said &
until grep -q ready said; do kill -0 $!; sleep 0.01; done
cat /proc/self/mountinfo > during
cat dir/over
kill -9 $!
wait $! || true
umount dir",
        aril_path().display(),
        program.display()
    );
    let mut command = mounts.command();
    command.args(["timeout", "20", "sh", "-c", &script]).current_dir(bench.path());
    command.env("ARIL_CACHE_DIR", bench.cache()).env("ARIL_DATA_DIR", bench.data());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "the host's\n", "{output:?}");
    let seen = |name: &str| fs::read_to_string(bench.path().join(name)).unwrap();
    assert_eq!(seen("during"), seen("before"));
}

/// Says that it is ready, and rests.
const REST: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 256) "\08\01\00\00\06\00\00\00ready\n")
  (func (export "_start")
    (drop (call $write (i32.const 1) (i32.const 256) (i32.const 1) (i32.const 512)))
    (i32.store (i32.const 16) (i32.const 1))
    (i64.store (i32.const 24) (i64.const 60000000000))
    (drop (call $poll (i32.const 0) (i32.const 104) (i32.const 1) (i32.const 200)))))"#;
