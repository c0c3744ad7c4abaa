//! What an OTLP/HTTP receiver has to take.

use std::io::Read as _;

use prost::Message;
use serde_json::json;

use crate::collector::Signal;
use crate::conformance::http1::{HttpAnswer, HttpRequest};
use crate::conformance::payload;
use crate::conformance::upstream::Protocol;
use crate::conformance::verdict::{Miss, Seen, demand, fail, skip};
use crate::conformance::world::{World, ask, call, connect_grpc};
use crate::oracle::ExportTraceServiceResponse;
use crate::raw::{RawRequest, grpc_message, gzip};

pub(super) const PROTOBUF: &str = "application/x-protobuf";
pub(super) const JSON: &str = "application/json";

pub(super) fn expect_status(what: &str, answer: &HttpAnswer, status: u16) -> Result<(), Miss> {
    demand(answer.status == status, || {
        let text = String::from_utf8_lossy(&answer.body).chars().take(100).collect::<String>();
        format!("{what}: {} instead of {status} {}", answer.status, text.escape_debug())
    })
}

/// A request of one item as JSON, with its mark.
pub(super) fn json_of(signal: Signal, mark: &str) -> String {
    let time = payload::TIME_UNIX_NANO.to_string();
    let value = match signal {
        Signal::Traces => json!({"resourceSpans": [{"scopeSpans": [{"spans": [{
            "traceId": "5B8EFFF798038103D269B633813FC60C", "spanId": "EEE19B7EC3C1B174", "name": mark, "kind": 2,
            "startTimeUnixNano": time, "endTimeUnixNano": time}]}]}]}),
        Signal::Metrics => json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": mark,
            "gauge": {"dataPoints": [{"asInt": "1", "timeUnixNano": time}]}}]}]}]}),
        Signal::Logs => json!({"resourceLogs": [{"scopeLogs": [{"logRecords": [{
            "timeUnixNano": time, "body": {"stringValue": mark}}]}]}]}),
        Signal::Profiles => json!({"resourceProfiles": [{"scopeProfiles": [{"profiles": [{
            "sampleType": {"typeStrindex": 1}, "samples": [{"values": ["1"]}]}]}]}],
            "dictionary": {"stringTable": ["", mark], "stackTable": [{}], "mappingTable": [{}], "locationTable": [{}],
                "functionTable": [{}], "linkTable": [{}], "attributeTable": [{}]}}),
    };
    value.to_string()
}

pub(super) async fn h01_paths(world: &World) -> Seen {
    let mut without = Vec::new();
    for signal in Signal::ALL {
        let mark = world.mark("H01");
        let body = payload::one(signal, &mark, world.number());
        let answer = world.post(signal.http_path(), PROTOBUF, body).await?;
        if signal == Signal::Profiles && answer.status == 404 {
            without.push("profiles (a development still) 404");
            continue;
        }
        expect_status(&format!("POST {}", signal.http_path()), &answer, 200)?;
        if world.upstreams().next().is_some() {
            let arrival = world.arrived(&mark).await?;
            demand(arrival.signal == Some(signal), || {
                format!("{} arrived as {}", signal.name(), arrival.target)
            })?;
        }
        let get = HttpRequest { method: "GET", ..HttpRequest::post(signal.http_path(), PROTOBUF, "") };
        expect_status(&format!("GET {}", signal.http_path()), &world.http(get).await?, 405)?;
    }
    without.insert(0, "POST taken, GET 405 on all paths");
    Ok(without.join("; "))
}

pub(super) async fn h02_types(world: &World) -> Seen {
    for signal in [Signal::Traces, Signal::Metrics, Signal::Logs] {
        let mark = world.mark("H02");
        let bodies = [
            (PROTOBUF, payload::one(signal, &mark, world.number())),
            (JSON, json_of(signal, &mark).into_bytes()),
        ];
        for (content_type, body) in bodies {
            let answer = world.post(signal.http_path(), content_type, body).await?;
            expect_status(&format!("{} as {content_type}", signal.name()), &answer, 200)?;
            demand(answer.media_type() == content_type, || {
                format!("{}: {content_type} answered as {:?}", signal.name(), answer.header("content-type"))
            })?;
        }
    }
    Ok("both taken and answered in kind, of three signals".to_owned())
}

pub(super) async fn h03_one_port(world: &World) -> Seen {
    // On one connection, so it is one port beyond doubt.
    let mut client = world.connect_http().await?;
    for content_type in [PROTOBUF, JSON, PROTOBUF, "application/json; charset=utf-8"] {
        let mark = world.mark("H03");
        let body = if content_type == PROTOBUF {
            payload::one(Signal::Traces, &mark, world.number())
        } else {
            json_of(Signal::Traces, &mark).into_bytes()
        };
        let answer = ask(&mut client, &HttpRequest::post("/v1/traces", content_type, body)).await?;
        expect_status(content_type, &answer, 200)?;
        world.tell_arrival(&mark).await?;
    }
    Ok("both by turns on one connection, a charset parameter included".to_owned())
}

pub(super) async fn h04_grpc_too(world: &World) -> Seen {
    let addr = world.receiver(Protocol::Http)?;
    drop(world.connect_http().await?);
    let message = payload::one(Signal::Traces, &world.mark("H04"), world.number());
    let request = RawRequest::export(vec![grpc_message(&message)]);
    let response = match connect_grpc(addr).await {
        Ok(client) => call(&client, request).await.ok(),
        Err(_) => None,
    };
    let offered = response.is_some_and(|response| response.grpc_status() == Some(0));
    Ok(if offered { "gRPC is served on the HTTP port" } else { "not offered; it need not be" }.to_owned())
}

pub(super) async fn h05_encodings(world: &World) -> Seen {
    for encoding in ["", "gzip"] {
        let mark = world.mark("H05");
        let body = payload::one(Signal::Traces, &mark, world.number());
        let request = if encoding.is_empty() {
            HttpRequest::post("/v1/traces", PROTOBUF, body)
        } else {
            HttpRequest::post("/v1/traces", PROTOBUF, gzip(&body)).with_header("content-encoding", encoding)
        };
        expect_status(&format!("Content-Encoding: {encoding:?}"), &world.http(request).await?, 200)?;
        world.tell_arrival(&mark).await?;
    }
    let packed = gzip(json_of(Signal::Traces, &world.mark("H05")).as_bytes());
    let request = HttpRequest::post("/v1/traces", JSON, packed).with_header("content-encoding", "gzip");
    expect_status("JSON in gzip", &world.http(request).await?, 200)?;
    Ok("none and gzip, of protobuf and of JSON".to_owned())
}

/// Whether a body is a success without `partial_success`, in the given type.
fn is_plain_success(content_type: &str, body: &[u8]) -> bool {
    if content_type == JSON {
        let parsed = serde_json::from_slice::<serde_json::Value>(body);
        return parsed.is_ok_and(|value| {
            value.as_object().is_some_and(|object| !object.contains_key("partialSuccess"))
        });
    }
    ExportTraceServiceResponse::decode(body).is_ok_and(|response| response.partial_success.is_none())
}

pub(super) async fn h07_success(world: &World) -> Seen {
    let (mut seen, mut wrong) = (Vec::new(), Vec::new());
    for content_type in [PROTOBUF, JSON] {
        let mark = world.mark("H07");
        let body = if content_type == JSON {
            json_of(Signal::Traces, &mark).into_bytes()
        } else {
            payload::one(Signal::Traces, &mark, world.number())
        };
        let answer = world.post("/v1/traces", content_type, body).await?;
        expect_status(content_type, &answer, 200)?;
        if !is_plain_success(content_type, &answer.body) {
            wrong.push(format!("{content_type}: {:?} has a partial_success or cannot be read", &answer.body));
        }
        seen.push(format!("{content_type}: 200 {:?}", &answer.body));
    }
    demand(wrong.is_empty(), || wrong.join(", "))?;
    Ok(seen.join(", "))
}

pub(super) async fn h14_gzip_response(world: &World) -> Seen {
    let body = payload::one(Signal::Traces, &world.mark("H14"), world.number());
    let request = HttpRequest::post("/v1/traces", PROTOBUF, body).with_header("accept-encoding", "gzip");
    let answer = world.http(request).await?;
    expect_status("Accept-Encoding: gzip", &answer, 200)?;
    match answer.header("content-encoding") {
        None | Some("identity") => Ok("not offered; it need not be".to_owned()),
        Some("gzip") => {
            let mut plain = Vec::new();
            let unpacked = flate2::read::GzDecoder::new(&*answer.body).read_to_end(&mut plain);
            demand(unpacked.is_ok() && is_plain_success(PROTOBUF, &plain), || {
                "the gzip cannot be read".to_owned()
            })?;
            Ok("answered in gzip".to_owned())
        }
        Some(other) => fail(format!("answered in {other}, which was not asked for")),
    }
}

pub(super) async fn h15_keep_alive(world: &World) -> Seen {
    let addr = world.receiver(Protocol::Http)?;
    let mut client = world.connect_http().await?;
    for _ in 0..3 {
        let body = payload::one(Signal::Traces, &world.mark("H15"), world.number());
        let answer = ask(&mut client, &HttpRequest::post("/v1/traces", PROTOBUF, body)).await?;
        expect_status("HTTP/1.1 with keep-alive", &answer, 200)?;
    }
    let body = payload::one(Signal::Traces, &world.mark("H15"), world.number());
    let mut request = RawRequest::export(vec![body.into()]).with_path("/v1/traces");
    request.headers.clear();
    let request = request.with_header("content-type", PROTOBUF);
    let response = match connect_grpc(addr).await {
        Ok(client) => call(&client, request).await.ok(),
        Err(_) => None,
    };
    let h2c = if response.is_some_and(|response| response.status == 200) { "served" } else { "not offered" };
    let port = if world.features().default_ports {
        demand(addr.port() == 4318, || format!("listens on {} by default", addr.port()))?;
        "on 4318 by default"
    } else {
        "the default port was not looked at"
    };
    Ok(format!("3 requests on one connection; HTTP/2 with prior knowledge {h2c}; {port}"))
}

pub(super) async fn h16_empty_body(world: &World) -> Seen {
    for signal in [Signal::Traces, Signal::Metrics, Signal::Logs] {
        for (content_type, body) in [(PROTOBUF, ""), (JSON, "{}")] {
            let answer = world.post(signal.http_path(), content_type, body).await?;
            expect_status(&format!("{} {content_type} {body:?}", signal.name()), &answer, 200)?;
        }
    }
    Ok("0 bytes of protobuf and {} of JSON, of three signals".to_owned())
}

/// Skips an item that says nothing without a system that passes answers on.
pub(super) fn needs_results(world: &World) -> Result<(), Miss> {
    if world.features().wait_for_result { Ok(()) } else { skip("--has wait-for-result is not given") }
}
