//! `relayd health` against a running relayd: over its private unix socket and over TCP, from the start through the drain to the end.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use testkit::collector::{Collector, Script};

use crate::daemon::{Dir, PATIENCE, Relayd, now};
use crate::{closed_port, config, send_spans};

/// The exit code and what it says on standard error.
fn health(args: &[&str]) -> (Option<i32>, String) {
    let began = now();
    let output = Command::new(env!("CARGO_BIN_EXE_relayd")).arg("health").args(args).output().unwrap();
    assert!(now().saturating_duration_since(began) < PATIENCE / 4, "{args:?}");
    assert!(output.stdout.is_empty());
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

fn on_socket(path: &Path) -> (Option<i32>, String) {
    health(&["--socket", path.to_str().unwrap()])
}

fn with_health(endpoint: &str, keys: &str) -> String {
    let health = format!("health_check: {{{keys}}}");
    config(endpoint, "").replacen("health_check: {endpoint: '127.0.0.1:0'}", &health, 1)
}

/// Scenario: a process is killed and leaves its socket's file; a successor starts, a third one while that runs; SIGTERM with
/// spans held. Guarantee: the file is replaced, but not the one that is in use, which is taken when it is free; it is its user's
/// alone; health is 0 while spans are taken, and 1 with one line that says why from the beginning of the drain on.
#[test]
fn health_over_a_private_socket() {
    let dir = Dir::new("health");
    let path = dir.path("health.sock");
    let keys = format!("endpoint: {}, transport: unix", path.display());
    let yaml = with_health(&closed_port(), &keys);
    let (code, said) = on_socket(&path);
    assert_eq!((code, said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains("does not answer: No such file"), "{said}");

    drop(UnixListener::bind(&path).unwrap());
    assert!(on_socket(&path).1.contains("does not answer: Connection refused"));
    let mut first = Relayd::with_config(&yaml, &["--shutdown-timeout=1h"]);
    first.stderr.wait_for(&format!("health_check listening on unix:{}/", path.display()));
    assert_eq!(on_socket(&path), (Some(0), String::new()));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let (code, said) = health(&["--socket", path.to_str().unwrap(), "--path=/other"]);
    assert!(code == Some(1) && said.contains("answers 404 Not Found: not found"), "{said}");

    let second = Relayd::with_config(&with_health(&closed_port(), &keys), &[]);
    second.stderr.wait_for(&format!("health_check: another process listens on unix:{}", path.display()));
    second.address_of("receiver otlp");

    send_spans(&first.address_of("receiver otlp"), 10, 1);
    first.signal("-TERM");
    first.stderr.wait_for("SIGTERM received; draining");
    let (code, said) = on_socket(&path);
    assert_eq!((code, said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains("answers 503 Service Unavailable: {\"status\":\"Server not available\""), "{said}");
    first.signal("-INT");
    first.wait();
    second.stderr.wait_for("health_check listening on unix:");
    assert_eq!(on_socket(&path), (Some(0), String::new()));
}

#[test]
fn health_over_tcp() {
    let collector = Collector::start(Script::ok());
    let keys = "endpoint: 'localhost:0', path: /ready";
    let relayd = Relayd::with_config(&with_health(&collector.addr().to_string(), keys), &[]);
    let address = relayd.address_of("health_check");
    assert_eq!(health(&["--endpoint", &address, "--path=/ready"]), (Some(0), String::new()));
    let by_name = address.replace("127.0.0.1", "localhost");
    assert_eq!(health(&["--endpoint", &by_name, "--path=/ready"]), (Some(0), String::new()));
    assert_eq!(health(&["--endpoint", &address]).0, Some(1));
    let nobody = closed_port();
    let (code, said) = health(&["--endpoint", &nobody]);
    let why = format!("relayd health: {nobody} does not answer: Connection refused (os error 111)\n");
    assert_eq!((code, said), (Some(1), why));
    // One that takes connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (code, said) = health(&["--endpoint", &silent.local_addr().unwrap().to_string()]);
    assert!(code == Some(1) && said.contains("does not answer: no answer within 2 s"), "{said}");
}
