//! Requests that are forwarded in the encoding in which they came, without being opened: nobody knows what is in them, or how many
//! items.

use std::fmt;

use crate::otlp::Signal;
use crate::wire::Segments;

/// How the bytes of a body are encoded. `identity` is the absence of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// RFC 1952.
    Gzip,
    /// RFC 1950. HTTP's `deflate` is this (RFC 9110 section 8.4.1.2); bare deflate, which some clients sent by mistake, is refused
    /// by the Collector, and here.
    Zlib,
    /// RFC 8878.
    Zstd,
    /// Snappy's block format. Where a stream of frames comes instead, as older Collectors sent it by this name, that is read.
    Snappy,
    /// Snappy's framing format.
    SnappyFramed,
    /// LZ4's frame format; not the legacy one.
    Lz4,
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Zlib => "zlib",
            Self::Zstd => "zstd",
            Self::Snappy => "snappy",
            Self::SnappyFramed => "framed snappy",
            Self::Lz4 => "lz4",
        })
    }
}

/// A request that is still encoded.
#[derive(Clone, Debug)]
pub struct Unopened {
    /// Whose request it says it is.
    pub signal: Signal,
    /// How it is encoded.
    pub encoding: Encoding,
    /// Its bytes, as they came.
    pub bytes: Segments,
}
