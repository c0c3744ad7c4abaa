//! OTLP/JSON: the shape of requests and answers. What became of a request is read at an upstream, decoded by prost.

use prost::Message;
use serde_json::{Value, json};

use super::http_success::{JSON, expect_status, json_of};
use crate::collector::Signal;
use crate::conformance::upstream::Arrival;
use crate::conformance::verdict::{Miss, Seen, demand, fail};
use crate::conformance::world::World;
use crate::oracle::{ExportTraceServiceRequest, ResourceSpans, Span, decode};

/// Sends a request of JSON that must be accepted, and waits for it at an upstream.
pub(super) async fn through(world: &World, target: &str, body: &Value, mark: &str) -> Result<Arrival, Miss> {
    world.any_upstream()?;
    let answer = world.post(target, JSON, body.to_string()).await?;
    expect_status(&format!("POST {target}"), &answer, 200)?;
    world.arrived(mark).await
}

/// One span of JSON in its containers.
pub(super) fn of_span(span: &Value) -> Value {
    json!({"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {}, "spans": [span]}]}]})
}

/// The ResourceSpans and the span that came of a request with one span named `mark`.
pub(super) fn the_span(arrival: &Arrival, mark: &str) -> Result<(ResourceSpans, Span), Miss> {
    let decoded: ExportTraceServiceRequest = decode(&arrival.message)
        .map_err(|error| Miss::Fail(format!("what arrived cannot be read: {error}")))?;
    for resource_spans in decoded.resource_spans {
        let mut spans = resource_spans.scope_spans.iter().flat_map(|scope| &scope.spans);
        if let Some(span) = spans.find(|span| span.name == mark).cloned() {
            return Ok((resource_spans, span));
        }
    }
    fail("the span is not in what arrived")
}

pub(super) async fn j01_ids(world: &World) -> Seen {
    let trace_id: Vec<u8> = (0..16).map(|at| 0xa0 + at).collect();
    let span_id: Vec<u8> = (0..8).map(|at| 0xc0 + at).collect();
    let (trace_hex, span_hex) = ("a0a1a2a3a4a5a6a7a8a9aaabacadaeaf", "c0c1c2c3c4c5c6c7");
    for upper in [false, true] {
        let case = |hex: &str| if upper { hex.to_uppercase() } else { hex.to_owned() };
        let (trace, span) = (case(trace_hex), case(span_hex));
        let mark = world.mark("J01");
        let sent = of_span(&json!({"name": mark, "traceId": trace, "spanId": span, "parentSpanId": span,
            "links": [{"traceId": trace, "spanId": span}]}));
        let (_, found) = the_span(&through(world, "/v1/traces", &sent, &mark).await?, &mark)?;
        let link = found.links.first().cloned().unwrap_or_default();
        let ids = [&found.trace_id, &found.span_id, &found.parent_span_id, &link.trace_id, &link.span_id];
        let expected = [&trace_id, &span_id, &span_id, &trace_id, &span_id];
        demand(ids == expected, || format!("{trace} and {span} became {ids:02x?}"))?;
        j01_log(world, &trace, &span, (&trace_id, &span_id)).await?;
    }
    Ok("of spans, parents, links and log records, in lower and upper case".to_owned())
}

async fn j01_log(world: &World, trace: &str, span: &str, expected: (&Vec<u8>, &Vec<u8>)) -> Result<(), Miss> {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    let mark = world.mark("J01");
    let sent = json!({"resourceLogs": [{"scopeLogs": [{"logRecords": [
        {"body": {"stringValue": mark}, "traceId": trace, "spanId": span}]}]}]});
    let arrival = through(world, "/v1/logs", &sent, &mark).await?;
    let decoded = ExportLogsServiceRequest::decode(&*arrival.message).unwrap_or_default();
    let scopes = decoded.resource_logs.iter().flat_map(|resource| &resource.scope_logs);
    let mut records = scopes.flat_map(|scope| &scope.log_records);
    let is_same = records.any(|record| (&record.trace_id, &record.span_id) == expected);
    demand(is_same, || "the ids of a log record are others".to_owned())
}

pub(super) async fn j02_enums(world: &World) -> Seen {
    let mark = world.mark("J02");
    let ids = ("5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174");
    let sent =
        of_span(&json!({"name": mark, "traceId": ids.0, "spanId": ids.1, "kind": 2, "status": {"code": 1}}));
    let (_, span) = the_span(&through(world, "/v1/traces", &sent, &mark).await?, &mark)?;
    let code = span.status.unwrap_or_default().code;
    demand((span.kind, code) == (2, 1), || format!("kind 2 and code 1 became {} and {code}", span.kind))?;
    let named = of_span(&json!({"name": world.mark("J02"), "kind": "SPAN_KIND_SERVER"}));
    let status = world.post("/v1/traces", JSON, named.to_string()).await?.status;
    demand(matches!(status, 200 | 400), || format!("a name instead of a number: {status}"))?;
    let on_names = if status == 400 { "refused with 400" } else { "tolerated" };
    Ok(format!("integers taken; names {on_names}"))
}

pub(super) async fn j03_unknown_names(world: &World) -> Seen {
    let mark = world.mark("J03");
    let extra = json!({"a": [1, {"b": null}, "c"], "spans": [{}], "d": {"e": 1.5e300}});
    let sent = json!({"unknownOne": extra, "resourceSpans": [{"unknownTwo": extra,
        "resource": {"unknownThree": true, "attributes": [{"key": "k", "value": {"stringValue": "v"}, "unknownFour": extra}]},
        "scopeSpans": [{"unknownFive": "x", "scope": {"name": "s", "unknownSix": 6},
            "spans": [{"unknownSeven": [], "name": mark, "traceId": "5b8efff798038103d269b633813fc60c",
                "spanId": "eee19b7ec3c1b174", "kind": 2, "status": {"unknownEight": {}, "code": 1},
                "events": [{"name": "event", "unknownNine": null}]}]}]}]});
    let (resource_spans, span) = the_span(&through(world, "/v1/traces", &sent, &mark).await?, &mark)?;
    let attributes = resource_spans.resource.map_or(0, |resource| resource.attributes.len());
    let kept = (span.kind, span.status.unwrap_or_default().code, span.events.len(), attributes);
    demand(kept == (2, 1, 1, 1), || {
        format!(
            "(kind, code, events, attributes) beside unknown names became {kept:?} instead of (2, 1, 1, 1)"
        )
    })?;
    Ok("at nine places, with values of every kind; what stands beside them is kept".to_owned())
}

pub(super) async fn j04_names(world: &World) -> Seen {
    let mark = world.mark("J04");
    let sent = of_span(&json!({"name": mark, "traceId": "5b8efff798038103d269b633813fc60c",
        "spanId": "eee19b7ec3c1b174", "droppedEventsCount": 3, "dropped_attributes_count": 7,
        "parent_span_id": "eee19b7ec3c1b175", "start_time_unix_nano": "5"}));
    let (_, span) = the_span(&through(world, "/v1/traces", &sent, &mark).await?, &mark)?;
    demand(span.dropped_events_count == 3, || "droppedEventsCount was not taken".to_owned())?;
    let mut taken = Vec::new();
    if span.dropped_attributes_count != 0 {
        taken.push("dropped_attributes_count");
    }
    if !span.parent_span_id.is_empty() {
        taken.push("parent_span_id");
    }
    if span.start_time_unix_nano != 0 {
        taken.push("start_time_unix_nano");
    }
    demand(taken.is_empty(), || format!("taken as if they were valid: {}", taken.join(", ")))?;
    Ok("lowerCamelCase taken, three original names ignored".to_owned())
}

pub(super) async fn j07_answers(world: &World) -> Seen {
    for signal in [Signal::Traces, Signal::Metrics, Signal::Logs] {
        let good = world.post(signal.http_path(), JSON, json_of(signal, &world.mark("J07"))).await?;
        expect_status(signal.name(), &good, 200)?;
        let bad = world.post(signal.http_path(), JSON, "{\"resource").await?;
        expect_status("truncated JSON", &bad, 400)?;
        for answer in [&good, &bad] {
            let parsed = serde_json::from_slice::<Value>(&answer.body);
            let is_json = answer.media_type() == JSON && parsed.is_ok_and(|value| value.is_object());
            demand(is_json, || {
                format!(
                    "{}: {} is {:?} {:?}",
                    signal.name(),
                    answer.status,
                    answer.media_type(),
                    &answer.body
                )
            })?;
        }
    }
    Ok("200 and 400 of three signals".to_owned())
}
