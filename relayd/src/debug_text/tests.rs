//! The debug exporter's text, of a request that has everything, and of requests that are broken.

use testkit::oracle::any_value::Value;
use testkit::oracle::span::{Event, Link};
use testkit::oracle::{
    self, AnyValue, ExportTraceServiceRequest, KeyValue, Resource, ResourceSpans, ScopeSpans, Span,
};

use super::*;

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

/// The two spans that the Collector tests its own text with, and a list attribute.
fn request() -> ExportTraceServiceRequest {
    let moment = 1_581_452_772_000_000_321;
    let event = |name: &str, attributes| Event {
        time_unix_nano: moment + 999_999_802,
        name: name.to_owned(),
        attributes,
        dropped_attributes_count: 2,
    };
    let first = Span {
        trace_id: (1..=16).collect(),
        span_id: (0x11..=0x18).collect(),
        trace_state: "ot=th:0".to_owned(),
        name: "operation\x1bA".to_owned(),
        start_time_unix_nano: moment,
        end_time_unix_nano: moment + 1_000_000_468,
        events: vec![event("event-with-attr", vec![text("span-event-attr", "val")]), event("event", vec![])],
        dropped_attributes_count: 1,
        dropped_events_count: 1,
        status: Some(oracle::Status { message: "status-cancelled".to_owned(), code: 2 }),
        ..Span::default()
    };
    let list = AnyValue { value: Some(Value::IntValue(7)) };
    let list =
        oracle::ArrayValue { values: vec![AnyValue { value: Some(Value::StringValue("a".into())) }, list] };
    let second = Span {
        name: "operationB".to_owned(),
        kind: 3,
        attributes: vec![
            attribute("list", Value::ArrayValue(list)),
            attribute("flag", Value::BoolValue(true)),
        ],
        links: vec![Link { dropped_attributes_count: 4, ..Link::default() }],
        dropped_links_count: 3,
        ..Span::default()
    };
    let resource =
        Resource { attributes: vec![text("resource-attr", "resource-attr-val-1")], ..Resource::default() };
    let scope_spans = vec![ScopeSpans { spans: vec![first, second], ..ScopeSpans::default() }];
    let resource_spans = ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![resource_spans] }
}

fn written(write: fn(&mut Chunks<'_>, &RequestView<'_>), bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut emit = |chunk: String| {
        text.push_str(&chunk);
        text.push('\n');
        true
    };
    let mut chunks = Chunks::new(&mut emit);
    write(&mut chunks, &RequestView::new(bytes));
    assert_eq!(chunks.finish(), 0);
    text
}

/// Line for line what the Collector prints; control characters are escaped.
#[test]
fn detailed() {
    let expected = "\
ResourceSpans #0
Resource SchemaURL: 
Resource attributes:
     -> resource-attr: Str(resource-attr-val-1)
ScopeSpans #0
ScopeSpans SchemaURL: 
InstrumentationScope  
Span #0
    Trace ID       : 0102030405060708090a0b0c0d0e0f10
    Parent ID      : 
    ID             : 1112131415161718
    Name           : operation\\u{1b}A
    Kind           : Unspecified
    TraceState     : ot=th:0
    Start time     : 2020-02-11 20:26:12.000000321 +0000 UTC
    End time       : 2020-02-11 20:26:13.000000789 +0000 UTC
    Status code    : Error
    Status message : status-cancelled
    DroppedAttributesCount: 1
    DroppedEventsCount: 1
    DroppedLinksCount: 0
Events:
SpanEvent #0
     -> Name: event-with-attr
     -> Timestamp: 2020-02-11 20:26:13.000000123 +0000 UTC
     -> DroppedAttributesCount: 2
     -> Attributes::
          -> span-event-attr: Str(val)
SpanEvent #1
     -> Name: event
     -> Timestamp: 2020-02-11 20:26:13.000000123 +0000 UTC
     -> DroppedAttributesCount: 2
Span #1
    Trace ID       : 
    Parent ID      : 
    ID             : 
    Name           : operationB
    Kind           : Client
    Start time     : 1970-01-01 00:00:00 +0000 UTC
    End time       : 1970-01-01 00:00:00 +0000 UTC
    Status code    : Unset
    Status message : 
    DroppedAttributesCount: 0
    DroppedEventsCount: 0
    DroppedLinksCount: 3
Attributes:
     -> list: Slice([\"a\",7])
     -> flag: Bool(true)
Links:
SpanLink #0
     -> Trace ID: 
     -> ID: 
     -> TraceState: 
     -> DroppedAttributesCount: 4
";
    assert_eq!(written(write_detailed, &oracle::encode(&request())), expected);
}

#[test]
fn normal() {
    let expected = "\
ResourceTraces #0 resource-attr=resource-attr-val-1
ScopeTraces #0
operation\\u{1b}A 0102030405060708090a0b0c0d0e0f10 1112131415161718
operationB   list=[\"a\",7] flag=true
";
    assert_eq!(written(write_normal, &oracle::encode(&request())), expected);
}

/// Scenario: a span whose id is too short stands before a good one. Guarantee: it is said, and the good one is shown.
#[test]
fn a_malformed_span_is_said_and_its_neighbour_shown() {
    let mut request = request();
    request.resource_spans[0].scope_spans[0].spans[0].span_id.pop();
    let bytes = oracle::encode(&request);
    for write in [write_normal, write_detailed] {
        let text = written(write, &bytes);
        assert!(text.contains("(malformed: ") && text.contains("operationB"), "{text}");
    }
}

/// Guarantee: no prefix and no damaged byte of a request panics.
#[test]
fn damaged_requests_never_panic() {
    let bytes = oracle::encode(&request());
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0xff;
        for write in [write_normal, write_detailed] {
            written(write, &bytes[..at]);
            written(write, &damaged);
        }
    }
}

/// Guarantee: when no more text is taken, the rest is not made, and every span of it is counted.
#[test]
fn a_full_outlet_stops_the_text_and_counts() {
    let mut request = request();
    let spans = &mut request.resource_spans[0].scope_spans[0].spans;
    spans[1].name = "x".repeat(DEBUG_CHUNK_BYTES);
    let big = spans[1].clone();
    spans.extend([big.clone(), big]);
    let mut taken = 0;
    let mut emit = |_: String| {
        taken += 1;
        false
    };
    let mut chunks = Chunks::new(&mut emit);
    write_detailed(&mut chunks, &RequestView::new(&oracle::encode(&request)));
    assert_eq!(chunks.finish(), 2);
    assert_eq!(taken, 1);
}
