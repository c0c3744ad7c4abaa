//! One `Export` call of a sender: its headers, its body as it arrives, its decoding and its admission. Says what is to
//! be answered; [`super::connection`] answers.

use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};

use super::core::Core;
use super::gzip::{self, InflateError};
use crate::batch::held_bytes;
use crate::grpc::{Code, Message, MessageAssembler, MessageError, Status, TRACE_EXPORT_PATH, parse_timeout};
use crate::otlp::{FramedRequest, RawRequest};
use crate::queue::Charge;
use crate::stats::RejectReason;
use crate::wire::Segments;

/// Why a call is refused, and with which status.
#[derive(Debug)]
pub(crate) struct Rejection {
    pub(crate) reason: RejectReason,
    pub(crate) status: Status,
    /// Items of the request, when they are known.
    pub(crate) items: u64,
    /// Answer with this HTTP status: the caller does not speak gRPC.
    pub(crate) http: Option<StatusCode>,
}

impl Rejection {
    pub(crate) fn new(reason: RejectReason, code: Code, message: impl Into<String>) -> Self {
        Self { reason, status: Status::new(code, message.into()), items: 0, http: None }
    }

    /// The relay is full: the sender shall come back (OTLP/gRPC, "Throttling").
    pub(crate) fn full(reason: RejectReason, items: u64) -> Self {
        let message = match reason {
            RejectReason::MemoryFull => "relay is out of memory budget; retry later",
            _ => "sending queue is full; retry later",
        };
        Self { items, ..Self::new(reason, Code::UNAVAILABLE, message) }
    }

    /// Whether the sender is asked to come back.
    pub(crate) fn is_retryable(&self) -> bool {
        self.status.code == Code::UNAVAILABLE
    }
}

/// What the headers of an acceptable call say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accepted {
    gzip: bool,
    timeout: Option<Duration>,
}

/// Judges the headers of a call.
pub(crate) fn judge(head: &Parts) -> Result<Accepted, Rejection> {
    if head.method != Method::POST {
        return Err(not_grpc(StatusCode::METHOD_NOT_ALLOWED, "gRPC calls are POST"));
    }
    let value = |name: &str| head.headers.get(name).map_or(&b""[..], HeaderValue::as_bytes);
    if !is_grpc(value(CONTENT_TYPE.as_str())) {
        return Err(not_grpc(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-type is not application/grpc"));
    }
    if head.uri.path() != TRACE_EXPORT_PATH {
        let message = format!("{} is not served here; {TRACE_EXPORT_PATH} is", head.uri.path());
        return Err(Rejection::new(RejectReason::UnknownPath, Code::UNIMPLEMENTED, message));
    }
    let gzip = match value("grpc-encoding") {
        b"" | b"identity" => false,
        b"gzip" => true,
        other => {
            let other = String::from_utf8_lossy(other);
            let message = format!("grpc-encoding {other:?} is not supported; use gzip");
            return Err(Rejection::new(RejectReason::UnsupportedEncoding, Code::UNIMPLEMENTED, message));
        }
    };
    Ok(Accepted { gzip, timeout: parse_timeout(value("grpc-timeout")) })
}

/// A call whose headers were accepted; its body may still be arriving.
#[derive(Debug)]
pub(crate) struct Call {
    body: RecvStream,
    assembler: MessageAssembler,
    gzip: bool,
    message_bytes_max: usize,
    /// The sender's own deadline (`grpc-timeout`), if it has one.
    pub(crate) timeout: Option<Duration>,
    // Charged while the body trickles in; a body that came at once is admitted at once.
    charge: Charge,
    // Bytes held and not charged yet.
    owed: usize,
}

/// Why the body of a call is not read any further.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The sender has reset the call or gone; nobody is to be answered.
    Gone,
    /// It is refused.
    Refused(Rejection),
    /// The byte budget is used up; it may go on when there is room.
    NoRoom,
}

impl Call {
    /// A call with acceptable headers.
    pub(crate) fn new(headers: &Accepted, body: RecvStream, core: &Rc<Core>, bytes_max: usize) -> Self {
        Self {
            body,
            assembler: MessageAssembler::new(bytes_max),
            gzip: headers.gzip,
            message_bytes_max: bytes_max,
            timeout: headers.timeout,
            charge: core.shared.budget.empty_charge(),
            owed: 0,
        }
    }

    /// What is left of the body, of a call that was refused before its end.
    pub(crate) fn into_body(self) -> RecvStream {
        self.body
    }

    /// Takes what has arrived of the body; ready when the call has ended or cannot go on now. `charged` says that the
    /// call has to wait for more, so that what it holds meanwhile counts.
    pub(crate) fn poll_body(&mut self, cx: &mut Context<'_>, charged: bool) -> Poll<Result<(), Stop>> {
        loop {
            // Nothing more is read while this does not fit: HTTP/2 flow control holds the sender back.
            if charged && self.owed > 0 && !self.charge.try_grow(self.owed) {
                return Poll::Ready(Err(Stop::NoRoom));
            }
            if charged {
                self.owed = 0;
            }
            let Some(chunk) = ready!(self.body.poll_data(cx)) else { return Poll::Ready(Ok(())) };
            let Ok(chunk) = chunk else { return Poll::Ready(Err(Stop::Gone)) };
            if self.body.flow_control().release_capacity(chunk.len()).is_err() {
                return Poll::Ready(Err(Stop::Gone));
            }
            self.owed += held_bytes(chunk.len());
            if let Err(error) = self.assembler.push(chunk) {
                return Poll::Ready(Err(Stop::Refused(message_rejection(&error))));
            }
        }
    }

    /// The request, when the body is complete.
    pub(crate) fn finish(self) -> Result<FramedRequest, Rejection> {
        let message = self.assembler.finish().map_err(|error| message_rejection(&error))?;
        let body = decompress(message, self.gzip, self.message_bytes_max)?;
        RawRequest::new(body).frame().map_err(|error| {
            let message = format!("not an ExportTraceServiceRequest: {error}");
            Rejection::new(RejectReason::Malformed, Code::INVALID_ARGUMENT, message)
        })
    }
}

fn decompress(message: Message, gzip: bool, bytes_max: usize) -> Result<Segments, Rejection> {
    if !message.compressed {
        return Ok(message.body);
    }
    if !gzip {
        // gRPC core, "Compression": the flag without an encoding is an internal error of the caller.
        let message = "compressed flag is set, but there is no grpc-encoding";
        return Err(Rejection::new(RejectReason::GrpcMessage, Code::INTERNAL, message));
    }
    let inflated = gzip::inflate(message.body.into(), bytes_max);
    inflated.map(Segments::from).map_err(|error| match &error {
        InflateError::TooLarge(_) => {
            Rejection::new(RejectReason::TooLarge, Code::RESOURCE_EXHAUSTED, error.to_string())
        }
        InflateError::NotGzip(_) => {
            Rejection::new(RejectReason::Gzip, Code::INVALID_ARGUMENT, error.to_string())
        }
    })
}

fn message_rejection(error: &MessageError) -> Rejection {
    let (reason, code) = match error {
        MessageError::TooLarge { .. } => (RejectReason::TooLarge, Code::RESOURCE_EXHAUSTED),
        MessageError::Trailing => (RejectReason::GrpcMessage, Code::UNIMPLEMENTED),
        _ => (RejectReason::GrpcMessage, Code::INVALID_ARGUMENT),
    };
    Rejection::new(reason, code, error.to_string())
}

fn not_grpc(status: StatusCode, message: &str) -> Rejection {
    let rejection = Rejection::new(RejectReason::NotGrpc, Code::UNKNOWN, message);
    Rejection { http: Some(status), ..rejection }
}

/// `application/grpc`, alone or with a `+proto` or parameters. Not `+json`, which is another encoding of messages.
fn is_grpc(content_type: &[u8]) -> bool {
    let Some(rest) = content_type.strip_prefix(b"application/grpc") else { return false };
    rest.is_empty() || rest.starts_with(b"+proto") || rest.starts_with(b";")
}

/// Bytes that a call's answer is made of; named for the signatures that carry it.
pub(crate) type Respond = h2::server::SendResponse<Bytes>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types() {
        for good in ["application/grpc", "application/grpc+proto", "application/grpc; charset=utf-8"] {
            assert!(is_grpc(good.as_bytes()), "{good}");
        }
        for bad in ["", "application/json", "application/grpc-web", "application/grpc+json"] {
            assert!(!is_grpc(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn lies_of_the_prefix_have_their_status() {
        let status = |error: MessageError| message_rejection(&error).status.code;
        assert_eq!(status(MessageError::TooLarge { declared: 9, max: 1 }), Code::RESOURCE_EXHAUSTED);
        assert_eq!(status(MessageError::Truncated { declared: 9, got: 1 }), Code::INVALID_ARGUMENT);
        assert_eq!(status(MessageError::Trailing), Code::UNIMPLEMENTED);
        assert_eq!(status(MessageError::Flag(7)), Code::INVALID_ARGUMENT);
    }
}
