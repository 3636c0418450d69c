//! How much a guest may use: the limits, their defaults, and the meters that hold them.

mod bucket;
mod devices;
mod error;
mod figures;
mod flow;
mod meter;

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::units::Bytes;
use crate::units::Cpus;
use crate::units::Fuel;

pub use devices::Device;
pub use devices::DeviceError;
pub use devices::Rates;
pub use error::LimitError;

pub(crate) use bucket::Bucket;
pub(crate) use figures::Figure;
pub(crate) use figures::Figures;
pub(crate) use figures::NONE;
pub(crate) use flow::Flow;
pub(crate) use flow::Overflow;
pub(crate) use meter::HOST_HELD;
pub(crate) use meter::Meter;
pub(crate) use meter::MeterHandle;

/// One limit: left to Aril, asked for, or spoken away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Limit<T> {
    /// What [`Limits`] documents, held by the best means of this host.
    #[default]
    Default,
    /// Exactly this much. Refused at launch where this host cannot hold it.
    Of(T),
    /// None, and said so.
    Unlimited,
}

impl<T> Limit<T> {
    /// What holds: the amount, or nothing for no limit, where `default` is the default.
    pub fn or(self, default: Option<T>) -> Option<T> {
        match self {
            Self::Default => default,
            Self::Of(amount) => Some(amount),
            Self::Unlimited => None,
        }
    }

    /// Whether somebody asked for an amount.
    pub const fn is_asked(&self) -> bool {
        matches!(self, Self::Of(_))
    }
}

impl<T> From<T> for Limit<T> {
    fn from(amount: T) -> Self {
        Self::Of(amount)
    }
}

/// How much a guest may use. Every field is [`Limit::Default`] until it is set.
///
/// | limit | default | when it is reached |
/// |---|---|---|
/// | `memory` | 1 GiB | the guest is told no; when that ends it, the end is `out_of_memory` |
/// | `cpus` | none | the guest waits for its share |
/// | `deadline` | none | the end is `deadline` |
/// | `cpu_time` | none | the end is `cpu_time` |
/// | `fuel` | none | the end is `fuel` |
/// | `output` | none; 16 MiB where the output is captured | the end is `output` |
/// | `open_files` | 1024 | the guest is told no |
/// | `table_elements` | 1,000,000 | the guest is told no |
/// | `instances` | 1,000 | the end is `denied` |
/// | `stack` | 1 MiB | the end is a trap, `stack_overflow` |
/// | `pids` | none | the guest's process gets no more threads |
/// | `cpu_weight` | none: as every group has it, 100 | the guest waits for its share |
/// | `memory_swap` | none | as for `memory`, or the kernel ends it: `out_of_memory` |
/// | `memory_reservation` | none | its memory is taken back, and it is slowed down |
/// | `disk` | none | the guest is told that there is no room (`ENOSPC`) |
/// | `device_read_bps`, `device_write_bps`, `device_read_iops`, `device_write_iops` | none | it waits for the device |
///
/// `pids` and what stands below it, but for `disk`, are a control group's alone: asked for, they are refused where a guest has none,
/// because it shares its process or because this host gives none.
///
/// A guest runs on one thread, so a runaway guest costs the host one processor at the most until
/// somebody stops it; the deadline is the caller's to choose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory in one total: all linear memories, all tables, the garbage-collected heap, and 1 MiB
    /// for what the host holds on the guest's behalf.
    pub memory: Limit<Bytes>,
    /// The share of processors, over periods of 100 ms.
    pub cpus: Limit<Cpus>,
    /// Time on the wall clock (monotonic) from launch to the end, over everything the guest does
    /// or waits for; it stands still while the guest is paused. In a shared process an instruction that moves memory is waited for once it
    /// has begun: about 0.1 ms a MiB, and a millisecond where the memory is touched for the first
    /// time.
    pub deadline: Limit<Duration>,
    /// Processor time from launch to the end.
    pub cpu_time: Limit<Duration>,
    /// Units of work.
    pub fuel: Limit<Fuel>,
    /// Bytes written to standard output and standard error together.
    pub output: Limit<Bytes>,
    /// Files and directories that are open at the same moment, beside what was granted.
    pub open_files: Limit<u32>,
    /// Elements of all tables together. Fixed at launch.
    pub table_elements: Limit<u32>,
    /// Instances of modules: one for a module, several for a component. Fixed at launch.
    pub instances: Limit<u32>,
    /// The stack of the guest's native frames. Fixed at launch; from 64 KiB to 8 MiB.
    pub stack: Limit<Bytes>,
    /// Processes and threads of the guest's process, its own among them. It starts no processes in
    /// any case; this holds behind the list of system calls.
    pub pids: Limit<u32>,
    /// What it gets of processors beside others where all want more than there are: from 1 to
    /// 10000, where a group without one has 100.
    pub cpu_weight: Limit<u32>,
    /// Memory and swap together, and so at least `memory`, which must have a limit too. As much as
    /// `memory` is no swap.
    pub memory_swap: Limit<Bytes>,
    /// Memory, as the control group counts it, that is taken back from it last: what is more than
    /// this is the first to be taken back when memory is short (cgroup v1), or is taken back in any
    /// case, and slows the guest down (v2: `memory.high`). No more than `memory`.
    pub memory_reservation: Limit<Bytes>,
    /// Bytes in files that are the guest's own and gone with it: what it writes over an image's files,
    /// and in the volumes that an image names. It is held by room of that size in memory, for which the
    /// files must be made by [`Runtime::image_files_within`](crate::Runtime::image_files_within);
    /// asked for where there are no such files, it is refused. What is granted of the host, volumes
    /// that outlive the guest and directories in memory are not counted. Whole pages of 4 KiB count,
    /// and there are no more files than pages, and 64.
    ///
    /// What is in use of it is memory: of the guest, where a control group counts that.
    pub disk: Limit<Bytes>,
    /// Bytes read in a second from devices, each for itself. What the page cache has is read from no
    /// device.
    pub device_read_bps: Limit<Rates<Bytes>>,
    /// Bytes written in a second to devices. With cgroup v1, what a guest writes is written to the
    /// device later and by the kernel, which counts it for nobody: only what waits for the device
    /// (`fd_sync`) is held. With v2 all of it is, on file systems that tell whose it is (ext4, btrfs, xfs).
    pub device_write_bps: Limit<Rates<Bytes>>,
    /// Reads in a second of devices.
    pub device_read_iops: Limit<Rates<u32>>,
    /// Writes in a second to devices, as for bytes.
    pub device_write_iops: Limit<Rates<u32>>,
}

/// Memory by default, in total.
///
/// Enough for `CPython` with a data set; small enough that a few runaways do not push the host
/// into swap.
pub(crate) const MEMORY_DEFAULT: Bytes = Bytes::mib(1024);

/// Captured output by default: what the host holds in memory for a guest that floods it.
pub(crate) const CAPTURE_DEFAULT: Bytes = Bytes::mib(16);

/// Open files by default: what `ulimit -n` is for a user of most systems.
pub(crate) const OPEN_FILES_DEFAULT: u32 = 1024;

/// Table elements by default: 8 MiB of tables, ten times what large C++ programs have.
pub(crate) const TABLE_ELEMENTS_DEFAULT: u32 = 1_000_000;

/// Instances by default: a component made of a thousand modules is beyond any linker of today.
pub(crate) const INSTANCES_DEFAULT: u32 = 1_000;

/// The stack by default: what recursive parsers need, within the 8 MiB of a main thread.
pub(crate) const STACK_DEFAULT: Bytes = Bytes::mib(1);

/// The smallest stack: less than this does not hold the frames of a language's start-up code.
pub(crate) const STACK_MIN: Bytes = Bytes::kib(64);

/// The largest stack.
pub(crate) const STACK_MAX: Bytes = Bytes::mib(8);

/// The least room for files: what the kernel gives out at once.
pub(crate) const DISK_MIN: Bytes = Bytes::kib(4);

/// The weights that there are.
pub(crate) const WEIGHTS: RangeInclusive<u32> = 1..=10_000;

/// The names of all limits, in the order of the fields.
pub(crate) const NAMES: [&str; 19] = [
    "memory",
    "cpus",
    "deadline",
    "cpu_time",
    "fuel",
    "output",
    "open_files",
    "table_elements",
    "instances",
    "stack",
    "pids",
    "cpu_weight",
    "memory_swap",
    "memory_reservation",
    "disk",
    "device_read_bps",
    "device_write_bps",
    "device_read_iops",
    "device_write_iops",
];

/// The limits of one sandbox as they hold: `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Amounts {
    pub(crate) memory: Option<Bytes>,
    pub(crate) cpus: Option<Cpus>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) cpu_time: Option<Duration>,
    pub(crate) fuel: Option<Fuel>,
    pub(crate) output: Option<Bytes>,
    pub(crate) open_files: Option<u32>,
    pub(crate) table_elements: Option<u32>,
    pub(crate) instances: Option<u32>,
    pub(crate) stack: Bytes,
    pub(crate) pids: Option<u32>,
    pub(crate) cpu_weight: Option<u32>,
    pub(crate) memory_swap: Option<Bytes>,
    pub(crate) memory_reservation: Option<Bytes>,
    pub(crate) disk: Option<Bytes>,
    pub(crate) device_read_bps: Option<Rates<Bytes>>,
    pub(crate) device_write_bps: Option<Rates<Bytes>>,
    pub(crate) device_read_iops: Option<Rates<u32>>,
    pub(crate) device_write_iops: Option<Rates<u32>>,
}

impl<T: Copy> Limit<T> {
    /// The other one, if that says anything.
    fn changed_by(self, other: Self) -> Self {
        if matches!(other, Self::Default) { self } else { other }
    }
}

impl Limits {
    /// These, but for what `changes` says; what it leaves at its default stays, and so does what it does
    /// not say of a device.
    #[must_use]
    pub fn changed_by(self, changes: Self) -> Self {
        Self {
            memory: self.memory.changed_by(changes.memory),
            cpus: self.cpus.changed_by(changes.cpus),
            deadline: self.deadline.changed_by(changes.deadline),
            cpu_time: self.cpu_time.changed_by(changes.cpu_time),
            fuel: self.fuel.changed_by(changes.fuel),
            output: self.output.changed_by(changes.output),
            open_files: self.open_files.changed_by(changes.open_files),
            table_elements: self.table_elements.changed_by(changes.table_elements),
            instances: self.instances.changed_by(changes.instances),
            stack: self.stack.changed_by(changes.stack),
            pids: self.pids.changed_by(changes.pids),
            cpu_weight: self.cpu_weight.changed_by(changes.cpu_weight),
            memory_swap: self.memory_swap.changed_by(changes.memory_swap),
            memory_reservation: self.memory_reservation.changed_by(changes.memory_reservation),
            disk: self.disk.changed_by(changes.disk),
            device_read_bps: self.device_read_bps.merged_with(&changes.device_read_bps),
            device_write_bps: self.device_write_bps.merged_with(&changes.device_write_bps),
            device_read_iops: self.device_read_iops.merged_with(&changes.device_read_iops),
            device_write_iops: self.device_write_iops.merged_with(&changes.device_write_iops),
        }
    }

    /// What holds, where `captured` says whether the host keeps the output in memory.
    ///
    /// # Errors
    ///
    /// Fails where an amount cannot be held: it says which, and what can.
    pub(crate) fn amounts(&self, captured: bool) -> Result<Amounts, LimitError> {
        let zero = |name, amount: Limit<u32>| match amount {
            Limit::Of(0) => Err(LimitError::Zero { name }),
            _ => Ok(()),
        };
        zero("open_files", self.open_files)?;
        zero("table_elements", self.table_elements)?;
        zero("instances", self.instances)?;
        zero("pids", self.pids)?;
        for (name, span) in [("deadline", self.deadline), ("cpu_time", self.cpu_time)] {
            if span == Limit::Of(Duration::ZERO) {
                return Err(LimitError::Zero { name });
            }
        }
        let memory = self.memory.or(Some(MEMORY_DEFAULT));
        if let Some(amount) = memory
            && amount <= HOST_HELD
        {
            return Err(LimitError::MemoryTooSmall { amount });
        }
        let Some(stack) = self.stack.or(Some(STACK_DEFAULT)) else {
            return Err(LimitError::UnlimitedStack);
        };
        if !(STACK_MIN..=STACK_MAX).contains(&stack) {
            return Err(LimitError::Stack { amount: stack });
        }
        self.check_ranges(memory)?;
        Ok(Amounts {
            memory,
            cpus: self.cpus.or(None),
            deadline: self.deadline.or(None),
            cpu_time: self.cpu_time.or(None),
            fuel: self.fuel.or(None),
            output: self.output.or(captured.then_some(CAPTURE_DEFAULT)),
            open_files: self.open_files.or(Some(OPEN_FILES_DEFAULT)),
            table_elements: self.table_elements.or(Some(TABLE_ELEMENTS_DEFAULT)),
            instances: self.instances.or(Some(INSTANCES_DEFAULT)),
            stack,
            pids: self.pids.or(None),
            cpu_weight: self.cpu_weight.or(None),
            memory_swap: self.memory_swap.or(None),
            memory_reservation: self.memory_reservation.or(None),
            disk: self.disk.or(None),
            device_read_bps: self.device_read_bps.held(),
            device_write_bps: self.device_write_bps.held(),
            device_read_iops: self.device_read_iops.held(),
            device_write_iops: self.device_write_iops.held(),
        })
    }

    /// Refuses amounts that nothing could be held to, beside this much memory.
    fn check_ranges(&self, memory: Option<Bytes>) -> Result<(), LimitError> {
        let refuse = |name, amount: &dyn fmt::Display, range: String| {
            Err(LimitError::OutOfRange { name, amount: amount.to_string(), range })
        };
        let lists = [
            ("device_read_bps", self.device_read_bps.is_too_long()),
            ("device_write_bps", self.device_write_bps.is_too_long()),
            ("device_read_iops", self.device_read_iops.is_too_long()),
            ("device_write_iops", self.device_write_iops.is_too_long()),
        ];
        if let Some((name, _)) = lists.into_iter().find(|(_, is_too_long)| *is_too_long) {
            let range = format!("it can be for {} devices", Rates::<u32>::DEVICES_MAX);
            return refuse(name, &"more devices", range);
        }
        if let Limit::Of(weight) = self.cpu_weight
            && !WEIGHTS.contains(&weight)
        {
            let range = format!("it can be from {} to {}", WEIGHTS.start(), WEIGHTS.end());
            return refuse("cpu_weight", &weight, range);
        }
        if let Limit::Of(amount) = self.disk
            && amount < DISK_MIN
        {
            return refuse("disk", &amount, format!("it takes {DISK_MIN} at least"));
        }
        match (self.memory_swap, memory) {
            (Limit::Of(both), None) => {
                let range = "it is memory and swap together, so `memory` needs a limit too";
                return refuse("memory_swap", &both, range.to_owned());
            }
            (Limit::Of(both), Some(memory)) if both < memory => {
                let range = format!("it is memory and swap together, and `memory` is {memory}");
                return refuse("memory_swap", &both, range);
            }
            _ => {}
        }
        match (self.memory_reservation, memory) {
            (Limit::Of(amount), Some(memory)) if memory < amount => {
                let range = format!("`memory` is {memory}, and it can be no more than that");
                refuse("memory_reservation", &amount, range)
            }
            _ => Ok(()),
        }
    }

    /// Refuses what only a control group could hold, where the guest has none.
    pub(crate) fn need_no_group(&self) -> Result<(), LimitError> {
        let of_groups = [
            ("pids", self.pids.is_asked()),
            ("cpu_weight", self.cpu_weight.is_asked()),
            ("memory_swap", self.memory_swap.is_asked()),
            ("memory_reservation", self.memory_reservation.is_asked()),
            ("device_read_bps", self.device_read_bps.is_asked()),
            ("device_write_bps", self.device_write_bps.is_asked()),
            ("device_read_iops", self.device_read_iops.is_asked()),
            ("device_write_iops", self.device_write_iops.is_asked()),
        ];
        match of_groups.into_iter().find(|(_, is_asked)| *is_asked) {
            Some((name, _)) => Err(LimitError::NoRung { name, missing: NO_GROUP.to_owned() }),
            None => Ok(()),
        }
    }
}

/// What a guest lacks that has no process beside its host's.
const NO_GROUP: &str = "a control group holds it, and a guest without a process of its own has \
                        none; launch it as `Isolation::Process`, on Linux";

/// One limit as it holds on a sandbox: how much, and by what means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The limit's name, as in [`Limits`].
    pub name: &'static str,
    /// How much, for people; nothing where there is no limit.
    pub amount: Option<String>,
    /// The means that holds it.
    pub rung: Rung,
    /// Whether somebody asked for it, rather than leaving it to the default.
    pub asked: bool,
}

/// The means by which a limit is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rung {
    /// There is no limit to hold.
    None,
    /// A total over everything the guest can make grow, asked before it grows.
    Meter,
    /// Somebody who ends the process: its keeper, or where it has none, a second thread.
    Watchdog,
    /// The guest's one thread, which cannot take more than one processor.
    Thread,
    /// Checks compiled into the guest's loops and functions.
    Epochs,
    /// A price compiled into the guest's instructions.
    Fuel,
    /// A count kept where the guest calls the host.
    Count,
    /// The engine's own bound, fixed when it starts.
    Engine,
    /// A control group: the kernel counts all that the guest's process takes. For memory, behind
    /// the meter.
    Cgroup,
    /// A file system in memory, which has a size.
    Tmpfs,
}

impl Rung {
    pub(crate) const ALL: [Self; 10] = [
        Self::None,
        Self::Meter,
        Self::Watchdog,
        Self::Thread,
        Self::Epochs,
        Self::Fuel,
        Self::Count,
        Self::Engine,
        Self::Cgroup,
        Self::Tmpfs,
    ];

    /// The word for it in records and tables.
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Meter => "meter",
            Self::Watchdog => "watchdog",
            Self::Thread => "thread",
            Self::Epochs => "epochs",
            Self::Fuel => "fuel",
            Self::Count => "count",
            Self::Engine => "engine",
            Self::Cgroup => "cgroup",
            Self::Tmpfs => "tmpfs",
        }
    }
}

/// The means by which time is watched over a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watch {
    /// The guest has this process to itself, so that ending the process ends the guest.
    Process,
    /// The guest has a process beside this one, held by a control group to its memory, and to its
    /// share of processors, or not.
    Worker { memory: bool, cpus: bool },
    /// The guest shares the process, so that it is interrupted where its code asks.
    Shared,
}

impl Limits {
    /// Whether a guest that has a thread to itself must be made to wait for its share.
    pub(crate) fn throttles_a_thread(&self) -> bool {
        matches!(self.cpus, Limit::Of(share) if share < Cpus::ONE)
    }

    /// How each limit is held under `watch`, in the order of the fields.
    pub(crate) fn holds(&self, amounts: &Amounts, watch: Watch) -> Vec<Hold> {
        fn hold<T, A: fmt::Display>(
            name: &'static str,
            limit: &Limit<T>,
            amount: Option<A>,
            rung: Rung,
        ) -> Hold {
            let rung = if amount.is_some() { rung } else { Rung::None };
            Hold { name, amount: amount.map(|a| a.to_string()), rung, asked: limit.is_asked() }
        }
        let span = |span: Option<Duration>| span.map(humantime::format_duration);
        let time = match watch {
            Watch::Process | Watch::Worker { .. } => Rung::Watchdog,
            Watch::Shared => Rung::Epochs,
        };
        let share = match watch {
            Watch::Worker { cpus: true, .. } => Rung::Cgroup,
            Watch::Process | Watch::Worker { .. } if !self.throttles_a_thread() => Rung::Thread,
            _ => Rung::Epochs,
        };
        let memory = match watch {
            Watch::Worker { memory: true, .. } => Rung::Cgroup,
            _ => Rung::Meter,
        };
        vec![
            hold("memory", &self.memory, amounts.memory, memory),
            hold("cpus", &self.cpus, amounts.cpus, share),
            hold("deadline", &self.deadline, span(amounts.deadline), time),
            hold("cpu_time", &self.cpu_time, span(amounts.cpu_time), time),
            hold("fuel", &self.fuel, amounts.fuel, Rung::Fuel),
            hold("output", &self.output, amounts.output, Rung::Count),
            hold("open_files", &self.open_files, amounts.open_files, Rung::Count),
            hold("table_elements", &self.table_elements, amounts.table_elements, Rung::Meter),
            hold("instances", &self.instances, amounts.instances, Rung::Meter),
            hold("stack", &self.stack, Some(amounts.stack), Rung::Engine),
            hold("pids", &self.pids, amounts.pids, Rung::Cgroup),
            hold("cpu_weight", &self.cpu_weight, amounts.cpu_weight, Rung::Cgroup),
            hold("memory_swap", &self.memory_swap, amounts.memory_swap, Rung::Cgroup),
            hold(
                "memory_reservation",
                &self.memory_reservation,
                amounts.memory_reservation,
                Rung::Cgroup,
            ),
            hold("disk", &self.disk, amounts.disk, Rung::Tmpfs),
            hold("device_read_bps", &self.device_read_bps, amounts.device_read_bps, Rung::Cgroup),
            hold(
                "device_write_bps",
                &self.device_write_bps,
                amounts.device_write_bps,
                Rung::Cgroup,
            ),
            hold(
                "device_read_iops",
                &self.device_read_iops,
                amounts.device_read_iops,
                Rung::Cgroup,
            ),
            hold(
                "device_write_iops",
                &self.device_write_iops,
                amounts.device_write_iops,
                Rung::Cgroup,
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_that_the_table_shows() {
        let amounts = Limits::default().amounts(true).expect("the defaults hold");
        assert_eq!(amounts.memory, Some(Bytes::mib(1024)));
        assert_eq!(amounts.output, Some(Bytes::mib(16)));
        assert_eq!(amounts.open_files, Some(1024));
        assert_eq!((amounts.deadline, amounts.cpus, amounts.fuel), (None, None, None));
        let passed_on = Limits::default().amounts(false).expect("the defaults hold");
        assert_eq!(passed_on.output, None);
    }

    #[test]
    fn unlimited_is_spoken_and_zero_is_refused() {
        let unlimited = Limits { memory: Limit::Unlimited, ..Limits::default() };
        assert_eq!(unlimited.amounts(false).map(|a| a.memory), Ok(None));
        let zero = Limits { open_files: Limit::Of(0), ..Limits::default() };
        assert_eq!(zero.amounts(false), Err(LimitError::Zero { name: "open_files" }));
    }

    type Change = fn(&mut Limits);

    #[test]
    fn limits_of_a_group_that_make_no_sense_are_refused_by_name() {
        let of = |change: fn(&mut Limits)| {
            let mut limits = Limits { memory: Bytes::mib(64).into(), ..Limits::default() };
            change(&mut limits);
            limits.amounts(false)
        };
        let refused: [(&str, Change); 7] = [
            ("disk", |limits| limits.disk = Bytes::new(4095).into()),
            ("pids", |limits| limits.pids = 0.into()),
            ("cpu_weight", |limits| limits.cpu_weight = 0.into()),
            ("cpu_weight", |limits| limits.cpu_weight = 10_001.into()),
            ("memory_swap", |limits| limits.memory_swap = Bytes::mib(63).into()),
            ("memory_swap", |limits| {
                limits.memory = Limit::Unlimited;
                limits.memory_swap = Bytes::mib(64).into();
            }),
            ("memory_reservation", |limits| limits.memory_reservation = Bytes::mib(65).into()),
        ];
        for (expected, change) in refused {
            match of(change) {
                Err(LimitError::OutOfRange { name, .. } | LimitError::Zero { name }) => {
                    assert_eq!(name, expected);
                }
                other => panic!("{expected}: {other:?}"),
            }
        }
        let amounts = of(|limits| {
            limits.memory_swap = Bytes::mib(64).into();
            limits.memory_reservation = Bytes::mib(64).into();
            limits.cpu_weight = 10_000.into();
        });
        assert_eq!(amounts.map(|amounts| amounts.memory_swap), Ok(Some(Bytes::mib(64))));
    }

    #[test]
    fn what_a_group_alone_can_hold_is_refused_without_one() {
        assert_eq!(Limits::default().need_no_group(), Ok(()));
        let limits = Limits { pids: 5.into(), ..Limits::default() };
        let error = limits.need_no_group().expect_err("there is no group");
        assert!(error.to_string().contains("`pids`"), "{error}");
        assert!(error.to_string().contains("Isolation::Process"), "{error}");
    }

    #[test]
    fn a_memory_limit_below_what_the_host_holds_is_refused_with_both_figures() {
        let small = Limits { memory: Bytes::kib(64).into(), ..Limits::default() };
        let error = small.amounts(false).expect_err("64 KiB is less than the host holds");
        assert!(error.to_string().contains("64 KiB"), "{error}");
        assert!(error.to_string().contains(&HOST_HELD.to_string()), "{error}");
    }

    #[test]
    fn a_share_of_one_processor_or_more_needs_no_checks_in_a_process_of_its_own() {
        let rung = |share: &str, watch| {
            let cpus = share.parse::<Cpus>().expect("a share").into();
            let limits = Limits { cpus, ..Limits::default() };
            let amounts = limits.amounts(false).expect("it can be held");
            let holds = limits.holds(&amounts, watch);
            holds.into_iter().find(|hold| hold.name == "cpus").map(|hold| hold.rung)
        };
        assert_eq!(rung("1", Watch::Process), Some(Rung::Thread));
        assert_eq!(rung("0.9", Watch::Process), Some(Rung::Epochs));
        assert_eq!(rung("1", Watch::Shared), Some(Rung::Epochs));
    }

    #[test]
    fn a_stack_out_of_range_or_without_end_is_refused() {
        for stack in [Limit::Of(Bytes::kib(1)), Limit::Of(Bytes::mib(64)), Limit::Unlimited] {
            assert!(Limits { stack, ..Limits::default() }.amounts(false).is_err());
        }
    }
}
