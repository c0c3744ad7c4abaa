//! A record: its head, the table of its parts, its payload; written from the memory that it is in, and proven when it is read.

#[cfg(test)]
mod tests;

use std::ops::Range;

use bytes::{Buf, BufMut, Bytes};

use crate::batch::{Encoding, Origin, Part, Rope};
use crate::limits::{SPILL_PARTS_BYTES_MAX, SPILL_PAYLOAD_BYTES_MAX};
use crate::otlp::Signal;
use crate::wire::{append_varint, read_varint};

/// Bytes of the head of a record.
pub(super) const HEAD_BYTES: usize = 56;

/// What a head begins with; resynchronizing looks for it.
pub(super) const MARKER: [u8; 4] = 0xD1A7_5EC5_u32.to_le_bytes();

/// Where a record is: which segment, and which of its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId {
    /// The segment's number.
    pub segment: u64,
    /// The record's index in it, over all kinds of records.
    pub sequence: u32,
}

/// A batch that is to be stored.
#[derive(Clone, Debug)]
pub struct NewRecord {
    /// Whose items it holds.
    pub signal: Signal,
    /// How its bytes are encoded, if its requests were never opened; its items are requests then.
    pub encoding: Option<Encoding>,
    /// Items of all parts.
    pub items: u64,
    /// When its oldest request arrived, in milliseconds since 1970.
    pub unix_ms: u64,
    /// The requests it was merged from; they add up to the payload and the items.
    pub parts: Vec<Part>,
    /// Its bytes.
    pub payload: Rope,
}

/// A batch that was read back.
#[derive(Clone, Debug)]
pub struct Record {
    /// Where it is.
    pub id: RecordId,
    /// Whose items it holds.
    pub signal: Signal,
    /// How its bytes are encoded, if its requests were never opened; its items are requests then.
    pub encoding: Option<Encoding>,
    /// Items of all parts.
    pub items: u64,
    /// When its oldest request arrived, in milliseconds since 1970.
    pub unix_ms: u64,
    /// The requests it was merged from; who sent them is not written down.
    pub parts: Vec<Part>,
    /// Its bytes: a slice of what was read at once with it.
    pub payload: Bytes,
}

/// What is wrong with bytes that should be a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Corruption {
    /// No head with a valid checksum and the next sequence stands there.
    #[error("no valid head")]
    Head,
    /// Its head is sound, the checksum of its parts and payload is not theirs.
    #[error("the checksum of the payload does not match")]
    Payload,
    /// Its checksums are right and its parts do not add up to its payload and items.
    #[error("its parts do not add up")]
    Parts,
    /// Its checksums are right and what is settled, or the summary, cannot be read.
    #[error("its table cannot be read")]
    Table,
}

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Data = 1,
    Settled = 2,
    Footer = 3,
}

/// The head of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) signal: Signal,
    pub(super) encoding: Option<Encoding>,
    pub(super) parts_bytes: u32,
    pub(super) payload_bytes: u32,
    // Of the table of parts and the payload.
    pub(super) body_crc: u32,
    pub(super) sequence: u32,
    pub(super) unix_ms: u64,
    pub(super) items: u64,
    pub(super) parts: u32,
}

impl Head {
    /// The head of a record that holds a table.
    pub(super) fn of_table(kind: Kind, payload: &[u8], (sequence, unix_ms): (u32, u64)) -> Option<Self> {
        Some(Self {
            kind,
            signal: Signal::default(),
            encoding: None,
            parts_bytes: 0,
            payload_bytes: u32::try_from(payload.len()).ok()?,
            body_crc: crc32c::crc32c(payload),
            sequence,
            unix_ms,
            items: 0,
            parts: 0,
        })
    }

    /// The head of `record`, whose table of parts is `table`. `None` if it is too large, or its parts do not add up.
    pub(super) fn of_record(record: &NewRecord, table: &[u8], sequence: u32) -> Option<Self> {
        let (bytes, items) = sum(&record.parts)?;
        let adds_up = bytes == record.payload.len() && items == record.items;
        let fits = bytes <= SPILL_PAYLOAD_BYTES_MAX && table.len() <= SPILL_PARTS_BYTES_MAX;
        let pieces = record.payload.pieces().iter();
        (adds_up && fits).then_some(Self {
            kind: Kind::Data,
            signal: record.signal,
            encoding: record.encoding,
            parts_bytes: u32::try_from(table.len()).ok()?,
            payload_bytes: u32::try_from(bytes).ok()?,
            body_crc: pieces.fold(crc32c::crc32c(table), |crc, piece| crc32c::crc32c_append(crc, piece)),
            sequence,
            unix_ms: record.unix_ms,
            items,
            parts: u32::try_from(record.parts.len()).ok()?,
        })
    }

    /// Bytes of the parts and the payload.
    pub(super) fn body_bytes(&self) -> u64 {
        u64::from(self.parts_bytes) + u64::from(self.payload_bytes)
    }

    /// Bytes of the whole record.
    pub(super) fn bytes(&self) -> u64 {
        HEAD_BYTES as u64 + self.body_bytes()
    }

    pub(super) fn encode(&self, nonce: u32, offset: u64) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        let mut out = bytes.as_mut_slice();
        out.put_slice(&MARKER);
        out.put_u32_le(0);
        out.put_u8(self.kind as u8);
        out.put_u8(number_of_signal(self.signal));
        out.put_u8(self.encoding.map_or(0, number_of_encoding));
        out.put_u8(0);
        out.put_u32_le(self.parts_bytes);
        out.put_u32_le(self.payload_bytes);
        out.put_u32_le(self.body_crc);
        out.put_u64_le(self.sequence.into());
        out.put_u64_le(self.unix_ms);
        out.put_u64_le(self.items);
        out.put_u32_le(self.parts);
        out.put_u32_le(0);
        let crc = head_crc(bytes.get(8..).unwrap_or_default(), nonce, offset);
        if let Some(place) = bytes.get_mut(4..8) {
            place.copy_from_slice(&crc.to_le_bytes());
        }
        bytes
    }

    /// The head that `bytes`, which stand at `offset`, begin with, if it is one of the segment with `nonce`.
    pub(super) fn decode(bytes: &[u8], nonce: u32, offset: u64) -> Option<Self> {
        let mut fields = bytes.get(..HEAD_BYTES)?.strip_prefix(&MARKER)?;
        // What is cheap to see comes before the checksum.
        let crc = fields.get_u32_le();
        let summed = fields;
        let kind = match fields.get_u8() {
            1 => Kind::Data,
            2 => Kind::Settled,
            3 => Kind::Footer,
            _ => return None,
        };
        let signal = fields.get_u8();
        let signal = Signal::ALL.into_iter().find(|known| number_of_signal(*known) == signal)?;
        let encoding = encoding_of_number(fields.get_u8())?;
        let flags = fields.get_u8();
        let (parts_bytes, payload_bytes) = (fields.get_u32_le(), fields.get_u32_le());
        let body_crc = fields.get_u32_le();
        let sequence = u32::try_from(fields.get_u64_le()).ok()?;
        let (unix_ms, items) = (fields.get_u64_le(), fields.get_u64_le());
        let (parts, reserved) = (fields.get_u32_le(), fields.get_u32_le());
        let fits = parts_bytes as usize <= SPILL_PARTS_BYTES_MAX
            && payload_bytes as usize <= SPILL_PAYLOAD_BYTES_MAX;
        let is_sound = head_crc(summed, nonce, offset) == crc;
        if !is_sound || !fits || flags != 0 || reserved != 0 || sequence == u32::MAX {
            return None;
        }
        Some(Self {
            kind,
            signal,
            encoding,
            parts_bytes,
            payload_bytes,
            body_crc,
            sequence,
            unix_ms,
            items,
            parts,
        })
    }

    /// What `body` (parts and payload), which [`Head::prove_sum`] has passed, holds.
    pub(super) fn record(&self, segment: u64, body: &Bytes) -> Result<Record, Corruption> {
        let parts = read_parts(body.get(..self.parts_bytes as usize).unwrap_or_default(), self.parts);
        let parts = parts
            .filter(|parts| sum(parts) == Some((self.payload_bytes as usize, self.items)))
            .ok_or(Corruption::Parts)?;
        Ok(Record {
            id: RecordId { segment, sequence: self.sequence },
            signal: self.signal,
            encoding: self.encoding,
            items: self.items,
            unix_ms: self.unix_ms,
            parts,
            payload: body.slice(self.payload_range()),
        })
    }

    /// Whether `body` is the one that was written.
    pub(super) fn prove_sum(&self, body: &Bytes) -> Result<(), Corruption> {
        let is_whole = body.len() as u64 == self.body_bytes() && crc32c::crc32c(body) == self.body_crc;
        is_whole.then_some(()).ok_or(Corruption::Payload)
    }

    fn payload_range(&self) -> Range<usize> {
        self.parts_bytes as usize..self.parts_bytes as usize + self.payload_bytes as usize
    }
}

/// The checksum of a head: of the segment's nonce, of where in the file the record stands, and of what follows the checksum. A block of
/// another segment, of an older file in the same place, or of another place in this file, is no record here.
fn head_crc(summed: &[u8], nonce: u32, offset: u64) -> u32 {
    let place = crc32c::crc32c_append(crc32c::crc32c(&nonce.to_le_bytes()), &offset.to_le_bytes());
    crc32c::crc32c_append(place, summed)
}

/// Bytes and items of all parts.
fn sum(parts: &[Part]) -> Option<(usize, u64)> {
    parts.iter().try_fold((0usize, 0u64), |(bytes, items), part| {
        Some((bytes.checked_add(part.bytes)?, items.checked_add(part.items)?))
    })
}

/// The table of parts: for each its bytes and its items as varints.
pub(super) fn parts_table(parts: &[Part]) -> Vec<u8> {
    let mut table = Vec::with_capacity(parts.len() * 4);
    for part in parts {
        append_varint(&mut table, part.bytes as u64);
        append_varint(&mut table, part.items);
    }
    table
}

fn read_parts(mut table: &[u8], count: u32) -> Option<Vec<Part>> {
    // Two bytes are the least that a part takes: a hostile number reserves no memory.
    let count = usize::try_from(count).ok().filter(|count| *count <= table.len() / 2)?;
    let mut parts = Vec::with_capacity(count);
    for _ in 0..count {
        let bytes = usize::try_from(take_varint(&mut table)?).ok()?;
        parts.push(Part { bytes, items: take_varint(&mut table)?, origin: Origin::default() });
    }
    table.is_empty().then_some(parts)
}

fn take_varint(from: &mut &[u8]) -> Option<u64> {
    let (value, len) = read_varint(from).ok()?;
    *from = from.get(len..)?;
    Some(value)
}

/// The number of a signal on disk. Never changed, never used again for another.
fn number_of_signal(signal: Signal) -> u8 {
    match signal {
        Signal::Traces => 0,
        Signal::Metrics => 1,
        Signal::Logs => 2,
        Signal::Profiles => 3,
    }
}

/// The number of an encoding on disk. Never changed, never used again for another.
fn number_of_encoding(encoding: Encoding) -> u8 {
    match encoding {
        Encoding::Gzip => 1,
        Encoding::Zlib => 2,
        Encoding::Zstd => 3,
        Encoding::Snappy => 4,
        Encoding::SnappyFramed => 5,
        Encoding::Lz4 => 6,
    }
}

fn encoding_of_number(number: u8) -> Option<Option<Encoding>> {
    Some(match number {
        0 => None,
        1 => Some(Encoding::Gzip),
        2 => Some(Encoding::Zlib),
        3 => Some(Encoding::Zstd),
        4 => Some(Encoding::Snappy),
        5 => Some(Encoding::SnappyFramed),
        6 => Some(Encoding::Lz4),
        _ => return None,
    })
}
