//! What a peer has encoded, read back, of any encoding.

use bytes::Bytes;

use super::output::{Output, Stop};
use super::{flate, lz4, snappy, zstd};
use crate::batch::{Encoding, Rope};

/// Why bytes were not inflated.
#[derive(Debug, thiserror::Error)]
pub enum InflateError {
    /// They are not what they are said to be: other bytes, truncated, a wrong sum, or something after their end.
    #[error("not {encoding}: {error}")]
    NotEncoded {
        /// What they are said to be.
        encoding: Encoding,
        /// What is wrong with them.
        error: std::io::Error,
    },
    /// They inflate to more than this many bytes.
    #[error("inflates to more than the receiver's limit of {0} bytes")]
    TooLarge(usize),
}

/// Inflates all of `body`, to at most `bytes_max` bytes: OTLP 1.11 has the limit hold after decompression too. Takes no more memory
/// than that and [`INFLATE_WORK_BYTES_MAX`](crate::limits::INFLATE_WORK_BYTES_MAX), whatever the body is; a snappy block in several
/// pieces is put together in place of them. No bytes at all are an empty stream where the format has no header of its own to miss:
/// zstd, framed snappy and lz4, as for the Collector.
///
/// # Errors
/// [`InflateError::TooLarge`] as soon as it is known, [`InflateError::NotEncoded`] for everything else.
pub fn inflate(encoding: Encoding, body: Rope, bytes_max: usize) -> Result<Bytes, InflateError> {
    let inflated = match encoding {
        Encoding::Snappy if !snappy::is_framed(&body) => snappy::inflate_block(body, bytes_max),
        _ => inflate_stream(encoding, &body, bytes_max),
    };
    inflated.map(Bytes::from).map_err(|stop| match stop {
        Stop::TooLarge => InflateError::TooLarge(bytes_max),
        Stop::Invalid(error) => InflateError::NotEncoded { encoding, error },
    })
}

/// What `body` says that it inflates to, in bytes; nothing is proven. `None` where it does not say: any but gzip (its last member) and
/// zstd (its first frame).
pub fn said_bytes(encoding: Encoding, body: &Rope) -> Option<usize> {
    match encoding {
        Encoding::Gzip => flate::gzip_said_bytes(body),
        Encoding::Zstd => zstd::said_bytes(body),
        Encoding::Zlib | Encoding::Snappy | Encoding::SnappyFramed | Encoding::Lz4 => None,
    }
}

fn inflate_stream(encoding: Encoding, body: &Rope, bytes_max: usize) -> Result<Vec<u8>, Stop> {
    let said = said_bytes(encoding, body);
    let mut output = Output::new(bytes_max, body.len(), said);
    let mut reader = body.reader();
    match encoding {
        Encoding::Gzip => flate::inflate_gzip(&mut reader, &mut output),
        Encoding::Zlib => flate::inflate_zlib(&mut reader, &mut output),
        Encoding::Zstd => zstd::inflate(&mut reader, &mut output),
        Encoding::Snappy | Encoding::SnappyFramed => snappy::inflate_framed(&mut reader, &mut output),
        Encoding::Lz4 => lz4::inflate(&mut reader, &mut output),
    }?;
    output.finish()
}
