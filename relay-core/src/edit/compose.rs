//! Puts requests together out of slices of one source, each within a limit. Knows sizes and nesting; decides
//! nothing about what belongs together, and reads no source byte.

use std::ops::Range;

use bytes::BytesMut;

use super::SplitLimit;
use crate::limits::SPLIT_REQUESTS_MAX;
use crate::otlp::FramedRequest;
use crate::otlp::fields::{request, resource_spans};
use crate::wire::{SegmentIndex, Segments, append_varint, varint_len};

/// Fields around the children of a `ResourceSpans` or `ScopeSpans`, to be repeated in every output that has
/// some of them.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) pieces: Vec<Piece>,
    /// Sum of the pieces.
    pub(super) bytes: usize,
}

/// Where a run of output bytes comes from.
#[derive(Clone, Debug)]
pub(super) enum Piece {
    /// Offsets in the source message.
    Source(Range<usize>),
    /// Offsets in the composer's own bytes.
    New(Range<usize>),
}

/// The headers around something that is placed: none (a field of the request), that of its `ResourceSpans` (a
/// `ScopeSpans`), or both (a span).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Around<'h> {
    pub(super) resource: Option<&'h Header>,
    pub(super) scope: Option<&'h Header>,
}

/// A run of the source that goes into one output or none.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    pub(super) range: Range<usize>,
    /// Spans in it.
    pub(super) items: u64,
    /// 1 if it is a whole `ResourceSpans`.
    pub(super) resource_spans: u64,
}

/// A message whose tag and length are written when it is complete.
#[derive(Debug)]
struct Open {
    /// Index of the piece that its tag and length will be.
    head: usize,
    /// Bytes of its header and its complete children.
    body_bytes: usize,
}

#[derive(Debug, Default)]
struct Draft {
    pieces: Vec<Piece>,
    /// Bytes of complete top-level fields.
    bytes: usize,
    items: u64,
    resource_spans: u64,
    resource: Option<Open>,
    /// Only when `resource` is.
    scope: Option<Open>,
}

#[derive(Debug)]
pub(super) struct Composer {
    limit: SplitLimit,
    /// Every new byte of all outputs: tags and lengths, and the odd header that was cut into too many pieces.
    new: BytesMut,
    done: Vec<Draft>,
    draft: Draft,
}

impl Composer {
    pub(super) fn new(limit: SplitLimit) -> Self {
        Self { limit, new: BytesMut::new(), done: Vec::new(), draft: Draft::default() }
    }

    /// Adds `unit` to the output being filled if that keeps it within the limit.
    pub(super) fn place_here(&mut self, around: Around<'_>, unit: &Unit) -> bool {
        let fits = self.limit.holds(self.draft.bytes_with(around, unit), self.draft.items, unit.items);
        if fits {
            self.draft.append(around, unit);
        }
        fits
    }

    /// Adds `unit` to the output being filled or, if it is too full, to a new one. False if the unit fits
    /// none.
    #[must_use]
    pub(super) fn place(&mut self, around: Around<'_>, unit: &Unit) -> bool {
        if self.place_here(around, unit) {
            return true;
        }
        // Asked before the flush: something that fits nowhere must not end an output that others still fit.
        if !self.limit.holds(Draft::default().bytes_with(around, unit), 0, unit.items) {
            return false;
        }
        if self.done.len() + 1 >= SPLIT_REQUESTS_MAX {
            return false;
        }
        self.flush();
        self.place_here(around, unit)
    }

    /// Ends the `ScopeSpans` being filled.
    pub(super) fn close_scope(&mut self) {
        let Some(open) = self.draft.scope.take() else { return };
        self.write_head(resource_spans::SCOPE_SPANS, &open);
        if let Some(resource) = &mut self.draft.resource {
            resource.body_bytes += field_bytes(open.body_bytes);
        }
    }

    /// Ends the `ResourceSpans` being filled, and the `ScopeSpans` in it.
    pub(super) fn close_resource(&mut self) {
        self.close_scope();
        let Some(open) = self.draft.resource.take() else { return };
        self.write_head(request::RESOURCE_SPANS, &open);
        self.draft.bytes += field_bytes(open.body_bytes);
    }

    /// Ends the output being filled.
    fn flush(&mut self) {
        self.close_resource();
        if !self.draft.pieces.is_empty() {
            self.done.push(std::mem::take(&mut self.draft));
        }
    }

    /// Copies a header's many small pieces into one of the composer's own.
    pub(super) fn join(&mut self, source: &SegmentIndex<'_>, header: &mut Header) {
        let mut joined = Segments::new();
        for piece in header.pieces.drain(..) {
            if let Piece::Source(range) = piece {
                source.slice_into(range, &mut joined);
            }
        }
        let start = self.new.len();
        joined.iter().for_each(|piece| self.new.extend_from_slice(piece));
        header.pieces.push(Piece::New(start..self.new.len()));
    }

    /// The outputs in order, as slices of `source`.
    pub(super) fn finish(mut self, source: &SegmentIndex<'_>) -> Vec<FramedRequest> {
        self.flush();
        let new = self.new.freeze();
        let compose = |draft: Draft| {
            let mut segments = Segments::new();
            for piece in draft.pieces {
                match piece {
                    Piece::Source(range) => source.slice_into(range, &mut segments),
                    Piece::New(range) => segments.push(new.slice(range)),
                }
            }
            FramedRequest::composed(segments, draft.items, draft.resource_spans)
        };
        self.done.into_iter().map(compose).collect()
    }

    fn write_head(&mut self, field: u32, open: &Open) {
        let start = self.new.len();
        append_varint(&mut self.new, u64::from(field << 3 | 2));
        append_varint(&mut self.new, open.body_bytes as u64);
        if let Some(head) = self.draft.pieces.get_mut(open.head) {
            *head = Piece::New(start..self.new.len());
        }
    }
}

impl SplitLimit {
    fn holds(self, bytes: usize, items: u64, more_items: u64) -> bool {
        // Saturating: with no limit on items (u64::MAX) every sum is within it.
        bytes <= self.bytes_max && items.saturating_add(more_items) <= self.items_max
    }
}

impl Draft {
    /// Length of this output if `unit` were added, in bytes.
    fn bytes_with(&self, around: Around<'_>, unit: &Unit) -> usize {
        let mut bytes = unit.range.len();
        for (open, header) in [(&self.scope, around.scope), (&self.resource, around.resource)] {
            if let Some(header) = header {
                bytes = field_bytes(open.as_ref().map_or(header.bytes, |open| open.body_bytes) + bytes);
            }
        }
        self.bytes + bytes
    }

    fn append(&mut self, around: Around<'_>, unit: &Unit) {
        if let (Some(header), None) = (around.resource, &self.resource) {
            self.resource = Some(self.open(header));
            self.resource_spans += 1;
        }
        if let (Some(header), None) = (around.scope, &self.scope) {
            self.scope = Some(self.open(header));
        }
        self.items += unit.items;
        self.resource_spans += unit.resource_spans;
        match (&mut self.scope, &mut self.resource) {
            (Some(open), _) | (None, Some(open)) => open.body_bytes += unit.range.len(),
            (None, None) => self.bytes += unit.range.len(),
        }
        match self.pieces.last_mut() {
            Some(Piece::Source(last)) if last.end == unit.range.start => last.end = unit.range.end,
            _ => self.pieces.push(Piece::Source(unit.range.clone())),
        }
    }

    fn open(&mut self, header: &Header) -> Open {
        let head = self.pieces.len();
        self.pieces.push(Piece::New(0..0));
        self.pieces.extend_from_slice(&header.pieces);
        Open { head, body_bytes: header.bytes }
    }
}

/// Bytes of a length-delimited field of this crate's, all of which have one-byte tags, around a body.
fn field_bytes(body_bytes: usize) -> usize {
    1 + varint_len(body_bytes as u64) + body_bytes
}
