//! What compressed messages hold that came before: a load sends the same few again and again, and opening them each time would make the
//! sink slower than what is measured.
//!
//! Must never take one message for another: they are told apart by all of their bytes.

use std::collections::HashMap;

/// Bytes of messages that are remembered, in all; later ones are opened each time.
const BYTES_MAX: usize = 16 << 20;

/// Compressed messages with what was counted in them.
#[derive(Debug, Default)]
pub(super) struct Opened {
    known: HashMap<Vec<u8>, Contents>,
    bytes: usize,
}

/// What was counted in a message, uncompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) spans: u64,
    pub(super) bytes: usize,
}

impl Opened {
    /// What a compressed message held when it came before.
    pub(super) fn find(&self, compressed: &[u8]) -> Option<Contents> {
        self.known.get(compressed).copied()
    }

    /// Notes what was found in a message, as long as there is room.
    pub(super) fn note(&mut self, compressed: Vec<u8>, contents: Contents) {
        if self.bytes + compressed.len() <= BYTES_MAX {
            self.bytes += compressed.len();
            self.known.insert(compressed, contents);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantee: what is remembered is bounded, and found by all of its bytes only.
    #[test]
    fn memory_is_bounded_and_exact() {
        let mut opened = Opened::default();
        let contents = |spans| Contents { spans, bytes: 9 };
        opened.note(b"abc".to_vec(), contents(1));
        opened.note(vec![0; BYTES_MAX - 4], contents(2));
        opened.note(b"de".to_vec(), contents(3));
        opened.note(b"f".to_vec(), contents(4));
        let found = [&b"abc"[..], b"abd", b"ab", b"de", b"f"].map(|one| opened.find(one));
        assert_eq!(found, [Some(contents(1)), None, None, None, Some(contents(4))]);
    }
}
