//! The servers behind an upstream: the tonic collector for gRPC, the one by hand for HTTP.
//!
//! Must never answer what the log has not noted before.

use std::io;
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::answer::Answer;
use super::log::{Arrival, Log};
use crate::collector::{Call, Collector, Options, Script, Signal};
use crate::http_upstream::{HttpCall, HttpUpstream};

/// What an upstream takes in one message, far above any limit that is tried.
const RECV_BYTES_MAX: usize = 256 << 20;

/// What an upstream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Protocol {
    Grpc,
    Http,
}

impl Protocol {
    pub(in super::super) fn name(self) -> &'static str {
        match self {
            Self::Grpc => "gRPC",
            Self::Http => "HTTP",
        }
    }
}

#[derive(Debug)]
enum Server {
    Grpc(Collector),
    Http(HttpUpstream),
}

/// One upstream of the system under test.
#[derive(Debug)]
pub(in super::super) struct Upstream {
    pub(in super::super) protocol: Protocol,
    addr: SocketAddr,
    log: Arc<Log>,
    server: Mutex<Server>,
}

impl Upstream {
    /// Listens on `addr`.
    ///
    /// # Errors
    /// The socket's.
    pub(in super::super) fn start(protocol: Protocol, addr: SocketAddr) -> io::Result<Self> {
        // The collector panics where it cannot listen; the user of the suite shall have an error.
        drop(TcpListener::bind(addr)?);
        let log = Arc::new(Log::default());
        let noting = Arc::clone(&log);
        let server = match protocol {
            Protocol::Grpc => {
                let options = Options { listen: addr, recv_bytes_max: RECV_BYTES_MAX, ..Options::default() };
                let script = Script::by_call(move |call, _| noting.arrive(of_grpc(call)).grpc());
                Server::Grpc(Collector::start_with(options, script))
            }
            Protocol::Http => {
                let decide = move |call: &HttpCall| noting.arrive(of_http(call)).http();
                Server::Http(HttpUpstream::start_on(addr, decide)?)
            }
        };
        Ok(Self { protocol, addr, log, server: Mutex::new(server) })
    }

    /// Requests with this mark get `first` in turn, then `then`; all others are accepted.
    pub(in super::super) fn script(&self, mark: &str, first: Vec<Answer>, then: Answer) {
        self.log.script(mark, first, then);
    }

    /// Accepts everything from now on.
    pub(in super::super) fn accept_all(&self) {
        self.log.forget_rules();
    }

    pub(in super::super) fn with_mark(&self, mark: &str) -> Vec<Arrival> {
        self.log.with_mark(mark)
    }

    pub(in super::super) fn distinct(&self, mark_start: &str) -> usize {
        self.log.distinct(mark_start)
    }

    pub(in super::super) fn totals(&self) -> (usize, usize) {
        self.log.totals()
    }

    /// Waits until `count` arrivals hold the mark or `timeout` has passed; gives those that do.
    pub(in super::super) async fn wait(&self, mark: &str, count: usize, timeout: Duration) -> Vec<Arrival> {
        wait_until(timeout, || self.log.count(mark) >= count).await;
        self.with_mark(mark)
    }

    /// Waits until `count` different marks that begin like this have arrived; gives how many have.
    pub(in super::super) async fn wait_distinct(
        &self,
        start: &str,
        count: usize,
        timeout: Duration,
    ) -> usize {
        wait_until(timeout, || self.distinct(start) >= count).await;
        self.distinct(start)
    }

    /// The port refuses and connections are cut, as when a process is killed.
    pub(in super::super) fn stop(&self) {
        match &mut *self.server.lock().unwrap_or_else(PoisonError::into_inner) {
            Server::Grpc(server) => server.stop(),
            Server::Http(server) => server.stop(),
        }
    }

    /// Listens again, if it does not.
    pub(in super::super) fn restart(&self) {
        match &mut *self.server.lock().unwrap_or_else(PoisonError::into_inner) {
            Server::Grpc(server) => server.restart(),
            Server::Http(server) => server.restart(),
        }
    }

    /// Stops, and for a while closes every connection as soon as it is made: when each was. The caller restarts.
    pub(in super::super) async fn slam(&self, period: Duration) -> io::Result<Vec<Instant>> {
        self.stop();
        let listener = crate::listener::listen(self.addr).await?;
        let end = tokio::time::Instant::now() + period;
        let mut dials = Vec::new();
        while let Ok(accepted) = tokio::time::timeout_at(end, listener.accept()).await {
            drop(accepted?);
            dials.push(Instant::now());
        }
        Ok(dials)
    }

    /// Back to the state between items: listening, accepting everything, holding no messages.
    pub(in super::super) fn tidy_up(&self) {
        self.accept_all();
        self.restart();
        self.log.forget_messages();
        if let Server::Grpc(server) = &*self.server.lock().unwrap_or_else(PoisonError::into_inner) {
            server.forget_messages();
        }
    }
}

pub(in super::super) async fn wait_until(timeout: Duration, holds: impl Fn() -> bool) {
    let give_up = Instant::now() + timeout;
    while !holds() && Instant::now() < give_up {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn of_grpc(call: &Call) -> Arrival {
    Arrival {
        signal: Some(call.signal),
        target: format!("POST {}", call.signal.grpc_path()),
        headers: call.metadata.clone(),
        body: Bytes::new(),
        message: call.raw.clone(),
        marks: Vec::new(),
        at: call.at,
        connection: call.peer.map(|peer| peer.to_string()).unwrap_or_default(),
    }
}

fn of_http(call: &HttpCall) -> Arrival {
    let path = call.target.split('?').next().unwrap_or_default();
    Arrival {
        signal: Signal::ALL.into_iter().find(|signal| path.ends_with(signal.http_path())),
        target: format!("{} {}", call.method, call.target),
        headers: call.headers.clone(),
        message: decompressed(call).unwrap_or_default(),
        body: call.body.clone(),
        marks: Vec::new(),
        at: call.at,
        connection: call.connection.to_string(),
    }
}

/// The message in a body; `None` where its encoding is neither gzip nor none.
fn decompressed(call: &HttpCall) -> Option<Bytes> {
    match call.header("content-encoding") {
        None | Some("identity" | "") => Some(call.body.clone()),
        Some("gzip") => {
            let limited = flate2::read::MultiGzDecoder::new(&*call.body).take(RECV_BYTES_MAX as u64);
            let mut message = Vec::new();
            { limited }.read_to_end(&mut message).ok()?;
            Some(message.into())
        }
        Some(_) => None,
    }
}
