//! The connection of one core to one upstream: dialled when it is first wanted, dialled again after a failure, shared by
//! all calls in flight.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use h2::client::{Builder, SendRequest};
#[cfg(target_os = "linux")]
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::clock::{self, Dice};
use super::export::Body;
use super::listener;
use super::log_limit::LogLimit;
use super::shared::UpstreamShared;
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
    Ready { send: SendRequest<Body>, generation: u64 },
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
    pub(crate) async fn ready(
        self: &Rc<Self>,
        give_up_at: Option<Instant>,
    ) -> Option<(SendRequest<Body>, u64)> {
        let ready = self.wait_ready();
        match give_up_at {
            None => Some(ready.await),
            Some(at) => tokio::select! { ready = ready => Some(ready), () = clock::sleep_until(at) => None },
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

    async fn wait_ready(self: &Rc<Self>) -> (SendRequest<Body>, u64) {
        loop {
            if let Some((send, generation)) = self.current() {
                // Err: the connection has ended, or the upstream has said GOAWAY. Calls in flight on it go on.
                match send.ready().await {
                    Ok(send) => return (send, generation),
                    Err(_) => self.leave(generation),
                }
                continue;
            }
            let changed = self.changed.notified();
            let _waiting = self.want();
            changed.await;
        }
    }

    fn current(&self) -> Option<(SendRequest<Body>, u64)> {
        match &*self.state.borrow() {
            State::Ready { send, generation } => Some((send.clone(), *generation)),
            State::Idle | State::Dialling { .. } => None,
        }
    }

    /// Starts no further call on the connection of this number: it has ended, or nothing was answered on it for a whole
    /// attempt, as when its host has died. Calls in flight on it go on.
    pub(crate) fn leave(&self, ended: u64) {
        let mut state = self.state.borrow_mut();
        if matches!(&*state, State::Ready { generation, .. } if *generation == ended) {
            *state = State::Idle;
        }
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
        let dialled = tokio::time::timeout(limits::CONNECT_TIMEOUT, connect(&channel.endpoint)).await;
        // Also after a success: until a call is answered on it, the next dial is a repeated one.
        channel.back_off();
        match dialled {
            Ok(Ok((send, connection))) => {
                channel.counters.connects.add(1);
                let generation = channel.counters.connects.get();
                channel.set(State::Ready { send, generation });
                tokio::task::spawn_local(drive(Rc::clone(&channel), connection, generation));
                return;
            }
            Ok(Err(error)) => log_failure(&channel, &error.to_string()),
            Err(_) => log_failure(&channel, "timed out"),
        }
    }
}

async fn drive(channel: Rc<Channel>, connection: h2::client::Connection<TcpStream, Body>, generation: u64) {
    let ended = connection.await;
    channel.leave(generation);
    if let Err(error) = ended
        && let Some(left_out) = channel.log.allow(channel.about, "connection")
    {
        let (exporter, endpoint) = (&channel.upstream.config.name, channel.endpoint.authority());
        tracing::warn!(exporter, endpoint, %error, left_out, "connection to the upstream ended; dialling again");
    }
}

async fn connect(
    endpoint: &Endpoint,
) -> std::io::Result<(SendRequest<Body>, h2::client::Connection<TcpStream, Body>)> {
    // Resolved anew for every dial; connect tries all addresses of the name in turn.
    let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await?;
    listener::tune(&stream)?;
    // Keepalive is silent while data is unacknowledged; without this a dead host's connection lives for many minutes.
    #[cfg(target_os = "linux")]
    SockRef::from(&stream).set_tcp_user_timeout(Some(limits::UPSTREAM_SILENCE_MAX))?;
    let handshake = Builder::new()
        .enable_push(false)
        .initial_window_size(limits::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(limits::CONNECTION_WINDOW_BYTES)
        .max_header_list_size(limits::HEADER_LIST_BYTES_MAX)
        .max_send_buffer_size(limits::UPSTREAM_MESSAGE_BYTES_MAX)
        .data_frame_budget(limits::DATA_FRAME_BUDGET)
        .handshake(stream);
    handshake.await.map_err(std::io::Error::other)
}

fn log_failure(channel: &Channel, error: &str) {
    if let Some(left_out) = channel.log.allow(channel.about, "dial") {
        let (exporter, endpoint) = (&channel.upstream.config.name, channel.endpoint.authority());
        tracing::warn!(
            exporter,
            endpoint,
            error,
            left_out,
            "cannot connect to the upstream; holding data, retrying"
        );
    }
}
