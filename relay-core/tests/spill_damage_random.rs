//! Larger segments under any damage: bits, zeroed pages, cuts, blocks of other segments, blocks of its own at the wrong place. What is
//! whole is found, byte for byte; what is not is never given as if it were.

#![cfg(test)]
#![allow(clippy::cast_possible_truncation, reason = "sizes here are small and our own")]

mod spill_support;

use std::ops::Range;

use proptest::prelude::*;
use spill_support::file_tree::PAGE_BYTES;
use spill_support::seen::{Seen, of, read};
use testkit::generate::Xorshift;
use testkit::spill_format::{HEADER_BYTES, Plain, Segment, Table};

#[derive(Clone, Debug)]
enum Damage {
    Bit(usize),
    /// Bytes of one value.
    Fill(usize, usize, u8),
    /// A page of zeros, as a hole.
    Page(usize),
    /// A block of another segment, at the place that it has there.
    Foreign(usize, usize),
    /// A block of its own, at the place of another: a write that went astray, or was done twice.
    Own(usize, usize, usize),
    Cut(usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = 0_usize..1 << 20;
    prop_oneof![
        at.clone().prop_map(Damage::Bit),
        (at.clone(), 1_usize..3_000, any::<u8>()).prop_map(|(at, len, byte)| Damage::Fill(at, len, byte)),
        at.clone().prop_map(Damage::Page),
        (at.clone(), 1_usize..9_000).prop_map(|(at, len)| Damage::Foreign(at, len)),
        (at.clone(), at.clone(), 1_usize..9_000).prop_map(|(from, to, len)| Damage::Own(from, to, len)),
        at.prop_map(Damage::Cut),
    ]
}

/// A segment of `count` records; its tables are those that it says.
fn segment(nonce: u32, count: usize, seed: u64) -> (Segment, Vec<(u32, Table)>) {
    let mut random = Xorshift::new(seed);
    let mut segment = Segment::new(1_800_000_000_000, nonce);
    let mut tables = Vec::new();
    for _ in 0..count {
        if random.below(5) == 0 {
            let from = random.below(50) as u32;
            let table = vec![(random.next_u64(), vec![from..from + 1, from + 3..from + 9])];
            tables.push((segment.places.len() as u32, table.clone()));
            segment.settled(1, &table);
            continue;
        }
        let longest = *random.pick(&[1, 30, 300, 5_000]);
        let mut parts = Vec::new();
        for _ in 0..1 + random.below(4) {
            parts.push((random.below(longest + 1), random.next_u64() >> random.pick(&[8, 30, 60])));
        }
        let bytes = parts.iter().map(|(bytes, _)| bytes).sum();
        let payload = (0..bytes).map(|_| random.next_u64() as u8).collect();
        let (signal, encoding) = (random.below(4) as u8, random.below(7) as u8);
        segment.data(&Plain { signal, encoding, unix_ms: random.next_u64(), parts, payload });
    }
    if random.below(2) == 0 {
        tables.push((segment.places.len() as u32, vec![]));
        segment.footer(2, &vec![]);
    }
    (segment, tables)
}

/// Where what was seen lies.
fn range(seen: &Seen, segment: &Segment) -> Range<u64> {
    let place = |offset: u64| {
        let place = segment.places.iter().find(|place| place.head.start as u64 == offset);
        let place = place.unwrap_or_else(|| panic!("nothing was written at {offset}")).whole();
        place.start as u64..place.end as u64
    };
    match seen {
        Seen::Data(offset, ..) | Seen::Settled(offset, _) | Seen::Footer(offset, ..) => place(*offset),
        Seen::Corrupt { offset, bytes, .. } | Seen::Torn { offset, bytes } => *offset..offset + bytes,
    }
}

fn is_sound(seen: &Seen) -> bool {
    !matches!(seen, Seen::Corrupt { .. } | Seen::Torn { .. })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Found is exactly what is whole, and all that is said tiles the file.
    #[test]
    fn what_is_whole_is_found(
        nonce in any::<u32>(),
        count in 1_usize..60,
        seed in any::<u64>(),
        damages in prop::collection::vec(damage(), 1..6),
    ) {
        let (segment, tables) = segment(nonce, count, seed);
        let (other, _) = self::segment(nonce ^ 1, count, seed);
        let mut bytes = segment.bytes.clone();
        for damage in damages {
            let body = bytes.len() - HEADER_BYTES;
            let at = |at: usize| HEADER_BYTES + at % body.max(1);
            match damage {
                _ if body == 0 => {}
                Damage::Bit(bit) => bytes[at(bit / 8)] ^= 1 << (bit % 8),
                Damage::Fill(from, len, byte) => bytes[at(from)..].iter_mut().take(len).for_each(|old| *old = byte),
                Damage::Page(page) => {
                    let page = at(page) / PAGE_BYTES * PAGE_BYTES;
                    let from = page.max(HEADER_BYTES);
                    bytes[from..].iter_mut().take(page + PAGE_BYTES - from).for_each(|old| *old = 0);
                }
                Damage::Foreign(from, len) => {
                    let foreign = other.bytes[at(from)..].iter().take(len);
                    bytes[at(from)..].iter_mut().zip(foreign).for_each(|(old, new)| *old = *new);
                }
                Damage::Own(from, to, len) => {
                    // Most often whole records where others should begin.
                    let head = |at: usize| segment.places[at % segment.places.len()].head.start;
                    let (from, to) = if len % 3 == 0 { (at(from), at(to)) } else { (head(from), head(to)) };
                    let block: Vec<u8> = segment.bytes[from..].iter().copied().take(len).collect();
                    let there = bytes.iter_mut().skip(to);
                    there.zip(block).for_each(|(old, new)| *old = new);
                }
                Damage::Cut(to) => bytes.truncate(at(to)),
            }
        }
        let seen = read(&bytes, None).unwrap();
        let whole = segment.places.iter().zip(of(&segment, &tables)).filter(|(place, _)| {
            bytes.get(place.whole()) == segment.bytes.get(place.whole())
        });
        let wanted: Vec<Seen> = whole.map(|(_, seen)| seen).collect();
        let found: Vec<Seen> = seen.iter().filter(|seen| is_sound(seen)).cloned().collect();
        prop_assert_eq!(found, wanted);
        let mut end = HEADER_BYTES as u64;
        for seen in &seen {
            let range = range(seen, &segment);
            prop_assert_eq!(range.start, end);
            end = range.end;
        }
        prop_assert_eq!(end, bytes.len() as u64);
    }
}
