//! Fan-out: several upstreams share one copy of the bytes, and one that is down, slow or full neither slows nor fills the others.

#![cfg(test)]

mod support;

use std::time::Duration;

use relay_core::batch::DropReason;
use relay_core::config::{Destination, UpstreamConfig};
use relay_core::stats::Stats;
use relay_core::{RelayBuilder, RelayHandle};
use support::{SOON, assert_ok, builder, drain, encoded, endpoint, send_all, settled, upstream};
use testkit::collector::{Collector, Reply, Script};
use testkit::raw::{RawClient, RawRequest, grpc_message};

/// Gives up nothing by itself for the time of a test.
fn patient(name: &str, collector: &Collector) -> UpstreamConfig {
    let mut config =
        UpstreamConfig { name: name.into(), budget_group: name.into(), ..upstream(collector.addr()) };
    if let Destination::Grpc(grpc) = &mut config.destination {
        grpc.timeout = Duration::from_secs(60);
    }
    config.batch.bytes_max = 64 << 10;
    config
}

fn start(upstreams: Vec<UpstreamConfig>) -> RelayHandle {
    let mut upstreams = upstreams.into_iter();
    let first = builder(upstreams.next().unwrap());
    upstreams.fold(first, RelayBuilder::upstream).held_bytes_max(3 << 20).start().unwrap()
}

/// Sends `count` requests of 20 spans, one after the other on one connection every 2 ms, as exporters do: one that is refused comes again after
/// the delay that is asked for. Refusals, and the time that each call took.
fn send_paced(relay: &RelayHandle, count: u64) -> (u64, Vec<Duration>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = RawClient::connect(endpoint(relay)).await.unwrap();
        let mut pace = tokio::time::interval(Duration::from_millis(2));
        let (mut refused, mut took) = (0_u64, Vec::new());
        for seed in 0..count {
            pace.tick().await;
            let call = RawRequest::export(vec![grpc_message(&encoded(20, seed))]);
            loop {
                let began = tokio::time::Instant::now();
                let answer = client.send(call.clone()).await.unwrap();
                took.push(began.elapsed());
                if answer.grpc_status() == Some(0) {
                    break;
                }
                assert_eq!(answer.grpc_status(), Some(14));
                refused += 1;
                tokio::time::sleep(answer.retry_delay().unwrap()).await;
            }
        }
        (refused, took)
    })
}

fn percentile(took: &[Duration], per_cent: usize) -> Duration {
    let mut sorted = took.to_vec();
    sorted.sort();
    sorted[(sorted.len() - 1) * per_cent / 100]
}

fn watch_held(
    relay: &RelayHandle,
) -> (std::sync::Arc<std::sync::atomic::AtomicBool>, std::thread::JoinHandle<usize>) {
    use std::sync::atomic::{AtomicBool, Ordering};
    let (stats, stop) = (relay.stats_reader(), std::sync::Arc::new(AtomicBool::new(false)));
    let stopped = std::sync::Arc::clone(&stop);
    let watching = std::thread::spawn(move || {
        let mut most = 0;
        while !stopped.load(Ordering::Relaxed) {
            most = most.max(stats.stats().held_bytes);
            std::thread::yield_now();
        }
        most
    });
    (stop, watching)
}

/// Scenario: one upstream takes nothing, one 20 batches of 64 KiB a second, one all. More comes than the first two can hold. Guarantee: the
/// healthy one has everything once, senders are refused once for each of the others when it fills up, and wait no longer than alone
/// otherwise; memory stays below its bound; what each of the others has missed is counted there, and all books add up.
#[test]
fn one_that_is_down_and_one_that_is_slow_hold_nobody_back() {
    let (hole, slow, healthy) = (
        Collector::start(Script::always(Reply::NeverAnswer)),
        Collector::start(Script::always(Reply::ok_after(Duration::from_millis(50)))),
        Collector::start(Script::ok()),
    );
    let alone = start(vec![patient("alone", &healthy)]);
    let (_, took_alone) = send_paced(&alone, 600);
    settled(&drain(alone, SOON));
    let before = healthy.span_count();

    let mut slow = patient("slow", &slow);
    slow.calls_max = 1;
    let relay = start(vec![patient("hole", &hole), slow, patient("healthy", &healthy)]);
    let (stop, watching) = watch_held(&relay);
    let (refused, took) = send_paced(&relay, 1500);
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let most = watching.join().unwrap();
    assert!(most <= 3 << 20, "{most}");
    let (median, late) = (percentile(&took, 50), percentile(&took, 95));
    let (median_alone, late_alone) = (percentile(&took_alone, 50), percentile(&took_alone, 95));
    println!(
        "median {median:?} (alone {median_alone:?}), p95 {late:?} (alone {late_alone:?}), {most} bytes held at most"
    );
    // Once for each of the two while they fill up; some times more if the machine is busy.
    assert!((1..=8).contains(&refused), "{refused}");
    assert_eq!(healthy.wait_for_spans(before + 30_000, SOON), before + 30_000);
    let stats = relay.stats();
    let [hole, slow, healthy] = [0, 1, 2].map(|n| stats.upstreams[n].items);
    assert!(hole.dropped_for(DropReason::QueueFull) > 1000 && hole.held() > 1000, "{hole:?}");
    assert!(slow.delivered > 0, "{slow:?}");
    assert_eq!((healthy.dropped_total(), healthy.enqueued), (0, 30_000));
    assert_books(&drain(relay, Duration::from_millis(300)), 30_000, 20 * refused);
}

/// Accepted by the receiver = delivered + dropped, at each upstream; what was refused was refused by all.
fn assert_books(stats: &Stats, accepted: u64, refused: u64) {
    settled(stats);
    assert_eq!(
        (stats.receivers[0].accepted_items(), stats.receivers[0].refused_items()),
        (accepted, refused)
    );
    for upstream in &stats.upstreams {
        assert_eq!(
            (upstream.items.enqueued, upstream.enqueue_failed_items),
            (accepted, refused),
            "{upstream:?}"
        );
    }
}

/// Three upstreams that hold the same requests hold them once.
#[test]
fn three_upstreams_hold_one_copy() {
    let collector = Collector::start(Script::always(Reply::NeverAnswer));
    let relay = start(["a", "b", "c"].map(|name| patient(name, &collector)).into());
    let requests: Vec<_> = (0..20).map(|seed| encoded(20, seed)).collect();
    let bytes: usize = requests.iter().map(bytes::Bytes::len).sum();
    assert_ok(&send_all(endpoint(&relay), requests));
    let stats = relay.stats();
    assert_eq!(stats.held_bytes, bytes);
    assert!(
        stats.upstreams.iter().all(|upstream| upstream.held_bytes == bytes && upstream.items.held() == 400)
    );
    settled(&drain(relay, Duration::from_millis(50)));
}

/// Where all are full the sender is refused by all, and nobody has the request: it may come again without duplicates.
#[test]
fn a_request_that_nobody_has_room_for_is_refused_whole() {
    let collector = Collector::start(Script::always(Reply::NeverAnswer));
    let relay = start(vec![patient("a", &collector), patient("b", &collector)]);
    let (mut accepted, mut refused) = (0, 0);
    while refused < 50 {
        for answer in send_all(endpoint(&relay), (0..50).map(|seed| encoded(40, seed))) {
            *if answer.grpc_status() == Some(0) { &mut accepted } else { &mut refused } += 1;
        }
    }
    let stats = relay.stats();
    // Of a request that is refused before it is there nobody knows the items.
    let counted = stats.receivers[0].refused_items();
    assert!(counted > 0 && counted <= 40 * refused, "{counted} of {refused} requests");
    for upstream in &stats.upstreams {
        let seen = (upstream.items.enqueued, upstream.enqueue_failed_items);
        assert_eq!(seen, (40 * accepted, counted), "{upstream:?}");
    }
    settled(&drain(relay, Duration::from_millis(50)));
}
