//! A small log whose every byte is known: two segments of a process that died, one finished and one not, with eleven records of data,
//! three tables of what is settled, and a footer.

use std::path::{Path, PathBuf};

use testkit::spill_format::{Kind, Plain, Segment, Table};

use super::fault_disk::FaultDisk;

pub(crate) const LOG: &str = "/var/spool/otlp_traces";
pub(crate) const OWNER: &str = "p-1800000000000-00000001";

/// One record of data per payload; the numbers beside it are the parts, the last one is the encoding.
fn plain(payload: &[u8], parts: &[(usize, u64)], encoding: u8) -> Plain {
    let unix_ms = 1_800_000_000_000 + payload.len() as u64;
    Plain { signal: 0, encoding, unix_ms, parts: parts.to_vec(), payload: payload.to_vec() }
}

/// The segments, the older one first.
pub(crate) fn segments() -> [Segment; 2] {
    let mut finished = Segment::new(1_800_000_000_001, 0x0102_0304);
    let mut torn = Segment::new(1_800_000_000_900, 0xFEDC_BA98);
    let long: Vec<u8> = (0..200_u8).map(|byte| byte.wrapping_mul(7)).collect();
    finished
        .data(&plain(b"a: settled by the other segment", &[(31, 3)], 0))
        .data(&plain(b"b: settled by this one and its footer", &[(30, 1), (7, 1)], 1))
        .data(&plain(b"c", &[(1, 300)], 0))
        .settled(1_800_000_000_100, &vec![(finished_id(), vec![1..2])])
        .data(&plain(b"d: settled by the footer", &[(24, 5)], 0))
        .data(&plain(&long, &[(130, 2), (0, 0), (70, 4)], 0))
        .footer(1_800_000_000_200, &vec![(finished_id(), vec![1..2, 4..5])]);
    torn.data(&plain(b"f: not settled", &[(14, 2)], 0))
        .data(&plain(b"g: settled here", &[(15, 2)], 2))
        // What begins as a record does is none.
        .data(&plain(b"h: \xC5\x5E\xA7\xD1 and \xC5\x5E\xA7\xD1", &[(16, 1)], 6))
        .settled(1_800_000_001_000, &vec![(finished_id(), vec![0..1]), (torn_id(), vec![1..2])])
        .data(&plain(b"i", &[(1, 1)], 0))
        .data(&plain(b"j: twice the same", &[(17, 1)], 0))
        .data(&plain(b"j: twice the same", &[(17, 1)], 0));
    [finished, torn]
}

fn finished_id() -> u64 {
    testkit::spill_format::id(1_800_000_000_001, 0x0102_0304)
}

fn torn_id() -> u64 {
    testkit::spill_format::id(1_800_000_000_900, 0xFEDC_BA98)
}

/// What each table of each segment says, by the index of its record.
pub(crate) fn tables(segment: usize) -> Vec<(u32, Table)> {
    match segment {
        0 => vec![(3, vec![(finished_id(), vec![1..2])]), (6, vec![(finished_id(), vec![1..2, 4..5])])],
        _ => vec![(3, vec![(finished_id(), vec![0..1]), (torn_id(), vec![1..2])])],
    }
}

pub(crate) fn owner_dir() -> PathBuf {
    Path::new(LOG).join(OWNER)
}

/// A disk with the files of these segments and the lock of their process, which is dead.
pub(crate) fn disk(segments: &[(PathBuf, Vec<u8>)]) -> FaultDisk {
    let disk = FaultDisk::new(1);
    disk.put(&owner_dir().join("lock"), b"");
    segments.iter().for_each(|(path, bytes)| disk.put(path, bytes));
    disk
}

/// The records that a sound reader has left when the records at `damaged` (segment, index) cannot be read: those of data that no table
/// which can be read settles.
pub(crate) fn left(segments: &[Segment; 2], is_damaged: impl Fn(usize, u32) -> bool) -> Vec<(u64, u32)> {
    let known: Vec<Table> = (0..2)
        .flat_map(|segment| tables(segment).into_iter().map(move |(index, table)| (segment, index, table)))
        .filter(|(segment, index, _)| !is_damaged(*segment, *index))
        .map(|(_, _, table)| table)
        .collect();
    let is_settled = |id: u64, sequence: u32| {
        known
            .iter()
            .flatten()
            .any(|(segment, ranges)| *segment == id && ranges.iter().any(|range| range.contains(&sequence)))
    };
    let mut left = Vec::new();
    for (index, segment) in segments.iter().enumerate() {
        for place in &segment.places {
            let (id, sequence) = (segment.id(), place.sequence);
            if place.kind == Kind::Data && !is_damaged(index, sequence) && !is_settled(id, sequence) {
                left.push((id, sequence));
            }
        }
    }
    left
}
