//! Images are made of wasm files and Dockerfiles: the same input is the same image, nothing of the
//! host gets in that is not named, and what cannot be done is refused with its line.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::Value;
use serde_json::json;

use crate::support::Bench;
use crate::support::Outcome;

/// A program that says what is in `/data/said`.
const CAT: &str = r#"(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 1024) "data/said")
  (func (export "_start")
    (if (call $open (i32.const 3) (i32.const 1) (i32.const 1024) (i32.const 9) (i32.const 0)
          (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 8))
      (then (call $exit (i32.const 9))))
    (i32.store (i32.const 16) (i32.const 2048))
    (i32.store (i32.const 20) (i32.const 512))
    (drop (call $read (i32.load (i32.const 8)) (i32.const 16) (i32.const 1) (i32.const 24)))
    (i32.store (i32.const 20) (i32.load (i32.const 24)))
    (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24)))))"#;

/// A folder with a context in it.
struct Place(Bench);

impl Place {
    fn new(dockerfile: &str) -> Self {
        let place = Self(Bench::with_shared_cache());
        place.file("Dockerfile", dockerfile);
        place.file("app.wat", CAT);
        let wasm = wat::parse_str(CAT).unwrap();
        fs::write(place.0.path().join("ctx/app.wasm"), wasm).unwrap();
        place.file("data/said", "said\n");
        place
    }

    fn file(&self, name: &str, content: &str) {
        self.0.file(&format!("ctx/{name}"), content);
    }

    fn build(&self, flags: &[&str]) -> Outcome {
        let args = ["build", "-q", "-t", "app:1", "ctx"].iter().chain(flags);
        self.0.aril(args).outcome()
    }

    /// What the image says of itself.
    fn inspect(&self) -> Value {
        let told = self.0.aril(["inspect", "app:1"]).outcome().expect_code(0).stdout;
        serde_json::from_str(&told).unwrap()
    }
}

#[test]
fn a_dockerfile_of_several_stages_becomes_an_image_that_runs() {
    let place = Place::new(
        "# syntax=docker/dockerfile:1\nARG FOLDER=data\nFROM scratch AS files\nARG FOLDER\nWORKDIR \
         /made\nCOPY --chmod=600 ${FOLDER} \\\n # what is said\n  ./\n\nFROM rust:1 AS unneeded\nRUN \
         cargo build\n\nFROM scratch\nLABEL says=\"a b\" n=1\nENV WHERE=/data OTHER=${WHERE:-none}\n\
         COPY --from=files /made $WHERE/\nCOPY --from=0 --link made/sa?d /again/\nADD app.wasm \
         /bin/app\nEXPOSE 80 53/udp\nVOLUME /var\nUSER 1000:1000\nSTOPSIGNAL SIGINT\nENTRYPOINT \
         [\"/bin/app\"]\nCMD [\"one\"]\n",
    );
    place.build(&[]).expect_code(0);
    place.0.run(["app:1"]).outcome().expect_code(0).expect_output("said\n");
    let told = place.inspect().to_string();
    for expected in [
        r#""WHERE=/data""#,
        r#""OTHER=none""#,
        r#""says":"a b""#,
        r#""80/tcp""#,
        r#""53/udp""#,
        r#""/var""#,
        r#""1000:1000""#,
        r#""SIGINT""#,
        r#""one""#,
    ] {
        assert!(told.contains(expected), "{expected} is not in {told}");
    }
    // A stage by its name, and by an argument what it copies.
    place.file("other/said", "other\n");
    place.build(&["--build-arg", "FOLDER=other"]).expect_code(0);
    place.0.run(["app:1"]).outcome().expect_code(0).expect_output("other\n");
    place.build(&["--target", "files"]).expect_code(0);
    place.0.run(["app:1"]).outcome().expect_code(126).expect_error("names no program");
}

#[test]
fn an_image_is_built_upon_another_whose_layers_stay() {
    let place = Place::new(
        "FROM scratch\nCOPY app.wasm /app.wasm\nCOPY data /data\nENV A=1\nENTRYPOINT \
         [\"/app.wasm\"]\nCMD [\"x\"]\nWORKDIR /srv\n",
    );
    place.build(&["-t", "base:1"]).expect_code(0);
    place.file("said", "upon\n");
    place.file("Dockerfile", "FROM base:1\nCOPY said /data/said\nENV B=$A\n");
    place.build(&[]).expect_code(0);
    place.0.run(["app:1"]).outcome().expect_code(0).expect_output("upon\n");
    let told = place.inspect().to_string();
    assert!(told.contains(r#""B=1""#) && told.contains(r#""/srv""#), "{told}");
    place.file("Dockerfile", "FROM scratch\nCOPY --from=base:1 / /\nENTRYPOINT [\"app.wasm\"]\n");
    place.build(&[]).expect_code(0);
    place.0.run(["app:1"]).outcome().expect_code(0).expect_output("said\n");
    place.file("Dockerfile", "FROM no.example/such:1\n");
    let missing = place.build(&["--pull", "never"]).expect_code(127);
    missing.expect_error("line 1: cannot find the image `no.example/such:1`");
}

#[test]
fn what_dockerignore_names_is_left_out() {
    let place = Place::new(
        "FROM scratch\nCOPY . /\nCOPY keep/said /data/said\nENTRYPOINT [\"/app.wasm\"]\n",
    );
    place.file(".dockerignore", "# secrets\n*\n!app.wasm\n!keep/said\n");
    place.file("keep/said", "kept\n");
    place.file("keep/secret", "no");
    place.build(&[]).expect_code(0);
    place.0.run(["app:1"]).outcome().expect_code(0).expect_output("kept\n");
    place.file("Dockerfile", "FROM scratch\nCOPY keep/secret /\n");
    let left_out = "line 2: there is no `keep/secret`, or `.dockerignore` leaves it out";
    place.build(&[]).expect_code(127).expect_error(left_out);
    // The Dockerfile's own comes first.
    place.file("Dockerfile.dockerignore", "app.wat\n");
    place.build(&[]).expect_code(0);
    place.file("Dockerfile.dockerignore", "a\n[\n");
    place.build(&[]).expect_code(125).expect_error("Dockerfile.dockerignore`, line 2: `[` is no");
}

#[test]
fn the_same_input_is_the_same_image_and_its_time_is_told() {
    let dockerfile = "FROM scratch\nCOPY data /data\nCOPY app.wasm /\nCMD [\"/app.wasm\"]\n";
    let (one, other) = (Place::new(dockerfile), Place::new(dockerfile));
    let built = |place: &Place| place.build(&[]).expect_code(0).stdout;
    let digest = built(&one);
    assert!(digest.starts_with("sha256:"), "{digest}");
    assert_eq!(digest, built(&one));
    assert_eq!(digest, built(&other));
    let dated = |text: &str| {
        let args = ["build", "-q", "-t", "app:1", "ctx"];
        one.0.aril(args).env("SOURCE_DATE_EPOCH", text).outcome()
    };
    let later = dated("86400").expect_code(0).stdout;
    assert_ne!(digest, later);
    assert_eq!(later, dated("86400").expect_code(0).stdout);
    assert!(one.inspect().to_string().contains("1970-01-02T00:00:00Z"));
    dated("x").expect_code(125).expect_error("`SOURCE_DATE_EPOCH` is `x`");
    other.file("data/said", "else\n");
    assert_ne!(digest, built(&other));
}

#[test]
fn one_name_has_the_image_and_the_artifact() {
    let place = Place::new("FROM scratch\nCOPY . /\nENTRYPOINT [\"/app.wasm\"]\n");
    place.build(&["--format", "both"]).expect_code(0);
    place.0.run(["app:1"]).outcome().expect_code(0).expect_output("said\n");
    let wasm = ["build", "-q", "-t", "app:2", "ctx/app.wasm", "--format", "both"];
    let built = place.0.aril(wasm).outcome().expect_code(0).stdout;
    let path = place.0.data().join("content/blobs/sha256").join(&built.trim()[7..]);
    let index: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let told = |entry: &Value| {
        let platform = &entry["platform"];
        let platform = [&platform["os"], &platform["architecture"]].map(|it| it.as_str().unwrap());
        (platform.join("/"), entry["artifactType"].as_str().map(str::to_owned))
    };
    let entries: Vec<_> = index["manifests"].as_array().unwrap().iter().map(told).collect();
    let image = |platform: &str| (platform.to_owned(), None);
    let kind = Some("application/vnd.wasm.config.v0+json".to_owned());
    let artifact = ("wasip1/wasm".to_owned(), kind);
    let images = ["wasi/wasm", "linux/amd64", "linux/arm64"].map(image);
    assert_eq!(entries, [&images[..], &[artifact]].concat());
    place.file("Dockerfile", "FROM scratch\nCOPY data /\nENTRYPOINT [\"/said\"]\n");
    place.build(&["--format", "both"]).expect_code(126).expect_error("neither wasm nor its text");
}

#[test]
fn what_a_dockerfile_cannot_do_here_is_refused_with_its_line() {
    let place = Place::new("");
    place.file("a.tar", &("x".repeat(257) + "ustar"));
    symlink("/etc/passwd", place.0.path().join("ctx/out")).unwrap();
    symlink("../..", place.0.path().join("ctx/up")).unwrap();
    let line = format!("FROM scratch\nCOPY {} /\n", "a".repeat(1 << 20));
    let stages = "FROM scratch\n".repeat(100_000);
    let bomb = format!("FROM scratch\nENV A=aaaaaaaa\n{}", "ENV A=$A$A\n".repeat(40));
    for (dockerfile, expected) in [
        ("FROM scratch\n\nRUN make\n", "line 3: `RUN` needs a guest OS to run it in"),
        ("FROM scratch\nENTRYPOINT /app -v", "line 2: `ENTRYPOINT` without brackets"),
        ("FROM scratch\nADD https://x.example/y /", "line 2: `ADD https://x.example/y` is fetched"),
        ("FROM scratch\nADD a.tar /", "line 2: `a.tar` is an archive"),
        ("FROM scratch\nCOPY ../x /", "line 2: `../x` cannot be in an image: it leads out of"),
        ("FROM scratch\nCOPY out /", "line 2: `out` cannot be in an image: it leads out of"),
        ("FROM scratch\nCOPY up/x /", "line 2: `up/x` cannot be in an image: it leads out of"),
        ("FROM scratch\nCOPY up/* /", "leads out of the context"),
        ("FROM scratch\nCOPY none /", "line 2: there is no `none`"),
        ("FROM scratch\nCOPY *.none /", "line 2: there is no `*.none`"),
        ("FROM scratch\nCOPY [a /", "line 2: "),
        ("FROM scratch\nCOPY data app.wasm /x", "must be a directory and end in `/`"),
        ("FROM scratch\nCOPY app.wasm /a\nCOPY data /a/b", "line 3: "),
        ("FROM scratch\nCOPY --chown=www app.wasm /", "line 2: `--chown=www` is not"),
        ("FROM scratch\nEXPOSE 99999", "line 2: `99999` is no port"),
        ("FROM scratch\nVOLUME data", "line 2: `VOLUME data` is not an absolute path"),
        ("FROM b AS a\nFROM a AS b\n", "the stage `b` of line 2 does not come before"),
        ("FROM scratch AS a\nCOPY --from=a x /\n", "line 2: `--from=a` is no stage before this"),
        ("FROM scratch\nCOPY --from=7 x /\n", "line 2: `--from=7` is no stage before this"),
        ("FROM --platform=linux/s390x scratch\nCOPY data /", "line 1: `--platform=linux/s390x`"),
        ("FROM $NONE\n", "line 1: `FROM $NONE` stands for nothing"),
        ("FROM scratch\nENV A=1", "nothing is copied"),
        ("", "line 1: expected at least one FROM instruction"),
        (line.as_str(), "line 2: it is longer than 65535 bytes"),
        (stages.as_str(), "line 257: there are more than 256 stages"),
        (bomb.as_str(), "more than 65536 bytes"),
    ] {
        place.file("Dockerfile", dockerfile);
        let outcome = place.build(&[]);
        assert_ne!(outcome.code, Some(0), "{dockerfile:.80} was built");
        outcome.expect_error(expected);
    }
    fs::write(place.0.path().join("ctx/Dockerfile"), b"FROM a\nCOPY \xff /\n").unwrap();
    place.build(&[]).expect_code(125).expect_error("line 2: it is not UTF-8");
    place.file("Dockerfile", "FROM scratch\nARG A\nCOPY data /\n");
    place.build(&["--target", "x"]).expect_code(127).expect_error("it has no stage `x`");
    place.build(&["--copy", "ctx:/x"]).expect_code(125).expect_error("write files there");
    place.build(&["-f", "none"]).expect_code(127).expect_error("there is no such file");
    assert!(place.0.aril(["images", "-q"]).outcome().expect_code(0).stdout.is_empty());
}

#[test]
fn a_wasm_file_and_folders_become_an_image_that_runs() {
    let place = Place::new("");
    place.file("links/data/deep", "");
    symlink("data", place.0.path().join("ctx/links/short")).unwrap();
    // Where a copied link leads, within the image, is where later copies go.
    let args =
        "build ctx/app.wat -q -t app:1 --copy ctx/links:/ --copy ctx/data:/short -w /short/x";
    place.0.aril(args.split(' ')).outcome().expect_code(0);
    place.0.run(["app:1"]).outcome().expect_code(0).expect_output("said\n");
}

fn lines(count: usize, line: impl FnMut(usize) -> String) -> String {
    (0..count).map(line).collect::<Vec<_>>().concat()
}

#[test]
fn a_dockerfile_that_says_a_few_words_again_and_again_is_refused_soon() {
    let long = "x".repeat(60_000);
    let again = lines(40, |number| format!("ENV A{number}=$B\n"));
    let many = lines(5000, |number| format!("ENV A{number}=x\n"));
    let one = format!("FROM scratch\nENV B={long}\n{again}COPY app.wasm /\n");
    let several = format!("FROM scratch\n{many}COPY app.wasm /\n");
    let first = lines(16, |number| format!("ENV A{number}=$B\n"));
    let stages = lines(79, |number| format!("FROM s{number} AS s{}\n", number + 1));
    let stages = format!(
        "FROM scratch AS s0\nENV B={long}\n{first}COPY app.wasm /\n{stages}FROM s79\nCOPY app.wasm /x\n"
    );
    for (dockerfile, text) in [
        (one, "more than 1 MiB"),
        (several, "more than 4096 variables"),
        (stages, "more than 64 MiB"),
    ] {
        let place = Place::new(&dockerfile);
        place.build(&[]).expect_code(125).expect_error(text);
    }
}

#[test]
fn an_argument_that_nothing_takes_is_warned_of() {
    let place = Place::new("ARG A\nFROM scratch\nARG B\nCOPY data /$B\n");
    let flags = ["--build-arg", "A=1", "--build-arg", "B=2", "--build-arg", "HTTP_PROXY=x"];
    let silent = place.build(&flags).expect_code(0);
    assert!(!silent.stderr.contains("--build-arg"), "{silent:#?}");
    let warned = place.build(&[&flags[..], &["--build-arg", "C=3"]].concat()).expect_code(0);
    assert_eq!(warned.stdout, silent.stdout);
    assert_eq!(warned.stderr.matches("warning: no `ARG` of the Dockerfile takes").count(), 1);
    warned.expect_error("`--build-arg C`");
}

#[test]
fn a_dockerfile_is_read_from_standard_input() {
    let place = Place::new("not this one");
    let build = |text: &str| {
        let args = ["build", "-q", "-t", "app:1", "-f", "-", "ctx"];
        place.0.aril(args).input(text).outcome()
    };
    build("FROM scratch\nCOPY . /\nENTRYPOINT [\"/app.wasm\"]\n").expect_code(0);
    place.0.run(["app:1"]).outcome().expect_code(0).expect_output("said\n");
    // What is left out is said in the context still.
    place.file(".dockerignore", "data\n");
    build("FROM scratch\nCOPY data /\n").expect_code(127).expect_error("leaves it out");
    build("FROM scratch\nRUN x\n").expect_code(125).expect_error("build `-`: line 2: `RUN` needs");
    build("").expect_code(125).expect_error("at least one FROM");
    build(&"#\n".repeat(3 << 20)).expect_code(125).expect_error("larger than 4 MiB");
}

#[test]
fn a_list_with_nothing_in_it_takes_away_what_the_base_said() {
    let place = Place::new(
        "FROM scratch AS base\nCOPY app.wasm data /\nENTRYPOINT [\"/app.wasm\"]\nCMD [\"a\"]\n\
         FROM base AS cmd\nCMD []\nFROM base AS entrypoint\nENTRYPOINT [ ]\n\
         FROM base AS both\nentrypoint []\nCMD [\"/app.wasm\", \"b\"]\n",
    );
    for (target, entrypoint, cmd) in [
        ("base", json!(["/app.wasm"]), json!(["a"])),
        ("cmd", json!(["/app.wasm"]), Value::Null),
        ("entrypoint", Value::Null, Value::Null),
        ("both", Value::Null, json!(["/app.wasm", "b"])),
    ] {
        place.build(&["--target", target]).expect_code(0);
        let told = place.inspect();
        let [told_entrypoint, told_cmd] = ["Entrypoint", "Cmd"]
            .map(|key| told[0]["Config"].get(key).cloned().unwrap_or_default());
        let is_none = |value: &Value| value.is_null() || *value == json!([]);
        for (told, expected) in [(told_entrypoint, entrypoint), (told_cmd, cmd)] {
            assert!(told == expected || is_none(&told) && is_none(&expected), "{target}: {told}");
        }
    }
}

#[test]
fn what_an_image_is_for_is_there_for_whoever_declares_it() {
    let place = Place::new(
        "FROM --platform=$BUILDPLATFORM scratch AS files\nCOPY data /data\n\
         FROM --platform=$TARGETPLATFORM scratch\nARG TARGETARCH\nARG TARGETOS TARGETPLATFORM\n\
         ARG TARGETVARIANT BUILDPLATFORM BUILDOS=mine\n\
         LABEL arch=$TARGETARCH os=$TARGETOS platform=$TARGETPLATFORM variant=${TARGETVARIANT:-none} \
         build=$BUILDPLATFORM mine=$BUILDOS undeclared=x$BUILDARCH\n\
         COPY --from=files /data /$TARGETARCH/\n",
    );
    let labels = |flags: &[&str]| {
        let built = place.build(flags).expect_code(0);
        assert!(!built.stderr.contains("--build-arg"), "{built:#?}");
        place.inspect()[0]["Config"]["Labels"].clone()
    };
    let expected = json!({
        "arch": "wasm", "os": "wasi", "platform": "wasi/wasm", "variant": "none",
        "build": "wasi/wasm", "mine": "mine", "undeclared": "x",
    });
    assert_eq!(labels(&[]), expected);
    assert_eq!(labels(&["--build-arg", "TARGETARCH=other"])["arch"], "other");
}

#[test]
fn patterns_that_are_made_to_take_long_are_refused_soon() {
    let place = Place::new("");
    let name = "a".repeat(190);
    for number in 0..400 {
        place.file(&format!("{name}{number}"), "");
    }
    place.file(&format!("{name}X"), "");
    let pattern = "*a".repeat(63) + "X";
    let line = format!("COPY {} /\n", [pattern.as_str(); 500].join(" "));
    place.file("Dockerfile", &format!("FROM scratch\n{line}"));
    place.build(&[]).expect_code(125).expect_error("line 2: its patterns are too many");
    place.file("Dockerfile", &format!("FROM scratch\nCOPY {pattern} /\n"));
    place.file(".dockerignore", &format!("{}b\n", "*a".repeat(31)).repeat(1000));
    place.build(&[]).expect_code(0);
    place.file(".dockerignore", &"a\n".repeat(1001));
    place.build(&[]).expect_code(125).expect_error("more than 1000 patterns");
}
