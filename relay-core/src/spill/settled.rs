//! What is settled: ranges of sequences for each segment, and how they are written down. A fact never expires, so whoever reads takes
//! the union of all that is found.

use std::ops::Range;

use bytes::{Buf, BufMut};

/// For each segment of which something is settled its number, and the sequences that are: ascending, apart from each other, none empty.
pub type SettledTable = Vec<(u64, Vec<Range<u32>>)>;

/// A set of sequences as ascending ranges that do not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ranges(Vec<Range<u32>>);

impl Ranges {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn as_slice(&self) -> &[Range<u32>] {
        &self.0
    }

    pub(super) fn contains(&self, sequence: u32) -> bool {
        let at = self.0.partition_point(|range| range.end <= sequence);
        self.0.get(at).is_some_and(|range| range.contains(&sequence))
    }

    pub(super) fn insert(&mut self, new: Range<u32>) {
        if new.is_empty() {
            return;
        }
        // All that the new one touches becomes one with it.
        let from = self.0.partition_point(|range| range.end < new.start);
        let to = self.0.partition_point(|range| range.start <= new.end);
        let touched = self.0.get(from..to).unwrap_or_default();
        let start = touched.first().map_or(new.start, |range| range.start.min(new.start));
        let end = touched.last().map_or(new.end, |range| range.end.max(new.end));
        self.0.splice(from..to, std::iter::once(start..end));
    }
}

/// Appends the table: for each segment its number (u64), the number of ranges (u32), the ranges (u32 from, u32 to).
pub(super) fn append_table<'a>(out: &mut Vec<u8>, table: impl Iterator<Item = (u64, &'a [Range<u32>])>) {
    for (segment, ranges) in table {
        // A segment has fewer records than 32 bits count, so it has fewer ranges.
        let Ok(count) = u32::try_from(ranges.len()) else { continue };
        out.put_u64_le(segment);
        out.put_u32_le(count);
        for range in ranges {
            out.put_u32_le(range.start);
            out.put_u32_le(range.end);
        }
    }
}

/// The table that `bytes` hold, if they hold one and nothing else.
pub(super) fn read_table(mut bytes: &[u8]) -> Option<SettledTable> {
    let mut table = SettledTable::new();
    while bytes.has_remaining() {
        let segment = bytes.try_get_u64_le().ok()?;
        let count = bytes.try_get_u32_le().ok()? as usize;
        if count > bytes.remaining() / 8 {
            return None;
        }
        let mut ranges = Vec::with_capacity(count);
        let mut end = None;
        for _ in 0..count {
            let range = bytes.try_get_u32_le().ok()?..bytes.try_get_u32_le().ok()?;
            if range.is_empty() || end.is_some_and(|end| range.start <= end) {
                return None;
            }
            end = Some(range.end);
            ranges.push(range);
        }
        table.push((segment, ranges));
    }
    Some(table)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ranges_are_the_set_that_was_put_in() {
        let mut state = 7u32;
        for _ in 0..200 {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for _ in 0..20 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let (start, len) = ((state >> 8) % 40, (state >> 24) % 6);
                ranges.insert(start..start + len);
                set.extend(start..start + len);
                assert!((0..50).all(|at| ranges.contains(at) == set.contains(&at)), "{ranges:?} {set:?}");
                assert!(ranges.as_slice().windows(2).all(|pair| pair[0].end < pair[1].start), "{ranges:?}");
            }
        }
    }

    #[test]
    fn a_table_is_read_back_and_nothing_else_is() {
        let table: SettledTable = vec![(9, vec![0..3, 5..6]), (u64::MAX, vec![7..8, 9..u32::MAX])];
        let mut bytes = Vec::new();
        append_table(&mut bytes, table.iter().map(|(segment, ranges)| (*segment, ranges.as_slice())));
        assert_eq!(read_table(&bytes), Some(table));
        // Whole entries are a table, whatever else is cut is none.
        let whole = [0, 12 + 16];
        for cut in 0..bytes.len() {
            assert_eq!(read_table(&bytes[..cut]).is_some(), whole.contains(&cut), "{cut}");
        }
        for (from, to, next) in [(3u32, 3u32, 9u32), (4, 3, 9), (0, 9, 9), (0, 9, 8)] {
            let mut bad = Vec::new();
            append_table(&mut bad, [(1, &[from..to, next..10][..])].into_iter());
            assert_eq!(read_table(&bad), None, "{from}..{to}, {next}..10");
        }
        let hostile = [&1u64.to_le_bytes()[..], &u32::MAX.to_le_bytes(), &[0; 32]].concat();
        assert_eq!(read_table(&hostile), None);
    }
}
