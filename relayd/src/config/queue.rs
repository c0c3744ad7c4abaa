//! `retry_on_failure` and `sending_queue` of an exporter (Collector, configretry and exporterhelper/queuebatch).
//! Must never queue or retry: these are only the bounds.

use std::time::Duration;

use relay_core::grpc::Code;
use relay_core::upstream::{RetryPolicy, RetryTable};

use super::extensions::Extensions;
use super::node::{Node, Value};
use super::section::{Section, nearest};
use super::storage::{self, Spill};

/// `sending_queue`: what waits for the upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendingQueue {
    /// `num_consumers`: calls in flight at most. Default 10.
    pub num_consumers: usize,
    /// `queue_size` in units of `sizer`. Default 1000.
    pub queue_size: u64,
    /// `sizer`: what `queue_size` counts. Default requests.
    pub sizer: Sizer,
    /// `block_on_overflow`: a full queue makes senders wait (until their deadline) instead of refusing. Default false.
    pub block_on_overflow: bool,
    /// `wait_for_result`: a sender is answered when the upstream has answered, not when queued. Default false.
    pub wait_for_result: bool,
    /// `batch`: batches of this exporter's own. Default none. Goes before a `batch` processor of the pipeline.
    pub batch: Option<QueueBatch>,
    /// `storage`, `spill_after`, `acknowledge`: what goes to disk, and when. Default nothing.
    pub spill: Option<Spill>,
}

impl Default for SendingQueue {
    fn default() -> Self {
        Self {
            num_consumers: 10,
            queue_size: 1000,
            sizer: Sizer::Requests,
            block_on_overflow: false,
            wait_for_result: false,
            batch: None,
            spill: None,
        }
    }
}

/// What a size counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizer {
    /// Requests as they came.
    Requests,
    /// Spans, data points, log records, samples.
    Items,
    /// Bytes of protobuf.
    Bytes,
}

/// `sending_queue.batch`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueBatch {
    /// `flush_timeout`: how long the first item of a batch may wait. Default 200 ms; above 0.
    pub flush_timeout: Duration,
    /// `min_size` in units of `sizer`: a batch of that size is sent at once. Default 8192.
    pub min_size: u64,
    /// `max_size` in units of `sizer`: larger batches are split. `None` (the default, or 0) means no limit of its own.
    pub max_size: Option<u64>,
    /// `sizer`: items (default) or bytes; if absent, what `sending_queue.sizer` says.
    pub sizer: Sizer,
}

impl Default for QueueBatch {
    fn default() -> Self {
        Self {
            flush_timeout: Duration::from_millis(200),
            min_size: 8192,
            max_size: None,
            sizer: Sizer::Items,
        }
    }
}

const SIZERS: [(&str, Sizer); 3] =
    [("requests", Sizer::Requests), ("items", Sizer::Items), ("bytes", Sizer::Bytes)];

/// What statuses an exporter is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Statuses {
    /// gRPC codes.
    Grpc,
    /// HTTP statuses.
    Http,
}

const STATUSES_KEY: &str = "retryable_statuses";

/// Reads `retry_on_failure` of an exporter that is answered with such `statuses`.
pub(super) fn read_retry(mut section: Section<'_>, statuses: Statuses) -> RetryPolicy {
    let default = RetryPolicy::default();
    let max_elapsed = section.duration("max_elapsed_time").unwrap_or(Duration::from_secs(300));
    let retry = RetryPolicy {
        enabled: section.bool("enabled").unwrap_or(default.enabled),
        initial_interval: section.duration("initial_interval").unwrap_or(default.initial_interval),
        randomization_factor: section.number("randomization_factor").unwrap_or(default.randomization_factor),
        multiplier: section.number("multiplier").unwrap_or(default.multiplier),
        max_interval: section.duration("max_interval").unwrap_or(default.max_interval),
        max_elapsed_time: (!max_elapsed.is_zero()).then_some(max_elapsed),
        table: read_table(&mut section, statuses),
    };
    if retry.enabled {
        check_retry(&section, &retry);
    }
    section.finish();
    retry
}

/// `retryable_statuses` and `retry_resource_exhausted`, which the Collector does not have.
fn read_table(section: &mut Section<'_>, statuses: Statuses) -> RetryTable {
    let table = RetryTable::default();
    let is_listed = section.value(STATUSES_KEY).is_some();
    let items = section.list(STATUSES_KEY);
    match statuses {
        Statuses::Grpc => {
            let exhausted = section.bool("retry_resource_exhausted").unwrap_or(false);
            let table = table.with_exhausted(exhausted);
            let codes: Vec<Code> =
                items.iter().filter_map(|item| of_item(section, item, read_code)).collect();
            if is_listed { table.with_codes(&codes) } else { table }
        }
        Statuses::Http => {
            section.refuse(
                "retry_resource_exhausted",
                "HTTP has 429 in its place, which is tried again anyway; remove it",
            );
            let codes: Vec<u16> =
                items.iter().filter_map(|item| of_item(section, item, read_status)).collect();
            if is_listed { table.with_statuses(&codes) } else { table }
        }
    }
}

/// One item of the list; an error is told at its own place.
fn of_item<T>(section: &Section<'_>, item: &Node, read: fn(&Node) -> Result<T, String>) -> Option<T> {
    let path = section.path_of(STATUSES_KEY);
    read(item).map_err(|what| section.diagnostics().error(&item.origin, &path, what)).ok()
}

/// A gRPC code by name or number; not OK, which is no failure.
fn read_code(item: &Node) -> Result<Code, String> {
    const EXPECTED: &str = "expected a gRPC status code by name or number, as in [UNAVAILABLE, 14]";
    let (code, found) = match (&item.value, item.as_text()) {
        (Value::Int(number), _) => (u32::try_from(*number).ok().map(Code), number.to_string()),
        (_, Some(name)) => (Code::named(name), format!("{name:?}")),
        _ => (None, item.kind().to_owned()),
    };
    let near = item.as_text().and_then(|name| nearest(&name.to_ascii_uppercase(), &Code::NAMES));
    let hint = near.map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default();
    match code {
        Some(Code::OK) => Err(format!("{EXPECTED}, found {found}, which is success")),
        Some(code) if code.0 <= Code::UNAUTHENTICATED.0 => Ok(code),
        _ => Err(format!("{EXPECTED}, found {found}{hint}")),
    }
}

/// An HTTP status that says that a request has failed.
fn read_status(item: &Node) -> Result<u16, String> {
    let number = match item.value {
        Value::Int(number) => u16::try_from(number).ok().filter(|status| (300..600).contains(status)),
        _ => None,
    };
    let found = match item.value {
        Value::Int(number) => number.to_string(),
        _ => item.as_text().map_or_else(|| item.kind().to_owned(), |text| format!("{text:?}")),
    };
    number.ok_or_else(|| format!("expected an HTTP status from 300 to 599, as in [429, 503], found {found}"))
}

/// The Collector's own checks (configretry, BackOffConfig.Validate).
fn check_retry(section: &Section<'_>, retry: &RetryPolicy) {
    if !(0.0..=1.0).contains(&retry.randomization_factor) {
        let what = format!("must be from 0 to 1, found {}", retry.randomization_factor);
        section.error("randomization_factor", what);
    }
    if retry.multiplier < 0.0 {
        section.error("multiplier", format!("must not be negative, found {}", retry.multiplier));
    }
    if let Some(elapsed) = retry.max_elapsed_time {
        for (name, interval) in
            [("initial_interval", retry.initial_interval), ("max_interval", retry.max_interval)]
        {
            if elapsed < interval {
                let what = format!("must not be less than {name} ({interval:?}), found {elapsed:?}");
                section.error("max_elapsed_time", what);
            }
        }
    }
}

/// Reads `sending_queue`; `None` if it is not enabled.
pub(super) fn read_queue(mut section: Section<'_>, extensions: &Extensions) -> Option<SendingQueue> {
    let default = SendingQueue::default();
    let enabled = section.bool("enabled").unwrap_or(true);
    let sizer = section.choice("sizer", &SIZERS);
    let consumers = section.whole("num_consumers");
    let mut queue = SendingQueue {
        num_consumers: consumers.map_or(default.num_consumers, |n| usize::try_from(n).unwrap_or(usize::MAX)),
        queue_size: section.whole("queue_size").unwrap_or(default.queue_size),
        sizer: sizer.unwrap_or(default.sizer),
        block_on_overflow: section.bool("block_on_overflow").unwrap_or(default.block_on_overflow),
        wait_for_result: section.bool("wait_for_result").unwrap_or(default.wait_for_result),
        batch: None,
        spill: storage::read_spill(&mut section, extensions),
    };
    // `batch:` alone (null) leaves batching off, as in the Collector; `batch: {}` turns it on.
    if section.value("batch").is_some()
        && let Some(batch) = section.section("batch")
    {
        queue.batch = read_queue_batch(batch, sizer);
    }
    section.refuse("blocking", "its new name is block_on_overflow");
    if enabled {
        check_queue(&section, &queue);
    } else {
        section.advisory("storage", "without a queue a sender is answered when the upstream has answered");
    }
    section.finish();
    enabled.then_some(queue)
}

/// The Collector's own checks (exporterhelper/queuebatch, Config.Validate).
fn check_queue(section: &Section<'_>, queue: &SendingQueue) {
    if queue.num_consumers == 0 {
        section.error("num_consumers", "must be greater than zero");
    }
    if queue.queue_size == 0 {
        section.error("queue_size", "must be greater than zero; to go without a queue set enabled: false");
    }
    if let Some(batch) = &queue.batch
        && batch.sizer == queue.sizer
        && batch.sizer != Sizer::Requests // already an error
        && batch.min_size > queue.queue_size
    {
        let what = format!("must hold a batch of min_size ({}), found {}", batch.min_size, queue.queue_size);
        section.error("queue_size", what);
    }
}

/// Reads `sending_queue.batch`; `None` if it is not enabled.
fn read_queue_batch(mut section: Section<'_>, queue_sizer: Option<Sizer>) -> Option<QueueBatch> {
    let default = QueueBatch::default();
    let enabled = section.bool("enabled").unwrap_or(true);
    let inherited = queue_sizer.filter(|_| !section.named().is_empty());
    let batch = QueueBatch {
        flush_timeout: section.duration("flush_timeout").unwrap_or(default.flush_timeout),
        min_size: section.whole("min_size").unwrap_or(default.min_size),
        max_size: section.whole("max_size").filter(|size| *size > 0),
        sizer: section.choice("sizer", &SIZERS).or(inherited).unwrap_or(default.sizer),
    };
    if batch.sizer == Sizer::Requests {
        section.error("sizer", "a batch counts items or bytes; set sizer: items or sizer: bytes here");
    }
    if batch.flush_timeout.is_zero() {
        section.error("flush_timeout", "must be greater than zero");
    }
    if let Some(max) = batch.max_size
        && max < batch.min_size
    {
        section.error("max_size", format!("must not be below min_size ({}), found {max}", batch.min_size));
    }
    if let Some(mut partition) = section.section("partition") {
        partition.refuse("metadata_keys", "request metadata is not carried on in this version");
        partition.finish();
    }
    section.finish();
    enabled.then_some(batch)
}
