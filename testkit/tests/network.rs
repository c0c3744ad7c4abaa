//! Collector, sender, raw client and proxy, against each other on loopback.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may panic, and these wait for real sockets"
)]

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::Bytes;
use testkit::collector::{Collector, Options, Outcome, Reply, Script};
use testkit::generate::kube_like_request;
use testkit::oracle::{encode, flatten};
use testkit::proxy::{Cut, Proxy, Stall};
use testkit::raw::{
    End, RawClient, RawRequest, exchange, grpc_message, grpc_message_compressed, grpc_message_with, gzip,
};
use testkit::rpc_status::retry_delay;
use testkit::sender::{SendOptions, Sender, send, send_blocking};
use tonic::Code;

const SOON: Duration = Duration::from_secs(5);

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// Guarantee: accepted requests are on record as raw bytes, decoded form and headers.
#[test]
fn collector_records_what_it_accepts() {
    let collector = Collector::start(Script::ok());
    let request = kube_like_request(18, 1);
    let options = SendOptions { gzip: true, timeout: Some(Duration::from_secs(10)) };
    send_blocking(&collector.endpoint(), request.clone(), options).unwrap();
    assert_eq!(collector.wait_for_spans(18, SOON), 18);
    let calls = collector.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].outcome, Outcome::Accepted);
    assert_eq!(calls[0].raw, encode(&request));
    assert_eq!(calls[0].header("grpc-encoding"), Some("gzip"));
    assert!(calls[0].header("grpc-timeout").is_some_and(|timeout| timeout.starts_with("10")));
    assert!(calls[0].header("user-agent").is_some_and(|agent| agent.contains("tonic")));
    assert_eq!(collector.spans(), flatten(&request));
}

/// Guarantee: replies follow the script call by call, and only successes count as delivered.
#[test]
fn script_is_followed_in_order() {
    let replies = vec![
        Reply::unavailable(Some(Duration::from_millis(70))),
        Reply::status(Code::InvalidArgument, "poison"),
        Reply::PartialSuccess { rejected_spans: 1, message: "one bad".to_owned() },
    ];
    let collector = Collector::start(Script::sequence(replies, Reply::Ok));
    let request = kube_like_request(3, 1);
    block_on(async {
        let sender = Sender::connect(&collector.endpoint(), SendOptions::default()).await.unwrap();
        let busy = sender.send(request.clone()).await.unwrap_err();
        assert_eq!((busy.code(), retry_delay(&busy)), (Code::Unavailable, Some(Duration::from_millis(70))));
        let poison = sender.send(request.clone()).await.unwrap_err();
        assert_eq!(
            (poison.code(), poison.message(), retry_delay(&poison)),
            (Code::InvalidArgument, "poison", None)
        );
        let partial = sender.send(request.clone()).await.unwrap().partial_success.unwrap();
        assert_eq!((partial.rejected_spans, partial.error_message.as_str()), (1, "one bad"));
        assert_eq!(sender.send(request.clone()).await.unwrap().partial_success, None);
    });
    let outcomes: Vec<Outcome> = collector.calls().iter().map(|call| call.outcome).collect();
    let refused = [Outcome::Refused(Code::Unavailable), Outcome::Refused(Code::InvalidArgument)];
    assert_eq!(outcomes, [refused[0], refused[1], Outcome::Partial(1), Outcome::Accepted]);
    assert_eq!(collector.span_count(), 5);
}

/// Scenario: a closure refuses any request with a marked span.
#[test]
fn script_can_look_for_poison() {
    let collector = Collector::start(Script::by(|request, _| {
        let poisoned = flatten(request).iter().any(|flat| flat.span.name == "poison");
        if poisoned { Reply::status(Code::Internal, "cannot read") } else { Reply::Ok }
    }));
    let mut poisoned = kube_like_request(2, 1);
    poisoned.resource_spans[0].scope_spans[0].spans[0].name = "poison".to_owned();
    let sent = block_on(async {
        let good = send(&collector.endpoint(), kube_like_request(2, 2)).await.is_ok();
        (good, send(&collector.endpoint(), poisoned).await.unwrap_err().code())
    });
    assert_eq!(sent, (true, Code::Internal));
}

/// Guarantee: a delayed call is accepted late, and a call that is never answered stays on record as such.
#[test]
fn delay_and_silence_are_scripted() {
    let replies = vec![Reply::ok_after(Duration::from_millis(150)), Reply::NeverAnswer];
    let collector = Collector::start(Script::sequence(replies, Reply::Ok));
    let started = Instant::now();
    let options = SendOptions { timeout: Some(Duration::from_millis(400)), ..SendOptions::default() };
    send_blocking(&collector.endpoint(), kube_like_request(1, 1), options).unwrap();
    assert!(started.elapsed() >= Duration::from_millis(150));
    let silent = send_blocking(&collector.endpoint(), kube_like_request(1, 2), options).unwrap_err();
    assert!(matches!(silent.code(), Code::DeadlineExceeded | Code::Cancelled), "{silent:?}");
    let outcomes: Vec<Outcome> = collector.calls().iter().map(|call| call.outcome).collect();
    assert_eq!(outcomes, [Outcome::Accepted, Outcome::Unanswered]);
}

/// Guarantee: a stopped collector refuses connections, a restarted one listens on the same port with its record kept.
#[test]
fn collector_stops_and_restarts_on_its_port() {
    let mut collector = Collector::start(Script::ok());
    let endpoint = collector.endpoint();
    send_blocking(&endpoint, kube_like_request(2, 1), SendOptions::default()).unwrap();
    collector.stop();
    let refused = send_blocking(&endpoint, kube_like_request(2, 2), SendOptions::default()).unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    collector.restart();
    collector.set_script(Script::always(Reply::status(Code::Unavailable, "starting")));
    let starting = send_blocking(&endpoint, kube_like_request(2, 2), SendOptions::default()).unwrap_err();
    assert_eq!((starting.code(), starting.message()), (Code::Unavailable, "starting"));
    collector.set_script(Script::ok());
    send_blocking(&endpoint, kube_like_request(2, 2), SendOptions::default()).unwrap();
    collector.stop_gracefully();
    assert_eq!((collector.call_count(), collector.span_count()), (3, 4));
}

/// Guarantee: limits and garbage are answered as grpc-go answers them, and recorded as refused.
#[test]
fn collector_is_as_strict_as_grpc_go() {
    let options = Options { recv_bytes_max: 1_000, gzip: false, ..Options::default() };
    let collector = Collector::start_with(options, Script::ok());
    let large = encode(&kube_like_request(10, 1));
    let responses = exchange(
        collector.addr(),
        vec![
            RawRequest::export(vec![grpc_message(&large)]),
            RawRequest::export(vec![grpc_message(b"\x0a\xffgarbage")]),
            RawRequest::export(vec![grpc_message_compressed(&gzip(&large))])
                .with_header("grpc-encoding", "gzip"),
            RawRequest::export(vec![grpc_message(b"")]).with_path("/some.other.Service/Call"),
            RawRequest::export(vec![grpc_message(b"")]),
        ],
    );
    let statuses: Vec<_> =
        responses.iter().map(|response| response.as_ref().unwrap().grpc_status().unwrap()).collect();
    assert_eq!(statuses, [8, 13, 12, 12, 0]);
    let mut outcomes: Vec<_> = collector.calls().iter().map(|call| call.outcome).collect();
    outcomes.sort_by_key(|outcome| format!("{outcome:?}"));
    assert_eq!(outcomes, [Outcome::Accepted, Outcome::TooLarge, Outcome::Unreadable]);
}

/// Guarantee: a body cut anywhere arrives whole; the success response is the empty message of the specification.
#[test]
fn raw_client_sends_any_chunks() {
    let collector = Collector::start(Script::ok());
    let message = grpc_message(&encode(&kube_like_request(2, 1)));
    let chunks = vec![
        message.slice(..3),
        message.slice(3..5),
        Bytes::new(),
        message.slice(5..700),
        message.slice(700..),
    ];
    let paused = RawRequest { pause: Duration::from_millis(5), ..RawRequest::export(chunks) };
    let responses = exchange(collector.addr(), vec![paused, RawRequest::export(vec![message])]);
    for response in responses {
        let response = response.unwrap();
        assert_eq!((response.status, response.grpc_status()), (200, Some(0)));
        assert_eq!(response.body, [0, 0, 0, 0, 0].as_slice());
        assert!(response.trailers.is_some());
    }
    assert_eq!(collector.span_count(), 4);
}

/// Guarantee: a stream can be reset or left open without disturbing its neighbours; a lying prefix is sent as it is.
#[test]
fn raw_client_can_misbehave() {
    let collector = Collector::start(Script::ok());
    let message = grpc_message(&encode(&kube_like_request(1, 1)));
    let lying = grpc_message_with(0, 100, b"ten bytes!");
    block_on(async {
        let client = RawClient::connect(collector.addr()).await.unwrap();
        let half = || RawRequest::export(vec![message.slice(..20)]);
        assert!(client.send(half().with_end(End::Reset)).await.is_err());
        let open =
            tokio::time::timeout(Duration::from_millis(100), client.send(half().with_end(End::Open))).await;
        assert!(open.is_err(), "an open stream has no response yet");
        let refused = client.send(RawRequest::export(vec![lying])).await.unwrap();
        assert_ne!(refused.grpc_status(), Some(0));
        let fine = client.send(RawRequest::export(vec![message.clone()])).await.unwrap();
        assert_eq!(fine.grpc_status(), Some(0));
        client.close().await.unwrap();
    });
    assert_eq!(collector.call_count(), 1);
}

/// Guarantee: the proxy forwards, counts, cuts both ways, refuses and listens again.
#[test]
fn proxy_cuts_and_refuses() {
    let collector = Collector::start(Script::ok());
    let proxy = Proxy::start(collector.addr());
    for how in [Cut::Fin, Cut::Rst] {
        // Held open and idle: what it reads tells how it was closed.
        let mut idle = TcpStream::connect(proxy.addr()).unwrap();
        idle.set_read_timeout(Some(SOON)).unwrap();
        assert!(becomes(|| proxy.open_connections() == 1));
        send_blocking(&proxy.endpoint(), kube_like_request(1, 1), SendOptions::default()).unwrap();
        proxy.cut(how);
        // The collector's SETTINGS frame comes first.
        let end = idle.read_to_end(&mut Vec::new()).map_err(|error| error.kind());
        assert_eq!(end.is_ok(), how == Cut::Fin, "{end:?}");
        assert!(end.is_ok() || end == Err(ErrorKind::ConnectionReset), "{end:?}");
        assert!(becomes(|| proxy.open_connections() == 0));
    }
    assert_eq!((proxy.connections(), collector.span_count()), (4, 2));
    assert!(proxy.bytes().0 > 1_500 && proxy.bytes().1 > 0);
    proxy.refuse();
    assert_eq!(TcpStream::connect(proxy.addr()).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    proxy.accept();
    TcpStream::connect(proxy.addr()).unwrap();
}

/// Guarantee: a stalled proxy keeps the connection and loses nothing once resumed.
#[test]
fn proxy_stalls_and_resumes() {
    let collector = Collector::start(Script::ok());
    let proxy = Proxy::start(collector.addr());
    block_on(async {
        let sender = Sender::connect(&proxy.endpoint(), SendOptions::default()).await.unwrap();
        sender.send(kube_like_request(1, 1)).await.unwrap();
        for way in [Stall::Both, Stall::ToUpstream, Stall::ToClient] {
            proxy.stall(way);
            let pending = sender.send(kube_like_request(1, 2));
            let mut pending = std::pin::pin!(pending);
            assert!(tokio::time::timeout(Duration::from_millis(100), &mut pending).await.is_err());
            proxy.resume();
            pending.await.unwrap();
        }
    });
    assert_eq!((proxy.connections(), collector.span_count()), (1, 4));
}

/// Guarantee: with a byte budget every connection breaks in the middle of a large request, and none arrives.
#[test]
fn proxy_cuts_after_a_number_of_bytes() {
    let collector = Collector::start(Script::ok());
    let proxy = Proxy::start(collector.addr());
    proxy.cut_after(Some(10_000), Cut::Rst);
    for seed in 0..2 {
        let broken = send_blocking(&proxy.endpoint(), kube_like_request(100, seed), SendOptions::default());
        assert!(broken.is_err());
    }
    assert_eq!(collector.call_count(), 0);
    assert_eq!(proxy.bytes().0, 20_000);
    proxy.cut_after(None, Cut::Rst);
    send_blocking(&proxy.endpoint(), kube_like_request(100, 3), SendOptions::default()).unwrap();
    assert_eq!(collector.span_count(), 100);
}

fn becomes(condition: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + SOON;
    while Instant::now() < deadline {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    false
}
