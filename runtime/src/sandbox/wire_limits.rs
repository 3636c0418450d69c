//! Limits as they are written for another process: numbers, which are read as claims.

use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use crate::limits::Device;
use crate::limits::Limit;
use crate::limits::Limits;
use crate::limits::Rates;
use crate::units::Bytes;
use crate::units::Cpus;
use crate::units::Fuel;

/// One limit, as a number.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(super) enum WireLimit {
    #[default]
    Default,
    Of(u64),
    Unlimited,
}

/// Limits, as they are written.
#[derive(Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct WireLimits {
    memory: WireLimit,
    pub(super) cpus: WireLimit,
    deadline: WireLimit,
    cpu_time: WireLimit,
    fuel: WireLimit,
    output: WireLimit,
    open_files: WireLimit,
    table_elements: WireLimit,
    instances: WireLimit,
    stack: WireLimit,
    pids: WireLimit,
    cpu_weight: WireLimit,
    memory_swap: WireLimit,
    memory_reservation: WireLimit,
    disk: WireLimit,
    device_read_bps: WireRates,
    device_write_bps: WireRates,
    device_read_iops: WireRates,
    device_write_iops: WireRates,
}

/// Limits of devices: numbers of each, and how much it may be, if that is limited.
#[derive(Debug, Default, Deserialize, PartialEq, Serialize)]
enum WireRates {
    #[default]
    Default,
    Of(Vec<(u32, u32, Option<u64>)>),
    Unlimited,
}

fn written_rates<T: Copy>(limit: &Limit<Rates<T>>, number: impl Fn(T) -> u64) -> WireRates {
    let rate = |(device, amount): (Device, Option<T>)| {
        let (major, minor) = device.numbers();
        (major, minor, amount.map(&number))
    };
    match limit {
        Limit::Default => WireRates::Default,
        Limit::Of(rates) => WireRates::Of(rates.all().map(rate).collect()),
        Limit::Unlimited => WireRates::Unlimited,
    }
}

fn read_rates<T: Copy>(
    rates: WireRates,
    amount: impl Fn(u64) -> Option<T>,
) -> Option<Limit<Rates<T>>> {
    let rates = match rates {
        WireRates::Default => return Some(Limit::Default),
        WireRates::Unlimited => return Some(Limit::Unlimited),
        WireRates::Of(rates) => rates,
    };
    let mut all = Rates::default();
    for (major, minor, number) in rates {
        let device = Device::of_numbers(major, minor);
        all = match number {
            Some(number) => all.with(device, amount(number)?),
            None => all.without(device),
        };
    }
    (!all.is_too_long()).then_some(Limit::Of(all))
}

fn written<T>(limit: Limit<T>, number: impl Fn(T) -> u64) -> WireLimit {
    match limit {
        Limit::Default => WireLimit::Default,
        Limit::Of(amount) => WireLimit::Of(number(amount)),
        Limit::Unlimited => WireLimit::Unlimited,
    }
}

fn read<T>(limit: WireLimit, amount: impl Fn(u64) -> Option<T>) -> Option<Limit<T>> {
    Some(match limit {
        WireLimit::Default => Limit::Default,
        WireLimit::Unlimited => Limit::Unlimited,
        WireLimit::Of(number) => Limit::Of(amount(number)?),
    })
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

impl From<Limits> for WireLimits {
    fn from(limits: Limits) -> Self {
        Self {
            memory: written(limits.memory, Bytes::get),
            cpus: written(limits.cpus, |share| share.millionths().into()),
            deadline: written(limits.deadline, nanos),
            cpu_time: written(limits.cpu_time, nanos),
            fuel: written(limits.fuel, Fuel::get),
            output: written(limits.output, Bytes::get),
            open_files: written(limits.open_files, u64::from),
            table_elements: written(limits.table_elements, u64::from),
            instances: written(limits.instances, u64::from),
            stack: written(limits.stack, Bytes::get),
            pids: written(limits.pids, u64::from),
            cpu_weight: written(limits.cpu_weight, u64::from),
            memory_swap: written(limits.memory_swap, Bytes::get),
            memory_reservation: written(limits.memory_reservation, Bytes::get),
            disk: written(limits.disk, Bytes::get),
            device_read_bps: written_rates(&limits.device_read_bps, Bytes::get),
            device_write_bps: written_rates(&limits.device_write_bps, Bytes::get),
            device_read_iops: written_rates(&limits.device_read_iops, u64::from),
            device_write_iops: written_rates(&limits.device_write_iops, u64::from),
        }
    }
}

impl WireLimits {
    /// Limits, without those that are not for a guest's own process to hold.
    pub(super) fn of_process(limits: &Limits) -> Self {
        Self::from(Limits {
            pids: Limit::Default,
            cpu_weight: Limit::Default,
            memory_swap: Limit::Default,
            memory_reservation: Limit::Default,
            disk: Limit::Default,
            device_read_bps: Limit::Default,
            device_write_bps: Limit::Default,
            device_read_iops: Limit::Default,
            device_write_iops: Limit::Default,
            ..*limits
        })
    }

    /// The limits that were written, where each can be one.
    pub(crate) fn read(self) -> Option<Limits> {
        let count = |number: u64| u32::try_from(number).ok();
        let span = |number| Some(Duration::from_nanos(number));
        let bytes = |number| Some(Bytes::new(number));
        Some(Limits {
            memory: read(self.memory, bytes)?,
            cpus: read(self.cpus, Cpus::from_millionths)?,
            deadline: read(self.deadline, span)?,
            cpu_time: read(self.cpu_time, span)?,
            fuel: read(self.fuel, Fuel::new)?,
            output: read(self.output, bytes)?,
            open_files: read(self.open_files, count)?,
            table_elements: read(self.table_elements, count)?,
            instances: read(self.instances, count)?,
            stack: read(self.stack, bytes)?,
            pids: read(self.pids, count)?,
            cpu_weight: read(self.cpu_weight, count)?,
            memory_swap: read(self.memory_swap, bytes)?,
            memory_reservation: read(self.memory_reservation, bytes)?,
            disk: read(self.disk, bytes)?,
            device_read_bps: read_rates(self.device_read_bps, bytes)?,
            device_write_bps: read_rates(self.device_write_bps, bytes)?,
            device_read_iops: read_rates(self.device_read_iops, count)?,
            device_write_iops: read_rates(self.device_write_iops, count)?,
        })
    }
}
