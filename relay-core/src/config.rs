//! What an embedding service says: where to receive, where to forward, under which bounds. Plain data; every default is
//! the one that the OpenTelemetry Collector's users know, unless the field says otherwise.

mod auth;
mod compression;
mod http_upstream;
mod listen;
mod spill;
mod tls;

use std::sync::Arc;
use std::time::Duration;

pub use listen::ListenAddress;
pub use spill::{Acknowledge, SpillConfig, WhenFull};
pub use tls::{PemSource, TlsClientConfig, TlsIdentity, TlsServerConfig, TlsVersion};

use crate::batch::{Batch, BatchLimits};
use crate::edit::RoutingKey;
use crate::limits;
use crate::otlp::Signal;
use crate::upstream::{Balancer, Endpoint, Outcome, RetryPolicy};

pub use auth::{BearerAuth, ClientAuth, Secret, SecretSource, ServerAuth, TokenSource, UserSource};
pub use compression::{Compression, CompressionError};
pub use http_upstream::{ForwardProxy, HttpConnections, HttpUpstreamConfig, HttpUrl, HttpUrlError, Proxy};
pub(crate) use http_upstream::{bracketed, port};

/// An OTLP listener.
#[derive(Clone, Debug)]
pub struct ReceiverConfig {
    /// Name in stats and logs, for example `otlp`.
    pub name: String,
    /// Address to listen on. TCP port 0 takes a free one; see [`crate::RelayHandle::listening_on`].
    pub listen: ListenAddress,
    /// TLS that every sender must speak. Default none: plaintext.
    pub tls: Option<TlsServerConfig>,
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
    /// Age after which a gRPC connection is asked to go (GOAWAY), so that clients spread anew. Default never.
    pub connection_age_max: Option<Duration>,
    /// Time that its calls then have before it is closed (`max_connection_age_grace`). Default any.
    pub connection_age_grace: Option<Duration>,
    /// Time without a call after which a gRPC connection is asked to go (`max_connection_idle`). Default any.
    pub connection_idle_max: Option<Duration>,
    /// What a request must show. Default nothing: everybody may send.
    pub auth: Option<ServerAuth>,
}

impl ReceiverConfig {
    /// A receiver on `listen` with the defaults.
    pub fn new(name: impl Into<String>, listen: impl Into<ListenAddress>) -> Self {
        Self {
            name: name.into(),
            listen: listen.into(),
            tls: None,
            upstreams: Vec::new(),
            grpc: true,
            http: None,
            message_bytes_max: limits::RECEIVE_MESSAGE_BYTES_MAX,
            streams_max: limits::STREAMS_PER_CONNECTION_MAX,
            connection_age_max: None,
            connection_age_grace: None,
            connection_idle_max: None,
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
    /// Upstreams with the same group have one share of the byte budget together: those of one exporter for several signals. What they
    /// have on disk is named after it, and found again by it. Default the name.
    pub budget_group: String,
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
    /// Whether requests that come compressed are forwarded unopened. Default no.
    pub passthrough: Passthrough,
    /// Answer a call when this upstream has settled it, not when it is queued (`wait_for_result`). Default false.
    pub wait_for_result: bool,
    /// What goes to disk when it is not delivered soon enough. Default nothing. Not for the members of a tier.
    pub spill: Option<SpillConfig>,
    /// Where.
    pub destination: Destination,
}

/// Whether a request that came compressed is forwarded as it came, where all upstreams that it goes to allow it and the protocol to
/// them has its encoding. Nobody knows then what is in it: its items are not counted (requests are), its size after decompression is
/// not bounded by the receiver, and a malformed one is found by the upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Passthrough {
    /// Everything is opened.
    #[default]
    Off,
    /// Each goes alone.
    Alone,
    /// gzip members and zstd frames are put one behind the other, as both formats allow. **Only for upstreams that read all of them**:
    /// Go's gzip reader does (the Collector, Jaeger); a tonic-based server reads the first member, answers OK, and loses the rest.
    Merged,
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
        Self::new(name, Destination::Grpc(Box::new(GrpcConfig::new(endpoint))))
    }

    /// An OTLP/HTTP upstream with the defaults.
    pub fn http(name: impl Into<String>, url: HttpUrl) -> Self {
        Self::new(name, Destination::Http(Box::new(HttpUpstreamConfig::new(url))))
    }

    /// An upstream inside this process.
    pub fn sink(name: impl Into<String>, sink: Arc<dyn BatchSink>) -> Self {
        Self::new(name, Destination::Sink(sink))
    }

    fn new(name: impl Into<String>, destination: Destination) -> Self {
        let name = name.into();
        Self {
            budget_group: name.clone(),
            name,
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
            passthrough: Passthrough::Off,
            wait_for_result: false,
            spill: None,
            destination,
        }
    }
}

/// Where batches go.
#[derive(Clone)]
pub enum Destination {
    /// An OTLP/gRPC server.
    Grpc(Box<GrpcConfig>),
    /// An OTLP/HTTP server.
    Http(Box<HttpUpstreamConfig>),
    /// The members of a tier, each of which gets all spans of a trace or service.
    Keyed(Box<KeyedConfig>),
    /// A function of this process.
    Sink(Arc<dyn BatchSink>),
}

impl std::fmt::Debug for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Grpc(config) => config.fmt(f),
            Self::Http(config) => config.fmt(f),
            Self::Keyed(config) => config.fmt(f),
            Self::Sink(_) => f.write_str("Sink"),
        }
    }
}

/// OTLP/gRPC servers among which spans are shared out by a consistent hash ring, the Collector's (`load_balancing`). For traces; a
/// batch is sorted when it is sent, so nothing is bound to a member that has gone. What a member does not take waits for it, or for
/// the ring to change.
#[derive(Clone, Debug)]
pub struct KeyedConfig {
    /// How each member is spoken to; its endpoint is not used.
    pub grpc: GrpcConfig,
    /// What is kept together. Default the spans of a trace.
    pub key: RoutingKey,
    /// Who they are.
    pub members: Members,
}

/// Who the members of a tier are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Members {
    /// Those of a list: by what name each stands on the ring, and where it is.
    Static(Vec<(String, Endpoint)>),
    /// The addresses of a name.
    Dns {
        /// The name.
        host: String,
        /// The port of every member; without one it is 4317, and the ring knows members by their addresses alone.
        port: Option<u16>,
        /// Between two lookups. The Collector's default is 5 s.
        interval: Duration,
        /// For one lookup. The Collector's default is 1 s.
        timeout: Duration,
    },
}

/// Takes batches inside the process: a printer, a test, an embedding service's own exporter.
pub trait BatchSink: Send + Sync {
    /// Takes `batch` and says what became of it. Called on a core's thread: it must not block for long, because that
    /// core receives nothing meanwhile. If it panics, the batch is dropped as aborted, and the core goes on. Slices that it keeps of
    /// a request that several upstreams share count as held until it lets go of them.
    fn deliver(&self, batch: &Batch) -> Outcome;
}

/// An OTLP/gRPC server to forward to.
#[derive(Clone)]
pub struct GrpcConfig {
    /// Host and port, or a unix socket.
    pub endpoint: Endpoint,
    /// TLS. Default none: plaintext.
    pub tls: Option<Box<TlsClientConfig>>,
    /// Time for one attempt (`timeout`), sent as `grpc-timeout`. Default 5 s.
    pub timeout: Duration,
    /// Headers sent with every call (`headers`). Values may be secrets and are never printed.
    pub headers: Vec<(String, String)>,
    /// `:authority`, instead of the endpoint's; where the server's certificate has another name than that, say so in `tls`.
    pub authority: Option<String>,
    /// `user-agent`, instead of this crate's.
    pub user_agent: Option<String>,
    /// Compression of requests (`compression`), one that has a name in gRPC. Default none, unlike the Collector's gzip
    /// (`docs/decisions/0002`).
    pub compression: Compression,
    /// Retries (`retry_on_failure`).
    pub retry: RetryPolicy,
    /// What each call shows. Default nothing.
    pub auth: Option<Box<ClientAuth>>,
    /// How one of the endpoint's addresses is chosen (`balancer_name`). Default the less busy of two.
    pub balancer: Balancer,
    /// Age at which a connection is replaced, up to a fifth less. Default [`limits::CONNECTION_AGE_MAX`].
    pub connection_age_max: Duration,
}

impl GrpcConfig {
    /// `endpoint` with the defaults.
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            tls: None,
            timeout: limits::UPSTREAM_TIMEOUT,
            headers: Vec::new(),
            authority: None,
            user_agent: None,
            compression: Compression::None,
            retry: RetryPolicy::default(),
            auth: None,
            balancer: Balancer::default(),
            connection_age_max: limits::CONNECTION_AGE_MAX,
        }
    }
}

impl std::fmt::Debug for GrpcConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("GrpcConfig")
            .field("endpoint", &self.endpoint)
            .field("tls", &self.tls)
            .field("timeout", &self.timeout)
            .field("headers", &names)
            .field("compression", &self.compression)
            .field("retry", &self.retry)
            .field("auth", &self.auth)
            .field("balancer", &self.balancer)
            .field("connection_age_max", &self.connection_age_max)
            .finish()
    }
}
