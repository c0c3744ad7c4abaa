//! Segments with right checksums that lie: lengths, numbers and tables of any size reserve no memory, end nothing, and give nothing that
//! was not there.

#![cfg(test)]

mod spill_support;

use std::path::Path;

use relay_core::spill::{Disk, LogConfig, SegmentReader};
use spill_support::reopen::reopen;
use spill_support::small::{LOG, disk, owner_dir};
use testkit::alloc::{CountingAllocator, measure};
use testkit::spill_format::{Kind, Plain, Segment};

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

/// Three records, of which the head of the second one is made to lie by `change`.
fn lying(change: impl Fn(&mut [u8])) -> Segment {
    let mut segment = Segment::new(1_800_000_000_000, 0x5EED);
    segment.data(&plain(b"before")).data(&plain(b"lies")).data(&plain(b"behind"));
    let head = segment.places[1].head.clone();
    change(&mut segment.bytes[head.clone()]);
    segment.seal_again(head.start);
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
    // Books are kept in 64 bits, and stop at their end.
    let is_counted = found.recovered.items < 1 << 60;
    assert!(!is_counted || found.problems.is_empty(), "{what}: {:#?}", found.problems);
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
            let segment = lying(|head| {
                head[from..from + len].copy_from_slice(&value.to_le_bytes()[..len]);
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
    let tables: [(Kind, Vec<u8>); 12] = [
        (Kind::Settled, count(u32::MAX)),
        (Kind::Settled, count(1 << 28)),
        (Kind::Settled, count(0)),
        (Kind::Settled, vec![1; 11]),
        (Kind::Settled, ranges(&[(0, u32::MAX)])),
        (Kind::Settled, ranges(&[(5, 5)])),
        (Kind::Settled, ranges(&[(9, 5)])),
        (Kind::Settled, ranges(&[(5, 9), (7, 12)])),
        (Kind::Footer, footer(0, &[])),
        (Kind::Footer, footer(u32::MAX, &[])),
        (Kind::Footer, footer(104, &count(u32::MAX))),
        (Kind::Footer, vec![0xFF; 3]),
    ];
    for (kind, table) in tables {
        let mut segment = Segment::new(1_800_000_000_000, 0x5EED);
        segment.data(&plain(b"before")).table(kind, NOW, &table);
        let what = format!("{kind:?}: {table:?}");
        // As the last record, where a footer is looked for, and between others.
        assert_eq!(given(&segment, &what), [b"before".to_vec()], "{what}, at the end");
        segment.data(&plain(b"behind"));
        assert_eq!(given(&segment, &what), [b"before".to_vec(), b"behind".to_vec()], "{what}");
    }
}
