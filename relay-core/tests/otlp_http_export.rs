//! The OTLP specification's demands on an OTLP/HTTP exporter: what is sent, and what becomes of a batch after each answer, against a
//! scripted server that shares no code with hyper.

#![cfg(test)]

mod support;

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use relay_core::batch::{DropReason, LedgerCounts, Rope};
use relay_core::config::{
    ClientAuth, Compression, HttpConfig, HttpUpstreamConfig, Passthrough, ReceiverConfig, Secret,
    SecretSource,
};
use relay_core::encoding::{Encoding, deflate, inflate};
use relay_core::limits::LEARNED_BYTES_MIN;
use relay_core::stats::Stats;
use relay_core::{Relay, RelayHandle};
use support::http_out::{http_upstream, relay, scripted, server, submit, url_upstream};
use support::http1::Http1;
use support::{SOON, drain, encoded, endpoint, loopback, settled};
use testkit::http_upstream::HttpReply;
use testkit::oracle::ExportTraceServiceRequest;
use testkit::rpc_status::RpcStatus;
use tokio::time::Instant;

fn drained(relay: RelayHandle) -> (Stats, LedgerCounts) {
    let stats = drain(relay, SOON);
    let items = settled(&stats);
    (stats, items)
}

fn spans(body: &[u8]) -> usize {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
    scopes.map(|scope| scope.spans.len()).sum()
}

#[test]
fn x16_x21_a_request_says_what_it_is() {
    let (upstream, asked) = scripted(Vec::new());
    let url = format!("http://{}/custom/path?key=1", upstream.addr());
    let relay = relay(url_upstream(&url, |http: &mut HttpUpstreamConfig| {
        http.headers = vec![("X-Token".to_owned(), "s3cret".to_owned())];
    }));
    let message = encoded(20, 1);
    submit(&relay, message.clone());
    assert_eq!(drained(relay).1.delivered, 20);
    let calls = asked.calls();
    let call = &calls[0];
    assert_eq!((call.method.as_str(), call.target.as_str()), ("POST", "/custom/path?key=1"));
    assert_eq!(call.body, message, "the bytes as they came");
    let length = message.len().to_string();
    let host = upstream.addr().to_string();
    for (name, value) in [
        ("content-type", Some("application/x-protobuf")),
        ("content-length", Some(length.as_str())),
        ("host", Some(host.as_str())),
        ("x-token", Some("s3cret")),
        ("content-encoding", None),
        ("transfer-encoding", None),
        ("connection", None),
    ] {
        assert_eq!(call.header(name), value, "{name}");
    }
    let agent = call.header("user-agent").unwrap();
    assert!(agent.starts_with("relayd/") && agent.contains(" OTel-OTLP-Exporter-"), "{agent}");
}

/// Every compression of the Collector by its name, and the length of what is really sent.
#[test]
fn x16_compressed_requests_say_how() {
    let message = encoded(100, 1);
    for name in ["gzip", "zlib", "deflate", "zstd", "snappy", "x-snappy-framed", "lz4"] {
        let compression = Compression::for_http(name, None).unwrap();
        let (upstream, asked) = scripted(vec![HttpReply::status(503)]);
        let relay = relay(url_upstream(&format!("http://{}/", upstream.addr()), |http| {
            http.compression = compression;
        }));
        submit(&relay, message.clone());
        assert_eq!(drained(relay).1.delivered, 100);
        for call in asked.calls() {
            assert_eq!(call.header("content-encoding"), Some(name));
            assert_eq!(call.header("content-length"), Some(call.body.len().to_string().as_str()));
            let body = Rope::new(vec![call.body]);
            let plain = inflate(Encoding::of(compression).unwrap(), body, message.len()).unwrap();
            assert_eq!(plain, message, "{name}");
        }
        assert_eq!(asked.count(), 2, "{name}: a retry is compressed too");
    }
}

/// Scenario: requests arrive compressed in several ways, and the upstream takes them unopened. Guarantee: each is sent as it came,
/// under the name of its own encoding.
#[test]
fn what_arrives_compressed_is_sent_as_it_came() {
    let (upstream, asked) = scripted(Vec::new());
    let mut config = url_upstream(&format!("http://{}/", upstream.addr()), |http| {
        http.compression = Compression::GZIP;
    });
    config.passthrough = Passthrough::Alone;
    let receiver = ReceiverConfig {
        grpc: false,
        http: Some(HttpConfig::default()),
        ..ReceiverConfig::new("otlp", loopback())
    };
    let relay = Relay::builder().receiver(receiver).upstream(config).cores(1).start().unwrap();
    let mut sender = Http1::connect(endpoint(&relay));
    let plain = encoded(50, 1);
    let mut sent = Vec::new();
    for name in ["gzip", "deflate", "zstd", "snappy", "x-snappy-framed", "lz4"] {
        let compression = Compression::for_http(name, None).unwrap();
        let packed = deflate(compression, &Rope::new(vec![plain.clone()])).unwrap();
        let headers = [("content-type", "application/x-protobuf"), ("content-encoding", name)];
        assert_eq!(sender.request("POST", "/v1/traces", &headers, &packed).status, 200, "{name}");
        sent.push((name.to_owned(), packed));
    }
    drain(relay, SOON);
    let calls = asked.calls().into_iter();
    let mut got: Vec<(String, Bytes)> =
        calls.map(|call| (call.header("content-encoding").unwrap().to_owned(), call.body)).collect();
    got.sort();
    sent.sort();
    assert!(got == sent, "names {:?}", got.iter().map(|(name, _)| name).collect::<Vec<_>>());
}

/// What is configured to be shown goes with every request, and in place of a header of its name.
#[test]
fn credentials_go_with_every_request() {
    let (upstream, asked) = scripted(Vec::new());
    let relay = relay(url_upstream(&format!("http://{}/", upstream.addr()), |http| {
        http.headers = vec![("authorization".to_owned(), "other".to_owned())];
        http.auth = Some(Box::new(ClientAuth::Basic {
            user: SecretSource::Inline(Secret::new("Aladdin")),
            password: SecretSource::Inline(Secret::new("open sesame")),
        }));
    }));
    (0..2).for_each(|seed| submit(&relay, encoded(1, seed)));
    assert_eq!(settled(&drain(relay, SOON)).delivered, 2);
    for call in asked.calls() {
        let values: Vec<_> = call.headers.get_all("authorization").iter().collect();
        assert_eq!(values, ["Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="]);
    }
}

/// The statuses of OTLP 1.11 that are retried; all others are not, and what they refuse is dropped and counted.
#[test]
fn x10_statuses_decide_about_retries() {
    let retried = [429, 502, 503, 504];
    let others = [
        300, 301, 302, 307, 308, 400, 401, 403, 404, 405, 406, 408, 409, 411, 412, 413, 415, 417, 421, 422,
        425, 431, 451, 499, 500, 501, 505, 507, 511, 599,
    ];
    for status in retried.into_iter().chain(others) {
        let (upstream, asked) = scripted(vec![HttpReply::status(status)]);
        let relay = relay(http_upstream(upstream.addr()));
        // A single span, which cannot be cut any further.
        submit(&relay, encoded(1, 1));
        let (stats, items) = drained(relay);
        let is_retried = retried.contains(&status);
        assert_eq!(asked.count(), if is_retried { 2 } else { 1 }, "{status}");
        assert_eq!(items.delivered, if is_retried { 1 } else { 0 }, "{status}");
        assert_eq!(stats.upstreams[0].retries, u64::from(is_retried), "{status}");
        let reason = match status {
            404 => DropReason::Unimplemented,
            413 => DropReason::ItemTooLarge,
            _ => DropReason::Rejected,
        };
        assert_eq!(items.dropped_for(reason), if is_retried { 0 } else { 1 }, "{status}");
    }
}

/// All of 2xx is success, with or without a body that can be read.
#[test]
fn success_is_every_status_of_its_class() {
    for (status, kind, body) in [
        (200, "application/x-protobuf", ""),
        (200, "application/json", "{}"),
        (200, "text/plain", "thank you"),
        (200, "application/x-protobuf", "\u{7f}not protobuf"),
        (202, "application/x-protobuf", ""),
        (204, "application/x-protobuf", ""),
    ] {
        let headers = vec![("content-type".to_owned(), kind.to_owned())];
        let (upstream, asked) = scripted(vec![HttpReply::Answer { status, headers, body: body.into() }]);
        let relay = relay(http_upstream(upstream.addr()));
        submit(&relay, encoded(3, 1));
        assert_eq!((drained(relay).1.delivered, asked.count()), (3, 1), "{status} {kind} {body:?}");
    }
}

fn one_retry_takes(status: u16, retry_after: &str) -> Duration {
    let reply = HttpReply::answer(status, &[("retry-after", retry_after)], Bytes::new());
    let (upstream, asked) = scripted(vec![reply]);
    let relay = relay(http_upstream(upstream.addr()));
    submit(&relay, encoded(3, 1));
    // Not by draining, which does not wait so long.
    let started = Instant::now();
    while asked.count() < 2 && started.elapsed() < SOON {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(drained(relay).1.delivered, 3);
    let calls = asked.calls();
    calls[1].at - calls[0].at
}

#[test]
fn x11_retry_after_is_obeyed_as_seconds_and_as_date() {
    assert!(one_retry_takes(429, "1") >= Duration::from_secs(1));
    assert!(one_retry_takes(503, "0") < Duration::from_secs(1), "at once is after the backoff");
    assert!(one_retry_takes(503, "when it suits") < Duration::from_secs(1), "what is no time is no delay");
    #[expect(clippy::disallowed_methods, reason = "a test's own clock")]
    let date = std::time::SystemTime::now() + Duration::from_secs(3);
    // Dates have whole seconds: up to one is lost.
    assert!(one_retry_takes(503, &httpdate::fmt_http_date(date)) >= Duration::from_millis(1500));
}

#[test]
fn x09_partial_success_is_counted_and_never_retried() {
    // ExportTraceServiceResponse { partial_success { rejected_spans: 2, error_message: "no" } }
    let protobuf = (&b"\x0a\x06\x08\x02\x12\x02no"[..], "application/x-protobuf");
    let json = (&br#"{"partialSuccess":{"rejectedSpans":"2","errorMessage":"no"}}"#[..], "application/json");
    for (body, kind) in [protobuf, json] {
        let headers = vec![("content-type".to_owned(), kind.to_owned())];
        let reply = HttpReply::Answer { status: 200, headers, body: Bytes::from_static(body) };
        let (upstream, asked) = scripted(vec![reply]);
        let relay = relay(http_upstream(upstream.addr()));
        submit(&relay, encoded(5, 1));
        let items = drained(relay).1;
        assert_eq!((items.delivered, items.dropped_for(DropReason::PartialSuccess)), (3, 2), "{kind}");
        assert_eq!(asked.count(), 1);
    }
}

/// An answer without an end is not read on, and what it answers is not sent again, even where the status would be retried.
#[test]
fn x03_a_huge_answer_is_refused_for_good() {
    for status in [200, 503] {
        let (upstream, asked) = scripted(vec![HttpReply::Endless { status, bytes_max: 16 << 20 }]);
        let relay = relay(http_upstream(upstream.addr()));
        submit(&relay, encoded(3, 1));
        let items = drained(relay).1;
        assert_eq!((items.dropped_for(DropReason::Rejected), asked.count()), (3, 1), "{status}");
    }
}

/// A reset in the middle of an answer's body.
fn reset_in_answer(status: u16) -> HttpReply {
    HttpReply::ResetAfter(format!("HTTP/1.1 {status} scripted\r\ncontent-length: 1000\r\n\r\nhalf").into())
}

/// Closed without an answer, broken off in the middle of one, never answered: sent once more, and delivered.
#[test]
fn x12_a_lost_answer_is_retried() {
    for lost in [HttpReply::Close, reset_in_answer(200), HttpReply::NeverAnswer] {
        let (upstream, asked) = scripted(vec![lost.clone()]);
        let relay = relay(url_upstream(&format!("http://{}/", upstream.addr()), |http| {
            http.timeout = Duration::from_millis(300);
        }));
        let message = encoded(3, 1);
        submit(&relay, message.clone());
        let (stats, items) = drained(relay);
        assert_eq!((items.delivered, stats.upstreams[0].retries), (3, 1), "{lost:?}");
        assert!(asked.calls().iter().all(|call| call.body == message));
        assert_eq!(asked.count(), 2, "{lost:?}");
    }
}

/// The status of an answer that breaks off counts all the same.
#[test]
fn a_refusal_that_breaks_off_is_a_refusal() {
    let (upstream, asked) = scripted(vec![reset_in_answer(403)]);
    let relay = relay(http_upstream(upstream.addr()));
    submit(&relay, encoded(3, 1));
    assert_eq!((drained(relay).1.dropped_for(DropReason::Rejected), asked.count()), (3, 1));
}

/// Scenario: a server takes less than a batch, and says so by 413, or by the Collector's 400. Guarantee: all spans arrive.
#[test]
fn too_large_is_split_until_it_passes() {
    let limit = 2 * LEARNED_BYTES_MIN;
    for (status, words) in [(413, ""), (400, "http: request body too large")] {
        let body = rpc_status_body(3, words);
        let (upstream, asked) = server(move |call, _| match call.body.len() > limit {
            true => HttpReply::answer(status, &[], body.clone()),
            false => HttpReply::status(200),
        });
        let relay = relay(http_upstream(upstream.addr()));
        submit(&relay, encoded(3000, 1));
        assert_eq!(drained(relay).1.delivered, 3000, "{status}");
        let taken = asked.calls().into_iter().filter(|call| call.body.len() <= limit);
        assert_eq!(taken.map(|call| spans(&call.body)).sum::<usize>(), 3000);
    }
}

fn rpc_status_body(code: i32, message: &str) -> Bytes {
    let status = RpcStatus { code, message: message.to_owned(), details: Vec::new() };
    status.encode_to_vec().into()
}

/// Scenario: one request of many in a batch is refused with 400 or 500. Guarantee: the others are delivered.
#[test]
fn a_poisoned_request_is_isolated() {
    for status in [400, 500] {
        let poison = encoded(1, 99);
        let marker = poison.clone();
        let (upstream, _asked) = server(move |call, _| {
            let found = call.body.windows(marker.len()).any(|window| window == marker);
            HttpReply::status(if found { status } else { 200 })
        });
        let mut config = http_upstream(upstream.addr());
        config.linger = Duration::from_secs(60);
        let relay = relay(config);
        (0..6).for_each(|seed| submit(&relay, encoded(10, seed)));
        submit(&relay, poison);
        (6..12).for_each(|seed| submit(&relay, encoded(10, seed)));
        let items = drained(relay).1;
        assert_eq!((items.delivered, items.dropped_for(DropReason::Rejected)), (120, 1), "{status}");
    }
}

/// Scenario: a server that never answers. Guarantee: a drain ends at its deadline, and what is held is counted.
#[test]
fn a_drain_ends_at_its_deadline() {
    let (upstream, asked) = server(|_, _| HttpReply::NeverAnswer);
    let relay = relay(http_upstream(upstream.addr()));
    submit(&relay, encoded(3, 1));
    while asked.count() == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let stats = drain(relay, Duration::from_millis(300));
    assert_eq!(settled(&stats).dropped_for(DropReason::ShutdownDeadline), 3);
}
