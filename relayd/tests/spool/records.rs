//! The records themselves: `cat` and `export`.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

use bytes::Bytes;
use flate2::write::GzEncoder;
use relay_core::batch::Encoding;
use relay_core::json::to_protobuf;
use relay_core::otlp::Signal;
use relay_core::spill::NewRecord;
use testkit::generate::{kube_like_bytes, kube_like_request};
use testkit::oracle::{ExportTraceServiceRequest, decode, span_count};
use testkit::payloads::recorded;

use crate::written::{NOW, Storage, record, unopened};
use crate::{Said, command, spool, spool_ok};

/// The requests of exported lines, read as a receiver of OTLP/JSON does.
fn requests(out: &str) -> Vec<ExportTraceServiceRequest> {
    let read = |line: &str| to_protobuf(Signal::Traces, line.as_bytes(), usize::MAX).unwrap();
    out.lines().map(|line| decode(&read(line)).unwrap()).collect()
}

fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap().into()
}

fn traces(requests: &[Bytes]) -> NewRecord {
    let counted =
        requests.iter().map(|bytes| (bytes.clone(), decode(bytes).map_or(1, |one| span_count(&one) as u64)));
    record(Signal::Traces, &counted.collect::<Vec<_>>())
}

/// A log of a process that has ended, with these batches; the ones that are named are delivered.
fn ended(storage: &Storage, exporter: &str, signal: Signal, batches: &[NewRecord], delivered: &[usize]) {
    let mut log = storage.log(exporter, signal, 1);
    let ids = log.append(batches, NOW).unwrap();
    delivered.iter().for_each(|index| log.settle(ids[*index]));
    log.close(NOW + 10).unwrap();
}

/// Scenario: recorded traffic of kube-apiserver, CRI-O and containerd, merged three by three. Guarantee: what is exported is it, request by
/// request, in order.
#[test]
fn recorded_traffic_is_exported_as_it_came() {
    let storage = Storage::new();
    let recorded: Vec<Bytes> = recorded().into_iter().map(|one| one.bytes).collect();
    let batches: Vec<_> = recorded.chunks(3).map(traces).collect();
    ended(&storage, "otlp", Signal::Traces, &batches, &[]);
    let said = spool(&["export"], storage.path());
    assert_eq!(said.code, Some(0), "{}", said.err);
    let merged = recorded.chunks(3).map(|requests| decode(&requests.concat()).unwrap());
    assert!(requests(&said.out) == merged.collect::<Vec<_>>());
    assert_eq!(said.err, format!("relayd spool: records: {0}, lines: {0}, left out: 0\n", batches.len()));
}

/// What was delivered is left out unless it is asked for; signals can be chosen; one segment can be.
#[test]
fn what_is_exported_can_be_chosen() {
    let storage = Storage::new();
    let batches: Vec<_> = (1..=4).map(|spans| traces(&[kube_like_bytes(spans, spans as u64)])).collect();
    ended(&storage, "otlp", Signal::Traces, &batches, &[0, 2]);
    let logs = record(Signal::Logs, &[(Bytes::from_static(b"\x0a\x00"), 0)]);
    ended(&storage, "otlp", Signal::Logs, &[logs], &[]);
    let spans = |args: &[&str]| -> Vec<usize> {
        let said = spool(args, storage.path());
        assert_eq!(said.code, Some(0), "{}", said.err);
        requests(&said.out).iter().map(span_count).collect()
    };
    assert_eq!(spans(&["export", "--signal", "traces"]), [2, 4]);
    assert_eq!(spans(&["export", "--signal=traces", "--all"]), [1, 2, 3, 4]);
    assert_eq!(spool(&["export", "--signal=logs"], storage.path()).out, "{\"resourceLogs\":[{}]}\n");
    assert_eq!(spool(&["export", "--signal=metrics"], storage.path()).out, "");
    let segment = &storage.segments()[1];
    assert_eq!(requests(&spool(&["export"], segment).out).len(), 2);
    let said = spool(&["export", "--signal=spans"], storage.path());
    assert!(said.code == Some(2) && said.err.contains("traces, metrics, logs or profiles"), "{}", said.err);
}

/// Scenario: requests that were never opened, merged as they came, one of them garbage; and a merged batch with one request that is no
/// protobuf. Guarantee: each bad one is named and costs no other.
#[test]
fn a_bad_request_costs_no_other() {
    let storage = Storage::new();
    let (one, two) = (kube_like_bytes(2, 1), kube_like_bytes(3, 2));
    let closed =
        unopened(Signal::Traces, Encoding::Gzip, &[gzip(&one), Bytes::from_static(b"no gzip"), gzip(&two)]);
    let poisoned = traces(&[one.clone(), Bytes::from_static(b"\x0a\x05ab"), two.clone()]);
    ended(&storage, "otlp", Signal::Traces, &[closed, poisoned], &[]);
    let said = spool(&["export"], storage.path());
    assert_eq!(said.code, Some(1));
    let whole: Vec<_> = [&one, &two, &one, &two].map(|bytes| decode(bytes).unwrap()).into();
    assert!(requests(&said.out) == whole, "{}", said.err);
    let path = storage.segments()[0].display().to_string();
    let lines: Vec<_> = said.err.lines().collect();
    assert!(
        lines[0].starts_with(&format!(
            "relayd spool: {path}: byte 40: request #1 of the record is left out: not gzip"
        )),
        "{lines:?}"
    );
    assert!(lines[1].contains("request #1 of the record is left out: no ExportTraceServiceRequest: byte 2, field 1: length 5 runs past the end"), "{lines:?}");
    assert_eq!(lines[2], "relayd spool: records: 2, lines: 4, left out: 2");

    let said = spool(&["cat"], storage.path());
    assert_eq!(said.code, Some(1));
    assert!(
        said.out.contains("requests of traces in gzip: 3, bytes: ")
            && said.out.contains("(request #1: not gzip"),
        "{}",
        said.out
    );
    assert_eq!(said.out.matches("    Trace ID       :").count(), 10, "{}", said.out);
}

/// People read heads, spans as the debug exporter prints them, other items as JSON; nothing moves their cursor.
#[test]
fn cat_is_for_people() {
    let storage = Storage::new();
    let mut request = kube_like_request(2, 7);
    request.resource_spans[0].scope_spans[0].spans[0].name = "red\u{1b}[31m".to_owned();
    let bytes = Bytes::from(testkit::oracle::encode(&request));
    ended(&storage, "otlp/a", Signal::Traces, &[traces(&[bytes]), traces(&[kube_like_bytes(1, 2)])], &[1]);
    let metrics = Bytes::from_static(b"\x0a\x09\x12\x07\x12\x05\x0a\x03\xc2\x85b");
    ended(&storage, "otlp", Signal::Metrics, &[record(Signal::Metrics, &[(metrics, 0)])], &[]);
    let out = spool_ok(&["cat"], storage.path());
    let path = storage.segments()[0].display().to_string();
    assert!(out.starts_with("=== otlp/a, 2023-11-14T22:13:19.623Z, spans: 2, requests: 1, bytes: "), "{out}");
    assert!(out.contains(&format!("\n=== {path}, byte 40, record 0\nResourceSpans #0\n")), "{out}");
    assert!(out.contains("    Name           : red\\u{1b}[31m\n"), "{out}");
    assert!(out.contains("\n              \"name\": \"\\u{85}b\"\n"), "{out}");
    assert!(!out.contains(", settled\n") && out.matches("=== otlp/a").count() == 1, "{out}");
    assert!(spool_ok(&["cat", "--all"], storage.path()).contains(", settled\n"));
}

/// Whoever has read enough closes the pipe: no error, no word.
#[test]
fn a_closed_pipe_ends_quietly() {
    let storage = Storage::new();
    let batches: Vec<_> = (0..200).map(|seed| traces(&[kube_like_bytes(50, seed)])).collect();
    ended(&storage, "otlp", Signal::Traces, &batches, &[]);
    for args in [["cat"], ["export"]] {
        let mut child =
            command(&args, storage.path()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::with_capacity(64, child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(!line.is_empty());
        let mut err = String::new();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        let said = Said { out: line, err, code: child.wait().unwrap().code() };
        assert!(
            said.code == Some(0) && said.err.is_empty(),
            "{args:?}: {:?} {} {}",
            said.code,
            said.err,
            said.out
        );
    }
}
