//! `testkit load`: closed-loop or fixed-rate load over OTLP/gRPC or OTLP/HTTP, and the latency it saw.
//!
//! Must never build a payload, compress, copy a payload or lock while it measures: it stands beside the sink on one core, and what is
//! measured stands on the other.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::process::{cpu_seconds, raise_open_files};
use driver::Driver;
use pace::Pace;
use plan::Plan;

pub use protocol::Protocol;

mod connection;
mod driver;
mod grpc;
mod http;
mod latency;
mod pace;
mod plan;
mod protocol;
mod seen;
mod session;

/// Files that are open beside the connections.
const OTHER_FILES: u64 = 16;

/// Arguments of `testkit load`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The receiver.
    #[arg(long, default_value = "127.0.0.1:4317")]
    pub endpoint: String,
    /// How requests are sent; HTTP is HTTP/1.1 over connections that stay open.
    #[arg(long, value_enum, default_value_t = Protocol::Grpc)]
    pub protocol: Protocol,
    /// Connections. Sending starts when all are open.
    #[arg(long, default_value_t = 4)]
    pub connections: usize,
    /// Calls in flight on each connection; over HTTP more than one are pipelined.
    #[arg(long, default_value_t = 8)]
    pub in_flight: usize,
    /// Spans in each request: generated, kube-like, about 475 bytes each.
    #[arg(long, default_value_t = 100, conflicts_with_all = ["recorded", "recorded_source"])]
    pub spans_per_request: usize,
    /// Bytes of each generated span, about (at least 100).
    #[arg(long, conflicts_with_all = ["recorded", "recorded_source"])]
    pub span_bytes: Option<usize>,
    /// Send the built-in recordings, cut to about what one source sends, in turn.
    #[arg(long)]
    pub recorded: bool,
    /// Send one of the built-in recordings only.
    #[arg(long, value_parser = ["containerd", "crio", "kube-apiserver-etcd"])]
    pub recorded_source: Option<String>,
    /// How long to send.
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
    /// Requests per second over all connections, in turn; without it, each call follows the last (closed loop).
    #[arg(long)]
    pub rate: Option<f64>,
    /// Compress (once, beforehand) with gzip.
    #[arg(long)]
    pub gzip: bool,
    /// Seconds that a call may take.
    #[arg(long, default_value_t = 10.0)]
    pub timeout_seconds: f64,
}

/// Connects, sends for the time asked for, waits for the calls in flight, and gives the JSON object and whether any request was
/// accepted. `seconds` and `cpu_seconds` (of this process) are of the sending, `connect_seconds` is what came before it.
///
/// # Errors
/// An endpoint that is no address, and more connections than files may be open. A receiver that is not there is in the counts.
pub fn run(args: &Args) -> io::Result<(Value, bool)> {
    let authority = args.endpoint.strip_prefix("http://").unwrap_or(&args.endpoint).trim_end_matches('/');
    let files_max = raise_open_files().unwrap_or(u64::MAX);
    if args.connections as u64 + OTHER_FILES > files_max {
        let problem =
            format!("{} connections do not fit {files_max} open files (ulimit -n)", args.connections);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    let plan = Plan::new(args, authority)?;
    let message_bytes = plan.body_bytes();
    let mut driver = Driver::new(plan, addresses(authority)?, args.connections)?;
    let connecting = Instant::now();
    driver.open_all()?;
    let connect_seconds = connecting.elapsed().as_secs_f64();
    let (started, cpu_before) = (Instant::now(), cpu_seconds());
    driver.measure(Pace::new(started, Duration::from_secs_f64(args.seconds), args.rate))?;
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds() - cpu_before);
    driver.end()?;
    let seen = &driver.seen;
    let at = |share| seen.latencies.percentile(share);
    let object = json!({
        "requests": seen.requests, "spans": seen.spans, "errors": seen.errors, "seconds": seconds,
        "requests_per_second": seen.requests as f64 / seconds, "spans_per_second": seen.spans as f64 / seconds,
        "message_bytes": message_bytes, "connections_opened": seen.connections_opened,
        "connect_seconds": connect_seconds, "cpu_seconds": cpu,
        "p50_us": at(0.5), "p99_us": at(0.99), "p999_us": at(0.999), "max_us": seen.latencies.max(),
    });
    Ok((object, seen.requests > 0))
}

/// All addresses of `host:port`, IPv4 first: that is what receivers on a node listen on.
#[expect(clippy::disallowed_methods, reason = "a tool, never a static binary")]
fn addresses(authority: &str) -> io::Result<Vec<SocketAddr>> {
    let mut addresses: Vec<_> = authority.to_socket_addrs()?.collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("{authority} has no address")));
    }
    Ok(addresses)
}
