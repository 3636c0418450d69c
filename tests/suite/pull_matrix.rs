//! What `aril build` writes is pulled and unpacked, with no flag and no setting, by what pulls
//! images: skopeo and umoci, buildah, podman, docker, `ctr`, and the interface that Kubernetes
//! has to containerd. docs/images.md has the table.
//!
//! Of containerd, the ones of other Debians are tried as well.

use std::fs;
use std::path::Path;
use std::process::Child;
use std::process::Stdio;

use serde_json::json;

use crate::containerd::Containerd;
use crate::containerd::Cri;
use crate::containerd::KUBERNETES;
use crate::containerd::Version;
use crate::docker_registry::Manner;
use crate::docker_registry::Registry;
use crate::support::Bench;
use crate::support::Run;
use crate::support::Tools;
use crate::support::root;
use crate::support::signal;
use crate::support::wait_until;

/// An image in a registry, as `aril build` and `aril push` put it there.
struct Shelf {
    bench: Bench,
    registry: Registry,
    name: String,
    digest: String,
}

impl Shelf {
    fn new() -> Option<Self> {
        Self::with("--copy ./assets:/srv/")
    }

    fn with(flags: &str) -> Option<Self> {
        let bench = Bench::new();
        let registry = Registry::start(&bench, &Manner::default())?;
        let name = format!("{}/team/hello:1", registry.address);
        fs::copy(root().join("examples/guests/hello.wat"), bench.path().join("hello.wat")).unwrap();
        bench.file("assets/a.txt", "asset\n");
        let line = format!("build hello.wat -t {name} -q {flags}");
        let built = bench.aril(line.split(' ')).outcome().expect_code(0);
        bench.aril(["push", "-q", &name]).outcome().expect_code(0);
        Some(Self { bench, registry, name, digest: built.stdout.trim().to_owned() })
    }

    fn tools(&self, needed: &[&str]) -> Option<Tools> {
        Tools::new(&self.bench, needed)
    }

    /// A folder of the test's own.
    fn folder(&self, name: &str) -> String {
        let path = self.bench.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path.display().to_string()
    }
}

/// Fails unless these lines, of `ls` or `tar`, name the image's files.
#[track_caller]
fn has_the_files(said: &str) {
    for name in ["hello.wasm", "srv"] {
        let is_it = |line: &str| line.trim_start_matches("./").trim_end_matches('/') == name;
        assert!(said.lines().any(is_it), "`{name}` is not in {said}");
    }
}

#[test]
fn skopeo_copies_it_umoci_unpacks_it_and_it_comes_back_the_same() {
    let Some(shelf) = Shelf::new() else { return };
    let Some(tools) = shelf.tools(&["skopeo", "umoci"]) else { return };
    let name = &shelf.name;
    let told = tools.run(&format!("skopeo inspect --tls-verify=false docker://{name}"));
    assert!(told.contains(&shelf.digest), "{told}");
    // All platforms, and only that of this machine.
    tools
        .run(&format!("skopeo copy -q --all --src-tls-verify=false docker://{name} oci:all:all:1"));
    tools.run(&format!("skopeo copy -q --src-tls-verify=false docker://{name} oci:one:one:1"));
    has_the_files(&tools.run("umoci unpack --image one:one:1 unpacked > told; ls unpacked/rootfs"));

    let digest_of = |name: &str| {
        let told = shelf.bench.aril(["images", "--digests", "-q", name]).outcome();
        told.expect_code(0).stdout.trim().to_owned()
    };
    for (folder, name) in [("all", "all:1"), ("one", "one:1")] {
        shelf.bench.aril(["load", "-i", folder]).outcome().expect_code(0);
        let ran = shelf.bench.aril(["run", name]).outcome();
        ran.expect_code(0).expect_output("Hello from the sandbox.\n");
    }
    assert_eq!(digest_of("all"), shelf.digest);
}

#[test]
fn buildah_pulls_and_mounts_it() {
    let Some(shelf) = Shelf::new() else { return };
    let Some(tools) = shelf.tools(&["buildah"]) else { return };
    has_the_files(&tools.run(&format!(
        "buildah='buildah --root {} --runroot {} --storage-driver vfs'\n\
         id=$($buildah from -q --tls-verify=false {})\nls \"$($buildah mount \"$id\")\"",
        shelf.folder("root"),
        shelf.folder("run"),
        shelf.name,
    )));
}

#[test]
fn podman_pulls_it_makes_a_container_of_it_and_knows_that_it_is_wasm() {
    let Some(shelf) = Shelf::new() else { return };
    let Some(tools) = shelf.tools(&["podman"]) else { return };
    let said = tools.run(&format!(
        "podman='podman --root {} --runroot {} --tmpdir {} --storage-driver vfs \
         --cgroup-manager=cgroupfs --events-backend=file'\n\
         $podman pull -q --tls-verify=false {name} > id\n\
         id=$($podman create --network=none --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 {name})\n\
         $podman inspect --format '{{{{json .Config.Annotations}}}}' $id\n\
         $podman export $id | tar -t\n\
         $podman rm $id > removed",
        shelf.folder("root"),
        shelf.folder("run"),
        shelf.folder("tmp"),
        name = shelf.name,
    ));
    has_the_files(&said);
    // What crun and youki take for a reason to run it as wasm.
    assert!(said.contains("\"module.wasm.image/variant\":\"compat\""), "{said}");
}

#[test]
fn docker_pulls_it_and_makes_a_container_of_it() {
    let Some(shelf) = Shelf::new() else { return };
    let Some(tools) = shelf.tools(&["dockerd", "docker"]) else { return };
    let socket = format!("unix://{}/docker.sock", shelf.folder("docker"));
    let mut daemon = Daemon::start(
        tools,
        // Its key is the one thing that it keeps elsewhere.
        &format!(
            "mount -t tmpfs none /etc/docker\n\
             exec dockerd --data-root {} --exec-root {} --pidfile {}/pid --host {socket} \
             --bridge=none --iptables=false",
            shelf.folder("docker/data"),
            shelf.folder("docker/exec"),
            shelf.folder("docker"),
        ),
    );
    // Docker's own command, wherever others put one of that name.
    let docker = if Path::new("/usr/bin/docker").exists() { "/usr/bin/docker" } else { "docker" };
    let docker = format!("{docker} --host {socket}");
    daemon.wait_for(&format!("{docker} info"));
    let said = daemon.tools.run(&format!(
        "{docker} pull -q {name} > pulled\nid=$({docker} create --network none {name})\n\
         {docker} export $id | tar -t\n{docker} rm $id > removed",
        name = shelf.name,
    ));
    daemon.end();
    has_the_files(&said);
}

#[test]
fn containerd_pulls_and_unpacks_it_for_ctr_and_for_kubernetes() {
    let Some(shelf) = Shelf::new() else { return };
    for version in Version::ALL {
        let Some((containerd, cri)) = containerd(&shelf, version) else { continue };
        let pull = ["images", "pull", "--plain-http", &shelf.name];
        containerd.ctr(pull).outcome().expect_code(0);
        has_the_files(&mounted(&containerd, containerd.group(), &shelf));
        cri.ask("PullImage", &json!({"image": {"image": &shelf.name}}));
        has_the_files(&mounted(&containerd, KUBERNETES, &shelf));
    }
}

#[test]
fn an_artifact_is_not_run_by_containerd_as_a_container() {
    let Some(shelf) = Shelf::with("--format artifact") else { return };
    for version in Version::ALL {
        let Some((containerd, cri)) = containerd(&shelf, version) else { continue };
        let said = containerd.ok("version").stdout;
        let answer = cri.call("PullImage", &json!({"image": {"image": &shelf.name}}));
        // 1.6 wants a file system of it; later ones fetch it as it is.
        if said.contains(" 1.6.") {
            assert!(answer.unwrap_err().contains("mismatched image rootfs"));
        } else {
            answer.unwrap();
        }
    }
}

/// A containerd that reaches the registry, and who asks it for images as kubelet does.
fn containerd(shelf: &Shelf, version: Version) -> Option<(Containerd, Cri)> {
    let containerd = Containerd::start_beside(&shelf.bench, version, &shelf.registry.address)?;
    let cri = Cri::for_images(&shelf.bench, &containerd)?;
    Some((containerd, cri))
}

/// What is in an image that was unpacked.
fn mounted(containerd: &Containerd, namespace: &str, shelf: &Shelf) -> String {
    let place = shelf.folder(&format!("at-{}-{namespace}", containerd.group()));
    let mount = ["images", "mount", &shelf.name, &place];
    containerd.ctr_in(namespace, mount).outcome().expect_code(0);
    let mut list = containerd.room().command("ls");
    list.arg(&place);
    let listed = Run::of(list).outcome().expect_code(0);
    containerd.ctr_in(namespace, ["images", "unmount", "--rm", &place]).outcome().expect_code(0);
    listed.stdout
}

/// A daemon that ends with its test. Its mounts are its own.
struct Daemon {
    child: Child,
    tools: Tools,
}

impl Daemon {
    fn start(tools: Tools, script: &str) -> Self {
        let mut command = tools.command(script);
        let log = fs::File::create(tools.folder().join("daemon.log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Self { child: command.spawn().unwrap(), tools }
    }

    /// Waits until a command succeeds.
    fn wait_for(&mut self, script: &str) {
        let log = self.tools.folder().join("daemon.log");
        wait_until(script, || {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {}", fs::read_to_string(&log).unwrap());
            let output = self.tools.command(script).output().unwrap();
            output.status.success()
        });
    }

    /// Has it end by itself, with all that it started.
    fn end(&mut self) {
        signal(self.child.id(), "TERM");
        wait_until("the daemon ends", || self.child.try_wait().unwrap().is_some());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            signal(self.child.id(), "TERM");
            let _status = self.child.wait();
        }
    }
}
