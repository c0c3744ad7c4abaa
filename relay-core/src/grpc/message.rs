//! Length-prefixed messages: one flag byte, four length bytes (big endian), the message.
//!
//! The assembler takes DATA payloads as they come, in any cut, and never copies or reserves what a prefix claims.

use bytes::{Buf, Bytes};

use crate::wire::{Gathered, Segments};

/// Bytes of the prefix of a message.
pub const PREFIX_BYTES: usize = 5;

/// The prefix of a message of `len` bytes.
///
/// # Errors
/// `None` when the length does not fit into the four bytes that it has.
pub fn prefix(compressed: bool, len: usize) -> Option<[u8; PREFIX_BYTES]> {
    let [a, b, c, d] = u32::try_from(len).ok()?.to_be_bytes();
    Some([u8::from(compressed), a, b, c, d])
}

/// One complete message.
#[derive(Debug)]
pub struct Message {
    /// Whether its bytes are compressed with the call's `grpc-encoding`.
    pub compressed: bool,
    /// Its bytes, as slices of what was received.
    pub body: Segments,
}

/// What is wrong with a unary call's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// The flag byte is neither 0 nor 1.
    #[error("compressed flag is {0}; only 0 and 1 are defined")]
    Flag(u8),
    /// The declared length is over the limit. Known from the first five bytes; nothing was reserved for it.
    #[error("message of {declared} bytes is larger than the receiver's limit of {max} bytes")]
    TooLarge {
        /// Bytes that the prefix declares.
        declared: u64,
        /// The receiver's limit, in bytes.
        max: usize,
    },
    /// The call ended before the message did.
    #[error("call ended after {got} of {declared} declared bytes")]
    Truncated {
        /// Bytes that the prefix declares; 0 when not even the prefix came.
        declared: u64,
        /// Bytes of the message that came.
        got: usize,
    },
    /// Bytes follow the one message that a unary call has.
    #[error("bytes follow the message of a unary call")]
    Trailing,
}

/// Puts one unary message together.
#[derive(Debug)]
pub struct MessageAssembler {
    bytes_max: usize,
    prefix: [u8; PREFIX_BYTES],
    // 0 <= prefix_len <= PREFIX_BYTES; the length is known when it is PREFIX_BYTES.
    prefix_len: usize,
    body: Gathered,
}

impl MessageAssembler {
    /// For a message of at most `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, prefix: [0; PREFIX_BYTES], prefix_len: 0, body: Gathered::default() }
    }

    /// Bytes of the message received so far, without the prefix.
    pub fn len(&self) -> usize {
        self.body.len()
    }

    /// Whether no byte of the message itself has come yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the next DATA payload.
    ///
    /// # Errors
    /// As soon as the body cannot become one valid message any more.
    pub fn push(&mut self, chunk: Bytes) -> Result<(), MessageError> {
        let chunk = self.after_prefix(chunk)?;
        self.body.push(chunk);
        Ok(())
    }

    /// As [`MessageAssembler::push`], for a message that has to wait for more of it: copies a piece shorter than
    /// `piece_bytes`, and any piece of a message shorter than `message_bytes`, so that little does not hold a whole receive
    /// buffer meanwhile. Says whether it has copied.
    ///
    /// # Errors
    /// As [`MessageAssembler::push`].
    pub fn push_kept(
        &mut self,
        chunk: Bytes,
        piece_bytes: usize,
        message_bytes: usize,
    ) -> Result<bool, MessageError> {
        let chunk = self.after_prefix(chunk)?;
        let copies = chunk.len() < piece_bytes || self.declared() < message_bytes as u64;
        if copies {
            self.body.push_copy(&chunk);
        } else {
            self.body.push(chunk);
        }
        Ok(copies)
    }

    /// What follows the prefix in `chunk`, if the message has room for it.
    fn after_prefix(&mut self, mut chunk: Bytes) -> Result<Bytes, MessageError> {
        while self.prefix_len < PREFIX_BYTES && chunk.has_remaining() {
            if let Some(slot) = self.prefix.get_mut(self.prefix_len) {
                *slot = chunk.get_u8();
            }
            self.prefix_len += 1;
            if self.prefix_len == PREFIX_BYTES {
                self.check_prefix()?;
            }
        }
        if !chunk.is_empty() && (self.len() + chunk.len()) as u64 > self.declared() {
            return Err(MessageError::Trailing);
        }
        Ok(chunk)
    }

    /// The message, at the end of the call.
    ///
    /// # Errors
    /// [`MessageError::Truncated`] when less came than was declared.
    pub fn finish(self) -> Result<Message, MessageError> {
        let (declared, got) = (self.declared(), self.body.len());
        if self.prefix_len < PREFIX_BYTES || (got as u64) < declared {
            return Err(MessageError::Truncated { declared, got });
        }
        let [flag, ..] = self.prefix;
        Ok(Message { compressed: flag == 1, body: self.body.into_segments() })
    }

    fn declared(&self) -> u64 {
        let [_, a, b, c, d] = self.prefix;
        u64::from(u32::from_be_bytes([a, b, c, d]))
    }

    fn check_prefix(&self) -> Result<(), MessageError> {
        let ([flag, ..], declared) = (self.prefix, self.declared());
        if flag > 1 {
            return Err(MessageError::Flag(flag));
        }
        if declared > self.bytes_max as u64 {
            return Err(MessageError::TooLarge { declared, max: self.bytes_max });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assemble(body: &[u8], cut: usize) -> Result<Message, MessageError> {
        let mut assembler = MessageAssembler::new(100);
        for chunk in body.chunks(cut) {
            assembler.push(Bytes::copy_from_slice(chunk))?;
        }
        assembler.finish()
    }

    #[test]
    fn every_cut_gives_the_same_message() {
        let mut body = prefix(true, 7).unwrap().to_vec();
        body.extend_from_slice(b"message");
        for cut in 1..=body.len() {
            let message = assemble(&body, cut).unwrap();
            assert!(message.compressed);
            assert_eq!(&message.body.contiguous()[..], b"message");
        }
    }

    /// Little pieces of a message that waits are copied together; large ones stay where they are.
    #[test]
    fn little_pieces_do_not_hold_their_buffer() {
        let whole = Bytes::from([&[0, 0, 0, 0, 40][..], &[7; 40]].concat());
        let mut assembler = MessageAssembler::new(100);
        let kept: Vec<bool> = [0..3, 3..8, 8..10, 10..30, 30..32, 32..33]
            .map(|range| assembler.push_kept(whole.slice(range), 10, 0).unwrap())
            .to_vec();
        assert_eq!((kept, assembler.len()), (vec![true, true, true, false, true, true], 28));
        assembler.push(whole.slice(33..)).unwrap();
        let body = assembler.finish().unwrap().body;
        let lengths: Vec<usize> = body.iter().map(Bytes::len).collect();
        assert_eq!((lengths, body.len()), (vec![5, 20, 3, 12], 40));
        let mut small = MessageAssembler::new(100);
        assert!(small.push_kept(whole.slice(..40), 10, 41).unwrap(), "all of a small message");
    }

    #[test]
    fn an_empty_message_is_a_message() {
        assert!(assemble(&[0; 5], 2).unwrap().body.is_empty());
    }

    #[test]
    fn lies_are_found_as_early_as_possible() {
        let cases: [(&[u8], MessageError); 6] = [
            (b"", MessageError::Truncated { declared: 0, got: 0 }),
            (b"\0\0\0", MessageError::Truncated { declared: 0, got: 0 }),
            (b"\0\0\0\0\x05ab", MessageError::Truncated { declared: 5, got: 2 }),
            (b"\0\0\0\0\x01ab", MessageError::Trailing),
            (b"\x02\0\0\0\x01a", MessageError::Flag(2)),
            (b"\0\xff\xff\xff\xff", MessageError::TooLarge { declared: 0xffff_ffff, max: 100 }),
        ];
        for (body, error) in cases {
            for cut in 1..=body.len().max(1) {
                assert_eq!(assemble(body, cut).unwrap_err(), error, "{body:?} in chunks of {cut}");
            }
        }
    }

    #[test]
    fn a_message_is_never_copied() {
        let whole = Bytes::from(b"\0\0\0\0\x06abcdef".to_vec());
        let mut assembler = MessageAssembler::new(100);
        assembler.push(whole.slice(..8)).unwrap();
        assembler.push(whole.slice(8..)).unwrap();
        let message = assembler.finish().unwrap();
        let segments: Vec<Bytes> = message.body.into_iter().collect();
        assert_eq!(segments, ["abc", "def"]);
        assert_eq!(segments[1].as_ptr(), whole[8..].as_ptr());
    }
}
