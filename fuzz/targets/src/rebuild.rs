//! A request rebuilt through the views, to be compared with what prost decodes.

use relay_core::otlp::{
    AnyValueView, KeyValueView, RequestView, ResourceSpansView, ScopeSpansView, SpanId, SpanView, TraceId,
};
use relay_core::wire::{DecodeError, DecodeErrorKind};
use testkit::oracle::{
    AnyValue, ArrayValue, ExportTraceServiceRequest, InstrumentationScope, KeyValue, KeyValueList, Resource,
    ResourceSpans, ScopeSpans, Span, Status,
    any_value::Value,
    span::{Event, Link},
};

type Result<T> = std::result::Result<T, DecodeError>;

/// An id that a view refuses for its length is rebuilt as this, which no id that it takes equals.
const WRONG_LENGTH: [u8; 3] = *b"len";

fn trace_id(id: Result<Option<TraceId>>) -> Result<Vec<u8>> {
    id_bytes(id.map(|id| id.map(|id| id.0.to_vec())), 16)
}

fn span_id(id: Result<Option<SpanId>>) -> Result<Vec<u8>> {
    id_bytes(id.map(|id| id.map(|id| id.0.to_vec())), 8)
}

fn id_bytes(id: Result<Option<Vec<u8>>>, expected: usize) -> Result<Vec<u8>> {
    match id {
        Ok(id) => Ok(id.unwrap_or_default()),
        Err(DecodeError { kind: DecodeErrorKind::IdLength { expected: wanted, len }, .. }) => {
            assert!(wanted == expected && len != expected && len != 0);
            Ok(WRONG_LENGTH.to_vec())
        }
        Err(error) => Err(error),
    }
}

/// Every field of every message, as the views tell it.
pub fn rebuild(message: &[u8]) -> Result<ExportTraceServiceRequest> {
    let resource_spans = RequestView::new(message).resource_spans().map(|view| rebuild_resource_spans(view?));
    Ok(ExportTraceServiceRequest { resource_spans: resource_spans.collect::<Result<_>>()? })
}

fn rebuild_resource_spans(view: ResourceSpansView<'_>) -> Result<ResourceSpans> {
    let resource = match view.resource()? {
        Some(resource) => Some(Resource {
            attributes: rebuild_attributes(resource.attributes())?,
            dropped_attributes_count: resource.dropped_attributes_count(),
            entity_refs: Vec::new(),
        }),
        None => None,
    };
    let scope_spans = view.scope_spans().map(|view| rebuild_scope_spans(view?)).collect::<Result<_>>()?;
    Ok(ResourceSpans { resource, scope_spans, schema_url: view.schema_url()?.into() })
}

fn rebuild_scope_spans(view: ScopeSpansView<'_>) -> Result<ScopeSpans> {
    let scope = match view.scope()? {
        Some(scope) => Some(InstrumentationScope {
            name: scope.name()?.into(),
            version: scope.version()?.into(),
            attributes: rebuild_attributes(scope.attributes())?,
            dropped_attributes_count: scope.dropped_attributes_count(),
        }),
        None => None,
    };
    let spans = view.spans().map(|span| rebuild_span(span?)).collect::<Result<_>>()?;
    Ok(ScopeSpans { scope, spans, schema_url: view.schema_url()?.into() })
}

fn rebuild_span(view: SpanView<'_>) -> Result<Span> {
    let span = view.fields()?;
    assert_eq!(trace_id(view.trace_id()), trace_id(span.trace_id()));
    assert_eq!(view.name(), span.name());
    let events = span.events().map(|event| {
        let event = event?;
        Ok(Event {
            time_unix_nano: event.time_unix_nano(),
            name: event.name()?.into(),
            attributes: rebuild_attributes(event.attributes())?,
            dropped_attributes_count: event.dropped_attributes_count(),
        })
    });
    let links = span.links().map(|link| {
        let link = link?;
        Ok(Link {
            trace_id: trace_id(link.trace_id())?,
            span_id: span_id(link.span_id())?,
            trace_state: link.trace_state()?.into(),
            attributes: rebuild_attributes(link.attributes())?,
            dropped_attributes_count: link.dropped_attributes_count(),
            flags: link.flags(),
        })
    });
    let status = match span.status()? {
        Some(status) => Some(Status { message: status.message()?.into(), code: status.code().0 }),
        None => None,
    };
    Ok(Span {
        trace_id: trace_id(span.trace_id())?,
        span_id: span_id(span.span_id())?,
        trace_state: span.trace_state()?.into(),
        parent_span_id: span_id(span.parent_span_id())?,
        flags: span.flags(),
        name: span.name()?.into(),
        kind: span.kind().0,
        start_time_unix_nano: span.start_time_unix_nano(),
        end_time_unix_nano: span.end_time_unix_nano(),
        attributes: rebuild_attributes(span.attributes())?,
        dropped_attributes_count: span.dropped_attributes_count(),
        events: events.collect::<Result<_>>()?,
        dropped_events_count: span.dropped_events_count(),
        links: links.collect::<Result<_>>()?,
        dropped_links_count: span.dropped_links_count(),
        status,
    })
}

fn rebuild_attributes<'a>(views: impl Iterator<Item = Result<KeyValueView<'a>>>) -> Result<Vec<KeyValue>> {
    views.map(|view| rebuild_key_value(view?)).collect()
}

fn rebuild_key_value(view: KeyValueView<'_>) -> Result<KeyValue> {
    let (key, value) = view.pair()?;
    assert_eq!((view.key(), view.key_bytes()), (Ok(key), Ok(key.as_bytes())));
    Ok(KeyValue { key: key.into(), value: Some(rebuild_value(value)?), key_strindex: 0 })
}

fn rebuild_value(view: AnyValueView<'_>) -> Result<AnyValue> {
    let value = match view {
        AnyValueView::Unset => None,
        AnyValueView::String(text) => Some(Value::StringValue(text.into())),
        AnyValueView::Bool(value) => Some(Value::BoolValue(value)),
        AnyValueView::Int(value) => Some(Value::IntValue(value)),
        AnyValueView::Double(value) => Some(Value::DoubleValue(value)),
        AnyValueView::Bytes(bytes) => Some(Value::BytesValue(bytes.into())),
        AnyValueView::Array(array) => {
            let values = array.values().map(|value| rebuild_value(value?)).collect::<Result<_>>()?;
            Some(Value::ArrayValue(ArrayValue { values }))
        }
        AnyValueView::KeyValues(list) => {
            Some(Value::KvlistValue(KeyValueList { values: rebuild_attributes(list.entries())? }))
        }
        _ => panic!("a variant that this test does not know"),
    };
    Ok(AnyValue { value })
}

/// What views do not tell apart, and why: no value and an unset one (OTLP: both are "empty"), profiles-only
/// indexes (to be treated as absent), entity references (status Development), and ids of wrong lengths, which
/// they refuse.
pub fn normalize(request: &mut ExportTraceServiceRequest) {
    for resource_spans in &mut request.resource_spans {
        if let Some(resource) = &mut resource_spans.resource {
            resource.entity_refs.clear();
            resource.attributes.iter_mut().for_each(normalize_key_value);
        }
        for scope_spans in &mut resource_spans.scope_spans {
            let scope = scope_spans.scope.iter_mut().flat_map(|scope| &mut scope.attributes);
            scope.for_each(normalize_key_value);
            scope_spans.spans.iter_mut().for_each(normalize_span);
        }
    }
}

fn normalize_span(span: &mut Span) {
    normalize_id(&mut span.trace_id, 16);
    normalize_id(&mut span.span_id, 8);
    normalize_id(&mut span.parent_span_id, 8);
    span.attributes.iter_mut().for_each(normalize_key_value);
    span.events.iter_mut().flat_map(|event| &mut event.attributes).for_each(normalize_key_value);
    for link in &mut span.links {
        normalize_id(&mut link.trace_id, 16);
        normalize_id(&mut link.span_id, 8);
        link.attributes.iter_mut().for_each(normalize_key_value);
    }
}

fn normalize_id(id: &mut Vec<u8>, len: usize) {
    if !id.is_empty() && id.len() != len {
        *id = WRONG_LENGTH.to_vec();
    }
}

fn normalize_key_value(key_value: &mut KeyValue) {
    key_value.key_strindex = 0;
    normalize_value(key_value.value.get_or_insert_default());
}

fn normalize_value(value: &mut AnyValue) {
    match &mut value.value {
        Some(Value::ArrayValue(array)) => array.values.iter_mut().for_each(normalize_value),
        Some(Value::KvlistValue(list)) => list.values.iter_mut().for_each(normalize_key_value),
        Some(Value::StringValueStrindex(_)) => value.value = None,
        _ => {}
    }
}
