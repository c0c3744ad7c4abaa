//! Admission: a request is offered to all its upstreams, waits for its turn where there is no room, and is taken or refused whole.
//!
//! An upstream that is full holds the others back for its patience at most ([`Pressure`]): until then nobody takes the request, so
//! that a refused sender which comes again makes no duplicates; from then on the others take it, and what the full one has missed is
//! counted as dropped there. Only where none of them has room is the sender refused.
//!
//! [`Pressure`]: crate::queue::Pressure

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::call::{Call, Rejection};
use super::clock;
use super::core::Core;
use super::inbound::Inbound;
use super::intake::{Intake, Reserved};
use super::shared::UpstreamShared;
use super::turnstile::{Peer, Turnstile, Waiting};
use crate::batch::{Answers, Receipt, ReceiptSender, Settled};
use crate::config::OnFull;
use crate::limits::{
    BLOCK_WAIT_MAX, BODY_RESERVE_DIVISOR, FULL_PATIENCE, REFUSE_WAIT_MAX, SPILL_ROOM_WAIT_MAX,
};
use crate::otlp::{FramedRequest, Signal};
use crate::stats::{Counted, RejectReason};

/// What became of an offered request.
pub(crate) enum Offered {
    /// It is queued: acknowledge it.
    Queued(Counted),
    /// It is queued, and its sender wants to know the result.
    Waiting(Receipt, Counted),
    /// The same, and the result comes by the ticket that was given.
    Ticketed(Counted),
    /// There is no room, and its sender may wait for it.
    Blocked(Inbound),
}

/// Where the result of one request may be sent to.
pub(crate) type Ticket<'a> = Option<(&'a Arc<dyn Answers>, u32)>;

/// Who waits for a result.
enum Awaiting {
    Nobody,
    Receipt(Receipt),
    Ticket,
}

/// How often a request has asked before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asking {
    /// Never: it waits behind those who wait already.
    First,
    /// Its turn has come.
    InTurn,
    /// It waits no longer.
    Last,
}

impl Core {
    /// Offers a request of `receiver` to all its upstreams. Where a sender waits for the result of one, that may come by a `ticket`.
    ///
    /// # Errors
    /// It was asked for the last time, and none of them has taken it.
    pub(crate) fn offer(
        &self,
        receiver: usize,
        request: Inbound,
        asking: Asking,
        ticket: Ticket<'_>,
    ) -> Result<Offered, Rejection> {
        let counted = request.counted();
        // An empty request is a success (OTLP, "Full Success"), and nothing to forward.
        if request.items() == 0 {
            return Ok(Offered::Queued(counted));
        }
        if self.is_over() {
            // Nobody would send it any more.
            return Err(Rejection::full(RejectReason::QueueFull, counted));
        }
        let contended =
            self.turnstile(receiver, request.signal()).is_some_and(|turnstile| turnstile.is_contended());
        if asking == Asking::First && contended {
            return Ok(Offered::Blocked(request));
        }
        let routes = self.receiver(receiver).map_or(&[][..], |receiver| receiver.routes(request.signal()));
        let offered = match routes {
            [route] => self.offer_one(*route, request, ticket),
            routes => self.offer_all(routes, request),
        };
        match offered {
            Ok(Awaiting::Nobody) => Ok(Offered::Queued(counted)),
            Ok(Awaiting::Receipt(receipt)) => Ok(Offered::Waiting(receipt, counted)),
            Ok(Awaiting::Ticket) => Ok(Offered::Ticketed(counted)),
            Err((request, _)) if asking != Asking::Last => Ok(Offered::Blocked(request)),
            Err((_, reason)) => {
                self.routed(routes).for_each(|intake| intake.count_refusal(counted));
                Err(Rejection::full(reason, counted))
            }
        }
    }

    /// Refuses a request that finds neither room nor a place to wait, without asking where others wait.
    pub(crate) fn offer_without_waiting(
        &self,
        receiver: usize,
        request: Inbound,
        ticket: Ticket<'_>,
    ) -> Result<Offered, Rejection> {
        match self.offer(receiver, request, Asking::First, ticket)? {
            Offered::Blocked(request) => {
                let counted = request.counted();
                let routes =
                    self.receiver(receiver).map_or(&[][..], |receiver| receiver.routes(request.signal()));
                self.routed(routes).for_each(|intake| intake.count_refusal(counted));
                Err(Rejection::full(RejectReason::QueueFull, counted))
            }
            offered => Ok(offered),
        }
    }

    fn offer_one(
        &self,
        route: usize,
        request: Inbound,
        ticket: Ticket<'_>,
    ) -> Result<Awaiting, (Inbound, RejectReason)> {
        let Some(intake) = self.intakes.get(route) else { return Err((request, RejectReason::QueueFull)) };
        match intake.reserve(&request, false) {
            Ok(reserved) => {
                let (awaiting, sender) = match ticket {
                    _ if !intake.upstream.answers_late() => (Awaiting::Nobody, None),
                    Some((to, ticket)) => (Awaiting::Ticket, Some(ReceiptSender::to(Arc::clone(to), ticket))),
                    None => {
                        let mut receipt = Receipt::default();
                        let sender = receipt.sender();
                        (Awaiting::Receipt(receipt), Some(sender))
                    }
                };
                intake.take(request, reserved, sender, false);
                Ok(awaiting)
            }
            Err(reason) => Err((request, reason)),
        }
    }

    /// Offers a request to several upstreams, which share its bytes.
    fn offer_all(&self, routes: &[usize], request: Inbound) -> Result<Awaiting, (Inbound, RejectReason)> {
        let (mut held_back, mut room, mut reason) = (false, false, RejectReason::QueueFull);
        let mut asked: Vec<(usize, &Rc<Intake>, Option<Reserved>)> = Vec::with_capacity(routes.len());
        for (route, intake) in routes.iter().filter_map(|route| Some((*route, self.intakes.get(*route)?))) {
            let upstream = &intake.upstream;
            let reserved = intake.reserve(&request, true);
            match &reserved {
                Ok(_) => {
                    upstream.pressure.has_room(upstream.budget.used(), upstream.budget.units_max());
                    room = true;
                }
                Err(full) => {
                    reason = *full;
                    let since_start = clock::now().saturating_duration_since(self.shared.started);
                    held_back |= !upstream.pressure.full(since_start, patience(upstream.config.on_full));
                }
            }
            asked.push((route, intake, reserved.ok()));
        }
        if held_back || !room {
            return Err((request, reason));
        }
        let counted = request.counted();
        let request =
            request.shared(&self.shared.budget).map_err(|request| (request, RejectReason::MemoryFull))?;
        let mut receipt = None;
        for (route, intake, reserved) in asked {
            let waits = intake.upstream.answers_late();
            let sender = waits.then(|| receipt.get_or_insert_with(Receipt::default).sender());
            match (reserved, sender) {
                (Some(reserved), sender) => intake.take(request.clone(), reserved, sender, true),
                (None, Some(sender)) => {
                    // Who waits for the result hears of it.
                    intake.count_refusal(counted);
                    sender.settle(Settled::Refused);
                }
                (None, None) => self.miss(route, intake, counted),
            }
        }
        Ok(receipt.map_or(Awaiting::Nobody, Awaiting::Receipt))
    }

    fn miss(&self, route: usize, intake: &Intake, counted: Counted) {
        intake.miss(counted);
        if let Some(left_out) = self.log_limit().allow(route, "missed") {
            let (exporter, items) = (&intake.upstream.config.name, counted.signal.items());
            tracing::error!(
                exporter,
                left_out,
                "its queue stays full: {items} dropped that other exporters have taken"
            );
        }
    }

    /// Takes a request of the embedding service; admission was asked where it came from, and is asked again here.
    pub(super) fn submit(&self, request: FramedRequest, receipts: Vec<ReceiptSender>) {
        let (shared, request) = (receipts.len() > 1, Inbound::from(request));
        let (counted, signal) = (request.counted(), request.signal());
        let takers = self.intakes.iter().filter(|intake| intake.upstream.config.signal == signal);
        let asked: Vec<_> = takers.map(|intake| (intake, intake.reserve(&request, shared))).collect();
        let request = if shared { request.shared(&self.shared.budget) } else { Ok(request) };
        let mut refused = None;
        for ((intake, reserved), receipt) in asked.into_iter().zip(receipts) {
            match (reserved, &request) {
                (Ok(reserved), Ok(request)) => intake.take(request.clone(), reserved, Some(receipt), shared),
                (reserved, _) => {
                    intake.count_refusal(counted);
                    receipt.settle(Settled::Refused);
                    refused = Some(reserved.err().unwrap_or(RejectReason::MemoryFull));
                }
            }
        }
        match refused {
            Some(reason) => self.shared.submitted.reject(reason, Some(counted)),
            None => self.shared.submitted.accept(counted),
        }
    }

    /// Lets `request` wait for `wait_max` in its connection's line, or `None` when that has used up its share of what may wait.
    pub(crate) fn wait_for_turn(
        &self,
        receiver: usize,
        (peer, wake): (&Peer, &Arc<Notify>),
        request: &Inbound,
        wait_max: Duration,
    ) -> Option<Waiting> {
        let bytes = request.bytes().len();
        let held = peer.hold(&self.shared.waiting, bytes)?;
        let place = self.turnstile(receiver, request.signal())?.enter(peer.number, bytes, Arc::clone(wake));
        let since = clock::now();
        Some(Waiting { place, bytes: held, since, give_up_at: since + wait_max, wake: Arc::clone(wake) })
    }

    /// Lets a body of which `bytes` are to be counted wait for memory for `wait_max`, or `None` when its connection has used up its
    /// share of what may wait. One that has its turn already, a `pass`, keeps it while it gets on.
    pub(crate) fn wait_for_memory(
        &self,
        (peer, wake): (&Peer, &Arc<Notify>),
        (bytes, pass): (usize, Option<Waiting>),
        wait_max: Duration,
    ) -> Option<Waiting> {
        self.intakes.iter().for_each(|intake| intake.want_room());
        let since = clock::now();
        let give_up_at = since + wait_max;
        if let Some(mut pass) = pass {
            return pass.bytes.try_grow(bytes).then_some(Waiting { since, give_up_at, ..pass });
        }
        let held = peer.hold(&self.shared.waiting, bytes)?;
        let place = self.shared.bodies.enter(peer.number, bytes, Arc::clone(wake));
        Some(Waiting { place, bytes: held, since, give_up_at, wake: Arc::clone(wake) })
    }

    /// Whether a body that is not complete may be charged `bytes` more without waiting for its turn. What such bodies may hold all
    /// together leaves room to complete one of them at a time.
    pub(crate) fn has_memory_for_body(&self, bytes: usize) -> bool {
        let budget = &self.shared.budget;
        let reserve = budget.units_max() / BODY_RESERVE_DIVISOR;
        !self.shared.bodies.is_contended() && budget.has_room(bytes.saturating_add(reserve))
    }

    /// Whether no upstream holds anything, so that what is held is of bodies that are not complete.
    pub(crate) fn holds_only_bodies(&self) -> bool {
        self.intakes.iter().all(|intake| intake.upstream.budget.used() == 0)
    }

    /// Counts what `call` holds, if it may be counted now: with a `pass` its turn has come. Bytes that its sender may be told to send
    /// again, or `None` while there is no room.
    pub(crate) fn charge_body(&self, call: &mut Call, pass: Option<&Waiting>) -> Option<usize> {
        let may = pass.is_some() || call.owed() == 0 || self.has_memory_for_body(call.owed());
        if may { call.charge(&self.shared.budget) } else { None }
    }

    /// How long a call of `receiver` whose sender gives it `timeout` waits for room, for its body and in the queue together.
    pub(crate) fn wait_for_room_max(&self, receiver: usize, timeout: Option<Duration>) -> Duration {
        let routes = self.receiver(receiver).into_iter().flat_map(|receiver| receiver.all_routes());
        let fed = routes.filter_map(|route| self.intakes.get(route));
        let wait = fed.map(|intake| room_wait_max(&intake.upstream)).max().unwrap_or(REFUSE_WAIT_MAX);
        timeout.map_or(wait, |timeout| timeout.min(wait))
    }

    fn turnstile(&self, receiver: usize, signal: Signal) -> Option<&Arc<Turnstile>> {
        self.receiver(receiver)?.turnstiles.get(signal as usize)
    }
}

/// How a request that waits asks now, if it may.
pub(crate) fn asking(waiting: &Waiting, now: Instant) -> Option<Asking> {
    if now >= waiting.give_up_at {
        return Some(Asking::Last);
    }
    waiting.is_called().then_some(Asking::InTurn)
}

/// How long a request waits for room in an upstream: longer where a disk makes it.
fn room_wait_max(upstream: &UpstreamShared) -> Duration {
    let wait = wait_max(upstream.config.on_full);
    let has_disk = upstream.spool().is_some_and(|spool| spool.is_taking());
    if has_disk { wait.max(SPILL_ROOM_WAIT_MAX) } else { wait }
}

/// How long a request waits for room in an upstream's memory.
fn wait_max(on_full: OnFull) -> Duration {
    match on_full {
        OnFull::Refuse => REFUSE_WAIT_MAX,
        OnFull::Block => BLOCK_WAIT_MAX,
    }
}

/// How long an upstream that is full may hold back the others.
fn patience(on_full: OnFull) -> Duration {
    wait_max(on_full).max(FULL_PATIENCE)
}
