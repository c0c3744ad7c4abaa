//! The `testkit` program itself, as e2e runs and benches call it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may panic"
)]

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use testkit::collector::{Collector, Options, Reply, Script};
use testkit::generate::kube_like_bytes;
use testkit::oracle::{decode, span_count};
use testkit::payloads::recorded;
use testkit::proxy::{Cut, Proxy};
use testkit::raw::{RawRequest, exchange, grpc_message, grpc_message_compressed, grpc_message_with, gzip};
use testkit::tools::dump;
use testkit::wire::put_varint;
use tonic::Code;

use program::{Serving, scratch, testkit};

mod program;

/// Spans in all recordings together.
const RECORDED_SPANS: u64 = 5_778;

/// Scenario: the recordings, twice, over several connections, into a sink that keeps them.
/// Guarantee: every span arrives byte for byte, and repeats are told apart by their trace ids.
#[test]
fn replayed_recordings_arrive_byte_for_byte() {
    let (sent, received) = (scratch("sent"), scratch("received"));
    let (sent, received) = (sent.to_str().unwrap(), received.to_str().unwrap());
    let sink = Serving::sink(&["--dump", received]);
    let replay = [
        "replay",
        "--endpoint",
        &sink.addr,
        "--repeat",
        "2",
        "--unique",
        "--reconnect-every",
        "5",
        "--dump",
        sent,
    ];
    let (replayed, code) = testkit(&replay);
    let requests = 2 * recorded().len() as u64;
    assert_eq!((code, replayed["failed"].as_u64(), replayed["broken"].as_u64()), (Some(0), Some(0), Some(0)));
    assert_eq!(replayed["requests"], requests);
    assert_eq!(replayed["spans"], 2 * RECORDED_SPANS);
    assert_eq!(replayed["connections"], requests.div_ceil(5));
    let (counted, code) = sink.end();
    assert_eq!((counted["requests"].as_u64(), code), (Some(requests), Some(0)));
    assert_eq!(counted["spans"], 2 * RECORDED_SPANS);
    assert_eq!(counted["connections"], requests.div_ceil(5));
    let (compared, code) = testkit(&["compare", "--sent", sent, "--received", received]);
    assert_eq!((compared["missing"].as_u64(), compared["extra"].as_u64(), code), (Some(0), Some(0), Some(0)));
    assert_eq!((&compared["duplicates"], &compared["sent"]), (&0.into(), &(2 * RECORDED_SPANS).into()));
    // The first repeat is the recording itself: against the files, the second is extra.
    let files: Vec<String> = ["kube-apiserver-etcd", "crio", "containerd"]
        .map(|name| format!("{}/payloads/{name}.pb.gz", env!("CARGO_MANIFEST_DIR")))
        .into();
    let mut args = vec!["compare", "--received", received, "--sent"];
    args.extend(files.iter().map(String::as_str));
    let (compared, code) = testkit(&args);
    assert_eq!((compared["missing"].as_u64(), code), (Some(0), Some(1)));
    assert_eq!(compared["extra"], RECORDED_SPANS);
}

/// Guarantee: one flipped byte in a span is one span missing and one extra.
#[test]
fn compare_sees_a_single_byte() {
    let file = |name: &str, messages: &[Vec<u8>]| {
        let path = scratch(name);
        let mut plain = Vec::new();
        for message in messages {
            put_varint(&mut plain, message.len() as u64);
            plain.extend_from_slice(message);
        }
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&plain).unwrap();
        std::fs::write(&path, encoder.finish().unwrap()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let mut message = kube_like_bytes(10, 1).to_vec();
    let sent = file("one-byte-sent", &[message.clone()]);
    let at = message.windows(5).position(|window| window == b"etcd-").unwrap();
    message[at] = b'E';
    let received = file("one-byte-received", &[message]);
    let (compared, code) = testkit(&["compare", "--sent", &sent, "--received", &received]);
    assert_eq!((compared["missing"].as_u64(), compared["extra"].as_u64(), code), (Some(1), Some(1), Some(1)));
}

/// Scenario: overload with and without a delay, a lost connection, then a permanent refusal.
/// Guarantee: a retrying replay delivers what can be delivered, waits as told, and counts what it did.
#[test]
fn replay_retries_as_the_specification_says() {
    let replies = vec![
        Reply::unavailable(Some(Duration::from_millis(300))),
        Reply::unavailable(None),
        Reply::status(Code::ResourceExhausted, "no delay: not retryable"),
        Reply::PartialSuccess { rejected_spans: 2, message: "two".to_owned() },
    ];
    let collector = Collector::start(Script::sequence(replies, Reply::Ok));
    let path = scratch("retry");
    let mut file = dump::Dump::append_to(&path).unwrap();
    for seed in 0..4 {
        file.write(&kube_like_bytes(3, seed)).unwrap();
    }
    file.flush().unwrap();
    let proxy = Proxy::start(collector.addr());
    let endpoint = proxy.endpoint();
    let replay = ["replay", "--endpoint", &endpoint, "--file", path.to_str().unwrap(), "--retry"];
    let (counts, code) = testkit(&replay);
    assert_eq!(code, Some(1));
    let count = |name: &str| counts[name].as_u64().unwrap();
    assert_eq!((count("requests"), count("spans"), count("rejected_spans")), (3, 9, 2));
    assert_eq!((count("refused"), count("retried"), count("failed"), count("failed_spans")), (3, 2, 1, 3));
    let calls = collector.calls();
    assert!(calls[1].at - calls[0].at >= Duration::from_millis(300));
    // Nobody listens for a while: the connection is tried again until somebody does.
    proxy.cut(Cut::Rst);
    proxy.refuse();
    let late = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        proxy.accept();
        proxy
    });
    let (counts, code) = testkit(&replay);
    assert_eq!((counts["requests"].as_u64(), code), (Some(4), Some(0)));
    drop(late.join().unwrap());
}

/// Guarantee: `--resliced` and `--rate` do what they say.
#[test]
fn replay_reslices_and_paces() {
    let collector = Collector::start(Script::ok());
    let file = format!("{}/payloads/crio.pb.gz", env!("CARGO_MANIFEST_DIR"));
    let endpoint = collector.endpoint();
    let (counts, code) =
        testkit(&["replay", "--endpoint", &endpoint, "--file", &file, "--resliced", "--rate", "40"]);
    assert_eq!((counts["spans"].as_u64(), code), (Some(143), Some(0)));
    let calls = collector.calls();
    assert!(calls.len() >= 8 && calls.iter().all(|call| span_count(&call.request) <= 18));
    let shortest = Duration::from_secs_f64((calls.len() - 1) as f64 / 40.0);
    assert!(counts["seconds"].as_f64().unwrap() >= shortest.as_secs_f64());
}

/// Guarantee: load in a closed loop, compressed, and at a fixed rate reaches the sink in full, and latencies are sane.
#[test]
fn load_counts_agree_with_the_sink() {
    let sink = Serving::sink(&[]);
    let base = ["load", "--endpoint", &sink.addr, "--seconds", "0.5"];
    let run = |more: &[&str]| testkit(&[&base, more].concat());
    let (closed, code) = run(&["--spans-per-request", "10"]);
    assert_eq!((code, &closed["errors"]), (Some(0), &serde_json::json!({})));
    let number = |object: &Value, name: &str| object[name].as_u64().unwrap();
    assert_eq!(number(&closed, "spans"), 10 * number(&closed, "requests"));
    assert_eq!(number(&closed, "connections_opened"), 4);
    let latencies = ["p50_us", "p99_us", "p999_us", "max_us"].map(|name| number(&closed, name));
    assert!(latencies.is_sorted() && latencies[0] > 0, "{latencies:?}");
    let (compressed, _) = run(&["--gzip", "--recorded", "--connections", "1", "--in-flight", "2"]);
    let (paced, _) =
        run(&["--rate", "100", "--connections", "10", "--in-flight", "1", "--spans-per-request", "1"]);
    assert!((45..=50).contains(&number(&paced, "requests")), "{paced}");
    let (counted, code) = sink.end();
    assert_eq!((code, number(&counted, "refused")), (Some(0), 0));
    for name in ["requests", "spans"] {
        assert_eq!(
            number(&counted, name),
            [&closed, &compressed, &paced].map(|run| number(run, name)).iter().sum::<u64>()
        );
    }
    assert!(number(&counted, "wire_bytes") != number(&counted, "bytes"));
}

/// Scenario: the receiver refuses, and vanishes. Guarantee: load counts errors by code and connects again.
#[test]
fn load_counts_errors_by_code() {
    let script = Script::by(|_, number| if number % 2 == 0 { Reply::Ok } else { Reply::unavailable(None) });
    let mut collector = Collector::start_with(Options::default(), script);
    let endpoint = collector.endpoint();
    let load = [
        "load",
        "--endpoint",
        &endpoint,
        "--seconds",
        "1.2",
        "--spans-per-request",
        "1",
        "--connections",
        "2",
    ];
    let running = std::thread::scope(|scope| {
        let running = scope.spawn(|| testkit(&load));
        assert!(collector.wait_for_calls(10, Duration::from_secs(5)) >= 10);
        collector.stop();
        std::thread::sleep(Duration::from_millis(200));
        collector.restart();
        running.join().unwrap()
    });
    let (counts, code) = running;
    assert_eq!(code, Some(0));
    assert!(counts["errors"]["14"].as_u64().unwrap() > 0, "{counts}");
    assert!(counts["errors"]["connect"].as_u64().unwrap() > 0, "{counts}");
    assert!(counts["connections_opened"].as_u64().unwrap() >= 4, "{counts}");
}

/// Guarantee: SIGTERM ends a sink as a script expects: it prints its counts and keeps what it accepted.
#[test]
fn sink_counts_on_sigterm() {
    let received = scratch("sigterm");
    let sink = Serving::sink(&["--dump", received.to_str().unwrap()]);
    let export = RawRequest::export(vec![grpc_message(&kube_like_bytes(2, 1))]);
    assert_eq!(
        exchange(sink.addr.parse().unwrap(), vec![export])[0].as_ref().unwrap().grpc_status(),
        Some(0)
    );
    let pid = sink.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let output = sink.child.wait_with_output().unwrap();
    let counted: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&counted["spans"], output.status.code()), (&2.into(), Some(0)));
    assert_eq!(dump::read(&received).unwrap(), [kube_like_bytes(2, 1)]);
}

/// Guarantee: the sink refuses what grpc-go refuses, keeps nothing of it, and goes on.
#[test]
fn sink_refuses_bad_messages() {
    let received = scratch("sink-bad");
    let sink = Serving::sink(&["--max-recv-mib", "1", "--dump", received.to_str().unwrap()]);
    let large = vec![0; (1 << 20) + 1];
    let good = kube_like_bytes(2, 1);
    let two_chunks = grpc_message(&good);
    let responses = exchange(
        sink.addr.parse().unwrap(),
        vec![
            RawRequest::export(vec![grpc_message(&large)]),
            RawRequest::export(vec![grpc_message_compressed(&gzip(&large))]),
            RawRequest::export(vec![grpc_message_compressed(b"not gzip")]),
            RawRequest::export(vec![grpc_message(b"\x0a\x7f")]),
            RawRequest::export(vec![grpc_message_with(0, 100, b"short")]),
            RawRequest::export(vec![grpc_message(&good)]).with_path("/other"),
            RawRequest::export(vec![two_chunks.slice(..100), two_chunks.slice(100..)]),
            RawRequest::export(vec![grpc_message_compressed(&gzip(&good))]),
        ],
    );
    let statuses: Vec<_> =
        responses.iter().map(|response| response.as_ref().unwrap().grpc_status().unwrap()).collect();
    assert_eq!(statuses, [8, 8, 13, 13, 13, 12, 0, 0]);
    let (counted, code) = sink.end();
    assert_eq!((&counted["requests"], &counted["refused"], code), (&2.into(), &6.into(), Some(1)));
    let kept = dump::read(&received).unwrap();
    assert_eq!(kept, [good.clone(), good]);
    assert_eq!(decode(&kept[0]).unwrap(), testkit::generate::kube_like_request(2, 1));
}
