//! The OTLP specification's demands on OTLP/gRPC, each as a test named by its number in our list: `g` for
//! what a receiver must do, `x` for an exporter. Not here, because later parts bring them: G02 (the daemon's
//! default port), G09, G10 and G14 (the relay never rejects a part of a request itself), X02 (an upstream
//! limit of its own), X10, X11, X15, X16, X24 (OTLP/HTTP), X17 to X19 (forwarding.rs, chaos.rs), X22, X23,
//! X26 (configuration of the daemon).

#![cfg(test)]

mod support;

use std::time::Duration;

use relay_core::batch::DropReason;
use relay_core::config::{Destination, QueueLimit, ReceiverConfig, UpstreamConfig};
use relay_core::upstream::RetryPolicy;
use relay_core::{Relay, RelayHandle};
use support::{
    SOON, assert_ok, builder, drain, encoded, endpoint, loopback, request, send_all, settled, upstream,
};
use testkit::collector::{Collector, Options, Reply, Script};
use testkit::permute::encode_permuted;
use testkit::proxy::Proxy;
use testkit::raw::{RawRequest, RawResponse, exchange, grpc_message, grpc_message_compressed, gzip};
use testkit::sender::{SendOptions, send_blocking};
use tonic::Code;

fn relay_to(collector: &Collector) -> RelayHandle {
    builder(upstream(collector.addr())).cores(1).start().unwrap()
}

fn one(relay: &RelayHandle, request: RawRequest) -> RawResponse {
    exchange(endpoint(relay), vec![request]).remove(0).unwrap()
}

fn export(message: &[u8]) -> RawRequest {
    RawRequest::export(vec![grpc_message(message)])
}

/// Unary `Export` of the trace service; other services are not there.
#[test]
fn g01_export_is_served_and_nothing_else() {
    let collector = Collector::start(Script::ok());
    let relay = relay_to(&collector);
    assert_ok(&[one(&relay, export(&encoded(1, 1)))]);
    for service in
        ["metrics.v1.MetricsService", "logs.v1.LogsService", "profiles.v1development.ProfilesService"]
    {
        let path = format!("/opentelemetry.proto.collector.{service}/Export");
        assert_eq!(one(&relay, export(&encoded(1, 2)).with_path(&path)).grpc_status(), Some(12));
    }
    assert_eq!(settled(&drain(relay, SOON)).delivered, 1);
}

#[test]
fn g03_none_and_gzip_are_supported() {
    let collector = Collector::start(Script::ok());
    let relay = relay_to(&collector);
    for (seed, gzip) in [(1, false), (2, true)] {
        let options = SendOptions { gzip, timeout: Some(SOON) };
        send_blocking(&endpoint(&relay).to_string(), request(5, seed), options).unwrap();
    }
    settled(&drain(relay, SOON));
    assert_eq!(collector.span_count(), 10);
}

/// A small message that inflates over the limit: refused for good, without `RetryInfo`.
#[test]
fn g04_g06_the_limit_holds_after_decompression_and_is_final() {
    let collector = Collector::start(Script::ok());
    let relay = relay_to(&collector);
    let packed = gzip(&vec![0; (64 << 20) + 1]);
    let bomb =
        RawRequest::export(vec![grpc_message_compressed(&packed)]).with_header("grpc-encoding", "gzip");
    let response = one(&relay, bomb);
    assert_eq!(response.grpc_status(), Some(8));
    assert_eq!(response.field("grpc-status-details-bin"), None);
    settled(&drain(relay, SOON));
}

/// 10 MiB are taken by default; the limit is configurable and exact.
#[test]
fn g05_the_limit_is_large_and_configurable() {
    let collector = Collector::start(Script::ok());
    let relay = relay_to(&collector);
    let large = encoded(25_000, 1);
    assert!(large.len() > 10 << 20);
    assert_ok(&send_all(endpoint(&relay), [large]));
    assert_eq!(settled(&drain(relay, SOON)).delivered, 25_000);

    let message = encoded(10, 2);
    for (bytes_max, status) in [(message.len(), 0), (message.len() - 1, 8)] {
        let receiver =
            ReceiverConfig { message_bytes_max: bytes_max, ..ReceiverConfig::new("otlp", loopback()) };
        let relay = Relay::builder().receiver(receiver).upstream(upstream(collector.addr())).cores(1);
        let relay = relay.start().unwrap();
        assert_eq!(one(&relay, export(&message)).grpc_status(), Some(status));
        settled(&drain(relay, SOON));
    }
}

/// Success is an empty message, byte for byte; an empty request is a success (and, X20, is not forwarded).
#[test]
fn g07_g08_x20_success_is_empty_and_so_may_be_a_request() {
    let collector = Collector::start(Script::ok());
    let relay = relay_to(&collector);
    // No bytes; ResourceSpans without anything; with a resource and no spans; with ScopeSpans and no spans.
    for empty in [&b""[..], b"\x0a\x00", b"\x0a\x02\x0a\x00", b"\x0a\x02\x12\x00", b"\x0a\x00\x0a\x00"] {
        assert_ok(&[one(&relay, export(empty))]);
    }
    let stats = drain(relay, SOON);
    assert_eq!((settled(&stats).enqueued, stats.receivers[0].accepted_requests()), (0, 5));
    assert_eq!(collector.call_count(), 0);
}

/// Overload, of the queue and of memory, is `UNAVAILABLE` with a `RetryInfo` that is long enough to recover
/// and far shorter than the 10 s after which senders give up.
#[test]
fn g11_g13_overload_is_unavailable_with_retry_info() {
    let mut collector = Collector::start(Script::ok());
    collector.stop();
    let queue = UpstreamConfig { queue: QueueLimit::Requests(1), ..upstream(collector.addr()) };
    let full_queue = builder(queue).cores(1).start().unwrap();
    let full_memory = builder(upstream(collector.addr())).held_bytes_max(10_000).cores(1).start().unwrap();
    for relay in [full_queue, full_memory] {
        let responses = send_all(endpoint(&relay), (0..30).map(|seed| encoded(2, seed)));
        let refused: Vec<_> = responses.iter().filter(|response| response.grpc_status() != Some(0)).collect();
        assert!(!refused.is_empty() && refused.len() < 30, "{} of 30", refused.len());
        for response in refused {
            assert_eq!(response.grpc_status(), Some(14), "{response:?}");
            let delay = response.retry_delay().unwrap();
            assert!(delay >= Duration::from_millis(500) && delay <= Duration::from_secs(5));
        }
        settled(&drain(relay, Duration::from_millis(100)));
    }
}

#[test]
fn g12_bad_data_is_an_invalid_argument() {
    let collector = Collector::start(Script::ok());
    let relay = relay_to(&collector);
    let response = one(&relay, export(b"\x0a\xff\xff garbage"));
    assert_eq!((response.grpc_status(), response.retry_delay()), (Some(3), None));
    assert!(response.grpc_message().contains("byte"), "says where: {}", response.grpc_message());
    settled(&drain(relay, SOON));
    assert_eq!(collector.call_count(), 0);
}

#[test]
fn g15_a_hundred_calls_run_side_by_side() {
    let collector = Collector::start(Script::always(Reply::ok_after(Duration::from_millis(300))));
    let relay =
        builder(UpstreamConfig { wait_for_result: true, ..upstream(collector.addr()) }).start().unwrap();
    // Every answer takes 300 ms: one after the other they would take half a minute.
    let started = tokio::time::Instant::now();
    assert_ok(&send_all(endpoint(&relay), (0..100).map(|seed| encoded(1, seed))));
    assert!(started.elapsed() < SOON);
    assert_eq!(settled(&drain(relay, SOON)).delivered, 100);
}

/// Unknown fields of every message, fields in any order: forwarded byte for byte.
#[test]
fn g16_unknown_fields_survive() {
    let collector = Collector::start(Script::ok());
    let relay = relay_to(&collector);
    let messages: Vec<Vec<u8>> = (0..10).map(|seed| encode_permuted(&request(4, seed), seed, true)).collect();
    for (sent, message) in messages.iter().enumerate() {
        assert_ok(&[one(&relay, export(message))]);
        assert_eq!(collector.wait_for_spans(4 * (sent + 1), SOON), 4 * (sent + 1));
    }
    settled(&drain(relay, SOON));
    let seen: Vec<u8> = collector.calls().iter().flat_map(|call| call.raw.to_vec()).collect();
    assert!(seen == messages.concat(), "the bytes differ");
}

/// Several requests in flight over one connection, and not more than configured.
#[test]
fn x01_x14_calls_run_side_by_side_on_a_connection_that_is_kept() {
    let collector = Collector::start(Script::always(Reply::ok_after(Duration::from_millis(300))));
    let mut config = upstream(collector.addr());
    config.batch.items_target = 1;
    let relay = builder(config).cores(1).start().unwrap();
    let started = tokio::time::Instant::now();
    assert_ok(&send_all(endpoint(&relay), (0..50).map(|seed| encoded(1, seed))));
    let mut calls_max = 0;
    while collector.span_count() < 50 && started.elapsed() < SOON {
        calls_max = calls_max.max(relay.stats().upstreams[0].calls);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(calls_max, 10, "the default of num_consumers");
    let stats = drain(relay, SOON);
    assert_eq!((settled(&stats).delivered, stats.upstreams[0].connects), (50, 1));
    let peers: std::collections::BTreeSet<_> = collector.calls().iter().map(|call| call.peer).collect();
    assert_eq!((peers.len(), collector.call_count()), (1, 50));
}

/// An answer over the limit is read no further, and the request is not sent again.
#[test]
fn x03_a_huge_answer_is_not_retried() {
    let huge = Reply::PartialSuccess { rejected_spans: 0, message: "x".repeat(5 << 20) };
    let collector = Collector::start(Script::always(huge));
    let relay = relay_to(&collector);
    assert_ok(&send_all(endpoint(&relay), [encoded(3, 1)]));
    assert_eq!(collector.wait_for_calls(1, SOON), 1);
    let items = settled(&drain(relay, SOON));
    assert_eq!((items.enqueued, collector.call_count()), (3, 1));
}

/// The table of the 16 codes: what is retried is delivered by the second call, what is not is dropped after
/// one and counted. One span: of several that are refused together each has another try by itself, in another request.
#[test]
fn x04_x05_x08_the_retry_table() {
    let retried = [
        Code::Cancelled,
        Code::DeadlineExceeded,
        Code::Aborted,
        Code::OutOfRange,
        Code::Unavailable,
        Code::DataLoss,
    ];
    for number in 1..=16 {
        let code = Code::from_i32(number);
        let collector = Collector::start(Script::sequence(vec![Reply::status(code, "no")], Reply::Ok));
        let relay = relay_to(&collector);
        assert_ok(&send_all(endpoint(&relay), [encoded(1, 1)]));
        assert_eq!(collector.wait_for_calls(1, SOON), 1);
        let items = settled(&drain(relay, SOON));
        let expected = if retried.contains(&code) { (1, 0, 2) } else { (0, 1, 1) };
        let reason =
            if code == Code::Unimplemented { DropReason::Unimplemented } else { DropReason::Rejected };
        let found = (items.delivered, items.dropped_for(reason), collector.call_count());
        assert_eq!(found, expected, "{code:?}");
    }
    let throttled = Reply::Status {
        code: Code::ResourceExhausted,
        message: "slow down".into(),
        retry_after: Some(Duration::from_millis(50)),
    };
    let collector = Collector::start(Script::sequence(vec![throttled], Reply::Ok));
    let relay = relay_to(&collector);
    assert_ok(&send_all(endpoint(&relay), [encoded(2, 1)]));
    assert_eq!(settled(&drain(relay, SOON)).delivered, 2);
}

fn with_retry(collector: &Collector, retry: RetryPolicy) -> RelayHandle {
    let mut config = upstream(collector.addr());
    if let Destination::Grpc(grpc) = &mut config.destination {
        grpc.retry = retry;
    }
    builder(config).cores(1).start().unwrap()
}

fn gaps(collector: &Collector) -> Vec<Duration> {
    collector.calls().windows(2).map(|pair| pair[1].at - pair[0].at).collect()
}

/// A throttled exporter waits at least as long as it was asked to.
#[test]
fn x06_throttling_is_obeyed() {
    let asked = Duration::from_millis(700);
    let collector = Collector::start(Script::sequence(vec![Reply::unavailable(Some(asked))], Reply::Ok));
    let relay = relay_to(&collector);
    assert_ok(&send_all(endpoint(&relay), [encoded(1, 1)]));
    assert_eq!(collector.wait_for_spans(1, SOON), 1);
    assert!(gaps(&collector)[0] >= asked);
    settled(&drain(relay, SOON));
}

/// Delays between attempts grow, and each is at least what jitter may take off it.
#[test]
fn x07_backoff_is_exponential() {
    let collector = Collector::start(Script::sequence(vec![Reply::unavailable(None); 4], Reply::Ok));
    let retry = RetryPolicy {
        initial_interval: Duration::from_millis(100),
        randomization_factor: 0.2,
        multiplier: 2.0,
        ..RetryPolicy::default()
    };
    let relay = with_retry(&collector, retry);
    assert_ok(&send_all(endpoint(&relay), [encoded(1, 1)]));
    assert_eq!(collector.wait_for_spans(1, SOON), 1);
    for (gap, least_ms) in gaps(&collector).into_iter().zip([80, 160, 320, 640]) {
        assert!(gap >= Duration::from_millis(least_ms), "{gap:?} after {least_ms}");
    }
    assert_eq!(collector.call_count(), 5);
    settled(&drain(relay, SOON));
}

#[test]
fn x09_partial_success_is_counted_and_not_retried() {
    let partial = Reply::PartialSuccess { rejected_spans: 3, message: "quota".into() };
    let collector = Collector::start(Script::always(partial));
    let relay = relay_to(&collector);
    assert_ok(&send_all(endpoint(&relay), [encoded(10, 1)]));
    assert_eq!(collector.wait_for_calls(1, SOON), 1);
    let items = settled(&drain(relay, SOON));
    assert_eq!(
        (items.delivered, items.dropped_for(DropReason::PartialSuccess), collector.call_count()),
        (7, 3, 1)
    );
}

/// The server goes away in the middle of a call: the same request is sent again.
#[test]
fn x12_a_call_without_an_answer_is_repeated() {
    let mut collector = Collector::start(Script::sequence(vec![Reply::NeverAnswer], Reply::Ok));
    let relay = relay_to(&collector);
    assert_ok(&send_all(endpoint(&relay), [encoded(4, 1)]));
    assert_eq!(collector.wait_for_calls(1, SOON), 1);
    collector.stop();
    collector.restart();
    assert_eq!(collector.wait_for_spans(4, SOON), 4);
    let calls = collector.calls();
    assert!(calls.len() == 2 && calls[0].raw == calls[1].raw);
    assert_eq!(settled(&drain(relay, SOON)).delivered, 4);
}

/// An upstream that cannot be reached is dialled again after growing delays, not in a loop.
#[test]
fn x13_dials_back_off() {
    let mut collector = Collector::start(Script::ok());
    collector.stop();
    let proxy = Proxy::start(collector.addr());
    let relay = builder(upstream(proxy.addr())).cores(1).start().unwrap();
    assert_ok(&send_all(endpoint(&relay), [encoded(1, 1)]));
    std::thread::sleep(Duration::from_secs(2));
    let dials = proxy.connections();
    // 50 to 100 ms, 50 to 200, 50 to 400 and so on.
    assert!((2..=20).contains(&dials), "{dials} dials in two seconds");
    collector.restart();
    assert_eq!(settled(&drain(relay, SOON)).delivered, 1);
}

#[test]
fn x21_the_user_agent_names_product_and_exporter() {
    let collector = Collector::start_with(Options { gzip: false, ..Options::default() }, Script::ok());
    let relay = relay_to(&collector);
    assert_ok(&send_all(endpoint(&relay), [encoded(1, 1)]));
    settled(&drain(relay, SOON));
    let calls = collector.calls();
    let agent = calls[0].header("user-agent").unwrap();
    assert!(agent.starts_with("relayd/") && agent.contains(" OTel-OTLP-Exporter-Rust/"), "{agent}");
}
