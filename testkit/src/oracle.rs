//! prost's view of a trace request: the truth that the relay's views, merges and splits are compared with.
//!
//! Must never be fast or lazy, and never see the relay's own types.

use std::collections::BTreeMap;

use prost::Message;

pub use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
pub use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList, any_value,
};
pub use opentelemetry_proto::tonic::resource::v1::Resource;
pub use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span, SpanFlags, Status, TracesData, span, status,
};
pub use prost::DecodeError;

/// Decodes an encoded `ExportTraceServiceRequest`.
///
/// # Errors
/// prost's own, for whatever prost does not take.
pub fn decode(bytes: &[u8]) -> Result<ExportTraceServiceRequest, DecodeError> {
    ExportTraceServiceRequest::decode(bytes)
}

/// Encodes a request as prost does: fields in the order of their numbers, no unknown fields.
#[must_use]
pub fn encode(request: &ExportTraceServiceRequest) -> Vec<u8> {
    request.encode_to_vec()
}

/// The number of spans in a request.
#[must_use]
pub fn span_count(request: &ExportTraceServiceRequest) -> usize {
    request
        .resource_spans
        .iter()
        .flat_map(|resource| &resource.scope_spans)
        .map(|scope| scope.spans.len())
        .sum()
}

/// A span with everything it inherits from the containers it lies in.
#[derive(Debug, Clone, PartialEq)]
pub struct FlatSpan {
    /// The resource of the `ResourceSpans`; `None` where the field is absent.
    pub resource: Option<Resource>,
    /// `ResourceSpans.schema_url`.
    pub resource_schema_url: String,
    /// The scope of the `ScopeSpans`; `None` where the field is absent.
    pub scope: Option<InstrumentationScope>,
    /// `ScopeSpans.schema_url`.
    pub scope_schema_url: String,
    /// The span itself.
    pub span: Span,
}

impl FlatSpan {
    /// The encoding of a request that holds this span alone: equal for equal spans, so that multisets can be compared even where
    /// a double is NaN.
    #[must_use]
    pub fn key(&self) -> Vec<u8> {
        let scope_spans = ScopeSpans {
            scope: self.scope.clone(),
            spans: vec![self.span.clone()],
            schema_url: self.scope_schema_url.clone(),
        };
        let resource_spans = ResourceSpans {
            resource: self.resource.clone(),
            scope_spans: vec![scope_spans],
            schema_url: self.resource_schema_url.clone(),
        };
        ExportTraceServiceRequest { resource_spans: vec![resource_spans] }.encode_to_vec()
    }
}

/// Every span of a request in wire order with what it inherits. Two requests that differ only in how spans are grouped flatten to
/// the same list (empty containers vanish).
#[must_use]
pub fn flatten(request: &ExportTraceServiceRequest) -> Vec<FlatSpan> {
    let mut flat = Vec::with_capacity(span_count(request));
    for resource_spans in &request.resource_spans {
        for scope_spans in &resource_spans.scope_spans {
            flat.extend(scope_spans.spans.iter().map(|span| FlatSpan {
                resource: resource_spans.resource.clone(),
                resource_schema_url: resource_spans.schema_url.clone(),
                scope: scope_spans.scope.clone(),
                scope_schema_url: scope_spans.schema_url.clone(),
                span: span.clone(),
            }));
        }
    }
    flat
}

/// [`flatten`] over several requests: what a receiver that got all of them has seen, in order of arrival.
pub fn flatten_all<'a>(requests: impl IntoIterator<Item = &'a ExportTraceServiceRequest>) -> Vec<FlatSpan> {
    requests.into_iter().flat_map(flatten).collect()
}

/// How often each span occurs, for comparing what was sent with what arrived in any order.
#[must_use]
pub fn multiset(spans: &[FlatSpan]) -> BTreeMap<Vec<u8>, usize> {
    let mut counts = BTreeMap::new();
    for span in spans {
        *counts.entry(span.key()).or_default() += 1;
    }
    counts
}

/// Two requests as one: what concatenating their encodings must decode to.
#[must_use]
pub fn merge(
    mut first: ExportTraceServiceRequest,
    second: ExportTraceServiceRequest,
) -> ExportTraceServiceRequest {
    first.resource_spans.extend(second.resource_spans);
    first
}
