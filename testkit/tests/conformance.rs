//! The conformance suite against servers that are wrong on purpose: it must be able to fail, and must not fail what is right.

#![cfg(test)]

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use clap::Parser;
use prost::Message;
use testkit::collector::{Collector, Reply, Script};
use testkit::conformance::options::Options;
use testkit::conformance::suite;
use testkit::http_upstream::{HttpReply, HttpUpstream};
use testkit::oracle::{ExportTraceServiceRequest, ResourceSpans, ScopeSpans, Span};
use testkit::sender::{SendOptions, send_blocking};

/// Runs some items and gives `G07 pass`, `G12 FAIL` and so on, with what was seen behind a colon.
fn outcomes(arguments: &[&str], items: &[&str]) -> Vec<String> {
    let options =
        Options::try_parse_from([&["otlp-conformance"], arguments, &["--only"], items].concat()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let rows = runtime.block_on(suite::run(&options, |_| {})).unwrap();
    rows.iter()
        .map(|row| format!("{} {}: {}", row.item.id, row.verdict.word(), row.verdict.detail()))
        .collect()
}

#[track_caller]
fn assert_outcomes(found: &[String], expected: &[&str]) {
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{expected} expected in {found:#?}");
    }
}

/// Scenario: a receiver as grpc-go makes them: good, but for the status of garbage.
#[test]
fn a_grpc_receiver_fails_by_the_items_that_it_breaks() {
    let collector = Collector::start(Script::ok());
    let addr = collector.addr().to_string();
    let found = outcomes(&["--grpc", &addr], &["G01", "G03", "G07", "G08", "G12", "G15"]);
    assert_outcomes(&found, &["G01 pass", "G03 pass", "G07 pass", "G08 pass", "G12 FAIL", "G15 pass"]);
}

/// Scenario: a receiver that warns in every answer, and one that is always busy.
#[test]
fn a_grpc_receiver_that_is_never_content_fails() {
    let warning = Reply::PartialSuccess { rejected_spans: 0, message: "hm".to_owned() };
    let collector = Collector::start(Script::always(warning));
    assert_outcomes(&outcomes(&["--grpc", &collector.addr().to_string()], &["G07"]), &["G07 FAIL"]);
    collector.set_script(Script::always(Reply::unavailable(None)));
    let found = outcomes(&["--grpc", &collector.addr().to_string()], &["G03", "G08"]);
    assert_outcomes(&found, &["G03 FAIL", "G08 FAIL"]);
}

/// Scenario: a server that says 200 to everything, in plain text.
#[test]
fn an_http_receiver_that_takes_everything_fails() {
    let reply = |_: &_| HttpReply::Answer {
        status: 200,
        headers: vec![("content-type".to_owned(), "text/plain".to_owned())],
        body: "fine".into(),
    };
    let server = HttpUpstream::start(reply);
    let addr = server.addr().to_string();
    let found = outcomes(&["--http", &addr], &["H01", "H02", "H07", "H10", "H12", "H16", "J07"]);
    assert_outcomes(
        &found,
        &["H01 FAIL", "H02 FAIL", "H07 FAIL", "H10 FAIL", "H12 FAIL", "H16 pass", "J07 FAIL"],
    );
}

/// Scenario: a server that refuses all alike with a status and a type that fit no request.
#[test]
fn an_http_receiver_that_refuses_everything_fails() {
    let server = HttpUpstream::start(|_| HttpReply::status(503));
    let found = outcomes(&["--http", &server.addr().to_string()], &["H05", "H09", "H12", "H15"]);
    assert_outcomes(&found, &["H05 FAIL", "H09 FAIL", "H12 FAIL", "H15 FAIL"]);
}

/// Nothing listens: nothing passes, and nothing hangs.
#[test]
fn nobody_passes_nothing() {
    let free = free_address();
    let addr = free.to_string();
    let found = outcomes(&["--grpc", &addr, "--http", &addr], &["G03", "H01", "H04", "J01", "X04"]);
    assert_outcomes(&found, &["G03 FAIL", "H01 FAIL", "H04 FAIL", "J01 skip", "X04 skip"]);
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A relay that accepts everything and hands each request to `forward` with the upstream's address, on a thread.
fn relay(upstream: SocketAddr, forward: fn(&str, ExportTraceServiceRequest)) -> Collector {
    let (give, take) = mpsc::channel();
    std::thread::spawn(move || {
        for request in take {
            std::thread::spawn(move || forward(&upstream.to_string(), request));
        }
    });
    Collector::start(Script::by(move |request, _| {
        give.send(request.clone()).unwrap();
        Reply::Ok
    }))
}

/// Scenario: a relay that sends everything again and again until it is accepted, at once.
#[test]
fn an_exporter_that_retries_everything_fails() {
    let upstream = free_address();
    let stubborn = relay(upstream, |upstream, request| {
        for _ in 0..20 {
            if send_blocking(upstream, request.clone(), SendOptions::default()).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let (receiver, upstream) = (stubborn.addr().to_string(), upstream.to_string());
    let found = outcomes(&["--grpc", &receiver, "--upstream-grpc", &upstream], &["X06", "X08", "X14", "X16"]);
    assert_outcomes(&found, &["X06 FAIL", "X08 FAIL", "X14 FAIL", "X16 pass"]);
}

/// Scenario: a relay that tries once; unknown fields are lost on its way, because it decodes.
#[test]
fn an_exporter_that_gives_up_fails() {
    let upstream = free_address();
    let careless = relay(upstream, |upstream, request| {
        send_blocking(upstream, request, SendOptions::default()).ok();
    });
    let (receiver, upstream) = (careless.addr().to_string(), upstream.to_string());
    let found = outcomes(&["--grpc", &receiver, "--upstream-grpc", &upstream], &["G16", "X05", "X08", "X12"]);
    assert_outcomes(&found, &["G16 FAIL", "X05 FAIL", "X08 pass", "X12 FAIL"]);
}

/// Scenario: a relay that makes a new HTTP connection for every request, names the wrong content type, and never looks at answers.
#[test]
fn a_careless_http_exporter_fails() {
    let upstream = free_address();
    let careless = relay(upstream, |upstream, request| {
        let body = request.encode_to_vec();
        let head = format!(
            "POST /v1/traces HTTP/1.1\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        if let Ok(mut stream) = TcpStream::connect(upstream) {
            stream.write_all(&[head.as_bytes(), &body].concat()).ok();
            stream.peek(&mut [0; 64]).ok();
        }
    });
    let (receiver, upstream) = (careless.addr().to_string(), upstream.to_string());
    let arguments = ["--grpc", &receiver, "--upstream-http", &upstream];
    let found = outcomes(&arguments, &["X12", "X14", "X15", "X16", "X21"]);
    assert_outcomes(&found, &["X12 FAIL", "X14 FAIL", "X15 pass", "X16 FAIL", "X21 FAIL"]);
}

/// Scenario: a receiver that takes any JSON and forwards a span with the right name and nothing else right.
#[test]
fn json_that_is_not_understood_fails() {
    let upstream = free_address();
    let forgetful = HttpUpstream::start(move |call| {
        let value: serde_json::Value = serde_json::from_slice(&call.body).unwrap_or_default();
        let name = &value["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["name"];
        let span = Span { name: name.as_str().unwrap_or_default().to_owned(), ..Span::default() };
        let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
        let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
        let request = ExportTraceServiceRequest { resource_spans };
        std::thread::spawn(move || send_blocking(&upstream.to_string(), request, SendOptions::default()));
        HttpReply::answer(200, &[], "{}".into())
    });
    // The warm-up needs a receiver of protobuf that reaches the upstream.
    let warm = relay(upstream, |upstream, request| {
        send_blocking(upstream, request, SendOptions::default()).ok();
    });
    let (grpc, http, upstream) =
        (warm.addr().to_string(), forgetful.addr().to_string(), upstream.to_string());
    let arguments = ["--grpc", &grpc, "--http", &http, "--upstream-grpc", &upstream];
    let found = outcomes(&arguments, &["J01", "J02", "J03", "J04", "J05", "J06", "J08"]);
    assert!(found.iter().all(|outcome| outcome.contains(" FAIL: ")), "{found:#?}");
}

/// No address at all: every item of the catalogue is known, and every one is skipped.
#[test]
fn without_a_system_every_item_is_skipped() {
    let options = Options::try_parse_from(["otlp-conformance"]).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let rows = runtime.block_on(suite::run(&options, |_| {})).unwrap();
    assert_eq!(rows.len(), 66);
    for row in rows {
        assert_eq!(row.verdict.word(), "skip", "{}", row.line());
    }
}

/// What cannot be seen is skipped, and a feature that is not offered is judged by the item's level.
#[test]
fn what_is_not_there_is_not_passed() {
    let collector = Collector::start(Script::ok());
    let addr = collector.addr().to_string();
    let found = outcomes(&["--grpc", &addr], &["G02", "G09", "G13", "X17", "X18", "X26"]);
    assert_outcomes(&found, &["G02 skip", "G09 skip", "G13 skip", "X17 skip", "X18 skip", "X26 skip"]);
    let found = outcomes(&["--grpc", &addr, "--lacks", "pid", "--lacks", "env-headers"], &["X17", "X26"]);
    assert_outcomes(&found, &["X17 FAIL: not offered", "X26 pass: not offered"]);
}
