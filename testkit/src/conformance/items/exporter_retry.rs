//! Which answers an exporter tries again: the tables of both protocols, by scripted upstreams.

use std::time::Duration;

use tonic::Code;

use super::http_failure::RETRYABLE;
use crate::conformance::upstream::{Answer, Protocol, Upstream, wait_until};
use crate::conformance::verdict::{Miss, Seen, demand};
use crate::conformance::world::{APART, QUIET, World};

/// How long a retry may take to come, of which a first delay of 1 s is the longest part.
const RETRY_TIME_MAX: Duration = Duration::from_secs(6);

/// One answer and whether it is to be tried again.
struct Case {
    name: String,
    answer: Answer,
    retried: bool,
    mark: String,
}

/// Feeds one request per case, each answered once by its own answer, then accepted; says which cases went otherwise than they should.
async fn try_all(world: &World, upstream: &Upstream, cases: &[Case]) -> Result<Vec<String>, Miss> {
    for case in cases {
        upstream.script(&case.mark, vec![case.answer.clone()], Answer::Accept);
        world.feed(&case.mark, 1).await?;
        tokio::time::sleep(APART).await;
    }
    let seen = |case: &Case| upstream.with_mark(&case.mark).len();
    wait_until(RETRY_TIME_MAX, || cases.iter().all(|case| seen(case) >= if case.retried { 2 } else { 1 }))
        .await;
    // What must not come again has as long as what must.
    tokio::time::sleep(QUIET).await;
    let wrong = |case: &&Case| match (seen(case), case.retried) {
        (0, _) => Some(format!("{} never came", case.name)),
        (1, true) => Some(format!("{} not retried", case.name)),
        (2.., false) => Some(format!("{} retried", case.name)),
        _ => None,
    };
    Ok(cases.iter().filter_map(|case| wrong(&case)).collect())
}

pub(super) async fn x04_codes(world: &World) -> Seen {
    let upstream = world.upstream_of(Protocol::Grpc)?;
    let retryable = [
        Code::Cancelled,
        Code::DeadlineExceeded,
        Code::Aborted,
        Code::OutOfRange,
        Code::Unavailable,
        Code::DataLoss,
    ];
    let codes = (1..=16).map(Code::from_i32).filter(|code| *code != Code::ResourceExhausted);
    let cases: Vec<Case> = codes
        .map(|code| Case {
            name: format!("{code:?}"),
            answer: Answer::Code(code, None),
            retried: retryable.contains(&code),
            mark: world.mark("X04"),
        })
        .collect();
    let wrong = try_all(world, upstream, &cases).await?;
    demand(wrong.is_empty(), || wrong.join(", "))?;
    Ok("6 codes retried, 9 not (RESOURCE_EXHAUSTED: X05)".to_owned())
}

pub(super) async fn x05_exhausted(world: &World) -> Seen {
    let upstream = world.upstream_of(Protocol::Grpc)?;
    let case = |name: &str, retry_after: Option<Duration>| Case {
        name: name.to_owned(),
        answer: Answer::Code(Code::ResourceExhausted, retry_after),
        retried: retry_after.is_some(),
        mark: world.mark("X05"),
    };
    let cases = [case("with RetryInfo", Some(Duration::from_millis(500))), case("without RetryInfo", None)];
    let wrong = try_all(world, upstream, &cases).await?;
    demand(wrong.is_empty(), || wrong.join(", "))?;
    Ok("retried with RetryInfo, not without".to_owned())
}

pub(super) async fn x10_statuses(world: &World) -> Seen {
    const STATUSES: [u16; 18] =
        [429, 502, 503, 504, 400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 500, 501, 505, 507];
    let upstream = world.upstream_of(Protocol::Http)?;
    let cases: Vec<Case> = STATUSES
        .into_iter()
        .map(|status| Case {
            name: status.to_string(),
            answer: Answer::Status(status),
            retried: RETRYABLE.contains(&status),
            mark: world.mark("X10"),
        })
        .collect();
    let wrong = try_all(world, upstream, &cases).await?;
    demand(wrong.is_empty(), || wrong.join(", "))?;
    Ok("4 statuses retried, 14 not".to_owned())
}
