//! What is settled, gathered from all segments of a log: a fact never expires, so the union of all of them is true. Must never look into
//! records.

use std::collections::BTreeMap;
use std::ops::Range;

use relay_core::spill::SettledTable;

/// For each segment the sequences of its settled records: ranges that ascend and do not touch.
#[derive(Debug, Default)]
pub(crate) struct Settled(BTreeMap<u64, Vec<Range<u32>>>);

impl Settled {
    /// Takes in what a segment says.
    pub(crate) fn add(&mut self, table: SettledTable) {
        for (segment, ranges) in table {
            let known = self.0.entry(segment).or_default();
            if *known != ranges {
                known.extend(ranges);
                known.sort_by_key(|range| range.start);
                known.dedup_by(|next, before| {
                    let joins = next.start <= before.end;
                    if joins {
                        before.end = before.end.max(next.end);
                    }
                    joins
                });
            }
        }
    }

    pub(crate) fn contains(&self, segment: u64, sequence: u32) -> bool {
        let ranges = self.0.get(&segment).map(Vec::as_slice).unwrap_or_default();
        let at = ranges.partition_point(|range| range.end <= sequence);
        ranges.get(at).is_some_and(|range| range.contains(&sequence))
    }

    /// How many records of a segment are settled.
    pub(crate) fn count(&self, segment: u64) -> u64 {
        let ranges = self.0.get(&segment).map(Vec::as_slice).unwrap_or_default();
        ranges.iter().map(|range| u64::from(range.end - range.start)).sum()
    }
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "tables of one range")]
mod tests {
    use super::*;

    #[test]
    fn facts_are_united() {
        let mut settled = Settled::default();
        settled.add(vec![(1, vec![0..3, 10..12]), (2, vec![5..6])]);
        settled.add(vec![(1, vec![0..3, 10..12])]);
        settled.add(vec![(1, vec![2..5, 11..11 + 1, 20..21])]);
        settled.add(vec![(1, vec![5..10])]);
        assert_eq!(settled.0[&1], [0..12, 20..21]);
        assert_eq!((settled.count(1), settled.count(2), settled.count(3)), (13, 1, 0));
        for (sequence, expected) in [(0, true), (11, true), (12, false), (20, true), (21, false)] {
            assert_eq!(settled.contains(1, sequence), expected, "{sequence}");
        }
        assert!(settled.contains(2, 5) && !settled.contains(2, 4) && !settled.contains(3, 0));
    }
}
