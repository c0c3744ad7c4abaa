//! Views held against prost: every field of every message, in any order, with unknown fields between them,
//! and with singular messages given several times. A request is rebuilt through the views and compared with
//! what prost decodes.

#![cfg(test)]

use bytes::{BufMut, Bytes};
use proptest::collection::vec;
use proptest::prelude::*;
use relay_core::otlp::{AnyValueView, RawRequest, RequestView, Signal, SpanView};
use relay_core::wire::{DecodeErrorKind, Segments};
use relay_fuzz_targets::rebuild::{normalize, rebuild};
use testkit::generate::{Sizes, arb_any_value, arb_request, arb_resource_spans, arb_scope_spans, arb_span};
use testkit::oracle::{
    AnyValue, ArrayValue, ExportTraceServiceRequest, KeyValue, KeyValueList, ResourceSpans, ScopeSpans, Span,
    any_value::Value, decode, encode,
};
use testkit::permute::encode_permuted;
use testkit::wire::put_len_field;

/// Views over `message` give what prost gives. Compared as encodings, in which a NaN equals itself.
fn check_against_prost(message: &[u8]) {
    let mut expected = decode(message).expect("the test makes what prost takes");
    normalize(&mut expected);
    let rebuilt = rebuild(message).expect("views take what prost takes");
    assert_eq!(rebuilt, expected);
    assert_eq!(encode(&rebuilt), encode(&expected));
}

/// A request of one span, whose bytes are `span`.
fn request_of_span(span: &[u8]) -> Vec<u8> {
    [2, 2, 1].into_iter().fold(span.to_vec(), |inner, field| len_field(field, &inner))
}

fn len_field(field: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_len_field(&mut out, field, bytes);
    out
}

/// The body of the only field of `message`, which begins with a one-byte tag.
fn body(message: &[u8]) -> Vec<u8> {
    let fields = testkit::wire::fields(message).unwrap();
    match fields.as_slice() {
        [field] => match field.payload {
            testkit::wire::Payload::Len(body) => body.to_vec(),
            _ => panic!("not a message"),
        },
        _ => panic!("{} fields", fields.len()),
    }
}

fn span_bytes(span: Span) -> Vec<u8> {
    let scope_spans = ScopeSpans { spans: vec![span], ..ScopeSpans::default() };
    body(&scope_spans_bytes(scope_spans))
}

fn scope_spans_bytes(scope_spans: ScopeSpans) -> Vec<u8> {
    let resource_spans = ResourceSpans { scope_spans: vec![scope_spans], ..ResourceSpans::default() };
    body(&resource_spans_bytes(resource_spans))
}

fn resource_spans_bytes(resource_spans: ResourceSpans) -> Vec<u8> {
    body(&encode(&ExportTraceServiceRequest { resource_spans: vec![resource_spans] }))
}

fn value_bytes(value: AnyValue) -> Vec<u8> {
    let attribute = KeyValue { value: Some(value), ..KeyValue::default() };
    body(&body(&span_bytes(Span { attributes: vec![attribute], ..Span::default() })))
}

proptest! {
    #[test]
    fn views_equal_prost_in_any_field_order(request in arb_request(), seed: u64, unknown: bool) {
        check_against_prost(&encode_permuted(&request, seed, unknown));
    }

    /// Scenario: a message in several DATA frames is viewed through its contiguous form.
    #[test]
    fn segments_do_not_matter(request in arb_request(), seed: u64, piece_bytes in 1..40_usize) {
        let message = encode_permuted(&request, seed, true);
        let segments: Segments = message.chunks(piece_bytes).map(Bytes::copy_from_slice).collect();
        let framed = RawRequest::new(segments).frame(Signal::Traces).unwrap();
        let contiguous = framed.segments().contiguous();
        prop_assert_eq!(contiguous.as_ref(), message.as_slice());
        check_against_prost(&contiguous);
    }

    /// Guarantee: of scalars given twice the last one counts, a status given twice is merged.
    #[test]
    fn two_encodings_of_a_span_in_one_are_merged(a in arb_span(), b in arb_span(), c in arb_span()) {
        let merged = [span_bytes(a), span_bytes(b), span_bytes(c)].concat();
        check_against_prost(&request_of_span(&merged));
    }

    #[test]
    fn a_resource_or_scope_given_several_times_is_merged(
        resources in vec(arb_resource_spans(Sizes::default()), 1..4),
        scopes in vec(arb_scope_spans(Sizes::default()), 1..4),
    ) {
        let merged: Vec<u8> = resources.into_iter().flat_map(resource_spans_bytes).collect();
        check_against_prost(&len_field(1, &merged));
        let merged: Vec<u8> = scopes.into_iter().flat_map(scope_spans_bytes).collect();
        check_against_prost(&len_field(1, &len_field(2, &merged)));
    }

    /// Guarantee: of a value given several times, within one occurrence of `KeyValue.value` or in several,
    /// the last variant counts, and arrays and lists in a row are joined, exactly as prost does it.
    #[test]
    fn a_value_given_several_times_is_merged(
        occurrences in vec(vec(arb_any_value(Sizes::default()), 0..4), 1..4),
        in_array: bool,
    ) {
        let join = |values: Vec<AnyValue>| values.into_iter().flat_map(value_bytes).collect();
        let values: Vec<Vec<u8>> = occurrences.into_iter().map(join).collect();
        let attribute = if in_array {
            let array: Vec<u8> = values.iter().flat_map(|value| len_field(1, value)).collect();
            len_field(2, &len_field(5, &array))
        } else {
            values.iter().flat_map(|value| len_field(2, value)).collect()
        };
        check_against_prost(&request_of_span(&len_field(9, &attribute)));
    }

    /// Whatever the bytes are: no panic, and every iterator ends.
    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..200)) {
        rebuild(&bytes).ok();
        rebuild(&request_of_span(&bytes)).ok();
        rebuild(&request_of_span(&len_field(9, &len_field(2, &bytes)))).ok();
        let message = request_of_span(&len_field(9, &bytes));
        let printed = RequestView::new(&message)
            .resource_spans()
            .flatten()
            .flat_map(|resource| resource.scope_spans().flatten())
            .flat_map(|scope| scope.spans().flatten())
            .filter_map(|span| span.fields().ok())
            .flat_map(|span| span.attributes().flatten().map(|view| view.to_string()).collect::<Vec<_>>());
        prop_assert!(printed.count() <= 1);
    }

    #[test]
    fn a_few_wrong_bytes_do_no_harm(
        request in arb_request(),
        wrong in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        seed: u64,
    ) {
        let mut message = encode_permuted(&request, seed, true);
        for (index, byte) in wrong {
            if !message.is_empty() {
                let at = index.index(message.len());
                message[at] = byte;
            }
        }
        let decoded = decode(&message);
        let rebuilt = rebuild(&message);
        if let Ok(mut expected) = decoded {
            normalize(&mut expected);
            prop_assert_eq!(encode(&rebuilt.expect("views take what prost takes")), encode(&expected));
        }
    }
}

#[test]
fn recorded_requests_equal_prost() {
    testkit::payloads::recorded().iter().for_each(|recorded| check_against_prost(&recorded.bytes));
}

#[test]
fn errors_in_values_say_where() {
    let span = [len_field(1, &[7; 15]), len_field(5, b"\xff")].concat();
    let message = request_of_span(&span);
    let span = only_span(&message);
    let name = span.name().unwrap_err();
    assert_eq!((name.kind, name.field), (DecodeErrorKind::InvalidUtf8, 5));
    assert_eq!(message[name.offset], 0xff, "the offset counts from the start of the request");
    let id = span.trace_id().unwrap_err();
    assert_eq!(id.kind, DecodeErrorKind::IdLength { expected: 16, len: 15 });
    assert_eq!(&message[id.offset..id.offset + 15], [7; 15]);
}

/// Scenario: the second of three events is malformed.
#[test]
fn an_iterator_ends_after_its_first_error() {
    let events = [len_field(11, &[]), len_field(11, &[0x0a, 9]), len_field(11, &[])].concat();
    let message = request_of_span(&events);
    let found: Vec<bool> = only_span(&message).fields().unwrap().events().map(|view| view.is_ok()).collect();
    assert_eq!(found, [true, false]);
}

fn only_span(message: &[u8]) -> SpanView<'_> {
    let mut resource_spans = RequestView::new(message).resource_spans();
    let mut scope_spans = resource_spans.next().unwrap().unwrap().scope_spans();
    scope_spans.next().unwrap().unwrap().spans().next().unwrap().unwrap()
}

/// A span with an attribute of `depth` arrays (or lists) in one another. Built back to front, so that it
/// takes time in proportion to its length.
fn nested_attribute(depth: usize, list: bool) -> Vec<u8> {
    let mut reversed = Vec::new();
    let wrap = |reversed: &mut Vec<u8>, tag: u8| {
        let mut head = Vec::new();
        head.put_u8(tag);
        testkit::wire::put_varint(&mut head, reversed.len() as u64);
        reversed.extend(head.into_iter().rev());
    };
    for _ in 0..depth {
        if list {
            wrap(&mut reversed, 0x12); // KeyValue.value
            wrap(&mut reversed, 0x0a); // KeyValueList.values
            wrap(&mut reversed, 0x32); // AnyValue.kvlist_value
        } else {
            wrap(&mut reversed, 0x0a); // ArrayValue.values
            wrap(&mut reversed, 0x2a); // AnyValue.array_value
        }
    }
    for tag in [0x12, 0x4a] {
        wrap(&mut reversed, tag); // KeyValue.value, Span.attributes
    }
    reversed.reverse();
    request_of_span(&reversed)
}

/// Follows the first value of the only attribute inwards: how deep it went, and what ended it.
fn descend(message: &[u8]) -> (u32, Result<(), DecodeErrorKind>) {
    let attribute = only_span(message).fields().unwrap().attributes().next().unwrap();
    let mut value = attribute.and_then(|attribute| attribute.value());
    for depth in 0.. {
        let inner = match value {
            Ok(AnyValueView::Array(array)) => array.values().next(),
            Ok(AnyValueView::KeyValues(list)) => {
                list.entries().next().map(|entry| entry.and_then(|entry| entry.value()))
            }
            Ok(_) => return (depth, Ok(())),
            Err(error) => return (depth, Err(error.kind)),
        };
        value = inner.unwrap_or(Ok(AnyValueView::Unset));
    }
    unreachable!("the range has no end")
}

/// Scenario: a hostile sender nests a value 100,000 deep; the thread that looks at it has a stack of 256 KiB.
#[test]
fn deep_nesting_is_an_error_not_a_stack_overflow() {
    let look = || {
        for list in [false, true] {
            let message = nested_attribute(100_000, list);
            assert_eq!(RawRequest::new(message.clone()).frame(Signal::Traces).unwrap().items(), 1);
            assert_eq!(descend(&message), (100, Err(DecodeErrorKind::TooDeep { max: 100 })));
            let fields = only_span(&message).fields().unwrap();
            let printed = fields.attributes().next().unwrap().unwrap().to_string();
            assert!(printed.contains("nested deeper than 100 levels") && printed.len() < 1_000, "{printed}");
            assert_eq!(descend(&nested_attribute(99, list)), (99, Ok(())), "what is not too deep is read");
        }
    };
    std::thread::Builder::new().stack_size(256 << 10).spawn(look).unwrap().join().unwrap();
}

#[test]
fn values_print_for_people() {
    let entry =
        |key: &str, value| KeyValue { key: key.into(), value: Some(AnyValue { value }), key_strindex: 0 };
    let list = KeyValueList { values: vec![entry("a", Some(Value::IntValue(-1))), entry("b", None)] };
    let array = ArrayValue {
        values: vec![
            AnyValue { value: Some(Value::StringValue("tab\there, ü".into())) },
            AnyValue { value: Some(Value::BytesValue(vec![0, 255])) },
            AnyValue { value: Some(Value::KvlistValue(list)) },
            AnyValue { value: Some(Value::DoubleValue(0.5)) },
        ],
    };
    let attributes = vec![entry("k\x1b", Some(Value::ArrayValue(array)))];
    let message = request_of_span(&span_bytes(Span { attributes, ..Span::default() }));
    let attribute = only_span(&message).fields().unwrap().attributes().next().unwrap().unwrap();
    assert_eq!(attribute.to_string(), r"k\u{1b}=[tab\there, ü, 00ff, {a=-1, b=}, 0.5]");
}

#[test]
fn ids_print_as_hexadecimal() {
    let span = Span { trace_id: (0..16).collect(), span_id: vec![0xab; 8], ..Span::default() };
    let message = request_of_span(&span_bytes(span));
    let span = only_span(&message).fields().unwrap();
    assert_eq!(span.trace_id().unwrap().unwrap().to_string(), "000102030405060708090a0b0c0d0e0f");
    assert_eq!(format!("{:?}", span.span_id().unwrap().unwrap()), "SpanId(abababababababab)");
    assert_eq!(span.parent_span_id(), Ok(None));
}
