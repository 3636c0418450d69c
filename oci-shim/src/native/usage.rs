//! What a container uses, in the messages that containerd reads: those of the hierarchy it is in.

use std::collections::HashMap;

use containerd_shim_protos::cgroups::metrics as v1;
use containerd_shim_protos::cgroups_v2::metrics as v2;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::MessageField;
use containerd_shim_protos::protobuf::well_known_types::any::Any;

use crate::platform::places::Places;

/// What a container uses.
#[derive(Clone, Debug, PartialEq)]
pub enum Usage {
    /// As control groups of v1 count.
    V1(Box<v1::Metrics>),
    /// As those of v2 do.
    V2(Box<v2::Metrics>),
}

impl Usage {
    pub(super) fn of(places: &Places) -> Self {
        let read = |controller: &str, file: &str| places.read(controller, file);
        if places.are_v1() {
            Self::V1(Box::new(read_v1(read)))
        } else {
            Self::V2(Box::new(read_v2(|file| read("", file))))
        }
    }

    /// The message, under the name by which containerd knows it.
    pub fn to_any(&self) -> Any {
        let (name, bytes) = match self {
            Self::V1(metrics) => ("io.containerd.cgroups.v1.Metrics", metrics.write_to_bytes()),
            Self::V2(metrics) => ("io.containerd.cgroups.v2.Metrics", metrics.write_to_bytes()),
        };
        // They have numbers and texts alone: nothing of them can fail to be written.
        let value = bytes.unwrap_or_default();
        Any { type_url: name.to_owned(), value, ..Any::default() }
    }
}

/// A file of lines with a name and a number each; a name without one counts nothing.
#[derive(Default)]
struct Table(HashMap<String, u64>);

impl Table {
    fn parse(text: Option<String>) -> Self {
        let text = text.unwrap_or_default();
        let line = |line: &str| {
            let (name, number) = line.split_once(' ')?;
            Some((name.to_owned(), number.trim().parse().ok()?))
        };
        Self(text.lines().filter_map(line).collect())
    }

    fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }
}

/// A file of one number. In v2, one that has no end is the highest.
fn number(text: Option<String>) -> Option<u64> {
    match text?.trim() {
        "max" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

fn some<T>(value: T) -> MessageField<T> {
    MessageField::some(value)
}

fn read_v1(read: impl Fn(&str, &str) -> Option<String>) -> v1::Metrics {
    let one = |controller: &str, file: &str| number(read(controller, file)).unwrap_or_default();
    let table = |controller: &str, file: &str| Table::parse(read(controller, file));
    let per_cpu = read("cpuacct", "cpuacct.usage_percpu").unwrap_or_default();
    let throttled = table("cpu", "cpu.stat");
    let cpu = v1::CPUStat {
        // All of them in nanoseconds.
        usage: some(v1::CPUUsage {
            total: one("cpuacct", "cpuacct.usage"),
            kernel: one("cpuacct", "cpuacct.usage_sys"),
            user: one("cpuacct", "cpuacct.usage_user"),
            per_cpu: per_cpu.split_ascii_whitespace().filter_map(|one| one.parse().ok()).collect(),
            ..v1::CPUUsage::default()
        }),
        throttling: some(v1::Throttle {
            periods: throttled.get("nr_periods"),
            throttled_periods: throttled.get("nr_throttled"),
            throttled_time: throttled.get("throttled_time"),
            ..v1::Throttle::default()
        }),
        ..v1::CPUStat::default()
    };
    let pids = v1::PidsStat {
        current: one("pids", "pids.current"),
        // None is nought here.
        limit: number(read("pids", "pids.max")).filter(|max| *max != u64::MAX).unwrap_or_default(),
        ..v1::PidsStat::default()
    };
    let blocks = |file: &str| blocks(&read("blkio", file).unwrap_or_default());
    let blkio = v1::BlkIOStat {
        io_service_bytes_recursive: blocks("blkio.throttle.io_service_bytes_recursive"),
        io_serviced_recursive: blocks("blkio.throttle.io_serviced_recursive"),
        ..v1::BlkIOStat::default()
    };
    let control = table("memory", "memory.oom_control");
    v1::Metrics {
        pids: some(pids),
        cpu: some(cpu),
        memory: some(memory_v1(&table("memory", "memory.stat"), one)),
        blkio: some(blkio),
        memory_oom_control: some(v1::MemoryOomControl {
            oom_kill_disable: control.get("oom_kill_disable"),
            under_oom: control.get("under_oom"),
            oom_kill: control.get("oom_kill"),
            ..v1::MemoryOomControl::default()
        }),
        ..v1::Metrics::default()
    }
}

fn memory_v1(stat: &Table, one: impl Fn(&str, &str) -> u64) -> v1::MemoryStat {
    let entry = |kind: &str| {
        let one = |what: &str| one("memory", &format!("memory.{kind}{what}"));
        some(v1::MemoryEntry {
            limit: one("limit_in_bytes"),
            usage: one("usage_in_bytes"),
            max: one("max_usage_in_bytes"),
            failcnt: one("failcnt"),
            ..v1::MemoryEntry::default()
        })
    };
    v1::MemoryStat {
        cache: stat.get("cache"),
        rss: stat.get("rss"),
        rss_huge: stat.get("rss_huge"),
        mapped_file: stat.get("mapped_file"),
        dirty: stat.get("dirty"),
        writeback: stat.get("writeback"),
        pg_pg_in: stat.get("pgpgin"),
        pg_pg_out: stat.get("pgpgout"),
        pg_fault: stat.get("pgfault"),
        pg_maj_fault: stat.get("pgmajfault"),
        inactive_anon: stat.get("inactive_anon"),
        active_anon: stat.get("active_anon"),
        inactive_file: stat.get("inactive_file"),
        active_file: stat.get("active_file"),
        unevictable: stat.get("unevictable"),
        hierarchical_memory_limit: stat.get("hierarchical_memory_limit"),
        hierarchical_swap_limit: stat.get("hierarchical_memsw_limit"),
        total_cache: stat.get("total_cache"),
        total_rss: stat.get("total_rss"),
        total_rss_huge: stat.get("total_rss_huge"),
        total_mapped_file: stat.get("total_mapped_file"),
        total_dirty: stat.get("total_dirty"),
        total_writeback: stat.get("total_writeback"),
        total_pg_pg_in: stat.get("total_pgpgin"),
        total_pg_pg_out: stat.get("total_pgpgout"),
        total_pg_fault: stat.get("total_pgfault"),
        total_pg_maj_fault: stat.get("total_pgmajfault"),
        total_inactive_anon: stat.get("total_inactive_anon"),
        total_active_anon: stat.get("total_active_anon"),
        total_inactive_file: stat.get("total_inactive_file"),
        total_active_file: stat.get("total_active_file"),
        total_unevictable: stat.get("total_unevictable"),
        usage: entry(""),
        swap: entry("memsw."),
        kernel: entry("kmem."),
        kernel_tcp: entry("kmem.tcp."),
        ..v1::MemoryStat::default()
    }
}

/// `8:0 Read 4096`, and at the end a line with the total, which is none of a device.
fn blocks(text: &str) -> Vec<v1::BlkIOEntry> {
    let entry = |line: &str| {
        let mut words = line.split(' ');
        let (major, minor) = words.next()?.split_once(':')?;
        Some(v1::BlkIOEntry {
            op: words.next()?.to_owned(),
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            value: words.next()?.parse().ok()?,
            ..v1::BlkIOEntry::default()
        })
    };
    text.lines().filter_map(entry).collect()
}

fn read_v2(read: impl Fn(&str) -> Option<String>) -> v2::Metrics {
    let one = |file: &str| number(read(file)).unwrap_or_default();
    let table = |file: &str| Table::parse(read(file));
    let cpu = table("cpu.stat");
    let cpu = v2::CPUStat {
        // All of them in microseconds.
        usage_usec: cpu.get("usage_usec"),
        user_usec: cpu.get("user_usec"),
        system_usec: cpu.get("system_usec"),
        nr_periods: cpu.get("nr_periods"),
        nr_throttled: cpu.get("nr_throttled"),
        throttled_usec: cpu.get("throttled_usec"),
        nr_bursts: cpu.get("nr_bursts"),
        burst_usec: cpu.get("burst_usec"),
        psi: pressure(read("cpu.pressure")),
        ..v2::CPUStat::default()
    };
    let events = table("memory.events");
    let memory = v2::MemoryStat {
        usage: one("memory.current"),
        usage_limit: one("memory.max"),
        max_usage: one("memory.peak"),
        swap_usage: one("memory.swap.current"),
        swap_limit: one("memory.swap.max"),
        swap_max_usage: one("memory.swap.peak"),
        psi: pressure(read("memory.pressure")),
        ..memory_v2(&table("memory.stat"))
    };
    v2::Metrics {
        pids: some(v2::PidsStat {
            current: one("pids.current"),
            limit: one("pids.max"),
            ..v2::PidsStat::default()
        }),
        cpu: some(cpu),
        memory: some(memory),
        io: some(v2::IOStat {
            usage: devices(&read("io.stat").unwrap_or_default()),
            psi: pressure(read("io.pressure")),
            ..v2::IOStat::default()
        }),
        memory_events: some(v2::MemoryEvents {
            low: events.get("low"),
            high: events.get("high"),
            max: events.get("max"),
            oom: events.get("oom"),
            oom_kill: events.get("oom_kill"),
            oom_group_kill: events.get("oom_group_kill"),
            ..v2::MemoryEvents::default()
        }),
        ..v2::Metrics::default()
    }
}

fn memory_v2(stat: &Table) -> v2::MemoryStat {
    v2::MemoryStat {
        anon: stat.get("anon"),
        file: stat.get("file"),
        kernel_stack: stat.get("kernel_stack"),
        slab: stat.get("slab"),
        sock: stat.get("sock"),
        shmem: stat.get("shmem"),
        file_mapped: stat.get("file_mapped"),
        file_dirty: stat.get("file_dirty"),
        file_writeback: stat.get("file_writeback"),
        anon_thp: stat.get("anon_thp"),
        inactive_anon: stat.get("inactive_anon"),
        active_anon: stat.get("active_anon"),
        inactive_file: stat.get("inactive_file"),
        active_file: stat.get("active_file"),
        unevictable: stat.get("unevictable"),
        slab_reclaimable: stat.get("slab_reclaimable"),
        slab_unreclaimable: stat.get("slab_unreclaimable"),
        pgfault: stat.get("pgfault"),
        pgmajfault: stat.get("pgmajfault"),
        // Newer kernels count it for files and for other memory.
        workingset_refault: stat.get("workingset_refault")
            + stat.get("workingset_refault_anon")
            + stat.get("workingset_refault_file"),
        workingset_activate: stat.get("workingset_activate")
            + stat.get("workingset_activate_anon")
            + stat.get("workingset_activate_file"),
        workingset_nodereclaim: stat.get("workingset_nodereclaim"),
        pgrefill: stat.get("pgrefill"),
        pgscan: stat.get("pgscan"),
        pgsteal: stat.get("pgsteal"),
        pgactivate: stat.get("pgactivate"),
        pgdeactivate: stat.get("pgdeactivate"),
        pglazyfree: stat.get("pglazyfree"),
        pglazyfreed: stat.get("pglazyfreed"),
        thp_fault_alloc: stat.get("thp_fault_alloc"),
        thp_collapse_alloc: stat.get("thp_collapse_alloc"),
        ..v2::MemoryStat::default()
    }
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6`.
fn devices(text: &str) -> Vec<v2::IOEntry> {
    let entry = |line: &str| {
        let mut words = line.split(' ');
        let (major, minor) = words.next()?.split_once(':')?;
        let figures: HashMap<&str, u64> = words
            .filter_map(|word| word.split_once('='))
            .filter_map(|(name, number)| Some((name, number.parse().ok()?)))
            .collect();
        let get = |name| figures.get(name).copied().unwrap_or_default();
        Some(v2::IOEntry {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            rbytes: get("rbytes"),
            wbytes: get("wbytes"),
            rios: get("rios"),
            wios: get("wios"),
            ..v2::IOEntry::default()
        })
    };
    text.lines().filter_map(entry).collect()
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same for `full`.
fn pressure(text: Option<String>) -> MessageField<v2::PSIStats> {
    let Some(text) = text else { return MessageField::none() };
    let of = |kind: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(kind)?.strip_prefix(' '))?;
        let get = |name: &str| {
            line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
        };
        let share = |name: &str| get(name).and_then(|word| word.parse().ok()).unwrap_or_default();
        Some(v2::PSIData {
            avg10: share("avg10"),
            avg60: share("avg60"),
            avg300: share("avg300"),
            total: get("total").and_then(|word| word.parse().ok()).unwrap_or_default(),
            ..v2::PSIData::default()
        })
    };
    some(v2::PSIStats {
        some: of("some").into(),
        full: of("full").into(),
        ..v2::PSIStats::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_v2_are_read_as_the_kernel_writes_them() {
        let metrics = read_v2(|file| {
            let text = match file {
                "cpu.stat" => "usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_throttled 1\n",
                "cpu.pressure" => "some avg10=1.50 avg60=0.00 avg300=0.00 total=9\n",
                "memory.current" => "4096\n",
                "memory.max" | "pids.max" => "max\n",
                "memory.stat" => "anon 7\nworkingset_refault_anon 1\nworkingset_refault_file 2\n",
                "memory.events" => "low 0\nhigh 0\nmax 4\noom 2\noom_kill 1\n",
                "io.stat" => "8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0\n8:0\n",
                "pids.current" => "3\n",
                _ => return None,
            };
            Some(text.to_owned())
        });
        assert_eq!((metrics.cpu.usage_usec, metrics.cpu.nr_throttled), (5, 1));
        assert_eq!((metrics.cpu.psi.some.avg10, metrics.cpu.psi.some.total), (1.5, 9));
        assert!(metrics.cpu.psi.full.is_none() && metrics.memory.psi.is_none());
        assert_eq!((metrics.memory.usage, metrics.memory.usage_limit), (4096, u64::MAX));
        assert_eq!((metrics.memory.anon, metrics.memory.workingset_refault), (7, 3));
        assert_eq!((metrics.memory_events.oom, metrics.memory_events.oom_kill), (2, 1));
        assert_eq!((metrics.pids.current, metrics.pids.limit), (3, u64::MAX));
        let io = &metrics.io.usage[0];
        assert_eq!(
            (io.major, io.minor, io.rbytes, io.wbytes, io.rios, io.wios),
            (8, 16, 1, 2, 3, 4)
        );
        let any = Usage::V2(Box::new(metrics)).to_any();
        assert_eq!(any.type_url, "io.containerd.cgroups.v2.Metrics");
    }

    #[test]
    fn figures_of_v1_are_nanoseconds_and_no_limit_of_processes_is_nought() {
        let metrics = read_v1(|controller, file| {
            let text = match (controller, file) {
                ("cpuacct", "cpuacct.usage") => "5000000\n",
                ("cpuacct", "cpuacct.usage_percpu") => "4000000 1000000\n",
                ("memory", "memory.memsw.usage_in_bytes") => "9\n",
                ("memory", "memory.usage_in_bytes") => "8\n",
                ("memory", "memory.stat") => "total_inactive_file 3\n",
                ("memory", "memory.oom_control") => "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
                ("pids", "pids.max") => "max\n",
                ("blkio", "blkio.throttle.io_serviced_recursive") => "8:0 Read 6\nTotal 6\n",
                _ => return None,
            };
            Some(text.to_owned())
        });
        assert_eq!(metrics.cpu.usage.total, 5_000_000);
        assert_eq!(metrics.cpu.usage.per_cpu, [4_000_000, 1_000_000]);
        assert_eq!((metrics.memory.usage.usage, metrics.memory.swap.usage), (8, 9));
        assert_eq!(metrics.memory.total_inactive_file, 3);
        assert_eq!((metrics.memory_oom_control.oom_kill, metrics.pids.limit), (2, 0));
        let served = &metrics.blkio.io_serviced_recursive;
        assert_eq!((served.len(), served[0].op.as_str(), served[0].value), (1, "Read", 6));
        let any = Usage::V1(Box::new(metrics)).to_any();
        assert_eq!(any.type_url, "io.containerd.cgroups.v1.Metrics");
    }
}
