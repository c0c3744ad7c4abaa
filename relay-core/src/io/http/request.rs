//! One OTLP/HTTP request: from its head and body to its answer. What it shares with a gRPC call is in [`super::super::call`] and
//! [`super::super::core`].

use std::convert::Infallible;
use std::rc::Rc;

use http::{Request, Response};
use hyper::body::Incoming;

use super::super::auth::Gate;
use super::super::call::{Rejection, inflated};
use super::super::calls::{AwaitedResult, not_delivered};
use super::super::clock;
use super::super::core::{Core, Counted, Offered, detached};
use super::super::{gather, transcode};
use super::answer::{self, AnswerBody};
use super::body::{self, Body};
use super::cors;
use super::head::{self, Format, Head};
use crate::batch::Settled;
use crate::config::HttpConfig;
use crate::otlp::{FramedRequest, RawRequest};
use crate::stats::{RejectReason, Transport};

/// Answers one request.
pub(super) async fn answer(
    core: Rc<Core>,
    receiver: usize,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Infallible> {
    gather::call();
    let (parts, incoming) = request.into_parts();
    let Some(http) = core.receiver(receiver).and_then(|receiver| receiver.config.http.as_ref()) else {
        return Ok(Response::default());
    };
    if let Some(cors) = &http.cors
        && let Some(preflight) = cors::preflight(cors, &parts)
    {
        return Ok(preflight);
    }
    let format = Format::of_answer(&parts.headers);
    let mut response = match take(&core, receiver, http, &parts, incoming).await {
        Ok((signal, items)) => {
            if let Some(counters) = core.receiver_counters(receiver, Transport::Http) {
                counters.accept(signal, items);
            }
            answer::success(format)
        }
        Err(rejection) => {
            core.count_rejection(receiver, Transport::Http, &rejection);
            let challenge = core.receiver(receiver).and_then(|receiver| receiver.gate.as_ref());
            answer::refusal(format, http, &rejection, challenge.map(Gate::challenge))
        }
    };
    if let Some(cors) = &http.cors {
        cors::allow(cors, &parts.headers, response.headers_mut());
    }
    answer::add_headers(http, response.headers_mut());
    Ok(response)
}

async fn take(
    core: &Rc<Core>,
    receiver: usize,
    http: &HttpConfig,
    parts: &http::request::Parts,
    incoming: Incoming,
) -> Result<Counted, Rejection> {
    let Some(shared) = core.receiver(receiver) else { return Err(super::super::calls::memory_full()) };
    let mut head = head::judge(shared, http, parts)?;
    if let Some(verifying) = head.verifying.take() {
        verifying.verified().await?;
    }
    let bytes_max = shared.config.message_bytes_max;
    let body = body::read(core, receiver, incoming, (bytes_max, http.body_timeout)).await?;
    let request = decode(core, head, body, bytes_max).await?;
    admit(core, receiver, request).await
}

/// From a body to a request that may be admitted.
async fn decode(
    core: &Rc<Core>,
    head: Head,
    body: Body,
    bytes_max: usize,
) -> Result<FramedRequest, Rejection> {
    let Body { bytes, charge } = body;
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
    RawRequest::new(message).frame(head.signal).map_err(|error| Rejection::malformed(head.signal, error))
}

/// Admits a request, after a wait for room if need be, and waits for the upstream's answer if that was asked for.
async fn admit(core: &Rc<Core>, receiver: usize, request: FramedRequest) -> Result<Counted, Rejection> {
    let mut offered = core.offer(receiver, request, false)?;
    if let Offered::Blocked(request) = offered {
        offered = admit_later(core, receiver, request).await?;
    }
    match offered {
        Offered::Queued(counted) => Ok(counted),
        Offered::Waiting(receipt, counted) => {
            let awaited = AwaitedResult::new(core);
            let settled = receipt.await;
            drop(awaited);
            match settled {
                Settled::Delivered => Ok(counted),
                settled => Err(not_delivered(settled, counted)),
            }
        }
        // The last offer never blocks.
        Offered::Blocked(request) => {
            Err(Rejection::full(RejectReason::QueueFull, (request.signal(), request.items())))
        }
    }
}

async fn admit_later(core: &Rc<Core>, receiver: usize, request: FramedRequest) -> Result<Offered, Rejection> {
    let Some(_charge) = core.shared.waiting.try_charge(request.len()) else {
        // Nor is there room to wait: asked for the last time, so that each upstream counts what it refuses.
        return core.offer(receiver, request, true);
    };
    let mut request = detached(request);
    let give_up_at = clock::now() + core.wait_for_room_max(receiver, None);
    loop {
        core.room(receiver).await;
        match core.offer(receiver, request, clock::now() >= give_up_at)? {
            Offered::Blocked(blocked) => request = blocked,
            offered => return Ok(offered),
        }
    }
}
