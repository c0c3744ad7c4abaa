//! A scripted DNS server on loopback, UDP and TCP on one port: A and AAAA records that change while it runs, delays, failures, silence.
//!
//! Must never share code with what it is asked by: messages are read and written by hand (RFC 1035 section 4).
//!
//! Records are text, a name a line, `#` begins a comment; a name may have several lines, and one that has none does not exist
//! (NXDOMAIN):
//!
//! ```text
//! gateway.example  A      127.0.0.2
//! gateway.example  AAAA   ::1
//! slow.example     DELAY  500         # milliseconds before any answer
//! broken.example   SERVFAIL
//! dead.example     SILENCE
//! empty.example    EMPTY              # it exists, and has no address
//! ```

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

mod message;

/// How often a thread of the server looks whether it is to end.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Longest answer over UDP, in bytes (RFC 1035 section 2.3.4); a longer one is cut off and asked for again over TCP.
const UDP_BYTES_MAX: usize = 512;

/// All names that are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Records(HashMap<String, Entry>);

/// What is known of a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Entry {
    addresses: Vec<IpAddr>,
    delay: Duration,
    fails: bool,
    is_silent: bool,
}

impl FromStr for Records {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut records: HashMap<String, Entry> = HashMap::new();
        for line in text.lines() {
            let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
            let [name, kind, rest @ ..] = words.as_slice() else {
                if words.is_empty() {
                    continue;
                }
                return Err(format!("{line:?}: expected a name and what is known of it"));
            };
            let entry = records.entry(name.trim_end_matches('.').to_ascii_lowercase()).or_default();
            let address = rest.first().and_then(|text| text.parse::<IpAddr>().ok());
            match (*kind, rest, address) {
                ("A", [_], Some(ip)) if ip.is_ipv4() => entry.addresses.push(ip),
                ("AAAA", [_], Some(ip)) if ip.is_ipv6() => entry.addresses.push(ip),
                ("DELAY", [milliseconds], _) => {
                    let milliseconds =
                        milliseconds.parse().map_err(|_| format!("{line:?}: not milliseconds"))?;
                    entry.delay = Duration::from_millis(milliseconds);
                }
                ("SERVFAIL", [], _) => entry.fails = true,
                ("SILENCE", [], _) => entry.is_silent = true,
                ("EMPTY", [], _) => {}
                _ => return Err(format!("{line:?}: not a record")),
            }
        }
        Ok(Self(records))
    }
}

/// A running server; ends when it is dropped.
#[derive(Debug)]
pub struct DnsServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    records: Mutex<Records>,
    // By name and type of record.
    asked: Mutex<HashMap<(String, u16), u64>>,
    ended: AtomicBool,
}

impl DnsServer {
    /// Serves `records` at `address`, with port 0 at one that is free.
    ///
    /// # Errors
    /// The port cannot be bound.
    pub fn start(address: SocketAddr, records: Records) -> io::Result<Self> {
        let (udp, tcp) = bind(address)?;
        let address = udp.local_addr()?;
        udp.set_read_timeout(Some(LOOK_INTERVAL))?;
        tcp.set_nonblocking(true)?;
        let shared = Arc::new(Shared { records: Mutex::new(records), ..Shared::default() });
        let (of_udp, of_tcp) = (Arc::clone(&shared), Arc::clone(&shared));
        std::thread::spawn(move || serve_udp(&udp, &of_udp));
        std::thread::spawn(move || serve_tcp(&tcp, &of_tcp));
        Ok(Self { address, shared })
    }

    /// Serves `records`, which are right, on a free port of loopback.
    ///
    /// # Panics
    /// They are not right, or there is no port.
    #[must_use]
    pub fn on_loopback(records: &str) -> Self {
        Self::start((Ipv4Addr::LOCALHOST, 0).into(), records.parse().unwrap()).unwrap()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Replaces all records.
    ///
    /// # Panics
    /// They are not right.
    pub fn set(&self, records: &str) {
        self.replace(records.parse().unwrap());
    }

    /// Replaces all records.
    ///
    /// # Panics
    /// A thread of the server has panicked.
    pub fn replace(&self, records: Records) {
        *self.shared.records.lock().unwrap() = records;
    }

    /// How often the addresses of `name` were asked for, each kind for itself.
    ///
    /// # Panics
    /// A thread of the server has panicked.
    #[must_use]
    pub fn asked(&self, name: &str) -> u64 {
        let asked = self.shared.asked.lock().unwrap();
        asked.iter().filter(|((asked, _), _)| asked == name).map(|(_, times)| times).sum()
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    /// The answer to a query after its delay, if there is one.
    fn answer(&self, query: &[u8], bytes_max: usize) -> Option<Vec<u8>> {
        let question = message::question(query)?;
        *self.asked.lock().unwrap().entry((question.name.clone(), question.kind)).or_default() += 1;
        let entry = self.records.lock().unwrap().0.get(&question.name).cloned();
        if let Some(entry) = &entry {
            std::thread::sleep(entry.delay);
            if entry.is_silent {
                return None;
            }
        }
        let answer = match &entry {
            None => message::Answer::NoSuchName,
            Some(entry) if entry.fails => message::Answer::Failure,
            Some(entry) => message::Answer::Addresses(&entry.addresses),
        };
        Some(message::response(query, &question, &answer, bytes_max))
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

/// Both protocols on one port. A free one of UDP may be taken for TCP: then another is tried.
fn bind(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut tries = 0..32;
    loop {
        let udp = UdpSocket::bind(address)?;
        match TcpListener::bind(udp.local_addr()?) {
            Err(taken) if address.port() != 0 || tries.next().is_none() => return Err(taken),
            Err(_) => {}
            Ok(tcp) => return Ok((udp, tcp)),
        }
    }
}

fn serve_udp(socket: &UdpSocket, shared: &Arc<Shared>) {
    let mut buffer = [0; 4096];
    while !shared.has_ended() {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        let (query, shared, socket) = (buffer[..length].to_vec(), Arc::clone(shared), socket.try_clone());
        // A thread for each: one answer's delay is not another's.
        std::thread::spawn(move || {
            if let (Some(answer), Ok(socket)) = (shared.answer(&query, UDP_BYTES_MAX), socket) {
                socket.send_to(&answer, from).ok();
            }
        });
    }
}

fn serve_tcp(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.has_ended() {
        match listener.accept() {
            Ok((stream, _)) => {
                let shared = Arc::clone(shared);
                std::thread::spawn(move || converse(stream, &shared).ok());
            }
            Err(_) => std::thread::sleep(LOOK_INTERVAL),
        }
    }
}

/// Queries and answers, each with its length in front (RFC 1035 section 4.2.2).
fn converse(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut query)?;
        let Some(answer) = shared.answer(&query, usize::from(u16::MAX)) else { return Ok(()) };
        let length = u16::try_from(answer.len()).unwrap_or(u16::MAX).to_be_bytes();
        stream.write_all(&[&length, answer.as_slice()].concat())?;
    }
}
