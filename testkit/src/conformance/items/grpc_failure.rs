//! What an OTLP/gRPC receiver has to refuse, and how.

use super::grpc_success::status_words;
use crate::collector::Signal;
use crate::conformance::payload;
use crate::conformance::upstream::Answer;
use crate::conformance::verdict::{Miss, Seen, demand, fail};
use crate::conformance::world::{QUIET, World};
use crate::raw::{EXPORT_PATH, RawRequest, RawResponse, grpc_message, grpc_message_compressed, gzip};

/// The limit that the specification recommends.
pub(super) const LIMIT_RECOMMENDED_BYTES: usize = 64 << 20;
/// What a response may have.
pub(super) const RESPONSE_BYTES_MAX: usize = 4 << 20;
const INVALID_ARGUMENT: i32 = 3;
const RESOURCE_EXHAUSTED: i32 = 8;
/// UNAVAILABLE and the other codes that the specification lets clients retry.
const RETRYABLE: [i32; 6] = [1, 4, 10, 11, 14, 15];

/// The receiver's limit as far as the suite knows.
pub(super) fn limit_bytes(world: &World) -> usize {
    world.features().limit_bytes.unwrap_or(LIMIT_RECOMMENDED_BYTES)
}

async fn nothing_arrived(world: &World, mark: &str) -> Result<(), Miss> {
    let Some(upstream) = world.upstreams().next() else { return Ok(()) };
    let arrived = upstream.wait(mark, 1, QUIET).await;
    demand(arrived.is_empty(), || "refused, and yet forwarded".to_owned())
}

pub(super) async fn g04_bomb(world: &World) -> Seen {
    let mark = world.mark("G04");
    let inflated = limit_bytes(world) + (1 << 20);
    let packed = gzip(&payload::sized(&mark, world.number(), inflated));
    let bomb =
        RawRequest::export(vec![grpc_message_compressed(&packed)]).with_header("grpc-encoding", "gzip");
    let response = world.grpc(bomb).await?;
    demand(response.grpc_status() != Some(0), || {
        format!("{} bytes that inflate to {inflated} were taken", packed.len())
    })?;
    nothing_arrived(world, &mark).await?;
    Ok(format!("{} bytes that inflate to {inflated}: {}", packed.len(), status_words(&response)))
}

pub(super) async fn g06_over_limit(world: &World) -> Seen {
    let over = limit_bytes(world) + 1;
    let plain = payload::sized(&world.mark("G06"), world.number(), over);
    let packed = grpc_message_compressed(&gzip(&plain));
    let requests = [
        ("plain", RawRequest::export(vec![grpc_message(&plain)])),
        ("gzip", RawRequest::export(vec![packed]).with_header("grpc-encoding", "gzip")),
    ];
    for (what, request) in requests {
        let response = world.grpc(request).await?;
        demand(response.grpc_status() == Some(RESOURCE_EXHAUSTED), || {
            format!("{over} bytes, {what}: {}", status_words(&response))
        })?;
        demand(response.retry_delay().is_none(), || format!("{what}: RetryInfo invites to try again"))?;
    }
    Ok(format!("{over} bytes, plain and gzip: RESOURCE_EXHAUSTED without RetryInfo"))
}

/// Bodies that are no request: a length beyond the end, a wire type that does not exist, a field number 0.
pub(super) const GARBAGE: [&[u8]; 3] = [b"\x0a\xff\xff\x03 garbage", b"\x0f\x01\x02", b"\x00\x00"];

pub(super) async fn g12_garbage(world: &World) -> Seen {
    for signal in [Signal::Traces, Signal::Metrics, Signal::Logs] {
        for garbage in GARBAGE {
            let response = world.export(signal.grpc_path(), garbage).await?;
            let (status, words) = (response.grpc_status(), status_words(&response));
            demand(status != Some(0), || format!("{}: {garbage:02x?} was taken", signal.name()))?;
            demand(status.is_some_and(|code| !RETRYABLE.contains(&code)), || {
                format!("invites to send it again: {words}")
            })?;
            demand(status == Some(INVALID_ARGUMENT), || {
                format!("cannot be retried, but not INVALID_ARGUMENT: {words}")
            })?;
        }
    }
    Ok("INVALID_ARGUMENT for three kinds of garbage, of three signals".to_owned())
}

/// The bytes of a response: its body and its header fields.
fn response_bytes(response: &RawResponse) -> usize {
    let of = |headers: &http::HeaderMap| -> usize {
        headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
    };
    response.body.len() + of(&response.headers) + response.trailers.as_ref().map_or(0, of)
}

/// What could make a server talk: long garbage, long names that an error may quote, and, if it passes answers on, a long one.
pub(super) async fn g14_response_size(world: &World) -> Seen {
    let garbage = [b"\x0a\xff\xff\xff\x07".as_ref(), &[b'g'; 5 << 20]].concat();
    let requests = [
        RawRequest::export(vec![grpc_message(&garbage)]),
        RawRequest::export(vec![grpc_message(b"")]).with_header("grpc-encoding", &"e".repeat(4_000)),
        RawRequest::export(vec![grpc_message(b"")]).with_path(&format!("/{}/Export", "p".repeat(4_000))),
    ];
    let mut largest = 0;
    for request in requests {
        largest = largest.max(response_bytes(&world.grpc(request).await?));
    }
    let mut passed_on = "";
    if world.features().wait_for_result {
        let upstream = world.upstream_of(crate::conformance::upstream::Protocol::Grpc)?;
        for message_bytes in [3 << 20, RESPONSE_BYTES_MAX - 64, RESPONSE_BYTES_MAX + 64] {
            let mark = world.mark("G14");
            let message = "long ".repeat(message_bytes / 5);
            upstream.script(&mark, Vec::new(), Answer::Partial { rejected: 1, message });
            let sent = payload::one(Signal::Traces, &mark, world.number());
            largest = largest.max(response_bytes(&world.export(EXPORT_PATH, &sent).await?));
        }
        passed_on = ", also to partial successes of up to 4 MiB from the upstream";
    }
    if largest > RESPONSE_BYTES_MAX {
        return fail(format!("a response of {largest} bytes{passed_on}"));
    }
    Ok(format!("the longest response has {largest} bytes{passed_on}"))
}
