//! Logins in the memory of a process: who kills it, and who looks into it, finds none.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use serde_json::json;

use crate::hostile::Hostile;
use crate::hostile::Reply;
use crate::support::Bench;
use crate::support::aril_path;
use crate::support::signal;
use crate::support::skip;
use crate::support::wait_until;

/// A registry that wants a login, and never says whether it takes it.
fn waiting() -> Hostile {
    Hostile::start(|heard, _| match heard.header("authorization") {
        None => Reply::new(401).header("www-authenticate", "Basic realm=\"x\""),
        Some(_) => Reply::silence(),
    })
}

/// A bench with a login for a registry, and an image with a name of it.
fn bench_for(registry: &Hostile) -> Bench {
    let bench = Bench::new();
    // `ali:open sesame` in base64.
    let login = json!({"auths": {registry.address.to_string(): {"auth": "YWxpOm9wZW4gc2VzYW1l"}}});
    let file = bench.file("config/auth.json", login.to_string());
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    bench.file("hello.wat", "(module (memory (export \"memory\") 1) (func (export \"_start\")))");
    let name = format!("{}/app:1", registry.address);
    bench.aril(["import", "hello.wat", &name]).outcome().expect_code(0);
    bench
}

/// Files of a folder that are images of memory, or hold a password.
fn leaks(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(leaks(&path));
        } else if !path.ends_with("config/auth.json") {
            let name = path.file_name().unwrap().to_str().unwrap();
            let bytes = fs::read(&path).unwrap();
            let is_in = |secret: &[u8]| bytes.windows(secret.len()).any(|part| part == secret);
            if name.starts_with("core") || is_in(b"sesame") || is_in(b"YWxpOm9wZW4gc2VzYW1l") {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

/// Whether a program that is killed leaves an image of its memory on this host, where it may.
fn host_keeps_memory() -> bool {
    let bench = Bench::new();
    let script = "ulimit -c unlimited && kill -s SEGV $$";
    let mut command = Command::new("sh");
    command.args(["-c", script]).current_dir(bench.path());
    let keeps = command.stderr(Stdio::null()).status().unwrap().core_dumped();
    if !keeps {
        skip("this host leaves no image of the memory of a program that is killed");
    }
    keeps
}

#[test]
fn a_verb_that_is_killed_with_a_login_leaves_no_image_of_its_memory() {
    for (verb, signals) in [
        ("login", &["SEGV", "ABRT", "QUIT"][..]),
        ("pull", &["SEGV"]),
        ("push", &["QUIT"]),
        ("run", &["ABRT"]),
    ] {
        for name in signals {
            let registry = waiting();
            let bench = bench_for(&registry);
            if !host_keeps_memory() {
                return;
            }
            let address = registry.address.to_string();
            let image = format!("{address}/app:1");
            let args = match verb {
                "login" => vec!["login", &address, "-u", "ali", "--password-stdin"],
                "run" => vec!["run", "--pull", "always", &image],
                verb => vec![verb, &image],
            };
            let run = bench.aril(args).env("ARIL_CONFIG_DIR", bench.path().join("config"));
            let mut command = run.after("ulimit -c unlimited").command;
            command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = command.spawn().unwrap();
            child.stdin.take().unwrap().write_all(b"open sesame\n").unwrap();
            wait_until("the login at the registry", || {
                registry.heard().iter().any(|heard| heard.header("authorization").is_some())
            });

            // The first may be taken for an overflow of the stack, and be passed over.
            let mut ended = None;
            wait_until("its end", || {
                signal(child.id(), name);
                std::thread::sleep(std::time::Duration::from_millis(1));
                ended = child.try_wait().unwrap();
                ended.is_some()
            });

            let ended = ended.unwrap();
            assert!(ended.signal().is_some(), "{verb} was not killed by {name}: {ended}");
            assert!(!ended.core_dumped(), "{verb} left an image of its memory: {ended}");
            assert_eq!(leaks(bench.path()), [""; 0], "{verb}, {name}");
        }
    }
}

#[test]
fn a_process_of_the_same_user_cannot_look_into_a_verb_that_has_a_login() {
    /// Nobody, who has nothing.
    const USER: u32 = 65534;
    if !rustix::process::geteuid().is_root() {
        return skip("only root can become another user");
    }
    let registry = waiting();
    let bench = Bench::new();
    let home = bench.path().join("home");
    fs::create_dir(&home).unwrap();
    fs::set_permissions(bench.path(), fs::Permissions::from_mode(0o711)).unwrap();
    std::os::unix::fs::chown(&home, Some(USER), Some(USER)).unwrap();
    let aril = home.join("aril");
    assert!(Command::new("cp").arg(aril_path()).arg(&aril).status().unwrap().success());
    let started = |program: &Path, args: &[&str]| {
        let mut command = Command::new(program);
        command.args(args).env_clear().env("HOME", &home).env("MARK", "seen").current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        command.uid(USER).gid(USER).spawn().unwrap()
    };
    let reads = |pid: u32, file: &str| {
        let mut command = Command::new("cat");
        command.arg(format!("/proc/{pid}/{file}")).uid(USER).gid(USER).current_dir("/");
        let output = command.stderr(Stdio::null()).output().unwrap();
        String::from_utf8_lossy(&output.stdout).contains("seen")
    };
    let mut other = started(Path::new("/bin/sleep"), &["60"]);
    let address = registry.address.to_string();
    let mut verb = started(&aril, &["login", &address, "-u", "ali", "--password-stdin"]);
    verb.stdin.take().unwrap().write_all(b"open sesame\n").unwrap();
    wait_until("the login at the registry", || {
        registry.heard().iter().any(|heard| heard.header("authorization").is_some())
    });

    wait_until("what one may see of another program", || reads(other.id(), "environ"));
    let seen = ["environ", "maps", "mem"].map(|file| reads(verb.id(), file));
    let mut mem = Command::new("sh");
    mem.args(["-c", &format!("exec < /proc/{}/mem", verb.id())]).uid(USER).gid(USER);
    let opened = mem.current_dir("/").stderr(Stdio::null()).status().unwrap().success();
    for child in [&mut verb, &mut other] {
        child.kill().unwrap();
        child.wait().unwrap();
    }

    assert_eq!(seen, [false; 3]);
    assert!(!opened, "its memory can be opened");
}
