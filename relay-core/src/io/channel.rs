//! The connection of one core to one upstream: dialled when it is first wanted, dialled again after a failure, shared by
//! all calls in flight.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::clock::{self, Dice};
use super::link::Link;
use super::log_limit::LogLimit;
use super::shared::UpstreamShared;
use super::socket;
use crate::limits;
use crate::stats::UpstreamCounters;
use crate::upstream::{Endpoint, Reconnect};

/// A connection that is made when wanted. Belongs to one core.
pub(crate) struct Channel {
    endpoint: Endpoint,
    upstream: Arc<UpstreamShared>,
    counters: Arc<UpstreamCounters>,
    log: Rc<LogLimit>,
    dice: Rc<Dice>,
    state: RefCell<State>,
    reconnect: Cell<Reconnect>,
    // When the next dial may be; None after an answered call.
    not_before: Cell<Option<Instant>>,
    answers: Cell<u64>,
    changed: Notify,
    about: usize,
}

enum State {
    Idle,
    // A task dials until it succeeds or nobody waits.
    Dialling { waiting: usize },
    Ready { link: Rc<Link>, generation: u64 },
}

impl Channel {
    pub(crate) fn new(
        endpoint: Endpoint,
        (about, upstream): (usize, Arc<UpstreamShared>),
        counters: Arc<UpstreamCounters>,
        (log, dice): (Rc<LogLimit>, Rc<Dice>),
    ) -> Rc<Self> {
        Rc::new(Self {
            endpoint,
            upstream,
            counters,
            log,
            dice,
            state: RefCell::new(State::Idle),
            reconnect: Cell::new(Reconnect::default()),
            not_before: Cell::new(None),
            answers: Cell::new(0),
            changed: Notify::new(),
            about,
        })
    }

    /// A connection on which a call may start now, and its number. Waits for it, through failed dials, until
    /// `give_up_at`.
    pub(crate) async fn ready(self: &Rc<Self>, give_up_at: Option<Instant>) -> Option<(Rc<Link>, u64)> {
        let ready = self.wait_ready();
        match give_up_at {
            None => Some(ready.await),
            Some(at) => {
                tokio::select! { biased; ready = ready => Some(ready), () = clock::sleep_until(at) => None }
            }
        }
    }

    /// A call was answered, with whatever status: the upstream is alive.
    pub(crate) fn answered(&self) {
        let mut reconnect = self.reconnect.get();
        reconnect.answered();
        self.reconnect.set(reconnect);
        self.not_before.set(None);
        self.answers.set(self.answers.get().wrapping_add(1));
    }

    /// Calls answered so far.
    pub(crate) fn answers(&self) -> u64 {
        self.answers.get()
    }

    async fn wait_ready(self: &Rc<Self>) -> (Rc<Link>, u64) {
        loop {
            if let Some((link, generation)) = self.current() {
                // Err: the connection has ended, or the upstream has said GOAWAY. Calls in flight on it go on.
                match link.ready().await {
                    Ok(()) => return (link, generation),
                    Err(_) => {
                        self.leave(generation);
                    }
                }
                continue;
            }
            let changed = self.changed.notified();
            let _waiting = self.want();
            changed.await;
        }
    }

    fn current(&self) -> Option<(Rc<Link>, u64)> {
        match &*self.state.borrow() {
            State::Ready { link, generation } => Some((Rc::clone(link), *generation)),
            State::Idle | State::Dialling { .. } => None,
        }
    }

    /// Starts no further call on the connection of this number: it has ended, or nothing was answered on it for a whole
    /// attempt, as when its host has died. Calls in flight on it go on.
    /// Says whether it was the current one.
    pub(crate) fn leave(&self, ended: u64) -> bool {
        let mut state = self.state.borrow_mut();
        if let State::Ready { link, generation } = &*state
            && *generation == ended
        {
            link.left();
            *state = State::Idle;
            return true;
        }
        false
    }

    fn want(self: &Rc<Self>) -> Waiting {
        let mut state = self.state.borrow_mut();
        match &mut *state {
            State::Dialling { waiting } => *waiting += 1,
            State::Idle => {
                *state = State::Dialling { waiting: 1 };
                tokio::task::spawn_local(dial(Rc::clone(self)));
            }
            State::Ready { .. } => {}
        }
        Waiting(Rc::clone(self))
    }

    fn is_wanted(&self) -> bool {
        matches!(&*self.state.borrow(), State::Dialling { waiting } if *waiting > 0)
    }

    fn set(&self, state: State) {
        *self.state.borrow_mut() = state;
        self.changed.notify_waiters();
    }

    fn back_off(&self) {
        let mut reconnect = self.reconnect.get();
        self.not_before.set(Some(reconnect.failed(clock::now(), self.dice.roll())));
        self.reconnect.set(reconnect);
    }
}

/// One caller that waits for a dial; stops counting when it is dropped.
struct Waiting(Rc<Channel>);

impl Drop for Waiting {
    fn drop(&mut self) {
        if let State::Dialling { waiting } = &mut *self.0.state.borrow_mut() {
            *waiting = waiting.saturating_sub(1);
        }
    }
}

async fn dial(channel: Rc<Channel>) {
    loop {
        if let Some(at) = channel.not_before.get() {
            clock::sleep_until(at).await;
        }
        if !channel.is_wanted() {
            channel.set(State::Idle);
            return;
        }
        let dialled = tokio::time::timeout(limits::CONNECT_TIMEOUT, connect(&channel)).await;
        // Also after a success: until a call is answered on it, the next dial is a repeated one.
        channel.back_off();
        match dialled {
            Ok(Ok((link, driver))) => {
                channel.counters.connects.add(1);
                let generation = channel.counters.connects.get();
                channel.set(State::Ready { link, generation });
                tokio::task::spawn_local(watch(Rc::clone(&channel), driver, generation));
                return;
            }
            Ok(Err(error)) => log_failure(&channel, &error.to_string()),
            Err(_) => log_failure(&channel, "timed out"),
        }
    }
}

/// Waits for the end of a connection.
async fn watch(channel: Rc<Channel>, driver: JoinHandle<String>, generation: u64) {
    let cause = driver.await.unwrap_or_else(|error| error.to_string());
    let was_current = channel.leave(generation);
    if was_current && let Some(left_out) = channel.log.allow(channel.about, "connection") {
        let (exporter, endpoint) = (&channel.upstream.config.name, channel.endpoint.to_string());
        tracing::warn!(
            exporter,
            endpoint,
            cause,
            left_out,
            "connection to the upstream ended; dialling again"
        );
    }
}

async fn connect(channel: &Channel) -> io::Result<(Rc<Link>, JoinHandle<String>)> {
    let stream = socket::dial(&channel.endpoint, channel.upstream.tls.as_ref()).await?;
    let (link, driver) = Link::new(stream);
    // Not a task of its own yet: what is dropped here, at a timeout, closes the socket.
    let mut driver = Box::pin(driver);
    tokio::select! {
        biased;
        settled = link.settled() => settled.map_err(|cause| not_settled(channel, &cause))?,
        cause = &mut driver => return Err(not_settled(channel, &cause)),
    }
    Ok((link, tokio::task::spawn_local(driver)))
}

/// What an operator can do about an upstream that does not begin to speak HTTP/2.
fn not_settled(channel: &Channel, cause: &str) -> io::Error {
    let hint = if channel.upstream.tls.is_none() { " (does it want TLS?)" } else { "" };
    io::Error::other(format!("the upstream has not begun to speak HTTP/2{hint}: {cause}"))
}

fn log_failure(channel: &Channel, error: &str) {
    if let Some(left_out) = channel.log.allow(channel.about, "dial") {
        let (exporter, endpoint) = (&channel.upstream.config.name, channel.endpoint.to_string());
        tracing::warn!(
            exporter,
            endpoint,
            error,
            left_out,
            "cannot connect to the upstream; holding data, retrying"
        );
    }
}
