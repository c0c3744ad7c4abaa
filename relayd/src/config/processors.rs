//! The section `processors`: `batch` and `memory_limiter`. Must never measure memory while it runs: it only turns
//! keys into bounds.

use std::time::Duration;

use super::components::{Components, Kind, State, read_components, type_of};
use super::error::Diagnostics;
use super::memory;
use super::node::Node;
use super::section::Section;
use super::source::World;

/// A processor that a pipeline uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Processor {
    /// `batch`
    Batch(Batch),
    /// `memory_limiter`
    MemoryLimiter(MemoryLimiter),
}

/// `processors.batch` (Collector, batchprocessor): when the pipeline's items travel on, in front of all its exporters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// As in the file, `batch` or `batch/name`; the label `processor` of the metrics.
    pub id: String,
    /// `send_batch_size`, items (spans, data points, log records, samples): a batch of that many is sent at once. Default 8192; 0 sends when data comes,
    /// so that only `send_batch_max_size` matters.
    pub send_batch_size: u64,
    /// `timeout`: how long the first item of a batch may wait. Default 200 ms; 0 sends when data comes.
    pub timeout: Duration,
    /// `send_batch_max_size`, items: larger batches are split. `None` (the default, or 0) means no limit of its own.
    pub send_batch_max_size: Option<u64>,
}

impl Batch {
    /// The Collector's defaults.
    #[must_use]
    pub fn with_defaults(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            send_batch_size: 8192,
            timeout: Duration::from_millis(200),
            send_batch_max_size: None,
        }
    }
}

/// `processors.memory_limiter` or `extensions.memory_limiter` (Collector, memorylimiter), turned into bytes. The Collector polls its heap; relayd
/// counts what it holds, so the limit is exact and there is nothing to poll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryLimiter {
    /// As in the file, `memory_limiter` or `memory_limiter/name`; the label `processor` of the metrics.
    pub id: String,
    /// `limit_mib`, or `limit_percentage` of the memory that the process may use: the hard limit, in bytes.
    pub limit_bytes: usize,
    /// The soft limit: hard limit less `spike_limit_mib` (or `spike_limit_percentage`; default a fifth of the hard
    /// limit). Above it requests are refused, as in the Collector.
    pub soft_limit_bytes: usize,
}

/// Reads all processors.
pub(super) fn read(node: Option<&Node>, world: &dyn World, diag: &Diagnostics) -> Components<Processor> {
    read_components(Kind::Processor, node, diag, |id, section| match type_of(id) {
        "batch" => State::Ready(Processor::Batch(read_batch(id, section))),
        _ => read_memory_limiter(id, section, world)
            .map_or(State::Refused, |limiter| State::Ready(Processor::MemoryLimiter(limiter))),
    })
}

fn read_batch(id: &str, mut section: Section<'_>) -> Batch {
    let mut batch = Batch::with_defaults(id);
    if let Some(size) = section.whole("send_batch_size") {
        batch.send_batch_size = size;
    }
    if let Some(timeout) = section.duration("timeout") {
        batch.timeout = timeout;
    }
    batch.send_batch_max_size = section.whole("send_batch_max_size").filter(|size| *size > 0);
    if let Some(max) = batch.send_batch_max_size
        && max < batch.send_batch_size
    {
        let what = format!("must not be below send_batch_size ({}), found {max}", batch.send_batch_size);
        section.error("send_batch_max_size", what);
    }
    section.refuse(
        "metadata_keys",
        "request metadata is not carried on in this version; batches are not split by it",
    );
    section.advisory("metadata_cardinality_limit", "it only bounds metadata_keys");
    section.finish();
    batch
}

/// The bound of one limiter, processor or extension; `None` if an error was recorded that leaves no bound.
pub(super) fn read_memory_limiter(
    id: &str,
    mut section: Section<'_>,
    world: &dyn World,
) -> Option<MemoryLimiter> {
    match section.duration("check_interval") {
        Some(interval) if interval.is_zero() => section.error("check_interval", "must be greater than zero"),
        Some(_) => section.advisory("check_interval", "relayd counts what it holds at every request"),
        None if section.value("check_interval").is_some() => {}
        None => {
            section.error("check_interval", "must be set and greater than zero, as in check_interval: 1s");
        }
    }
    let why = "relayd has no garbage collector";
    section.advisory("min_gc_interval_when_soft_limited", why);
    section.advisory("min_gc_interval_when_hard_limited", why);
    let limit_mib = section.whole("limit_mib").filter(|mib| *mib > 0);
    let spike_mib = section.whole("spike_limit_mib").filter(|mib| *mib > 0);
    let limit_percentage = percentage(&mut section, "limit_percentage");
    let spike_percentage = percentage(&mut section, "spike_limit_percentage");
    let limits = match (limit_mib, limit_percentage) {
        (Some(limit), _) => {
            if limit_percentage.is_some() {
                section.warn("limit_percentage", "without effect: limit_mib is given too and wins");
            }
            fixed(&section, limit, spike_mib)
        }
        (None, Some(limit)) => percent(&section, limit, spike_percentage, world),
        (None, None) => {
            section.error("limit_mib", "limit_mib or limit_percentage must be set and greater than zero");
            None
        }
    };
    section.finish();
    let (limit, spike) = limits?;
    let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    Some(MemoryLimiter {
        id: id.to_owned(),
        limit_bytes: bytes(limit),
        soft_limit_bytes: bytes(limit.saturating_sub(spike)),
    })
}

fn percentage(section: &mut Section<'_>, key: &'static str) -> Option<u64> {
    let percent = section.whole(key).filter(|percent| *percent > 0)?;
    if percent > 100 {
        section.error(key, format!("a percentage is at most 100, found {percent}"));
        return None;
    }
    Some(percent)
}

/// Hard limit and spike, in bytes, from MiB.
fn fixed(section: &Section<'_>, limit_mib: u64, spike_mib: Option<u64>) -> Option<(u64, u64)> {
    if let Some(spike) = spike_mib
        && spike >= limit_mib
    {
        let what = format!("must be smaller than limit_mib ({limit_mib}), found {spike}");
        section.error("spike_limit_mib", what);
        return None;
    }
    let limit = limit_mib.saturating_mul(1 << 20);
    Some((limit, spike_mib.map_or(limit / 5, |spike| spike.saturating_mul(1 << 20))))
}

/// Hard limit and spike, in bytes, from percentages of what the process may use.
fn percent(section: &Section<'_>, limit: u64, spike: Option<u64>, world: &dyn World) -> Option<(u64, u64)> {
    if let Some(spike) = spike
        && spike >= limit
    {
        let what = format!("must be smaller than limit_percentage ({limit}), found {spike}");
        section.error("spike_limit_percentage", what);
        return None;
    }
    let Some(total) = memory::total_bytes(world) else {
        let what =
            "cannot find out how much memory there is (no cgroup limit, no /proc/meminfo); use limit_mib";
        section.error("limit_percentage", what);
        return None;
    };
    let of_total = |percent: u64| total / 100 * percent;
    Some((of_total(limit), spike.map_or_else(|| of_total(limit) / 5, of_total)))
}
