//! What a group is held to: limits are written, and read back.

use std::cmp::Ordering;

use crate::platform::groups::Bound;
use crate::platform::groups::Controller;
use crate::platform::groups::CpuLimits;
use crate::platform::groups::GroupError;
use crate::platform::groups::IoLimits;
use crate::platform::groups::MemoryLimits;
use crate::platform::groups::Missing;
use crate::units::Bytes;
use crate::units::Cpus;

use super::folder::Folder;
use super::group::Group;
use super::parse;

/// A period of processor time, in microseconds.
const PERIOD: u64 = 100_000;

/// The period of shares so small that the kernel would take no quota of them in a short one.
const LONG_PERIOD: u64 = 1_000_000;

/// The smallest quota that the kernel takes, in microseconds.
const QUOTA_MIN: u64 = 1_000;

/// Weights that the kernel takes.
const WEIGHTS: std::ops::RangeInclusive<u32> = 1..=10_000;

impl Group {
    /// Limits memory. All of a group is killed when it is out of memory, not some process of it,
    /// where the hierarchy is of v2; in v1 it is the largest one.
    ///
    /// # Errors
    ///
    /// Fails where the group uses more than a new limit and cannot give it back (v1), where the
    /// kernel does not count swap and a limit of it is asked for, and where what the kernel holds
    /// then is not what was asked.
    pub(crate) fn set_memory(&self, limits: &MemoryLimits) -> Result<(), GroupError> {
        let seat = self.seat(Controller::Memory)?;
        let max = limits.max.map(whole_pages).transpose()?;
        let high = limits.high.map(whole_pages).transpose()?;
        let swap = limits.swap.map(|swap| pages(swap, rustix::param::page_size() as u64));
        if seat.place.unified {
            return set_memory_v2(&seat.folder, max, high, swap);
        }
        set_memory_v1(&seat.folder, max, swap)?;
        match high {
            Some(high) => write_bytes(&seat.folder, "memory.soft_limit_in_bytes", high),
            None => Ok(()),
        }
    }

    /// Limits processor time.
    ///
    /// # Errors
    ///
    /// Fails where the weight is out of range, and where a group above this one has less (v1).
    pub(crate) fn set_cpu(&self, limits: &CpuLimits) -> Result<(), GroupError> {
        let seat = self.seat(Controller::Cpu)?;
        let folder = &seat.folder;
        if let Some(weight) = limits.weight {
            if !WEIGHTS.contains(&weight) {
                return Err(GroupError::Limit {
                    controller: Controller::Cpu,
                    limit: weight.to_string(),
                    reason: "a weight is from 1 to 10000",
                });
            }
            if seat.place.unified {
                folder.write_exactly("cpu.weight", &weight.to_string())?;
            } else {
                folder.write_exactly("cpu.shares", &shares(weight).to_string())?;
            }
        }
        let Some(quota) = limits.quota else { return Ok(()) };
        let (quota, period) = match quota {
            Bound::Unlimited => (None, PERIOD),
            Bound::At(cpus) => {
                let (quota, period) = quota_of(cpus);
                (Some(quota), period)
            }
        };
        if seat.place.unified {
            let quota = quota.map_or_else(|| "max".to_owned(), |quota| quota.to_string());
            return folder.write_exactly("cpu.max", &format!("{quota} {period}"));
        }
        let quota = quota.map_or_else(|| "-1".to_owned(), |quota| quota.to_string());
        let write_quota = || folder.write_exactly("cpu.cfs_quota_us", &quota);
        let write_period = || folder.write_exactly("cpu.cfs_period_us", &period.to_string());
        let now = folder.value("cpu.cfs_period_us", "number", parse::number)?;
        // In between, the share is smaller than both: a larger one might be more than the group
        // above has, which the kernel refuses.
        match period.cmp(&now) {
            Ordering::Equal => write_quota(),
            Ordering::Greater => write_period().and_then(|()| write_quota()),
            Ordering::Less => write_quota().and_then(|()| write_period()),
        }
    }

    /// Limits how many processes and threads there are. Those that are there stay.
    pub(crate) fn set_pids(&self, max: Bound<u64>) -> Result<(), GroupError> {
        self.seat(Controller::Pids)?.folder.write_exactly("pids.max", &bound_v2(max))
    }

    /// Limits what is read from and written to a device, past the page cache (v2) or where a
    /// program reads and writes past it itself (v1).
    ///
    /// # Errors
    ///
    /// Fails where a limit is zero (in v2, also where it is one operation), and where the device is
    /// none, or a partition of one.
    pub(crate) fn set_io(&self, limits: &IoLimits) -> Result<(), GroupError> {
        let seat = self.seat(Controller::Io)?;
        let device = format!("{}:{}", limits.device.0, limits.device.1);
        let bytes = |bound: Option<Bound<Bytes>>| {
            bound.map(|bound| match bound {
                Bound::Unlimited => Bound::Unlimited,
                Bound::At(bytes) => Bound::At(bytes.get()),
            })
        };
        let all = [
            ("rbps", "blkio.throttle.read_bps_device", bytes(limits.read)),
            ("wbps", "blkio.throttle.write_bps_device", bytes(limits.write)),
            ("riops", "blkio.throttle.read_iops_device", limits.reads),
            ("wiops", "blkio.throttle.write_iops_device", limits.writes),
        ];
        for (key, file, bound) in all {
            let Some(bound) = bound else { continue };
            if bound == Bound::At(0) {
                return Err(GroupError::Limit {
                    controller: Controller::Io,
                    limit: "0".to_owned(),
                    reason: "a group that may do nothing in a second could not end either",
                });
            }
            if seat.place.unified {
                let value = bound_v2(bound);
                let is_so = |text: &str| {
                    // A device without limits is not listed.
                    parse::of_device(text, &device, key).unwrap_or("max") == value
                };
                seat.folder.write_back("io.max", &format!("{device} {key}={value}"), is_so)?;
            } else {
                // Here, none is written as zero.
                let value = match bound {
                    Bound::Unlimited => 0,
                    Bound::At(count) => count,
                };
                let is_so = |text: &str| parse::throttle(text, &device).unwrap_or(0) == value;
                seat.folder.write_back(file, &format!("{device} {value}"), is_so)?;
            }
        }
        Ok(())
    }
}

fn set_memory_v2(
    folder: &Folder,
    max: Option<Bound<u64>>,
    high: Option<Bound<u64>>,
    swap: Option<Bound<u64>>,
) -> Result<(), GroupError> {
    // Linux before 4.19 has no such file, and kills one process.
    if folder.has("memory.oom.group") {
        folder.write_exactly("memory.oom.group", "1")?;
    }
    if swap.is_some() && !folder.has("memory.swap.max") {
        return Err(no_swap());
    }
    for (name, bound) in [("memory.swap.max", swap), ("memory.high", high), ("memory.max", max)] {
        if let Some(bound) = bound {
            folder.write_exactly(name, &bound_v2(bound))?;
        }
    }
    Ok(())
}

/// Limits of v1 are of memory, and of memory with swap. The second is never below the first, and
/// the kernel refuses what would make it so, also in between.
fn set_memory_v1(
    folder: &Folder,
    max: Option<Bound<u64>>,
    swap: Option<Bound<u64>>,
) -> Result<(), GroupError> {
    const MAX: &str = "memory.limit_in_bytes";
    const BOTH: &str = "memory.memsw.limit_in_bytes";
    if max.is_none() && swap.is_none() {
        return Ok(());
    }
    let Some(text) = folder.read_if_there(BOTH)? else {
        return match (max, swap) {
            (_, Some(Bound::At(_))) => Err(no_swap()),
            (Some(max), _) => write_bytes(folder, MAX, max),
            (None, _) => Ok(()),
        };
    };
    let both_now = parse::bound_of_bytes(&text)
        .ok_or_else(|| folder.garbled(BOTH, &text, "number of bytes"))?;
    let max_now = folder.value(MAX, "number of bytes", parse::bound_of_bytes)?;
    let max_then = max.unwrap_or(max_now);
    let both_then = both_of(max_then, swap, max_now, both_now)?;
    match amount(both_then).cmp(&amount(both_now)) {
        Ordering::Equal => write_bytes(folder, MAX, max_then),
        Ordering::Greater => {
            write_bytes(folder, BOTH, both_then)?;
            write_bytes(folder, MAX, max_then)
        }
        Ordering::Less => {
            write_bytes(folder, MAX, max_then)?;
            write_bytes(folder, BOTH, both_then)
        }
    }
}

/// The limit of memory with swap: what is swapped stays as limited as it was, where nothing else is
/// asked.
fn both_of(
    max: Bound<u64>,
    swap: Option<Bound<u64>>,
    max_now: Bound<u64>,
    both_now: Bound<u64>,
) -> Result<Bound<u64>, GroupError> {
    let swap = swap.unwrap_or(match (max_now, both_now) {
        (Bound::At(max), Bound::At(both)) => Bound::At(both.saturating_sub(max)),
        _ => Bound::Unlimited,
    });
    match (max, swap) {
        (_, Bound::Unlimited) => Ok(Bound::Unlimited),
        (Bound::At(max), Bound::At(swap)) => Ok(Bound::At(max.saturating_add(swap))),
        (Bound::Unlimited, Bound::At(swap)) => Err(GroupError::Limit {
            controller: Controller::Memory,
            limit: format!("{} of swap", Bytes::new(swap)),
            reason: "cgroup v1 limits memory with swap, and so swap only where memory is limited",
        }),
    }
}

fn amount(bound: Bound<u64>) -> u64 {
    match bound {
        Bound::Unlimited => u64::MAX,
        Bound::At(amount) => amount,
    }
}

/// Writes a limit of v1, where -1 stands for none.
fn write_bytes(folder: &Folder, name: &str, bound: Bound<u64>) -> Result<(), GroupError> {
    let value = match bound {
        Bound::Unlimited => "-1".to_owned(),
        Bound::At(bytes) => bytes.to_string(),
    };
    folder.write_back(name, &value, |found| parse::bound_of_bytes(found) == Some(bound))
}

fn bound_v2(bound: Bound<u64>) -> String {
    match bound {
        Bound::Unlimited => "max".to_owned(),
        Bound::At(amount) => amount.to_string(),
    }
}

/// A limit in whole pages, as the kernel holds it.
fn whole_pages(bound: Bound<Bytes>) -> Result<Bound<u64>, GroupError> {
    match pages(bound, rustix::param::page_size() as u64) {
        Bound::At(0) => Err(GroupError::Limit {
            controller: Controller::Memory,
            limit: match bound {
                Bound::At(bytes) => bytes.to_string(),
                Bound::Unlimited => "none".to_owned(),
            },
            reason: "the kernel counts memory in pages, and it is less than one",
        }),
        whole => Ok(whole),
    }
}

fn pages(bound: Bound<Bytes>, page: u64) -> Bound<u64> {
    match bound {
        Bound::Unlimited => Bound::Unlimited,
        Bound::At(bytes) => Bound::At(bytes.get() - bytes.get() % page.max(1)),
    }
}

/// Quota and period of a share, in microseconds.
fn quota_of(cpus: Cpus) -> (u64, u64) {
    let of = |period: u64| u64::from(cpus.millionths()) * period / 1_000_000;
    match of(PERIOD) {
        quota if quota >= QUOTA_MIN => (quota, PERIOD),
        _ => (of(LONG_PERIOD), LONG_PERIOD),
    }
}

/// A weight in the shares of v1, of which a group has 1024 where it has a weight of 100: the kernel
/// makes the same of weights.
fn shares(weight: u32) -> u32 {
    (weight.saturating_mul(1024).saturating_add(50) / 100).max(2)
}

fn no_swap() -> GroupError {
    GroupError::Missing { controller: Controller::Memory, source: swap_is_not_counted() }
}

pub(super) fn swap_is_not_counted() -> Missing {
    Missing {
        what: "the kernel does not count what groups swap".to_owned(),
        advice: "start it with `swapaccount=1`, or ask for no limit of swap".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_what_the_kernel_takes() {
        let of = |text: &str| quota_of(text.parse().unwrap());
        assert_eq!(of("0.5"), (50_000, 100_000));
        assert_eq!(of("1024"), (102_400_000, 100_000));
        assert_eq!(of("0.01"), (1_000, 100_000));
        assert_eq!(of("0.009"), (9_000, 1_000_000));
        assert_eq!(of("0.001"), (1_000, 1_000_000));
        assert_eq!(of("0.333333"), (33_333, 100_000));
    }

    #[test]
    fn weights_are_shares_as_the_kernel_counts_them() {
        assert_eq!(shares(100), 1024);
        assert_eq!(shares(1), 10);
        assert_eq!(shares(10_000), 102_400);
    }

    #[test]
    fn limits_are_whole_pages_and_at_least_one() {
        assert_eq!(pages(Bound::At(Bytes::new(8191)), 4096), Bound::At(4096));
        let error = whole_pages(Bound::At(Bytes::new(100))).unwrap_err();
        assert!(matches!(error, GroupError::Limit { .. }), "{error}");
        assert_eq!(whole_pages(Bound::Unlimited).unwrap(), Bound::Unlimited);
    }

    #[test]
    fn swap_of_v1_is_kept_beside_memory() {
        use Bound::At;
        use Bound::Unlimited;
        let both = |max, swap, max_now, both_now| both_of(max, swap, max_now, both_now).unwrap();
        assert_eq!(both(At(8), Some(At(0)), Unlimited, Unlimited), At(8));
        assert_eq!(both(At(8), Some(At(2)), At(4), At(4)), At(10));
        assert_eq!(both(At(8), None, At(4), At(5)), At(9));
        assert_eq!(both(At(8), None, Unlimited, Unlimited), Unlimited);
        assert_eq!(both(Unlimited, Some(Unlimited), At(4), At(5)), Unlimited);
        let error = both_of(Unlimited, Some(At(1)), At(4), At(5)).unwrap_err();
        assert!(error.to_string().contains("only where memory is limited"), "{error}");
    }
}
