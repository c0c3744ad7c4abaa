//! What an embedding service says: where to receive, where to forward, under which bounds. Plain data; every default is
//! the one that the OpenTelemetry Collector's users know, unless the field says otherwise.

mod auth;
mod compression;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::batch::{Batch, BatchLimits};
use crate::limits;
use crate::otlp::Signal;
use crate::upstream::{Endpoint, Outcome, RetryPolicy};

pub use auth::{BearerAuth, ClientAuth, Secret, SecretSource, ServerAuth, TokenSource, UserSource};
pub use compression::{Compression, CompressionError};

/// An OTLP listener.
#[derive(Clone, Debug)]
pub struct ReceiverConfig {
    /// Name in stats and logs, for example `otlp`.
    pub name: String,
    /// Address to listen on. Port 0 takes a free one; see [`crate::RelayHandle::listening_on`].
    pub listen: SocketAddr,
    /// Names of the upstreams that its requests go to, each those of its signal; empty means all. A signal that no upstream takes
    /// is not served.
    pub upstreams: Vec<String>,
    /// Whether it speaks OTLP/gRPC. Default true.
    pub grpc: bool,
    /// How it speaks OTLP/HTTP. Default not at all. Beside gRPC on the same port only HTTP/1.1 is spoken: HTTP/2 is gRPC there.
    pub http: Option<HttpConfig>,
    /// Largest request in bytes, before and after decompression. Default 64 MiB.
    pub message_bytes_max: usize,
    /// Concurrent calls per connection (`max_concurrent_streams`). Default 256.
    pub streams_max: u32,
    /// Age after which a connection is asked to go (GOAWAY), so that clients spread anew. Default never.
    pub connection_age_max: Option<Duration>,
    /// What a request must show. Default nothing: everybody may send.
    pub auth: Option<ServerAuth>,
}

impl ReceiverConfig {
    /// A receiver on `listen` with the defaults.
    pub fn new(name: impl Into<String>, listen: SocketAddr) -> Self {
        Self {
            name: name.into(),
            listen,
            upstreams: Vec::new(),
            grpc: true,
            http: None,
            message_bytes_max: limits::RECEIVE_MESSAGE_BYTES_MAX,
            streams_max: limits::STREAMS_PER_CONNECTION_MAX,
            connection_age_max: None,
            auth: None,
        }
    }
}

/// OTLP/HTTP of a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// Path of each signal's requests, in the order of [`Signal::ALL`]. Default as the OTLP specification says.
    pub paths: [String; Signal::ALL.len()],
    /// Content encodings that are taken, by their names in `Content-Encoding`; empty means all that are known.
    pub encodings: Vec<String>,
    /// Headers of every answer.
    pub response_headers: Vec<(String, String)>,
    /// Which browser pages may send (CORS). Default none.
    pub cors: Option<CorsConfig>,
    /// Time for the head of a request to arrive, also the time that a connection is kept without one. Default 60 s.
    pub head_timeout: Duration,
    /// Time for a body to arrive. Default 30 s.
    pub body_timeout: Duration,
    /// Whether a connection is kept for further requests. Default true.
    pub keep_alive: bool,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            paths: Signal::ALL.map(|signal| signal.http_path().to_owned()),
            encodings: Vec::new(),
            response_headers: Vec::new(),
            cors: None,
            head_timeout: limits::HTTP_HEAD_TIMEOUT,
            body_timeout: limits::BODY_TIMEOUT,
            keep_alive: true,
        }
    }
}

/// Cross-origin requests (the Collector's `cors`, WHATWG Fetch).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CorsConfig {
    /// Origins that may send, each with at most one `*` that stands for anything; `*` alone is every origin.
    pub allowed_origins: Vec<String>,
    /// Request headers besides the safelisted ones that may be sent; `*` is every header.
    pub allowed_headers: Vec<String>,
    /// Answer headers that a page may read.
    pub exposed_headers: Vec<String>,
    /// How long a browser may remember the answer to a preflight, in seconds; 0 leaves it to the browser.
    pub max_age_seconds: u32,
}

/// What a sender meets when the queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFull {
    /// `UNAVAILABLE` with `RetryInfo`, after a wait of at most [`limits::REFUSE_WAIT_MAX`].
    Refuse,
    /// Wait for room until the call's own deadline, at most [`limits::BLOCK_WAIT_MAX`]; then refuse
    /// (`block_on_overflow`).
    Block,
}

/// One place to forward to, with its own queue, batches, retries and outcome.
#[derive(Clone, Debug)]
pub struct UpstreamConfig {
    /// Name in stats and logs, unique, for example `otlp`.
    pub name: String,
    /// Whose requests go there. Default traces.
    pub signal: Signal,
    /// When a batch is full.
    pub batch: BatchLimits,
    /// How long an open batch waits for more (`batch.timeout`). Zero sends as soon as a call may start; what arrives
    /// meanwhile is still merged. Default zero.
    pub linger: Duration,
    /// Calls in flight, over all cores (`num_consumers`). Default 10.
    pub calls_max: usize,
    /// Bound on what is held for this upstream, besides the relay's own on bytes. Default none.
    pub queue: QueueLimit,
    /// What a sender meets when the queue is full. Default [`OnFull::Refuse`].
    pub on_full: OnFull,
    /// Answer a call when this upstream has settled it, not when it is queued (`wait_for_result`). Default false.
    pub wait_for_result: bool,
    /// Where.
    pub destination: Destination,
}

/// A bound on what is held for one upstream (`sending_queue.queue_size` in units of `sizer`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueLimit {
    /// Only the relay's byte budget bounds it.
    Unbounded,
    /// Requests as they were received.
    Requests(usize),
    /// Items.
    Items(usize),
    /// Bytes held.
    Bytes(usize),
}

impl UpstreamConfig {
    /// An OTLP/gRPC upstream with the defaults.
    pub fn grpc(name: impl Into<String>, endpoint: Endpoint) -> Self {
        Self::new(name, Destination::Grpc(GrpcConfig::new(endpoint)))
    }

    /// An upstream inside this process.
    pub fn sink(name: impl Into<String>, sink: Arc<dyn BatchSink>) -> Self {
        Self::new(name, Destination::Sink(sink))
    }

    fn new(name: impl Into<String>, destination: Destination) -> Self {
        Self {
            name: name.into(),
            signal: Signal::Traces,
            batch: BatchLimits {
                bytes_max: limits::UPSTREAM_MESSAGE_BYTES_MAX,
                items_max: u64::MAX,
                items_target: u64::MAX,
                inline_copy_bytes_max: limits::INLINE_COPY_BYTES_MAX,
            },
            linger: Duration::ZERO,
            calls_max: limits::UPSTREAM_CALLS_MAX,
            queue: QueueLimit::Unbounded,
            on_full: OnFull::Refuse,
            wait_for_result: false,
            destination,
        }
    }
}

/// Where batches go.
#[derive(Clone)]
pub enum Destination {
    /// An OTLP/gRPC server.
    Grpc(GrpcConfig),
    /// A function of this process.
    Sink(Arc<dyn BatchSink>),
}

impl std::fmt::Debug for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Grpc(config) => config.fmt(f),
            Self::Sink(_) => f.write_str("Sink"),
        }
    }
}

/// Takes batches inside the process: a printer, a test, an embedding service's own exporter.
pub trait BatchSink: Send + Sync {
    /// Takes `batch` and says what became of it. Called on a core's thread: it must not block for long, because that
    /// core receives nothing meanwhile.
    fn deliver(&self, batch: &Batch) -> Outcome;
}

/// An OTLP/gRPC server to forward to.
#[derive(Clone)]
pub struct GrpcConfig {
    /// Host and port. Plaintext HTTP/2.
    pub endpoint: Endpoint,
    /// Time for one attempt (`timeout`), sent as `grpc-timeout`. Default 5 s.
    pub timeout: Duration,
    /// Headers sent with every call (`headers`). Values may be secrets and are never printed.
    pub headers: Vec<(String, String)>,
    /// Compression of requests (`compression`), one that has a name in gRPC. Default none, unlike the Collector's gzip
    /// (`docs/decisions/0002`).
    pub compression: Compression,
    /// Retries (`retry_on_failure`).
    pub retry: RetryPolicy,
    /// What each call shows. Default nothing.
    pub auth: Option<Box<ClientAuth>>,
}

impl GrpcConfig {
    /// `endpoint` with the defaults.
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            timeout: limits::UPSTREAM_TIMEOUT,
            headers: Vec::new(),
            compression: Compression::None,
            retry: RetryPolicy::default(),
            auth: None,
        }
    }
}

impl std::fmt::Debug for GrpcConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("GrpcConfig")
            .field("endpoint", &self.endpoint)
            .field("timeout", &self.timeout)
            .field("headers", &names)
            .field("compression", &self.compression)
            .field("retry", &self.retry)
            .field("auth", &self.auth)
            .finish()
    }
}
