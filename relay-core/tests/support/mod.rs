//! What the tests of a whole relay share: relays between testkit's senders and its scripted collector, on loopback.
#![allow(dead_code, reason = "each test binary uses its part")]

pub(crate) mod certificates;
pub(crate) mod frames;
pub(crate) mod http1;
pub(crate) mod http_out;
pub(crate) mod leaving_peer;
pub(crate) mod pointers;
pub(crate) mod poison;
pub(crate) mod quiet_peer;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use relay_core::batch::LedgerCounts;
use relay_core::config::{Destination, ReceiverConfig, UpstreamConfig};
use relay_core::stats::Stats;
use relay_core::upstream::{Endpoint, RetryPolicy};
use relay_core::{Relay, RelayBuilder, RelayHandle};
use testkit::generate::kube_like_request;
use testkit::oracle::{self, ExportTraceServiceRequest};
use testkit::raw::{RawRequest, RawResponse, exchange, grpc_message};

/// Time within which loopback does anything.
pub(crate) const SOON: Duration = Duration::from_secs(10);

pub(crate) fn loopback() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

/// An upstream at `addr` that retries fast.
pub(crate) fn upstream(addr: SocketAddr) -> UpstreamConfig {
    let mut config = UpstreamConfig::grpc("otlp", Endpoint::parse(&addr.to_string()).unwrap());
    if let Destination::Grpc(grpc) = &mut config.destination {
        grpc.retry = RetryPolicy {
            initial_interval: Duration::from_millis(20),
            max_interval: Duration::from_millis(100),
            ..RetryPolicy::default()
        };
    }
    config
}

/// A relay with one receiver on loopback.
pub(crate) fn builder(upstream: UpstreamConfig) -> RelayBuilder {
    Relay::builder().receiver(ReceiverConfig::new("otlp", loopback())).upstream(upstream).cores(2)
}

pub(crate) fn endpoint(relay: &RelayHandle) -> SocketAddr {
    relay.listening_on()[0].tcp().unwrap()
}

/// Drains on a runtime of its own, for tests without one.
pub(crate) fn drain(relay: RelayHandle, deadline: Duration) -> Stats {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(relay.drain(deadline))
}

/// Asserts that the books of every upstream add up with nothing held, and returns those of the first.
pub(crate) fn settled(stats: &Stats) -> LedgerCounts {
    for upstream in &stats.upstreams {
        let items = upstream.items;
        assert_eq!(items.enqueued + items.recovered, items.delivered + items.dropped_total(), "{upstream:?}");
        assert_eq!((items.held(), items.on_disk), (0, 0), "{upstream:?}");
        assert_eq!(upstream.held_bytes, 0, "{upstream:?}");
    }
    assert_eq!(stats.held_bytes, 0);
    stats.upstreams[0].items
}

pub(crate) fn request(spans: usize, seed: u64) -> ExportTraceServiceRequest {
    kube_like_request(spans, seed)
}

pub(crate) fn encoded(spans: usize, seed: u64) -> Bytes {
    Bytes::from(oracle::encode(&request(spans, seed)))
}

/// Sends messages side by side on one connection.
pub(crate) fn send_all(addr: SocketAddr, messages: impl IntoIterator<Item = Bytes>) -> Vec<RawResponse> {
    let calls =
        messages.into_iter().map(|message| RawRequest::export(vec![grpc_message(&message)])).collect();
    exchange(addr, calls).into_iter().map(Result::unwrap).collect()
}

pub(crate) fn assert_ok(responses: &[RawResponse]) {
    for response in responses {
        assert_eq!((response.status, response.grpc_status()), (200, Some(0)), "{response:?}");
        assert_eq!(&response.body[..], [0; 5], "full success is an empty message");
    }
}

/// How `config` tries again.
pub(crate) fn retry(config: &mut UpstreamConfig) -> &mut RetryPolicy {
    match &mut config.destination {
        Destination::Grpc(grpc) => &mut grpc.retry,
        Destination::Http(http) => &mut http.retry,
        Destination::Keyed(_) | Destination::Sink(_) => panic!("it has none"),
    }
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
