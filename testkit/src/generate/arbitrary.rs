//! proptest strategies for every field of a trace request (opentelemetry/proto/trace/v1/trace.proto, common.proto, resource.proto).
//!
//! Must never favour what real programs send: absent, empty, negative, unknown and nested values are as likely as ordinary ones.

use std::ops::RangeInclusive;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::oracle::{
    AnyValue, ArrayValue, EntityRef, ExportTraceServiceRequest, InstrumentationScope, KeyValue, KeyValueList,
    Resource, ResourceSpans, ScopeSpans, Span, Status, any_value, span,
};

/// Upper bounds of what a strategy builds. All counts start at zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// `ResourceSpans` in a request.
    pub resources_max: usize,
    /// `ScopeSpans` in a `ResourceSpans`.
    pub scopes_max: usize,
    /// Spans in a `ScopeSpans`.
    pub spans_max: usize,
    /// Attributes of a resource, scope, span, event or link.
    pub attributes_max: usize,
    /// Events of a span, and as many links.
    pub events_max: usize,
    /// Characters in a string, bytes in a bytes value.
    pub text_max: usize,
    /// Nesting of arrays and key-value lists; 0 = scalars only.
    pub depth_max: u32,
}

impl Default for Sizes {
    /// Small: a request of a few hundred bytes, so that thousands of cases cost seconds.
    fn default() -> Self {
        Self {
            resources_max: 3,
            scopes_max: 3,
            spans_max: 3,
            attributes_max: 3,
            events_max: 2,
            text_max: 12,
            depth_max: 3,
        }
    }
}

impl Sizes {
    pub(super) fn texts(&self) -> BoxedStrategy<String> {
        let any_text = vec(any::<char>(), 0..=self.text_max).prop_map(|chars| chars.into_iter().collect());
        let ascii = vec(0x20_u8..0x7f, 0..=self.text_max)
            .prop_map(|bytes| bytes.into_iter().map(char::from).collect());
        prop_oneof![1 => Just(String::new()), 3 => ascii, 2 => any_text].boxed()
    }

    pub(super) fn counts(max: usize) -> RangeInclusive<usize> {
        0..=max
    }
}

/// Any request of default [`Sizes`].
pub fn arb_request() -> BoxedStrategy<ExportTraceServiceRequest> {
    arb_request_sized(Sizes::default())
}

/// Any request within `sizes`.
pub fn arb_request_sized(sizes: Sizes) -> BoxedStrategy<ExportTraceServiceRequest> {
    vec(arb_resource_spans(sizes), Sizes::counts(sizes.resources_max))
        .prop_map(|resource_spans| ExportTraceServiceRequest { resource_spans })
        .boxed()
}

/// Any `ResourceSpans`; one in four repeats a scope header, which senders may do and mergers must not mind.
pub fn arb_resource_spans(sizes: Sizes) -> BoxedStrategy<ResourceSpans> {
    let scope_spans = vec(arb_scope_spans(sizes), Sizes::counts(sizes.scopes_max));
    (option::of(arb_resource(sizes)), scope_spans, sizes.texts(), prop::bool::weighted(0.25))
        .prop_map(|(resource, mut scope_spans, schema_url, repeat)| {
            if let ([first, .., last], true) = (scope_spans.as_mut_slice(), repeat) {
                last.scope.clone_from(&first.scope);
                last.schema_url.clone_from(&first.schema_url);
            }
            ResourceSpans { resource, scope_spans, schema_url }
        })
        .boxed()
}

/// Any resource, entity references included.
pub fn arb_resource(sizes: Sizes) -> BoxedStrategy<Resource> {
    (arb_attributes(sizes), arb_count(), vec(arb_entity_ref(sizes), 0..=1))
        .prop_map(|(attributes, dropped_attributes_count, entity_refs)| Resource {
            attributes,
            dropped_attributes_count,
            entity_refs,
        })
        .boxed()
}

fn arb_entity_ref(sizes: Sizes) -> BoxedStrategy<EntityRef> {
    (sizes.texts(), sizes.texts(), vec(sizes.texts(), 0..=2), vec(sizes.texts(), 0..=2))
        .prop_map(|(schema_url, r#type, id_keys, description_keys)| EntityRef {
            schema_url,
            r#type,
            id_keys,
            description_keys,
        })
        .boxed()
}

/// Any `ScopeSpans`.
pub fn arb_scope_spans(sizes: Sizes) -> BoxedStrategy<ScopeSpans> {
    (option::of(arb_scope(sizes)), vec(arb_span_sized(sizes), Sizes::counts(sizes.spans_max)), sizes.texts())
        .prop_map(|(scope, spans, schema_url)| ScopeSpans { scope, spans, schema_url })
        .boxed()
}

/// Any instrumentation scope.
pub fn arb_scope(sizes: Sizes) -> BoxedStrategy<InstrumentationScope> {
    (sizes.texts(), sizes.texts(), arb_attributes(sizes), arb_count())
        .prop_map(|(name, version, attributes, dropped_attributes_count)| InstrumentationScope {
            name,
            version,
            attributes,
            dropped_attributes_count,
        })
        .boxed()
}

/// Any span of default [`Sizes`].
pub fn arb_span() -> BoxedStrategy<Span> {
    arb_span_sized(Sizes::default())
}

/// Any span within `sizes`.
pub fn arb_span_sized(sizes: Sizes) -> BoxedStrategy<Span> {
    let ids = (arb_id(16), arb_id(8), sizes.texts(), arb_id(8));
    let head = (any::<u32>(), sizes.texts(), arb_enum(5), arb_nanos(), arb_nanos());
    let lists = (
        arb_attributes(sizes),
        vec(arb_event(sizes), Sizes::counts(sizes.events_max)),
        vec(arb_link(sizes), Sizes::counts(sizes.events_max)),
        option::of(arb_status(sizes)),
    );
    (ids, head, lists, (arb_count(), arb_count(), arb_count()))
        .prop_map(|(ids, head, lists, dropped)| {
            let (trace_id, span_id, trace_state, parent_span_id) = ids;
            let (flags, name, kind, start_time_unix_nano, end_time_unix_nano) = head;
            let (attributes, events, links, status) = lists;
            Span {
                trace_id,
                span_id,
                trace_state,
                parent_span_id,
                flags,
                name,
                kind,
                start_time_unix_nano,
                end_time_unix_nano,
                attributes,
                dropped_attributes_count: dropped.0,
                events,
                dropped_events_count: dropped.1,
                links,
                dropped_links_count: dropped.2,
                status,
            }
        })
        .boxed()
}

/// Any event.
pub fn arb_event(sizes: Sizes) -> BoxedStrategy<span::Event> {
    (arb_nanos(), sizes.texts(), arb_attributes(sizes), arb_count())
        .prop_map(|(time_unix_nano, name, attributes, dropped_attributes_count)| span::Event {
            time_unix_nano,
            name,
            attributes,
            dropped_attributes_count,
        })
        .boxed()
}

/// Any link.
pub fn arb_link(sizes: Sizes) -> BoxedStrategy<span::Link> {
    (arb_id(16), arb_id(8), sizes.texts(), arb_attributes(sizes), arb_count(), any::<u32>())
        .prop_map(|(trace_id, span_id, trace_state, attributes, dropped_attributes_count, flags)| {
            span::Link { trace_id, span_id, trace_state, attributes, dropped_attributes_count, flags }
        })
        .boxed()
}

/// Any status; codes that the specification does not know included.
pub fn arb_status(sizes: Sizes) -> BoxedStrategy<Status> {
    (sizes.texts(), arb_enum(2)).prop_map(|(message, code)| Status { message, code }).boxed()
}

/// Any attribute list: repeated and empty keys, absent values.
pub fn arb_attributes(sizes: Sizes) -> BoxedStrategy<Vec<KeyValue>> {
    vec(arb_key_value(sizes, arb_any_value(sizes)), Sizes::counts(sizes.attributes_max)).boxed()
}

fn arb_key_value(sizes: Sizes, value: BoxedStrategy<AnyValue>) -> BoxedStrategy<KeyValue> {
    let key_strindex = prop_oneof![8 => Just(0), 1 => any::<i32>()];
    (sizes.texts(), option::of(value), key_strindex)
        .prop_map(|(key, value, key_strindex)| KeyValue { key, value, key_strindex })
        .boxed()
}

/// Any value of every kind, unset included, nested at most `sizes.depth_max` deep.
pub fn arb_any_value(sizes: Sizes) -> BoxedStrategy<AnyValue> {
    use any_value::Value;
    let scalar = prop_oneof![
        2 => sizes.texts().prop_map(|text| Some(Value::StringValue(text))),
        1 => any::<bool>().prop_map(|flag| Some(Value::BoolValue(flag))),
        1 => any::<i64>().prop_map(|int| Some(Value::IntValue(int))),
        1 => arb_double().prop_map(|double| Some(Value::DoubleValue(double))),
        1 => vec(any::<u8>(), 0..=sizes.text_max).prop_map(|bytes| Some(Value::BytesValue(bytes))),
        1 => any::<i32>().prop_map(|index| Some(Value::StringValueStrindex(index))),
        1 => Just(None),
    ]
    .prop_map(|value| AnyValue { value });
    scalar
        .prop_recursive(sizes.depth_max, 12, 3, move |inner| {
            let list = vec(arb_key_value(sizes, inner.clone()), 0..=3);
            prop_oneof![
                vec(inner, 0..=3).prop_map(|values| Value::ArrayValue(ArrayValue { values })),
                list.prop_map(|values| Value::KvlistValue(KeyValueList { values })),
            ]
            .prop_map(|value| AnyValue { value: Some(value) })
        })
        .boxed()
}

/// An id of the right length, all zero, absent, or of a wrong length.
fn arb_id(len: usize) -> BoxedStrategy<Vec<u8>> {
    prop_oneof![
        6 => vec(any::<u8>(), len),
        1 => Just(vec![0; len]),
        1 => Just(Vec::new()),
        1 => vec(any::<u8>(), 1..=len + 4),
    ]
    .boxed()
}

/// An id of the right length, all zero, or absent.
pub(super) fn arb_whole_id(len: usize) -> BoxedStrategy<Vec<u8>> {
    prop_oneof![6 => vec(any::<u8>(), len), 1 => Just(vec![0; len]), 1 => Just(Vec::new())].boxed()
}

/// Any double but NaN.
pub(super) fn arb_double() -> BoxedStrategy<f64> {
    use proptest::num::f64::{INFINITE, NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
    (NORMAL | SUBNORMAL | ZERO | INFINITE | POSITIVE | NEGATIVE).boxed()
}

pub(super) fn arb_enum(known_max: i32) -> BoxedStrategy<i32> {
    prop_oneof![4 => 0..=known_max, 1 => any::<i32>()].boxed()
}

pub(super) fn arb_count() -> BoxedStrategy<u32> {
    prop_oneof![3 => Just(0), 1 => 1_u32..300, 1 => any::<u32>()].boxed()
}

pub(super) fn arb_nanos() -> BoxedStrategy<u64> {
    prop_oneof![4 => 1_700_000_000_000_000_000_u64..1_900_000_000_000_000_000, 1 => Just(0), 1 => any::<u64>()].boxed()
}
