//! What a sender is told that waited for the upstream's answer (`wait_for_result`): the upstream's own status and words, in the sender's
//! protocol. Must never turn what may be sent again into what may not, nor the other way round.

use http::StatusCode;

use super::call::Rejection;
use crate::batch::{Answered, DropReason, Failure, Settled};
use crate::grpc::Code;
use crate::limits::REFUSED_RETRY_DELAY;
use crate::stats::{Counted, RejectReason, Transport};
use crate::upstream::{Outcome, RetryTable};

/// Why what an upstream answered with `outcome` was given up for `reason`.
pub(crate) fn failure(outcome: Outcome, reason: DropReason) -> Failure {
    let (answered, message, retry_delay) = match outcome {
        Outcome::Refused { status, retry_delay } => {
            (Answered::Grpc(status.code.0), status.message.into_owned(), retry_delay)
        }
        Outcome::HttpRefused { status, message, retry_after } => {
            (Answered::Http(status), message, retry_after)
        }
        Outcome::Lost { cause } => (Answered::Nothing, format!("no answer of the upstream: {cause}"), None),
        Outcome::Accepted { message, .. } => (Answered::Nothing, message, None),
    };
    Failure { reason, answered, message, is_retryable: reason.is_retryable(), retry_delay }
}

/// What its sender is told of a request that was not delivered.
pub(crate) fn not_delivered(settled: &Settled, counted: Counted, transport: Transport) -> Rejection {
    let (code, status, message) = match settled {
        Settled::Failed(failure) => {
            let (code, status) = statuses(failure);
            (code, status, words(failure, code))
        }
        Settled::Dropped(reason) => {
            let (code, status) = match reason {
                reason if reason.is_retryable() => (Code::UNAVAILABLE, 503),
                DropReason::ItemTooLarge => (Code::RESOURCE_EXHAUSTED, 413),
                DropReason::Unimplemented => (Code::UNIMPLEMENTED, 404),
                _ => (Code::INVALID_ARGUMENT, 400),
            };
            (code, status, format!("not delivered to the upstream: {}", reason.name().replace('_', " ")))
        }
        _ => (Code::UNAVAILABLE, 503, "the sending queue is full; retry later".to_owned()),
    };
    let asked = match settled {
        Settled::Failed(failure) => failure.retry_delay,
        _ => None,
    };
    Rejection {
        counted: Some(counted),
        http: StatusCode::from_u16(status).ok().filter(|_| transport == Transport::Http),
        delay: settled.is_retryable().then(|| asked.unwrap_or(REFUSED_RETRY_DELAY)),
        ..Rejection::new(RejectReason::Upstream, code, message)
    }
}

/// The sender's own deadline has passed. As in the Collector it is told so, and what it sent stays where it is: merged with what others
/// have sent, it will be delivered.
pub(crate) fn deadline_passed(counted: Counted) -> Rejection {
    let message = "the upstream has not answered in time; the request is still queued";
    let rejection = Rejection::new(RejectReason::Upstream, Code::DEADLINE_EXCEEDED, message);
    Rejection { counted: Some(counted), ..rejection }
}

/// The gRPC code and the HTTP status of a failure: OTLP 1.11, "Failures" of OTLP/gRPC and of OTLP/HTTP. They are the upstream's own where
/// the sender reads the same out of them as the relay did by its table, whether to send it again.
fn statuses(failure: &Failure) -> (Code, u16) {
    let table = RetryTable::default();
    match (failure.answered, failure.is_retryable) {
        (Answered::Grpc(code), true) => match Code(code) {
            // Retryable with a RetryInfo, which goes along.
            Code::RESOURCE_EXHAUSTED => (Code::RESOURCE_EXHAUSTED, 429),
            code if table.retries_code(code) => (code, 503),
            _ => (Code::UNAVAILABLE, 503),
        },
        (Answered::Grpc(code), false) => match Code(code) {
            Code::RESOURCE_EXHAUSTED | Code::OUT_OF_RANGE if failure.reason == DropReason::ItemTooLarge => {
                (Code::RESOURCE_EXHAUSTED, 413)
            }
            code if table.retries_code(code) => (Code::INTERNAL, 500),
            code => (code, http_of(code)),
        },
        (Answered::Http(status), true) => {
            (Code::UNAVAILABLE, if table.retries_status(status) { status } else { 503 })
        }
        (Answered::Http(status), false) => {
            let is_final = (400..600).contains(&status) && !table.retries_status(status);
            (code_of(status), if is_final { status } else { 500 })
        }
        (Answered::Nothing, true) => (Code::UNAVAILABLE, 503),
        (Answered::Nothing, false) => (Code::INTERNAL, 500),
    }
}

/// The HTTP status of a code that is for good; 429, which the Collector makes of `RESOURCE_EXHAUSTED`, would be sent again.
fn http_of(code: Code) -> u16 {
    match code {
        Code::INVALID_ARGUMENT => 400,
        Code::UNAUTHENTICATED => 401,
        Code::PERMISSION_DENIED => 403,
        Code::UNIMPLEMENTED => 404,
        _ => 500,
    }
}

/// The code of an HTTP status that is for good.
fn code_of(status: u16) -> Code {
    match status {
        400 => Code::INVALID_ARGUMENT,
        401 => Code::UNAUTHENTICATED,
        403 => Code::PERMISSION_DENIED,
        404 => Code::UNIMPLEMENTED,
        413 => Code::RESOURCE_EXHAUSTED,
        _ => Code::INTERNAL,
    }
}

/// The upstream's words; before them its status, where the sender is told another.
fn words(failure: &Failure, told: Code) -> String {
    match failure.answered {
        Answered::Grpc(code) if Code(code) != told => format!("{}: {}", Code(code), failure.message),
        Answered::Http(status) => format!("HTTP {status}: {}", failure.message),
        Answered::Grpc(_) | Answered::Nothing => failure.message.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::grpc::Status;
    use crate::otlp::Signal;

    fn told(outcome: Outcome, reason: DropReason, transport: Transport) -> Rejection {
        let counted = Counted { signal: Signal::Traces, items: 1, unopened: 0 };
        not_delivered(&Settled::Failed(failure(outcome, reason).into()), counted, transport)
    }

    fn grpc(code: u32, delay: Option<Duration>) -> Outcome {
        Outcome::Refused { status: Status::new(Code(code), "words"), retry_delay: delay }
    }

    fn http(status: u16, delay: Option<Duration>) -> Outcome {
        Outcome::HttpRefused { status, message: "words".to_owned(), retry_after: delay }
    }

    /// Whether a sender would send it again: OTLP, "Failures".
    fn is_sent_again(rejection: &Rejection, transport: Transport) -> bool {
        let table = RetryTable::default();
        let code = rejection.status.code;
        match transport {
            Transport::Http => rejection.http.is_some_and(|status| table.retries_status(status.as_u16())),
            _ => table.retries_code(code) || code == Code::RESOURCE_EXHAUSTED && rejection.delay.is_some(),
        }
    }

    /// Every status of either protocol, given up as retryable and for good, told in either protocol.
    #[test]
    fn what_may_be_sent_again_stays_so() {
        let outcomes =
            (1..=16).map(|code| grpc(code, None)).chain((300..600).map(|status| http(status, None)));
        for outcome in outcomes.chain([Outcome::Lost { cause: "reset".to_owned() }]) {
            for reason in DropReason::ALL {
                for transport in [Transport::Grpc, Transport::Http] {
                    let rejection = told(outcome.clone(), reason, transport);
                    let again = is_sent_again(&rejection, transport);
                    assert_eq!(again, reason.is_retryable(), "{outcome:?} {reason:?} {rejection:?}");
                    assert_eq!(
                        rejection.retry_delay().is_some(),
                        again,
                        "{outcome:?} {reason:?} {rejection:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_upstreams_own_status_is_told() {
        let (good, lost) = (DropReason::Rejected, DropReason::RetriesExhausted);
        let delay = Some(Duration::from_secs(7));
        for code in [2, 3, 5, 6, 7, 8, 9, 12, 13, 16] {
            let rejection = told(grpc(code, None), good, Transport::Grpc);
            assert_eq!((rejection.status.code, &*rejection.status.message), (Code(code), "words"));
        }
        for code in [1, 4, 8, 10, 11, 14, 15] {
            let rejection = told(grpc(code, delay), lost, Transport::Grpc);
            assert_eq!((rejection.status.code, rejection.delay), (Code(code), delay));
        }
        let status = |outcome, reason| told(outcome, reason, Transport::Http).http.unwrap().as_u16();
        for told in [400, 401, 403, 404, 413, 422, 500, 501] {
            assert_eq!(status(http(told, None), good), told);
        }
        for told in [429, 502, 503, 504] {
            assert_eq!(status(http(told, delay), lost), told);
        }
        for (code, told) in [(3, 400), (16, 401), (7, 403), (12, 404), (13, 500), (8, 500)] {
            assert_eq!(status(grpc(code, None), good), told, "{code}");
        }
        assert_eq!(status(grpc(8, delay), lost), 429);
        assert_eq!(status(grpc(14, None), lost), 503);
        assert_eq!(status(http(307, None), good), 500);
        let other = told(grpc(7, None), lost, Transport::Grpc);
        assert_eq!(
            (other.status.code, &*other.status.message),
            (Code::UNAVAILABLE, "PERMISSION_DENIED: words")
        );
    }
}
