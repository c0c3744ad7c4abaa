//! relayd from start to exit, as a process: forwarding, probes, metrics, signals, the report.

#![expect(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test may fail it")]

mod activation;
mod awaited;
mod daemon;
mod health;
mod listening;
mod on_disk;
mod overload;
mod reload;
mod replaced;
mod restart;

use std::process::Command;
use std::time::Duration;

use daemon::{PATIENCE, Relayd, http, send};
use testkit::collector::{Collector, Reply, Script};
use testkit::generate::kube_like_request;
use testkit::sender::{SendOptions, send_blocking};

/// One pipeline from a free port to `endpoint`, with probes on free ports.
fn config(endpoint: &str, keys: &str) -> String {
    format!(
        "{{receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:0'}}}}}}}}, \
         processors: {{batch: {{timeout: 10ms}}}}, \
         exporters: {{otlp: {{endpoint: '{endpoint}', tls: {{insecure: true}}, compression: none, {keys}}}}}, \
         extensions: {{health_check: {{endpoint: '127.0.0.1:0'}}}}, \
         service: {{extensions: [health_check], \
         pipelines: {{traces: {{receivers: [otlp], processors: [batch], exporters: [otlp]}}}}, \
         telemetry: {{metrics: {{readers: [{{pull: {{exporter: {{prometheus: \
         {{host: 127.0.0.1, port: 0, without_type_suffix: true, without_units: true, without_scope_info: true}}\
         }}}}}}]}}}}}}}}"
    )
}

/// An address that refuses connections: it was free a moment ago.
fn closed_port() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

fn send_spans(address: &str, spans: usize, seed: u64) {
    let options = SendOptions { timeout: Some(PATIENCE), ..SendOptions::default() };
    send_blocking(&format!("http://{address}"), kube_like_request(spans, seed), options).unwrap();
}

/// The page of metrics, once it has these lines.
fn wait_for_metrics(address: &str, lines: &[&str]) -> String {
    for _ in 0..200 {
        let (status, page) = http(address, "GET", "/metrics");
        assert_eq!(status, "HTTP/1.1 200 OK");
        if lines.iter().all(|line| page.lines().any(|found| found == *line)) {
            return page;
        }
        std::thread::sleep(PATIENCE / 200);
    }
    panic!("no {lines:?} within {PATIENCE:?}");
}

/// Scenario: 3 requests of 100 spans, an upstream that takes all. Guarantee: all are delivered; probe, metrics and the
/// last line say so; SIGHUP is survived; the exit code is 0.
#[test]
fn forwards_answers_probes_and_reports() {
    let collector = Collector::start(Script::ok());
    let mut relayd = Relayd::with_config(&config(&collector.addr().to_string(), ""), &[]);
    let (receiver, health) = (relayd.address_of("receiver otlp"), relayd.address_of("health_check"));
    let metrics = relayd.address_of("metrics");
    (0..3).for_each(|seed| send_spans(&receiver, 100, seed));
    assert_eq!(collector.wait_for_spans(300, PATIENCE), 300);

    let (status, body) = http(&health, "GET", "/");
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(body.starts_with("{\"status\":\"Server available\",\"upSince\":\"20"), "{body}");
    assert_eq!(http(&health, "GET", "/nothing").0, "HTTP/1.1 404 Not Found");
    assert_eq!(http(&health, "POST", "/").0, "HTTP/1.1 405 Method Not Allowed");

    // The upstream has the spans a moment before relayd has its answer.
    let sent = "otelcol_exporter_sent_spans{exporter=\"otlp\"} 300";
    let idle = "otelcol_exporter_in_flight_requests{data_type=\"traces\",exporter=\"otlp\"} 0";
    let page = wait_for_metrics(&metrics, &[sent, idle]);
    for line in [
        "otelcol_receiver_accepted_spans{receiver=\"otlp\",transport=\"grpc\"} 300",
        "otelcol_receiver_refused_spans{receiver=\"otlp\",transport=\"grpc\"} 0",
        "otelcol_exporter_send_failed_spans{exporter=\"otlp\"} 0",
        "otelcol_exporter_enqueue_failed_spans{exporter=\"otlp\"} 0",
        "otelcol_exporter_queue_size{data_type=\"traces\",exporter=\"otlp\"} 0",
        "otelcol_exporter_queue_capacity{data_type=\"traces\",exporter=\"otlp\"} 20971520",
        "relayd_dropped_spans{exporter=\"otlp\",reason=\"rejected\"} 0",
        "relayd_rejected_requests{reason=\"malformed\",receiver=\"otlp\",transport=\"grpc\"} 0",
        "relayd_accepted_requests{receiver=\"otlp\",transport=\"grpc\"} 3",
        "relayd_held_bytes 0",
        "# TYPE otelcol_process_memory_rss gauge",
        "# TYPE otelcol_processor_batch_timeout_trigger_send counter",
    ] {
        assert!(page.lines().any(|found| found == line), "no {line:?} in {page}");
    }

    relayd.signal("-HUP");
    relayd.stderr.wait_for("configuration read again: nothing changed");
    relayd.signal("-TERM");
    let (status, _) = relayd.wait();
    let report = relayd.stderr.wait_for("shutdown complete");
    let books = "accepted 300 spans, refused 0; exporter otlp: received 300 = delivered 300 + refused back 0 + \
                 dropped 0";
    assert!(report.ends_with(books), "{report}");
    assert_eq!(status.code(), Some(0));
}

/// Scenario: spans are acknowledged, the upstream is down, and SIGTERM comes. Guarantee: the drain ends at its deadline,
/// and the report has every span under its reason.
#[test]
fn a_drain_without_upstream_ends_in_time_and_adds_up() {
    let mut relayd = Relayd::with_config(&config(&closed_port(), ""), &["--shutdown-timeout=1s"]);
    send_spans(&relayd.address_of("receiver otlp"), 250, 1);
    relayd.signal("-TERM");
    let (status, took) = relayd.wait();
    let report = relayd.stderr.wait_for("shutdown complete");
    let books =
        "exporter otlp: received 250 = delivered 0 + refused back 0 + dropped 250 (shutdown_deadline 250)";
    assert!(report.ends_with(books), "{report}");
    assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(5), "{took:?}");
    assert_eq!(status.code(), Some(1), "spans are lost");
}

/// Scenario: SIGTERM while the upstream is down, a probe during the drain, then SIGINT. Guarantee: the probe hears 503,
/// and the second signal ends the process at once, with an error and the number of spans that are lost.
#[test]
fn a_second_signal_ends_a_drain() {
    let mut relayd = Relayd::with_config(&config(&closed_port(), ""), &["--shutdown-timeout=1h"]);
    let (receiver, health) = (relayd.address_of("receiver otlp"), relayd.address_of("health_check"));
    send_spans(&receiver, 40, 1);
    relayd.signal("-TERM");
    relayd.stderr.wait_for("SIGTERM received; draining");
    let (status, body) = http(&health, "GET", "/");
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    assert!(body.starts_with("{\"status\":\"Server not available\","), "{body}");
    relayd.signal("-INT");
    let (status, took) = relayd.wait();
    relayd.stderr.wait_for("shutdown cut short by a second signal: 40 spans were held and are lost");
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(status.code(), Some(1));
}

/// Scenario: two upstreams, one of them down. Guarantee: the other one is not held up, and each has its own books.
#[test]
fn each_exporter_has_its_own_books() {
    let collector = Collector::start(Script::ok());
    let yaml = format!(
        "{{receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:0'}}}}}}}}, \
         exporters: {{otlp/up: {{endpoint: '{}', tls: {{insecure: true}}, compression: none}}, \
         otlp/down: {{endpoint: '{}', tls: {{insecure: true}}, compression: none}}}}, \
         service: {{pipelines: {{traces: {{receivers: [otlp], exporters: [otlp/up, otlp/down]}}}}, \
         telemetry: {{metrics: {{level: none}}, logs: {{encoding: json}}}}}}}}",
        collector.addr(),
        closed_port()
    );
    let mut relayd = Relayd::with_config(&yaml, &["--shutdown-timeout=300ms"]);
    let line = relayd.stderr.wait_for("receiver otlp listening on ");
    let address = line.split("listening on ").nth(1).unwrap().split(' ').next().unwrap();
    send_spans(address, 70, 1);
    assert_eq!(collector.wait_for_spans(70, PATIENCE), 70);
    relayd.signal("-TERM");
    assert_eq!(relayd.wait().0.code(), Some(1), "one exporter has lost spans");
    let report = relayd.stderr.wait_for("shutdown complete");
    for books in [
        "accepted 70 spans, refused 0; exporter otlp/up: received 70 = delivered 70 + refused back 0 + dropped 0;",
        "exporter otlp/down: received 70 = delivered 0 + refused back 0 + dropped 70 (shutdown_deadline 70)",
    ] {
        assert!(report.contains(books), "{report}");
    }
    for line in relayd.stderr.all() {
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert!(line["message"].is_string() && line["level"].is_string(), "{line}");
    }
}

/// Scenario: the newcomer's: no configuration, then `relayd send`. Guarantee: every trace is printed once, whole, although
/// its services send it in pieces.
#[test]
fn the_embedded_default_prints_the_samples() {
    let mut relayd = Relayd::start(&["--listen", "127.0.0.1:0"]);
    let greeting = relayd.stdout.wait_for("receives OTLP traces on ");
    let address = greeting.split(" traces on ").nth(1).unwrap().split(' ').next().unwrap();
    relayd.stdout.wait_for("relayd send");
    let sent = send(address, 3);
    let said = String::from_utf8(sent.stdout).unwrap();
    assert!(sent.status.success(), "{said}");
    assert!(said.ends_with(&format!("{address} took 3 traces with 24 spans\n")), "{said}");
    for line in said.lines().filter_map(|line| line.strip_prefix("sent trace ")) {
        relayd.stdout.wait_for(&format!("trace {}", &line[..32]));
    }
    relayd.stdout.wait_for("✓ POST /cart/checkout  184.3 ms · 9 spans · frontend, checkout, payment");
    relayd
        .stdout
        .wait_for("✗ POST /cart/checkout  96.1 ms · 7 spans · 2 errors · frontend, checkout, payment");
    relayd.stdout.wait_for("✓ syncPod  2.34 s · 8 spans · kubelet, crio");
    relayd.stdout.wait_for("payment  POST bank.example  ✗ card declined: insufficient funds");
    relayd.signal("-INT");
    assert_eq!(relayd.wait().0.code(), Some(0));
    let headlines = relayd.stdout.all().iter().filter(|line| line.starts_with(['✓', '✗'])).count();
    assert_eq!(headlines, 3);
    let report = relayd.stderr.wait_for("shutdown complete");
    assert!(report.contains("received 24 = delivered 24"), "{report}");
}

#[test]
fn send_says_soon_why_nobody_takes_its_traces() {
    let address = closed_port();
    let sent = send(&address, 1);
    let said = String::from_utf8(sent.stderr).unwrap();
    assert_eq!(sent.status.code(), Some(1));
    assert!(said.starts_with(&format!("cannot connect to {address}: Connection refused")), "{said}");

    let collector = Collector::start(Script::always(Reply::unavailable(None)));
    let sent = send(&collector.addr().to_string(), 1);
    let said = String::from_utf8(sent.stderr).unwrap();
    assert_eq!(sent.status.code(), Some(1));
    assert!(
        said.contains("scripted overload") && said.contains("did not take a trace: retries exhausted"),
        "{said}"
    );
}

/// The debug exporter writes what it is told to, to standard error, and delivers.
#[test]
fn the_debug_exporter_writes_spans() {
    let yaml = "{receivers: {otlp: {protocols: {grpc: {endpoint: '127.0.0.1:0'}}}}, \
                exporters: {debug: {verbosity: detailed}, debug/lines: {verbosity: normal}}, \
                service: {pipelines: {traces: {receivers: [otlp], exporters: [debug, debug/lines]}}, \
                telemetry: {metrics: {level: none}}}}";
    let mut relayd = Relayd::with_config(yaml, &[]);
    assert!(send(&relayd.address_of("receiver otlp"), 1).status.success());
    relayd.stderr.wait_for("    Name           : INSERT payments");
    relayd.stderr.wait_for("     -> service.name: Str(frontend)");
    relayd.stderr.wait_for("ResourceTraces #0 service.name=frontend sample=true");
    relayd.signal("-TERM");
    assert_eq!(relayd.wait().0.code(), Some(0));
    relayd.stderr.wait_for("exporter debug: received 9 = delivered 9 + refused back 0 + dropped 0");
}

/// Guarantee: what cannot work is refused before anything is received, the same by `validate` and by a start.
#[test]
fn what_cannot_start_says_why_and_exits_with_1() {
    let run = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_relayd")).args(args).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let looped =
        format!("yaml:{}", config("localhost:24999", "").replace("127.0.0.1:0'}}", "127.0.0.1:24999'}}"));
    let (code, said) = run(&["validate", "--config", &looped]);
    let why = "exporters.otlp.endpoint: localhost:24999 is where the receiver otlp of this relayd listens: spans would \
               go round for ever; name the upstream\n";
    assert_eq!((code, said.as_str()), (Some(1), why));
    assert_eq!(run(&["--config", &looped]), (code, said));

    let unknown = run(&["--config=yaml:{recievers: }"]);
    assert_eq!(unknown.0, Some(1));
    assert!(unknown.1.contains("did you mean \"receivers\"?"), "{}", unknown.1);

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, said) = run(&["--listen", &address]);
    assert_eq!(code, Some(1));
    assert!(said.contains(&format!("cannot listen on {address}: Address already in use")), "{said}");
    assert_eq!(run(&["validate", "--config", &format!("yaml:{}", config("up:4317", ""))]).0, Some(0));
}
