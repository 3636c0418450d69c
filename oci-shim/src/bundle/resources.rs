//! What a container may use, as limits.

use aril::Bytes;
use aril::Cpus;
use aril::Device;
use aril::Limit;
use aril::Limits;
use aril::Rates;
use oci_spec::runtime::LinuxBlockIo;
use oci_spec::runtime::LinuxCpu;
use oci_spec::runtime::LinuxMemory;
use oci_spec::runtime::LinuxResources;
use oci_spec::runtime::LinuxThrottleDevice;

use super::refusal::Refusal;

/// The period of a quota of processors, in microseconds, where none is said: the kernel's own.
const PERIOD_DEFAULT: u64 = 100_000;

/// The shares of a group of which nobody said anything, and the weight of one.
const SHARES_DEFAULT: u64 = 1024;
const WEIGHT_DEFAULT: u64 = 100;

/// The largest weight.
const WEIGHT_MAX: u64 = 10_000;

/// Memory and more that is as much as no limit: engines write the largest number of pages.
const NO_LIMIT: i64 = i64::MAX - 65_536;

/// What a container may use by these resources, for one that begins and for one that is changed: what
/// they do not say stays at its default.
///
/// # Errors
///
/// Fails where they ask for what a guest cannot be held to.
pub fn limits_of(resources: &LinuxResources, notes: &mut Vec<String>) -> Result<Limits, Refusal> {
    let mut limits = Limits::default();
    if let Some(memory) = resources.memory() {
        memory_of(memory, &mut limits, notes)?;
    }
    if let Some(cpu) = resources.cpu() {
        cpu_of(cpu, &mut limits)?;
    }
    if let Some(pids) = resources.pids() {
        limits.pids = match pids.limit() {
            ..=0 => Limit::Unlimited,
            count => Limit::Of(u32::try_from(count).map_err(|_| {
                Refusal::new(
                    "linux.resources.pids.limit",
                    format!("{count} is more than there can be"),
                )
            })?),
        };
    }
    if let Some(io) = resources.block_io() {
        io_of(io, &mut limits)?;
    }
    if resources.hugepage_limits().as_ref().is_some_and(|limits| !limits.is_empty()) {
        notes.push("a guest has no huge pages for `linux.resources.hugepageLimits`".to_owned());
    }
    if resources.network().is_some() {
        notes.push("a guest has no network for `linux.resources.network`".to_owned());
    }
    if resources.rdma().as_ref().is_some_and(|devices| !devices.is_empty()) {
        notes.push("a guest has no devices for `linux.resources.rdma`".to_owned());
    }
    for (file, value) in resources.unified().iter().flatten() {
        unified(file, value, &mut limits)?;
    }
    Ok(limits)
}

/// A number of bytes, where less than nothing is no limit.
fn bytes(setting: &str, amount: i64) -> Result<Limit<Bytes>, Refusal> {
    match amount {
        0 => Err(Refusal::new(setting, "0 bytes let nothing run")),
        ..0 | NO_LIMIT.. => Ok(Limit::Unlimited),
        amount => Ok(Limit::Of(Bytes::new(amount.unsigned_abs()))),
    }
}

fn memory_of(
    memory: &LinuxMemory,
    limits: &mut Limits,
    notes: &mut Vec<String>,
) -> Result<(), Refusal> {
    // Engines write 0 where they mean nothing.
    let said = |amount: Option<i64>| amount.filter(|amount| *amount != 0);
    if let Some(amount) = said(memory.limit()) {
        limits.memory = bytes("linux.resources.memory.limit", amount)?;
    }
    if let Some(amount) = said(memory.swap()) {
        limits.memory_swap = bytes("linux.resources.memory.swap", amount)?;
    }
    if let Some(amount) = said(memory.reservation()) {
        limits.memory_reservation = bytes("linux.resources.memory.reservation", amount)?;
    }
    if memory.disable_oom_killer() == Some(true) {
        let reason = "a guest that is out of memory would stand still for ever instead of ending";
        return Err(Refusal::new("linux.resources.memory.disableOOMKiller", reason));
    }
    let apart = [("kernel", said(memory.kernel())), ("kernelTCP", said(memory.kernel_tcp()))];
    for (name, amount) in apart {
        if amount.is_some_and(|amount| 0 < amount) {
            // Linux counts both in the limit itself, and has taken none of these since 5.4.
            notes.push(format!("`linux.resources.memory.{name}` is part of the limit itself"));
        }
    }
    if memory.swappiness().is_some() {
        notes.push("`linux.resources.memory.swappiness` is the host's".to_owned());
    }
    Ok(())
}

fn cpu_of(cpu: &LinuxCpu, limits: &mut Limits) -> Result<(), Refusal> {
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        limits.cpu_weight = Limit::Of(weight(shares));
    }
    if let Some(quota) = cpu.quota().filter(|quota| *quota != 0) {
        let period = cpu.period().filter(|period| *period != 0).unwrap_or(PERIOD_DEFAULT);
        limits.cpus = share(quota, period)?;
    }
    let refused = [
        ("realtimeRuntime", cpu.realtime_runtime().is_some_and(|time| time != 0)),
        ("burst", cpu.burst().is_some_and(|burst| burst != 0)),
        ("idle", cpu.idle().is_some_and(|idle| idle != 0)),
        ("cpus", cpu.cpus().as_ref().is_some_and(|cpus| !cpus.is_empty())),
        ("mems", cpu.mems().as_ref().is_some_and(|mems| !mems.is_empty())),
    ];
    match refused.into_iter().find(|(_, is_asked)| *is_asked) {
        Some((name, _)) => {
            let reason =
                "nothing here holds a guest to it; bound its processors by `quota` and `shares`";
            Err(Refusal::new(format!("linux.resources.cpu.{name}"), reason))
        }
        None => Ok(()),
    }
}

/// Shares of cgroup v1 as a weight: 1024 are 100, as the kernel has it. Less than a weight of 1, which
/// is 10 shares, there is not: containers without a request have 2.
fn weight(shares: u64) -> u32 {
    let weight =
        shares.saturating_mul(WEIGHT_DEFAULT).saturating_add(SHARES_DEFAULT / 2) / SHARES_DEFAULT;
    u32::try_from(weight.clamp(1, WEIGHT_MAX)).unwrap_or(1)
}

/// Time of processors in each period, in microseconds, as a share.
fn share(quota: i64, period: u64) -> Result<Limit<Cpus>, Refusal> {
    let setting = "linux.resources.cpu.quota";
    let Ok(quota) = u64::try_from(quota) else { return Ok(Limit::Unlimited) };
    let millionths = u128::from(quota) * 1_000_000 / u128::from(period);
    // Text is how a share is made: one that is out of range says so there.
    let text = format!("{}.{:06}", millionths / 1_000_000, millionths % 1_000_000);
    text.parse::<Cpus>().map(Limit::Of).map_err(|error| Refusal::new(setting, error.to_string()))
}

/// Rates of devices, by their numbers.
fn io_of(io: &LinuxBlockIo, limits: &mut Limits) -> Result<(), Refusal> {
    let refused = [
        ("weight", io.weight().is_some_and(|weight| weight != 0)),
        ("leafWeight", io.leaf_weight().is_some_and(|weight| weight != 0)),
        ("weightDevice", io.weight_device().as_ref().is_some_and(|list| !list.is_empty())),
    ];
    if let Some((name, _)) = refused.into_iter().find(|(_, is_asked)| *is_asked) {
        let reason = "nothing here holds a guest to it";
        return Err(Refusal::new(format!("linux.resources.blockIO.{name}"), reason));
    }
    limits.device_read_bps =
        rates("throttleReadBpsDevice", io.throttle_read_bps_device().as_deref(), |rate| {
            Some(Bytes::new(rate))
        })?;
    limits.device_write_bps =
        rates("throttleWriteBpsDevice", io.throttle_write_bps_device().as_deref(), |rate| {
            Some(Bytes::new(rate))
        })?;
    let times = |rate| u32::try_from(rate).ok();
    limits.device_read_iops =
        rates("throttleReadIOPSDevice", io.throttle_read_iops_device().as_deref(), times)?;
    limits.device_write_iops =
        rates("throttleWriteIOPSDevice", io.throttle_write_iops_device().as_deref(), times)?;
    Ok(())
}

/// The rates of a list, where 0 takes one away.
fn rates<T: Copy>(
    name: &str,
    list: Option<&[LinuxThrottleDevice]>,
    amount: impl Fn(u64) -> Option<T>,
) -> Result<Limit<Rates<T>>, Refusal> {
    let list = list.unwrap_or_default();
    let refuse = |reason: String| Refusal::new(format!("linux.resources.blockIO.{name}"), reason);
    if Rates::<T>::DEVICES_MAX < list.len() {
        let most = Rates::<T>::DEVICES_MAX;
        return Err(refuse(format!("it names {} devices, and the most is {most}", list.len())));
    }
    let mut all = Rates::default();
    for rate in list {
        let number = |number: i64| {
            u32::try_from(number).map_err(|_| refuse(format!("{number} is no number of a device")))
        };
        let device = Device::of_numbers(number(rate.major())?, number(rate.minor())?);
        all = match rate.rate() {
            0 => all.without(device),
            rate => {
                let too_much = || refuse(format!("{rate} is more than there can be"));
                all.with(device, amount(rate).ok_or_else(too_much)?)
            }
        };
    }
    Ok(if list.is_empty() { Limit::Default } else { Limit::Of(all) })
}

/// A file of cgroup v2 that is to say something.
fn unified(file: &str, value: &str, limits: &mut Limits) -> Result<(), Refusal> {
    let setting = || format!("linux.resources.unified[{file}]");
    let invalid = || Refusal::new(setting(), format!("`{value}` is not what it can say"));
    match file {
        // The group has one process, which is ended whole in any case.
        "memory.oom.group" => match value {
            "0" | "1" => Ok(()),
            _ => Err(invalid()),
        },
        "memory.high" => {
            limits.memory_reservation = match value {
                "max" => Limit::Unlimited,
                amount => bytes(&setting(), amount.parse().map_err(|_| invalid())?)?,
            };
            Ok(())
        }
        _ => Err(Refusal::new(setting(), "nothing here holds a guest to it")),
    }
}
