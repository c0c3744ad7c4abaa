//! The end of a relay's listening, and a listening socket that goes from one relay to the next: whoever has connected is served.

#![cfg(test)]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use relay_core::config::{HttpConfig, ReceiverConfig};
use relay_core::{Relay, RelayHandle};
use support::frames::{self, DATA, END_HEADERS, END_STREAM, HEADERS, frame};
use support::http1::Http1;
use support::{SOON, drain, encoded, endpoint, loopback, settled, upstream};
use testkit::collector::{Collector, Script};

fn receiver(address: SocketAddr) -> ReceiverConfig {
    ReceiverConfig { http: Some(HttpConfig::default()), ..ReceiverConfig::new("otlp", address) }
}

fn start(address: SocketAddr, collector: &Collector) -> RelayHandle {
    Relay::builder()
        .receiver(receiver(address))
        .upstream(upstream(collector.addr()))
        .cores(2)
        .start()
        .unwrap()
}

/// Clients that connect, send one span over HTTP/1.1 and read the answer, again and again.
struct Clients {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    /// Connects that nobody listened to.
    refused: Arc<AtomicU64>,
    /// What happened to clients that were connected and got no 200.
    broken: Arc<Mutex<Vec<String>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    fn start(address: SocketAddr, clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (answered, refused): (Arc<AtomicU64>, Arc<AtomicU64>) = Default::default();
        let broken = Arc::new(Mutex::new(Vec::new()));
        let threads = (0..clients).map(|_| {
            let (stop, answered, refused) = (Arc::clone(&stop), Arc::clone(&answered), Arc::clone(&refused));
            let broken = Arc::clone(&broken);
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let Ok(stream) = TcpStream::connect(address) else {
                        refused.fetch_add(1, Ordering::Relaxed);
                        std::thread::sleep(Duration::from_millis(1));
                        continue;
                    };
                    match ask(stream) {
                        Ok(true) => drop(answered.fetch_add(1, Ordering::Relaxed)),
                        Ok(false) => broken.lock().unwrap().push("not 200".to_owned()),
                        Err(error) => broken.lock().unwrap().push(error.to_string()),
                    }
                }
            })
        });
        let threads = threads.collect();
        Self { stop, answered, refused, broken, threads }
    }

    fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Waits until so many more were answered.
    fn go_on(&self, more: u64) {
        let until = self.answered() + more;
        for _ in 0..2000 {
            if self.answered() >= until {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("clients are not answered: {:?}", self.broken.lock().unwrap());
    }

    /// How many were answered, and how many found nobody who listens; none may have been broken off.
    fn end(self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        let broken = self.broken.lock().unwrap();
        assert!(broken.is_empty(), "{} clients were broken off: {broken:?}", broken.len());
        (self.answered.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }
}

/// Whether one request is answered with 200.
fn ask(mut stream: TcpStream) -> std::io::Result<bool> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let body = encoded(1, 7);
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: r\r\nconnection: close\r\ncontent-type: application/x-protobuf\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), &body].concat())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 200"))
}

/// Scenario: a relay drains while clients connect as fast as they can, 20 times. Guarantee: whoever the kernel has connected is
/// answered, and what was answered is delivered.
#[test]
fn a_drain_leaves_no_connection_in_the_accept_queue() {
    let collector = Collector::start(Script::ok());
    let (mut answered, mut delivered) = (0, 0);
    for _ in 0..20 {
        let relay = start(loopback(), &collector);
        let clients = Clients::start(endpoint(&relay), 8);
        clients.go_on(20);
        delivered += settled(&drain(relay, SOON)).delivered;
        answered += clients.end().0;
    }
    assert_eq!(answered, delivered);
}

/// Scenario: relays of one process take over from each other 20 times under connecting clients. Guarantee: nobody is refused or
/// broken off, and what was answered is delivered once.
#[test]
fn a_socket_goes_from_relay_to_relay_without_a_gap() {
    let collector = Collector::start(Script::ok());
    let mut relay = start(loopback(), &collector);
    let address = endpoint(&relay);
    let (clients, mut delivered) = (Clients::start(address, 8), 0);
    for _ in 0..20 {
        clients.go_on(20);
        let socket = relay.listeners().remove(0).unwrap();
        assert_eq!(socket.address().tcp(), Some(address));
        let successor = Relay::builder().receiver_on(receiver(loopback()), socket);
        let successor = successor.upstream(upstream(collector.addr())).cores(2).start().unwrap();
        delivered += settled(&drain(relay, SOON)).delivered;
        relay = successor;
    }
    let ended = clients.end();
    delivered += settled(&drain(relay, SOON)).delivered;
    assert_eq!(ended, (delivered, 0));
    assert!(TcpStream::connect(address).is_err(), "the last one has closed it");
}

/// Scenario: a successor in the same place binds the same port while the first one still runs and then drains. Guarantee: it is
/// told that the port is shared; no client is broken off.
#[test]
fn a_port_is_shared_with_a_successor() {
    let collector = Collector::start(Script::ok());
    let first = start(loopback(), &collector);
    let address = endpoint(&first);
    assert!(!first.listeners()[0].as_ref().unwrap().is_shared());
    let clients = Clients::start(address, 4);
    clients.go_on(10);
    let second = start(address, &collector);
    assert!(second.listeners()[0].as_ref().unwrap().is_shared());
    clients.go_on(10);
    let mut delivered = settled(&drain(first, SOON)).delivered;
    clients.go_on(10);
    let ended = clients.end();
    delivered += settled(&drain(second, SOON)).delivered;
    assert_eq!(ended, (delivered, 0));
}

/// Scenario: idle connections of HTTP/1.1 and HTTP/2 whose clients have not noticed the drain, and send one more request each.
/// Guarantee: both are answered; HTTP/1.1 is told that it was the last one.
#[test]
fn what_is_sent_before_the_client_knows_is_answered() {
    let collector = Collector::start(Script::ok());
    let relay = start(loopback(), &collector);
    let address = endpoint(&relay);
    let (mut http1, mut http2) = (Http1::connect(address), frames::connect(address));
    assert_eq!(http1.post("/v1/traces", &encoded(1, 1)).status, 200);
    let draining = std::thread::spawn(move || drain(relay, SOON));
    std::thread::sleep(Duration::from_millis(200));
    let last = http1.post("/v1/traces", &encoded(2, 2));
    assert_eq!((last.status, last.header("connection")), (200, Some("close")));
    let body = encoded(4, 3);
    let mut message = vec![0];
    message.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
    message.extend_from_slice(&body);
    http2.write_all(&frame(HEADERS, END_HEADERS, 1, &frames::export_headers())).unwrap();
    http2.write_all(&frame(DATA, END_STREAM, 1, &message)).unwrap();
    assert_eq!(settled(&draining.join().unwrap()).delivered, 7);
    let mut said = Vec::new();
    http2.read_to_end(&mut said).ok();
    // Trailers of stream 1, END_STREAM and END_HEADERS.
    assert!(said.windows(6).any(|head| head == [HEADERS, END_STREAM | END_HEADERS, 0, 0, 0, 1]));
}

/// Scenario: a body takes two seconds to come, longer than idle connections are kept in a drain. Guarantee: it is taken.
#[test]
fn a_slow_call_is_finished() {
    let collector = Collector::start(Script::ok());
    let relay = start(loopback(), &collector);
    let mut http1 = Http1::connect(endpoint(&relay));
    let body = encoded(3, 1);
    let head =
        "POST /v1/traces HTTP/1.1\r\nhost: r\r\ncontent-type: application/x-protobuf\r\ncontent-length: ";
    http1.send(format!("{head}{}\r\n\r\n", body.len()).as_bytes());
    let draining = std::thread::spawn(move || drain(relay, SOON));
    for piece in body.chunks(body.len() / 4 + 1) {
        std::thread::sleep(Duration::from_millis(500));
        http1.send(piece);
    }
    assert_eq!(http1.answer().status, 200);
    assert_eq!(settled(&draining.join().unwrap()).delivered, 3);
}
