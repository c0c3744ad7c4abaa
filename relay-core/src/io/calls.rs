//! The calls on one connection: from what HTTP/2 says has come to what it shall answer.
//!
//! A call whose body came whole is framed, admitted and answered in place: no task, no timer, no allocation of its own. What has
//! to wait (for more of a body, for room, for the upstream's result) waits in a list here; [`super::connection`] says when to look
//! again.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;

use super::admission::{Asking, Offered, asking};
use super::auth::Verifying;
use super::call::{Call, Rejection, judge};
use super::core::Core;
use super::inbound::Inbound;
use super::not_delivered::{deadline_passed, not_delivered};
use super::turnstile::{Peer, Waiting, WaitingBytes};
use super::{clock, gather, reply};
use crate::batch::{Answers, Origin, Settled};
use crate::grpc::Code;
use crate::http2::{Event, Server, Violation};
use crate::limits;
use crate::otlp::Signal;
use crate::stats::{Counted, RejectReason, Transport};
pub(crate) use results::AwaitedResult;
use results::Results;

mod bodies;
mod results;

/// The calls on one connection, and its HTTP/2.
pub(crate) struct Calls {
    core: Rc<Core>,
    receiver: usize,
    origin: Origin,
    message_bytes_max: usize,
    /// The connection, as far as it waits.
    pub(crate) peer: Rc<Peer>,
    pub(crate) http2: Server,
    // Calls that are not answered, ascending by stream, but for those in `results` and `later`.
    open: Vec<Open>,
    // How long what is read now may have waited for that.
    unread: Duration,
    results: Results,
    // The same inbox, as batches know it.
    inbox: Arc<dyn Answers>,
    // What is rare: checks of credentials, results of several upstreams.
    later: FuturesUnordered<LocalBoxFuture<'static, (u32, Later)>>,
}

/// What a call that is in no list has waited for.
enum Later {
    /// The upstream's answer.
    Settled(Counted, Settled),
    /// Nothing within its sender's deadline.
    Late(Counted),
    /// Whether its sender may send it. It holds slices of read buffers, which are counted as waiting.
    Verified(Box<Call>, Result<(), Rejection>, WaitingBytes),
}

/// A call that waits.
struct Open {
    stream: u32,
    wait: Wait,
}

enum Wait {
    /// For more of its body. `old` when it has waited since before the body timer was set. With a `pass` its turn for memory has come,
    /// and lasts until the body is complete.
    Body { call: Call, old: bool, pass: Option<Waiting> },
    /// For memory to hold more of its body; until then its sender is held back.
    BodyRoom { call: Call, ended: bool, waiting: Waiting },
    /// For room in the queue.
    Room { request: Inbound, waiting: Waiting, timeout: Option<Duration> },
}

impl Calls {
    /// For the connection of this number to the receiver of that number.
    pub(crate) fn new(
        core: Rc<Core>,
        (receiver, origin): (usize, Origin),
        message_bytes_max: usize,
        http2: Server,
    ) -> Self {
        let peer = Rc::new(core.new_peer());
        let results = Results::default();
        let inbox = Arc::clone(&results.inbox) as Arc<dyn Answers>;
        Self {
            core,
            receiver,
            origin,
            message_bytes_max,
            peer,
            http2,
            open: Vec::new(),
            unread: Duration::ZERO,
            results,
            inbox,
            later: FuturesUnordered::new(),
        }
    }

    /// Takes what was read.
    ///
    /// # Errors
    /// [`Violation`]: the connection cannot go on.
    pub(crate) fn take(&mut self, mut input: Bytes) -> Result<(), Violation> {
        while !input.is_empty() {
            match self.http2.receive(&mut input)? {
                None => break,
                Some(Event::Call { stream, end }) => self.begin(stream, end),
                Some(Event::Data { stream, bytes, end }) => self.body(stream, bytes, end),
                Some(Event::Reset { stream }) => {
                    if let Some(open) = self.place_of(stream).map(|at| self.open.remove(at))
                        && let Wait::Body { call, .. } | Wait::BodyRoom { call, .. } = &open.wait
                    {
                        self.http2.release(stream, call.unreleased());
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether a call waits for more of its body.
    pub(crate) fn waits_for_bodies(&self) -> bool {
        self.open.iter().any(|open| matches!(open.wait, Wait::Body { .. }))
    }

    /// Says for how long what will be read now was not: calls that wait for it have waited so long.
    pub(crate) fn was_unread(&mut self, time: Duration) {
        self.unread = time;
        for open in &mut self.open {
            if let Wait::Body { call, .. } = &mut open.wait {
                call.waited += time;
            }
        }
    }

    /// All that had come is read.
    pub(crate) fn is_read(&mut self) {
        self.unread = Duration::ZERO;
    }

    /// Whether the turn of a call has come, which may end as soon as the rest of its body is read.
    pub(crate) fn has_turn(&self) -> bool {
        self.open.iter().any(|open| matches!(open.wait, Wait::Body { pass: Some(_), .. }))
    }

    /// Whether a call waits for room, or has its turn.
    pub(crate) fn waits_for_room(&self) -> bool {
        self.open.iter().any(|open| !matches!(open.wait, Wait::Body { pass: None, .. }))
    }

    fn place_of(&self, stream: u32) -> Option<usize> {
        match self.open.last() {
            Some(last) if last.stream == stream => Some(self.open.len() - 1),
            _ => self.open.binary_search_by_key(&stream, |open| open.stream).ok(),
        }
    }

    fn wait(&mut self, stream: u32, wait: Wait) {
        let at = self.open.partition_point(|open| open.stream < stream);
        self.open.insert(at, Open { stream, wait });
    }

    fn begin(&mut self, stream: u32, end: bool) {
        gather::call();
        let Some(receiver) = self.core.receiver(self.receiver) else { return };
        match judge(receiver, self.http2.fields()) {
            Ok(headers) => {
                let passes = headers
                    .encoding
                    .is_some_and(|encoding| self.core.passes(self.receiver, headers.signal, encoding));
                let mut call = Call::new(headers, passes, self.message_bytes_max);
                call.waited = self.unread;
                if end {
                    return self.complete(stream, call);
                }
                self.open.push(Open { stream, wait: Wait::Body { call, old: false, pass: None } });
            }
            Err(rejection) => self.refuse(stream, &rejection),
        }
    }

    fn body(&mut self, stream: u32, bytes: Bytes, end: bool) {
        let len = bytes.len();
        let at = self.place_of(stream);
        let Some(open) = at.and_then(|at| self.open.get_mut(at)) else {
            self.http2.release(stream, len);
            return;
        };
        let pushed = match &mut open.wait {
            Wait::Body { call, .. } => call.push(bytes, end),
            Wait::BodyRoom { call, ended, waiting } => {
                *ended = end;
                let before = call.owed();
                let pushed = call.push(bytes, false);
                let more = call.owed() - before;
                pushed.and_then(|()| if waiting.bytes.try_grow(more) { Ok(()) } else { Err(memory_full()) })
            }
            Wait::Room { .. } => Ok(()),
        };
        let next = match (pushed, &mut open.wait) {
            (Err(rejection), Wait::Body { call, .. } | Wait::BodyRoom { call, .. }) => {
                Some((Err(rejection), call.unreleased()))
            }
            (Ok(()), Wait::Body { call, .. }) if end => Some((Ok(()), call.unreleased())),
            (Ok(()), Wait::Body { call, pass, .. }) => {
                match self.core.charge_body(call, pass.as_ref()) {
                    Some(release) => self.http2.release(stream, release),
                    None => self.hold_back(stream),
                }
                None
            }
            _ => None,
        };
        let Some((ended, unreleased)) = next else { return };
        let Some(open) = at.map(|at| self.open.remove(at)) else { return };
        self.http2.release(stream, unreleased);
        match (ended, open.wait) {
            (Ok(()), Wait::Body { call, .. }) => self.complete(stream, call),
            (Err(rejection), _) => self.refuse(stream, &rejection),
            _ => {}
        }
    }

    /// Frames and admits a complete body. Answers, or lets it wait.
    fn complete(&mut self, stream: u32, mut call: Call) {
        if let Some(verifying) = call.verifying.take() {
            return self.verify(stream, call, verifying);
        }
        let (timeout, waited) = (call.timeout, call.waited);
        let request = call.finish().map(|request| request.sent_by(self.origin));
        let offered = request.and_then(|request| {
            self.core.offer(self.receiver, request, Asking::First, Some((&self.inbox, stream)))
        });
        self.settle(stream, offered, (timeout, waited), None);
    }

    /// Lets a complete call wait until it is known whether its sender may send it: nothing of it is looked at before.
    fn verify(&mut self, stream: u32, call: Call, verifying: Verifying) {
        let bytes = call.received() + limits::READ_BYTES;
        let Some(held) = self.peer.hold(&self.core.shared.waiting, bytes) else {
            return self.refuse(stream, &memory_full());
        };
        let awaited = AwaitedResult::new(&self.core);
        let call = Box::new(call);
        self.later.push(Box::pin(async move {
            let verified = verifying.verified().await;
            drop(awaited);
            (stream, Later::Verified(call, verified, held))
        }));
    }

    fn settle(
        &mut self,
        stream: u32,
        offered: Result<Offered, Rejection>,
        (timeout, waited): (Option<Duration>, Duration),
        waiting: Option<Waiting>,
    ) {
        match offered {
            Ok(Offered::Queued(counted)) => self.accept(stream, counted),
            Ok(Offered::Ticketed(counted)) => {
                let deadline = results::deadline(clock::now, timeout);
                self.results.wait(stream, counted, deadline, AwaitedResult::new(&self.core));
            }
            Ok(Offered::Waiting(receipt, counted)) => {
                let awaited = AwaitedResult::new(&self.core);
                self.later.push(Box::pin(async move {
                    let settled = match timeout {
                        None => Ok(receipt.await),
                        Some(timeout) => tokio::time::timeout(timeout, receipt).await,
                    };
                    drop(awaited);
                    let later =
                        settled.map_or(Later::Late(counted), |settled| Later::Settled(counted, settled));
                    (stream, later)
                }));
            }
            Ok(Offered::Blocked(request)) => {
                if let Some(waiting) = waiting {
                    return self.wait(stream, Wait::Room { request, waiting, timeout });
                }
                let peer = &self.peer;
                let wait = self.core.wait_for_room_max(self.receiver, timeout).saturating_sub(waited);
                match self.core.wait_for_turn(self.receiver, (peer, &peer.wake), &request, wait) {
                    Some(waiting) => {
                        // A slice would hold the read buffer of the whole core while it waits.
                        let request = request.detached();
                        self.wait(stream, Wait::Room { request, waiting, timeout });
                    }
                    // It has no share left of what may wait.
                    None => {
                        let last = self.core.offer_without_waiting(
                            self.receiver,
                            request,
                            Some((&self.inbox, stream)),
                        );
                        self.settle(stream, last, (timeout, waited), None);
                    }
                }
            }
            Err(rejection) => self.refuse(stream, &rejection),
        }
    }

    /// Answers the calls whose result has come.
    pub(crate) fn answer_results(&mut self, cx: &mut Context<'_>) {
        for (stream, counted, settled) in self.results.ended(cx, clock::now) {
            match settled {
                Some(settled) => self.answer(stream, counted, settled),
                None => self.refuse(stream, &deadline_passed(counted)),
            }
        }
        while let Poll::Ready(Some((stream, later))) = self.later.poll_next_unpin(cx) {
            match later {
                Later::Settled(counted, settled) => self.answer(stream, counted, settled),
                Later::Late(counted) => self.refuse(stream, &deadline_passed(counted)),
                Later::Verified(call, Ok(()), _held) => self.complete(stream, *call),
                Later::Verified(_, Err(rejection), _) => self.refuse(stream, &rejection),
            }
        }
    }

    fn answer(&mut self, stream: u32, counted: Counted, settled: Settled) {
        match settled {
            Settled::Delivered | Settled::Stored => self.accept(stream, counted),
            Settled::Partial { rejected, message } => {
                self.count_acceptance(counted);
                reply::accept_partly(&mut self.http2, stream, rejected, &message);
            }
            settled => self.refuse(stream, &not_delivered(&settled, counted, Transport::Grpc)),
        }
    }

    /// Asks again for all whose turn has come, and gives up those that have waited for too long.
    pub(crate) fn retry_all(&mut self) {
        let now = clock::now();
        for open in std::mem::take(&mut self.open) {
            let stream = open.stream;
            match open.wait {
                // One that does not get on lets the next have its turn.
                Wait::Body { call, old, pass } => {
                    let pass = pass.filter(|pass| now < pass.give_up_at);
                    self.wait(stream, Wait::Body { call, old, pass });
                }
                Wait::BodyRoom { call, ended, waiting } => {
                    self.retry_body(stream, call, ended, (waiting, now));
                }
                Wait::Room { request, waiting, timeout } => {
                    let offered = match asking(&waiting, now) {
                        Some(asking) => {
                            self.core.offer(self.receiver, request, asking, Some((&self.inbox, stream)))
                        }
                        None => Ok(Offered::Blocked(request)),
                    };
                    // It waits on, if it does.
                    self.settle(stream, offered, (timeout, Duration::ZERO), Some(waiting));
                }
            }
        }
    }

    fn accept(&mut self, stream: u32, counted: Counted) {
        self.count_acceptance(counted);
        self.http2.accept(stream);
    }

    fn count_acceptance(&self, counted: Counted) {
        if let Some(counters) = self.core.receiver_counters(self.receiver, Transport::Grpc) {
            counters.accept(counted);
        }
    }

    fn refuse(&mut self, stream: u32, rejection: &Rejection) {
        self.core.count_rejection(self.receiver, Transport::Grpc, rejection);
        reply::refuse(&mut self.http2, stream, rejection);
    }
}

/// There is no room for a body whose items nobody has counted.
pub(crate) fn memory_full() -> Rejection {
    let nothing = Counted { signal: Signal::Traces, items: 0, unopened: 0 };
    Rejection { counted: None, ..Rejection::full(RejectReason::MemoryFull, nothing) }
}

pub(crate) fn body_timeout(timeout: Duration) -> Rejection {
    let message = format!("body did not arrive within {timeout:?}");
    Rejection::new(RejectReason::BodyTimeout, Code::DEADLINE_EXCEEDED, message)
}
