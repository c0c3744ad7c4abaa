//! Segments of the log on disk: any bytes as one, and sound ones that are damaged.

use std::path::Path;

use relay_core::spill::{Event, Found, Log, LogConfig, Record, SegmentReader, owner_name};
use testkit::spill_format::{HEADER_BYTES, Plain, Segment};

use self::fault_disk::{FaultDisk, FaultFile};

#[path = "../../../relay-core/tests/spill_support/fault_disk.rs"]
#[allow(dead_code, reason = "the disk of relay-core's tests: faults are not ordered here")]
mod fault_disk;
#[path = "../../../relay-core/tests/spill_support/file_tree.rs"]
#[allow(dead_code, reason = "the disk of relay-core's tests: power is not lost here")]
mod file_tree;

const UNIX_MS: u64 = 1_800_000_000_000;
const NONCE: u32 = 0x0BAD_CAFE;
const LOG: &str = "/spool/otlp_traces";

/// Steps of reading and work that no file of a fuzz run needs.
const ROUNDS_MAX: usize = 10_000;

/// Any bytes as the file of a segment; the first one chooses whether a sound header stands before them.
pub fn spill_segment(data: &[u8]) {
    let Some((&choice, bytes)) = data.split_first() else { return };
    let header = if choice & 1 == 0 { Vec::new() } else { Segment::new(UNIX_MS, NONCE).bytes };
    hold(&[&header, bytes].concat());
}

/// The bytes are steps: records of any length and with any table, which are sound, and then damage. What is given is what was written,
/// each at most once and in its order; what was not touched is given.
pub fn spill_damaged(data: &[u8]) {
    let mut steps = Steps(data);
    let mut segment = Segment::new(UNIX_MS, NONCE);
    for _ in 0..steps.byte() % 24 {
        let choice = steps.byte();
        match choice % 8 {
            0 => {
                segment.settled(UNIX_MS, &vec![(steps.number(), vec![1..2, 4..5 + u32::from(steps.byte())])])
            }
            1 => {
                let all = u32::from(choice) / 8..90;
                segment.settled(UNIX_MS, &vec![(segment.id(), std::iter::once(all).collect())])
            }
            2 => segment.footer(UNIX_MS, &vec![]),
            _ => {
                let parts: Vec<(usize, u64)> =
                    (0..choice / 64).map(|_| (usize::from(steps.byte()), steps.number())).collect();
                let payload = parts.iter().flat_map(|(bytes, _)| vec![choice; *bytes]).collect();
                let encoding = steps.byte() % 7;
                segment.data(&Plain { signal: choice % 4, encoding, unix_ms: UNIX_MS, parts, payload })
            }
        };
    }
    let sound = segment.bytes.clone();
    let mut bytes = sound.clone();
    while !steps.0.is_empty() && bytes.len() > HEADER_BYTES {
        let (how, value, place) = (steps.byte(), steps.byte(), usize::from(steps.byte()) << 8);
        let at = HEADER_BYTES + (place | usize::from(steps.byte())) % (bytes.len() - HEADER_BYTES);
        let len = usize::from(value) * 8;
        match how % 4 {
            0 => bytes[at] ^= value,
            1 => bytes[at..].iter_mut().take(len).for_each(|byte| *byte = 0),
            2 => bytes.truncate(at),
            // Its own bytes again, where others should be.
            _ => {
                let block: Vec<u8> = sound[HEADER_BYTES.min(len)..].iter().copied().take(len).collect();
                bytes[at..].iter_mut().zip(block).for_each(|(old, new)| *old = new);
            }
        }
    }
    let found = hold(&bytes);
    let mut written = segment.places.iter().zip(0..).filter(|(place, _)| place.kind as u8 == 1);
    let mut data = segment.data.iter();
    for record in &found {
        // Ascending, and each of them what was written as that one.
        let plain =
            written.by_ref().zip(data.by_ref()).find(|((place, _), _)| place.sequence == record.id.sequence);
        let plain = plain.expect("a record that was never written, or comes again").1;
        assert_eq!(record.payload, plain.payload, "other bytes");
        let parts: Vec<_> = record.parts.iter().map(|part| (part.bytes, part.items)).collect();
        assert_eq!(parts, plain.parts, "other parts");
    }
}

struct Steps<'a>(&'a [u8]);

impl Steps<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    /// A number of any size of which many add up in 64 bits.
    fn number(&mut self) -> u64 {
        u64::from(self.byte()) << (self.byte() % 48)
    }
}

/// Reads the file as people do and as the next process does; the records that the reader gives.
fn hold(bytes: &[u8]) -> Vec<Record> {
    let disk = FaultDisk::new(1);
    let path = Segment::new(UNIX_MS, NONCE).path(&Path::new(LOG).join(owner_name(UNIX_MS, 1)));
    disk.put(&path, bytes);
    let name = path.file_name().unwrap().to_str().unwrap();
    let Ok((reader, _)) = SegmentReader::open_named(open(&disk, &path), name) else { return Vec::new() };
    let records = read(bytes, reader);
    recover(&disk, bytes, &records);
    records
}

fn open(disk: &FaultDisk, path: &Path) -> FaultFile {
    relay_core::spill::Disk::open(disk, path).unwrap()
}

/// What is said tiles the file, and every record is a slice of it.
fn read(bytes: &[u8], mut reader: SegmentReader<FaultFile>) -> Vec<Record> {
    let mut records = Vec::new();
    let mut end = HEADER_BYTES.min(bytes.len()) as u64;
    while let Some(found) = reader.next().unwrap() {
        let (offset, len) = match &found {
            Found::Corrupt { offset, bytes, .. } | Found::Torn { offset, bytes } => (*offset, Some(*bytes)),
            Found::Record { offset, .. } | Found::Settled { offset, .. } | Found::Footer { offset, .. } => {
                (*offset, None)
            }
        };
        assert!(offset >= end, "what was said already");
        end = offset + len.unwrap_or(56);
        assert!(end <= bytes.len() as u64 && len != Some(0), "past the end of the file, or nothing");
        if let Found::Record { record, .. } = found {
            let sum: usize = record.parts.iter().map(|part| part.bytes).sum();
            assert_eq!(sum, record.payload.len(), "parts that do not add up");
            let rest = &bytes[offset as usize + 56..];
            assert!(
                rest.windows(sum.max(1)).any(|bytes| bytes == record.payload) || sum == 0,
                "not in the file"
            );
            end = offset + 56 + sum as u64;
            records.push(record);
        }
    }
    assert!(records.is_sorted_by(|one, other| one.id < other.id), "not in their order");
    records
}

/// The next process gives of these records those that are not settled, counts what it gives, and deletes the file in the end.
fn recover(disk: &FaultDisk, bytes: &[u8], readable: &[Record]) {
    let config = LogConfig { free_bytes_min: 0, ..LogConfig::default() };
    let now = UNIX_MS + 1_000;
    let mut log = Log::new(disk.clone(), LOG.into(), owner_name(now, 2), config);
    log.adopt(now).unwrap();
    let (mut given, mut recovered, mut lost) = (Vec::new(), 0, 0);
    for round in 0.. {
        assert!(round < ROUNDS_MAX, "reading never ends");
        let more = log.work(now);
        let read = log.read(1 << 20, now).unwrap();
        for event in log.take_events() {
            match event {
                Event::Recovered { items, unopened, .. } => {
                    recovered += u128::from(items) + u128::from(unopened);
                }
                Event::Lost { items, unopened, .. } => lost += u128::from(items) + u128::from(unopened),
                _ => {}
            }
        }
        match read {
            Some(records) => given.extend(records),
            None if !more && !log.has_unread() => break,
            None => {}
        }
    }
    let items: u128 = given.iter().map(|record| u128::from(record.items)).sum();
    let largest = u128::from(u64::MAX) / 64;
    if given.iter().all(|record| u128::from(record.items) < largest) && recovered < largest {
        assert_eq!(recovered, items + lost, "the books do not add up");
    }
    let mut readable = readable.iter();
    for record in &given {
        let same = readable.find(|readable| readable.id == record.id).expect("what nobody can read");
        assert_eq!(same.payload, record.payload);
        log.settle(record.id);
    }
    log.close(now).unwrap();
    let files = disk.files(Path::new(LOG));
    assert!(files.is_empty(), "{} bytes, and {files:?} are left", bytes.len());
}
