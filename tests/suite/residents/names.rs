//! How one is found: by its name, its id, and what an id begins with.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use crate::guests::SPIN;

use super::Den;
use super::ending;

#[test]
fn it_is_found_by_name_by_id_and_by_what_only_its_id_begins_with() {
    let den = Den::new();
    let id = den.start("--name one", SPIN);
    for name in ["one", &id, &id[..12], &id[..20]] {
        assert_eq!(den.inspect(name)["Id"], id.as_str(), "{name}");
        assert_eq!(den.ok(&format!("logs {name}")), "");
    }
    for name in ["on", "onee", "ONE", &id.to_uppercase(), &format!("{id}0"), "", " ", "*"] {
        den.aril(["logs", name]).expect_code(1).expect_error("there is no such sandbox");
    }
}

#[test]
fn a_start_that_several_ids_have_is_refused_with_all_of_them() {
    let den = Den::new();
    let ids: Vec<_> = (0..17).map(|_| den.start("", &ending(0))).collect();
    // Of 17 ids, two at least begin with the same digit.
    let begins = |digit: &str| ids.iter().filter(|id| id.starts_with(digit)).count();
    let digit = ids.iter().map(|id| &id[..1]).find(|digit| 1 < begins(digit)).unwrap();
    let outcome = den.aril(["inspect", "--type", "sandbox", digit]).expect_code(1);
    let outcome = outcome.expect_error("several sandboxes have ids that begin so: ");
    for id in ids.iter().filter(|id| id.starts_with(digit)).take(8) {
        assert!(outcome.stderr.contains(&id[..12]), "{outcome:#?}");
    }
    den.aril(["rm", "-f", digit]).expect_code(1).expect_error("several");
    assert_eq!(den.ids().len(), 17, "nothing is removed by half a name");
    let mut words = vec!["rm"];
    words.extend(ids.iter().map(String::as_str));
    den.aril(words).expect_code(0);
    den.is_empty("all removed in one go");
}

#[test]
fn a_name_belongs_to_one_and_comes_before_an_id() {
    let den = Den::new();
    let id = den.start("--name one", SPIN);
    let again = den.starting("--name one", SPIN).outcome();
    again
        .expect_code(125)
        .expect_output("")
        .expect_error(&format!("the name is taken by the sandbox {}", &id[..12]));
    assert_eq!(den.ids().len(), 1, "what was refused left nothing");
    // What its id begins with is the name of another.
    let other = den.start(&format!("--name {}", &id[..6]), &ending(0));
    assert_eq!(den.inspect(&id[..6])["Id"], other.as_str());
    assert_eq!(den.inspect(&id[..7])["Id"], id.as_str());
    den.ok("rm -f one");
    assert_ne!(den.start("--name one", SPIN), id, "the name is free");
}

#[test]
fn what_can_be_no_name_is_refused_everywhere_and_makes_nothing() {
    let den = Den::new();
    let id = den.start("--name one", SPIN);
    let long = "n".repeat(10_000);
    for name in ["", ".", "..", "../x", "a/b", "/etc", "-x", "a b", "a\n", "🌱", &long, &id] {
        let started = den.aril(["run", "-d", &format!("--name={name}"), "absent.wat"]);
        started.expect_code(125).expect_error("cannot be a sandbox's name");
        let renamed = den.aril(["rename", "--", "one", name]);
        renamed.expect_code(125).expect_error("cannot be a sandbox's name");
        if name != id {
            den.aril(["inspect", "--", name]).expect_code(1).expect_output("[]\n");
            for verb in ["stop", "kill", "rm", "pause", "resume", "logs", "wait", "attach"] {
                den.aril([verb, "--", name]).expect_code(1).expect_error("no such sandbox");
            }
        }
    }
    let garbage = OsString::from_vec(b"a\xff".to_vec());
    den.aril([&OsString::from("logs"), &garbage]).expect_code(125).expect_error("UTF-8");
    assert_eq!(den.ids(), [id]);
    assert_eq!(super::names_in(&den.roster().join("names")), ["one"]);
    assert_eq!(den.status("one"), "running");
}

#[test]
fn of_several_all_are_tried_and_each_failure_is_told() {
    let den = Den::new();
    for name in ["one", "two"] {
        den.start(&format!("--name {name}"), SPIN);
    }
    let outcome = den.aril(["kill", "one", "nothing", "two"]).expect_code(1);
    let outcome = outcome.expect_output("one\ntwo\n").expect_error("nothing");
    assert!(!outcome.stderr.contains("two"), "{outcome:#?}");
    assert_eq!(den.ok("wait one two"), "137\n137\n");
}
