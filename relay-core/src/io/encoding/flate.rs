//! gzip (RFC 1952) and zlib (RFC 1950), both around deflate (RFC 1951), by flate2. The states of a thread are used again: making
//! them costs more than the bytes of a small message do.

use std::cell::RefCell;
use std::io;

use bytes::Buf;
use flate2::{Compress, Compression, Crc, Decompress, FlushCompress, FlushDecompress, Status};

use super::output::{Output, Stop, invalid, truncated};
use crate::batch::{Rope, RopeReader};
use crate::limits::FLATE_LEVEL_MAX;

/// What stands around deflated bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrap {
    Gzip,
    Zlib,
}

thread_local! {
    static INFLATE: RefCell<Decompress> = RefCell::new(Decompress::new(false));
    // For the wrap and the level that it was made for.
    static DEFLATE: RefCell<Option<(Wrap, u8, Compress)>> = const { RefCell::new(None) };
}

/// The largest window of deflate, as a power of two.
const WINDOW_BITS: u8 = 15;

/// The size that the last member of a gzip body says (`ISIZE`). It may lie, and there may be other members.
pub(super) fn gzip_said_bytes(body: &Rope) -> Option<usize> {
    let tail = body.slice(body.len().checked_sub(4)?, body.len()).to_bytes();
    usize::try_from(u32::from_le_bytes(tail.as_ref().try_into().ok()?)).ok()
}

/// Inflates all members of a gzip body.
pub(super) fn inflate_gzip(body: &mut RopeReader, output: &mut Output) -> Result<(), Stop> {
    loop {
        skip_gzip_header(body)?;
        let sum = inflate_stream(body, output, Wrap::Gzip)?;
        if body.try_get_u32_le().map_err(|_| truncated())? != sum.sum() {
            return Err(invalid("wrong CRC-32"));
        }
        // `amount` counts modulo 2^32, as `ISIZE` does.
        if body.try_get_u32_le().map_err(|_| truncated())? != sum.amount() {
            return Err(invalid("wrong length"));
        }
        if !body.has_remaining() {
            return Ok(());
        }
    }
}

/// Inflates a zlib body, which is one stream.
pub(super) fn inflate_zlib(body: &mut RopeReader, output: &mut Output) -> Result<(), Stop> {
    inflate_stream(body, output, Wrap::Zlib)?;
    if body.has_remaining() { Err(invalid("bytes after the end")) } else { Ok(()) }
}

/// Inflates to the end of one stream. The sum of what came is gzip's; zlib's own is checked by the stream.
fn inflate_stream(body: &mut RopeReader, output: &mut Output, wrap: Wrap) -> Result<Crc, Stop> {
    INFLATE.with_borrow_mut(|state| {
        state.reset(wrap == Wrap::Zlib);
        let mut sum = Crc::new();
        loop {
            let room = output.with_room()?;
            let (consumed_before, len_before) = (state.total_in(), room.len());
            let status = state.decompress_vec(body.chunk(), room, FlushDecompress::None);
            let status = status.map_err(io::Error::from)?;
            let inflated = room.get(len_before..).unwrap_or_default();
            if wrap == Wrap::Gzip {
                sum.update(inflated);
            }
            let consumed = usize::try_from(state.total_in() - consumed_before).unwrap_or(usize::MAX);
            body.advance(consumed);
            match status {
                Status::StreamEnd => return Ok(sum),
                _ if consumed == 0 && inflated.is_empty() => return Err(truncated()),
                Status::Ok | Status::BufError => {}
            }
        }
    })
}

/// RFC 1952 section 2.3.1, the flags of a member's header.
const FHCRC: u8 = 1 << 1;
const FEXTRA: u8 = 1 << 2;
const FNAME: u8 = 1 << 3;
const FCOMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0xe0;

/// Skips a member's header.
fn skip_gzip_header(body: &mut RopeReader) -> Result<(), Stop> {
    let mut sum = Crc::new();
    let mut next = |sum: &mut Crc| -> Result<u8, Stop> {
        let byte = body.try_get_u8().map_err(|_| truncated())?;
        sum.update(&[byte]);
        Ok(byte)
    };
    if [next(&mut sum)?, next(&mut sum)?, next(&mut sum)?] != [0x1f, 0x8b, 8] {
        return Err(invalid("no gzip header"));
    }
    let flags = next(&mut sum)?;
    if flags & RESERVED != 0 {
        return Err(invalid("unknown flags in the gzip header"));
    }
    // Time, extra flags, operating system.
    for _ in 0..6 {
        next(&mut sum)?;
    }
    if flags & FEXTRA != 0 {
        let len = u16::from_le_bytes([next(&mut sum)?, next(&mut sum)?]);
        for _ in 0..len {
            next(&mut sum)?;
        }
    }
    for flag in [FNAME, FCOMMENT] {
        while flags & flag != 0 && next(&mut sum)? != 0 {}
    }
    let expected = sum.sum().to_le_bytes();
    if flags & FHCRC != 0 && [next(&mut sum)?, next(&mut sum)?] != [expected[0], expected[1]] {
        return Err(invalid("wrong sum of the gzip header"));
    }
    Ok(())
}

/// Deflates into one member or stream. Levels are 1 to [`FLATE_LEVEL_MAX`].
pub(super) fn deflate(wrap: Wrap, level: u8, rope: &Rope) -> io::Result<Vec<u8>> {
    DEFLATE.with_borrow_mut(|kept| {
        kept.take_if(|(kept_wrap, kept_level, _)| (*kept_wrap, *kept_level) != (wrap, level));
        let (_, _, state) = kept.get_or_insert_with(|| (wrap, level, new_state(wrap, level)));
        state.reset();
        let mut deflated = Vec::with_capacity(rope.len() / 4 + ROOM_BYTES);
        for piece in rope.pieces() {
            feed(state, piece, FlushCompress::None, &mut deflated)?;
        }
        feed(state, &[], FlushCompress::Finish, &mut deflated)?;
        Ok(deflated)
    })
}

fn new_state(wrap: Wrap, level: u8) -> Compress {
    let level = Compression::new(level.min(FLATE_LEVEL_MAX).into());
    match wrap {
        Wrap::Gzip => Compress::new_gzip(level, WINDOW_BITS),
        Wrap::Zlib => Compress::new(level, true),
    }
}

/// With less room than this the buffer grows before it is written to.
const ROOM_BYTES: usize = 64;

/// Takes all of `bytes`, or finishes.
fn feed(
    state: &mut Compress,
    mut bytes: &[u8],
    flush: FlushCompress,
    deflated: &mut Vec<u8>,
) -> io::Result<()> {
    let finishing = matches!(flush, FlushCompress::Finish);
    loop {
        if deflated.capacity() - deflated.len() < ROOM_BYTES {
            deflated.reserve(deflated.len().max(ROOM_BYTES));
        }
        let before = state.total_in();
        let status = state.compress_vec(bytes, deflated, flush)?;
        let consumed = usize::try_from(state.total_in() - before).unwrap_or(usize::MAX);
        bytes = bytes.get(consumed..).unwrap_or_default();
        if if finishing { status == Status::StreamEnd } else { bytes.is_empty() } {
            return Ok(());
        }
    }
}
