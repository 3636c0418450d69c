//! The limit on bytes in files that are a guest's own: what it writes over those of an image.

use std::fs;

use aril::Access;
use aril::Bytes;
use aril::Isolation;
use aril::Limit;
use aril::LimitError;
use aril::Limits;
use aril::Runtime;
use aril::SandboxSpec;
use aril::Source;
use serde_json::Value;
use serde_json::json;

use crate::image_files;
use crate::image_files::with_image;
use crate::support::Bench;
use crate::support::OwnMounts;
use crate::support::Run;
use crate::support::aril_path;
use crate::support::skip;

/// Appends pages to `/new` until it is told that there is no room, or has written 100; ends with how
/// many it wrote, and with 255 where it was told anything else.
pub(crate) const FILLS: &str = r#"(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1) (data (i32.const 100) "new")
  (func (export "_start") (local $error i32) (local $pages i32)
    (i32.store (i32.const 0) (i32.const 4096)) (i32.store (i32.const 4) (i32.const 4096))
    ;; To create it, and to append.
    (if (call $open (i32.const 3) (i32.const 0) (i32.const 100) (i32.const 3)
          (i32.const 1) (i64.const 64) (i64.const 0) (i32.const 1) (i32.const 48))
      (then (call $exit (i32.const 254))))
    (loop $more
      (local.set $error
        (call $write (i32.load (i32.const 48)) (i32.const 0) (i32.const 1) (i32.const 52)))
      (if (i32.eqz (local.get $error)) (then
        (local.set $pages (i32.add (local.get $pages) (i32.const 1)))
        (br_if $more (i32.lt_u (local.get $pages) (i32.const 100))))))
    ;; ENOSPC
    (if (i32.and (i32.ne (local.get $error) (i32.const 0)) (i32.ne (local.get $error) (i32.const 51)))
      (then (call $exit (i32.const 255))))
    (call $exit (local.get $pages))))"#;

/// A bench with the images `small` and `large` of this guest: a few small files are copied where there
/// is no limit, what is larger is laid over. Nothing, said aloud, where nobody may mount anything.
pub(crate) fn with_images(guest: &str) -> Option<Bench> {
    OwnMounts::new()?;
    let bench = Bench::new();
    bench.file("large/large", vec![0; 1 << 20]);
    bench.file("small/file", "of the image\n");
    bench.file("guest.wat", guest);
    for name in ["small", "large"] {
        let folder = format!("./{name}:/");
        let args = ["build", "-q", "guest.wat", "--copy", &folder, "-t", name];
        bench.aril(args).outcome().expect_code(0);
    }
    Some(bench)
}

/// Root, and where that is who runs this, an ordinary user as well.
pub(crate) fn users() -> &'static [u32] {
    if rustix::process::geteuid().is_root() { &[0, 12345] } else { &[0] }
}

fn run_as(bench: &Bench, user: u32, args: &[&str]) -> Run {
    let run = bench.run(args.iter().copied());
    if user == 0 { run } else { run.within(bench.give_to(user)) }
}

fn record(bench: &Bench) -> Value {
    serde_json::from_str(&fs::read_to_string(bench.path().join("record.json")).unwrap()).unwrap()
}

fn limit<'a>(record: &'a Value, name: &str) -> &'a Value {
    record["limits"].as_array().unwrap().iter().find(|limit| limit["name"] == name).unwrap()
}

/// Whether anything that is mounted here has this bench in its path.
pub(crate) fn is_mounted_in(bench: &Bench) -> bool {
    let folder = bench.path().to_str().unwrap();
    fs::read_to_string("/proc/self/mountinfo").unwrap().contains(folder)
}

/// What is left in the folder of what runs wrote.
fn left(bench: &Bench) -> usize {
    fs::read_dir(bench.data().join("writable")).map_or(0, Iterator::count)
}

#[test]
fn a_guest_writes_as_much_over_its_images_files_as_its_limit_says_and_not_a_page_more() {
    let Some(bench) = with_images(FILLS) else { return };
    for user in users() {
        for image in ["small", "large"] {
            for (size, pages) in [("4k", 1), ("64k", 16), ("65535", 15), ("1m", 100)] {
                let args = ["--disk", size, "--json", "record.json", image];
                run_as(&bench, *user, &args).outcome().expect_code(pages);
                let record = record(&bench);
                let disk = limit(&record, "disk");
                assert_eq!((&disk["rung"], &disk["asked"]), (&"tmpfs".into(), &true.into()));
                assert_eq!(record["stats"]["disk_bytes"], 4096 * pages, "{record}");
            }
            // Without it, as much as the disk holds, and no figure.
            run_as(&bench, *user, &["--json", "record.json", image]).outcome().expect_code(100);
            let record = record(&bench);
            assert_eq!(limit(&record, "disk")["rung"], "none");
            assert!(record["stats"].get("disk_bytes").is_none(), "{record}");
            run_as(&bench, *user, &["--disk", "unlimited", image]).outcome().expect_code(100);
        }
        assert_eq!(left(&bench), 0, "{user}");
        assert!(!is_mounted_in(&bench));
    }
}

#[test]
fn it_holds_whatever_walls_there_are() {
    let Some(bench) = with_images(FILLS) else { return };
    for user in users() {
        let args = ["--disk", "64k", "--walls", "none", "large"];
        run_as(&bench, *user, &args).outcome().expect_code(16);
    }
}

#[test]
fn what_is_removed_makes_room_and_what_is_below_is_as_it_was() {
    if OwnMounts::new().is_none() {
        return;
    }
    let Some(bench) = with_image(&image_files::python()) else { return };
    let script = "
import errno, os
def fill(path):
    count = 0
    with open(path, 'wb', buffering=0) as file:
        try:
            while True:
                count += file.write(b'x' * 4096)
        except OSError as error:
            return count, errno.errorcode[error.errno]
os.remove('/data/kept')
os.mkdir('/data/kept')
print(fill('/data/kept/one'), fill('/two'))
os.remove('/data/kept/one')
print(fill('/two'))
os.remove('/two')
made = 0
try:
    while True:
        open(f'/tmp/{made}', 'w').close()
        made += 1
except OSError as error:
    print(made < 400, errno.errorcode[error.errno])
";
    let expected = "(1048576, 'ENOSPC') (0, 'ENOSPC')\n(1048576, 'ENOSPC')\nTrue ENOSPC\n";
    image_files::says(&bench, &["--disk", "1m"], script, expected);
    // To change a file of the image takes a copy of it, for which there must be room.
    let script = "
import errno
try:
    open('/bin/app.wasm', 'ab').write(b'x')
except OSError as error:
    print(errno.errorcode[error.errno])
print(open('/data/kept').read(), end='')";
    image_files::says(&bench, &["--disk", "1m"], script, "ENOSPC\nkept\n");
}

#[test]
fn the_volumes_that_an_image_names_are_in_the_same_room() {
    if OwnMounts::new().is_none() {
        return;
    }
    let mut config = image_files::python();
    config["Volumes"] = json!({"/data": {}, "/tmp": {}});
    let Some(bench) = with_image(&config) else { return };
    let script = "
import errno
left = 0
for path in '/data/new', '/tmp/new', '/new':
    count = 0
    try:
        with open(path, 'wb', buffering=0) as file:
            while count < 1 << 19:
                count += file.write(b'x' * 4096)
    except OSError as error:
        print(path, errno.errorcode[error.errno])
    left += count
print(left <= 768 << 10, open('/data/kept').read(), end='')";
    let read_only = "/tmp/new ENOSPC\n/new EPERM\nTrue kept\n";
    image_files::says(&bench, &["--read-only", "--disk", "768k"], script, read_only);
    let writable = "/tmp/new ENOSPC\n/new ENOSPC\nTrue kept\n";
    image_files::says(&bench, &["--disk", "768k"], script, writable);
}

#[test]
fn a_limit_that_nothing_can_hold_is_refused_by_name_before_anything_runs() {
    let Some(bench) = with_images(FILLS) else { return };
    bench.file("dir/file", "");
    let refuses = |args: &[&str], words: &[&str]| {
        let outcome = bench.run(args.iter().copied()).outcome().expect_code(125);
        words.iter().fold(outcome, |outcome, word| outcome.expect_error(word));
    };
    let nothing = ["`disk`", "there are none", "`--tmpfs PATH:size=SIZE`"];
    refuses(&["--disk", "1m", "guest.wat"], &nothing);
    refuses(&["--disk", "1m", "-v", "./dir:/", "guest.wat"], &nothing);
    refuses(&["--disk", "1m", "--tmpfs", "/tmp", "guest.wat"], &nothing);
    refuses(&["--disk", "1m", "--read-only", "large"], &["`disk`", "`--read-only`"]);
    refuses(&["--disk", "4095", "large"], &["`disk`", "4 KiB at least"]);
    assert_eq!(left(&bench), 0);
}

#[test]
fn an_ordinary_user_without_namespaces_is_told_what_is_missing_and_nothing_runs() {
    let Some(bench) = with_images(FILLS) else { return };
    if !rustix::process::geteuid().is_root() {
        skip("only root can take namespaces away from a user");
        return;
    }
    // Whoever sees another root than the mounts have makes no namespace of users.
    let script = "mount --rbind / \"$0\" && exec chroot --userspec=12345:12345 \"$0\" \"$@\"";
    let _theirs = bench.give_to(12345);
    let other = tempfile::tempdir().unwrap();
    let mut outer = std::process::Command::new("unshare");
    outer.args(["--mount", "sh", "-c", script]).arg(other.path());
    let outcome = bench.run(["--disk", "1m", "large"]).within(outer).outcome();
    outer_is_refused(outcome);
    assert_eq!(left(&bench), 0);
}

fn outer_is_refused(outcome: crate::support::Outcome) {
    let outcome = outcome.expect_code(125).expect_error("`disk`").expect_error("overlay");
    outcome.expect_error("run `aril` as root");
}

#[test]
fn doctor_says_by_what_it_is_held() {
    let Some(bench) = with_images(FILLS) else { return };
    let told = bench.aril(["doctor"]).outcome().stdout;
    let line = told.lines().find(|line| line.contains("limit: disk")).unwrap();
    assert!(line.contains("held by tmpfs (default: unlimited)"), "{line}");
}

// --- The library.

#[tokio::test(flavor = "multi_thread")]
async fn the_library_holds_it_in_either_isolation_and_changes_it_while_the_guest_runs() {
    let Some(bench) = with_images(FILLS) else { return };
    if !rustix::process::geteuid().is_root() {
        skip("a process with threads that is not root's gets no overlay");
        return;
    }
    let builder = Runtime::builder(bench.cache()).program(aril_path()).data(bench.data());
    let runtime = builder.open().unwrap();
    let image = runtime.image(&"large".parse().unwrap()).unwrap();
    let artifact = runtime.prepare(Source::image(image.clone())).await.unwrap();
    let limits = |disk| Limits { disk, ..Limits::default() };
    let files = |disk| {
        let files = runtime.image_files_within(&image, Access::ReadWrite, &limits(disk));
        files.unwrap().unwrap()
    };
    let spec = |files: &aril::ImageFiles, disk| {
        SandboxSpec::new("guest").directory(files.directory()).limits(limits(disk))
    };
    let small = Limit::Of(Bytes::kib(64));
    for isolation in [Isolation::Shared, Isolation::Process] {
        let files = files(small);
        let launch = |disk| runtime.launch(&artifact, spec(&files, disk).isolation(isolation));
        // The same files are there for the next one, and the limits of that.
        for (disk, pages) in [(small, 16), (small, 0), (Limit::Of(Bytes::kib(72)), 2)] {
            let sandbox = launch(disk).await.unwrap();
            let record = sandbox.record().await.unwrap();
            assert_eq!(record.exit, aril::Exit::Exited(pages), "{isolation:?}");
            let hold = record.holds.iter().find(|hold| hold.name == "disk").unwrap();
            assert_eq!(hold.rung, aril::Rung::Tmpfs);
            assert_eq!(sandbox.stats().disk, disk.or(None), "{isolation:?}");

            // The room is there as long as somebody holds it.
            let less = sandbox.update(|limits| limits.disk = Bytes::kib(60).into());
            let Err(LimitError::OutOfRange { name: "disk", range, .. }) = less else {
                panic!("{less:?}")
            };
            assert!(range.contains("are in use"), "{range}");
        }
        let error = launch(Limit::Of(Bytes::kib(4))).await.unwrap_err();
        let text = std::error::Error::source(&error).unwrap().to_string();
        assert!(text.contains("`disk`") && text.contains("73728 bytes of it are in use"), "{text}");
        files.remove().unwrap();
    }
    // What was made without it cannot be held to it.
    let files = files(Limit::Default);
    let error = runtime.launch(&artifact, spec(&files, small)).await.unwrap_err();
    assert_eq!(error.kind(), aril::ErrorKind::Denied);
    let text = std::error::Error::source(&error).unwrap().to_string();
    assert!(text.contains("`Runtime::image_files_within`"), "{text}");
    let sandbox = runtime.launch(&artifact, spec(&files, Limit::Default)).await.unwrap();
    let refused = sandbox.update(|limits| limits.disk = small);
    assert!(matches!(refused, Err(LimitError::NoRung { name: "disk", .. })), "{refused:?}");
    files.remove().unwrap();
    assert_eq!(left(&bench), 0);
    assert!(!is_mounted_in(&bench));
}
