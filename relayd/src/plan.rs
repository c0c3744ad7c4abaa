//! From the configuration to what relay-core runs: one upstream for each pair of pipeline and exporter, one receiver for
//! each receiver in use. Plain mapping: must never bind, connect or ask a name server about an upstream.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use relay_core::config::{
    BatchSink, Compression, Destination, GrpcConfig, OnFull, Passthrough, QueueLimit, ReceiverConfig,
    UpstreamConfig,
};
use relay_core::limits as core_limits;

use crate::config::{
    self, Address, Batch, Config, Exporter, ExporterKind, OtlpExporter, Pipeline, QueueBatch, SendingQueue,
    Sizer,
};
use crate::limits::CALL_TIMEOUT_NONE;
use memory::Bound;

mod auth;
pub(crate) mod load_balancing;
mod memory;
mod otlp_http;
mod receivers;
mod spill;
mod tls;

/// What relay-core is told.
#[derive(Debug)]
pub(crate) struct Plan {
    /// In the order of the configuration's receivers, one for each of their ports.
    pub(crate) receivers: Vec<ReceiverConfig>,
    /// One for each pair of pipeline and exporter.
    pub(crate) upstreams: Vec<UpstreamConfig>,
    /// What each upstream stands for, in the same order.
    pub(crate) about: Vec<About>,
    /// The byte budget.
    pub(crate) bound: Bound,
    /// How long wake-ups may gather, if it is said.
    pub(crate) gather_pause: Option<std::time::Duration>,
    /// What the user probably expects and does not get, a line each.
    pub(crate) notices: Vec<String>,
}

/// What an upstream stands for in the configuration: the labels of its metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct About {
    /// The exporter's id.
    pub(crate) exporter: String,
    /// The batch processor whose sizes and times its batches have.
    pub(crate) processor: Option<String>,
    /// The bound that the user has set on its queue.
    pub(crate) queue: QueueLimit,
    /// Whether compressed requests are forwarded to it unopened.
    pub(crate) unopened: bool,
    /// Its share of the byte budget.
    pub(crate) held_bytes_max: usize,
}

/// What is wrong with a configuration as a whole, a line each, besides what reading it has shown.
pub(crate) fn check(config: &Config) -> Result<(), Vec<String>> {
    let mut loops = Vec::new();
    for exporter in &config.exporters {
        for endpoint in upstreams_of(exporter) {
            for receiver in &config.receivers {
                if receiver.listeners().any(|listener| loops_back(&endpoint, listener.address)) {
                    loops.push(format!(
                        "exporters.{}.endpoint: {endpoint} is where the receiver {} of this relayd listens: \
                         spans would go round for ever; name the upstream",
                        exporter.id, receiver.id
                    ));
                }
            }
        }
    }
    if loops.is_empty() { Ok(()) } else { Err(loops) }
}

/// Where an exporter connects to, each address once.
fn upstreams_of(exporter: &Exporter) -> Vec<Address> {
    match &exporter.kind {
        ExporterKind::Otlp(otlp) => load_balancing::addresses_of(&otlp.endpoint),
        ExporterKind::OtlpHttp(otlp) => {
            let mut addresses: Vec<Address> =
                otlp.urls().map(|url| Address::Tcp(url.address.clone())).collect();
            addresses.dedup();
            addresses
        }
        ExporterKind::LoadBalancing(tier) => load_balancing::addresses(&tier.members),
        ExporterKind::Debug(_) | ExporterKind::Printer => Vec::new(),
    }
}

/// Whether sending to `endpoint` reaches the listener of this process. Only what is certain without asking a name
/// server: a cluster address may well be assigned to this host and lead elsewhere (kube-proxy's IPVS mode).
fn loops_back(endpoint: &Address, listener: &Address) -> bool {
    let (Address::Tcp(endpoint), Address::Tcp(listener)) = (endpoint, listener) else {
        return endpoint == listener;
    };
    if endpoint.port != listener.port || listener.port == 0 {
        return false;
    }
    if endpoint.host == listener.host {
        return true;
    }
    let (Some(to), Some(on)) = (literal(&endpoint.host), literal(&listener.host)) else { return false };
    // Connecting to the unspecified address reaches this host's loopback.
    let to_this_host = to.is_loopback() || to.is_unspecified();
    to_this_host && (on.is_loopback() || on.is_unspecified())
}

fn literal(host: &str) -> Option<IpAddr> {
    match host {
        "" => Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        "localhost" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        _ => host.parse().ok(),
    }
}

/// Makes the plan. `sink` makes what stands behind an exporter that is no upstream.
///
/// # Errors
/// A line for each receiver whose address cannot be resolved.
pub(crate) fn make(
    config: &Config,
    mut sink: impl FnMut(&Exporter) -> Arc<dyn BatchSink>,
) -> Result<Plan, Vec<String>> {
    let mut plan = Plan {
        receivers: Vec::new(),
        upstreams: Vec::new(),
        about: Vec::new(),
        bound: Bound::of(config),
        gather_pause: config.gather_pause,
        notices: Vec::new(),
    };
    let exporters = pairs(config).map(|(_, exporter)| &exporter.id).collect::<HashSet<_>>().len();
    for (pipeline, exporter) in pairs(config) {
        let name = upstream_name(config, pipeline, exporter);
        let mut upstream = match &exporter.kind {
            ExporterKind::Otlp(otlp) => {
                otlp_upstream(name, otlp, pipeline.batch.as_ref(), &mut plan.notices)?
            }
            ExporterKind::OtlpHttp(otlp) => {
                let (signal, processor) = (pipeline.signal, pipeline.batch.as_ref());
                otlp_http::upstream(name, signal, otlp, processor, &mut plan.notices)?
            }
            ExporterKind::LoadBalancing(tier) => {
                let upstream = otlp_upstream(name, &tier.otlp, pipeline.batch.as_ref(), &mut plan.notices)?;
                load_balancing::shared_out(upstream, tier)
            }
            ExporterKind::Debug(_) | ExporterKind::Printer => {
                let sink = UpstreamConfig::sink(name, sink(exporter));
                batched(sink, pipeline.batch.as_ref())
            }
        };
        upstream.signal = pipeline.signal;
        upstream.budget_group.clone_from(&exporter.id);
        plan.about.push(About {
            exporter: exporter.id.clone(),
            processor: pipeline
                .batch
                .as_ref()
                .filter(|_| !exporter.kind.has_own_batches())
                .map(|batch| batch.id.clone()),
            queue: upstream.queue,
            unopened: upstream.passthrough != Passthrough::Off,
            // Every exporter gets an equal share (RelayBuilder::held_bytes_max).
            held_bytes_max: plan.bound.bytes / exporters.max(1),
        });
        plan.upstreams.push(upstream);
    }
    plan.receivers = receivers::make(config, &mut plan.notices)?;
    Ok(plan)
}

/// Every pair of a pipeline and one of its exporters, in the order of the file.
fn pairs(config: &Config) -> impl Iterator<Item = (&Pipeline, &Exporter)> {
    config.pipelines.iter().flat_map(|pipeline| {
        let exporters = pipeline.exporters.iter().filter_map(|index| config.exporters.get(*index));
        exporters.map(move |exporter| (pipeline, exporter))
    })
}

/// The exporter's id; an exporter of several pipelines has an upstream in each, `id@pipeline`.
fn upstream_name(config: &Config, pipeline: &Pipeline, exporter: &Exporter) -> String {
    match pairs(config).filter(|(_, other)| other.id == exporter.id).count() {
        0 | 1 => exporter.id.clone(),
        _ => format!("{}@{}", exporter.id, pipeline.name),
    }
}

fn otlp_upstream(
    name: String,
    otlp: &OtlpExporter,
    processor: Option<&Batch>,
    notices: &mut Vec<String>,
) -> Result<UpstreamConfig, Vec<String>> {
    if otlp.keepalive.is_some() {
        notices.push(format!(
            "exporters.{name}: no HTTP/2 pings are sent for keepalive; TCP finds a dead upstream within {} s",
            core_limits::UPSTREAM_SILENCE_MAX.as_secs()
        ));
    }
    let endpoint = tls::endpoint(&otlp.endpoint);
    let headers = otlp.headers.iter().map(|(name, value)| (name.clone(), value.reveal().to_owned()));
    let mut grpc = GrpcConfig::new(endpoint);
    grpc.timeout = otlp.timeout.unwrap_or(CALL_TIMEOUT_NONE);
    grpc.headers = headers.collect();
    grpc.compression = match otlp.compression {
        config::Compression::None => Compression::None,
        config::Compression::Gzip => Compression::GZIP,
        config::Compression::Zstd => Compression::ZSTD,
        // gRPC's snappy is the framed one.
        config::Compression::Snappy => Compression::SnappyFramed,
        other => return Err(vec![format!("exporters.{name}.compression: gRPC has no {other:?}")]),
    };
    grpc.tls = otlp.tls.as_ref().map(|tls| Box::new(tls::client(tls)));
    grpc.auth = otlp.auth.as_ref().map(|auth| Box::new(auth::client_auth(auth)));
    grpc.authority.clone_from(&otlp.authority);
    grpc.user_agent.clone_from(&otlp.user_agent);
    grpc.balancer = otlp.balancer;
    grpc.retry = otlp.retry;
    let mut upstream = UpstreamConfig::grpc(name, grpc.endpoint.clone());
    upstream.destination = Destination::Grpc(Box::new(grpc));
    upstream.passthrough = passthrough(otlp.passthrough);
    Ok(queued(upstream, otlp.queue.as_ref(), processor, notices))
}

fn passthrough(wanted: config::Passthrough) -> Passthrough {
    match wanted {
        config::Passthrough::Off => Passthrough::Off,
        config::Passthrough::Alone => Passthrough::Alone,
        config::Passthrough::Merged => Passthrough::Merged,
    }
}

fn queued(
    mut upstream: UpstreamConfig,
    queue: Option<&SendingQueue>,
    processor: Option<&Batch>,
    notices: &mut Vec<String>,
) -> UpstreamConfig {
    let Some(queue) = queue else {
        // Without a queue the Collector answers when the upstream has.
        upstream.wait_for_result = true;
        return batched(upstream, processor);
    };
    upstream.calls_max = queue.num_consumers;
    upstream.wait_for_result = queue.wait_for_result;
    upstream.spill = queue.spill.as_ref().map(spill::config);
    upstream.on_full = if queue.block_on_overflow { OnFull::Block } else { OnFull::Refuse };
    let merges_before = queue.batch.is_none() && processor.is_some();
    upstream.queue = queue_limit(queue, merges_before, &upstream.name, notices);
    match &queue.batch {
        Some(batch) => queue_batched(upstream, batch, notices),
        None => batched(upstream, processor),
    }
}

/// The Collector's default, 1000 requests, bounds a queue whose memory it cannot see. relayd counts the bytes that it
/// holds and bounds those, so the default is not applied; what the user sets is.
fn queue_limit(
    queue: &SendingQueue,
    merges_before: bool,
    name: &str,
    notices: &mut Vec<String>,
) -> QueueLimit {
    let default = SendingQueue::default();
    if (queue.queue_size, queue.sizer) == (default.queue_size, default.sizer) {
        return QueueLimit::Unbounded;
    }
    let size = usize::try_from(queue.queue_size).unwrap_or(usize::MAX);
    match queue.sizer {
        // Behind a batch processor a request of the queue is a whole batch: as a bound on requests as they are
        // received the same number would be thousands of times smaller.
        Sizer::Requests if merges_before => {
            notices.push(format!(
                "exporters.{name}.sending_queue.queue_size: counts batches behind a batch processor and is not \
                 applied; what waits is bounded in bytes (memory_limiter, or sizer: bytes)"
            ));
            QueueLimit::Unbounded
        }
        Sizer::Requests => QueueLimit::Requests(size),
        Sizer::Items => QueueLimit::Items(size),
        Sizer::Bytes => QueueLimit::Bytes(size),
    }
}

/// As a `batch` processor says; without one a batch goes as soon as a call may start, and what waits is merged.
fn batched(mut upstream: UpstreamConfig, processor: Option<&Batch>) -> UpstreamConfig {
    if let Some(batch) = processor {
        upstream.linger = batch.timeout;
        // 0 sends when data comes: one item is enough.
        upstream.batch.items_target = batch.send_batch_size.max(1);
        upstream.batch.items_max = batch.send_batch_max_size.unwrap_or(u64::MAX);
    }
    upstream
}

/// As `sending_queue.batch` says.
fn queue_batched(
    mut upstream: UpstreamConfig,
    batch: &QueueBatch,
    notices: &mut Vec<String>,
) -> UpstreamConfig {
    upstream.linger = batch.flush_timeout;
    if batch.sizer == Sizer::Bytes {
        let max = batch.max_size.and_then(|max| usize::try_from(max).ok()).unwrap_or(usize::MAX);
        upstream.batch.bytes_max = upstream.batch.bytes_max.min(max);
        if batch.min_size > 0 {
            notices.push(format!(
                "exporters.{}.sending_queue.batch.min_size: in bytes it is not applied; a batch goes after \
                 flush_timeout, or when it has {} bytes",
                upstream.name, upstream.batch.bytes_max
            ));
        }
    } else {
        upstream.batch.items_target = batch.min_size.max(1);
        upstream.batch.items_max = batch.max_size.unwrap_or(u64::MAX);
    }
    upstream
}

#[cfg(test)]
mod tests;
