//! A core that dies is seen, said and counted, and the others go on: connections, listeners, what waited in its lane. A panic of a
//! call alone kills no core.

#![cfg(test)]

mod support;

use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::Duration;

use bytes::Bytes;
use relay_core::batch::{Batch, DropReason};
use relay_core::config::{BatchSink, ListenAddress, ReceiverConfig, UpstreamConfig};
use relay_core::otlp::Signal;
use relay_core::upstream::Outcome;
use relay_core::{Relay, RelayHandle};
use support::{SOON, assert_ok, builder, drain, encoded, endpoint, loopback, send_all, settled, upstream};
use testkit::collector::{Collector, Reply, Script};
use testkit::raw::{RawClient, RawRequest, grpc_message};

/// Bytes of an embedding service whose owner panics when it is let go of, which a core does in its own loop.
struct Bomb(Bytes);

impl AsRef<[u8]> for Bomb {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(self.0.is_empty(), "the bomb of a test");
    }
}

fn wait_for(what: &str, done: impl Fn() -> bool) {
    for _ in 0..4000 {
        if done() {
            return;
        }
        sleep(Duration::from_millis(5));
    }
    panic!("waited in vain for {what}");
}

/// Kills the core with the fewest connections, the first of several; which one that is.
fn kill_a_core(relay: &RelayHandle) -> usize {
    let before = relay.stats().deaths;
    let bomb = Bytes::from_owner(Bomb(encoded(3, 77)));
    drop(relay.submit(Signal::Traces, bomb).unwrap());
    wait_for("a death", || relay.stats().deaths != before);
    let after = relay.stats().deaths;
    let dead = (0..after.len()).find(|core| before[*core] != after[*core]).unwrap();
    assert!(after[dead].as_deref().unwrap().contains("the bomb of a test"), "{after:?}");
    dead
}

fn send(client: &RawClient, seed: u64) -> impl Future<Output = Option<i32>> {
    let call = RawRequest::export(vec![grpc_message(&encoded(2, seed))]);
    async move { client.send(call).await.ok().and_then(|response| response.grpc_status()) }
}

/// Scenario: the accepting core dies, then a second one, while a connection lives on the third. Guarantee: health says so, its
/// own connections are closed, that one is not disturbed, new ones are accepted and served, and the books add up.
#[test]
fn the_others_go_on_when_the_core_that_accepts_dies() {
    let collector = Collector::start(Script::ok());
    let relay = builder(upstream(collector.addr())).cores(3).start().unwrap();
    let addr = endpoint(&relay);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        // One on each core: a new one goes to the core with the fewest.
        let mut clients = Vec::new();
        for seed in 0..3 {
            let client = RawClient::connect(addr).await.unwrap();
            assert_eq!(send(&client, seed).await, Some(0));
            clients.push(client);
        }
        assert!(relay.is_healthy());
        // A call that is in flight when its core dies counts as given up.
        wait_for("answers of the upstream", || relay.stats().upstreams[0].items.held() == 0);
        assert_eq!([kill_a_core(&relay), kill_a_core(&relay)], [0, 1]);
        assert!(!relay.is_healthy() && relay.is_alive());
        let mut alive = 0;
        for (seed, client) in (3..).zip(&clients) {
            alive += usize::from(send(client, seed).await == Some(0));
        }
        assert_eq!(alive, 1, "two had their connections on dead cores");
        for seed in 10..20 {
            let client = RawClient::connect(addr).await.unwrap();
            assert_eq!(send(&client, seed).await, Some(0), "accepted by the core that is left");
        }
    });
    assert!(collector.wait_for_spans(2 * 14, SOON) >= 2 * 14);
    let stats = drain(relay, SOON);
    let items = settled(&stats);
    assert_eq!(stats.receivers[0].accepted_items(), 2 * 14);
    // The bombs themselves.
    assert_eq!((items.enqueued, items.delivered, items.dropped_for(DropReason::Aborted)), (34, 28, 6));
    assert!(TcpStream::connect(addr).is_err(), "nobody listens after the drain");
}

/// Scenario: a unix socket, and both cores die. Guarantee: its file survives the first death and not the last, which leaves a relay that
/// says it is dead, takes nothing, holds nothing and can be drained.
#[test]
fn the_last_death_leaves_nothing_open() {
    let path = std::env::temp_dir().join(format!("relay-dead-core-{}.sock", std::process::id()));
    let collector = Collector::start(Script::always(Reply::NeverAnswer));
    let receiver = ReceiverConfig::new("otlp", ListenAddress::Unix(path.clone()));
    let relay =
        Relay::builder().receiver(receiver).upstream(upstream(collector.addr())).cores(2).start().unwrap();
    kill_a_core(&relay);
    wait_for("the other core to accept", || UnixStream::connect(&path).is_ok());
    kill_a_core(&relay);
    wait_for("the socket to go", || UnixStream::connect(&path).is_err());
    assert!(!relay.is_alive() && !relay.is_healthy() && !path.exists());
    assert!(relay.submit(Signal::Traces, encoded(1, 1)).is_err());
    let items = settled(&drain(relay, SOON));
    assert_eq!((items.enqueued, items.dropped_for(DropReason::Aborted)), (6, 6));
}

/// Scenario: the upstream never answers, so that calls are in flight and batches wait in the lanes of both cores; one core dies; the
/// upstream answers again. Guarantee: what was in calls of the dead core is dropped as aborted, the rest is sent by the other
/// one, and accepted = delivered + dropped.
#[test]
fn what_waited_is_taken_by_the_others() {
    let collector = Collector::start(Script::always(Reply::NeverAnswer));
    let mut config = upstream(collector.addr());
    config.calls_max = 2;
    config.batch.items_target = 1;
    let relay = builder(config).start().unwrap();
    let addr = endpoint(&relay);
    // Over both cores.
    for round in 0..4 {
        assert_ok(&send_all(addr, (0..25).map(|n| encoded(1, 25 * round + n))));
    }
    assert!(collector.wait_for_calls(2, SOON) >= 2);
    let dead = kill_a_core(&relay);
    collector.set_script(Script::ok());
    wait_for("the others to send", || relay.stats().upstreams[0].items.held() <= 1);
    let stats = drain(relay, SOON);
    let items = settled(&stats);
    assert_eq!((items.enqueued, stats.receivers[0].accepted_items()), (103, 100), "core {dead}");
    // The call in flight. The bomb was copied into a batch of its own before it went off.
    let aborted = items.dropped_for(DropReason::Aborted);
    assert_eq!(aborted, 1);
    assert_eq!(items.delivered + aborted, 103);
}

/// Panics at every second batch.
#[derive(Default)]
struct PanickingSink(AtomicUsize);

impl BatchSink for PanickingSink {
    fn deliver(&self, _: &Batch) -> Outcome {
        assert!(self.0.fetch_add(1, Ordering::Relaxed).is_multiple_of(2), "the sink of a test");
        Outcome::Accepted { rejected: 0, message: String::new() }
    }
}

/// Guarantee: a call that panics loses its own batch, counted, and no core.
#[test]
fn a_call_that_panics_kills_no_core() {
    let mut config = UpstreamConfig::sink("panics", Arc::new(PanickingSink::default()));
    config.batch.items_target = 1;
    let relay = Relay::builder().receiver(ReceiverConfig::new("otlp", loopback())).upstream(config).cores(2);
    let relay = relay.start().unwrap();
    let addr: SocketAddr = endpoint(&relay);
    for seed in 0..10 {
        assert_ok(&send_all(addr, [encoded(1, seed)]));
    }
    wait_for("the calls", || relay.stats().upstreams[0].items.held() == 0);
    assert!(relay.is_healthy());
    let stats = drain(relay, SOON);
    let items = settled(&stats);
    assert_eq!((items.delivered, items.dropped_for(DropReason::Aborted)), (5, 5));
    assert_eq!((stats.upstreams[0].call_panics, stats.upstreams[0].calls), (5, 0));
}
