//! OTLP/HTTP: the receiver's protocol and the exporter, every key of them.

use std::time::Duration;

use super::super::receivers::{ContentEncoding, Cors, HttpServer};
use super::super::{Compression, Config, ExporterKind, HttpConnections, OtlpHttpExporter, Passthrough};
use super::{Fake, errors, lines};
use relay_core::otlp::Signal;
use relay_core::upstream::RetryTable;

fn text(protocols: &str, exporter: &str) -> String {
    format!(
        "receivers: {{otlp: {{protocols: {protocols}}}}}\n\
         exporters: {{otlp_http: {exporter}}}\n\
         service: {{pipelines: {{traces: {{receivers: [otlp], exporters: [otlp_http]}}}}}}\n"
    )
}

fn load(protocols: &str, exporter: &str) -> (Config, Vec<String>) {
    let (config, notices) = Fake::default().file("agent.yaml", text(protocols, exporter)).load().unwrap();
    (config, lines(&notices))
}

fn server(keys: &str) -> (HttpServer, Vec<String>) {
    let (config, notices) = load(&format!("{{http: {keys}}}"), "{endpoint: 'http://gw:4318'}");
    (config.receivers[0].http.clone().unwrap(), notices)
}

fn exporter(keys: &str) -> (OtlpHttpExporter, Vec<String>) {
    let (config, notices) = load("{http: }", keys);
    match &config.exporters[0].kind {
        ExporterKind::OtlpHttp(otlp) => (otlp.as_ref().clone(), notices),
        other => panic!("not otlp_http: {other:?}"),
    }
}

#[test]
fn null_enables_the_protocol_with_its_defaults() {
    let (server, notices) = server("");
    assert_eq!(notices, [] as [&str; 0]);
    assert_eq!(server.endpoints[0].to_string(), "0.0.0.0:4318");
    let paths = Signal::ALL.map(|signal| server.url_path(signal).to_owned());
    assert_eq!(paths, ["/v1/traces", "/v1/metrics", "/v1/logs", "/v1development/profiles"]);
    assert_eq!(server.max_request_body_bytes, 64 << 20);
    assert_eq!(server.compression_algorithms.len(), 8);
    assert!(server.keep_alives_enabled && server.cors.is_none() && server.response_headers.is_empty());
    assert_eq!((server.read_timeout, server.idle_timeout), (None, None));
}

#[test]
fn receiver_keys() {
    let (server, notices) = server(
        "{endpoint: 'localhost:0', traces_url_path: otlp/t, metrics_url_path: /m, logs_url_path: /l, profiles_url_path: /p,
        max_request_body_size: 999999999999, compression_algorithms: ['', gzip, lz4, gzip],
        response_headers: {X-Served-By: relay}, include_metadata: true, read_timeout: 1s, read_header_timeout: 2s,
        write_timeout: 3s, keepalive: {idle_timeout: 4s},
        cors: {allowed_origins: ['https://*.example.com', '*'], allowed_headers: 'a,*', exposed_headers: [b], max_age: 7200}}",
    );
    assert_eq!(server.endpoints[0].to_string(), "localhost:0");
    let paths = Signal::ALL.map(|signal| server.url_path(signal).to_owned());
    assert_eq!(paths, ["/otlp/t", "/m", "/l", "/p"]);
    assert_eq!(server.max_request_body_bytes, 999_999_999_999);
    let encodings = [ContentEncoding::Identity, ContentEncoding::Gzip, ContentEncoding::Lz4];
    assert_eq!(server.compression_algorithms, encodings);
    assert_eq!(encodings.map(ContentEncoding::name), ["", "gzip", "lz4"]);
    let (name, value) = &server.response_headers[0];
    assert_eq!((name.as_str(), value.reveal()), ("x-served-by", "relay"));
    let cors = Cors {
        allowed_origins: vec!["https://*.example.com".to_owned(), "*".to_owned()],
        allowed_headers: vec!["a".to_owned(), "*".to_owned()],
        exposed_headers: vec!["b".to_owned()],
        max_age_seconds: Some(7200),
    };
    assert_eq!(server.cors, Some(cors));
    let seconds = |n| Some(Duration::from_secs(n));
    assert_eq!((server.read_timeout, server.read_header_timeout), (seconds(1), seconds(2)));
    assert_eq!((server.write_timeout, server.idle_timeout), (seconds(3), seconds(4)));
    assert_eq!(
        notices,
        [
            "agent.yaml:3: receivers.otlp.protocols.http.include_metadata: accepted, without effect: nothing in a pipeline of relayd reads request metadata"
        ]
    );
}

/// The Collector has two forms of the same keys.
#[test]
fn keep_alives_in_both_forms() {
    let of = |keys: &str| {
        let (server, _) = server(keys);
        (server.keep_alives_enabled, server.idle_timeout.map(|timeout| timeout.as_secs()))
    };
    assert_eq!(of("{idle_timeout: 9s}"), (true, Some(9)));
    assert_eq!(of("{keep_alives_enabled: false}"), (false, None));
    assert_eq!(of("{keepalive: {enabled: false}}"), (false, None));
    assert_eq!(of("{keepalive: {}, keep_alives_enabled: true}"), (true, None));
    let (exporter, _) = exporter("{endpoint: 'http://gw', keepalive: {enabled: false}}");
    assert!(!exporter.connections.keep_alives);
}

/// Both protocols on one endpoint is one port, without a clash; the port that the system chooses is never the same.
#[test]
fn one_port_for_both() {
    let of = |protocols: &str| load(protocols, "{endpoint: 'http://gw'}").0.receivers[0].shares_a_port();
    assert!(of("{grpc: {endpoint: ':4317'}, http: {endpoint: ':4317'}}"));
    assert!(of("{grpc: {endpoint: /run/x, transport: unix}, http: {endpoint: 'unix:///run/x'}}"));
    assert!(!of("{grpc: , http: }"));
    assert!(!of("{grpc: {endpoint: 'a:0'}, http: {endpoint: 'a:0'}}"));
    assert!(!of("{http: }"));
    assert!(of("{grpc: {endpoint: ['a:1', 'a:2']}, http: {endpoint: ['a:2', 'a:3']}}"));
}

#[test]
fn receivers_are_refused() {
    let at = |path: &str, what: &str| format!("agent.yaml:1: receivers.otlp.protocols.{path}: {what}");
    let table = [
        (
            "{http: {compression_algorithms: [gzip, br]}}",
            "http.compression_algorithms",
            "expected some of \"\", \"gzip\", \"zstd\", \"zlib\", \"snappy\", \"deflate\", \"lz4\", \"x-snappy-framed\", found \"br\"",
        ),
        (
            "{http: {compression_algorithms: []}}",
            "http.compression_algorithms",
            "an empty list would refuse every request; remove it to accept all encodings",
        ),
        (
            "{http: {logs_url_path: v1/traces}}",
            "http.logs_url_path",
            "traces_url_path is /v1/traces too; a path belongs to one signal",
        ),
        (
            "{http: {logs_url_path: /a?b}}",
            "http.logs_url_path",
            "expected a path such as /v1/traces, found \"/a?b\"",
        ),
        (
            "{http: {response_headers: {Content-Type: x}}}",
            "http.response_headers.Content-Type",
            "relayd writes this header itself; remove it",
        ),
        ("{http: {response_headers: {a b: x}}}", "http.response_headers.a b", "not a name of an HTTP header"),
        (
            "{http: {cors: {allowed_origins: ['*://*']}}}",
            "http.cors.allowed_origins",
            "expected an origin with at most one star, as in https://*.example.com, found \"*://*\"",
        ),
        (
            "{http: {cors: {allowed_origins: [a], allowed_headers: ['x y']}}}",
            "http.cors.allowed_headers",
            "not a name of an HTTP header: \"x y\"",
        ),
        (
            "{http: {idle_timeout: 1s, keepalive: {idle_timeout: 1s}}}",
            "http.keepalive",
            "idle_timeout or keep_alives_enabled is given too; keep one form",
        ),
        (
            "{http: {max_request_body_size: -1}}",
            "http.max_request_body_size",
            "expected a whole number from 0 up, found -1",
        ),
        (
            "{http: {max_request_body_size_mib: 4}}",
            "http.max_request_body_size_mib",
            "unknown key; did you mean \"max_request_body_size\"?",
        ),
        (
            "{http: {endpoint: 'a:1', tls: {cert_pem: c, key_pem: k}}, grpc: {endpoint: 'a:1'}}",
            "http",
            "grpc has the same endpoint but another tls; make both the same, or use two ports",
        ),
    ];
    for (protocols, path, what) in table {
        let loaded =
            Fake::default().file("agent.yaml", text(protocols, "{endpoint: 'http://gw:4318'}")).load();
        assert_eq!(errors(loaded), [at(path, what)], "{protocols}");
    }
}

#[test]
fn the_base_endpoint_gets_a_path_for_each_signal() {
    let urls = |keys: &str| {
        let (exporter, _) = exporter(keys);
        Signal::ALL.map(|signal| exporter.url(signal).map(ToString::to_string).unwrap_or_default())
    };
    assert_eq!(
        urls("{endpoint: 'https://gw/otlp/', logs_endpoint: 'http://logs:1'}"),
        [
            "https://gw/otlp/v1/traces",
            "https://gw/otlp/v1/metrics",
            "http://logs:1/",
            "https://gw/otlp/v1development/profiles"
        ]
    );
    assert_eq!(urls("{traces_endpoint: 'http://gw:4318/api?x=1'}"), ["http://gw:4318/api?x=1", "", "", ""]);
}

#[test]
fn exporter_defaults() {
    let (exporter, notices) = exporter("{endpoint: 'http://gw:4318'}");
    assert_eq!(notices, [] as [&str; 0]);
    assert_eq!((exporter.compression, exporter.compression_level), (Compression::Gzip, None));
    assert_eq!((exporter.passthrough, exporter.timeout), (Passthrough::Off, Some(Duration::from_secs(30))));
    assert_eq!((&exporter.connections, &exporter.proxy), (&HttpConnections::default(), &None));
    assert!(exporter.queue.is_some() && exporter.auth.is_none() && exporter.headers.is_empty());
}

#[test]
fn exporter_keys() {
    let (exporter, notices) = exporter(
        "{endpoint: 'http://gw:4318', encoding: proto, compression: zstd, compression_params: {level: 99},
        compressed_passthrough: merged, timeout: 0s, headers: {Host: other, User-Agent: me, X-A: b}, proxy_url: 'http://proxy:3128',
        max_idle_conns: 0, max_idle_conns_per_host: 5, max_conns_per_host: 6, idle_conn_timeout: 7s, disable_keep_alives: true,
        force_attempt_http2: false, http2_read_idle_timeout: 8s, http2_ping_timeout: 9s, write_buffer_size: 1,
        sending_queue: {enabled: false}}",
    );
    assert_eq!((exporter.compression, exporter.compression_level), (Compression::Zstd, Some(22)));
    assert_eq!((exporter.passthrough, exporter.timeout), (Passthrough::Merged, None));
    let names = exporter.headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>();
    assert_eq!(names, ["host", "user-agent", "x-a"]);
    assert_eq!(exporter.proxy.map(|proxy| proxy.address.to_string()).as_deref(), Some("proxy:3128"));
    let connections = HttpConnections {
        idle_max: None,
        idle_per_host_max: 5,
        per_host_max: Some(6),
        idle_timeout: Some(Duration::from_secs(7)),
        keep_alives: false,
        http2: false,
        http2_read_idle_timeout: Some(Duration::from_secs(8)),
        http2_ping_timeout: Duration::from_secs(9),
    };
    assert_eq!((exporter.connections, exporter.queue), (connections, None));
    assert_eq!(
        notices,
        [
            "agent.yaml:5: exporters.otlp_http.write_buffer_size: accepted, without effect: relayd writes payloads from where they were received"
        ]
    );
}

#[test]
fn compression_levels() {
    let level = |keys: &str| exporter(&format!("{{endpoint: 'http://gw', {keys}}}")).0.compression_level;
    assert_eq!(level("compression_params: {level: 9}"), Some(9));
    assert_eq!(level("compression_params: {level: -1}"), None);
    assert_eq!(level("compression_params: {level: 0}, compression: snappy"), None);
    assert_eq!(level("compression_params: {level: 3}, compression: none"), None);
    assert_eq!(level("compression_params: {level: -5}, compression: zstd"), Some(1));
}

#[test]
fn exporters_are_refused() {
    let at = |path: &str, what: &str| format!("agent.yaml:2: exporters.otlp_http.{path}: {what}");
    let with = |more: &str| format!("{{endpoint: 'http://gw:4318', {more}}}");
    let needed = "an otlp_http exporter needs an endpoint, as in http://otel-gateway:4318";
    let table = [
        ("{}".to_owned(), "endpoint", needed),
        ("{endpoint: ''}".to_owned(), "endpoint", needed),
        (
            "{endpoint: 'gw:4318'}".to_owned(),
            "endpoint",
            "an otlp_http exporter needs a URL, as in http://host:port",
        ),
        (
            "{endpoint: 'http://gw/?a=b'}".to_owned(),
            "endpoint",
            "a path is put behind it, so it has no query (?); use traces_endpoint",
        ),
        (
            with("encoding: json"),
            "encoding",
            "not supported: relayd forwards protobuf, which every OTLP/HTTP server takes; remove it",
        ),
        (with("cookies: {}"), "cookies", "not supported: relayd keeps no cookies; remove it"),
        (
            with("compression: br"),
            "compression",
            "expected one of gzip, zstd, snappy, x-snappy-framed, zlib, deflate, lz4, none, found \"br\"",
        ),
        (
            with("compression_params: {level: 10}"),
            "compression_params.level",
            "must be from 1 to 9, found 10",
        ),
        (
            with("compression: lz4, compression_params: {level: 1}"),
            "compression_params.level",
            "this compression has no levels; remove it",
        ),
        (
            with("headers: {content-encoding: x}"),
            "headers.content-encoding",
            "relayd writes this header itself; remove it",
        ),
        (
            with("proxy_url: 'socks5://p:1'"),
            "proxy_url",
            "SOCKS proxies are not in this version; use http://",
        ),
        (
            with("max_idle_conns: 1, keepalive: {max_idle_conns: 1}"),
            "keepalive",
            "max_idle_conns, max_idle_conns_per_host, idle_conn_timeout or disable_keep_alives is given too; keep one form",
        ),
        (with("balancer_name: x"), "balancer_name", "unknown key; known here: "),
    ];
    for (exporter, path, what) in &table {
        let errors = errors(Fake::default().file("agent.yaml", text("{http: }", exporter)).load());
        assert!(errors.len() == 1 && errors[0].starts_with(&at(path, what)), "{exporter}: {errors:#?}");
    }
}

/// `retryable_statuses` replaces the specification's list.
#[test]
fn retryable_statuses_of_http() {
    let url = "endpoint: 'http://gw:4318'";
    let (otlp, _) = exporter(&format!("{{{url}, retry_on_failure: {{retryable_statuses: [429, 530]}}}}"));
    assert_eq!(otlp.retry.table, RetryTable::default().with_statuses(&[429, 530]));
    let (otlp, _) = exporter(&format!("{{{url}, retry_on_failure: {{retryable_statuses: []}}}}"));
    assert_eq!(otlp.retry.table, RetryTable::default().with_statuses(&[]));
    let at =
        |key: &str, what: &str| format!("agent.yaml:2: exporters.otlp_http.retry_on_failure.{key}: {what}");
    let table = [
        (
            "retryable_statuses: [UNAVAILABLE]",
            at(
                "retryable_statuses",
                "expected an HTTP status from 300 to 599, as in [429, 503], found \"UNAVAILABLE\"",
            ),
        ),
        (
            "retryable_statuses: [200]",
            at("retryable_statuses", "expected an HTTP status from 300 to 599, as in [429, 503], found 200"),
        ),
        (
            "retry_resource_exhausted: true",
            at(
                "retry_resource_exhausted",
                "not supported: HTTP has 429 in its place, which is tried again anyway; remove it",
            ),
        ),
    ];
    for (keys, expected) in table {
        let exporter = format!("{{{url}, retry_on_failure: {{{keys}}}}}");
        let loaded = Fake::default().file("agent.yaml", text("{http: }", &exporter)).load();
        assert_eq!(errors(loaded), [expected]);
    }
}
