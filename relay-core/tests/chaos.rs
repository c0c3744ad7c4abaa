//! A network and an upstream that break at every moment: nothing that was acknowledged is lost, and the books
//! add up. Sent is a subset of seen: what an upstream took without its answer arriving is sent again (at
//! least once).

#![cfg(test)]

mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{ThreadId, sleep};
use std::time::Duration;

use relay_core::batch::{Batch, DropReason};
use relay_core::config::{BatchSink, Destination, GrpcConfig, UpstreamConfig};
use relay_core::upstream::Outcome;
use support::{SOON, assert_ok, builder, drain, encoded, endpoint, request, send_all, settled, upstream};
use testkit::collector::{Collector, Reply, Script};
use testkit::oracle::flatten;
use testkit::proxy::{Cut, Proxy, Stall};
use testkit::raw::{RawClient, RawRequest, grpc_message};
use tonic::Code;

type SpanIds = BTreeSet<Vec<u8>>;

fn ids_of(seeds: impl IntoIterator<Item = u64>, spans: usize) -> SpanIds {
    seeds.into_iter().flat_map(|seed| flatten(&request(spans, seed))).map(|span| span.span.span_id).collect()
}

fn ids_seen(collector: &Collector) -> SpanIds {
    collector.spans().into_iter().map(|span| span.span.span_id).collect()
}

fn wait_for(what: &str, done: impl Fn() -> bool) {
    for _ in 0..2000 {
        if done() {
            return;
        }
        sleep(Duration::from_millis(5));
    }
    panic!("waited in vain for {what}");
}

fn assert_seen(collector: &Collector, sent: &SpanIds) {
    let seen = ids_seen(collector);
    let lost = sent.difference(&seen).count();
    assert_eq!(lost, 0, "{lost} of {} acknowledged spans never arrived", sent.len());
}

fn grpc(config: &mut UpstreamConfig) -> &mut GrpcConfig {
    match &mut config.destination {
        Destination::Grpc(grpc) => grpc,
        _ => panic!("a gRPC upstream"),
    }
}

/// The connection to the upstream is cut after N bytes, for N over the handshake, the headers, the prefix and
/// the body of the first call, then the network heals: what was acknowledged arrives.
#[test]
fn cuts_at_any_byte_lose_nothing() {
    let cuts: Vec<u64> =
        (1..60).step_by(7).chain((60..600).step_by(36)).chain((600..12_000).step_by(700)).collect();
    // A few at a time: each waits for a redial.
    let parts: Vec<_> = cuts
        .chunks(cuts.len().div_ceil(4))
        .map(|part| part.to_vec())
        .map(|part| std::thread::spawn(move || part.into_iter().for_each(cut_after)))
        .collect();
    assert!(cuts.len() > 40);
    for part in parts {
        part.join().unwrap();
    }
}

fn cut_after(bytes: u64) {
    let collector = Collector::start(Script::ok());
    let proxy = Proxy::start(collector.addr());
    proxy.cut_after(Some(bytes), if bytes.is_multiple_of(2) { Cut::Rst } else { Cut::Fin });
    let relay = builder(upstream(proxy.addr())).cores(1).start().unwrap();
    assert_ok(&send_all(endpoint(&relay), (0..5).map(|n| encoded(5, 10 * bytes + n))));
    for _ in 0..1000 {
        if proxy.connections() > 0 && proxy.open_connections() == 0 || collector.span_count() == 25 {
            break;
        }
        sleep(Duration::from_millis(5));
    }
    proxy.cut_after(None, Cut::Rst);
    let items = settled(&drain(relay, SOON));
    assert_eq!((items.enqueued, items.delivered), (25, 25), "cut after {bytes} bytes");
    assert_seen(&collector, &ids_of((0..5).map(|n| 10 * bytes + n), 5));
}

/// The upstream accepts connections and says nothing: attempts time out, and go through when it speaks again.
#[test]
fn a_stalled_upstream_is_tried_again() {
    let collector = Collector::start(Script::ok());
    let proxy = Proxy::start(collector.addr());
    let mut config = upstream(proxy.addr());
    grpc(&mut config).timeout = Duration::from_millis(300);
    let relay = builder(config).start().unwrap();
    assert_ok(&send_all(endpoint(&relay), (0..5).map(|seed| encoded(3, seed))));
    assert!(collector.wait_for_spans(15, SOON) >= 15);
    for (round, way) in [(1, Stall::Both), (2, Stall::ToUpstream), (3, Stall::ToClient)] {
        proxy.stall(way);
        assert_ok(&send_all(endpoint(&relay), (0..5).map(|seed| encoded(3, round * 5 + seed))));
        let retries = relay.stats().upstreams[0].retries;
        wait_for("an attempt to time out", || relay.stats().upstreams[0].retries > retries);
        assert!(relay.stats().upstreams[0].items.held() > 0, "not delivered while stalled");
        proxy.resume();
        wait_for("the delivery", || relay.stats().upstreams[0].items.held() == 0);
    }
    let items = settled(&drain(relay, SOON));
    assert_eq!((items.enqueued, items.delivered), (60, 60));
    assert_seen(&collector, &ids_of(0..20, 3));
}

/// The host of the upstream dies without a word: its connection is silent for good, while new ones reach its
/// successor. Attempts that time out must not wait on the dead connection until the kernel gives it up.
#[test]
fn a_connection_that_is_dead_is_left() {
    let collector = Collector::start(Script::ok());
    let (dead, alive) = (Proxy::start(collector.addr()), Proxy::start(collector.addr()));
    let switch = Proxy::start(dead.addr());
    let mut config = upstream(switch.addr());
    grpc(&mut config).timeout = Duration::from_millis(300);
    let relay = builder(config).cores(1).start().unwrap();
    assert_ok(&send_all(endpoint(&relay), [encoded(2, 1)]));
    assert!(collector.wait_for_spans(2, SOON) >= 2);
    dead.stall(Stall::Both);
    switch.set_upstream(alive.addr());
    assert_ok(&send_all(endpoint(&relay), [encoded(2, 2)]));
    // Under load an answer may come later than an attempt may take: more is not wrong.
    assert!(collector.wait_for_spans(4, SOON) >= 4, "still waiting for the dead connection");
    assert_eq!(settled(&drain(relay, SOON)).delivered, 4);
}

/// Calls that are never answered time out and are sent again; what comes back then is delivered.
#[test]
fn unanswered_calls_are_repeated() {
    let script = Script::sequence(vec![Reply::NeverAnswer; 3], Reply::Ok);
    let collector = Collector::start(script);
    let mut config = upstream(collector.addr());
    grpc(&mut config).timeout = Duration::from_millis(300);
    let relay = builder(config).start().unwrap();
    for seed in 0..6 {
        assert_ok(&send_all(endpoint(&relay), [encoded(4, seed)]));
        sleep(Duration::from_millis(20));
    }
    assert!(collector.wait_for_spans(24, SOON) >= 24);
    let items = settled(&drain(relay, SOON));
    assert_eq!((items.delivered, items.dropped_total()), (24, 0));
    assert_seen(&collector, &ids_of(0..6, 4));
}

/// The upstream is killed and started again 20 times while requests keep coming.
#[test]
fn restarts_of_the_upstream_under_load_lose_nothing() {
    let mut collector = Collector::start(Script::ok());
    let relay = builder(upstream(collector.addr())).start().unwrap();
    let addr = endpoint(&relay);
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let load = std::thread::spawn(move || {
        let mut seeds = 0..;
        while !stopped.load(Ordering::Relaxed) {
            assert_ok(&send_all(addr, seeds.by_ref().take(10).map(|seed| encoded(3, seed))));
            sleep(Duration::from_millis(2));
        }
        seeds.start
    });
    for restart in 0..20 {
        sleep(Duration::from_millis(60));
        if restart % 2 == 0 {
            collector.stop();
        } else {
            collector.stop_gracefully();
        }
        sleep(Duration::from_millis(20));
        collector.restart();
    }
    stop.store(true, Ordering::Relaxed);
    let sent = load.join().unwrap();
    let items = settled(&drain(relay, SOON));
    assert_eq!((items.enqueued, items.delivered), (3 * sent, 3 * sent));
    assert_seen(&collector, &ids_of(0..sent, 3));
}

/// A sender's connection ends and starts again 200 times, in order, by reset, and in the middle of a call.
/// What it was acknowledged arrives; a call without an answer may or may not have arrived.
#[test]
fn restarts_of_the_senders_connection_lose_nothing() {
    let collector = Collector::start(Script::ok());
    let relay = builder(upstream(collector.addr())).start().unwrap();
    let proxy = Proxy::start(endpoint(&relay));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut acknowledged = Vec::new();
    runtime.block_on(async {
        for restart in 0..200_u64 {
            let client = RawClient::connect(proxy.addr()).await.unwrap();
            let call = |seed| client.send(RawRequest::export(vec![grpc_message(&encoded(2, seed))]));
            if call(2 * restart).await.is_ok_and(|response| response.grpc_status() == Some(0)) {
                acknowledged.push(2 * restart);
            }
            let last = call(2 * restart + 1);
            if restart % 3 == 1 {
                proxy.cut(if restart % 2 == 0 { Cut::Rst } else { Cut::Fin });
            }
            if last.await.is_ok_and(|response| response.grpc_status() == Some(0)) {
                acknowledged.push(2 * restart + 1);
            }
        }
    });
    assert!(acknowledged.len() > 300, "{}", acknowledged.len());
    let stats = drain(relay, SOON);
    let items = settled(&stats);
    assert_eq!(items.delivered, items.enqueued);
    assert!(stats.receivers[0].accepted_items() >= 2 * acknowledged.len() as u64);
    assert_eq!((stats.receivers[0].accepted_items(), stats.connections), (items.enqueued, 0));
    assert_seen(&collector, &ids_of(acknowledged, 2));
}

/// Fan-out to two upstreams, one of which is down: the other gets everything at once, and each has its own
/// books.
#[test]
fn a_dead_upstream_does_not_hold_back_the_other() {
    let alive = Collector::start(Script::ok());
    let mut dead = Collector::start(Script::ok());
    dead.stop();
    let second = UpstreamConfig { name: "otlp/2".into(), ..upstream(dead.addr()) };
    let relay = builder(upstream(alive.addr())).upstream(second).start().unwrap();
    for round in 0..10 {
        assert_ok(&send_all(endpoint(&relay), (0..10).map(|n| encoded(3, 10 * round + n))));
    }
    assert_eq!(alive.wait_for_spans(300, SOON), 300);
    let stats = drain(relay, Duration::from_millis(500));
    settled(&stats);
    let [first, second] = [0, 1].map(|n| stats.upstreams[n].items);
    assert_eq!((first.enqueued, first.delivered), (300, 300));
    assert_eq!(
        (second.enqueued, second.delivered, second.dropped_for(DropReason::ShutdownDeadline)),
        (300, 0, 300)
    );
    assert_seen(&alive, &ids_of(0..100, 3));
}

/// A drain whose deadline passes while the upstream keeps saying UNAVAILABLE: what is given up is counted
/// under that deadline.
#[test]
fn a_drain_with_an_unwilling_upstream_counts_what_it_gives_up() {
    let collector = Collector::start(Script::always(Reply::status(Code::Unavailable, "not now")));
    let mut config = upstream(collector.addr());
    grpc(&mut config).retry.initial_interval = Duration::from_secs(20);
    grpc(&mut config).retry.max_interval = Duration::from_secs(20);
    let relay = builder(config).start().unwrap();
    assert_ok(&send_all(endpoint(&relay), (0..20).map(|seed| encoded(2, seed))));
    assert!(collector.wait_for_calls(1, SOON) >= 1);
    let items = settled(&drain(relay, Duration::from_millis(700)));
    assert_eq!((items.delivered, items.dropped_for(DropReason::ShutdownDeadline)), (0, 40));
    assert!(collector.call_count() >= 2, "a drain tries again at once");
}

/// Sends one call after the other until the relay has gone; returns the seeds that were acknowledged.
fn send_until_refused(addr: SocketAddr, first_seed: u64) -> Vec<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = RawClient::connect(addr).await.unwrap();
        let mut acknowledged = Vec::new();
        for seed in first_seed.. {
            match client.send(RawRequest::export(vec![grpc_message(&encoded(2, seed))])).await {
                Ok(response) if response.grpc_status() == Some(0) => acknowledged.push(seed),
                Ok(_) => {}
                Err(_) => break,
            }
        }
        acknowledged
    })
}

/// Drains while several senders are at full speed, again and again: whatever they were told is accepted was
/// delivered.
#[test]
fn a_drain_under_load_delivers_what_was_acknowledged() {
    for round in 0..6 {
        let collector = Collector::start(Script::ok());
        let mut config = upstream(collector.addr());
        config.linger = Duration::from_millis(5 * (round % 2));
        let relay = builder(config).start().unwrap();
        let addr = endpoint(&relay);
        let senders: Vec<_> =
            (0..4).map(|n| std::thread::spawn(move || send_until_refused(addr, n << 20))).collect();
        sleep(Duration::from_millis(150));
        let stats = drain(relay, SOON);
        let items = settled(&stats);
        let acknowledged: Vec<u64> = senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect();
        assert!(acknowledged.len() > 20);
        assert_eq!((items.delivered, items.dropped_total()), (items.enqueued, 0), "round {round}");
        assert!(stats.receivers[0].accepted_items() >= 2 * acknowledged.len() as u64);
        assert_seen(&collector, &ids_of(acknowledged, 2));
    }
}

/// Counts deliveries by thread, and takes its time with each, as an upstream does.
#[derive(Default)]
struct SlowSink {
    first: std::sync::Mutex<Vec<ThreadId>>,
    batches: AtomicUsize,
}

impl BatchSink for SlowSink {
    fn deliver(&self, _: &Batch) -> Outcome {
        sleep(Duration::from_millis(2));
        let thread = std::thread::current().id();
        let mut threads = self.first.lock().unwrap();
        if !threads.contains(&thread) {
            threads.push(thread);
        }
        self.batches.fetch_add(1, Ordering::Relaxed);
        Outcome::Accepted { rejected: 0, message: String::new() }
    }
}

/// One busy connection lives on one core; the other core steals its batches, so that both send.
#[test]
fn one_busy_connection_uses_the_senders_of_both_cores() {
    let sink = Arc::new(SlowSink::default());
    let mut config = UpstreamConfig::sink("slow", Arc::clone(&sink) as Arc<dyn BatchSink>);
    // Every request is a batch of its own, so that there is a queue to steal from.
    config.batch.items_target = 1;
    let relay = builder(config).start().unwrap();
    for round in 0..20 {
        assert_ok(&send_all(endpoint(&relay), (0..20).map(|n| encoded(1, 20 * round + n))));
    }
    assert_eq!(settled(&drain(relay, SOON)).delivered, 400);
    assert_eq!((sink.first.lock().unwrap().len(), sink.batches.load(Ordering::Relaxed)), (2, 400));
}

/// A relay asked for far more than it holds refuses the rest and loses nothing of what it took, under a slow
/// upstream.
#[test]
fn overload_refuses_and_loses_nothing() {
    let collector = Collector::start(Script::always(Reply::ok_after(Duration::from_millis(400))));
    let relay = builder(upstream(collector.addr())).held_bytes_max(256 << 10).start().unwrap();
    let addr = endpoint(&relay);
    let threads: Vec<_> = (0..3_u64)
        .map(|n| {
            std::thread::spawn(move || {
                let seeds: Vec<u64> = (0..60).map(|at| 1000 * n + at).collect();
                let responses = send_all(addr, seeds.iter().map(|seed| encoded(40, *seed)));
                let accepted =
                    seeds.iter().zip(&responses).filter(|(_, response)| response.grpc_status() == Some(0));
                let refused = responses.iter().filter(|response| response.grpc_status() == Some(14)).count();
                (accepted.map(|(seed, _)| *seed).collect::<Vec<_>>(), refused)
            })
        })
        .collect();
    let (mut accepted, mut refused) = (Vec::new(), 0);
    for thread in threads {
        let (more, not) = thread.join().unwrap();
        accepted.extend(more);
        refused += not;
    }
    assert_eq!(accepted.len() + refused, 180);
    assert!(refused > 0 && !accepted.is_empty(), "{refused} refused");
    let stats = drain(relay, SOON);
    assert_eq!(settled(&stats).delivered, 40 * accepted.len() as u64);
    assert_eq!(stats.receivers[0].rejected_requests.iter().sum::<u64>(), refused as u64);
    assert_seen(&collector, &ids_of(accepted, 40));
}
