//! Names of sandboxes and images, where a shell completes them.

use std::fs;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use crate::support::aril_path;
use crate::support::skip;

use super::Den;
use super::ending;

/// A shell that completes names; nothing, said aloud, where it is not installed.
fn shell(name: &str) -> Option<Command> {
    if Command::new(name).arg("-c").arg("true").status().is_err() {
        skip(&format!("`{name}`, which completes names"));
        return None;
    }
    Some(Command::new(name))
}

/// What bash offers behind a line, in its order; nothing, said aloud, where there is no bash.
fn offered(den: &Den, line: &str) -> Option<Vec<String>> {
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
    let mut bash = shell("bash")?;
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

/// What fish offers behind each of these lines, in its order; nothing, said aloud, where there is no
/// fish.
fn offered_by_fish(den: &Den, lines: &[&str]) -> Option<Vec<Vec<String>>> {
    let script = r"
        alias aril $argv[1]
        $argv[1] completions fish | source
        for line in $argv[2..-1]
            complete -C $line | string replace -r '\t.*' ''
            echo
        end
    ";
    let mut fish = shell("fish")?;
    fish.args(["--no-config", "-c", script]).arg(aril_path()).args(lines);
    let outcome = den.command::<&str>([]).within(fish).env("HOME", den.bench.path()).outcome();
    let outcome = outcome.expect_code(0);
    assert_eq!(outcome.stderr, "", "a key says nothing but names");
    let mut offered: Vec<Vec<String>> = Vec::new();
    let mut of_line = Vec::new();
    for line in outcome.stdout.lines() {
        if line.is_empty() {
            offered.push(std::mem::take(&mut of_line));
        } else {
            of_line.push(line.to_owned());
        }
    }
    Some(offered)
}

/// What zsh offers behind a line, in its order; nothing, said aloud, where there is no zsh. `load` has
/// it know the script, which is the file `_aril` of the folder `functions`.
fn offered_by_zsh(den: &Den, load: &str, line: &str) -> Option<Vec<String>> {
    // Zsh completes where somebody types alone: it has a terminal, and shows each match by itself.
    let script = r#"
        zmodload zsh/zpty
        zpty shell zsh -f -i
        {
            zpty -w shell "PROMPT=; unsetopt zle_bracketed_paste; $1; source ./capture; print RE''ADY"
            while zpty -r shell said; do [[ $said == *READY* ]] && break; done
            zpty -w -n shell "$2"$'\t'
            while zpty -r shell said; do print -r -- "$said"; done
        } always {
            zpty -d shell
        }
    "#;
    let capture = r#"
        bindkey '^I' complete-word
        # However many there are, nobody is asked whether to see them.
        LISTMAX=100000
        zstyle ':completion:*' insert-tab false
        comppostfuncs=(exit)
        compadd() {
            if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then
                builtin compadd "$@"
                return
            fi
            local -a matches
            builtin compadd -A matches "$@"
            builtin compadd "$@"
            (( $#matches )) && print -rl -- "MATCH "${^matches}
        }
    "#;
    let mut zsh = shell("zsh")?;
    den.bench.file("capture", capture);
    // It is there from the second line on.
    _ = std::os::unix::fs::symlink(aril_path(), den.bench.path().join("aril"));
    let path = format!("{}:{}", den.bench.path().display(), std::env::var("PATH").unwrap());
    let script_of_aril = den.ok("completions zsh");
    den.bench.file("functions/_aril", script_of_aril);
    zsh.args(["-f", "-c", script, "zsh", load, line]);
    let run = den.command::<&str>([]).within(zsh).env("PATH", path).env("TERM", "dumb");
    let outcome = run.env("HOME", den.bench.path()).outcome();
    // What was typed stands before the first.
    let matches = outcome.stdout.lines().filter_map(|line| line.trim_end().split_once("MATCH "));
    Some(matches.map(|(_, found)| found.to_owned()).collect())
}

/// A den with two sandboxes, an image and two volumes.
fn furnished() -> Den {
    let den = Den::new();
    den.start("--name web", &ending(0));
    den.start("--name worker", &ending(0));
    den.bench.file("app.wat", ending(0));
    den.ok("import app.wat app:one");
    den.ok("volume create wares");
    den.ok("volume create notes");
    den
}

#[test]
fn bash_completes_names_before_a_path_and_names_of_volumes() {
    let den = furnished();
    den.bench.file("wish", "");
    let Some(names) = offered(&den, "aril cp w") else { return };
    assert_eq!(names, ["web:", "worker:", "wish"]);
    assert_eq!(offered(&den, "aril cp wish wo").unwrap(), ["worker:"]);
    for line in ["aril volume rm ", "aril volume inspect ", "aril volume rm notes "] {
        assert_eq!(offered(&den, line).unwrap(), ["notes", "wares"], "{line}");
    }
}

#[test]
fn fish_completes_names_where_a_verb_takes_them() {
    let den = furnished();
    den.bench.file("wish", "");
    let lines = [
        "aril stop ",
        "aril stop w",
        "aril rm -f worker w",
        "aril volume rm w",
        "aril rmi ",
        "aril cp w",
        "aril run ap",
        "aril co",
        "aril exec web w",
    ];
    let Some(offered) = offered_by_fish(&den, &lines) else { return };
    let expected: [&[&str]; 9] = [
        &["web", "worker"],
        &["web", "worker"],
        &["web", "worker"],
        &["wares"],
        &["app:one"],
        &["web:", "worker:", "wish"],
        &["app:one", "app.wat"],
        &["compile", "completions"],
        &["wish"],
    ];
    for ((line, offered), expected) in lines.iter().zip(&offered).zip(expected) {
        let mut offered: Vec<&str> = offered.iter().map(String::as_str).collect();
        let mut expected = expected.to_vec();
        // Its order is its own.
        offered.sort_unstable();
        expected.sort_unstable();
        assert_eq!(offered, expected, "{line}");
    }
}

#[test]
fn zsh_completes_names_however_the_script_is_loaded() {
    let den = furnished();
    den.bench.file("wish", "");
    let start = "autoload -U compinit; compinit -u -D";
    for load in [
        format!("{start}; source ./functions/_aril"),
        // As a package installs it: the first key loads it.
        format!("fpath=($PWD/functions $fpath); {start}"),
    ] {
        for (line, expected) in [
            ("aril stop ", &["web", "worker"][..]),
            ("aril rm -f worker w", &["web", "worker"]),
            ("aril volume rm w", &["wares"]),
            ("aril rmi ", &["app:one"]),
            ("aril cp w", &["web:", "worker:", "wish"]),
            ("aril run ap", &["app:one", "app.wat"]),
            ("aril co", &["compile", "completions"]),
            ("aril exec web w", &["wish"]),
        ] {
            let Some(offered) = offered_by_zsh(&den, &load, line) else { return };
            assert_eq!(offered, expected, "{line} after {load}");
        }
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
