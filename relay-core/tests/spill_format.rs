//! The format does not drift: what the log writes today is, byte for byte, what its document says, written a second time by testkit;
//! files of every version that was ever written are kept and read; and one of them was written by hand.

#![cfg(test)]
#![allow(clippy::cast_possible_truncation, reason = "sizes here are small and our own")]
#![allow(clippy::single_range_in_vec_init, reason = "a table may have one range")]

mod spill_support;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use relay_core::batch::{Encoding, Origin, Part, Rope};
use relay_core::otlp::Signal;
use relay_core::spill::{Log, LogConfig, NewRecord, owner_name};
use spill_support::fault_disk::FaultDisk;
use spill_support::seen::{of, read};
use testkit::spill_format::{Plain, Segment, Table};

const NOW: u64 = 1_800_000_000_000;

/// Every signal, every encoding, one part and many, long and empty ones.
fn plains() -> Vec<Plain> {
    let plain = |signal, encoding, parts: &[(usize, u64)]| {
        let bytes: usize = parts.iter().map(|(bytes, _)| bytes).sum();
        let payload = (0..bytes).map(|at| (at as u8).wrapping_mul(31) ^ encoding).collect();
        let unix_ms = NOW - u64::from(encoding);
        Plain { signal, encoding, unix_ms, parts: parts.to_vec(), payload }
    };
    vec![
        plain(0, 0, &[(300, 20)]),
        plain(1, 1, &[(17, 1), (127, 1), (128, 1)]),
        plain(2, 2, &[(5, 1)]),
        plain(3, 3, &[(1, 1)]),
        plain(0, 4, &[(64, 1)]),
        plain(1, 5, &[(64, 1)]),
        plain(2, 6, &[(64, 1)]),
        plain(3, 0, &[(0, 0), (9, 70_000), (0, 300)]),
    ]
}

fn new_record(plain: &Plain) -> NewRecord {
    let encodings = [
        None,
        Some(Encoding::Gzip),
        Some(Encoding::Zlib),
        Some(Encoding::Zstd),
        Some(Encoding::Snappy),
        Some(Encoding::SnappyFramed),
        Some(Encoding::Lz4),
    ];
    let parts = plain.parts.iter().map(|(bytes, items)| Part {
        bytes: *bytes,
        items: *items,
        origin: Origin::default(),
    });
    NewRecord {
        signal: Signal::ALL[usize::from(plain.signal)],
        encoding: encodings[usize::from(plain.encoding)],
        items: plain.items(),
        unix_ms: plain.unix_ms,
        parts: parts.collect(),
        payload: Rope::new(plain.payload.chunks(50).map(Bytes::copy_from_slice).collect()),
    }
}

/// What a log writes: eight records, of which three are settled; one is added after that was written down, and the log is closed or not.
fn written(closes: bool) -> (PathBuf, Vec<u8>) {
    let disk = FaultDisk::new(1);
    let config = LogConfig { free_bytes_min: 0, ..LogConfig::default() };
    let dir = Path::new("/spool/otlp_traces");
    let mut log = Log::new(disk.clone(), dir.to_owned(), owner_name(NOW, 7), config);
    let records: Vec<NewRecord> = plains().iter().map(new_record).collect();
    let ids = log.append(&records, NOW).unwrap();
    [1, 2, 4].into_iter().for_each(|index: usize| log.settle(ids[index]));
    while log.work(NOW + 5_000) {}
    log.append(&records[..1], NOW + 6_000).unwrap();
    if closes {
        log.close(NOW + 7_000).unwrap();
    }
    let mut files = disk.files(dir);
    files.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    let [path] = <[PathBuf; 1]>::try_from(files).unwrap();
    let bytes = disk.get(&path);
    (path.file_name().unwrap().into(), bytes)
}

/// The same by the document.
fn documented(name: &Path, closes: bool) -> (Segment, Vec<(u32, Table)>) {
    let (unix_ms, nonce) = name.to_str().unwrap().strip_suffix(".seg").unwrap().split_once('-').unwrap();
    let (unix_ms, nonce) = (unix_ms.parse().unwrap(), u32::from_str_radix(nonce, 16).unwrap());
    let mut segment = Segment::new(unix_ms, nonce);
    let table = vec![(segment.id(), vec![1..3, 4..5])];
    plains().iter().for_each(|plain| {
        segment.data(plain);
    });
    segment.settled(NOW + 5_000, &table).data(&plains()[0]);
    if closes {
        segment.footer(NOW + 7_000, &table);
    }
    (segment, vec![(8, table.clone()), (10, table)])
}

#[test]
fn the_log_writes_what_the_document_says() {
    for closes in [false, true] {
        let (name, bytes) = written(closes);
        let (segment, tables) = documented(&name, closes);
        assert_eq!(read(&bytes, None).unwrap(), of(&segment, &tables));
        assert_eq!(bytes, segment.bytes);
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/spill/v1")
}

/// Written by the first log of version 1: `SPILL_WRITE_FIXTURES=1` writes them where there are none. What is there is never changed.
#[test]
fn files_of_version_1_are_read() {
    for (kind, closes) in [("killed", false), ("closed", true)] {
        let dir = fixtures().join(kind);
        if std::env::var_os("SPILL_WRITE_FIXTURES").is_some() && !dir.exists() {
            let (name, bytes) = written(closes);
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join(name), bytes).unwrap();
        }
        let file = std::fs::read_dir(&dir).unwrap().next().unwrap().unwrap();
        let (name, bytes) = (PathBuf::from(file.file_name()), std::fs::read(file.path()).unwrap());
        let (segment, tables) = documented(&name, closes);
        assert_eq!(read(&bytes, name.to_str()).unwrap(), of(&segment, &tables), "{}", name.display());
        assert_eq!(bytes, segment.bytes, "{}", name.display());
    }
}

/// Bytes written down in a text, `#` begins a comment.
fn by_hand() -> Vec<u8> {
    let text = std::fs::read_to_string(fixtures().join("by_hand.hex")).unwrap();
    let digits: String = text.lines().flat_map(|line| line.split('#').next()).collect();
    let digits: Vec<u8> = digits.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// Nothing but the document was used to write it: neither the log nor testkit can carry it along when they change.
#[test]
fn what_was_written_by_hand_is_read() {
    let mut segment = Segment::new(NOW, 0x1234_5678);
    let unix_ms = NOW - 1;
    let (parts, payload) = (vec![(3, 2), (0, 0), (2, 200)], b"spans".to_vec());
    let table = vec![(segment.id(), vec![1..2]), (7, vec![0..1, 3..9])];
    segment
        .data(&Plain { signal: 0, encoding: 0, unix_ms, parts, payload })
        .data(&Plain { signal: 2, encoding: 1, unix_ms, parts: vec![(4, 1)], payload: b"logs".to_vec() })
        .settled(NOW + 1, &table)
        .footer(NOW + 2, &table);
    assert_eq!(read(&by_hand(), None).unwrap(), of(&segment, &[(2, table.clone()), (3, table)]));
    assert_eq!(by_hand(), segment.bytes);
}
