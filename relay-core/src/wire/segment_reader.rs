//! Reading protobuf across segment boundaries without joining the segments. Copies nothing but the bytes of a
//! varint that is cut.

use std::fmt;

use bytes::Bytes;

use super::varint::{VARINT_BYTES_MAX, read_varint};
use super::{DecodeError, DecodeErrorKind, Input, Segments};

/// A position in a [`Segments`]; a clone reads on independently and costs a few words.
#[derive(Clone, Copy)]
pub struct SegmentReader<'a> {
    /// What is left of the current segment, cut to the end of the message. Empty only when nothing is left at
    /// all.
    front: &'a [u8],
    /// The segments after it; may go on past the end of the message.
    rest: &'a [Bytes],
    /// Bytes of the message that lie in `rest`.
    left_in_rest: usize,
    /// Bytes from the start of the outermost message to `front`.
    offset: usize,
}

impl<'a> SegmentReader<'a> {
    /// Reads `segments` as an outermost message.
    pub fn new(segments: &'a Segments) -> Self {
        let (front, rest) = segments.parts();
        Self { front, rest, left_in_rest: segments.len() - front.len(), offset: 0 }
    }

    /// Passes over `len` bytes of the current segment (the caller has checked that it has them) and goes to
    /// the next segment at its end.
    #[inline]
    fn consume(&mut self, len: usize) {
        self.front = self.front.get(len..).unwrap_or_default();
        self.offset += len;
        if self.front.is_empty() {
            self.next_segment();
        }
    }

    #[cold]
    fn next_segment(&mut self) {
        if self.left_in_rest == 0 {
            return;
        }
        if let Some((next, rest)) = self.rest.split_first() {
            self.front = next.get(..self.left_in_rest).unwrap_or(next);
            self.left_in_rest -= self.front.len();
            self.rest = rest;
        }
    }

    /// Reads a varint that may go on in the next segments.
    #[cold]
    fn cut_varint(&mut self, field: u32) -> Result<u64, DecodeError> {
        let mut ahead = *self;
        let mut joined = [0; VARINT_BYTES_MAX];
        let mut len = 0;
        for slot in &mut joined {
            let Some(&byte) = ahead.front.first() else { break };
            *slot = byte;
            len += 1;
            ahead.consume(1);
            if byte < 0x80 {
                break;
            }
        }
        match read_varint(joined.get(..len).unwrap_or_default()) {
            Ok((value, _)) => {
                *self = ahead;
                Ok(value)
            }
            Err(kind) => Err(DecodeError::new(self.offset, field, kind)),
        }
    }

    #[cold]
    fn past_end(&self, len: u64, field: u32) -> DecodeError {
        let kind = DecodeErrorKind::LengthPastEnd { len, left: self.remaining() };
        DecodeError::new(self.offset, field, kind)
    }
}

impl Input for SegmentReader<'_> {
    #[inline]
    fn offset(&self) -> usize {
        self.offset
    }

    #[inline]
    fn remaining(&self) -> usize {
        self.front.len() + self.left_in_rest
    }

    #[inline]
    fn varint(&mut self, field: u32) -> Result<u64, DecodeError> {
        // A varint that cannot be read from this segment alone is either cut or wrong; the slow path finds
        // out.
        match read_varint(self.front) {
            Ok((value, len)) => {
                self.consume(len);
                Ok(value)
            }
            Err(_) => self.cut_varint(field),
        }
    }

    #[inline]
    fn take(&mut self, len: u64, field: u32) -> Result<Self, DecodeError> {
        let mut taken = *self;
        self.advance(len, field)?;
        let len = self.offset - taken.offset;
        match taken.front.get(..len) {
            Some(front) => {
                taken.front = front;
                taken.left_in_rest = 0;
            }
            None => taken.left_in_rest = len - taken.front.len(),
        }
        Ok(taken)
    }

    #[inline]
    fn advance(&mut self, len: u64, field: u32) -> Result<(), DecodeError> {
        let mut len = match usize::try_from(len) {
            Ok(len) if len <= self.remaining() => len,
            _ => return Err(self.past_end(len, field)),
        };
        while len > self.front.len() {
            len -= self.front.len();
            self.consume(self.front.len());
        }
        self.consume(len);
        Ok(())
    }
}

impl fmt::Debug for SegmentReader<'_> {
    /// Prints position and length: payload bytes belong to the sender and not into logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("SegmentReader");
        out.field("offset", &self.offset).field("len", &self.remaining()).finish()
    }
}
