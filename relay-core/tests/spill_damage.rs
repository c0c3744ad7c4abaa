//! Every cut and every flipped bit of a small segment, as its reader sees them: exactly the record that was hit is missing, and what
//! is missing is said.

#![cfg(test)]

mod spill_support;

use relay_core::limits::SPILL_READ_BYTES;
use relay_core::spill::{Corruption, SegmentError};
use spill_support::seen::{Seen, of, read};
use spill_support::small::{segments, tables};
use testkit::spill_format::{HEAD_BYTES, HEADER_BYTES, Kind, Plain, Segment};

fn name(segment: &Segment) -> String {
    segment.path("".as_ref()).to_str().unwrap().to_owned()
}

#[test]
fn sound_segments_are_read_as_they_were_written() {
    for (index, segment) in segments().iter().enumerate() {
        let wanted = of(segment, &tables(index));
        assert_eq!(wanted.len(), 7);
        assert_eq!(read(&segment.bytes, None).unwrap(), wanted);
    }
}

/// What is whole before the cut is there; the rest is torn.
#[test]
fn every_cut() {
    for (index, segment) in segments().iter().enumerate() {
        let whole = of(segment, &tables(index));
        for cut in 0..=segment.bytes.len() {
            let bytes = &segment.bytes[..cut];
            if cut < HEADER_BYTES {
                assert!(matches!(read(bytes, None), Err(SegmentError::Header)), "cut at {cut}");
                // The name knows the segment; there is nothing in it.
                assert_eq!(read(bytes, Some(&name(segment))).unwrap(), [], "cut at {cut}");
                continue;
            }
            let mut wanted: Vec<Seen> = Vec::new();
            for (place, seen) in segment.places.iter().zip(&whole) {
                let (offset, end) = (place.whole().start, place.whole().end);
                if end <= cut {
                    wanted.push(seen.clone());
                } else if offset < cut {
                    wanted.push(Seen::Torn { offset: offset as u64, bytes: (cut - offset) as u64 });
                }
            }
            assert_eq!(read(bytes, None).unwrap(), wanted, "cut at {cut}");
        }
    }
}

/// The record in which the bit lies is missing, and said to be; every other one is there. Without a valid head after it, damage cannot be
/// told from what was never finished.
#[test]
fn every_flipped_bit() {
    for (index, segment) in segments().iter().enumerate() {
        let whole = of(segment, &tables(index));
        for bit in 0..segment.bytes.len() * 8 {
            let mut bytes = segment.bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            if bit / 8 < HEADER_BYTES {
                let error = read(&bytes, None).unwrap_err();
                let is_magic = bit / 8 < 8;
                assert_eq!(matches!(error, SegmentError::NotASegment), is_magic, "bit {bit}: {error}");
                assert_eq!(matches!(error, SegmentError::Header), !is_magic, "bit {bit}: {error}");
                assert_eq!(read(&bytes, Some(&name(segment))).unwrap(), whole, "bit {bit}, by its name");
                continue;
            }
            let hit = segment.places.iter().position(|place| place.whole().contains(&(bit / 8))).unwrap();
            let place = &segment.places[hit];
            let (offset, len) = (place.whole().start as u64, place.whole().len() as u64);
            let mut wanted = whole.clone();
            wanted[hit] = if place.body.contains(&(bit / 8)) {
                let items = (place.kind == Kind::Data).then_some(place.items);
                Seen::Corrupt { offset, bytes: len, items, why: Corruption::Payload }
            } else if hit + 1 < whole.len() {
                Seen::Corrupt { offset, bytes: len, items: None, why: Corruption::Head }
            } else {
                Seen::Torn { offset, bytes: len }
            };
            assert_eq!(read(&bytes, None).unwrap(), wanted, "bit {bit} of record {hit}");
        }
    }
}

/// A head is found wherever it stands in what is read at once, also across two such pieces, and after damage of several.
#[test]
fn a_head_behind_any_length_of_damage() {
    let plain = |bytes: usize| {
        let payload = vec![0; bytes];
        Plain { signal: 0, encoding: 0, unix_ms: 1, parts: vec![(bytes, 1)], payload }
    };
    for pieces in 1..3 {
        for beside in 0..2 * HEAD_BYTES {
            let mut segment = Segment::new(1_800_000_000_000, 3);
            let len = pieces * SPILL_READ_BYTES + HEAD_BYTES - beside;
            segment.data(&plain(len - HEAD_BYTES - 4)).data(&plain(9)).data(&plain(1));
            let whole = of(&segment, &[]);
            let mut bytes = segment.bytes.clone();
            bytes[HEADER_BYTES] ^= 1;
            let (offset, len) = (HEADER_BYTES as u64, segment.places[0].whole().len() as u64);
            let damaged = Seen::Corrupt { offset, bytes: len, items: None, why: Corruption::Head };
            assert_eq!(read(&bytes, None).unwrap(), [&[damaged], &whole[1..]].concat(), "{pieces} {beside}");
        }
    }
}
