//! The relay as an embedding service uses it: build, start, submit, read stats, drain.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::HeaderMap;
use tokio::sync::mpsc;

use crate::config::{Destination, ListenAddress, ReceiverConfig, UpstreamConfig};
use crate::io::auth::Gate;
use crate::io::core_thread::{self};
use crate::io::http::configured_headers;
use crate::io::listening::ListeningSocket;
use crate::io::origins::Origins;
use crate::io::resolver::{Resolve, Resolver, SystemResolver};
use crate::io::shared::{CoreShared, ReceiverShared, Shared, UpstreamError, UpstreamShared};
use crate::io::tls::TlsServer;
use crate::io::transcode::Transcoder;
use crate::io::turnstile::{Turnstile, Turnstiles};
use crate::io::{affinity, clock};
use crate::limits;
use crate::otlp::Signal;
use crate::queue::Budget;
use crate::stats::ReceiverCounters;

mod error;
mod handle;

pub use error::{StartError, SubmitError};
pub use handle::{RelayHandle, StatsReader};

/// Namespace of [`Relay::builder`].
#[derive(Debug)]
pub struct Relay;

impl Relay {
    /// Starts to describe a relay.
    pub fn builder() -> RelayBuilder {
        RelayBuilder::default()
    }
}

/// Describes a relay; see [`RelayBuilder::start`].
#[derive(Debug)]
pub struct RelayBuilder {
    receivers: Vec<(ReceiverConfig, Option<ListeningSocket>)>,
    upstreams: Vec<UpstreamConfig>,
    cores: usize,
    held_bytes_max: usize,
    held_bytes_burst_max: usize,
    gather_pause: Duration,
    resolver: Arc<dyn Resolve>,
    resolve_interval: Duration,
}

impl Default for RelayBuilder {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            receivers: Vec::new(),
            upstreams: Vec::new(),
            cores,
            held_bytes_max: limits::HELD_BYTES_MAX,
            held_bytes_burst_max: limits::HELD_BYTES_BURST_MAX,
            gather_pause: limits::GATHER_PAUSE,
            resolver: Arc::new(SystemResolver),
            resolve_interval: limits::RESOLVE_INTERVAL,
        }
    }
}

impl RelayBuilder {
    /// Adds a listener.
    #[must_use]
    pub fn receiver(mut self, receiver: ReceiverConfig) -> Self {
        self.receivers.push((receiver, None));
        self
    }

    /// Adds a receiver on a socket that is bound already; what [`ReceiverConfig::listen`] says is not used.
    #[must_use]
    pub fn receiver_on(mut self, receiver: ReceiverConfig, socket: ListeningSocket) -> Self {
        self.receivers.push((receiver, Some(socket)));
        self
    }

    /// Adds a place to forward to.
    #[must_use]
    pub fn upstream(mut self, upstream: UpstreamConfig) -> Self {
        self.upstreams.push(upstream);
        self
    }

    /// Core threads, 1 to [`limits::CORES_MAX`]. Default: the CPUs that this process may use.
    #[must_use]
    pub fn cores(mut self, cores: usize) -> Self {
        self.cores = cores;
        self
    }

    /// Bound on held bytes of all upstreams together. Each group of upstreams gets an equal share of it, so that one that is down
    /// cannot starve the others. Default [`limits::HELD_BYTES_MAX`], which a single very large request may exceed up to
    /// [`limits::HELD_BYTES_BURST_MAX`]; a bound that is set here has no such exception unless one is asked for
    /// ([`RelayBuilder::held_bytes_burst_max`]), and a request that is larger is refused whatever the receiver's limit.
    #[must_use]
    pub fn held_bytes_max(mut self, bytes: usize) -> Self {
        self.held_bytes_max = bytes;
        self.held_bytes_burst_max = bytes;
        self
    }

    /// Up to which a single very large request may exceed [`RelayBuilder::held_bytes_max`], which is to be said before.
    #[must_use]
    pub fn held_bytes_burst_max(mut self, bytes: usize) -> Self {
        self.held_bytes_burst_max = bytes.max(self.held_bytes_max);
        self
    }

    /// How long a core may sleep to let wake-ups gather while requests come one by one (some hundred to some thousand per
    /// second); that much later they are answered, at most. Zero for never. Never longer than the shortest linger of the
    /// upstreams, so an upstream without one switches it off. Default [`limits::GATHER_PAUSE`].
    #[must_use]
    pub fn gather_pause(mut self, pause: Duration) -> Self {
        self.gather_pause = pause.min(limits::GATHER_PAUSE_MAX);
        self
    }

    /// What finds the addresses of upstreams' names. Default `/etc/hosts` and the DNS servers of `/etc/resolv.conf`.
    #[must_use]
    pub fn resolver(mut self, resolver: Arc<dyn Resolve>) -> Self {
        self.resolver = resolver;
        self
    }

    /// How often names are looked up, at least [`limits::RESOLVE_INTERVAL_MIN`]; sooner after a failed dial. Default
    /// [`limits::RESOLVE_INTERVAL`].
    #[must_use]
    pub fn resolve_interval(mut self, interval: Duration) -> Self {
        self.resolve_interval = interval;
        self
    }

    /// Binds all addresses, then starts the cores. Does not wait for any upstream.
    ///
    /// # Errors
    /// Says which part of the description cannot be carried out; nothing is left running then.
    pub fn start(self) -> Result<RelayHandle, StartError> {
        let cores = self.cores.clamp(1, limits::CORES_MAX);
        let mut resolver = Resolver::new(Arc::clone(&self.resolver), self.resolve_interval);
        let upstreams = make_upstreams(&self.upstreams, cores, self.budget(), &mut resolver)?;
        let linger = self.upstreams.iter().map(|upstream| upstream.linger).min().unwrap_or_default();
        let gather_pause = self.gather_pause.min(linger);
        let serves_http = self.receivers.iter().any(|(receiver, _)| receiver.http.is_some());
        let transcoder = serves_http.then(Transcoder::start).transpose().map_err(StartError::Thread)?;
        let (budget, upstreams) = upstreams;
        let bodies = Turnstile::new(Vec::new());
        let (receivers, listeners) = self.bind(cores, &upstreams, &bodies)?;
        let (inboxes, core_inboxes): (Vec<_>, Vec<_>) =
            (0..cores).map(|_| mpsc::channel(limits::CORE_INBOX_MAX)).unzip();
        let receiver_names = receivers.iter().map(|receiver| receiver.config.name.clone()).collect();
        let shared = Arc::new(Shared {
            budget,
            receivers,
            upstreams,
            cores: inboxes.into_iter().map(CoreShared::new).collect(),
            gather_pause,
            waiting: Budget::new(limits::WAITING_BYTES_MAX),
            bodies,
            started: clock::now(),
            transcoder,
            submitted: ReceiverCounters::default(),
            origins: Arc::new(Origins::new(receiver_names)),
            acceptor: AtomicUsize::new(0),
            spare_listeners: Mutex::new(listeners.clone()),
            accepting: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
        });
        for upstream in &shared.upstreams {
            let upstream_name = || upstream.config.name.clone();
            upstream.start_spool().map_err(|error| StartError::Spill { upstream: upstream_name(), error })?;
        }
        resolver.start().map_err(StartError::Thread)?;
        let mut handle = RelayHandle { shared, threads: Vec::new() };
        let pins = affinity::one_cpu_per_core(cores);
        // The first core accepts for all of them.
        let mut listeners = Some(listeners);
        for (number, inbox) in core_inboxes.into_iter().enumerate() {
            let (shared, listeners) = (Arc::clone(&handle.shared), listeners.take().unwrap_or_default());
            let thread = core_thread::start(number, pins.get(number).copied(), shared, inbox, listeners);
            // Threads that run already stop when the handle is dropped.
            handle.threads.push(thread.map_err(StartError::Thread)?);
        }
        Ok(handle)
    }

    fn budget(&self) -> Arc<Budget> {
        Budget::with_burst(self.held_bytes_max, self.held_bytes_burst_max)
    }

    fn bind(
        self,
        cores: usize,
        upstreams: &[Arc<UpstreamShared>],
        bodies: &Arc<Turnstile>,
    ) -> Result<(Vec<ReceiverShared>, Vec<ListeningSocket>), StartError> {
        let mut bound = (Vec::new(), Vec::new());
        let mut before = Turnstiles::new(upstreams);
        for (config, socket) in self.receivers {
            let routes = routes(&config, &self.upstreams)?;
            let tls = TlsServer::of_receiver(&config).map_err(|error| StartError::Tls {
                component: format!("receiver {:?}", config.name),
                message: error.to_string(),
            })?;
            let gate = config.auth.as_ref().map(Gate::new).transpose();
            let gate = gate.map_err(|error| StartError::Auth {
                receiver: config.name.clone(),
                message: error.to_string(),
            })?;
            let answer_headers = config.http.as_ref().map_or(Ok(HeaderMap::new()), configured_headers);
            let answer_headers = answer_headers
                .map_err(|name| StartError::ResponseHeader { receiver: config.name.clone(), name })?;
            let socket = socket.map_or_else(|| listen(&config), Ok)?;
            let counters = (0..cores).map(|_| Default::default()).collect();
            let turnstiles =
                std::array::from_fn(|signal| before.of(routes.get(signal).map_or(&[], |routes| routes)));
            bound.0.push(ReceiverShared {
                config,
                gate,
                address: socket.address().clone(),
                socket: socket.downgrade(),
                tls,
                answer_headers,
                routes,
                turnstiles,
                counters,
            });
            bound.1.push(socket);
        }
        for (receiver, socket) in bound.0.iter().zip(&bound.1) {
            socket.take_place().map_err(|error| StartError::Listen {
                receiver: receiver.config.name.clone(),
                address: receiver.address.clone(),
                error,
            })?;
        }
        before.tell_upstreams(bodies);
        Ok(bound)
    }
}

fn listen(config: &ReceiverConfig) -> Result<ListeningSocket, StartError> {
    let socket = ListeningSocket::prepare(&config.listen).map_err(|error| StartError::Listen {
        receiver: config.name.clone(),
        address: config.listen.clone(),
        error,
    })?;
    if socket.is_shared() {
        let (name, address) = (&config.name, &config.listen);
        let shared = match address {
            ListenAddress::Tcp(_) => "new connections are shared out between both until one of them ends",
            _ => "it is taken over: new connections come here",
        };
        tracing::warn!("receiver {name}: another process listens on {address} already; {shared}");
    }
    Ok(socket)
}

type Upstreams = (Arc<Budget>, Vec<Arc<UpstreamShared>>);

fn make_upstreams(
    configs: &[UpstreamConfig],
    cores: usize,
    budget: Arc<Budget>,
    resolver: &mut Resolver,
) -> Result<Upstreams, StartError> {
    let mut names = HashSet::new();
    if let Some(twice) = configs.iter().find(|config| !names.insert(&config.name)) {
        return Err(StartError::DuplicateUpstream(twice.name.clone()));
    }
    let groups: HashSet<&str> = configs.iter().map(|config| config.budget_group.as_str()).collect();
    let Some(share) = budget.units_max().checked_div(groups.len()) else {
        return Err(StartError::NoUpstream);
    };
    let shares: HashMap<&str, Arc<Budget>> =
        groups.into_iter().map(|group| (group, Budget::child(&budget, share))).collect();
    let is_keyed = |config: &&UpstreamConfig| matches!(config.destination, Destination::Keyed(_));
    if let Some(keyed) = configs.iter().filter(|config| config.spill.is_some()).find(is_keyed) {
        return Err(StartError::SpillOfTier(keyed.name.clone()));
    }
    let upstreams = configs.iter().map(|config| {
        let share = shares.get(config.budget_group.as_str()).unwrap_or(&budget);
        UpstreamShared::new(config.clone(), cores, share, resolver).map_err(|error| match error {
            UpstreamError::Template(error) => {
                StartError::Header { upstream: config.name.clone(), message: error.to_string() }
            }
            UpstreamError::Tls(error) => StartError::Tls {
                component: format!("upstream {:?}", config.name),
                message: error.to_string(),
            },
        })
    });
    let upstreams = upstreams.collect::<Result<_, _>>()?;
    Ok((budget, upstreams))
}

type Routes = [Vec<usize>; Signal::ALL.len()];

fn routes(receiver: &ReceiverConfig, upstreams: &[UpstreamConfig]) -> Result<Routes, StartError> {
    let find = |name: &String| {
        let found = upstreams.iter().position(|upstream| upstream.name == *name);
        found.ok_or_else(|| StartError::UnknownUpstream {
            receiver: receiver.name.clone(),
            upstream: name.clone(),
        })
    };
    let fed: Vec<usize> = match receiver.upstreams.as_slice() {
        [] => (0..upstreams.len()).collect(),
        names => names.iter().map(find).collect::<Result<_, _>>()?,
    };
    let takes = |signal, at: &usize| upstreams.get(*at).is_some_and(|upstream| upstream.signal == signal);
    Ok(Signal::ALL.map(|signal| fed.iter().copied().filter(|at| takes(signal, at)).collect()))
}
