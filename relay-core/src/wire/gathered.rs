//! A message that arrives in pieces: large ones are kept where they were received, little ones can be copied together, so that they
//! do not hold a receive buffer each. Must never reserve what nobody has sent.

use bytes::{Bytes, BytesMut};

use super::Segments;

/// The pieces of one message so far.
#[derive(Debug, Default)]
pub struct Gathered {
    pieces: Segments,
    // Little pieces, copied; they come after `pieces`.
    copied: BytesMut,
}

impl Gathered {
    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.pieces.len() + self.copied.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a piece by reference.
    pub fn push(&mut self, piece: Bytes) {
        self.join_copied();
        self.pieces.push(piece);
    }

    /// Adds a copy of a piece.
    pub fn push_copy(&mut self, piece: &[u8]) {
        self.copied.extend_from_slice(piece);
    }

    /// The message.
    pub fn into_segments(mut self) -> Segments {
        self.join_copied();
        self.pieces
    }

    /// Little pieces that followed one another are one piece of the message.
    fn join_copied(&mut self) {
        if !self.copied.is_empty() {
            self.pieces.push(std::mem::take(&mut self.copied).freeze());
        }
    }
}
