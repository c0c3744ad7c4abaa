//! Disks that fail, and bytes that are not what was written.

use super::super::super::segment::HEADER_BYTES;
use super::*;

fn lost(log: &mut Log<Memory>) -> Option<(u64, u64)> {
    log.take_events().into_iter().find_map(|event| match event {
        Event::Lost { reason: DropReason::Corrupt, records, items, .. } => Some((records, items)),
        _ => None,
    })
}

#[test]
fn a_failed_sync_poisons_the_segment_and_its_records_are_written_once_more() {
    let disk = Memory::default();
    let mut log = log(&disk);
    let first = append(&mut log, 0..1, 10)[0];
    disk.faults().syncs = 1;
    let second = append(&mut log, 1..2, 10)[0];
    assert_ne!(first.segment, second.segment);
    let events = log.take_events();
    let poisoned =
        |event: &Event| matches!(event, Event::Poisoned { segment, .. } if *segment == first.segment);
    assert!(events.iter().any(poisoned), "{events:?}");
    assert_eq!(append(&mut log, 2..3, 10)[0].segment, second.segment);
    // The record whose sync failed is in the poisoned segment as well, and known not to count there.
    log.tables.due_unix_ms = 0;
    work(&mut log, NOW);
    assert_eq!(read_after_kill(&disk, log), [0, 1, 2]);
}

#[test]
fn an_append_that_fails_twice_stores_nothing_and_leaves_nothing() {
    let disk = Memory::default();
    let mut log = log(&disk);
    append(&mut log, 0..1, 10);
    let before = disk.segments();
    disk.faults().syncs = 2;
    assert!(matches!(log.append(&[record(1, 10)], NOW), Err(AppendError::Io(_))));
    disk.faults().room = Some(100);
    assert!(matches!(log.append(&[record(2, 1000)], NOW), Err(AppendError::NoSpace(_))));
    assert_eq!(disk.segments(), before);
    disk.faults().room = None;
    append(&mut log, 3..4, 10);
    assert_eq!(log.counts().records, 2);
    work(&mut log, NOW);
    assert_eq!(read_after_kill(&disk, log), [0, 3]);
}

#[test]
fn a_group_over_several_segments_is_stored_whole_or_not() {
    let disk = Memory::default();
    let mut log = log(&disk);
    let group: Vec<NewRecord> = (0..10).map(|byte| record(byte, 1000)).collect();
    disk.faults().room = Some(8000);
    assert!(matches!(log.append(&group, NOW), Err(AppendError::NoSpace(_))));
    assert_eq!((log.counts().records, log.has_unread()), (0, false));
    disk.faults().room = None;
    assert_eq!(log.append(&group, NOW).unwrap().len(), 10);
    assert_eq!(log.counts().records, 10);
}

#[test]
fn a_full_disk_is_left_by_deleting() {
    let disk = Memory::default();
    let mut log = log(&disk);
    let ids = append(&mut log, 0..6, 1000);
    // The second segment holds the newest table, which speaks of the first.
    log.settle(ids[0]);
    work(&mut log, NOW);
    ids[3..].iter().for_each(|id| log.settle(*id));
    disk.faults().room = Some(0);
    work(&mut log, NOW + 5000);
    assert_eq!(disk.segments().len(), 1);
    disk.faults().room = None;
    work(&mut log, NOW + 6000);
    assert_eq!(read_after_kill(&disk, log), [1, 2]);
}

#[test]
fn free_space_is_left_to_others() {
    let disk = Memory::default();
    let mut log = log_as(&disk, 1, LogConfig { free_bytes_min: 5000, ..config() });
    disk.faults().free = Some(5100);
    append(&mut log, 0..1, 10);
    disk.faults().free = Some(5020);
    assert!(log.append(&[record(1, 10)], NOW + 999).is_ok(), "asked a moment ago");
    assert!(matches!(log.append(&[record(2, 10)], NOW + 1000), Err(AppendError::NoSpace(_))));
    disk.faults().free = None;
    assert!(log.append(&[record(2, 10)], NOW + 1000).is_ok());
}

#[test]
fn short_and_interrupted_calls_change_nothing() {
    let disk = Memory::default();
    (disk.faults().chunk, disk.faults().interrupts) = (Some(7), true);
    let mut log = log(&disk);
    let ids = append(&mut log, 0..5, 1000);
    log.settle(ids[2]);
    work(&mut log, NOW);
    assert_eq!(read_after_kill(&disk, log), [0, 1, 3, 4]);
}

#[test]
fn damaged_records_are_counted_with_their_items_and_their_neighbours_are_read() {
    // A payload, a table of parts, a head; the segment finished or not.
    for (at, is_closed) in [(200, true), (57, true), (8, true), (200, false), (57, false), (8, false)] {
        let disk = Memory::default();
        let mut log = log(&disk);
        append(&mut log, 0..3, 1000);
        if is_closed {
            log.close(NOW).unwrap();
        }
        drop(log);
        // The second record.
        let record_bytes = 56 + 6 + 1000;
        disk.edit(&disk.segments()[0], |bytes| bytes[HEADER_BYTES + record_bytes + at] ^= 0x10);
        let mut next = log_as(&disk, 2, config());
        next.adopt(NOW).unwrap();
        assert_eq!(bytes_of(&read_all(&mut next, NOW)), [0, 2], "{at} {is_closed}");
        // Nobody knows the items of a damaged head in a segment that nobody has summed up.
        let items = if at == 8 && !is_closed { 0 } else { 3 };
        let events = next.take_events();
        let lost = |event: &&Event| matches!(event, Event::Lost { .. });
        let Event::Lost { reason, records, items: lost_items, bytes, .. } = events.iter().find(lost).unwrap()
        else {
            panic!("{events:?}");
        };
        assert_eq!((*reason, *records, *lost_items), (DropReason::Corrupt, 1, items), "{at} {is_closed}");
        assert_eq!(*bytes, record_bytes as u64);
        let recovered = events.iter().find_map(|event| match event {
            Event::Recovered { items, .. } => Some(*items),
            _ => None,
        });
        assert_eq!(recovered, Some(6 + items), "what is recovered is read or lost");
        assert_eq!(next.counts().items, 6);
    }
}

#[test]
fn a_torn_tail_is_cut() {
    let disk = Memory::default();
    let mut log = log(&disk);
    append(&mut log, 0..3, 100);
    let id = *log.segments.keys().next().unwrap();
    drop(log);
    let path = disk.segments().remove(0);
    disk.edit(&path, |bytes| bytes.truncate(bytes.len() - 1));
    let mut next = log_as(&disk, 2, config());
    next.adopt(NOW).unwrap();
    assert_eq!(bytes_of(&read_all(&mut next, NOW)), [0, 1]);
    let events = next.take_events();
    assert!(events.contains(&Event::Torn { segment: id, bytes: 56 + 4 + 99 }), "{events:?}");
    assert!(!events.iter().any(|event| matches!(event, Event::Lost { .. })));
}

#[test]
fn a_damaged_header_is_read_by_the_name_of_the_file() {
    for at in 0..HEADER_BYTES {
        let disk = Memory::default();
        let mut log = log(&disk);
        append(&mut log, 0..2, 100);
        drop(log);
        disk.edit(&disk.segments()[0], |bytes| bytes[at] ^= 1);
        let mut next = log_as(&disk, 2, config());
        next.adopt(NOW).unwrap();
        assert_eq!(bytes_of(&read_all(&mut next, NOW)), [0, 1], "byte {at}");
    }
}

#[test]
fn what_is_no_segment_of_this_version_is_left_alone_and_said_once() {
    let disk = Memory::default();
    let mut log = log(&disk);
    append(&mut log, 0..2, 100);
    drop(log);
    let path = disk.segments().remove(0);
    let mut newer = disk.bytes(&path);
    newer[8] = 2;
    let crc = crc32c::crc32c(&newer[..HEADER_BYTES - 4]);
    newer[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    let dir = path.parent().unwrap();
    disk.put(dir.join("1600000000000-00000001.seg"), &newer);
    disk.put(dir.join("notes.txt"), b"mine");
    let mut next = log_as(&disk, 2, config());
    for events in [2, 0] {
        next.adopt(NOW).unwrap();
        let left_alone = |event: &Event| matches!(event, Event::LeftAlone { .. });
        assert_eq!(next.take_events().iter().filter(|event| left_alone(event)).count(), events);
    }
    assert_eq!(bytes_of(&read_all(&mut next, NOW)), [0, 1]);
    assert_eq!(disk.bytes(&dir.join("1600000000000-00000001.seg")), newer);
    assert!(disk.exists(dir.join("notes.txt")) && disk.exists(dir.join("lock")));
}

#[test]
fn rubbish_with_the_name_of_a_segment_stops_nothing() {
    for rubbish in [vec![], vec![0; 30], vec![0; 5000], super::super::super::record::MARKER.repeat(1000)] {
        let disk = Memory::default();
        let mut log = log(&disk);
        append(&mut log, 0..2, 100);
        drop(log);
        let dir = disk.segments()[0].parent().unwrap().to_path_buf();
        disk.put(dir.join("1600000000000-00000001.seg"), &rubbish);
        let mut next = log_as(&disk, 2, config());
        next.adopt(NOW).unwrap();
        let read = read_all(&mut next, NOW);
        assert_eq!(bytes_of(&read), [0, 1]);
        read.iter().for_each(|(_, id)| next.settle(*id));
        work(&mut next, NOW + 2000);
        assert!(disk.files().is_empty(), "{:?}", disk.files());
    }
}

#[test]
fn what_is_half_made_is_removed_when_its_maker_is_gone() {
    let disk = Memory::default();
    for (age, stays) in [(59_000, true), (61_000, false)] {
        let made = super::super::super::names::owner_name(NOW - age, 5);
        let dir = PathBuf::from("/spool/otlp_traces").join(format!(".new-{made}"));
        disk.create_dir(&dir).unwrap();
        disk.put(dir.join("lock"), &[]);
        log(&disk).adopt(NOW).unwrap();
        assert_eq!(disk.exists(&dir), stays);
    }
}

#[test]
fn a_directory_that_vanishes_is_made_again() {
    let disk = Memory::default();
    let mut log = log(&disk);
    let ids = append(&mut log, 0..3, 100);
    log.release(ids[0]);
    disk.remove_all(&PathBuf::from("/spool"));
    append(&mut log, 3..4, 100);
    assert_eq!(log.counts().records, 4, "nobody has looked yet");
    let next = log.append(&[record(4, 100)], NOW + 2000).unwrap()[0];
    assert_eq!(lost(&mut log), Some((1, 3)));
    assert_eq!(log.counts().records, 1);
    // What is in memory has no copy any more: it is delivered, or lost when memory lets go of it.
    log.settle(ids[1]);
    log.release(ids[2]);
    assert_eq!(lost(&mut log), Some((1, 3)));
    log.release(next);
    assert_eq!(bytes_of(&read_all(&mut log, NOW)), [4]);
}

#[test]
fn what_cannot_be_read_rests_and_is_given_up_in_the_end() {
    let disk = Memory::default();
    let mut log = log(&disk);
    let ids = append(&mut log, 0..8, 1000);
    ids.iter().for_each(|id| log.release(*id));
    // The second record of each segment; the later ones are read meanwhile.
    disk.faults().unreadable = Some((1500, 1510));
    let (mut read, mut failures, mut now) = (Vec::new(), 0, NOW);
    while log.has_unread() {
        match log.read(1 << 20, now) {
            Ok(Some(records)) => read.extend(records.iter().map(|record| record.payload[0])),
            Ok(None) => now += 1000,
            Err(_) => failures += 1,
        }
        assert!(now < NOW + 60_000, "{read:?}");
    }
    read.sort_unstable();
    assert_eq!(read, [0, 2, 3, 5, 6]);
    assert!(failures > 3);
    assert_eq!(lost(&mut log), Some((3, 9)));
}

#[test]
fn what_cannot_be_opened_is_adopted_later() {
    let disk = Memory::default();
    let mut log = log(&disk);
    append(&mut log, 0..2, 100);
    drop(log);
    let mut next = log_as(&disk, 2, config());
    disk.faults().unreadable = Some((0, 10));
    let adoption = next.adopt(NOW).unwrap();
    assert_eq!((adoption.segments, adoption.still_locked), (0, 1));
    assert!(next.take_events().iter().any(|event| matches!(event, Event::Failed { .. })));
    disk.faults().unreadable = None;
    assert_eq!(next.adopt(NOW).unwrap().segments, 1);
    assert_eq!(bytes_of(&read_all(&mut next, NOW)), [0, 1]);
}

#[test]
fn a_torn_table_costs_only_what_it_says() {
    let disk = Memory::default();
    let mut log = log(&disk);
    let ids = append(&mut log, 0..3, 100);
    log.settle(ids[0]);
    work(&mut log, NOW);
    drop(log);
    disk.edit(&disk.segments()[0], |bytes| *bytes.last_mut().unwrap() ^= 1);
    let mut next = log_as(&disk, 2, config());
    next.adopt(NOW).unwrap();
    assert_eq!(bytes_of(&read_all(&mut next, NOW)), [0, 1, 2]);
    assert_eq!(lost(&mut next), Some((1, 0)));
}
