//! The footer of a segment that is finished: what is in it, so that nobody has to read it to know, and what is settled.

use std::ops::Range;

use bytes::{Buf, BufMut};

use super::disk::{DiskFile, read_up_to};
use super::record::{HEAD_BYTES, Head, Kind};
use super::segment::{HEADER_BYTES, SegmentHead};
use super::settled::{SettledTable, append_table, read_table};

// The summary before the table, and the length of the whole record behind it.
const SUMMARY_BYTES: usize = 44;
const LENGTH_BYTES: usize = 4;

/// What a segment holds, settled or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Records of data.
    pub records: u32,
    /// Their items, those of requests that were never opened left out.
    pub items: u64,
    /// Requests in them that were never opened.
    pub unopened: u64,
    /// Bytes of them, heads included.
    pub data_bytes: u64,
    /// The oldest arrival of a request, in milliseconds since 1970; 0 without records.
    pub oldest_unix_ms: u64,
    /// The newest such time of a record.
    pub newest_unix_ms: u64,
}

impl Summary {
    /// Counts one more record of data.
    pub(super) fn add(&mut self, head: &Head) {
        self.oldest_unix_ms =
            if self.records == 0 { head.unix_ms } else { self.oldest_unix_ms.min(head.unix_ms) };
        self.newest_unix_ms = self.newest_unix_ms.max(head.unix_ms);
        self.records = self.records.saturating_add(1);
        let items = if head.encoding.is_some() { &mut self.unopened } else { &mut self.items };
        *items = items.saturating_add(head.items);
        self.data_bytes = self.data_bytes.saturating_add(head.bytes());
    }
}

/// The payload of a footer.
pub(super) fn footer<'a>(
    summary: &Summary,
    table: impl Iterator<Item = (u64, &'a [Range<u32>])>,
) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(256);
    out.put_u32_le(summary.records);
    for count in
        [summary.items, summary.unopened, summary.data_bytes, summary.oldest_unix_ms, summary.newest_unix_ms]
    {
        out.put_u64_le(count);
    }
    append_table(&mut out, table);
    out.put_u32_le(u32::try_from(HEAD_BYTES + out.len() + LENGTH_BYTES).ok()?);
    Some(out)
}

/// What the payload of a footer says.
pub(super) fn read_footer(payload: &[u8]) -> Option<(Summary, SettledTable)> {
    let (mut fields, rest) = payload.split_at_checked(SUMMARY_BYTES)?;
    let (table, mut length) = rest.split_at_checked(rest.len().checked_sub(LENGTH_BYTES)?)?;
    if length.get_u32_le() as usize != HEAD_BYTES + payload.len() {
        return None;
    }
    let summary = Summary {
        records: fields.get_u32_le(),
        items: fields.get_u64_le(),
        unopened: fields.get_u64_le(),
        data_bytes: fields.get_u64_le(),
        oldest_unix_ms: fields.get_u64_le(),
        newest_unix_ms: fields.get_u64_le(),
    };
    Some((summary, read_table(table)?))
}

/// The footer that `file`, of `bytes`, ends with. Its last four bytes say how long it is.
pub(super) fn find_footer(
    file: &impl DiskFile,
    segment: &SegmentHead,
    bytes: u64,
) -> std::io::Result<Option<(Summary, SettledTable)>> {
    let least = (HEAD_BYTES + SUMMARY_BYTES + LENGTH_BYTES) as u64;
    let room = bytes.saturating_sub(HEADER_BYTES as u64);
    if room < least {
        return Ok(None);
    }
    let length = read_up_to(file, bytes - LENGTH_BYTES as u64, LENGTH_BYTES)?;
    let length = u64::from((&length[..]).try_get_u32_le().unwrap_or_default());
    if length < least || length > room {
        return Ok(None);
    }
    let at = bytes - length;
    // The head first: a length that damage has made must not reserve memory.
    let head = read_up_to(file, at, HEAD_BYTES)?;
    let Some(head) = Head::decode(&head, segment.nonce, at) else { return Ok(None) };
    if head.kind != Kind::Footer || head.bytes() != length {
        return Ok(None);
    }
    let Ok(len) = usize::try_from(head.body_bytes()) else { return Ok(None) };
    let body = read_up_to(file, at + HEAD_BYTES as u64, len)?;
    let is_sound = head.parts_bytes == 0 && head.prove_sum(&body).is_ok();
    Ok(is_sound.then(|| read_footer(&body)).flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUMMARY: Summary = Summary {
        records: 2,
        items: 30,
        unopened: 4,
        data_bytes: 500,
        oldest_unix_ms: 1_700_000_000_000,
        newest_unix_ms: 1_700_000_000_999,
    };

    fn table() -> SettledTable {
        vec![(5, vec![0..2, 4..9]), (7, std::iter::once(1..2).collect())]
    }

    /// A segment that holds nothing but its footer, and where that begins.
    fn segment() -> (SegmentHead, Vec<u8>, usize) {
        let segment = SegmentHead::new(1_700_000_000_123, 0xDEAD_BEEF);
        let table = table();
        let payload = footer(&SUMMARY, table.iter().map(|(id, ranges)| (*id, &ranges[..]))).unwrap();
        let head = Head::of_table(Kind::Footer, &payload, (0, 1_700_000_001_000)).unwrap();
        let before = [&segment.encode()[..], &[0x5a; 100]].concat();
        let at = before.len();
        (segment, [&before[..], &head.encode(segment.nonce, at as u64), &payload].concat(), at)
    }

    #[test]
    fn a_footer_is_found_at_the_end_and_nowhere_else() {
        let (segment, bytes, at) = segment();
        let find = |bytes: &[u8]| find_footer(&bytes.to_vec(), &segment, bytes.len() as u64).unwrap();
        assert_eq!(find(&bytes), Some((SUMMARY, table())));
        for cut in 0..bytes.len() {
            assert_eq!(find(&bytes[..cut]), None, "{cut}");
        }
        assert_eq!(find(&[&bytes[..], &[0]].concat()), None);
        for bit in at * 8..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(find(&flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn a_hostile_length_is_not_followed() {
        let (segment, mut bytes, _) = segment();
        for length in [0u32, 1, 107, 1 << 20, u32::MAX] {
            let at = bytes.len() - 4;
            bytes[at..].copy_from_slice(&length.to_le_bytes());
            assert_eq!(find_footer(&bytes, &segment, bytes.len() as u64).unwrap(), None, "{length}");
        }
    }
}
