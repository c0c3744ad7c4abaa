//! One core: its tasks, and what they share. Everything here belongs to its thread alone.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::BytesMut;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};

use super::call::Rejection;
use super::clock::{self, Dice};
use super::intake::Intake;
use super::listening::ListeningSocket;
use super::log_limit::LogLimit;
use super::sender::{Phase, Sender};
use super::shared::{Command, ReceiverShared, Shared};
use super::socket::{DetachedSocket, Socket};
use super::turnstile::Peer;
use super::{death, incoming, listener};
use crate::batch::Encoding;
use crate::limits::{
    ACCEPT_CLOSE_MAX, ACCEPT_LOOK_INTERVAL, DRAIN_CALLS_MAX, DRAIN_LOOK_INTERVAL, DRAIN_SETTLE_MAX,
    SPILL_DRAIN_MAX,
};
use crate::otlp::Signal;
use crate::stats::{ReceiverCounters, Transport};

/// What the tasks of one core share.
pub(crate) struct Core {
    pub(crate) number: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) intakes: Vec<Rc<Intake>>,
    // What this core's connections read into, one after the other.
    pub(crate) read_buffer: RefCell<BytesMut>,
    pub(crate) phase: watch::Receiver<Phase>,
    // True when no connection is accepted any more.
    pub(crate) closing: watch::Receiver<bool>,
    pub(crate) awaited_results: Cell<usize>,
    // Listeners that may still bring connections.
    accepting: Cell<usize>,
    // Connections so far.
    peers: Cell<u64>,
    // Set when the drain has given up what is left: nothing is taken any more.
    over: Cell<bool>,
    log: Rc<LogLimit>,
}

/// Runs a core until it has drained. `listeners` are for the core that accepts.
///
/// # Errors
/// Why the core cannot go on.
pub(crate) async fn work(
    number: usize,
    shared: Arc<Shared>,
    mut inbox: mpsc::Receiver<Command>,
    listeners: Vec<ListeningSocket>,
) -> Result<(), String> {
    let (phase, phase_seen) = watch::channel(Phase::Running);
    let (close, closing) = watch::channel(false);
    let (log, dice) = (Rc::new(LogLimit::default()), Rc::new(Dice::new()));
    let intakes: Vec<Rc<Intake>> =
        shared.upstreams.iter().map(|upstream| Rc::new(Intake::new(number, Arc::clone(upstream)))).collect();
    let senders: Vec<Rc<Sender>> = intakes
        .iter()
        .enumerate()
        .map(|(about, intake)| {
            let intake = (about, Rc::clone(intake));
            let around = (shared.cores.len(), &shared.origins);
            Sender::new(intake, around, phase_seen.clone(), (Rc::clone(&log), Rc::clone(&dice)))
        })
        .collect();
    let mut sending = JoinSet::new();
    for sender in &senders {
        sending.spawn_local(Rc::clone(sender).run());
    }
    let core = Rc::new(Core {
        number,
        shared,
        intakes,
        read_buffer: RefCell::new(BytesMut::new()),
        phase: phase_seen,
        closing,
        awaited_results: Cell::new(0),
        accepting: Cell::new(0),
        peers: Cell::new(0),
        over: Cell::new(false),
        log,
    });
    let mut accepting = JoinSet::new();
    accept(&core, &mut accepting, listeners);
    loop {
        let command = tokio::select! {
            biased;
            // Senders run for ever. One that ended has panicked, and a core that cannot send must not go on receiving.
            Some(ended) = sending.join_next() => return Err(format!("a sender has ended: {}", why(ended))),
            Some(ended @ Err(_)) = accepting.join_next() => {
                return Err(format!("what accepts has ended: {}", why(ended)));
            }
            command = inbox.recv() => command,
        };
        let Some(command) = command else { return Ok(()) };
        match command {
            Command::Accept(listeners) => accept(&core, &mut accepting, listeners),
            Command::Connection(socket, receiver) => core.adopt(socket, receiver),
            Command::Submit(request, receipts) => core.submit(request, receipts),
            Command::StopAccepting(done) => {
                close.send(true).ok();
                tokio::task::spawn_local(tell_closed(Rc::clone(&core), done));
            }
            Command::Drain(deadline, done) => {
                drain(&core, &senders, &phase, &mut inbox, deadline).await;
                done.send(()).ok();
                return Ok(());
            }
        }
    }
}

fn accept(core: &Rc<Core>, accepting: &mut JoinSet<()>, sockets: Vec<ListeningSocket>) {
    for (receiver, socket) in sockets.into_iter().enumerate() {
        let counted = Accepting::new(core);
        accepting.spawn_local(async move { listener::accept(counted.0.clone(), receiver, socket).await });
    }
}

fn why(ended: Result<(), JoinError>) -> String {
    match ended.map_err(JoinError::try_into_panic) {
        Err(Ok(panic)) => death::words(&*panic).to_owned(),
        _ => "it was not to end".to_owned(),
    }
}

impl Core {
    pub(crate) fn receiver(&self, receiver: usize) -> Option<&ReceiverShared> {
        self.shared.receivers.get(receiver)
    }

    pub(crate) fn receiver_counters(
        &self,
        receiver: usize,
        transport: Transport,
    ) -> Option<&ReceiverCounters> {
        self.receiver(receiver)?.counters.get(self.number)?.get(transport as usize)
    }

    /// Starts serving a connection that counts for this core already.
    pub(crate) fn serve(self: &Rc<Self>, socket: Socket, receiver: usize) {
        tokio::task::spawn_local(incoming::serve(Rc::clone(self), receiver, socket));
    }

    pub(crate) fn connection_closed(&self) {
        if let Some(core) = self.shared.cores.get(self.number) {
            core.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A task of a connection has panicked: that connection is closed, and the others go on.
    pub(crate) fn count_panic(&self) {
        if let Some(core) = self.shared.cores.get(self.number) {
            core.panics.add(1);
        }
        if let Some(left_out) = self.log.allow(self.number, "panic") {
            tracing::error!(
                core = self.number,
                left_out,
                "a connection of a sender has panicked; it is closed"
            );
        }
    }

    /// Whether a request of `signal` that comes in this encoding to `receiver` is forwarded unopened.
    pub(crate) fn passes(&self, receiver: usize, signal: Signal, encoding: Encoding) -> bool {
        let routes = self.receiver(receiver).map_or(&[][..], |receiver| receiver.routes(signal));
        self.routed(routes).all(|intake| intake.upstream.passes(encoding))
    }

    /// Whether the drain has given up what is left.
    pub(super) fn is_over(&self) -> bool {
        self.over.get()
    }

    /// A connection of this core, as far as it will have to wait.
    pub(crate) fn new_peer(&self) -> Peer {
        let nth = self.peers.get();
        self.peers.set(nth + 1);
        Peer::new(nth * self.shared.cores.len() as u64 + self.number as u64)
    }

    pub(crate) fn count_rejection(&self, receiver: usize, transport: Transport, rejection: &Rejection) {
        if let Some(counters) = self.receiver_counters(receiver, transport) {
            counters.reject(rejection.reason, rejection.counted);
        }
        if let Some(left_out) = self.log.allow(receiver, rejection.reason.name()) {
            let name = self.receiver(receiver).map_or("", |receiver| receiver.config.name.as_str());
            let (reason, status) = (rejection.reason.name(), &rejection.status);
            let transport = transport.name();
            tracing::warn!(receiver = name, transport, reason, left_out, "request refused: {status}");
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        *self.phase.borrow() != Phase::Running
    }

    pub(crate) fn log_limit(&self) -> &LogLimit {
        &self.log
    }

    pub(super) fn routed<'a>(&'a self, routes: &'a [usize]) -> impl Iterator<Item = &'a Rc<Intake>> {
        routes.iter().filter_map(|route| self.intakes.get(*route))
    }

    /// Serves a connection that comes from another core and counts for this one already.
    pub(crate) fn adopt(self: &Rc<Self>, socket: DetachedSocket, receiver: usize) {
        match Socket::attach(socket) {
            Ok(socket) => self.serve(socket, receiver),
            Err(error) => {
                tracing::warn!(%error, "cannot serve a connection");
                self.connection_closed();
            }
        }
    }
}

/// Counts a listener while it may bring connections; also when its task panics.
struct Accepting(Rc<Core>);

impl Accepting {
    fn new(core: &Rc<Core>) -> Self {
        core.accepting.update(|count| count + 1);
        core.shared.accepting.fetch_add(1, Ordering::AcqRel);
        Self(Rc::clone(core))
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        self.0.accepting.update(|count| count.saturating_sub(1));
        self.0.shared.accepting.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Says so when the listeners of this core are closed.
async fn tell_closed(core: Rc<Core>, done: oneshot::Sender<()>) {
    let until = clock::now() + ACCEPT_CLOSE_MAX;
    while core.accepting.get() > 0 && clock::now() < until {
        tokio::time::sleep(ACCEPT_LOOK_INTERVAL).await;
    }
    done.send(()).ok();
}

/// Sends what is held until everything is settled or `deadline` has passed; then gives up the rest.
async fn drain(
    core: &Rc<Core>,
    senders: &[Rc<Sender>],
    phase: &watch::Sender<Phase>,
    inbox: &mut mpsc::Receiver<Command>,
    deadline: Instant,
) {
    phase.send(Phase::Draining).ok();
    inbox.close();
    while let Ok(command) = inbox.try_recv() {
        match command {
            Command::Submit(request, receipts) => core.submit(request, receipts),
            Command::Connection(socket, receiver) => core.adopt(socket, receiver),
            Command::Accept(listeners) => drop(listeners),
            Command::StopAccepting(done) | Command::Drain(_, done) => drop(done),
        }
    }
    let connections_until = clock::now() + DRAIN_CALLS_MAX;
    let in_time = loop {
        core.intakes.iter().for_each(|intake| intake.upstream.lanes.wake(core.number));
        tokio::time::sleep(DRAIN_LOOK_INTERVAL).await;
        let now = clock::now();
        let connections =
            core.shared.cores.get(core.number).map_or(0, |c| c.connections.load(Ordering::Relaxed));
        let quiet = connections == 0 || (core.awaited_results.get() == 0 && now >= connections_until);
        let quiet = quiet && core.accepting.get() == 0;
        if quiet && senders.iter().all(|sender| sender.is_idle()) {
            break true;
        }
        if now >= deadline {
            break false;
        }
    };
    core.over.set(true);
    phase.send(Phase::Over).ok();
    // A core that is done early holds nothing itself, and what it would find here are other cores' batches.
    senders.iter().filter(|_| !in_time).for_each(|sender| sender.give_up_waiting());
    // Calls in flight see the phase at their next turn and settle their batches.
    let has_disk = core.intakes.iter().any(|intake| intake.upstream.spool().is_some());
    let settled_by = clock::now() + if has_disk { SPILL_DRAIN_MAX } else { DRAIN_SETTLE_MAX };
    while senders.iter().any(|sender| !sender.is_idle()) && clock::now() < settled_by {
        tokio::time::sleep(DRAIN_LOOK_INTERVAL).await;
    }
    // Answers of `wait_for_result` calls go out with the last turns of their connections.
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
}
