//! Framing held against prost: what prost takes, framing takes, with the same number of spans; and no input
//! makes it panic or allocate. The oracle shares no code with it.

#![cfg(test)]

use bytes::Bytes;
use proptest::prelude::*;
use relay_core::otlp::{FramedRequest, RawRequest, Signal};
use relay_core::wire::{DecodeError, DecodeErrorKind, Segments};
use testkit::generate::{arb_request, kube_like_bytes, kube_like_request};
use testkit::oracle::{decode, merge, span_count};
use testkit::permute::encode_permuted;

#[global_allocator]
static ALLOCATOR: testkit::alloc::CountingAllocator = testkit::alloc::CountingAllocator;

fn frame(message: &[u8]) -> Result<FramedRequest, DecodeError> {
    RawRequest::new(message.to_vec()).frame(Signal::Traces)
}

/// Cuts `message` where the bits of `seed` say, into pieces of 1 to 64 bytes.
fn cut(message: &[u8], mut seed: u64) -> Segments {
    let mut segments = Segments::new();
    let mut rest = message;
    while !rest.is_empty() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (piece, tail) = rest.split_at(((seed >> 58) as usize + 1).min(rest.len()));
        segments.push(Bytes::copy_from_slice(piece));
        rest = tail;
    }
    segments
}

/// The three things that hold for any bytes at all.
fn check_any_bytes(message: &[u8], seed: u64) {
    let whole = frame(message).map(|framed| (framed.items(), framed.resources()));
    let pieces = RawRequest::new(cut(message, seed))
        .frame(Signal::Traces)
        .map(|framed| (framed.items(), framed.resources()));
    assert_eq!(whole, pieces, "segments must not matter");
    if let Ok(request) = decode(message) {
        let expected = (span_count(&request) as u64, request.resource_spans.len() as u64);
        assert_eq!(whole, Ok(expected), "prost takes what framing refuses or counts otherwise");
    }
    if let Err(error) = whole {
        assert!(error.offset <= message.len(), "{error} lies outside the message");
    }
}

proptest! {
    #[test]
    fn counts_are_those_of_prost_in_any_field_order(request in arb_request(), seed: u64, unknown: bool) {
        let message = encode_permuted(&request, seed, unknown);
        let framed = frame(&message).unwrap();
        prop_assert_eq!(framed.items(), span_count(&request) as u64);
        prop_assert_eq!(framed.resources(), request.resource_spans.len() as u64);
        check_any_bytes(&message, seed);
    }

    /// The law that batching rests on.
    #[test]
    fn concatenation_is_a_merge(a in arb_request(), b in arb_request(), seed: u64) {
        let a_bytes = encode_permuted(&a, seed, true);
        let b_bytes = encode_permuted(&b, seed.rotate_left(32), true);
        let mut segments = Segments::from(a_bytes.clone());
        segments.push(Bytes::from(b_bytes.clone()));
        let merged = RawRequest::new(segments).frame(Signal::Traces).unwrap();
        prop_assert_eq!(merged.items(), frame(&a_bytes).unwrap().items() + frame(&b_bytes).unwrap().items());
        prop_assert_eq!(decode(&merged.to_bytes()).unwrap(), merge(a, b));
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(message in prop::collection::vec(any::<u8>(), 0..200), seed: u64) {
        check_any_bytes(&message, seed);
    }

    /// Nearly right messages reach further than random ones.
    #[test]
    fn a_few_wrong_bytes_do_no_harm(
        request in arb_request(),
        wrong in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        seed: u64,
    ) {
        let mut message = encode_permuted(&request, seed, true);
        for (index, byte) in wrong {
            if !message.is_empty() {
                let at = index.index(message.len());
                message[at] = byte;
            }
        }
        check_any_bytes(&message, seed);
    }
}

/// Scenario: a sender dies in the middle of a message, at every possible byte.
#[test]
fn every_truncation_of_twenty_samples_agrees_with_prost() {
    for (spans, sample) in [1, 2, 3, 4].into_iter().cycle().zip(0..20_u64) {
        let message = encode_permuted(&kube_like_request(spans, sample), sample, sample % 2 == 0);
        for end in 0..=message.len() {
            check_any_bytes(&message[..end], sample);
        }
    }
}

#[test]
fn recorded_requests_are_framed() {
    for recorded in testkit::payloads::recorded() {
        let expected = decode(&recorded.bytes).unwrap();
        let framed = RawRequest::new(recorded.bytes.clone()).frame(Signal::Traces).unwrap();
        assert_eq!(framed.items(), span_count(&expected) as u64, "{}", recorded.name);
        assert_eq!(
            framed.into_segments().to_bytes().as_ptr(),
            recorded.bytes.as_ptr(),
            "framing must not copy"
        );
    }
}

/// Guarantee: framing costs no memory, however many spans and segments there are.
#[test]
fn framing_does_not_allocate() {
    let message = kube_like_bytes(512, 7);
    let whole = RawRequest::new(message.clone());
    let pieces = RawRequest::new(cut(&message, 7));
    let ((whole, pieces), counts) =
        testkit::alloc::measure(|| (whole.frame(Signal::Traces), pieces.frame(Signal::Traces)));
    assert_eq!(counts.allocations, 0);
    assert_eq!((whole.unwrap().items(), pieces.unwrap().items()), (512, 512));
}

#[test]
fn no_bytes_are_a_request_without_spans() {
    let framed = RawRequest::new(Bytes::new()).frame(Signal::Traces).unwrap();
    assert!(framed.is_empty());
    assert_eq!((framed.items(), framed.resources(), framed.len()), (0, 0, 0));
}

#[test]
fn errors_say_where_and_what() {
    let cases: [(&[u8], &str); 10] = [
        // ResourceSpans { ScopeSpans { spans: length 300, 1 byte there } }
        (
            &[0x0a, 6, 0x12, 4, 0x12, 0xac, 0x02, 0],
            "byte 7, field 2: length 300 runs past the end (1 bytes left)",
        ),
        (&[0x0a, 5, 0], "byte 2, field 1: length 5 runs past the end (1 bytes left)"),
        (&[0x0a], "byte 1, field 1: message ends in the middle of a field"),
        (&[0x08, 1], "byte 1, field 1: wire type varint where length-delimited belongs"),
        (&[0x0a, 2, 0x1d, 0], "byte 3, field 3: wire type fixed32 where length-delimited belongs"),
        (&[0x0a, 2, 0x0a, 0xff], "byte 3, field 1: message ends in the middle of a field"),
        (&[0x00, 0], "byte 0: field number 0 is outside 1..=536870911"),
        (&[0x1e], "byte 0, field 3: wire type 6 does not exist"),
        (&[0x1c], "byte 1, field 3: end of a group that was not open"),
        (&[0x1b, 0x24], "byte 1, field 4: end of a group that was not open"),
    ];
    for (message, expected) in cases {
        assert_eq!(frame(message).unwrap_err().to_string(), expected, "{message:02x?}");
        assert!(decode(message).is_err(), "{message:02x?}: prost takes it");
    }
}

#[test]
fn groups_are_skipped_up_to_a_depth() {
    let nested = |depth: usize| [vec![0x1b; depth], vec![0x1c; depth]].concat();
    assert_eq!(frame(&nested(100)).unwrap().items(), 0);
    for depth in [101, 100_000] {
        let error = frame(&nested(depth)).unwrap_err();
        assert_eq!(error.kind, DecodeErrorKind::TooDeep { max: 100 }, "{depth}");
        check_any_bytes(&nested(depth), 3);
    }
    check_any_bytes(&nested(100), 5);
}
