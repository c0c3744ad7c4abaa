//! What fails: calls of the file system, syncs, the thread itself; and the order of syncs that makes the rest true.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use super::super::OsDisk;
use super::super::custody::NotStored;
use super::super::worker::Next;
use super::stepped::{Scratch, Stepped, items, record, settled, unstarted};
use crate::config::SpillConfig;
use crate::limits::{SPILL_READ_RETRY, SPILL_RETRY_MAX, SPILL_RETRY_MIN};

use super::faulty::{Doing, Watched};

#[test]
fn a_fault_is_reported_left_alone_for_longer_each_time_and_ends_by_itself() {
    let (scratch, disk) = (Scratch::new("fault"), Watched::default());
    let mut spool = Stepped::new(disk.clone(), &scratch.config());
    let kept = spool.store(record(1, 100)).unwrap();
    disk.fail(&[Doing::Write, Doing::Create], Some(ErrorKind::StorageFull));
    assert_eq!(spool.store(record(2, 100)).unwrap_err(), NotStored::Fault);
    let stats = spool.spool.stats();
    assert!(stats.fault.as_ref().is_some_and(|fault| fault.contains("no space")), "{:?}", stats.fault);
    assert_eq!(stats.stores_failed, 1);
    let mut pause = SPILL_RETRY_MIN;
    for _ in 0..7 {
        let tried = disk.tried();
        assert_eq!(spool.store(record(2, 100)).unwrap_err(), NotStored::Fault);
        assert_eq!(disk.tried(), tried, "the disk is left alone");
        spool.pass(pause);
        assert!(disk.tried() > tried && !spool.spool.is_taking());
        pause = (pause * 2).min(SPILL_RETRY_MAX);
    }
    disk.fail(&[], None);
    spool.wakes();
    spool.pass(pause - Duration::from_millis(1));
    assert!(!spool.spool.is_taking());
    spool.pass(Duration::from_millis(1));
    assert!(spool.spool.is_taking() && spool.wakes() > 0, "whoever has something to store is told");
    let stats = spool.spool.stats();
    assert_eq!(
        (stats.fault, stats.records, stats.stored_records),
        (None, 1, 1),
        "what it was tried with is nothing"
    );
    let stored = spool.store(record(2, 100)).unwrap();
    // What was stored before the fault is still there, and so is the new one.
    kept.released();
    stored.released();
    spool.turn();
    assert_eq!(items(&spool.replays()), [1, 2]);
}

#[test]
fn a_sync_that_fails_is_not_believed_the_next_time() {
    let (scratch, disk) = (Scratch::new("fsyncgate"), Watched::default());
    let mut spool = Stepped::new(disk.clone(), &scratch.config());
    spool.leave(record(1, 100));
    disk.fail_once(Doing::Sync, ErrorKind::Other);
    spool.leave(record(2, 100));
    let stats = spool.spool.stats();
    assert_eq!((stats.poisoned_segments, stats.stores_failed, stats.fault), (1, 0, None), "written again");
    spool.kill();
    let mut after = Stepped::new(OsDisk::default(), &scratch.config());
    after.turn();
    // What the sync has failed for may be there all the same; nobody was told so.
    let mut found = items(&after.replays());
    found.sort_unstable();
    found.dedup();
    assert_eq!(found, [1, 2]);
}

#[test]
fn what_cannot_be_read_now_is_read_later() {
    let (scratch, disk) = (Scratch::new("unreadable"), Watched::default());
    let mut spool = Stepped::new(disk.clone(), &scratch.config());
    spool.leave(record(1, 100));
    disk.fail(&[Doing::Read, Doing::Open], Some(ErrorKind::Other));
    assert!(spool.replays().is_empty());
    assert!(spool.spool.has_backlog());
    let tried = disk.tried();
    spool.turn();
    assert_eq!(disk.tried(), tried, "no spinning");
    disk.fail(&[], None);
    spool.wakes();
    spool.pass(SPILL_READ_RETRY);
    assert!(spool.wakes() > 0);
    assert_eq!(items(&spool.replays()), [1]);
}

#[test]
fn directories_are_synced_before_anybody_is_told() {
    let (scratch, disk) = (Scratch::new("order"), Watched::default());
    let mut spool = Stepped::new(disk.clone(), &scratch.config());
    let mut storing = spool.spool.store(record(1, 100));
    spool.turn();
    assert!(settled(&mut storing).unwrap().is_ok());
    let done = disk.done();
    let at = |doing: Doing, what: &str| {
        let found = done.iter().position(|(did, path)| *did == doing && path.ends_with(what));
        found.unwrap_or_else(|| panic!("no {doing:?} of {what} in {done:#?}"))
    };
    let (log, owner) = ("otlp%2Fa_traces", owner_of(scratch.path()));
    let segment = scratch.files().into_iter().find(|path| path.extension().is_some()).unwrap();
    let segment = segment.file_name().unwrap().to_str().unwrap();
    // The directory is locked before it has its name, and its name is safe before anything in it counts.
    assert!(at(Doing::Lock, "lock") < at(Doing::Rename, &owner));
    assert!(at(Doing::Rename, &owner) < at(Doing::SyncDir, log));
    assert!(at(Doing::Create, segment) < at(Doing::Write, segment));
    assert!(at(Doing::Write, segment) < at(Doing::Sync, segment));
    assert!(at(Doing::Create, segment) < at(Doing::SyncDir, &owner));
    // The directories above are new too.
    at(Doing::SyncDir, scratch.path().file_name().unwrap().to_str().unwrap());
}

/// The name of the only owner.
fn owner_of(directory: &Path) -> String {
    let log = std::fs::read_dir(directory).unwrap().next().unwrap().unwrap().path();
    let owner = std::fs::read_dir(log).unwrap().next().unwrap().unwrap();
    owner.file_name().into_string().unwrap()
}

#[test]
fn without_fsync_nothing_is_synced() {
    let (scratch, disk) = (Scratch::new("nosync"), Watched::default());
    let config = SpillConfig { fsync: false, ..scratch.config() };
    let mut spool = Stepped::new(disk.clone(), &config);
    spool.leave(record(1, 100));
    spool.replays().iter().for_each(|replay| replay.custody.settled());
    spool.turn();
    spool.pass(Duration::from_secs(5));
    spool.spool.close();
    assert_eq!(spool.turn(), Next::End);
    assert_eq!((disk.count(Doing::Sync), disk.count(Doing::SyncDir)), (0, 0), "{:#?}", disk.done());
    assert!(disk.count(Doing::Write) > 0);
}

#[test]
fn a_thread_that_panics_says_so_and_keeps_nobody_waiting() {
    let (scratch, disk) = (Scratch::new("panic"), Watched::default());
    let (spool, worker, commands) = unstarted(&disk, &scratch);
    disk.panic_at(Doing::Write);
    let mut storing = spool.store(record(1, 100));
    assert!(std::thread::spawn(move || worker.run(&commands)).join().is_err());
    assert_eq!(settled(&mut storing).unwrap().unwrap_err(), NotStored::Closed);
    assert!(!spool.is_taking() && spool.stats().fault.is_some_and(|fault| fault.contains("panicked")));
    assert!(spool.close().blocking_recv().is_err(), "nobody waits for it");
}
