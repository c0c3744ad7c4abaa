//! What the collector answers, call by call.
//!
//! Must never look at anything but the request and the number of the call, so that a test reads as its script.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tonic::Code;

use super::record::Call;
use crate::oracle::ExportTraceServiceRequest;

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Full success: an empty response message.
    Ok,
    /// A gRPC status; with `retry_after`, `RetryInfo` goes along in `grpc-status-details-bin`.
    Status {
        /// gRPC status code.
        code: Code,
        /// Status message.
        message: String,
        /// Delay in the `RetryInfo`.
        retry_after: Option<Duration>,
    },
    /// Success with `partial_success` set (OTLP specification, section "Partial Success").
    PartialSuccess {
        /// `rejected_spans`, or what the other signals have in its place; 0 with a message is a warning.
        rejected_spans: i64,
        /// `error_message`.
        message: String,
    },
    /// Waits, then gives the other reply, unless the caller goes away first.
    Delay(Duration, Box<Self>),
    /// Takes the request and answers nothing until the caller gives up.
    NeverAnswer,
}

impl Reply {
    /// A status without `RetryInfo`.
    #[must_use]
    pub fn status(code: Code, message: &str) -> Self {
        Self::Status { code, message: message.to_owned(), retry_after: None }
    }

    /// `UNAVAILABLE`, the overload answer of the OTLP specification, with or without a `RetryInfo`.
    #[must_use]
    pub fn unavailable(retry_after: Option<Duration>) -> Self {
        Self::Status { code: Code::Unavailable, message: "scripted overload".to_owned(), retry_after }
    }

    /// [`Reply::Ok`] after a while.
    #[must_use]
    pub fn ok_after(delay: Duration) -> Self {
        Self::Delay(delay, Box::new(Self::Ok))
    }
}

type ReplyFn = dyn Fn(&Call, u64) -> Reply + Send + Sync;

/// Decides each call's reply. Calls are numbered from 0 in order of arrival and over restarts; calls whose message is too large or
/// unreadable have no number of their own in the script, because they never get as far.
#[derive(Clone)]
pub struct Script(Arc<ReplyFn>);

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Script(..)")
    }
}

impl Script {
    /// Every call succeeds.
    #[must_use]
    pub fn ok() -> Self {
        Self::always(Reply::Ok)
    }

    /// Every call gets the same reply.
    #[must_use]
    pub fn always(reply: Reply) -> Self {
        Self::by_call(move |_, _| reply.clone())
    }

    /// The first calls get `replies` in turn, all later ones `then`.
    #[must_use]
    pub fn sequence(replies: Vec<Reply>, then: Reply) -> Self {
        Self::by_call(move |_, call_number| {
            let index = usize::try_from(call_number).unwrap_or(usize::MAX);
            replies.get(index).unwrap_or(&then).clone()
        })
    }

    /// Decided by a closure from the request and the number of the call: for poison markers and the like.
    pub fn by(decide: impl Fn(&ExportTraceServiceRequest, u64) -> Reply + Send + Sync + 'static) -> Self {
        Self::by_call(move |call, call_number| decide(&call.request, call_number))
    }

    /// Decided by a closure from all that is known of the call (its outcome is still open) and its number: for signals other than
    /// traces, and for what depends on headers or bytes.
    pub fn by_call(decide: impl Fn(&Call, u64) -> Reply + Send + Sync + 'static) -> Self {
        Self(Arc::new(decide))
    }

    /// The reply to `call` as call `call_number`.
    #[must_use]
    pub fn reply(&self, call: &Call, call_number: u64) -> Reply {
        (self.0)(call, call_number)
    }
}
