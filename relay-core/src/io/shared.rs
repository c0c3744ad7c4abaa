//! What the cores share: configuration, queues, budgets, counters, and the way to hand work to another core.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use http::HeaderMap;
use tokio::sync::{mpsc, oneshot};

use super::auth::Gate;
use super::listening::{ListeningSocket, WeakListening};
use super::origins::Origins;
use super::socket::DetachedSocket;
use super::tls::TlsServer;
use super::transcode::Transcoder;
use super::turnstile::Turnstile;
use crate::batch::ReceiptSender;
use crate::config::{ListenAddress, ReceiverConfig};
use crate::otlp::{FramedRequest, Signal};
use crate::queue::Budget;
use crate::stats::{Counter, ReceiverCounters, ReceiverStats, Stats, Transport};

mod upstream;

pub(crate) use upstream::{RouteConfig, UpstreamError, UpstreamShared};

/// Work for a core.
#[derive(Debug)]
pub(crate) enum Command {
    /// A connection that the acceptor hands over, for the receiver of this number.
    Connection(DetachedSocket, usize),
    /// A request of the embedding service, with one receipt per upstream.
    Submit(FramedRequest, Vec<ReceiptSender>),
    /// Accept for all: the core that did has died. One for each receiver.
    Accept(Vec<ListeningSocket>),
    /// Accept what the kernel has completed, close the listeners, say so.
    StopAccepting(oneshot::Sender<()>),
    /// Stop receiving, send what is held, be done at this time.
    Drain(Instant, oneshot::Sender<()>),
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
    /// What requests hold that wait for room, and bodies that wait for memory.
    pub(crate) waiting: Arc<Budget>,
    /// Where bodies that are not complete wait for memory.
    pub(crate) bodies: Arc<Turnstile>,
    /// When the relay started.
    pub(crate) started: Instant,
    /// Requests handed in by the embedding service.
    pub(crate) submitted: ReceiverCounters,
    /// Reads JSON off the cores; there when a receiver speaks OTLP/HTTP.
    pub(crate) transcoder: Option<Transcoder>,
    /// Who the senders are.
    pub(crate) origins: Arc<Origins>,
    /// The core that accepts for all.
    pub(crate) acceptor: AtomicUsize,
    /// The listening sockets again, for when that core dies; empty from the beginning of the drain.
    pub(crate) spare_listeners: Mutex<Vec<ListeningSocket>>,
    /// Listeners that are accepted from.
    pub(crate) accepting: AtomicUsize,
    /// Set when the drain begins: acceptors stop, connections say GOAWAY.
    pub(crate) draining: AtomicBool,
}

#[derive(Debug)]
pub(crate) struct CoreShared {
    pub(crate) inbox: mpsc::Sender<Command>,
    pub(crate) connections: AtomicUsize,
    /// Why it has died, if it has.
    pub(crate) death: OnceLock<String>,
    /// Connections that ended by a panic.
    pub(crate) panics: Counter,
}

impl CoreShared {
    pub(crate) fn new(inbox: mpsc::Sender<Command>) -> Self {
        Self { inbox, connections: AtomicUsize::new(0), death: OnceLock::new(), panics: Counter::default() }
    }
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
    /// Where requests of each signal wait for room, shared with all receivers that feed the same upstreams.
    pub(crate) turnstiles: [Arc<Turnstile>; Signal::ALL.len()],
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

impl Shared {
    /// The numbers of the cores that have not died.
    pub(crate) fn living(&self) -> impl Iterator<Item = usize> {
        self.living_cores().map(|(number, _)| number)
    }

    fn living_cores(&self) -> impl Iterator<Item = (usize, &CoreShared)> {
        self.cores.iter().enumerate().filter(|(_, core)| core.death.get().is_none())
    }

    /// The living core with the fewest connections.
    pub(crate) fn least_loaded(&self) -> Option<(usize, &CoreShared)> {
        self.living_cores().min_by_key(|(_, core)| core.connections.load(Ordering::Relaxed))
    }

    pub(crate) fn connections(&self) -> usize {
        // What a dead core had was closed with it.
        self.living_cores().map(|(_, core)| core.connections.load(Ordering::Relaxed)).sum()
    }

    pub(crate) fn spare_listeners(&self) -> MutexGuard<'_, Vec<ListeningSocket>> {
        self.spare_listeners.lock().unwrap_or_else(PoisonError::into_inner)
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
            deaths: self.cores.iter().map(|core| core.death.get().cloned()).collect(),
            connection_panics: self.cores.iter().map(|core| core.panics.get()).sum(),
        }
    }
}
