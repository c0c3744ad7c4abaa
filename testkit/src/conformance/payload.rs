//! Requests that the suite sends: small, valid, and each with a mark by which it is known again.
//!
//! A mark must stand in each item of a request, because a relay may split and merge requests between items.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point,
};
use opentelemetry_proto::tonic::profiles::v1development::{
    Profile, ProfilesDictionary, ResourceProfiles, Sample, ScopeProfiles, Stack, ValueType,
};
use prost::Message;

use crate::collector::Signal;
use crate::oracle::{
    AnyValue, ExportTraceServiceRequest, KeyValue, Resource, ResourceSpans, ScopeSpans, Span, any_value,
};

/// 2026-01-01 00:00 UTC in nanoseconds: any time that is valid.
pub(super) const TIME_UNIX_NANO: u64 = 1_767_225_600_000_000_000;

pub(super) fn text(value: &str) -> Option<AnyValue> {
    Some(AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) })
}

pub(super) fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: text(value), ..KeyValue::default() }
}

pub(super) fn resource() -> Option<Resource> {
    Some(Resource { attributes: vec![attribute("service.name", "otlp-conformance")], ..Resource::default() })
}

/// A span with the mark as its name and, above 0, an attribute of `filler_bytes`. `number` makes its ids unique.
pub(super) fn span(mark: &str, number: u64, filler_bytes: usize) -> Span {
    let mut span = Span {
        trace_id: [0x0f1f_2f3f_4f5f_6f7f_u64.to_be_bytes(), (number + 1).to_be_bytes()].concat(),
        span_id: (number + 1).to_be_bytes().to_vec(),
        name: mark.to_owned(),
        kind: 2,
        start_time_unix_nano: TIME_UNIX_NANO,
        end_time_unix_nano: TIME_UNIX_NANO + 1_000_000,
        ..Span::default()
    };
    if filler_bytes > 0 {
        span.attributes.push(attribute("filler", &"a".repeat(filler_bytes)));
    }
    span
}

/// A request with these spans under one resource and scope.
pub(super) fn of_spans(spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans =
        vec![ResourceSpans { resource: resource(), scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }
}

/// An encoded request of one span with this mark that is exactly `bytes` long, which must be more than some 200.
pub(super) fn sized(mark: &str, number: u64, bytes: usize) -> Vec<u8> {
    let with = |filler_bytes, padding: usize| {
        let trace_state = "p".repeat(padding);
        of_spans(vec![Span { trace_state, ..span(mark, number, filler_bytes) }]).encode_to_vec()
    };
    let overhead = with(bytes / 2, 1).len() - bytes / 2;
    // Where a length needs one byte more, a size is skipped; a byte of padding reaches it.
    let near = (0..16_usize).flat_map(|less| [(less, 1), (less, 2), (less, 3)]);
    let candidates = near.map(|(less, padding)| (bytes.saturating_sub(overhead + less), padding));
    candidates
        .map(|(filler, padding)| with(filler, padding))
        .find(|message| message.len() == bytes)
        .unwrap_or_default()
}

/// An encoded request of one item with this mark.
pub(super) fn one(signal: Signal, mark: &str, number: u64) -> Vec<u8> {
    match signal {
        Signal::Traces => of_spans(vec![span(mark, number, 0)]).encode_to_vec(),
        Signal::Metrics => metrics(mark).encode_to_vec(),
        Signal::Logs => logs(mark).encode_to_vec(),
        Signal::Profiles => profiles(mark, number).encode_to_vec(),
    }
}

fn metrics(mark: &str) -> ExportMetricsServiceRequest {
    let point = NumberDataPoint {
        attributes: vec![attribute("mark", mark)],
        time_unix_nano: TIME_UNIX_NANO,
        value: Some(number_data_point::Value::AsInt(1)),
        ..NumberDataPoint::default()
    };
    let data = Some(metric::Data::Gauge(Gauge { data_points: vec![point] }));
    let metrics = vec![Metric { name: mark.to_owned(), data, ..Metric::default() }];
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    let of_resource = ResourceMetrics { resource: resource(), scope_metrics, ..ResourceMetrics::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![of_resource] }
}

fn logs(mark: &str) -> ExportLogsServiceRequest {
    let record = LogRecord { time_unix_nano: TIME_UNIX_NANO, body: text(mark), ..LogRecord::default() };
    let scope_logs = vec![ScopeLogs { log_records: vec![record], ..ScopeLogs::default() }];
    let of_resource = ResourceLogs { resource: resource(), scope_logs, ..ResourceLogs::default() };
    ExportLogsServiceRequest { resource_logs: vec![of_resource] }
}

fn profiles(mark: &str, number: u64) -> ExportProfilesServiceRequest {
    // Entry 0 of every table is empty; the mark is the name of the sample's type, and stands in the table of strings.
    let dictionary = ProfilesDictionary {
        mapping_table: vec![Default::default()],
        location_table: vec![Default::default()],
        function_table: vec![Default::default()],
        link_table: vec![Default::default()],
        string_table: vec![String::new(), mark.to_owned()],
        attribute_table: vec![Default::default()],
        stack_table: vec![Stack::default()],
    };
    let profile = Profile {
        sample_type: Some(ValueType { type_strindex: 1, unit_strindex: 0 }),
        samples: vec![Sample {
            values: vec![1],
            timestamps_unix_nano: vec![TIME_UNIX_NANO],
            ..Sample::default()
        }],
        time_unix_nano: TIME_UNIX_NANO,
        profile_id: [0_u64.to_be_bytes(), (number + 1).to_be_bytes()].concat(),
        ..Profile::default()
    };
    let scope_profiles = vec![ScopeProfiles { profiles: vec![profile], ..ScopeProfiles::default() }];
    let of_resource =
        ResourceProfiles { resource: resource(), scope_profiles, ..ResourceProfiles::default() };
    ExportProfilesServiceRequest { resource_profiles: vec![of_resource], dictionary: Some(dictionary) }
}
