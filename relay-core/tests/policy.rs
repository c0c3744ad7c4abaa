//! A whole relay against upstreams that refuse: what they refuse is found, and only that is lost; what is too large is cut; what may be
//! tried again is. What is told to who waits for it is in `waiting_callers.rs`.

#![cfg(test)]

#[path = "support/logs.rs"]
mod logs;
mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use relay_core::Relay;
use relay_core::batch::{DropReason, Receipt, Settled};
use relay_core::config::{BatchSink, UpstreamConfig};
use relay_core::grpc::{Code as GrpcCode, Status};
use relay_core::limits::{CALLS_PER_ISOLATION, ISOLATION_CALLS_MAX, ISOLATION_CALLS_PER_SECOND};
use relay_core::otlp::Signal;
use relay_core::upstream::Outcome;
use support::poison::{POISON, allergic, poisoned};
use support::{
    SOON, assert_ok, block_on, builder, drain, encoded, endpoint, request, retry, send_all, settled, upstream,
};
use testkit::collector::{Collector, Options, Reply, Script};
use testkit::http_upstream::HttpReply;
use testkit::oracle::{ExportTraceServiceRequest, encode, flatten};
use testkit::raw::{RawClient, RawRequest, grpc_message};
use tokio::time::Instant;
use tonic::Code;

/// A connection that sends `requests` one after the other until told to stop; how many it sent.
fn sender(
    addr: SocketAddr,
    requests: impl Iterator<Item = Bytes> + Send + 'static,
    stop: Arc<AtomicBool>,
) -> std::thread::JoinHandle<usize> {
    std::thread::spawn(move || {
        block_on(async {
            let (client, mut sent) = (RawClient::connect(addr).await.unwrap(), 0);
            for request in requests {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let answer = client.send(RawRequest::export(vec![grpc_message(&request)])).await.unwrap();
                // A suspect may be refused for now, as anybody who meets a full queue.
                sent += usize::from(answer.grpc_status() == Some(0));
            }
            sent
        })
    })
}

/// What nine clients see, with and without a tenth whose every request is poison.
struct Nine {
    took: Duration,
    calls: usize,
}

fn nine_clients(with_poison: bool) -> Nine {
    const REQUESTS: u32 = 40;
    let collector = Collector::start(allergic(Duration::from_millis(4)));
    let mut config = upstream(collector.addr());
    // Every call carries few requests and there is one at a time, so that calls are what there is too little of.
    (config.calls_max, config.batch.items_max, config.batch.items_target) = (1, 10, 10);
    let relay = builder(config).cores(1).start().unwrap();
    // It has taken something: what it refuses is to blame from now on.
    assert_ok(&send_all(endpoint(&relay), [encoded(1, 1)]));
    assert_eq!(collector.wait_for_spans(1, SOON), 1);
    let stop = Arc::new(AtomicBool::new(false));
    let (addr, started, calls) = (endpoint(&relay), Instant::now(), collector.call_count());
    let poison =
        with_poison.then(|| sender(addr, (0..).map(|seed| poisoned(2, seed, &[0, 1])), Arc::clone(&stop)));
    let healthy: Vec<_> = (0..9)
        .map(|client| {
            sender(addr, (0..REQUESTS).map(move |n| encoded(2, u64::from(client * 1000 + n))), Arc::default())
        })
        .collect();
    let sent: usize = healthy.into_iter().map(|client| client.join().unwrap()).sum();
    let spans = 1 + 2 * sent;
    assert_eq!(
        (sent, collector.wait_for_spans(spans, SOON)),
        (9 * usize::try_from(REQUESTS).unwrap(), spans)
    );
    let nine = Nine { took: started.elapsed(), calls: collector.call_count() - calls };
    stop.store(true, Ordering::Relaxed);
    let bad = poison.map_or(0, |poison| poison.join().unwrap());
    let stats = drain(relay, SOON);
    let items = settled(&stats);
    let lost = items.dropped_for(DropReason::Rejected) + items.dropped_for(DropReason::NotIsolated);
    assert_eq!((items.delivered, lost), (spans as u64, 2 * bad as u64), "{items:?}");
    if with_poison {
        assert!(
            bad > 0 && stats.upstreams[0].isolated_requests > 0 && stats.upstreams[0].isolating_calls > 0
        );
        assert_eq!(stats.upstreams[0].suspects, 1);
    }
    nine
}

/// One of ten clients sends only poison, as fast as it can. Guarantee: the others lose nothing, and pay with a third of their time and
/// calls at the most, plus the first detection; here with what a busy machine adds.
#[test]
fn one_poisonous_client_of_ten_costs_the_others_a_bounded_share() {
    let (without, with) = (nine_clients(false), nine_clients(true));
    let factor = f64::from(CALLS_PER_ISOLATION + 1) / f64::from(CALLS_PER_ISOLATION);
    let (time, calls) =
        (with.took.as_secs_f64() / without.took.as_secs_f64(), with.calls as f64 / without.calls as f64);
    println!("with one poisonous client of ten: {time:.2} times the time, {calls:.2} times the calls");
    // 40 calls: the first detection.
    assert!((with.calls as f64) < 1.2 * factor * without.calls as f64 + 40.0, "{calls}");
    assert!(time < 3.0 * factor, "{time}: {:?} against {:?}", with.took, without.took);
}

/// Several requests of different senders are poisonous in one batch. Guarantee: each is found, alone.
#[test]
fn several_poisoned_requests_of_one_batch_are_found() {
    let collector = Collector::start(allergic(Duration::ZERO));
    let mut config = upstream(collector.addr());
    config.linger = Duration::from_secs(60);
    let relay = builder(config).cores(1).start().unwrap();
    for seed in 0..100 {
        let bad: &[usize] = if seed % 20 == 7 { &[0, 1, 2] } else { &[] };
        assert_ok(&send_all(endpoint(&relay), [poisoned(3, seed, bad)]));
    }
    let stats = drain(relay, SOON);
    let items = settled(&stats);
    assert_eq!((items.delivered, items.dropped_for(DropReason::Rejected)), (285, 15), "{items:?}");
    assert!(collector.call_count() < 100, "{}", collector.call_count());
}

/// A batch of many requests of one suspect among those of others is taken apart by who sent them, not by halves alone.
#[test]
fn what_a_sender_sent_is_found_together() {
    logs::capture();
    let collector = Collector::start(allergic(Duration::ZERO));
    let mut config = upstream(collector.addr());
    config.linger = Duration::from_millis(300);
    let relay = builder(config).cores(1).start().unwrap();
    assert_ok(&send_all(endpoint(&relay), [encoded(1, 1)]));
    assert_eq!(collector.wait_for_spans(1, SOON), 1);
    block_on(async {
        let [good, bad] = [
            RawClient::connect(endpoint(&relay)).await.unwrap(),
            RawClient::connect(endpoint(&relay)).await.unwrap(),
        ];
        for seed in 0..128 {
            let good_call = RawRequest::export(vec![grpc_message(&encoded(1, seed))]);
            assert_eq!(good.send(good_call).await.unwrap().grpc_status(), Some(0));
            let bad_call = RawRequest::export(vec![grpc_message(&poisoned(1, seed, &[0]))]);
            assert_eq!(bad.send(bad_call).await.unwrap().grpc_status(), Some(0));
        }
    });
    let deadline = Instant::now() + SOON;
    assert_eq!(collector.wait_for_spans(129, SOON), 129);
    while relay.stats().upstreams[0].items.held() > 0 {
        assert!(Instant::now() < deadline, "{:?}", relay.stats().upstreams[0]);
        std::thread::sleep(Duration::from_millis(5));
    }
    let calls = collector.calls();
    let good = calls.iter().filter(|call| call.outcome.is_accepted()).count();
    // By halves alone it would be one call for each of the 128.
    assert!(good < 40, "{good} calls delivered");
    assert_eq!(settled(&drain(relay, SOON)).delivered, 129);
    let (lines, named) = (logs::lines(), "sender=\"127.0.0.1:");
    assert!(
        lines.lines().any(|line| line.contains("not merged with those of others") && line.contains(named))
    );
    assert!(lines.lines().any(|line| line.contains("spans dropped") && line.contains("receiver=\"otlp\"")));
}

/// Nothing but refusals, whatever is sent. Guarantee: isolating ends, what is dropped says why, and nobody is suspected.
#[test]
fn an_upstream_that_refuses_everything_is_given_up_soon() {
    let collector = Collector::start(Script::always(Reply::status(Code::Internal, "broken")));
    let mut config = upstream(collector.addr());
    config.linger = Duration::from_millis(20);
    let relay = builder(config).start().unwrap();
    let started = Instant::now();
    for round in 0..20 {
        assert_ok(&send_all(endpoint(&relay), (0..100).map(|n| encoded(2, round * 100 + n))));
    }
    let stats = drain(relay, SOON);
    let items = settled(&stats);
    let seconds = u32::try_from(started.elapsed().as_secs()).unwrap() + 1;
    let batches = stats.upstreams[0].size_triggers + stats.upstreams[0].timeout_triggers;
    // Once among the requests of a batch, and once inside of requests.
    let bound = 2 * u64::from(ISOLATION_CALLS_MAX + seconds * ISOLATION_CALLS_PER_SECOND) + batches;
    assert!(
        stats.upstreams[0].attempts <= bound,
        "{} calls, {bound} at the most",
        stats.upstreams[0].attempts
    );
    assert_eq!((items.dropped_total(), items.delivered, stats.upstreams[0].suspects), (4000, 0, 0));
    assert!(items.dropped_for(DropReason::NotIsolated) > 3000, "{items:?}");
}

/// One malformed span of a thousand in one request. Guarantee: only that span is lost, also where the upstream has not taken anything
/// yet.
#[test]
fn one_bad_span_does_not_cost_the_others_of_its_request() {
    for (bad, before) in [(0, 1), (1, 1), (499, 1), (999, 1), (0, 0), (500, 0), (999, 0)] {
        let collector = Collector::start(allergic(Duration::ZERO));
        let relay = builder(upstream(collector.addr())).cores(1).start().unwrap();
        if before > 0 {
            assert_ok(&send_all(endpoint(&relay), [encoded(before, 1)]));
            assert_eq!(collector.wait_for_spans(before, SOON), before);
        }
        assert_ok(&send_all(endpoint(&relay), [poisoned(1000, 2, &[bad])]));
        let items = settled(&drain(relay, SOON));
        let delivered = 999 + before as u64;
        assert_eq!(
            (items.delivered, items.dropped_for(DropReason::Rejected)),
            (delivered, 1),
            "{bad}: {items:?}"
        );
        assert!(collector.call_count() <= 2 + 2 * 11, "{}", collector.call_count());
    }
}

/// Nothing but refusals, of requests that come one by one. Guarantee: looking into them ends, and who is told `rejected` stood alone.
#[test]
fn looking_into_requests_ends_at_an_upstream_that_refuses_everything() {
    let collector = Collector::start(Script::always(Reply::status(Code::Internal, "broken")));
    let mut config = upstream(collector.addr());
    config.batch.items_max = 100;
    let relay = builder(config).cores(1).start().unwrap();
    let (started, requests) = (Instant::now(), 200);
    assert_ok(&send_all(endpoint(&relay), (0..requests).map(|n| encoded(100, n))));
    let stats = drain(relay, SOON);
    let (items, seconds) = (settled(&stats), u32::try_from(started.elapsed().as_secs()).unwrap() + 1);
    let bound = u64::from(ISOLATION_CALLS_MAX + seconds * ISOLATION_CALLS_PER_SECOND) + requests;
    assert!(stats.upstreams[0].attempts <= bound, "{} calls, {bound} at most", stats.upstreams[0].attempts);
    let [rejected, cut_short] = [DropReason::Rejected, DropReason::NotIsolated].map(|r| items.dropped_for(r));
    assert_eq!((rejected + cut_short, items.delivered), (100 * requests, 0), "{items:?}");
    assert!(rejected < u64::from(ISOLATION_CALLS_MAX), "{items:?}");
    assert_eq!(stats.upstreams[0].suspects, 0);
}

/// What stands around all spans of a request is poison: it is dropped whole after a bounded number of calls, and others pass.
#[test]
fn a_request_that_is_poison_all_over_is_dropped() {
    let collector = Collector::start(allergic(Duration::ZERO));
    let relay = builder(upstream(collector.addr())).cores(1).start().unwrap();
    assert_ok(&send_all(endpoint(&relay), [encoded(1, 1)]));
    assert_eq!(collector.wait_for_spans(1, SOON), 1);
    assert_ok(&send_all(endpoint(&relay), [poisoned(1000, 2, &Vec::from_iter(0..1000))]));
    assert_ok(&send_all(endpoint(&relay), [encoded(5, 3)]));
    let items = settled(&drain(relay, SOON));
    assert_eq!((items.delivered, items.dropped_total()), (6, 1000), "{items:?}");
    assert!(collector.call_count() < 60, "{}", collector.call_count());
}

/// A request of 1,000 spans, one of them larger than the upstream takes. Guarantee: only that one is lost, whether the upstream names its
/// limit or not.
#[test]
fn only_a_span_above_every_limit_is_dropped() {
    let mut large = request(1000, 5);
    let spans = large.resource_spans.iter_mut().flat_map(|resource| &mut resource.scope_spans);
    let span = spans.flat_map(|scope| &mut scope.spans).nth(700).unwrap();
    span.name = "x".repeat(2 << 20);
    let message = Bytes::from(encode(&large));
    let limit = 1 << 20;
    let collector =
        Collector::start_with(Options { recv_bytes_max: limit, ..Default::default() }, Script::ok());
    let (server, asked) = support::http_out::server(move |call, _| {
        HttpReply::status(if call.body.len() > limit { 413 } else { 200 })
    });
    for config in [upstream(collector.addr()), support::http_out::http_upstream(server.addr())] {
        let relay = builder(config).cores(1).start().unwrap();
        assert_ok(&send_all(endpoint(&relay), [message.clone(), encoded(7, 1)]));
        let items = settled(&drain(relay, SOON));
        assert_eq!((items.delivered, items.dropped_for(DropReason::ItemTooLarge)), (1006, 1), "{items:?}");
    }
    assert!(
        collector.call_count() < 12 && asked.count() < 30,
        "{} {}",
        collector.call_count(),
        asked.count()
    );
}

/// A limit is guessed from a refusal that names none. Guarantee: what is larger than the guess, and not larger than the limit, arrives.
#[test]
fn a_guess_drops_nothing() {
    let limit = 3 << 20;
    let (server, _asked) = support::http_out::server(move |call, _| {
        HttpReply::status(if call.body.len() > limit { 413 } else { 200 })
    });
    let relay = builder(support::http_out::http_upstream(server.addr())).cores(1).start().unwrap();
    for seed in 0..3 {
        let mut large = request(400, seed);
        large.resource_spans[0].scope_spans[0].spans[0].name = "x".repeat(limit - (1 << 16));
        assert_ok(&send_all(endpoint(&relay), [Bytes::from(encode(&large))]));
    }
    let items = settled(&drain(relay, SOON));
    assert_eq!((items.delivered, items.dropped_total()), (1200, 0), "{items:?}");
}

/// The Collector's memory_limiter refuses without a RetryInfo: given up by default, as OTLP says, and tried again when asked for.
#[test]
fn what_a_memory_limiter_refuses_is_tried_again_when_asked_for() {
    for is_asked_for in [false, true] {
        let refusal = Reply::status(Code::ResourceExhausted, "data refused due to high memory usage");
        let collector = Collector::start(Script::sequence(vec![refusal; 3], Reply::Ok));
        let mut config = upstream(collector.addr());
        let retry = retry(&mut config);
        retry.table = retry.table.with_exhausted(is_asked_for);
        let relay = builder(config).cores(1).start().unwrap();
        assert_ok(&send_all(endpoint(&relay), [encoded(10, 1)]));
        let stats = drain(relay, SOON);
        let items = settled(&stats);
        let expected = if is_asked_for { (10, 0, 3) } else { (0, 10, 0) };
        let got = (items.delivered, items.dropped_for(DropReason::Rejected), stats.upstreams[0].retries);
        assert_eq!(got, expected);
    }
}

/// What an exporter lists is tried again, and what it does not list is not.
#[test]
fn the_table_of_an_exporter_decides() {
    let script = vec![Reply::status(Code::Unauthenticated, "token"), Reply::unavailable(None)];
    let collector = Collector::start(Script::sequence(script, Reply::Ok));
    let mut config = upstream(collector.addr());
    let retry = retry(&mut config);
    retry.table = retry.table.with_codes(&[GrpcCode::UNAUTHENTICATED]);
    let relay = builder(config).cores(1).start().unwrap();
    assert_ok(&send_all(endpoint(&relay), [encoded(10, 1)]));
    let stats = drain(relay, SOON);
    assert_eq!((settled(&stats).dropped_for(DropReason::Rejected), stats.upstreams[0].retries), (10, 1));
}

/// Answers what a random sequence says.
struct Fickle(std::sync::Mutex<u64>);

impl BatchSink for Fickle {
    fn deliver(&self, batch: &relay_core::batch::Batch) -> Outcome {
        let mut seed = self.0.lock().unwrap();
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let refused = |code, message: &'static str| Outcome::Refused {
            status: Status::new(code, message),
            retry_delay: None,
        };
        match *seed >> 60 {
            0..=3 => refused(GrpcCode::INVALID_ARGUMENT, "bad"),
            4 | 5 => refused(GrpcCode::RESOURCE_EXHAUSTED, "message too large"),
            6 => refused(GrpcCode::RESOURCE_EXHAUSTED, "larger than max (9000000 vs. 300)"),
            7 => refused(GrpcCode::PERMISSION_DENIED, "no"),
            8 => refused(GrpcCode::UNIMPLEMENTED, "no"),
            9 => Outcome::Accepted { rejected: batch.items() / 2, message: "half".into() },
            _ => Outcome::Accepted { rejected: 0, message: String::new() },
        }
    }
}

/// Any sequence of answers. Guarantee: the books add up, every receipt is answered, and calls are bounded.
#[test]
fn any_sequence_of_answers_adds_up() {
    for seed in 0..60 {
        let mut config = UpstreamConfig::sink("sink", Arc::new(Fickle(seed.into())));
        config.linger = Duration::from_millis(5);
        let relay = Relay::builder().upstream(config).cores(1).start().unwrap();
        let receipts: Vec<Receipt> =
            (0..40).map(|n| relay.submit(Signal::Traces, encoded(5, seed * 100 + n)).unwrap()).collect();
        let told: Vec<Settled> = receipts.into_iter().map(block_on).collect();
        assert_eq!(told.len(), 40);
        let stats = drain(relay, SOON);
        let items = settled(&stats);
        assert_eq!(items.enqueued, 200);
        assert!(stats.upstreams[0].attempts < 600, "{}", stats.upstreams[0].attempts);
    }
}

/// The request decodes to what was meant.
#[test]
fn poison_is_where_it_was_put() {
    let request = ExportTraceServiceRequest::decode(poisoned(5, 1, &[3])).unwrap();
    let names: Vec<bool> = flatten(&request).iter().map(|span| span.span.name.as_bytes() == POISON).collect();
    assert_eq!(names, [false, false, false, true, false]);
}
