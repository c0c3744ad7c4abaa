//! A whole relay between testkit's senders and its scripted collector (tonic): what is sent arrives, merged, once.

#![cfg(test)]

mod support;

use std::time::Duration;

use relay_core::batch::{DropReason, Settled};
use relay_core::config::{Compression, Destination, OnFull, QueueLimit};
use relay_core::otlp::Signal;
use support::{SOON, assert_ok, builder, drain, encoded, endpoint, request, send_all, settled, upstream};
use testkit::collector::{Collector, Reply, Script};
use testkit::oracle::{ExportTraceServiceRequest, flatten};
use testkit::raw::{RawRequest, exchange, grpc_message};
use testkit::sender::{SendOptions, send_blocking};
use tonic::Code;

/// Every span of many concurrent requests arrives once and unchanged, and requests are merged on the way.
#[test]
fn requests_are_merged_and_arrive_once() {
    let collector = Collector::start(Script::ok());
    let mut config = upstream(collector.addr());
    config.linger = Duration::from_millis(50);
    let relay = builder(config).start().unwrap();
    let requests: Vec<_> = (0..200).map(|seed| request(5, seed)).collect();
    assert_ok(&send_all(endpoint(&relay), (0..200).map(|seed| encoded(5, seed))));
    assert_eq!(collector.wait_for_spans(1000, SOON), 1000);
    let items = settled(&drain(relay, SOON));
    assert_eq!((items.enqueued, items.delivered), (1000, 1000));
    let mut sent: Vec<_> = requests.iter().flat_map(flatten).map(|span| format!("{span:?}")).collect();
    let mut seen: Vec<_> = collector.spans().iter().map(|span| format!("{span:?}")).collect();
    sent.sort_unstable();
    seen.sort_unstable();
    assert!(sent == seen, "the spans differ");
    assert!(collector.call_count() < 100, "{} calls", collector.call_count());
}

/// A tonic client, plain and with gzip, is served; an empty request is a success and is not forwarded.
#[test]
fn a_grpc_library_is_served() {
    let collector = Collector::start(Script::ok());
    let relay = builder(upstream(collector.addr())).start().unwrap();
    let address = endpoint(&relay).to_string();
    let send = |request, gzip| send_blocking(&address, request, SendOptions { gzip, timeout: Some(SOON) });
    assert_eq!(send(request(3, 1), false).unwrap().partial_success, None);
    assert_eq!(send(request(4, 2), true).unwrap().partial_success, None);
    assert_eq!(send(ExportTraceServiceRequest::default(), false).unwrap().partial_success, None);
    let stats = drain(relay, SOON);
    assert_eq!(settled(&stats).delivered, 7);
    assert_eq!((stats.receivers[0].accepted_items(), stats.receivers[0].accepted_requests()), (7, 3));
    assert_eq!(collector.span_count(), 7);
}

/// What the upstream is sent: the spec's headers, gzip when configured.
#[test]
fn calls_carry_timeout_user_agent_and_configured_headers() {
    let collector = Collector::start(Script::ok());
    let mut config = upstream(collector.addr());
    if let Destination::Grpc(grpc) = &mut config.destination {
        grpc.compression = Compression::GZIP;
        grpc.headers = vec![("X-Scope-OrgID".into(), "tenant-1".into())];
    }
    let relay = builder(config).start().unwrap();
    assert_ok(&send_all(endpoint(&relay), [encoded(50, 1)]));
    settled(&drain(relay, SOON));
    let calls = collector.calls();
    assert_eq!(calls[0].header("grpc-timeout"), Some("5000m"));
    assert_eq!(calls[0].header("grpc-encoding"), Some("gzip"));
    assert_eq!(calls[0].header("x-scope-orgid"), Some("tenant-1"));
    assert!(calls[0].header("user-agent").unwrap().starts_with("relayd/"));
}

/// A request far larger than the upstream's limit is split; nothing is lost.
#[test]
fn a_large_request_is_split_to_the_upstreams_limit() {
    let collector = Collector::start(Script::ok());
    let relay = builder(upstream(collector.addr())).start().unwrap();
    let message = encoded(30_000, 7);
    assert!(message.len() > 12 << 20);
    assert_ok(&send_all(endpoint(&relay), [message]));
    let items = settled(&drain(relay, SOON));
    assert_eq!((items.delivered, collector.span_count()), (30_000, 30_000));
    assert!(collector.call_count() >= 4);
}

/// The upstream takes less than we think: the batch is cut in halves until it fits, and later ones start smaller.
#[test]
fn an_upstream_with_a_smaller_limit_is_learned() {
    let options = testkit::collector::Options { recv_bytes_max: 256 << 10, ..Default::default() };
    let collector = Collector::start_with(options, Script::ok());
    let relay = builder(upstream(collector.addr())).start().unwrap();
    for seed in 0..3 {
        assert_ok(&send_all(endpoint(&relay), [encoded(4000, seed)]));
    }
    let items = settled(&drain(relay, SOON));
    assert_eq!((items.delivered, collector.span_count()), (12_000, 12_000));
}

/// One request that the upstream refuses for good is taken out; its batch-mates are delivered.
#[test]
fn a_poisoned_request_is_isolated() {
    let marker = flatten(&request(1, 66))[0].span.span_id.clone();
    let poisoned = move |request: &ExportTraceServiceRequest, _| {
        let bad = flatten(request).iter().any(|span| span.span.span_id == marker);
        if bad { Reply::status(Code::Internal, "error unmarshalling") } else { Reply::Ok }
    };
    let collector = Collector::start(Script::by(poisoned));
    let mut config = upstream(collector.addr());
    config.linger = Duration::from_millis(100);
    let relay = builder(config).cores(1).start().unwrap();
    assert_ok(&send_all(endpoint(&relay), (0..100).map(|seed| encoded(1, seed))));
    let items = settled(&drain(relay, SOON));
    assert_eq!((items.delivered, items.dropped_for(DropReason::Rejected)), (99, 1));
    assert_eq!(collector.span_count(), 99);
}

/// UNAVAILABLE with RetryInfo, a lost answer, a partial success: retried, retried, not retried and counted.
#[test]
fn answers_are_obeyed() {
    let script = vec![
        Reply::unavailable(Some(Duration::from_millis(300))),
        Reply::unavailable(None),
        Reply::PartialSuccess { rejected_spans: 2, message: "quota".into() },
    ];
    let collector = Collector::start(Script::sequence(script, Reply::Ok));
    let relay = builder(upstream(collector.addr())).start().unwrap();
    let started = tokio::time::Instant::now();
    assert_ok(&send_all(endpoint(&relay), [encoded(10, 1)]));
    assert_eq!(collector.wait_for_calls(3, SOON), 3);
    assert!(started.elapsed() >= Duration::from_millis(300), "RetryInfo is a lower bound");
    let stats = drain(relay, SOON);
    let items = settled(&stats);
    assert_eq!((items.delivered, items.dropped_for(DropReason::PartialSuccess)), (8, 2));
    assert_eq!(stats.upstreams[0].retries, 2);
}

/// The upstream is away when the relay starts, comes, goes under load and comes back: nothing is lost.
#[test]
fn an_upstream_that_comes_and_goes_loses_nothing() {
    let mut collector = Collector::start(Script::ok());
    collector.stop();
    let relay = builder(upstream(collector.addr())).start().unwrap();
    for round in 0..5 {
        assert_ok(&send_all(endpoint(&relay), (0..20).map(|n| encoded(5, round * 100 + n))));
        if round % 2 == 0 {
            collector.restart();
        } else {
            collector.stop();
        }
        std::thread::sleep(Duration::from_millis(150));
    }
    collector.restart();
    let items = settled(&drain(relay, SOON));
    assert_eq!((items.enqueued, items.delivered), (500, 500));
    assert!(collector.span_count() >= 500, "at least once");
}

/// A full queue is UNAVAILABLE with RetryInfo, counted, and what was accepted is still delivered.
#[test]
fn a_full_queue_refuses_with_retry_info() {
    let mut collector = Collector::start(Script::ok());
    collector.stop();
    let mut config = upstream(collector.addr());
    config.queue = QueueLimit::Requests(10);
    let relay = builder(config).cores(1).start().unwrap();
    let responses = send_all(endpoint(&relay), (0..50).map(|seed| encoded(2, seed)));
    let (accepted, refused): (Vec<_>, Vec<_>) =
        responses.into_iter().partition(|response| response.grpc_status() == Some(0));
    assert_eq!((accepted.len(), refused.len()), (10, 40));
    for response in &refused {
        assert_eq!(response.grpc_status(), Some(14));
        assert_eq!(response.retry_delay(), Some(Duration::from_secs(1)));
    }
    collector.restart();
    let stats = drain(relay, SOON);
    assert_eq!(settled(&stats).delivered, 20);
    assert_eq!((stats.receivers[0].accepted_items(), stats.receivers[0].refused_items()), (20, 80));
    assert_eq!(stats.upstreams[0].enqueue_failed_items, 80);
}

/// `block_on_overflow`: the call waits for room instead of being refused.
#[test]
fn a_full_queue_blocks_when_asked_to() {
    let mut collector = Collector::start(Script::ok());
    collector.stop();
    let mut config = upstream(collector.addr());
    config.queue = QueueLimit::Items(10);
    config.on_full = OnFull::Block;
    let relay = builder(config).start().unwrap();
    let address = endpoint(&relay);
    let sending = std::thread::spawn(move || send_all(address, (0..20).map(|seed| encoded(2, seed))));
    std::thread::sleep(Duration::from_millis(300));
    collector.restart();
    assert_ok(&sending.join().unwrap());
    assert_eq!(settled(&drain(relay, SOON)).delivered, 40);
}

/// `wait_for_result`: the sender is told what the upstream said.
#[test]
fn results_travel_back_when_asked_for() {
    let refuse_second = |_: &ExportTraceServiceRequest, call| {
        if call == 1 { Reply::status(Code::PermissionDenied, "no") } else { Reply::Ok }
    };
    let collector = Collector::start(Script::by(refuse_second));
    let mut config = upstream(collector.addr());
    config.wait_for_result = true;
    let relay = builder(config).start().unwrap();
    assert_ok(&send_all(endpoint(&relay), [encoded(1, 1)]));
    assert_eq!(collector.span_count(), 1, "acknowledged means delivered");
    // PERMISSION_DENIED is for good, so the sender is not asked to come back.
    assert_eq!(send_all(endpoint(&relay), [encoded(1, 2)])[0].grpc_status(), Some(7));
    let items = settled(&drain(relay, SOON));
    assert_eq!((items.delivered, items.dropped_for(DropReason::Rejected)), (1, 1));
}

/// `submit` from the embedding service: receipts tell, malformed bytes are refused at once.
#[test]
fn submitted_requests_are_settled() {
    let collector = Collector::start(Script::ok());
    let relay = builder(upstream(collector.addr())).start().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let receipts: Vec<_> =
        (0..50).map(|seed| relay.submit(Signal::Traces, encoded(3, seed)).unwrap()).collect();
    for receipt in receipts {
        assert_eq!(runtime.block_on(receipt), Settled::Delivered);
    }
    assert!(relay.submit(Signal::Traces, b"\x0a\xff".as_slice().into()).is_err());
    assert_eq!(settled(&drain(relay, SOON)).delivered, 150);
}

/// The drain deadline passes with the upstream away: what is left is counted, and the drain ends in time.
#[test]
fn a_drain_without_upstream_ends_and_counts() {
    let mut collector = Collector::start(Script::ok());
    collector.stop();
    let relay = builder(upstream(collector.addr())).start().unwrap();
    assert_ok(&send_all(endpoint(&relay), (0..30).map(|seed| encoded(2, seed))));
    let started = tokio::time::Instant::now();
    let items = settled(&drain(relay, Duration::from_millis(1500)));
    assert!(started.elapsed() < Duration::from_secs(3));
    assert_eq!((items.delivered, items.dropped_for(DropReason::ShutdownDeadline)), (0, 60));
}

/// Calls that are refused before their bodies have ended do not cost the connection: h2 counts resets, and an honest
/// sender under overload would collect a thousand of them within seconds.
#[test]
fn refusals_in_the_middle_of_bodies_keep_the_connection() {
    let mut collector = Collector::start(Script::ok());
    collector.stop();
    let relay = builder(upstream(collector.addr())).held_bytes_max(10_000).cores(1).start().unwrap();
    let message = grpc_message(&encoded(80, 1));
    let call = || {
        let chunks = vec![message.slice(..20_000), message.slice(20_000..)];
        RawRequest { pause: Duration::from_millis(1), ..RawRequest::export(chunks) }
    };
    for _ in 0..8 {
        let responses = exchange(endpoint(&relay), (0..250).map(|_| call()).collect());
        for response in responses {
            assert_eq!(response.expect("the connection lives").grpc_status(), Some(14));
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = testkit::raw::RawClient::connect(endpoint(&relay)).await.unwrap();
        for _ in 0..6 {
            let calls = futures_util::future::join_all((0..250).map(|_| client.send(call())));
            for response in calls.await {
                assert_eq!(response.expect("the connection lives").grpc_status(), Some(14));
            }
        }
        let small = RawRequest::export(vec![grpc_message(&encoded(1, 2))]);
        assert_eq!(client.send(small).await.unwrap().grpc_status(), Some(0));
    });
    collector.restart();
    let stats = drain(relay, SOON);
    assert_eq!(settled(&stats).delivered, 1);
    let memory_full = relay_core::stats::RejectReason::MemoryFull as usize;
    assert_eq!(stats.receivers[0].rejected_requests[memory_full], 3500);
}
