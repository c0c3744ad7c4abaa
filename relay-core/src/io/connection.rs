//! One connection of a sender: HTTP/2 by h2, many calls at once, all in one task.
//!
//! A call whose body has come with its headers (what senders on a node do) is read, admitted and answered in place,
//! without a task, an allocation of a future or a timer. The others wait in a set of futures.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use h2::RecvStream;
use h2::server::{Builder, Connection};
use http::Request;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::call::{Call, Rejection, Respond, Stop, judge};
use super::clock;
use super::core::{Core, Offered};
use super::listener;
use super::reply::Replies;
use super::sender::Phase;
use crate::batch::{DropReason, Receipt, Settled};
use crate::grpc::Code;
use crate::limits;
use crate::otlp::FramedRequest;
use crate::queue::Charge;
use crate::stats::RejectReason;

/// Serves `stream` for the receiver of this number until it ends.
pub(crate) async fn serve(core: Rc<Core>, receiver: usize, stream: TcpStream) {
    let _open = OpenConnection::new(&core, receiver);
    let Some(streams_max) = core.receiver(receiver).map(|receiver| receiver.config.streams_max) else {
        return;
    };
    if let Err(error) = listener::tune(&stream) {
        tracing::debug!(%error, "a new connection is gone already");
        return;
    }
    let handshake = Builder::new()
        .initial_window_size(limits::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(limits::CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(streams_max)
        .max_header_list_size(limits::HEADER_LIST_BYTES_MAX)
        .data_frame_budget(limits::DATA_FRAME_BUDGET)
        .handshake(stream);
    match timeout(limits::HANDSHAKE_TIMEOUT, handshake).await {
        Ok(Ok(connection)) => {
            if let Err(error) = drive(&core, receiver, connection).await {
                // A sender that goes away is not an event (health probes do so all day).
                tracing::debug!(%error, "connection of a sender ended");
            }
        }
        Ok(Err(error)) => tracing::debug!(%error, "no HTTP/2 on a new connection"),
        Err(_) => tracing::debug!("HTTP/2 handshake timed out"),
    }
}

async fn drive(
    core: &Rc<Core>,
    receiver: usize,
    mut connection: Connection<TcpStream, Bytes>,
) -> Result<(), h2::Error> {
    let mut leave = pin!(time_to_leave(core, receiver));
    let mut leaving = false;
    let mut fresh: Vec<(Request<RecvStream>, Respond)> = Vec::new();
    let mut waiting = FuturesUnordered::new();
    std::future::poll_fn(|cx| {
        if !leaving && leave.as_mut().poll(cx).is_ready() {
            leaving = true;
            connection.graceful_shutdown();
        }
        loop {
            // Take all calls that came before answering any: h2 writes whenever it is polled, and one write for
            // many answers is one system call.
            while fresh.len() < limits::CALLS_PER_TURN_MAX {
                match connection.poll_accept(cx) {
                    Poll::Ready(Some(call)) => fresh.push(call?),
                    Poll::Ready(None) => return Poll::Ready(Ok(())),
                    Poll::Pending => break,
                }
            }
            let mut progress = !fresh.is_empty();
            for (request, respond) in fresh.drain(..) {
                if let Some((stage, respond)) = begin(core, receiver, request, respond, cx) {
                    waiting.push(go_on(Rc::clone(core), receiver, stage, respond));
                }
            }
            while let Poll::Ready(Some(())) = waiting.poll_next_unpin(cx) {
                progress = true;
            }
            if !progress {
                return Poll::Pending;
            }
        }
    })
    .await
}

/// What a call that was not answered at once waits for.
enum Stage {
    Body(Call),
    Discard(RecvStream),
    Room { request: FramedRequest, charge: Charge, timeout: Option<Duration> },
    Result(Receipt, u64),
}

/// Reads, admits and answers a call as far as that goes without waiting; returns what is left to wait for.
fn begin(
    core: &Rc<Core>,
    receiver: usize,
    request: Request<RecvStream>,
    mut respond: Respond,
    cx: &mut Context<'_>,
) -> Option<(Stage, Respond)> {
    let (head, body) = request.into_parts();
    let bytes_max = core.receiver(receiver)?.config.message_bytes_max;
    let stage = match judge(&head) {
        Ok(headers) => {
            let mut call = Call::new(&headers, body, core, bytes_max);
            match call.poll_body(cx, false) {
                Poll::Pending => Some(Stage::Body(call)),
                Poll::Ready(Ok(())) => complete(core, receiver, call, &mut respond),
                Poll::Ready(Err(stop)) => stopped(core, receiver, stop, call, &mut respond),
            }
        }
        Err(rejection) => refuse_early(core, receiver, rejection, body, &mut respond),
    };
    stage.map(|stage| (stage, respond))
}

/// Answers a call with an error before its body has ended, and reads the rest of the body to nowhere. Dropping the body
/// instead would reset the stream, and h2 counts resets against the connection that honest senders share.
fn refuse_early(
    core: &Rc<Core>,
    receiver: usize,
    rejection: Rejection,
    body: RecvStream,
    respond: &mut Respond,
) -> Option<Stage> {
    refuse(core, receiver, rejection, respond);
    (!body.is_end_stream()).then_some(Stage::Discard(body))
}

/// A body that is not read any further, for good.
fn stopped(core: &Rc<Core>, receiver: usize, stop: Stop, call: Call, respond: &mut Respond) -> Option<Stage> {
    let rejection = match stop {
        Stop::Gone => {
            Replies::reset(respond);
            return None;
        }
        Stop::Refused(rejection) => rejection,
        Stop::NoRoom => Rejection::full(RejectReason::MemoryFull, 0),
    };
    refuse_early(core, receiver, rejection, call.into_body(), respond)
}

/// Frames and admits a complete body. Answers, or says what to wait for.
fn complete(core: &Rc<Core>, receiver: usize, call: Call, respond: &mut Respond) -> Option<Stage> {
    let timeout = call.timeout;
    let offered = call.finish().and_then(|request| core.offer(receiver, request, false));
    settle_offer(core, receiver, offered, respond, timeout)
}

fn settle_offer(
    core: &Rc<Core>,
    receiver: usize,
    offered: Result<Offered, Rejection>,
    respond: &mut Respond,
    timeout: Option<Duration>,
) -> Option<Stage> {
    match offered {
        Ok(Offered::Queued { items }) => accept(core, receiver, items, respond),
        Ok(Offered::Waiting { receipt, items }) => return Some(Stage::Result(receipt, items)),
        Ok(Offered::Blocked(request)) => match core.shared.waiting.try_charge(request.len()) {
            Some(charge) => return Some(Stage::Room { request, charge, timeout }),
            None => {
                let items = request.items();
                refuse(core, receiver, Rejection::full(RejectReason::QueueFull, items), respond);
            }
        },
        Err(rejection) => refuse(core, receiver, rejection, respond),
    }
    None
}

/// The rest of a call that has to wait for something.
async fn go_on(core: Rc<Core>, receiver: usize, mut stage: Stage, mut respond: Respond) {
    loop {
        let next = match stage {
            Stage::Body(mut call) => {
                let body = timeout(limits::BODY_TIMEOUT, read_body(&core, receiver, &mut call)).await;
                match body {
                    Ok(Ok(())) => complete(&core, receiver, call, &mut respond),
                    Ok(Err(stop)) => stopped(&core, receiver, stop, call, &mut respond),
                    Err(_) => {
                        refuse(&core, receiver, body_timeout(), &mut respond);
                        None
                    }
                }
            }
            Stage::Discard(body) => {
                timeout(limits::BODY_TIMEOUT, discard(body)).await.ok();
                None
            }
            Stage::Room { request, charge, timeout } => {
                let wait = core.wait_for_room_max(receiver, timeout);
                let offered = wait_for_room(&core, receiver, request, wait).await;
                drop(charge);
                settle_offer(&core, receiver, offered, &mut respond, timeout)
            }
            Stage::Result(receipt, items) => {
                let _awaited = AwaitedResult::new(&core.awaited_results);
                match receipt.await {
                    Settled::Delivered => accept(&core, receiver, items, &mut respond),
                    settled => refuse(&core, receiver, not_delivered(settled, items), &mut respond),
                }
                None
            }
        };
        match next {
            Some(next) => stage = next,
            None => return,
        }
    }
}

/// Reads the body to its end. While there is no room it waits, for as long as a complete request would.
async fn read_body(core: &Rc<Core>, receiver: usize, call: &mut Call) -> Result<(), Stop> {
    let mut give_up_at = None;
    loop {
        match std::future::poll_fn(|cx| call.poll_body(cx, true)).await {
            Err(Stop::NoRoom) => {
                let now = clock::now();
                let wait = core.wait_for_room_max(receiver, call.timeout);
                if now >= *give_up_at.get_or_insert(now + wait) {
                    return Err(Stop::NoRoom);
                }
                core.room(receiver).await;
            }
            ended => return ended,
        }
    }
}

async fn discard(mut body: RecvStream) {
    while let Some(Ok(chunk)) = body.data().await {
        if body.flow_control().release_capacity(chunk.len()).is_err() {
            return;
        }
    }
}

async fn wait_for_room(
    core: &Rc<Core>,
    receiver: usize,
    mut request: FramedRequest,
    wait: Duration,
) -> Result<Offered, Rejection> {
    let give_up_at = clock::now() + wait;
    loop {
        core.room(receiver).await;
        let last = clock::now() >= give_up_at;
        match core.offer(receiver, request, last)? {
            Offered::Blocked(back) => request = back,
            offered => return Ok(offered),
        }
    }
}

/// What a sender is told that waited for the upstream's answer: whether trying again may help is the upstream's word.
fn not_delivered(settled: Settled, items: u64) -> Rejection {
    let code = match settled {
        Settled::Dropped(DropReason::Rejected | DropReason::SpanTooLarge) => Code::INVALID_ARGUMENT,
        _ => Code::UNAVAILABLE,
    };
    let message = match settled {
        Settled::Dropped(reason) => format!("the upstream did not take it: {}", reason.name()),
        _ => "the upstream did not take it".to_owned(),
    };
    Rejection { items, ..Rejection::new(RejectReason::Upstream, code, message) }
}

fn body_timeout() -> Rejection {
    let message = format!("body did not arrive within {:?}", limits::BODY_TIMEOUT);
    Rejection::new(RejectReason::BodyTimeout, Code::DEADLINE_EXCEEDED, message)
}

fn accept(core: &Rc<Core>, receiver: usize, items: u64, respond: &mut Respond) {
    if let Some(counters) = core.receiver_counters(receiver) {
        counters.accept(items);
    }
    // An error means that the sender has gone; what it sent is accepted all the same.
    core.replies.accept(respond).ok();
}

fn refuse(core: &Rc<Core>, receiver: usize, rejection: Rejection, respond: &mut Respond) {
    core.count_rejection(receiver, &rejection);
    let answered = match rejection.http {
        Some(status) => Replies::refuse_http(respond, status),
        None => core.replies.refuse(respond, &rejection.status, rejection.is_retryable()),
    };
    answered.ok();
}

/// Resolves when the connection is to be asked to go: at a drain, or at its age.
async fn time_to_leave(core: &Rc<Core>, receiver: usize) {
    let mut phase = core.phase.clone();
    let draining = async { phase.wait_for(|phase| *phase != Phase::Running).await.map(drop) };
    let age = core.receiver(receiver).and_then(|receiver| receiver.config.connection_age_max);
    match age {
        Some(age) => tokio::select! { _ = draining => {} () = tokio::time::sleep(age) => {} },
        None => draining.await.unwrap_or(()),
    }
}

/// Counts a connection while it is open; also when its task panics.
struct OpenConnection(Rc<Core>);

impl OpenConnection {
    fn new(core: &Rc<Core>, receiver: usize) -> Self {
        if let Some(counters) = core.receiver_counters(receiver) {
            counters.connections.add(1);
        }
        Self(Rc::clone(core))
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connection_closed();
    }
}

/// Counts a call that waits for the upstream's answer, so that a drain leaves its connection open.
struct AwaitedResult<'a>(&'a Cell<usize>);

impl<'a> AwaitedResult<'a> {
    fn new(awaited: &'a Cell<usize>) -> Self {
        awaited.set(awaited.get() + 1);
        Self(awaited)
    }
}

impl Drop for AwaitedResult<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
