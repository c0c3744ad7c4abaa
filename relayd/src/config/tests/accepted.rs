//! What good configurations turn into: defaults, every supported key, several instances, what is skipped.

use std::time::Duration;

use super::super::exporters::{Compression, ExporterKind, OtlpExporter, Passthrough, Verbosity};
use super::super::queue::{QueueBatch, SendingQueue, Sizer};
use super::super::receivers::GrpcServer;
use super::super::telemetry::{LogLevel, Metrics, MetricsLevel};
use super::super::{Address, Config, HostPort};
use super::{Fake, Parts, lines};
use relay_core::grpc::Code;
use relay_core::otlp::Signal;
use relay_core::upstream::{RetryPolicy, RetryTable};

const MIB: usize = 1 << 20;

fn otlp(config: &Config) -> &OtlpExporter {
    match &config.exporters[0].kind {
        ExporterKind::Otlp(otlp) => otlp,
        other => panic!("not otlp: {other:?}"),
    }
}

fn grpc_of(config: &Config) -> &GrpcServer {
    config.receivers[0].grpc.as_ref().unwrap()
}

fn tcp(host: &str, port: u16) -> Address {
    Address::Tcp(HostPort::new(host, port))
}

fn load(parts: &Parts<'_>) -> (Config, Vec<String>) {
    let (config, notices) = parts.load().unwrap();
    (config, lines(&notices))
}

#[test]
fn defaults_are_those_of_the_documentation() {
    let (config, notices) = load(&Parts { processors: "", ..Parts::default() });
    assert_eq!(notices, [] as [&str; 0]);
    assert_eq!((config.receivers[0].id.as_str(), &config.receivers[0].http), ("otlp", &None));
    let receiver = grpc_of(&config);
    assert_eq!(receiver.endpoints[0], tcp("0.0.0.0", 4317));
    assert_eq!(receiver.max_recv_msg_bytes, 64 * MIB);
    assert_eq!(receiver.max_concurrent_streams, 256);
    assert_eq!((receiver.max_connection_age, receiver.keepalive), (None, None));
    assert_eq!((&receiver.tls, &receiver.auth), (&None, &None));
    assert_eq!(config.pipelines[0].signal, Signal::Traces);
    let exporter = otlp(&config);
    assert_eq!((&exporter.endpoint, &exporter.tls), (&tcp("gateway", 4317), &None));
    assert_eq!((exporter.compression, exporter.passthrough), (Compression::Gzip, Passthrough::Off));
    assert_eq!(exporter.timeout, Some(Duration::from_secs(5)));
    assert_eq!(exporter.retry, RetryPolicy::default());
    assert_eq!(exporter.queue, Some(SendingQueue::default()));
    assert_eq!((config.pipelines[0].batch.clone(), config.memory_limit_bytes), (None, None));
    assert_eq!(config.health_check, None);
    assert_eq!(config.metrics, Some(Metrics::default()));
    assert_eq!((config.logs.level, config.logs.json), (LogLevel::Info, false));
}

#[test]
fn what_only_relayd_has() {
    let with = |service| load(&Parts { service, ..Parts::default() }).0.gather_pause;
    assert_eq!(with(""), None);
    assert_eq!(with("  relayd: {gather_pause: 2ms}\n"), Some(Duration::from_millis(2)));
    assert_eq!(with("  relayd: {gather_pause: 0s}\n"), Some(Duration::ZERO));
}

/// `grpc:` with nothing behind it means "enabled with defaults", as does a component without a body.
#[test]
fn null_is_enabled_and_absent_is_not() {
    let text = "
receivers:
  otlp:
    protocols:
      grpc:
exporters:
  debug:
processors:
  batch:
extensions:
  health_check:
service:
  extensions: [health_check]
  pipelines:
    traces:
      receivers: [otlp]
      processors: [batch]
      exporters: [debug]
";
    let (config, notices) = Fake::default().file("agent.yaml", text).load().unwrap();
    assert_eq!(lines(&notices), [] as [&str; 0]);
    assert_eq!(grpc_of(&config).endpoints[0].to_string(), "0.0.0.0:4317");
    let batch = config.pipelines[0].batch.clone().unwrap();
    assert_eq!((batch.send_batch_size, batch.timeout), (8192, Duration::from_millis(200)));
    assert_eq!(batch.send_batch_max_size, None);
    let health = config.health_check.unwrap();
    assert_eq!((health.endpoint.to_string().as_str(), health.path.as_str()), ("0.0.0.0:13133", "/"));
}

#[test]
fn receiver_keys() {
    let grpc = "{endpoint: '[::1]:14317', transport: tcp, max_recv_msg_size_mib: 8, max_concurrent_streams: 7,
        include_metadata: false, keepalive: {server_parameters: {max_connection_age: 5m, max_connection_age_grace: 10s}}}";
    let (config, _) = load(&Parts { grpc, ..Parts::default() });
    let grpc = grpc_of(&config);
    assert_eq!(grpc.endpoints[0], tcp("::1", 14317));
    assert_eq!(grpc.endpoints[0].to_string(), "[::1]:14317");
    assert_eq!((grpc.max_recv_msg_bytes, grpc.max_concurrent_streams), (8 * MIB, 7));
    assert_eq!(grpc.max_connection_age, Some(Duration::from_secs(300)));
    assert_eq!(grpc.max_connection_age_grace, Some(Duration::from_secs(10)));
}

/// The CRI-O tutorial says 999999999 MiB; gRPC's length prefix ends at 4 GiB - 1.
#[test]
fn a_huge_message_size_saturates() {
    let (config, _) = load(&Parts { grpc: "{max_recv_msg_size_mib: 999999999}", ..Parts::default() });
    assert_eq!(grpc_of(&config).max_recv_msg_bytes, u32::MAX as usize);
}

#[test]
fn exporter_keys() {
    let exporter = "{endpoint: 'dns:///gw.otel.svc:4317', tls: {insecure: true}, compression: none, timeout: 0,
        headers: {X-Scope-OrgID: dev, authorization: Bearer x},
        retry_on_failure: {initial_interval: 1s, randomization_factor: 0, multiplier: 2, max_interval: 10s, max_elapsed_time: 0,
        retryable_statuses: [UNAVAILABLE, 4, DataLoss], retry_resource_exhausted: true},
        sending_queue: {num_consumers: 3, queue_size: 5000, sizer: bytes, block_on_overflow: true, wait_for_result: true,
        batch: {flush_timeout: 1s, min_size: 10, max_size: 20, sizer: items}}}";
    let (config, notices) = load(&Parts { exporter, ..Parts::default() });
    assert_eq!(
        notices,
        ["agent.yaml:2: processors.batch: defined but not used by a pipeline; it is not started"]
    );
    let exporter = otlp(&config);
    assert_eq!(exporter.endpoint, tcp("gw.otel.svc", 4317));
    assert_eq!((exporter.compression, exporter.timeout), (Compression::None, None));
    let names = exporter.headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>();
    assert_eq!(names, ["x-scope-orgid", "authorization"]);
    assert_eq!(exporter.headers[1].1.reveal(), "Bearer x");
    let retry = RetryPolicy {
        enabled: true,
        initial_interval: Duration::from_secs(1),
        randomization_factor: 0.0,
        multiplier: 2.0,
        max_interval: Duration::from_secs(10),
        max_elapsed_time: None,
        table: RetryTable::default()
            .with_codes(&[Code::UNAVAILABLE, Code::DEADLINE_EXCEEDED, Code::DATA_LOSS])
            .with_exhausted(true),
    };
    assert_eq!(exporter.retry, retry);
    let batch = QueueBatch {
        flush_timeout: Duration::from_secs(1),
        min_size: 10,
        max_size: Some(20),
        sizer: Sizer::Items,
    };
    let queue = SendingQueue {
        spill: None,
        num_consumers: 3,
        queue_size: 5000,
        sizer: Sizer::Bytes,
        block_on_overflow: true,
        wait_for_result: true,
        batch: Some(batch),
    };
    assert_eq!(exporter.queue, Some(queue));
}

/// Nothing that prints a configuration prints a token.
#[test]
fn header_values_are_never_shown() {
    let exporter = "{endpoint: 'gw:4317', tls: {insecure: true}, headers: {authorization: Bearer s3cret}}";
    let (config, _) = load(&Parts { exporter, ..Parts::default() });
    let shown = format!("{config:?}");
    assert!(!shown.contains("s3cret") && shown.contains("<hidden>"), "{shown}");
}

#[test]
fn headers_may_be_a_list_of_pairs() {
    let exporter = "{endpoint: 'http://gw:4317', headers: [{name: A, value: x}, {name: b, value: 'y'}]}";
    let (config, _) = load(&Parts { exporter, ..Parts::default() });
    let headers = otlp(&config).headers.iter().map(|(name, value)| (name.as_str(), value.reveal()));
    assert_eq!(headers.collect::<Vec<_>>(), [("a", "x"), ("b", "y")]);
}

/// The Collector: `batch: {}` turns batching on, `batch:` does not; an absent sizer follows the queue's.
#[test]
fn queue_batch_defaults() {
    let queue_of = |queue: &str| {
        let exporter = format!("{{endpoint: 'gw:4317', tls: {{insecure: true}}, sending_queue: {queue}}}");
        let (config, _) = load(&Parts { exporter: &exporter, ..Parts::default() });
        otlp(&config).queue.clone()
    };
    assert_eq!(queue_of("{enabled: false}"), None);
    assert_eq!(queue_of("{batch: }").unwrap().batch, None);
    assert_eq!(queue_of("{batch: {}}").unwrap().batch, Some(QueueBatch::default()));
    assert_eq!(queue_of("{batch: {enabled: false}}").unwrap().batch, None);
    let batch = queue_of("{sizer: bytes, queue_size: 100000, batch: {min_size: 5}}").unwrap().batch.unwrap();
    assert_eq!((batch.sizer, batch.min_size), (Sizer::Bytes, 5));
}

#[test]
fn several_instances_fan_out_and_keep_their_names() {
    let text = "
receivers:
  otlp: {protocols: {grpc: {}}}
  otlp/unused: {protocols: {grpc: {endpoint: ':5317'}}}
  otlp/2: {protocols: {grpc: {endpoint: ':6317'}}}
exporters:
  debug/spare: {}
  otlp/a: {endpoint: 'a:4317', tls: {insecure: true}}
  otlp_grpc/b: {endpoint: 'b:4317', tls: {insecure: true}}
  debug: {verbosity: detailed, sampling_initial: 5, sampling_thereafter: 200}
service:
  pipelines:
    traces: {receivers: [otlp, otlp/2], exporters: [otlp/a, debug]}
    traces/1: {receivers: [otlp/2], exporters: [otlp_grpc/b]}
";
    let (config, notices) = Fake::default().file("agent.yaml", text).load().unwrap();
    let ids = |indices: &[usize]| {
        indices.iter().map(|index| config.exporters[*index].id.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(config.receivers.iter().map(|r| r.id.as_str()).collect::<Vec<_>>(), ["otlp", "otlp/2"]);
    assert_eq!(config.pipelines[0].receivers, [0, 1]);
    assert_eq!(config.pipelines[1].receivers, [1]);
    assert_eq!(ids(&config.pipelines[0].exporters), ["otlp/a", "debug"]);
    assert_eq!(ids(&config.pipelines[1].exporters), ["otlp_grpc/b"]);
    assert_eq!(config.pipelines[1].name, "traces/1");
    let debug = config.exporters.iter().find(|exporter| exporter.id == "debug").unwrap();
    let ExporterKind::Debug(debug) = &debug.kind else { panic!("{debug:?}") };
    assert_eq!(
        (debug.verbosity, debug.sampling_initial, debug.sampling_thereafter),
        (Verbosity::Detailed, 5, 200)
    );
    assert_eq!(
        lines(&notices),
        [
            "agent.yaml:4: receivers.otlp/unused: defined but not used by a pipeline; it is not started",
            "agent.yaml:7: exporters.debug/spare: defined but not used by a pipeline; it is not started",
        ]
    );
}

/// Limit less spike, the spike a fifth if it is not given; the smallest of all limiters in use bounds the process.
#[test]
fn memory_limiters_become_bytes() {
    let text = "
receivers: {otlp: {protocols: {grpc: {}}}}
processors:
  memory_limiter: {check_interval: 1s, limit_mib: 500}
  memory_limiter/2: {check_interval: 1s, limit_mib: 400, spike_limit_mib: 100}
  memory_limiter/3: {check_interval: 1s, limit_percentage: 50, spike_limit_percentage: 10}
exporters: {debug: {}}
service:
  pipelines:
    traces: {receivers: [otlp], processors: [memory_limiter], exporters: [debug]}
    traces/2: {receivers: [otlp], processors: [memory_limiter/2], exporters: [debug]}
    traces/3: {receivers: [otlp], processors: [memory_limiter/3], exporters: [debug]}
";
    let world = Fake::default()
        .file("agent.yaml", text)
        .file("/proc/meminfo", "MemTotal:       16384000 kB\n")
        .file("/sys/fs/cgroup/memory.max", "1073741800\n");
    let (config, _) = world.load().unwrap();
    let limits = |index: usize| {
        let limiter = config.pipelines[index].memory_limiter.clone().unwrap();
        (limiter.limit_bytes, limiter.soft_limit_bytes)
    };
    assert_eq!(limits(0), (500 * MIB, 400 * MIB));
    assert_eq!(limits(1), (400 * MIB, 300 * MIB));
    assert_eq!(limits(2), (536_870_900, 429_496_720));
    assert_eq!(config.memory_limit_bytes, Some(300 * MIB));
}

#[test]
fn telemetry_keys() {
    let service = "  telemetry:
    logs: {level: WARN, encoding: json, output_paths: [stderr], sampling: {enabled: true}}
    resource: {service.name: x}
    metrics:
      level: detailed
      readers:
        - pull: {exporter: {prometheus: {host: '::', port: 9999, without_units: true}}}
";
    let (config, notices) = load(&Parts { service, processors: "", ..Parts::default() });
    assert_eq!((config.logs.level, config.logs.json), (LogLevel::Warn, true));
    let metrics = Metrics {
        endpoint: HostPort::new("::", 9999),
        level: MetricsLevel::Detailed,
        type_suffix: true,
        unit_suffix: false,
        scope_info: true,
    };
    assert_eq!(config.metrics, Some(metrics));
    assert_eq!(
        notices,
        [
            "agent.yaml:8: service.telemetry.logs.sampling: accepted, without effect: relayd limits how often it repeats a line by itself",
            "agent.yaml:9: service.telemetry.resource: accepted, without effect: relayd's own metrics carry no resource",
        ]
    );
}

#[test]
fn metrics_address_level_and_absence() {
    let metrics_of = |metrics: &str| {
        let service = format!("  telemetry: {{metrics: {metrics}}}\n");
        load(&Parts { service: &service, ..Parts::default() }).0.metrics
    };
    let legacy = metrics_of("{address: '0.0.0.0:9999'}").unwrap();
    assert_eq!((legacy.endpoint.to_string().as_str(), legacy.type_suffix), ("0.0.0.0:9999", false));
    assert_eq!(metrics_of("{level: none, address: ':1'}"), None);
    assert_eq!(metrics_of("{readers: []}"), None);
    assert_eq!(metrics_of(""), Some(Metrics::default()));
}

/// Receivers that the Helm chart defines by default are skipped, in the pipelines too.
#[test]
fn harmless_legacy_is_skipped_with_a_warning() {
    let text = "
receivers:
  otlp: {protocols: {grpc: }}
  jaeger: {protocols: {grpc: {endpoint: x}}}
  zipkin:
extensions:
  memory_ballast: {size_mib: 165}
exporters:
  logging: {loglevel: debug}
service:
  extensions: [memory_ballast]
  pipelines:
    traces: {receivers: [jaeger, otlp, zipkin], exporters: [logging]}
";
    let (config, notices) = Fake::default().file("agent.yaml", text).load().unwrap();
    assert_eq!((config.pipelines[0].receivers.as_slice(), config.receivers.len()), (&[0][..], 1));
    assert_eq!(config.health_check, None);
    let ExporterKind::Debug(debug) = &config.exporters[0].kind else { panic!("{config:?}") };
    assert_eq!(debug.verbosity, Verbosity::Detailed);
    assert_eq!(
        lines(&notices),
        [
            "agent.yaml:7: extensions.memory_ballast: skipped: relayd has no garbage collector to balance",
            "agent.yaml:4: receivers.jaeger: skipped: relayd does not speak Jaeger's protocols; senders use OTLP, port 4317",
            "agent.yaml:5: receivers.zipkin: skipped: relayd does not speak Zipkin; senders use OTLP, port 4317",
            "agent.yaml:9: exporters.logging: the old name of the exporter debug; write debug",
            "agent.yaml:9: exporters.logging.loglevel: the old form of verbosity (debug is detailed, info is normal)",
        ]
    );
}

#[test]
fn advisory_keys_say_that_they_change_nothing() {
    let grpc = "{read_buffer_size: 1, keepalive: {enforcement_policy: {min_time: 10s}}}";
    let exporter = "{endpoint: 'gw:4317', insecure: true, balancer_name: round_robin, wait_for_ready: true}";
    let (_, notices) = load(&Parts { grpc, exporter, processors: "", ..Parts::default() });
    assert_eq!(
        notices,
        [
            "agent.yaml:1: receivers.otlp.protocols.grpc.read_buffer_size: accepted, without effect: relayd sizes its buffers by what arrives",
            "agent.yaml:1: receivers.otlp.protocols.grpc.keepalive.enforcement_policy.min_time: accepted, without effect: relayd does not close connections for frequent pings",
            "agent.yaml:3: exporters.otlp.insecure: the old place of this key; write tls: {insecure: true}",
            "agent.yaml:3: exporters.otlp.wait_for_ready: accepted, without effect: relayd always waits for a connection, as long as retry_on_failure goes on",
        ]
    );
}

#[test]
fn an_exporters_own_batch_wins_over_the_processor() {
    let text = "
receivers: {otlp: {protocols: {grpc: }}}
processors: {batch: }
exporters: {otlp: {endpoint: 'gw:4317', tls: {insecure: true}, sending_queue: {batch: {}}}}
service: {pipelines: {traces: {receivers: [otlp], processors: [batch], exporters: [otlp]}}}
";
    let (config, notices) = Fake::default().file("agent.yaml", text).load().unwrap();
    assert!(config.pipelines[0].batch.is_some());
    let what = "the exporter \"otlp\" has sending_queue.batch, which wins over the processor \"batch\"";
    assert_eq!(lines(&notices), [format!("agent.yaml:5: service.pipelines.traces: {what}")]);
}

/// The downward API's address of a node, which may be an IPv6 one without brackets.
#[test]
fn metrics_on_the_address_of_a_node() {
    let text = "
receivers: {otlp: {protocols: {grpc: {endpoint: localhost:4317}}}}
exporters: {debug: }
extensions: {health_check: {endpoint: /run/relayd/health.sock, transport: unix}}
service:
  extensions: [health_check]
  pipelines: {traces: {receivers: [otlp], exporters: [debug]}}
  telemetry: {metrics: {readers: [{pull: {exporter: {prometheus: {host: '${env:HOST_IP}', port: 8888}}}}]}}
";
    for (ip, endpoint) in
        [("10.0.0.7", "10.0.0.7:8888"), ("fd00::7", "[fd00::7]:8888"), ("::1", "[::1]:8888")]
    {
        let (config, _) = Fake::default().file("agent.yaml", text).var("HOST_IP", ip).load().unwrap();
        assert_eq!(config.metrics.unwrap().endpoint.to_string(), endpoint);
        let health = config.health_check.unwrap();
        assert_eq!(health.endpoint.to_string(), "unix:/run/relayd/health.sock");
    }
}

#[test]
fn the_embedded_default_listens_on_loopback() {
    let config = Config::embedded_default(None);
    let http = config.receivers[0].http.as_ref().unwrap();
    assert_eq!(grpc_of(&config).endpoints[0].to_string(), "localhost:4317");
    assert_eq!(
        (http.endpoints[0].to_string().as_str(), config.receivers[0].shares_a_port()),
        ("localhost:4318", false)
    );
    assert_eq!(config.exporters[0].kind, ExporterKind::Printer);
    assert_eq!((config.health_check, config.metrics), (None, None));
    assert_eq!(
        (config.pipelines[0].receivers.as_slice(), config.pipelines[0].exporters.as_slice()),
        (&[0][..], &[0][..])
    );
    let config = Config::embedded_default(Some(HostPort::new("127.0.0.1", 5317)));
    assert!(config.receivers[0].shares_a_port());
    assert_eq!(grpc_of(&config).endpoints[0].to_string(), "127.0.0.1:5317");
}
