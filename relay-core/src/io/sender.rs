//! Sends the batches of one upstream from one core: takes them from the queues (its own first), keeps a bounded number
//! of calls in flight, and carries out what `upstream` decides after each attempt.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::{Notify, watch};

use super::clock::{self, Dice};
use super::intake::Intake;
use super::log_limit::LogLimit;
use super::route::Route;
use crate::batch::{Batch, DropReason, Encoding, Rope};
use crate::config::Compression;
use crate::encoding::deflate;
use crate::limits::DRAIN_RETRY_DELAY_MAX;
use crate::upstream::{Decision, Isolation, Outcome, Retry, Verdict};

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
    call_ended: Notify,
    // The upstream has asked everybody to wait until then (RetryInfo).
    hold_until: Cell<Option<Instant>>,
    phase: watch::Receiver<Phase>,
    log: Rc<LogLimit>,
    dice: Rc<Dice>,
    about: usize,
}

impl Sender {
    pub(crate) fn new(
        (about, intake): (usize, Rc<Intake>),
        cores: usize,
        phase: watch::Receiver<Phase>,
        (log, dice): (Rc<LogLimit>, Rc<Dice>),
    ) -> Rc<Self> {
        let (log_of_route, dice_of_route) = (Rc::clone(&log), Rc::clone(&dice));
        let route = Route::new((about, &intake), (log_of_route, dice_of_route));
        Rc::new(Self {
            calls: Cell::new(0),
            calls_max: route.calls_max(intake.upstream.config.calls_max).div_ceil(cores).max(1),
            intake,
            route,
            call_ended: Notify::new(),
            hold_until: Cell::new(None),
            phase,
            log,
            dice,
            about,
        })
    }

    /// Whether nothing waits here and no call is in flight.
    pub(crate) fn is_idle(&self) -> bool {
        self.calls.get() == 0 && self.intake.is_empty()
    }

    /// Starts calls for ever.
    pub(crate) async fn run(self: Rc<Self>) {
        let (lanes, core) = (&self.intake.upstream.lanes, self.intake.core);
        loop {
            if self.calls.get() >= self.calls_max {
                self.call_ended.notified().await;
                continue;
            }
            let phase = *self.phase.borrow();
            if phase == Phase::Over {
                // What is left is given up by the drain; what other cores still send must not be taken from them.
                return std::future::pending().await;
            }
            let drain = phase != Phase::Running;
            let next = self.intake.next(drain).or_else(|| {
                lanes.set_idle(core, true);
                self.intake.next(drain)
            });
            if let Some(batch) = next {
                lanes.set_idle(core, false);
                self.calls.set(self.calls.get() + 1);
                self.intake.counters.calls.add(1);
                tokio::task::spawn_local(Rc::clone(&self).deliver(batch));
                continue;
            }
            match self.intake.due_at() {
                Some(due) => tokio::select! {
                    biased;
                    () = lanes.woken(core) => {}
                    () = clock::sleep_until(due) => {}
                },
                None => lanes.woken(core).await,
            }
        }
    }

    /// Settles one batch, and whatever it has to be cut into.
    async fn deliver(self: Rc<Self>, batch: Batch) {
        let _call = CallGuard(Rc::clone(&self));
        let mut isolation = Isolation::default();
        // Bounded by what the batch itself holds: cutting makes no new items.
        let mut pending = vec![batch];
        while let Some(batch) = pending.pop() {
            let (decision, said) = self.settle(&batch, &mut isolation).await;
            match decision {
                Decision::Deliver { rejected } => batch.deliver_with(rejected, &said),
                Decision::Drop(reason) => {
                    self.log_drop(&batch, reason);
                    batch.drop_for(reason);
                }
                Decision::SplitTo(bytes_max) => {
                    // What is still encoded says nothing about the size of what is not.
                    if batch.encoding().is_none() {
                        self.intake.upstream.bytes_max.fetch_min(bytes_max.max(1), Ordering::Relaxed);
                    }
                    pending.extend(batch.split(bytes_max).into_iter().rev());
                }
                Decision::Bisect => match batch.bisect() {
                    (first, Some(second)) => pending.extend([second, first]),
                    (single, None) => single.drop_for(DropReason::Rejected),
                },
                // `settle` waits these out.
                Decision::RetryAt { .. } => pending.push(batch),
            }
        }
    }

    /// Tries until something else than another try is decided; with what the upstream said of what it has accepted.
    async fn settle(&self, batch: &Batch, isolation: &mut Isolation) -> (Decision, String) {
        let mut phase = self.phase.clone();
        let mut over = std::pin::pin!(async move {
            phase.wait_for(|phase| *phase == Phase::Over).await.ok();
        });
        let mut retry = Retry::new(self.route.retry(), clock::now());
        let give_up_at = self.route.retry().max_elapsed_time.map(|max| clock::now() + max);
        let Ok((message, encoding)) = self.message(batch) else {
            return (Decision::Drop(DropReason::Aborted), String::new());
        };
        loop {
            let outcome = tokio::select! {
                biased;
                outcome = self.attempt(batch, (&message, encoding), give_up_at) => outcome,
                () = &mut over => return (Decision::Drop(DropReason::ShutdownDeadline), String::new()),
            };
            self.intake.counters.attempts.add(1);
            self.log_outcome(&outcome, batch);
            let size = (batch.rope().len(), batch.parts().len());
            let (now, random) = (clock::now(), self.dice.roll());
            let decision = isolation.decide(&outcome, size, &mut retry, self.route.retry(), now, random);
            let Decision::RetryAt { at, throttled } = decision else {
                let said = match outcome {
                    Outcome::Accepted { message, .. } => message,
                    _ => String::new(),
                };
                return (decision, said);
            };
            self.intake.counters.retries.add(1);
            let draining = *self.phase.borrow() != Phase::Running;
            let at = if draining { at.min(now + DRAIN_RETRY_DELAY_MAX) } else { at };
            if throttled {
                self.hold_until.set(self.hold_until.get().max(Some(at)));
            }
            tokio::select! {
                biased;
                () = self.wait_until(at) => {}
                () = &mut over => return (Decision::Drop(DropReason::ShutdownDeadline), String::new()),
            }
        }
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

    async fn attempt(
        &self,
        batch: &Batch,
        message: (&Rope, Option<Encoding>),
        give_up_at: Option<Instant>,
    ) -> Outcome {
        while let Some(until) = self.hold_until.get().filter(|until| *until > clock::now()) {
            self.wait_until(until).await;
        }
        self.route.attempt(batch, message, give_up_at).await
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

    fn log_outcome(&self, outcome: &Outcome, batch: &Batch) {
        let exporter = &self.intake.upstream.config.name;
        let (kind, text) = match outcome {
            Outcome::Accepted { rejected: 0, message } if message.is_empty() => return,
            Outcome::Accepted { rejected, message } => (
                "partial_success",
                format!("partial success: {rejected} {} rejected: {message}", batch.signal().items()),
            ),
            Outcome::Refused { status, .. } => ("refused", status.to_string()),
            Outcome::HttpRefused { status, message, .. } => ("refused", format!("HTTP {status}: {message}")),
            Outcome::Lost { cause } => ("lost", cause.clone()),
        };
        if outcome.verdict() == Verdict::Unimplemented {
            return self.say_unimplemented(&text, batch);
        }
        if let Some(left_out) = self.log.allow(self.about, kind) {
            let (signal, items, bytes) = (batch.signal().name(), batch.items(), batch.rope().len());
            tracing::warn!(exporter, signal, items, bytes, left_out, "upstream: {text}");
        }
    }

    /// That an upstream does not take a signal (Jaeger takes traces alone) is no outage: it is said once, and counted.
    fn say_unimplemented(&self, text: &str, batch: &Batch) {
        if !self.intake.upstream.said_unimplemented.swap(true, Ordering::Relaxed) {
            let (exporter, signal) = (&self.intake.upstream.config.name, batch.signal());
            // A wrong path is answered with the same status.
            let or_url = if self.route.has_path() { "Correct the endpoint, or take" } else { "Take" };
            tracing::error!(
                exporter,
                "upstream does not take {}: {text}; all {} for it are dropped and counted. {or_url} the exporter out of the {} \
                 pipeline",
                signal.name(),
                signal.items(),
                signal.name()
            );
        }
    }

    fn log_drop(&self, batch: &Batch, reason: DropReason) {
        if reason == DropReason::Unimplemented {
            return;
        }
        if let Some(left_out) = self.log.allow(self.about, reason.name()) {
            let exporter = &self.intake.upstream.config.name;
            let (items, reason, what) = (batch.items(), reason.name(), batch.signal().items());
            tracing::error!(exporter, items, reason, left_out, "{what} dropped");
        }
    }
}

/// Counts a call in flight; also when its task panics.
struct CallGuard(Rc<Sender>);

impl Drop for CallGuard {
    fn drop(&mut self) {
        self.0.calls.set(self.0.calls.get() - 1);
        self.0.intake.counters.calls.sub(1);
        self.0.call_ended.notify_one();
        self.0.intake.upstream.room.notify_waiters();
    }
}
