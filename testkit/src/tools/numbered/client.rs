//! One client of `numbered`: sends its requests one after the other, each until it is answered for good or given up.
//!
//! Must never have two calls in flight: that is how the SDKs export.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use tokio::sync::watch;

use super::super::client::{Answer, Connection, call, head, is_retryable};
use super::Args;
use super::report::{ACKNOWLEDGED, REFUSED, REPEATED, UNKNOWN};
use super::request::{Oddity, Shape, numbered};
use crate::raw::grpc_message;

const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(2);

/// What all clients together have seen.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) refusals: u64,
    pub(super) broken: u64,
    pub(super) connections: u64,
    last_acknowledged: Instant,
    /// The longest time between two acknowledgements, whichever clients they were for.
    pub(super) longest_gap: Duration,
    /// The longest time from a request's first attempt to its acknowledgement.
    pub(super) slowest: Duration,
}

impl Seen {
    pub(super) fn new(started: Instant) -> Self {
        Self {
            refusals: 0,
            broken: 0,
            connections: 0,
            last_acknowledged: started,
            longest_gap: Duration::ZERO,
            slowest: Duration::ZERO,
        }
    }

    fn note_acknowledged(&mut self, begun: Instant) {
        let now = Instant::now();
        self.longest_gap = self.longest_gap.max(now - self.last_acknowledged);
        self.last_acknowledged = now;
        self.slowest = self.slowest.max(now - begun);
    }
}

/// What a client has sent.
#[derive(Debug, Default)]
pub(super) struct Sent {
    pub(super) outcomes: Vec<u8>,
    /// The request that held the huge span.
    pub(super) huge: Option<u32>,
}

/// How an attempt ended without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unanswered {
    /// Nobody took the connection.
    NotConnected,
    /// The receiver said that it has not processed it (RFC 9113 section 8.7).
    NotProcessed,
    /// Nobody knows.
    Lost,
}

pub(super) struct Client {
    args: Args,
    number: u16,
    shape: Shape,
    started: Instant,
    seen: Rc<RefCell<Seen>>,
    stopped: watch::Receiver<bool>,
    service: String,
    head: Request<()>,
    timeout: Duration,
    connection: Option<Connection>,
    sent: Sent,
}

impl Client {
    pub(super) fn new(
        args: &Args,
        number: u16,
        shape: Shape,
        started: Instant,
        seen: Rc<RefCell<Seen>>,
        stopped: watch::Receiver<bool>,
    ) -> Self {
        let timeout = Duration::from_secs_f64(args.timeout_seconds);
        Self {
            number,
            shape,
            started,
            seen,
            stopped,
            service: format!("{}-{number}", args.name),
            head: head(&args.endpoint, timeout, false),
            timeout,
            connection: None,
            sent: Sent::default(),
            args: args.clone(),
        }
    }

    /// Sends until told to stop, and gives what was sent.
    pub(super) async fn run(mut self) -> Sent {
        for request in 0.. {
            if let Some(due) = self.due(request) {
                tokio::select! {
                    () = tokio::time::sleep_until(due.into()) => {}
                    _ = self.stopped.wait_for(|stopped| *stopped) => {}
                }
            }
            if *self.stopped.borrow() {
                break;
            }
            let oddity = self.oddity(request);
            let message = numbered(&self.service, self.number, request, self.shape, oddity);
            let outcome = self.deliver(&grpc_message(&message)).await;
            self.sent.outcomes.push(outcome);
        }
        if let Some(connection) = self.connection.take() {
            connection.close().await;
        }
        self.sent
    }

    /// When a request is due at the rate asked for; the clients take turns.
    fn due(&self, request: u32) -> Option<Instant> {
        let place = f64::from(request) * f64::from(self.args.clients) + f64::from(self.number);
        self.args.rate.map(|rate| self.started + Duration::from_secs_f64(place / rate))
    }

    fn oddity(&mut self, request: u32) -> Oddity {
        if self.number != 0 {
            return Oddity::None;
        }
        if self.args.poison_every.is_some_and(|every| request.is_multiple_of(every.max(1))) {
            return Oddity::Poison;
        }
        let half = Duration::from_secs_f64(self.args.seconds.unwrap_or_default() / 2.0);
        match self.args.huge_bytes {
            Some(bytes) if self.sent.huge.is_none() && self.started.elapsed() >= half => {
                self.sent.huge = Some(request);
                Oddity::Huge(bytes)
            }
            _ => Oddity::None,
        }
    }

    /// Sends one request until it is accepted or given up; gives its code in the report.
    async fn deliver(&mut self, framed: &Bytes) -> u8 {
        let begun = Instant::now();
        let give_up = begun + Duration::from_secs_f64(self.args.retry_seconds);
        let (mut backoff, mut may_have_arrived, mut was_sent_on) = (FIRST_BACKOFF, false, false);
        loop {
            let wait = match self.attempt(framed).await {
                Ok(answer) if answer.code == 0 => {
                    self.seen.borrow_mut().note_acknowledged(begun);
                    return if may_have_arrived { REPEATED } else { ACKNOWLEDGED };
                }
                Ok(answer) => {
                    self.seen.borrow_mut().refusals += 1;
                    is_retryable(&answer).then(|| answer.retry_after.unwrap_or(backoff))
                }
                // As gRPC's clients do, once and at once ("transparent retries").
                Err(Unanswered::NotProcessed) if !was_sent_on => {
                    was_sent_on = true;
                    continue;
                }
                Err(unanswered) => {
                    self.seen.borrow_mut().broken += 1;
                    may_have_arrived |= unanswered == Unanswered::Lost;
                    Some(backoff)
                }
            };
            match wait {
                Some(wait) if Instant::now() + wait < give_up => {
                    tokio::time::sleep(wait).await;
                    backoff = (backoff * 2).min(LONGEST_BACKOFF);
                }
                _ => return if may_have_arrived { UNKNOWN } else { REFUSED },
            }
        }
    }

    /// One attempt. Where there was no answer, the connection is given up.
    async fn attempt(&mut self, framed: &Bytes) -> Result<Answer, Unanswered> {
        if self.connection.is_none() {
            let opened = tokio::time::timeout(self.timeout, Connection::open(&self.args.endpoint)).await;
            self.connection = Some(opened.ok().and_then(Result::ok).ok_or(Unanswered::NotConnected)?);
            self.seen.borrow_mut().connections += 1;
        }
        let Some(connection) = &self.connection else { return Err(Unanswered::NotConnected) };
        let called = call(&connection.send, self.head.clone(), framed.clone());
        let unanswered = match tokio::time::timeout(self.timeout, called).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) if is_unprocessed(&error) => Unanswered::NotProcessed,
            Ok(Err(_)) | Err(_) => Unanswered::Lost,
        };
        self.connection = None;
        Err(unanswered)
    }
}

/// Whether the receiver said that it has not begun with the call: GOAWAY with a lower last stream, or `REFUSED_STREAM`.
fn is_unprocessed(error: &h2::Error) -> bool {
    let said_so = error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR);
    said_so || error.reason() == Some(h2::Reason::REFUSED_STREAM)
}
