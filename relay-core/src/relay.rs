//! The relay as an embedding service uses it: build, start, submit, read stats, drain.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tokio::sync::{mpsc, oneshot};

use crate::batch::{DropReason, Receipt};
use crate::config::{ListenAddress, ReceiverConfig, UpstreamConfig};
use crate::io::auth::Gate;
use crate::io::core_thread::{self, CoreThread};
use crate::io::http::configured_headers;
use crate::io::listening::ListeningSocket;
use crate::io::origins::Origins;
use crate::io::resolver::{Resolve, Resolver, SystemResolver};
use crate::io::shared::{Command, CoreShared, ReceiverShared, Shared, UpstreamError, UpstreamShared};
use crate::io::tls::TlsServer;
use crate::io::transcode::Transcoder;
use crate::io::turnstile::{Turnstile, Turnstiles};
use crate::io::{affinity, clock, death};
use crate::limits;
use crate::otlp::{RawRequest, Signal};
use crate::queue::Budget;
use crate::stats::{ReceiverCounters, Stats};

mod error;

pub use error::{StartError, SubmitError};

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
    /// [`limits::HELD_BYTES_BURST_MAX`]; a bound that is set here has no such exception, and a request that is larger is
    /// refused whatever the receiver's limit.
    #[must_use]
    pub fn held_bytes_max(mut self, bytes: usize) -> Self {
        self.held_bytes_max = bytes;
        self.held_bytes_burst_max = bytes;
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

/// A running relay. Dropping it without [`RelayHandle::drain`] gives up what is held.
#[derive(Debug)]
pub struct RelayHandle {
    shared: Arc<Shared>,
    threads: Vec<CoreThread>,
}

impl RelayHandle {
    /// The addresses listened on, in the order of the receivers.
    pub fn listening_on(&self) -> Vec<ListenAddress> {
        self.shared.receivers.iter().map(|receiver| receiver.address.clone()).collect()
    }

    /// The sockets of the receivers, in their order, for a relay of this process that takes over
    /// ([`RelayBuilder::receiver_on`]): start that one, then drain this one, and no connection is lost. `None` where nobody accepts
    /// any more.
    pub fn listeners(&self) -> Vec<Option<ListeningSocket>> {
        self.shared.receivers.iter().map(|receiver| receiver.socket.upgrade()).collect()
    }

    /// Hands in one export request of `signal` as protobuf bytes, for all upstreams of that signal, from any thread. Returns at
    /// once; the [`Receipt`] resolves when all of them have settled it.
    ///
    /// # Errors
    /// [`SubmitError::Malformed`] and [`SubmitError::Unserved`] for good; [`SubmitError::Full`] for now.
    pub fn submit(&self, signal: Signal, request: Bytes) -> Result<Receipt, SubmitError> {
        if self.shared.is_draining() {
            return Err(SubmitError::Draining);
        }
        let request = RawRequest::new(request).frame(signal);
        let request = request.map_err(|error| SubmitError::Malformed(signal, error))?;
        let takers = self.shared.upstreams.iter().filter(|upstream| upstream.config.signal == signal);
        if takers.clone().next().is_none() {
            return Err(SubmitError::Unserved(signal));
        }
        let mut receipt = Receipt::default();
        if request.items() == 0 {
            return Ok(receipt);
        }
        if !self.shared.budget.has_room(request.len()) {
            return Err(SubmitError::Full);
        }
        let receipts = takers.map(|_| receipt.sender()).collect();
        let (_, core) = self.shared.least_loaded().ok_or(SubmitError::Draining)?;
        core.inbox.try_send(Command::Submit(request, receipts)).map_err(|error| match error {
            mpsc::error::TrySendError::Closed(_) if self.shared.is_draining() => SubmitError::Draining,
            // Or the core has died just now: another one takes it next time.
            mpsc::error::TrySendError::Full(_) | mpsc::error::TrySendError::Closed(_) => SubmitError::Full,
        })?;
        Ok(receipt)
    }

    /// What the relay has done and holds.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Whether all cores are alive. One that died takes nothing and sends nothing any more; the others go on, and
    /// [`Stats::deaths`] says why.
    pub fn is_healthy(&self) -> bool {
        self.shared.living().count() == self.threads.len()
            && !self.threads.iter().any(CoreThread::is_finished)
    }

    /// Whether any core is alive.
    pub fn is_alive(&self) -> bool {
        self.shared.living().next().is_some()
    }

    /// A cheap way to read stats from elsewhere, also while [`RelayHandle::drain`] has the handle.
    pub fn stats_reader(&self) -> StatsReader {
        StatsReader(Arc::clone(&self.shared))
    }

    /// Stops receiving (senders are told by GOAWAY), sends what is held, and ends all threads. What no upstream has
    /// taken within `deadline` is given up and counted as [`crate::batch::DropReason::ShutdownDeadline`]. Returns the
    /// final stats, in which nothing is held. Works in any async runtime.
    pub async fn drain(mut self, deadline: Duration) -> Stats {
        let until = clock::now() + deadline;
        self.shared.draining.store(true, Ordering::Release);
        self.shared.spare_listeners().clear();
        let mut waiting = Vec::new();
        for core in &self.shared.cores {
            let (done, drained) = oneshot::channel();
            // An error means that the core has died: what it held is counted as aborted.
            if core.inbox.send(Command::Drain(until, done)).await.is_ok() {
                waiting.push(drained);
            }
        }
        for drained in waiting {
            drained.await.ok();
        }
        for thread in self.threads.drain(..) {
            // The thread has said that it is done: this waits for its last instructions only.
            thread.join().ok();
        }
        // What a core that died at the last moment has left to the others.
        death::give_up_queues(&self.shared, DropReason::Aborted);
        self.shared.stats()
    }
}

impl Drop for RelayHandle {
    fn drop(&mut self) {
        self.shared.draining.store(true, Ordering::Release);
        self.shared.spare_listeners().clear();
        for core in &self.shared.cores {
            let (done, _) = oneshot::channel();
            core.inbox.try_send(Command::Drain(clock::now(), done)).ok();
        }
    }
}

/// Reads the stats of a relay.
#[derive(Clone, Debug)]
pub struct StatsReader(Arc<Shared>);

impl StatsReader {
    /// What the relay has done and holds.
    pub fn stats(&self) -> Stats {
        self.0.stats()
    }

    /// Whether a listener is accepted from still: no more once a drain has left the sockets to others.
    pub fn is_accepting(&self) -> bool {
        self.0.accepting.load(Ordering::Acquire) > 0
    }
}
