//! Container engines, as they start here: the programs that they run, their bundles, and their words.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;
use serde_json::Value;
use serde_json::json;

use crate::bench::Bench;
use crate::bench::Missing;
use crate::images::need;
use crate::run::run;
use crate::worker::Worker;

/// What stands for the number of a container in the words that start it.
pub(crate) const NUMBER: &str = "{}";

/// crun and podman refuse a host that has both versions of control groups: theirs are shown one of
/// them, by a shell in a namespace of mounts of its own, which is gone before anything is measured.
const WITH_ONE_TREE: [&str; 5] = [
    "unshare",
    "--mount",
    "sh",
    "-c",
    "! mountpoint -q /sys/fs/cgroup/unified || umount /sys/fs/cgroup/unified; exec \"$0\" \"$@\"",
];

/// An engine that runs containers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Engine {
    Crun,
    Runc,
    Podman,
}

impl Engine {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Crun => "crun",
            Self::Runc => "runc",
            Self::Podman => "podman",
        }
    }
}

/// A program of the bench's own in a bundle, for crun and runc, and in an image, for podman.
#[derive(Debug)]
pub(crate) struct Container {
    folder: PathBuf,
}

impl Container {
    /// Compiles a program to a static one, which is all that there is in its container.
    pub(crate) fn new(bench: &Bench, name: &str, source: &Path) -> anyhow::Result<Self> {
        Self::with(bench, name, source, &[])
    }

    /// The same, with arguments for the program.
    pub(crate) fn with(
        bench: &Bench,
        name: &str,
        source: &Path,
        args: &[&str],
    ) -> anyhow::Result<Self> {
        need("crun")?;
        let folder = PathBuf::from(bench.folder(&format!("container-{name}"))?);
        let root = folder.join("bundle/rootfs");
        fs::create_dir_all(&root)?;
        cc(source, &root.join("program"))?;
        let config = folder.join("bundle/config.json");
        if !config.exists() {
            run(Command::new("crun").arg("spec").current_dir(folder.join("bundle")), 0)?;
            let mut spec: Value = serde_json::from_slice(&fs::read(&config)?)?;
            spec["process"]["terminal"] = json!(false);
            spec["process"]["args"] = json!([&["/program"], args].concat());
            fs::write(&config, spec.to_string())?;
        }
        Ok(Self { folder })
    }

    /// The program, which runs without a container as well.
    pub(crate) fn program(&self) -> PathBuf {
        self.root().join("program")
    }

    /// What is in it: the program alone.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.join("bundle/rootfs")
    }

    /// What one is called.
    fn id(&self) -> String {
        let name = self.folder.file_name().unwrap_or_default().display();
        format!("aril-benches-{name}-{NUMBER}")
    }

    /// What is before the verb in a command of this engine.
    fn base(&self, engine: Engine) -> Vec<String> {
        let own = |name: &str| self.folder.join(name).display().to_string();
        match engine {
            Engine::Crun | Engine::Runc => {
                vec![engine.name().to_owned(), "--root".to_owned(), own(engine.name())]
            }
            Engine::Podman => vec![
                "podman".to_owned(),
                format!("--root={}", own("podman")),
                format!("--runroot={}", own("podman-run")),
                format!("--tmpdir={}", own("podman-tmp")),
                "--cgroup-manager=cgroupfs".to_owned(),
                "--events-backend=file".to_owned(),
                "--storage-driver=vfs".to_owned(),
            ],
        }
    }

    /// The words that run a container and wait for its end, or leave it running.
    fn run_words(&self, engine: Engine, detached: bool) -> Vec<String> {
        let mut words = self.base(engine);
        words.push("run".to_owned());
        if detached {
            words.push("--detach".to_owned());
        }
        match engine {
            Engine::Crun | Engine::Runc => {
                let bundle = self.folder.join("bundle").display().to_string();
                words.extend(["--bundle".to_owned(), bundle, self.id()]);
            }
            Engine::Podman => {
                let limits =
                    ["--network=none", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"];
                words.extend(
                    ["--rm", limits[0], limits[1], limits[2], "program:1"].map(str::to_owned),
                );
            }
        }
        words
    }

    /// One that runs it to its end, each time it is asked, and says how long that took.
    pub(crate) fn runs(&self, engine: Engine) -> anyhow::Result<Worker> {
        need(engine.name())?;
        if matches!(engine, Engine::Podman) {
            self.make_image()?;
        }
        Self::worker("program-run", &self.run_words(engine, false))
    }

    /// One that starts so many, so many at a time, and says how long that took.
    pub(crate) fn crowd(
        &self,
        engine: Engine,
        count: usize,
        abreast: usize,
    ) -> anyhow::Result<Worker> {
        need(engine.name())?;
        let counts = [count.to_string(), abreast.to_string()];
        Self::worker("program-crowd", &[counts.to_vec(), self.run_words(engine, true)].concat())
    }

    /// Ends that many that were started as a crowd, and removes them.
    pub(crate) fn remove_crowd(
        &self,
        engine: Engine,
        count: usize,
        abreast: usize,
    ) -> anyhow::Result<()> {
        let words = ["delete".to_owned(), "--force".to_owned(), self.id()];
        let counts = [count.to_string(), abreast.to_string()];
        let words = [counts.to_vec(), self.base(engine), words.to_vec()].concat();
        Self::worker("program-crowd", &words)?.ask().map(drop)
    }

    fn worker(job: &str, words: &[String]) -> anyhow::Result<Worker> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Worker::start_by(&WITH_ONE_TREE, job, &words)
    }

    fn make_image(&self) -> anyhow::Result<()> {
        let archive = self.folder.join("image.tar");
        let mut tar = Command::new("tar");
        tar.arg("-cf").arg(&archive).arg("-C").arg(self.folder.join("bundle/rootfs"));
        run(tar.arg("program"), 0)?;
        let base = self.base(Engine::Podman);
        let mut import = Command::new(&base[0]);
        import.args(&base[1..]).args(["import", "--change", "ENTRYPOINT [\"/program\"]"]);
        run(import.arg(&archive).arg("program:1"), 0)?;
        Ok(())
    }
}

/// Compiles a static program.
pub(crate) fn cc(source: &Path, output: &Path) -> anyhow::Result<()> {
    let mut command = Command::new("cc");
    command.args(["-O2", "-static", "-Wall", "-Werror", "-o"]).arg(output).arg(source);
    let made = command.output().map_err(|error| {
        Missing::new(format!("`cc`, which compiles what is measured beside, cannot run: {error}"))
    })?;
    let said = String::from_utf8_lossy(&made.stderr);
    made.status
        .success()
        .then_some(())
        .with_context(|| format!("cannot compile {}: {said}", source.display()))
}
