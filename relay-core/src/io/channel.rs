//! The connection of one core to one address of an upstream: dialled in the background when a call wants it, replaced when it is
//! old, left when it is of no use. Must never make a call wait: `pool` knows where else it may go.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::addresses::Addresses;
use super::clock::{self, Dice};
use super::http_export::{HttpClient, HttpConnector};
use super::link::{Link, Room};
use super::log_limit::LogLimit;
use super::shared::UpstreamShared;
use super::socket;
use crate::limits::{CONNECT_TIMEOUT, CONNECTION_AGE_JITTER, CONNECTION_REPLACE_PAUSE, RECONNECT_DELAY_MAX};
use crate::stats::UpstreamCounters;
use crate::upstream::Address;

/// What all connections of one core to one upstream have in common.
pub(crate) struct Site {
    pub(crate) about: usize,
    pub(crate) upstream: Arc<UpstreamShared>,
    pub(crate) addresses: Arc<Addresses>,
    pub(crate) counters: Arc<UpstreamCounters>,
    pub(crate) log: Rc<LogLimit>,
    pub(crate) dice: Rc<Dice>,
    /// Age at which a connection is replaced, less some jitter.
    pub(crate) age_max: Duration,
    /// How OTLP/HTTP is spoken; `None` for gRPC.
    pub(crate) http: Option<HttpConnector>,
    /// Told when something on this core is other than it was: a connection, or room on one.
    pub(crate) changed: Rc<Notify>,
}

impl Site {
    /// An address may be used that could not, or takes less than was known.
    pub(crate) fn tell_all(&self) {
        self.upstream.learn_bytes_max(&self.addresses.table);
        self.addresses.changed.notify_waiters();
    }
}

/// The connection to one address, if there is one. Belongs to one core.
pub(crate) struct Channel {
    site: Rc<Site>,
    address: Arc<Address>,
    current: RefCell<Option<Rc<Connected>>>,
    // Since when a task dials.
    dialling: Cell<Option<Instant>>,
    // It has left the upstream: nothing is dialled any more.
    removed: Cell<bool>,
}

/// A connection, or for OTLP/HTTP several to the same address.
pub(crate) struct Connected {
    pub(crate) way: Way,
    begun: Instant,
    replace_at: Cell<Instant>,
    calls: Cell<u64>,
    answers: Cell<u64>,
}

pub(crate) enum Way {
    Grpc(Rc<Link>),
    Http(Box<HttpClient>),
}

impl Connected {
    fn new(way: Way, site: &Site) -> Rc<Self> {
        let begun = clock::now();
        let age_max = site.age_max.mul_f64(1.0 - CONNECTION_AGE_JITTER * site.dice.roll());
        let replace_at = Cell::new(begun + age_max);
        Rc::new(Self { way, begun, replace_at, calls: Cell::new(0), answers: Cell::new(0) })
    }

    fn room(&self) -> Room {
        match &self.way {
            Way::Grpc(link) => link.room(),
            Way::Http(_) => Room::Free,
        }
    }

    /// A call begins on it.
    pub(crate) fn begin_call(&self) {
        self.calls.set(self.calls.get() + 1);
    }

    /// A call on it was answered.
    pub(crate) fn answered(&self) {
        self.answers.set(self.answers.get() + 1);
    }

    /// Calls answered on it so far.
    pub(crate) fn answers(&self) -> u64 {
        self.answers.get()
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        if let Way::Grpc(link) = &self.way {
            link.left();
        }
    }
}

impl Channel {
    pub(crate) fn new(site: Rc<Site>, address: Arc<Address>) -> Rc<Self> {
        let (current, dialling) = (RefCell::default(), Cell::default());
        Rc::new(Self { site, address, current, dialling, removed: Cell::new(false) })
    }

    pub(crate) fn site(&self) -> &Site {
        &self.site
    }

    pub(crate) fn address(&self) -> &Arc<Address> {
        &self.address
    }

    /// Leaves a connection on which no further call can start. Calls in flight on it go on.
    pub(crate) fn tidy(&self) {
        let over = self.connected().filter(|connected| connected.room() == Room::Over);
        if let Some(over) = over {
            self.ended(&over);
        }
    }

    /// Whether a call may start now.
    pub(crate) fn has_room(&self) -> bool {
        self.current.borrow().as_ref().is_some_and(|current| current.room() == Room::Free)
    }

    /// The connection, if there is one.
    pub(crate) fn connected(&self) -> Option<Rc<Connected>> {
        self.current.borrow().clone()
    }

    /// Whether there is one, with room or without.
    pub(crate) fn is_connected(&self) -> bool {
        self.current.borrow().is_some()
    }

    /// Since when it is being dialled.
    pub(crate) fn dialling_since(&self) -> Option<Instant> {
        self.dialling.get()
    }

    /// Whether there is no connection, or an old one, and nobody dials.
    pub(crate) fn wants_dial(&self, now: Instant) -> bool {
        let is_young = self.current.borrow().as_ref().is_some_and(|current| now < current.replace_at.get());
        !is_young && self.dialling.get().is_none()
    }

    /// Dials in the background. The caller has asked [`Address::claim_dial`].
    pub(crate) fn dial(self: &Rc<Self>, now: Instant) {
        self.dialling.set(Some(now));
        tokio::task::spawn_local(dial(Rc::clone(self)));
    }

    /// Starts no further call on this connection, if it is the current one, and says whether it was. Calls in flight on it go on.
    pub(crate) fn leave(&self, connected: &Rc<Connected>) -> bool {
        let mut current = self.current.borrow_mut();
        let is_current = current.as_ref().is_some_and(|current| Rc::ptr_eq(current, connected));
        let left = if is_current { current.take() } else { None };
        drop(current);
        left.is_some()
    }

    /// The address has left the upstream: its calls in flight go on, nothing else.
    pub(crate) fn remove(&self) {
        self.removed.set(true);
        self.current.borrow_mut().take();
    }

    /// It is of no use any more: no connection, or nothing was answered on it.
    pub(crate) fn fail(&self) {
        if self.address.failed(clock::now(), self.site.dice.roll()) {
            self.site.addresses.look_again();
        }
        self.site.tell_all();
    }

    /// The connection has ended, or its peer takes no more calls. One that has never answered is a failure of the address: a
    /// crash loop is not hammered. One that nobody used says nothing: the peer closes what is quiet.
    fn ended(&self, connected: &Rc<Connected>) -> bool {
        if !self.leave(connected) {
            return false;
        }
        let age = clock::now().saturating_duration_since(connected.begun);
        let is_failure = connected.answers() == 0 && (connected.calls.get() > 0 || age < RECONNECT_DELAY_MAX);
        if is_failure {
            self.fail();
        }
        true
    }

    fn install(&self, connected: Rc<Connected>) {
        let old =
            if self.removed.get() { Some(connected) } else { self.current.borrow_mut().replace(connected) };
        // After the borrow: it tells its driver.
        drop(old);
        self.address.dialled();
        self.site.tell_all();
    }

    /// There is no new connection. One that works is kept for now.
    fn not_dialled(&self, error: &str) {
        if let Some(current) = &*self.current.borrow() {
            current.replace_at.set(clock::now() + CONNECTION_REPLACE_PAUSE);
        }
        if !self.is_connected() || self.address.is_down() {
            self.fail();
        }
        self.log_dial(error);
    }

    /// Says that it cannot be connected to.
    pub(crate) fn log_dial(&self, error: &str) {
        if let Some(left_out) = self.site.log.allow(self.site.about, "dial") {
            let exporter = &self.site.upstream.config.name;
            let (endpoint, address) =
                (self.site.addresses.endpoint().to_string(), self.address.place().to_string());
            tracing::warn!(
                exporter,
                endpoint,
                address,
                error,
                left_out,
                "cannot connect to the upstream; holding data, retrying"
            );
        }
    }
}

/// A dial that has begun; also one that is dropped with its core ends.
struct Dialling(Rc<Channel>);

impl Drop for Dialling {
    fn drop(&mut self) {
        self.0.dialling.set(None);
        self.0.address.dial_lost();
        self.0.site.changed.notify_waiters();
    }
}

async fn dial(channel: Rc<Channel>) {
    let dialling = Dialling(Rc::clone(&channel));
    let timeout = CONNECT_TIMEOUT;
    match tokio::time::timeout(timeout, connect(&channel)).await {
        Ok(Ok((connected, driver))) => {
            channel.site.counters.connects.add(1);
            if let Some(driver) = driver {
                tokio::task::spawn_local(watch(Rc::clone(&channel), driver, Rc::downgrade(&connected)));
            }
            channel.install(connected);
        }
        Ok(Err(error)) => channel.not_dialled(&error.to_string()),
        Err(_) => channel.not_dialled("timed out"),
    }
    drop(dialling);
}

/// Waits for the end of a connection.
async fn watch(channel: Rc<Channel>, driver: JoinHandle<String>, connected: Weak<Connected>) {
    let cause = driver.await.unwrap_or_else(|error| error.to_string());
    let was_current = connected.upgrade().is_some_and(|connected| channel.ended(&connected));
    // Whoever waits for room on it finds it gone.
    channel.site.changed.notify_waiters();
    if was_current && let Some(left_out) = channel.site.log.allow(channel.site.about, "connection") {
        let exporter = &channel.site.upstream.config.name;
        let (endpoint, address) =
            (channel.site.addresses.endpoint().to_string(), channel.address.place().to_string());
        tracing::warn!(
            exporter,
            endpoint,
            address,
            cause,
            left_out,
            "connection to the upstream ended; dialling again"
        );
    }
}

type Dialled = (Rc<Connected>, Option<JoinHandle<String>>);

async fn connect(channel: &Channel) -> io::Result<Dialled> {
    let site = &channel.site;
    if let Some(http) = &site.http {
        let client = http.connect(channel.address.place()).await?;
        return Ok((Connected::new(Way::Http(Box::new(client)), site), None));
    }
    let tls = site.upstream.tls.as_ref();
    let stream = socket::dial(channel.address.place(), site.addresses.endpoint(), tls).await?;
    let (link, driver) = Link::new(stream, Rc::clone(&site.changed));
    // Not a task of its own yet: what is dropped here, at a timeout, closes the socket.
    let mut driver = Box::pin(driver);
    tokio::select! {
        biased;
        settled = link.settled() => settled.map_err(|cause| not_settled(site, &cause))?,
        cause = &mut driver => return Err(not_settled(site, &cause)),
    }
    let driver = tokio::task::spawn_local(driver);
    Ok((Connected::new(Way::Grpc(link), site), Some(driver)))
}

/// What an operator can do about an upstream that does not begin to speak HTTP/2.
fn not_settled(site: &Site, cause: &str) -> io::Error {
    let hint = if site.upstream.tls.is_none() { " (does it want TLS?)" } else { "" };
    io::Error::other(format!("the upstream has not begun to speak HTTP/2{hint}: {cause}"))
}
