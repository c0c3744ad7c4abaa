//! What a sender can get wrong, over a real socket: each mistake has its status and its counter, and good
//! calls on the same connection at the same time go on. Attacks on HTTP/2 itself are in `abuse.rs`.

#![cfg(test)]

mod support;

use bytes::Bytes;
use relay_core::RelayHandle;
use relay_core::config::ReceiverConfig;
use relay_core::limits::RECEIVE_MESSAGE_BYTES_MAX;
use relay_core::stats::RejectReason;
use support::{SOON, assert_ok, builder, drain, encoded, endpoint, loopback, settled, upstream};
use testkit::collector::{Collector, Script};
use testkit::raw::{
    End, RawClient, RawRequest, RawResponse, exchange, grpc_message, grpc_message_compressed,
    grpc_message_with, gzip,
};
use testkit::wire::put_len_field;

/// Largest message that the relay under test takes, so that what is too large is quickly made.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

fn start(collector: &Collector) -> RelayHandle {
    let mut receiver = ReceiverConfig::new("otlp", loopback());
    receiver.message_bytes_max = MESSAGE_BYTES_MAX;
    relay_core::Relay::builder()
        .receiver(receiver)
        .upstream(upstream(collector.addr()))
        .cores(2)
        .start()
        .unwrap()
}

fn rejected(relay: &RelayHandle, reason: RejectReason) -> u64 {
    relay.stats().receivers[0].rejected_requests[reason as usize]
}

fn good(seed: u64) -> RawRequest {
    RawRequest::export(vec![grpc_message(&encoded(2, seed))])
}

fn gzipped(payload: &[u8]) -> RawRequest {
    RawRequest::export(vec![grpc_message_compressed(payload)]).with_header("grpc-encoding", "gzip")
}

fn protobuf(bytes: &[u8]) -> RawRequest {
    RawRequest::export(vec![grpc_message(bytes)])
}

/// What a mistake must be answered with: a gRPC status, or the HTTP status of who does not speak gRPC.
enum Expect {
    Grpc(i32),
    Http(u16),
}

use Expect::{Grpc, Http};
use RejectReason::{Decompress, GrpcMessage, Malformed, NotGrpc, TooLarge, UnknownPath, UnsupportedEncoding};

type Mistake = (&'static str, RawRequest, Expect, RejectReason);

/// gRPC's own rules: path, method, content type, encoding, the five-byte prefix.
fn grpc_mistakes() -> Vec<Mistake> {
    let message = encoded(2, 1);
    let two = [grpc_message(&message), grpc_message(&message)];
    let get = RawRequest { method: http::Method::GET, chunks: Vec::new(), ..good(1) };
    let trace = "/opentelemetry.proto.collector.trace.v1.TraceService";
    let claims =
        |len: usize| RawRequest::export(vec![grpc_message_with(0, u32::try_from(len).unwrap(), &message)]);
    let flag = |flag| {
        RawRequest::export(vec![grpc_message_with(flag, u32::try_from(message.len()).unwrap(), &message)])
    };
    let without_type = {
        let mut request = good(1);
        request.headers.remove("content-type");
        request
    };
    vec![
        (
            "unknown service",
            good(1).with_path("/opentelemetry.proto.collector.logs.v1.LogsService/Export"),
            Grpc(12),
            UnknownPath,
        ),
        ("unknown method", good(1).with_path(&format!("{trace}/Import")), Grpc(12), UnknownPath),
        ("OTLP/HTTP path", good(1).with_path("/v1/traces"), Grpc(12), UnknownPath),
        ("GET", get, Http(405), NotGrpc),
        ("JSON", good(1).with_header("content-type", "application/json"), Http(415), NotGrpc),
        ("gRPC with JSON", good(1).with_header("content-type", "application/grpc+json"), Http(415), NotGrpc),
        ("no content type", without_type, Http(415), NotGrpc),
        ("lz4", good(1).with_header("grpc-encoding", "lz4"), Grpc(12), UnsupportedEncoding),
        ("no such encoding", good(1).with_header("grpc-encoding", "rot13"), Grpc(12), UnsupportedEncoding),
        ("flag 2", flag(2), Grpc(3), GrpcMessage),
        ("flag 255", flag(255), Grpc(3), GrpcMessage),
        ("compressed without encoding", flag(1), Grpc(13), GrpcMessage),
        ("length longer than body", claims(message.len() + 1), Grpc(3), GrpcMessage),
        ("length shorter than body", claims(message.len() - 1), Grpc(12), GrpcMessage),
        ("two messages", RawRequest::export(vec![two.concat().into()]), Grpc(12), GrpcMessage),
        ("two messages in two frames", RawRequest::export(two.to_vec()), Grpc(12), GrpcMessage),
        ("no prefix", RawRequest::export(Vec::new()), Grpc(3), GrpcMessage),
        ("half a prefix", RawRequest::export(vec![Bytes::from_static(&[0, 0, 0])]), Grpc(3), GrpcMessage),
        ("4 GiB declared", claims(u32::MAX as usize), Grpc(8), TooLarge),
        ("over the limit by one", claims(MESSAGE_BYTES_MAX + 1), Grpc(8), TooLarge),
        ("over the limit in fact", protobuf(&encoded(4000, 1)), Grpc(8), TooLarge),
    ]
}

/// Messages that are not what they say: gzip and protobuf.
fn payload_mistakes() -> Vec<Mistake> {
    let message = encoded(20, 1);
    let packed = gzip(&message);
    let bad_sum = {
        let mut bytes = packed.clone();
        let at = bytes.len() - 8;
        bytes[at] ^= 1;
        bytes
    };
    let bomb = gzip(&vec![0; 512 << 20 >> 3]);
    assert!(bomb.len() < MESSAGE_BYTES_MAX / 10, "{}", bomb.len());
    let nested = |tag: u8| [vec![tag; 200], vec![tag + 1; 200]].concat();
    let in_span_list = |fields: &[u8]| {
        let (mut resource_spans, mut request) = (Vec::new(), Vec::new());
        put_len_field(&mut resource_spans, 2, fields);
        put_len_field(&mut request, 1, &resource_spans);
        request
    };
    vec![
        ("not gzip", gzipped(&message), Grpc(3), Decompress),
        ("truncated gzip", gzipped(&packed[..packed.len() / 2]), Grpc(3), Decompress),
        ("gzip with a wrong sum", gzipped(&bad_sum), Grpc(3), Decompress),
        ("gzip, then garbage", gzipped(&[&packed[..], b"garbage"].concat()), Grpc(3), Decompress),
        ("gzip bomb", gzipped(&bomb), Grpc(8), TooLarge),
        ("gzip bomb in members", gzipped(&gzip(&vec![0; 1 << 17]).repeat(20)), Grpc(8), TooLarge),
        ("gzip of garbage", gzipped(&gzip(b"\xff\xff\xff")), Grpc(3), Malformed),
        ("truncated protobuf", protobuf(&message[..message.len() - 1]), Grpc(3), Malformed),
        ("length past the end", protobuf(&[0x0a, 0x7f, 0]), Grpc(3), Malformed),
        ("length of 2^64-1", protobuf(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), Grpc(3), Malformed),
        (
            "varint of 11 bytes",
            protobuf(b"\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00"),
            Grpc(3),
            Malformed,
        ),
        ("field number 0", protobuf(&[0x02, 0]), Grpc(3), Malformed),
        ("tag of six bytes", protobuf(b"\xfa\xff\xff\xff\xff\x7f\x00"), Grpc(3), Malformed),
        ("wire type 6", protobuf(&[0x0e]), Grpc(3), Malformed),
        ("wire type 7", protobuf(&[0x0f]), Grpc(3), Malformed),
        ("ResourceSpans as varint", protobuf(&[0x08, 1]), Grpc(3), Malformed),
        ("span as fixed64", protobuf(&in_span_list(&[0x11, 0, 0, 0, 0, 0, 0, 0, 0])), Grpc(3), Malformed),
        ("group never ended", protobuf(&[0x1b]), Grpc(3), Malformed),
        ("end of no group", protobuf(&[0x1c]), Grpc(3), Malformed),
        ("groups nested too deep", protobuf(&nested(0x1b)), Grpc(3), Malformed),
        ("JSON as protobuf", protobuf(br#"{"resourceSpans":[]}"#), Grpc(3), Malformed),
    ]
}

fn check(name: &str, response: &RawResponse, expect: &Expect) {
    match expect {
        Grpc(code) => {
            assert_eq!((response.status, response.grpc_status()), (200, Some(*code)), "{name}: {response:?}");
            assert!(!response.grpc_message().is_empty(), "{name}: a refusal says why");
            assert_eq!(response.retry_delay(), None, "{name}: trying again cannot help (OTLP, Failures)");
        }
        Http(status) => assert_eq!((response.status, response.grpc_status()), (*status, None), "{name}"),
    }
    if name.contains("encoding") && matches!(expect, Grpc(12)) || name == "lz4" {
        assert_eq!(response.field("grpc-accept-encoding"), Some("identity,gzip,snappy,zstd"), "{name}");
    }
    if name == "GET" {
        assert_eq!(response.field("allow"), Some("POST"));
    }
}

/// Every mistake between two good calls on one connection: its status, its counter; the good ones succeed and
/// arrive.
#[test]
fn mistakes_have_their_status_and_counter_and_hurt_nobody_else() {
    let collector = Collector::start(Script::ok());
    let relay = start(&collector);
    let mistakes = grpc_mistakes().into_iter().chain(payload_mistakes());
    let mut calls = 0;
    for (name, request, expect, reason) in mistakes {
        let before = rejected(&relay, reason);
        let mut responses = exchange(endpoint(&relay), vec![good(calls), request, good(calls + 1)]);
        let bad = responses.remove(1).unwrap_or_else(|error| panic!("{name}: {error}"));
        check(name, &bad, &expect);
        assert_ok(&responses.into_iter().map(Result::unwrap).collect::<Vec<_>>());
        assert_eq!(rejected(&relay, reason), before + 1, "{name} is counted as {}", reason.name());
        calls += 2;
    }
    let stats = drain(relay, SOON);
    assert_eq!(settled(&stats).delivered, 2 * calls);
    assert_eq!(collector.span_count() as u64, 2 * calls);
    assert_eq!(stats.receivers[0].accepted_requests(), calls);
}

/// What is odd and allowed is a success: multi-member gzip, a prefix over five DATA frames, an uncompressed
/// message under an encoding, groups and overlong varints, ids of wrong lengths, empty messages.
#[test]
fn odd_but_valid_requests_are_accepted() {
    let collector = Collector::start(Script::ok());
    let relay = start(&collector);
    let message = encoded(3, 1);
    let bytewise = grpc_message(&message);
    let chunks: Vec<Bytes> = (0..5).map(|at| bytewise.slice(at..=at)).chain([bytewise.slice(5..)]).collect();
    let halves = message.split_at(message.len() / 2);
    let members = [gzip(halves.0), gzip(halves.1)].concat();
    let odd_id = b"\x0a\x0f\x12\x0d\x12\x0b\x0a\x03abc\x12\x01x\x2a\x01n";
    let groups = [vec![0x1b; 100], vec![0x1c; 100], message.to_vec()].concat();
    let overlong = [&b"\x8a\x80\x80\x80\x00\x80\x80\x80\x00"[..], &message].concat();
    let valid = [
        (3, RawRequest::export(chunks)),
        (3, gzipped(&members)),
        (3, RawRequest::export(vec![grpc_message(&message)]).with_header("grpc-encoding", "gzip")),
        (
            2,
            good(9)
                .with_header("content-type", "application/grpc+proto")
                .with_header("grpc-encoding", "identity"),
        ),
        (1, protobuf(odd_id)),
        (3, protobuf(&groups)),
        (3, protobuf(&overlong)),
        (0, protobuf(&[])),
        (0, protobuf(&[0x0a, 0])),
        (0, gzipped(&gzip(&[]))),
    ];
    let (spans, requests): (Vec<u64>, Vec<RawRequest>) = valid.into_iter().unzip();
    let expected: u64 = spans.iter().sum();
    let responses: Vec<_> = exchange(endpoint(&relay), requests).into_iter().map(Result::unwrap).collect();
    assert_ok(&responses);
    let stats = drain(relay, SOON);
    assert_eq!(settled(&stats).delivered, expected);
    assert_eq!(stats.receivers[0].accepted_requests(), 10);
    assert_eq!(collector.span_count() as u64, expected);
}

/// Truncated at every byte: an error or, at a border of fields, a smaller request; never a panic or a lost
/// connection.
#[test]
fn a_request_cut_at_every_byte_is_answered() {
    let collector = Collector::start(Script::ok());
    let relay = start(&collector);
    let message = encoded(1, 1);
    for part in (0..message.len()).collect::<Vec<_>>().chunks(100) {
        let requests = part.iter().map(|end| protobuf(&message[..*end])).collect();
        for response in exchange(endpoint(&relay), requests) {
            assert!(matches!(response.unwrap().grpc_status(), Some(0 | 3)));
        }
    }
    let stats = drain(relay, SOON);
    let receiver = &stats.receivers[0];
    let malformed = receiver.rejected_requests[Malformed as usize];
    assert_eq!(malformed + receiver.accepted_requests(), message.len() as u64);
    assert!(malformed > message.len() as u64 - 3, "one field: only nothing at all is whole");
    assert_eq!(settled(&stats).enqueued, 0);
}

/// A prefix that declares 4 GiB, or 64 MiB that never come, reserves nothing; what has come is counted while
/// it waits and given back when the sender gives up.
#[test]
fn declared_lengths_reserve_nothing() {
    let collector = Collector::start(Script::ok());
    let relay = builder(upstream(collector.addr())).start().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = RawClient::connect(endpoint(&relay)).await.unwrap();
        let claim = u32::try_from(RECEIVE_MESSAGE_BYTES_MAX).unwrap();
        let open = || {
            let chunk = grpc_message_with(0, claim, &[0; 100]);
            RawRequest::export(vec![chunk]).with_end(End::Open)
        };
        let mut waiting: Vec<_> = (0..20).map(|_| Box::pin(client.send(open()))).collect();
        for _ in 0..50 {
            for call in &mut waiting {
                assert!(futures_util::poll!(call).is_pending());
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        let held = relay.stats().held_bytes;
        // What is counted are receive buffers of 16 KiB, not the 20 times 64 MiB that were declared.
        assert!(held <= 20 * (17 << 10), "{held} bytes held");
        assert_eq!(client.send(good(1)).await.unwrap().grpc_status(), Some(0), "the others go on");
        drop(waiting);
        for _ in 0..500 {
            if relay.stats().held_bytes == 0 {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("{} bytes are still held after the senders have gone", relay.stats().held_bytes);
    });
    assert_eq!(settled(&drain(relay, SOON)).delivered, 2);
}

/// END_STREAM never comes and the sender resets: nothing is counted as accepted or refused, and the others go
/// on.
#[test]
fn a_call_that_is_reset_leaves_nothing_behind() {
    let collector = Collector::start(Script::ok());
    let relay = start(&collector);
    let message = grpc_message(&encoded(5, 1));
    let half = RawRequest::export(vec![message.slice(..100)]).with_end(End::Reset);
    // Far fewer than what counts as a flood.
    let requests = || (0..30).map(|n| if n % 3 == 0 { half.clone() } else { good(n) }).collect();
    for _ in 0..3 {
        let responses = exchange(endpoint(&relay), requests());
        assert_eq!(responses.iter().filter(|response| response.is_ok()).count(), 20);
    }
    let stats = drain(relay, SOON);
    assert_eq!((settled(&stats).delivered, stats.receivers[0].accepted_requests()), (120, 60));
    assert_eq!(stats.receivers[0].rejected_requests.iter().sum::<u64>(), 0);
}
