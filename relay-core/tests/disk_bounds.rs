//! A whole relay whose disk is full, too old, or gone: nobody is told what is not so, what is lost is counted by its reason, and it goes
//! on by itself when it can.

#![cfg(test)]

#[path = "support/spool_dir.rs"]
mod spool_dir;
mod support;

use std::time::Duration;

use relay_core::batch::DropReason;
use relay_core::config::{Destination, KeyedConfig, Members, SpillConfig, UpstreamConfig, WhenFull};
use relay_core::edit::RoutingKey;
use relay_core::{RelayHandle, StartError};
use spool_dir::{SpoolDir, wait_until};
use support::{SOON, builder, drain, encoded, endpoint, send_all, settled, upstream};
use testkit::collector::{Collector, Script};
use testkit::raw::{RawRequest, exchange, grpc_message};
use tonic::Code;

const HELD: usize = 4 << 20;
const REFUSED: [i32; 2] = [Code::Unavailable as i32, Code::DeadlineExceeded as i32];

fn away() -> Collector {
    let mut collector = Collector::start(Script::ok());
    collector.stop();
    collector
}

fn relay(collector: &Collector, spill: SpillConfig) -> RelayHandle {
    let config = UpstreamConfig { spill: Some(spill), ..upstream(collector.addr()) };
    builder(config).held_bytes_max(HELD).start().unwrap()
}

/// Sends 64 requests of about 32 KiB side by side, each with a second of time; how many were accepted, and how many were refused or not
/// answered in time: neither delivered nor on disk.
fn send_round(relay: &RelayHandle, round: u64) -> (u64, u64) {
    let calls = (0..64).map(|nth| {
        RawRequest::export(vec![grpc_message(&encoded(64, round * 64 + nth))])
            .with_header("grpc-timeout", "1S")
    });
    let answers = exchange(endpoint(relay), calls.collect());
    let status: Vec<_> =
        answers.iter().map(|answer| answer.as_ref().unwrap().grpc_status().unwrap()).collect();
    let accepted = status.iter().filter(|status| **status == 0).count() as u64;
    let refused = status.iter().filter(|status| REFUSED.contains(status)).count() as u64;
    assert_eq!(accepted + refused, 64, "{status:?}");
    (accepted, refused)
}

/// Guarantee: a disk at its bound refuses, as a full memory does; what was acknowledged is delivered, and it takes more when there is room
/// again.
#[test]
fn a_full_disk_refuses_and_recovers() {
    let (mut collector, dir) = (away(), SpoolDir::new());
    let spill =
        SpillConfig { bytes_max: 8 << 20, segment_bytes_max: 1 << 20, ..SpillConfig::new(dir.path()) };
    let relay = relay(&collector, spill);
    let (mut accepted, mut refused) = (0, 0);
    for round in 0..12 {
        let (more, less) = send_round(&relay, round);
        (accepted, refused) = (accepted + more, refused + less);
    }
    assert!(accepted > 150 && refused > 100, "{accepted} {refused}");
    let spill = relay.stats().upstreams[0].spill.clone().unwrap();
    assert!(spill.bytes <= 8 << 20 && spill.stores_failed > 0, "{spill:?}");
    collector.restart();
    // What was refused was not taken: all that has come is what was acknowledged, and what its senders did not wait for.
    wait_until(|| relay.stats().upstreams[0].items.held() == 0);
    assert!(collector.span_count() as u64 >= accepted * 64);
    let (more, _) = send_round(&relay, 100);
    assert_eq!(more, 64);
    let items = settled(&drain(relay, SOON));
    assert_eq!((items.dropped_total(), items.delivered), (0, items.enqueued));
    assert_eq!(collector.span_count() as u64, items.delivered);
}

/// Guarantee: with `DropOldest` nobody is refused, and what made room is counted.
#[test]
fn the_oldest_make_room_where_that_is_asked_for() {
    let (mut collector, dir) = (away(), SpoolDir::new());
    let spill = SpillConfig {
        bytes_max: 8 << 20,
        segment_bytes_max: 1 << 20,
        when_full: WhenFull::DropOldest,
        ..SpillConfig::new(dir.path())
    };
    let relay = relay(&collector, spill);
    let accepted: u64 = (0..12).map(|round| send_round(&relay, round).0).sum();
    // More than the disk holds. On a busy machine somebody may not be answered within his second.
    assert!(accepted > 6 * 64, "{accepted}");
    collector.restart();
    wait_until(|| relay.stats().upstreams[0].items.held() == 0);
    let items = settled(&drain(relay, SOON));
    let evicted = items.dropped_for(DropReason::Evicted);
    assert!(evicted > 0 && evicted == items.dropped_total(), "{items:?}");
    assert!(items.delivered + evicted >= accepted * 64, "{items:?}");
}

/// Guarantee: what is too old is not sent, and counted.
#[test]
fn what_is_too_old_expires() {
    let (mut collector, dir) = (away(), SpoolDir::new());
    let first = relay(&collector, SpillConfig::new(dir.path()));
    let accepted = send_round(&first, 0).0;
    let kept = drain(first, SOON).upstreams[0].items.on_disk;
    assert!(accepted > 0 && kept >= accepted * 64, "{accepted} {kept}");
    std::thread::sleep(Duration::from_millis(700));
    let spill = SpillConfig { age_max: Some(Duration::from_millis(600)), ..SpillConfig::new(dir.path()) };
    collector.restart();
    let second = relay(&collector, spill);
    wait_until(|| second.stats().upstreams[0].items.dropped_for(DropReason::Expired) == kept);
    let items = settled(&drain(second, SOON));
    assert_eq!((items.recovered, items.delivered, collector.span_count()), (kept, 0, 0));
}

/// The directory is replaced by a file while the relay runs. Guarantee: it says so, keeps what it can in memory, refuses the rest, and
/// stores again when the directory is back.
#[test]
fn a_disk_that_is_gone_is_a_fault_that_ends() {
    let (mut collector, dir) = (away(), SpoolDir::new());
    let inner = dir.path().join("inner");
    std::fs::create_dir(&inner).unwrap();
    let relay = relay(&collector, SpillConfig::new(&inner));
    std::fs::remove_dir_all(&inner).unwrap();
    std::fs::write(&inner, b"in the way").unwrap();
    let fault = || relay.stats().upstreams[0].spill.clone().unwrap().fault;
    let to = endpoint(&relay);
    // Not answered: neither delivered nor safe.
    let waiting = std::thread::spawn(move || send_all(to, [encoded(3, 1)]));
    wait_until(|| fault().is_some());
    assert!(!waiting.is_finished());
    std::fs::remove_file(&inner).unwrap();
    std::fs::create_dir(&inner).unwrap();
    wait_until(|| fault().is_none());
    assert_eq!(waiting.join().unwrap()[0].grpc_status(), Some(0));
    collector.restart();
    wait_until(|| relay.stats().upstreams[0].items.held() == 0);
    assert_eq!(settled(&drain(relay, SOON)).delivered, 3);
}

#[test]
fn a_tier_has_no_disk() {
    let (collector, dir) = (away(), SpoolDir::new());
    let mut config = upstream(collector.addr());
    config.spill = Some(SpillConfig::new(dir.path()));
    let Destination::Grpc(grpc) = config.destination else { panic!() };
    config.destination = Destination::Keyed(Box::new(KeyedConfig {
        grpc: *grpc,
        members: Members::Static(vec![]),
        key: RoutingKey::TraceId,
    }));
    let error = builder(config).start().unwrap_err();
    assert!(matches!(error, StartError::SpillOfTier(_)), "{error}");
}
