//! An ordinary user's sandboxes go on as those of root do, and are his alone.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use crate::guests::CAT;
use crate::support::Bench;
use crate::support::Run;
use crate::support::becoming;
use crate::support::skip;

use super::Den;
use super::TICK;

/// Users who own nothing here.
const ONE: u32 = 12345;
const OTHER: u32 = 23456;

/// A place of a user's own; nothing, said aloud, where only root could give him one.
fn theirs() -> Option<Den> {
    if !rustix::process::geteuid().is_root() {
        skip("only root can become another user");
        return None;
    }
    let den = Den::on(Bench::new());
    den.bench.file("tick.wat", TICK);
    den.bench.file("cat.wat", CAT);
    let _as_one = den.bench.give_to(ONE);
    Some(den)
}

fn run(den: &Den, user: u32, line: &str) -> Run {
    let cache = if user == ONE { den.bench.cache().to_owned() } else { others(den) };
    den.command(line.split(' ')).env("ARIL_CACHE_DIR", cache).within(becoming(user))
}

/// A folder of the other user's own.
fn others(den: &Den) -> std::path::PathBuf {
    den.bench.path().join("others")
}

#[test]
fn an_ordinary_users_sandbox_lives_as_one_of_root_does() {
    let Some(den) = theirs() else { return };
    let ok = |line: &str| run(&den, ONE, line).outcome().expect_code(0).stdout;
    let id = ok("run -d --name one tick.wat");
    let id = id.trim();
    den.wait_for_log(id, "tick");
    assert!(ok("ps").contains("Up "));
    ok("pause one");
    assert!(ok("ps").contains("(Paused)"));
    ok("resume one");
    ok("update --memory 32m one");
    ok("rename one two");
    assert!(ok("logs -n 1 two").starts_with("tick"));
    let shown = ok("inspect --format {{.State.Status}} two");
    assert_eq!(shown, "running\n");
    ok("stop -t 0 two");
    assert_eq!(ok("wait two"), "143\n");
    ok("run -d --name cat -i cat.wat");
    let attached = run(&den, ONE, "attach cat").input("hello").outcome();
    attached.expect_code(5).expect_output("hello");
    ok("rm two cat");
    den.is_empty("an ordinary user's");
}

#[test]
fn nobody_but_root_and_its_user_reaches_one() {
    let Some(den) = theirs() else { return };
    let id = run(&den, ONE, "run -d --name one tick.wat").outcome().expect_code(0).stdout;
    let place = den.place(id.trim());
    for folder in [&den.roster(), &den.roster().join("ids"), &den.roster().join("names"), &place] {
        let found = fs::metadata(folder).unwrap();
        assert_eq!((found.mode() & 0o7777, found.uid()), (0o700, ONE), "{}", folder.display());
    }
    // However open what is above is.
    let open = Command::new("chmod").arg("755").args([den.bench.path(), &den.data]).status();
    assert!(open.unwrap().success());
    fs::create_dir(others(&den)).unwrap();
    std::os::unix::fs::chown(others(&den), Some(OTHER), Some(OTHER)).unwrap();
    for (line, code, shown) in [
        ("ps", 125, ""),
        ("logs one", 125, ""),
        ("wait one", 1, ""),
        ("attach one", 125, ""),
        ("inspect --type sandbox one", 1, "[]\n"),
    ] {
        let outcome = run(&den, OTHER, line).outcome();
        assert_eq!(outcome.stdout, shown, "{line}");
        assert_eq!(outcome.code, Some(code), "{line}: {outcome:#?}");
        assert!(outcome.stderr.contains("it belongs to another user"), "{line}: {outcome:#?}");
    }
    for line in ["stop one", "kill one", "rm -f one", "pause one", "update --memory 64m one"] {
        run(&den, OTHER, line).outcome().expect_code(1);
    }
    let reach = format!("exec 3<> '{0}' || test -S '{0}'", place.join("control").display());
    let reached = becoming(OTHER).args(["sh", "-c", &reach]).output().unwrap();
    assert!(!reached.status.success(), "{reached:?}");
    let status = run(&den, ONE, "inspect --format {{.State.Status}} one").outcome();
    status.expect_code(0).expect_output("running\n");
    run(&den, ONE, "rm -f one").outcome().expect_code(0);
    den.is_empty("an ordinary user's");
}
