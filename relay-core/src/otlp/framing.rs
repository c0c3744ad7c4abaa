//! From raw bytes to a framed request: proves lengths down to the Span boundary and counts spans. Never looks
//! into a span, a resource or a scope, and never changes a byte.

use bytes::Bytes;

use super::fields::{request, resource_spans, scope_spans};
use crate::wire::{self, DecodeError, Input, Reader, SegmentReader, Segments, WireType};

/// An `ExportTraceServiceRequest` as it came from a peer: nothing is known about its bytes.
#[derive(Clone, Debug)]
pub struct RawRequest {
    segments: Segments,
}

impl RawRequest {
    /// Takes the message's bytes: a `Bytes`, a `Vec<u8>`, or the [`Segments`] of several DATA frames.
    pub fn new(message: impl Into<Segments>) -> Self {
        Self { segments: message.into() }
    }

    /// Length of the message in bytes.
    pub fn len(&self) -> usize {
        self.segments.len()
    }

    /// True for a message of no bytes, which is a valid request without spans.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Proves that the message's structure holds down to the boundary of each span, so that it may be merged
    /// with others: one malformed part would make a merged request unreadable. Reads a few bytes per span and
    /// allocates nothing.
    ///
    /// # Errors
    /// What is wrong and where, if lengths do not nest, a known field of
    /// `ExportTraceServiceRequest`, `ResourceSpans` or `ScopeSpans` has another wire type than its schema
    /// says, or an unknown one cannot be skipped. OTLP specification, OTLP/gRPC, "Failures": such a request
    /// is answered by `INVALID_ARGUMENT` and must not be retried.
    pub fn frame(self) -> Result<FramedRequest, DecodeError> {
        let counts = match self.segments.as_contiguous() {
            Some(bytes) => count_request(Reader::new(bytes))?,
            None => count_request(SegmentReader::new(&self.segments))?,
        };
        Ok(FramedRequest { segments: self.segments, counts })
    }
}

/// A request whose lengths are proven down to the Span boundary: it may be merged and split. What is inside a
/// span, a resource or a scope may still be malformed; views find that out.
#[derive(Clone, Debug)]
pub struct FramedRequest {
    segments: Segments,
    counts: Counts,
}

impl FramedRequest {
    /// A request that code of this crate composed out of framed ones, with the counts that it kept.
    pub(crate) fn composed(segments: Segments, items: u64, resource_spans: u64) -> Self {
        Self { segments, counts: Counts { items, resource_spans } }
    }

    /// The message's bytes.
    pub fn segments(&self) -> &Segments {
        &self.segments
    }

    /// The message's bytes, to keep.
    pub fn into_segments(self) -> Segments {
        self.segments
    }

    /// Number of spans.
    pub fn items(&self) -> u64 {
        self.counts.items
    }

    /// Number of `ResourceSpans`.
    pub fn resource_spans(&self) -> u64 {
        self.counts.resource_spans
    }

    /// Length of the message in bytes.
    pub fn len(&self) -> usize {
        self.segments.len()
    }

    /// True for a message of no bytes. A request can have bytes and no spans; see [`items`](Self::items).
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// The message as one `Bytes`: shared when it is in one piece, else copied once (cold path). What a
    /// view is laid over.
    pub fn to_bytes(&self) -> Bytes {
        self.segments.to_bytes()
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    items: u64,
    resource_spans: u64,
}

fn count_request<I: Input>(mut input: I) -> Result<Counts, DecodeError> {
    let mut counts = Counts::default();
    while let Some(tag) = wire::tag(&mut input)? {
        if tag.field == request::RESOURCE_SPANS {
            counts.items += count_resource_spans(wire::message(&mut input, tag)?)?;
            counts.resource_spans += 1;
        } else {
            wire::skip(&mut input, tag)?;
        }
    }
    Ok(counts)
}

/// Number of spans in the body of a `ResourceSpans`, with all its lengths proven.
pub(crate) fn count_resource_spans<I: Input>(mut input: I) -> Result<u64, DecodeError> {
    let mut items = 0;
    while let Some(tag) = wire::tag(&mut input)? {
        match tag.field {
            resource_spans::SCOPE_SPANS => items += count_scope_spans(wire::message(&mut input, tag)?)?,
            resource_spans::RESOURCE | resource_spans::SCHEMA_URL => skip_length_delimited(&mut input, tag)?,
            _ => wire::skip(&mut input, tag)?,
        }
    }
    Ok(items)
}

/// Number of spans in the body of a `ScopeSpans`, with all its lengths proven.
pub(crate) fn count_scope_spans<I: Input>(mut input: I) -> Result<u64, DecodeError> {
    let mut items = 0;
    while let Some(tag) = wire::tag(&mut input)? {
        match tag.field {
            scope_spans::SPANS => {
                skip_length_delimited(&mut input, tag)?;
                items += 1;
            }
            scope_spans::SCOPE | scope_spans::SCHEMA_URL => skip_length_delimited(&mut input, tag)?,
            _ => wire::skip(&mut input, tag)?,
        }
    }
    Ok(items)
}

#[inline]
fn skip_length_delimited<I: Input>(input: &mut I, tag: wire::Tag) -> Result<(), DecodeError> {
    wire::expect_wire_type(tag, WireType::LengthDelimited, input.offset())?;
    wire::skip(input, tag)
}
