//! Snappy, by the `snap` crate: the block format, which says its size first, and the framing format, a stream of chunks with sums.

use std::io::{self, Read, Write};

use bytes::Buf;
use snap::read::FrameDecoder;
use snap::write::FrameEncoder;

use super::output::{Output, Stop, invalid};
use crate::batch::{Rope, RopeReader};

/// The chunk that every stream of frames begins with.
const STREAM_IDENTIFIER: &[u8] = b"\xff\x06\x00\x00sNaPpY";

/// A copy of 64 bytes takes 3, and nothing takes less: no block inflates to more than this many times its size.
const RATIO_MAX: usize = 22;

/// Whether the body is a stream of frames. As a block it would say a size of 895 bytes and be a block by chance alone; the Collector
/// tells them apart in the same way.
pub(super) fn is_framed(body: &Rope) -> bool {
    body.slice(0, STREAM_IDENTIFIER.len()).to_bytes() == STREAM_IDENTIFIER
}

/// Inflates one block of at most `bytes_max` bytes. A body in several pieces is put together first, in place of those.
pub(super) fn inflate_block(body: Rope, bytes_max: usize) -> Result<Vec<u8>, Stop> {
    let joined = body.slice(0, body.len()).to_bytes();
    drop(body);
    let len = snap::raw::decompress_len(&joined).map_err(io::Error::from)?;
    if joined.is_empty() || len / RATIO_MAX > joined.len() {
        return Err(invalid("no snappy block"));
    }
    if len > bytes_max {
        return Err(Stop::TooLarge);
    }
    let mut inflated = vec![0; len];
    snap::raw::Decoder::new().decompress(&joined, &mut inflated).map_err(io::Error::from)?;
    Ok(inflated)
}

/// What is inflated at once, in bytes.
const CHUNK_BYTES: usize = 16 << 10;

/// Inflates all streams of a body. The format has no end: a body that is cut between two chunks is shorter, not wrong.
pub(super) fn inflate_framed(body: &mut RopeReader, output: &mut Output) -> Result<(), Stop> {
    let mut decoder = FrameDecoder::new(body.reader());
    let mut chunk = [0; CHUNK_BYTES];
    loop {
        match decoder.read(&mut chunk)? {
            0 => return Ok(()),
            read => output.append(chunk.get(..read).unwrap_or_default())?,
        }
    }
}

/// Deflates into one block.
pub(super) fn deflate_block(rope: &Rope) -> io::Result<Vec<u8>> {
    let joined = rope.slice(0, rope.len()).to_bytes();
    Ok(snap::raw::Encoder::new().compress_vec(&joined)?)
}

/// Deflates into one stream of frames.
pub(super) fn deflate_framed(rope: &Rope) -> io::Result<Vec<u8>> {
    let mut encoder = FrameEncoder::new(Vec::with_capacity(rope.len() / 2));
    for piece in rope.pieces() {
        encoder.write_all(piece)?;
    }
    encoder.into_inner().map_err(|error| io::Error::other(error.to_string()))
}
