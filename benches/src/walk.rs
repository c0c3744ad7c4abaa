//! Visits every field of every span, once through relay-core's views and once through prost's structs, and adds up what it has seen.
//!
//! Both give the same [`Seen`] for the same request, which proves that both have visited the same.

use relay_core::otlp::{
    AnyValueView, EventView, KeyValueView, LinkView, RequestView, ResourceSpansView, ScopeSpansView,
    SpanFields,
};
use relay_core::wire::DecodeError;
use testkit::oracle::{
    ExportTraceServiceRequest, KeyValue, ResourceSpans, ScopeSpans, Span, any_value, span,
};

/// Sum over all fields: of numbers the value, of text and bytes the length and the first byte. Order does not matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The sum.
    pub sum: u64,
    /// Spans.
    pub spans: u64,
}

impl Seen {
    #[inline(always)]
    fn number(&mut self, value: u64) {
        self.sum = self.sum.wrapping_add(value);
    }

    #[inline(always)]
    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64 + u64::from(bytes.first().copied().unwrap_or_default()));
    }
}

/// Every field, through the views.
///
/// # Errors
/// The message is malformed.
pub fn views(message: &[u8]) -> Result<Seen, DecodeError> {
    let mut seen = Seen::default();
    for resource_spans in RequestView::new(message).resource_spans() {
        view_resource_spans(&mut seen, &resource_spans?)?;
    }
    Ok(seen)
}

fn view_resource_spans(seen: &mut Seen, view: &ResourceSpansView<'_>) -> Result<(), DecodeError> {
    if let Some(resource) = view.resource()? {
        view_attributes(seen, resource.attributes())?;
        seen.number(resource.dropped_attributes_count().into());
    }
    seen.bytes(view.schema_url()?.as_bytes());
    for scope_spans in view.scope_spans() {
        view_scope_spans(seen, &scope_spans?)?;
    }
    Ok(())
}

fn view_scope_spans(seen: &mut Seen, view: &ScopeSpansView<'_>) -> Result<(), DecodeError> {
    if let Some(scope) = view.scope()? {
        seen.bytes(scope.name()?.as_bytes());
        seen.bytes(scope.version()?.as_bytes());
        view_attributes(seen, scope.attributes())?;
        seen.number(scope.dropped_attributes_count().into());
    }
    seen.bytes(view.schema_url()?.as_bytes());
    for span in view.spans() {
        view_span(seen, &span?.fields()?)?;
    }
    Ok(())
}

fn view_span(seen: &mut Seen, span: &SpanFields<'_>) -> Result<(), DecodeError> {
    seen.spans += 1;
    seen.bytes(span.trace_id()?.as_ref().map_or(&[], |id| &id.0[..]));
    seen.bytes(span.span_id()?.as_ref().map_or(&[], |id| &id.0[..]));
    seen.bytes(span.parent_span_id()?.as_ref().map_or(&[], |id| &id.0[..]));
    seen.bytes(span.trace_state()?.as_bytes());
    seen.bytes(span.name()?.as_bytes());
    seen.number(span.kind().0 as u64);
    seen.number(span.flags().into());
    seen.number(span.start_time_unix_nano());
    seen.number(span.end_time_unix_nano());
    view_attributes(seen, span.attributes())?;
    seen.number(span.dropped_attributes_count().into());
    for event in span.events() {
        view_event(seen, &event?)?;
    }
    seen.number(span.dropped_events_count().into());
    for link in span.links() {
        view_link(seen, &link?)?;
    }
    seen.number(span.dropped_links_count().into());
    if let Some(status) = span.status()? {
        seen.bytes(status.message()?.as_bytes());
        seen.number(status.code().0 as u64);
    }
    Ok(())
}

fn view_event(seen: &mut Seen, event: &EventView<'_>) -> Result<(), DecodeError> {
    seen.number(event.time_unix_nano());
    seen.bytes(event.name()?.as_bytes());
    view_attributes(seen, event.attributes())?;
    seen.number(event.dropped_attributes_count().into());
    Ok(())
}

fn view_link(seen: &mut Seen, link: &LinkView<'_>) -> Result<(), DecodeError> {
    seen.bytes(link.trace_id()?.as_ref().map_or(&[], |id| &id.0[..]));
    seen.bytes(link.span_id()?.as_ref().map_or(&[], |id| &id.0[..]));
    seen.bytes(link.trace_state()?.as_bytes());
    view_attributes(seen, link.attributes())?;
    seen.number(link.dropped_attributes_count().into());
    seen.number(link.flags().into());
    Ok(())
}

fn view_attributes<'a>(
    seen: &mut Seen,
    attributes: impl Iterator<Item = Result<KeyValueView<'a>, DecodeError>>,
) -> Result<(), DecodeError> {
    for attribute in attributes {
        let attribute = attribute?;
        seen.bytes(attribute.key()?.as_bytes());
        view_value(seen, &attribute.value()?)?;
    }
    Ok(())
}

fn view_value(seen: &mut Seen, value: &AnyValueView<'_>) -> Result<(), DecodeError> {
    match value {
        AnyValueView::String(text) => seen.bytes(text.as_bytes()),
        AnyValueView::Bool(value) => seen.number((*value).into()),
        AnyValueView::Int(value) => seen.number(value.cast_unsigned()),
        AnyValueView::Double(value) => seen.number(value.to_bits()),
        AnyValueView::Array(array) => {
            for value in array.values() {
                view_value(seen, &value?)?;
            }
        }
        AnyValueView::KeyValues(list) => view_attributes(seen, list.entries())?,
        AnyValueView::Bytes(bytes) => seen.bytes(bytes),
        _ => {}
    }
    Ok(())
}

/// Every field, through a request that prost has decoded.
#[must_use]
pub fn structs(request: &ExportTraceServiceRequest) -> Seen {
    let mut seen = Seen::default();
    for resource_spans in &request.resource_spans {
        struct_resource_spans(&mut seen, resource_spans);
    }
    seen
}

fn struct_resource_spans(seen: &mut Seen, resource_spans: &ResourceSpans) {
    if let Some(resource) = &resource_spans.resource {
        struct_attributes(seen, &resource.attributes);
        seen.number(resource.dropped_attributes_count.into());
    }
    seen.bytes(resource_spans.schema_url.as_bytes());
    for scope_spans in &resource_spans.scope_spans {
        struct_scope_spans(seen, scope_spans);
    }
}

fn struct_scope_spans(seen: &mut Seen, scope_spans: &ScopeSpans) {
    if let Some(scope) = &scope_spans.scope {
        seen.bytes(scope.name.as_bytes());
        seen.bytes(scope.version.as_bytes());
        struct_attributes(seen, &scope.attributes);
        seen.number(scope.dropped_attributes_count.into());
    }
    seen.bytes(scope_spans.schema_url.as_bytes());
    for span in &scope_spans.spans {
        struct_span(seen, span);
    }
}

fn struct_span(seen: &mut Seen, span: &Span) {
    seen.spans += 1;
    seen.bytes(&span.trace_id);
    seen.bytes(&span.span_id);
    seen.bytes(&span.parent_span_id);
    seen.bytes(span.trace_state.as_bytes());
    seen.bytes(span.name.as_bytes());
    seen.number(span.kind as u64);
    seen.number(span.flags.into());
    seen.number(span.start_time_unix_nano);
    seen.number(span.end_time_unix_nano);
    struct_attributes(seen, &span.attributes);
    seen.number(span.dropped_attributes_count.into());
    for event in &span.events {
        struct_event(seen, event);
    }
    seen.number(span.dropped_events_count.into());
    for link in &span.links {
        struct_link(seen, link);
    }
    seen.number(span.dropped_links_count.into());
    if let Some(status) = &span.status {
        seen.bytes(status.message.as_bytes());
        seen.number(status.code as u64);
    }
}

fn struct_event(seen: &mut Seen, event: &span::Event) {
    seen.number(event.time_unix_nano);
    seen.bytes(event.name.as_bytes());
    struct_attributes(seen, &event.attributes);
    seen.number(event.dropped_attributes_count.into());
}

fn struct_link(seen: &mut Seen, link: &span::Link) {
    seen.bytes(&link.trace_id);
    seen.bytes(&link.span_id);
    seen.bytes(link.trace_state.as_bytes());
    struct_attributes(seen, &link.attributes);
    seen.number(link.dropped_attributes_count.into());
    seen.number(link.flags.into());
}

fn struct_attributes(seen: &mut Seen, attributes: &[KeyValue]) {
    for attribute in attributes {
        seen.bytes(attribute.key.as_bytes());
        if let Some(value) = attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
            struct_value(seen, value);
        }
    }
}

fn struct_value(seen: &mut Seen, value: &any_value::Value) {
    match value {
        any_value::Value::StringValue(text) => seen.bytes(text.as_bytes()),
        any_value::Value::BoolValue(value) => seen.number((*value).into()),
        any_value::Value::IntValue(value) => seen.number(value.cast_unsigned()),
        any_value::Value::DoubleValue(value) => seen.number(value.to_bits()),
        any_value::Value::ArrayValue(array) => {
            for value in array.values.iter().filter_map(|value| value.value.as_ref()) {
                struct_value(seen, value);
            }
        }
        any_value::Value::KvlistValue(list) => struct_attributes(seen, &list.values),
        any_value::Value::BytesValue(bytes) => seen.bytes(bytes),
        _ => {}
    }
}
