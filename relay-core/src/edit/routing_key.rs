//! By what the Collector's load_balancing exporter chooses the member for a span, byte for byte (opentelemetry-collector-contrib v0.161,
//! exporter/loadbalancingexporter: trace_exporter.go, attribute_routing.go). Reads headers and spans lazily; must never fail a
//! request because of what stands in one.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::otlp::{AnyValueView, KeyValueView, ResourceSpansView, ScopeSpansView, SpanView};
use crate::wire::DecodeError;

/// What spans are kept together by (`routing_key`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RoutingKey {
    /// All spans of a trace (`traceID`).
    #[default]
    TraceId,
    /// All spans of a service (`service`): `service.name` of the resource, else of the scope, else of the first span that its trace
    /// has in the scope.
    Service,
}

const SERVICE_NAME: &[u8] = b"service.name";

/// The trace id of a span as the key that it is: 16 zeros where there is none. One of another length, which every receiver refuses, is
/// taken as it stands.
pub(super) fn trace_id(span: &[u8]) -> Cow<'_, [u8]> {
    const NONE: &[u8] = &[0; 16];
    match SpanView::over(span).fields().map(|fields| fields.trace_id_bytes()) {
        Ok(id) if !id.is_empty() => Cow::Borrowed(id),
        Ok(_) | Err(_) => Cow::Borrowed(NONE),
    }
}

/// The key of the service that a resource names; `header` is a `ResourceSpans` without its spans.
pub(super) fn service_of_resource(header: &[u8]) -> Option<Vec<u8>> {
    let resource = ResourceSpansView::over(header).and_then(|header| header.resource()).ok()??;
    named(resource.attributes())
}

/// The same of a scope; `header` is a `ScopeSpans` without its spans.
pub(super) fn service_of_scope(header: &[u8]) -> Option<Vec<u8>> {
    let scope = ScopeSpansView::over(header).and_then(|header| header.scope()).ok()??;
    named(scope.attributes())
}

/// The same of a span, or the key of what has no service.
pub(super) fn service_of_span(span: &[u8]) -> Vec<u8> {
    let fields = SpanView::over(span).fields().ok();
    fields.and_then(|fields| named(fields.attributes())).unwrap_or_else(|| key(b""))
}

fn named<'a>(mut attributes: impl Iterator<Item = Result<KeyValueView<'a>, DecodeError>>) -> Option<Vec<u8>> {
    let found = attributes.find_map(|attribute| {
        attribute.ok().filter(|attribute| attribute.key_bytes().is_ok_and(|key| key == SERVICE_NAME))
    });
    Some(key(&as_text(found?.value().ok()?)))
}

fn key(value: &[u8]) -> Vec<u8> {
    [SERVICE_NAME, b"=", value, b"|"].concat()
}

/// `pcommon.Value.AsString` of the Collector for what a name can be; nothing for a list or a map.
fn as_text(value: AnyValueView<'_>) -> Vec<u8> {
    match value {
        AnyValueView::String(text) => text.as_bytes().to_vec(),
        AnyValueView::Bool(value) => value.to_string().into_bytes(),
        AnyValueView::Int(value) => value.to_string().into_bytes(),
        AnyValueView::Double(value) => value.to_string().into_bytes(),
        AnyValueView::Bytes(bytes) => STANDARD.encode(bytes).into_bytes(),
        _ => Vec::new(),
    }
}
