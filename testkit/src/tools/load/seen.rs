//! What the load saw: answers, errors by code, latencies.
//!
//! Must never count a call twice or not at all: every call that is started ends here once.

use std::collections::BTreeMap;

use super::latency::Latencies;

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// With this gRPC status code; over HTTP 0 for 200, and otherwise the HTTP status.
    Answered(i32),
    /// By `RST_STREAM`.
    Reset,
    /// With its connection.
    Connection,
    /// By its own timeout.
    Timeout,
}

/// Counts of a run.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Calls answered with OK, and their spans.
    pub(super) requests: u64,
    pub(super) spans: u64,
    pub(super) latencies: Latencies,
    /// Everything else, by code or by name.
    pub(super) errors: BTreeMap<String, u64>,
    pub(super) connections_opened: u64,
    pub(super) in_flight: u64,
}

impl Seen {
    /// A call with `spans` spans ended after `micros` microseconds.
    pub(super) fn end(&mut self, ended: Ended, spans: u64, micros: u64) {
        self.in_flight -= 1;
        match ended {
            Ended::Answered(0) => {
                self.requests += 1;
                self.spans += spans;
                self.latencies.record(micros);
            }
            Ended::Answered(code) => self.error(&code.to_string()),
            Ended::Reset => self.error("reset"),
            Ended::Connection => self.error("connection"),
            Ended::Timeout => self.error("timeout"),
        }
    }

    /// Counts an error by its code or name.
    pub(super) fn error(&mut self, name: &str) {
        if let Some(count) = self.errors.get_mut(name) {
            *count += 1;
        } else {
            self.errors.insert(name.to_owned(), 1);
        }
    }
}
