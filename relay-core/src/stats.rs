//! What a relay has done and holds: a snapshot to read, and the per-core counters behind it. Nothing here decides.

use crate::batch::LedgerCounts;
use crate::otlp::Signal;

mod counters;
mod names;
mod spill;
mod sum;

pub(crate) use counters::{Counter, ReceiverCounters, TlsCounters, UpstreamCounters};

pub use names::{ResolutionStats, TierStats};
pub use spill::{SYNC_BOUNDS_MICROS, SpillStats};

/// Why a request was answered with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RejectReason {
    /// The connection or the body ended before the body was whole.
    BodyCutOff,
    /// The call's body took longer than the bound.
    BodyTimeout,
    /// A content type that is not OTLP/HTTP's.
    ContentType,
    /// Not encoded as it says: gzip, zstd and so on.
    Decompress,
    /// The gRPC message prefix or its length is wrong.
    GrpcMessage,
    /// Not an export request of its signal.
    Malformed,
    /// The byte budget is used up.
    MemoryFull,
    /// A method other than POST, over OTLP/HTTP.
    Method,
    /// Not gRPC (content type or method).
    NotGrpc,
    /// The queue of an upstream is full.
    QueueFull,
    /// Larger than the receiver's limit, before or after decompression.
    TooLarge,
    /// Credentials are missing or wrong.
    Unauthenticated,
    /// A path that is not served.
    UnknownPath,
    /// A `grpc-encoding` that is not supported.
    UnsupportedEncoding,
    /// The upstream refused it, and the sender had asked to wait for the result.
    Upstream,
}

impl RejectReason {
    /// All reasons, in the order of their names.
    pub const ALL: [Self; 15] = [
        Self::BodyCutOff,
        Self::BodyTimeout,
        Self::ContentType,
        Self::Decompress,
        Self::GrpcMessage,
        Self::Malformed,
        Self::MemoryFull,
        Self::Method,
        Self::NotGrpc,
        Self::QueueFull,
        Self::TooLarge,
        Self::Unauthenticated,
        Self::UnknownPath,
        Self::UnsupportedEncoding,
        Self::Upstream,
    ];

    /// The name in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::BodyTimeout => "body_timeout",
            Self::Method => "method",
            Self::ContentType => "content_type",
            Self::BodyCutOff => "body_cut_off",
            Self::Decompress => "decompress",
            Self::GrpcMessage => "grpc_message",
            Self::Malformed => "malformed",
            Self::MemoryFull => "memory_full",
            Self::NotGrpc => "not_grpc",
            Self::QueueFull => "queue_full",
            Self::TooLarge => "too_large",
            Self::Unauthenticated => "unauthenticated",
            Self::UnknownPath => "unknown_path",
            Self::UnsupportedEncoding => "unsupported_encoding",
            Self::Upstream => "upstream",
        }
    }
}

/// A relay at one moment.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Receivers, in the order they were added, one for each of their transports; the last one counts [`crate::RelayHandle::submit`].
    pub receivers: Vec<ReceiverStats>,
    /// Upstreams, in the order they were added.
    pub upstreams: Vec<UpstreamStats>,
    /// Bytes held, of all upstreams and of requests being read.
    pub held_bytes: usize,
    /// The bound on held bytes.
    pub held_bytes_max: usize,
    /// Open connections of senders.
    pub connections: usize,
    /// For each core why it has died, if it has: it takes nothing and sends nothing any more.
    pub deaths: Vec<Option<String>>,
    /// Connections of senders that ended by a panic of ours.
    pub connection_panics: u64,
}

/// How requests reach a receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// OTLP/gRPC.
    #[default]
    Grpc,
    /// OTLP/HTTP.
    Http,
    /// [`crate::RelayHandle::submit`].
    Submit,
}

impl Transport {
    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http",
            Self::Submit => "submit",
        }
    }
}

/// What a receiver did with the requests of one signal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SignalStats {
    /// Items acknowledged.
    pub accepted_items: u64,
    /// Items of well-formed requests that were answered with an error.
    pub refused_items: u64,
    /// Requests acknowledged.
    pub accepted_requests: u64,
    /// Of those, requests that were never opened: their items are not counted.
    pub accepted_unopened: u64,
    /// Requests that were never opened and answered with an error.
    pub refused_unopened: u64,
}

/// Whose items a request has, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) signal: Signal,
    pub(crate) items: u64,
    /// 1 for a request that was never opened.
    pub(crate) unopened: u64,
}

/// One transport of one receiver.
#[derive(Clone, Debug, Default)]
pub struct ReceiverStats {
    /// The receiver's name.
    pub name: String,
    /// The transport.
    pub transport: Transport,
    /// In the order of [`Signal::ALL`].
    pub signals: [SignalStats; Signal::ALL.len()],
    /// Requests answered with an error, in the order of [`RejectReason::ALL`].
    pub rejected_requests: [u64; RejectReason::ALL.len()],
    /// Connections accepted.
    pub connections: u64,
    /// Its TLS, if it speaks that; of a receiver with both transports only with the first, because a handshake comes before either.
    pub tls: Option<TlsStats>,
}

impl ReceiverStats {
    /// What it did with requests of `signal`.
    pub fn of(&self, signal: Signal) -> SignalStats {
        self.signals.get(signal as usize).copied().unwrap_or_default()
    }

    /// Items acknowledged, of all signals.
    pub fn accepted_items(&self) -> u64 {
        self.signals.iter().map(|signal| signal.accepted_items).sum()
    }

    /// Items of well-formed requests that were answered with an error, of all signals.
    pub fn refused_items(&self) -> u64 {
        self.signals.iter().map(|signal| signal.refused_items).sum()
    }

    /// Requests acknowledged, of all signals.
    pub fn accepted_requests(&self) -> u64 {
        self.signals.iter().map(|signal| signal.accepted_requests).sum()
    }
}

/// One upstream.
#[derive(Clone, Debug, Default)]
pub struct UpstreamStats {
    /// Its name.
    pub name: String,
    /// Whose requests go there.
    pub signal: Signal,
    /// The books, in items: enqueued = delivered + held + dropped.
    pub items: LedgerCounts,
    /// The books of requests that are forwarded unopened, in requests.
    pub unopened: LedgerCounts,
    /// Items of requests that were refused because its queue was full.
    pub enqueue_failed_items: u64,
    /// Unopened requests that were refused because its queue was full.
    pub enqueue_failed_unopened: u64,
    /// Sealed batches waiting.
    pub queue_batches: usize,
    /// Sealed batches that may wait.
    pub queue_batches_max: usize,
    /// Bytes held for it.
    pub held_bytes: usize,
    /// Calls in flight.
    pub calls: u64,
    /// Attempts that ended, also those that failed.
    pub attempts: u64,
    /// Attempts that will be, or were, repeated.
    pub retries: u64,
    /// Attempts that isolated what the upstream refuses for good, or carried what suspects had sent.
    pub isolating_calls: u64,
    /// Requests that were refused for good alone: what isolating has found.
    pub isolated_requests: u64,
    /// Connections whose requests are kept apart from those of others now, because the upstream has refused such a request.
    pub suspects: usize,
    /// Calls that ended by a panic (of a [`crate::config::BatchSink`], or of ours); what they held is dropped as aborted.
    pub call_panics: u64,
    /// Connections made.
    pub connects: u64,
    /// Its addresses as they are known now, sorted; none for a sink, and while the name is not known. What an address has counted is
    /// gone when it leaves.
    pub addresses: Vec<AddressStats>,
    /// Batches sealed because they were full (`batch_size_trigger_send`).
    pub size_triggers: u64,
    /// Batches sealed because the linger was over (`timeout_trigger_send`).
    pub timeout_triggers: u64,
    /// Sum of the items of sealed batches.
    pub batch_items: u64,
    /// Sum of the bytes of sealed batches.
    pub batch_bytes: u64,
    /// TLS with it, if that is spoken.
    pub tls: Option<TlsStats>,
    /// Its members, if it shares spans out among several by a key.
    pub tier: Option<TierStats>,
    /// How its name is looked up, if it has one.
    pub resolution: Option<ResolutionStats>,
    /// The disk behind it, if there is one.
    pub spill: Option<SpillStats>,
}

/// TLS of one receiver or upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TlsStats {
    /// Handshakes that failed.
    pub handshake_failures: u64,
    /// Looks at changed certificate files that could not be taken into use; the old ones stay.
    pub reload_failures: u64,
    /// When our own certificate ends, in seconds since 1970; `None` without one.
    pub not_after_unix_seconds: Option<u64>,
}

/// One address of an upstream, over all cores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressStats {
    /// `ip:port`, or the unix socket.
    pub address: String,
    /// Whether it is used; false after a failure, until there is a connection to it again.
    pub is_up: bool,
    /// Calls in flight.
    pub calls: u64,
    /// Calls that were answered, with whatever status.
    pub answered: u64,
    /// Times that it went down: no connection, or no answer.
    pub failures: u64,
    /// The largest message that it is known to take, in bytes; `None` while it has refused none for its size.
    pub bytes_max: Option<usize>,
}
