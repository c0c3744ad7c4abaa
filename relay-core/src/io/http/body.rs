//! The body of an OTLP/HTTP request, as slices of what hyper has received. Counts what it holds while more of it has to come.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::Notify;

use super::super::admission::{Asking, asking};
use super::super::call::Rejection;
use super::super::calls::{body_timeout, memory_full};
use super::super::clock;
use super::super::core::Core;
use super::super::turnstile::{Peer, Waiting};
use crate::batch::held_bytes;
use crate::grpc::Code;
use crate::limits;
use crate::queue::Charge;
use crate::stats::RejectReason;
use crate::wire::{Gathered, Segments};

/// A whole body, what is charged for it until it is admitted, and how long it has waited for room.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) bytes: Segments,
    pub(super) charge: Charge,
    pub(super) waited: Duration,
}

/// Reads a whole body of at most `bytes_max` bytes, within `timeout`.
///
/// # Errors
/// It is too large (known from `Content-Length` before a byte of it is read), did not come in time, was cut off, or there is no
/// room for it.
pub(super) async fn read(
    (core, peer): (&Rc<Core>, &Peer),
    receiver: usize,
    incoming: Incoming,
    (bytes_max, timeout): (usize, Duration),
) -> Result<Body, Rejection> {
    let mut reading = pin!(gather((core, peer), receiver, incoming, bytes_max));
    // Most bodies come with their heads: no timer for them.
    let first = std::future::poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx))).await;
    match first {
        Poll::Ready(read) => read,
        Poll::Pending => {
            tokio::time::timeout(timeout, reading).await.unwrap_or_else(|_| Err(body_timeout(timeout)))
        }
    }
}

/// Reads what is left of a short body, so that the connection can go on behind it; says whether it came to its end.
pub(super) async fn discard(mut incoming: Incoming) -> bool {
    let reading = async {
        let mut left = limits::HTTP_DISCARD_BYTES_MAX;
        while let Some(frame) = incoming.frame().await {
            let Ok(frame) = frame else { return false };
            let len = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(len) {
                Some(less) => left = less,
                None => return false,
            }
        }
        true
    };
    tokio::time::timeout(limits::HTTP_DISCARD_TIMEOUT, reading).await.unwrap_or(false)
}

async fn gather(
    (core, peer): (&Rc<Core>, &Peer),
    receiver: usize,
    mut incoming: Incoming,
    bytes_max: usize,
) -> Result<Body, Rejection> {
    let declared = incoming.size_hint().lower();
    if declared > bytes_max as u64 {
        return Err(too_large(bytes_max));
    }
    let budget = &core.shared.budget;
    let mut gathered = Gathered::default();
    let mut charge = budget.empty_charge();
    // Its turn, once it has come, lasts until the body is complete.
    let (mut pass, mut waited) = (None, Duration::ZERO);
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|error| cut_off(&error))?;
        // Trailers say nothing in OTLP.
        let Ok(piece) = frame.into_data() else { continue };
        if gathered.len() + piece.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        let held = add(&mut gathered, piece, declared, incoming.is_end_stream());
        let wait = core.wait_for_room_max(receiver, None).saturating_sub(waited);
        waited += wait_for_room((core, peer), (&mut charge, held), &mut pass, wait).await?;
    }
    Ok(Body { bytes: gathered.into_segments(), charge, waited })
}

/// Adds a piece; says how many bytes it holds. Little pieces, and all of a little body that comes in several, are copied.
fn add(gathered: &mut Gathered, piece: Bytes, declared: u64, last: bool) -> usize {
    let (len, alone) = (piece.len(), last && gathered.is_empty());
    // A body without a declared length may still be long.
    let little = declared > 0 && declared < limits::INLINE_COPY_BYTES_MAX as u64;
    if alone {
        gathered.push(piece);
        // Admitted or refused at once.
        return 0;
    }
    if len < limits::PIECE_COPY_BYTES_MAX || little {
        gathered.push_copy(&piece);
        return len;
    }
    gathered.push(piece);
    held_bytes(len)
}

/// Charges `held` bytes more, after `wait_max` at the latest; how long that took. While there is no room nothing more is read, so that
/// TCP holds the sender back.
async fn wait_for_room(
    (core, peer): (&Rc<Core>, &Peer),
    (charge, held): (&mut Charge, usize),
    pass: &mut Option<Waiting>,
    wait_max: Duration,
) -> Result<Duration, Rejection> {
    // One that does not get on lets the next have its turn.
    if pass.as_ref().is_some_and(|pass| clock::now() >= pass.give_up_at) {
        *pass = None;
    }
    let may = pass.is_some() || core.has_memory_for_body(held);
    if held == 0 || (may && charge.try_grow(held)) {
        return Ok(Duration::ZERO);
    }
    let wake = Arc::new(Notify::new());
    let waiting = core.wait_for_memory((peer, &wake), (held, pass.take()), wait_max);
    let mut waiting = waiting.ok_or_else(memory_full)?;
    loop {
        waiting.room().await;
        let now = clock::now();
        let Some(asking) = asking(&waiting, now) else { continue };
        if charge.try_grow(held) {
            waiting.bytes.clear();
            let waited = waiting.waited(now);
            *pass = (asking == Asking::InTurn).then_some(waiting);
            return Ok(waited);
        }
        if asking == Asking::Last {
            return Err(memory_full());
        }
    }
}

fn too_large(bytes_max: usize) -> Rejection {
    let message = format!("request body is larger than the receiver's limit of {bytes_max} bytes");
    Rejection::new(RejectReason::TooLarge, Code::RESOURCE_EXHAUSTED, message)
}

fn cut_off(error: &hyper::Error) -> Rejection {
    Rejection::new(RejectReason::BodyCutOff, Code::INVALID_ARGUMENT, format!("request body: {error}"))
}
