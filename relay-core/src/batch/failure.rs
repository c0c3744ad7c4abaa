//! What an upstream said when it did not take a request: for a sender that waits for it. Must never be made where nobody waits.

use std::time::Duration;

use super::DropReason;

/// How the upstream answered last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// With this gRPC status code.
    Grpc(u32),
    /// With this HTTP status.
    Http(u16),
    /// Not at all, as far as is known.
    Nothing,
}

/// Why a request was not delivered, in the upstream's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Under what it was counted.
    pub reason: DropReason,
    /// The answer to the last attempt.
    pub answered: Answered,
    /// What it said, or what became of the connection.
    pub message: String,
    /// Whether it may be sent again: it was not refused for good.
    pub is_retryable: bool,
    /// The delay that the upstream asked for (`RetryInfo`, `Retry-After`).
    pub retry_delay: Option<Duration>,
}
