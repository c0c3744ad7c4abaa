//! Overload: the upstreams refuse, the suite sends until the receiver pushes back, then lets go and adds up.
//!
//! Seen once per protocol and shared by the items that judge it.

use std::time::{Duration, Instant};

use prost::Message;

use super::http_success::{JSON, PROTOBUF, json_of};
use crate::collector::Signal;
use crate::conformance::http1::{HttpAnswer, HttpRequest};
use crate::conformance::payload;
use crate::conformance::upstream::{Answer, Upstream};
use crate::conformance::verdict::{Miss, Seen, demand, fail};
use crate::conformance::world::{World, ask, call};
use crate::raw::{RawRequest, grpc_message};

/// Size of one request.
const REQUEST_BYTES: usize = 32 << 10;
/// How much is sent before we say that the receiver never pushes back.
const SENT_BYTES_MAX: usize = 64 << 20;
/// How long it is sent.
const PUSH_TIME_MAX: Duration = Duration::from_secs(9);
/// How long the system may take to accept and deliver again.
const RECOVERY_TIME_MAX: Duration = Duration::from_secs(8);
/// A longer wait than this makes SDKs drop what they hold: their exporters give up after 10 s (specification, `OTEL_EXPORTER_OTLP_TIMEOUT`).
const RETRY_DELAY_MAX: Duration = Duration::from_secs(10);

/// What was seen.
#[derive(Debug, Clone)]
pub(in super::super) struct Overload {
    /// Requests accepted before the first refusal, and during recovery.
    accepted: usize,
    /// gRPC or HTTP status of the refusal.
    pub(super) status: i32,
    retry_delay: Option<Duration>,
    /// From letting go to the first request that was accepted again; `None` if none was in time.
    recovered_after: Option<Duration>,
    /// How many of the accepted were at the upstream in the end.
    arrived: usize,
    /// The refusals as HTTP answers, to protobuf and to JSON; empty for gRPC.
    pub(super) answers: Vec<HttpAnswer>,
}

/// One refusal.
struct Refused {
    status: i32,
    retry_delay: Option<Duration>,
    answers: Vec<HttpAnswer>,
}

pub(super) async fn of_grpc(world: &World) -> Result<Overload, Miss> {
    let look = || async {
        let client = world.connect_grpc().await?;
        drive(world, "G13", async |mark| {
            let request = RawRequest::export(vec![grpc_message(&message(world, mark))]);
            let response = call(&client, request).await?;
            let status = response.grpc_status().unwrap_or(-1);
            let refused = Refused { status, retry_delay: response.retry_delay(), answers: Vec::new() };
            Ok((status != 0).then_some(refused))
        })
        .await
    };
    world.overload_grpc.get_or_init(look).await.clone()
}

pub(super) async fn of_http(world: &World) -> Result<Overload, Miss> {
    let look = || async {
        let mut client = world.connect_http().await?;
        drive(world, "H11", async |mark| {
            let request = HttpRequest::post("/v1/traces", PROTOBUF, message(world, mark));
            let answer = ask(&mut client, &request).await?;
            if answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
                client = world.connect_http().await?;
            }
            if answer.status == 200 {
                return Ok(None);
            }
            let of_json = json_of(Signal::Traces, &world.mark("H09"));
            let to_json = ask(&mut client, &HttpRequest::post("/v1/traces", JSON, of_json)).await?;
            let seconds = answer.header("retry-after").and_then(|value| value.parse().ok());
            let retry_delay = seconds.map(Duration::from_secs);
            Ok(Some(Refused {
                status: i32::from(answer.status),
                retry_delay,
                answers: vec![answer, to_json],
            }))
        })
        .await
    };
    world.overload_http.get_or_init(look).await.clone()
}

fn message(world: &World, mark: &str) -> Vec<u8> {
    payload::of_spans(vec![payload::span(mark, world.number(), REQUEST_BYTES)]).encode_to_vec()
}

/// Sends until the first refusal, lets go, sends until the first acceptance, and waits for all that was accepted.
async fn drive(
    world: &World,
    item: &str,
    mut send: impl AsyncFnMut(&str) -> Result<Option<Refused>, Miss>,
) -> Result<Overload, Miss> {
    let watched = world.any_upstream()?;
    let marks = world.mark_start(item);
    world.upstreams().for_each(|upstream| upstream.script(&marks, Vec::new(), Answer::Busy(None)));
    let began = Instant::now();
    let mut accepted = 0;
    let mut refusal = None;
    while accepted * REQUEST_BYTES < SENT_BYTES_MAX && began.elapsed() < PUSH_TIME_MAX {
        match send(&world.mark(item)).await? {
            None => accepted += 1,
            Some(refused) => {
                refusal = Some(refused);
                break;
            }
        }
    }
    world.upstreams().for_each(Upstream::accept_all);
    let Some(Refused { status, retry_delay, answers }) = refusal else {
        return fail(format!(
            "{accepted} requests of {} KiB accepted within {} ms while the upstream refuses, none refused",
            REQUEST_BYTES >> 10,
            began.elapsed().as_millis()
        ));
    };
    let released = Instant::now();
    let mut recovered_after = None;
    while recovered_after.is_none() && released.elapsed() < RECOVERY_TIME_MAX {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if send(&world.mark(item)).await?.is_none() {
            accepted += 1;
            recovered_after = Some(released.elapsed());
        }
    }
    let left = RECOVERY_TIME_MAX.saturating_sub(released.elapsed());
    let arrived = watched.wait_distinct(&marks, accepted, left).await;
    Ok(Overload { accepted, status, retry_delay, recovered_after, arrived, answers })
}

pub(super) async fn g11_unavailable(world: &World) -> Seen {
    const UNAVAILABLE: i32 = 14;
    let overload = of_grpc(world).await?;
    demand(overload.status == UNAVAILABLE, || format!("refused with status {}", overload.status))?;
    Ok(format!("UNAVAILABLE after {} requests, {}", overload.accepted, retry_words("RetryInfo", &overload)))
}

pub(super) async fn g13_backpressure(world: &World) -> Seen {
    let overload = of_grpc(world).await?;
    demand(overload.status == 14, || format!("signalled with status {}", overload.status))?;
    judge(&overload, "RetryInfo")
}

pub(super) async fn h11_backpressure(world: &World) -> Seen {
    let overload = of_http(world).await?;
    demand(matches!(overload.status, 429 | 503), || format!("signalled with {}", overload.status))?;
    judge(&overload, "Retry-After").map(|seen| format!("{}: {seen}", overload.status))
}

fn retry_words(name: &str, overload: &Overload) -> String {
    overload.retry_delay.map_or_else(
        || format!("without {name} (which it may have)"),
        |delay| format!("{name} of {} ms", delay.as_millis()),
    )
}

fn judge(overload: &Overload, name: &str) -> Seen {
    let sensible = |delay: Duration| delay > Duration::ZERO && delay <= RETRY_DELAY_MAX;
    demand(overload.retry_delay.is_none_or(sensible), || {
        format!("{}: too long for an SDK, or no wait at all", retry_words(name, overload))
    })?;
    let Some(recovered_after) = overload.recovered_after else {
        return fail(format!(
            "nothing accepted {} s after the upstream came back",
            RECOVERY_TIME_MAX.as_secs()
        ));
    };
    let Overload { accepted, arrived, .. } = overload;
    demand(arrived >= accepted, || {
        format!("{accepted} requests accepted, {arrived} of them at the upstream")
    })?;
    Ok(format!(
        "{}; accepts again after {} ms; all {accepted} accepted requests arrived",
        retry_words(name, overload),
        recovered_after.as_millis()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: an overload that was refused well, but of which one request is missing, or whose wait is a minute.
    /// Guarantee: both fail.
    #[test]
    fn loss_and_long_waits_fail() {
        let good = Overload {
            accepted: 3,
            status: 14,
            retry_delay: Some(Duration::from_secs(1)),
            recovered_after: Some(Duration::ZERO),
            arrived: 3,
            answers: Vec::new(),
        };
        assert!(judge(&good, "RetryInfo").is_ok());
        let lossy = Overload { arrived: 2, ..good.clone() };
        let slow = Overload { retry_delay: Some(Duration::from_secs(60)), ..good.clone() };
        let hot = Overload { retry_delay: Some(Duration::ZERO), ..good };
        for bad in [lossy, slow, hot] {
            assert!(judge(&bad, "RetryInfo").is_err(), "{bad:?}");
        }
    }
}
