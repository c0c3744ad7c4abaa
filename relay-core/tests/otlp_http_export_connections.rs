//! The connections of an OTLP/HTTP exporter: how many, how long, through which proxy, with which protocol, and what a dead upstream
//! costs.

#![cfg(test)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use relay_core::Relay;
use relay_core::config::{
    Destination, ForwardProxy, HttpConfig, HttpUpstreamConfig, Proxy, ReceiverConfig, TlsClientConfig,
    TlsServerConfig, UpstreamConfig,
};
use relay_core::otlp::Signal;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use support::certificates::{Authority, Pair};
use support::http_out::{http_upstream, relay, scripted, server, submit, url_upstream};
use support::{SOON, drain, encoded, endpoint, loopback, settled, upstream};
use testkit::collector::{Collector, Script};
use testkit::http_upstream::{HttpReply, HttpUpstream};
use tokio::time::Instant;

#[track_caller]
fn wait_until(condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < SOON, "not in time");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn changed(upstream: &HttpUpstream, change: impl FnOnce(&mut HttpUpstreamConfig)) -> UpstreamConfig {
    url_upstream(&format!("http://{}/v1/traces", upstream.addr()), change)
}

/// Sends requests one after the other, each when the one before is answered; how many connections that took.
fn one_by_one(upstream: &HttpUpstream, config: UpstreamConfig, requests: u64) -> u64 {
    let relay = relay(config);
    for seed in 0..requests {
        submit(&relay, encoded(1, seed));
        wait_until(|| relay.stats().upstreams[0].items.delivered == seed + 1);
    }
    let stats = drain(relay, SOON);
    assert_eq!(settled(&stats).delivered, requests);
    assert_eq!(stats.upstreams[0].connects, upstream.connections());
    assert_eq!(stats.upstreams[0].retries, 0);
    upstream.connections()
}

#[test]
fn x14_a_connection_is_kept_unless_it_shall_not() {
    let (upstream, asked) = scripted(Vec::new());
    assert_eq!(one_by_one(&upstream, http_upstream(upstream.addr()), 20), 1);
    assert!(asked.calls().iter().all(|call| call.header("connection").is_none()));
    let (upstream, asked) = scripted(Vec::new());
    assert_eq!(one_by_one(&upstream, changed(&upstream, |http| http.connections.keep_alive = false), 5), 5);
    assert!(asked.calls().iter().all(|call| call.header("connection") == Some("close")));
}

/// Scenario: the server closes connections when it has answered, as servers close idle ones. Guarantee: nothing is retried for it.
#[test]
fn a_connection_that_the_server_closes_is_replaced() {
    let (upstream, _asked) = server(|_, _| {
        HttpReply::ResetAfter("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".into())
    });
    assert_eq!(one_by_one(&upstream, http_upstream(upstream.addr()), 5), 5);
}

/// An idle connection is closed after its time, by the relay.
#[test]
fn an_idle_connection_is_closed() {
    let (upstream, _asked) = scripted(Vec::new());
    let relay = relay(changed(&upstream, |http| {
        http.connections.idle_timeout = Some(Duration::from_millis(50));
    }));
    for at in 1..=2 {
        submit(&relay, encoded(1, at));
        wait_until(|| relay.stats().upstreams[0].items.delivered == at);
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(upstream.connections(), 2);
    settled(&drain(relay, SOON));
}

/// Scenario: answers take 300 ms, and 8 batches wait. Guarantee: as many calls at once as are allowed, and no more.
#[test]
fn x01_x24_calls_go_side_by_side_up_to_the_bound() {
    for (bound, expected) in [(None, 4), (Some(2), 2)] {
        let (upstream, asked) =
            server(|_, _| HttpReply::Delay(Duration::from_millis(300), Box::new(HttpReply::status(200))));
        let mut config = changed(&upstream, |http| {
            http.connections.connections_max = bound;
            http.connections.idle_max = 8;
        });
        config.calls_max = 4;
        config.batch.items_max = 5;
        let relay = relay(config);
        (0..8).for_each(|seed| submit(&relay, encoded(5, seed)));
        assert_eq!(settled(&drain(relay, SOON)).delivered, 40);
        assert_eq!(asked.count(), 8);
        assert_eq!(upstream.connections(), expected, "{bound:?}");
    }
}

/// Scenario: the upstream is down when data comes, and comes up later. Guarantee: nothing is lost, and it is found soon.
#[test]
fn x13_an_upstream_that_comes_back_gets_everything() {
    let (mut upstream, _asked) = scripted(Vec::new());
    upstream.stop();
    let relay = relay(http_upstream(upstream.addr()));
    (0..5).for_each(|seed| submit(&relay, encoded(10, seed)));
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(relay.stats().upstreams[0].connects, 0);
    upstream.restart();
    wait_until(|| relay.stats().upstreams[0].items.delivered == 50);
    settled(&drain(relay, SOON));
}

/// Scenario: connections are taken and closed at once, as by a proxy without a server behind it. Guarantee: they are dialled ever
/// more seldom.
#[test]
fn x13_an_upstream_that_closes_is_not_hammered() {
    let (upstream, _asked) = server(|_, _| HttpReply::Close);
    let mut config = changed(&upstream, |http| http.retry.initial_interval = Duration::from_millis(1));
    config.calls_max = 8;
    config.batch.items_max = 1;
    let relay = relay(config);
    (0..8).for_each(|seed| submit(&relay, encoded(1, seed)));
    std::thread::sleep(Duration::from_secs(1));
    // 8 calls at 1 to 100 ms would be a hundred and more.
    assert!((2..40).contains(&upstream.connections()), "{}", upstream.connections());
    drain(relay, Duration::ZERO);
}

/// A proxy for `http` is asked for the whole URL, with its credentials; the upstream's name is not resolved here.
#[test]
fn a_proxy_is_asked_for_the_whole_url() {
    let (proxy, asked) = scripted(Vec::new());
    let relay = relay(url_upstream("http://upstream.invalid:4318/v1/traces?a=b", |http| {
        http.proxy = Proxy::Through(forward_proxy(proxy.addr()));
    }));
    submit(&relay, encoded(3, 1));
    assert_eq!(settled(&drain(relay, SOON)).delivered, 3);
    let calls = asked.calls();
    assert_eq!(calls[0].target, "http://upstream.invalid:4318/v1/traces?a=b");
    assert_eq!(calls[0].header("host"), Some("upstream.invalid:4318"));
    assert_eq!(calls[0].header("proxy-authorization"), Some("Basic bWU6c2VjcmV0"));
}

fn forward_proxy(addr: SocketAddr) -> ForwardProxy {
    let credentials = Some("me:secret".to_owned());
    ForwardProxy { tls: false, host: addr.ip().to_string(), port: addr.port(), credentials }
}

/// A proxy by hand that leads every tunnel to `target`; gives the head of each request for one.
fn tunnelling_proxy(target: SocketAddr) -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind(loopback()).unwrap();
    let (addr, (told, heads)) = (listener.local_addr().unwrap(), mpsc::channel());
    std::thread::spawn(move || {
        for near in listener.incoming() {
            let mut near = BufReader::new(near.unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert_ne!(near.read_line(&mut head).unwrap(), 0);
            }
            if told.send(head).is_err() {
                return;
            }
            let mut near = near.into_inner();
            near.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
            let far = TcpStream::connect(target).unwrap();
            let (mut from, mut to) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            let (mut from, mut to) = (far, near);
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
        }
    });
    (addr, heads)
}

fn trusting(authority: &Authority) -> TlsClientConfig {
    TlsClientConfig { ca: Some(authority.source()), ..TlsClientConfig::default() }
}

/// A relay that receives OTLP/HTTP over TLS, and forwards to a collector.
fn https_relay(pair: &Pair, to: &Collector) -> relay_core::RelayHandle {
    let mut receiver = ReceiverConfig { grpc: false, ..ReceiverConfig::new("otlp", loopback()) };
    receiver.http = Some(HttpConfig::default());
    receiver.tls = Some(TlsServerConfig::new(pair.inline()));
    Relay::builder().receiver(receiver).upstream(upstream(to.addr())).cores(1).start().unwrap()
}

/// Through a tunnel the proxy sees a name and its own credentials, and TLS is spoken with the upstream itself.
#[test]
fn a_proxy_is_asked_for_a_tunnel_to_https() {
    let authority = Authority::new("ca");
    let collector = Collector::start(Script::ok());
    let second = https_relay(&authority.sign(&["upstream.invalid"]), &collector);
    let (proxy, heads) = tunnelling_proxy(endpoint(&second));
    let first = relay(url_upstream("https://upstream.invalid/v1/traces", |http| {
        http.tls = trusting(&authority);
        http.headers = vec![("x-token".to_owned(), "inner".to_owned())];
        http.proxy = Proxy::Through(forward_proxy(proxy));
    }));
    submit(&first, encoded(3, 1));
    assert_eq!(settled(&drain(first, SOON)).delivered, 3);
    let head = heads.recv_timeout(SOON).unwrap();
    assert!(head.starts_with("CONNECT upstream.invalid:443 HTTP/1.1\r\n"), "{head}");
    assert!(
        head.contains("Proxy-Authorization: Basic bWU6c2VjcmV0\r\n") && !head.contains("inner"),
        "{head}"
    );
    assert_eq!(settled(&drain(second, SOON)).delivered, 3);
    assert_eq!(collector.span_count(), 3);
}

/// HTTP/2 where the upstream takes it: one connection for all calls at once. HTTP/1.1 where it is not offered.
#[test]
fn http2_is_agreed_on_by_alpn() {
    for http2 in [true, false] {
        let authority = Authority::new("ca");
        let collector = Collector::start(Script::ok());
        let second = https_relay(&authority.sign(&["127.0.0.1"]), &collector);
        let url = format!("https://{}/v1/traces", endpoint(&second));
        let mut config = url_upstream(&url, |http| {
            http.tls = trusting(&authority);
            http.connections.http2 = http2;
        });
        config.batch.items_max = 10;
        let first = relay(config);
        submit(&first, encoded(10, 0));
        wait_until(|| first.stats().upstreams[0].items.delivered == 10);
        (1..40).for_each(|seed| submit(&first, encoded(10, seed)));
        assert_eq!(settled(&drain(first, SOON)).delivered, 400);
        let stats = drain(second, SOON);
        assert_eq!((settled(&stats).delivered, collector.span_count()), (400, 400));
        if http2 {
            assert_eq!(stats.receivers[0].connections, 1);
        }
    }
}

/// What a server was spoken to.
struct Spoken {
    /// Agreed on by ALPN.
    protocol: Option<Vec<u8>>,
    first_line: String,
}

/// A TLS server by hand that answers one request with 200.
fn tls_server(pair: &Pair, alpn: &[&str]) -> (SocketAddr, mpsc::Receiver<Spoken>) {
    let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let listener = TcpListener::bind(loopback()).unwrap();
    let (addr, (told, seen)) = (listener.local_addr().unwrap(), mpsc::channel());
    std::thread::spawn(move || {
        let connection = rustls::ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, listener.accept().unwrap().0);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
        if let Some(length) = length {
            stream.read_exact(&mut vec![0; length.parse().unwrap()]).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
        }
        let first_line = head.lines().next().unwrap_or_default().to_owned();
        let protocol = stream.conn.alpn_protocol().map(<[u8]>::to_vec);
        told.send(Spoken { protocol, first_line }).ok();
        // Until the peer closes.
        stream.read_to_end(&mut Vec::new()).ok();
    });
    (addr, seen)
}

#[test]
fn x15_without_http2_it_is_http1() {
    for (offers, agreed, line) in [
        (&["h2", "http/1.1"][..], Some(&b"h2"[..]), "PRI * HTTP/2.0"),
        (&["http/1.1"], Some(b"http/1.1"), "POST /v1/traces HTTP/1.1"),
        (&[], None, "POST /v1/traces HTTP/1.1"),
    ] {
        let authority = Authority::new("ca");
        let (addr, seen) = tls_server(&authority.sign(&["127.0.0.1"]), offers);
        let relay = relay(url_upstream(&format!("https://{addr}/v1/traces"), |http| {
            http.tls = trusting(&authority);
        }));
        submit(&relay, encoded(3, 1));
        let spoken = seen.recv_timeout(SOON).unwrap();
        assert_eq!((spoken.protocol.as_deref(), spoken.first_line.as_str()), (agreed, line));
        // The server by hand does not speak HTTP/2.
        let (deadline, delivered) = if agreed == Some(b"h2") { (Duration::ZERO, 0) } else { (SOON, 3) };
        assert_eq!(settled(&drain(relay, deadline)).delivered, delivered);
    }
}

/// An upstream that another authority vouches for gets nothing.
#[test]
fn x23_https_is_verified() {
    let (authority, other) = (Authority::new("ca"), Authority::new("other"));
    let collector = Collector::start(Script::ok());
    let second = https_relay(&other.sign(&["127.0.0.1"]), &collector);
    let first = relay(url_upstream(&format!("https://{}/v1/traces", endpoint(&second)), |http| {
        http.tls = trusting(&authority);
    }));
    submit(&first, encoded(3, 1));
    wait_until(|| first.stats().upstreams[0].tls.unwrap().handshake_failures > 0);
    let stats = drain(first, Duration::ZERO);
    assert_eq!((settled(&stats).delivered, stats.upstreams[0].connects), (0, 0));
    assert_eq!((settled(&drain(second, SOON)).enqueued, collector.call_count()), (0, 0));
}

/// Scenario: a relay forwards all signals over HTTP to a second one, which forwards them over HTTP to a server. Guarantee: what
/// arrives at each path is what was sent, byte for byte.
#[test]
fn all_signals_go_through_two_relays() {
    let (last, asked) = scripted(Vec::new());
    let for_each_signal = |addr: SocketAddr| {
        Signal::ALL.map(|signal| {
            let config = url_upstream(&format!("http://{addr}{}", signal.http_path()), |_| {});
            UpstreamConfig { name: signal.name().to_owned(), signal, ..config }
        })
    };
    let start = |addr| {
        let mut receiver = ReceiverConfig { grpc: false, ..ReceiverConfig::new("otlp", loopback()) };
        receiver.http = Some(HttpConfig::default());
        let mut builder = Relay::builder().receiver(receiver).cores(2);
        for config in for_each_signal(addr) {
            builder = builder.upstream(config);
        }
        builder.start().unwrap()
    };
    let second = start(last.addr());
    let first = start(endpoint(&second));
    let sent = Signal::ALL.map(smallest);
    for (signal, message) in Signal::ALL.into_iter().zip(&sent) {
        let answer = support::http1::Http1::connect(endpoint(&first)).post(signal.http_path(), message);
        assert_eq!(answer.status, 200);
    }
    for relay in [first, second] {
        let stats = drain(relay, SOON);
        settled(&stats);
        assert!(stats.upstreams.iter().all(|upstream| upstream.items.delivered == 1), "{stats:?}");
    }
    for (signal, message) in Signal::ALL.into_iter().zip(&sent) {
        let calls = asked.calls().into_iter().filter(|call| call.target == signal.http_path());
        assert_eq!(calls.map(|call| call.body).collect::<Vec<_>>(), [message], "{}", signal.name());
    }
}

/// A request of `signal` with one item, of as few bytes as there can be.
fn smallest(signal: Signal) -> Vec<u8> {
    let nested = |inner: Vec<u8>, field: u8| {
        let length = u8::try_from(inner.len()).unwrap();
        [vec![field << 3 | 2, length], inner].concat()
    };
    // From the item outwards: the fields that lead to it.
    let path: &[u8] = match signal {
        Signal::Traces | Signal::Logs => &[2, 2, 1],
        Signal::Metrics => &[1, 5, 2, 2, 1],
        Signal::Profiles => &[2, 2, 2, 1],
    };
    path.iter().fold(Vec::new(), |inner, field| nested(inner, *field))
}

/// A header of a bad form stops the start, without its value.
#[test]
fn what_cannot_be_sent_does_not_start() {
    let config = url_upstream("http://c/", |http| {
        http.headers = vec![("x-token".to_owned(), "secret\n".to_owned())];
    });
    assert!(matches!(config.destination, Destination::Http(_)));
    let error = Relay::builder().upstream(config).start().err().unwrap().to_string();
    assert!(error.contains("x-token") && !error.contains("secret"), "{error}");
}
