//! A successor in the place of a relayd that drains: two processes on the same ports, under load, over TCP and unix sockets.

use testkit::collector::{Collector, Script};

use crate::daemon::{Dir, Load, PATIENCE, Relayd, http, now};
use crate::{closed_port, config, send_spans};

/// Scenario: 20 times under load a successor starts on the same ports, then the old one gets SIGTERM. Guarantee: every request is
/// answered OK, everything is delivered once, every process exits with 0, and every successor says that the ports are shared; the
/// port of metrics is one process' at a time, and taken when it is free.
#[test]
fn twenty_restarts_under_load_lose_nothing() {
    let collector = Collector::start(Script::ok());
    let [receiver, health, metrics] = [closed_port(), closed_port(), closed_port()];
    let metrics_port = metrics.rsplit(':').next().unwrap();
    let yaml = config(&collector.addr().to_string(), "")
        .replacen("endpoint: '127.0.0.1:0'", &format!("endpoint: '{receiver}'"), 1)
        .replacen("endpoint: '127.0.0.1:0'", &format!("endpoint: '{health}'"), 1)
        .replacen("port: 0", &format!("port: {metrics_port}"), 1);
    let mut running = Relayd::with_config(&yaml, &[]);
    running.address_of("metrics");
    let mut load = Load::start(&receiver);
    let mut accepted = 0;
    for _ in 0..20 {
        load = load.go_on();
        let successor = Relayd::with_config(&yaml, &[]);
        successor.stderr.wait_for(&format!("receiver otlp: another process listens on {receiver} already"));
        successor.stderr.wait_for(&format!("another process listens on {health} already"));
        successor.stderr.wait_for(&format!("metrics: another process listens on {metrics}"));
        accepted += end(running);
        successor.address_of("metrics");
        assert_eq!(http(&metrics, "GET", "/metrics").0, "HTTP/1.1 200 OK");
        running = successor;
    }
    assert_eq!(http(&health, "GET", "/").0, "HTTP/1.1 200 OK");
    let spans = load.end();
    accepted += end(running);
    assert_eq!((accepted, collector.span_count() as u64), (spans, spans));
}

/// Ends it; how many spans it says that it has accepted and delivered.
fn end(mut relayd: Relayd) -> u64 {
    relayd.signal("-TERM");
    let (status, _) = relayd.wait();
    let report = relayd.stderr.wait_for("shutdown complete");
    assert_eq!(status.code(), Some(0), "{report}");
    let accepted = report.split("accepted ").nth(1).unwrap().split(' ').next().unwrap();
    assert!(report.contains(&format!("= delivered {accepted} + refused back 0 + dropped 0")), "{report}");
    accepted.parse().unwrap()
}

/// Scenario: a successor starts on the path of a unix socket that a relayd listens on. Guarantee: it takes the path over, says so,
/// and the end of the first one leaves it.
#[test]
fn a_unix_socket_is_taken_over() {
    let collector = Collector::start(Script::ok());
    let dir = Dir::new("takeover");
    let path = dir.path("otlp.sock");
    let yaml = config(&collector.addr().to_string(), "").replacen(
        "endpoint: '127.0.0.1:0'",
        &format!("endpoint: 'unix://{}'", path.display()),
        1,
    );
    let first = Relayd::with_config(&yaml, &[]);
    first.stderr.wait_for("receiver otlp listening on unix:");
    let second = Relayd::with_config(&yaml, &[]);
    second.stderr.wait_for("already; it is taken over: new connections come here");
    second.stderr.wait_for("receiver otlp listening on unix:");
    assert_eq!(end(first), 0);
    std::os::unix::net::UnixStream::connect(&path).unwrap();
    assert_eq!(end(second), 0);
    assert!(!path.exists());
}

/// Guarantee: the program asks libc for no name (`getaddrinfo`): in a static binary that fails, or loads the host's libraries.
#[test]
fn libc_is_asked_for_no_name() {
    let program = std::fs::read(env!("CARGO_BIN_EXE_relayd")).unwrap();
    let names = |symbol: &[u8]| program.windows(symbol.len()).any(|found| found == symbol);
    assert!(names(b"getsockname"), "what it does ask for has its name in there");
    assert!(!names(b"getaddrinfo") && !names(b"gethostbyname"));
}

/// Scenario: no name server knows the upstream. Guarantee: relayd receives all the same, at once.
#[test]
fn a_start_waits_for_no_name_server() {
    let began = now();
    let relayd = Relayd::with_config(&config("nobody.invalid:4317", ""), &["--shutdown-timeout=100ms"]);
    send_spans(&relayd.address_of("receiver otlp"), 5, 1);
    let took = now().saturating_duration_since(began);
    // Far below any timeout of a resolver (5 s); the figure itself is measured elsewhere.
    assert!(took < PATIENCE / 5, "{took:?}");
}
