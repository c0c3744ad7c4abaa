//! Compressed requests that are forwarded as they came: byte for byte, alone or one behind the other, counted in requests.

#![cfg(test)]

mod support;

use std::time::Duration;

use bytes::Bytes;
use relay_core::batch::{DropReason, Encoding, Rope};
use relay_core::config::{Compression, HttpConfig, Passthrough, ReceiverConfig, UpstreamConfig};
use relay_core::encoding::deflate;
use relay_core::{Relay, RelayHandle};
use support::http1::Http1;
use support::{SOON, drain, encoded, loopback, settled, upstream};
use testkit::collector::{Collector, Reply, Script};
use testkit::raw::{RawRequest, RawResponse, exchange, grpc_message, grpc_message_compressed};
use tonic::Code;

fn packed(compression: Compression, spans: usize, seed: u64) -> Bytes {
    deflate(compression, &Rope::new(vec![encoded(spans, seed)])).unwrap()
}

fn start(upstreams: impl IntoIterator<Item = UpstreamConfig>) -> RelayHandle {
    let receiver =
        ReceiverConfig { http: Some(HttpConfig::default()), ..ReceiverConfig::new("otlp", loopback()) };
    let builder = Relay::builder().receiver(receiver).cores(1);
    upstreams.into_iter().fold(builder, |builder, upstream| builder.upstream(upstream)).start().unwrap()
}

fn passing(collector: &Collector, passthrough: Passthrough) -> UpstreamConfig {
    UpstreamConfig { passthrough, ..upstream(collector.addr()) }
}

fn call(packed: &[u8], encoding: &str) -> RawRequest {
    RawRequest::export(vec![grpc_message_compressed(packed)]).with_header("grpc-encoding", encoding)
}

fn send(relay: &RelayHandle, calls: Vec<RawRequest>) -> Vec<RawResponse> {
    exchange(support::endpoint(relay), calls).into_iter().map(Result::unwrap).collect()
}

/// What goes out is what came in, alone, with its encoding; plain requests beside it are batched and counted as ever.
#[test]
fn a_compressed_request_goes_on_as_it_came() {
    let collector = Collector::start(Script::ok());
    let relay = start([UpstreamConfig { linger: SOON, ..passing(&collector, Passthrough::Alone) }]);
    let (small, large) = (packed(Compression::GZIP, 3, 1), packed(Compression::Gzip(9), 2000, 2));
    let plain = || RawRequest::export(vec![grpc_message(&encoded(5, 3))]);
    let calls = vec![plain(), call(&small, "gzip"), plain(), call(&large, "gzip")];
    assert!(send(&relay, calls).iter().all(|answer| answer.grpc_status() == Some(0)));
    let over_http = Http1::connect(support::endpoint(&relay)).request(
        "POST",
        "/v1/traces",
        &[("content-type", "application/x-protobuf"), ("content-encoding", "gzip")],
        &small,
    );
    assert_eq!(over_http.status, 200);
    let stats = drain(relay, SOON);
    assert_eq!(settled(&stats).delivered, 10);
    let unopened = stats.upstreams[0].unopened;
    assert_eq!((unopened.enqueued, unopened.delivered, unopened.held()), (3, 3, 0));
    let accepted = stats.receivers.iter().map(|of| (of.signals[0].accepted_unopened, of.accepted_items()));
    assert_eq!(accepted.collect::<Vec<_>>()[..2], [(2, 10), (1, 0)]);
    let mut sizes: Vec<_> = collector
        .calls()
        .iter()
        .map(|call| (call.header("grpc-encoding").is_some(), testkit::oracle::span_count(&call.request)))
        .collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [(false, 10), (true, 3), (true, 3), (true, 2000)]);
}

/// gzip members one behind the other are one request to a server that reads all of them.
#[test]
fn members_are_merged_when_asked_for() {
    let collector = Collector::start(Script::ok());
    let relay = start([UpstreamConfig { linger: SOON, ..passing(&collector, Passthrough::Merged) }]);
    let members: Vec<Bytes> = (0..20).map(|seed| packed(Compression::GZIP, 5, seed)).collect();
    let answers = send(&relay, members.iter().map(|member| call(member, "gzip")).collect());
    assert!(answers.iter().all(|answer| answer.grpc_status() == Some(0)));
    let stats = drain(relay, SOON);
    settled(&stats);
    assert_eq!(stats.upstreams[0].unopened.delivered, 20);
    // What the scripted collector (tonic) makes of it is the danger that the option's documentation names: it reads the first member.
    let calls = collector.calls();
    assert_eq!((calls.len(), testkit::oracle::span_count(&calls[0].request)), (1, 5));
}

/// Merging stops where what the members say of their size is what an upstream takes.
#[test]
fn merged_members_stay_below_the_limit_of_the_upstream() {
    let collector = Collector::start(Script::ok());
    let mut upstream = UpstreamConfig { linger: SOON, ..passing(&collector, Passthrough::Merged) };
    upstream.batch.bytes_max = 2 * encoded(5, 1).len() + 100;
    let relay = start([upstream]);
    let members: Vec<Bytes> = (0..6).map(|_| packed(Compression::GZIP, 5, 1)).collect();
    send(&relay, members.iter().map(|member| call(member, "gzip")).collect());
    drain(relay, SOON);
    assert_eq!(collector.calls().len(), 3);
}

/// It is opened where one of its upstreams does not allow it, or has no such encoding.
#[test]
fn every_upstream_must_allow_it() {
    let (one, other) = (Collector::start(Script::ok()), Collector::start(Script::ok()));
    let second = UpstreamConfig { name: "other".into(), ..upstream(other.addr()) };
    let relay = start([passing(&one, Passthrough::Alone), second]);
    send(&relay, vec![call(&packed(Compression::GZIP, 3, 1), "gzip")]);
    let lz4 = packed(Compression::Lz4, 4, 1);
    let headers = [("content-type", "application/x-protobuf"), ("content-encoding", "lz4")];
    let answer = Http1::connect(support::endpoint(&relay)).request("POST", "/v1/traces", &headers, &lz4);
    assert_eq!(answer.status, 200);
    let stats = drain(relay, SOON);
    assert_eq!((settled(&stats).delivered, stats.upstreams[0].unopened.enqueued), (7, 0));
    assert_eq!(Encoding::Lz4.grpc_name(), None);
}

/// What the upstream cannot read is dropped and counted alone; with `wait_for_result` its sender is told.
#[test]
fn what_is_refused_is_counted_in_requests() {
    let refuse = Script::always(Reply::status(Code::Internal, "cannot decompress"));
    let collector = Collector::start(refuse);
    let waits = UpstreamConfig { wait_for_result: true, ..passing(&collector, Passthrough::Alone) };
    let relay = start([waits]);
    assert_eq!(send(&relay, vec![call(b"not gzip", "gzip")])[0].grpc_status(), Some(13));
    let stats = drain(relay, SOON);
    settled(&stats);
    assert_eq!(stats.upstreams[0].unopened.dropped_for(DropReason::Rejected), 1);
    assert_eq!(stats.receivers[0].signals[0].refused_unopened, 1);
}

/// An outage holds it in memory that is counted, and refuses what does not fit.
#[test]
fn what_is_held_is_bounded() {
    let collector = Collector::start(Script::always(Reply::NeverAnswer));
    let receiver = ReceiverConfig::new("otlp", loopback());
    let relay = Relay::builder().receiver(receiver).upstream(passing(&collector, Passthrough::Alone));
    let relay = relay.cores(1).held_bytes_max(64 << 10).start().unwrap();
    let member = packed(Compression::GZIP, 100, 1);
    let answers = send(&relay, (0..100).map(|_| call(&member, "gzip")).collect());
    let accepted = answers.iter().filter(|answer| answer.grpc_status() == Some(0)).count() as u64;
    let refused = answers.iter().filter(|answer| answer.grpc_status() == Some(14)).count() as u64;
    assert!(accepted > 0 && refused > 0 && accepted + refused == 100);
    assert!(relay.stats().held_bytes <= (64 << 10) + member.len());
    let stats = drain(relay, Duration::ZERO);
    assert_eq!(stats.held_bytes, 0);
    let unopened = stats.upstreams[0].unopened;
    assert_eq!((unopened.enqueued, unopened.dropped_total()), (accepted, accepted));
    // The others were refused while they were read.
    assert!((1..=refused).contains(&stats.upstreams[0].enqueue_failed_unopened));
}

/// An unopened request that the upstream finds too large is dropped alone, and teaches nothing about requests that are opened.
#[test]
fn its_size_says_nothing_about_others() {
    let too_large = "grpc: received message after decompression larger than max 4194304";
    let script = Script::by_call(move |call, _| match call.header("grpc-encoding") {
        Some(_) => Reply::status(Code::ResourceExhausted, too_large),
        None => Reply::Ok,
    });
    let collector = Collector::start(script);
    let relay = start([passing(&collector, Passthrough::Alone)]);
    let member = packed(Compression::GZIP, 20_000, 1);
    assert!(member.len() > 128 << 10);
    send(&relay, vec![call(&member, "gzip")]);
    while relay.stats().upstreams[0].unopened.dropped_total() == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let plain = encoded(2000, 1);
    assert!(plain.len() > member.len() / 2);
    send(&relay, vec![RawRequest::export(vec![grpc_message(&plain)])]);
    let stats = drain(relay, SOON);
    assert_eq!(settled(&stats).delivered, 2000);
    assert_eq!(stats.upstreams[0].unopened.dropped_for(DropReason::ItemTooLarge), 1);
    assert_eq!(collector.calls().len(), 2);
}
