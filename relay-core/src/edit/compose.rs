//! Puts requests together out of slices of one source: one after the other, each within a limit, or several side by side. Knows sizes and nesting; decides
//! nothing about what belongs together, and reads no source byte.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::SplitLimit;
use crate::limits::SPLIT_REQUESTS_MAX;
use crate::otlp::{FramedRequest, Signal};
use crate::wire::{SegmentIndex, Segments, append_varint, varint_len};

/// Fields around the children of a `ResourceSpans`, `ScopeSpans` or the like, to be repeated in every output that has
/// some of them.
#[derive(Debug, Default)]
pub(super) struct Header {
    /// The field that the message is in.
    pub(super) field: u32,
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

/// A run of the source that goes into one output or none.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    pub(super) range: Range<usize>,
    /// Items in it.
    pub(super) items: u64,
    /// 1 if it is a whole `ResourceSpans` or its like.
    pub(super) resources: u64,
}

/// A message whose tag and length are written when it is complete.
#[derive(Debug)]
struct Open {
    field: u32,
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
    resources: u64,
    /// Messages that are not complete, from the outside in.
    open: Vec<Open>,
}

#[derive(Debug)]
pub(super) struct Composer {
    signal: Signal,
    limit: SplitLimit,
    /// What every output begins with.
    first: Header,
    /// Every new byte of all outputs: tags and lengths, and the odd header that was cut into too many pieces.
    new: BytesMut,
    done: Vec<Draft>,
    draft: Draft,
}

impl Composer {
    pub(super) fn new(signal: Signal, limit: SplitLimit) -> Self {
        Self {
            signal,
            limit,
            first: Header::default(),
            new: BytesMut::new(),
            done: Vec::new(),
            draft: Draft::default(),
        }
    }

    /// Begins every output with these fields; called before anything is placed.
    pub(super) fn begin_each_with(&mut self, first: Header) {
        self.draft = Draft::begin(&first);
        self.first = first;
    }

    /// Adds `unit` to the output being filled if that keeps it within the limit. `around`: the headers around it, from the outside
    /// in; none for a field of the request.
    pub(super) fn place_here(&mut self, around: &[Header], unit: &Unit) -> bool {
        let fits = self.limit.holds(self.draft.bytes_with(around, unit), self.draft.items, unit.items);
        if fits {
            self.draft.append(around, unit);
        }
        fits
    }

    /// Adds `unit` to the output being filled or, if it is too full, to a new one. False if the unit fits
    /// none.
    #[must_use]
    pub(super) fn place(&mut self, around: &[Header], unit: &Unit) -> bool {
        if self.place_here(around, unit) {
            return true;
        }
        // Asked before the flush: something that fits nowhere must not end an output that others still fit.
        if !self.limit.holds(Draft::begin(&self.first).bytes_with(around, unit), 0, unit.items) {
            return false;
        }
        if self.done.len() + 1 >= SPLIT_REQUESTS_MAX {
            return false;
        }
        self.flush();
        self.place_here(around, unit)
    }

    /// Adds `unit` to an output of its own, or to the last one there may be, whatever the limit says.
    pub(super) fn place_alone(&mut self, around: &[Header], unit: &Unit) {
        if self.done.len() + 2 >= SPLIT_REQUESTS_MAX {
            return self.draft.append(around, unit);
        }
        self.flush();
        self.draft.append(around, unit);
        self.flush();
    }

    /// Ends the messages being filled but for the outermost `depth`.
    pub(super) fn close_to(&mut self, depth: usize) {
        self.draft.close_to(depth, &mut self.new);
    }

    /// Ends the output being filled.
    fn flush(&mut self) {
        self.close_to(0);
        if self.draft.bytes > self.first.bytes {
            let begun = Draft::begin(&self.first);
            self.done.push(std::mem::replace(&mut self.draft, begun));
        }
    }

    /// Copies a header's many small pieces into one of the composer's own.
    pub(super) fn join(&mut self, source: &SegmentIndex<'_>, header: &mut Header) {
        header.join(source, &mut self.new);
    }

    /// The outputs in order, as slices of `source`.
    pub(super) fn finish(mut self, source: &SegmentIndex<'_>) -> Vec<FramedRequest> {
        self.flush();
        let (new, signal) = (self.new.freeze(), self.signal);
        self.done.into_iter().map(|draft| draft.compose(signal, source, &new)).collect()
    }
}

/// Puts several requests together side by side, out of the units of one source in its order.
#[derive(Debug)]
pub(super) struct Sorter {
    signal: Signal,
    /// As [`Composer`]'s, for all outputs together: a header that had to be joined is copied once.
    new: BytesMut,
    drafts: Vec<Draft>,
    /// For each depth, the outputs in which a message is not complete there.
    open: Vec<Vec<usize>>,
}

impl Sorter {
    /// With `outputs` empty outputs.
    pub(super) fn new(signal: Signal, outputs: usize) -> Self {
        let drafts = (0..outputs).map(|_| Draft::default()).collect();
        Self { signal, new: BytesMut::new(), drafts, open: Vec::new() }
    }

    /// Adds `unit` to the output of this number. `around`: the headers around it, from the outside in.
    pub(super) fn place(&mut self, output: usize, around: &[Header], unit: &Unit) {
        if let Some(draft) = self.drafts.get_mut(output) {
            self.open.resize_with(self.open.len().max(around.len()), Vec::new);
            let begun = self.open.iter_mut().take(around.len()).skip(draft.open.len());
            begun.for_each(|outputs| outputs.push(output));
            draft.append(around, unit);
        }
    }

    /// Ends the messages being filled but for the outermost `depth`, in all outputs.
    pub(super) fn close_to(&mut self, depth: usize) {
        for (depth, outputs) in self.open.iter_mut().enumerate().skip(depth).rev() {
            for output in outputs.drain(..) {
                if let Some(draft) = self.drafts.get_mut(output) {
                    draft.close_to(depth, &mut self.new);
                }
            }
        }
    }

    /// As [`Composer::join`].
    pub(super) fn join(&mut self, source: &SegmentIndex<'_>, header: &mut Header) {
        header.join(source, &mut self.new);
    }

    /// The first output that has anything, if there is one, and whether it is the only one.
    pub(super) fn first_used(&self) -> Option<(usize, bool)> {
        let mut used = self.drafts.iter().enumerate().filter(|(_, draft)| draft.bytes > 0).map(|(at, _)| at);
        used.next().map(|first| (first, used.next().is_none()))
    }

    /// The outputs that have anything, each with its number, as slices of `source`. All messages are closed.
    pub(super) fn finish(self, source: &SegmentIndex<'_>) -> Vec<(usize, FramedRequest)> {
        let (new, signal) = (self.new.freeze(), self.signal);
        let drafts = self.drafts.into_iter().enumerate().filter(|(_, draft)| draft.bytes > 0);
        drafts.map(|(at, draft)| (at, draft.compose(signal, source, &new))).collect()
    }
}

impl Header {
    /// Copies the many small pieces into one of `new`.
    fn join(&mut self, source: &SegmentIndex<'_>, new: &mut BytesMut) {
        let mut joined = Segments::new();
        for piece in self.pieces.drain(..) {
            if let Piece::Source(range) = piece {
                source.slice_into(range, &mut joined);
            }
        }
        let start = new.len();
        joined.iter().for_each(|piece| new.extend_from_slice(piece));
        self.pieces.push(Piece::New(start..new.len()));
    }
}

impl SplitLimit {
    fn holds(self, bytes: usize, items: u64, more_items: u64) -> bool {
        // Saturating: with no limit on items (u64::MAX) every sum is within it.
        bytes <= self.bytes_max && items.saturating_add(more_items) <= self.items_max
    }
}

impl Draft {
    fn begin(first: &Header) -> Self {
        Self { pieces: first.pieces.clone(), bytes: first.bytes, ..Self::default() }
    }

    /// Length of this output if `unit` were added, in bytes.
    fn bytes_with(&self, around: &[Header], unit: &Unit) -> usize {
        let mut bytes = unit.range.len();
        for (depth, header) in around.iter().enumerate().rev() {
            let body = self.open.get(depth).map_or(header.bytes, |open| open.body_bytes);
            bytes = field_bytes(body + bytes);
        }
        self.bytes + bytes
    }

    fn append(&mut self, around: &[Header], unit: &Unit) {
        for header in around.get(self.open.len()..).unwrap_or_default() {
            self.resources += u64::from(self.open.is_empty());
            self.open.push(Open { field: header.field, head: self.pieces.len(), body_bytes: header.bytes });
            self.pieces.push(Piece::New(0..0));
            self.pieces.extend_from_slice(&header.pieces);
        }
        self.items += unit.items;
        self.resources += unit.resources;
        self.add(unit.range.len());
        match self.pieces.last_mut() {
            Some(Piece::Source(last)) if last.end == unit.range.start => last.end = unit.range.end,
            _ => self.pieces.push(Piece::Source(unit.range.clone())),
        }
    }

    /// Ends the open messages but for the outermost `depth`; their tags and lengths go to `new`.
    fn close_to(&mut self, depth: usize, new: &mut BytesMut) {
        while self.open.len() > depth
            && let Some(open) = self.open.pop()
        {
            let start = new.len();
            append_varint(new, u64::from(open.field << 3 | 2));
            append_varint(new, open.body_bytes as u64);
            if let Some(head) = self.pieces.get_mut(open.head) {
                *head = Piece::New(start..new.len());
            }
            self.add(field_bytes(open.body_bytes));
        }
    }

    fn compose(self, signal: Signal, source: &SegmentIndex<'_>, new: &Bytes) -> FramedRequest {
        let mut segments = Segments::new();
        for piece in self.pieces {
            match piece {
                Piece::Source(range) => source.slice_into(range, &mut segments),
                Piece::New(range) => segments.push(new.slice(range)),
            }
        }
        FramedRequest::composed(signal, segments, self.items, self.resources)
    }

    /// Counts bytes of the innermost open message, or of the request.
    fn add(&mut self, bytes: usize) {
        match self.open.last_mut() {
            Some(open) => open.body_bytes += bytes,
            None => self.bytes += bytes,
        }
    }
}

/// Bytes of a length-delimited field of this crate's, all of which have one-byte tags, around a body.
fn field_bytes(body_bytes: usize) -> usize {
    1 + varint_len(body_bytes as u64) + body_bytes
}
