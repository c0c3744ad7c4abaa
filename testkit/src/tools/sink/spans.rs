//! Counts the spans of a request while its bytes arrive, in whatever pieces, so that nobody has to keep them.
//!
//! Must never agree to what [`crate::wire::count_spans`] refuses, nor count otherwise than it: a test holds them against each other.

use crate::wire::WireError;

/// Field numbers on the way down: resource spans of a request, scope spans of those, spans of those
/// (opentelemetry/proto/trace/v1/trace.proto).
const WAY_DOWN: [u64; 3] = [1, 2, 2];
/// Level whose messages on the way are spans, which are counted and not entered.
const SPANS_LEVEL: usize = 2;

/// What the next byte belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// A field's tag.
    Tag,
    /// The value of a varint field.
    Value,
    /// The length of a field with this tag.
    Length(u64),
}

/// The state of the walk through one request.
#[derive(Debug)]
pub(super) struct SpanCounter {
    count: u64,
    /// Bytes walked over.
    position: u64,
    /// Where the messages that we are in end, the request itself first.
    ends: [u64; 3],
    level: usize,
    /// Bytes of a field's content that are still to be passed over.
    skip: u64,
    step: Step,
    /// The varint that is being read, and its bits so far.
    varint: u64,
    shift: u32,
}

impl SpanCounter {
    /// For a request of `len` bytes.
    pub(super) fn new(len: u64) -> Self {
        Self {
            count: 0,
            position: 0,
            ends: [len, 0, 0],
            level: 0,
            skip: 0,
            step: Step::Tag,
            varint: 0,
            shift: 0,
        }
    }

    /// Walks over the next bytes of the request.
    ///
    /// # Errors
    /// Any [`WireError`]; the counter is of no use then.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), WireError> {
        loop {
            let passed = self.skip.min(bytes.len() as u64);
            self.skip -= passed;
            self.position += passed;
            bytes = &bytes[passed as usize..];
            let Some((&byte, rest)) = bytes.split_first() else { return Ok(()) };
            self.leave_ended();
            if self.position >= self.ends[self.level] {
                return Err(WireError::Truncated);
            }
            bytes = rest;
            self.position += 1;
            if let Some(value) = self.take_varint_byte(byte)? {
                self.handle_varint(value)?;
            }
        }
    }

    /// The spans of the request, all of whose bytes have been fed.
    ///
    /// # Errors
    /// [`WireError::Truncated`] where it ends inside a field.
    pub(super) fn finish(mut self) -> Result<u64, WireError> {
        self.leave_ended();
        let is_whole = self.level == 0 && self.step == Step::Tag && self.shift == 0 && self.skip == 0;
        if is_whole && self.position == self.ends[0] { Ok(self.count) } else { Err(WireError::Truncated) }
    }

    /// Goes up from messages that end here.
    fn leave_ended(&mut self) {
        while self.level > 0
            && self.position == self.ends[self.level]
            && self.step == Step::Tag
            && self.shift == 0
        {
            self.level -= 1;
        }
    }

    /// Gives the varint that ends with this byte, if it does.
    fn take_varint_byte(&mut self, byte: u8) -> Result<Option<u64>, WireError> {
        if self.shift == 63 && byte > 1 {
            return Err(WireError::Varint);
        }
        self.varint |= u64::from(byte & 0x7f) << self.shift;
        if byte >= 0x80 {
            self.shift += 7;
            return Ok(None);
        }
        self.shift = 0;
        Ok(Some(std::mem::take(&mut self.varint)))
    }

    fn handle_varint(&mut self, value: u64) -> Result<(), WireError> {
        match self.step {
            Step::Tag => self.handle_tag(value),
            Step::Value => {
                self.step = Step::Tag;
                Ok(())
            }
            Step::Length(tag) => {
                self.step = Step::Tag;
                self.handle_content(tag, value)
            }
        }
    }

    fn handle_tag(&mut self, tag: u64) -> Result<(), WireError> {
        let number = tag >> 3;
        if number == 0 || number > u64::from(u32::MAX) {
            return Err(WireError::Tag(tag));
        }
        match tag & 7 {
            0 => self.step = Step::Value,
            1 => self.pass_over(8)?,
            2 => self.step = Step::Length(tag),
            5 => self.pass_over(4)?,
            _ => return Err(WireError::Tag(tag)),
        }
        Ok(())
    }

    /// A length-delimited field begins: enters it, counts it, or passes over it.
    fn handle_content(&mut self, tag: u64, len: u64) -> Result<(), WireError> {
        let is_on_the_way = tag >> 3 == WAY_DOWN[self.level];
        if is_on_the_way && self.level < SPANS_LEVEL {
            let end = self.checked_end(len)?;
            self.level += 1;
            self.ends[self.level] = end;
            return Ok(());
        }
        self.count += u64::from(is_on_the_way);
        self.pass_over(len)
    }

    fn pass_over(&mut self, len: u64) -> Result<(), WireError> {
        self.checked_end(len)?;
        self.skip = len;
        Ok(())
    }

    /// Where `len` more bytes end, which must be inside the message that we are in.
    fn checked_end(&self, len: u64) -> Result<u64, WireError> {
        let end = self.position.checked_add(len).filter(|end| *end <= self.ends[self.level]);
        end.ok_or(WireError::Truncated)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::generate::{arb_request, kube_like_bytes};
    use crate::oracle::encode;
    use crate::payloads::recorded;
    use crate::permute::encode_permuted;
    use crate::wire::count_spans;

    fn count(request: &[u8], piece_bytes: &[usize]) -> Result<u64, WireError> {
        let mut counter = SpanCounter::new(request.len() as u64);
        let mut rest = request;
        for len in piece_bytes.iter().cycle() {
            let (piece, left) = rest.split_at((*len).min(rest.len()));
            counter.feed(piece)?;
            rest = left;
            if rest.is_empty() {
                break;
            }
        }
        counter.finish()
    }

    #[test]
    fn recorded_and_generated_requests_are_counted() {
        for one in recorded() {
            assert_eq!(count(&one.bytes, &[16_384 - 5, 16_384]), count_spans(&one.bytes));
        }
        for piece_bytes in 1..50 {
            assert_eq!(count(&kube_like_bytes(37, 1), &[piece_bytes]), Ok(37));
        }
        assert_eq!(count(&[], &[1]), Ok(0));
    }

    /// Guarantee: a length that lies about what is inside is refused, though the request is as long as it should be.
    #[test]
    fn lengths_are_held_against_what_surrounds_them() {
        assert_eq!(count(&[0x0a, 2, 0x12, 1, 0x12, 0], &[6]), Err(WireError::Truncated));
        assert_eq!(count(&[0x0a, 3, 0x12, 1, 0x12], &[5]), Err(WireError::Truncated));
        assert_eq!(count(&[0x0a, 4, 0x12, 2, 0x12, 0], &[6]), Ok(1));
    }

    proptest! {
        /// Guarantee: pieces do not matter, and the walk agrees with the one over a whole request, also where bytes are damaged.
        #[test]
        fn both_walks_agree(
            request in arb_request(),
            permuted in any::<bool>(),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            cut in prop::option::of(any::<prop::sample::Index>()),
            piece_bytes in prop::collection::vec(1_usize..60, 1..8),
        ) {
            let mut bytes = if permuted { encode_permuted(&request, 1, true) } else { encode(&request) };
            for (at, value) in damage.iter().filter(|_| !bytes.is_empty()).collect::<Vec<_>>() {
                let place = at.index(bytes.len());
                bytes[place] = *value;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len() + 1));
            }
            let (pieces, whole) = (count(&bytes, &piece_bytes), count_spans(&bytes));
            prop_assert_eq!(pieces.is_ok(), whole.is_ok());
            prop_assert_eq!(pieces.unwrap_or(0), whole.unwrap_or(0));
        }
    }
}
