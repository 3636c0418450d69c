//! Images of files: what a guest sees as its `/`, how it is started, and what its writes become.

use std::path::PathBuf;
use std::process::Command;

use aril::Digest;
use serde_json::Value;
use serde_json::json;

use crate::layouts::CONFIG;
use crate::layouts::Layout;
use crate::support::Bench;
use crate::support::Outcome;
use crate::support::guest;
use crate::support::skip;

/// Makes layers as python's `tarfile` writes them: `make.py PROGRAM OUT`.
const MAKE: &str = r#"
import io, sys, tarfile
program, out = sys.argv[1], sys.argv[2]
def layer(name, entries):
    with tarfile.open(f"{out}/{name}.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        for path, kind, content in entries:
            info = tarfile.TarInfo(path)
            info.mode = 0o755
            if kind == "dir":
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
            elif kind == "link":
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
            elif kind == "hard":
                info.type, info.linkname = tarfile.LNKTYPE, content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
layer("low", [
    ("bin", "dir", None), ("bin/app.wasm", "file", open(program, "rb").read()),
    ("data", "dir", None), ("data/kept", "file", b"kept\n"), ("data/gone", "file", b"gone\n"),
    ("data/changed", "file", b"before\n"),
    ("old", "dir", None), ("old/file", "file", b"old\n"),
    ("absolute", "link", "/data/kept"), ("upwards", "link", "../../../data/kept"),
    ("twice", "hard", "data/kept"), ("work", "dir", None), ("tmp", "dir", None),
])
layer("high", [
    ("data", "dir", None), ("data/.wh.gone", "file", b""), ("data/changed", "file", b"after\n"),
    ("old", "dir", None), ("old/.wh..wh..opq", "file", b""), ("old/new", "file", b"new\n"),
])
"#;

/// A bench with `files:1`, whose program is python: `-c SCRIPT` says what it sees. Nothing, said
/// aloud, where the guest or python is missing.
pub(crate) fn with_image(config: &Value) -> Option<Bench> {
    let program = guest("cpython.wasm")?;
    let bench = Bench::with_shared_cache();
    let layers = layers(&bench, program)?;
    let diff_ids: Vec<String> = layers.iter().map(|l| Digest::of(l).to_string()).collect();
    let mut layout = Layout::default();
    let config = json!({
        "architecture": "wasm", "os": "wasi", "config": config,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = layout.blob(CONFIG, config.to_string());
    let layers: Vec<Value> = layers
        .iter()
        .map(|layer| layout.blob("application/vnd.oci.image.layer.v1.tar", layer.clone()))
        .collect();
    let manifest = layout.manifest(&config, &layers);
    layout.name("files:1", manifest);
    bench.file("image.tar", layout.archive());
    bench.aril(["load", "-q", "-i", "image.tar"]).outcome().expect_code(0);
    Some(bench)
}

fn layers(bench: &Bench, program: PathBuf) -> Option<[Vec<u8>; 2]> {
    bench.file("make.py", MAKE);
    let mut command = Command::new("python3");
    command.arg("make.py").arg(program).arg(".").current_dir(bench.path());
    if !command.status().is_ok_and(|status| status.success()) {
        skip("`python3`, which makes layers");
        return None;
    }
    Some(["low", "high"].map(|n| std::fs::read(bench.path().join(format!("{n}.tar"))).unwrap()))
}

pub(crate) fn run(bench: &Bench, args: &[&str]) -> Outcome {
    bench.run(args.iter().copied()).outcome()
}

/// What a script of python says, whose image has it as its program.
#[track_caller]
pub(crate) fn says(bench: &Bench, flags: &[&str], script: &str, expected: &str) {
    let args = [flags, &["files:1", "-c", script][..]].concat();
    run(bench, &args).expect_code(0).expect_output(expected);
}

pub(crate) fn python() -> Value {
    json!({"Entrypoint": ["/bin/app.wasm"], "Env": ["A=1", "B=image", "PATH=/bin"],
           "WorkingDir": "/work", "Cmd": ["-c", "print('default')"]})
}

#[test]
fn layers_are_put_one_over_the_other() {
    let Some(bench) = with_image(&python()) else { return };
    says(
        &bench,
        &[],
        "import os
print(sorted(os.listdir('/data')), sorted(os.listdir('/old')))
for path in ['/data/kept', '/data/changed', '/absolute', '/upwards', '/twice', '/old/new']:
    print(open(path).read(), end='')",
        "['changed', 'kept'] ['new']\nkept\nafter\nkept\nkept\nkept\nnew\n",
    );
}

#[test]
fn the_image_says_how_its_program_is_started_and_flags_say_otherwise() {
    let Some(bench) = with_image(&python()) else { return };
    run(&bench, &["files:1"]).expect_code(0).expect_output("default\n");
    // The C library of preview 1 takes `/` for the working directory, wherever that is.
    let script =
        "import os, sys; print(*[os.environ[name] for name in ['A', 'B', 'PWD']], sys.argv[1:])";
    says(&bench, &[], script, "1 image /work []\n");
    says(&bench, &["-e", "B=flag", "-w", "/data"], script, "1 flag /data []\n");
    let args = ["files:1", "-c", script, "--flag", "x"];
    run(&bench, &args).expect_code(0).expect_output("1 image /work ['--flag', 'x']\n");
}

#[test]
fn without_an_entrypoint_the_command_names_the_program() {
    let command = json!({"Cmd": ["app.wasm", "-c", "print('command')"], "Env": ["PATH=/usr:/bin"]});
    let Some(bench) = with_image(&command) else { return };
    run(&bench, &["files:1"]).expect_code(0).expect_output("command\n");
    // What is given then is all of the command, as docker has it.
    let args = ["files:1", "/bin/app.wasm", "-c", "import sys; print(sys.argv)", "x"];
    run(&bench, &args).expect_code(0).expect_output("['-c', 'x']\n");
    run(&bench, &["files:1", "other"]).expect_code(126).expect_error("`other` is not among");
}

#[test]
fn an_image_whose_program_is_missing_is_refused() {
    for (config, text) in [
        (json!({}), "it names no program"),
        (json!({"Entrypoint": ["/nothing.wasm"]}), "`/nothing.wasm` is not among its files"),
        (json!({"Entrypoint": ["/../../../../etc/passwd"]}), "is not among its files"),
        (json!({"Entrypoint": ["/data"]}), "is not among its files"),
    ] {
        let Some(bench) = with_image(&config) else { return };
        run(&bench, &["files:1"]).expect_code(126).expect_error(text);
    }
}

#[test]
fn two_runs_of_one_image_never_see_each_others_writes() {
    let Some(bench) = with_image(&python()) else { return };
    let script = "import os
assert not os.path.exists('/data/mine') and open('/data/kept').read() == 'kept\\n'
open('/data/mine', 'w').write('x'); open('/data/kept', 'w').write('written')
os.remove('/data/changed'); os.mkdir('/work/new'); os.rename('/old/new', '/old/newer')
print(open('/data/kept').read(), sorted(os.listdir('/data')))";
    for _ in 0..2 {
        says(&bench, &[], script, "written ['kept', 'mine']\n");
    }
    let before = "import os; print(sorted(os.listdir('/data')), os.listdir('/work'))";
    says(&bench, &[], before, "['changed', 'kept'] []\n");
    // Nothing of it stays.
    let left = std::fs::read_dir(bench.data().join("writable")).into_iter().flatten().count();
    assert!(left <= 1, "{left} left");
}

#[test]
fn what_may_only_be_read_is_not_written() {
    let Some(bench) = with_image(&python()) else { return };
    let script = "import os
for change in [lambda: open('/data/mine', 'w'), lambda: open('/data/kept', 'a'),
               lambda: os.remove('/data/kept'), lambda: os.mkdir('/new'),
               lambda: os.rename('/data', '/moved'), lambda: os.symlink('x', '/link')]:
    try: change(); print('done')
    except OSError: pass
print(open('/data/kept').read(), end='')";
    says(&bench, &["--read-only"], script, "kept\n");
}

#[test]
fn a_granted_directory_lies_over_the_images_files() {
    let Some(bench) = with_image(&python()) else { return };
    bench.file("host/mine", "host\n");
    let script = "import os
print(os.listdir('/data'), open('/data/mine').read(), 'place' in os.listdir('/'))
open('/data/back', 'w').write('guest')";
    let flags = ["-v", "./host:/data", "-v", "./host:/place:ro"];
    says(&bench, &flags, script, "['mine'] host\n True\n");
    assert_eq!(std::fs::read(bench.path().join("host/back")).unwrap(), b"guest");
}

#[test]
fn nothing_of_the_host_is_seen_through_links_and_configuration() {
    let mut config = python();
    config["Env"] = json!(["LD_PRELOAD=/evil.so", "A=1\n2", "HOME=/../../..", "PATH=/../../bin"]);
    config["Volumes"] = json!({"/../../etc": {}});
    config["User"] = json!("../../root");
    config["StopSignal"] = json!("binary:///bin/sh");
    config["Labels"] = json!({"x": "\u{1b}[31m"});
    let Some(bench) = with_image(&config) else { return };
    let script = "import os
print(repr(os.environ['A']), os.environ['LD_PRELOAD'], os.path.exists('/etc/passwd'))
for target in ['/etc/passwd', '../../../../../../etc/passwd']:
    try: os.symlink(target, '/tmp/link')
    except OSError: pass
print(os.path.exists('/tmp/link'))";
    says(&bench, &[], script, "'1\\n2' /evil.so False\nFalse\n");
}

#[test]
fn a_variable_of_the_image_that_is_none_is_refused() {
    for variable in ["", "=x", "A=\0", "NAME"] {
        let mut config = python();
        config["Env"] = json!([variable]);
        let Some(bench) = with_image(&config) else { return };
        let outcome = run(&bench, &["files:1"]);
        assert!(matches!(outcome.code, Some(125 | 126)), "{variable:?}: {outcome:#?}");
    }
}

#[test]
fn a_working_directory_that_leads_nowhere_is_told_of() {
    for place in ["/nothing", "relative", "/data/kept", "/../../.."] {
        let mut config = python();
        config["WorkingDir"] = json!(place);
        let Some(bench) = with_image(&config) else { return };
        let outcome = run(&bench, &["files:1"]);
        assert!(!outcome.stderr.contains("panicked"), "{place}: {outcome:#?}");
        assert!(matches!(outcome.code, Some(0 | 125 | 126)), "{place}: {outcome:#?}");
    }
}
