//! What bad configurations are told: the exact text with file, line, full key and the way out.

use super::{Fake, Parts, errors};

fn errors_of(parts: &Parts<'_>) -> Vec<String> {
    errors(parts.load())
}

fn errors_of_text(text: &str) -> Vec<String> {
    errors(Fake::default().file("agent.yaml", text).load())
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest() {
    let text = "\
receivers:
  otlp:
    protocols:
      grpc:
        endpoint: 0.0.0.0:4317

        max_recv_msg_size: 4
exporters:
  debug:
service:
  pipelines:
    traces:
      receivers: [otlp]
      exporters: [debug]
";
    assert_eq!(
        errors_of_text(text),
        [
            "agent.yaml:7: receivers.otlp.protocols.grpc.max_recv_msg_size: unknown key; did you mean \"max_recv_msg_size_mib\"?"
        ]
    );
}

#[test]
fn receivers() {
    let at = |path: &str, what: &str| format!("agent.yaml:1: receivers.otlp.protocols.grpc.{path}: {what}");
    let table = [
        ("{endpoint: localhost}", "endpoint", "expected host:port, found \"localhost\": the port is missing"),
        (
            "{endpoint: '::1:4317'}",
            "endpoint",
            "expected host:port, found \"::1:4317\": an IPv6 address stands in brackets, as in [::1]:4317",
        ),
        (
            "{endpoint: 'a:70000'}",
            "endpoint",
            "expected host:port, found \"a:70000\": the port is a number from 0 to 65535",
        ),
        (
            "{endpoint: 'http://a:1'}",
            "endpoint",
            "a listener has no scheme; write host:port without \"http://\"",
        ),
        ("{endpoint: 4317}", "endpoint", "expected a text, found a number; put it in quotes"),
        (
            "{endpoint: 'unix:///run/x.sock', transport: tcp}",
            "endpoint",
            "it is a unix socket, but transport says tcp; write transport: unix",
        ),
        ("{transport: unix}", "endpoint", "transport: unix needs a path, as in /run/relay.sock"),
        ("{transport: udp}", "transport", "expected tcp or unix, found \"udp\""),
        (
            "{max_recv_msg_size_mib: -1}",
            "max_recv_msg_size_mib",
            "expected a whole number from 0 up, found -1",
        ),
        (
            "{max_recv_msg_size_mib: 1.5}",
            "max_recv_msg_size_mib",
            "expected a whole number from 0 up, found 1.5",
        ),
        (
            "{max_recv_msg_size_mib: '8'}",
            "max_recv_msg_size_mib",
            "expected a whole number from 0 up, found a text",
        ),
        (
            "{keepalive: {server_parameters: {max_connection_age: 5}}, compression: gzip}",
            "compression",
            "unknown key; known here: enabled, transport, endpoint, max_recv_msg_size_mib, max_concurrent_streams, read_buffer_size, write_buffer_size, keepalive, include_metadata, tls, auth, middlewares",
        ),
        (
            "{keepalive: {server_parameters: {max_connection_age: soon}}}",
            "keepalive.server_parameters.max_connection_age",
            "expected a duration such as \"200ms\" or \"1m30s\", found \"soon\"",
        ),
    ];
    for (grpc, path, what) in table {
        assert_eq!(errors_of(&Parts { grpc, ..Parts::default() }), [at(path, what)], "{grpc}");
    }
}

#[test]
fn a_receiver_needs_a_protocol() {
    let base =
        "exporters: {debug: }\nservice: {pipelines: {traces: {receivers: [otlp], exporters: [debug]}}}\n";
    assert_eq!(
        errors_of_text(&format!("{base}receivers: {{otlp: {{protocols: {{grpc: {{enabled: false}}}}}}}}")),
        [
            "agent.yaml:3: receivers.otlp.protocols: at least one protocol is needed; write grpc: {} or http: {}"
        ]
    );
    assert_eq!(
        errors_of_text(&format!("{base}receivers: {{otlp: }}")),
        [
            "agent.yaml:3: receivers.otlp.protocols: an otlp receiver needs a protocol; write protocols: {grpc: {}, http: {}}"
        ]
    );
}

#[test]
fn processors() {
    let at = |path: &str, what: &str| format!("agent.yaml:2: processors.{path}: {what}");
    let table = [
        (
            "{batch: {send_batch_max_size: 10}}",
            "batch.send_batch_max_size",
            "must not be below send_batch_size (8192), found 10",
        ),
        ("{batch: {timeout: -1s}}", "batch.timeout", "must not be negative, found \"-1s\""),
        (
            "{batch: {metadata_keys: [a]}}",
            "batch.metadata_keys",
            "not supported: request metadata is not carried on in this version; batches are not split by it",
        ),
        (
            "{batch: {send_batch_siz: 1}}",
            "batch.send_batch_siz",
            "unknown key; did you mean \"send_batch_size\"?",
        ),
        ("{batch: 5}", "batch", "expected a map, found a number"),
        (
            "{memory_limiter: {limit_mib: 5}}",
            "memory_limiter.check_interval",
            "must be set and greater than zero, as in check_interval: 1s",
        ),
        (
            "{memory_limiter: {check_interval: 0s, limit_mib: 5}}",
            "memory_limiter.check_interval",
            "must be greater than zero",
        ),
        (
            "{memory_limiter: {check_interval: 1s}}",
            "memory_limiter.limit_mib",
            "limit_mib or limit_percentage must be set and greater than zero",
        ),
        (
            "{memory_limiter: {check_interval: 1s, limit_mib: 5, spike_limit_mib: 5}}",
            "memory_limiter.spike_limit_mib",
            "must be smaller than limit_mib (5), found 5",
        ),
        (
            "{memory_limiter: {check_interval: 1s, limit_percentage: 50}}",
            "memory_limiter.limit_percentage",
            "cannot find out how much memory there is (no cgroup limit, no /proc/meminfo); use limit_mib",
        ),
        (
            "{memory_limiter/x: {check_interval: 1s, limit_mib: 9, limit_percentage: 101}}",
            "memory_limiter/x.limit_percentage",
            "a percentage is at most 100, found 101",
        ),
        (
            "{tail_sampling: {}}",
            "tail_sampling",
            "the processor \"tail_sampling\" is not in this version: do it in the gateway Collector that relayd sends to",
        ),
        ("{bach: }", "bach", "unknown processor \"bach\"; did you mean \"batch\"?"),
        (
            "{frobnicate: }",
            "frobnicate",
            "unknown processor \"frobnicate\"; this version has batch, memory_limiter",
        ),
        ("{batch/: }", "batch/", "a component is named type or type/name, as in otlp/2"),
    ];
    for (processors, path, what) in table {
        assert_eq!(errors_of(&Parts { processors, ..Parts::default() }), [at(path, what)], "{processors}");
    }
}

#[test]
fn exporters() {
    let at = |path: &str, what: &str| format!("agent.yaml:3: exporters.otlp.{path}: {what}");
    let with = |more: &str| format!("{{endpoint: 'gw:4317', tls: {{insecure: true}}, {more}}}");
    let table = [
        (
            "{tls: {insecure: true}}".to_owned(),
            "endpoint",
            "an otlp exporter needs an endpoint, as in otel-gateway:4317",
        ),
        ("{endpoint: '', tls: {insecure: true}}".to_owned(), "endpoint", "expected host:port, found nothing"),
        (
            "{endpoint: 'unix://x'}".to_owned(),
            "endpoint",
            "after unix:// comes an absolute path, as in unix:///run/relay.sock",
        ),
        ("{endpoint: ':4317'}".to_owned(), "endpoint", "an upstream needs a host; write host:port"),
        ("{endpoint: 'gw:0'}".to_owned(), "endpoint", "an upstream needs a port from 1 to 65535"),
        (
            "{endpoint: 'dns://:53/gw:4317'}".to_owned(),
            "endpoint",
            "\"dns://:53/gw:4317\" names no DNS server; write dns:///host:port or dns://server:53/host:port",
        ),
        (with("compression: lz4"), "compression", "expected one of gzip, zstd, snappy, none, found \"lz4\""),
        (
            with("compression_params: {level: 1}"),
            "compression_params",
            "not supported: the Collector has it for otlp_http only; remove it",
        ),
        (
            with("compressed_passthrough: on"),
            "compressed_passthrough",
            "expected one of off, alone, merged, found \"on\"",
        ),
        (
            with("middlewares: [{id: x}]"),
            "middlewares",
            "not supported: relayd has none for exporters; remove it",
        ),
        (
            with("authority: \"a\\n\""),
            "authority",
            "the value has a character that no header can hold (a line end?)",
        ),
        (with("headers: {user-agent: x}"), "headers.user-agent", "use the key user_agent of the exporter"),
        (with("headers: {'a b': x}"), "headers.a b", "not a name of gRPC metadata (letters, digits, _ - .)"),
        (with("headers: {a: 1}"), "headers.a", "expected a text, found a number; put it in quotes"),
        (
            with("headers: {a: \"x\\n\"}"),
            "headers.a",
            "the value has a character that no header can hold (a line end?)",
        ),
        (with("headers: {a: x, A: y}"), "headers.A", "given twice (names are compared in lower case)"),
        (
            with("headers: {grpc-timeout: x}"),
            "headers.grpc-timeout",
            "this header belongs to gRPC itself; remove it",
        ),
        (
            with("auth: {authenticator: x}"),
            "auth.authenticator",
            "\"x\" is not defined: there are no extensions",
        ),
        (with("endpoints: [a]"), "endpoints", "unknown key; did you mean \"endpoint\"?"),
    ];
    for (exporter, path, what) in &table {
        assert_eq!(errors_of(&Parts { exporter, ..Parts::default() }), [at(path, what)], "{exporter}");
    }
}

#[test]
fn retries_and_queues() {
    let at = |path: &str, what: &str| format!("agent.yaml:3: exporters.otlp.{path}: {what}");
    let with = |more: &str| format!("{{endpoint: 'gw:4317', tls: {{insecure: true}}, {more}}}");
    let table = [
        (
            with("retry_on_failure: {randomization_factor: 2}"),
            "retry_on_failure.randomization_factor",
            "must be from 0 to 1, found 2",
        ),
        (
            with("retry_on_failure: {retryable_statuses: [UNAVAIBLE]}"),
            "retry_on_failure.retryable_statuses",
            "expected a gRPC status code by name or number, as in [UNAVAILABLE, 14], found \"UNAVAIBLE\"; did you mean \"UNAVAILABLE\"?",
        ),
        (
            with("retry_on_failure: {retryable_statuses: [0]}"),
            "retry_on_failure.retryable_statuses",
            "expected a gRPC status code by name or number, as in [UNAVAILABLE, 14], found 0, which is success",
        ),
        (
            with("retry_on_failure: {retryable_statuses: [503]}"),
            "retry_on_failure.retryable_statuses",
            "expected a gRPC status code by name or number, as in [UNAVAILABLE, 14], found 503",
        ),
        (
            with("retry_on_failure: {retryable_status_codes: [14]}"),
            "retry_on_failure.retryable_status_codes",
            "unknown key; did you mean \"retryable_statuses\"?",
        ),
        (
            with("retry_on_failure: {max_elapsed_time: 10s}"),
            "retry_on_failure.max_elapsed_time",
            "must not be less than max_interval (30s), found 10s",
        ),
        (
            with("sending_queue: {queue_size: 0}"),
            "sending_queue.queue_size",
            "must be greater than zero; to go without a queue set enabled: false",
        ),
        (
            with("sending_queue: {sizer: spans}"),
            "sending_queue.sizer",
            "expected one of requests, items, bytes, found \"spans\"",
        ),
        (
            with("sending_queue: {batch: {sizer: requests}}"),
            "sending_queue.batch.sizer",
            "a batch counts items or bytes; set sizer: items or sizer: bytes here",
        ),
        (
            with("sending_queue: {batch: {max_size: 5}}"),
            "sending_queue.batch.max_size",
            "must not be below min_size (8192), found 5",
        ),
        (
            with("sending_queue: {sizer: items, batch: {}}"),
            "sending_queue.queue_size",
            "must hold a batch of min_size (8192), found 1000",
        ),
    ];
    for (exporter, path, what) in &table {
        assert_eq!(errors_of(&Parts { exporter, ..Parts::default() }), [at(path, what)], "{exporter}");
    }
}

/// A token is not shown even when the header is refused.
#[test]
fn a_refused_header_hides_its_value() {
    let exporter = "{endpoint: 'gw:4317', tls: {insecure: true}, headers: {authorization: \"s3cret\\n\"}}";
    let shown = errors_of(&Parts { exporter, ..Parts::default() }).join("\n");
    assert!(!shown.contains("s3cret"), "{shown}");
    let set = ["exporters.otlp.headers.grpc-x=s3cret"];
    let shown =
        errors(Fake::default().file("agent.yaml", Parts::default().text()).load_with(&set)).join("\n");
    assert!(
        !shown.contains("s3cret") && shown.starts_with("--set exporters.otlp.headers.grpc-x: "),
        "{shown}"
    );
}

#[test]
fn other_components() {
    let text = "\
receivers: {otlp: {protocols: {grpc: }}, otpl: , kafka: }
exporters: {debug: {verbosity: loud}, jaeger: }
extensions: {zpages: , health_check: {path: x}, health_chek: }
connectors: {spanmetrics: }
service:
  extensions: [health_check]
  pipelines: {traces: {receivers: [otlp], exporters: [debug]}}
  telemtry: {}
extra: 1
";
    assert_eq!(
        errors_of_text(text),
        [
            "agent.yaml:3: extensions.zpages: the extension \"zpages\" is not in this version: remove it; relayd's metrics (port 8888) show its pipelines",
            "agent.yaml:3: extensions.health_check.path: must begin with a slash, found \"x\"",
            "agent.yaml:3: extensions.health_chek: unknown extension \"health_chek\"; did you mean \"health_check\"?",
            "agent.yaml:1: receivers.otpl: unknown receiver \"otpl\"; did you mean \"otlp\"?",
            "agent.yaml:1: receivers.kafka: the receiver \"kafka\" is not in this version: relayd receives OTLP only; keep this receiver in a Collector",
            "agent.yaml:2: exporters.debug.verbosity: expected one of basic, normal, detailed, found \"loud\"",
            "agent.yaml:2: exporters.jaeger: the exporter \"jaeger\" is not in this version: Jaeger receives OTLP; use the exporter otlp with port 4317 instead of 14250",
            "agent.yaml:4: connectors: not supported: connectors work on decoded data; do it in the gateway Collector that relayd sends to",
            "agent.yaml:9: extra: unknown key; known here: service, extensions, receivers, processors, exporters, connectors",
            "agent.yaml:8: service.telemtry: unknown key; did you mean \"telemetry\"?",
        ]
    );
}

#[test]
fn pipelines() {
    let base = "receivers: {otlp: {protocols: {grpc: }}, jaeger: }\nexporters: {debug: , otlp/2: {endpoint: 'a:1', insecure: true}, otlp_http: {traces_endpoint: 'http://a'}}\n\
                processors: {batch: , batch/2: }\n";
    let at = |path: &str, what: &str| format!("agent.yaml:4: service.pipelines{path}: {what}");
    let table = [
        ("{}", "", "at least one pipeline is needed, as in traces: {receivers: [otlp], exporters: [otlp]}"),
        ("{traces: {exporters: [debug]}}", ".traces.receivers", "a pipeline needs at least one receiver"),
        (
            "{traces: {receivers: [otlp], exporters: []}}",
            ".traces.exporters",
            "a pipeline needs at least one exporter",
        ),
        (
            "{traces: {receivers: [otlp], exporters: [otlp/3]}}",
            ".traces.exporters",
            "\"otlp/3\" is not defined in exporters; did you mean \"otlp/2\"?",
        ),
        (
            "{traces: {receivers: [otlp], exporters: [zzz]}}",
            ".traces.exporters",
            "\"zzz\" is not defined in exporters; defined there: debug, otlp/2, otlp_http",
        ),
        (
            "{traces: {receivers: [otlp, otlp], exporters: [debug]}}",
            ".traces.receivers",
            "\"otlp\" is named twice",
        ),
        (
            "{traces: {receivers: [jaeger], exporters: [debug]}}",
            ".traces.receivers",
            "all of its receivers were skipped; a pipeline needs at least one receiver of this version",
        ),
        (
            "{traces: {receivers: [otlp], processors: [batch, batch/2], exporters: [debug]}}",
            ".traces.processors",
            "two batch processors in one pipeline; keep one",
        ),
        ("{traces: {receivers: otlp, exporters: [debug]}}", ".traces.receivers", "expected a list"),
        (
            "{traces: {receivers: [otlp], exporter: [debug], exporters: [debug]}}",
            ".traces.exporter",
            "unknown key; did you mean \"exporters\"?",
        ),
        (
            "{metrics: {receivers: [otlp], exporters: [otlp_http]}}",
            ".metrics.exporters",
            "the exporter \"otlp_http\" needs endpoint or metrics_endpoint",
        ),
        (
            "{logs/: {receivers: [otlp], exporters: [debug]}}",
            ".logs/",
            "a pipeline is named logs or logs/name",
        ),
        (
            "{events: {receivers: [otlp], exporters: [debug]}}",
            ".events",
            "unknown signal \"events\"; a pipeline is named traces, metrics, logs, profiles, each perhaps with /name",
        ),
        (
            "{trace: {receivers: [otlp], exporters: [debug]}}",
            ".trace",
            "unknown signal \"trace\"; did you mean \"traces\"?",
        ),
    ];
    for (pipelines, path, what) in table {
        let errors = errors_of_text(&format!("{base}service: {{pipelines: {pipelines}}}\n"));
        assert!(errors.contains(&at(path, what)), "{pipelines}: {errors:#?}");
    }
}

#[test]
fn service_and_telemetry() {
    let at = |line: usize, path: &str, what: &str| format!("agent.yaml:{line}: service.{path}: {what}");
    let table = [
        (
            "  extensions: [health_check]\n",
            "extensions",
            "\"health_check\" is not defined: there are no extensions",
        ),
        (
            "  telemetry: {traces: {processors: [x]}}\n",
            "telemetry.traces",
            "not supported: relayd does not trace itself; remove it",
        ),
        (
            "  telemetry: {logs: {level: loud}}\n",
            "telemetry.logs.level",
            "expected one of debug, info, warn, error, DEBUG, INFO, WARN, ERROR, found \"loud\"",
        ),
        (
            "  telemetry: {logs: {output_paths: [/var/log/x]}}\n",
            "telemetry.logs.output_paths",
            "relayd logs to standard error only; write [stderr] and redirect that",
        ),
        (
            "  telemetry: {metrics: {readers: [{periodic: {exporter: {otlp: {}}}}]}}\n",
            "telemetry.metrics.readers.periodic",
            "not supported: relayd does not push its metrics; scrape them with a pull reader",
        ),
        (
            "  telemetry: {metrics: {readers: [{pull: {}}, {pull: {}}]}}\n",
            "telemetry.metrics.readers",
            "relayd has one reader; keep the pull reader and remove the others",
        ),
        (
            "  telemetry: {metrics: {readers: [{pull: {exporter: {prometheus: {port: 70000}}}}]}}\n",
            "telemetry.metrics.readers.pull.exporter.prometheus.port",
            "a port is at most 65535, found 70000",
        ),
        (
            "  relayd: {gather_pause: 80ms}\n",
            "relayd.gather_pause",
            "at most 50ms: senders wait that much longer",
        ),
        ("  relayd: {gather: 1ms}\n", "relayd.gather", "unknown key; known here: gather_pause"),
    ];
    for (service, path, what) in table {
        assert_eq!(errors_of(&Parts { service, ..Parts::default() }), [at(7, path, what)], "{service}");
    }
    assert_eq!(
        errors_of_text("receivers: {otlp: {protocols: {grpc: }}}\n"),
        ["agent.yaml:1: service: the section service is missing; it says which pipelines run"]
    );
}

#[test]
fn two_receivers_on_one_address() {
    let text = "\
receivers:
  otlp: {protocols: {grpc: }}
  otlp/2: {protocols: {grpc: }}
exporters: {debug: }
service: {pipelines: {traces: {receivers: [otlp, otlp/2], exporters: [debug]}}}
";
    assert_eq!(
        errors_of_text(text),
        ["agent.yaml:3: receivers.otlp/2.protocols.grpc.endpoint: 0.0.0.0:4317 is already taken by \"otlp\""]
    );
}

/// Scenario: endpoints that overlap: in a list, between the protocols of a receiver, between receivers. Guarantee: each is named,
/// at the line of its item where it has one.
#[test]
fn endpoints_that_overlap() {
    let text = "\
receivers:
  otlp:
    protocols:
      grpc:
        endpoint:
          - localhost:4317
          - 127.0.0.1:4317
          - tcp://x
          - 7
          - ':4319'
          - 10.0.0.1:4319
          - unix:///run/x.sock
          - unix:/run/x.sock
      http: {endpoint: '[::1]:4317'}
  otlp/2: {protocols: {grpc: {endpoint: '0.0.0.0:4319'}, http: {endpoint: []}}}
exporters: {debug: }
service: {pipelines: {traces: {receivers: [otlp, otlp/2], exporters: [debug]}}}
";
    let key = "receivers.otlp.protocols.grpc.endpoint";
    let listened = |at: &str, by: &str| format!("{at} is listened on by {by} already; remove one of both");
    assert_eq!(
        errors_of_text(text),
        [
            format!("agent.yaml:7: {key}: {}", listened("127.0.0.1:4317", "localhost:4317")),
            format!("agent.yaml:8: {key}: a listener has no scheme; write host:port without \"tcp://\""),
            format!("agent.yaml:9: {key}: expected host:port, found a number"),
            format!("agent.yaml:11: {key}: {}", listened("10.0.0.1:4319", ":4319")),
            format!("agent.yaml:13: {key}: {}", listened("unix:/run/x.sock", "unix:/run/x.sock")),
            "agent.yaml:14: receivers.otlp.protocols.http: [::1]:4317 overlaps grpc's endpoint localhost:4317; \
             write the same for both, or use two ports"
                .to_owned(),
            "agent.yaml:15: receivers.otlp/2.protocols.http.endpoint: a list of endpoints has one at least; \
             remove it for the default"
                .to_owned(),
            "agent.yaml:15: receivers.otlp/2.protocols.grpc.endpoint: 0.0.0.0:4319 is already taken by \"otlp\""
                .to_owned(),
        ]
    );
}

/// All errors of a file come at once, up to a bound.
#[test]
fn errors_are_gathered_and_bounded() {
    let keys = (0..30).map(|n| format!("k{n}: 1")).collect::<Vec<_>>().join(", ");
    let errors = errors_of(&Parts { grpc: &format!("{{{keys}}}"), exporter: "{}", ..Parts::default() });
    assert_eq!(errors.len(), 21);
    assert_eq!(errors[20], "and 11 more");
}
