//! The bounds: of the disk, of ages, and of the memory that is read into.

use std::sync::Arc;
use std::time::Duration;

use super::super::OsDisk;
use super::super::custody::{NotStored, Storing};
use super::super::worker::Next;
use super::stepped::{Scratch, Stepped, items, record, settled};
use crate::batch::DropReason;
use crate::config::{SpillConfig, WhenFull};
use crate::limits::SPILL_REPLAY_BYTES;

#[test]
fn a_full_log_refuses_until_something_is_settled() {
    let scratch = Scratch::new("full");
    let config = SpillConfig { bytes_max: 1 << 20, ..scratch.config() };
    let mut spool = Stepped::new(OsDisk::default(), &config);
    let mut custodies = Vec::new();
    let refused = loop {
        match spool.store(record(1, 60_000)) {
            Ok(custody) => custodies.push(custody),
            Err(why) => break why,
        }
        assert!(custodies.len() < 20, "1 MiB has no room for so many");
    };
    assert_eq!(refused, NotStored::Full);
    let stats = spool.spool.stats();
    assert!(!spool.spool.is_taking() && stats.bytes <= 1 << 20 && stats.fault.is_none());
    assert!(custodies.len() > 8, "{} of 60 kB", custodies.len());
    spool.wakes();
    custodies.drain(..).for_each(|custody| custody.settled());
    spool.turn();
    spool.pass(Duration::from_millis(200));
    spool.pass(Duration::from_secs(2));
    assert!(spool.spool.is_taking() && spool.wakes() > 0, "{:?}", spool.spool.stats());
    spool.store(record(2, 60_000)).unwrap().settled();
}

#[test]
fn of_a_group_that_does_not_fit_as_much_is_stored_as_does() {
    let scratch = Scratch::new("halves");
    let config = SpillConfig { bytes_max: 1 << 20, ..scratch.config() };
    let mut spool = Stepped::new(OsDisk::default(), &config);
    let mut storing: Vec<Storing> = (0..40).map(|items| spool.spool.store(record(items, 50_000))).collect();
    spool.turn();
    let stored = storing.iter_mut().map(|storing| settled(storing).unwrap().is_ok()).collect::<Vec<_>>();
    let fitted = stored.iter().filter(|stored| **stored).count();
    assert!((10..21).contains(&fitted), "{fitted} of 50 kB in 1 MiB");
    assert_eq!(spool.spool.stats().stores_failed, 40 - fitted as u64);
}

#[test]
fn the_oldest_makes_room_if_it_may_and_the_books_say_so() {
    let scratch = Scratch::new("evict");
    let config = SpillConfig { bytes_max: 1 << 20, when_full: WhenFull::DropOldest, ..scratch.config() };
    let mut spool = Stepped::new(OsDisk::default(), &config);
    for _ in 0..60 {
        spool.leave(record(1, 50_000));
    }
    let stats = spool.spool.stats();
    assert!(stats.evicted_items > 30 && stats.bytes <= 1 << 20 && spool.spool.is_taking());
    assert_eq!(stats.items, 60 - stats.evicted_items);
    assert_eq!(spool.ledgers[0].counts().dropped_for(DropReason::Evicted), stats.evicted_items);
}

#[test]
fn what_is_too_old_is_given_up_and_nothing_ticks_after_that() {
    let scratch = Scratch::new("expire");
    let config = SpillConfig { age_max: Some(Duration::from_secs(100)), ..scratch.config() };
    let mut spool = Stepped::new(OsDisk::default(), &config);
    spool.leave(record(4, 1000));
    for _ in 0..9 {
        let Next::Wait(Some(_)) = spool.pass(Duration::from_secs(10)) else { panic!("it watches the age") };
    }
    assert_eq!(spool.spool.stats().expired_items, 0);
    for _ in 0..4 {
        spool.pass(Duration::from_secs(60));
    }
    assert_eq!(spool.spool.stats().expired_items, 4);
    assert_eq!(spool.ledgers[0].counts().dropped_for(DropReason::Expired), 4);
    assert!(spool.replays().is_empty());
    assert_eq!(spool.pass(Duration::from_secs(60)), Next::Wait(None));
}

/// Memory that is full of what comes: what is on disk comes too, a chunk at a time, and no more than memory has room for.
#[test]
fn a_backlog_drains_through_a_memory_that_others_fill() {
    let scratch = Scratch::new("memory");
    let memory = 8 << 20;
    let mut spool = Stepped::with_memory(OsDisk::default(), &scratch.config(), memory);
    for number in 0..100 {
        spool.leave(record(number, 100_000));
    }
    let budget = Arc::clone(&spool.budget);
    let others = budget.try_charge(memory).unwrap();
    let mut found = Vec::new();
    while spool.spool.has_backlog() {
        let replays = spool.replays();
        assert!(!replays.is_empty(), "the first chunk has its room");
        assert!(budget.used() - memory <= memory / 8 + 100_100, "{} past the bound", budget.used() - memory);
        found.extend(items(&replays));
        replays.iter().for_each(|replay| replay.custody.settled());
        drop(replays);
        spool.turn();
    }
    assert_eq!(found, (0..100).collect::<Vec<u64>>(), "each once, the oldest first");
    drop(others);
    assert_eq!(budget.used(), 0);
}

#[test]
fn with_room_no_more_is_read_ahead_than_a_chunk() {
    let scratch = Scratch::new("ahead");
    let mut spool = Stepped::new(OsDisk::default(), &scratch.config());
    for number in 0..60 {
        spool.leave(record(number, 500_000));
    }
    assert!(spool.spool.next_replay().is_none(), "it is asked for");
    spool.turn();
    assert!(spool.budget.used() <= SPILL_REPLAY_BYTES, "{}", spool.budget.used());
    let replays = spool.replays();
    assert_eq!(items(&replays), (0..60).collect::<Vec<u64>>());
}

#[test]
fn little_memory_is_not_filled_by_what_is_read_ahead() {
    let scratch = Scratch::new("little");
    let memory = 1 << 20;
    let mut spool = Stepped::with_memory(OsDisk::default(), &scratch.config(), memory);
    for number in 0..100 {
        spool.leave(record(number, 20_000));
    }
    let mut taken = Vec::new();
    for _ in 0..20 {
        taken.extend(spool.spool.next_replay());
        spool.turn();
        let ahead = spool.budget.used() - taken.len() * 20_000;
        assert!(ahead <= memory / 4, "{ahead} bytes of {memory}");
    }
    assert!(taken.len() > 18);
}
