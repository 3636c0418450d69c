//! The wire form of what a control group counts: a part of a record.

use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use crate::units::Bytes;

use super::stats;
use super::wire::nanos;

/// What a group counted; what it did not is not there.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct GroupStats {
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_peak_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    swap_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_user_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_system_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    periods: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    throttled_periods: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    throttled_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pids: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    written_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reads: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    writes: Option<u64>,
}

impl From<&stats::GroupStats> for GroupStats {
    fn from(stats: &stats::GroupStats) -> Self {
        Self {
            memory_bytes: stats.memory.map(Bytes::get),
            memory_peak_bytes: stats.memory_peak.map(Bytes::get),
            swap_bytes: stats.swap.map(Bytes::get),
            cpu_user_ns: stats.cpu_user.map(nanos),
            cpu_system_ns: stats.cpu_system.map(nanos),
            periods: stats.periods,
            throttled_periods: stats.throttled_periods,
            throttled_ns: stats.throttled.map(nanos),
            pids: stats.pids,
            read_bytes: stats.read.map(Bytes::get),
            written_bytes: stats.written.map(Bytes::get),
            reads: stats.reads,
            writes: stats.writes,
        }
    }
}

impl From<GroupStats> for stats::GroupStats {
    fn from(stats: GroupStats) -> Self {
        Self {
            memory: stats.memory_bytes.map(Bytes::new),
            memory_peak: stats.memory_peak_bytes.map(Bytes::new),
            swap: stats.swap_bytes.map(Bytes::new),
            cpu_user: stats.cpu_user_ns.map(Duration::from_nanos),
            cpu_system: stats.cpu_system_ns.map(Duration::from_nanos),
            periods: stats.periods,
            throttled_periods: stats.throttled_periods,
            throttled: stats.throttled_ns.map(Duration::from_nanos),
            pids: stats.pids,
            read: stats.read_bytes.map(Bytes::new),
            written: stats.written_bytes.map(Bytes::new),
            reads: stats.reads,
            writes: stats.writes,
        }
    }
}
