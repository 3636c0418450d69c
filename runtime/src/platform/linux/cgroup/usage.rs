//! What a group uses, and what was killed for it.

use std::time::Duration;

use crate::platform::groups::Controller;
use crate::platform::groups::CpuUsage;
use crate::platform::groups::GroupError;
use crate::platform::groups::IoUsage;
use crate::platform::groups::MemoryUsage;
use crate::platform::groups::Throttling;
use crate::platform::groups::Usage;
use crate::units::Bytes;

use super::folder::Folder;
use super::group::Group;
use super::parse;

impl Group {
    /// What the group uses, as far as it is in hierarchies that count it.
    pub(crate) fn usage(&self) -> Result<Usage, GroupError> {
        let mut usage = Usage::default();
        for seat in &self.seats {
            let (folder, unified) = (&seat.folder, seat.place.unified);
            for controller in &seat.place.controllers {
                match controller {
                    Controller::Memory => usage.memory = Some(memory(folder, unified)?),
                    Controller::CpuTime => usage.cpu = Some(cpu(folder, unified)?),
                    Controller::Cpu => usage.throttling = Some(throttling(folder, unified)?),
                    Controller::Pids => {
                        let found = folder.value("pids.current", "number", parse::number)?;
                        usage.pids = Some(found);
                    }
                    Controller::Io => usage.io = Some(io(folder, unified)?),
                    Controller::Freezer => {}
                }
            }
        }
        Ok(usage)
    }

    /// How many processes of the group the kernel killed because it was out of memory; 0 where it
    /// killed none. In v2 it counts the one that it chose twice, because all of the group are killed
    /// with it.
    ///
    /// To be asked before the group is removed, and after its processes have ended.
    ///
    /// # Errors
    ///
    /// Fails where the group was made without [`Controller::Memory`].
    pub(crate) fn oom_kills(&self) -> Result<u64, GroupError> {
        let seat = self.seat(Controller::Memory)?;
        let file = if seat.place.unified { "memory.events" } else { "memory.oom_control" };
        seat.folder.value(file, "list with `oom_kill`", |text| parse::field(text, "oom_kill"))
    }
}

const BYTES: &str = "number of bytes";

fn memory(folder: &Folder, unified: bool) -> Result<MemoryUsage, GroupError> {
    let bytes = |name: &str| folder.value(name, BYTES, parse::number).map(Bytes::new);
    let if_there = |name: &str| match folder.read_if_there(name)? {
        None => Ok(None),
        Some(text) => match parse::number(&text) {
            Some(count) => Ok(Some(Bytes::new(count))),
            None => Err(folder.garbled(name, &text, BYTES)),
        },
    };
    let stat = folder.read("memory.stat")?;
    let counted = |word: &str| match parse::field(&stat, word) {
        Some(count) => Ok(Bytes::new(count)),
        None => Err(folder.garbled("memory.stat", &stat, "list of what memory is used for")),
    };
    if unified {
        return Ok(MemoryUsage {
            current: bytes("memory.current")?,
            peak: if_there("memory.peak")?,
            limit: folder.value("memory.max", BYTES, parse::bound)?.map(Bytes::new),
            cache: counted("file")?,
            inactive_file: counted("inactive_file")?,
            anon: counted("anon")?,
            swap: if_there("memory.swap.current")?,
        });
    }
    Ok(MemoryUsage {
        current: bytes("memory.usage_in_bytes")?,
        peak: Some(bytes("memory.max_usage_in_bytes")?),
        limit: folder.value("memory.limit_in_bytes", BYTES, parse::bound_of_bytes)?.map(Bytes::new),
        cache: counted("total_cache")?,
        inactive_file: counted("total_inactive_file")?,
        anon: counted("total_rss")?,
        // Listed where swap is counted.
        swap: parse::field(&stat, "total_swap").map(Bytes::new),
    })
}

fn cpu(folder: &Folder, unified: bool) -> Result<CpuUsage, GroupError> {
    if unified {
        let stat = folder.read("cpu.stat")?;
        let time = |word| match parse::field(&stat, word) {
            Some(micros) => Ok(Duration::from_micros(micros)),
            None => Err(folder.garbled("cpu.stat", &stat, "list of processor times")),
        };
        return Ok(CpuUsage {
            total: time("usage_usec")?,
            user: time("user_usec")?,
            system: time("system_usec")?,
        });
    }
    let time =
        |name| folder.value(name, "number of nanoseconds", parse::number).map(Duration::from_nanos);
    Ok(CpuUsage {
        total: time("cpuacct.usage")?,
        user: time("cpuacct.usage_user")?,
        system: time("cpuacct.usage_sys")?,
    })
}

fn throttling(folder: &Folder, unified: bool) -> Result<Throttling, GroupError> {
    let stat = folder.read("cpu.stat")?;
    let field = |word| {
        let missing = || folder.garbled("cpu.stat", &stat, "list of what a quota did");
        parse::field(&stat, word).ok_or_else(missing)
    };
    Ok(Throttling {
        periods: field("nr_periods")?,
        throttled_periods: field("nr_throttled")?,
        throttled: if unified {
            Duration::from_micros(field("throttled_usec")?)
        } else {
            Duration::from_nanos(field("throttled_time")?)
        },
    })
}

fn io(folder: &Folder, unified: bool) -> Result<IoUsage, GroupError> {
    if unified {
        let stat = folder.read("io.stat")?;
        let sum = |key| parse::io_sum(&stat, key);
        return Ok(IoUsage {
            read: Bytes::new(sum("rbytes")),
            written: Bytes::new(sum("wbytes")),
            reads: sum("rios"),
            writes: sum("wios"),
        });
    }
    let bytes = folder.read("blkio.throttle.io_service_bytes")?;
    let times = folder.read("blkio.throttle.io_serviced")?;
    Ok(IoUsage {
        read: Bytes::new(parse::throttle_sum(&bytes, "Read")),
        written: Bytes::new(parse::throttle_sum(&bytes, "Write")),
        reads: parse::throttle_sum(&times, "Read"),
        writes: parse::throttle_sum(&times, "Write"),
    })
}
