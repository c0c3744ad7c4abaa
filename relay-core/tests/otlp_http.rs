//! The OTLP specification's demands on OTLP/HTTP of a receiver, tried by hand-written HTTP/1.1, and what it must survive.

#![cfg(test)]

mod support;

use std::time::Duration;

use prost::Message as _;
use relay_core::batch::{DropReason, Rope};
use relay_core::config::Compression;
use relay_core::config::{CorsConfig, HttpConfig, ReceiverConfig, UpstreamConfig};
use relay_core::encoding::deflate;
use relay_core::stats::RejectReason;
use relay_core::{Relay, RelayHandle};
use support::http1::{Http1, Response};
use support::{SOON, drain, encoded, endpoint, loopback, settled, upstream};
use testkit::collector::{Collector, Reply, Script};
use testkit::oracle::ExportTraceServiceResponse;
use testkit::rpc_status::RpcStatus;

const TRACES: &str = "/v1/traces";
const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json");
const ONE_SPAN: &str = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"5b8efff798038103d269b633813fc60c",
    "spanId":"EEE19B7EC3C1B174","name":"json","kind":2,"startTimeUnixNano":"1544712660000000000"}]}]}]}"#;

fn http_receiver(http: HttpConfig) -> ReceiverConfig {
    ReceiverConfig { grpc: false, http: Some(http), ..ReceiverConfig::new("otlp", loopback()) }
}

fn start(receiver: ReceiverConfig, upstream: UpstreamConfig) -> RelayHandle {
    Relay::builder().receiver(receiver).upstream(upstream).cores(1).start().unwrap()
}

fn relay_to(collector: &Collector) -> RelayHandle {
    start(http_receiver(HttpConfig::default()), upstream(collector.addr()))
}

fn connect(relay: &RelayHandle) -> Http1 {
    Http1::connect(relay.listening_on()[0].tcp().unwrap())
}

/// A refusal's body is a Status in the request's encoding, with a message.
fn status_of(response: &Response) -> (i64, String) {
    match response.header("content-type").unwrap() {
        "application/x-protobuf" => {
            let status = RpcStatus::decode(&response.body[..]).unwrap();
            (status.code.into(), status.message)
        }
        "application/json" => {
            let status: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
            (status["code"].as_i64().unwrap(), status["message"].as_str().unwrap().to_owned())
        }
        other => panic!("{other}"),
    }
}

fn rejected(relay: &RelayHandle, reason: RejectReason) -> u64 {
    relay.stats().receivers[0].rejected_requests[reason as usize]
}

/// Protobuf and JSON on one port and one connection; answers are the response message in the request's encoding.
#[test]
fn h01_h02_h03_h07_both_encodings_are_accepted_on_one_connection() {
    let collector = Collector::start(Script::ok());
    let relay = relay_to(&collector);
    let mut sender = connect(&relay);
    for spans in [1, 10, 400] {
        let response = sender.post(TRACES, &encoded(spans, 1));
        assert_eq!((response.status, response.body.len()), (200, 0));
        assert_eq!(response.header("content-type"), Some("application/x-protobuf"));
    }
    for content_type in ["application/json", "application/json; charset=utf-8", "Application/JSON"] {
        let response = sender.request("POST", TRACES, &[("content-type", content_type)], ONE_SPAN.as_bytes());
        assert_eq!((response.status, response.text().as_str()), (200, "{}"));
        assert_eq!(response.header("content-type"), Some("application/json"));
    }
    let stats = drain(relay, SOON);
    assert_eq!(settled(&stats).delivered, 414);
    assert_eq!((stats.receivers[0].connections, stats.receivers[0].accepted_requests()), (1, 6));
    let spans = collector.calls().into_iter().flat_map(|call| call.request.resource_spans);
    let spans = spans.flat_map(|spans| spans.scope_spans).flat_map(|scope| scope.spans);
    let json: Vec<_> = spans.filter(|span| span.name == "json").collect();
    assert_eq!((json.len(), json[0].trace_id[0], json[0].span_id[0], json[0].kind), (3, 0x5b, 0xee, 2));
}

#[test]
fn h01_other_paths_methods_and_types_have_their_status() {
    let collector = Collector::start(Script::ok());
    let relay = relay_to(&collector);
    let mut sender = connect(&relay);
    let body = encoded(1, 1);
    let response = sender.request("GET", TRACES, &[], b"");
    assert_eq!((response.status, response.header("allow")), (405, Some("POST")));
    assert_eq!(sender.post("/v1/nothing", &body).status, 404);
    assert_eq!(sender.post("/v1/metrics", &body).status, 404, "no pipeline takes metrics");
    for content_type in ["text/plain", "application/grpc", "application/x-protobufx"] {
        let response = sender.request("POST", TRACES, &[("content-type", content_type)], &body);
        assert_eq!((response.status, status_of(&response).0), (415, 3));
    }
    assert_eq!(sender.request("POST", TRACES, &[], &body).status, 415);
    assert_eq!(settled(&drain(relay, SOON)).enqueued, 0);
}

/// A request that is refused for its head leaves the connection usable; where its body is too long to be read to its end, the
/// answer says that the connection ends.
#[test]
fn a_refusal_says_whether_the_connection_goes_on() {
    let collector = Collector::start(Script::ok());
    let relay = relay_to(&collector);
    let mut sender = connect(&relay);
    for len in [10, 100_000] {
        let refused = sender.request("POST", TRACES, &[("content-type", "text/plain")], &vec![7; len]);
        assert_eq!((refused.status, refused.header("connection")), (415, None), "{len}");
    }
    assert_eq!(sender.post(TRACES, &encoded(1, 1)).status, 200);
    sender.send(b"POST /v1/traces HTTP/1.1\r\nhost: r\r\ncontent-length: 9000000\r\n\r\nabc");
    let refused = sender.answer();
    assert_eq!((refused.status, refused.header("connection")), (415, Some("close")));
    assert_eq!(settled(&drain(relay, SOON)).delivered, 1);
}

/// A header for answers that is none is said at the start, without its value.
#[test]
fn a_bad_answer_header_is_an_error() {
    let collector = Collector::start(Script::ok());
    let headers = vec![("x-ok".into(), "1".into()), ("x bad".into(), "s3cret".into())];
    let receiver = http_receiver(HttpConfig { response_headers: headers, ..HttpConfig::default() });
    let error = Relay::builder().receiver(receiver).upstream(upstream(collector.addr())).start();
    let error = error.unwrap_err().to_string();
    assert!(error.contains("x bad") && !error.contains("s3cret"), "{error}");
}

/// Paths can be configured, and so can headers of answers.
#[test]
fn h01_paths_are_configurable() {
    let collector = Collector::start(Script::ok());
    let mut http =
        HttpConfig { response_headers: vec![("x-relay".into(), "here".into())], ..HttpConfig::default() };
    http.paths[0] = "/collect".to_owned();
    let relay = start(http_receiver(http), upstream(collector.addr()));
    let mut sender = connect(&relay);
    let response = sender.post("/collect", &encoded(1, 1));
    assert_eq!((response.status, response.header("x-relay")), (200, Some("here")));
    assert_eq!(sender.post(TRACES, &encoded(1, 1)).status, 404);
    assert_eq!(settled(&drain(relay, SOON)).delivered, 1);
}

#[test]
fn h05_every_encoding_of_the_collector_is_read() {
    let collector = Collector::start(Script::ok());
    let relay = relay_to(&collector);
    let mut sender = connect(&relay);
    let names = ["gzip", "zlib", "deflate", "zstd", "snappy", "x-snappy-framed", "lz4"];
    for name in names {
        let compression = Compression::for_http(name, None).unwrap();
        let packed = deflate(compression, &Rope::new(vec![encoded(5, 1)])).unwrap();
        let response = sender.request("POST", TRACES, &[PROTOBUF, ("content-encoding", name)], &packed);
        assert_eq!(response.status, 200, "{name}: {response:?}");
    }
    let response = sender.request("POST", TRACES, &[PROTOBUF, ("content-encoding", "br")], &encoded(5, 1));
    assert_eq!((response.status, response.header("accept-encoding").is_some()), (415, true));
    let response = sender.request("POST", TRACES, &[PROTOBUF, ("content-encoding", "gzip")], &encoded(5, 1));
    assert_eq!((response.status, status_of(&response).0), (400, 3));
    assert_eq!(settled(&drain(relay, SOON)).delivered, 5 * names.len() as u64);
}

/// The limit holds for what comes and for what it inflates to; a declared length is refused before a byte of it is sent.
#[test]
fn h06_the_limit_is_413_before_and_after_decompression() {
    let collector = Collector::start(Script::ok());
    let body = encoded(100, 1);
    let exact = ReceiverConfig { message_bytes_max: body.len(), ..http_receiver(HttpConfig::default()) };
    let relay = start(exact, upstream(collector.addr()));
    assert_eq!(connect(&relay).post(TRACES, &body).status, 200);
    let mut sender = connect(&relay);
    let head = format!(
        "POST {TRACES} HTTP/1.1\r\nhost: r\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len() + 1
    );
    sender.send(head.as_bytes());
    let response = sender.answer();
    assert_eq!((response.status, status_of(&response).0), (413, 8));
    for name in ["gzip", "zstd", "snappy", "lz4"] {
        let compression = Compression::for_http(name, None).unwrap();
        let bomb = deflate(compression, &Rope::new(vec![vec![0; body.len() + 1].into()])).unwrap();
        let response =
            connect(&relay).request("POST", TRACES, &[PROTOBUF, ("content-encoding", name)], &bomb);
        assert_eq!(response.status, 413, "{name}");
    }
    // Without a declared length the limit holds while it comes.
    let mut sender = connect(&relay);
    sender.send(b"POST /v1/traces HTTP/1.1\r\nhost: r\r\ncontent-type: application/x-protobuf\r\ntransfer-encoding: chunked\r\n\r\n");
    for chunk in [&body[..], b"x"] {
        sender.send(&[format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
    }
    assert_eq!(sender.answer().status, 413);
    assert_eq!(rejected(&relay, RejectReason::TooLarge), 6);
    assert_eq!(settled(&drain(relay, SOON)).delivered, 100);
}

/// What is no request is 400 with a Status in the encoding that it came in, and the connection serves on.
#[test]
fn h09_h10_bad_data_is_400_in_the_encoding_of_the_request() {
    let collector = Collector::start(Script::ok());
    let relay = relay_to(&collector);
    let mut sender = connect(&relay);
    for body in [&b"\x0a\x7f"[..], b"garbage", b"\x0a\x02\x12"] {
        let response = sender.post(TRACES, body);
        assert_eq!((response.status, status_of(&response).0), (400, 3));
    }
    for body in ["{", "[]", "{\"resourceSpans\":3}", "{\"resourceSpans\":[{}]}x", "\u{feff}{}", "null"] {
        let response = sender.request("POST", TRACES, &[JSON], body.as_bytes());
        assert_eq!(
            (response.status, response.header("content-type")),
            (400, Some("application/json")),
            "{body}"
        );
        assert!(status_of(&response).1.contains("line"), "{body}: {:?}", status_of(&response));
    }
    assert_eq!(sender.post(TRACES, &encoded(1, 1)).status, 200);
    assert_eq!(rejected(&relay, RejectReason::Malformed), 9);
    assert_eq!(settled(&drain(relay, SOON)).delivered, 1);
}

#[test]
fn h16_an_empty_request_is_a_success() {
    let collector = Collector::start(Script::ok());
    let relay = relay_to(&collector);
    let mut sender = connect(&relay);
    for (headers, body) in [
        (PROTOBUF, &b""[..]),
        (JSON, b""),
        (JSON, b"{}"),
        (JSON, b"{\"resourceSpans\":[]}"),
        (PROTOBUF, b"\x0a\x00"),
    ] {
        assert_eq!(sender.request("POST", TRACES, &[headers], body).status, 200);
    }
    assert_eq!(settled(&drain(relay, SOON)).enqueued, 0);
}

/// A full relay answers 503 and says when to come back, in either encoding.
#[test]
fn h11_overload_is_503_with_retry_after() {
    let collector = Collector::start(Script::always(Reply::NeverAnswer));
    let receiver = http_receiver(HttpConfig::default());
    let relay = Relay::builder().receiver(receiver).upstream(upstream(collector.addr())).cores(1);
    let relay = relay.held_bytes_max(256 << 10).start().unwrap();
    let body = encoded(100, 1);
    for (headers, body) in [(PROTOBUF, &body[..]), (JSON, ONE_SPAN.as_bytes())] {
        let mut sender = connect(&relay);
        let refused = (0..1000).map(|_| sender.request("POST", TRACES, &[headers], body));
        let refused = refused.into_iter().find(|response| response.status != 200).unwrap();
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
        assert_eq!(status_of(&refused).0, 14);
    }
    drain(relay, Duration::ZERO);
}

/// `wait_for_result`: the answer is what the upstream has made of it.
#[test]
fn results_travel_back_when_asked_for() {
    for (reply, status) in [
        (Reply::Ok, 200),
        (Reply::status(tonic::Code::InvalidArgument, "no"), 400),
        (Reply::status(tonic::Code::Unimplemented, "no such"), 404),
    ] {
        let collector = Collector::start(Script::always(reply));
        let waits = UpstreamConfig { wait_for_result: true, ..upstream(collector.addr()) };
        let relay = start(http_receiver(HttpConfig::default()), waits);
        assert_eq!(connect(&relay).post(TRACES, &encoded(1, 1)).status, status);
        drain(relay, SOON);
    }
}

/// What the upstream rejects of a request, or its warning, reaches the caller that waits; its words are cut where they are long.
#[test]
fn h08_g09_g10_a_partial_success_travels_back() {
    for (rejected, message) in [(2, "quota"), (0, "deprecated"), (1, &"ü".repeat(1 << 20))] {
        let partial = Reply::PartialSuccess { rejected_spans: rejected, message: message.to_owned() };
        let collector = Collector::start(Script::always(partial));
        let waits = UpstreamConfig { wait_for_result: true, ..upstream(collector.addr()) };
        let both =
            ReceiverConfig { http: Some(HttpConfig::default()), ..ReceiverConfig::new("otlp", loopback()) };
        let relay = start(both, waits);
        let json = connect(&relay).request("POST", TRACES, &[JSON], ONE_SPAN.as_bytes());
        let said: serde_json::Value = serde_json::from_slice(&json.body).unwrap();
        let said = &said["partialSuccess"];
        let rejected_of_one = rejected.min(1).to_string();
        assert_eq!((json.status, said["rejectedSpans"].as_str()), (200, Some(rejected_of_one.as_str())));
        assert!(message.starts_with(said["errorMessage"].as_str().unwrap()), "{said}");
        let protobuf = connect(&relay).post(TRACES, &encoded(5, 1));
        let response = ExportTraceServiceResponse::decode(&protobuf.body[..]).unwrap();
        assert_eq!(response.partial_success.unwrap().rejected_spans, rejected);
        let grpc = support::send_all(endpoint(&relay), [encoded(5, 2)]).remove(0);
        assert_eq!((grpc.grpc_status(), grpc.body.len() < 5 << 10), (Some(0), true));
        let response = ExportTraceServiceResponse::decode(&grpc.body[5..]).unwrap().partial_success.unwrap();
        assert_eq!(response.rejected_spans, rejected);
        assert!(message.starts_with(&response.error_message) && !response.error_message.is_empty());
        let stats = drain(relay, SOON);
        let expected = u64::try_from(2 * rejected + rejected.min(1)).unwrap();
        assert_eq!(settled(&stats).dropped_for(DropReason::PartialSuccess), expected);
    }
}

/// gRPC and HTTP/1.1 on one port are told apart by the preface.
#[test]
fn h04_one_port_serves_both() {
    let collector = Collector::start(Script::ok());
    let receiver =
        ReceiverConfig { http: Some(HttpConfig::default()), ..ReceiverConfig::new("otlp", loopback()) };
    let relay = start(receiver, upstream(collector.addr()));
    support::assert_ok(&support::send_all(relay.listening_on()[0].tcp().unwrap(), [encoded(3, 1)]));
    assert_eq!(connect(&relay).post(TRACES, &encoded(4, 1)).status, 200);
    let stats = drain(relay, SOON);
    assert_eq!(settled(&stats).delivered, 7);
    let accepted: Vec<_> =
        stats.receivers.iter().map(|of| (of.transport.name(), of.accepted_items())).collect();
    assert_eq!(accepted[..2], [("grpc", 3), ("http", 4)]);
}

/// HTTP/2 with prior knowledge (RFC 9113 section 3.3), by the h2 crate.
#[test]
fn h15_http2_without_tls_is_served() {
    let collector = Collector::start(Script::ok());
    let relay = relay_to(&collector);
    let address = relay.listening_on()[0].tcp().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let mut client = client.ready().await.unwrap();
        for spans in [1, 400] {
            let request = http::Request::post("http://relay/v1/traces").header(PROTOBUF.0, PROTOBUF.1);
            let (answer, mut body) = client.send_request(request.body(()).unwrap(), false).unwrap();
            body.send_data(encoded(spans, 1), true).unwrap();
            assert_eq!(answer.await.unwrap().status(), 200);
        }
    });
    assert_eq!(settled(&drain(relay, SOON)).delivered, 401);
}

/// A body a byte at a time, one cut off in its middle, two requests in one write, `Expect: 100-continue`.
#[test]
fn bodies_come_as_they_like() {
    let collector = Collector::start(Script::ok());
    let relay = relay_to(&collector);
    let body = encoded(2, 1);
    let head = format!(
        "POST {TRACES} HTTP/1.1\r\nhost: r\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n",
        body.len()
    );
    let mut slow = connect(&relay);
    slow.send(head.as_bytes());
    slow.send(b"\r\n");
    for byte in &body[..300] {
        slow.send(&[*byte]);
    }
    slow.send(&body[300..]);
    assert_eq!(slow.answer().status, 200);

    let mut cut = connect(&relay);
    cut.send(&[head.as_bytes(), b"\r\n", &body[..10]].concat());
    drop(cut);

    let whole = [head.as_bytes(), b"\r\n", &body].concat();
    let mut pipelined = connect(&relay);
    pipelined.send(&[&whole[..], &whole].concat());
    assert_eq!([pipelined.answer().status, pipelined.answer().status], [200, 200]);

    let mut polite = connect(&relay);
    polite.send(&[head.as_bytes(), b"expect: 100-continue\r\n\r\n"].concat());
    assert_eq!(polite.answer().status, 100);
    polite.send(&body);
    assert_eq!(polite.answer().status, 200);

    let stats = drain(relay, SOON);
    assert_eq!((settled(&stats).delivered, stats.receivers[0].accepted_requests()), (8, 4));
    assert_eq!(stats.receivers[0].rejected_requests[RejectReason::BodyCutOff as usize], 1);
}

/// Heads that smuggle or never end cost nobody else anything.
#[test]
fn bad_heads_are_refused_by_400_and_the_end_of_the_connection() {
    let collector = Collector::start(Script::ok());
    let relay = relay_to(&collector);
    let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(200 << 10));
    for head in [
        "POST /v1/traces HTTP/1.1\r\nhost: r\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcdef",
        "POST /v1/traces HTTP/1.1\r\nhost: r\r\ncontent-length: 5\r\ntransfer-encoding: chunkedx\r\n\r\n",
        "garbage\r\n\r\n",
        "\0\0\0\0\0\0\0\0\r\n\r\n",
        &long,
    ] {
        let mut sender = connect(&relay);
        sender.send(head.as_bytes());
        assert!(sender.is_closed(), "{head:.60}");
    }
    assert_eq!(connect(&relay).post(TRACES, &encoded(1, 1)).status, 200);
    assert_eq!(settled(&drain(relay, SOON)).delivered, 1);
}

/// A connection that says nothing is closed after the time for a head; one that is silent between requests likewise.
#[test]
fn silence_ends_a_connection() {
    let collector = Collector::start(Script::ok());
    let http = HttpConfig { head_timeout: Duration::from_millis(200), ..HttpConfig::default() };
    let relay = start(http_receiver(http), upstream(collector.addr()));
    let mut sender = connect(&relay);
    sender.send(b"POST /v1/traces HTTP/1.1\r\nhost");
    assert!(sender.is_closed());
    let mut sender = connect(&relay);
    assert_eq!(sender.post(TRACES, &encoded(1, 1)).status, 200);
    assert!(sender.is_closed());
    drain(relay, SOON);
}

/// A page of an allowed origin may send and read the answer; others may not. A preflight is answered without a request.
#[test]
fn browsers_are_told_what_they_may() {
    let collector = Collector::start(Script::ok());
    let cors = CorsConfig {
        allowed_origins: vec!["https://*.example.com".into()],
        allowed_headers: vec!["x-token".into()],
        exposed_headers: vec!["x-seen".into()],
        max_age_seconds: 7200,
    };
    let relay = start(
        http_receiver(HttpConfig { cors: Some(cors), ..HttpConfig::default() }),
        upstream(collector.addr()),
    );
    let mut page = connect(&relay);
    let good = ("origin", "https://app.example.com");
    let wanted = ("access-control-request-headers", "content-type, x-token");
    let method = ("access-control-request-method", "POST");
    let preflight = page.request("OPTIONS", TRACES, &[good, method, wanted], b"");
    assert_eq!((preflight.status, preflight.header("access-control-max-age")), (204, Some("7200")));
    assert_eq!(preflight.header("access-control-allow-origin"), Some(good.1));
    assert_eq!(preflight.header("access-control-allow-headers"), Some(wanted.1));
    for refused in [
        [("origin", "https://example.org"), method, wanted],
        [good, ("access-control-request-method", "DELETE"), wanted],
        [good, method, ("access-control-request-headers", "x-other")],
    ] {
        let preflight = page.request("OPTIONS", TRACES, &refused, b"");
        assert_eq!((preflight.status, preflight.header("access-control-allow-origin")), (403, None));
    }
    let sent = page.request("POST", TRACES, &[good, JSON], ONE_SPAN.as_bytes());
    assert_eq!((sent.status, sent.header("access-control-allow-origin")), (200, Some(good.1)));
    assert_eq!(sent.header("access-control-expose-headers"), Some("x-seen"));
    let foreign = page.request("POST", TRACES, &[("origin", "https://x.org"), JSON], ONE_SPAN.as_bytes());
    assert_eq!(foreign.header("access-control-allow-origin"), None);
    drain(relay, SOON);
}
