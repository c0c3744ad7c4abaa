//! Splits a request that is too large for its upstream. Loses nothing but what does not fit alone, and says
//! how much that was.

use super::compose::{Composer, Header, Piece, Unit};
use crate::limits::SPLIT_HEADER_PIECES_MAX;
use crate::otlp::{FramedRequest, Level, Signal};
use crate::wire::{self, DecodeError, Input, Reader, SegmentIndex, SegmentReader};

/// How large a request may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitLimit {
    /// Bytes of the encoded, uncompressed message.
    pub bytes_max: usize,
    /// Items; `u64::MAX` for no limit.
    pub items_max: u64,
}

/// What became of a request that was split.
#[derive(Clone, Debug)]
pub struct Split {
    /// Requests within the limit; their items, one after the other, are those of the source in its order.
    pub requests: Vec<FramedRequest>,
    /// Items that are in none of them, because one item with its resource and scope is larger than the limit, or because
    /// there would be too many requests.
    pub dropped_items: u64,
}

/// Splits `request` into as few requests within `limit` as a greedy fill gives: between `ResourceSpans`, within one of them
/// between `ScopeSpans`, within one of them between spans; other signals likewise, metrics also within a metric between data
/// points. A `Profile` is not cut: its samples share what stands beside them. Resource, scope, schema URLs and unknown fields
/// are repeated byte for byte around each run of items; the runs themselves are slices of the source.
///
/// A request within the limit comes back as it is. Other fields of the request itself go with the first output, but the
/// dictionary of profiles goes with every one: all indices point into it. Messages without items are kept where they fit, and
/// lost without being counted where they fit nowhere. Takes time in proportion to the number of fields in source and outputs,
/// whatever the limit. A sender that puts nearly a limit's worth of resource around each of many tiny items
/// gets as many outputs (each holds a reference to that resource, not a copy), up to
/// [`SPLIT_REQUESTS_MAX`](crate::limits::SPLIT_REQUESTS_MAX); items past that are dropped and counted.
pub fn split(request: &FramedRequest, limit: SplitLimit) -> Split {
    cut(request, limit, false)
}

/// As [`split`], but nothing is dropped: an item that does not fit alone is in a request of its own, which is over the limit, and
/// what is left after [`SPLIT_REQUESTS_MAX`](crate::limits::SPLIT_REQUESTS_MAX) requests is in the last. For limits that are guessed,
/// and for whoever splits again what is refused again.
pub fn split_keeping(request: &FramedRequest, limit: SplitLimit) -> Split {
    cut(request, limit, true)
}

fn cut(request: &FramedRequest, limit: SplitLimit, keeps: bool) -> Split {
    if request.len() <= limit.bytes_max && request.items() <= limit.items_max {
        return Split { requests: vec![request.clone()], dropped_items: 0 };
    }
    let segments = request.segments();
    let source = SegmentIndex::new(segments);
    let composer = Composer::new(request.signal(), limit);
    let mut splitter = Splitter {
        signal: request.signal(),
        composer,
        source: &source,
        around: Vec::new(),
        keeps,
        dropped_items: 0,
    };
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
    signal: Signal,
    composer: Composer,
    source: &'a SegmentIndex<'a>,
    /// Headers of the messages that are being taken apart, from the outside in.
    around: Vec<Header>,
    /// Whether what does not fit goes alone instead of nowhere.
    keeps: bool,
    dropped_items: u64,
}

/// A field: where it is and, if it holds a message of the next level, which level and its body.
pub(super) struct Found<I> {
    pub(super) field: u32,
    pub(super) unit: Unit,
    pub(super) child: Option<(Level, I)>,
}

impl Splitter<'_> {
    fn request<I: Input>(&mut self, body: I) -> Result<(), DecodeError> {
        let level = Level::Request;
        if self.signal == Signal::Profiles {
            let rest = self.header(body.clone(), level, 0)?;
            self.composer.begin_each_with(rest);
        } else {
            // First, so that they go with the first output wherever they stand. One that is larger than the limit
            // is lost.
            let mut input = body.clone();
            while let Some(found) = self.next_field(&mut input, level)? {
                if found.child.is_none() {
                    let _lost = !self.composer.place(&[], &found.unit);
                }
            }
        }
        self.children(body, level)
    }

    fn children<I: Input>(&mut self, body: I, level: Level) -> Result<(), DecodeError> {
        let mut input = body;
        while let Some(Found { field, unit, child }) = self.next_field(&mut input, level)? {
            if let Some((below, body)) = child {
                let items = below.items(self.signal, body.clone())?;
                let resources = u64::from(below == Level::Resource);
                self.message(body, below, field, &Unit { items, resources, ..unit })?;
            }
        }
        Ok(())
    }

    /// Places a message: whole where it fits, else in parts.
    fn message<I: Input>(
        &mut self,
        body: I,
        level: Level,
        field: u32,
        whole: &Unit,
    ) -> Result<(), DecodeError> {
        let may_begin_another = level == Level::Leaf || whole.items == 0;
        if self.composer.place_here(&self.around, whole)
            || may_begin_another && self.composer.place(&self.around, whole)
        {
            return Ok(());
        }
        if level == Level::Leaf {
            if self.keeps {
                self.composer.place_alone(&self.around, whole);
            } else {
                self.dropped_items += whole.items;
            }
            return Ok(());
        }
        let header = self.header(body.clone(), level, field)?;
        self.around.push(header);
        self.children(body, level)?;
        self.around.pop();
        self.composer.close_to(self.around.len());
        Ok(())
    }

    /// Every field of a message but those of the next level. `field` is the message's own field number.
    fn header<I: Input>(&mut self, body: I, level: Level, field: u32) -> Result<Header, DecodeError> {
        let mut header = read_header(body, (self.signal, level), field)?;
        if header.pieces.len() > SPLIT_HEADER_PIECES_MAX {
            self.composer.join(self.source, &mut header);
        }
        Ok(header)
    }

    fn next_field<I: Input>(&self, input: &mut I, level: Level) -> Result<Option<Found<I>>, DecodeError> {
        next_field(input, (self.signal, level))
    }
}

/// Every field of a message of this level but those of the next. `field` is the message's own field number.
pub(super) fn read_header<I: Input>(
    mut body: I,
    (signal, level): (Signal, Level),
    field: u32,
) -> Result<Header, DecodeError> {
    let mut header = Header { field, pieces: Vec::new(), bytes: 0 };
    while let Some(found) = next_field(&mut body, (signal, level))? {
        if found.child.is_some() {
            continue;
        }
        let range = found.unit.range;
        header.bytes += range.len();
        match header.pieces.last_mut() {
            Some(Piece::Source(last)) if last.end == range.start => last.end = range.end,
            _ => header.pieces.push(Piece::Source(range)),
        }
    }
    Ok(header)
}

/// The next field of a message of this level.
pub(super) fn next_field<I: Input>(
    input: &mut I,
    (signal, level): (Signal, Level),
) -> Result<Option<Found<I>>, DecodeError> {
    let start = input.offset();
    let Some(tag) = wire::tag(input)? else { return Ok(None) };
    let child = match level.below(signal, tag.field) {
        Some(below) => Some((below, wire::message(input, tag)?)),
        None => {
            wire::skip(input, tag)?;
            None
        }
    };
    let unit = Unit { range: start..input.offset(), items: 0, resources: 0 };
    Ok(Some(Found { field: tag.field, unit, child }))
}
