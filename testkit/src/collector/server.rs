//! Starting, stopping and asking the collector. It runs on a thread and runtime of its own, so that tests of any runtime, or none,
//! can use it.
//!
//! Must never keep a socket after `stop`: a test of an outage needs the port to refuse.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;
use tonic::transport::server::TcpIncoming;

use super::record::{Call, Record};
use super::script::Script;
use super::service::ExportService;
use crate::oracle::{FlatSpan, flatten_all};

/// How the collector listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Largest message in bytes after decompression; larger ones get `RESOURCE_EXHAUSTED`.
    pub recv_bytes_max: usize,
    /// Whether gzip is accepted; otherwise it gets `UNIMPLEMENTED`.
    pub gzip: bool,
    /// `SETTINGS_MAX_CONCURRENT_STREAMS`; `None` announces no limit.
    pub concurrent_streams_max: Option<u32>,
}

impl Default for Options {
    /// A free port of 127.0.0.1, 4 MiB (what grpc-go servers take), gzip accepted, no limit on streams.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            recv_bytes_max: 4 << 20,
            gzip: true,
            concurrent_streams_max: None,
        }
    }
}

#[derive(Debug)]
struct Running {
    /// `true` asks for a graceful end: GOAWAY, calls in flight are answered.
    stop: oneshot::Sender<bool>,
    thread: JoinHandle<()>,
}

/// A running or stopped collector. What it recorded stays through stop and restart; dropping it stops it.
#[derive(Debug)]
pub struct Collector {
    addr: SocketAddr,
    options: Options,
    script: Arc<Mutex<Script>>,
    record: Arc<Record>,
    running: Option<Running>,
}

impl Collector {
    /// Starts on a free port with default [`Options`]. Panics if it cannot listen.
    #[must_use]
    pub fn start(script: Script) -> Self {
        Self::start_with(Options::default(), script)
    }

    /// Starts with these options. Panics if it cannot listen.
    #[must_use]
    pub fn start_with(options: Options, script: Script) -> Self {
        let mut collector = Self {
            addr: options.listen,
            options,
            script: Arc::new(Mutex::new(script)),
            record: Arc::new(Record::default()),
            running: None,
        };
        collector.restart();
        collector
    }

    /// Where it listens (also while it is stopped).
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where it listens, as a URL for configurations and tonic.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Listens again on the same port, with the same script and record. Nothing happens if it runs.
    pub fn restart(&mut self) {
        if self.running.is_some() {
            return;
        }
        let service = ExportService {
            record: Arc::clone(&self.record),
            script: Arc::clone(&self.script),
            recv_bytes_max: self.options.recv_bytes_max,
            gzip: self.options.gzip,
        };
        let (stop, stopped) = oneshot::channel();
        let (listening, listens) = mpsc::sync_channel(1);
        let (listen, streams_max) = (self.addr, self.options.concurrent_streams_max);
        let thread = std::thread::spawn(move || run(listen, streams_max, service, &listening, stopped));
        self.addr = listens.recv().expect("the collector's thread lives").expect("the collector can listen");
        self.running = Some(Running { stop, thread });
    }

    /// Changes the script for the calls to come; their numbers go on.
    pub fn set_script(&self, script: Script) {
        *self.script.lock().unwrap_or_else(PoisonError::into_inner) = script;
    }

    /// Stops as a killed process does: the port refuses, connections are cut, calls in flight stay unanswered.
    pub fn stop(&mut self) {
        self.end(false);
    }

    /// Stops as a drained server does: GOAWAY, calls in flight are answered, then the port refuses. Waits for connections to close.
    pub fn stop_gracefully(&mut self) {
        self.end(true);
    }

    fn end(&mut self, graceful: bool) {
        if let Some(Running { stop, thread }) = self.running.take() {
            stop.send(graceful).ok();
            thread.join().ok();
        }
    }

    /// Every call so far in order of arrival, accepted or not.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.record.calls()
    }

    /// Empties the messages of all calls that have ended, so that a long run does not hold all that ever came.
    pub fn forget_messages(&self) {
        self.record.forget_messages();
    }

    /// The number of calls so far.
    #[must_use]
    pub fn call_count(&self) -> usize {
        self.record.call_count()
    }

    /// The number of spans in accepted calls, less those rejected by `partial_success`.
    #[must_use]
    pub fn span_count(&self) -> usize {
        self.record.spans_accepted()
    }

    /// All spans of accepted calls with their headers, in order of arrival (of partial successes all of them: the protocol does not
    /// say which were rejected).
    #[must_use]
    pub fn spans(&self) -> Vec<FlatSpan> {
        let calls = self.record.calls();
        flatten_all(calls.iter().filter(|call| call.outcome.is_accepted()).map(|call| &call.request))
    }

    /// Waits until `count` spans are accepted or `timeout` has passed; gives how many are accepted then.
    #[must_use]
    pub fn wait_for_spans(&self, count: usize, timeout: Duration) -> usize {
        self.record.wait_for_spans(count, timeout)
    }

    /// Waits until `count` calls have come or `timeout` has passed; gives how many have come then.
    #[must_use]
    pub fn wait_for_calls(&self, count: usize, timeout: Duration) -> usize {
        self.record.wait_for_calls(count, timeout)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.stop();
    }
}

type Listening = mpsc::SyncSender<std::io::Result<SocketAddr>>;

fn run(
    listen: SocketAddr,
    streams_max: Option<u32>,
    service: ExportService,
    listening: &Listening,
    stop: oneshot::Receiver<bool>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async move {
        let listener = match crate::listener::listen(listen).await {
            Ok(listener) => listener,
            Err(error) => return drop(listening.send(Err(error))),
        };
        drop(listening.send(listener.local_addr()));
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let (drain, drained) = oneshot::channel::<()>();
        let server = tonic::transport::Server::builder()
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(16 << 20)
            .max_concurrent_streams(streams_max)
            .serve_with_incoming_shutdown(service, incoming, async { drop(drained.await) });
        let mut server = std::pin::pin!(server);
        tokio::select! {
            result = &mut server => drop(result),
            graceful = stop => if graceful == Ok(true) {
                drop(drain);
                drop(server.await);
            },
        }
    });
    // Dropping the runtime drops the connections' tasks, and their sockets with them.
}
