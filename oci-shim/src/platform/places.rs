//! The control groups that another program made for a container: where they are, who is in them, and what
//! the kernel tells there, in v1, v2, or both.

use std::fs;
use std::fs::File;
use std::io;
use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::os::fd::OwnedFd;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;

use rustix::event::EventfdFlags;
use rustix::fs::inotify;
use tokio::io::unix::AsyncFd;

use super::reaper;

/// The longest table or file that is read: a host with ten thousand mounts has two MiB of them.
const FILE_SIZE_MAX: u64 = 8 << 20;

/// How deep groups are looked for in a container's own.
const DEPTH_MAX: usize = 16;

/// A hierarchy, as it is mounted somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    root: String,
    point: PathBuf,
    /// Those of v1, in the kernel's words; none in v2.
    controllers: Vec<String>,
}

/// One group.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    controllers: Vec<String>,
    folder: PathBuf,
}

/// The groups of a container. Those that it shares with this process are not among them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    places: Vec<Place>,
    seat: Option<String>,
}

impl Places {
    /// Those that a process is in.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let mounts = mounts(&read(Path::new("/proc/self/mountinfo"))?);
        let own = seats(&read(Path::new("/proc/self/cgroup"))?);
        let theirs = seats(&read(Path::new(&format!("/proc/{pid}/cgroup")))?);
        let mut places = Self::default();
        for (controllers, seat) in theirs.iter().filter(|seat| !own.contains(seat)) {
            if controllers.is_empty() {
                places.seat = Some(seat.clone());
            }
            let mount = mounts.iter().find(|mount| &mount.controllers == controllers);
            if let Some(folder) = mount.and_then(|mount| mount.folder(seat)) {
                places.places.push(Place { controllers: controllers.clone(), folder });
            }
        }
        Ok(places)
    }

    /// Those that a path of a configuration means, where they are there: from the top of every hierarchy,
    /// or from where this process is in it. None of them is around this process.
    pub(crate) fn named(path: &str) -> io::Result<Self> {
        let mounts = mounts(&read(Path::new("/proc/self/mountinfo"))?);
        let own = seats(&read(Path::new("/proc/self/cgroup"))?);
        let names = Path::new(path).components();
        let names = names.filter(|part| !matches!(part, Component::RootDir | Component::CurDir));
        let names: PathBuf = names.collect();
        let is_plain = names.components().all(|part| matches!(part, Component::Normal(_)));
        let mut places = Self::default();
        if !is_plain || names.as_os_str().is_empty() {
            return Ok(places);
        }
        for mount in &mounts {
            let seat = own.iter().find(|(controllers, _)| *controllers == mount.controllers);
            let own = seat.and_then(|(_, seat)| mount.folder(seat));
            let top = if path.starts_with('/') { Some(&mount.point) } else { own.as_ref() };
            let Some(folder) = top.map(|top| top.join(&names)) else { continue };
            if folder.is_dir() && !own.is_some_and(|own| own.starts_with(&folder)) {
                places.places.push(Place { controllers: mount.controllers.clone(), folder });
            }
        }
        Ok(places)
    }

    /// Whether there are none.
    pub(crate) fn are_none(&self) -> bool {
        self.places.is_empty()
    }

    /// Whether the kernel's figures are those of v1.
    pub(crate) fn are_v1(&self) -> bool {
        let mut names = self.places.iter().flat_map(|place| &place.controllers);
        names.any(|name| !name.starts_with("name="))
    }

    /// The group of v2, in the kernel's words.
    pub(crate) fn seat(&self) -> Option<&str> {
        self.seat.as_deref()
    }

    /// What a file of the group says that this controller of v1 has, or the group of v2.
    pub(crate) fn read(&self, controller: &str, file: &str) -> Option<String> {
        read(&self.folder(controller)?.join(file)).ok()
    }

    fn folder(&self, controller: &str) -> Option<&Path> {
        let are_v1 = self.are_v1();
        let has = |place: &&Place| {
            if are_v1 {
                place.controllers.iter().any(|name| name == controller)
            } else {
                place.controllers.is_empty()
            }
        };
        self.places.iter().find(has).map(|place| &*place.folder)
    }

    /// Who is in them: in all groups below as well.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let mut found = Vec::new();
        for place in &self.places {
            within(&place.folder, DEPTH_MAX, &mut |folder| {
                let text = read(&folder.join("cgroup.procs")).unwrap_or_default();
                found.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
            });
        }
        found.sort_unstable();
        found.dedup();
        // Processes of other namespaces are nought.
        found.retain(|pid| *pid != 0);
        found
    }

    /// Kills who is in them, once; says whether somebody was.
    pub(crate) fn kill(&self) -> io::Result<bool> {
        let processes = self.processes();
        for &pid in &processes {
            reaper::signal_if(pid, reaper::KILL, || self.processes().contains(&pid))?;
        }
        Ok(!processes.is_empty())
    }

    /// Lets go on what was frozen in them, so that it can be killed.
    pub(crate) fn thaw(&self) {
        if let Some(folder) = self.folder("freezer") {
            // There is nothing to thaw where it cannot be written.
            let _thawed = if self.are_v1() {
                fs::write(folder.join("freezer.state"), "THAWED")
            } else {
                fs::write(folder.join("cgroup.freeze"), "0")
            };
        }
    }

    /// Removes them, with the groups below. Nobody may be in them.
    pub(crate) fn remove(&self) -> io::Result<()> {
        let mut outcome = Ok(());
        for place in &self.places {
            within(&place.folder, DEPTH_MAX, &mut |folder| match fs::remove_dir(folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => outcome = Err(error),
                _ => {}
            });
        }
        outcome
    }

    /// How many processes the kernel has killed in them because memory was out.
    pub(crate) fn memory_kills(&self) -> Option<u64> {
        let file = if self.are_v1() { "memory.oom_control" } else { "memory.events" };
        let text = self.read("memory", file)?;
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
    }

    /// Watches for that; nothing where no memory is counted.
    pub(crate) fn watch_memory(&self) -> io::Result<Option<MemoryWatch>> {
        let Some(folder) = self.folder("memory") else { return Ok(None) };
        if self.are_v1() {
            let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
            let event = rustix::event::eventfd(0, flags)?;
            let control = File::open(folder.join("memory.oom_control"))?;
            let line = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
            fs::write(folder.join("cgroup.event_control"), line)?;
            return Ok(Some(MemoryWatch { event: reaper::watch(event)? }));
        }
        let events = folder.join("memory.events");
        if !events.is_file() {
            return Ok(None);
        }
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let event = inotify::init(flags)?;
        inotify::add_watch(&event, &events, inotify::WatchFlags::MODIFY)?;
        Ok(Some(MemoryWatch { event: reaper::watch(event)? }))
    }
}

/// A descriptor that is read from when memory may be out.
#[derive(Debug)]
pub(crate) struct MemoryWatch {
    event: AsyncFd<OwnedFd>,
}

impl MemoryWatch {
    /// Waits until memory was out, or the group was removed. The kill itself may come a little later.
    pub(crate) async fn stirred(&self) -> io::Result<()> {
        loop {
            let mut ready = self.event.readable().await?;
            let mut told = [0_u8; 1 << 10];
            let read = ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut told)?));
            if let Ok(read) = read {
                return read.map(|_length| ());
            }
        }
    }
}

impl Mount {
    /// Where a group is seen, if it is below what was mounted.
    fn folder(&self, seat: &str) -> Option<PathBuf> {
        let beneath = if self.root == "/" { seat } else { seat.strip_prefix(&self.root)? };
        let beneath = Path::new(beneath.trim_start_matches('/'));
        let is_plain = beneath.components().all(|part| matches!(part, Component::Normal(_)));
        is_plain.then(|| self.point.join(beneath))
    }
}

/// Calls something for the folders in a folder and then for it, from the deepest on.
fn within(folder: &Path, depth: usize, visit: &mut impl FnMut(&Path)) {
    let entries = if depth == 0 { None } else { fs::read_dir(folder).ok() };
    for entry in entries.into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            within(&entry.path(), depth - 1, visit);
        }
    }
    visit(folder);
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_SIZE_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// The hierarchies in the kernel's table of mounts. A line that is not understood is not there.
fn mounts(table: &str) -> Vec<Mount> {
    let mut found: Vec<Mount> = Vec::new();
    for mount in table.lines().filter_map(mount) {
        // What is mounted over another hides it.
        found.retain(|earlier| earlier.point != mount.point);
        found.push(mount);
    }
    found
}

fn mount(line: &str) -> Option<Mount> {
    let (head, tail) = line.split_once(" - ")?;
    let mut head = head.split(' ').skip(3);
    let (root, point) = (head.next()?.to_owned(), head.next()?);
    let mut tail = tail.split(' ');
    let controllers = match tail.next()? {
        "cgroup" => {
            let options = tail.nth(1)?.split(',');
            controllers(options.filter(|option| !matches!(*option, "rw" | "ro" | "xattr")))
        }
        "cgroup2" => Vec::new(),
        _ => return None,
    };
    // A space of its name is written as a number; no hierarchy has one.
    Some(Mount { root, point: point.into(), controllers })
}

/// The groups in the kernel's table of a process.
fn seats(table: &str) -> Vec<(Vec<String>, String)> {
    let seat = |line: &str| {
        let (_number, rest) = line.split_once(':')?;
        let (names, path) = rest.split_once(':')?;
        Some((controllers(names.split(',')), path.to_owned()))
    };
    table.lines().filter_map(seat).collect()
}

/// In one order, so that they can be compared.
fn controllers<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<String> =
        names.filter(|name| !name.is_empty()).map(ToOwned::to_owned).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpuacct,cpu
35 31 0:32 /docker/a /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
no line
";

    #[test]
    fn a_group_is_found_in_each_hierarchy_below_what_is_mounted_of_it() {
        let mounts = mounts(MOUNTS);
        let folder = |line: &str| {
            let (controllers, seat) = seats(line).remove(0);
            let mount = mounts.iter().find(|mount| mount.controllers == controllers)?;
            mount.folder(&seat)?.into_os_string().into_string().ok()
        };
        assert_eq!(folder("3:cpu,cpuacct:/x").unwrap(), "/sys/fs/cgroup/cpu,cpuacct/x");
        assert_eq!(folder("4:memory:/docker/a/x").unwrap(), "/sys/fs/cgroup/memory/x");
        assert_eq!(folder("9:name=systemd:/x").unwrap(), "/sys/fs/cgroup/systemd/x");
        assert_eq!(folder("0::/x").unwrap(), "/sys/fs/cgroup/unified/x");
        // Outside of what is seen here.
        assert_eq!(folder("4:memory:/docker/b"), None);
        assert_eq!(folder("0::/../x"), None);
        assert_eq!(folder("5:pids:/x"), None);
    }

    #[test]
    fn a_path_that_leads_up_or_to_this_process_names_no_group() {
        for path in ["/", "", ".", "/../x", "x/../..", "/no/such/group"] {
            assert!(Places::named(path).unwrap().places.is_empty(), "{path}");
        }
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        for (_, seat) in seats(&own) {
            let places = Places::named(&seat).unwrap();
            assert!(!places.processes().contains(&std::process::id()), "{seat}");
        }
    }
}
