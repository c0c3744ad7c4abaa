//! Receivers with several endpoints: both families of localhost, lists, unix sockets among them; through reloads and socket
//! activation.

use std::net::{Ipv6Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use testkit::collector::{Collector, Script};

use crate::daemon::{Dir, PATIENCE, Relayd, http};
use crate::{closed_port, config, send_spans, wait_for_metrics};

fn port_of(address: &str) -> &str {
    address.rsplit(':').next().unwrap()
}

/// The loopback addresses that this machine has: not every builder has IPv6.
fn loopbacks() -> Vec<&'static str> {
    let v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    if v6 { vec!["127.0.0.1", "[::1]"] } else { vec!["127.0.0.1"] }
}

/// `config` with other protocols of the receiver.
fn receiving(upstream: &str, protocols: &str) -> String {
    config(upstream, "").replacen("{grpc: {endpoint: '127.0.0.1:0'}}", &format!("{{{protocols}}}"), 1)
}

/// Scenario: a receiver on localhost, which is two addresses, on a unix socket, and for HTTP on a port of gRPC and one of its own.
/// Guarantee: all are served, as one receiver in metrics and in the last line; a reload keeps every socket.
#[test]
fn one_receiver_listens_on_all_of_its_endpoints() {
    let collector = Collector::start(Script::ok());
    let dir = Dir::new("listening");
    let (socket, [local, own]) = (dir.path("otlp.sock"), [closed_port(), closed_port()]);
    let local = format!("localhost:{}", port_of(&local));
    let protocols = format!(
        "grpc: {{endpoint: ['{local}', 'unix://{}']}}, http: {{endpoint: ['{local}', '{own}']}}",
        socket.display()
    );
    let yaml = receiving(&collector.addr().to_string(), &protocols);
    let path = dir.put("agent.yaml", &yaml);
    let mut relayd = Relayd::start(&["--config", &path]);
    let metrics = relayd.address_of("metrics");
    let addresses: Vec<String> = loopbacks().iter().map(|host| local.replace("localhost", host)).collect();
    for address in &addresses {
        relayd.stderr.wait_for(&format!("receiver otlp listening on {address} (gRPC and HTTP)"));
        send_spans(address, 10, 1);
        assert_eq!(http(address, "GET", "/nothing").0, "HTTP/1.1 404 Not Found");
    }
    relayd.stderr.wait_for(&format!("receiver otlp listening on unix:{} (gRPC)", socket.display()));
    relayd.stderr.wait_for(&format!("receiver otlp listening on {own} (HTTP)"));
    assert_eq!(http(&own, "GET", "/nothing").0, "HTTP/1.1 404 Not Found");
    let spans = 10 * addresses.len();
    let accepted = format!("otelcol_receiver_accepted_spans{{receiver=\"otlp\",transport=\"grpc\"}} {spans}");
    let page = wait_for_metrics(&metrics, &[&accepted]);
    assert_eq!(
        page.matches("otelcol_receiver_accepted_spans{receiver=\"otlp\",transport=\"grpc\"}").count(),
        1
    );

    dir.put("agent.yaml", &yaml.replace("timeout: 10ms", "timeout: 20ms"));
    relayd.signal("-HUP");
    relayd.stderr.wait_for("configuration read again: in use");
    addresses.iter().for_each(|address| send_spans(address, 5, 2));
    assert!(!relayd.stderr.all().iter().any(|line| line.contains("another process listens")));
    let fewer = yaml.replace(&format!("'{local}', 'unix://{}'", socket.display()), &format!("'{local}'"));
    dir.put("agent.yaml", &fewer);
    relayd.signal("-HUP");
    relayd.stderr.wait_for_count("configuration read again: in use", 2);
    assert!(std::os::unix::net::UnixStream::connect(&socket).is_err());
    addresses.iter().for_each(|address| send_spans(address, 1, 3));

    relayd.signal("-TERM");
    assert_eq!(relayd.wait().0.code(), Some(0));
    let spans = 16 * addresses.len();
    let report = relayd.stderr.wait_for("shutdown complete");
    assert!(report.contains(&format!("accepted {spans} spans, refused 0")), "{report}");
    assert_eq!(collector.wait_for_spans(spans, PATIENCE), spans);
}

/// Guarantee: all addresses are those of both families, written `:PORT` or `[::]:PORT`.
#[test]
fn all_addresses_are_of_both_families() {
    let collector = Collector::start(Script::ok());
    for host in ["", "[::]"].into_iter().take(loopbacks().len()) {
        let port = port_of(&closed_port()).to_owned();
        let protocols = format!("grpc: {{endpoint: '{host}:{port}'}}");
        let relayd = Relayd::with_config(&receiving(&collector.addr().to_string(), &protocols), &[]);
        relayd.address_of("receiver otlp");
        for host in loopbacks() {
            send_spans(&format!("{host}:{port}"), 1, 1);
        }
    }
}

/// Scenario: one of a list's endpoints cannot be bound. Guarantee: relayd does not start with the rest; it says which one.
#[test]
fn every_endpoint_of_a_list_must_be_bound() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let protocols = format!("grpc: {{endpoint: ['127.0.0.1:0', '{address}']}}");
    let mut relayd = Relayd::with_config(&receiving("127.0.0.1:1", &protocols), &[]);
    assert_eq!(relayd.wait().0.code(), Some(1));
    relayd.stderr.wait_for(&format!("receiver \"otlp\" cannot listen on {address}: Address already in use"));
}

/// Scenario: socket activation passes a listener on one of the addresses of localhost. Guarantee: it is used, the other address is
/// bound, and both are one receiver.
#[test]
fn a_passed_listener_is_one_of_a_list() {
    let collector = Collector::start(Script::ok());
    let passed = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = passed.local_addr().unwrap().to_string();
    let protocols = format!("grpc: {{endpoint: 'localhost:{}'}}", port_of(&address));
    let mut command = Command::new(env!("CARGO_BIN_EXE_relayd"));
    command.arg(format!("--config=yaml:{}", receiving(&collector.addr().to_string(), &protocols)));
    command.env("LISTEN_FDS", "1").env("LISTEN_FDS_FIRST_FD", "0").env("LISTEN_FDNAMES", "otlp");
    let mut relayd = Relayd::spawn({
        command.stdin(Stdio::from(OwnedFd::from(passed.try_clone().unwrap())));
        command
    });
    for host in loopbacks() {
        let at = address.replace("127.0.0.1", host);
        relayd.stderr.wait_for(&format!("receiver otlp listening on {at} (gRPC)"));
        send_spans(&at, 3, 1);
    }
    relayd.signal("-TERM");
    assert_eq!(relayd.wait().0.code(), Some(0));
}
