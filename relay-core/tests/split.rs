//! Splitting held against prost and against a wire walker of the tests' own: every output within the limit,
//! nothing lost but what fits nowhere, headers and unknown fields byte for byte, and no payload byte copied.

#![cfg(test)]

use bytes::Bytes;
use proptest::prelude::*;
use relay_core::edit::{Split, SplitLimit, split};
use relay_core::otlp::{FramedRequest, RawRequest, Signal};
use relay_core::wire::Segments;
use testkit::generate::{arb_request, kube_like_bytes};
use testkit::oracle::{decode, flatten, flatten_all};
use testkit::permute::encode_permuted;
use testkit::wire::{Field, Payload, fields, put_len_field};

const NO_LIMIT: SplitLimit = SplitLimit { bytes_max: usize::MAX, items_max: u64::MAX };

fn frame(message: impl Into<Segments>) -> FramedRequest {
    RawRequest::new(message).frame(Signal::Traces).unwrap()
}

fn pieces(message: &[u8], piece_bytes: usize) -> Segments {
    message.chunks(piece_bytes).map(Bytes::copy_from_slice).collect()
}

fn len_field(number: u32, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    put_len_field(&mut out, number, &parts.concat());
    out
}

/// A span as the wire has it: every other field of its ResourceSpans, every other field of its ScopeSpans,
/// the span's own field.
type WireSpan = (Vec<u8>, Vec<u8>, Vec<u8>);

fn is_child(field: &Field<'_>, number: u32) -> bool {
    field.number == number && matches!(field.payload, Payload::Len(_))
}

/// A field whole, and its body.
type Child<'a> = (&'a [u8], &'a [u8]);

/// Every other field of a message, and its children.
fn children(message: &[u8], number: u32) -> (Vec<u8>, Vec<Child<'_>>) {
    let mut header = Vec::new();
    let mut children = Vec::new();
    for field in fields(message).unwrap() {
        match field.payload {
            Payload::Len(body) if is_child(&field, number) => children.push((field.raw, body)),
            _ => header.extend_from_slice(field.raw),
        }
    }
    (header, children)
}

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

/// The length of a request that holds nothing but this span and its headers.
fn alone_bytes((resource, scope, span): &WireSpan) -> usize {
    len_field(1, &[resource, &len_field(2, &[scope, span])]).len()
}

/// The length of a request that holds nothing but what `output` begins with: a field of the request itself, a container without spans,
/// or a span.
fn first_alone_bytes(output: &[u8]) -> usize {
    let all = fields(output).unwrap();
    let first = all.first().expect("an output is not empty");
    let Payload::Len(resource_spans) = first.payload else { return first.raw.len() };
    if first.number != 1 || wire_spans(first.raw).is_empty() {
        return first.raw.len();
    }
    let (resource, scopes) = children(resource_spans, 2);
    let (raw, scope_spans) = scopes[0];
    let (scope, spans) = children(scope_spans, 2);
    match spans.first() {
        Some((span, _)) => alone_bytes(&(resource, scope, span.to_vec())),
        None => len_field(1, &[&resource, raw]).len(),
    }
}

fn check_outputs(split: &Split, limit: SplitLimit) {
    for output in &split.requests {
        assert!(output.len() <= limit.bytes_max && output.items() <= limit.items_max, "over the limit");
        let again = frame(output.segments().clone());
        assert_eq!((again.items(), again.resources()), (output.items(), output.resources()));
    }
}

fn check_split(message: &[u8], request: &FramedRequest, limit: SplitLimit) {
    let split = split(request, limit);
    check_outputs(&split, limit);

    let all = wire_spans(message);
    let fits = |span: &WireSpan| limit.items_max > 0 && alone_bytes(span) <= limit.bytes_max;
    let expected: Vec<WireSpan> = all.iter().filter(|span| fits(span)).cloned().collect();
    let outputs: Vec<Bytes> = split.requests.iter().map(FramedRequest::to_bytes).collect();
    let found: Vec<WireSpan> = outputs.iter().flat_map(|output| wire_spans(output)).collect();
    assert!(
        found == expected,
        "spans, their order or their headers differ: {} of {}",
        found.len(),
        expected.len()
    );
    assert_eq!(split.dropped_items, (all.len() - expected.len()) as u64);

    // Greedy: whatever an output begins with did not fit the one before it.
    for pair in outputs.windows(2) {
        let room = limit.bytes_max - pair[0].len();
        let is_full = wire_spans(&pair[0]).len() as u64 == limit.items_max;
        assert!(is_full || first_alone_bytes(&pair[1]) > room, "{room} bytes were left");
    }

    let (unknown, _) = children(message, 1);
    if unknown.len() <= limit.bytes_max && !outputs.is_empty() {
        assert_eq!(children(&outputs[0], 1).0, unknown, "unknown fields of the request go first");
    }
    if split.dropped_items == 0 {
        let decoded: Vec<_> = outputs.iter().map(|output| decode(output).unwrap()).collect();
        assert_eq!(flatten_all(&decoded), flatten(&decode(message).unwrap()));
    }
}

proptest! {
    #[test]
    fn every_limit_keeps_what_fits(
        request in arb_request(),
        seed: u64,
        percent in 0..120_usize,
        items_max in prop_oneof![Just(u64::MAX), 0..6_u64],
        piece_bytes in prop_oneof![Just(usize::MAX), 1..50_usize],
    ) {
        let message = encode_permuted(&request, seed, true);
        let limit = SplitLimit { bytes_max: message.len() * percent / 100, items_max };
        check_split(&message, &frame(pieces(&message, piece_bytes)), limit);
    }
}

/// Guarantee: a request within the limit is handed on as it is, down to the buffer it lies in.
#[test]
fn what_fits_comes_back_unchanged() {
    let message = kube_like_bytes(10, 1);
    for limit in [NO_LIMIT, SplitLimit { bytes_max: message.len(), items_max: 10 }] {
        let split = split(&frame(message.clone()), limit);
        assert_eq!((split.requests.len(), split.dropped_items), (1, 0));
        assert_eq!(split.requests[0].to_bytes().as_ptr(), message.as_ptr());
        assert_eq!(split.requests[0].to_bytes(), message);
    }
}

#[test]
fn every_limit_on_a_kube_request_terminates() {
    let message = kube_like_bytes(8, 3);
    let request = frame(message.clone());
    for bytes_max in 0..=message.len() {
        check_split(&message, &request, SplitLimit { bytes_max, items_max: u64::MAX });
    }
    for items_max in 0..=9 {
        check_split(&message, &request, SplitLimit { bytes_max: usize::MAX, items_max });
    }
}

#[test]
fn outputs_are_filled() {
    let message = kube_like_bytes(2_000, 5);
    let limit = SplitLimit { bytes_max: 64 << 10, items_max: u64::MAX };
    let split = split(&frame(message.clone()), limit);
    check_outputs(&split, limit);
    let (_last, full) = split.requests.split_last().unwrap();
    assert!(full.iter().all(|output| output.len() > (64 << 10) - 2_000));
    assert_eq!(split.requests.iter().map(FramedRequest::items).sum::<u64>(), 2_000);
}

/// Guarantee: what a split output consists of lies in the source, but for the tags and lengths around it.
#[test]
fn no_payload_byte_is_copied() {
    let message = kube_like_bytes(500, 9);
    let source = message.as_ptr_range();
    let split = split(&frame(message.clone()), SplitLimit { bytes_max: 20_000, items_max: u64::MAX });
    assert!(split.requests.len() > 10);
    for output in &split.requests {
        let outside = output.segments().iter().filter(|piece| !source.contains(&piece.as_ptr()));
        let new_bytes: usize = outside.map(Bytes::len).sum();
        assert!(new_bytes <= 2 * 2 * 4, "{new_bytes} bytes are new");
        assert!(output.segments().count() <= 10, "runs of spans are one piece each");
    }
}

/// Scenario: one span of 5,000 bytes between small ones, limit 1,000.
#[test]
fn only_what_fits_nowhere_is_dropped() {
    let span = |bytes: usize| len_field(2, &[&len_field(5, &[&vec![b'n'; bytes]])]);
    let resource = len_field(1, &[&len_field(1, &[&len_field(1, &[b"key"])])]);
    let scope =
        len_field(2, &[&len_field(1, &[&len_field(1, &[b"scope"])]), &span(10), &span(5_000), &span(11)]);
    let lonely = len_field(2, &[&len_field(1, &[&len_field(1, &[b"other"])]), &span(5_000)]);
    let message = [
        len_field(1, &[&resource, &scope, &lonely]),
        len_field(1, &[&resource, &lonely]),
        len_field(1, &[&resource, &len_field(2, &[&span(12)])]),
    ]
    .concat();
    let limit = SplitLimit { bytes_max: 1_000, items_max: u64::MAX };
    check_split(&message, &frame(message.clone()), limit);
    let split = split(&frame(message), limit);
    assert_eq!(split.dropped_items, 3);
    assert_eq!(split.requests.len(), 1, "a span that fits nowhere does not end an output");
    assert_eq!(split.requests[0].resources(), 2, "a resource all of whose spans are dropped is not sent");
}

/// Scenario: resources and scopes without spans, which are data that was sent, among spans; one is larger
/// than the limit.
#[test]
fn containers_without_spans_are_kept_where_they_fit() {
    let resource = |bytes: usize| len_field(1, &[&len_field(1, &[&vec![b'r'; bytes]])]);
    let empty = len_field(1, &[&resource(30)]);
    let too_large = len_field(1, &[&resource(300)]);
    let full =
        len_field(1, &[&resource(20), &len_field(2, &[]), &len_field(2, &[&len_field(2, &[&[0x2a, 0]])])]);
    let message =
        [empty.clone(), full.clone(), too_large, empty.clone(), full.clone(), empty.clone()].concat();
    let limit = SplitLimit { bytes_max: 80, items_max: u64::MAX };
    let split = split(&frame(message), limit);
    check_outputs(&split, limit);
    assert_eq!(split.dropped_items, 0);
    let outputs: Vec<u8> = split.requests.iter().flat_map(|output| output.to_bytes()).collect();
    let (_, found) = children(&outputs, 1);
    let empties = found.iter().filter(|(raw, _)| *raw == empty).count();
    assert_eq!((empties, wire_spans(&outputs).len(), found.len()), (3, 2, 5));
}

/// Scenario: a scope without spans does not fit what is left of an output, the span after it would. Guarantee: the order is kept, so the
/// scope begins the next output, and the span follows it.
#[test]
fn a_container_without_spans_may_begin_an_output() {
    let span = |bytes: usize| len_field(2, &[&len_field(5, &[&vec![b'n'; bytes]])]);
    let scope = |bytes: usize| len_field(1, &[&len_field(1, &[&vec![b's'; bytes]])]);
    let first = len_field(1, &[&len_field(2, &[&span(60)])]);
    let (empty, last) = (len_field(2, &[&scope(50)]), len_field(2, &[&span(10)]));
    let message = [first.clone(), len_field(1, &[&empty, &last])].concat();
    let limit = SplitLimit { bytes_max: 100, items_max: u64::MAX };
    assert!(len_field(1, &[&last]).len() <= limit.bytes_max - first.len());
    let request = frame(message.clone());
    check_split(&message, &request, limit);
    let outputs: Vec<Bytes> = split(&request, limit).requests.iter().map(FramedRequest::to_bytes).collect();
    assert_eq!(outputs, [first, len_field(1, &[&empty, &last])]);
}

/// Scenario: a hostile sender puts an unknown field between any two of 20,000 spans, so that the scope's
/// header is in as many pieces. Guarantee: outputs do not each hold a piece for each of them.
#[test]
fn a_header_in_many_pieces_does_not_multiply() {
    let one = [len_field(2, &[&[0x2a, 1, b'n']]), vec![0xf8, 0x01, 0]].concat();
    let message = len_field(1, &[&len_field(2, &[&one.repeat(20_000)])]);
    let limit = SplitLimit { bytes_max: 70_000, items_max: 500 };
    let split = split(&frame(message), limit);
    check_outputs(&split, limit);
    assert_eq!((split.requests.len(), split.dropped_items), (40, 0));
    let counts = split.requests.iter().map(|output| output.segments().count());
    assert!(counts.max() <= Some(500 + 4), "one piece per span at most, and four around them");
    assert_eq!(wire_spans(&split.requests[7].to_bytes())[0].1, [0xf8, 0x01, 0].repeat(20_000));
}

/// Scenario: 200,000 ResourceSpans of one small span. Guarantee: time in proportion to their number (this
/// takes milliseconds; were each of them to walk all segments, it would take minutes).
#[test]
fn many_containers_in_many_segments_take_linear_time() {
    let span = len_field(2, &[&[0x2a, 1, b'n']]);
    let message = len_field(1, &[&len_field(2, &[&span])]).repeat(200_000);
    let limit = SplitLimit { bytes_max: 10_000, items_max: u64::MAX };
    let split = split(&frame(pieces(&message, 13)), limit);
    check_outputs(&split, limit);
    assert_eq!(split.requests.iter().map(FramedRequest::items).sum::<u64>(), 200_000);
}

/// A resource of nearly the limit around many spans cannot multiply itself without a bound; what is left out is counted.
#[test]
fn outputs_are_bounded() {
    let framed = RawRequest::new(kube_like_bytes(5_000, 1)).frame(Signal::Traces).unwrap();
    let limit = SplitLimit { bytes_max: usize::MAX, items_max: 1 };
    let cut = split(&framed, limit);
    let most = relay_core::limits::SPLIT_REQUESTS_MAX;
    assert_eq!((cut.requests.len(), cut.dropped_items), (most, framed.items() - most as u64));
}
