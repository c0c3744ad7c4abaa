//! Unix sockets of a whole relay: received on and forwarded to, by a path and in the abstract namespace, plain and with TLS; and what
//! becomes of the file.

#![cfg(test)]

mod support;

use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use relay_core::config::{
    Destination, ListenAddress, ReceiverConfig, TlsClientConfig, TlsServerConfig, UpstreamConfig,
};
use relay_core::upstream::Endpoint;
use relay_core::{Relay, RelayHandle, StartError};
use support::certificates::{Authority, Dir};
use support::{
    SOON, assert_ok, builder, drain, encoded, endpoint, frames, loopback, send_all, settled, upstream,
};
use testkit::collector::{Collector, Script};

/// A relay on `listen` that forwards to `collector`.
fn listening(listen: ListenAddress, collector: &Collector) -> Result<RelayHandle, StartError> {
    let receiver = ReceiverConfig::new("otlp", listen);
    Relay::builder().receiver(receiver).upstream(upstream(collector.addr())).cores(2).start()
}

/// An upstream at what another relay listens on, as its address is shown.
fn upstream_at(relay: &RelayHandle) -> UpstreamConfig {
    let mut config = upstream(std::net::SocketAddr::from(([127, 0, 0, 1], 9)));
    let Destination::Grpc(grpc) = &mut config.destination else { panic!("a gRPC upstream") };
    grpc.endpoint = Endpoint::parse(&relay.listening_on()[0].to_string()).unwrap();
    config
}

fn assert_relays(second: RelayHandle, to: UpstreamConfig, collector: &Collector) {
    let first = builder(to).start().unwrap();
    for round in 0..4 {
        assert_ok(&send_all(endpoint(&first), (0..5).map(|seed| encoded(20, round * 10 + seed))));
    }
    assert_eq!(settled(&drain(first, SOON)).delivered, 400);
    assert_eq!(settled(&drain(second, SOON)).delivered, 400);
    assert_eq!(collector.span_count(), 400);
}

#[test]
fn a_relay_forwards_to_another_by_a_path() {
    let (dir, collector) = (Dir::new(), Collector::start(Script::ok()));
    let path = dir.path("otlp.sock");
    let second = listening(ListenAddress::Unix(path.clone()), &collector).unwrap();
    assert_eq!(second.listening_on()[0], ListenAddress::Unix(path.clone()));
    assert!(second.listening_on()[0].tcp().is_none());
    let to = upstream_at(&second);
    assert_relays(second, to, &collector);
    assert!(!path.exists(), "the file goes with the listener");
}

#[test]
fn a_relay_forwards_to_another_by_an_abstract_name() {
    let collector = Collector::start(Script::ok());
    let name = format!("@relay-test-{}", std::process::id());
    let second = listening(ListenAddress::unix(&name), &collector).unwrap();
    let to = upstream_at(&second);
    assert_relays(second, to, &collector);
}

/// TLS over a unix socket; the certificate is for `localhost`.
#[test]
fn tls_runs_over_a_unix_socket() {
    let (dir, ca, collector) = (Dir::new(), Authority::new("ca"), Collector::start(Script::ok()));
    let mut receiver = ReceiverConfig::new("otlp", ListenAddress::Unix(dir.path("otlp.sock")));
    receiver.tls = Some(TlsServerConfig::new(ca.sign(&["localhost"]).inline()));
    let second =
        Relay::builder().receiver(receiver).upstream(upstream(collector.addr())).cores(2).start().unwrap();
    let mut to = upstream_at(&second);
    let Destination::Grpc(grpc) = &mut to.destination else { panic!("a gRPC upstream") };
    grpc.tls = Some(Box::new(TlsClientConfig { ca: Some(ca.source()), ..TlsClientConfig::default() }));
    assert_relays(second, to, &collector);
}

/// Connections are handed to both cores, and a client that is not the relay's is served.
#[test]
fn any_client_may_connect() {
    let (dir, collector) = (Dir::new(), Collector::start(Script::ok()));
    let path = dir.path("otlp.sock");
    let relay = listening(ListenAddress::Unix(path.clone()), &collector).unwrap();
    let mut clients: Vec<_> = (0..4).map(|_| greet(&path)).collect();
    for client in &mut clients {
        let mut head = [0; 9];
        client.read_exact(&mut head).unwrap();
        assert_eq!(head[3], frames::SETTINGS);
    }
    drop(clients);
    drain(relay, SOON);
}

fn greet(path: &Path) -> UnixStream {
    let mut client = UnixStream::connect(path).unwrap();
    client.set_read_timeout(Some(SOON)).unwrap();
    client.write_all(frames::PREFACE).unwrap();
    client.write_all(&frames::frame(frames::SETTINGS, 0, 0, &[])).unwrap();
    client
}

/// The file that a killed process has left is replaced; its permissions are what the umask leaves.
#[test]
fn a_stale_socket_is_replaced() {
    let (dir, collector) = (Dir::new(), Collector::start(Script::ok()));
    let path = dir.path("otlp.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let plain = dir.path("plain.sock");
    let _made = UnixListener::bind(&plain).unwrap();
    let relay = listening(ListenAddress::Unix(path.clone()), &collector).unwrap();
    drop(greet(&path));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&path), mode(&plain));
    drain(relay, SOON);
    assert!(!path.exists());
}

/// Scenario: a second relay starts on the path that a first one listens on, then the first one goes; and one that cannot start.
/// Guarantee: the path leads to the successor from its start on, the first one's connections are served to their end, its end
/// leaves the successor's file, and a successor that does not come about harms nobody.
#[test]
fn a_path_is_taken_over_in_one_step() {
    let (dir, collector) = (Dir::new(), Collector::start(Script::ok()));
    let path = dir.path("otlp.sock");
    let first = listening(ListenAddress::Unix(path.clone()), &collector).unwrap();
    let inode = || std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&path).unwrap());
    let before = inode();
    Relay::builder()
        .receiver(ReceiverConfig::new("unix", ListenAddress::Unix(path.clone())))
        .receiver(ReceiverConfig::new("bad", ListenAddress::Unix(dir.path("missing/otlp.sock"))))
        .upstream(upstream(collector.addr()))
        .start()
        .unwrap_err();
    assert_eq!((inode(), std::fs::read_dir(path.parent().unwrap()).unwrap().count()), (before, 1));
    drop(greet(&path));

    let second = listening(ListenAddress::Unix(path.clone()), &collector).unwrap();
    assert_ne!(inode(), before);
    drain(first, SOON);
    drop(greet(&path));
    let to = upstream_at(&second);
    assert_relays(second, to, &collector);
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
}

/// A file that is no socket, and an abstract name that is taken, are errors at the start and are not touched.
#[test]
fn what_is_not_stale_is_left_alone() {
    let (dir, collector) = (Dir::new(), Collector::start(Script::ok()));
    let file = dir.path("file");
    std::fs::write(&file, "precious").unwrap();
    let error = listening(ListenAddress::Unix(file.clone()), &collector).unwrap_err().to_string();
    assert!(error.contains("no socket"), "{error}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");

    let name = ListenAddress::unix(&format!("@relay-test-twice-{}", std::process::id()));
    let first = listening(name.clone(), &collector).unwrap();
    assert!(matches!(listening(name, &collector), Err(StartError::Listen { .. })));
    drain(first, SOON);

    let long = ListenAddress::Unix(dir.path(&"long".repeat(50)));
    assert!(matches!(listening(long, &collector), Err(StartError::Listen { .. })));
}

/// A file that another process has put in the place of ours is not removed.
#[test]
fn a_successors_socket_stays() {
    let (dir, collector) = (Dir::new(), Collector::start(Script::ok()));
    let path = dir.path("otlp.sock");
    let relay = listening(ListenAddress::Unix(path.clone()), &collector).unwrap();
    std::fs::remove_file(&path).unwrap();
    let _successor = UnixListener::bind(&path).unwrap();
    drain(relay, SOON);
    assert!(std::fs::metadata(&path).unwrap().file_type().is_socket());
}

/// A relay that cannot start leaves no file behind.
#[test]
fn a_start_that_fails_leaves_no_file() {
    let (dir, collector) = (Dir::new(), Collector::start(Script::ok()));
    let path = dir.path("otlp.sock");
    let error = Relay::builder()
        .receiver(ReceiverConfig::new("unix", ListenAddress::Unix(path.clone())))
        .receiver(ReceiverConfig::new("bad", ListenAddress::Unix(dir.path("missing/otlp.sock"))))
        .receiver(ReceiverConfig::new("tcp", loopback()))
        .upstream(upstream(collector.addr()))
        .start()
        .unwrap_err();
    assert!(matches!(error, StartError::Listen { .. }), "{error}");
    assert!(!path.exists());
}
