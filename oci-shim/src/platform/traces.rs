//! What tests of native containers need of the system, and where they look for what was left behind.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::CWD;
use rustix::fs::FileType;
use rustix::fs::Mode;

/// Whether this user may make containers.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Makes a FIFO, as an engine does.
pub(crate) fn make_fifo(path: &Path) {
    rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

/// Whether there is a process of this number, which may have ended and not been waited for.
pub(crate) fn is_there(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// The children of this process that have ended and were not waited for.
pub(crate) fn zombies() -> Vec<u32> {
    let own = format!(" {} ", std::process::id());
    let entries = fs::read_dir("/proc").unwrap();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let has_ended = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") Z").is_some_and(|(_, rest)| rest.starts_with(&own))
    };
    pids.filter(has_ended).collect()
}

/// The control groups of this name.
pub(crate) fn groups(name: &str) -> Vec<PathBuf> {
    fn look(folder: &Path, name: &str, depth: usize, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name() == name {
                    found.push(entry.path());
                }
                if 0 < depth {
                    look(&entry.path(), name, depth - 1, found);
                }
            }
        }
    }
    let mut found = Vec::new();
    look(Path::new("/sys/fs/cgroup"), name, 6, &mut found);
    found
}

/// The mounts in a folder.
pub(crate) fn mounts_in(folder: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let folder = folder.to_str().unwrap();
    table.lines().filter(|line| line.contains(folder)).map(ToOwned::to_owned).collect()
}

/// How many files this process has open.
pub(crate) fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// The command of a process, with a nought behind each word.
pub(crate) fn command(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default()
}

/// How many bytes can be read.
pub(crate) fn unread(from: impl std::os::fd::AsFd) -> u64 {
    rustix::io::ioctl_fionread(from).unwrap()
}

/// Writes a program.
pub(crate) fn make_program(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(path, mode).unwrap();
}
