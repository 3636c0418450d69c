//! The flags that say how much a guest may use.

use std::str::FromStr;
use std::time::Duration;

use aril::Bytes;
use aril::Cpus;
use aril::Device;
use aril::Fuel;
use aril::Limit;
use aril::Limits;
use aril::Rates;
use clap::Args;

/// How much the guest may use. Each takes `unlimited` as well.
#[derive(Args, Debug)]
#[command(next_help_heading = "Limits")]
pub(super) struct LimitFlags {
    /// Memory in total, such as 64m or 1g [default: 1g]
    #[arg(short, long, value_name = "SIZE", value_parser = limit::<Bytes>)]
    memory: Option<Limit<Bytes>>,

    /// Share of processors, such as 0.5 [default: unlimited]
    #[arg(long, value_name = "NUMBER", value_parser = limit::<Cpus>)]
    cpus: Option<Limit<Cpus>>,

    /// Time on the wall clock, such as 500ms or 2s [default: unlimited]
    #[arg(long, visible_alias = "timeout", value_name = "TIME", value_parser = span)]
    deadline: Option<Limit<Duration>>,

    /// Processor time, such as 2s [default: unlimited]
    #[arg(long, value_name = "TIME", value_parser = span)]
    cpu_time: Option<Limit<Duration>>,

    /// Units of work, about one an instruction [default: unlimited]
    #[arg(long, value_name = "UNITS", value_parser = limit::<Fuel>)]
    fuel: Option<Limit<Fuel>>,

    /// Bytes written to standard output and error [default: unlimited]
    #[arg(long, value_name = "SIZE", value_parser = limit::<Bytes>)]
    output: Option<Limit<Bytes>>,

    /// Files open at the same moment [default: 1024]
    #[arg(long, value_name = "COUNT", value_parser = count)]
    open_files: Option<Limit<u32>>,

    /// Elements of all tables together [default: 1000000]
    #[arg(long, value_name = "COUNT", value_parser = count)]
    table_elements: Option<Limit<u32>>,

    /// Instances of modules [default: 1000]
    #[arg(long, value_name = "COUNT", value_parser = count)]
    instances: Option<Limit<u32>>,

    /// The guest's stack, from 64k to 8m [default: 1m]
    #[arg(long, value_name = "SIZE", value_parser = limit::<Bytes>)]
    stack: Option<Limit<Bytes>>,

    /// Processes and threads of the guest's process [default: unlimited]
    #[arg(long, value_name = "COUNT", value_parser = pids, allow_negative_numbers = true)]
    pids_limit: Option<Limit<u32>>,

    /// What it gets of processors beside others, from 1 to 10000 [default: 100]
    #[arg(long, value_name = "WEIGHT", value_parser = weight)]
    cpu_weight: Option<Limit<u32>>,

    /// Memory and swap together, at least as much as --memory [default: unlimited]
    #[arg(long, value_name = "SIZE", value_parser = size, allow_negative_numbers = true)]
    memory_swap: Option<Limit<Bytes>>,

    /// Memory beyond which some is taken back, or first taken back [default: unlimited]
    #[arg(long, value_name = "SIZE", value_parser = limit::<Bytes>)]
    memory_reservation: Option<Limit<Bytes>>,

    /// Bytes in files that are the guest's own: those that it writes over an image's [default:
    /// unlimited]
    #[arg(long, value_name = "SIZE", value_parser = limit::<Bytes>)]
    disk: Option<Limit<Bytes>>,

    /// Bytes read in a second from a device, such as /dev/sda:1m; again for others
    #[arg(long, value_name = "PATH:RATE", value_parser = rate::<Bytes>)]
    device_read_bps: Vec<Rate<Bytes>>,

    /// Bytes written in a second to a device; with cgroup v1, those that a sync waits for
    #[arg(long, value_name = "PATH:RATE", value_parser = rate::<Bytes>)]
    device_write_bps: Vec<Rate<Bytes>>,

    /// Reads in a second of a device, such as /dev/sda:100
    #[arg(long, value_name = "PATH:COUNT", value_parser = rate::<Times>)]
    device_read_iops: Vec<Rate<Times>>,

    /// Writes in a second to a device
    #[arg(long, value_name = "PATH:COUNT", value_parser = rate::<Times>)]
    device_write_iops: Vec<Rate<Times>>,
}

impl LimitFlags {
    pub(super) fn limits(&self) -> Limits {
        Limits {
            memory: self.memory.unwrap_or_default(),
            cpus: self.cpus.unwrap_or_default(),
            deadline: self.deadline.unwrap_or_default(),
            cpu_time: self.cpu_time.unwrap_or_default(),
            fuel: self.fuel.unwrap_or_default(),
            output: self.output.unwrap_or_default(),
            open_files: self.open_files.unwrap_or_default(),
            table_elements: self.table_elements.unwrap_or_default(),
            instances: self.instances.unwrap_or_default(),
            stack: self.stack.unwrap_or_default(),
            pids: self.pids_limit.unwrap_or_default(),
            cpu_weight: self.cpu_weight.unwrap_or_default(),
            memory_swap: self.memory_swap.unwrap_or_default(),
            memory_reservation: self.memory_reservation.unwrap_or_default(),
            disk: self.disk.unwrap_or_default(),
            device_read_bps: rates(&self.device_read_bps, |rate| rate),
            device_write_bps: rates(&self.device_write_bps, |rate| rate),
            device_read_iops: rates(&self.device_read_iops, |times| times.0),
            device_write_iops: rates(&self.device_write_iops, |times| times.0),
        }
    }
}

/// What was asked for a device: so much in a second, or no limit.
type Rate<T> = (Device, Option<T>);

/// How often in a second.
#[derive(Clone, Copy, Debug)]
struct Times(u32);

impl FromStr for Times {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(times) if 0 < times => Ok(Self(times)),
            _ => Err(format!("`{text}` is not a whole number from 1 to {}", u32::MAX)),
        }
    }
}

fn rates<T: Copy, U: Copy>(all: &[Rate<T>], amount: impl Fn(T) -> U) -> Limit<Rates<U>> {
    if all.is_empty() {
        return Limit::Default;
    }
    Limit::Of(all.iter().fold(Rates::default(), |all, (device, rate)| match rate {
        Some(rate) => all.with(*device, amount(*rate)),
        None => all.without(*device),
    }))
}

fn rate<T: FromStr<Err: std::fmt::Display>>(text: &str) -> Result<Rate<T>, String> {
    let (path, rate) = text
        .rsplit_once(':')
        .filter(|(path, _)| !path.is_empty())
        .ok_or_else(|| format!("`{text}` names no device and rate; write them as PATH:RATE"))?;
    let rate = match limit::<T>(rate).map_err(|error| error.to_string())? {
        Limit::Of(rate) => Some(rate),
        _ => None,
    };
    let device = Device::find(path).map_err(|error| match std::error::Error::source(&error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    })?;
    Ok((device, rate))
}

/// The word for no limit.
const UNLIMITED: &str = "unlimited";

fn limit<T: FromStr>(text: &str) -> Result<Limit<T>, T::Err> {
    if text == UNLIMITED { Ok(Limit::Unlimited) } else { text.parse().map(Limit::Of) }
}

/// Docker's word for no limit, where a number stands.
const NONE: &str = "-1";

fn pids(text: &str) -> Result<Limit<u32>, String> {
    if text == NONE { Ok(Limit::Unlimited) } else { count(text) }
}

fn size(text: &str) -> Result<Limit<Bytes>, aril::InvalidQuantity> {
    if text == NONE { Ok(Limit::Unlimited) } else { limit(text) }
}

fn span(text: &str) -> Result<Limit<Duration>, aril::InvalidQuantity> {
    if text == UNLIMITED { Ok(Limit::Unlimited) } else { aril::parse_span(text).map(Limit::Of) }
}

fn weight(text: &str) -> Result<Limit<u32>, String> {
    match text.parse() {
        Ok(weight) if (1..=10_000).contains(&weight) => Ok(Limit::Of(weight)),
        _ if text == UNLIMITED => Ok(Limit::Unlimited),
        _ => Err(format!("`{text}` is not a whole number from 1 to 10000")),
    }
}

fn count(text: &str) -> Result<Limit<u32>, String> {
    match text.parse() {
        Ok(count) if 0 < count => Ok(Limit::Of(count)),
        _ if text == UNLIMITED => Ok(Limit::Unlimited),
        _ => Err(format!("`{text}` is not a whole number from 1 to {}", u32::MAX)),
    }
}
