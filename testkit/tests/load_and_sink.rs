//! `testkit load` and `testkit sink`, which speak HTTP/2 by themselves, against implementations that are not theirs: tonic and h2.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may panic"
)]

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, RecvStream};
use prost::Message;
use serde_json::{Value, json};
use testkit::collector::{Collector, Options, Reply, Script};
use testkit::generate::{kube_like_bytes, kube_like_request};
use testkit::http_upstream::{HttpCall, HttpReply, HttpUpstream};
use testkit::oracle::{ExportTraceServiceRequest, span_count};
use testkit::raw::{EXPORT_PATH, RawRequest, exchange, grpc_message, grpc_message_compressed, gzip};
use testkit::sender::{SendOptions, send_blocking};
use tokio::net::TcpListener;
use tonic::Code;

use program::{Serving, testkit};

mod program;

fn number(object: &Value, name: &str) -> u64 {
    object[name].as_u64().unwrap_or_else(|| panic!("{name} in {object}"))
}

fn load(endpoint: &str, more: &[&str]) -> (Value, Option<i32>) {
    testkit(&[&["load", "--endpoint", endpoint, "--seconds", "0.4"], more].concat())
}

/// Scenario: a tonic server that decodes everything it gets. Guarantee: requests of many DATA frames, compressed ones, and spans of a
/// size that was asked for arrive as they should, and the counts agree.
#[test]
fn a_tonic_server_understands_the_load() {
    let collector =
        Collector::start_with(Options { recv_bytes_max: 64 << 20, ..Options::default() }, Script::ok());
    let endpoint = collector.endpoint();
    let runs = [
        vec!["--spans-per-request", "512", "--connections", "2", "--in-flight", "3"],
        vec!["--spans-per-request", "512", "--gzip", "--connections", "1"],
        vec!["--spans-per-request", "1", "--connections", "20", "--in-flight", "1"],
        vec!["--spans-per-request", "3", "--span-bytes", "20000", "--connections", "1"],
        vec!["--recorded-source", "crio", "--connections", "3"],
    ];
    let mut accepted = 0;
    for run in &runs {
        let (counts, code) = load(&endpoint, run);
        assert_eq!((code, &counts["errors"]), (Some(0), &json!({})), "{run:?}");
        assert!(number(&counts, "requests") > 0 && counts["cpu_seconds"].as_f64().unwrap() > 0.0);
        assert!(counts["connect_seconds"].as_f64().unwrap() < 2.0);
        accepted += number(&counts, "spans");
        let first = collector.calls().last().unwrap().clone();
        assert!(first.header("user-agent").is_some_and(|agent| agent.contains("grpc-go")));
        assert_eq!(first.header("grpc-timeout"), Some("10S"));
        assert_eq!(first.header("grpc-encoding"), run.contains(&"--gzip").then_some("gzip"));
    }
    assert_eq!(collector.span_count() as u64, accepted);
    let sizes: Vec<usize> = collector.calls().iter().map(|call| span_count(&call.request)).collect();
    assert!([512, 1, 3].iter().all(|size| sizes.contains(size)));
}

/// Scenario: a scripted HTTP/1.1 server that decodes everything, answers every hundredth request with 503. Guarantee: requests arrive whole on connections that stay open, in the encoding and compression they say, and both ends
/// count the same.
#[test]
fn an_http_server_understands_the_load() {
    let runs: [(&str, bool, &[&str]); 4] = [
        ("http/protobuf", false, &["--spans-per-request", "100", "--connections", "3", "--in-flight", "1"]),
        ("http/protobuf", true, &["--recorded-source", "crio", "--connections", "2"]),
        ("http/json", false, &["--spans-per-request", "10", "--connections", "1", "--in-flight", "4"]),
        ("http/json", true, &["--spans-per-request", "1", "--connections", "5", "--in-flight", "1"]),
    ];
    for (protocol, is_gzip, more) in runs {
        let (calls, spans) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let its = (Arc::clone(&calls), Arc::clone(&spans));
        let upstream = HttpUpstream::start(move |call| {
            assert_eq!((call.method.as_str(), call.target.as_str()), ("POST", "/v1/traces"));
            assert_eq!(call.header("content-encoding"), is_gzip.then_some("gzip"));
            let spans = spans_of(call, protocol == "http/json", is_gzip);
            if its.0.fetch_add(1, Ordering::Relaxed) % 100 == 99 {
                return HttpReply::status(503);
            }
            its.1.fetch_add(spans, Ordering::Relaxed);
            HttpReply::answer(200, &[], Bytes::new())
        });
        let packed: &[&str] = if is_gzip { &["--gzip"] } else { &[] };
        let (counts, code) =
            load(&upstream.addr().to_string(), &[&["--protocol", protocol], more, packed].concat());
        let all = calls.load(Ordering::Relaxed);
        assert!(code == Some(0) && all > 100, "{protocol}: {counts}");
        assert_eq!(counts["errors"], json!({ "503": all / 100 }));
        assert_eq!(number(&counts, "requests"), all - all / 100);
        assert_eq!(number(&counts, "spans"), spans.load(Ordering::Relaxed));
        assert_eq!(upstream.connections(), number(&counts, "connections_opened"));
    }
}

fn spans_of(call: &HttpCall, is_json: bool, is_gzip: bool) -> u64 {
    let mut content = call.body.to_vec();
    if is_gzip {
        content.clear();
        flate2::read::GzDecoder::new(&call.body[..]).read_to_end(&mut content).unwrap();
    }
    let kind = call.header("content-type");
    if !is_json {
        assert_eq!(kind, Some("application/x-protobuf"));
        return span_count(&ExportTraceServiceRequest::decode(&content[..]).unwrap()) as u64;
    }
    assert_eq!(kind, Some("application/json"));
    let value: Value = serde_json::from_slice(&content).unwrap();
    let list = |of: &Value, name: &str| of[name].as_array().unwrap().clone();
    let scopes = list(&value, "resourceSpans").into_iter().flat_map(|of| list(&of, "scopeSpans"));
    scopes.map(|of| list(&of, "spans").len() as u64).sum()
}

/// What an h2 server does with one call.
#[derive(Debug, Clone, Copy)]
enum Act {
    Answer,
    /// RST_STREAM when the body is there.
    Reset,
    /// GOAWAY, and an answer.
    AnswerAndLeave,
    /// Nothing, ever.
    KeepSilent,
}

/// An h2 server with windows of these sizes, which checks that bodies are whole, on a thread until the process ends.
fn h2_server(stream_window: u32, connection_window: u32, act: fn(u64) -> Act) -> SocketAddr {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let serve = async move {
        let (listener, calls) = (TcpListener::from_std(listener).unwrap(), Arc::new(AtomicU64::new(0)));
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let calls = Arc::clone(&calls);
            tokio::spawn(async move {
                let mut connection = h2::server::Builder::new()
                    .initial_window_size(stream_window)
                    .initial_connection_window_size(connection_window)
                    .handshake::<_, Bytes>(stream)
                    .await
                    .unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let act = act(calls.fetch_add(1, Ordering::Relaxed));
                    if matches!(act, Act::AnswerAndLeave) {
                        connection.graceful_shutdown();
                    }
                    tokio::spawn(async move {
                        assert_eq!(request.uri().path(), EXPORT_PATH);
                        check_body(request.into_body()).await;
                        if matches!(act, Act::Reset) {
                            return respond.send_reset(Reason::INTERNAL_ERROR);
                        }
                        if matches!(act, Act::KeepSilent) {
                            return std::future::pending().await;
                        }
                        let mut body = respond.send_response(http::Response::new(()), false).unwrap();
                        body.send_data(grpc_message(b""), false).unwrap();
                        let trailers = [("grpc-status".parse().unwrap(), "0".parse().unwrap())];
                        body.send_trailers(trailers.into_iter().collect()).unwrap();
                    });
                }
            });
        }
    };
    std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(serve);
    });
    address
}

/// Reads a body slowly, giving the windows back bit by bit. One that is not what its prefix says stays unanswered.
async fn check_body(mut body: RecvStream) {
    let mut received = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.unwrap();
        body.flow_control().release_capacity(chunk.len()).unwrap();
        received.extend_from_slice(&chunk);
    }
    let claimed = u32::from_be_bytes(received[1..5].try_into().unwrap()) as usize;
    assert_eq!(received.len(), 5 + claimed);
    assert_eq!(testkit::wire::count_spans(&received[5..]), Ok(512));
}

const LARGE: [&str; 6] = ["--spans-per-request", "512", "--connections", "2", "--in-flight", "4"];

/// Guarantee: bodies of 243 KB go whole through windows of a few KB, of the stream and of the connection.
#[test]
fn tiny_windows_are_obeyed() {
    for (stream_window, connection_window) in [(1_000, 1 << 20), (1 << 20, 65_535), (20_000, 65_535)] {
        let address = h2_server(stream_window, connection_window, |_| Act::Answer);
        let (counts, code) = load(&address.to_string(), &LARGE);
        assert_eq!((code, &counts["errors"]), (Some(0), &json!({})));
        assert!(number(&counts, "requests") > 8, "{counts}");
        assert_eq!(number(&counts, "connections_opened"), 2);
    }
}

/// Guarantee: a reset is counted and costs its call alone; a GOAWAY costs no call, and the connection is opened again.
#[test]
fn resets_and_goodbyes_are_survived() {
    let address = h2_server(1 << 20, 1 << 24, |call| if call % 3 == 2 { Act::Reset } else { Act::Answer });
    let (counts, code) = load(&address.to_string(), &LARGE);
    let resets = number(&counts["errors"], "reset");
    assert!(resets > 0 && number(&counts, "requests") >= resets, "{counts}");
    assert_eq!((code, number(&counts, "connections_opened")), (Some(0), 2));
    let leave = |call: u64| if call % 20 == 19 { Act::AnswerAndLeave } else { Act::Answer };
    let (counts, code) = load(&h2_server(1 << 20, 1 << 24, leave).to_string(), &LARGE);
    assert!(number(&counts, "connections_opened") > 2, "{counts}");
    assert_eq!((code, counts["errors"].get("reset")), (Some(0), None), "{counts}");
}

/// Scenario: nobody listens. Guarantee: the load ends, says so, and has sent nothing.
#[test]
fn nobody_there_is_an_error_by_name() {
    let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let (counts, code) = load(&free.to_string(), &["--spans-per-request", "1"]);
    assert_eq!((code, number(&counts, "requests"), number(&counts, "connections_opened")), (Some(1), 0, 0));
    assert!(number(&counts["errors"], "connect") > 4, "{counts}");
}

/// Scenario: 50 requests a second, one in flight, each answered after 100 ms: ten a second is all that can be.
/// Guarantee: latencies count from when requests were due, so that what waited shows.
#[test]
fn latency_counts_from_the_due_moment() {
    let collector = Collector::start(Script::always(Reply::ok_after(Duration::from_millis(100))));
    let rate = ["--rate", "50", "--connections", "1", "--in-flight", "1", "--spans-per-request", "1"];
    let (counts, _) = load(&collector.endpoint(), &rate);
    assert!((3..=5).contains(&number(&counts, "requests")), "{counts}");
    assert!(number(&counts, "p50_us") > 150_000 && number(&counts, "max_us") > 250_000, "{counts}");
}

/// Scenario: a call that is never answered. Guarantee: it times out and is counted as that.
#[test]
fn silence_times_out() {
    let address = h2_server(1 << 20, 1 << 24, |call| if call == 0 { Act::KeepSilent } else { Act::Answer });
    let (counts, code) = load(&address.to_string(), &[&LARGE[..], &["--timeout-seconds", "0.2"]].concat());
    assert_eq!((code, number(&counts["errors"], "timeout")), (Some(0), 1), "{counts}");
}

/// Guarantee: hundreds of connections, opened before anything is counted and used in turn, through the plain TCP relay into the sink;
/// all three agree on what went by.
#[test]
fn many_connections_through_a_tcp_relay() {
    let sink = Serving::sink(&["--count", "none"]);
    let relay = Serving::start("tcp-relay", &["--upstream", &sink.addr]);
    let many = ["--connections", "300", "--in-flight", "1", "--rate", "1000", "--spans-per-request", "10"];
    let (counts, code) = load(&relay.addr, &many);
    assert_eq!((code, &counts["errors"], number(&counts, "connections_opened")), (Some(0), &json!({}), 300));
    assert!((390..=400).contains(&number(&counts, "requests")), "{counts}");
    let (relayed, _) = relay.end();
    assert_eq!((number(&relayed, "connections"), number(&relayed, "failed")), (300, 0));
    let (seen, code) = sink.end();
    // The relay counts the bytes of connections that have ended: all have, in both directions.
    assert_eq!((code, number(&seen, "connections"), number(&seen, "spans")), (Some(0), 300, 0));
    assert_eq!(number(&seen, "requests"), number(&counts, "requests"));
    assert!(number(&relayed, "bytes") > number(&seen, "wire_bytes"));
    assert!(seen["cpu_seconds"].as_f64().unwrap() > 0.0 && relayed["cpu_seconds"].as_f64().unwrap() > 0.0);
}

/// Guarantee: a tonic client, with and without gzip, is taken and counted, large requests too, and refused where it should be.
#[test]
fn a_tonic_client_understands_the_sink() {
    let sink = Serving::sink(&["--max-recv-mib", "1"]);
    let endpoint = format!("http://{}", sink.addr);
    for gzip in [false, true] {
        let options = SendOptions { gzip, ..SendOptions::default() };
        for spans in [1, 512] {
            send_blocking(&endpoint, kube_like_request(spans, 1), options).unwrap();
        }
        let refused = send_blocking(&endpoint, kube_like_request(4_000, 1), options).unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    }
    let (seen, code) = sink.end();
    let figures = ["requests", "spans", "refused"].map(|name| number(&seen, name));
    assert_eq!((code, figures), (Some(1), [4, 2 * 513, 2]));
}

/// Guarantee: an h2 client's calls side by side on one connection are answered each, refusals between them.
#[test]
fn an_h2_client_understands_the_sink() {
    let sink = Serving::sink(&[]);
    let good = kube_like_bytes(512, 1);
    let calls = (0..40).map(|call| match call % 4 {
        0 => RawRequest::export(grpc_message(&good).chunks(1_777).map(Bytes::copy_from_slice).collect()),
        1 => RawRequest::export(vec![grpc_message_compressed(&gzip(&good))])
            .with_header("grpc-encoding", "gzip"),
        2 => RawRequest::export(vec![grpc_message_compressed(b"zstd")]).with_header("grpc-encoding", "zstd"),
        _ => RawRequest::export(vec![grpc_message(&good)]).with_path("/other"),
    });
    let answers = exchange(sink.addr.parse().unwrap(), calls.collect());
    let statuses: Vec<i32> = answers.iter().map(|one| one.as_ref().unwrap().grpc_status().unwrap()).collect();
    assert_eq!(statuses, [0, 0, 12, 12].repeat(10));
    let (seen, _) = sink.end();
    assert_eq!(["requests", "spans", "refused"].map(|name| number(&seen, name)), [20, 20 * 512, 20]);
}
