//! One OTLP/HTTP request: from its head and body to its answer. What it shares with a gRPC call is in [`super::super::call`] and
//! [`super::super::core`].

use std::convert::Infallible;
use std::rc::Rc;

use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, Version};
use hyper::body::Incoming;

use super::super::auth::Gate;
use super::super::call::{Rejection, inflated};
use super::super::calls::{AwaitedResult, memory_full, not_delivered};
use super::super::clock;
use super::super::core::{Core, Offered};
use super::super::inbound::Inbound;
use super::super::reply::partial_success;
use super::super::{gather, transcode};
use super::answer::{self, AnswerBody};
use super::body::{self, Body};
use super::cors;
use super::format::Format;
use super::head::{self, Head};
use crate::batch::{Settled, Unopened};
use crate::config::HttpConfig;
use crate::grpc::ExportResponse;
use crate::otlp::RawRequest;
use crate::stats::{Counted, RejectReason, Transport};

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
    let mut rest = Rest::Read;
    let mut response = match take(&core, receiver, http, &parts, (incoming, &mut rest)).await {
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
    core: &Rc<Core>,
    receiver: usize,
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
    let body = body::read(core, receiver, incoming, (bytes_max, http.body_timeout)).await?;
    *rest = Rest::Read;
    let request = match head.encoding {
        Some(encoding) if head.format == Format::Protobuf && core.passes(receiver, head.signal, encoding) => {
            // What follows is charged where it is queued.
            drop(body.charge);
            Inbound::Unopened(Unopened { signal: head.signal, encoding, bytes: body.bytes })
        }
        _ => decode(core, head, body, bytes_max).await?,
    };
    admit(core, receiver, request).await
}

/// From a body to a request that may be admitted.
async fn decode(core: &Rc<Core>, head: Head, body: Body, bytes_max: usize) -> Result<Inbound, Rejection> {
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
    let framed = RawRequest::new(message).frame(head.signal);
    framed.map(Inbound::Framed).map_err(|error| Rejection::malformed(head.signal, error))
}

/// Admits a request, after a wait for room if need be, and waits for the upstream's answer if that was asked for.
async fn admit(core: &Rc<Core>, receiver: usize, request: Inbound) -> Result<Accepted, Rejection> {
    let mut offered = core.offer(receiver, request, false)?;
    if let Offered::Blocked(request) = offered {
        offered = admit_later(core, receiver, request).await?;
    }
    match offered {
        Offered::Queued(counted) => Ok(Accepted { counted, partial: None }),
        Offered::Waiting(receipt, counted) => {
            let awaited = AwaitedResult::new(core);
            let settled = receipt.await;
            drop(awaited);
            match settled {
                Settled::Delivered => Ok(Accepted { counted, partial: None }),
                Settled::Partial { rejected, message } => {
                    Ok(Accepted { counted, partial: Some(partial_success(rejected, &message)) })
                }
                settled => Err(not_delivered(settled, counted)),
            }
        }
        // The last offer never blocks.
        Offered::Blocked(request) => Err(Rejection::full(RejectReason::QueueFull, request.counted())),
    }
}

async fn admit_later(core: &Rc<Core>, receiver: usize, request: Inbound) -> Result<Offered, Rejection> {
    let Some(_charge) = core.shared.waiting.try_charge(request.bytes().len()) else {
        // Nor is there room to wait: asked for the last time, so that each upstream counts what it refuses.
        return core.offer(receiver, request, true);
    };
    let mut request = request.detached();
    let give_up_at = clock::now() + core.wait_for_room_max(receiver, None);
    loop {
        core.room(receiver).await;
        match core.offer(receiver, request, clock::now() >= give_up_at)? {
            Offered::Blocked(blocked) => request = blocked,
            offered => return Ok(offered),
        }
    }
}
