//! One OTLP/HTTP request: from its head and body to its answer. What it shares with a gRPC call is in [`super::super::call`] and
//! [`super::super::core`].

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, Version};
use hyper::body::Incoming;
use tokio::sync::Notify;

use super::super::admission::{Asking, Offered, asking};
use super::super::auth::Gate;
use super::super::call::{Rejection, inflated};
use super::super::calls::{AwaitedResult, memory_full};
use super::super::clock;
use super::super::core::Core;
use super::super::inbound::Inbound;
use super::super::not_delivered::not_delivered;
use super::super::reply::partial_success;
use super::super::turnstile::Peer;
use super::super::{gather, transcode};
use super::answer::{self, AnswerBody};
use super::body::{self, Body};
use super::cors;
use super::format::Format;
use super::head::{self, Head};
use crate::batch::{Origin, Settled, Unopened};
use crate::config::HttpConfig;
use crate::grpc::ExportResponse;
use crate::otlp::RawRequest;
use crate::stats::{Counted, RejectReason, Transport};

/// Answers one request that came to the receiver of this number by the connection of that.
pub(super) async fn answer(
    (core, peer): (Rc<Core>, Rc<Peer>),
    (receiver, origin): (usize, Origin),
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Infallible> {
    gather::call();
    let (parts, incoming) = request.into_parts();
    // Over HTTP/2 it is a task of its own.
    let _panics = (parts.version == Version::HTTP_2).then(|| CountPanic(Rc::clone(&core)));
    let Some(http) = core.receiver(receiver).and_then(|receiver| receiver.config.http.as_ref()) else {
        return Ok(Response::default());
    };
    if let Some(cors) = &http.cors
        && let Some(preflight) = cors::preflight(cors, &parts)
    {
        return Ok(preflight);
    }
    let format = Format::of_answer(&parts.headers);
    let mut rest = Rest::Read;
    let mut response =
        match take((&core, &peer), (receiver, origin), http, &parts, (incoming, &mut rest)).await {
            Ok(Accepted { counted, partial }) => {
                if let Some(counters) = core.receiver_counters(receiver, Transport::Http) {
                    counters.accept(counted);
                }
                partial.map_or_else(
                    || answer::success(format),
                    |partial| answer::partial_success(format, counted.signal, &partial),
                )
            }
            Err(rejection) => {
                core.count_rejection(receiver, Transport::Http, &rejection);
                let challenge = core.receiver(receiver).and_then(|receiver| receiver.gate.as_ref());
                answer::refusal(format, http, &rejection, challenge.map(Gate::challenge))
            }
        };
    // What follows on the connection is the rest of a body that nobody reads, or nothing may follow any more (RFC 9112 section 9.6).
    if parts.version < Version::HTTP_2 && (rest == Rest::Left || core.is_draining()) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(cors) = &http.cors {
        cors::allow(cors, &parts.headers, response.headers_mut());
    }
    if let Some(shared) = core.receiver(receiver) {
        let configured = shared.answer_headers.iter();
        response.headers_mut().extend(configured.map(|(name, value)| (name.clone(), value.clone())));
    }
    Ok(response)
}

struct CountPanic(Rc<Core>);

impl Drop for CountPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.count_panic();
        }
    }
}

/// A request that was accepted, and what the upstream did not accept of it, where that was waited for.
struct Accepted {
    counted: Counted,
    partial: Option<ExportResponse>,
}

/// What is left of a body when its request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    Read,
    Left,
}

async fn take(
    (core, peer): (&Rc<Core>, &Peer),
    (receiver, origin): (usize, Origin),
    http: &HttpConfig,
    parts: &http::request::Parts,
    (incoming, rest): (Incoming, &mut Rest),
) -> Result<Accepted, Rejection> {
    let Some(shared) = core.receiver(receiver) else { return Err(memory_full()) };
    let mut head = match head::judge(shared, http, parts) {
        Ok(head) => head,
        Err(rejection) => {
            if !body::discard(incoming).await {
                *rest = Rest::Left;
            }
            return Err(rejection);
        }
    };
    if let Some(verifying) = head.verifying.take() {
        *rest = Rest::Left;
        verifying.verified().await?;
    }
    let bytes_max = shared.config.message_bytes_max;
    *rest = Rest::Left;
    let body = body::read((core, peer), receiver, incoming, (bytes_max, http.body_timeout)).await?;
    *rest = Rest::Read;
    let waited = body.waited;
    let request = match head.encoding {
        Some(encoding) if head.format == Format::Protobuf && core.passes(receiver, head.signal, encoding) => {
            // What follows is charged where it is queued.
            drop(body.charge);
            Unopened { signal: head.signal, encoding, bytes: body.bytes }.into()
        }
        _ => decode(core, head, body, bytes_max).await?,
    };
    admit((core, peer), receiver, request.sent_by(origin), waited).await
}

/// From a body to a request that may be admitted.
async fn decode(core: &Rc<Core>, head: Head, body: Body, bytes_max: usize) -> Result<Inbound, Rejection> {
    let Body { bytes, charge, waited: _ } = body;
    let plain = match head.encoding {
        None => bytes,
        // Nothing is a request without items in any encoding.
        Some(_) if bytes.is_empty() => bytes,
        Some(encoding) => inflated(encoding, bytes, bytes_max)?,
    };
    let message = match head.format {
        Format::Protobuf => plain,
        Format::Json if plain.is_empty() => plain,
        Format::Json => match &core.shared.transcoder {
            Some(transcoder) => transcoder.to_protobuf(head.signal, plain, bytes_max).await?.into(),
            None => return Err(transcode::busy()),
        },
    };
    // What follows is charged where it is queued.
    drop(charge);
    let framed = RawRequest::new(message).frame(head.signal);
    framed.map(Inbound::from).map_err(|error| Rejection::malformed(head.signal, error))
}

/// Admits a request, after a wait for room if need be (it has `waited` before), and waits for the upstream's answer if that was asked for.
async fn admit(
    (core, peer): (&Rc<Core>, &Peer),
    receiver: usize,
    request: Inbound,
    waited: Duration,
) -> Result<Accepted, Rejection> {
    let mut offered = core.offer(receiver, request, Asking::First, None)?;
    if let Offered::Blocked(request) = offered {
        offered = admit_later((core, peer), receiver, request, waited).await?;
    }
    match offered {
        Offered::Queued(counted) => Ok(Accepted { counted, partial: None }),
        Offered::Waiting(receipt, counted) => {
            let awaited = AwaitedResult::new(core);
            let settled = receipt.await;
            drop(awaited);
            match settled {
                Settled::Delivered | Settled::Stored => Ok(Accepted { counted, partial: None }),
                Settled::Partial { rejected, message } => {
                    Ok(Accepted { counted, partial: Some(partial_success(rejected, &message)) })
                }
                settled => Err(not_delivered(&settled, counted, Transport::Http)),
            }
        }
        // Only who gives a ticket gets one back.
        Offered::Ticketed(counted) => Ok(Accepted { counted, partial: None }),
        // The last offer never blocks.
        Offered::Blocked(request) => Err(Rejection::full(RejectReason::QueueFull, request.counted())),
    }
}

async fn admit_later(
    (core, peer): (&Rc<Core>, &Peer),
    receiver: usize,
    request: Inbound,
    waited: Duration,
) -> Result<Offered, Rejection> {
    // Requests of one connection over HTTP/2 are tasks of their own.
    let wake = Arc::new(Notify::new());
    let wait = core.wait_for_room_max(receiver, None).saturating_sub(waited);
    let Some(waiting) = core.wait_for_turn(receiver, (peer, &wake), &request, wait) else {
        // It has no share left of what may wait.
        return core.offer_without_waiting(receiver, request, None);
    };
    let mut request = request.detached();
    loop {
        waiting.room().await;
        let Some(asking) = asking(&waiting, clock::now()) else { continue };
        match core.offer(receiver, request, asking, None)? {
            Offered::Blocked(blocked) => request = blocked,
            offered => return Ok(offered),
        }
    }
}
