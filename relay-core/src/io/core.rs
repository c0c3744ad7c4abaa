//! One core: its tasks, and what they share. Everything here belongs to its thread alone.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::call::Rejection;
use super::clock::{self, Dice};
use super::inbound::Inbound;
use super::intake::Intake;
use super::listening::ListeningSocket;
use super::log_limit::LogLimit;
use super::sender::{Phase, Sender};
use super::shared::{Command, ReceiverShared, Shared};
use super::socket::{DetachedSocket, Socket};
use super::{incoming, listener};
use crate::batch::Encoding;
use crate::batch::{DropReason, Receipt, ReceiptSender, Settled};
use crate::config::OnFull;
use crate::limits::{
    BLOCK_WAIT_MAX, DRAIN_CALLS_MAX, DRAIN_LOOK_INTERVAL, DRAIN_SETTLE_MAX, FULL_LOOK_INTERVAL,
    REFUSE_WAIT_MAX,
};
use crate::otlp::{FramedRequest, Signal};
use crate::stats::{Counted, ReceiverCounters, RejectReason, Transport};

/// What the tasks of one core share.
pub(crate) struct Core {
    pub(crate) number: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) intakes: Vec<Rc<Intake>>,
    // What this core's connections read into, one after the other.
    pub(crate) read_buffer: RefCell<BytesMut>,
    pub(crate) phase: watch::Receiver<Phase>,
    pub(crate) awaited_results: Cell<usize>,
    // Listeners that may still bring connections.
    accepting: Cell<usize>,
    // Set when the drain has given up what is left: nothing is taken any more.
    over: Cell<bool>,
    log: Rc<LogLimit>,
}

/// What became of an offered request.
pub(crate) enum Offered {
    /// It is queued: acknowledge it.
    Queued(Counted),
    /// It is queued, and its sender wants to know the result.
    Waiting(Receipt, Counted),
    /// There is no room, and its sender may wait for it.
    Blocked(Inbound),
}

/// Runs a core until it has drained. `listeners` are for the core that accepts.
pub(crate) async fn work(
    number: usize,
    shared: Arc<Shared>,
    mut inbox: mpsc::Receiver<Command>,
    listeners: Vec<ListeningSocket>,
) {
    let (phase, phase_seen) = watch::channel(Phase::Running);
    let (log, dice) = (Rc::new(LogLimit::default()), Rc::new(Dice::new()));
    let intakes: Vec<Rc<Intake>> =
        shared.upstreams.iter().map(|upstream| Rc::new(Intake::new(number, Arc::clone(upstream)))).collect();
    let senders: Vec<Rc<Sender>> = intakes
        .iter()
        .enumerate()
        .map(|(about, intake)| {
            let intake = (about, Rc::clone(intake));
            Sender::new(intake, shared.cores.len(), phase_seen.clone(), (Rc::clone(&log), Rc::clone(&dice)))
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
        awaited_results: Cell::new(0),
        accepting: Cell::new(0),
        over: Cell::new(false),
        log,
    });
    for (receiver, socket) in listeners.into_iter().enumerate() {
        let accepting = Accepting::new(&core);
        tokio::task::spawn_local(
            async move { listener::accept(accepting.0.clone(), receiver, socket).await },
        );
    }
    loop {
        let command = tokio::select! {
            biased;
            // Senders run for ever. One that ended has panicked, and a core that cannot send must not go on receiving:
            // the thread ends, which `RelayHandle::is_healthy` shows.
            Some(_) = sending.join_next() => {
                tracing::error!(core = number, "a sender has died; this core stops");
                return;
            }
            command = inbox.recv() => command,
        };
        let Some(command) = command else { return };
        match command {
            Command::Connection(socket, receiver) => core.adopt(socket, receiver),
            Command::Submit(request, receipts) => core.submit(request, receipts),
            Command::Drain(deadline, done) => {
                drain(&core, &senders, &phase, &mut inbox, deadline).await;
                done.send(()).ok();
                return;
            }
        }
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

    /// Whether a request of `signal` that comes in this encoding to `receiver` is forwarded unopened.
    pub(crate) fn passes(&self, receiver: usize, signal: Signal, encoding: Encoding) -> bool {
        let routes = self.receiver(receiver).map_or(&[][..], |receiver| receiver.routes(signal));
        self.routed(routes).all(|intake| intake.upstream.passes(encoding))
    }

    /// Offers a request of `receiver` to all its upstreams: each takes or refuses it for itself, and the sender is told
    /// of a refusal, as by the Collector's fan-out. With `last`, waiting for room is over.
    pub(crate) fn offer(&self, receiver: usize, request: Inbound, last: bool) -> Result<Offered, Rejection> {
        let counted = request.counted();
        let routes = self.receiver(receiver).map_or(&[][..], |receiver| receiver.routes(request.signal()));
        // An empty request is a success (OTLP, "Full Success"), and nothing to forward.
        if request.items() == 0 {
            return Ok(Offered::Queued(counted));
        }
        if self.over.get() {
            // Nobody would send it any more.
            return Err(Rejection::full(RejectReason::QueueFull, counted));
        }
        let shared = routes.len() > 1;
        if !last && self.routed(routes).any(|intake| intake.admit(&request).is_err()) {
            return Ok(Offered::Blocked(request));
        }
        let request = if shared { request.detached() } else { request };
        let (mut refused, mut receipt) = (None, None);
        for intake in self.routed(routes) {
            // Asked above already, unless this is the last try: then each upstream is asked for itself.
            match if last { intake.admit(&request) } else { Ok(()) } {
                Ok(()) => {
                    let wants = intake.upstream.config.wait_for_result;
                    let sender = wants.then(|| receipt.get_or_insert_with(Receipt::default).sender());
                    intake.take(request.clone(), sender, shared);
                }
                Err(reason) => {
                    intake.count_refusal(counted);
                    refused = Some(reason);
                }
            }
        }
        match (refused, receipt) {
            (Some(reason), _) => Err(Rejection::full(reason, counted)),
            (None, Some(receipt)) => Ok(Offered::Waiting(receipt, counted)),
            (None, None) => Ok(Offered::Queued(counted)),
        }
    }

    /// Resolves when it is worth asking again whether there is room.
    pub(crate) async fn room(&self, receiver: usize) {
        let look_again = tokio::time::sleep(FULL_LOOK_INTERVAL);
        // Allocates, but only while the relay is full.
        let rooms: Vec<_> =
            self.fed_by(receiver).map(|intake| Box::pin(intake.upstream.room.notified())).collect();
        if rooms.is_empty() {
            return look_again.await;
        }
        tokio::select! { biased; _ = futures_util::future::select_all(rooms) => {} () = look_again => {} }
    }

    /// How long a call of `receiver` whose sender gives it `timeout` waits for room.
    pub(crate) fn wait_for_room_max(&self, receiver: usize, timeout: Option<Duration>) -> Duration {
        let blocks = self.fed_by(receiver).any(|intake| intake.upstream.config.on_full == OnFull::Block);
        let wait = if blocks { BLOCK_WAIT_MAX } else { REFUSE_WAIT_MAX };
        timeout.map_or(wait, |timeout| timeout.min(wait))
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

    fn routed<'a>(&'a self, routes: &'a [usize]) -> impl Iterator<Item = &'a Rc<Intake>> {
        routes.iter().filter_map(|route| self.intakes.get(*route))
    }

    fn fed_by(&self, receiver: usize) -> impl Iterator<Item = &Rc<Intake>> {
        let routes = self.receiver(receiver).into_iter().flat_map(|receiver| receiver.all_routes());
        routes.filter_map(|route| self.intakes.get(route))
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

    /// Takes a request of the embedding service; admission was asked where it came from, and is asked again here.
    fn submit(&self, request: FramedRequest, receipts: Vec<ReceiptSender>) {
        let shared = receipts.len() > 1;
        let request = Inbound::Framed(request);
        let request = if shared { request.detached() } else { request };
        let (counted, signal) = (request.counted(), request.signal());
        let mut refused = None;
        let takers = self.intakes.iter().filter(|intake| intake.upstream.config.signal == signal);
        for (intake, receipt) in takers.zip(receipts) {
            match intake.admit(&request) {
                Ok(()) => intake.take(request.clone(), Some(receipt), shared),
                Err(reason) => {
                    intake.count_refusal(counted);
                    receipt.settle(Settled::Refused);
                    refused = Some(reason);
                }
            }
        }
        match refused {
            Some(reason) => self.shared.submitted.reject(reason, Some(counted)),
            None => self.shared.submitted.accept(counted),
        }
    }
}

/// Counts a listener while it may bring connections; also when its task panics.
struct Accepting(Rc<Core>);

impl Accepting {
    fn new(core: &Rc<Core>) -> Self {
        core.accepting.update(|count| count + 1);
        Self(Rc::clone(core))
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        self.0.accepting.update(|count| count.saturating_sub(1));
    }
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
            Command::Drain(_, done) => drop(done),
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
    for intake in core.intakes.iter().filter(|_| !in_time) {
        while let Some(batch) = intake.next(true) {
            batch.drop_for(DropReason::ShutdownDeadline);
        }
    }
    // Calls in flight see the phase at their next turn and settle their batches.
    let settled_by = clock::now() + DRAIN_SETTLE_MAX;
    while senders.iter().any(|sender| !sender.is_idle()) && clock::now() < settled_by {
        tokio::time::sleep(DRAIN_LOOK_INTERVAL).await;
    }
    // Answers of `wait_for_result` calls go out with the last turns of their connections.
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
}
