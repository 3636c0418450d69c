//! A containerd of the benches' own, whose shims keep containers.

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

/// A containerd, its image of one program, and the containers of that. All of it ends with this.
pub(crate) struct Containerd {
    child: Child,
    folder: PathBuf,
    count: usize,
}

impl Containerd {
    /// Starts it, with a program that is alone in its image.
    pub(crate) fn start(folder: &Path, root: &Path) -> anyhow::Result<Self> {
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
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let containerd = Self { child: command.spawn()?, folder: folder.to_owned(), count: 0 };
        let started = Instant::now();
        while run(containerd.ctr().arg("version"), 0).is_err() {
            ensure!(started.elapsed() < START_MAX, "containerd does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        let layout = folder.join("layout");
        write_layout(&layout, &[root.to_owned()], "/program")?;
        let archive = folder.join("image.tar");
        let mut tar = Command::new("tar");
        tar.arg("-cf").arg(&archive).arg("-C").arg(&layout);
        run(tar.args(["oci-layout", "index.json", "blobs"]), 0)?;
        let import = ["image", "import", "--base-name", "bench"];
        run(containerd.ctr().args(import).arg(archive), 0)?;
        Ok(containerd)
    }

    fn ctr(&self) -> Command {
        let mut command = Command::new("ctr");
        command.arg("--address").arg(self.folder.join("socket")).stdin(Stdio::null());
        command
    }

    /// Starts that many containers.
    pub(crate) fn run(&mut self, count: usize) -> anyhow::Result<()> {
        for _ in 0..count {
            let name = format!("bench-{}", self.count);
            let words = ["run", "--detach", "--snapshotter", "native", "bench:bench", &name];
            self.count += 1;
            run(self.ctr().args(words), 0)?;
        }
        Ok(())
    }

    /// What each process of theirs has of memory: shims, and programs.
    pub(crate) fn memory(&self) -> anyhow::Result<Vec<f64>> {
        let socket = self.folder.join("socket").display().to_string();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            // One that has ended in between has no words any more.
            let words = fs::read(Path::new("/proc").join(&name).join("cmdline"));
            let words = words.map(|words| String::from_utf8_lossy(&words).into_owned());
            let is_shim = |words: &str| words.contains("shim-runc") && words.contains(&socket);
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
}

impl Drop for Containerd {
    fn drop(&mut self) {
        for number in 0..self.count {
            let name = format!("bench-{number}");
            // What does not go away by this is seen by whoever looks for it.
            let _removed = run(self.ctr().args(["task", "rm", "--force", &name]), 0);
            let _removed = run(self.ctr().args(["container", "rm", &name]), 0);
        }
        let started = Instant::now();
        while started.elapsed() < LEAVING && self.memory().is_ok_and(|found| !found.is_empty()) {
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}
