//! What a container uses, in the two messages by which containerd's shims tell it: which of them an engine
//! expects depends on the control groups of the host, and so do the units.

use std::time::Duration;

use aril::Bytes;
use aril::GroupStats;
use aril::Limit;
use aril::Limits;
use aril::Stats;
use containerd_shim_protos::cgroups::metrics as v1;
use containerd_shim_protos::cgroups_v2::metrics as v2;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::MessageField;
use containerd_shim_protos::protobuf::well_known_types::any::Any;

use super::failure::Failure;

/// The names of the messages.
const V1: &str = "io.containerd.cgroups.v1.Metrics";
const V2: &str = "io.containerd.cgroups.v2.Metrics";

/// The memory of a container that says nothing of it, as [`Limits`] documents it.
const MEMORY_DEFAULT: u64 = 1 << 30;

/// What each version of groups says where there is no limit.
const NO_LIMIT_V1: u64 = 0x7fff_ffff_ffff_f000;
const NO_LIMIT_V2: u64 = u64::MAX;

/// The figures of a container that may use this much, for a host with all controllers in one hierarchy
/// or not.
pub(super) fn of(stats: &Stats, limits: &Limits, is_unified: bool) -> Result<Any, Failure> {
    let figures = Figures::new(stats, limits);
    if is_unified { pack(V2, &figures.v2()) } else { pack(V1, &figures.v1()) }
}

fn pack(name: &str, message: &impl Message) -> Result<Any, Failure> {
    let value = message.write_to_bytes();
    let value =
        value.map_err(|error| Failure::other(format!("figures cannot be told: {error}")))?;
    Ok(Any { type_url: name.to_owned(), value, ..Any::default() })
}

/// Figures in one unit each: bytes, and times.
struct Figures {
    group: GroupStats,
    memory: u64,
    memory_peak: u64,
    /// Nothing where there is no limit.
    memory_limit: Option<u64>,
    cpu_user: Duration,
    cpu_system: Duration,
    pids_limit: Option<u64>,
}

impl Figures {
    fn new(stats: &Stats, limits: &Limits) -> Self {
        let group = stats.group.unwrap_or_default();
        let system = group.cpu_system.unwrap_or_default();
        // The group counts what is beside the guest as well, and perhaps in whole hundredths of a second;
        // what the guest itself took is known more finely.
        let total = (group.cpu_user.unwrap_or_default() + system).max(stats.cpu_time);
        Self {
            memory: group.memory.unwrap_or(stats.memory).get(),
            memory_peak: group.memory_peak.unwrap_or(stats.memory_peak).get(),
            memory_limit: match limits.memory {
                Limit::Default => Some(MEMORY_DEFAULT),
                Limit::Of(amount) => Some(amount.get()),
                Limit::Unlimited => None,
            },
            cpu_user: total.saturating_sub(system),
            cpu_system: system,
            pids_limit: match limits.pids {
                Limit::Of(count) => Some(u64::from(count)),
                _ => None,
            },
            group,
        }
    }

    /// Times in nanoseconds. What files hold that was not used lately is not in its memory, so that
    /// nothing of it is taken off.
    fn v1(&self) -> v1::Metrics {
        let group = &self.group;
        let usage = v1::CPUUsage {
            total: nanoseconds(self.cpu_user + self.cpu_system),
            kernel: nanoseconds(self.cpu_system),
            user: nanoseconds(self.cpu_user),
            ..v1::CPUUsage::default()
        };
        let throttling = v1::Throttle {
            periods: group.periods.unwrap_or(0),
            throttled_periods: group.throttled_periods.unwrap_or(0),
            throttled_time: nanoseconds(group.throttled.unwrap_or_default()),
            ..v1::Throttle::default()
        };
        let limit = self.memory_limit.unwrap_or(NO_LIMIT_V1);
        let memory = v1::MemoryEntry {
            limit,
            usage: self.memory,
            max: self.memory_peak,
            ..v1::MemoryEntry::default()
        };
        let swap = group.swap.map(|swap| v1::MemoryEntry {
            limit: NO_LIMIT_V1,
            usage: self.memory.saturating_add(swap.get()),
            ..v1::MemoryEntry::default()
        });
        v1::Metrics {
            pids: MessageField::some(v1::PidsStat {
                current: group.pids.unwrap_or(0),
                limit: self.pids_limit.unwrap_or(0),
                ..v1::PidsStat::default()
            }),
            cpu: MessageField::some(v1::CPUStat {
                usage: MessageField::some(usage),
                throttling: MessageField::some(throttling),
                ..v1::CPUStat::default()
            }),
            memory: MessageField::some(v1::MemoryStat {
                hierarchical_memory_limit: limit,
                usage: MessageField::some(memory),
                swap: swap.into(),
                ..v1::MemoryStat::default()
            }),
            blkio: MessageField::some(v1::BlkIOStat {
                io_service_bytes_recursive: entries(bytes(group.read), bytes(group.written)),
                io_serviced_recursive: entries(group.reads, group.writes),
                ..v1::BlkIOStat::default()
            }),
            ..v1::Metrics::default()
        }
    }

    /// Times in microseconds.
    fn v2(&self) -> v2::Metrics {
        let group = &self.group;
        let io = v2::IOEntry {
            rbytes: bytes(group.read).unwrap_or(0),
            wbytes: bytes(group.written).unwrap_or(0),
            rios: group.reads.unwrap_or(0),
            wios: group.writes.unwrap_or(0),
            ..v2::IOEntry::default()
        };
        v2::Metrics {
            pids: MessageField::some(v2::PidsStat {
                current: group.pids.unwrap_or(0),
                limit: self.pids_limit.unwrap_or(0),
                ..v2::PidsStat::default()
            }),
            cpu: MessageField::some(v2::CPUStat {
                usage_usec: microseconds(self.cpu_user + self.cpu_system),
                user_usec: microseconds(self.cpu_user),
                system_usec: microseconds(self.cpu_system),
                nr_periods: group.periods.unwrap_or(0),
                nr_throttled: group.throttled_periods.unwrap_or(0),
                throttled_usec: microseconds(group.throttled.unwrap_or_default()),
                ..v2::CPUStat::default()
            }),
            memory: MessageField::some(v2::MemoryStat {
                usage: self.memory,
                usage_limit: self.memory_limit.unwrap_or(NO_LIMIT_V2),
                max_usage: self.memory_peak,
                swap_usage: bytes(group.swap).unwrap_or(0),
                ..v2::MemoryStat::default()
            }),
            // Of a container that runs none was killed: one in which that happened has ended.
            memory_events: MessageField::some(v2::MemoryEvents::default()),
            io: MessageField::some(v2::IOStat { usage: vec![io], ..v2::IOStat::default() }),
            ..v2::Metrics::default()
        }
    }
}

fn bytes(amount: Option<Bytes>) -> Option<u64> {
    amount.map(Bytes::get)
}

/// What was read and written, where that is counted.
fn entries(read: Option<u64>, written: Option<u64>) -> Vec<v1::BlkIOEntry> {
    let entry =
        |op: &str, value| v1::BlkIOEntry { op: op.to_owned(), value, ..v1::BlkIOEntry::default() };
    let counted = [("Read", read), ("Write", written)];
    counted.into_iter().filter_map(|(op, value)| Some(entry(op, value?))).collect()
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats() -> Stats {
        let mut group = GroupStats::default();
        group.memory = Some(Bytes::mib(3));
        group.memory_peak = Some(Bytes::mib(5));
        group.cpu_user = Some(Duration::from_millis(1500));
        group.cpu_system = Some(Duration::from_millis(500));
        group.throttled = Some(Duration::from_millis(2));
        group.pids = Some(4);
        group.read = Some(Bytes::kib(8));
        Stats {
            elapsed: Duration::from_secs(9),
            cpu_time: Duration::from_secs(1),
            memory: Bytes::mib(1),
            memory_peak: Bytes::mib(2),
            memory_refusals: 0,
            bytes_in: 0,
            bytes_out: 0,
            fuel: None,
            host_calls: 0,
            denials: 0,
            first_instruction: None,
            disk: None,
            group: Some(group),
        }
    }

    #[test]
    fn the_first_version_counts_nanoseconds_and_the_second_microseconds() {
        let limits = Limits { memory: Limit::Of(Bytes::mib(64)), ..Limits::default() };
        let told = of(&stats(), &limits, false).unwrap();
        assert_eq!(told.type_url, V1);
        let told = v1::Metrics::parse_from_bytes(&told.value).unwrap();
        assert_eq!(told.cpu.usage.total, 2_000_000_000);
        assert_eq!(told.cpu.usage.user, 1_500_000_000);
        assert_eq!(told.cpu.throttling.throttled_time, 2_000_000);
        assert_eq!((told.memory.usage.usage, told.memory.usage.limit), (3 << 20, 64 << 20));
        assert_eq!(told.pids.current, 4);
        let told = of(&stats(), &limits, true).unwrap();
        assert_eq!(told.type_url, V2);
        let told = v2::Metrics::parse_from_bytes(&told.value).unwrap();
        assert_eq!((told.cpu.usage_usec, told.cpu.system_usec), (2_000_000, 500_000));
        assert_eq!(told.cpu.throttled_usec, 2000);
        assert_eq!((told.memory.usage, told.memory.usage_limit), (3 << 20, 64 << 20));
        assert_eq!(told.io.usage[0].rbytes, 8192);
        assert_eq!(told.memory_events.oom_kill, 0);
    }

    #[test]
    fn without_a_group_there_are_the_guests_own_figures_and_no_limit_is_said_to_be_none() {
        let mut coarse = stats();
        coarse.group = Some(GroupStats::default());
        let figures = Figures::new(&coarse, &Limits::default());
        assert_eq!(figures.v1().cpu.usage.total, 1_000_000_000, "finer than its group counts");
        let stats = Stats { group: None, ..stats() };
        let limits = Limits { memory: Limit::Unlimited, ..Limits::default() };
        let figures = Figures::new(&stats, &limits);
        assert_eq!(figures.v1().memory.usage.limit, NO_LIMIT_V1);
        assert_eq!(figures.v2().memory.usage_limit, NO_LIMIT_V2);
        assert_eq!(figures.v1().memory.usage.usage, 1 << 20);
        assert_eq!(figures.v2().cpu.usage_usec, 1_000_000);
    }
}
