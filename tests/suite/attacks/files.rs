//! Section 4.1: a guest against the directories that it was granted.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use super::guest::BUFFER;
use super::guest::BUFFER_SIZE;
use super::guest::CREATE;
use super::guest::DIRECTORY;
use super::guest::Guest;
use super::guest::READ;
use super::guest::RETURNED;
use super::guest::TRUNCATE;
use super::guest::WRITE;
use super::host::Host;
use super::host::SECRET;

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

#[test]
fn a_directory_that_turns_into_a_link_and_back_never_leads_outside() {
    let host = Host::new().free("grant");
    host.file("grant/dir/x", "inside");
    host.file("outside/x", SECRET);
    // The guest says how often it read what: the first byte of both is told apart.
    let guest = Guest::new();
    let mut guest = guest.code("(local.set $w (i64.const 0))");
    let path = guest.text("dir/x");
    let guest = guest
        .times(
            20_000,
            format!(
                "(if (i32.eqz (call $path_open (i32.const 3) (i32.const 1) {path} (i32.const 0)
                      (i64.const {READ}) (i64.const 0) (i32.const 0) (i32.const 8)))
                  (then
                    (i32.store (i32.const 32) (i32.const {BUFFER}))
                    (i32.store (i32.const 36) (i32.const 64))
                    (drop (call $fd_read {RETURNED} (i32.const 32) (i32.const 1) (i32.const 40)))
                    (if (i32.eq (i32.load8_u (i32.const {BUFFER})) (i32.const 105))
                      (then (local.set $a (i32.add (local.get $a) (i32.const 1))))
                      (else (local.set $b (i32.add (local.get $b) (i32.const 1)))))
                    (drop (call $fd_close {RETURNED}))))
                (drop (call $clock_time_get (i32.const 1) (i64.const 0) (i32.const 48)))
                (if (i64.eqz (local.get $w)) (then (local.set $w (i64.load (i32.const 48)))))
                (br_if $done (i64.lt_u (i64.const 1500000000)
                  (i64.sub (i64.load (i32.const 48)) (local.get $w))))"
            ),
        )
        .say("inside", "(local.get $a)")
        .say("outside", "(local.get $b)");
    let (dir, spare) = (host.path("grant/dir"), host.path("grant/spare"));
    std::os::unix::fs::symlink(host.path("outside"), &spare).unwrap();
    let wasm = host.bench().file("race.wat", guest.wat());
    let flags = host.grant("grant", "/").into_iter().chain([wasm.into_os_string()]);
    let running = host.run(flags).start();
    let pid = format!("/proc/{}/stat", running.pid());
    let ended = || fs::read_to_string(&pid).map_or(true, |stat| stat.contains(") Z "));
    let mut swaps = 0_u32;
    while !ended() {
        for _ in 0..64 {
            exchange(&dir, &spare);
            swaps += 1;
        }
    }
    let outcome = running.outcome();
    let attack = super::host::Attack { outcome };
    assert_eq!(attack.number("outside"), 0, "{attack:#?}");
    assert!(100 < swaps && 0 < attack.number("inside"), "{swaps} swaps; {attack:#?}");
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
    assert_eq!(rest, "own 0\nabove 63\nopen held/file 44\n");
}

/// What changes a file or a directory, in every way that WASI has: CVE-2026-47261 and
/// CVE-2026-58494 are among them.
fn ways_to_write(fd: u32, writable: Option<u32>) -> Guest {
    let mut guest = Guest::new()
        .open(fd, "file", 0, WRITE)
        .open(fd, "file", TRUNCATE, 0)
        .open(fd, "file", TRUNCATE, READ)
        .open(fd, "new", CREATE, 0)
        .open(fd, "new", CREATE, READ | WRITE)
        .path("path_unlink_file", fd, "file", "")
        .path("path_create_directory", fd, "folder", "")
        .path("path_remove_directory", fd, "empty", "")
        .rename((fd, "file"), (fd, "moved"))
        .link((fd, "file"), (fd, "linked"))
        .symlink("file", fd, "linked")
        .touch(fd, "file");
    if let Some(other) = writable {
        guest = guest
            .rename((fd, "file"), (other, "taken"))
            .rename((other, "own"), (fd, "brought"))
            .link((other, "own"), (fd, "brought"))
            .link((fd, "file"), (other, "taken"));
    }
    let mut append = guest.open(fd, "file", 0, READ);
    let data = append.text("x");
    let data = data.split_once(')').unwrap().0.to_owned() + ")";
    append
        .code(format!("(local.set $a {RETURNED})"))
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
    host.folder("grant/empty");
    let [flag, grant] = host.grant("grant", "/:ro");
    let attack = host.attack([flag, grant], &ways_to_write(3, None)).expect_code(0);
    let said = attack.said();
    assert_eq!(said.len(), 12 + 6, "{attack:#?}");
    for (what, errno) in said {
        match what {
            "open file" if errno == "ok" => {}
            "allocate" => assert!(["notsup", "perm", "badf"].contains(&errno), "{what}: {errno}"),
            _ => assert!(["perm", "badf", "rofs"].contains(&errno), "{what}: {errno}"),
        }
    }
    let grant = host.grant("grant", "/:ro");
    let attack = host.attack(grant, &Guest::new().open(3, "file", 0, WRITE).fail());
    attack.expect_code(1).expect_error("granted with `:ro`");
}

#[test]
fn a_writable_grant_beside_a_read_only_one_does_not_open_it() {
    let host = Host::new().free("writable");
    host.file("grant/file", "inside");
    host.folder("grant/empty");
    host.file("writable/own", "own");
    let flags = [host.grant("grant", "/r:ro"), host.grant("writable", "/w")].concat();
    let attack = host.attack(flags, &ways_to_write(3, Some(4))).expect_code(0);
    for (what, errno) in attack.said().into_iter().filter(|(what, _)| what.contains("taken")) {
        assert!(["perm", "rofs"].contains(&errno), "{what}: {errno}");
    }
    assert_eq!(fs::read_dir(host.path("writable")).unwrap().count(), 1, "only what was there");
}

#[test]
fn a_hard_link_to_a_file_of_another_owner_is_not_a_way_around_its_mode() {
    let host = Host::new().free("grant");
    let foreign = host.file("grant/foreign", "foreign");
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&foreign, Some(1), Some(1)).unwrap();
    }
    fs::set_permissions(&foreign, fs::Permissions::from_mode(0o444)).unwrap();
    let guest = Guest::new().link((3, "foreign"), (3, "linked")).open(3, "linked", 0, WRITE);
    let attack = host.attack(host.grant("grant", "/"), &guest).expect_code(0);
    // The guest acts as the caller: what the kernel lets root do, it lets root's guest do.
    if !rustix::process::geteuid().is_root() {
        assert!(["perm", "acces", "noent"].contains(&attack.said()[1].1), "{attack:#?}");
    }
    let inside = fs::metadata(host.path("grant/foreign")).unwrap();
    assert_eq!((inside.mode() & 0o7777, inside.len()), (0o444, 7), "its mode and content stay");
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
        .call("back", "fd_renumber", "(i32.const 3) (i32.const 5)")
        .times(1_000_000, "(drop (call $fd_renumber (i32.const 5) (i32.const 5)))")
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
        ("gone", "badf"),
        ("gone too", "badf"),
        ("last", "ok"),
    ]);
}

#[test]
fn a_grant_that_was_closed_is_gone_and_its_number_means_what_is_opened_next() {
    let host = Host::new();
    host.file("grant/file", "inside");
    let guest = Guest::new()
        .open(3, "file", 0, READ)
        .call("close the grant", "fd_close", "(i32.const 3)")
        .open(3, "file", 0, READ)
        .call("its name", "fd_prestat_get", format!("(i32.const 3) (i32.const {BUFFER})"))
        .call("close again", "fd_close", "(i32.const 3)");
    host.attack(host.grant("grant", "/"), &guest).expect(&[
        ("open file", "ok"),
        ("close the grant", "ok"),
        ("open file", "badf"),
        ("its name", "badf"),
        ("close again", "badf"),
    ]);
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
fn a_fifo_a_socket_a_device_and_a_magic_link_in_a_grant_do_not_hang_or_lead_away() {
    let host = Host::new();
    assert!(Command::new("mkfifo").arg(host.path("grant/fifo")).status().unwrap().success());
    let _socket = std::os::unix::net::UnixListener::bind(host.path("grant/socket")).unwrap();
    host.symlink("/proc/self/root", "grant/root");
    host.symlink("/proc/self/fd/0", "grant/magic");
    host.symlink("/dev/zero", "grant/zero");
    let guest = Guest::new()
        .open(3, "socket", 0, READ)
        .open(3, "root/etc/passwd", 0, READ)
        .open(3, "magic", 0, READ)
        .open(3, "zero", 0, READ);
    host.attack(host.grant("grant", "/"), &guest).expect(&[
        ("open socket", "io"),
        ("open root/etc/passwd", "perm"),
        ("open magic", "perm"),
        ("open zero", "perm"),
    ]);
    // Nobody writes into the FIFO: the deadline ends the guest that waits for it.
    let flags = host.grant("grant", "/").into_iter().chain(["--deadline".into(), "300ms".into()]);
    let attack = host.attack(flags, &Guest::new().open(3, "fifo", 0, READ));
    let elapsed = attack.outcome.elapsed;
    assert!(elapsed < Duration::from_secs(3), "{elapsed:?}");
    attack.expect_code(124).expect_error("reached its deadline");
}

#[test]
fn a_grant_that_is_a_link_means_what_it_led_to_when_it_was_granted() {
    let host = Host::new();
    host.file("real/file", "inside");
    host.symlink("real", "link");
    let guest = Guest::new().read(3, "file").read(3, "../canary");
    let attack = host.attack(host.grant("link", "/"), &guest);
    assert!(attack.outcome.stdout.contains("inside"), "{attack:#?}");
    assert_eq!(attack.said().last(), Some(&("open ../canary", "perm")));
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
}

#[test]
fn a_large_directory_is_listed_in_pages_without_bytes_of_the_host() {
    let host = Host::new();
    for i in 0..2000 {
        host.file(&format!("grant/file-{i:05}"), "");
    }
    // Pages of 32 KiB: each begins behind the last whole entry of the one before. `$n` counts
    // entries, `$b` collects the three bytes of padding of each.
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
                (br $entry)))
              (br_if $page (i32.eq {RETURNED} (i32.const 32768))))"
        ))
        .say("entries", "(local.get $n)")
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
    let numbers = ["entries", "padding", "far", "far size", "no room", "no room size"];
    let numbers = numbers.map(|label| attack.number(label));
    assert_eq!(numbers, [2002, 0, 0, 0, 0, 0], "{attack:#?}");
    assert_eq!((attack.number("one byte"), attack.number("one byte size")), (0, 1));
    let beyond = "(i32.const 3) (i32.const -16) (i32.const 64) (i64.const 0) (i32.const 8)";
    let guest = Guest::new().call("beyond memory", "fd_readdir", beyond);
    host.attack(host.grant("grant", "/"), &guest).expect_code(134).expect_error("out of bounds");
}

#[test]
fn a_file_larger_than_any_disk_is_refused_and_a_sparse_one_takes_no_room() {
    let host = Host::new().free("grant");
    let guest = Guest::new()
        .open(3, "big", CREATE, READ | WRITE)
        .code(format!("(local.set $a {RETURNED})"))
        .call("exbibyte", "fd_filestat_set_size", "(local.get $a) (i64.const 0x4000000000000000)")
        .call("negative", "fd_filestat_set_size", "(local.get $a) (i64.const -1)")
        .call(
            "allocate",
            "fd_allocate",
            "(local.get $a) (i64.const 0) (i64.const 0x1000000000000000)",
        )
        .code(
            "(i32.store (i32.const 32) (i32.const 4096)) (i32.store (i32.const 36) (i32.const 1))",
        )
        .call(
            "far write",
            "fd_pwrite",
            "(local.get $a) (i32.const 32) (i32.const 1) (i64.const -2) (i32.const 40)",
        );
    let attack = host.attack(host.grant("grant", "/"), &guest).expect_code(0);
    for (what, errno) in &attack.said()[1..] {
        let refused = ["fbig", "nospc", "inval", "notsup", "overflow", "io"];
        assert!(refused.contains(errno), "{what}: {errno}");
    }
    assert_eq!(fs::metadata(host.path("grant/big")).unwrap().blocks(), 0);
}

#[test]
fn a_guest_cannot_make_a_file_that_runs_as_its_owner() {
    let host = Host::new().free("grant");
    let guest =
        Guest::new().open(3, "new", CREATE, WRITE).path("path_create_directory", 3, "folder", "");
    host.attack(host.grant("grant", "/"), &guest).expect_code(0);
    for name in ["grant/new", "grant/folder"] {
        let mode = fs::metadata(host.path(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7000, 0, "{name}: {mode:o}");
    }
    let mode = fs::metadata(host.path("grant/new")).unwrap().permissions().mode();
    assert_eq!(mode & 0o111, 0, "nobody may execute it: {mode:o}");
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

#[test]
fn the_numbers_of_files_do_not_tell_the_paths_of_the_host() {
    let host = Host::new();
    host.file("grant/file", "inside");
    // Device and inode of the file and of the grant, as preview 1 shows them.
    let guest = Guest::new()
        .stat(3, "file", true)
        .code(format!("(call $print (i32.const {BUFFER}) (i32.const 64))"))
        .call(
            "grant",
            "fd_prestat_dir_name",
            format!("(i32.const 3) (i32.const {BUFFER}) (i32.const 1)"),
        )
        .code(format!("(call $print (i32.const {BUFFER}) (i32.const 1))"));
    let attack = host.attack(host.grant("grant", "/"), &guest).expect_code(0);
    let tree = host.bench().path().to_str().unwrap().to_owned();
    assert!(!attack.outcome.stdout.contains(&tree), "{attack:#?}");
    assert!(attack.outcome.stdout.ends_with('/'), "the grant's name is the guest's: {attack:#?}");
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
