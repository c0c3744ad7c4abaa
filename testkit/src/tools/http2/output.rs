//! What is to be written to a connection: small frames that are copied, and parts of payloads that are not.
//!
//! Must never copy a payload: parts are places in bodies that live as long as the run.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};
use std::ops::Range;

use bytes::Bytes;

/// Slices of one vectored write.
const SLICES_MAX: usize = 128;

/// A body number that means "the queue's own bytes".
const OWN: u32 = u32::MAX;

/// Bytes of the queue's own, or of a body.
#[derive(Debug, Clone, Copy)]
struct Segment {
    body: u32,
    start: u32,
    end: u32,
}

/// A queue of bytes to write.
#[derive(Debug, Default)]
pub(in crate::tools) struct Output {
    own: Vec<u8>,
    /// How many of `own` are in `segments`.
    own_queued: usize,
    segments: VecDeque<Segment>,
}

impl Output {
    /// Whether all has been written.
    pub(in crate::tools) fn is_empty(&self) -> bool {
        self.segments.is_empty() && self.own_queued == self.own.len()
    }

    /// Whether another vectored write's worth is queued: time to write before more is added.
    pub(in crate::tools) fn is_full(&self) -> bool {
        self.segments.len() >= SLICES_MAX - 1
    }

    /// Where small frames are appended.
    pub(in crate::tools) fn frames(&mut self) -> &mut Vec<u8> {
        &mut self.own
    }

    /// Appends a part of `bodies[body]`, which is given when it is written.
    pub(in crate::tools) fn push_part(&mut self, body: u32, part: Range<u32>) {
        self.seal();
        self.segments.push_back(Segment { body, start: part.start, end: part.end });
    }

    /// Makes a segment of the frames appended since the last one.
    fn seal(&mut self) {
        if self.own_queued < self.own.len() {
            let (start, end) = (self.own_queued as u32, self.own.len() as u32);
            self.segments.push_back(Segment { body: OWN, start, end });
            self.own_queued = self.own.len();
        }
    }

    /// Writes as much as `to` takes; says whether that was all.
    ///
    /// # Errors
    /// The socket's, but not `WouldBlock`.
    pub(in crate::tools) fn write(&mut self, to: &mut impl Write, bodies: &[Bytes]) -> io::Result<bool> {
        self.seal();
        while !self.segments.is_empty() {
            match self.write_some(to, bodies) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.advance(written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.own.clear();
        self.own_queued = 0;
        Ok(true)
    }

    fn write_some(&self, to: &mut impl Write, bodies: &[Bytes]) -> io::Result<usize> {
        let bytes = |segment: &Segment| {
            let of: &[u8] = if segment.body == OWN { &self.own } else { &bodies[segment.body as usize] };
            &of[segment.start as usize..segment.end as usize]
        };
        if let (1, Some(only)) = (self.segments.len(), self.segments.front()) {
            return to.write(bytes(only));
        }
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut count = 0;
        for (slice, segment) in slices.iter_mut().zip(&self.segments) {
            *slice = IoSlice::new(bytes(segment));
            count += 1;
        }
        to.write_vectored(&slices[..count])
    }

    fn advance(&mut self, mut written: usize) {
        while let Some(front) = self.segments.front_mut() {
            let len = (front.end - front.start) as usize;
            if written < len {
                front.start += written as u32;
                return;
            }
            written -= len;
            self.segments.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes `at_once` bytes each time, and after `turns` times none until asked again.
    struct Slow {
        taken: Vec<u8>,
        at_once: usize,
        turns: usize,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.write_vectored(&[IoSlice::new(bytes)])
        }

        fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            if self.turns == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.turns -= 1;
            let before = self.taken.len();
            for byte in slices.iter().flat_map(|slice| slice.iter()).take(self.at_once) {
                self.taken.push(*byte);
            }
            Ok(self.taken.len() - before)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Guarantee: bytes leave in order and once, however little the socket takes at a time and whatever is added meanwhile.
    #[test]
    fn order_survives_short_writes() {
        let bodies = [Bytes::from_static(b"0123456789"), Bytes::from_static(b"abcdefghij")];
        for at_once in 1..40 {
            let mut slow = Slow { taken: Vec::new(), at_once, turns: 0 };
            let mut output = Output::default();
            output.frames().extend_from_slice(b"<1>");
            output.frames().extend_from_slice(b"<2>");
            output.push_part(0, 0..5);
            output.push_part(1, 5..10);
            assert!(!output.write(&mut slow, &bodies).unwrap());
            slow.turns = 2;
            output.write(&mut slow, &bodies).unwrap();
            output.frames().extend_from_slice(b"<3>");
            output.push_part(0, 5..10);
            output.frames().extend_from_slice(b"<4>");
            while !output.is_empty() {
                slow.turns = 1;
                output.write(&mut slow, &bodies).unwrap();
            }
            assert_eq!(slow.taken, b"<1><2>01234fghij<3>56789<4>", "{at_once} at once");
            assert_eq!((output.own.len(), output.own_queued), (0, 0));
        }
    }
}
