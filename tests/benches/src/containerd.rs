//! A containerd of the benches' own, whose shims keep containers: those of runc, and ours.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use anyhow::ensure;

use crate::images::need;
use crate::images::write_layout;
use crate::run::footprint;
use crate::run::run;

/// How long it may take to listen.
const START_MAX: Duration = Duration::from_secs(10);

/// How long a shim is given to leave when its container was removed.
const LEAVING: Duration = Duration::from_secs(5);

/// A containerd, its images of one program each, and the containers of those. All of it ends with this.
pub(crate) struct Containerd {
    child: Child,
    folder: PathBuf,
    count: usize,
}

/// Whose shim keeps a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeper<'a> {
    Runc,
    /// That of this program.
    Aril(&'a Path),
}

impl Keeper<'_> {
    /// As containerd names it.
    fn runtime(self) -> String {
        match self {
            Self::Runc => "io.containerd.runc.v2".to_owned(),
            Self::Aril(program) => program.display().to_string(),
        }
    }

    /// What its command line has in it.
    fn word(self) -> &'static str {
        match self {
            Self::Runc => "shim-runc",
            Self::Aril(_) => "shim-aril",
        }
    }
}

impl Containerd {
    /// Starts it, with images of a name, their files, and which of these is run. Shims keep machine code in
    /// `cache`.
    pub(crate) fn start(
        folder: &Path,
        images: &[(&str, &Path, &str)],
        cache: &Path,
    ) -> anyhow::Result<Self> {
        need("containerd")?;
        need("ctr")?;
        need("runc")?;
        let own = |name: &str| folder.join(name).display().to_string();
        let text = format!(
            "version = 2\nroot = '{}'\nstate = '{}'\n\
             disabled_plugins = ['io.containerd.grpc.v1.cri']\n[grpc]\naddress = '{}'\n",
            own("root"),
            own("state"),
            own("socket")
        );
        let config = folder.join("config.toml");
        fs::write(&config, text)?;
        let mut command = Command::new("containerd");
        command.arg("--config").arg(config).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null()).env("ARIL_CACHE_DIR", cache);
        let containerd = Self { child: command.spawn()?, folder: folder.to_owned(), count: 0 };
        let started = Instant::now();
        while run(containerd.ctr().arg("version"), 0).is_err() {
            ensure!(started.elapsed() < START_MAX, "containerd does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        for (name, root, program) in images {
            let layout = folder.join(format!("layout-{name}"));
            write_layout(&layout, &[root.to_path_buf()], program)?;
            let archive = folder.join(format!("{name}.tar"));
            let mut tar = Command::new("tar");
            tar.arg("-cf").arg(&archive).arg("-C").arg(&layout);
            run(tar.args(["oci-layout", "index.json", "blobs"]), 0)?;
            let import = ["image", "import", "--base-name", name];
            run(containerd.ctr().args(import).arg(archive), 0)?;
        }
        Ok(containerd)
    }

    fn ctr(&self) -> Command {
        let mut command = Command::new("ctr");
        command.arg("--address").arg(self.folder.join("socket")).stdin(Stdio::null());
        command
    }

    /// A command that runs a container of this image to its end.
    pub(crate) fn runs(&self, keeper: Keeper<'_>, image: &str) -> Command {
        let mut command = self.ctr();
        let runtime = keeper.runtime();
        command.args(["run", "--rm", "--snapshotter", "native", "--runtime", &runtime]);
        command.args([&format!("{image}:bench"), &format!("run-{image}")]);
        command
    }

    /// Starts that many containers of this image.
    pub(crate) fn run(
        &mut self,
        keeper: Keeper<'_>,
        image: &str,
        count: usize,
    ) -> anyhow::Result<()> {
        for _ in 0..count {
            let (name, image) = (format!("bench-{}", self.count), format!("{image}:bench"));
            let runtime = keeper.runtime();
            let words = ["run", "--detach", "--snapshotter", "native", "--runtime", &runtime];
            self.count += 1;
            run(self.ctr().args(words).args([&image, &name]), 0)?;
        }
        Ok(())
    }

    /// What each process has of memory that such a shim started, and the shims: one after the other.
    pub(crate) fn memory(&self, keeper: Keeper<'_>) -> anyhow::Result<Vec<f64>> {
        let socket = self.folder.join("socket").display().to_string();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            // One that has ended in between has no words any more.
            let words = fs::read(Path::new("/proc").join(&name).join("cmdline"));
            let words = words.map(|words| String::from_utf8_lossy(&words).into_owned());
            let is_shim = |words: &str| words.contains(keeper.word()) && words.contains(&socket);
            if name.parse::<u32>().is_ok() && words.is_ok_and(|words| is_shim(&words)) {
                found.push(footprint(&name)?.proportional);
                let children = fs::read_to_string(format!("/proc/{name}/task/{name}/children"));
                for child in children?.split_whitespace() {
                    found.push(footprint(child)?.proportional);
                }
            }
        }
        Ok(found)
    }

    /// Ends and removes all containers that were started, and waits for their shims to leave.
    pub(crate) fn clear(&mut self) {
        for number in 0..self.count {
            let name = format!("bench-{number}");
            // What does not go away by this is seen by whoever looks for it.
            let _removed = run(self.ctr().args(["task", "rm", "--force", &name]), 0);
            let _removed = run(self.ctr().args(["container", "rm", &name]), 0);
        }
        self.count = 0;
        let is_there = |keeper| self.memory(keeper).is_ok_and(|found| !found.is_empty());
        let started = Instant::now();
        while started.elapsed() < LEAVING
            && (is_there(Keeper::Runc) || is_there(Keeper::Aril(Path::new(""))))
        {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        self.clear();
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}
