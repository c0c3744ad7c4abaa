//! proptest strategies for every field of a logs request (opentelemetry/proto/logs/v1/logs.proto).
//!
//! Must never favour what real programs send; ids, though, are whole or absent, as servers demand them.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::arbitrary::{
    Sizes, arb_any_value, arb_attributes, arb_count, arb_enum, arb_nanos, arb_resource, arb_scope,
    arb_whole_id,
};

/// Any logs request of default [`Sizes`]; `spans_max` bounds the records of a scope.
pub fn arbitrary_logs() -> BoxedStrategy<ExportLogsServiceRequest> {
    let sizes = Sizes::default();
    vec(arb_resource_logs(sizes), Sizes::counts(sizes.resources_max))
        .prop_map(|resource_logs| ExportLogsServiceRequest { resource_logs })
        .boxed()
}

fn arb_resource_logs(sizes: Sizes) -> BoxedStrategy<ResourceLogs> {
    let scope_logs = vec(arb_scope_logs(sizes), Sizes::counts(sizes.scopes_max));
    (option::of(arb_resource(sizes)), scope_logs, sizes.texts())
        .prop_map(|(resource, scope_logs, schema_url)| ResourceLogs { resource, scope_logs, schema_url })
        .boxed()
}

fn arb_scope_logs(sizes: Sizes) -> BoxedStrategy<ScopeLogs> {
    let log_records = vec(arb_log_record(sizes), Sizes::counts(sizes.spans_max));
    (option::of(arb_scope(sizes)), log_records, sizes.texts())
        .prop_map(|(scope, log_records, schema_url)| ScopeLogs { scope, log_records, schema_url })
        .boxed()
}

fn arb_log_record(sizes: Sizes) -> BoxedStrategy<LogRecord> {
    let head = (arb_nanos(), arb_nanos(), arb_enum(24), sizes.texts(), option::of(arb_any_value(sizes)));
    let tail = (arb_attributes(sizes), arb_count(), any::<u32>(), sizes.texts());
    (head, tail, arb_whole_id(16), arb_whole_id(8))
        .prop_map(|(head, tail, trace_id, span_id)| {
            let (time_unix_nano, observed_time_unix_nano, severity_number, severity_text, body) = head;
            let (attributes, dropped_attributes_count, flags, event_name) = tail;
            LogRecord {
                time_unix_nano,
                observed_time_unix_nano,
                severity_number,
                severity_text,
                body,
                attributes,
                dropped_attributes_count,
                flags,
                trace_id,
                span_id,
                event_name,
            }
        })
        .boxed()
}
