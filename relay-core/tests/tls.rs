//! TLS of a whole relay on both sides, against another relay and against bare rustls: who is served, who is not and why, and
//! certificates that change while calls go on.

#![cfg(test)]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use relay_core::config::{
    Destination, HttpConfig, PemSource, ReceiverConfig, TlsClientConfig, TlsServerConfig, TlsVersion,
    UpstreamConfig,
};
use relay_core::limits::HANDSHAKE_TIMEOUT;
use relay_core::stats::Stats;
use relay_core::{Relay, RelayHandle, StartError};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use support::certificates::{Authority, Dir, Pair, files, inline, self_signed};
use support::{
    SOON, assert_ok, builder, drain, encoded, endpoint, frames, loopback, send_all, settled, upstream,
};
use testkit::collector::{Collector, Script};

const HOST: &str = "127.0.0.1";

/// Two relays, one after the other, with TLS between them; the second forwards to a collector.
struct Chain {
    first: RelayHandle,
    second: RelayHandle,
    collector: Collector,
}

impl Chain {
    fn start(server: TlsServerConfig, client: TlsClientConfig) -> Self {
        let collector = Collector::start(Script::ok());
        let second = tls_relay(server, upstream(collector.addr())).unwrap();
        let first = builder(tls_upstream(endpoint(&second), client)).start().unwrap();
        Self { first, second, collector }
    }

    /// Sends through both, and waits until it has arrived.
    fn assert_works(self) {
        assert_ok(&send_all(endpoint(&self.first), (0..5).map(|seed| encoded(20, seed))));
        assert_eq!(settled(&drain(self.first, SOON)).delivered, 100);
        let stats = drain(self.second, SOON);
        assert_eq!((settled(&stats).delivered, self.collector.span_count()), (100, 100));
        assert_eq!(stats.receivers[0].tls.unwrap().handshake_failures, 0);
    }

    /// Sends into the first, which must not get it through; the stats of both when the second has refused a handshake.
    fn assert_refused(self) -> (Stats, Stats) {
        assert_ok(&send_all(endpoint(&self.first), [encoded(1, 1)]));
        wait_until(|| self.second.stats().receivers[0].tls.unwrap().handshake_failures > 0);
        let first = drain(self.first, Duration::ZERO);
        assert_eq!((self.collector.span_count(), first.upstreams[0].items.delivered), (0, 0));
        (first, drain(self.second, SOON))
    }
}

fn tls_upstream(addr: SocketAddr, client: TlsClientConfig) -> UpstreamConfig {
    let mut config = upstream(addr);
    let Destination::Grpc(grpc) = &mut config.destination else { panic!("a gRPC upstream") };
    grpc.tls = Some(Box::new(client));
    config
}

fn tls_relay(server: TlsServerConfig, to: UpstreamConfig) -> Result<RelayHandle, StartError> {
    let mut receiver = ReceiverConfig::new("otlp", loopback());
    receiver.tls = Some(server);
    Relay::builder().receiver(receiver).upstream(to).cores(2).start()
}

fn server(pair: &Pair) -> TlsServerConfig {
    TlsServerConfig { reload_interval: Duration::from_millis(20), ..TlsServerConfig::new(pair.inline()) }
}

fn client(ca: &Authority) -> TlsClientConfig {
    TlsClientConfig { ca: Some(ca.source()), ..TlsClientConfig::default() }
}

/// An upstream where nobody is, for tests that forward nothing.
fn nobody() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9))
}

#[track_caller]
fn wait_until(condition: impl Fn() -> bool) {
    let started = tokio::time::Instant::now();
    while !condition() {
        assert!(started.elapsed() < SOON, "not in time");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A TLS client that is not the relay's: shakes hands, and says which certificate it was shown and which protocol was chosen.
fn shake_hands(
    addr: SocketAddr,
    alpn: &[&str],
) -> std::io::Result<(CertificateDer<'static>, Option<Vec<u8>>)> {
    let mut stream = bare_client(addr, alpn)?;
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    let shown = stream.conn.peer_certificates().unwrap()[0].clone().into_owned();
    Ok((shown, stream.conn.alpn_protocol().map(<[u8]>::to_vec)))
}

type BareClient = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

fn bare_client(addr: SocketAddr, alpn: &[&str]) -> std::io::Result<BareClient> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(support::certificates::AnyServer(provider)))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let name = ServerName::try_from("localhost").unwrap();
    let connection = rustls::ClientConnection::new(Arc::new(config), name).map_err(std::io::Error::other)?;
    let socket = TcpStream::connect(addr)?;
    socket.set_read_timeout(Some(SOON))?;
    Ok(rustls::StreamOwned::new(connection, socket))
}

fn der(pair: &Pair) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()
}

#[test]
fn a_relay_forwards_to_another_over_tls() {
    let ca = Authority::new("ca");
    Chain::start(server(&ca.sign(&[HOST])), client(&ca)).assert_works();
}

#[test]
fn a_relay_forwards_to_another_over_mutual_tls() {
    let (ca, clients) = (Authority::new("ca"), Authority::new("clients"));
    let server = TlsServerConfig { client_ca: Some(clients.source()), ..server(&ca.sign(&[HOST])) };
    let client = TlsClientConfig { identity: Some(clients.sign(&["agent"]).inline()), ..client(&ca) };
    Chain::start(server, client).assert_works();
}

#[test]
fn each_version_can_be_the_only_one() {
    let ca = Authority::new("ca");
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let server =
            TlsServerConfig { max_version: version, min_version: version, ..server(&ca.sign(&[HOST])) };
        Chain::start(server, client(&ca)).assert_works();
    }
}

/// A request of many TLS records, into a peer that reads slowly: what TLS holds back is written all the same.
#[test]
fn large_requests_cross_tls_whole() {
    let ca = Authority::new("ca");
    let chain = Chain::start(server(&ca.sign(&[HOST])), client(&ca));
    assert_ok(&send_all(endpoint(&chain.first), (0..4).map(|seed| encoded(8_000, seed))));
    assert_eq!(settled(&drain(chain.first, SOON)).delivered, 32_000);
    assert_eq!(settled(&drain(chain.second, SOON)).delivered, 32_000);
    assert_eq!(chain.collector.span_count(), 32_000);
}

/// The upstream's certificate is of a CA that the client does not trust, has expired, or is for another name: nothing is sent.
#[test]
fn an_upstream_that_cannot_prove_itself_gets_nothing() {
    let (ca, other) = (Authority::new("ca"), Authority::new("other"));
    let bad = [other.sign(&[HOST]), ca.sign_expired(&[HOST]), ca.sign(&["collector.internal"])];
    for pair in bad {
        let (first, _) = Chain::start(server(&pair), client(&ca)).assert_refused();
        assert!(first.upstreams[0].tls.unwrap().handshake_failures > 0);
        assert_eq!(first.upstreams[0].connects, 0);
    }
}

#[test]
fn the_name_can_be_overridden_and_the_verification_skipped() {
    let (ca, other) = (Authority::new("ca"), Authority::new("other"));
    let named = ca.sign(&["collector.internal"]);
    let name = Some("collector.internal".to_owned());
    Chain::start(server(&named), TlsClientConfig { server_name_override: name, ..client(&ca) })
        .assert_works();
    let unverified = TlsClientConfig { insecure_skip_verify: true, ..client(&other) };
    Chain::start(server(&named), unverified).assert_works();
}

/// A certificate that is its own CA, as `openssl req -x509` makes it, in the CA file of the other side: trusted, as by Go's programs;
/// but not when it has expired, or is for another name, or is not in the file.
#[test]
fn a_self_signed_certificate_is_trusted_where_it_is_named() {
    let trusting =
        |pair: &Pair| TlsClientConfig { ca: Some(inline(&pair.certificate)), ..TlsClientConfig::default() };
    let (pair, agent) = (self_signed(&[HOST], false), self_signed(&["agent"], false));
    let mutual = TlsServerConfig { client_ca: Some(inline(&agent.certificate)), ..server(&pair) };
    let with = |identity: &Pair| TlsClientConfig { identity: Some(identity.inline()), ..trusting(&pair) };
    Chain::start(mutual.clone(), with(&agent)).assert_works();
    Chain::start(mutual, with(&self_signed(&["agent"], false))).assert_refused();

    let (expired, misnamed) = (self_signed(&[HOST], true), self_signed(&["other"], false));
    Chain::start(server(&expired), trusting(&expired)).assert_refused();
    Chain::start(server(&misnamed), trusting(&misnamed)).assert_refused();
    Chain::start(server(&pair), trusting(&misnamed)).assert_refused();
    let expired = self_signed(&["agent"], true);
    let mutual = TlsServerConfig { client_ca: Some(inline(&expired.certificate)), ..server(&pair) };
    Chain::start(mutual, with(&expired)).assert_refused();
}

/// No client certificate, one of another CA, one that has expired: none is served, and each is counted.
#[test]
fn a_sender_that_cannot_prove_itself_is_not_served() {
    let (ca, clients, other) = (Authority::new("ca"), Authority::new("clients"), Authority::new("other"));
    let bad = [None, Some(other.sign(&["agent"])), Some(clients.sign_expired(&["agent"]))];
    for identity in bad {
        for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
            let mut server = server(&ca.sign(&[HOST]));
            (server.client_ca, server.max_version) = (Some(clients.source()), version);
            let identity = identity.as_ref().map(Pair::inline);
            let (_, second) =
                Chain::start(server, TlsClientConfig { identity, ..client(&ca) }).assert_refused();
            assert_eq!(second.receivers[0].accepted_requests(), 0);
        }
    }
}

#[test]
fn a_version_that_is_too_old_is_refused() {
    let ca = Authority::new("ca");
    let server = TlsServerConfig { min_version: TlsVersion::V1_3, ..server(&ca.sign(&[HOST])) };
    let client = TlsClientConfig { max_version: TlsVersion::V1_2, ..client(&ca) };
    Chain::start(server, client).assert_refused();
}

/// Plaintext on the TLS port, TLS on the plaintext port, a client that only speaks HTTP/1.1, one that says nothing and one that stops
/// in the middle: each is closed or waits for itself alone; a sender beside them is served.
#[test]
fn peers_that_speak_something_else_are_closed() {
    let ca = Authority::new("ca");
    let chain = Chain::start(server(&ca.sign(&[HOST])), client(&ca));
    let (tls, plain) = (endpoint(&chain.second), endpoint(&chain.first));
    let failures = || chain.second.stats().receivers[0].tls.unwrap().handshake_failures;

    let mut plaintext = frames::connect(tls);
    assert!(frames::is_ended(&mut plaintext));
    wait_until(|| failures() == 1);

    assert!(shake_hands(plain, &["h2"]).is_err());

    assert!(shake_hands(tls, &["http/1.1"]).is_err());
    wait_until(|| failures() == 2);
    assert_eq!(shake_hands(tls, &["http/1.1", "h2"]).unwrap().1.as_deref(), Some(&b"h2"[..]));
    assert_eq!(shake_hands(tls, &[]).unwrap().1, None, "a client without ALPN is served");

    // A probe of the port is no failure; one that leaves in the middle of its hello is none either.
    drop(frames::open(tls));
    let _silent = frames::open(tls);
    let mut stalled = frames::open(tls);
    stalled.write_all(&[22, 3, 1, 2, 0, 1, 0]).unwrap();
    assert_ok(&send_all(plain, (0..5).map(|seed| encoded(20, seed))));
    wait_until(|| chain.collector.span_count() == 100);
    assert_eq!(failures(), 2);
    // Handshakes that stall do not hold a drain up.
    let started = tokio::time::Instant::now();
    drain(chain.second, SOON);
    assert!(started.elapsed() < SOON / 2, "{:?}", started.elapsed());
}

/// TLS to an upstream that speaks plaintext: nothing is sent, and the failure is counted as one of the handshake.
#[test]
fn tls_to_a_plaintext_upstream_gets_nothing_through() {
    let collector = Collector::start(Script::ok());
    let relay = builder(tls_upstream(collector.addr(), client(&Authority::new("ca")))).start().unwrap();
    assert_ok(&send_all(endpoint(&relay), [encoded(1, 1)]));
    wait_until(|| relay.stats().upstreams[0].tls.unwrap().handshake_failures > 0);
    let stats = drain(relay, Duration::ZERO);
    assert_eq!((stats.upstreams[0].items.delivered, collector.call_count()), (0, 0));
}

/// Plaintext to an upstream that speaks TLS.
#[test]
fn plaintext_to_a_tls_upstream_gets_nothing_through() {
    let ca = Authority::new("ca");
    let collector = Collector::start(Script::ok());
    let second = tls_relay(server(&ca.sign(&[HOST])), upstream(collector.addr())).unwrap();
    let first = builder(upstream(endpoint(&second))).start().unwrap();
    assert_ok(&send_all(endpoint(&first), [encoded(1, 1)]));
    wait_until(|| second.stats().receivers[0].tls.unwrap().handshake_failures > 0);
    assert_eq!(drain(first, Duration::ZERO).upstreams[0].items.delivered, 0);
    assert_eq!(settled(&drain(second, SOON)).delivered, 0);
}

/// A server whose files are rotated by a swap of a link while senders call and connect anew all the time: no call is lost, new
/// connections see the new certificate, and one that was open stays open.
#[test]
fn a_rotation_under_load_loses_nothing() {
    let (ca, dir) = (Authority::new("ca"), Dir::new());
    let pairs = [ca.sign(&[HOST]), ca.sign(&[HOST])];
    pairs[0].write(&dir.path("v0"));
    pairs[1].write(&dir.path("v1"));
    dir.link("..data", "v0");
    let collector = Collector::start(Script::ok());
    let mut receiver = ReceiverConfig::new("otlp", loopback());
    receiver.tls = Some(TlsServerConfig {
        reload_interval: Duration::from_millis(10),
        ..TlsServerConfig::new(files(&dir.path("..data")))
    });
    let second = Relay::builder()
        .receiver(receiver.clone())
        .upstream(upstream(collector.addr()))
        .cores(2)
        .start()
        .unwrap();
    receiver.connection_age_max = Some(Duration::from_millis(30));
    let restless =
        Relay::builder().receiver(receiver).upstream(upstream(collector.addr())).cores(2).start().unwrap();
    let first = |to: &RelayHandle| builder(tls_upstream(endpoint(to), client(&ca))).cores(1).start().unwrap();
    let (staying, leaving) = (first(&second), first(&restless));
    let mut sent = 0;
    for swap in 0..6_usize {
        dir.link("..data", ["v0", "v1"][swap % 2]);
        for seed in 0..40 {
            for relay in [&staying, &leaving] {
                assert_ok(&send_all(endpoint(relay), [encoded(2, seed)]));
                sent += 2;
            }
        }
        wait_until(|| shake_hands(endpoint(&second), &["h2"]).unwrap().0 == der(&pairs[swap % 2]));
    }
    let (staying, leaving) = (drain(staying, SOON), drain(leaving, SOON));
    assert_eq!(settled(&staying).delivered + settled(&leaving).delivered, sent);
    assert_eq!(staying.upstreams[0].connects, 1, "an open connection is not touched by a rotation");
    assert!(leaving.upstreams[0].connects > 2, "{:?}", leaving.upstreams[0]);
    for relay in [second, restless] {
        let stats = drain(relay, SOON);
        let receiver = &stats.receivers[0];
        assert_eq!(
            (receiver.tls.unwrap().handshake_failures, receiver.tls.unwrap().reload_failures),
            (0, 0),
            "{receiver:?}"
        );
    }
    assert!(collector.span_count() as u64 >= sent);
}

/// Garbage, a key that does not match and a missing file do not replace what is in use; the next good pair does.
#[test]
fn a_broken_rotation_keeps_the_old_certificate() {
    let (ca, dir) = (Authority::new("ca"), Dir::new());
    let (old, new) = (ca.sign_until(2030, &[HOST]), ca.sign_until(2050, &[HOST]));
    old.write(&dir.path("old"));
    new.write(&dir.path("new"));
    Pair { certificate: "garbage".into(), key: "garbage".into() }.write(&dir.path("garbage"));
    Pair { certificate: new.certificate.clone(), key: old.key.clone() }.write(&dir.path("mismatch"));
    dir.link("..data", "old");
    let server = TlsServerConfig {
        reload_interval: Duration::ZERO,
        ..TlsServerConfig::new(files(&dir.path("..data")))
    };
    let relay = tls_relay(server, upstream(nobody())).unwrap();
    let addr = endpoint(&relay);
    let ends = || relay.stats().receivers[0].tls.unwrap().not_after_unix_seconds;
    assert_eq!(ends(), Some(1_893_456_000));
    for (round, bad) in ["garbage", "mismatch", "missing"].into_iter().enumerate() {
        dir.link("..data", bad);
        assert_eq!(shake_hands(addr, &["h2"]).unwrap().0, der(&old), "{bad}");
        let failures = relay.stats().receivers[0].tls.unwrap().reload_failures;
        assert_eq!(failures, round as u64 + 1, "{bad}");
    }
    dir.link("..data", "new");
    assert_eq!(shake_hands(addr, &["h2"]).unwrap().0, der(&new));
    assert_eq!(ends(), Some(2_524_608_000), "of the one in use now");
    drain(relay, SOON);
}

/// A client's own certificate and CA are rotated, too: what was refused before is sent when the right files are there.
#[test]
fn a_client_takes_new_files_into_use() {
    let (ca, clients, other, dir) =
        (Authority::new("ca"), Authority::new("clients"), Authority::new("other"), Dir::new());
    other.sign(&["agent"]).write(&dir.path("wrong"));
    clients.sign(&["agent"]).write(&dir.path("right"));
    dir.link("..data", "wrong");
    let server = TlsServerConfig { client_ca: Some(clients.source()), ..server(&ca.sign(&[HOST])) };
    let client = TlsClientConfig {
        identity: Some(files(&dir.path("..data"))),
        reload_interval: Duration::from_millis(10),
        ..client(&ca)
    };
    let chain = Chain::start(server, client);
    assert_ok(&send_all(endpoint(&chain.first), [encoded(3, 1)]));
    wait_until(|| chain.second.stats().receivers[0].tls.unwrap().handshake_failures > 0);
    dir.link("..data", "right");
    assert_eq!(chain.collector.wait_for_spans(3, SOON), 3);
    assert_eq!(settled(&drain(chain.first, SOON)).delivered, 3);
    drain(chain.second, SOON);
}

/// The CA of senders is read again only when that is wanted.
#[test]
fn the_client_ca_follows_its_file_when_asked_to() {
    for reload in [true, false] {
        let (ca, clients, dir) = (Authority::new("ca"), Authority::new("clients"), Dir::new());
        let write = |authority: &Authority| {
            let PemSource::Inline(pem) = authority.source() else { panic!("made inline") };
            std::fs::write(dir.path("next"), pem).unwrap();
            std::fs::rename(dir.path("next"), dir.path("ca.crt")).unwrap();
        };
        write(&Authority::new("other"));
        let server = TlsServerConfig {
            client_ca: Some(PemSource::File(dir.path("ca.crt"))),
            client_ca_reload: reload,
            ..server(&ca.sign(&[HOST]))
        };
        let identity = Some(clients.sign(&["agent"]).inline());
        let chain = Chain::start(server, TlsClientConfig { identity, ..client(&ca) });
        write(&clients);
        std::thread::sleep(Duration::from_millis(30));
        if reload {
            chain.assert_works();
        } else {
            chain.assert_refused();
        }
    }
}

/// What cannot be used is an error at the start that names the file.
#[test]
fn a_start_with_unusable_files_says_which() {
    let (ca, dir) = (Authority::new("ca"), Dir::new());
    let (pair, other) = (ca.sign(&[HOST]), ca.sign(&[HOST]));
    pair.write(&dir.path("good"));
    let say = |server: TlsServerConfig| match tls_relay(server, upstream(nobody())) {
        Err(StartError::Tls { component, message }) => format!("{component}: {message}"),
        other => panic!("{other:?}"),
    };
    let with = |name: &str, text: Option<&str>| {
        let mut identity = files(&dir.path("good"));
        let path: PathBuf = dir.path(&format!("bad-{name}"));
        if let Some(text) = text {
            std::fs::write(&path, text).unwrap();
        }
        let source = PemSource::File(path);
        if name == "key" {
            identity.key = source;
        } else {
            identity.certificate = source;
        }
        TlsServerConfig::new(identity)
    };
    let said = say(with("missing", None));
    assert!(said.contains("receiver \"otlp\"") && said.contains("bad-missing: No such file"), "{said}");
    let said = say(with("certificate", Some("garbage")));
    assert!(said.contains("no certificate in ") && said.contains("bad-certificate"), "{said}");
    let said = say(with("key", Some(&other.key)));
    assert!(said.contains("do not go together") && said.contains("bad-key"), "{said}");
    let said = say(with("key", Some(&pair.certificate)));
    assert!(said.contains("no private key in ") && said.contains("bad-key"), "{said}");
    let newer =
        TlsServerConfig { min_version: TlsVersion::V1_3, max_version: TlsVersion::V1_2, ..server(&pair) };
    assert!(say(newer).contains("newer"));
    let no_ca = TlsServerConfig { client_ca: Some(inline("garbage")), ..server(&pair) };
    assert!(say(no_ca).contains("no certificate in (inline)"));

    let unnamed = TlsClientConfig { server_name_override: Some("not a name".into()), ..client(&ca) };
    let error = builder(tls_upstream(nobody(), unnamed)).start().unwrap_err().to_string();
    assert!(error.contains("upstream \"otlp\"") && error.contains("not a name"), "{error}");
}

/// OTLP/HTTP on the same port: ALPN chooses, and a request over HTTP/1.1 is relayed.
#[test]
fn http_is_served_over_tls() {
    let (ca, collector) = (Authority::new("ca"), Collector::start(Script::ok()));
    let mut receiver = ReceiverConfig::new("otlp", loopback());
    (receiver.tls, receiver.http) = (Some(server(&ca.sign(&[HOST]))), Some(HttpConfig::default()));
    let relay =
        Relay::builder().receiver(receiver).upstream(upstream(collector.addr())).cores(1).start().unwrap();
    assert_eq!(shake_hands(endpoint(&relay), &["http/1.1"]).unwrap().1.as_deref(), Some(&b"http/1.1"[..]));
    assert_eq!(shake_hands(endpoint(&relay), &["http/1.1", "h2"]).unwrap().1.as_deref(), Some(&b"h2"[..]));
    let message = encoded(500, 1);
    let mut stream = bare_client(endpoint(&relay), &["http/1.1"]).unwrap();
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/x-protobuf\r\n\
         content-length: {}\r\n\r\n",
        message.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&message).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", answer.escape_ascii());
    assert_eq!(settled(&drain(relay, SOON)).delivered, 500);
}

/// A sender that closes its side is answered to the end, with TLS's own goodbye.
#[test]
fn an_answered_connection_ends_with_close_notify() {
    let ca = Authority::new("ca");
    let relay = tls_relay(server(&ca.sign(&[HOST])), upstream(nobody())).unwrap();
    let mut stream = bare_client(endpoint(&relay), &["h2"]).unwrap();
    stream.write_all(frames::PREFACE).unwrap();
    stream.write_all(&frames::frame(frames::SETTINGS, 0, 0, &[])).unwrap();
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    let mut answer = Vec::new();
    // Without close_notify this is an error (a truncated connection).
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer[3], frames::SETTINGS);
    drain(relay, SOON);
}

/// Peers that say nothing, or only the beginning of a hello, are closed in time and counted; meanwhile others are served.
#[test]
fn stalled_handshakes_are_ended() {
    let ca = Authority::new("ca");
    let relay = tls_relay(server(&ca.sign(&[HOST])), upstream(nobody())).unwrap();
    let mut silent = frames::open(endpoint(&relay));
    let mut stalled = frames::open(endpoint(&relay));
    stalled.write_all(&[22, 3, 1, 2, 0, 1, 0]).unwrap();
    shake_hands(endpoint(&relay), &["h2"]).unwrap();
    for peer in [&mut silent, &mut stalled] {
        peer.set_read_timeout(Some(HANDSHAKE_TIMEOUT + SOON)).unwrap();
        assert!(frames::is_ended(peer));
    }
    wait_until(|| relay.stats().receivers[0].tls.unwrap().handshake_failures == 2);
    drain(relay, SOON);
}
