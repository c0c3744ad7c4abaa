//! Sends the batches of one upstream from one core: takes them from the queues (its own first), keeps a bounded number
//! of calls in flight, and carries out what `upstream` decides after each attempt.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{Notify, watch};

use super::apart::Family;
use super::clock::{self, Dice};
use super::intake::Intake;
use super::keyed::{Keyed, MemberSide};
use super::log_limit::LogLimit;
use super::not_delivered::failure;
use super::origins::Origins;
use super::route::{Attempted, Route};
use crate::batch::{Batch, DropReason, Encoding, Rope};
use crate::config::Compression;
use crate::encoding::deflate;
use crate::limits::DRAIN_RETRY_DELAY_MAX;
use crate::upstream::{Decision, Outcome, Retry, Sent, Turns, Verdict, decide};

mod disk;
mod in_flight;
mod isolate;
mod words;

use in_flight::{CallGuard, Kind};

/// How far a core's drain has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Receiving and sending.
    Running,
    /// Sending what is held, without lingering.
    Draining,
    /// The deadline has passed: what is still held is given up.
    Over,
}

/// The sending side of one upstream on one core.
pub(crate) struct Sender {
    pub(crate) intake: Rc<Intake>,
    route: Route,
    calls: Cell<usize>,
    calls_max: usize,
    // Of those, calls that isolate, or that carry what suspects have sent.
    apart_calls: Cell<usize>,
    // Calls that carry what was read back from disk; whether the last one that began does; batches that are being stored.
    replays: Cell<usize>,
    replayed_last: Cell<bool>,
    stores: Cell<usize>,
    // Tells calls that wait for a connection, or for their next attempt, that memory is wanted; and when they may read back again.
    room_wanted: Notify,
    replay_after: Cell<Option<Instant>>,
    turns: Cell<Turns>,
    call_ended: Notify,
    phase: watch::Receiver<Phase>,
    log: Rc<LogLimit>,
    dice: Rc<Dice>,
    origins: Arc<Origins>,
    about: usize,
    // The members that it hands everything to, if it is the sender of a tier; or the member that it sends to.
    keyed: Option<Keyed>,
    member: Option<Rc<MemberSide>>,
}

/// How the attempts to send one piece have ended.
struct Ended {
    decision: Decision,
    /// What the upstream said last; `None` if the drain was over before it said anything.
    outcome: Option<Outcome>,
    /// Where it was refused for good: whether what was sent is to blame, not an upstream that refuses everything.
    is_to_blame: bool,
}

impl Sender {
    pub(crate) fn new(
        (about, intake): (usize, Rc<Intake>),
        (cores, origins): (usize, &Arc<Origins>),
        phase: watch::Receiver<Phase>,
        (log, dice): (Rc<LogLimit>, Rc<Dice>),
    ) -> Rc<Self> {
        Self::of_member((about, intake), (cores, origins), phase, (log, dice), None)
    }

    /// The sender to one member of a tier.
    pub(crate) fn of_member(
        (about, intake): (usize, Rc<Intake>),
        (cores, origins): (usize, &Arc<Origins>),
        phase: watch::Receiver<Phase>,
        (log, dice): (Rc<LogLimit>, Rc<Dice>),
        member: Option<Rc<MemberSide>>,
    ) -> Rc<Self> {
        let (log_of_route, dice_of_route) = (Rc::clone(&log), Rc::clone(&dice));
        let route = Route::new((about, &intake), phase.clone(), (log_of_route, dice_of_route));
        let keyed = Keyed::of((about, &intake), (cores, origins), &phase, (&log, &dice));
        Rc::new(Self {
            keyed,
            member,
            calls: Cell::new(0),
            apart_calls: Cell::new(0),
            replays: Cell::new(0),
            replayed_last: Cell::new(false),
            stores: Cell::new(0),
            room_wanted: Notify::new(),
            replay_after: Cell::new(None),
            turns: Cell::default(),
            origins: Arc::clone(origins),
            calls_max: route.calls_max(intake.upstream.config.calls_max).div_ceil(cores).max(1),
            intake,
            route,
            call_ended: Notify::new(),
            phase,
            log,
            dice,
            about,
        })
    }

    /// Whether nothing waits here and no call is in flight.
    pub(crate) fn is_idle(&self) -> bool {
        let keyed_is_idle = self.keyed.as_ref().is_none_or(Keyed::is_idle);
        self.calls.get() == 0 && self.stores.get() == 0 && self.intake.is_empty() && keyed_is_idle
    }

    /// Starts calls for ever.
    pub(crate) async fn run(self: Rc<Self>) {
        if let Some(keyed) = &self.keyed {
            return keyed.run().await;
        }
        let (lanes, core) = (&self.intake.upstream.lanes, self.intake.core);
        loop {
            let may_call = self.calls.get() < self.calls_max;
            let has_disk = self.intake.upstream.spool().is_some();
            if !may_call && !has_disk {
                self.call_ended.notified().await;
                continue;
            }
            let looks_at_ends = has_disk || self.intake.gathers();
            let phase = *self.phase.borrow();
            if phase == Phase::Over {
                // What is left is given up by the drain; what other cores still send must not be taken from them.
                return std::future::pending().await;
            }
            let drain = phase != Phase::Running;
            let next = || {
                self.next(drain).or_else(|| {
                    lanes.set_idle(core, true);
                    self.next(drain)
                })
            };
            if let Some((family, kind)) = may_call.then(next).flatten() {
                lanes.set_idle(core, false);
                let call = CallGuard::new(&self, kind, &family);
                tokio::task::spawn_local(Rc::clone(&self).deliver(family, call));
                continue;
            }
            if has_disk && self.give_to_disk(phase) {
                continue;
            }
            // What was put back is too much for the calls in flight: it is no call that is due, but the disk.
            let due =
                self.intake.due_at(self.may_send_apart()).filter(|_| may_call && !self.intake.has_front());
            let due = due.or_else(|| has_disk.then(|| self.looks_at()).flatten());
            let due = due.into_iter().chain(self.replays_at()).min();
            match due {
                Some(due) => tokio::select! {
                    biased;
                    () = lanes.woken(core) => {}
                    () = self.call_ended.notified(), if looks_at_ends => {}
                    () = clock::sleep_until(due) => {}
                },
                None => tokio::select! {
                    biased;
                    () = lanes.woken(core) => {}
                    () = self.call_ended.notified(), if looks_at_ends => {}
                },
            }
        }
    }

    /// What is to be sent next.
    fn next(&self, drain: bool) -> Option<(Family, Kind)> {
        if !drain
            && !self.replayed_last.get()
            && let Some(family) = self.next_replay()
        {
            return Some((family, Kind::Replay));
        }
        let apart = || self.may_send_apart().then(|| self.intake.next_apart(drain)).flatten();
        let (mut turns, mut found) = (self.turns.get(), None);
        if turns.is_isolations() {
            found = apart().map(|family| (family, Kind::Apart));
        }
        let found = found
            .or_else(|| self.next_batch(drain).map(|batch| (Family::of(batch), Kind::Batch)))
            .or_else(|| apart().map(|family| (family, Kind::Apart)));
        let Some(found) = found else {
            let replay = if drain { None } else { self.next_replay() };
            return replay.map(|family| (family, Kind::Replay));
        };
        if found.1 == Kind::Apart {
            turns.isolating();
        } else {
            turns.batch();
        }
        self.turns.set(turns);
        Some(found)
    }

    /// The next batch that has waited in memory, if calls have room for it.
    fn next_batch(&self, drain: bool) -> Option<Batch> {
        let batch = self.intake.next(drain)?;
        if self.has_call_room(batch.held_bytes()) {
            return Some(batch);
        }
        self.intake.put_front(batch);
        None
    }

    fn may_send_apart(&self) -> bool {
        self.apart_calls.get() < Turns::isolating_max(self.calls_max)
    }

    /// Settles one batch, and whatever it has to be cut into; of what is sent apart one piece, and leaves the rest for its next turn.
    async fn deliver(self: Rc<Self>, mut family: Family, call: CallGuard) {
        let first_attempt = *family.first_attempt.get_or_insert_with(clock::now);
        // Bounded by what the batch itself holds: cutting makes no new items.
        while let Some(batch) = self.next_piece(&mut family) {
            let ended = {
                let settling = std::pin::pin!(self.settle(&batch, &family, first_attempt));
                // Boxed: a call without a disk does not carry what one with it needs.
                match self.stores_after() {
                    Some(_) => Box::pin(self.beside_disk(settling, &batch)).await,
                    None => settling.await,
                }
            };
            let refusals = &self.intake.upstream.refusals;
            match ended.decision {
                Decision::Deliver { rejected } => {
                    self.member.iter().for_each(|member| member.ended(true));
                    refusals.delivered(family.is_suspects);
                    family.inside = family.inside.map(|_| 0);
                    let said = match ended.outcome {
                        Some(Outcome::Accepted { message, .. }) => message,
                        _ => String::new(),
                    };
                    batch.deliver_with(rejected, &said);
                }
                Decision::Drop(reason) => {
                    let Some(batch) = MemberSide::give_back(self.member.as_deref(), batch, reason) else {
                        continue;
                    };
                    if self.is_for_disk(reason) {
                        Box::pin(self.keep_or_give_up(batch, reason, ended)).await;
                        continue;
                    }
                    family.inside = family.inside.map(|refused| refused + 1);
                    self.give_up(batch, reason, ended);
                }
                Decision::SplitTo(bytes_max) => {
                    family.add(batch.split(bytes_max));
                }
                Decision::Halve => family.add(self.halves(batch, DropReason::ItemTooLarge)),
                Decision::Isolate => {
                    self.isolate(batch, (&mut family, call.kind == Kind::Apart), ended.is_to_blame);
                }
                // `settle` waits these out.
                Decision::RetryAt { .. } => family.pending.push(batch),
            }
            // When the drain is over nobody takes the rest: it is given up here.
            if call.kind == Kind::Apart && *self.phase.borrow() != Phase::Over {
                break;
            }
        }
        if !family.pending.is_empty() {
            self.intake.apart.put_back(family);
        }
    }

    async fn keep_or_give_up(&self, batch: Batch, reason: DropReason, ended: Ended) {
        if let Some(batch) = self.keep(batch).await {
            self.give_up(batch, reason, ended);
        }
    }

    fn give_up(&self, batch: Batch, reason: DropReason, ended: Ended) {
        if reason == DropReason::Rejected && batch.parts().len() == 1 {
            self.caught(&batch, ended.is_to_blame);
        }
        self.log_drop(&batch, reason);
        match ended.outcome {
            Some(outcome) if batch.is_awaited() => batch.drop_with(failure(outcome, reason)),
            _ => batch.drop_for(reason),
        }
    }

    /// Tries until something else than another try is decided.
    async fn settle(&self, batch: &Batch, family: &Family, first_attempt: Instant) -> Ended {
        let mut over = std::pin::pin!(self.end_of_calls());
        let policy = self.route.retry();
        let mut retry = Retry::new(policy, first_attempt);
        let give_up_at = policy.max_elapsed_time.map(|max| first_attempt + max);
        let given_up =
            |reason, outcome| Ended { decision: Decision::Drop(reason), outcome, is_to_blame: false };
        let Ok((message, encoding)) = self.message(batch) else {
            return given_up(DropReason::Aborted, None);
        };
        let (mut last, is_sent) = (None, Cell::new(false));
        loop {
            let attempted = tokio::select! {
                biased;
                attempted = self.route.attempt(batch, (&message, encoding), give_up_at, &is_sent) => attempted,
                () = &mut over => return given_up(DropReason::ShutdownDeadline, last),
                () = self.is_to_let_go(batch, &is_sent) => return given_up(DropReason::ShutdownDeadline, last),
            };
            let (outcome, address) = match attempted {
                Attempted::Ended(outcome, address) => (outcome, address),
                // No address takes it as it is: nothing was sent.
                Attempted::TooLarge(bytes_max) => {
                    return Ended {
                        decision: Decision::SplitTo(bytes_max),
                        outcome: None,
                        is_to_blame: false,
                    };
                }
            };
            self.intake.counters.attempts.add(1);
            self.log_outcome(&outcome, address.as_deref(), batch);
            let is_to_blame = self.is_to_blame(&outcome, batch);
            let sent = sent(batch, family);
            let (now, random) = (clock::now(), self.dice.roll());
            // Looking into requests must not use up what finds the offender among those of several senders.
            let spend =
                |calls, inside| self.intake.upstream.refusals.spend(calls, family.is_suspects || inside);
            let decision = decide(&outcome, sent, (&mut retry, policy), (now, random), spend);
            let Decision::RetryAt { at, .. } = decision else {
                return Ended { decision, outcome: Some(outcome), is_to_blame };
            };
            last = Some(outcome);
            self.intake.counters.retries.add(1);
            is_sent.set(false);
            let draining = *self.phase.borrow() != Phase::Running;
            let at = if draining { at.min(now + DRAIN_RETRY_DELAY_MAX) } else { at };
            tokio::select! {
                biased;
                () = self.wait_until(at) => {}
                () = &mut over => return given_up(DropReason::ShutdownDeadline, last),
                () = self.is_to_let_go(batch, &is_sent) => return given_up(DropReason::ShutdownDeadline, last),
            }
        }
    }

    /// Whether `batch` was refused for good by an upstream that takes what others send.
    fn is_to_blame(&self, outcome: &Outcome, batch: &Batch) -> bool {
        let is_refusal = matches!(outcome, Outcome::Refused { .. } | Outcome::HttpRefused { .. });
        let upstream = &self.intake.upstream;
        is_refusal
            && outcome.verdict_by(&self.route.retry().table, batch.rope().len()) == Verdict::Poisoned
            && upstream.refusals.refused(upstream.delivered())
    }

    /// Waits until `at`, but not longer than a drain allows from the moment it begins.
    async fn wait_until(&self, at: Instant) {
        let mut phase = self.phase.clone();
        // `drop`: what `wait_for` returns is a read lock, and holding it over the sleep below would block the drain.
        let draining = async { phase.wait_for(|phase| *phase != Phase::Running).await.map(drop) };
        tokio::select! {
            biased;
            () = clock::sleep_until(at) => {}
            _ = draining => {
                clock::sleep_until(at.min(clock::now() + DRAIN_RETRY_DELAY_MAX)).await;
            }
        }
    }

    /// The bytes to send and how they are encoded: the batch's own, or their compressed form, made once for all attempts.
    fn message(&self, batch: &Batch) -> std::io::Result<(Rope, Option<Encoding>)> {
        let compression =
            if batch.encoding().is_some() { Compression::None } else { self.route.compression() };
        match Encoding::of(compression) {
            None => Ok((batch.rope().clone(), batch.encoding())),
            encoding => Ok((Rope::new(vec![deflate(compression, batch.rope())?]), encoding)),
        }
    }
}

/// What `batch`, a piece of `family`, is to a decision.
fn sent(batch: &Batch, family: &Family) -> Sent {
    Sent {
        bytes: batch.rope().len(),
        parts: batch.parts().len(),
        items: batch.items(),
        is_open: batch.encoding().is_none(),
        inside: family.inside.unwrap_or(0),
    }
}
