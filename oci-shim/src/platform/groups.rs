//! Control groups that a server left which is no more.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

/// What a file system of groups of the second version says that it is.
const CGROUP2_MAGIC: u64 = 0x6367_7270;

/// Where the first of them is mounted.
const TOP: &str = "/sys/fs/cgroup";

/// Whether this host has all controllers in one hierarchy, which is how engines decide what figures
/// they expect.
pub(crate) fn are_unified() -> bool {
    let found = rustix::fs::statfs(TOP);
    found.is_ok_and(|found| u64::try_from(found.f_type).is_ok_and(|magic| magic == CGROUP2_MAGIC))
}

/// Removes a group, by its path below the root of each hierarchy, as soon as nothing is in it: the
/// processes of one that was killed may be on their way.
pub(crate) fn remove(path: &str, limit: Duration) -> io::Result<()> {
    let inside = path.trim_start_matches('/');
    if inside.is_empty() || inside.split('/').any(|name| [".", ".."].contains(&name)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no path of a group"));
    }
    let began = Instant::now();
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    for top in hierarchies(&table) {
        let folder = top.join(inside);
        loop {
            match fs::remove_dir(&folder) {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error)
                    if error.kind() == io::ErrorKind::ResourceBusy && began.elapsed() < limit =>
                {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Where hierarchies are mounted by their roots.
fn hierarchies(table: &str) -> Vec<PathBuf> {
    let lines = table.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(3);
        let (root, place) = (fields.next()?, fields.next()?);
        let kind = after.split(' ').next()?;
        (["cgroup", "cgroup2"].contains(&kind) && root == "/").then(|| Path::new(place).to_owned())
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_found_and_other_mounts_are_not() {
        let table = "30 24 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n\
                     31 30 0:27 / /sys/fs/cgroup/unified rw shared:1 - cgroup2 cgroup2 rw\n\
                     32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                     33 30 0:28 /part /mnt/part rw - cgroup cgroup rw,memory\n";
        let expected = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup/memory"].map(PathBuf::from);
        assert_eq!(hierarchies(table), expected);
    }

    #[test]
    fn a_group_that_leads_elsewhere_is_not_removed_and_one_that_is_gone_is_no_error() {
        for path in ["", "/", "/a/../b", ".."] {
            assert!(remove(path, Duration::ZERO).is_err(), "{path}");
        }
        remove("/aril-no-such-group/at-all", Duration::ZERO).unwrap();
    }
}
