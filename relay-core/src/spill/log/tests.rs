//! A log over a file system in memory: stored, read back, settled, found again by the next process; and what damage and failing disks
//! make of it.

mod damage;
mod memory;

use bytes::Bytes;

use self::memory::Memory;
use super::super::event::{AppendError, WhenFull};
use super::super::record::NewRecord;
use super::*;
use crate::batch::{Origin, Part, Rope};
use crate::otlp::Signal;

const NOW: u64 = 1_700_000_000_000;

fn config() -> LogConfig {
    LogConfig { free_bytes_min: 0, segment_bytes_max: 4096, ..LogConfig::default() }
}

fn log_as(disk: &Memory, random: u32, config: LogConfig) -> Log<Memory> {
    let owner = super::super::names::owner_name(NOW, random);
    Log::new(disk.clone(), PathBuf::from("/spool/otlp_traces"), owner, config)
}

fn log(disk: &Memory) -> Log<Memory> {
    log_as(disk, 1, config())
}

/// A record of `bytes`, all `byte`, in two parts, with three items, that arrived at [`NOW`] and `byte` milliseconds.
fn record(byte: u8, bytes: usize) -> NewRecord {
    let (one, two) = (bytes / 2, bytes - bytes / 2);
    let part = |bytes, items| Part { bytes, items, origin: Origin::default() };
    NewRecord {
        signal: Signal::Traces,
        encoding: None,
        items: 3,
        unix_ms: NOW + u64::from(byte),
        parts: vec![part(one, 1), part(two, 2)],
        payload: Rope::new(vec![Bytes::from(vec![byte; one]), Bytes::from(vec![byte; two])]),
    }
}

fn append(log: &mut Log<Memory>, bytes: std::ops::Range<u8>, len: usize) -> Vec<RecordId> {
    bytes.map(|byte| log.append(&[record(byte, len)], NOW).unwrap()[0]).collect()
}

/// Works until there is nothing to do at once.
fn work(log: &mut Log<Memory>, now: u64) {
    for _ in 0..1000 {
        if !log.work(now) {
            return;
        }
    }
    panic!("work does not end");
}

/// Reads all there is, and holds it: the first byte of each payload.
fn read_all(log: &mut Log<Memory>, now: u64) -> Vec<(u8, RecordId)> {
    let mut all = Vec::new();
    for _ in 0..1000 {
        let Some(records) = log.read(1 << 20, now).unwrap() else { return all };
        all.extend(records.iter().map(|record| (record.payload[0], record.id)));
    }
    panic!("reading does not end");
}

fn bytes_of(read: &[(u8, RecordId)]) -> Vec<u8> {
    read.iter().map(|(byte, _)| *byte).collect()
}

/// What the next process finds after this one was killed.
fn read_after_kill(disk: &Memory, log: Log<Memory>) -> Vec<u8> {
    drop(log);
    let mut next = log_as(disk, 99, config());
    next.adopt(NOW).unwrap();
    bytes_of(&read_all(&mut next, NOW))
}

#[test]
fn nothing_is_touched_before_the_first_record() {
    let disk = Memory::default();
    let mut log = log(&disk);
    assert_eq!(log.adopt(NOW).unwrap(), super::super::event::Adoption::default());
    work(&mut log, NOW);
    log.close(NOW).unwrap();
    assert!(disk.files().is_empty() && !disk.exists("/spool"));
}

#[test]
fn what_is_released_is_read_back_as_it_was() {
    let disk = Memory::default();
    let mut log = log(&disk);
    let mut unopened = record(2, 50);
    unopened.encoding = Some(crate::batch::Encoding::Zstd);
    let ids = log.append(&[record(1, 101), unopened, record(3, 0)], NOW).unwrap();
    assert!(log.read(1 << 20, NOW).unwrap().is_none(), "held in memory");
    assert!(!log.has_unread());
    ids.iter().for_each(|id| log.release(*id));
    assert!(log.has_unread());
    let read = log.read(1 << 20, NOW).unwrap().unwrap();
    assert_eq!(read.iter().map(|record| record.id).collect::<Vec<_>>(), ids);
    assert_eq!(read[0].payload, vec![1; 101]);
    assert_eq!(read[0].parts, record(1, 101).parts);
    assert_eq!((read[0].items, read[0].unix_ms, read[0].encoding), (3, NOW + 1, None));
    assert_eq!(read[1].encoding, Some(crate::batch::Encoding::Zstd));
    assert!(read[2].payload.is_empty());
    // Slices of what was read at once, the second right behind the first, its head and table of parts.
    let distance = read[1].payload.as_ptr() as usize - read[0].payload.as_ptr() as usize;
    assert_eq!(distance, 101 + 56 + 4);
    let counts = log.counts();
    assert_eq!((counts.records, counts.items, counts.unopened, counts.segments), (3, 6, 3, 1));
    assert_eq!(
        (counts.oldest_unix_ms, counts.bytes),
        (Some(NOW + 1), disk.bytes(&disk.segments()[0]).len() as u64)
    );
}

#[test]
fn a_record_is_safe_before_it_counts() {
    let disk = Memory::default();
    let mut log = log(&disk);
    append(&mut log, 0..1, 10);
    let calls = disk.take_calls();
    let made = calls.iter().position(|call| call.starts_with("create")).unwrap();
    assert!(calls[..made].contains(&"sync otlp_traces".to_owned()), "{calls:?}");
    assert!(calls[made..].iter().any(|call| call.starts_with("sync p-")), "{calls:?}");
    append(&mut log, 1..2, 10);
    assert!(disk.take_calls().is_empty());
    assert_eq!(read_after_kill(&disk, log), [0, 1]);
}

#[test]
fn reading_gives_the_oldest_first_and_no_more_than_asked_for() {
    let disk = Memory::default();
    let mut log = log(&disk);
    let ids = append(&mut log, 0..20, 1000);
    ids.iter().rev().for_each(|id| log.release(*id));
    assert!(log.counts().segments >= 5);
    let first = log.read(2500, NOW).unwrap().unwrap();
    assert_eq!(first.iter().map(|record| record.payload[0]).collect::<Vec<_>>(), [0, 1]);
    let one = log.read(1, NOW).unwrap().unwrap();
    assert_eq!((one.len(), one[0].payload[0]), (1, 2));
    // What memory lets go of is read again, before what comes after it.
    log.release(ids[1]);
    assert_eq!(bytes_of(&read_all(&mut log, NOW)), [&[1][..], &(3..20).collect::<Vec<_>>()].concat());
    assert!(!log.has_unread());
    ids.iter().for_each(|id| log.settle(*id));
    work(&mut log, NOW + 1000);
    assert_eq!(log.counts(), LogCounts::default());
    assert!(!disk.exists(log.own_dir()));
}

#[test]
fn a_segment_that_is_settled_is_deleted_and_so_is_the_directory() {
    let disk = Memory::default();
    let mut log = log(&disk);
    let ids = append(&mut log, 0..8, 1000);
    let segments = disk.segments().len();
    assert!(segments > 2);
    ids[..4].iter().for_each(|id| log.settle(*id));
    work(&mut log, NOW);
    assert!(disk.segments().len() < segments);
    ids[4..].iter().for_each(|id| log.settle(*id));
    work(&mut log, NOW + 500);
    assert_eq!(disk.segments().len(), 1, "the active one waits for more");
    work(&mut log, NOW + 1000);
    assert!(disk.files().is_empty() && !disk.exists(log.own_dir()));
    // And another beginning.
    append(&mut log, 9..10, 10);
    assert_eq!(read_after_kill(&disk, log), [9]);
}

#[test]
fn a_record_larger_than_a_segment_has_one_of_its_own() {
    let disk = Memory::default();
    let mut log = log(&disk);
    let records = [record(1, 10), record(2, 10_000), record(3, 10), record(4, 10)];
    let ids = log.append(&records, NOW).unwrap();
    let segments: BTreeSet<u64> = ids.iter().map(|id| id.segment).collect();
    assert_eq!((segments.len(), ids[2].segment), (3, ids[3].segment));
    assert_eq!(read_after_kill(&disk, log), [1, 2, 3, 4]);
}

#[test]
fn what_is_settled_survives_a_kill_once_it_was_written_down() {
    let disk = Memory::default();
    let mut log = log(&disk);
    let ids = append(&mut log, 0..10, 1000);
    for at in [0, 1, 4, 9] {
        log.settle(ids[at]);
    }
    work(&mut log, NOW);
    log.settle(ids[8]);
    drop(log);
    let mut next = log_as(&disk, 2, config());
    let adoption = next.adopt(NOW).unwrap();
    assert!(adoption.segments > 2 && next.counts().uncounted_segments > 0);
    assert_eq!(bytes_of(&read_all(&mut next, NOW)), [2, 3, 5, 6, 7, 8], "8 was not written down yet");
    let recovered = Event::Recovered { records: 6, items: 18, unopened: 0 };
    assert!(next.take_events().contains(&recovered));
    assert_eq!(next.counts().records, 6);
}

#[test]
fn a_closed_log_is_known_without_being_read() {
    let disk = Memory::default();
    let mut log = log(&disk);
    append(&mut log, 0..10, 1000);
    log.close(NOW).unwrap();
    assert!(matches!(log.append(&[record(1, 1)], NOW), Err(AppendError::Io(_))));
    let mut next = log_as(&disk, 2, config());
    let adoption = next.adopt(NOW).unwrap();
    assert_eq!(adoption.segments, disk.segments().len());
    assert_eq!(next.take_events(), [Event::Recovered { records: 10, items: 30, unopened: 0 }]);
    assert_eq!((next.counts().records, next.counts().uncounted_segments), (10, 0));
    assert_eq!(bytes_of(&read_all(&mut next, NOW)), (0..10).collect::<Vec<_>>());
}

#[test]
fn what_is_settled_outlives_every_segment_that_says_so() {
    let disk = Memory::default();
    let mut log = log(&disk);
    let ids = append(&mut log, 0..2, 1000);
    log.settle(ids[0]);
    log.release(ids[1]);
    for round in 0..20u64 {
        // Tables go into segments that come and go; the second record stays.
        let now = NOW + round * 2000;
        let next = log_as(&disk, 10 + u32::try_from(round).unwrap(), config());
        let ids = append(&mut log, 50..56, 1000);
        ids.iter().for_each(|id| log.settle(*id));
        work(&mut log, now);
        if round % 3 == 1 {
            log.close(now).unwrap();
        }
        drop(std::mem::replace(&mut log, next));
        log.adopt(now).unwrap();
        let read = read_all(&mut log, now);
        assert_eq!(bytes_of(&read), [1], "round {round}");
        log.release(read[0].1);
    }
    let last = read_all(&mut log, NOW)[0].1;
    log.settle(last);
    work(&mut log, NOW + 60_000);
    assert!(disk.files().is_empty());
}

#[test]
fn the_directory_of_a_process_that_lives_is_not_touched() {
    let disk = Memory::default();
    let (mut old, mut new) = (log(&disk), log_as(&disk, 2, config()));
    append(&mut old, 0..3, 10);
    let adoption = new.adopt(NOW).unwrap();
    assert_eq!((adoption.segments, adoption.still_locked), (0, 1));
    append(&mut new, 3..4, 10);
    old.close(NOW).unwrap();
    let adoption = new.adopt(NOW).unwrap();
    assert_eq!((adoption.segments, adoption.still_locked), (1, 0));
    assert_eq!(bytes_of(&read_all(&mut new, NOW)), [0, 1, 2]);
    assert!(!disk.exists(old.own_dir()));
    assert_eq!(new.counts().records, 4);
}

#[test]
fn a_full_log_refuses_or_drops_the_oldest() {
    let disk = Memory::default();
    let mut log = log_as(&disk, 1, LogConfig { bytes_max: 10_000, ..config() });
    let ids = append(&mut log, 0..9, 1000);
    assert!(matches!(log.append(&[record(9, 1000)], NOW), Err(AppendError::Full)));
    ids[..3].iter().for_each(|id| log.settle(*id));
    append(&mut log, 9..12, 1000);
    assert!(matches!(log.append(&[record(1, 10_000)], NOW), Err(AppendError::TooLarge)));

    log.config.when_full = WhenFull::DropOldest;
    assert!(matches!(log.append(&[record(12, 1000)], NOW), Err(AppendError::Full)), "all is in memory");
    ids.iter().for_each(|id| log.release(*id));
    log.take_events();
    append(&mut log, 12..13, 1000);
    let events = log.take_events();
    let evicted = events.iter().find_map(|event| match event {
        Event::Lost { reason: DropReason::Evicted, records, items, .. } => Some((*records, *items)),
        _ => None,
    });
    assert_eq!(evicted, Some((3, 9)));
    assert_eq!(bytes_of(&read_all(&mut log, NOW)), [6, 7, 8]);
    assert!(log.counts().bytes <= 10_000);
}

#[test]
fn what_is_too_old_is_given_up_by_the_segment_and_by_the_record() {
    let disk = Memory::default();
    let age_max = Some(std::time::Duration::from_millis(100));
    let mut log = log_as(&disk, 1, LogConfig { age_max, ..config() });
    let ids = append(&mut log, 0..6, 1000);
    let held = append(&mut log, 6..7, 1000)[0];
    ids.iter().for_each(|id| log.release(*id));
    // The first segment has three; of the second one is too old.
    work(&mut log, NOW + 103);
    let expired = |log: &mut Log<Memory>| {
        let lost = |event| match event {
            Event::Lost { reason: DropReason::Expired, records, items, .. } => Some((records, items)),
            _ => None,
        };
        log.take_events().into_iter().find_map(lost)
    };
    assert_eq!(expired(&mut log), Some((3, 9)));
    assert_eq!(bytes_of(&read_all(&mut log, NOW + 104)), [4, 5]);
    assert_eq!(expired(&mut log), Some((1, 3)));
    work(&mut log, NOW + 100_000);
    assert_eq!(
        (expired(&mut log), log.counts().records),
        (None, 3),
        "what is in memory is not given up here"
    );
    log.settle(held);
}

#[test]
fn a_payload_that_does_not_add_up_is_not_stored() {
    let disk = Memory::default();
    let mut log = log(&disk);
    let mut bad = record(1, 10);
    bad.items = 4;
    assert!(matches!(log.append(&[record(2, 10), bad], NOW), Err(AppendError::TooLarge)));
    assert!(disk.files().is_empty());
}
