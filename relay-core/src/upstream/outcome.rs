//! What an upstream said, and what the OTLP specification says that it means.

use std::time::Duration;

use super::RetryTable;
use super::size_words::{names_size, size_limit};
use crate::grpc::{Code, Status};

/// How one attempt to export a batch ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Accepted, all but `rejected` items (`partial_success.rejected_spans`).
    Accepted {
        /// Items that the upstream counted as rejected.
        rejected: u64,
        /// The upstream's words, if it had any (a partial success or a warning).
        message: String,
    },
    /// Answered with an error status.
    Refused {
        /// The status.
        status: Status,
        /// `RetryInfo.retry_delay`, if the answer carried one.
        retry_delay: Option<Duration>,
    },
    /// Answered with an HTTP status other than success.
    HttpRefused {
        /// The status.
        status: u16,
        /// The upstream's words, shortened.
        message: String,
        /// `Retry-After`, if the answer had one.
        retry_after: Option<Duration>,
    },
    /// No answer: connection lost, or the attempt's timeout passed. It may have been delivered.
    Lost {
        /// What happened, for logs.
        cause: String,
    },
}

/// What an [`Outcome`] means for the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Done, all but `rejected` items.
    Delivered {
        /// Items that the upstream counted as rejected.
        rejected: u64,
    },
    /// Try again, not before the delay if there is one.
    Retry {
        /// The least delay that the upstream asked for.
        throttle: Option<Duration>,
    },
    /// The upstream takes no message of this size: a smaller one may pass.
    TooLarge,
    /// Something in it is refused for good: its neighbours may pass.
    Poisoned,
    /// The upstream has no service for the signal: a matter of configuration.
    Unimplemented,
    /// Refused for good whatever is in it (credentials): dropping is all that OTLP allows.
    Refused,
}

impl Outcome {
    /// The meaning of this outcome by the specification's own table, whatever the size of the message.
    pub fn verdict(&self) -> Verdict {
        self.verdict_by(&RetryTable::default(), usize::MAX)
    }

    /// The meaning of this outcome for a message of `bytes`, by `table`: OTLP 1.11, "Failures" and "Throttling", of OTLP/gRPC and
    /// of OTLP/HTTP, with the statuses that are tried again as configured. What names a size is about the size, whatever the table
    /// says.
    pub fn verdict_by(&self, table: &RetryTable, bytes: usize) -> Verdict {
        match self {
            Self::Accepted { rejected, .. } => Verdict::Delivered { rejected: *rejected },
            Self::Lost { .. } => Verdict::Retry { throttle: None },
            Self::Refused { status, retry_delay } => refused((status, *retry_delay), table, bytes),
            Self::HttpRefused { status, message, retry_after } => {
                http_refused((*status, message, *retry_after), table)
            }
        }
    }

    /// The largest message that the upstream takes, in bytes, if it has named it.
    pub fn size_limit(&self) -> Option<usize> {
        match self {
            Self::Refused { status, .. } => size_limit(&status.message),
            Self::HttpRefused { message, .. } => size_limit(message),
            Self::Accepted { .. } | Self::Lost { .. } => None,
        }
    }
}

fn refused((status, throttle): (&Status, Option<Duration>), table: &RetryTable, bytes: usize) -> Verdict {
    // grpc-go and its like say so with RESOURCE_EXHAUSTED, tonic with OUT_OF_RANGE, which the table would retry for ever.
    let is_code_of_size = matches!(status.code, Code::RESOURCE_EXHAUSTED | Code::OUT_OF_RANGE);
    if is_code_of_size && throttle.is_none() && names_size(&status.message) {
        return Verdict::TooLarge;
    }
    match status.code {
        code if table.retries_code(code) => Verdict::Retry { throttle },
        Code::RESOURCE_EXHAUSTED if throttle.is_some() || table.retries_exhausted(bytes) => {
            Verdict::Retry { throttle }
        }
        _ if size_limit(&status.message).is_some_and(|limit| limit < bytes) => Verdict::TooLarge,
        // INTERNAL is what gRPC libraries answer to bytes that they cannot decode.
        Code::INVALID_ARGUMENT | Code::INTERNAL | Code::UNKNOWN => Verdict::Poisoned,
        Code::UNIMPLEMENTED => Verdict::Unimplemented,
        _ => Verdict::Refused,
    }
}

/// OTLP 1.11, "OTLP/HTTP Response", "Failures" and "Retryable Response Codes": all but four are for good.
fn http_refused((status, message, throttle): (u16, &str, Option<Duration>), table: &RetryTable) -> Verdict {
    match status {
        413 => Verdict::TooLarge,
        // What the Collector answers instead of 413: "http: request body too large".
        400 if names_size(message) => Verdict::TooLarge,
        _ if table.retries_status(status) => Verdict::Retry { throttle },
        // 500 is what the Collector answers when somebody behind it has refused for good.
        400 | 500 => Verdict::Poisoned,
        // What the Collector answers where no pipeline takes the signal; also an endpoint with a wrong path.
        404 => Verdict::Unimplemented,
        _ => Verdict::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The retryable statuses of OTLP 1.11 among all of 100 to 599; what else has a meaning of its own.
    #[test]
    fn http_table() {
        let verdict = |status, message: &str, retry_after| {
            Outcome::HttpRefused { status, message: message.to_owned(), retry_after }.verdict()
        };
        let retried = [429, 502, 503, 504];
        for status in 100..=599 {
            let expected = match status {
                400 | 500 => Verdict::Poisoned,
                404 => Verdict::Unimplemented,
                413 => Verdict::TooLarge,
                _ if retried.contains(&status) => Verdict::Retry { throttle: None },
                _ => Verdict::Refused,
            };
            assert_eq!(verdict(status, "", None), expected, "{status}");
        }
        let delay = Some(Duration::from_secs(3));
        assert_eq!(verdict(503, "", delay), Verdict::Retry { throttle: delay });
        assert_eq!(verdict(403, "", delay), Verdict::Refused, "a delay alone makes nothing retryable");
        assert_eq!(verdict(400, "http: request body too large", None), Verdict::TooLarge);
    }

    fn verdict(code: u32, message: &'static str, retry_delay: Option<Duration>) -> Verdict {
        Outcome::Refused { status: Status::new(Code(code), message), retry_delay }.verdict()
    }

    /// The table of OTLP 1.11, "Failures": which of the 16 codes are retried.
    #[test]
    fn retry_table() {
        let retried = [1, 4, 10, 11, 14, 15];
        for code in 1..=16 {
            let got = verdict(code, "", None);
            assert_eq!(
                got == Verdict::Retry { throttle: None },
                retried.contains(&code),
                "code {code}: {got:?}"
            );
        }
        assert_eq!(verdict(42, "", None), Verdict::Refused);
    }

    #[test]
    fn resource_exhausted_is_retried_only_with_retry_info() {
        let delay = Some(Duration::from_secs(3));
        assert_eq!(verdict(8, "", None), Verdict::Refused);
        assert_eq!(verdict(8, "", delay), Verdict::Retry { throttle: delay });
        assert_eq!(verdict(14, "", delay), Verdict::Retry { throttle: delay });
    }

    #[test]
    fn too_large_is_recognised_in_the_words_of_grpc_go_and_tonic() {
        let go = "grpc: received message after decompression larger than max 4194304";
        assert_eq!(verdict(8, go, None), Verdict::TooLarge);
        assert_eq!(verdict(8, "grpc: received message larger than max (5 vs. 4)", None), Verdict::TooLarge);
        let tonic = "Error, decoded message length too large: found 5 bytes, the limit is: 4 bytes";
        assert_eq!(verdict(11, tonic, None), Verdict::TooLarge);
    }

    /// The table of an exporter: what it lists is tried again, and nothing else but what the upstream asks for.
    #[test]
    fn tables_decide() {
        let table = RetryTable::default()
            .with_codes(&[Code::INTERNAL, Code::UNAUTHENTICATED])
            .with_statuses(&[500, 404]);
        let of = |code: Code, delay| {
            Outcome::Refused { status: Status::new(code, ""), retry_delay: delay }.verdict_by(&table, 100)
        };
        let retried = Verdict::Retry { throttle: None };
        assert_eq!([of(Code::INTERNAL, None), of(Code::UNAUTHENTICATED, None)], [retried, retried]);
        assert_eq!(of(Code::UNAVAILABLE, None), Verdict::Refused);
        let delay = Some(Duration::from_secs(2));
        assert_eq!(of(Code::RESOURCE_EXHAUSTED, delay), Verdict::Retry { throttle: delay });
        let http = |status| {
            Outcome::HttpRefused { status, message: String::new(), retry_after: None }.verdict_by(&table, 100)
        };
        assert_eq!(
            [http(500), http(404), http(503), http(413)],
            [retried, retried, Verdict::Refused, Verdict::TooLarge]
        );
    }

    /// What the Collector's memory_limiter answers is tried again when asked for, unless the message was large or its size is named.
    #[test]
    fn exhausted_is_retried_when_asked_for_and_small() {
        let table = RetryTable::default().with_exhausted(true);
        let of = |words: &'static str, bytes| {
            Outcome::Refused { status: Status::new(Code::RESOURCE_EXHAUSTED, words), retry_delay: None }
                .verdict_by(&table, bytes)
        };
        let words = "data refused due to high memory usage";
        assert_eq!(of(words, 1 << 20), Verdict::Retry { throttle: None });
        assert_eq!(of(words, 5 << 20), Verdict::Refused);
        assert_eq!(of("received message larger than max (9 vs. 4)", 9), Verdict::TooLarge);
    }

    /// A limit that is named under any code that is for good is about the size, if what was sent is larger.
    #[test]
    fn a_named_limit_is_believed() {
        let words = "message too large: the limit is: 1000 bytes";
        let outcome =
            Outcome::Refused { status: Status::new(Code::INVALID_ARGUMENT, words), retry_delay: None };
        assert_eq!(outcome.size_limit(), Some(1000));
        let table = RetryTable::default();
        assert_eq!(outcome.verdict_by(&table, 2000), Verdict::TooLarge);
        assert_eq!(outcome.verdict_by(&table, 500), Verdict::Poisoned);
        let relayd = "message of 5242880 bytes is larger than the receiver's limit of 4194304 bytes";
        assert_eq!(verdict(8, relayd, None), Verdict::TooLarge);
    }

    #[test]
    fn partial_success_and_lost_connections() {
        let accepted = Outcome::Accepted { rejected: 3, message: "quota".into() };
        assert_eq!(accepted.verdict(), Verdict::Delivered { rejected: 3 });
        let lost = Outcome::Lost { cause: "reset".into() };
        assert_eq!(lost.verdict(), Verdict::Retry { throttle: None });
    }
}
