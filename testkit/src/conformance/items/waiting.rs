//! What a system tells its sender when it answers with what its upstream has answered: partial successes and warnings.

use prost::Message;

use super::http_success::{JSON, PROTOBUF, expect_status, needs_results};
use crate::conformance::payload;
use crate::conformance::upstream::{Answer, Protocol};
use crate::conformance::verdict::{Miss, Seen, demand, fail};
use crate::conformance::world::World;
use crate::oracle::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use crate::raw::EXPORT_PATH;

/// Sends 5 spans over gRPC; the upstream answers with this partial success: what the sender is told.
async fn told(world: &World, item: &str, rejected: i64) -> Result<Option<ExportTracePartialSuccess>, Miss> {
    needs_results(world)?;
    let upstream = world.upstream_of(Protocol::Grpc)?;
    let mark = world.mark(item);
    upstream.script(&mark, Vec::new(), Answer::Partial { rejected, message: "scripted quota".to_owned() });
    let spans = (0..5).map(|_| payload::span(&mark, world.number(), 0)).collect();
    let response = world.export(EXPORT_PATH, &payload::of_spans(spans).encode_to_vec()).await?;
    demand(response.grpc_status() == Some(0), || {
        format!("a partial success of the upstream became status {:?}", response.grpc_status())
    })?;
    let message = response.body.get(5..).unwrap_or_default();
    match ExportTraceServiceResponse::decode(message) {
        Ok(response) => Ok(response.partial_success),
        Err(error) => fail(format!("the response cannot be read: {error}")),
    }
}

pub(super) async fn g09_partial(world: &World) -> Seen {
    let Some(partial) = told(world, "G09", 2).await? else {
        return fail("the upstream rejected 2 of 5 spans; the sender was told that all are accepted");
    };
    demand(partial.rejected_spans == 2, || {
        format!("rejected_spans is {} instead of 2", partial.rejected_spans)
    })?;
    demand(!partial.error_message.is_empty(), || "rejected_spans is 2, error_message is empty".to_owned())?;
    Ok(format!("rejected_spans 2, error_message {:?}", partial.error_message))
}

pub(super) async fn g10_warning(world: &World) -> Seen {
    let Some(partial) = told(world, "G10", 0).await? else {
        return fail("the upstream accepted with a warning; the sender was not told");
    };
    demand(partial.rejected_spans == 0, || {
        format!("rejected_spans is {} instead of 0", partial.rejected_spans)
    })?;
    demand(!partial.error_message.is_empty(), || {
        "partial_success is there, error_message is empty".to_owned()
    })?;
    Ok(format!("rejected_spans 0, error_message {:?}", partial.error_message))
}

pub(super) async fn h08_partial(world: &World) -> Seen {
    needs_results(world)?;
    let upstream = world.upstream_of(Protocol::Grpc)?;
    let mut seen = Vec::new();
    for content_type in [PROTOBUF, JSON] {
        let mark = world.mark("H08");
        upstream.script(
            &mark,
            Vec::new(),
            Answer::Partial { rejected: 1, message: "scripted quota".to_owned() },
        );
        let body = if content_type == JSON {
            super::http_success::json_of(crate::collector::Signal::Traces, &mark).into_bytes()
        } else {
            payload::of_spans(vec![payload::span(&mark, world.number(), 0)]).encode_to_vec()
        };
        let answer = world.post("/v1/traces", content_type, body).await?;
        expect_status("a partial success", &answer, 200)?;
        let rejected = if content_type == JSON {
            rejected_in_json(&answer.body)
        } else {
            let response = ExportTraceServiceResponse::decode(&*answer.body).ok();
            response.and_then(|response| response.partial_success).map(|partial| partial.rejected_spans)
        };
        demand(rejected == Some(1), || {
            let told =
                rejected.map_or_else(|| "nothing".to_owned(), |count| format!("rejected_spans {count}"));
            format!("{content_type}: the upstream rejected 1 span, the sender was told {told}")
        })?;
        seen.push(content_type);
    }
    Ok(format!("rejected_spans 1 in {}", seen.join(" and ")))
}

/// `partialSuccess.rejectedSpans`, a string or a number.
fn rejected_in_json(body: &[u8]) -> Option<i64> {
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    let rejected = value.get("partialSuccess")?.get("rejectedSpans")?;
    rejected.as_i64().or_else(|| rejected.as_str()?.parse().ok())
}
