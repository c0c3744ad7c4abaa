//! The mapping, from files as users write them to what relay-core is told.

use std::time::Duration;

use relay_core::batch::Batch as CoreBatch;
use relay_core::config::{Acknowledge, SpillConfig, WhenFull};
use relay_core::upstream::{Outcome, RetryPolicy};

use super::*;
use crate::config::System;

struct NoSink;

impl BatchSink for NoSink {
    fn deliver(&self, _: &CoreBatch) -> Outcome {
        Outcome::Accepted { rejected: 0, message: String::new() }
    }
}

fn load(yaml: &str) -> Config {
    config::load(&[format!("yaml:{yaml}")], &[], &System).unwrap().0
}

fn plan(yaml: &str) -> Plan {
    make(&load(yaml), |_| Arc::new(NoSink)).unwrap()
}

/// One pipeline with an exporter `otlp` that has `keys`.
fn with_exporter(keys: &str, processors: &str) -> Plan {
    plan(&format!(
        "{{receivers: {{otlp: {{protocols: {{grpc: }}}}}}, processors: {{batch: {{send_batch_max_size: 9000}}}}, \
         exporters: {{otlp: {{endpoint: 'up:4317', tls: {{insecure: true}}, {keys}}}}}, \
         service: {{pipelines: {{traces: {{receivers: [otlp], processors: [{processors}], exporters: [otlp]}}}}}}}}"
    ))
}

fn grpc(plan: &Plan) -> &GrpcConfig {
    match &plan.upstreams[0].destination {
        Destination::Grpc(grpc) => grpc,
        other => panic!("{other:?}"),
    }
}

/// Nothing but what is needed: no lingering, merging of whatever waits, no bound but the bytes'.
#[test]
fn defaults() {
    let plan = with_exporter("", "");
    let upstream = &plan.upstreams[0];
    assert_eq!((upstream.name.as_str(), upstream.linger, upstream.calls_max), ("otlp", Duration::ZERO, 10));
    assert_eq!((upstream.batch.items_target, upstream.batch.items_max), (u64::MAX, u64::MAX));
    assert_eq!((upstream.queue, upstream.on_full), (QueueLimit::Unbounded, OnFull::Refuse));
    assert!(!upstream.wait_for_result);
    let grpc = grpc(&plan);
    assert_eq!((grpc.endpoint.authority().as_str(), grpc.timeout), ("up:4317", Duration::from_secs(5)));
    assert_eq!((grpc.compression, grpc.retry), (Compression::GZIP, RetryPolicy::default()));
    assert_eq!(plan.bound.bytes, core_limits::HELD_BYTES_MAX);
    assert_eq!(plan.receivers[0].listen.tcp().unwrap().port(), 4317);
    assert_eq!(plan.receivers[0].upstreams, ["otlp"]);
    assert!(plan.notices.is_empty(), "{:?}", plan.notices);
}

#[test]
fn keys_of_the_exporter_arrive() {
    let plan = with_exporter(
        "timeout: 0, compression: none, headers: {X-Token: s3}, \
         retry_on_failure: {enabled: false, initial_interval: 1s, max_elapsed_time: 0}, \
         sending_queue: {num_consumers: 3, queue_size: 7, sizer: items, block_on_overflow: true, \
         wait_for_result: true}",
        "",
    );
    let (upstream, grpc) = (&plan.upstreams[0], grpc(&plan));
    assert_eq!((upstream.calls_max, upstream.queue), (3, QueueLimit::Items(7)));
    assert_eq!((upstream.on_full, upstream.wait_for_result), (OnFull::Block, true));
    assert_eq!((grpc.timeout, grpc.compression), (CALL_TIMEOUT_NONE, Compression::None));
    assert_eq!(grpc.headers, [("x-token".to_owned(), "s3".to_owned())]);
    assert!(!grpc.retry.enabled);
    assert_eq!((grpc.retry.initial_interval, grpc.retry.max_elapsed_time), (Duration::from_secs(1), None));
}

#[test]
fn without_a_queue_the_upstreams_answer_is_waited_for() {
    assert!(with_exporter("sending_queue: {enabled: false}", "batch").upstreams[0].wait_for_result);
}

/// Guarantee: every setting of a storage reaches the upstream that names it, and no other.
#[test]
fn storages_arrive() {
    let plan = plan(
        "{receivers: {otlp: {protocols: {grpc: }}}, exporters: {otlp: {endpoint: 'up:4317', sending_queue: \
         {storage: file_storage, spill_after: 1s, acknowledge: when_queued}}, otlp_http: {endpoint: 'http://up:4318', \
         sending_queue: {storage: file_storage}}, otlp/b: {endpoint: 'up:4317'}}, \
         extensions: {file_storage: {directory: /spool, fsync: false, max_size_mib: 100, max_age: 1h, \
         when_full: drop_oldest, min_free_mib: 7}}, \
         service: {extensions: [file_storage], pipelines: {logs: {receivers: [otlp], exporters: [otlp, otlp_http, otlp/b]}}}}",
    );
    let mut http = SpillConfig::new("/spool");
    (http.fsync, http.bytes_max, http.free_bytes_min) = (false, 100 << 20, 7 << 20);
    (http.age_max, http.when_full) = (Some(Duration::from_secs(3600)), WhenFull::DropOldest);
    let grpc = SpillConfig {
        spill_after: Duration::from_secs(1),
        acknowledge: Acknowledge::WhenQueued,
        ..http.clone()
    };
    let spills: Vec<_> = plan.upstreams.into_iter().map(|upstream| upstream.spill).collect();
    assert_eq!(spills, [Some(grpc), Some(http), None]);
}

/// The processor's batches, and those of the exporter's own, which win.
#[test]
fn batches() {
    let sizes = |plan: &Plan| {
        let upstream = &plan.upstreams[0];
        (upstream.linger.as_millis(), upstream.batch.items_target, upstream.batch.items_max)
    };
    assert_eq!(sizes(&with_exporter("", "batch")), (200, 8192, 9000));
    let own = "sending_queue: {batch: {flush_timeout: 50ms, min_size: 10, max_size: 20}}";
    assert_eq!(sizes(&with_exporter(own, "batch")), (50, 10, 20));
    let processor = |keys| with_exporter(keys, "batch").about[0].processor.clone();
    assert_eq!((processor(""), processor(own)), (Some("batch".to_owned()), None));
    let bytes = "sending_queue: {batch: {flush_timeout: 50ms, min_size: 10, max_size: 2000, sizer: bytes}}";
    let plan = with_exporter(bytes, "");
    assert_eq!((sizes(&plan), plan.upstreams[0].batch.bytes_max), ((50, u64::MAX, u64::MAX), 2000));
    assert_eq!(plan.notices.len(), 1, "{:?}", plan.notices);
}

/// Guarantee: a queue size that counts batches in the Collector does not become a far smaller bound on requests.
#[test]
fn a_queue_size_behind_a_batch_processor_is_not_taken_for_requests() {
    let size = "sending_queue: {queue_size: 50}";
    assert_eq!(with_exporter(size, "").upstreams[0].queue, QueueLimit::Requests(50));
    let plan = with_exporter(size, "batch");
    assert_eq!(plan.upstreams[0].queue, QueueLimit::Unbounded);
    assert!(plan.notices[0].contains("queue_size: counts batches"), "{:?}", plan.notices);
    let bytes = with_exporter("sending_queue: {queue_size: 5000000, sizer: bytes}", "batch");
    assert_eq!(bytes.upstreams[0].queue, QueueLimit::Bytes(5_000_000));
}

/// An exporter of two pipelines has an upstream in each; a receiver of both feeds both.
#[test]
fn pipelines_share_receivers_and_exporters() {
    let plan = plan(
        "{receivers: {otlp: {protocols: {grpc: }}, otlp/b: {protocols: {grpc: {endpoint: ':5317'}}}}, \
         exporters: {debug: , otlp: {endpoint: 'up:4317', tls: {insecure: true}}}, \
         service: {pipelines: {traces/a: {receivers: [otlp], exporters: [otlp, debug]}, \
         traces/b: {receivers: [otlp, otlp/b], exporters: [otlp]}}}}",
    );
    let names: Vec<&str> = plan.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    assert_eq!(names, ["otlp@traces/a", "debug", "otlp@traces/b"]);
    let exporters: Vec<&str> = plan.about.iter().map(|about| about.exporter.as_str()).collect();
    assert_eq!(exporters, ["otlp", "debug", "otlp"]);
    assert!(
        plan.about.iter().all(|about| about.held_bytes_max == core_limits::HELD_BYTES_MAX / 2),
        "two exporters"
    );
    assert_eq!(plan.receivers[0].upstreams, names);
    assert_eq!(plan.receivers[1].upstreams, ["otlp@traces/b"]);
    assert!(plan.receivers[1].listen.tcp().unwrap().ip().is_unspecified());
}

/// Guarantee: what certainly goes round is refused, what may lead elsewhere is not.
#[test]
fn loops_are_found() {
    let at = |text: &str| config::endpoint::parse_listen_any(text, false).unwrap();
    let loops = |to: &str, on: &str| loops_back(&at(to), &at(on));
    for (to, on) in [
        ("localhost:4317", "0.0.0.0:4317"),
        ("127.0.0.1:4317", "localhost:4317"),
        ("127.0.0.1:4317", "[::]:4317"),
        ("[::1]:4317", ":4317"),
        ("0.0.0.0:4317", "127.0.0.1:4317"),
        ("10.0.0.5:4317", "10.0.0.5:4317"),
        ("node:4317", "node:4317"),
        ("unix:///run/x", "unix:/run/x"),
    ] {
        assert!(loops(to, on), "{to} to {on}");
    }
    for (to, on) in [
        ("localhost:4318", "0.0.0.0:4317"),
        ("collector:4317", "0.0.0.0:4317"),
        ("10.0.0.5:4317", "0.0.0.0:4317"),
        ("127.0.0.1:4317", "10.0.0.5:4317"),
        ("unix:///run/x", "unix-abstract:/run/x"),
    ] {
        assert!(!loops(to, on), "{to} to {on}");
    }
}
