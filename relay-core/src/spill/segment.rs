//! The header of a segment: who it is, and by which version of the format it is read.

use std::io;

use bytes::{Buf, BufMut};

use super::disk::{DiskFile, read_up_to};
use crate::limits::SPILL_HEADER_BYTES_MAX;

/// Bytes of the header of version 1.
pub(super) const HEADER_BYTES: usize = HEADER_LENGTH as usize;

const HEADER_LENGTH: u16 = 40;

/// The version that is written.
pub(super) const VERSION: u16 = 1;

const MAGIC: [u8; 8] = *b"RLSPILL\n";

// Magic, version, length: the same in all versions.
const FIXED_BYTES: usize = 12;

/// What the header of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHead {
    /// The segment's number: its time of creation and the low bits of its nonce, so that numbers sort by age.
    pub id: u64,
    /// When it was made, in milliseconds since 1970.
    pub created_unix_ms: u64,
    /// Random; the checksums of its records' heads begin with it.
    pub nonce: u32,
}

/// Why a file cannot be read as a segment.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// It does not begin as a segment does.
    #[error("not a segment: it does not begin with RLSPILL")]
    NotASegment,
    /// A newer program wrote it.
    #[error("segment of format version {0}, and this program reads version 1: use a newer relayd")]
    Version(u16),
    /// The header is cut off or damaged.
    #[error("the header of the segment is damaged")]
    Header,
    /// It could not be read.
    #[error("cannot read the segment: {0}")]
    Io(#[from] io::Error),
}

impl SegmentHead {
    /// The head of a segment made at `created_unix_ms`.
    pub(super) fn new(created_unix_ms: u64, nonce: u32) -> Self {
        Self { id: created_unix_ms << 20 | u64::from(nonce & 0xF_FFFF), created_unix_ms, nonce }
    }

    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let mut out = bytes.as_mut_slice();
        out.put_slice(&MAGIC);
        out.put_u16_le(VERSION);
        out.put_u16_le(HEADER_LENGTH);
        out.put_u32_le(0);
        out.put_u64_le(self.id);
        out.put_u64_le(self.created_unix_ms);
        out.put_u32_le(self.nonce);
        let (head, crc) = bytes.split_at_mut(HEADER_BYTES - 4);
        crc.copy_from_slice(&crc32c::crc32c(head).to_le_bytes());
        bytes
    }

    /// Reads the header of `file`.
    pub(super) fn read(file: &impl DiskFile) -> Result<Self, SegmentError> {
        let fixed = read_up_to(file, 0, FIXED_BYTES)?;
        if fixed.len() < FIXED_BYTES {
            return Err(SegmentError::Header);
        }
        let mut rest = fixed.strip_prefix(&MAGIC).ok_or(SegmentError::NotASegment)?;
        let (version, len) = (rest.get_u16_le(), rest.get_u16_le());
        if usize::from(len) < FIXED_BYTES + 4 || u64::from(len) > SPILL_HEADER_BYTES_MAX {
            return Err(SegmentError::Header);
        }
        let whole = read_up_to(file, 0, len.into())?;
        let (head, crc) = whole.split_at_checked(usize::from(len) - 4).ok_or(SegmentError::Header)?;
        // Before the version is believed: a damaged one must not look like a newer program's.
        if crc != crc32c::crc32c(head).to_le_bytes() {
            return Err(SegmentError::Header);
        }
        if version != VERSION {
            return Err(SegmentError::Version(version));
        }
        let mut fields =
            head.get(FIXED_BYTES + 4..).filter(|fields| fields.len() == 20).ok_or(SegmentError::Header)?;
        Ok(Self { id: fields.get_u64_le(), created_unix_ms: fields.get_u64_le(), nonce: fields.get_u32_le() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> SegmentHead {
        SegmentHead::new(1_700_000_000_123, 0xDEAD_BEEF)
    }

    /// The format is what was released, not what this code makes of it.
    #[test]
    fn a_header_has_the_documented_bytes() {
        let hex: String = head().encode().iter().map(|byte| format!("{byte:02x}")).collect();
        let expected = "524c5350494c4c0a0100280000000000efbebd8756febc187b68e5cf8b010000efbeaddeb62b5951";
        assert_eq!(hex, expected);
        assert_eq!(SegmentHead::read(&head().encode().to_vec()).unwrap(), head());
    }

    #[test]
    fn a_damaged_header_is_no_newer_version() {
        let bytes = head().encode();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let error = SegmentHead::read(&flipped).unwrap_err();
            assert!(matches!(error, SegmentError::NotASegment | SegmentError::Header), "bit {bit}: {error}");
        }
        for cut in 0..bytes.len() {
            assert!(matches!(SegmentHead::read(&bytes[..cut].to_vec()), Err(SegmentError::Header)));
        }
    }

    #[test]
    fn a_newer_version_is_known_whatever_its_header_holds() {
        for len in [16, 40, 64] {
            let mut newer = head().encode().to_vec();
            newer.resize(len, 7);
            newer[8..12].copy_from_slice(&[3, 0, u8::try_from(len).unwrap(), 0]);
            let crc = crc32c::crc32c(&newer[..len - 4]).to_le_bytes();
            newer[len - 4..].copy_from_slice(&crc);
            assert!(matches!(SegmentHead::read(&newer), Err(SegmentError::Version(3))), "{len}");
        }
    }
}
