//! Names of sandboxes and images, where a shell completes them.

use std::fs;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use crate::support::aril_path;
use crate::support::skip;

use super::Den;
use super::ending;

/// What bash offers behind a line, in its order; nothing, said aloud, where there is no bash.
fn offered(den: &Den, line: &str) -> Option<Vec<String>> {
    if Command::new("bash").arg("-c").arg("true").status().is_err() {
        skip("`bash`, which completes names");
        return None;
    }
    let script = r#"
        source <("$0" completions bash)
        COMP_WORDBREAKS=$' \t\n"\'><=;|&(:'
        COMP_LINE="$1" COMP_POINT=${#1}
        read -ra COMP_WORDS <<< "$1"
        [[ $1 == *" " ]] && COMP_WORDS+=("")
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        function=$(complete -p aril | sed 's/.*-F \([^ ]*\).*/\1/')
        "$function" "$0" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        [[ ${#COMPREPLY[@]} -eq 0 ]] || printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", script]).arg(aril_path()).arg(line);
    let outcome = den.command::<&str>([]).within(bash);
    // `within` puts the program's own name last, which the script does not read.
    let outcome = outcome.outcome().expect_code(0);
    assert_eq!(outcome.stderr, "", "a key says nothing but names");
    Some(outcome.stdout.lines().map(str::to_owned).collect())
}

#[test]
fn bash_completes_names_and_ids_of_sandboxes_where_a_verb_takes_them() {
    let den = Den::new();
    let web = den.start("--name web", &ending(0));
    den.start("--name worker", &ending(0));
    for line in [
        "stop w",
        "rm -f worker w",
        "logs --tail 5 w",
        "exec -it w",
        "inspect w",
        "update -m 64m w",
    ] {
        let Some(names) = offered(&den, &format!("aril {line}")) else { return };
        assert_eq!(names, ["web", "worker"], "{line}");
    }
    let ids = offered(&den, &format!("aril stop {}", &web[..6])).unwrap();
    assert_eq!(ids, [&web[..12]]);
    assert_eq!(offered(&den, "aril attach ").unwrap(), ["web", "worker"]);
    for line in ["exec web w", "rename web w", "run -d --name w", "rm -", "stop nothing"] {
        let names = offered(&den, &format!("aril {line}")).unwrap();
        let are_names = |name: &String| name == "web" || name == "worker";
        assert!(!names.iter().any(are_names), "{line}: {names:?}");
    }
}

#[test]
fn bash_completes_names_of_images_and_files_of_programs() {
    let den = Den::new();
    den.bench.file("app.wat", ending(0));
    den.bench
        .file("Dockerfile", "FROM scratch\nCOPY app.wat /app.wat\nENTRYPOINT [\"/app.wat\"]\n");
    den.ok("build -q -t app:one .");
    den.ok("tag app:one app:two");
    let Some(names) = offered(&den, "aril run -it ap") else { return };
    assert_eq!(names, ["app:one", "app:two", "app.wat"]);
    // Bash takes what stands before the colon for a word of its own.
    assert_eq!(offered(&den, "aril rmi app:t").unwrap(), ["two"]);
    assert_eq!(offered(&den, "aril tag app:o").unwrap(), ["one"]);
    for line in ["run app:one ap", "run -v ap", "run --name ap"] {
        let names = offered(&den, &format!("aril {line}")).unwrap();
        assert!(!names.contains(&"app:one".to_owned()), "{line}: {names:?}");
    }
}

#[test]
fn names_are_printed_at_once_and_what_is_none_is_not() {
    let den = Den::new();
    den.start("--name web", &ending(0));
    let names = den.roster().join("names");
    let target = fs::read_link(names.join("web")).unwrap();
    for hostile in ["$(touch x)", "a b", "-rf", "\u{1b}[2J", "a\nb"] {
        std::os::unix::fs::symlink(&target, names.join(hostile)).unwrap();
    }
    let started = Instant::now();
    assert_eq!(den.ok("complete -- stop "), "web\n");
    // On a machine that has much else to do; alone it takes a few milliseconds.
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert!(!den.bench.path().join("x").exists());

    fs::write(den.data.join("sandboxes-are-not-here"), "").unwrap();
    let broken = den.command(["complete", "--data", "sandboxes-are-not-here", "--", "stop", ""]);
    let outcome = broken.outcome().expect_code(0);
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("", ""));
}
