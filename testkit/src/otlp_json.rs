//! prost's requests as OTLP/JSON, written by hand after the specification ("JSON Protobuf Encoding"): what a transcoder's output must
//! decode to. Of everything that JSON leaves open a [`Form`] says how it is spelled.
//!
//! Must never read JSON: a mistake in reading cannot hide behind the same one here. Ids of a wrong length have no spelling and are the
//! caller's mistake.

mod common;
mod form;
mod metrics;
mod profiles;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use serde_json::{Value, json};

use self::common::{any_value_of, attributes_of, list, option, resource_of, scope_of};
pub use self::form::Form;
use self::metrics::metric_of;
use self::profiles::{dictionary_of, profile_of};
use crate::oracle::{ExportTraceServiceRequest, Span, span};

/// `request` with ids of the right length, or none: others have no JSON.
#[must_use]
pub fn with_whole_ids(mut request: ExportTraceServiceRequest) -> ExportTraceServiceRequest {
    let whole = |id: &mut Vec<u8>, len: usize| id.resize(if id.is_empty() { 0 } else { len }, 7);
    let scopes = request.resource_spans.iter_mut().flat_map(|resource| &mut resource.scope_spans);
    for span in scopes.flat_map(|scope| &mut scope.spans) {
        whole(&mut span.trace_id, 16);
        whole(&mut span.span_id, 8);
        whole(&mut span.parent_span_id, 8);
        for link in &mut span.links {
            whole(&mut link.trace_id, 16);
            whole(&mut link.span_id, 8);
        }
    }
    request
}

/// A traces request.
#[must_use]
pub fn traces(request: &ExportTraceServiceRequest, form: Form) -> Value {
    form.finish(json!({ "resourceSpans": list(&request.resource_spans, |of| json!({
        "resource": option(of.resource.as_ref(), |resource| resource_of(resource, form)),
        "scopeSpans": list(&of.scope_spans, |of| json!({
            "scope": option(of.scope.as_ref(), |scope| scope_of(scope, form)),
            "spans": list(&of.spans, |span| span_of(span, form)),
            "schemaUrl": of.schema_url,
        })),
        "schemaUrl": of.schema_url,
    })) }))
}

/// A metrics request.
#[must_use]
pub fn metrics(request: &ExportMetricsServiceRequest, form: Form) -> Value {
    form.finish(json!({ "resourceMetrics": list(&request.resource_metrics, |of| json!({
        "resource": option(of.resource.as_ref(), |resource| resource_of(resource, form)),
        "scopeMetrics": list(&of.scope_metrics, |of| json!({
            "scope": option(of.scope.as_ref(), |scope| scope_of(scope, form)),
            "metrics": list(&of.metrics, |metric| metric_of(metric, form)),
            "schemaUrl": of.schema_url,
        })),
        "schemaUrl": of.schema_url,
    })) }))
}

/// A logs request.
#[must_use]
pub fn logs(request: &ExportLogsServiceRequest, form: Form) -> Value {
    form.finish(json!({ "resourceLogs": list(&request.resource_logs, |of| json!({
        "resource": option(of.resource.as_ref(), |resource| resource_of(resource, form)),
        "scopeLogs": list(&of.scope_logs, |of| json!({
            "scope": option(of.scope.as_ref(), |scope| scope_of(scope, form)),
            "logRecords": list(&of.log_records, |record| log_record_of(record, form)),
            "schemaUrl": of.schema_url,
        })),
        "schemaUrl": of.schema_url,
    })) }))
}

/// A profiles request.
#[must_use]
pub fn profiles(request: &ExportProfilesServiceRequest, form: Form) -> Value {
    let resource_profiles = list(&request.resource_profiles, |of| {
        json!({
            "resource": option(of.resource.as_ref(), |resource| resource_of(resource, form)),
            "scopeProfiles": list(&of.scope_profiles, |of| json!({
                "scope": option(of.scope.as_ref(), |scope| scope_of(scope, form)),
                "profiles": list(&of.profiles, |profile| profile_of(profile, form)),
                "schemaUrl": of.schema_url,
            })),
            "schemaUrl": of.schema_url,
        })
    });
    let dictionary = option(request.dictionary.as_ref(), |dictionary| dictionary_of(dictionary, form));
    form.finish(json!({ "resourceProfiles": resource_profiles, "dictionary": dictionary }))
}

fn span_of(span: &Span, form: Form) -> Value {
    let event = |event: &span::Event| {
        json!({
            "timeUnixNano": form.unsigned(event.time_unix_nano),
            "name": event.name,
            "attributes": attributes_of(&event.attributes, form),
            "droppedAttributesCount": event.dropped_attributes_count,
        })
    };
    let link = |link: &span::Link| {
        json!({
            "traceId": form.id(&link.trace_id),
            "spanId": form.id(&link.span_id),
            "traceState": link.trace_state,
            "attributes": attributes_of(&link.attributes, form),
            "droppedAttributesCount": link.dropped_attributes_count,
            "flags": link.flags,
        })
    };
    json!({
        "traceId": form.id(&span.trace_id),
        "spanId": form.id(&span.span_id),
        "traceState": span.trace_state,
        "parentSpanId": form.id(&span.parent_span_id),
        "flags": span.flags,
        "name": span.name,
        "kind": span.kind,
        "startTimeUnixNano": form.unsigned(span.start_time_unix_nano),
        "endTimeUnixNano": form.unsigned(span.end_time_unix_nano),
        "attributes": attributes_of(&span.attributes, form),
        "droppedAttributesCount": span.dropped_attributes_count,
        "events": list(&span.events, event),
        "droppedEventsCount": span.dropped_events_count,
        "links": list(&span.links, link),
        "droppedLinksCount": span.dropped_links_count,
        "status": option(span.status.as_ref(), |status| json!({ "message": status.message, "code": status.code })),
    })
}

fn log_record_of(record: &LogRecord, form: Form) -> Value {
    json!({
        "timeUnixNano": form.unsigned(record.time_unix_nano),
        "observedTimeUnixNano": form.unsigned(record.observed_time_unix_nano),
        "severityNumber": record.severity_number,
        "severityText": record.severity_text,
        "body": option(record.body.as_ref(), |body| any_value_of(body, form)),
        "attributes": attributes_of(&record.attributes, form),
        "droppedAttributesCount": record.dropped_attributes_count,
        "flags": record.flags,
        "traceId": form.id(&record.trace_id),
        "spanId": form.id(&record.span_id),
        "eventName": record.event_name,
    })
}
