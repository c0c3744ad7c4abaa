//! A rope: the byte ranges of a batch in order, shared and immutable, and the [`bytes::Buf`] that writes them.
//!
//! Sending a batch again reads the same rope again; no byte is copied for it.

use std::io::IoSlice;
use std::sync::Arc;

use bytes::{Buf, Bytes};

use crate::wire::Segments;

/// Byte ranges in order. Cloning shares them.
#[derive(Clone)]
pub struct Rope {
    pieces: Arc<[Bytes]>,
    // The sum of the pieces' lengths; no piece is empty.
    len: usize,
}

impl Rope {
    /// A rope of `pieces`; empty ones are left out.
    pub fn new(mut pieces: Vec<Bytes>) -> Self {
        pieces.retain(|piece| !piece.is_empty());
        let len = pieces.iter().map(Bytes::len).sum();
        Self { pieces: pieces.into(), len }
    }

    /// Bytes in all.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The ranges in order.
    pub fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    /// A reader over all bytes from the start.
    pub fn reader(&self) -> RopeReader {
        RopeReader { rope: self.clone(), piece: 0, offset: 0, remaining: self.len }
    }

    /// The bytes `from..to` as ranges of the same memory; what lies past the end is left out.
    pub fn slice(&self, from: usize, to: usize) -> Segments {
        let mut segments = Segments::default();
        let mut start = 0;
        for piece in self.pieces.iter() {
            let end = start + piece.len();
            let (cut_from, cut_to) = (from.clamp(start, end), to.clamp(start, end));
            if cut_from < cut_to {
                segments.push(piece.slice(cut_from - start..cut_to - start));
            }
            start = end;
        }
        segments
    }
}

impl std::fmt::Debug for Rope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rope({} bytes in {} pieces)", self.len, self.pieces.len())
    }
}

impl From<Segments> for Rope {
    fn from(segments: Segments) -> Self {
        Self::new(segments.into_iter().collect())
    }
}

/// Reads a [`Rope`] from front to back; gives all its ranges to a vectored write.
#[derive(Clone, Debug)]
pub struct RopeReader {
    rope: Rope,
    piece: usize,
    // 0 <= offset < length of the piece, while anything remains.
    offset: usize,
    remaining: usize,
}

impl RopeReader {
    fn rest(&self) -> impl Iterator<Item = &[u8]> {
        let pieces = self.rope.pieces.get(self.piece..).unwrap_or_default();
        let first = pieces.first().and_then(|piece| piece.get(self.offset..)).unwrap_or_default();
        std::iter::once(first).chain(pieces.iter().skip(1).map(|piece| &piece[..]))
    }
}

impl Buf for RopeReader {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.rest().next().unwrap_or_default()
    }

    fn chunks_vectored<'a>(&'a self, dst: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slot, chunk) in dst.iter_mut().zip(self.rest().filter(|chunk| !chunk.is_empty())) {
            *slot = IoSlice::new(chunk);
            filled += 1;
        }
        filled
    }

    /// A slice of the same memory when the current range has so many bytes; a copy otherwise.
    fn copy_to_bytes(&mut self, len: usize) -> Bytes {
        let piece = self.rope.pieces.get(self.piece).filter(|piece| piece.len() - self.offset >= len);
        let bytes = match piece {
            Some(piece) => piece.slice(self.offset..self.offset + len),
            None => self.rest().flatten().copied().take(len).collect(),
        };
        self.advance(len);
        bytes
    }

    fn advance(&mut self, cnt: usize) {
        debug_assert!(cnt <= self.remaining, "advance past the end of a rope");
        let mut left = cnt.min(self.remaining);
        self.remaining -= left;
        while left > 0 {
            let here = self.chunk().len();
            if left < here {
                self.offset += left;
                return;
            }
            left -= here;
            self.piece += 1;
            self.offset = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rope() -> Rope {
        Rope::new([&b"ab"[..], b"", b"cde", b"f"].map(Bytes::from_static).to_vec())
    }

    #[test]
    fn every_split_of_advances_reads_the_same_bytes() {
        for step in 1..=6 {
            let (mut reader, mut read) = (rope().reader(), Vec::new());
            while reader.has_remaining() {
                let take = reader.remaining().min(step);
                let mut slices = [IoSlice::new(&[]); 8];
                let filled = reader.chunks_vectored(&mut slices);
                let all: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
                assert_eq!(all.len(), reader.remaining());
                read.extend_from_slice(&all[..take]);
                reader.advance(take);
            }
            assert_eq!(read, b"abcdef");
            assert!(reader.chunk().is_empty());
        }
    }

    #[test]
    fn slices_point_into_the_same_memory() {
        let rope = rope();
        let cut = rope.slice(1, 4);
        let pieces: Vec<Bytes> = cut.into_iter().collect();
        assert_eq!(pieces, ["b", "cd"]);
        assert_eq!(pieces[1].as_ptr(), rope.pieces()[1].as_ptr());
        assert!(rope.slice(6, 9).is_empty());
    }
}
