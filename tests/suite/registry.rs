//! Images go to a real registry and come back: Debian's `docker-registry`, on loopback.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use aril::Digest;

use crate::docker_registry::Manner;
use crate::docker_registry::Registry;
use crate::layouts::Layout;
use crate::support::Bench;
use crate::support::Outcome;
use crate::support::Run;

pub(crate) fn plain(bench: &Bench) -> Option<Registry> {
    Registry::start(bench, &Manner::default())
}

fn run(bench: &Bench, line: &str) -> Run {
    bench.aril(line.split(' ')).env("ARIL_CONFIG_DIR", bench.path().join("config"))
}

pub(crate) fn aril(bench: &Bench, line: &str) -> Outcome {
    run(bench, line).outcome()
}

fn log_in(bench: &Bench, registry: &Registry, password: &str) -> Outcome {
    let line = format!("login {} -u ali --password-stdin", registry.address);
    run(bench, &line).input(password).outcome()
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
    let Some(registry) = plain(&bench) else { return };
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
    // It is whole, with what it has for those who know no wasm: it is sent on, and read by others.
    aril(&own, &format!("push {name}")).expect_code(0);
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
    let bench = Bench::new();
    let manner = Manner { with_logins: true, ..Manner::default() };
    let Some(registry) = Registry::start(&bench, &manner) else { return };
    let name = format!("{}/hello:1", registry.address);
    let own = bench_with(&name);

    let refused = aril(&own, &format!("push {name}")).expect_code(125);
    refused.expect_error("`aril login`");
    log_in(&own, &registry, "open barley\n").expect_code(125).expect_error("UNAUTHORIZED");
    assert!(!own.path().join("config/auth.json").exists(), "a login that is none was kept");
    log_in(&own, &registry, "open sesame\n").expect_code(0).expect_output("Login Succeeded\n");
    let kept = own.path().join("config/auth.json");
    assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    goes_there_and_back(&own, &name);
    aril(&own, &format!("logout {}", registry.address)).expect_code(0);
    aril(&own, &format!("pull {name}")).expect_code(125).expect_error("`aril login`");
    assert!(!registry.log().contains("sesame"), "the password is in the registry's log");
}

/// Pushes an image, removes it, and runs it by its name.
fn goes_there_and_back(own: &Bench, name: &str) {
    aril(own, &format!("push {name}")).expect_code(0);
    aril(own, &format!("rmi {name}")).expect_code(0);
    aril(own, &format!("run {name}")).expect_code(0).expect_output("hello\n");
}

/// Has `aril` trust an authority, for all registries.
fn trust(own: &Bench, authority: &Path) {
    own.file("config/registries.toml", format!("ca = [{:?}]\n", authority.to_str().unwrap()));
}

#[test]
fn an_encrypted_registry_of_an_authority_of_our_own_is_used_with_a_login() {
    let bench = Bench::new();
    let manner = Manner { with_logins: true, encrypted: Some(("127.0.0.1", 4000)) };
    let Some(registry) = Registry::start(&bench, &manner) else { return };
    let name = format!("{}/team/hello:1", registry.address);
    let own = bench_with(&name);

    // Nobody whom this host trusts vouches for it: not even the login is sent.
    let unknown = log_in(&own, &registry, "open sesame\n").expect_code(125);
    unknown.expect_error("no encrypted connection").expect_error("UnknownIssuer");
    assert!(!registry.log().contains("GET /v2/"), "it was asked all the same");
    trust(&own, &registry.authority);
    log_in(&own, &registry, "open sesame\n").expect_code(0).expect_output("Login Succeeded\n");
    goes_there_and_back(&own, &name);
    aril(&own, &format!("pull {name}")).expect_code(0);
    aril(&own, &format!("logout {}", registry.address)).expect_code(0);
    aril(&own, &format!("push {name}")).expect_code(125).expect_error("`aril login`");

    // An authority for one registry is none for another.
    let toml = format!("[registry.\"other.example\"]\nca = [{:?}]\n", registry.authority);
    own.file("config/registries.toml", toml);
    aril(&own, &format!("pull {name}")).expect_code(125).expect_error("UnknownIssuer");
}

#[test]
fn a_registry_that_is_vouched_for_as_another_or_not_any_more_is_refused() {
    for (encrypted, said) in
        [(("other.example", 4000), "not valid for name"), (("127.0.0.1", 2020), "expired")]
    {
        let bench = Bench::new();
        let manner = Manner { encrypted: Some(encrypted), ..Manner::default() };
        let Some(registry) = Registry::start(&bench, &manner) else { return };
        let name = format!("{}/hello:1", registry.address);
        let own = bench_with(&name);
        trust(&own, &registry.authority);
        for verb in ["push", "pull"] {
            let refused = aril(&own, &format!("{verb} {name}")).expect_code(125);
            refused.expect_error("no encrypted connection").expect_error(said);
        }
        assert!(!registry.log().contains("/v2/"), "it was asked all the same");
    }
}

#[test]
fn logins_of_docker_and_of_its_helpers_are_used() {
    let bench = Bench::new();
    let manner = Manner { with_logins: true, ..Manner::default() };
    let Some(registry) = Registry::start(&bench, &manner) else { return };
    let name = format!("{}/hello:1", registry.address);
    let own = bench_with(&name);
    // The helper says the login of this registry, and writes down what it was asked.
    let helper = own.file(
        "bin/docker-credential-cave",
        "#!/bin/sh\nread registry\necho \"$1 $registry\" >> \"${0%/*}/asked\"\n\
         echo '{\"ServerURL\":\"\",\"Username\":\"ali\",\"Secret\":\"open sesame\"}'\n",
    );
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    let folder = own.path().join("bin");
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let as_docker = |line: &str, config: &str| {
        own.file("docker/config.json", config);
        let run = run(&own, line).env("PATH", &path);
        run.env("DOCKER_CONFIG", own.path().join("docker")).outcome()
    };
    let push = format!("push {name}");

    as_docker(&push, "{}").expect_code(125).expect_error("`aril login`");
    let of_helper = format!(r#"{{"credHelpers":{{"{}":"cave"}}}}"#, registry.address);
    as_docker(&push, &of_helper).expect_code(0);
    let asked = fs::read_to_string(folder.join("asked")).unwrap();
    assert!(asked.lines().all(|line| line == format!("get {}", registry.address)), "{asked}");
    as_docker(&push, r#"{"credsStore":"cave"}"#).expect_code(0);
    // `ali:open sesame` in base64.
    let kept =
        format!(r#"{{"auths":{{"{}":{{"auth":"YWxpOm9wZW4gc2VzYW1l"}}}}}}"#, registry.address);
    as_docker(&push, &kept).expect_code(0);
    let missing = of_helper.replace("cave", "nowhere");
    let missing = as_docker(&push, &missing).expect_code(125);
    missing.expect_error("`docker-credential-nowhere` cannot be started");
    let torn = as_docker(&push, "{\"auths\":{\"x\":{\"auth\":\"c2VjcmV0").expect_code(125);
    assert!(!torn.stderr.contains("c2VjcmV0"), "{torn:#?}");
}

#[test]
fn logins_of_podman_are_used_after_those_of_docker_and_our_own() {
    let bench = Bench::new();
    let manner = Manner { with_logins: true, ..Manner::default() };
    let Some(registry) = Registry::start(&bench, &manner) else { return };
    let name = format!("{}/hello:1", registry.address);
    let own = bench_with(&name);
    // `ali:open sesame` and `ali:wrong` in base64.
    let [right, wrong] = ["YWxpOm9wZW4gc2VzYW1l", "YWxpOndyb25n"]
        .map(|login| format!(r#"{{"auths":{{"{}":{{"auth":"{login}"}}}}}}"#, registry.address));
    let places = [
        "config/auth.json",
        "docker/config.json",
        "run/containers/auth.json",
        "home/.config/containers/auth.json",
    ];
    let pushes = |kept: &[(usize, &str, u32)]| {
        for place in places {
            let _absent = fs::remove_file(own.path().join(place));
        }
        for (place, text, mode) in kept {
            let file = own.file(places[*place], text);
            fs::set_permissions(file, fs::Permissions::from_mode(*mode)).unwrap();
        }
        let run = run(&own, &format!("push {name}")).env("HOME", own.path().join("home"));
        let run = run.env("DOCKER_CONFIG", own.path().join("docker"));
        run.env("XDG_RUNTIME_DIR", own.path().join("run")).outcome()
    };
    pushes(&[]).expect_code(125).expect_error("`aril login`");
    for place in 0..places.len() {
        pushes(&[(place, &right, 0o600)]).expect_code(0);
        // What comes before is asked first, and alone where it knows a login.
        for later in place + 1..places.len() {
            pushes(&[(place, &right, 0o600), (later, &wrong, 0o600)]).expect_code(0);
            pushes(&[(place, &wrong, 0o600), (later, &right, 0o600)]).expect_code(125);
            pushes(&[(place, "{}", 0o600), (later, &right, 0o600)]).expect_code(0);
        }
    }
    // What others may read is not used, but for docker's, which docker itself writes so.
    for (place, code) in [(0, 125), (1, 0), (2, 125), (3, 125)] {
        let pushed = pushes(&[(place, &right, 0o644)]).expect_code(code);
        assert_eq!(pushed.stderr.contains("chmod 600"), code != 0, "{pushed:#?}");
    }
    if rustix::process::geteuid().is_root() {
        let file = own.file("home/.config/containers/auth.json", &right);
        std::os::unix::fs::chown(&file, Some(65534), None).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let run = run(&own, &format!("push {name}")).env("HOME", own.path().join("home"));
        run.outcome().expect_code(125).expect_error("see that it is yours");
    }
}

#[test]
fn nobody_at_a_port_is_told_of_soon() {
    let bench = Bench::new();
    // A port where nobody listens any more.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let refused = aril(&bench, &format!("pull 127.0.0.1:{port}/hello:1")).expect_code(125);
    assert!(refused.elapsed < Duration::from_secs(5), "{refused:#?}");
    refused.expect_error("cannot connect to").expect_error("Connection refused");
}

#[test]
fn a_proxy_that_is_not_used_is_told_of_once() {
    let bench = Bench::new();
    // What does not exist is refused before anything is asked for.
    let pull = |name: &str, without: &str| {
        let run = run(&bench, &format!("pull {name}")).env("NO_PROXY", without);
        run.env("https_proxy", "http://proxy.invalid:3128").outcome()
    };
    bench.file("config/registries.toml", "attempts = 1\n");
    let told = pull("registry.invalid/app:1", "").expect_code(125);
    assert_eq!(told.stderr.matches("`https_proxy` is set, but proxies").count(), 1, "{told:#?}");
    for (name, without) in [("registry.invalid/app:1", ".invalid"), ("localhost:1/app:1", "")] {
        let silent = pull(name, without).expect_code(125);
        assert!(!silent.stderr.contains("proxies"), "{silent:#?}");
    }
}

#[test]
fn a_blob_that_another_repository_has_is_mounted_and_not_sent() {
    let bench = Bench::new();
    let Some(registry) = plain(&bench) else { return };
    let [one, other] = ["one", "team/other"].map(|name| format!("{}/{name}:1", registry.address));
    let own = bench_with(&one);
    aril(&own, &format!("push {one}")).expect_code(0);
    let sent = registry.requests("PUT").iter().filter(|line| line.contains("/uploads/")).count();
    assert!(2 <= sent, "{}", registry.log());

    aril(&own, &format!("tag {one} {other}")).expect_code(0);
    let pushed = aril(&own, &format!("push {other}")).expect_code(0);

    let uploads = |method| {
        let lines = registry.requests(method);
        lines.into_iter().filter(|line| line.contains("/team/other/blobs/")).collect::<Vec<_>>()
    };
    assert_eq!(uploads("PUT"), [""; 0], "a blob was sent");
    let mounts = uploads("POST");
    assert!(mounts.iter().all(|line| line.contains("from=one") && line.contains("mount=")));
    assert_eq!(mounts.len(), sent, "{mounts:#?}");
    // It is all there.
    for name in [&one, &other] {
        aril(&own, &format!("rmi {name}")).expect_code(0);
    }
    aril(&own, &format!("run {other}")).expect_code(0).expect_output("hello\n");
    let listed = aril(&own, "images --digests -q").expect_code(0).stdout;
    assert_eq!(listed.trim(), pushed.stdout.trim());
}

#[test]
fn a_large_image_is_pulled_in_little_memory() {
    /// How many layers, and of how many bytes.
    const LAYERS: (u8, usize) = (8, 8 << 20);
    let bench = Bench::new();
    let Some(registry) = plain(&bench) else { return };
    let name = format!("{}/large:1", registry.address);
    let own = bench_with(&name);
    let mut layout = Layout::default();
    let wasm = wat::parse_str("(module (func (export \"_start\")))").unwrap();
    let files = |number: u8| {
        // By chance, as far as a compressor can see.
        let mut state = u64::from(number) + 1;
        let bytes = (0..LAYERS.1 / 8).flat_map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        let mut files = vec![(format!("data/{number}"), bytes.collect::<Vec<u8>>())];
        if number == 0 {
            files.push(("app.wasm".to_owned(), wasm.clone()));
        }
        crate::layouts::archive(&files)
    };
    let tars: Vec<Vec<u8>> = (0..LAYERS.0).map(files).collect();
    let diff_ids: Vec<String> = tars.iter().map(|tar| Digest::of(tar).to_string()).collect();
    let layers: Vec<_> = tars
        .into_iter()
        .map(|tar| layout.blob("application/vnd.oci.image.layer.v1.tar", tar))
        .collect();
    let config = serde_json::json!({
        "architecture": "wasm", "os": "wasi", "config": {"Entrypoint": ["/app.wasm"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = layout.blob(crate::layouts::CONFIG, config.to_string());
    let manifest = layout.manifest(&config, &layers);
    layout.name(&name, manifest);
    layout.write(&own.path().join("layout"));
    aril(&own, "load -q -i layout").expect_code(0);
    aril(&own, &format!("push -q {name}")).expect_code(0);
    aril(&own, &format!("rmi {name}")).expect_code(0);

    let (pulled, peak) = run(&own, &format!("pull -q {name}")).start().outcome_and_peak();

    pulled.expect_code(0);
    assert!(peak < 64 << 20, "{} MiB", peak >> 20);
    aril(&own, &format!("run {name}")).expect_code(0);
}

#[test]
fn logins_that_others_may_read_are_not_used() {
    let bench = Bench::new();
    fs::create_dir(bench.path().join("config")).unwrap();
    let file = bench.file("config/auth.json", r#"{"auths": {"127.0.0.1:9": {"auth": "YTpi"}}}"#);
    for (mode, text) in [(0o644, "chmod 600"), (0o660, "chmod 600"), (0o600, "connect")] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        aril(&bench, "pull 127.0.0.1:9/team/app:1").expect_code(125).expect_error(text);
    }
}

#[test]
fn a_policy_that_cannot_be_read_or_that_others_may_write_is_not_passed_over() {
    let bench = Bench::new();
    fs::create_dir(bench.path().join("config")).unwrap();
    let path = bench.path().join("config/policy.json");
    let refused = |text: &str| {
        aril(&bench, "pull 127.0.0.1:9/team/app:1").expect_code(125).expect_error(text);
    };
    std::os::unix::fs::symlink("/nowhere", &path).unwrap();
    refused("policy.json");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    refused("not a regular file");
    fs::remove_dir(&path).unwrap();
    fs::write(&path, r#"{"default": [{"type": "insecureAcceptAnything"}]}"#).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    refused("chmod go-w");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    refused("connect");
}
