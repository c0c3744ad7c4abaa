//! Sends the batches of one upstream from one core: takes them from the queues (its own first), keeps a bounded number
//! of calls in flight, and carries out what `upstream` decides after each attempt.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use super::channel::Channel;
use super::clock::{self, Dice};
use super::export::{Template, export};
use super::http_export::HttpChannel;
use super::intake::Intake;
use super::log_limit::LogLimit;
use super::shared::RouteConfig;
use crate::batch::{Batch, DropReason, Encoding, Rope};
use crate::config::{BatchSink, Compression};
use crate::encoding::deflate;
use crate::limits::DRAIN_RETRY_DELAY_MAX;
use crate::upstream::{Decision, Isolation, Outcome, Retry, RetryPolicy, Verdict};

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
    retry: RetryPolicy,
    attempt_timeout: Duration,
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

enum Route {
    Grpc(Rc<Channel>, Template),
    Http(Box<HttpChannel>),
    Sink(Arc<dyn BatchSink>),
}

impl Sender {
    pub(crate) fn new(
        (about, intake): (usize, Rc<Intake>),
        cores: usize,
        phase: watch::Receiver<Phase>,
        (log, dice): (Rc<LogLimit>, Rc<Dice>),
    ) -> Rc<Self> {
        let mut calls_max = intake.upstream.config.calls_max;
        let (route, retry, attempt_timeout) = match &intake.upstream.route {
            RouteConfig::Grpc(grpc) => {
                let (grpc, template) = &**grpc;
                let (upstream, counters) = (Arc::clone(&intake.upstream), Arc::clone(&intake.counters));
                let shared = (Rc::clone(&log), Rc::clone(&dice));
                let channel = Channel::new(grpc.endpoint.clone(), (about, upstream), counters, shared);
                (Route::Grpc(channel, template.clone()), grpc.retry, grpc.timeout)
            }
            RouteConfig::Http(http) => {
                let (http, template) = &**http;
                // A connection carries one call, so a bound on one is a bound on the other; where HTTP/2 is agreed on, one is enough.
                calls_max = calls_max.min(http.connections.connections_max.unwrap_or(usize::MAX));
                let (upstream, counters) = (Arc::clone(&intake.upstream), Arc::clone(&intake.counters));
                let channel =
                    HttpChannel::new((http, template), (about, upstream), counters, Rc::clone(&log));
                (Route::Http(Box::new(channel)), http.retry, http.timeout)
            }
            RouteConfig::Sink(sink) => (Route::Sink(Arc::clone(sink)), RetryPolicy::default(), Duration::MAX),
        };
        Rc::new(Self {
            intake,
            route,
            retry,
            attempt_timeout,
            calls: Cell::new(0),
            calls_max: calls_max.div_ceil(cores).max(1),
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
        let mut retry = Retry::new(&self.retry, clock::now());
        let give_up_at = self.retry.max_elapsed_time.map(|max| clock::now() + max);
        let Ok((message, encoding)) = self.message(batch) else {
            return (Decision::Drop(DropReason::Aborted), String::new());
        };
        loop {
            let outcome = tokio::select! {
                outcome = self.attempt(batch, (&message, encoding), give_up_at) => outcome,
                () = &mut over => return (Decision::Drop(DropReason::ShutdownDeadline), String::new()),
            };
            self.intake.counters.attempts.add(1);
            self.log_outcome(&outcome, batch);
            let size = (batch.rope().len(), batch.parts().len());
            let (now, random) = (clock::now(), self.dice.roll());
            let decision = isolation.decide(&outcome, size, &mut retry, &self.retry, now, random);
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
        let give_up_at =
            if self.retry.enabled { give_up_at } else { Some(clock::now() + self.attempt_timeout) };
        match &self.route {
            Route::Grpc(channel, template) => {
                self.attempt_grpc((channel, template), message, give_up_at).await
            }
            Route::Http(channel) => channel.export(message, self.attempt_timeout, give_up_at).await,
            Route::Sink(sink) => sink.deliver(batch),
        }
    }

    async fn attempt_grpc(
        &self,
        (channel, template): (&Rc<Channel>, &Template),
        message: (&Rope, Option<Encoding>),
        give_up_at: Option<Instant>,
    ) -> Outcome {
        let Some((link, generation)) = channel.ready(give_up_at).await else {
            return Outcome::Lost { cause: "no connection to the upstream".to_owned() };
        };
        let answers = channel.answers();
        match tokio::time::timeout(self.attempt_timeout, export(&link, template, message)).await {
            Ok(outcome) => {
                if !matches!(outcome, Outcome::Lost { .. }) {
                    channel.answered();
                }
                outcome
            }
            Err(_) => {
                if channel.answers() == answers {
                    channel.leave(generation);
                }
                Outcome::Lost { cause: format!("no answer within {:?}", self.attempt_timeout) }
            }
        }
    }

    /// The bytes to send and how they are encoded: the batch's own, or their compressed form, made once for all attempts.
    fn message(&self, batch: &Batch) -> std::io::Result<(Rope, Option<Encoding>)> {
        let compression = match &self.route {
            _ if batch.encoding().is_some() => Compression::None,
            Route::Grpc(_, template) => template.compression,
            Route::Http(channel) => channel.compression(),
            Route::Sink(_) => Compression::None,
        };
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
            let or_url =
                if matches!(self.route, Route::Http(_)) { "Correct the endpoint, or take" } else { "Take" };
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
