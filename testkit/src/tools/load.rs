//! `testkit load`: closed-loop or fixed-rate load over OTLP/gRPC, and the latency it saw.
//!
//! Must never build a payload, compress or lock while it measures.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

use super::client::{Connection, call, head};
use crate::generate::kube_like_bytes;
use crate::payloads::recorded_resliced;
use crate::raw::{grpc_message, grpc_message_compressed, gzip};
use crate::wire::count_spans;

/// Pause before a lost connection is opened again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(50);

/// Arguments of `testkit load`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The receiver.
    #[arg(long, default_value = "127.0.0.1:4317")]
    pub endpoint: String,
    /// Connections.
    #[arg(long, default_value_t = 4)]
    pub connections: usize,
    /// Calls in flight on each connection.
    #[arg(long, default_value_t = 8)]
    pub in_flight: usize,
    /// Spans in each request: generated, kube-like, about 475 bytes each.
    #[arg(long, default_value_t = 100, conflicts_with = "recorded")]
    pub spans_per_request: usize,
    /// Send the built-in recordings, cut to about what one source sends, in turn.
    #[arg(long)]
    pub recorded: bool,
    /// How long to send.
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
    /// Requests per second over all connections; without it, each call follows the last (closed loop).
    #[arg(long)]
    pub rate: Option<f64>,
    /// Compress (once, beforehand) with gzip.
    #[arg(long)]
    pub gzip: bool,
    /// Seconds that a call may take.
    #[arg(long, default_value_t = 10.0)]
    pub timeout_seconds: f64,
}

/// A framed message and its spans.
#[derive(Debug, Clone)]
struct Payload {
    framed: Bytes,
    spans: u64,
}

/// What every worker reads; only the counter changes.
#[derive(Debug)]
struct Plan {
    head: Request<()>,
    payloads: Vec<Payload>,
    started: Instant,
    deadline: Instant,
    rate: Option<f64>,
    timeout: Duration,
    /// Numbers the calls: which payload, and at a fixed rate when.
    next: AtomicU64,
}

/// What a worker saw.
#[derive(Debug, Default)]
struct Seen {
    requests: u64,
    spans: u64,
    errors: BTreeMap<String, u64>,
    latencies_us: Vec<u32>,
    connections: u64,
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.spans += other.spans;
        self.connections += other.connections;
        self.latencies_us.extend(other.latencies_us);
        for (code, count) in other.errors {
            *self.errors.entry(code).or_default() += count;
        }
    }

    fn error(&mut self, code: String) {
        *self.errors.entry(code).or_default() += 1;
    }
}

/// Sends for the time asked for, waits for the calls in flight, and gives the JSON object and whether any request was accepted.
///
/// # Errors
/// None so far; a receiver that is not there is in the counts.
pub async fn run(args: &Args) -> io::Result<(Value, bool)> {
    let payloads = payloads(args);
    let payload_bytes =
        payloads.iter().map(|payload| payload.framed.len()).sum::<usize>() / payloads.len().max(1);
    let timeout = Duration::from_secs_f64(args.timeout_seconds);
    let started = Instant::now();
    let plan = Arc::new(Plan {
        head: head(&args.endpoint, timeout, args.gzip),
        payloads,
        started,
        deadline: started + Duration::from_secs_f64(args.seconds),
        rate: args.rate,
        timeout,
        next: AtomicU64::new(0),
    });
    let groups: Vec<_> = (0..args.connections)
        .map(|_| tokio::spawn(keep_connected(args.endpoint.clone(), Arc::clone(&plan), args.in_flight)))
        .collect();
    let mut seen = Seen::default();
    for group in groups {
        seen.add(group.await.map_err(io::Error::other)?);
    }
    let seconds = started.elapsed().as_secs_f64();
    seen.latencies_us.sort_unstable();
    let at = |share: f64| percentile(&seen.latencies_us, share);
    let object = json!({
        "requests": seen.requests, "spans": seen.spans, "errors": seen.errors, "seconds": seconds,
        "requests_per_second": seen.requests as f64 / seconds, "spans_per_second": seen.spans as f64 / seconds,
        "message_bytes": payload_bytes, "connections_opened": seen.connections,
        "p50_us": at(0.5), "p99_us": at(0.99), "p999_us": at(0.999), "max_us": at(1.0),
    });
    Ok((object, seen.requests > 0))
}

fn payloads(args: &Args) -> Vec<Payload> {
    let messages = if args.recorded {
        recorded_resliced().into_iter().map(|one| one.bytes).collect()
    } else {
        vec![kube_like_bytes(args.spans_per_request, 1)]
    };
    let frame = |message: Bytes| Payload {
        spans: count_spans(&message).expect("our own requests are well-formed"),
        framed: if args.gzip { grpc_message_compressed(&gzip(&message)) } else { grpc_message(&message) },
    };
    messages.into_iter().map(frame).collect()
}

/// The value below or at which `share` of the sorted `values` lie (nearest rank); 0 for none.
fn percentile(values: &[u32], share: f64) -> u32 {
    let rank = (values.len() as f64 * share).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

/// One connection's workers; a lost connection is opened again until the deadline.
async fn keep_connected(endpoint: String, plan: Arc<Plan>, in_flight: usize) -> Seen {
    let mut seen = Seen::default();
    while Instant::now() < plan.deadline {
        match Connection::open(&endpoint).await {
            Ok(connection) => {
                seen.connections += 1;
                let send = &connection.send;
                let workers: Vec<_> =
                    (0..in_flight).map(|_| tokio::spawn(work(send.clone(), Arc::clone(&plan)))).collect();
                for worker in workers {
                    seen.add(worker.await.unwrap_or_default());
                }
                connection.close().await;
            }
            Err(_) => seen.error("connect".to_owned()),
        }
        if Instant::now() < plan.deadline {
            tokio::time::sleep(RECONNECT_PAUSE).await;
        }
    }
    seen
}

/// Calls until the deadline or the connection's end.
async fn work(send: h2::client::SendRequest<Bytes>, plan: Arc<Plan>) -> Seen {
    let mut seen = Seen::default();
    while let Some((number, start)) = next_start(&plan).await {
        let payload = &plan.payloads[number as usize % plan.payloads.len()];
        let called = call(&send, plan.head.clone(), payload.framed.clone());
        match tokio::time::timeout(plan.timeout, called).await {
            Ok(Ok(answer)) if answer.code == 0 => {
                seen.requests += 1;
                seen.spans += payload.spans;
                let latency = start.elapsed().as_micros();
                seen.latencies_us.push(u32::try_from(latency).unwrap_or(u32::MAX));
            }
            Ok(Ok(answer)) => seen.error(answer.code.to_string()),
            Ok(Err(error)) if error.is_reset() => seen.error("reset".to_owned()),
            Ok(Err(_)) => {
                seen.error("connection".to_owned());
                break;
            }
            Err(_) => seen.error("timeout".to_owned()),
        }
    }
    seen
}

/// The number of the next call and the moment its latency counts from, after waiting for its turn. At a fixed rate a call that could not
/// start on time counts from when it was due; one that waited for the timer counts from its real start, so that the timer's
/// millisecond does not show.
async fn next_start(plan: &Plan) -> Option<(u64, Instant)> {
    if Instant::now() >= plan.deadline {
        return None;
    }
    let number = plan.next.fetch_add(1, Ordering::Relaxed);
    let Some(rate) = plan.rate else { return Some((number, Instant::now())) };
    let due = plan.started + Duration::from_secs_f64(number as f64 / rate);
    if due >= plan.deadline {
        return None;
    }
    let now = Instant::now();
    if due <= now {
        return Some((number, due));
    }
    tokio::time::sleep_until(due.into()).await;
    Some((number, Instant::now()))
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn percentiles_are_nearest_rank() {
        let values: Vec<u32> = (1..=100).collect();
        let at = |share| percentile(&values, share);
        assert_eq!((at(0.5), at(0.99), at(0.999), at(1.0)), (50, 99, 100, 100));
        assert_eq!((percentile(&[], 0.5), percentile(&[7], 0.999)), (0, 7));
    }
}
