//! LZ4's frame format (<https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md>) around blocks that the `lz4_flex` crate
//! reads and writes. Frames are read here: a decoder that takes the end of its bytes for the end of a frame does not see truncation,
//! and one that inflates into buffers of its own needs 16 MiB for what a header of 7 bytes says.

use std::hash::Hasher;
use std::io::{self, Write};

use bytes::{Buf, Bytes};
use lz4_flex::block::{DecompressError, decompress_into, decompress_into_with_dict};
use lz4_flex::frame::{BlockSize, FrameEncoder, FrameInfo};
use twox_hash::XxHash32;

use super::output::{Output, Stop, invalid, truncated};
use crate::batch::{Rope, RopeReader};

const MAGIC: u32 = 0x184d_2204;
/// Any of sixteen.
const MAGIC_SKIPPABLE: u32 = 0x184d_2a50;

/// The flags of a frame's descriptor.
const VERSION: u8 = 0xc0;
const VERSION_1: u8 = 0x40;
const INDEPENDENT: u8 = 1 << 5;
const BLOCK_SUMS: u8 = 1 << 4;
const CONTENT_SIZE: u8 = 1 << 3;
const CONTENT_SUM: u8 = 1 << 2;
const RESERVED: u8 = 1 << 1;
const DICTIONARY: u8 = 1;

/// A block's length has this bit if the block is stored as it is.
const STORED: u32 = 1 << 31;

/// How far back a block may refer, in bytes, and with that into the blocks before it.
const WINDOW_BYTES: usize = 64 << 10;

/// What a frame's descriptor says.
#[derive(Clone, Copy, Debug)]
struct Descriptor {
    flags: u8,
    block_bytes_max: usize,
    content_bytes: Option<u64>,
}

impl Descriptor {
    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Inflates all frames of a body.
pub(super) fn inflate(body: &mut RopeReader, output: &mut Output) -> Result<(), Stop> {
    while body.has_remaining() {
        let magic = number(body)?;
        if magic == MAGIC {
            inflate_frame(body, output)?;
        } else if magic & !0xf == MAGIC_SKIPPABLE {
            let len = size(number(body)?);
            if len > body.remaining() {
                return Err(truncated());
            }
            body.advance(len);
        } else {
            return Err(invalid("no LZ4 frame"));
        }
    }
    Ok(())
}

fn inflate_frame(body: &mut RopeReader, output: &mut Output) -> Result<(), Stop> {
    let descriptor = descriptor(body)?;
    let start = output.len();
    let mut sum = XxHash32::with_seed(0);
    loop {
        let head = number(body)?;
        if head == 0 {
            break;
        }
        let len = size(head & !STORED);
        if len > descriptor.block_bytes_max {
            return Err(invalid("block larger than its frame allows"));
        }
        let block = take(body, len)?;
        if descriptor.has(BLOCK_SUMS) && number(body)? != XxHash32::oneshot(0, &block) {
            return Err(invalid("wrong sum of a block"));
        }
        let from = output.len();
        if head & STORED != 0 {
            output.append(&block)?;
        } else {
            let history = if descriptor.has(INDEPENDENT) { from } else { start };
            inflate_block(&block, output, history, descriptor.block_bytes_max)?;
        }
        if descriptor.has(CONTENT_SUM) {
            sum.write(output.since(from));
        }
    }
    let len = u64::try_from(output.len() - start).unwrap_or(u64::MAX);
    if descriptor.content_bytes.is_some_and(|said| said != len) {
        return Err(invalid("wrong length"));
    }
    if descriptor.has(CONTENT_SUM) && number(body)? != sum.finish_32() {
        return Err(invalid("wrong sum"));
    }
    Ok(())
}

/// Reads a frame's descriptor, after the magic number.
fn descriptor(body: &mut RopeReader) -> Result<Descriptor, Stop> {
    let [flags, block] = take_array(body)?;
    if flags & VERSION != VERSION_1 || flags & RESERVED != 0 || block & 0x8f != 0 {
        return Err(invalid("unknown version or reserved bits"));
    }
    if flags & DICTIONARY != 0 {
        return Err(invalid("needs a dictionary"));
    }
    // 4 is 64 KiB, and each next one four times as much.
    let block_bytes_max = match block >> 4 {
        log @ 4..=7 => 1 << (8 + 2 * log),
        _ => return Err(invalid("unknown size of blocks")),
    };
    let mut hashed = vec![flags, block];
    let mut content_bytes = None;
    if flags & CONTENT_SIZE != 0 {
        let said: [u8; 8] = take_array(body)?;
        hashed.extend_from_slice(&said);
        content_bytes = Some(u64::from_le_bytes(said));
    }
    let [sum] = take_array(body)?;
    // The second byte of the hash, in the order of the format.
    if XxHash32::oneshot(0, &hashed).to_le_bytes()[1] != sum {
        return Err(invalid("wrong sum of the header"));
    }
    Ok(Descriptor { flags, block_bytes_max, content_bytes })
}

/// What a block may inflate to, as times of its size, one after the other until it fits: few need more than the first, and
/// the format allows 255.
const ROOMS: [usize; 3] = [8, 64, 256];

/// Inflates one block, which may refer to what came from `history` on.
fn inflate_block(block: &[u8], output: &mut Output, history: usize, bytes_max: usize) -> Result<(), Stop> {
    let from = output.len();
    for times in ROOMS {
        let room = block.len().saturating_mul(times).min(bytes_max);
        let cut = room > output.left();
        let bytes = output.with_zeros(room)?;
        let (before, room) = bytes.split_at_mut(from);
        let window = before.get(history.max(from.saturating_sub(WINDOW_BYTES))..).unwrap_or_default();
        let inflated = match window {
            [] => decompress_into(block, room),
            window => decompress_into_with_dict(block, room, window),
        };
        match inflated {
            Ok(len) => {
                bytes.truncate(from + len);
                return Ok(());
            }
            Err(DecompressError::OutputTooSmall { .. }) if cut => return Err(Stop::TooLarge),
            Err(DecompressError::OutputTooSmall { .. }) => bytes.truncate(from),
            Err(error) => return Err(Stop::Invalid(io::Error::new(io::ErrorKind::InvalidData, error))),
        }
    }
    Err(invalid("block inflates to more than its frame allows"))
}

fn take_array<const LEN: usize>(body: &mut RopeReader) -> Result<[u8; LEN], Stop> {
    let mut bytes = [0; LEN];
    body.try_copy_to_slice(&mut bytes).map_err(|_| truncated())?;
    Ok(bytes)
}

fn number(body: &mut RopeReader) -> Result<u32, Stop> {
    take_array(body).map(u32::from_le_bytes)
}

fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The next `len` bytes: the body's own memory where they lie in one piece.
fn take(body: &mut RopeReader, len: usize) -> Result<Bytes, Stop> {
    if len > body.remaining() {
        return Err(truncated());
    }
    if len <= body.chunk().len() {
        return Ok(body.copy_to_bytes(len));
    }
    let mut joined = vec![0; len];
    body.copy_to_slice(&mut joined);
    Ok(joined.into())
}

/// Deflates into one frame, with a sum of its content as the Collector writes it.
pub(super) fn deflate(rope: &Rope) -> io::Result<Vec<u8>> {
    let block_size = if rope.len() > 64 << 10 { BlockSize::Max256KB } else { BlockSize::Max64KB };
    let frame = FrameInfo::new().block_size(block_size).content_checksum(true);
    let mut encoder = FrameEncoder::with_frame_info(frame, Vec::with_capacity(rope.len() / 2));
    for piece in rope.pieces() {
        encoder.write_all(piece)?;
    }
    encoder.finish().map_err(io::Error::other)
}
