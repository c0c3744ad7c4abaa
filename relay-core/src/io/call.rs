//! One `Export` call of a sender: its headers, its body as it arrives, its decoding and its admission. Says what is to
//! be answered; [`super::connection`] answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use super::auth::Verifying;
use super::inbound::Inbound;
use super::shared::ReceiverShared;
use crate::batch::{Unopened, held_bytes};
use crate::encoding::{Encoding, InflateError, inflate};
use crate::grpc::{Code, Message, MessageAssembler, MessageError, Status, parse_timeout};
use crate::http2::Fields;
use crate::limits::{INLINE_COPY_BYTES_MAX, PIECE_COPY_BYTES_MAX, REFUSED_RETRY_DELAY};
use crate::otlp::{RawRequest, Signal};
use crate::queue::{Budget, Charge};
use crate::stats::{Counted, RejectReason};
use crate::wire::Segments;

/// Why a call is refused, and with which status.
#[derive(Debug)]
pub(crate) struct Rejection {
    pub(crate) reason: RejectReason,
    pub(crate) status: Status,
    /// Items of the request, when they are known.
    pub(crate) counted: Option<Counted>,
    /// Answer with this HTTP status: the caller does not speak gRPC.
    pub(crate) http: Option<StatusCode>,
    /// The delay that the sender is asked for, where it is not [`REFUSED_RETRY_DELAY`].
    pub(crate) delay: Option<Duration>,
}

impl Rejection {
    pub(crate) fn new(reason: RejectReason, code: Code, message: impl Into<String>) -> Self {
        Self { reason, status: Status::new(code, message.into()), counted: None, http: None, delay: None }
    }

    /// The relay is full: the sender shall come back (OTLP/gRPC, "Throttling").
    pub(crate) fn full(reason: RejectReason, counted: Counted) -> Self {
        let message = match reason {
            RejectReason::MemoryFull => "relay is out of memory budget; retry later",
            _ => "sending queue is full; retry later",
        };
        Self { counted: Some(counted), ..Self::new(reason, Code::UNAVAILABLE, message) }
    }

    /// Nothing takes requests of this signal here.
    pub(crate) fn unserved(signal: Signal) -> Self {
        let message = format!("{} are not served here: no pipeline takes them", signal.name());
        Self::new(RejectReason::UnknownPath, Code::UNIMPLEMENTED, message)
    }

    /// Not a request of this signal.
    pub(crate) fn malformed(signal: Signal, error: impl std::fmt::Display) -> Self {
        let message = format!("not an {}: {error}", signal.request());
        Self::new(RejectReason::Malformed, Code::INVALID_ARGUMENT, message)
    }

    /// The delay after which the sender is asked to come back; `None` where it is not asked to.
    pub(crate) fn retry_delay(&self) -> Option<Duration> {
        self.delay.or_else(|| (self.status.code == Code::UNAVAILABLE).then_some(REFUSED_RETRY_DELAY))
    }
}

/// What the headers of an acceptable call say.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) signal: Signal,
    pub(crate) encoding: Option<Encoding>,
    timeout: Option<Duration>,
    verifying: Option<Verifying>,
}

/// So much of an unknown path is repeated to whoever asked for it, in bytes.
const PATH_SAID_BYTES_MAX: usize = 128;

/// Judges the headers of a call to `receiver`, in one pass over them.
pub(crate) fn judge(receiver: &ReceiverShared, fields: &Fields) -> Result<Accepted, Rejection> {
    let (mut method, mut path, mut content_type) = (&b""[..], &b""[..], &b""[..]);
    let (mut encoding, mut timeout) = (&b""[..], None);
    let (gate, mut shown) = (receiver.gate.as_ref(), None);
    for (name, value) in fields.iter() {
        match name {
            b":method" => method = value,
            b":path" => path = value,
            b"content-type" => content_type = value,
            b"grpc-encoding" => encoding = value,
            b"grpc-timeout" => timeout = parse_timeout(value),
            _ if gate.is_some_and(|gate| gate.header().as_str().as_bytes() == name) => {
                shown = shown.or(Some(value));
            }
            _ => {}
        }
    }
    if method != b"POST" {
        return Err(not_grpc(StatusCode::METHOD_NOT_ALLOWED, "gRPC calls are POST"));
    }
    if !is_grpc(content_type) {
        return Err(not_grpc(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-type is not application/grpc"));
    }
    // Before anything else is said about what is served here.
    let verifying = gate.map_or(Ok(None), |gate| gate.check(shown))?;
    let signal = Signal::ALL.into_iter().find(|signal| path == signal.grpc_path().as_bytes());
    let Some(signal) = signal else {
        // It goes into the answer, percent-encoded.
        let path = String::from_utf8_lossy(path.get(..PATH_SAID_BYTES_MAX).unwrap_or(path));
        let message = format!("{path} is not served here; {} is", Signal::Traces.grpc_path());
        return Err(Rejection::new(RejectReason::UnknownPath, Code::UNIMPLEMENTED, message));
    };
    if receiver.routes(signal).is_empty() {
        return Err(Rejection::unserved(signal));
    }
    let encoding = Encoding::from_grpc(encoding).map_err(|error| {
        Rejection::new(RejectReason::UnsupportedEncoding, Code::UNIMPLEMENTED, error.to_string())
    })?;
    Ok(Accepted { signal, encoding, timeout, verifying })
}

/// A call whose headers were accepted; its body may still be arriving.
#[derive(Debug)]
pub(crate) struct Call {
    signal: Signal,
    assembler: MessageAssembler,
    encoding: Option<Encoding>,
    // Whether it is forwarded unopened if it is compressed.
    passes: bool,
    message_bytes_max: usize,
    /// The sender's own deadline (`grpc-timeout`), if it has one.
    pub(crate) timeout: Option<Duration>,
    /// How long it has waited for room.
    pub(crate) waited: Duration,
    /// Set while it is not known whether the sender's password is right.
    pub(crate) verifying: Option<Verifying>,
    received: usize,
    // Charged while the body trickles in; a body that came at once is admitted at once.
    charge: Option<Charge>,
    // Bytes held and not charged yet, and bytes to be released to the sender when they are.
    owed: usize,
    unreleased: usize,
}

impl Call {
    /// A call with acceptable headers, which is forwarded unopened if it is compressed and `passes`.
    pub(crate) fn new(headers: Accepted, passes: bool, bytes_max: usize) -> Self {
        Self {
            signal: headers.signal,
            assembler: MessageAssembler::new(bytes_max),
            encoding: headers.encoding,
            passes,
            message_bytes_max: bytes_max,
            timeout: headers.timeout,
            waited: Duration::ZERO,
            verifying: headers.verifying,
            received: 0,
            charge: None,
            owed: 0,
            unreleased: 0,
        }
    }

    /// Takes bytes of the body. `last` says that nothing follows, so that what this call holds need not be counted: it is
    /// admitted or refused now.
    pub(crate) fn push(&mut self, bytes: Bytes, last: bool) -> Result<(), Rejection> {
        let len = bytes.len();
        self.unreleased += len;
        self.received += len;
        if last {
            return self.assembler.push(bytes).map_err(|error| message_rejection(&error));
        }
        let copied = self.assembler.push_kept(bytes, PIECE_COPY_BYTES_MAX, INLINE_COPY_BYTES_MAX);
        self.owed += if copied.map_err(|error| message_rejection(&error))? { len } else { held_bytes(len) };
        Ok(())
    }

    /// Counts what the call holds. Bytes that the sender may be told to send again, or `None` while there is no room.
    pub(crate) fn charge(&mut self, budget: &Arc<Budget>) -> Option<usize> {
        if self.owed > 0 {
            let charge = self.charge.get_or_insert_with(|| budget.empty_charge());
            if !charge.try_grow(self.owed) {
                return None;
            }
            self.owed = 0;
        }
        Some(std::mem::take(&mut self.unreleased))
    }

    /// Bytes that it holds and that are not counted yet.
    pub(crate) fn owed(&self) -> usize {
        self.owed
    }

    /// Bytes of the body that are not released to the sender yet.
    pub(crate) fn unreleased(&self) -> usize {
        self.unreleased
    }

    /// Bytes of the body that have come.
    pub(crate) fn received(&self) -> usize {
        self.received
    }

    /// The request, when the body is complete.
    pub(crate) fn finish(self) -> Result<Inbound, Rejection> {
        let signal = self.signal;
        let message = self.assembler.finish().map_err(|error| message_rejection(&error))?;
        if let (true, true, Some(encoding)) = (self.passes, message.compressed, self.encoding) {
            return Ok(Unopened { signal, encoding, bytes: message.body }.into());
        }
        let body = decompress(message, self.encoding, self.message_bytes_max)?;
        let framed = RawRequest::new(body).frame(signal);
        framed.map(Inbound::from).map_err(|error| Rejection::malformed(signal, error))
    }
}

fn decompress(message: Message, encoding: Option<Encoding>, bytes_max: usize) -> Result<Segments, Rejection> {
    if !message.compressed {
        return Ok(message.body);
    }
    let Some(encoding) = encoding else {
        // gRPC core, "Compression": the flag without an encoding is an internal error of the caller.
        let message = "compressed flag is set, but there is no grpc-encoding";
        return Err(Rejection::new(RejectReason::GrpcMessage, Code::INTERNAL, message));
    };
    inflated(encoding, message.body, bytes_max)
}

/// What `body` is when its encoding is undone, of at most `bytes_max` bytes.
pub(crate) fn inflated(encoding: Encoding, body: Segments, bytes_max: usize) -> Result<Segments, Rejection> {
    inflate(encoding, body.into(), bytes_max).map(Segments::from).map_err(|error| match &error {
        InflateError::TooLarge(_) => {
            Rejection::new(RejectReason::TooLarge, Code::RESOURCE_EXHAUSTED, error.to_string())
        }
        InflateError::NotEncoded { .. } => {
            Rejection::new(RejectReason::Decompress, Code::INVALID_ARGUMENT, error.to_string())
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
