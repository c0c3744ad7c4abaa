//! What the collector remembers of every call, and the waiting for more of it.
//!
//! Must never forget a call: what was refused or left unanswered is kept beside what was accepted.

use std::net::SocketAddr;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tonic::Code;

use super::signal::Signal;
use crate::oracle::{ExportTraceServiceRequest, span_count};

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// No answer yet, or the caller went away before one.
    Unanswered,
    /// Answered with success.
    Accepted,
    /// Answered with `partial_success`, this many spans rejected.
    Partial(i64),
    /// Answered with this status by the script.
    Refused(Code),
    /// Larger than the collector takes: `RESOURCE_EXHAUSTED`.
    TooLarge,
    /// Not a request of its signal to prost: `INTERNAL`, as grpc-go answers.
    Unreadable,
}

impl Outcome {
    /// Whether the sender may forget the request.
    #[must_use]
    pub fn is_accepted(self) -> bool {
        matches!(self, Self::Accepted | Self::Partial(_))
    }
}

/// One call of `Export`.
#[derive(Debug, Clone)]
pub struct Call {
    /// Whose `Export` was called.
    pub signal: Signal,
    /// The message exactly as it came, after decompression.
    pub raw: Bytes,
    /// The message decoded by prost; empty when it was too large, unreadable, or of another signal than traces.
    pub request: ExportTraceServiceRequest,
    /// The request's headers: `grpc-timeout`, `user-agent`, `grpc-encoding`, `grpc-accept-encoding` and whatever else came.
    pub metadata: http::HeaderMap,
    /// The connection it came over.
    pub peer: Option<SocketAddr>,
    /// When it had arrived in full.
    pub at: Instant,
    /// How it ended so far.
    pub outcome: Outcome,
}

impl Call {
    /// A header of the request as text, `None` if absent or not text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.metadata.get(name)?.to_str().ok()
    }
}

#[derive(Debug, Default)]
struct Calls {
    calls: Vec<Call>,
    /// How many calls the script has been asked about.
    numbered: u64,
    spans_accepted: usize,
}

/// All calls of one collector, shared between its service and the test.
#[derive(Debug, Default)]
pub(super) struct Record {
    calls: Mutex<Calls>,
    changed: Condvar,
}

impl Record {
    fn lock(&self) -> MutexGuard<'_, Calls> {
        // A panic in a script's closure must fail its own test, not every later look at the record.
        self.calls.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Remembers a call and gives its index; calls that the script is to answer get their number, too.
    pub(super) fn push(&self, call: Call) -> (usize, u64) {
        let mut calls = self.lock();
        let number = calls.numbered;
        if call.outcome == Outcome::Unanswered {
            calls.numbered += 1;
        }
        calls.calls.push(call);
        self.changed.notify_all();
        (calls.calls.len() - 1, number)
    }

    pub(super) fn finish(&self, index: usize, outcome: Outcome) {
        let mut calls = self.lock();
        let Some(call) = calls.calls.get_mut(index) else { return };
        call.outcome = outcome;
        let rejected =
            if let Outcome::Partial(rejected) = outcome { usize::try_from(rejected).unwrap_or(0) } else { 0 };
        let accepted =
            if outcome.is_accepted() { span_count(&call.request).saturating_sub(rejected) } else { 0 };
        calls.spans_accepted += accepted;
        self.changed.notify_all();
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    /// Drops the messages of calls that have ended; the calls stay, with headers and outcome.
    pub(super) fn forget_messages(&self) {
        for call in self.lock().calls.iter_mut().filter(|call| call.outcome != Outcome::Unanswered) {
            call.raw = Bytes::new();
            call.request = ExportTraceServiceRequest::default();
        }
    }

    pub(super) fn call_count(&self) -> usize {
        self.lock().calls.len()
    }

    pub(super) fn spans_accepted(&self) -> usize {
        self.lock().spans_accepted
    }

    pub(super) fn wait_for_calls(&self, count: usize, timeout: Duration) -> usize {
        self.wait(timeout, |calls| calls.calls.len() >= count).calls.len()
    }

    pub(super) fn wait_for_spans(&self, count: usize, timeout: Duration) -> usize {
        self.wait(timeout, |calls| calls.spans_accepted >= count).spans_accepted
    }

    fn wait(&self, timeout: Duration, enough: impl Fn(&Calls) -> bool) -> MutexGuard<'_, Calls> {
        let waited = self.changed.wait_timeout_while(self.lock(), timeout, |calls| !enough(calls));
        waited.unwrap_or_else(std::sync::PoisonError::into_inner).0
    }
}
