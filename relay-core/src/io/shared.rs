//! What the cores share: configuration, queues, budgets, counters, and the way to hand work to another core.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::HeaderMap;
use tokio::sync::{Notify, mpsc, oneshot};

use super::auth::Gate;
use super::export::{Template, TemplateError};
use super::http_export::HttpTemplate;
use super::listening::WeakListening;
use super::resolver::{Membership, Resolver};
use super::socket::DetachedSocket;
use super::tls::{ALPN_HTTP1, ALPN_HTTP2, TlsDialer, TlsError, TlsServer};
use super::transcode::Transcoder;
use crate::batch::{Batch, Encoding, Ledger, Places, ReceiptSender};
use crate::config::{
    BatchSink, Destination, GrpcConfig, HttpUpstreamConfig, ListenAddress, Passthrough, QueueLimit,
    ReceiverConfig, UpstreamConfig,
};
use crate::limits;
use crate::otlp::{FramedRequest, Signal};
use crate::queue::{Budget, Lanes};
use crate::stats::{ReceiverCounters, ReceiverStats, Stats, Transport, UpstreamCounters, UpstreamStats};

/// Work for a core.
#[derive(Debug)]
pub(crate) enum Command {
    /// A connection that the acceptor hands over, for the receiver of this number.
    Connection(DetachedSocket, usize),
    /// A request of the embedding service, with one receipt per upstream.
    Submit(FramedRequest, Vec<ReceiptSender>),
    /// Stop receiving, send what is held, be done at this time.
    Drain(std::time::Instant, oneshot::Sender<()>),
}

/// Everything that several threads see.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) budget: Arc<Budget>,
    pub(crate) receivers: Vec<ReceiverShared>,
    pub(crate) upstreams: Vec<Arc<UpstreamShared>>,
    pub(crate) cores: Vec<CoreShared>,
    /// How long a core may let wake-ups gather.
    pub(crate) gather_pause: std::time::Duration,
    /// What complete requests hold that wait for room.
    pub(crate) waiting: Arc<Budget>,
    /// Requests handed in by the embedding service.
    pub(crate) submitted: ReceiverCounters,
    /// Reads JSON off the cores; there when a receiver speaks OTLP/HTTP.
    pub(crate) transcoder: Option<Transcoder>,
    /// Set when the drain begins: acceptors stop, connections say GOAWAY.
    pub(crate) draining: AtomicBool,
}

#[derive(Debug)]
pub(crate) struct CoreShared {
    pub(crate) inbox: mpsc::Sender<Command>,
    pub(crate) connections: AtomicUsize,
}

#[derive(Debug)]
pub(crate) struct ReceiverShared {
    pub(crate) config: ReceiverConfig,
    /// What it asks for, if it asks.
    pub(crate) gate: Option<Gate>,
    pub(crate) address: ListenAddress,
    /// While it is accepted from.
    pub(crate) socket: WeakListening,
    pub(crate) tls: Option<TlsServer>,
    /// Added to every answer over HTTP.
    pub(crate) answer_headers: HeaderMap,
    /// Numbers of the upstreams that it feeds, for each signal; none for a signal that is not served.
    pub(crate) routes: [Vec<usize>; Signal::ALL.len()],
    /// One for each transport, on each core.
    pub(crate) counters: Vec<[ReceiverCounters; 2]>,
}

impl ReceiverShared {
    /// Where requests of `signal` go; nowhere if it is not served.
    pub(crate) fn routes(&self, signal: Signal) -> &[usize] {
        self.routes.get(signal as usize).map_or(&[], |routes| routes)
    }

    /// All upstreams that it feeds.
    pub(crate) fn all_routes(&self) -> impl Iterator<Item = usize> {
        self.routes.iter().flatten().copied()
    }

    fn stats(&self, transport: Transport) -> ReceiverStats {
        let mut stats =
            ReceiverStats { name: self.config.name.clone(), transport, ..ReceiverStats::default() };
        let counters = self.counters.iter().filter_map(|of_core| of_core.get(transport as usize));
        counters.for_each(|counters| counters.add_to(&mut stats));
        stats
    }
}

/// Why an upstream cannot be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamError {
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A destination whose headers were found valid.
#[derive(Clone)]
pub(crate) enum RouteConfig {
    Grpc(Box<(GrpcConfig, Template)>),
    Http(Box<(HttpUpstreamConfig, HttpTemplate)>),
    Sink(Arc<dyn BatchSink>),
}

impl std::fmt::Debug for RouteConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Grpc(grpc) => grpc.0.fmt(f),
            Self::Http(http) => http.0.fmt(f),
            Self::Sink(_) => f.write_str("Sink"),
        }
    }
}

#[derive(Debug)]
pub(crate) struct UpstreamShared {
    pub(crate) config: UpstreamConfig,
    pub(crate) route: RouteConfig,
    pub(crate) tls: Option<TlsDialer>,
    /// Where TLS is spoken to the proxy on the way.
    pub(crate) proxy_tls: Option<TlsDialer>,
    /// The addresses to connect to, of the proxy if there is one; none of a sink.
    pub(crate) members: Option<Membership>,
    pub(crate) lanes: Lanes<Batch>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) places: Option<Places>,
    /// One per core.
    pub(crate) ledgers: Vec<Arc<Ledger>>,
    /// The books of unopened requests, in requests; one per core.
    pub(crate) unopened_ledgers: Vec<Arc<Ledger>>,
    /// One per core.
    pub(crate) counters: Vec<Arc<UpstreamCounters>>,
    /// What the upstream is known to take, in bytes: the configured bound until it refuses a smaller message.
    pub(crate) bytes_max: AtomicUsize,
    /// Told whenever something held has gone: senders that block on a full queue look again.
    pub(crate) room: Notify,
    /// Set when it was said that the upstream has no service for the signal: once is enough.
    pub(crate) said_unimplemented: AtomicBool,
}

impl UpstreamShared {
    /// For `cores` cores; may hold what its `budget` allows, and its queue's own limit.
    pub(crate) fn new(
        config: UpstreamConfig,
        cores: usize,
        budget: &Arc<Budget>,
        resolver: &mut Resolver,
    ) -> Result<Arc<Self>, UpstreamError> {
        let unopened = config.passthrough != Passthrough::Off;
        let route = match &config.destination {
            Destination::Grpc(grpc) => {
                RouteConfig::Grpc(Box::new((grpc.clone(), Template::new(grpc, config.signal, unopened)?)))
            }
            Destination::Http(http) => {
                let template = HttpTemplate::new(http, |name| std::env::var(name).ok())?;
                RouteConfig::Http(Box::new(((**http).clone(), template)))
            }
            Destination::Sink(sink) => RouteConfig::Sink(Arc::clone(sink)),
        };
        let (tls, proxy_tls) = tls_dialers(&config.name, &route)?;
        let members = match &route {
            RouteConfig::Grpc(grpc) => Some(resolver.watch(&grpc.0.endpoint)),
            RouteConfig::Http(http) => Some(resolver.watch(&http.1.endpoint(&http.0.url))),
            RouteConfig::Sink(_) => None,
        };
        let bytes_max = match config.queue {
            QueueLimit::Bytes(bytes_max) => bytes_max.min(budget.units_max()),
            _ => budget.units_max(),
        };
        let places = match config.queue {
            QueueLimit::Requests(max) => Some(Places { budget: Budget::new(max), in_items: false }),
            QueueLimit::Items(max) => Some(Places { budget: Budget::new(max), in_items: true }),
            QueueLimit::Unbounded | QueueLimit::Bytes(_) => None,
        };
        Ok(Arc::new(Self {
            lanes: Lanes::new(cores, limits::QUEUE_BATCHES_MAX),
            budget: Budget::child(budget, bytes_max),
            places,
            ledgers: (0..cores).map(|_| Arc::default()).collect(),
            unopened_ledgers: (0..cores).map(|_| Arc::default()).collect(),
            counters: (0..cores).map(|_| Arc::default()).collect(),
            bytes_max: AtomicUsize::new(config.batch.bytes_max),
            room: Notify::new(),
            said_unimplemented: AtomicBool::new(false),
            route,
            tls,
            proxy_tls,
            members,
            config,
        }))
    }

    /// Whether requests of `encoding` are forwarded to it unopened.
    pub(crate) fn passes(&self, encoding: Encoding) -> bool {
        let has_encoding = match &self.route {
            RouteConfig::Grpc(_) => encoding.grpc_name().is_some(),
            RouteConfig::Http(_) => true,
            RouteConfig::Sink(_) => false,
        };
        self.config.passthrough != Passthrough::Off && has_encoding
    }

    fn stats(&self) -> UpstreamStats {
        let mut stats = UpstreamStats {
            name: self.config.name.clone(),
            signal: self.config.signal,
            queue_batches: self.lanes.len(),
            queue_batches_max: limits::QUEUE_BATCHES_MAX * self.ledgers.len(),
            held_bytes: self.budget.used(),
            ..UpstreamStats::default()
        };
        self.ledgers.iter().for_each(|ledger| stats.items += ledger.counts());
        self.unopened_ledgers.iter().for_each(|ledger| stats.unopened += ledger.counts());
        self.counters.iter().for_each(|counters| counters.add_to(&mut stats));
        stats.tls = self.tls.as_ref().map(TlsDialer::stats);
        stats.resolution = self.members.as_ref().and_then(Membership::stats);
        stats
    }
}

/// What shakes hands with an upstream, and with the proxy on the way there.
fn tls_dialers(name: &str, route: &RouteConfig) -> Result<(Option<TlsDialer>, Option<TlsDialer>), TlsError> {
    let about = format!("upstream {name}");
    Ok(match route {
        RouteConfig::Grpc(grpc) => {
            let tls = grpc.0.tls.as_ref();
            (tls.map(|tls| TlsDialer::new(about, tls, &[ALPN_HTTP2])).transpose()?, None)
        }
        RouteConfig::Http(http) => {
            let (config, template) = &**http;
            let connections = &config.connections;
            // A connection that is closed after one call has nothing to share.
            let http2 = connections.http2 && connections.keep_alive;
            let alpn: &[&[u8]] = if http2 { &[ALPN_HTTP2, ALPN_HTTP1] } else { &[ALPN_HTTP1] };
            let dialer = |about, alpn| TlsDialer::new(about, &config.tls, alpn);
            let proxy = format!("proxy of {about}");
            (
                config.url.tls.then(|| dialer(about, alpn)).transpose()?,
                template.is_proxy_tls().then(|| dialer(proxy, &[ALPN_HTTP1])).transpose()?,
            )
        }
        RouteConfig::Sink(_) => (None, None),
    })
}

impl Shared {
    /// The core with the fewest connections.
    pub(crate) fn least_loaded(&self) -> usize {
        let loads = self.cores.iter().map(|core| core.connections.load(Ordering::Relaxed));
        loads.enumerate().min_by_key(|(_, load)| *load).map_or(0, |(core, _)| core)
    }

    pub(crate) fn connections(&self) -> usize {
        self.cores.iter().map(|core| core.connections.load(Ordering::Relaxed)).sum()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    pub(crate) fn stats(&self) -> Stats {
        let receivers = self.receivers.iter().flat_map(|receiver| {
            let grpc = receiver.config.grpc.then(|| receiver.stats(Transport::Grpc));
            let http = receiver.config.http.is_some().then(|| receiver.stats(Transport::Http));
            let mut stats: Vec<ReceiverStats> = grpc.into_iter().chain(http).collect();
            // A handshake comes before it is known what will be spoken: shown with the first.
            if let Some(first) = stats.first_mut() {
                first.tls = receiver.tls.as_ref().map(TlsServer::stats);
            }
            stats
        });
        let mut submitted = ReceiverStats {
            name: "submit".to_owned(),
            transport: Transport::Submit,
            ..ReceiverStats::default()
        };
        self.submitted.add_to(&mut submitted);
        Stats {
            receivers: receivers.chain([submitted]).collect(),
            upstreams: self.upstreams.iter().map(|upstream| upstream.stats()).collect(),
            held_bytes: self.budget.used(),
            held_bytes_max: self.budget.units_max(),
            connections: self.connections(),
        }
    }
}
