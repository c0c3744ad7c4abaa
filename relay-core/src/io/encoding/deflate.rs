//! What an upstream is sent, encoded as it was configured.

use std::io;

use bytes::Bytes;

use super::flate::Wrap;
use super::{flate, lz4, snappy, zstd};
use crate::batch::Rope;
use crate::config::Compression;

/// Compresses all of `rope` into one body; with [`Compression::None`] it is copied into one piece.
///
/// # Errors
/// Only what the compressors say that cannot happen to bytes in memory, and a snappy block of 4 GiB.
pub fn deflate(compression: Compression, rope: &Rope) -> io::Result<Bytes> {
    match compression {
        Compression::None => return Ok(rope.slice(0, rope.len()).to_bytes()),
        Compression::Gzip(level) => flate::deflate(Wrap::Gzip, level, rope),
        Compression::Zlib(level) | Compression::Deflate(level) => flate::deflate(Wrap::Zlib, level, rope),
        Compression::Zstd(level) => zstd::deflate(level, rope),
        Compression::Snappy => snappy::deflate_block(rope),
        Compression::SnappyFramed => snappy::deflate_framed(rope),
        Compression::Lz4 => lz4::deflate(rope),
    }
    .map(Bytes::from)
}
