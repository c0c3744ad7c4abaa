//! The head of a request, encoded once for all calls to one upstream.

use super::hpack::{self, TABLE_BYTES};

/// `:method: POST` (RFC 7541, appendix A).
const METHOD_POST: u8 = 0x83;
/// `:scheme: http` and `https`.
const SCHEMES: [u8; 2] = [0x86, 0x87];
/// The first place after the static table.
const DYNAMIC_FROM: usize = 62;

/// Header blocks of a POST whose fields are the same in every call.
#[derive(Clone)]
pub struct RequestHead {
    // For a connection's first call: the fields join the peer's table.
    first: Vec<u8>,
    // For its later calls: by their places there.
    later: Vec<u8>,
    // For a peer without a table.
    literal: Vec<u8>,
}

/// A header field that only some calls have, as it stands behind a [`RequestHead`]'s block.
pub fn literal_field(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut block = Vec::with_capacity(name.len() + value.len() + 4);
    hpack::put_literal(&mut block, name, value);
    block
}

// Its bytes hold secrets.
impl std::fmt::Debug for RequestHead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestHead").field("bytes", &self.literal.len()).finish_non_exhaustive()
    }
}

impl RequestHead {
    /// `shared` are fields of any kind, in order, `:path` and `:authority` among them; `secret` ones are kept out of all tables
    /// (RFC 7541, section 7.1.3).
    pub fn new<'a>(
        https: bool,
        shared: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        secret: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Self {
        let (shared, secret): (Vec<_>, Vec<_>) = (shared.collect(), secret.collect());
        let table: usize = shared.iter().map(|(name, value)| hpack::table_bytes(name, value)).sum();
        let pseudo = vec![METHOD_POST, if https { SCHEMES[1] } else { SCHEMES[0] }];
        let (mut first, mut later, mut literal) = (pseudo.clone(), pseudo.clone(), pseudo);
        for (nth, (name, value)) in shared.iter().enumerate() {
            hpack::put_indexing(&mut first, name, value);
            // The newest entry has the first place.
            hpack::put_index(&mut later, DYNAMIC_FROM + shared.len() - 1 - nth);
            hpack::put_literal(&mut literal, name, value);
        }
        for (name, value) in secret {
            for block in [&mut first, &mut later, &mut literal] {
                hpack::put_never_indexed(block, name, value);
            }
        }
        if table > TABLE_BYTES {
            (first, later) = (literal.clone(), literal.clone());
        }
        Self { first, later, literal }
    }

    /// The block for a connection that may use the peer's table or not, and whose first call it is or not.
    pub(super) fn block(&self, may_index: bool, indexed: bool) -> &[u8] {
        match (may_index, indexed) {
            (true, true) => &self.later,
            (true, false) => &self.first,
            (false, _) => &self.literal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http2::hpack::{Decoder, Fields};

    /// All three blocks say the same to a decoder that has seen the ones before.
    #[test]
    fn the_blocks_say_the_same() {
        let shared = [(&b":path"[..], &b"/x"[..]), (b":authority", b"a:1"), (b"te", b"trailers")];
        let secret = [(&b"authorization"[..], &b"Bearer x"[..])];
        let head = RequestHead::new(false, shared.into_iter(), secret.into_iter());
        let (mut decoder, mut fields) = (Decoder::default(), Fields::default());
        for (may_index, indexed) in [(true, false), (true, true), (true, true), (false, true)] {
            decoder.decode(head.block(may_index, indexed), 16 << 10, &mut fields).unwrap();
            let seen: Vec<_> = fields.iter().collect();
            assert_eq!(seen[..2], [(&b":method"[..], &b"POST"[..]), (b":scheme", b"http")]);
            assert_eq!(seen[2..5], shared);
            assert_eq!(seen[5..], secret);
        }
    }

    #[test]
    fn fields_that_do_not_fit_into_a_table_are_literals() {
        let long = vec![b'v'; TABLE_BYTES];
        let shared = [(&b":path"[..], &b"/x"[..]), (b"name", &long)];
        let head = RequestHead::new(true, shared.into_iter(), std::iter::empty());
        assert_eq!(head.block(true, true), head.block(false, false));
    }
}
