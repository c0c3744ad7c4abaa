//! Partitioning held against prost: no span lost or doubled, each with its resource and scope byte for byte, each where its key
//! belongs as the Collector's load_balancing exporter has it.

#![cfg(test)]

use std::collections::HashMap;

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;
use relay_core::edit::{RoutingKey, partition};
use relay_core::otlp::{FramedRequest, RawRequest, Signal};
use relay_core::upstream::Ring;
use relay_core::wire::Segments;
use testkit::generate::{arb_request, kube_like_bytes};
use testkit::oracle::{
    AnyValue, ExportTraceServiceRequest, InstrumentationScope, KeyValue, Resource, ResourceSpans, ScopeSpans,
    Span, any_value::Value,
};
use testkit::permute::encode_permuted;
use testkit::wire::{Payload, fields};

fn frame(message: impl Into<Segments>) -> FramedRequest {
    RawRequest::new(message).frame(Signal::Traces).unwrap()
}

/// A field whole, and its body.
type Child<'a> = (&'a [u8], &'a [u8]);

/// Every other field of a message, and the bodies of its children with their fields whole.
fn children(message: &[u8], number: u32) -> (Vec<u8>, Vec<Child<'_>>) {
    let (mut header, mut children) = (Vec::new(), Vec::new());
    for field in fields(message).unwrap() {
        match field.payload {
            Payload::Len(body) if field.number == number => children.push((field.raw, body)),
            _ => header.extend_from_slice(field.raw),
        }
    }
    (header, children)
}

/// Resource, scope and span as the wire has them.
type WireSpan = (Vec<u8>, Vec<u8>, Vec<u8>);

fn wire_spans(message: &[u8]) -> Vec<WireSpan> {
    let mut found = Vec::new();
    for (_, resource_spans) in children(message, 1).1 {
        let (resource, scopes) = children(resource_spans, 2);
        for (_, scope_spans) in scopes {
            let (scope, spans) = children(scope_spans, 2);
            found.extend(spans.into_iter().map(|(raw, _)| (resource.clone(), scope.clone(), raw.to_vec())));
        }
    }
    found
}

fn named(attributes: &[KeyValue]) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == "service.name")?;
    let text = match found.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::BoolValue(value)) => value.to_string(),
        Some(Value::IntValue(value)) => value.to_string(),
        _ => String::new(),
    };
    Some(format!("service.name={text}|"))
}

/// The keys of all spans in order, as the Collector makes them.
fn keys(request: &ExportTraceServiceRequest, key: RoutingKey) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    for resource_spans in &request.resource_spans {
        let of_resource = resource_spans.resource.as_ref().and_then(|resource| named(&resource.attributes));
        for scope_spans in &resource_spans.scope_spans {
            let of_scope = scope_spans.scope.as_ref().and_then(|scope| named(&scope.attributes));
            let mut of_traces: HashMap<&[u8], String> = HashMap::new();
            for span in &scope_spans.spans {
                let mut trace_id = span.trace_id.clone();
                if trace_id.is_empty() {
                    trace_id = vec![0; 16];
                }
                let of_trace = of_traces.entry(&span.trace_id).or_insert_with(|| {
                    named(&span.attributes).unwrap_or_else(|| "service.name=|".to_owned())
                });
                let service = of_resource.as_ref().or(of_scope.as_ref()).unwrap_or(of_trace);
                keys.push(if key == RoutingKey::TraceId { trace_id } else { service.clone().into_bytes() });
            }
        }
    }
    keys
}

fn check(message: &[u8], framed: &FramedRequest, key: RoutingKey, members: usize) {
    let names: Vec<String> = (0..members).map(|at| format!("10.0.0.{at}:4317")).collect();
    let ring = Ring::new(&names);
    let decoded = ExportTraceServiceRequest::decode(message).unwrap();
    let sorted = partition(framed, key, members, |key| ring.member(key).unwrap()).unwrap();

    let mut expected: Vec<Vec<WireSpan>> = vec![Vec::new(); members];
    for (key, span) in keys(&decoded, key).iter().zip(wire_spans(message)) {
        expected[ring.member(key).unwrap()].push(span);
    }
    let mut found: Vec<Vec<WireSpan>> = vec![Vec::new(); members];
    for (member, request) in &sorted {
        let bytes = request.to_bytes();
        assert!(
            found[*member].is_empty() && bytes.len() <= message.len(),
            "one request a member, none larger"
        );
        found[*member] = wire_spans(&bytes);
        let again = frame(bytes);
        assert_eq!((again.items(), again.resources()), (request.items(), request.resources()));
    }
    assert_eq!(found, expected, "spans, their order or their headers differ");
    if let Some((_, first)) = sorted.first() {
        assert_eq!(children(&first.to_bytes(), 1).0, children(message, 1).0, "unknown fields of the request");
    }
    for (_, other) in sorted.iter().skip(1) {
        assert!(children(&other.to_bytes(), 1).0.is_empty(), "only once");
    }
}

proptest! {
    #[test]
    fn every_span_goes_where_its_key_belongs(
        request in arb_request(),
        seed: u64,
        members in 1..9_usize,
        piece_bytes in prop_oneof![Just(usize::MAX), 1..50_usize],
        service: bool,
    ) {
        let message = encode_permuted(&request, seed, true);
        let pieces: Segments = message.chunks(piece_bytes).map(Bytes::copy_from_slice).collect();
        let key = if service { RoutingKey::Service } else { RoutingKey::TraceId };
        check(&message, &frame(pieces), key, members);
    }
}

fn attribute(value: Value) -> KeyValue {
    let value = Some(AnyValue { value: Some(value) });
    KeyValue { key: "service.name".to_owned(), value, ..KeyValue::default() }
}

fn service(name: &str) -> KeyValue {
    attribute(Value::StringValue(name.to_owned()))
}

fn span(trace: u8, attributes: Vec<KeyValue>) -> Span {
    Span { trace_id: vec![trace; 16], name: format!("of {trace}"), attributes, ..Span::default() }
}

fn resource_spans(resource: Vec<KeyValue>, scope: Vec<KeyValue>, spans: Vec<Span>) -> ResourceSpans {
    let scope = InstrumentationScope { attributes: scope, ..InstrumentationScope::default() };
    ResourceSpans {
        resource: Some(Resource { attributes: resource, ..Resource::default() }),
        scope_spans: vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    }
}

/// Where a service is named, from the outside in: resource, scope, the first span of a trace; or nowhere, or by no text.
#[test]
fn services_are_found_where_the_collector_finds_them() {
    let request = ExportTraceServiceRequest {
        resource_spans: vec![
            resource_spans(vec![service("a"), service("never")], vec![service("b")], vec![span(1, vec![])]),
            resource_spans(vec![], vec![service("b")], vec![span(2, vec![service("c")])]),
            resource_spans(
                vec![],
                vec![],
                vec![
                    span(3, vec![service("c")]),
                    span(4, vec![]),
                    span(3, vec![service("d")]),
                    span(4, vec![service("e")]),
                ],
            ),
            resource_spans(vec![attribute(Value::IntValue(-7))], vec![], vec![span(5, vec![])]),
            resource_spans(vec![attribute(Value::BoolValue(true))], vec![], vec![span(6, vec![])]),
            resource_spans(vec![service("")], vec![service("b")], vec![span(7, vec![])]),
        ],
    };
    let message = request.encode_to_vec();
    let mut asked = Vec::new();
    let member = |key: &[u8]| {
        asked.push(String::from_utf8(key.to_vec()).unwrap());
        0
    };
    partition(&frame(message.clone()), RoutingKey::Service, 1, member).unwrap();
    let expected = ["a", "b", "c", "", "-7", "true", ""].map(|name| format!("service.name={name}|"));
    assert_eq!(asked, expected);
    for members in 1..6 {
        check(&message, &frame(message.clone()), RoutingKey::Service, members);
    }
}

/// A trace id that is missing is the key of 16 zeros, and one of a wrong length does not fail the others.
#[test]
fn odd_trace_ids_have_a_member_too() {
    let mut spans = vec![span(1, vec![]), span(2, vec![]), span(3, vec![])];
    spans[0].trace_id.clear();
    spans[1].trace_id.truncate(3);
    let request = ExportTraceServiceRequest { resource_spans: vec![resource_spans(vec![], vec![], spans)] };
    let mut asked = Vec::new();
    let member = |key: &[u8]| {
        asked.push(key.to_vec());
        0
    };
    partition(&frame(request.encode_to_vec()), RoutingKey::TraceId, 1, member).unwrap();
    assert_eq!(asked, [vec![0; 16], vec![2; 3], vec![3; 16]]);
}

/// Guarantee: what belongs to one member is handed on as it is, down to the buffer it lies in; else spans are slices of it.
#[test]
fn nothing_is_copied() {
    let message = kube_like_bytes(64, 1);
    let request = frame(message.clone());
    let whole = partition(&request, RoutingKey::TraceId, 4, |_| 3).unwrap();
    assert_eq!((whole.len(), whole[0].0), (1, 3));
    assert_eq!(whole[0].1.to_bytes().as_ptr(), request.to_bytes().as_ptr());

    let inside = request.to_bytes().as_ptr_range();
    let mut turn = 0;
    let sorted = partition(&request, RoutingKey::TraceId, 4, |_| {
        turn += 1;
        turn % 4
    });
    let (mut copied, mut all) = (0, 0);
    for (_, request) in sorted.unwrap() {
        for piece in request.segments().iter() {
            all += piece.len();
            copied += if inside.contains(&piece.as_ptr()) { 0 } else { piece.len() };
        }
    }
    // Tags and lengths of four requests.
    assert!(copied < 64 && all > message.len(), "{copied} of {all} bytes are new");
}
