//! Every cut and every flipped bit of a small log, as the next process recovers from it: which records it gives, what it counts, and
//! that it leaves nothing behind. What must come of each is computed from where the records lie, not by the code under test.

#![cfg(test)]

mod spill_support;

use std::path::Path;

use relay_core::spill::{LogConfig, Record};
use spill_support::reopen::{Reopened, Sums, reopen};
use spill_support::small::{LOG, disk, left, owner_dir, segments};
use testkit::spill_format::{HEADER_BYTES, Kind, Place, Plain, Segment};

const NOW: u64 = 1_800_000_100_000;

/// What is wrong with a record.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Whole,
    /// Its head is no head, or not there.
    NoHead,
    /// Its head is sound.
    NoBody,
    /// It is cut off, or stands behind the cut.
    Cut,
}

/// Starts a process on the log with `bytes` for the segment `hit`, and holds what it finds against what must come of `state` of each
/// record there.
fn recover(segments: &[Segment; 2], hit: usize, bytes: Vec<u8>, state: impl Fn(&Place) -> State, what: &str) {
    let mut files: Vec<_> =
        segments.iter().map(|segment| (segment.path(&owner_dir()), segment.bytes.clone())).collect();
    files[hit].1 = bytes;
    let disk = disk(&files);
    let config = LogConfig { free_bytes_min: 0, ..LogConfig::default() };
    let found = reopen(&disk, Path::new(LOG), &config, NOW);
    assert_eq!(found.problems, Vec::<String>::new(), "{what}");

    let state_of = |segment: usize, place: &Place| if segment == hit { state(place) } else { State::Whole };
    let is_damaged = |segment: usize, sequence: u32| {
        state_of(segment, &segments[segment].places[sequence as usize]) != State::Whole
    };
    let wanted = left(segments, is_damaged);
    let ids: Vec<_> = found.records.iter().map(|record| (record.id.segment, record.id.sequence)).collect();
    assert_eq!(ids, wanted, "{what}");
    found.records.iter().for_each(|record| assert_same(segments, record));
    assert_counted(segments, hit, &state_of, &found, what);
    assert_eq!(found.finish(&disk, Path::new(LOG), &config, NOW + 1_000), Vec::<String>::new(), "{what}");
}

fn assert_same(segments: &[Segment; 2], record: &Record) {
    let segment = segments.iter().find(|segment| segment.id() == record.id.segment).unwrap();
    let data = segment.places.iter().filter(|place| place.kind == Kind::Data);
    let index = data.clone().position(|place| place.sequence == record.id.sequence).unwrap();
    let Plain { unix_ms, parts, payload, .. } = &segment.data[index];
    let found: Vec<_> = record.parts.iter().map(|part| (part.bytes, part.items)).collect();
    assert_eq!((&record.payload[..], record.unix_ms, &found), (&payload[..], *unix_ms, parts));
    assert_eq!(record.encoding.is_some(), segment.data[index].encoding != 0);
}

/// What it says that it has found and lost.
fn assert_counted(
    segments: &[Segment; 2],
    hit: usize,
    state: &impl Fn(usize, &Place) -> State,
    found: &Reopened,
    what: &str,
) {
    // What nothing that can be read settles, wherever it can be read itself.
    let is_table_lost = |index: usize, sequence: u32| {
        let place = &segments[index].places[sequence as usize];
        place.kind != Kind::Data && state(index, place) != State::Whole
    };
    let unsettled = left(segments, is_table_lost);
    let (mut recovered, mut lost, mut lost_bytes, mut torn_bytes) = (Sums::default(), Sums::default(), 0, 0);
    for (index, segment) in segments.iter().enumerate() {
        let last = segment.places.last().unwrap();
        for place in &segment.places {
            let state = state(index, place);
            let is_last = place.sequence == last.sequence;
            if state == State::NoHead && is_last {
                torn_bytes += place.whole().len() as u64;
            }
            if place.kind != Kind::Data || !unsettled.contains(&(segment.id(), place.sequence)) {
                continue;
            }
            // Where anything of a segment is settled, heads are counted; a head that cannot be read is found by nobody.
            if matches!(state, State::Whole | State::NoBody) {
                recovered.records += 1;
                recovered.items += u128::from(place.items);
                if state != State::Whole {
                    lost.items += u128::from(place.items);
                }
            }
            if matches!(state, State::NoHead | State::NoBody) && !is_last {
                lost.records += 1;
                lost_bytes += place.whole().len() as u64;
            }
        }
    }
    assert_eq!(found.recovered, recovered, "{what}");
    assert_eq!(found.lost.items, lost.items, "{what}");
    assert!(found.lost.records >= lost.records && found.lost_bytes >= lost_bytes, "{what}: {:?}", found.lost);
    let is_all_whole = segments[hit].places.iter().all(|place| state(hit, place) == State::Whole);
    assert!(
        !is_all_whole || (found.lost, found.lost_bytes) == (Sums::default(), 0),
        "{what}: {:?}",
        found.lost
    );
    if segments[hit].places.iter().all(|place| state(hit, place) != State::Cut) {
        assert_eq!(found.torn_bytes, torn_bytes, "{what}");
    }
}

#[test]
fn a_sound_log_gives_what_is_not_settled() {
    let segments = segments();
    recover(&segments, 0, segments[0].bytes.clone(), |_| State::Whole, "nothing");
    assert_eq!(left(&segments, |_, _| false).len(), 7);
}

#[test]
fn every_cut() {
    let segments = segments();
    for hit in 0..2 {
        for cut in 0..=segments[hit].bytes.len() {
            let state = |place: &Place| if place.whole().end <= cut { State::Whole } else { State::Cut };
            let bytes = segments[hit].bytes[..cut].to_vec();
            recover(&segments, hit, bytes, state, &format!("segment {hit} cut at {cut}"));
        }
    }
}

#[test]
fn every_flipped_bit() {
    let segments = segments();
    for hit in 0..2 {
        for bit in 0..segments[hit].bytes.len() * 8 {
            let byte = bit / 8;
            // The name of the file says what the header does.
            let state = |place: &Place| match () {
                () if byte < HEADER_BYTES => State::Whole,
                () if place.head.contains(&byte) => State::NoHead,
                () if place.body.contains(&byte) => State::NoBody,
                () => State::Whole,
            };
            let mut bytes = segments[hit].bytes.clone();
            bytes[byte] ^= 1 << (bit % 8);
            recover(&segments, hit, bytes, state, &format!("bit {bit} of segment {hit}"));
        }
    }
}
