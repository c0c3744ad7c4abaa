//! From raw bytes to a framed request: proves lengths down to the items' boundary (span, data point, log record, profile sample) and
//! counts items. Never looks into an item, a resource or a scope, and never changes a byte.

use bytes::Bytes;

use super::Signal;
use super::fields::{data, metric, profile, request, resource_spans, scope_spans};
use crate::wire::{self, DecodeError, Input, Reader, SegmentReader, Segments, WireType};

/// An export request as it came from a peer: nothing is known about its bytes.
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

    /// True for a message of no bytes, which is a valid request without items.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Proves that the message's structure, as `signal`'s export request, holds down to the boundary of each item, so that it may be
    /// merged with others: one malformed part would make a merged request unreadable. Reads a few bytes per item and allocates
    /// nothing.
    ///
    /// # Errors
    /// What is wrong and where, if lengths do not nest, a known field of the request's outer messages has another wire type
    /// than its schema says, or an unknown one cannot be skipped. OTLP specification, OTLP/gRPC, "Failures": such a request
    /// is answered by `INVALID_ARGUMENT` and must not be retried.
    pub fn frame(self, signal: Signal) -> Result<FramedRequest, DecodeError> {
        let counts = match self.segments.as_contiguous() {
            Some(bytes) => count_request(Reader::new(bytes), signal)?,
            None => count_request(SegmentReader::new(&self.segments), signal)?,
        };
        Ok(FramedRequest { segments: self.segments, signal, counts })
    }
}

/// A request whose lengths are proven down to the boundary of its items: it may be merged and split. What is inside an
/// item, a resource or a scope may still be malformed; views find that out.
#[derive(Clone, Debug)]
pub struct FramedRequest {
    segments: Segments,
    signal: Signal,
    counts: Counts,
}

impl FramedRequest {
    /// A request that code of this crate composed out of framed ones, with the counts that it kept.
    pub(crate) fn composed(signal: Signal, segments: Segments, items: u64, resources: u64) -> Self {
        Self { segments, signal, counts: Counts { items, resources } }
    }

    /// Whose request it is.
    pub fn signal(&self) -> Signal {
        self.signal
    }

    /// The message's bytes.
    pub fn segments(&self) -> &Segments {
        &self.segments
    }

    /// The message's bytes, to keep.
    pub fn into_segments(self) -> Segments {
        self.segments
    }

    /// Number of items: spans, data points, log records or profile samples.
    pub fn items(&self) -> u64 {
        self.counts.items
    }

    /// Number of `ResourceSpans`, `ResourceMetrics`, `ResourceLogs` or `ResourceProfiles`.
    pub fn resources(&self) -> u64 {
        self.counts.resources
    }

    /// Length of the message in bytes.
    pub fn len(&self) -> usize {
        self.segments.len()
    }

    /// True for a message of no bytes. A request can have bytes and no items; see [`items`](Self::items).
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
pub(super) struct Counts {
    pub(super) items: u64,
    resources: u64,
}

// The loops over items know at compile time whether items lie deeper than the children of a scope, which costs traces and logs
// nothing: asked at run time it is 7 % of their framing.
pub(super) fn count_request<I: Input>(input: I, signal: Signal) -> Result<Counts, DecodeError> {
    match signal {
        Signal::Traces | Signal::Logs => count_in_request::<I, false>(input, signal),
        Signal::Metrics | Signal::Profiles => count_in_request::<I, true>(input, signal),
    }
}

/// Number of items in the body of a `ResourceSpans` or its like, with all its lengths proven.
pub(super) fn count_resource<I: Input>(input: I, signal: Signal) -> Result<u64, DecodeError> {
    match signal {
        Signal::Traces | Signal::Logs => count_in_resource::<I, false>(input, signal),
        Signal::Metrics | Signal::Profiles => count_in_resource::<I, true>(input, signal),
    }
}

/// Number of items in the body of a `ScopeSpans` or its like, with all its lengths proven.
pub(super) fn count_scope<I: Input>(input: I, signal: Signal) -> Result<u64, DecodeError> {
    match signal {
        Signal::Traces | Signal::Logs => count_in_scope::<I, false>(input, signal),
        Signal::Metrics | Signal::Profiles => count_in_scope::<I, true>(input, signal),
    }
}

fn count_in_request<I: Input, const DEEPER: bool>(
    mut input: I,
    signal: Signal,
) -> Result<Counts, DecodeError> {
    let mut counts = Counts::default();
    while let Some(tag) = wire::tag(&mut input)? {
        match tag.field {
            request::RESOURCE_SPANS => {
                counts.items += count_in_resource::<I, DEEPER>(wire::message(&mut input, tag)?, signal)?;
                counts.resources += 1;
            }
            request::DICTIONARY if DEEPER && signal == Signal::Profiles => {
                skip_length_delimited(&mut input, tag)?;
            }
            _ => wire::skip(&mut input, tag)?,
        }
    }
    Ok(counts)
}

fn count_in_resource<I: Input, const DEEPER: bool>(mut input: I, signal: Signal) -> Result<u64, DecodeError> {
    let mut items = 0;
    while let Some(tag) = wire::tag(&mut input)? {
        match tag.field {
            resource_spans::SCOPE_SPANS => {
                items += count_in_scope::<I, DEEPER>(wire::message(&mut input, tag)?, signal)?;
            }
            resource_spans::RESOURCE | resource_spans::SCHEMA_URL => skip_length_delimited(&mut input, tag)?,
            _ => wire::skip(&mut input, tag)?,
        }
    }
    Ok(items)
}

fn count_in_scope<I: Input, const DEEPER: bool>(mut input: I, signal: Signal) -> Result<u64, DecodeError> {
    let mut items = 0;
    while let Some(tag) = wire::tag(&mut input)? {
        match tag.field {
            scope_spans::SPANS if !DEEPER => {
                skip_length_delimited(&mut input, tag)?;
                items += 1;
            }
            scope_spans::SPANS if signal == Signal::Metrics => {
                items += count_metric(wire::message(&mut input, tag)?)?;
            }
            scope_spans::SPANS => {
                items += count_elements(wire::message(&mut input, tag)?, profile::SAMPLES)?;
            }
            scope_spans::SCOPE | scope_spans::SCHEMA_URL => skip_length_delimited(&mut input, tag)?,
            _ => wire::skip(&mut input, tag)?,
        }
    }
    Ok(items)
}

/// Number of data points in the body of a `Metric`.
pub(super) fn count_metric<I: Input>(mut input: I) -> Result<u64, DecodeError> {
    let mut points = 0;
    while let Some(tag) = wire::tag(&mut input)? {
        if metric::DATA.contains(&tag.field) {
            points += count_elements(wire::message(&mut input, tag)?, data::DATA_POINTS)?;
        } else {
            wire::skip(&mut input, tag)?;
        }
    }
    Ok(points)
}

/// Number of messages in field `number` of a message.
pub(super) fn count_elements<I: Input>(mut input: I, number: u32) -> Result<u64, DecodeError> {
    let mut elements = 0;
    while let Some(tag) = wire::tag(&mut input)? {
        if tag.field == number {
            skip_length_delimited(&mut input, tag)?;
            elements += 1;
        } else {
            wire::skip(&mut input, tag)?;
        }
    }
    Ok(elements)
}

#[inline]
fn skip_length_delimited<I: Input>(input: &mut I, tag: wire::Tag) -> Result<(), DecodeError> {
    wire::expect_wire_type(tag, WireType::LengthDelimited, input.offset())?;
    wire::skip(input, tag)
}
