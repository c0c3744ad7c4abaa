//! The way from one core to one upstream: which protocol is spoken, and one attempt to send a message. Must never decide whether
//! there is another attempt: `sender` asks `upstream` for that.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use super::addresses::Addresses;
use super::channel::{Site, Way as Connection};
use super::clock::{self, Dice};
use super::export::{Template, Tried as GrpcTried, export};
use super::http_export::{HttpConnector, HttpTemplate, Tried as HttpTried};
use super::intake::Intake;
use super::lease::Lease;
use super::log_limit::LogLimit;
use super::pool::{Acquired, Pool};
use super::sender::Phase;
use super::shared::{RouteConfig, UpstreamShared};
use crate::batch::{Batch, Encoding, Rope};
use crate::config::{BatchSink, Compression};
use crate::limits::{CONNECTION_AGE_MAX, RESENDS_AT_ONCE_MAX};
use crate::upstream::{Address, Outcome, RetryPolicy, Verdict};

/// Belongs to one core.
pub(crate) struct Route {
    way: Way,
    upstream: Arc<UpstreamShared>,
    retry: RetryPolicy,
    attempt_timeout: Duration,
}

enum Way {
    Grpc(Rc<Pool>, Template),
    // The bound is that on connections: each carries one call; where HTTP/2 is agreed on, one is enough.
    Http(Rc<Pool>, Box<HttpTemplate>, usize),
    Sink(Arc<dyn BatchSink>),
    // Each member of a tier has a sender, and so a way, of its own.
    Nowhere,
}

/// How one attempt has ended.
pub(crate) enum Attempted {
    /// So, at this address if it went to one.
    Ended(Outcome, Option<Arc<Address>>),
    /// It was not begun: no address takes more than this many bytes.
    TooLarge(usize),
}

/// A message, how it is encoded, and its size as the upstream will count it (0 if nobody knows).
type Message<'a> = (&'a Rope, Option<Encoding>, usize);

impl Route {
    /// To the upstream of `intake`, whose number in logs is `about`.
    pub(crate) fn new(
        (about, intake): (usize, &Intake),
        phase: watch::Receiver<Phase>,
        (log, dice): (Rc<LogLimit>, Rc<Dice>),
    ) -> Self {
        let (upstream, counters) = (Arc::clone(&intake.upstream), Arc::clone(&intake.counters));
        let pool = |addresses: &Arc<Addresses>, age_max, http| {
            let (upstream, addresses) = (Arc::clone(&intake.upstream), Arc::clone(addresses));
            let (counters, changed) = (Arc::clone(&intake.counters), Rc::new(Notify::new()));
            Pool::new(Site { about, upstream, addresses, counters, log, dice, age_max, http, changed }, phase)
        };
        let (way, retry, attempt_timeout) = match &upstream.route {
            RouteConfig::Grpc(grpc, addresses) => {
                let (grpc, template) = &**grpc;
                (
                    Way::Grpc(pool(addresses, grpc.connection_age_max, None), template.clone()),
                    grpc.retry,
                    grpc.timeout,
                )
            }
            RouteConfig::Http(http, addresses) => {
                let (http, template) = &**http;
                let calls_max = http.connections.connections_max.unwrap_or(usize::MAX);
                let connector = HttpConnector::new((http, template), Arc::clone(&upstream), counters);
                let pool = pool(addresses, CONNECTION_AGE_MAX, Some(connector));
                (Way::Http(pool, Box::new(template.clone()), calls_max), http.retry, http.timeout)
            }
            RouteConfig::Keyed(tier) => (Way::Nowhere, tier.config().grpc.retry, Duration::MAX),
            RouteConfig::Sink(sink) => (Way::Sink(Arc::clone(sink)), RetryPolicy::default(), Duration::MAX),
        };
        Self { way, upstream, retry, attempt_timeout }
    }

    /// How failed attempts are repeated.
    pub(crate) fn retry(&self) -> &RetryPolicy {
        &self.retry
    }

    /// Calls in flight, at most `configured`.
    pub(crate) fn calls_max(&self, configured: usize) -> usize {
        match &self.way {
            Way::Http(_, _, calls_max) => configured.min(*calls_max),
            Way::Grpc(..) | Way::Sink(_) | Way::Nowhere => configured,
        }
    }

    /// How messages are to be compressed.
    pub(crate) fn compression(&self) -> Compression {
        match &self.way {
            Way::Grpc(_, template) => template.compression,
            Way::Http(_, template, _) => template.compression,
            Way::Sink(_) | Way::Nowhere => Compression::None,
        }
    }

    /// Whether the endpoint has a path, which may be a wrong one.
    pub(crate) fn has_path(&self) -> bool {
        matches!(self.way, Way::Http(..))
    }

    /// Sends the `message` of `batch`, encoded as it says, once. Waits for a connection until `give_up_at`; says in `is_sent` whether the
    /// upstream may have something of it.
    pub(crate) async fn attempt(
        &self,
        batch: &Batch,
        (message, encoding): (&Rope, Option<Encoding>),
        give_up_at: Option<Instant>,
        is_sent: &Cell<bool>,
    ) -> Attempted {
        let give_up_at =
            if self.retry.enabled { give_up_at } else { Some(clock::now() + self.attempt_timeout) };
        // What came encoded says nothing about the size of what is not.
        let bytes = if batch.encoding().is_some() { 0 } else { batch.rope().len() };
        let message = (message, encoding, bytes);
        match &self.way {
            Way::Grpc(pool, _) | Way::Http(pool, _, _) => {
                self.attempt_over(pool, message, give_up_at, is_sent).await
            }
            Way::Sink(sink) => {
                let outcome = sink.deliver(batch);
                if bytes > 0 && outcome.verdict_by(&self.retry.table, bytes) == Verdict::TooLarge {
                    let bytes_max = outcome.size_limit().unwrap_or(bytes / 2);
                    self.upstream.bytes_max.fetch_min(bytes_max.max(1), Ordering::Relaxed);
                }
                Attempted::Ended(outcome, None)
            }
            Way::Nowhere => {
                let cause = "nothing is sent but to members".to_owned();
                Attempted::Ended(Outcome::Lost { cause }, None)
            }
        }
    }

    async fn attempt_over(
        &self,
        pool: &Pool,
        message: Message<'_>,
        give_up_at: Option<Instant>,
        is_sent: &Cell<bool>,
    ) -> Attempted {
        let mut resends = 0;
        loop {
            is_sent.set(false);
            let lease = match pool.acquire(message.2, give_up_at).await {
                Acquired::Lease(lease) => lease,
                Acquired::TooLarge(bytes_max) => return Attempted::TooLarge(bytes_max),
                Acquired::GivenUp => {
                    let cause = "no connection to the upstream".to_owned();
                    return Attempted::Ended(Outcome::Lost { cause }, None);
                }
            };
            is_sent.set(true);
            let address = Arc::clone(lease.address());
            let sent = tokio::time::timeout(self.attempt_timeout, self.send(&lease, message));
            let outcome = match sent.await {
                Ok(Sent::Answered(outcome)) => {
                    lease.answered(
                        &outcome,
                        outcome.verdict_by(&self.retry.table, message.2.max(message.0.len())),
                    );
                    outcome
                }
                Ok(Sent::Lost { cause, broken }) => {
                    lease.lost(broken);
                    Outcome::Lost { cause }
                }
                // Its server has not looked at it: no attempt at all.
                Ok(Sent::NotProcessed) if resends < RESENDS_AT_ONCE_MAX => {
                    resends += 1;
                    continue;
                }
                Ok(Sent::NotProcessed) => Outcome::Lost { cause: "upstream is leaving".to_owned() },
                Ok(Sent::NotConnected(cause)) => {
                    lease.not_connected(cause.as_deref());
                    continue;
                }
                Err(_) => {
                    lease.timed_out();
                    Outcome::Lost { cause: format!("no answer within {:?}", self.attempt_timeout) }
                }
            };
            return Attempted::Ended(outcome, Some(address));
        }
    }

    async fn send(&self, lease: &Lease, (message, encoding, _): Message<'_>) -> Sent {
        match (&self.way, &lease.connected().way) {
            (Way::Grpc(_, template), Connection::Grpc(link)) => {
                match export(link, template, (message, encoding)).await {
                    GrpcTried::Ended(outcome) => Sent::Answered(outcome),
                    GrpcTried::NotProcessed => Sent::NotProcessed,
                    GrpcTried::Lost(cause) => Sent::Lost { cause, broken: false },
                }
            }
            (Way::Http(_, template, _), Connection::Http(client)) => {
                match client.send(template, (message, encoding)).await {
                    HttpTried::Answered(outcome) => Sent::Answered(outcome),
                    HttpTried::NotConnected(cause) => Sent::NotConnected(cause),
                    HttpTried::Lost(cause) => Sent::Lost { cause, broken: true },
                }
            }
            _ => Sent::NotConnected(None),
        }
    }
}

/// How sending a message over one connection has ended.
enum Sent {
    Answered(Outcome),
    Lost { cause: String, broken: bool },
    NotProcessed,
    NotConnected(Option<String>),
}
