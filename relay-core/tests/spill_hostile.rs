//! Segments with right checksums that lie: lengths, numbers and tables of any size reserve no memory, end nothing, and give nothing that
//! was not there.

#![cfg(test)]

mod spill_support;

use std::path::Path;

use relay_core::spill::{Disk, LogConfig, SegmentReader};
use spill_support::reopen::reopen;
use spill_support::small::{LOG, disk, owner_dir};
use testkit::alloc::{CountingAllocator, measure};
use testkit::spill_format::{Plain, Segment, crc32c};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const NOW: u64 = 1_800_000_100_000;

/// Fields of a head: where each begins, and its bytes.
const FIELDS: [(&str, usize, usize); 11] = [
    ("kind", 8, 1),
    ("signal", 9, 1),
    ("encoding", 10, 1),
    ("flags", 11, 1),
    ("parts length", 12, 4),
    ("payload length", 16, 4),
    ("sequence", 24, 8),
    ("time", 32, 8),
    ("items", 40, 8),
    ("parts", 48, 4),
    ("reserved", 52, 4),
];

/// What memory reading takes at the most, beside what is in the file: a few windows of 256 KiB.
const BYTES_MAX: u64 = 4 << 20;

fn plain(payload: &[u8]) -> Plain {
    let parts = vec![(payload.len(), 1)];
    Plain { signal: 0, encoding: 0, unix_ms: NOW, parts, payload: payload.to_vec() }
}

/// Three records, of which the second one, of this payload, is made to lie by `change`.
fn lying(payload: &[u8], change: impl Fn(&mut [u8])) -> Segment {
    let mut segment = Segment::new(1_800_000_000_000, 0x5EED);
    segment.data(&plain(b"before")).data(&plain(payload)).data(&plain(b"behind"));
    let at = segment.places[1].head.start;
    let end = segment.places[1].body.end;
    change(&mut segment.bytes[at..end]);
    segment.seal_again(at);
    segment
}

/// Reads the segment as people do and as the next process does; the payloads that both give.
fn given(segment: &Segment, what: &str) -> Vec<Vec<u8>> {
    let path = segment.path(&owner_dir());
    let disk = disk(&[(path.clone(), segment.bytes.clone())]);
    let (seen, counts) = measure(|| {
        let mut reader = SegmentReader::open(disk.open(&path).unwrap()).unwrap();
        let mut payloads = Vec::new();
        while let Some(found) = reader.next().unwrap() {
            if let relay_core::spill::Found::Record { record, .. } = found {
                payloads.push(record.payload.to_vec());
            }
        }
        payloads
    });
    assert!(counts.allocated_bytes < BYTES_MAX, "{what}: {counts:?}");
    let config = LogConfig { free_bytes_min: 0, ..LogConfig::default() };
    let (found, counts) = measure(|| reopen(&disk, Path::new(LOG), &config, NOW));
    assert!(counts.allocated_bytes < BYTES_MAX, "{what}: {counts:?}");
    assert_eq!(found.problems, Vec::<String>::new(), "{what}");
    let payloads: Vec<_> = found.records.iter().map(|record| record.payload.to_vec()).collect();
    assert_eq!(payloads, seen, "{what}");
    assert_eq!(found.finish(&disk, Path::new(LOG), &config, NOW + 1_000), Vec::<String>::new(), "{what}");
    payloads
}

#[test]
fn heads_that_lie() {
    for (name, from, len) in FIELDS {
        for value in
            [0, 1, 2, 3, 4, 7, 9, 255, 1 << 16, 1 << 20, 1 << 30, u64::from(u32::MAX), 1 << 40, u64::MAX]
        {
            let segment = lying(b"lies", |record| {
                record[from..from + len].copy_from_slice(&value.to_le_bytes()[..len]);
            });
            let payloads = given(&segment, &format!("{name} of {value}"));
            assert_eq!(payloads.first().map(Vec::as_slice), Some(&b"before"[..]), "{name} of {value}");
            let is_known = |payload: &Vec<u8>| [&b"before"[..], b"lies", b"behind"].contains(&&payload[..]);
            assert!(payloads.iter().all(is_known), "{name} of {value}: {payloads:?}");
        }
    }
}

/// A table of what is settled, or a footer, that promises more than it has.
#[test]
fn tables_that_lie() {
    let count = |count: u32| [&7_u64.to_le_bytes()[..], &count.to_le_bytes(), &[1; 64]].concat();
    let ranges = |ranges: &[(u32, u32)]| {
        let count = u32::try_from(ranges.len()).unwrap();
        let pairs = ranges.iter().flat_map(|(from, to)| [from.to_le_bytes(), to.to_le_bytes()].concat());
        [&7_u64.to_le_bytes()[..], &count.to_le_bytes()]
            .concat()
            .into_iter()
            .chain(pairs)
            .collect::<Vec<u8>>()
    };
    let footer = |length: u32, table: &[u8]| [&[0xFF; 44], table, &length.to_le_bytes()].concat();
    let tables: [(u8, Vec<u8>); 12] = [
        (2, count(u32::MAX)),
        (2, count(1 << 28)),
        (2, count(0)),
        (2, vec![1; 11]),
        (2, ranges(&[(0, u32::MAX)])),
        (2, ranges(&[(5, 5)])),
        (2, ranges(&[(9, 5)])),
        (2, ranges(&[(5, 9), (7, 12)])),
        (3, footer(0, &[])),
        (3, footer(u32::MAX, &[])),
        (3, footer(104, &count(u32::MAX))),
        (3, vec![0xFF; 3]),
    ];
    for (kind, table) in tables {
        let mut segment = lying(&table, |_| ());
        let (head, body) = (segment.places[1].head.clone(), segment.places[1].body.clone());
        // A table has no parts: they are cut out, and what follows moves up.
        let parts = body.len() - table.len();
        segment.bytes.drain(body.start..body.start + parts);
        let bytes = &mut segment.bytes[head.clone()];
        bytes[8] = kind;
        bytes[12..16].copy_from_slice(&0_u32.to_le_bytes());
        bytes[20..24].copy_from_slice(&crc32c(0, &table).to_le_bytes());
        bytes[40..52].fill(0);
        segment.seal_again(head.start);
        let what = format!("{kind}: {table:?}");
        assert_eq!(given(&segment, &what), [b"before".to_vec(), b"behind".to_vec()], "{what}");
        // As the last record, where a footer is looked for.
        segment.bytes.truncate(head.end + table.len());
        assert_eq!(given(&segment, &what), [b"before".to_vec()], "{what}, at the end");
    }
}
