//! A whole relay with a disk behind its upstream: what is acknowledged is delivered or on disk, whatever becomes of the upstream; with
//! a healthy one nothing is written. What bounds the disk is in `disk_bounds.rs`.

#![cfg(test)]

#[path = "support/spool_dir.rs"]
mod spool_dir;
mod support;

use std::time::Duration;

use bytes::Bytes;
use relay_core::batch::DropReason;
use relay_core::config::{Acknowledge, SpillConfig, UpstreamConfig};
use relay_core::otlp::Signal;
use relay_core::{RelayHandle, StartError};
use spool_dir::{SpoolDir, assert_once, kept, wait_until};
use support::poison::{allergic, poisoned};
use support::{SOON, assert_ok, builder, drain, encoded, endpoint, retry, send_all, settled, upstream};
use testkit::collector::{Collector, Reply, Script};
use tokio::time::Instant;

/// To `collector`, with `dir` behind it.
fn with_disk(collector: &Collector, dir: &SpoolDir) -> UpstreamConfig {
    UpstreamConfig { spill: Some(SpillConfig::new(dir.path())), ..upstream(collector.addr()) }
}

/// A collector that is away until it is restarted.
fn away() -> Collector {
    let mut collector = Collector::start(Script::ok());
    collector.stop();
    collector
}

fn send(relay: &RelayHandle, seeds: std::ops::Range<u64>) {
    assert_ok(&send_all(endpoint(relay), seeds.map(|seed| encoded(3, seed))));
}

/// Guarantee: while the upstream takes everything in time, not even a file is made.
#[test]
fn a_healthy_upstream_leaves_the_disk_untouched() {
    let (collector, dir) = (Collector::start(Script::ok()), SpoolDir::new());
    let relay = builder(with_disk(&collector, &dir)).start().unwrap();
    for round in 0..20 {
        send(&relay, round * 10..round * 10 + 10);
    }
    assert!(dir.is_empty(), "{:?}", dir.entries());
    // Every sender was answered when its request was delivered.
    assert_once(&collector, 3 * 200);
    let stats = drain(relay, SOON);
    assert_eq!(settled(&stats).delivered, 600);
    let spill = stats.upstreams[0].spill.clone().unwrap();
    assert_eq!((spill.written_bytes, spill.syncs, spill.stored_records), (0, 0, 0));
    assert!(dir.is_empty());
}

/// Guarantee: senders are answered soon although the upstream is away, and all of it is delivered once when that comes back.
#[test]
fn what_an_absent_upstream_misses_is_replayed() {
    let (mut collector, dir) = (away(), SpoolDir::new());
    let relay = builder(with_disk(&collector, &dir)).start().unwrap();
    let began = Instant::now();
    for round in 0..10 {
        send(&relay, round * 20..round * 20 + 20);
    }
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    let items = relay.stats().upstreams[0].items;
    assert_eq!((items.enqueued, items.delivered, items.held()), (600, 0, 600));
    assert!(!dir.is_empty());
    collector.restart();
    assert_eq!(collector.wait_for_spans(600, SOON), 600);
    wait_until(|| relay.stats().upstreams[0].items.held() == 0);
    assert_once(&collector, 600);
    let stats = drain(relay, SOON);
    assert_eq!(settled(&stats).delivered, 600);
    assert!(dir.is_empty(), "{:?}", dir.entries());
}

/// Guarantee: a drain with the upstream away ends soon, gives nothing up, and the next relay delivers all of it.
#[test]
fn a_drain_leaves_to_disk_what_the_next_relay_sends() {
    let (mut collector, dir) = (away(), SpoolDir::new());
    let relay = builder(with_disk(&collector, &dir)).start().unwrap();
    send(&relay, 0..50);
    let began = Instant::now();
    let stats = drain(relay, Duration::from_secs(20));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(kept(&stats), 150);

    let relay = builder(with_disk(&collector, &dir)).start().unwrap();
    collector.restart();
    assert_eq!(collector.wait_for_spans(150, SOON), 150);
    wait_until(|| relay.stats().upstreams[0].items.held() == 0);
    assert_once(&collector, 150);
    let items = settled(&drain(relay, SOON));
    assert_eq!((items.enqueued, items.recovered, items.delivered), (0, 150, 150));
    assert!(dir.is_empty(), "{:?}", dir.entries());
}

/// Sends `requests` side by side, those that are refused for now again: a busy machine's disk may need longer than one may wait.
fn send_until_taken(relay: &RelayHandle, mut requests: Vec<Bytes>) {
    while !requests.is_empty() {
        let answers = send_all(endpoint(relay), requests.clone());
        let mut answers = answers.into_iter().map(|answer| answer.grpc_status().unwrap());
        requests.retain(|_| {
            let status = answers.next().unwrap();
            assert!([0, tonic::Code::Unavailable as i32].contains(&status), "{status}");
            status != 0
        });
    }
}

/// Guarantee: what finds no room in memory goes to disk, so that many times the memory is taken in an outage.
#[test]
fn an_outage_is_not_bounded_by_memory() {
    const HELD: usize = 4 << 20;
    let (mut collector, dir) = (away(), SpoolDir::new());
    let relay = builder(with_disk(&collector, &dir)).held_bytes_max(HELD).start().unwrap();
    // About 32 MiB of 32 KiB each.
    for round in 0..16_u64 {
        send_until_taken(&relay, (0..64).map(|nth| encoded(64, round * 64 + nth)).collect());
        let held = relay.stats().held_bytes;
        assert!(held <= HELD, "{held}");
    }
    let stats = relay.stats();
    let spill = stats.upstreams[0].spill.clone().unwrap();
    assert!(spill.bytes > 20 << 20, "{spill:?}");
    collector.restart();
    let spans = 16 * 64 * 64;
    assert_eq!(collector.wait_for_spans(spans, Duration::from_secs(30)), spans);
    wait_until(|| relay.stats().upstreams[0].items.held() == 0);
    assert_once(&collector, spans);
    assert_eq!(settled(&drain(relay, SOON)).delivered, spans as u64);
}

/// An upstream that takes longer than `spill_after`. Guarantee: senders do not wait for it, and its answers settle what was written.
#[test]
fn a_slow_upstream_settles_what_was_stored() {
    let slow = Duration::from_secs(2);
    let (collector, dir) = (Collector::start(Script::always(Reply::ok_after(slow))), SpoolDir::new());
    let relay = builder(with_disk(&collector, &dir)).start().unwrap();
    let began = Instant::now();
    send(&relay, 0..5);
    assert!(began.elapsed() < slow, "{:?}", began.elapsed());
    let stored = relay.stats().upstreams[0].spill.clone().unwrap();
    assert!(stored.stored_records > 0, "{stored:?}");
    assert_eq!(collector.wait_for_spans(15, SOON), 15);
    wait_until(|| relay.stats().upstreams[0].items.held() == 0);
    let stats = drain(relay, SOON);
    assert_eq!((settled(&stats).delivered, collector.span_count()), (15, 15));
    assert!(dir.is_empty(), "{:?}", dir.entries());
}

/// Guarantee: `wait_for_result` tells the upstream's own answer although a copy is on disk by then.
#[test]
fn who_waits_for_the_result_hears_the_upstream() {
    let refused = Reply::status(tonic::Code::InvalidArgument, "no");
    let late = Reply::Delay(Duration::from_millis(500), Box::new(refused));
    let (collector, dir) = (Collector::start(Script::always(late)), SpoolDir::new());
    let config = UpstreamConfig { wait_for_result: true, ..with_disk(&collector, &dir) };
    let relay = builder(config).start().unwrap();
    let answer = send_all(endpoint(&relay), [encoded(1, 1)]).remove(0);
    assert_eq!((answer.grpc_status(), answer.grpc_message()), (Some(3), "no"));
    assert!(relay.stats().upstreams[0].spill.clone().unwrap().stored_records > 0);
    let items = settled(&drain(relay, SOON));
    assert_eq!(items.dropped_for(DropReason::Rejected), 1);
    assert!(dir.is_empty(), "{:?}", dir.entries());
}

/// Guarantee: with `WhenQueued` senders are answered at once and nothing is written before memory is full or the relay ends.
#[test]
fn a_disk_for_overflow_only_waits_for_the_end() {
    let (collector, dir) = (away(), SpoolDir::new());
    let mut config = with_disk(&collector, &dir);
    config.spill = config.spill.map(|spill| SpillConfig { acknowledge: Acknowledge::WhenQueued, ..spill });
    let relay = builder(config).start().unwrap();
    send(&relay, 0..20);
    std::thread::sleep(Duration::from_millis(400));
    assert!(dir.is_empty(), "{:?}", dir.entries());
    assert_eq!(kept(&drain(relay, SOON)), 60);
    assert!(!dir.is_empty());
}

/// Guarantee: what the retry clock gives up in memory is not lost: the disk keeps it, and it is sent again.
#[test]
fn the_retry_clock_expires_nothing_on_disk() {
    let busy = Collector::start(Script::always(Reply::unavailable(None)));
    let dir = SpoolDir::new();
    let mut config = with_disk(&busy, &dir);
    retry(&mut config).max_elapsed_time = Some(Duration::from_millis(300));
    let relay = builder(config).start().unwrap();
    send(&relay, 0..5);
    wait_until(|| relay.stats().upstreams[0].spill.clone().unwrap().replayed_records >= 3);
    assert_eq!(relay.stats().upstreams[0].items.held(), 15);
    busy.set_script(Script::ok());
    wait_until(|| relay.stats().upstreams[0].items.held() == 0);
    assert_eq!(settled(&drain(relay, SOON)).delivered, 15);
    assert_eq!(busy.span_count(), 15);
}

/// Guarantee: of what comes back from disk only what the upstream refuses for good is lost.
#[test]
fn poison_on_disk_is_isolated() {
    let (mut collector, dir) = (away(), SpoolDir::new());
    let relay = builder(with_disk(&collector, &dir)).cores(1).start().unwrap();
    let requests =
        (0..40_u64).map(|seed| if seed == 17 { poisoned(3, seed, &[1]) } else { encoded(3, seed) });
    assert_ok(&send_all(endpoint(&relay), requests));
    assert_eq!(kept(&drain(relay, SOON)), 120);
    collector.set_script(allergic(Duration::ZERO));
    collector.restart();
    let relay = builder(with_disk(&collector, &dir)).cores(1).start().unwrap();
    wait_until(|| {
        let items = relay.stats().upstreams[0].items;
        items.recovered == 120 && items.held() == 0
    });
    let items = settled(&drain(relay, SOON));
    assert_eq!((items.delivered, items.dropped_for(DropReason::Rejected)), (119, 1));
    assert_once(&collector, 119);
    assert!(dir.is_empty(), "{:?}", dir.entries());
}

/// One exporter is away and has a disk, the other is well. Guarantee: the one misses nothing, the other waits for nothing.
#[test]
fn of_two_upstreams_only_the_absent_one_writes() {
    let (mut absent, well, dir) = (away(), Collector::start(Script::ok()), SpoolDir::new());
    let other = UpstreamConfig { name: "well".to_owned(), ..upstream(well.addr()) };
    let relay = builder(with_disk(&absent, &dir)).upstream(other).start().unwrap();
    send(&relay, 0..30);
    assert_eq!(well.wait_for_spans(90, SOON), 90);
    absent.restart();
    assert_eq!(absent.wait_for_spans(90, SOON), 90);
    wait_until(|| relay.stats().upstreams[0].items.held() == 0);
    settled(&drain(relay, SOON));
    assert_once(&absent, 90);
    assert_once(&well, 90);
}

/// Guarantee: a relay that takes over while another drains (a reload) sends what that one left, and nothing twice.
#[test]
fn a_successor_takes_over_the_disk() {
    let (mut collector, dir) = (away(), SpoolDir::new());
    let first = builder(with_disk(&collector, &dir)).start().unwrap();
    send(&first, 0..20);
    let second = builder(with_disk(&collector, &dir)).start().unwrap();
    send(&second, 20..40);
    assert_eq!(kept(&drain(first, SOON)), 60);
    collector.restart();
    assert_eq!(collector.wait_for_spans(120, SOON), 120);
    wait_until(|| {
        let items = second.stats().upstreams[0].items;
        items.recovered == 60 && items.held() == 0
    });
    assert_once(&collector, 120);
    settled(&drain(second, SOON));
    assert!(dir.is_empty(), "{:?}", dir.entries());
}

/// A relay that is dropped without a drain has said nothing that is not so: what was acknowledged is on disk.
#[test]
fn what_was_acknowledged_outlives_a_relay_that_ends_without_a_drain() {
    let (mut collector, dir) = (away(), SpoolDir::new());
    let relay = builder(with_disk(&collector, &dir)).start().unwrap();
    send(&relay, 0..20);
    drop(relay);
    collector.restart();
    let relay = builder(with_disk(&collector, &dir)).start().unwrap();
    assert_eq!(collector.wait_for_spans(60, SOON), 60);
    wait_until(|| relay.stats().upstreams[0].items.held() == 0);
    settled(&drain(relay, SOON));
    assert_once(&collector, 60);
}

/// What an embedding service hands in is answered as what comes over a socket.
#[test]
fn a_submitted_request_is_stored_too() {
    let (collector, dir) = (away(), SpoolDir::new());
    let relay = builder(with_disk(&collector, &dir)).start().unwrap();
    let receipt = relay.submit(Signal::Traces, encoded(4, 1)).unwrap();
    let settled = support::block_on(async { tokio::time::timeout(SOON, receipt).await.unwrap() });
    assert_eq!(settled, relay_core::batch::Settled::Stored);
    assert_eq!(kept(&drain(relay, SOON)), 4);
}

#[test]
fn a_directory_that_does_not_exist_is_said_at_the_start() {
    let (collector, dir) = (away(), SpoolDir::new());
    let mut config = with_disk(&collector, &dir);
    config.spill = Some(SpillConfig::new(dir.path().join("nowhere")));
    let error = builder(config).start().unwrap_err();
    assert!(matches!(&error, StartError::Spill { upstream, .. } if upstream == "otlp"), "{error}");
    assert!(error.to_string().contains("nowhere"), "{error}");
}
