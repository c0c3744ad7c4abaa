//! What an OTLP/HTTP receiver has to refuse, and how.

use prost::Message;

use super::grpc_failure::{GARBAGE, RESPONSE_BYTES_MAX, limit_bytes};
use super::http_success::{JSON, PROTOBUF, expect_status};
use super::overload;
use crate::collector::Signal;
use crate::conformance::http1::{HttpAnswer, HttpRequest};
use crate::conformance::payload;
use crate::conformance::upstream::{Answer, Protocol};
use crate::conformance::verdict::{Miss, Seen, demand, fail};
use crate::conformance::world::World;
use crate::raw::gzip;
use crate::rpc_status::RpcStatus;

/// The statuses that the specification lets clients retry.
pub(super) const RETRYABLE: [u16; 4] = [429, 502, 503, 504];
const GARBAGE_JSON: [&str; 3] = [r#"{"resourceSpans": ["#, r#"{"resourceSpans": 7}"#, "not JSON at all"];

/// A body that is over the receiver's limit once it is decompressed.
fn bomb(world: &World, content_type: &str) -> HttpRequest {
    let over = limit_bytes(world) + (1 << 20);
    let plain = if content_type == JSON {
        format!(r#"{{"resourceSpans": [], "filler": "{}"}}"#, "a".repeat(over)).into_bytes()
    } else {
        payload::sized(&world.mark("H06"), world.number(), over)
    };
    HttpRequest::post("/v1/traces", content_type, gzip(&plain)).with_header("content-encoding", "gzip")
}

pub(super) async fn h06_over_limit(world: &World) -> Seen {
    let limit = limit_bytes(world);
    let fits = if limit <= 16 << 20 { limit } else { 10 << 20 };
    let mark = world.mark("H06");
    let count = fits / 2_048;
    let spans = (0..count).map(|_| payload::span(&mark, world.number(), 1_024)).collect();
    let answer = world.post("/v1/traces", PROTOBUF, payload::of_spans(spans).encode_to_vec()).await?;
    expect_status("a body below the limit", &answer, 200)?;
    let over = payload::sized(&world.mark("H06"), world.number(), limit + 1);
    let plain = world.post("/v1/traces", PROTOBUF, over).await?;
    let inflated = world.http(bomb(world, PROTOBUF)).await?;
    let refused = |answer: &HttpAnswer| (400..500).contains(&answer.status);
    demand(refused(&plain) && refused(&inflated), || {
        format!("over {limit} bytes: {} plain, {} as a gzip bomb", plain.status, inflated.status)
    })?;
    demand((plain.status, inflated.status) == (413, 413), || {
        format!("refused, but not with 413: {} plain, {} as a gzip bomb", plain.status, inflated.status)
    })?;
    Ok(format!("over {limit} bytes: 413, plain and as a gzip bomb"))
}

/// Whether an error's body is a `google.rpc.Status` that says something, in the encoding that its content type names.
fn check_status_body(answer: &HttpAnswer) -> Result<(), String> {
    let says = match answer.media_type().as_str() {
        PROTOBUF => RpcStatus::decode(&*answer.body).ok().map(|status| status.message),
        JSON => serde_json::from_slice::<serde_json::Value>(&answer.body)
            .ok()
            .and_then(|value| value.get("message").and_then(|message| message.as_str().map(str::to_owned))),
        other => return Err(format!("{} has a body of type {other:?}", answer.status)),
    };
    match says {
        None => Err(format!("the body of {} is no Status", answer.status)),
        Some(text) if text.is_empty() => Err(format!("the Status of {} says nothing", answer.status)),
        Some(_) => Ok(()),
    }
}

pub(super) async fn h09_status_bodies(world: &World) -> Seen {
    let post = |content_type, body: &'static str| HttpRequest::post("/v1/traces", content_type, body);
    let get = HttpRequest { method: "GET", ..post(PROTOBUF, "") };
    let requests = [
        (PROTOBUF, post(PROTOBUF, "\x0a\x7f")),
        (JSON, post(JSON, GARBAGE_JSON[0])),
        (PROTOBUF, bomb(world, PROTOBUF)),
        (JSON, bomb(world, JSON)),
        // Which encoding is the request's cannot be said of these: either will do.
        ("", get),
        ("", post("text/plain", "hello")),
    ];
    let mut seen = Vec::new();
    let mut wrong = Vec::new();
    let mut look = |asked: &str, answer: &HttpAnswer| {
        if answer.status < 400 {
            return;
        }
        seen.push(answer.status.to_string());
        match check_status_body(answer) {
            Ok(()) if asked.is_empty() || answer.media_type() == asked => {}
            Ok(()) => wrong.push(format!("{} to {asked} is {}", answer.status, answer.media_type())),
            Err(problem) => wrong.push(problem),
        }
    };
    for (asked, request) in requests {
        look(asked, &world.http(request).await?);
    }
    let overload = overload::of_http(world).await;
    if let Ok(overload) = &overload {
        for (asked, answer) in [PROTOBUF, JSON].into_iter().zip(&overload.answers) {
            look(asked, answer);
        }
    }
    let held_back = if overload.is_ok() { "" } else { "; overload not seen" };
    demand(wrong.is_empty(), || wrong.join("; "))?;
    demand(!seen.is_empty(), || "nothing was refused".to_owned())?;
    Ok(format!("{} have one{held_back}", seen.join(", ")))
}

pub(super) async fn h10_bad_data(world: &World) -> Seen {
    for garbage in GARBAGE {
        let answer = world.post("/v1/traces", PROTOBUF, garbage).await?;
        expect_status(&format!("{garbage:02x?}"), &answer, 400)?;
    }
    let mut with_details = true;
    for garbage in GARBAGE_JSON {
        let answer = world.post("/v1/traces", JSON, garbage).await?;
        expect_status(garbage, &answer, 400)?;
        with_details &= String::from_utf8_lossy(&answer.body).contains("BadRequest");
    }
    let details = if with_details { "with" } else { "without" };
    Ok(format!("400 to three kinds of garbage of either encoding, {details} BadRequest details"))
}

pub(super) async fn h12_consistent(world: &World) -> Seen {
    let post = |target: &str, content_type, body: &'static str| HttpRequest::post(target, content_type, body);
    let for_good = [
        ("bad protobuf", post("/v1/traces", PROTOBUF, "\x0a\x7f")),
        ("bad JSON", post("/v1/traces", JSON, "{")),
        ("a wrong type", post("/v1/traces", "text/plain", "hello")),
        ("a wrong path", post("/v1/other", PROTOBUF, "")),
        ("a bomb", bomb(world, PROTOBUF)),
        ("a wrong encoding", post("/v1/traces", PROTOBUF, "x").with_header("content-encoding", "xyz")),
    ];
    let mut seen = Vec::new();
    for (what, request) in for_good {
        let status = world.http(request).await?.status;
        demand(status >= 400, || format!("{what} was taken with {status}"))?;
        demand(!RETRYABLE.contains(&status), || format!("{what}: {status} invites to send it again"))?;
        seen.push(format!("{what} {status}"));
    }
    if world.features().wait_for_result {
        seen.push(passed_on(world).await?);
    } else if let Ok(overload) = overload::of_http(world).await {
        let status = overload.status;
        demand(RETRYABLE.iter().any(|code| i32::from(*code) == status), || {
            format!("overload: {status} forbids to send it again")
        })?;
        seen.push(format!("overload {status}"));
    }
    Ok(seen.join(", "))
}

/// What becomes of the upstream's refusals in a system that passes them on.
async fn passed_on(world: &World) -> Result<String, Miss> {
    use tonic::Code;
    let upstream = world.upstream_of(Protocol::Grpc)?;
    let codes = [
        (Code::InvalidArgument, false),
        (Code::Unauthenticated, false),
        (Code::PermissionDenied, false),
        (Code::Internal, false),
        (Code::Unimplemented, false),
    ];
    let mut seen = Vec::new();
    for (code, retryable) in codes {
        let mark = world.mark("H12");
        upstream.script(&mark, Vec::new(), Answer::Code(code, None));
        let body = payload::one(Signal::Traces, &mark, world.number());
        let status = world.post("/v1/traces", PROTOBUF, body).await?.status;
        if status < 400 || RETRYABLE.contains(&status) != retryable {
            return fail(format!("the upstream's {code:?} became {status}"));
        }
        seen.push(format!("{code:?} of the upstream {status}"));
    }
    Ok(seen.join(", "))
}

/// The bytes of an answer: its body and its header fields.
fn answer_bytes(answer: &HttpAnswer) -> usize {
    let of_headers: usize =
        answer.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    answer.body.len() + of_headers
}

pub(super) async fn h13_response_size(world: &World) -> Seen {
    let long = "j".repeat(5 << 20);
    let requests = [
        HttpRequest::post(
            "/v1/traces",
            PROTOBUF,
            [b"\x0a\xff\xff\xff\x07".as_ref(), long.as_bytes()].concat(),
        ),
        HttpRequest::post("/v1/traces", JSON, format!(r#"{{"resourceSpans": "{long}"}}"#)),
        HttpRequest::post("/v1/traces", JSON, long.clone()),
        HttpRequest::post("/v1/traces", &format!("text/{}", &long[..4_000]), "x"),
        HttpRequest::post(&format!("/v1/{}", &long[..4_000]), PROTOBUF, "x"),
    ];
    let mut largest = 0;
    for request in requests {
        largest = largest.max(answer_bytes(&world.http(request).await?));
    }
    let mut passed_on = "";
    if world.features().wait_for_result {
        let upstream = world.upstream_of(Protocol::Grpc)?;
        for message_bytes in [3 << 20, RESPONSE_BYTES_MAX - 64, RESPONSE_BYTES_MAX + 64] {
            for content_type in [PROTOBUF, JSON] {
                let mark = world.mark("H13");
                // Each of these is two bytes in JSON.
                let message = "\"".repeat(message_bytes);
                upstream.script(&mark, Vec::new(), Answer::Partial { rejected: 1, message });
                let body = if content_type == JSON {
                    super::http_success::json_of(Signal::Traces, &mark).into_bytes()
                } else {
                    payload::one(Signal::Traces, &mark, world.number())
                };
                largest = largest.max(answer_bytes(&world.post("/v1/traces", content_type, body).await?));
            }
        }
        passed_on = ", also to partial successes of up to 4 MiB from the upstream";
    }
    demand(largest <= RESPONSE_BYTES_MAX, || format!("a response of {largest} bytes{passed_on}"))?;
    Ok(format!("the longest response has {largest} bytes{passed_on}"))
}
