//! Splits a request that is too large for its upstream. Loses nothing but what does not fit alone, and says
//! how much that was.

use super::compose::{Around, Composer, Header, Piece, Unit};
use crate::limits::SPLIT_HEADER_PIECES_MAX;
use crate::otlp::fields::{request, resource_spans, scope_spans};
use crate::otlp::{FramedRequest, count_resource_spans, count_scope_spans};
use crate::wire::{self, DecodeError, Input, Reader, SegmentIndex, SegmentReader};

/// How large a request may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitLimit {
    /// Bytes of the encoded, uncompressed message.
    pub bytes_max: usize,
    /// Spans; `u64::MAX` for no limit.
    pub items_max: u64,
}

/// What became of a request that was split.
#[derive(Clone, Debug)]
pub struct Split {
    /// Requests within the limit; their spans, one after the other, are those of the source in its order.
    pub requests: Vec<FramedRequest>,
    /// Spans that are in none of them, because one span with its resource and scope is larger than the limit, or because
    /// there would be too many requests.
    pub dropped_items: u64,
}

/// Splits `request` into as few requests within `limit` as a greedy fill gives: between `ResourceSpans`,
/// within one of them between `ScopeSpans`, within one of them between spans. Resource, scope, schema URLs
/// and unknown fields are repeated byte for byte around each run of spans; the runs themselves are slices of
/// the source.
///
/// A request within the limit comes back as it is. Unknown fields of the request itself go with the first
/// output. `ResourceSpans` and `ScopeSpans` without spans are kept where they fit, and lost without being
/// counted where they fit nowhere. Takes time in proportion to the number of fields in source and outputs,
/// whatever the limit. A sender that puts nearly a limit's worth of resource around each of many tiny spans
/// gets as many outputs (each holds a reference to that resource, not a copy), up to
/// [`SPLIT_REQUESTS_MAX`](crate::limits::SPLIT_REQUESTS_MAX); spans past that are dropped and counted.
pub fn split(request: &FramedRequest, limit: SplitLimit) -> Split {
    if request.len() <= limit.bytes_max && request.items() <= limit.items_max {
        return Split { requests: vec![request.clone()], dropped_items: 0 };
    }
    let segments = request.segments();
    let source = SegmentIndex::new(segments);
    let mut splitter = Splitter { composer: Composer::new(limit), source: &source, dropped_items: 0 };
    let walked = match segments.as_contiguous() {
        Some(bytes) => splitter.request(Reader::new(bytes)),
        None => splitter.request(SegmentReader::new(segments)),
    };
    let dropped_items = splitter.dropped_items;
    match walked {
        Ok(()) => Split { requests: splitter.composer.finish(&source), dropped_items },
        // Framing has proven every length that is read here. Were it wrong, the upstream's refusal loses less
        // than ours.
        Err(_) => Split { requests: vec![request.clone()], dropped_items: 0 },
    }
}

struct Splitter<'a> {
    composer: Composer,
    source: &'a SegmentIndex<'a>,
    dropped_items: u64,
}

impl Splitter<'_> {
    fn request<I: Input>(&mut self, body: I) -> Result<(), DecodeError> {
        // First, so that they go with the first output wherever they stand. One that is larger than the limit
        // is lost.
        let mut input = body.clone();
        while let Some((field, unit, _)) = next_field(&mut input, request::RESOURCE_SPANS)? {
            if field != request::RESOURCE_SPANS {
                let _lost = !self.composer.place(Around::default(), &unit);
            }
        }
        let mut input = body;
        while let Some((_, unit, child)) = next_field(&mut input, request::RESOURCE_SPANS)? {
            if let Some(child) = child {
                let items = count_resource_spans(child.clone())?;
                self.resource_spans(child, &Unit { items, resource_spans: 1, ..unit })?;
            }
        }
        Ok(())
    }

    fn resource_spans<I: Input>(&mut self, body: I, whole: &Unit) -> Result<(), DecodeError> {
        let around = Around::default();
        if self.composer.place_here(around, whole) || whole.items == 0 && self.composer.place(around, whole) {
            return Ok(());
        }
        let header = self.header(body.clone(), resource_spans::SCOPE_SPANS)?;
        let mut input = body;
        while let Some((_, unit, child)) = next_field(&mut input, resource_spans::SCOPE_SPANS)? {
            if let Some(child) = child {
                let items = count_scope_spans(child.clone())?;
                self.scope_spans(child, &Unit { items, ..unit }, &header)?;
            }
        }
        self.composer.close_resource();
        Ok(())
    }

    fn scope_spans<I: Input>(&mut self, body: I, whole: &Unit, resource: &Header) -> Result<(), DecodeError> {
        let around = Around { resource: Some(resource), scope: None };
        if self.composer.place_here(around, whole) || whole.items == 0 && self.composer.place(around, whole) {
            return Ok(());
        }
        let header = self.header(body.clone(), scope_spans::SPANS)?;
        let around = Around { scope: Some(&header), ..around };
        let mut input = body;
        while let Some((_, unit, child)) = next_field(&mut input, scope_spans::SPANS)? {
            if child.is_some() && !self.composer.place(around, &Unit { items: 1, ..unit }) {
                self.dropped_items += 1;
            }
        }
        self.composer.close_scope();
        Ok(())
    }

    /// Every field of a message but its `children`.
    fn header<I: Input>(&mut self, body: I, children: u32) -> Result<Header, DecodeError> {
        let mut header = Header { pieces: Vec::new(), bytes: 0 };
        let mut input = body;
        while let Some((field, unit, _)) = next_field(&mut input, children)? {
            if field == children {
                continue;
            }
            header.bytes += unit.range.len();
            match header.pieces.last_mut() {
                Some(Piece::Source(last)) if last.end == unit.range.start => last.end = unit.range.end,
                _ => header.pieces.push(Piece::Source(unit.range)),
            }
        }
        if header.pieces.len() > SPLIT_HEADER_PIECES_MAX {
            self.composer.join(self.source, &mut header);
        }
        Ok(header)
    }
}

/// The next field: its number, where it is, and its body if it is one of the `children`.
fn next_field<I: Input>(input: &mut I, children: u32) -> Result<Option<(u32, Unit, Option<I>)>, DecodeError> {
    let start = input.offset();
    let Some(tag) = wire::tag(input)? else { return Ok(None) };
    let child = if tag.field == children {
        Some(wire::message(input, tag)?)
    } else {
        wire::skip(input, tag)?;
        None
    };
    let unit = Unit { range: start..input.offset(), items: 0, resource_spans: 0 };
    Ok(Some((tag.field, unit, child)))
}
