//! zstd (RFC 8878), by its own C library through the safe `zstd` crate. The contexts of a thread are used again, unless one has
//! grown: what a hostile frame made it take goes back.

use std::cell::RefCell;
use std::io;

use bytes::Buf;
use zstd::zstd_safe::{
    CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective, get_error_name,
    get_frame_content_size,
};

use super::output::{Output, Stop, truncated};
use crate::batch::{Rope, RopeReader};
use crate::limits::{ZSTD_CONTEXT_KEPT_BYTES_MAX, ZSTD_LEVEL_MAX, ZSTD_WINDOW_LOG_MAX};

thread_local! {
    static INFLATE: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
    static DEFLATE: RefCell<Option<CCtx<'static>>> = const { RefCell::new(None) };
}

/// The size that the first frame says. It may lie, and there may be other frames.
pub(super) fn said_bytes(body: &Rope) -> Option<usize> {
    // RFC 8878 section 3.1.1: a frame's header has 18 bytes at the most.
    let head = body.slice(0, 18).to_bytes();
    get_frame_content_size(&head).ok().flatten().and_then(|len| usize::try_from(len).ok())
}

/// Inflates all frames of a body.
pub(super) fn inflate(body: &mut RopeReader, output: &mut Output) -> Result<(), Stop> {
    INFLATE.with_borrow_mut(|kept| {
        let context = match kept {
            Some(context) => context,
            None => kept.insert(inflate_context()?),
        };
        context.reset(ResetDirective::SessionOnly).map_err(error)?;
        let result = inflate_frames(context, body, output);
        kept.take_if(|context| context.sizeof() > ZSTD_CONTEXT_KEPT_BYTES_MAX);
        result
    })
}

fn inflate_context() -> io::Result<DCtx<'static>> {
    let mut context = DCtx::try_create().ok_or(io::ErrorKind::OutOfMemory)?;
    context.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX)).map_err(error)?;
    Ok(context)
}

fn inflate_frames(context: &mut DCtx<'_>, body: &mut RopeReader, output: &mut Output) -> Result<(), Stop> {
    // Zero between frames; otherwise a frame is open.
    let mut open = 0;
    while open != 0 || body.has_remaining() {
        let room = output.with_room()?;
        let len_before = room.len();
        let mut input = InBuffer::around(body.chunk());
        let mut inflated = OutBuffer::around_pos(room, len_before);
        open = context.decompress_stream(&mut inflated, &mut input).map_err(error)?;
        let (consumed, produced) = (input.pos(), inflated.pos() - len_before);
        body.advance(consumed);
        if open != 0 && consumed == 0 && produced == 0 && !body.has_remaining() {
            return Err(truncated());
        }
    }
    Ok(())
}

/// Deflates into one frame, which says its size. Levels are 1 to [`ZSTD_LEVEL_MAX`].
pub(super) fn deflate(level: u8, rope: &Rope) -> io::Result<Vec<u8>> {
    DEFLATE.with_borrow_mut(|kept| {
        let context = match kept {
            Some(context) => context,
            None => kept.insert(CCtx::try_create().ok_or(io::ErrorKind::OutOfMemory)?),
        };
        let result = deflate_frame(context, level, rope);
        kept.take_if(|context| context.sizeof() > ZSTD_CONTEXT_KEPT_BYTES_MAX);
        result
    })
}

fn deflate_frame(context: &mut CCtx<'_>, level: u8, rope: &Rope) -> io::Result<Vec<u8>> {
    let level = CParameter::CompressionLevel(level.clamp(1, ZSTD_LEVEL_MAX).into());
    let len = u64::try_from(rope.len()).unwrap_or(u64::MAX);
    context.reset(ResetDirective::SessionOnly).map_err(error)?;
    context.set_parameter(level).map_err(error)?;
    context.set_parameter(CParameter::ChecksumFlag(true)).map_err(error)?;
    // With it the context takes no more memory than these bytes need.
    context.set_pledged_src_size(Some(len)).map_err(error)?;
    let mut deflated = Vec::with_capacity(rope.len() / 4 + ROOM_BYTES);
    for piece in rope.pieces() {
        let mut input = InBuffer::around(piece);
        while input.pos() < piece.len() {
            let mut room = room(&mut deflated);
            context.compress_stream(&mut room, &mut input).map_err(error)?;
        }
    }
    while context.end_stream(&mut room(&mut deflated)).map_err(error)? != 0 {}
    Ok(deflated)
}

/// With less room than this the buffer grows before it is written to.
const ROOM_BYTES: usize = 64;

/// The end of `deflated`, with room.
fn room(deflated: &mut Vec<u8>) -> OutBuffer<'_, Vec<u8>> {
    if deflated.capacity() - deflated.len() < ROOM_BYTES {
        deflated.reserve(deflated.len().max(ROOM_BYTES));
    }
    let len = deflated.len();
    OutBuffer::around_pos(deflated, len)
}

fn error(code: usize) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, get_error_name(code))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    /// What the widest windows, or the largest batches at the highest level, made a context take is not kept.
    #[test]
    fn grown_contexts_are_not_kept() {
        let text: Vec<u8> = (0..)
            .flat_map(|n: u32| n.wrapping_mul(2_654_435_761).to_string().into_bytes())
            .take(4 << 20)
            .collect();
        let rope = |bytes: &[u8]| Rope::new(vec![Bytes::copy_from_slice(bytes)]);
        let inflate_kept = |body: &[u8]| {
            inflate(&mut rope(body).reader(), &mut Output::new(64 << 20, body.len(), None)).unwrap();
            INFLATE.with_borrow(|kept| kept.as_ref().map(DCtx::sizeof))
        };
        let deflate_kept = |level, text: &[u8]| {
            let packed = deflate(level, &rope(text)).unwrap();
            (packed, DEFLATE.with_borrow(|kept| kept.as_ref().map(CCtx::sizeof)))
        };
        let (small, kept) = deflate_kept(1, &text[..240 << 10]);
        assert!(kept.is_some_and(|bytes| bytes <= ZSTD_CONTEXT_KEPT_BYTES_MAX), "{kept:?}");
        let kept = inflate_kept(&small);
        assert!(kept.is_some_and(|bytes| bytes <= ZSTD_CONTEXT_KEPT_BYTES_MAX), "{kept:?}");
        assert_eq!(deflate_kept(ZSTD_LEVEL_MAX, &text).1, None);
        // Says no size and a window of 8 MiB: six blocks of 128 KiB that repeat one byte.
        let wide = [&b"\x28\xb5\x2f\xfd\x00\x68"[..], &b"\x02\0\x10\0".repeat(5), b"\x03\0\x10\0"].concat();
        assert_eq!(inflate_kept(&wide), None);
        assert!(inflate_kept(&small).is_some());
    }
}
