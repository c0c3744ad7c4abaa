//! Overload: whose turn it is, what a refused sender is told, and that memory stays below its bound at every moment.

#![cfg(test)]

mod support;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use relay_core::config::{HttpConfig, OnFull, QueueLimit, ReceiverConfig, UpstreamConfig};
use relay_core::limits::{BLOCK_WAIT_MAX, REFUSE_WAIT_MAX};
use relay_core::{Relay, RelayHandle, StatsReader};
use support::{SOON, builder, drain, encoded, endpoint, loopback, send_all, settled, upstream};
use testkit::collector::{Collector, Reply, Script};
use testkit::raw::{RawClient, RawRequest, grpc_message};
use tokio::task::LocalSet;

/// These fill a relay and time what becomes of it: one after the other.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request of about `bytes`.
fn request(bytes: usize, seed: u64) -> Bytes {
    let one = encoded(64, seed).len() / 64;
    encoded((bytes / one).max(1), seed)
}

fn in_runtime<T>(run: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, run)
}

/// What one sender has been told.
#[derive(Default)]
struct Told {
    taken: AtomicU64,
    refused: AtomicU64,
}

/// Sends one call after the other on `client` until `stop`; a refusal is followed by the next call at once.
async fn send_until(client: Arc<RawClient>, message: Bytes, told: Arc<Told>, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        let call = RawRequest::export(vec![grpc_message(&message)]);
        let Ok(response) = client.send(call).await else { return };
        match response.grpc_status() {
            Some(0) => told.taken.fetch_add(1, Ordering::Relaxed),
            _ => {
                assert_eq!(response.grpc_status(), Some(14), "{response:?}");
                assert!(response.retry_delay().is_some(), "a refusal says when to come back");
                told.refused.fetch_add(1, Ordering::Relaxed)
            }
        };
    }
}

/// Samples what is held until the reader is stopped; the most that it has seen, of the whole and of its upstreams.
fn watch(stats: StatsReader, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<usize> {
    std::thread::spawn(move || {
        let mut most = 0;
        while !stop.load(Ordering::Relaxed) {
            most = most.max(stats.stats().held_bytes);
            std::thread::yield_now();
        }
        most
    })
}

/// Scenario: an upstream that takes at most 6 MiB/s; one connection with 256 streams that send requests of 64 KiB without a pause,
/// nine with one call of 4 KiB at a time. Guarantee: none of the nine is refused, the noisy one is; those of one core get the
/// same, those of both about the same, and each at least half of an equal share of the bytes, as far as its one call at a time can
/// use it; what is held never exceeds its bound.
#[test]
fn a_noisy_connection_does_not_starve_the_others() {
    let _alone = alone();
    let collector = Collector::start(Script::always(Reply::ok_after(Duration::from_millis(20))));
    let mut config = upstream(collector.addr());
    config.calls_max = 2;
    config.batch.bytes_max = 64 << 10;
    let held_max = 1 << 20;
    let relay = builder(config).held_bytes_max(held_max).start().unwrap();
    let addr = endpoint(&relay);
    let stop = Arc::new(AtomicBool::new(false));
    let watching = watch(relay.stats_reader(), Arc::clone(&stop));
    let (noisy, nine) = in_runtime(async {
        let noisy = Arc::new(Told::default());
        let nine: Vec<Arc<Told>> = (0..9).map(|_| Arc::default()).collect();
        let client = Arc::new(RawClient::connect(addr).await.unwrap());
        let mut tasks = Vec::new();
        for seed in 0..256 {
            let message = request(64 << 10, seed % 4);
            let task = send_until(Arc::clone(&client), message, Arc::clone(&noisy), Arc::clone(&stop));
            tasks.push(tokio::task::spawn_local(task));
        }
        // The nine come when it has taken all there is.
        tokio::time::sleep(Duration::from_millis(700)).await;
        let before = noisy.taken.load(Ordering::Relaxed);
        for (seed, told) in (0..).zip(&nine) {
            let client = Arc::new(RawClient::connect(addr).await.unwrap());
            let task = send_until(client, request(4 << 10, seed), Arc::clone(told), Arc::clone(&stop));
            tasks.push(tokio::task::spawn_local(task));
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        let noisy_taken = noisy.taken.load(Ordering::Relaxed) - before;
        stop.store(true, Ordering::Relaxed);
        for task in tasks {
            tokio::time::timeout(SOON, task).await.unwrap().unwrap();
        }
        ((noisy_taken, noisy.refused.load(Ordering::Relaxed)), nine)
    });
    let most = watching.join().unwrap();
    assert!(most <= held_max && most > held_max / 2, "{most} of {held_max} bytes held");
    let taken: Vec<u64> = nine.iter().map(|told| told.taken.load(Ordering::Relaxed)).collect();
    let refused: u64 = nine.iter().map(|told| told.refused.load(Ordering::Relaxed)).sum();
    println!(
        "noisy: {} taken, {} refused; nine: {taken:?} taken, {refused} refused; {most} held",
        noisy.0, noisy.1
    );
    assert_eq!(refused, 0, "{taken:?}");
    assert!(noisy.1 > 0 && noisy.0 > 0, "{noisy:?}");
    let (least, most) = (taken.iter().min().unwrap(), taken.iter().max().unwrap());
    // The cores get them in turn. Of one core all get the same; the core that reads the noisy one's 256 streams is slower for its own.
    for core in [0, 1] {
        let (least, most) =
            (taken.iter().skip(core).step_by(2).min(), taken.iter().skip(core).step_by(2).max());
        assert!(least.unwrap() * 5 >= most.unwrap() * 4, "{taken:?}");
    }
    assert!(least * 3 >= *most, "{taken:?}");
    // In a round each has its turn for 16 KiB; the noisy one needs four for a request.
    assert!(*least >= noisy.0, "{taken:?} against {noisy:?}");
    settled(&drain(relay, SOON));
}

fn http_receiver(relay: &RelayHandle) -> SocketAddr {
    relay.listening_on()[1].tcp().unwrap()
}

/// A POST of a request over HTTP/1.1; status line and head of the answer, and how long it took.
fn post(addr: SocketAddr, body: &[u8]) -> (String, Duration) {
    use std::io::{Read, Write};
    let began = tokio::time::Instant::now();
    let mut stream = std::net::TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(2 * SOON)).unwrap();
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: {}\r\nConnection: \
         close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    (String::from_utf8_lossy(&answer).into_owned(), began.elapsed())
}

fn relay_of_both(mut config: UpstreamConfig, on_full: OnFull, held_max: usize) -> RelayHandle {
    config.on_full = on_full;
    config.calls_max = 1;
    config.batch.bytes_max = 32 << 10;
    let mut http = ReceiverConfig::new("otlp/http", loopback());
    (http.grpc, http.http) = (false, Some(HttpConfig::default()));
    let relay = Relay::builder().receiver(ReceiverConfig::new("otlp", loopback())).receiver(http);
    relay.upstream(config).cores(2).held_bytes_max(held_max).start().unwrap()
}

/// Fills the relay until it refuses; how many requests it has taken.
fn fill(addr: SocketAddr) -> u64 {
    let mut taken = 0;
    loop {
        let answers = send_all(addr, (0..8).map(|seed| request(30 << 10, seed)));
        let refused = answers.iter().filter(|answer| answer.grpc_status() == Some(14)).count();
        taken += 8 - refused as u64;
        if refused == 8 {
            return taken;
        }
    }
}

/// The default: refused after a short wait, over gRPC with RetryInfo, over HTTP with 503 and Retry-After.
#[test]
fn a_full_relay_refuses_after_a_short_wait() {
    let _alone = alone();
    let collector = Collector::start(Script::always(Reply::NeverAnswer));
    let relay = relay_of_both(upstream(collector.addr()), OnFull::Refuse, 200 << 10);
    fill(endpoint(&relay));
    let [answer] = &send_all(endpoint(&relay), [request(30 << 10, 1)])[..] else { panic!("one answer") };
    assert_eq!((answer.grpc_status(), answer.retry_delay()), (Some(14), Some(Duration::from_secs(1))));
    let (answer, took) = post(http_receiver(&relay), &request(30 << 10, 1));
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && answer.to_lowercase().contains("retry-after: 1"),
        "{answer}"
    );
    assert!(took >= Duration::from_millis(200) && took < Duration::from_secs(5), "{took:?}");
    settled(&drain(relay, Duration::from_millis(100)));
}

/// `block_on_overflow`: the same requests wait until there is room, over gRPC and HTTP; a caller's own deadline ends its wait.
#[test]
fn a_full_relay_that_blocks_takes_it_when_there_is_room() {
    let _alone = alone();
    let collector = Collector::start(Script::always(Reply::NeverAnswer));
    let mut config = upstream(collector.addr());
    config.calls_max = 1;
    let relay = relay_of_both(config, OnFull::Block, 200 << 10);
    let (addr, http) = (endpoint(&relay), http_receiver(&relay));
    // As many as there is room for, and their callers wait no longer than they say.
    let impatient = |seed| {
        let call = RawRequest::export(vec![grpc_message(&request(30 << 10, seed))]);
        testkit::raw::exchange(addr, vec![call.with_header("grpc-timeout", "300m")]).remove(0).unwrap()
    };
    while impatient(1).grpc_status() == Some(0) {}
    let (grpc, over_http) = (
        std::thread::spawn(move || send_all(addr, [request(30 << 10, 2)]).remove(0)),
        std::thread::spawn(move || post(http, &request(30 << 10, 3))),
    );
    std::thread::sleep(Duration::from_millis(800));
    assert!(!grpc.is_finished() && !over_http.is_finished(), "they wait longer than a refusal takes");
    collector.set_script(Script::ok());
    // The call in flight ends by its timeout, 5 s.
    assert_eq!(grpc.join().unwrap().grpc_status(), Some(0));
    let (answer, took) = over_http.join().unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && took > Duration::from_millis(700),
        "{answer} after {took:?}"
    );
    let items = settled(&drain(relay, SOON));
    assert_eq!(items.enqueued, items.delivered);
}

/// Each unit of `sending_queue.queue_size` is a bound that is reached and never exceeded, by several connections on both cores.
#[test]
fn a_queue_holds_as_much_as_it_may_in_each_unit() {
    let _alone = alone();
    let collector = Collector::start(Script::always(Reply::NeverAnswer));
    let spans = 7;
    for (limit, requests_max) in [
        (QueueLimit::Requests(10), 10),
        (QueueLimit::Items(72), 10),
        // Each request is copied into a batch, whose first block is 4 KiB.
        (QueueLimit::Bytes(48 << 10), u64::MAX),
    ] {
        let mut config = upstream(collector.addr());
        (config.queue, config.calls_max) = (limit, 1);
        let relay = builder(config).start().unwrap();
        let addr = endpoint(&relay);
        let senders: Vec<_> = (0..4)
            .map(|n| {
                std::thread::spawn(move || send_all(addr, (0..16).map(|seed| encoded(spans, 16 * n + seed))))
            })
            .collect();
        let answers: Vec<_> = senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect();
        let taken = answers.iter().filter(|answer| answer.grpc_status() == Some(0)).count() as u64;
        let stats = relay.stats();
        let [upstream] = &stats.upstreams[..] else { panic!("one upstream") };
        assert_eq!(upstream.items.held(), taken * spans as u64);
        assert_eq!(upstream.enqueue_failed_items, (64 - taken) * spans as u64, "{limit:?}");
        match limit {
            QueueLimit::Bytes(max) => assert!(upstream.held_bytes <= max && upstream.held_bytes > max / 2),
            _ => assert_eq!(taken, requests_max, "{limit:?}"),
        }
        settled(&drain(relay, Duration::from_millis(50)));
    }
}

/// Scenario: a stalled upstream and 64 connections that each send requests of 1 MiB, whose bodies alone are three times what the
/// relay may hold. Guarantee: no more is held than that at any moment, and when the upstream goes on, so do they all: halves
/// of bodies do not keep each other from being completed.
#[test]
fn large_bodies_neither_exceed_the_bound_nor_block_each_other() {
    let _alone = alone();
    let collector = Collector::start(Script::always(Reply::NeverAnswer));
    let mut config = upstream(collector.addr());
    config.on_full = OnFull::Block;
    let held_max = 20 << 20;
    let relay = builder(config).held_bytes_max(held_max).start().unwrap();
    let addr = endpoint(&relay);
    let stop = Arc::new(AtomicBool::new(false));
    let watching = watch(relay.stats_reader(), Arc::clone(&stop));
    let message = request(1 << 20, 1);
    let taken = in_runtime(async {
        let told: Arc<Told> = Arc::default();
        let mut tasks = Vec::new();
        for _ in 0..64 {
            let client = Arc::new(RawClient::connect(addr).await.unwrap());
            let task = send_until(client, message.clone(), Arc::clone(&told), Arc::clone(&stop));
            tasks.push(tokio::task::spawn_local(task));
        }
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let stalled = told.taken.load(Ordering::Relaxed);
        collector.set_script(Script::ok());
        for _ in 0..400 {
            tokio::time::sleep(Duration::from_millis(25)).await;
            collector.forget_messages();
            if told.taken.load(Ordering::Relaxed) >= stalled + 128 {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
        for task in tasks {
            tokio::time::timeout(2 * SOON, task).await.unwrap().unwrap();
        }
        (stalled, told.taken.load(Ordering::Relaxed))
    });
    let most = watching.join().unwrap();
    println!("{taken:?} taken, stalled and in all; {most} of {held_max} bytes held at most");
    assert!(most <= held_max, "{most} of {held_max}");
    assert!(taken.1 >= taken.0 + 128, "{taken:?}");
    settled(&drain(relay, SOON));
}

/// Sends one call, its body in frames of `frame_bytes`; its status, and how long it took.
async fn send_in_frames(addr: SocketAddr, message: &Bytes, frame_bytes: usize) -> (Option<i32>, Duration) {
    let (whole, client) = (grpc_message(message), RawClient::connect(addr).await.unwrap());
    let frames = whole.chunks(frame_bytes).map(Bytes::copy_from_slice).collect();
    let started = tokio::time::Instant::now();
    let answer = tokio::time::timeout(3 * SOON, client.send(RawRequest::export(frames))).await;
    (answer.unwrap().unwrap().grpc_status(), started.elapsed())
}

/// Scenario: a budget of 256 KiB, and requests whose bodies come in frames of the size of a segment of TCP. Guarantee: one that fits the
/// budget gets in at once, whatever it comes in; one that does not is refused after one wait for room, not one for each reason to wait.
#[test]
fn a_body_in_little_frames_gets_in_and_is_answered_in_time() {
    let _alone = alone();
    let collector = Collector::start(Script::ok());
    for on_full in [OnFull::Refuse, OnFull::Block] {
        let mut config = upstream(collector.addr());
        config.on_full = on_full;
        let relay = builder(config).held_bytes_max(256 << 10).start().unwrap();
        in_runtime(async {
            for (bytes, frame_bytes) in [(30 << 10, 1600), (200 << 10, 1600), (100 << 10, 9000)] {
                let (status, took) = send_in_frames(endpoint(&relay), &request(bytes, 1), frame_bytes).await;
                assert!(
                    status == Some(0) && took < SOON / 4,
                    "{bytes} in {frame_bytes}: {status:?} in {took:?}"
                );
            }
            let (status, took) = send_in_frames(endpoint(&relay), &request(400 << 10, 1), 1600).await;
            let wait_max = if on_full == OnFull::Block { BLOCK_WAIT_MAX } else { REFUSE_WAIT_MAX };
            assert!(status == Some(14) && took < wait_max + SOON / 4, "{on_full:?}: {status:?} in {took:?}");
        });
        settled(&drain(relay, SOON));
    }
}
