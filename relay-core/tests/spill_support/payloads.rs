//! Records that can be told apart: each is made of its key alone, so that what comes back can be held against what was written.

use bytes::Bytes;
use relay_core::batch::{Encoding, Origin, Part, Rope};
use relay_core::otlp::Signal;
use relay_core::spill::{NewRecord, Record};
use testkit::generate::Xorshift;

/// The record of this key, of about `bytes` bytes: in one to three parts, its payload in as many pieces.
pub(crate) fn record(key: u64, bytes: usize) -> NewRecord {
    let mut random = Xorshift::new(key ^ (bytes as u64) << 40);
    let mut payload = key.to_le_bytes().to_vec();
    payload.extend((bytes as u64).to_le_bytes());
    while payload.len() < bytes {
        payload.extend_from_slice(&random.next_u64().to_le_bytes());
    }
    payload.truncate(bytes.max(16));
    let whole = Bytes::from(payload);
    let (mut parts, mut pieces) = (Vec::new(), Vec::new());
    let mut rest = whole;
    for left in (1..=1 + random.below(3)).rev() {
        let piece = rest.split_to(if left == 1 { rest.len() } else { random.below(rest.len() + 1) });
        let items = 1 + random.below(300) as u64;
        parts.push(Part { bytes: piece.len(), items, origin: Origin::default() });
        pieces.push(piece);
    }
    let encoding = [None, None, None, Some(Encoding::Gzip), Some(Encoding::Zstd), Some(Encoding::Lz4)];
    NewRecord {
        signal: Signal::Traces,
        encoding: *random.pick(&encoding),
        items: parts.iter().map(|part| part.items).sum(),
        unix_ms: 1_800_000_000_000 + key,
        parts,
        payload: Rope::new(pieces),
    }
}

/// Which key this is, if it is what [`record`] makes of a key, to the byte.
pub(crate) fn key_of(found: &Record) -> Option<u64> {
    let key = u64::from_le_bytes(found.payload.get(..8)?.try_into().unwrap());
    let bytes = u64::from_le_bytes(found.payload.get(8..16)?.try_into().unwrap());
    let written = record(key, usize::try_from(bytes).ok().filter(|bytes| *bytes <= found.payload.len())?);
    is_same(&written, found).then_some(key)
}

/// Whether what was read is what was written, in every field.
pub(crate) fn is_same(written: &NewRecord, found: &Record) -> bool {
    let parts = |parts: &[Part]| parts.iter().map(|part| (part.bytes, part.items)).collect::<Vec<_>>();
    written.signal == found.signal
        && written.encoding == found.encoding
        && written.items == found.items
        && written.unix_ms == found.unix_ms
        && parts(&written.parts) == parts(&found.parts)
        && written.payload.pieces().concat() == found.payload
}
