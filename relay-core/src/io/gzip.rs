//! gzip in and out, by flate2. Inflating is capped as it grows: a bomb costs at most the cap.

use std::io::{Read, Write};

use bytes::{Buf, Bytes, BytesMut};
use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

use crate::batch::Rope;

/// Why bytes were not inflated.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InflateError {
    #[error("not gzip: {0}")]
    NotGzip(std::io::Error),
    #[error("inflates to more than the receiver's limit of {0} bytes")]
    TooLarge(usize),
}

/// Inflates all members of `body`, to at most `bytes_max` bytes. OTLP 1.11: the limit holds after decompression too.
pub(crate) fn inflate(body: Rope, bytes_max: usize) -> Result<Bytes, InflateError> {
    // Typical traces shrink to a fifth to a tenth; growing from there costs one or two reallocations.
    let guess = body.len().saturating_mul(4).clamp(CHUNK_BYTES, bytes_max.max(CHUNK_BYTES));
    let mut inflated = BytesMut::with_capacity(guess.min(GUESS_BYTES_MAX));
    let mut decoder = MultiGzDecoder::new(body.reader().reader());
    let mut chunk = [0; CHUNK_BYTES];
    loop {
        match decoder.read(&mut chunk) {
            Ok(0) => return Ok(inflated.freeze()),
            Ok(read) if inflated.len() + read > bytes_max => return Err(InflateError::TooLarge(bytes_max)),
            Ok(read) => inflated.extend_from_slice(chunk.get(..read).unwrap_or_default()),
            Err(error) => return Err(InflateError::NotGzip(error)),
        }
    }
}

/// Compresses a whole batch into one gzip member.
pub(crate) fn deflate(rope: &Rope) -> std::io::Result<Bytes> {
    // Level 1: the Collector's own default for gzip is level 6 (-1); the CPU is what users come here for.
    let mut encoder = GzEncoder::new(Vec::with_capacity(rope.len() / 4), Compression::fast());
    for piece in rope.pieces() {
        encoder.write_all(piece)?;
    }
    encoder.finish().map(Bytes::from)
}

const CHUNK_BYTES: usize = 16 << 10;
const GUESS_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn rope(bytes: &[u8]) -> Rope {
        Rope::new(bytes.chunks(7).map(Bytes::copy_from_slice).collect())
    }

    #[test]
    fn there_and_back_through_any_pieces() {
        let plain: Vec<u8> = (0..20_000).flat_map(|n| format!("span number {n}, ").into_bytes()).collect();
        let packed = deflate(&rope(&plain)).unwrap();
        assert!(packed.len() < plain.len());
        assert_eq!(inflate(rope(&packed), plain.len()).unwrap(), plain);
        let two_members = [&packed[..], &packed[..]].concat();
        assert_eq!(inflate(rope(&two_members), 2 * plain.len()).unwrap().len(), 2 * plain.len());
    }

    #[test]
    fn a_bomb_stops_at_the_cap() {
        let bomb = deflate(&rope(&vec![0; 4 << 20])).unwrap();
        assert!(bomb.len() < 40_000);
        assert!(matches!(inflate(rope(&bomb), 1 << 20), Err(InflateError::TooLarge(_))));
        assert!(inflate(rope(&bomb), 4 << 20).is_ok());
    }

    #[test]
    fn truncated_and_foreign_bytes_are_refused() {
        let packed = deflate(&rope(b"some text, some text, some text")).unwrap();
        for len in 1..packed.len() {
            assert!(matches!(inflate(rope(&packed[..len]), 100), Err(InflateError::NotGzip(_))), "{len}");
        }
        assert!(matches!(inflate(rope(b"not gzip at all"), 100), Err(InflateError::NotGzip(_))));
    }
}
