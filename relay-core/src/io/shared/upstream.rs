//! What the cores share of one upstream: how it is reached, its queue and budget, its books, and what it is known to refuse.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use super::super::addresses::Addresses;
use super::super::apart::Refusals;
use super::super::export::{Template, TemplateError};
use super::super::http_export::HttpTemplate;
use super::super::keyed::Tier;
use super::super::resolver::{Membership, Resolver};
use super::super::spill::Spool;
use super::super::tls::{ALPN_HTTP1, ALPN_HTTP2, TlsDialer, TlsError};
use super::super::turnstile::Turnstile;
use crate::batch::{Batch, Encoding, Ledger, Places};
use crate::config::{
    Acknowledge, BatchSink, Destination, GrpcConfig, HttpUpstreamConfig, Passthrough, QueueLimit,
    SpillConfig, UpstreamConfig,
};
use crate::limits;
use crate::queue::{Budget, Lanes, Pressure};
use crate::stats::{UpstreamCounters, UpstreamStats};
use crate::upstream::{Balancer, Table};

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
    Grpc(Box<(GrpcConfig, Template)>, Arc<Addresses>),
    Http(Box<(HttpUpstreamConfig, HttpTemplate)>, Arc<Addresses>),
    Keyed(Arc<Tier>),
    Sink(Arc<dyn BatchSink>),
}

impl RouteConfig {
    /// Where it leads; nowhere outside of this process for a sink.
    fn addresses(&self) -> Option<&Addresses> {
        match self {
            Self::Grpc(_, addresses) | Self::Http(_, addresses) => Some(addresses),
            Self::Keyed(_) | Self::Sink(_) => None,
        }
    }
}

impl std::fmt::Debug for RouteConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Grpc(grpc, _) => grpc.0.fmt(f),
            Self::Http(http, _) => http.0.fmt(f),
            Self::Keyed(tier) => tier.fmt(f),
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
    /// The disk behind it, if there is one; set before the cores start.
    spool: OnceLock<Arc<Spool>>,
    /// The books of what the disk has found and lost: of items, and of unopened requests.
    disk_ledgers: [Arc<Ledger>; 2],
    /// Bytes of memory that calls in flight hold. Counted where there is a disk.
    pub(crate) calls_bytes: AtomicUsize,
    /// One per core.
    pub(crate) counters: Vec<Arc<UpstreamCounters>>,
    /// What the upstream is known to take, in bytes: the configured bound, or what its addresses take if that is less.
    pub(crate) bytes_max: AtomicUsize,
    /// What it refuses for good, and from whom.
    pub(crate) refusals: Refusals,
    /// Where requests wait for room in it; set before the cores start.
    pub(crate) turnstiles: OnceLock<Vec<Arc<Turnstile>>>,
    /// How long it has been full.
    pub(crate) pressure: Pressure,
    /// Set when it was said that the upstream has no service for the signal: once is enough.
    pub(crate) said_unimplemented: AtomicBool,
}

impl UpstreamShared {
    /// For `cores` cores; may hold what its `budget` allows, and its queue's own limit; `resolver` says where it is.
    pub(crate) fn new(
        config: UpstreamConfig,
        cores: usize,
        budget: &Arc<Budget>,
        resolver: &mut Resolver,
    ) -> Result<Arc<Self>, UpstreamError> {
        let unopened = config.passthrough != Passthrough::Off;
        let route = match &config.destination {
            Destination::Grpc(grpc) => {
                let template = Template::new(grpc, config.signal, unopened)?;
                let addresses = Arc::new(Addresses::new(grpc.balancer, &grpc.endpoint, resolver));
                RouteConfig::Grpc(Box::new(((**grpc).clone(), template)), addresses)
            }
            Destination::Http(http) => {
                let template = HttpTemplate::new(http, |name| std::env::var(name).ok())?;
                let endpoint = template.endpoint(&http.url);
                let addresses = Arc::new(Addresses::new(Balancer::default(), &endpoint, resolver));
                RouteConfig::Http(Box::new(((**http).clone(), template)), addresses)
            }
            Destination::Keyed(keyed) => {
                // Its headers are right, so those of the members will be.
                Template::new(&keyed.grpc, config.signal, unopened)?;
                RouteConfig::Keyed(Tier::new(keyed, resolver))
            }
            Destination::Sink(sink) => RouteConfig::Sink(Arc::clone(sink)),
        };
        let (tls, proxy_tls) = tls_dialers(&config.name, &route)?;
        let members = match &route {
            RouteConfig::Keyed(tier) => tier.membership(),
            _ => route.addresses().map(Addresses::membership),
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
            refusals: Refusals::default(),
            spool: OnceLock::new(),
            disk_ledgers: Default::default(),
            calls_bytes: AtomicUsize::new(0),
            turnstiles: OnceLock::new(),
            pressure: Pressure::default(),
            said_unimplemented: AtomicBool::new(false),
            route,
            tls,
            proxy_tls,
            members,
            config,
        }))
    }

    /// Starts the disk behind it, if there is to be one.
    pub(crate) fn start_spool(self: &Arc<Self>) -> std::io::Result<()> {
        let Some(config) = &self.config.spill else { return Ok(()) };
        let of_spool = Arc::downgrade(self);
        let wake = move || {
            let Some(upstream) = of_spool.upgrade() else { return };
            (0..upstream.ledgers.len()).for_each(|core| upstream.lanes.wake(core));
            upstream.room_came();
        };
        // The group is the exporter: its name stays when a further pipeline gives its upstreams other ones.
        let about = (self.config.budget_group.as_str(), self.config.signal);
        let ledgers = self.disk_ledgers.clone();
        let spool = Spool::start(config, about, &self.budget, ledgers, Box::new(wake))?;
        self.spool.set(spool).ok();
        Ok(())
    }

    /// The disk behind it, if there is one.
    pub(crate) fn spool(&self) -> Option<&Arc<Spool>> {
        self.spool.get()
    }

    /// Whether a sender is answered when it is known what becomes of its request, not when that is queued.
    pub(crate) fn answers_late(&self) -> bool {
        let when_safe = |spill: &SpillConfig| spill.acknowledge == Acknowledge::WhenSafe;
        self.config.wait_for_result || self.config.spill.as_ref().is_some_and(when_safe)
    }

    /// Something that was held for it has gone: whoever waits for room may look again.
    pub(crate) fn room_came(&self) {
        self.turnstiles.get().into_iter().flatten().for_each(|turnstile| turnstile.room_came());
    }

    /// Takes over what its addresses are known to take now.
    pub(crate) fn learn_bytes_max(&self, table: &Table) {
        self.bytes_max.store(table.bytes_max().min(self.config.batch.bytes_max), Ordering::Relaxed);
    }

    /// Whether requests of `encoding` are forwarded to it unopened.
    pub(crate) fn passes(&self, encoding: Encoding) -> bool {
        let has_encoding = match &self.route {
            RouteConfig::Grpc(..) => encoding.grpc_name().is_some(),
            RouteConfig::Http(..) => true,
            RouteConfig::Keyed(_) | RouteConfig::Sink(_) => false,
        };
        self.config.passthrough != Passthrough::Off && has_encoding
    }

    /// Items that it has accepted, and unopened requests.
    pub(crate) fn delivered(&self) -> u64 {
        let ledgers = self.ledgers.iter().chain(&self.unopened_ledgers);
        ledgers.map(|ledger| ledger.counts().delivered).sum()
    }

    pub(super) fn stats(&self) -> UpstreamStats {
        let mut stats = UpstreamStats {
            name: self.config.name.clone(),
            signal: self.config.signal,
            queue_batches: self.lanes.len(),
            queue_batches_max: limits::QUEUE_BATCHES_MAX * self.ledgers.len(),
            held_bytes: self.budget.used(),
            suspects: self.refusals.suspects(),
            ..UpstreamStats::default()
        };
        self.ledgers.iter().for_each(|ledger| stats.items += ledger.counts());
        self.unopened_ledgers.iter().for_each(|ledger| stats.unopened += ledger.counts());
        let [of_items, of_unopened] = &self.disk_ledgers;
        stats.items += of_items.counts();
        stats.unopened += of_unopened.counts();
        stats.spill = self.spool().map(|spool| spool.stats());
        self.counters.iter().for_each(|counters| counters.add_to(&mut stats));
        stats.tls = self.tls.as_ref().map(TlsDialer::stats);
        stats.resolution = self.members.as_ref().and_then(Membership::stats);
        stats.addresses = self.route.addresses().map(Addresses::stats).unwrap_or_default();
        if let RouteConfig::Keyed(tier) = &self.route {
            stats.tier = Some(tier.stats());
            stats.addresses = tier.addresses();
        }
        stats
    }
}

/// What shakes hands with an upstream, and with the proxy on the way there.
fn tls_dialers(name: &str, route: &RouteConfig) -> Result<(Option<TlsDialer>, Option<TlsDialer>), TlsError> {
    let about = format!("upstream {name}");
    Ok(match route {
        RouteConfig::Grpc(grpc, _) => {
            let tls = grpc.0.tls.as_ref();
            (tls.map(|tls| TlsDialer::new(about, tls, &[ALPN_HTTP2])).transpose()?, None)
        }
        RouteConfig::Keyed(tier) => {
            let tls = tier.config().grpc.tls.as_ref();
            (tls.map(|tls| TlsDialer::new(about, tls, &[ALPN_HTTP2])).transpose()?, None)
        }
        RouteConfig::Http(http, _) => {
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
