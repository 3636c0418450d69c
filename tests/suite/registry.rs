//! Images go to a real registry and come back: Debian's `docker-registry`, on loopback.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::net::TcpStream;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use crate::support::Bench;
use crate::support::Outcome;
use crate::support::skip;
use crate::support::wait_until;

/// `open sesame`, as the registry keeps it for `ali`.
const HTPASSWD: &str = "ali:$2b$05$L.F8K3iPsVov57m50qba6eEzxyFCtwdav8kjj3CknySHXHq6uIEni\n";

/// A registry that ends with its test.
pub(crate) struct Registry {
    child: Child,
    pub(crate) address: String,
}

impl Registry {
    /// Starts one in the test's folder; nothing where the machine has none.
    pub(crate) fn start(bench: &Bench, with_logins: bool) -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let folder = bench.path().join("registry");
        let logins = bench.file("htpasswd", HTPASSWD);
        let auth = if with_logins {
            format!("auth: {{ htpasswd: {{ realm: test, path: {} }} }}\n", logins.display())
        } else {
            String::new()
        };
        let config = format!(
            "version: 0.1\nstorage: {{ filesystem: {{ rootdirectory: {} }} }}\n\
             http: {{ addr: '{address}' }}\n{auth}",
            folder.display()
        );
        let config = bench.file("registry.yml", config);
        let log = fs::File::create(bench.path().join("registry.log")).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(config).stdin(Stdio::null());
        let spawned = command.stdout(log.try_clone().unwrap()).stderr(log).spawn();
        let Ok(child) = spawned else {
            skip("`docker-registry` is not installed");
            return None;
        };
        let registry = Self { child, address };
        wait_until("the registry listens", || TcpStream::connect(&registry.address).is_ok());
        Some(registry)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

pub(crate) fn aril(bench: &Bench, line: &str) -> Outcome {
    bench.aril(line.split(' ')).env("ARIL_CONFIG_DIR", bench.path().join("config")).outcome()
}

pub(crate) fn bench_with(name: &str) -> Bench {
    let bench = Bench::new();
    bench.file(
        "hello.wat",
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write"
              (func $write (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1) (data (i32.const 8) "hello\n")
            (func (export "_start")
              (i32.store (i32.const 0) (i32.const 8)) (i32.store (i32.const 4) (i32.const 6))
              (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 100)))))"#,
    );
    bench.file("assets/a.txt", "asset\n");
    aril(&bench, &format!("build hello.wat -t {name} --copy ./assets:/srv/ -q")).expect_code(0);
    bench
}

#[test]
fn an_image_is_pushed_removed_pulled_and_run_and_is_the_same() {
    let bench = Bench::new();
    let Some(registry) = Registry::start(&bench, false) else { return };
    let name = format!("{}/team/hello:1", registry.address);
    let own = bench_with(&name);

    let pushed = aril(&own, &format!("push {name}")).expect_code(0).stdout;
    aril(&own, &format!("rmi {name}")).expect_code(0);
    let never = aril(&own, &format!("run --pull never {name}")).expect_code(127);
    never.expect_error("the store has no such image");
    aril(&own, &format!("run {name}")).expect_code(0).expect_output("hello\n");

    let listed = aril(&own, "images --digests -q").expect_code(0).stdout;
    assert_eq!(listed, pushed, "what came back is something else");
    // A second pull fetches nothing that is there.
    let again = aril(&own, &format!("pull {name}")).expect_code(0);
    assert!(again.stdout.contains(&name) && again.stdout.contains(pushed.trim()), "{again:#?}");
    let gone = aril(&own, &format!("pull {}/team/other:1", registry.address)).expect_code(127);
    gone.expect_error("cannot pull the image").expect_error("MANIFEST_UNKNOWN");
}

#[test]
fn a_short_name_is_neither_pushed_nor_pulled() {
    let own = bench_with("hello:1");
    for verb in ["push", "pull"] {
        let outcome = aril(&own, &format!("{verb} hello:1")).expect_code(125);
        outcome.expect_error("it names no registry");
    }
}

#[test]
fn a_login_is_needed_kept_for_this_user_alone_and_forgotten() {
    use std::os::unix::fs::PermissionsExt as _;

    let bench = Bench::new();
    let Some(registry) = Registry::start(&bench, true) else { return };
    let name = format!("{}/hello:1", registry.address);
    let own = bench_with(&name);
    let log_in = |password: &str| {
        let args = ["login", &registry.address, "-u", "ali", "--password-stdin"];
        let config = own.path().join("config");
        let mut child = Command::new(crate::support::aril_path())
            .args(args)
            .env_clear()
            .env("ARIL_CONFIG_DIR", config)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };

    let refused = aril(&own, &format!("push {name}")).expect_code(125);
    refused.expect_error("neither without a login");
    let wrong = log_in("open barley\n");
    assert_eq!(wrong.status.code(), Some(125), "{wrong:?}");
    assert!(!own.path().join("config/auth.json").exists(), "a login that is none was kept");
    let right = log_in("open sesame\n");
    assert_eq!(right.stdout, b"Login Succeeded\n", "{right:?}");
    let kept = own.path().join("config/auth.json");
    assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    aril(&own, &format!("push {name}")).expect_code(0);
    aril(&own, &format!("rmi {name}")).expect_code(0);
    aril(&own, &format!("run {name}")).expect_code(0).expect_output("hello\n");
    aril(&own, &format!("logout {}", registry.address)).expect_code(0);
    aril(&own, &format!("pull {name}")).expect_code(125).expect_error("neither without a login");
    let log = fs::read_to_string(bench.path().join("registry.log")).unwrap();
    assert!(!log.contains("sesame"), "the password is in the registry's log");
}
