//! Section 4.1: a guest against the directories that it was granted.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::fs::chown;
use std::process::Command;
use std::time::Duration;

use super::guest::APPEND;
use super::guest::BUFFER;
use super::guest::BUFFER_SIZE;
use super::guest::CREATE;
use super::guest::DATA_SYNC;
use super::guest::DIRECTORY;
use super::guest::EXCLUSIVE;
use super::guest::Guest;
use super::guest::NONBLOCK;
use super::guest::READ;
use super::guest::RETURNED;
use super::guest::TRUNCATE;
use super::guest::WRITE;
use super::host::Host;
use super::host::NOBODY;
use super::host::SECRET;
use crate::support::OwnMounts;
use crate::support::Run;

#[test]
fn a_path_with_dots_does_not_lead_above_a_grant() {
    let host = Host::new();
    host.folder("grant/a");
    let long = format!("{}canary", "../".repeat(1000));
    let guest = Guest::new()
        .read(3, "../canary")
        .read(3, "a/../../canary")
        .read(3, "a/../../grant/../canary")
        .read(3, "..")
        .stat(3, "../canary", true)
        .read(3, &long);
    let attack = host.attack(host.grant("grant", "/"), &guest);
    let long = format!("open {long}");
    attack.expect(&[
        ("open ../canary", "perm"),
        ("open a/../../canary", "perm"),
        ("open a/../../grant/../canary", "perm"),
        ("open ..", "perm"),
        ("stat ../canary", "perm"),
        (&long, "perm"),
    ]);
    let attack = host.attack(host.grant("grant", "/"), &Guest::new().read(3, "../canary").fail());
    attack.expect_code(1).expect_error("leads out of what was granted");
}

#[test]
fn ten_thousand_steps_upwards_are_refused_at_once() {
    let host = Host::new();
    let long = format!("{}canary", "../".repeat(10_000));
    let attack = host.attack(host.grant("grant", "/"), &Guest::new().read(3, &long));
    assert!(["perm", "nametoolong"].contains(&attack.said()[0].1), "{attack:#?}");
    assert!(attack.outcome.elapsed < Duration::from_secs(5), "{:?}", attack.outcome.elapsed);
}

#[test]
fn an_absolute_path_is_no_path_of_the_host() {
    let host = Host::new();
    let canary = host.path("canary");
    let guest = Guest::new().read(3, "/etc/passwd").read(3, canary.to_str().unwrap());
    let attack = host.attack(host.grant("grant", "/"), &guest);
    let said: Vec<&str> = attack.said().into_iter().map(|(_, errno)| errno).collect();
    assert_eq!(said, ["perm", "perm"], "{attack:#?}");
}

#[test]
fn without_a_grant_there_is_an_empty_directory_that_cannot_be_written_to() {
    let host = Host::new();
    let guest = Guest::new()
        .open(3, ".", DIRECTORY, READ)
        .list(RETURNED)
        .say("size", RETURNED)
        .read(3, "etc/passwd")
        .open(3, "new", CREATE, WRITE)
        .path("path_create_directory", 3, "folder", "")
        .call("a second grant", "fd_prestat_get", format!("(i32.const 4) (i32.const {BUFFER})"));
    let record = host.bench().path().join("record.json");
    let attack = host.attack(["--json".into(), record.clone().into_os_string()], &guest);
    assert_eq!((attack.number("open ."), attack.number("list")), (0, 0));
    // `.` and `..`, of 24 and one or two bytes each.
    assert_eq!(attack.number("size"), 24 + 1 + 24 + 2);
    assert_eq!(
        attack.said()[3..],
        [
            ("open etc/passwd", "noent"),
            ("open new", "perm"),
            ("create_directory folder", "perm"),
            ("a second grant", "badf"),
        ]
    );
    let record = fs::read_to_string(record).unwrap();
    assert!(record.contains(r#"{"path":"/etc/passwd","refusal":"not_granted","#), "{record}");
    let attack = host.attack([] as [&str; 0], &Guest::new().read(3, "etc/passwd").fail());
    attack.expect_code(1).expect_error("no directory is granted there");
}

#[test]
fn a_symbolic_link_that_leads_outside_leads_nowhere() {
    let host = Host::new();
    host.symlink(host.path("canary"), "grant/absolute");
    host.symlink("../canary", "grant/relative");
    host.symlink("relative", "grant/second");
    host.symlink("../outside", "grant/folder");
    host.symlink("loop", "grant/loop");
    host.file("grant/inside", "inside");
    let mut before = "inside".to_owned();
    for i in 0..41 {
        host.symlink(&before, &format!("grant/chain-{i}"));
        before = format!("chain-{i}");
    }
    let guest = Guest::new()
        .read(3, "absolute")
        .stat(3, "absolute", true)
        .stat(3, "absolute", false)
        .read(3, "relative")
        .read(3, "second")
        .read(3, "folder/canary")
        .read(3, "folder/../canary")
        .read(3, "loop")
        .read(3, "chain-10")
        .read(3, "chain-40")
        .path("path_unlink_file", 3, "folder/canary", "");
    host.attack(host.grant("grant", "/"), &guest).expect(&[
        ("open absolute", "perm"),
        ("stat absolute", "perm"),
        ("stat absolute", "ok"),
        ("open relative", "perm"),
        ("open second", "perm"),
        ("open folder/canary", "perm"),
        ("open folder/../canary", "perm"),
        ("open loop", "loop"),
        ("open chain-10", "ok"),
        ("open chain-40", "loop"),
        ("unlink_file folder/canary", "perm"),
    ]);
}

#[test]
fn removing_a_link_leaves_what_it_leads_to() {
    let host = Host::new().free("grant");
    host.symlink("../canary", "grant/link");
    let guest = Guest::new().path("path_unlink_file", 3, "link", "");
    host.attack(host.grant("grant", "/"), &guest).expect(&[("unlink_file link", "ok")]);
    assert!(fs::symlink_metadata(host.path("grant/link")).is_err(), "the link is gone");
}

/// RUSTSEC-2026-0269.
#[test]
fn a_slash_at_the_end_does_not_make_a_link_lead_outside() {
    let host = Host::new();
    host.symlink("../outside", "grant/link");
    host.symlink("../outside/", "grant/slashed");
    host.symlink("../canary", "grant/file");
    host.symlink("../outside/new", "grant/dangling");
    host.file("grant/own", "own");
    let mut guest = Guest::new();
    for path in ["link/", "link//", "link/.", "slashed/", "file/", "dangling/"] {
        guest = guest
            .open(3, path, DIRECTORY, READ)
            .open(3, path, CREATE, WRITE)
            .open(3, path, TRUNCATE, WRITE)
            .path("path_create_directory", 3, path, "")
            .path("path_remove_directory", 3, path, "")
            .path("path_unlink_file", 3, path, "")
            .rename((3, path), (3, "moved"))
            .rename((3, "own"), (3, path))
            .link((3, "own"), (3, path))
            .link((3, path), (3, "linked"))
            .symlink("own", 3, path)
            .readlink(3, path)
            .touch(3, path)
            .stat(3, path, true)
            .read(3, &format!("{path}canary"));
    }
    let guest = guest
        .open(3, "slashed", DIRECTORY, READ)
        .open(3, "slashed", CREATE, WRITE)
        .stat(3, "slashed", true)
        .read(3, "slashed/canary");
    let attack = host.attack(host.grant("grant", "/"), &guest).expect_code(0);
    let said = attack.said();
    assert_eq!(said.len(), 6 * 15 + 4, "{attack:#?}");
    for (what, errno) in said {
        let refused = ["perm", "notdir", "noent", "exist", "inval", "isdir", "loop", "notempty"];
        assert!(refused.contains(&errno), "{what}: {errno}");
    }
}

#[test]
fn a_link_that_a_guest_makes_is_followed_by_nobody_out_of_the_grant() {
    let host = Host::new().free("grant");
    let canary = host.path("canary");
    let guest = Guest::new()
        .symlink(canary.to_str().unwrap(), 3, "absolute")
        .symlink("../canary", 3, "relative")
        .read(3, "relative");
    let attack = host.attack(host.grant("grant", "/"), &guest);
    let said: Vec<&str> = attack.said().into_iter().map(|(_, errno)| errno).collect();
    assert_eq!(said, ["perm", "ok", "perm"], "{attack:#?}");
    // A second run whose working directory is such a link does not start in it.
    host.symlink("../outside", "grant/work");
    let flags = host.grant("grant", "/g").into_iter().chain(["-w".into(), "/g/work".into()]);
    let attack = host.attack(flags, &Guest::new().read(4, "canary"));
    attack.expect_code(125).expect_error("working directory");
}

/// How often a directory and a link change places, at least.
const SWAPS: u32 = 100_000;

#[test]
fn a_directory_that_turns_into_a_link_and_back_never_leads_outside() {
    let host = Host::new().free("grant");
    host.file("grant/dir/x", "inside");
    host.file("outside/x", SECRET);
    let mut guest = Guest::new().say("go", "(i32.const 0)");
    let (old, new, stop) = (guest.text("dir/x"), guest.text("dir/new"), guest.text("stop"));
    let open = |path: &str, oflags: u32, rights: u64| {
        format!(
            "(local.set $n (call $path_open (i32.const 3) (i32.const 1) {path} (i32.const {oflags})
              (i64.const {rights}) (i64.const 0) (i32.const 0) (i32.const 8)))"
        )
    };
    // Errors are counted by their numbers, from 1024 on.
    let count = |at: &str| format!("(i32.store {at} (i32.add (i32.load {at}) (i32.const 1)))");
    let refused = count("(i32.add (i32.const 1024) (i32.shl (local.get $n) (i32.const 2)))");
    let any_refused = count("(i32.const 512)");
    let created = count("(i32.const 516)");
    let (open_old, open_new) = (open(&old, 0, READ), open(&new, CREATE | TRUNCATE, WRITE));
    let guest = guest
        .times(
            u32::MAX,
            format!(
                "{open_old}
                (if (local.get $n)
                  (then {refused} {any_refused})
                  (else
                    (i32.store (i32.const 32) (i32.const {BUFFER}))
                    (i32.store (i32.const 36) (i32.const 64))
                    (drop (call $fd_read {RETURNED} (i32.const 32) (i32.const 1) (i32.const 40)))
                    (if (i32.eq (i32.load8_u (i32.const {BUFFER})) (i32.const 105))
                      (then (local.set $a (i32.add (local.get $a) (i32.const 1))))
                      (else (local.set $b (i32.add (local.get $b) (i32.const 1)))))
                    (drop (call $fd_close {RETURNED}))))
                {open_new}
                (if (local.get $n)
                  (then {refused} {any_refused})
                  (else {created} (drop (call $fd_close {RETURNED}))))
                (if (i32.eqz (i32.and (local.get $i) (i32.const 63)))
                  (then (br_if $done (i32.eqz (call $path_filestat_get (i32.const 3) (i32.const 0)
                    {stop} (i32.const {BUFFER}))))))"
            ),
        )
        .say("inside", "(local.get $a)")
        .say("created", "(i32.load (i32.const 516))")
        .say("outside", "(local.get $b)")
        .say("refused", "(i32.load (i32.const 512))")
        .say("perm", "(i32.load offset=1024 (i32.const 252))");
    let (dir, spare) = (host.path("grant/dir"), host.path("grant/spare"));
    std::os::unix::fs::symlink(host.path("outside"), &spare).unwrap();
    let wasm = host.bench().file("race.wat", guest.wat());
    let flags = host.grant("grant", "/").into_iter().chain([wasm.into_os_string()]);
    let watch = host.watch();
    let running = host.run(flags).start();
    running.wait_for_output("go 0\n");
    for target in ["absolute", "relative"] {
        if target == "relative" {
            fs::remove_file(&spare).unwrap();
            host.symlink("../outside", "grant/spare");
        }
        // An even number: in the end the directory is where it was.
        (0..SWAPS / 2).for_each(|_| exchange(&dir, &spare));
    }
    // Only now does the guest end: all of the above happened while it opened.
    host.file("grant/stop", "");
    let outcome = running.outcome();
    watch.check(&host, &outcome);
    let attack = super::host::Attack { outcome }.expect_code(0);
    assert_eq!(attack.number("outside"), 0, "{attack:#?}");
    assert_eq!(attack.number("refused"), attack.number("perm"), "another error: {attack:#?}");
    // Each of them met both: the directory, and the link.
    for label in ["inside", "created", "perm"] {
        assert!(1000 < attack.number(label), "{label}: {attack:#?}");
    }
}

/// Gives each of two paths what the other is, at once.
fn exchange(one: &std::path::Path, other: &std::path::Path) {
    use rustix::fs::CWD;
    rustix::fs::renameat_with(CWD, one, CWD, other, rustix::fs::RenameFlags::EXCHANGE).unwrap();
}

#[test]
fn a_directory_that_was_moved_out_of_its_grant_still_ends_at_itself() {
    let host = Host::new();
    host.file("grant/held/file", "inside");
    // The guest opens the directory, says so, and goes on when its input ends.
    let mut guest = Guest::new().open(3, "held", DIRECTORY, READ);
    let (own, above) = (guest.text("file"), guest.text("../canary"));
    let open = |path: &str| {
        format!(
            "(local.get $a) (i32.const 1) {path} (i32.const 0) (i64.const {READ}) (i64.const 0) \
             (i32.const 0) (i32.const 8)"
        )
    };
    let guest = guest
        .code(format!("(local.set $a {RETURNED})"))
        .code(format!(
            "(i32.store (i32.const 32) (i32.const {BUFFER})) (i32.store (i32.const 36) (i32.const 1))
            (drop (call $fd_read (i32.const 0) (i32.const 32) (i32.const 1) (i32.const 40)))"
        ))
        .call("own", "path_open", open(&own))
        .call("above", "path_open", open(&above))
        .read(3, "held/file");
    let wasm = host.bench().file("moved.wat", guest.wat());
    let flags = host.grant("grant", "/").into_iter().chain(["-i".into(), wasm.into_os_string()]);
    let mut run = host.run(flags);
    let (input, mut write) = std::io::pipe().unwrap();
    let (mut output, stdout) = std::io::pipe().unwrap();
    let mut child = run.command.stdin(input).stdout(stdout).spawn().unwrap();
    drop(run);
    let mut said = vec![0; "open held 0\n".len()];
    std::io::Read::read_exact(&mut output, &mut said).unwrap();
    fs::rename(host.path("grant/held"), host.path("held")).unwrap();
    std::io::Write::write_all(&mut write, b"x").unwrap();
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut output, &mut rest).unwrap();
    assert!(child.wait().unwrap().success());
    // What it holds open stays, but for kernels whose own list knows the grant by where it was (before
    // Linux 6.18, about); nothing leads from there to what is around it.
    let lines: Vec<&str> = rest.lines().collect();
    let own: &[&str] = if host.holds("landlock") { &["own 0", "own 2"] } else { &["own 0"] };
    assert!(own.contains(&lines[0]), "{rest}");
    assert_eq!(lines[1..], ["above 63", "open held/file 44"]);
}

/// What changes a file or a directory, in every way that WASI has, and how a grant for reading
/// answers: CVE-2026-47261 and CVE-2026-58494 are among them.
fn ways_to_write(fd: u32) -> (Guest, Vec<(&'static str, &'static str)>) {
    let base = format!("(i32.const {fd})");
    let opens = [
        ("write", 0, WRITE, 0),
        ("read and write", 0, READ | WRITE, 0),
        ("truncate", TRUNCATE, 0, 0),
        ("truncate to read", TRUNCATE, READ, 0),
        ("truncate to write", TRUNCATE, WRITE, 0),
        ("append", 0, WRITE, APPEND),
        ("create what is there", CREATE, READ, 0),
    ];
    let mut guest = Guest::new();
    for (label, oflags, rights, flags) in opens {
        guest = guest.open_as(label, &base, "file", oflags, rights, flags);
    }
    let guest = guest
        .open_as("create", &base, "new", CREATE, 0, 0)
        .open_as("create exclusively", &base, "new", CREATE | EXCLUSIVE, READ | WRITE, 0)
        .path("path_unlink_file", fd, "file", "")
        .path("path_create_directory", fd, "folder", "")
        .path("path_remove_directory", fd, "empty", "")
        .rename((fd, "file"), (fd, "moved"))
        .rename((fd, "file"), (fd, "other"))
        .rename((fd, "empty"), (fd, "moved"))
        .link((fd, "file"), (fd, "linked"))
        .symlink("file", fd, "linked")
        .touch(fd, "file")
        .touch(fd, ".")
        .open(fd, "empty", DIRECTORY, READ)
        .call(
            "times of a directory",
            "fd_filestat_set_times",
            format!("{RETURNED} (i64.const 0) (i64.const 0) (i32.const 10)"),
        )
        .open_as("create beneath", RETURNED, "new", CREATE, WRITE, 0)
        .open_as("open to append", &base, "file", 0, READ, APPEND);
    let guest = write_through(guest).open(fd, "file", 0, READ);
    let guest = write_through(guest);
    let through = [
        ("append from now on", "ok"),
        ("synchronize from now on", "inval"),
        ("allocate", "notsup"),
        ("set_size", "perm"),
        ("set_times", "perm"),
        ("write", "badf"),
        ("pwrite", "badf"),
    ];
    let expected = opens.map(|(label, ..)| (label, "perm")).into_iter().chain([
        ("create", "perm"),
        ("create exclusively", "perm"),
        ("unlink_file file", "perm"),
        ("create_directory folder", "perm"),
        ("remove_directory empty", "perm"),
        ("rename file moved", "perm"),
        ("rename file other", "perm"),
        ("rename empty moved", "perm"),
        ("link file linked", "perm"),
        ("symlink file linked", "perm"),
        ("touch file", "perm"),
        ("touch .", "perm"),
        ("open empty", "ok"),
        ("times of a directory", "perm"),
        ("create beneath", "perm"),
        ("open to append", "ok"),
    ]);
    let expected = expected.chain(through).chain([("open file", "ok")]).chain(through);
    (guest, expected.collect())
}

/// Tries to change the file that was opened last.
fn write_through(mut guest: Guest) -> Guest {
    let data = guest.text("x");
    let data = data.split_once(')').unwrap().0.to_owned() + ")";
    guest
        .code(format!("(local.set $a {RETURNED})"))
        .call(
            "append from now on",
            "fd_fdstat_set_flags",
            format!("(local.get $a) (i32.const {})", APPEND | NONBLOCK),
        )
        .call(
            "synchronize from now on",
            "fd_fdstat_set_flags",
            format!("(local.get $a) (i32.const {DATA_SYNC})"),
        )
        .call("allocate", "fd_allocate", "(local.get $a) (i64.const 0) (i64.const 4096)")
        .call("set_size", "fd_filestat_set_size", "(local.get $a) (i64.const 0)")
        .call(
            "set_times",
            "fd_filestat_set_times",
            "(local.get $a) (i64.const 0) (i64.const 0) (i32.const 10)",
        )
        .code(format!("(i32.store (i32.const 32) {data}) (i32.store (i32.const 36) (i32.const 1))"))
        .call("write", "fd_write", "(local.get $a) (i32.const 32) (i32.const 1) (i32.const 40)")
        .call(
            "pwrite",
            "fd_pwrite",
            "(local.get $a) (i32.const 32) (i32.const 1) (i64.const 0) (i32.const 40)",
        )
}

#[test]
fn what_was_granted_for_reading_is_never_written_to() {
    let host = Host::new();
    host.file("grant/file", "inside");
    host.file("grant/other", "other");
    host.folder("grant/empty");
    let (guest, expected) = ways_to_write(3);
    host.attack(host.grant("grant", "/:ro"), &guest).expect(&expected);
    let grant = host.grant("grant", "/:ro");
    let attack = host.attack(grant, &Guest::new().open(3, "file", 0, WRITE).fail());
    attack.expect_code(1).expect_error("granted with `:ro`");
}

#[test]
fn a_writable_grant_beside_a_read_only_one_does_not_open_it() {
    let host = Host::new().free("writable");
    host.file("grant/file", "inside");
    host.file("grant/other", "other");
    host.folder("grant/empty");
    host.file("writable/own", "own");
    host.folder("writable/folder");
    let flags = [host.grant("grant", "/r:ro"), host.grant("writable", "/w")].concat();
    let (guest, mut expected) = ways_to_write(3);
    let guest = guest
        .rename((3, "file"), (4, "taken"))
        .rename((3, "empty"), (4, "taken"))
        .rename((4, "own"), (3, "brought"))
        .rename((4, "own"), (3, "file"))
        .rename((4, "folder"), (3, "empty"))
        .link((4, "own"), (3, "brought"))
        .link((3, "file"), (4, "taken"))
        .open(4, "taken", 0, WRITE)
        // A link to the other grant leads out of this one.
        .symlink("../grant/file", 4, "link")
        .open(4, "link", 0, WRITE)
        .open(4, "own", 0, WRITE);
    expected.extend([
        ("rename file taken", "perm"),
        ("rename empty taken", "perm"),
        ("rename own brought", "perm"),
        ("rename own file", "perm"),
        ("rename folder empty", "perm"),
        ("link own brought", "perm"),
        ("link file taken", "perm"),
        ("open taken", "noent"),
        ("symlink ../grant/file link", "ok"),
        ("open link", "perm"),
        ("open own", "ok"),
    ]);
    host.attack(flags, &guest).expect(&expected);
    let names = ["folder", "link", "own"];
    let mut left: Vec<_> = fs::read_dir(host.path("writable")).unwrap().collect();
    left.sort_by_key(|entry| entry.as_ref().unwrap().file_name());
    assert!(left.into_iter().map(|entry| entry.unwrap().file_name()).eq(names), "only its own");
}

#[test]
fn a_hard_link_to_a_file_of_another_owner_is_not_a_way_around_its_mode() {
    let host = Host::new().free("grant");
    let Some(nobody) = host.nobody() else { return };
    // The grant is the caller's own, and in it lie files that are root's.
    chown(host.path("grant"), Some(NOBODY), Some(NOBODY)).unwrap();
    for (name, content, mode) in [("secret", SECRET, 0o600), ("public", "public", 0o644)] {
        let path = host.file(&format!("grant/{name}"), content);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        // As a guest could make it where the kernel does not protect hard links.
        fs::hard_link(&path, host.path(&format!("grant/{name}-made"))).unwrap();
    }
    let mut guest = Guest::new();
    for name in ["secret", "public"] {
        let (made, linked) = (format!("{name}-made"), format!("{name}-linked"));
        guest = guest.link((3, name), (3, &linked));
        for path in [name, &made] {
            guest = guest
                .read(3, path)
                .open_as("write", "(i32.const 3)", path, 0, WRITE, 0)
                .open_as("append", "(i32.const 3)", path, 0, WRITE, APPEND)
                .open_as("truncate", "(i32.const 3)", path, TRUNCATE, READ, 0)
                .touch(3, path);
        }
        guest = guest.open_as("write what it linked", "(i32.const 3)", &linked, 0, WRITE, 0);
    }
    let guest = guest.open(3, "own", CREATE, WRITE);
    let protected = fs::read_to_string("/proc/sys/fs/protected_hardlinks").unwrap();
    let (link, write_linked) =
        if protected.trim() == "1" { ("perm", "noent") } else { ("ok", "acces") };
    // The times of a file that may not be opened are set by its name among what a process has open,
    // which are not to be seen behind the walls.
    let touch = if host.holds("mount_namespace") { "notsup" } else { "perm" };
    let attack =
        host.attack_wat(host.grant("grant", "/"), guest.wat(), |run| nobody.runs(run)).expect(&[
            ("link secret secret-linked", link),
            ("open secret", "acces"),
            ("write", "acces"),
            ("append", "acces"),
            ("truncate", "acces"),
            ("touch secret", touch),
            ("open secret-made", "acces"),
            ("write", "acces"),
            ("append", "acces"),
            ("truncate", "acces"),
            ("touch secret-made", touch),
            ("write what it linked", write_linked),
            ("link public public-linked", link),
            ("open public", "ok"),
            ("write", "acces"),
            ("append", "acces"),
            ("truncate", "acces"),
            ("touch public", "perm"),
            ("open public-made", "ok"),
            ("write", "acces"),
            ("append", "acces"),
            ("truncate", "acces"),
            ("touch public-made", "perm"),
            ("write what it linked", write_linked),
            ("open own", "ok"),
        ]);
    // What everybody may read is read: the guest did look, and as that user.
    assert_eq!(attack.outcome.stdout.matches("public\n").count(), 2, "{attack:#?}");
    assert_eq!(fs::metadata(host.path("grant/own")).unwrap().uid(), NOBODY);
    for (name, content, mode) in [("secret", SECRET, 0o600), ("public", "public", 0o644)] {
        let path = host.path(&format!("grant/{name}"));
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.uid()), (mode, 0), "{name}");
        assert_eq!(fs::read_to_string(path).unwrap(), content);
    }
}

#[test]
fn descriptors_can_be_renumbered_a_million_times_and_none_is_gained() {
    let host = Host::new();
    host.file("grant/file", "inside");
    let guest = Guest::new()
        .call("onto itself", "fd_renumber", "(i32.const 3) (i32.const 3)")
        .call("onto nothing", "fd_renumber", "(i32.const 3) (i32.const 77)")
        .call("from nothing", "fd_renumber", "(i32.const 77) (i32.const 3)")
        .call("far", "fd_renumber", "(i32.const -1) (i32.const -1)")
        .open(3, "file", 0, READ)
        .open(3, "file", 0, READ)
        .call("onto a grant", "fd_renumber", "(i32.const 4) (i32.const 3)")
        .call("back", "fd_renumber", "(i32.const 3) (i32.const 5)");
    // Four ways, of which one may work: `$n` counts other answers.
    let rounds = [(5, 5, 0), (5, 77, 8), (77, 5, 8), (4, 5, 8)].map(|(from, to, errno)| {
        let call = format!("(call $fd_renumber (i32.const {from}) (i32.const {to}))");
        let wrong = format!("(i32.ne {call} (i32.const {errno}))");
        format!("(local.set $n (i32.add (local.get $n) {wrong}))")
    });
    let guest = guest
        .times(250_000, rounds.concat())
        .say("wrong", "(local.get $n)")
        .call("gone", "fd_close", "(i32.const 4)")
        .call("gone too", "fd_close", "(i32.const 3)")
        .call("last", "fd_close", "(i32.const 5)");
    host.attack(host.grant("grant", "/"), &guest).expect(&[
        ("onto itself", "ok"),
        ("onto nothing", "badf"),
        ("from nothing", "badf"),
        ("far", "badf"),
        ("open file", "ok"),
        ("open file", "ok"),
        ("onto a grant", "ok"),
        ("back", "ok"),
        ("wrong", "ok"),
        ("gone", "badf"),
        ("gone too", "badf"),
        ("last", "ok"),
    ]);
}

/// GHSA-3p27: what had the number before stayed open.
#[test]
fn a_number_that_ten_thousand_files_are_given_holds_one_of_them() {
    let host = Host::new();
    host.file("grant/file", "inside");
    let mut guest = Guest::new().open(4, "file", 0, READ).open(4, "file", 0, READ).call(
        "onto a grant",
        "fd_renumber",
        format!("{RETURNED} (i32.const 3)"),
    );
    let path = guest.text("file");
    let failed = |call: &str| format!("(if {call} (then (local.set $n (i32.const 1))))");
    let open = failed(&format!(
        "(call $path_open (i32.const 4) (i32.const 1) {path} (i32.const 0) (i64.const {READ})
          (i64.const 0) (i32.const 0) (i32.const 8))"
    ));
    let onto =
        |number: u32| failed(&format!("(call $fd_renumber {RETURNED} (i32.const {number}))"));
    let (onto_one, onto_other) = (onto(5), onto(3));
    let pause = super::PAUSE;
    let pause =
        format!("(if (i32.eqz (i32.rem_u (local.get $i) (i32.const 1000))) (then {pause}))");
    // Looked at between opening and renumbering, and after it.
    let guest = guest
        .times(10_000, format!("{open} {pause} {onto_one} {open} {onto_other} {pause}"))
        .say("failed", "(local.get $n)")
        .say("number", RETURNED);
    let wasm = host.bench().file("guest.wat", guest.wat()).into_os_string();
    let flags = [host.grant("grant", "/"), host.grant("grant", "/b")].concat();
    let run = host.run(flags.into_iter().chain(["-i".into(), wasm]));
    let (counts, said) =
        super::look_each(run, |pid| fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count());
    assert!(said.ends_with("failed 0\nnumber 6\n"), "{said}");
    assert_eq!(counts.len(), 20, "{said}");
    for (i, count) in counts.iter().enumerate() {
        // Between, one more is open.
        assert_eq!(*count, counts[0] - i % 2, "{counts:?}");
    }
    super::host::nothing_is_left(&host);
}

#[test]
fn a_grant_that_was_closed_is_gone_and_its_number_means_what_is_opened_next() {
    let host = Host::new();
    host.file("grant/file", "inside");
    host.file("second/sub/file", "second");
    host.file("second/above", "above");
    let prestat = format!("(i32.const 3) (i32.const {BUFFER})");
    let guest = Guest::new()
        .open(3, "file", 0, READ)
        .call("close the grant", "fd_close", "(i32.const 3)")
        .open(3, "file", 0, READ)
        .open(3, "new", CREATE, WRITE)
        .stat(3, "file", true)
        .call("its name", "fd_prestat_get", &prestat)
        .call("renumber", "fd_renumber", "(i32.const 3) (i32.const 4)")
        .call("close again", "fd_close", "(i32.const 3)")
        .open(4, "sub", DIRECTORY, READ)
        .say("number", RETURNED)
        .read(3, "file")
        .open(3, "../above", 0, READ)
        .open(3, "../../grant/file", 0, READ)
        .call("its name now", "fd_prestat_get", &prestat)
        .call("close what it is", "fd_close", "(i32.const 3)")
        .open(3, "file", 0, READ);
    let record = host.bench().path().join("record.json");
    let flags = [host.grant("grant", "/"), host.grant("second", "/b")].concat();
    let flags = flags.into_iter().chain(["--json".into(), record.clone().into_os_string()]);
    let attack = host.attack(flags, &guest).expect_code(0);
    assert_eq!(attack.number("number"), 3, "{attack:#?}");
    let said: Vec<_> = attack.said().into_iter().filter(|(what, _)| *what != "number").collect();
    assert_eq!(
        said,
        [
            ("open file", "ok"),
            ("close the grant", "ok"),
            ("open file", "badf"),
            ("open new", "badf"),
            ("stat file", "badf"),
            ("its name", "badf"),
            ("renumber", "badf"),
            ("close again", "badf"),
            ("open sub", "ok"),
            ("open file", "ok"),
            ("open ../above", "perm"),
            ("open ../../grant/file", "perm"),
            ("its name now", "badf"),
            ("close what it is", "ok"),
            ("open file", "badf"),
        ],
        "{attack:#?}"
    );
    assert!(attack.outcome.stdout.contains("second\n"), "{attack:#?}");
    // Its caller is told where that was: not in the grant that had the number before.
    let record = fs::read_to_string(record).unwrap();
    assert!(record.contains(r#"{"path":"/b/sub/../above","refusal":"outside","#), "{record}");
}

#[test]
fn a_closed_input_does_not_eat_up_the_files_that_may_be_open() {
    let host = Host::new();
    host.file("grant/file", "inside");
    let mut guest = Guest::new().call("close input", "fd_close", "(i32.const 0)");
    let path = guest.text("file");
    let guest = guest
        .times(
            3000,
            format!(
                "(if (call $path_open (i32.const 3) (i32.const 1) {path} (i32.const 0)
                    (i64.const {READ}) (i64.const 0) (i32.const 0) (i32.const 8))
                  (then (local.set $n (i32.add (local.get $n) (i32.const 1)))))
                (drop (call $fd_close {RETURNED}))"
            ),
        )
        .say("failed", "(local.get $n)")
        .say("number", RETURNED);
    let attack = host.attack(host.grant("grant", "/"), &guest).expect_code(0);
    assert_eq!((attack.number("failed"), attack.number("number")), (0, 0), "{attack:#?}");
}

#[test]
fn a_fifo_a_socket_and_links_to_what_is_special_do_not_hang_or_lead_away() {
    let host = Host::new();
    assert!(Command::new("mkfifo").arg(host.path("grant/fifo")).status().unwrap().success());
    let _socket = std::os::unix::net::UnixListener::bind(host.path("grant/socket")).unwrap();
    host.symlink("/proc/self/root", "grant/root");
    host.symlink("/proc/self/fd/0", "grant/input");
    host.symlink("/dev/zero", "grant/zero");
    // The links of processes are no links: they lead to files that may have no names. Granted here
    // are those of `aril` itself.
    let magic = ["-v", "/proc/self:/proc:ro"].map(Into::into);
    let canary = host.path("canary");
    let canary = canary.to_str().unwrap();
    // The kernel's own list is asked first, where there is one.
    let refused = if host.holds("landlock") { "acces" } else { "loop" };
    let guest = Guest::new()
        .open(3, "socket", 0, READ)
        .open(3, "socket", 0, READ | WRITE)
        .open(3, "root/etc/passwd", 0, READ)
        .open(3, "input", 0, READ)
        .open(3, "zero", 0, READ)
        .open_as("through the root", "(i32.const 4)", &format!("root{canary}"), 0, READ, 0)
        .open(4, "root", DIRECTORY, READ)
        .open(4, "cwd", DIRECTORY, READ)
        .open(4, "exe", 0, READ)
        .open(4, "fd/0", 0, READ)
        .open(4, "fd/1", 0, WRITE);
    host.attack([host.grant("grant", "/"), magic].concat(), &guest).expect(&[
        ("open socket", "io"),
        ("open socket", "io"),
        ("open root/etc/passwd", "perm"),
        ("open input", "perm"),
        ("open zero", "perm"),
        ("through the root", refused),
        ("open root", refused),
        ("open cwd", refused),
        ("open exe", refused),
        ("open fd/0", refused),
        ("open fd/1", "perm"),
    ]);
    // Nobody has its other end open: the deadline ends the guest that waits for it.
    for rights in [READ, WRITE] {
        let flags = host.grant("grant", "/").into_iter();
        let flags = flags.chain(["--deadline".into(), "300ms".into()]);
        let attack = host.attack(flags, &Guest::new().open(3, "fifo", 0, rights));
        let elapsed = attack.outcome.elapsed;
        assert!(elapsed < Duration::from_secs(3), "{elapsed:?}");
        assert_eq!(attack.outcome.stdout, "", "it was not opened");
        attack.expect_code(124).expect_error("reached its deadline");
    }
}

#[test]
fn a_device_in_a_grant_is_what_the_caller_may_do_with_it() {
    let host = Host::new().free("grant");
    let Some(nobody) = host.nobody() else { return };
    let device = |name: &str, kind, number, mode| {
        let (path, mode) = (host.path(name), rustix::fs::Mode::from_raw_mode(mode));
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, number)
            .unwrap_or_else(|error| panic!("a device, which only root makes: {error}"));
        fs::set_permissions(&path, fs::Permissions::from_mode(mode.as_raw_mode())).unwrap();
    };
    let (character, block) =
        (rustix::fs::FileType::CharacterDevice, rustix::fs::FileType::BlockDevice);
    device("grant/null", character, rustix::fs::makedev(1, 3), 0o666);
    device("grant/zero", character, rustix::fs::makedev(1, 5), 0o666);
    device("grant/closed", character, rustix::fs::makedev(1, 5), 0o600);
    // Of a kind that no kernel has: it is set aside for trials.
    device("grant/block", block, rustix::fs::makedev(60, 7), 0o666);
    device("grant/closed-block", block, rustix::fs::makedev(60, 7), 0o600);
    let guest = || {
        Guest::new()
            .open(3, "zero", 0, READ)
            .code(format!(
                "(memory.fill (i32.const {BUFFER}) (i32.const 170) (i32.const 4096))
                (i32.store (i32.const 32) (i32.const {BUFFER}))
                (i32.store (i32.const 36) (i32.const 4096))"
            ))
            .call(
                "read",
                "fd_read",
                format!("{RETURNED} (i32.const 32) (i32.const 1) (i32.const 40)"),
            )
            .say("bytes", "(i32.load (i32.const 40))")
            .say("last", format!("(i32.load8_u offset=4095 (i32.const {BUFFER}))"))
            .open(3, "null", 0, WRITE)
            .open(3, "closed", 0, READ)
            .open(3, "closed-block", 0, READ)
            .open(3, "block", 0, READ)
    };
    let said = |access: &str| {
        let attack = host
            .attack_wat(host.grant("grant", access), guest().wat(), |run| nobody.runs(run))
            .expect_code(0);
        assert_eq!((attack.number("bytes"), attack.number("last")), (4096, 0), "{attack:#?}");
        let mut said = attack.said().into_iter().map(|(what, errno)| format!("{what}: {errno}"));
        said.by_ref().filter(|said| said.starts_with("open")).collect::<Vec<_>>()
    };
    let expected = |null| {
        [
            "open zero: ok",
            null,
            "open closed: acces",
            "open closed-block: acces",
            // There is no such device.
            "open block: io",
        ]
    };
    assert_eq!(said("/"), expected("open null: ok"));
    assert_eq!(said("/:ro"), expected("open null: perm"));
}

#[test]
fn a_grant_that_is_a_link_means_what_it_led_to_when_it_was_granted() {
    let host = Host::new();
    host.file("real/file", "inside");
    host.symlink("real", "link");
    let guest = Guest::new()
        .read(3, "file")
        .code(super::PAUSE)
        .read(3, "file")
        .read(3, "canary")
        .read(3, "../canary");
    let wasm = host.bench().file("guest.wat", guest.wat()).into_os_string();
    let run = host.run(host.grant("link", "/").into_iter().chain(["-i".into(), wasm]));
    let (looks, said) = super::look_each(run, |_| {
        fs::remove_file(host.path("link")).unwrap();
        host.symlink("outside", "link");
    });
    assert_eq!(looks.len(), 1, "{said}");
    let expected =
        "open file 0\ninside\n@\nopen file 0\ninside\nopen canary 44\nopen ../canary 63\n";
    assert_eq!(said, expected);
}

#[test]
fn what_is_mounted_in_a_grant_belongs_to_it_and_what_is_mounted_beside_it_does_not() {
    let host = Host::new();
    let Some(mounts) = OwnMounts::new() else { return };
    host.file("grant/file", "inside");
    host.folder("grant/mounted");
    host.folder("mounted");
    // One in the grant, and one of the same name beside it.
    let script = format!(
        "for place in grant/mounted mounted; do
          mount -t tmpfs -o size=1m none \"{0}/$place\"; echo mounted > \"{0}/$place/file\"
        done
        ln -s ../../canary \"{0}/grant/mounted/canary\"
        ln -s ../file \"{0}/grant/mounted/link\"",
        host.path("").display()
    );
    let guest = Guest::new()
        .read(3, "mounted/file")
        .read(3, "mounted/link")
        .read(3, "mounted/../file")
        .read(3, "mounted/canary")
        .read(3, "mounted/../../canary")
        .read(3, "mounted/../../mounted/file")
        .open(3, "mounted", DIRECTORY, READ)
        .open_as("above", RETURNED, "../file", 0, READ, 0)
        .link((3, "file"), (3, "mounted/linked"))
        .rename((3, "file"), (3, "mounted/moved"))
        .path("path_remove_directory", 3, "mounted", "")
        .open(3, "mounted/new", CREATE, WRITE);
    let run = |access: &str| {
        host.attack_wat(host.grant("grant", access), guest.wat(), |run| mounts.runs(run, &script))
    };
    let reads = [
        ("open mounted/file", "ok"),
        ("open mounted/link", "ok"),
        ("open mounted/../file", "ok"),
        ("open mounted/canary", "perm"),
        ("open mounted/../../canary", "perm"),
        ("open mounted/../../mounted/file", "perm"),
        ("open mounted", "ok"),
        // A directory that was opened ends at itself, whatever is mounted there.
        ("above", "perm"),
    ];
    let writes = [
        ("link file mounted/linked", "io"),
        ("rename file mounted/moved", "io"),
        ("remove_directory mounted", "busy"),
        ("open mounted/new", "ok"),
    ];
    let attack = run("/").expect(&[&reads[..], &writes].concat());
    let texts: Vec<&str> = attack.outcome.stdout.lines().filter(|l| !l.contains(' ')).collect();
    assert_eq!(texts, ["mounted", "", "inside", "inside"], "{attack:#?}");
    // What is mounted in a grant for reading is for reading, though it could be written to.
    let refused = writes.map(|(what, _)| (what, "perm"));
    run("/:ro").expect(&[&reads[..], &refused].concat());
}

#[test]
fn names_that_no_file_can_have_are_refused() {
    let host = Host::new().free("grant");
    let long = "x".repeat(255);
    let (longer, path) = ("x".repeat(256), format!("{}x", "./".repeat(2048)));
    let endless = "x/".repeat(32_768);
    let mut guest = Guest::new()
        .open(3, "a\0b", CREATE, WRITE)
        .open(3, "a\nb\x1b[2J", CREATE, WRITE)
        .open(3, &long, CREATE, WRITE)
        .open(3, &longer, CREATE, WRITE)
        .open(3, &path, CREATE, WRITE)
        .open(3, &endless, CREATE, WRITE)
        .open(3, "", CREATE, WRITE);
    let invalid = guest.text(b"\xff\xfe");
    let guest = guest.call(
        "invalid",
        "path_open",
        format!(
            "(i32.const 3) (i32.const 0) {invalid} (i32.const 1) (i64.const {WRITE}) (i64.const 0) \
             (i32.const 0) (i32.const 8)"
        ),
    );
    let attack = host.attack(host.grant("grant", "/"), &guest).expect_code(0);
    let said = attack.said().into_iter().map(|(_, errno)| errno).collect::<Vec<_>>();
    assert_eq!(
        said,
        ["inval", "ok", "ok", "nametoolong", "nametoolong", "nametoolong", "noent", "ilseq"],
        "{attack:#?}"
    );
    let mut made: Vec<_> = fs::read_dir(host.path("grant")).unwrap().collect();
    made.sort_by_key(|entry| entry.as_ref().unwrap().file_name());
    let made = made.into_iter().map(|entry| entry.unwrap().file_name());
    assert!(made.eq(["a\nb\x1b[2J", &long]), "only what was not refused");
}

#[test]
fn names_that_no_file_can_have_are_refused_in_every_call() {
    let host = Host::new().free("grant");
    let longer = "x".repeat(256);
    let names = [
        ("nul", &b"a\0b"[..], "inval"),
        ("invalid", b"\xff\xfe", "ilseq"),
        ("long", longer.as_bytes(), "nametoolong"),
    ];
    let mut guest = Guest::new();
    for (label, path, _) in names {
        let (path, good) = (guest.text(path), guest.text("good"));
        let here = format!("(i32.const 3) {path}");
        let buffer = format!("(i32.const {BUFFER}) (i32.const 64) (i32.const 8)");
        for (call, operands) in [
            ("path_create_directory", here.clone()),
            ("path_remove_directory", here.clone()),
            ("path_unlink_file", here.clone()),
            (
                "path_filestat_get",
                format!("(i32.const 3) (i32.const 0) {path} (i32.const {BUFFER})"),
            ),
            ("path_symlink", format!("{good} {here}")),
            ("path_rename", format!("{here} (i32.const 3) {good}")),
            ("path_link", format!("(i32.const 3) (i32.const 0) {path} (i32.const 3) {good}")),
            ("path_readlink", format!("{here} {buffer}")),
        ] {
            guest = guest.call(&format!("{label} {call}"), call, operands);
        }
    }
    let attack = host.attack(host.grant("grant", "/"), &guest).expect_code(0);
    for (label, _, refused) in names {
        let said = attack.said().into_iter().filter(|(what, _)| what.starts_with(label));
        let errnos: Vec<_> = said.map(|(_, errno)| errno).collect();
        assert_eq!(errnos, [refused; 8], "{label}: {attack:#?}");
    }
    assert_eq!(fs::read_dir(host.path("grant")).unwrap().count(), 0, "nothing was made");
}

#[test]
fn a_large_directory_is_listed_in_pages_without_bytes_of_the_host() {
    /// An entry of a listing without its name, and the name of a file.
    const ENTRY_SIZE: usize = 24;
    const NAME_SIZE: usize = "file-00000".len();
    /// Where the guest marks what it saw, behind a page.
    const MARKS: u32 = BUFFER + 65_536;
    let host = Host::new();
    for i in 0..2000 {
        host.file(&format!("grant/file-{i:05}"), "");
    }
    // Pages of 32 KiB: each begins behind the last whole entry of the one before. `$n` counts
    // entries, `$b` collects the three bytes of padding of each. Each file's number is marked, and
    // what is marked for the first time is counted at 504.
    let mut number = "(i32.const 0)".to_owned();
    for digit in "file-".len()..NAME_SIZE {
        let at = ENTRY_SIZE + digit;
        number = format!(
            "(i32.add (i32.mul (i32.const 10) {number})
              (i32.sub (i32.load8_u offset={at} (local.get $a)) (i32.const 48)))"
        );
    }
    let note = format!(
        "(if (i32.eq (i32.load offset=16 (local.get $a)) (i32.const {NAME_SIZE})) (then
          (i32.store (i32.const 500) {number})
          (if (i32.eqz (i32.load8_u offset={MARKS} (i32.load (i32.const 500)))) (then
            (i32.store8 offset={MARKS} (i32.load (i32.const 500)) (i32.const 1))
            (i32.store (i32.const 504) (i32.add (i32.load (i32.const 504)) (i32.const 1)))))))"
    );
    let guest = Guest::new()
        .code(format!(
            "(loop $page
              (memory.fill (i32.const {BUFFER}) (i32.const 170) (i32.const 32768))
              (drop (call $fd_readdir (i32.const 3) (i32.const {BUFFER}) (i32.const 32768)
                (local.get $w) (i32.const 8)))
              (local.set $i (i32.const 0))
              (block $done (loop $entry
                (br_if $done (i32.lt_u {RETURNED} (i32.add (local.get $i) (i32.const 24))))
                (local.set $a (i32.add (i32.const {BUFFER}) (local.get $i)))
                (local.set $b (i32.or (local.get $b)
                  (i32.shr_u (i32.load offset=20 (local.get $a)) (i32.const 8))))
                (local.set $i (i32.add (local.get $i)
                  (i32.add (i32.const 24) (i32.load offset=16 (local.get $a)))))
                (br_if $done (i32.lt_u {RETURNED} (local.get $i)))
                (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (local.set $w (i64.load (local.get $a)))
                {note}
                (br $entry)))
              (br_if $page (i32.eq {RETURNED} (i32.const 32768))))"
        ))
        .say("entries", "(local.get $n)")
        .say("files", "(i32.load (i32.const 504))")
        .say("padding", "(local.get $b)")
        .call(
            "far",
            "fd_readdir",
            format!(
                "(i32.const 3) (i32.const {BUFFER}) (i32.const 64) (i64.const -1) (i32.const 8)"
            ),
        )
        .say("far size", RETURNED)
        .call(
            "no room",
            "fd_readdir",
            format!("(i32.const 3) (i32.const {BUFFER}) (i32.const 0) (i64.const 0) (i32.const 8)"),
        )
        .say("no room size", RETURNED)
        .call(
            "one byte",
            "fd_readdir",
            format!("(i32.const 3) (i32.const {BUFFER}) (i32.const 1) (i64.const 0) (i32.const 8)"),
        )
        .say("one byte size", RETURNED);
    let attack = host.attack(host.grant("grant", "/"), &guest).expect_code(0);
    let numbers = ["entries", "files", "padding", "far", "far size", "no room", "no room size"];
    let numbers = numbers.map(|label| attack.number(label));
    assert_eq!(numbers, [2002, 2000, 0, 0, 0, 0, 0], "{attack:#?}");
    assert_eq!((attack.number("one byte"), attack.number("one byte size")), (0, 1));
    let beyond = "(i32.const 3) (i32.const -16) (i32.const 64) (i64.const 0) (i32.const 8)";
    let guest = Guest::new().call("beyond memory", "fd_readdir", beyond);
    host.attack(host.grant("grant", "/"), &guest).expect_code(134).expect_error("out of bounds");
}

#[test]
fn a_guest_that_fills_its_disk_is_told_so_and_goes_on_when_there_is_room() {
    let host = Host::new();
    let Some(mounts) = OwnMounts::new() else { return };
    host.folder("disk");
    let disk = host.path("disk");
    let script = format!("mount -t tmpfs -o size=1m none \"{}\"", disk.display());
    let size = 64 << 10;
    let write = format!(
        "(i32.store (i32.const 32) (i32.const {BUFFER})) (i32.store (i32.const 36) (i32.const {size}))
        (local.set $b (call $fd_write (local.get $a) (i32.const 32) (i32.const 1) (i32.const 40)))"
    );
    let filled = format!(
        "{write} (br_if $done (local.get $b))
        (local.set $n (i32.add (local.get $n) (i32.load (i32.const 40))))"
    );
    let guest = Guest::new()
        .open(3, "big", CREATE, READ | WRITE)
        .code(format!("(local.set $a {RETURNED})"))
        .times(100, &filled)
        .say("full", "(local.get $b)")
        .say("written", "(local.get $n)")
        .code(&write)
        .say("still full", "(local.get $b)")
        .open(3, "other", CREATE, READ | WRITE)
        .code(format!("(local.set $a {RETURNED})"))
        .code(&write)
        .say("another file", "(local.get $b)")
        .path("path_unlink_file", 3, "big", "")
        // It is open, and so there until it is closed.
        .code(&write)
        .say("unlinked", "(local.get $b)")
        .call("close", "fd_close", "(i32.const 4)")
        .code(&write)
        .say("room", "(local.get $b)");
    let attack = host
        .attack_wat(host.grant("disk", "/"), guest.wat(), |run| mounts.runs(run, &script))
        .expect_code(0);
    assert_eq!(attack.number("written"), 1 << 20, "{attack:#?}");
    let said: Vec<_> = attack.said().into_iter().filter(|(what, _)| *what != "written").collect();
    assert_eq!(
        said,
        [
            ("open big", "ok"),
            ("full", "nospc"),
            ("still full", "nospc"),
            ("open other", "ok"),
            ("another file", "nospc"),
            ("unlink_file big", "ok"),
            ("unlinked", "nospc"),
            ("close", "ok"),
            ("room", "ok"),
        ],
        "{attack:#?}"
    );
    assert_eq!(attack.outcome.stderr, "", "it is the guest's affair");
    // A guest that fails for it fails with its own code.
    let guest = Guest::new()
        .open(3, "big", CREATE, WRITE)
        .code(format!("(local.set $a {RETURNED})"))
        .times(100, &filled)
        .code("(call $proc_exit (local.get $b))");
    host.attack_wat(host.grant("disk", "/"), guest.wat(), |run| mounts.runs(run, &script))
        .expect_code(51);
}

#[test]
fn a_file_larger_than_any_disk_is_refused_and_a_sparse_one_takes_no_room() {
    let host = Host::new();
    let Some(mounts) = OwnMounts::new() else { return };
    host.folder("disk");
    let disk = host.path("disk");
    let script = format!("mount -t tmpfs -o size=1m none \"{}\"", disk.display());
    let pwrite = |at: &str| {
        format!("(local.get $a) (i32.const 32) (i32.const 1) (i64.const {at}) (i32.const 40)")
    };
    let guest = Guest::new()
        .open(3, "big", CREATE, READ | WRITE)
        .code(format!("(local.set $a {RETURNED})"))
        .code(format!(
            "(i32.store (i32.const 32) (i32.const {BUFFER})) (i32.store (i32.const 36) (i32.const 1))"
        ))
        .call("allocate", "fd_allocate", "(local.get $a) (i64.const 0) (i64.const 0x1000000000000000)")
        .call("negative", "fd_filestat_set_size", "(local.get $a) (i64.const -1)")
        .call("far write", "fd_pwrite", pwrite("-2"))
        .call("last byte", "fd_pwrite", pwrite("0x7fffffffffffffff"))
        .call("sparse", "fd_filestat_set_size", "(local.get $a) (i64.const 0x4000000000000000)")
        .call("its size", "fd_filestat_get", format!("(local.get $a) (i32.const {BUFFER})"))
        .say("high", format!("(i32.load offset=36 (i32.const {BUFFER}))"))
        .say("low", format!("(i32.load offset=32 (i32.const {BUFFER}))"))
        // It took no room: all of the disk is left.
        .code("(i32.store (i32.const 36) (i32.const 1048576))")
        .call("all room", "fd_pwrite", pwrite("0"))
        .say("bytes", "(i32.load (i32.const 40))")
        .code("(i32.store (i32.const 36) (i32.const 1))")
        .call("in a hole", "fd_pwrite", pwrite("0x3ffffffffffffff0"));
    let attack = host
        .attack_wat(host.grant("disk", "/"), guest.wat(), |run| mounts.runs(run, &script))
        .expect_code(0);
    let numbers = ["high", "low", "bytes"];
    assert_eq!(numbers.map(|label| attack.number(label)), [1 << 30, 0, 1 << 20], "{attack:#?}");
    let said = attack.said().into_iter().filter(|(what, _)| !numbers.contains(what));
    assert_eq!(
        said.collect::<Vec<_>>(),
        [
            ("open big", "ok"),
            ("allocate", "notsup"),
            ("negative", "inval"),
            ("far write", "inval"),
            ("last byte", "inval"),
            ("sparse", "ok"),
            ("its size", "ok"),
            ("all room", "ok"),
            ("in a hole", "nospc"),
        ],
        "{attack:#?}"
    );
}

#[test]
fn a_guest_cannot_make_a_file_that_runs_as_its_owner() {
    let host = Host::new().free("grant");
    let guest =
        Guest::new().open(3, "new", CREATE, WRITE).path("path_create_directory", 3, "folder", "");
    // Nothing but the guest's side keeps bits from being set.
    let run = |run: Run| run.after("umask 0");
    host.attack_wat(host.grant("grant", "/"), guest.wat(), run)
        .expect(&[("open new", "ok"), ("create_directory folder", "ok")]);
    let mode = |name: &str| fs::metadata(host.path(name)).unwrap().mode() & 0o7777;
    assert_eq!(mode("grant/new"), 0o666, "nobody may execute it");
    assert_eq!(mode("grant/folder"), 0o777);
    // A directory that gives its group on does not make files that run as that group.
    host.folder("grant/shared");
    fs::set_permissions(host.path("grant/shared"), fs::Permissions::from_mode(0o2777)).unwrap();
    let guest = Guest::new().open(3, "shared/new", CREATE, WRITE);
    host.attack_wat(host.grant("grant", "/"), guest.wat(), run)
        .expect(&[("open shared/new", "ok")]);
    assert_eq!(mode("grant/shared/new"), 0o666);
}

#[test]
fn a_file_that_runs_as_its_owner_does_not_any_more_when_a_guest_writes_into_it() {
    let host = Host::new().free("grant");
    let Some(nobody) = host.nobody() else { return };
    let mut guest = Guest::new();
    let data = guest.text("x");
    let data = data.split_once(')').unwrap().0.to_owned() + ")";
    for (name, mode) in [("owner", 0o4755), ("group", 0o2755)] {
        let path = host.file(&format!("grant/{name}"), "program");
        chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        guest = guest
            .open(3, name, 0, WRITE)
            .code(format!(
                "(i32.store (i32.const 32) {data}) (i32.store (i32.const 36) (i32.const 1))"
            ))
            .call(
                "write",
                "fd_write",
                format!("{RETURNED} (i32.const 32) (i32.const 1) (i32.const 40)"),
            );
    }
    host.attack_wat(host.grant("grant", "/"), guest.wat(), |run| nobody.runs(run)).expect(&[
        ("open owner", "ok"),
        ("write", "ok"),
        ("open group", "ok"),
        ("write", "ok"),
    ]);
    for name in ["grant/owner", "grant/group"] {
        let mode = fs::metadata(host.path(name)).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o755, "{name}");
        assert_eq!(fs::read_to_string(host.path(name)).unwrap(), "xrogram");
    }
}

#[test]
fn two_guests_with_a_common_grant_do_not_see_each_others_other_grants() {
    let host = Host::new().free("common");
    host.folder("common");
    host.file("private/one", "one");
    host.file("other/two", "two");
    let first = Guest::new().symlink("../private", 3, "link").read(4, "one");
    let flags = [host.grant("common", "/c"), host.grant("private", "/p")].concat();
    let attack = host.attack(flags, &first).expect_code(0);
    assert!(attack.outcome.stdout.contains("open one 0"), "{attack:#?}");
    let second = Guest::new()
        .read(3, "link/one")
        .read(3, "../private/one")
        .read(4, "../private/one")
        .read(4, "two");
    let flags = [host.grant("common", "/c"), host.grant("other", "/o")].concat();
    host.attack(flags, &second).expect(&[
        ("open link/one", "perm"),
        ("open ../private/one", "perm"),
        ("open ../private/one", "perm"),
        ("open two", "ok"),
    ]);
}

/// A component of WASI 0.2 whose functions return the halves of a file's number: of `file` in its
/// first directory, and of that directory.
fn numbers_of_files() -> String {
    let function = |name: &str, code: &str| {
        format!(
            "(func (export \"{name}\") (result i64) {code}
              ;; The first byte says whether it is an error.
              (if (i32.load8_u (i32.const 128)) (then unreachable))
              (i64.load (i32.const {})))",
            if name.ends_with("lower") { 136 } else { 144 }
        )
    };
    let file = "(call $hash-at (call $directory) (i32.const 0) (i32.const 1024) (i32.const 4) (i32.const 128))";
    let directory = "(call $hash (call $directory) (i32.const 128))";
    let names = ["file-lower", "file-upper", "directory-lower", "directory-upper"];
    let functions = [file, file, directory, directory];
    let functions: String =
        names.iter().zip(functions).map(|(name, code)| function(name, code)).collect();
    let exports = names.map(|name| {
        format!("(func (export \"{name}\") (result u64) (canon lift (core func $i \"{name}\")))")
    });
    let exports = exports.concat();
    format!(
        "(component
          (import \"wasi:filesystem/types@0.2.0\" (instance $files
            (export \"descriptor\" (type $descriptor (sub resource)))
            (type $code-def (enum
              \"access\" \"would-block\" \"already\" \"bad-descriptor\" \"busy\" \"deadlock\" \"quota\"
              \"exist\" \"file-too-large\" \"illegal-byte-sequence\" \"in-progress\" \"interrupted\"
              \"invalid\" \"io\" \"is-directory\" \"loop\" \"too-many-links\" \"message-size\"
              \"name-too-long\" \"no-device\" \"no-entry\" \"no-lock\" \"insufficient-memory\"
              \"insufficient-space\" \"not-directory\" \"not-empty\" \"not-recoverable\"
              \"unsupported\" \"no-tty\" \"no-such-device\" \"overflow\" \"not-permitted\" \"pipe\"
              \"read-only\" \"invalid-seek\" \"text-file-busy\" \"cross-device\"))
            (export \"error-code\" (type $code (eq $code-def)))
            (type $path-flags-def (flags \"symlink-follow\"))
            (export \"path-flags\" (type $path-flags (eq $path-flags-def)))
            (type $number-def (record (field \"lower\" u64) (field \"upper\" u64)))
            (export \"metadata-hash-value\" (type $number (eq $number-def)))
            (export \"[method]descriptor.metadata-hash\"
              (func (param \"self\" (borrow $descriptor)) (result (result $number (error $code)))))
            (export \"[method]descriptor.metadata-hash-at\"
              (func (param \"self\" (borrow $descriptor)) (param \"path-flags\" $path-flags)
                (param \"path\" string) (result (result $number (error $code)))))))
          (alias export $files \"descriptor\" (type $descriptor))
          (import \"wasi:filesystem/preopens@0.2.0\" (instance $preopens
            (alias outer 1 $descriptor (type $descriptor-def))
            (export \"descriptor\" (type $descriptor (eq $descriptor-def)))
            (export \"get-directories\" (func (result (list (tuple (own $descriptor) string)))))))
          (core module $libc
            (memory (export \"memory\") 1)
            (data (i32.const 1024) \"file\")
            (global $next (mut i32) (i32.const 4096))
            (func (export \"realloc\") (param i32 i32 i32 i32) (result i32) (local $place i32)
              (local.set $place (global.get $next))
              (global.set $next (i32.add (global.get $next)
                (i32.and (i32.add (local.get 3) (i32.const 7)) (i32.const -8))))
              (local.get $place)))
          (core instance $libc (instantiate $libc))
          (core func $directories (canon lower (func $preopens \"get-directories\")
            (memory (core memory $libc \"memory\")) (realloc (core func $libc \"realloc\"))))
          (core func $hash (canon lower (func $files \"[method]descriptor.metadata-hash\")
            (memory (core memory $libc \"memory\"))))
          (core func $hash-at (canon lower (func $files \"[method]descriptor.metadata-hash-at\")
            (memory (core memory $libc \"memory\"))))
          (core module $m
            (import \"libc\" \"memory\" (memory 1))
            (import \"\" \"directories\" (func $directories (param i32)))
            (import \"\" \"hash\" (func $hash (param i32 i32)))
            (import \"\" \"hash-at\" (func $hash-at (param i32 i32 i32 i32 i32)))
            (func $directory (result i32)
              (call $directories (i32.const 32))
              (i32.load (i32.load (i32.const 32))))
            {functions})
          (core instance $i (instantiate $m (with \"libc\" (instance $libc))
            (with \"\" (instance (export \"directories\" (func $directories))
              (export \"hash\" (func $hash)) (export \"hash-at\" (func $hash-at))))))
          {exports})"
    )
}

/// All numbers of `file` and of its directory that a guest of either kind is told.
fn told_numbers(host: &Host, grant: &str) -> std::collections::BTreeMap<String, u64> {
    // A listing of the directory, behind the metadata: `.`, `..` and `file`.
    let listing = BUFFER + 256;
    let file = listing + 24 + 1 + 24 + 2;
    let places = [
        ("file device", BUFFER),
        ("file", BUFFER + 8),
        ("directory device", BUFFER + 128),
        ("directory", BUFFER + 128 + 8),
        ("listed .", listing + 8),
        ("listed ..", listing + 24 + 1 + 8),
        ("listed file", file + 8),
    ];
    let mut guest = Guest::new()
        .stat(3, "file", true)
        .call(
            "its directory",
            "fd_filestat_get",
            format!("(i32.const 3) (i32.const {})", BUFFER + 128),
        )
        .call(
            "list",
            "fd_readdir",
            format!(
                "(i32.const 3) (i32.const {listing}) (i32.const 1024) (i64.const 0) (i32.const 8)"
            ),
        );
    for (label, at) in places {
        guest = guest
            .say(&format!("{label} high"), format!("(i32.load offset=4 (i32.const {at}))"))
            .say(&format!("{label} low"), format!("(i32.load (i32.const {at}))"));
    }
    let attack = host.attack(host.grant(grant, "/seen"), &guest).expect_code(0);
    let calls: Vec<_> = attack.said().iter().take(3).map(|(_, errno)| *errno).collect();
    assert_eq!(calls, ["ok"; 3], "{attack:#?}");
    let number = |label: &str| {
        let half = |half| u64::from(attack.number(&format!("{label} {half}")));
        half("high") << 32 | half("low")
    };
    let mut numbers: std::collections::BTreeMap<_, _> =
        places.iter().map(|(label, _)| ((*label).to_owned(), number(label))).collect();
    for name in ["file-lower", "file-upper", "directory-lower", "directory-upper"] {
        let flags = host.grant(grant, "/seen").into_iter().chain(["--invoke".into(), name.into()]);
        let attack = host.attack_wat(flags, numbers_of_files(), |run| run).expect_code(0);
        numbers.insert(name.to_owned(), attack.outcome.stdout.trim().parse().unwrap());
    }
    numbers
}

#[test]
fn the_numbers_of_files_do_not_tell_the_paths_of_the_host() {
    let host = Host::new();
    host.file("one/grant/file", "inside");
    let metadata = [host.path("one/grant/file"), host.path("one/grant"), host.path("one")]
        .map(|path| fs::metadata(path).unwrap());
    let first = told_numbers(&host, "one/grant");
    // The same files at another place of the host, in another run.
    host.folder("another/place/and/a/long/way/to");
    fs::rename(host.path("one/grant"), host.path("another/place/and/a/long/way/to/it")).unwrap();
    let second = told_numbers(&host, "another/place/and/a/long/way/to/it");
    assert_eq!(first, second, "the numbers tell where it is");
    // They tell a file from another, alike in each way to ask, ...
    let expected = [
        ("file", ["listed file", "file-lower"]),
        ("directory", ["listed .", "directory-lower"]),
        // ... and nothing of what is above a grant, ...
        ("directory", ["listed ..", "directory-lower"]),
    ];
    for (number, others) in expected {
        for other in others {
            assert_eq!(first[number], first[other], "{number}, {other}: {first:?}");
        }
    }
    assert_ne!(first["file"], first["directory"]);
    assert_eq!((first["file device"], first["directory device"]), (1, 1), "no device is told");
    // ... and are not the host's own.
    let told: Vec<u64> = first.values().copied().filter(|number| *number != 1).collect();
    for metadata in metadata {
        assert!(!told.contains(&metadata.ino()) && !told.contains(&metadata.dev()), "{first:?}");
    }
}

#[test]
fn the_name_of_a_grant_is_the_guests_own() {
    let host = Host::new();
    // The name of each, and what lies behind it in memory: nothing.
    let name = |fd: u32| {
        format!("(i32.const {fd}) (i32.const {BUFFER}) (i32.load (i32.const {}))", BUFFER + 4100)
    };
    let mut guest = Guest::new();
    for fd in [3, 4] {
        guest = guest
            .code(format!("(memory.fill (i32.const {BUFFER}) (i32.const 46) (i32.const 64))"))
            .call(
                "size",
                "fd_prestat_get",
                format!("(i32.const {fd}) (i32.const {})", BUFFER + 4096),
            )
            .call("name", "fd_prestat_dir_name", name(fd))
            .print(BUFFER, "(i32.const 16)");
    }
    let guest =
        guest.call("third", "fd_prestat_get", format!("(i32.const 5) (i32.const {BUFFER})"));
    let attack = host.attack(host.grant("grant", "/seen"), &guest).expect_code(0);
    let expected = "size 0\nname 0\n/seen...........\nsize 0\nname 0\n/...............\nthird 8\n";
    assert_eq!(attack.outcome.stdout, expected);
}

#[test]
fn a_directory_that_machine_code_is_kept_in_cannot_be_granted_for_writing() {
    let host = Host::new();
    let bench = host.bench();
    host.attack(["-v", "."], &Guest::new()).expect_code(125);
    let guest = bench.file("guest.wat", Guest::new().wat());
    for folder in
        [bench.path().to_owned(), bench.cache().to_owned(), bench.cache().join("artifacts")]
    {
        let grant = |access| format!("{}:/c:{access}", folder.display());
        let run =
            |access| bench.run(["-v".into(), grant(access).into(), guest.clone().into_os_string()]);
        run("rw").outcome().expect_code(125).expect_error("holds the folder for machine code");
        run("ro").outcome().expect_code(0);
    }
}

#[test]
fn an_endless_path_costs_the_host_nothing_that_stays() {
    let host = Host::new();
    host.file("grant/file", "inside");
    // One file is open, and no more may be: each further path, of 50 MiB, is refused and noted.
    let size = 50 << 20;
    let guest = Guest::new()
        .pages((BUFFER + size + BUFFER_SIZE) >> 16)
        .open(3, "file", 0, READ)
        .code(format!("(memory.fill (i32.const {BUFFER}) (i32.const 97) (i32.const {size}))"))
        .times(
            16,
            format!(
                "(i32.store8 (i32.const {BUFFER}) (i32.add (i32.const 97) (local.get $i)))
                (drop (call $path_open (i32.const 3) (i32.const 1) (i32.const {BUFFER})
                  (i32.const {size}) (i32.const 0) (i64.const {READ}) (i64.const 0) (i32.const 0)
                  (i32.const 8)))"
            ),
        );
    let guest = guest.code(super::PAUSE);
    let flags = ["--open-files", "1", "--memory", "64m", "-i"].map(Into::into);
    let wasm = host.bench().file("guest.wat", guest.wat()).into_os_string();
    let flags = flags.into_iter().chain(host.grant("grant", "/")).chain([wasm]);
    let peak = super::look(host.run(flags), super::peak_memory);
    assert!(peak < 140 << 20, "{peak} bytes at the peak");
}
