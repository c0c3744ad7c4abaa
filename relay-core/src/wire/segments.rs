//! The bytes of one message as they came: one `Bytes`, or several in order. Never copies unless a function's
//! name and doc say so.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

/// Owned bytes of a message, in one piece or several: a gRPC message arrives as several HTTP/2 DATA payloads.
///
/// One piece is held without allocation; a clone raises reference counts and copies no payload byte.
#[derive(Clone, Default)]
pub struct Segments {
    /// Empty only if the whole is.
    first: Bytes,
    /// None of them is empty.
    rest: Vec<Bytes>,
    /// Sum of all, in bytes.
    len: usize,
}

impl Segments {
    /// No bytes.
    pub const fn new() -> Self {
        Self { first: Bytes::new(), rest: Vec::new(), len: 0 }
    }

    /// Appends a piece; an empty one is dropped.
    pub fn push(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        self.len += bytes.len();
        if self.first.is_empty() {
            self.first = bytes;
        } else {
            self.rest.push(bytes);
        }
    }

    /// Bytes in all pieces together.
    #[inline]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// True when there is no byte.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of pieces, 0 when empty.
    pub fn count(&self) -> usize {
        usize::from(!self.first.is_empty()) + self.rest.len()
    }

    /// The pieces in order; none is empty.
    pub fn iter(&self) -> impl Iterator<Item = &Bytes> + Clone {
        Some(&self.first).filter(|first| !first.is_empty()).into_iter().chain(&self.rest)
    }

    /// The bytes when they are in one piece (or none at all).
    #[inline]
    pub fn as_contiguous(&self) -> Option<&[u8]> {
        self.rest.is_empty().then_some(&self.first)
    }

    /// The bytes as one slice: borrowed when they are in one piece. Several pieces are copied together, which
    /// is meant for cold paths (printing, tests); the path of the data reads segments as they are.
    pub fn contiguous(&self) -> Cow<'_, [u8]> {
        match self.as_contiguous() {
            Some(bytes) => Cow::Borrowed(bytes),
            None => Cow::Owned(self.to_bytes().to_vec()),
        }
    }

    /// The bytes as one `Bytes`: shared when they are in one piece, else copied once (cold path).
    pub fn to_bytes(&self) -> Bytes {
        if self.rest.is_empty() {
            return self.first.clone();
        }
        let mut whole = BytesMut::with_capacity(self.len);
        self.iter().for_each(|piece| whole.extend_from_slice(piece));
        whole.freeze()
    }

    /// Appends to `out` the pieces that make up the bytes of `range` (offsets from the first byte), sharing
    /// them. The part of a range past the end is ignored. Walks all pieces: for many ranges of one message
    /// use [`SegmentIndex`].
    pub fn slice_into(&self, range: Range<usize>, out: &mut Vec<Bytes>) {
        slice_pieces(self.iter(), 0, range, |piece| out.push(piece));
    }

    /// The bytes of `range` (offsets from the first byte) as a message of their own, sharing the pieces. The
    /// part of a range past the end is ignored.
    pub fn slice(&self, range: Range<usize>) -> Self {
        let mut out = Self::new();
        slice_pieces(self.iter(), 0, range, |piece| out.push(piece));
        out
    }

    /// First piece and the others, for a reader.
    #[inline]
    pub(super) fn parts(&self) -> (&[u8], &[Bytes]) {
        (&self.first, &self.rest)
    }
}

/// Finds ranges of one [`Segments`] by binary search: for code that cuts many ranges out of one message.
#[derive(Debug)]
pub struct SegmentIndex<'a> {
    pieces: Vec<&'a Bytes>,
    /// Offset of each piece's first byte; as long as `pieces`.
    starts: Vec<usize>,
}

impl<'a> SegmentIndex<'a> {
    /// Indexes `segments`: two allocations, no copy.
    pub fn new(segments: &'a Segments) -> Self {
        let pieces: Vec<_> = segments.iter().collect();
        let starts = pieces
            .iter()
            .scan(0, |end, piece| {
                let start = *end;
                *end += piece.len();
                Some(start)
            })
            .collect();
        Self { pieces, starts }
    }

    /// Appends to `out` the pieces that make up the bytes of `range`, sharing them. The part of a range past
    /// the end is ignored.
    pub fn slice_into(&self, range: Range<usize>, out: &mut Segments) {
        let index = self.starts.partition_point(|&start| start <= range.start).saturating_sub(1);
        let start = self.starts.get(index).copied().unwrap_or_default();
        let pieces = self.pieces.get(index..).unwrap_or_default();
        slice_pieces(pieces.iter().copied(), start, range, |piece| out.push(piece));
    }
}

/// Hands out what of `pieces`, the first of which begins at `start`, lies within `range`.
fn slice_pieces<'a>(
    pieces: impl Iterator<Item = &'a Bytes>,
    mut start: usize,
    range: Range<usize>,
    mut each: impl FnMut(Bytes),
) {
    for piece in pieces {
        if start >= range.end {
            break;
        }
        let end = start + piece.len();
        if end > range.start {
            let from = range.start.saturating_sub(start);
            let to = range.end.min(end) - start;
            if from < to {
                each(piece.slice(from..to));
            }
        }
        start = end;
    }
}

impl From<Bytes> for Segments {
    fn from(bytes: Bytes) -> Self {
        let len = bytes.len();
        Self { first: bytes, rest: Vec::new(), len }
    }
}

impl From<Vec<u8>> for Segments {
    fn from(bytes: Vec<u8>) -> Self {
        Self::from(Bytes::from(bytes))
    }
}

impl FromIterator<Bytes> for Segments {
    fn from_iter<T: IntoIterator<Item = Bytes>>(pieces: T) -> Self {
        let mut segments = Self::new();
        segments.extend(pieces);
        segments
    }
}

impl Extend<Bytes> for Segments {
    fn extend<T: IntoIterator<Item = Bytes>>(&mut self, pieces: T) {
        pieces.into_iter().for_each(|piece| self.push(piece));
    }
}

impl IntoIterator for Segments {
    type Item = Bytes;
    type IntoIter = std::iter::Chain<std::option::IntoIter<Bytes>, std::vec::IntoIter<Bytes>>;

    fn into_iter(self) -> Self::IntoIter {
        Some(self.first).filter(|first| !first.is_empty()).into_iter().chain(self.rest)
    }
}

impl fmt::Debug for Segments {
    /// Prints lengths: payload bytes belong to the sender and not into logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Segments")?;
        f.debug_list().entries(self.iter().map(Bytes::len)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Segments {
        ["abc", "", "defg", "h"].into_iter().map(|text| Bytes::from_static(text.as_bytes())).collect()
    }

    #[test]
    fn pieces_keep_their_order_and_empty_ones_vanish() {
        let segments = three();
        assert_eq!((segments.len(), segments.count()), (8, 3));
        assert_eq!(segments.to_bytes(), "abcdefgh");
        assert_eq!(format!("{segments:?}"), "Segments[3, 4, 1]");
        assert_eq!(segments.into_iter().collect::<Vec<_>>(), ["abc", "defg", "h"]);
        assert_eq!(Segments::from(Bytes::new()).into_iter().count(), 0);
    }

    #[test]
    fn one_piece_is_shared_not_copied() {
        let source = Bytes::from_static(b"one piece");
        let segments = Segments::from(source.clone());
        assert_eq!(segments.to_bytes().as_ptr(), source.as_ptr());
        assert!(matches!(segments.contiguous(), Cow::Borrowed(_)));
        assert_eq!(segments.slice(4..9).to_bytes().as_ptr(), source[4..].as_ptr());
    }

    /// Every range of a message in three pieces: both ways to slice give the same bytes as slicing the whole.
    #[test]
    fn every_range_equals_the_slice_of_the_whole() {
        let segments = three();
        let index = SegmentIndex::new(&segments);
        for start in 0..=9 {
            for end in start..=9 {
                let expected = &b"abcdefgh"[start.min(8)..end.min(8)];
                assert_eq!(segments.slice(start..end).to_bytes(), expected, "{start}..{end}");
                let mut indexed = Segments::new();
                index.slice_into(start..end, &mut indexed);
                assert_eq!(indexed.to_bytes(), expected, "{start}..{end}");
                let mut pieces = Vec::new();
                segments.slice_into(start..end, &mut pieces);
                assert_eq!(pieces.concat(), expected, "{start}..{end}");
                assert!(pieces.iter().all(|piece| !piece.is_empty()));
            }
        }
    }

    #[test]
    fn no_bytes_can_be_sliced_and_indexed() {
        let none = Segments::new();
        let mut out = Segments::new();
        SegmentIndex::new(&none).slice_into(0..4, &mut out);
        assert!(out.is_empty() && none.slice(0..4).is_empty() && none.contiguous().is_empty());
    }
}
