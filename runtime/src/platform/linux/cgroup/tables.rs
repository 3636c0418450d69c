//! Where the kernel says that control groups are, and in which this process is: what
//! `/proc/self/mountinfo` and `/proc/self/cgroup` tell.

use std::fs::File;
use std::io;
use std::io::Read as _;

/// The longest table that is read. A host with ten thousand mounts has two MiB of them.
const TABLE_SIZE_MAX: u64 = 8 << 20;

/// What the kernel tells of control groups.
#[derive(Debug)]
pub(super) struct Tables {
    /// The hierarchies that are mounted, in the order of their mounts.
    pub(super) mounts: Vec<Mount>,
    /// The group of this process in each hierarchy.
    pub(super) seats: Vec<Seat>,
}

/// A hierarchy, as it is mounted somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// What of the hierarchy is seen there: `/`, or what a container is given of it.
    pub(super) root: String,
    pub(super) point: String,
    pub(super) unified: bool,
    /// The controllers of a hierarchy of v1, in the kernel's words.
    pub(super) controllers: Vec<String>,
}

/// The group of a process in a hierarchy.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seat {
    /// The controllers of a hierarchy of v1; none for that of v2.
    pub(super) controllers: Vec<String>,
    pub(super) path: String,
}

impl Tables {
    pub(super) fn read() -> io::Result<Self> {
        let mounts = read_table("/proc/self/mountinfo")?;
        let seats = read_table("/proc/self/cgroup")?;
        Ok(Self::parse(&mounts, &seats))
    }

    /// Reads tables of any content: a line that is not understood is not there.
    pub(super) fn parse(mounts: &[u8], seats: &[u8]) -> Self {
        let lines = |table| <[u8]>::split(table, |byte| *byte == b'\n');
        let text = |line| std::str::from_utf8(line).ok();
        let mut found: Vec<Mount> = Vec::new();
        for mount in lines(mounts).filter_map(text).filter_map(mount) {
            // What is mounted over another hides it.
            found.retain(|earlier| earlier.point != mount.point);
            found.push(mount);
        }
        Self { mounts: found, seats: lines(seats).filter_map(text).filter_map(seat).collect() }
    }

    /// Where the hierarchy of v1 with this controller is mounted, and the group of this process in
    /// it: the mount in which that group is seen, if there is one.
    pub(super) fn v1(&self, controller: &str) -> Option<(&Mount, Option<String>)> {
        let has = |words: &[String]| words.iter().any(|word| word == controller);
        let seat = self.seats.iter().find(|seat| has(&seat.controllers));
        self.best(|mount| !mount.unified && has(&mount.controllers), seat)
    }

    /// The same for the hierarchy of v2.
    pub(super) fn v2(&self) -> Option<(&Mount, Option<String>)> {
        let seat = self.seats.iter().find(|seat| seat.controllers.is_empty());
        self.best(|mount| mount.unified, seat)
    }

    fn best(
        &self,
        is_meant: impl Fn(&Mount) -> bool,
        seat: Option<&Seat>,
    ) -> Option<(&Mount, Option<String>)> {
        let meant = self.mounts.iter().filter(|mount| is_meant(mount));
        let mut placed =
            meant.map(|mount| (mount, seat.and_then(|seat| beneath(&mount.root, &seat.path))));
        let first = placed.next()?;
        if first.1.is_some() {
            return Some(first);
        }
        Some(placed.find(|(_, own)| own.is_some()).unwrap_or(first))
    }
}

fn read_table(path: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(4096);
    File::open(path)?.take(TABLE_SIZE_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > TABLE_SIZE_MAX {
        return Err(io::Error::other(format!("{path} is longer than {TABLE_SIZE_MAX} bytes")));
    }
    Ok(bytes)
}

/// A line of `/proc/self/mountinfo`, where it is of control groups: number, parent, device, root,
/// mount point, options, any number of tags, `-`, type, source, options of the file system.
fn mount(line: &str) -> Option<Mount> {
    let (place, system) = line.split_once(" - ")?;
    let mut system = system.split(' ');
    let unified = match system.next()? {
        "cgroup2" => true,
        "cgroup" => false,
        _ => return None,
    };
    let options = system.nth(1).unwrap_or_default();
    let mut place = place.split(' ').skip(3);
    let (root, point) = (unescaped(place.next()?)?, unescaped(place.next()?)?);
    if !root.starts_with('/') || !point.starts_with('/') {
        return None;
    }
    let words = options.split(',').filter(|_| !unified).map(str::to_owned);
    Some(Mount { root, point, unified, controllers: words.collect() })
}

/// A line of `/proc/self/cgroup`: number, controllers, path. The path may hold colons.
fn seat(line: &str) -> Option<Seat> {
    let mut parts = line.splitn(3, ':');
    let (_number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    let words = controllers.split(',').filter(|word| !word.is_empty());
    path.starts_with('/')
        .then(|| Seat { controllers: words.map(str::to_owned).collect(), path: path.to_owned() })
}

/// A path in which the kernel wrote blanks and the like as `\` and three octal digits.
fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let escape = (*byte == b'\\').then(|| after.first_chunk::<3>()).flatten();
        let value = escape.and_then(|digits| {
            digits.iter().try_fold(0_u32, |value, digit| {
                matches!(digit, b'0'..=b'7').then(|| value * 8 + u32::from(digit - b'0'))
            })
        });
        match value.and_then(|value| u8::try_from(value).ok()) {
            Some(0) => return None,
            Some(value) => {
                bytes.push(value);
                rest = after.get(3..)?;
            }
            None => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

/// Where a group is seen beneath a mount that shows what is beneath `root`; nothing where it is
/// seen nowhere, or where one of both lies outside the namespace of this process (`/..`).
fn beneath(root: &str, group: &str) -> Option<String> {
    let is_plain = |path: &str| !path.split('/').any(|name| name == ".." || name == ".");
    if !is_plain(root) || !is_plain(group) {
        return None;
    }
    let rest = group.strip_prefix(root.trim_end_matches('/'))?;
    (rest.is_empty() || rest.starts_with('/')).then(|| rest.trim_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime master:1 propagate_from:2 - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
";

    fn tables(mounts: &str, seats: &str) -> Tables {
        Tables::parse(mounts.as_bytes(), seats.as_bytes())
    }

    fn place(found: Option<(&Mount, Option<String>)>) -> (&str, Option<String>) {
        let (mount, own) = found.unwrap();
        (&mount.point, own)
    }

    #[test]
    fn each_controller_is_found_in_its_hierarchy_with_the_own_group() {
        let found = tables(V1, "9:cpu,cpuacct:/a:b/c\n4:memory:/\n1:name=systemd:/x\n0::/u\n");
        let cpu = ("/sys/fs/cgroup/cpu,cpuacct", Some("a:b/c".to_owned()));
        assert_eq!(place(found.v1("cpu")), cpu);
        assert_eq!(place(found.v1("cpuacct")), cpu);
        assert_eq!(place(found.v1("memory")), ("/sys/fs/cgroup/memory", Some(String::new())));
        assert_eq!(place(found.v2()), ("/sys/fs/cgroup/unified", Some("u".to_owned())));
        assert!(found.v1("pids").is_none());
        assert!(found.v1("systemd").is_none());
    }

    #[test]
    fn a_container_that_is_shown_its_own_group_alone_finds_it_there() {
        let mounts = "1 0 0:1 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        let own = |path: &str| place(tables(mounts, &format!("4:memory:{path}\n")).v1("memory")).1;
        assert_eq!(own("/docker/abc"), Some(String::new()));
        assert_eq!(own("/docker/abc/d"), Some("d".to_owned()));
        assert_eq!(own("/docker/abcd"), None);
        assert_eq!(own("/elsewhere"), None);
    }

    #[test]
    fn a_group_outside_the_namespace_is_seen_nowhere() {
        let mounts = "1 0 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(place(tables(mounts, "0::/../other\n").v2()).1, None);
        let mounts = "1 0 0:1 /../.. /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(place(tables(mounts, "0::/\n").v2()).1, None);
    }

    #[test]
    fn blanks_in_mount_points_are_read_as_the_kernel_writes_them() {
        let mounts = "1 0 0:1 / /mnt/a\\040b\\134c rw - cgroup2 none rw\n";
        assert_eq!(place(tables(mounts, "0::/\n").v2()).0, "/mnt/a b\\c");
        assert_eq!(unescaped("a\\777\\9\\04").as_deref(), Some("a\\777\\9\\04"));
        assert_eq!(unescaped("a\\000b"), None);
        assert_eq!(unescaped("\\377"), None);
    }

    #[test]
    fn the_mount_in_which_the_own_group_is_seen_is_taken() {
        let mounts = "\
1 0 0:1 /other /mnt/other rw - cgroup cgroup rw,memory
2 0 0:1 / /mnt/hidden rw - cgroup cgroup rw,memory
3 0 0:2 / /mnt/hidden rw - cgroup cgroup rw,cpu
4 0 0:1 / /mnt/all rw - cgroup cgroup rw,memory
";
        let found = tables(mounts, "4:memory:/own\n");
        assert_eq!(place(found.v1("memory")), ("/mnt/all", Some("own".to_owned())));
    }

    #[test]
    fn lines_of_any_content_are_not_there() {
        let garbage: &[u8] = b"\n - \n - cgroup2\n1 2 3 - cgroup2 x y\n1 2 3 / - cgroup2 x y\n\
            1 2 3 / rel rw - cgroup2 x y\n1 2 3 / /\xff rw - cgroup2 x y\n::\n0::rel\n:::\n\0";
        let found = Tables::parse(garbage, garbage);
        assert_eq!(found.mounts, []);
        assert_eq!(found.seats, []);
        assert!(found.v2().is_none());
    }
}
