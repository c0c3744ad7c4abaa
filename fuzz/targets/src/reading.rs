//! Reading: wire format, framing, views. The oracles are prost and testkit's own wire walker.

use relay_core::otlp::{RawRequest, Signal};
use relay_core::wire::{
    self, DecodeError, FieldValue, Input, Reader, SegmentReader, Segments, Tag, WireType, append_varint,
    varint_len,
};
use testkit::oracle::{decode, encode, span_count};
use testkit::wire::{Payload, fields};

use crate::cut;
use crate::rebuild::{normalize, rebuild};

/// How deep [`wire`] looks into length-delimited fields, which may be messages.
const LEVELS_MAX: u32 = 4;

/// Any bytes, contiguous and in pieces: the two readers see the same fields at the same offsets and end with
/// the same error, and where testkit's walker, which knows no groups, reads a message, they read the same
/// values.
pub fn wire(data: &[u8]) {
    let seed = data.first().copied().unwrap_or_default();
    let segments: Segments = cut(data, seed).into_iter().collect();
    let (mut whole, mut pieces) = (Vec::new(), Vec::new());
    let whole_end = walk(Reader::new(data), 0, &mut whole);
    let pieces_end = walk(SegmentReader::new(&segments), 0, &mut pieces);
    assert_eq!((&whole, whole_end), (&pieces, pieces_end), "contiguous and segmented bytes read differently");
    if let Err(error) = whole_end {
        assert!(error.offset <= data.len(), "{error} lies outside");
    }
    against_walker(data, whole_end.is_ok());
}

/// Tags with the offset behind them, depth first.
fn walk<I: Input>(
    mut input: I,
    level: u32,
    seen: &mut Vec<(u32, WireType, usize)>,
) -> Result<(), DecodeError> {
    while let Some(tag) = wire::tag(&mut input)? {
        seen.push((tag.field, tag.wire_type, input.offset()));
        if level < LEVELS_MAX
            && tag.wire_type == WireType::LengthDelimited
            && let Ok(inner) = wire::message(&mut input.clone(), tag)
        {
            // What looks like a message need not be one.
            walk(inner, level + 1, seen).ok();
        }
        let before = input.offset();
        wire::skip(&mut input, Tag { field: tag.field, wire_type: tag.wire_type })?;
        assert!(input.offset() >= before, "skipping goes forwards");
    }
    assert_eq!(input.remaining(), 0);
    Ok(())
}

fn against_walker(data: &[u8], is_message: bool) {
    let Ok(expected) = fields(data) else { return };
    // The walker takes field numbers up to 2^32-1, protobuf only up to 2^29-1.
    if expected.iter().any(|field| field.number >= 1 << 29) {
        return;
    }
    assert!(is_message, "what the walker reads, the readers read");
    let mut reader = Reader::new(data);
    for field in expected {
        let found = reader.field().unwrap().unwrap();
        assert_eq!(found.number, field.number);
        match (found.value, field.payload) {
            (FieldValue::Varint(a), Payload::Varint(b)) => {
                assert_eq!(a, b);
                let mut out = Vec::new();
                append_varint(&mut out, a);
                assert_eq!(out.len(), varint_len(a));
                assert!(out.len() <= field.raw.len(), "minimal");
            }
            (FieldValue::Fixed64(a), Payload::Fixed64(b)) => assert_eq!(a, b),
            (FieldValue::Fixed32(a), Payload::Fixed32(b)) => assert_eq!(a, b),
            (FieldValue::LengthDelimited(a), Payload::Len(b)) => {
                assert_eq!(a.bytes(), b);
                assert_eq!(a.bytes().as_ptr(), b.as_ptr(), "a slice of the message");
            }
            (a, b) => panic!("{a:?} and {b:?}"),
        }
    }
    assert!(reader.field().unwrap().is_none());
}

/// Any bytes, contiguous and in pieces: framing says the same of both, takes what prost takes, and counts the
/// same spans.
pub fn framing(data: &[u8]) {
    let seed = data.last().copied().unwrap_or_default();
    let counts = |message: Segments| {
        RawRequest::new(message).frame(Signal::Traces).map(|framed| (framed.items(), framed.resources()))
    };
    let whole = counts(Segments::from(data.to_vec()));
    assert_eq!(whole, counts(cut(data, seed).into_iter().collect()), "segments must not matter");
    if let Err(error) = whole {
        assert!(error.offset <= data.len(), "{error} lies outside the message");
    }
    if let Ok(request) = decode(data) {
        let expected = (span_count(&request) as u64, request.resource_spans.len() as u64);
        assert_eq!(whole, Ok(expected), "prost takes what framing refuses, or counts otherwise");
    }
}

/// Any bytes: views never panic and always end; what prost takes, they take, with equal values. Where they
/// differ by design, see [`normalize`].
pub fn views_against_prost(data: &[u8]) {
    let rebuilt = rebuild(data);
    if let Ok(mut expected) = decode(data) {
        normalize(&mut expected);
        // Compared as encodings, in which a NaN equals itself.
        let rebuilt = rebuilt.expect("views take what prost takes");
        assert!(encode(&rebuilt) == encode(&expected), "{rebuilt:?}\nis not\n{expected:?}");
    }
}
