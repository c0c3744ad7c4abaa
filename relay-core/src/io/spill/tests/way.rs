//! The way of a record: stored with others, answered, settled or read back; and what costs nothing.

use std::sync::Arc;

use bytes::Bytes;

use super::super::OsDisk;
use super::super::custody::{NotStored, Storing};
use super::super::spool::Spool;
use super::super::worker::Next;
use super::stepped::{MEMORY, PATIENCE, Scratch, Stepped, items, record, settled, unstarted};
use crate::batch::{Encoding, Origin, Part};
use crate::otlp::Signal;
use crate::queue::Budget;
use crate::spill::NewRecord;

use super::faulty::{Doing, Watched};

#[test]
fn with_nothing_to_store_nothing_is_written_and_nothing_ticks() {
    let scratch = Scratch::new("idle");
    let mut spool = Stepped::new(OsDisk::default(), &scratch.config());
    assert_eq!(spool.turn(), Next::Wait(None), "no tick");
    assert!(spool.spool.is_taking() && !spool.spool.has_backlog() && spool.spool.next_replay().is_none());
    let mut closing = spool.spool.close();
    assert_eq!(spool.turn(), Next::End);
    assert_eq!(closing.try_recv(), Ok(()));
    assert!(scratch.is_empty(), "{:?}", scratch.files());
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "no directory of ours either");
    assert_eq!(spool.wakes(), 0);
}

#[test]
fn all_stores_that_wait_are_synced_once() {
    let (scratch, disk) = (Scratch::new("group"), Watched::default());
    let mut spool = Stepped::new(disk.clone(), &scratch.config());
    let first = spool.store(record(1, 100)).unwrap();
    assert_eq!(disk.count(Doing::Sync), 1);
    let mut storing: Vec<Storing> = (0..200).map(|items| spool.spool.store(record(items, 1000))).collect();
    spool.turn();
    assert_eq!(disk.count(Doing::Sync), 2, "200 writers, one sync");
    let custodies: Vec<_> = storing.iter_mut().map(|storing| settled(storing).unwrap().unwrap()).collect();
    let stats = spool.spool.stats();
    assert_eq!((stats.records, stats.stored_records, stats.items), (201, 201, 199 * 100 + 1));
    assert!(stats.written_bytes >= 200_100 && stats.bytes >= stats.written_bytes);
    custodies.iter().for_each(|custody| custody.settled());
    first.settled();
    spool.turn();
    assert_eq!(spool.spool.stats().records, 0);
}

/// The thread itself: while one group is synced the others gather.
#[test]
fn stores_that_come_during_a_sync_are_the_next_group() {
    let (scratch, disk) = (Scratch::new("thread"), Watched::default());
    let gate = disk.hold(Doing::Sync);
    let (spool, worker, commands) = unstarted(&disk, &scratch);
    let thread = std::thread::spawn(move || worker.run(&commands));
    let first = spool.store(record(1, 100));
    gate.wait_until_reached();
    let others: Vec<Storing> = (0..100).map(|items| spool.store(record(items, 100))).collect();
    gate.open();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let waiting = async {
        let mut custodies = vec![first.await.unwrap()];
        for other in others {
            custodies.push(other.await.unwrap());
        }
        custodies
    };
    let custodies = runtime.block_on(async { tokio::time::timeout(PATIENCE, waiting).await.unwrap() });
    assert_eq!(disk.count(Doing::Sync), 2, "101 stores, two syncs");
    custodies.iter().for_each(|custody| custody.settled());
    drop(custodies);
    // Nobody is left who could say anything: the thread closes the log and ends.
    drop(spool);
    thread.join().unwrap();
    assert!(scratch.is_empty(), "all was settled: {:?}", scratch.files());
}

#[test]
fn what_is_released_comes_back_in_order_and_is_gone_when_it_is_settled() {
    let scratch = Scratch::new("roundtrip");
    let mut spool = Stepped::new(OsDisk::default(), &scratch.config());
    let two = vec![
        Part { bytes: 3, items: 4, origin: Origin::default() },
        Part { bytes: 5, items: 6, origin: Origin::default() },
    ];
    let merged = NewRecord { parts: two.clone(), ..record(10, 8) };
    let sent = NewRecord { encoding: Some(Encoding::Zstd), ..record(1, 70_000) };
    spool.leave(merged);
    spool.leave(sent);
    assert!(spool.wakes() > 0, "there is something to be sent");
    spool.leave(record(3, 0));
    let replays = spool.replays();
    assert_eq!(items(&replays), [10, 1, 3]);
    assert_eq!((&replays[0].record.parts, replays[0].record.encoding), (&two, None));
    assert_eq!(replays[0].record.payload, Bytes::copy_from_slice(&10_u64.to_be_bytes()));
    assert_eq!((replays[1].record.payload.len(), replays[1].record.encoding), (70_000, Some(Encoding::Zstd)));
    assert!(spool.budget.used() >= 70_008, "what is read back is charged: {}", spool.budget.used());
    let stats = spool.spool.stats();
    assert_eq!((stats.replayed_records, stats.replayed_items, stats.records), (3, 14, 3));
    replays.iter().for_each(|replay| replay.custody.settled());
    drop(replays);
    spool.turn();
    assert_eq!((spool.spool.stats().records, spool.budget.used()), (0, 0));
    assert!(!spool.spool.has_backlog());
    let mut closing = spool.spool.close();
    assert_eq!(spool.turn(), Next::End);
    assert_eq!(closing.try_recv(), Ok(()));
    assert!(scratch.is_empty(), "{:?}", scratch.files());
}

/// A call may end before the store does: then the store is not wanted any more.
#[test]
fn what_is_delivered_first_is_not_stored() {
    let (scratch, disk) = (Scratch::new("first"), Watched::default());
    let mut spool = Stepped::new(disk.clone(), &scratch.config());
    drop(spool.spool.store(record(1, 100)));
    spool.turn();
    assert_eq!((disk.count(Doing::Write), scratch.files().len()), (0, 0), "not a byte");
    // It was written, and nobody has heard of it.
    let storing = spool.spool.store(record(2, 100));
    spool.turn();
    assert_eq!(spool.spool.stats().records, 1);
    drop(storing);
    spool.turn();
    assert_eq!(spool.spool.stats().records, 0, "settled");
    assert!(spool.replays().is_empty(), "and not sent again");
}

#[test]
fn a_custody_that_is_forgotten_is_released() {
    let scratch = Scratch::new("forgotten");
    let mut spool = Stepped::new(OsDisk::default(), &scratch.config());
    drop(spool.store(record(7, 100)).unwrap());
    spool.turn();
    let replays = spool.replays();
    assert_eq!(items(&replays), [7]);
    drop(replays);
    spool.turn();
    assert_eq!(items(&spool.replays()), [7], "and again");
}

#[test]
fn the_log_closes_when_all_that_was_given_is_done() {
    let scratch = Scratch::new("close");
    let mut spool = Stepped::new(OsDisk::default(), &scratch.config());
    spool.leave(record(1, 100));
    spool.leave(record(2, 100));
    let replay = spool.replays().remove(0);
    let custody = spool.store(record(3, 100)).unwrap();
    let mut closing = spool.spool.close();
    assert!(matches!(spool.turn(), Next::Wait(_)));
    assert!(closing.try_recv().is_err() && spool.spool.next_replay().is_none() && !spool.spool.has_backlog());
    custody.settled();
    assert!(matches!(spool.turn(), Next::Wait(_)));
    assert!(closing.try_recv().is_err(), "one is still in memory");
    drop(replay);
    assert_eq!(spool.turn(), Next::End);
    assert_eq!(closing.try_recv(), Ok(()));
    assert_eq!(spool.spool.stats().records, 2, "what is left for whoever comes next");
    let mut late = spool.spool.store(record(4, 100));
    drop(std::mem::replace(&mut spool.commands, crossbeam_channel::never()));
    assert_eq!(settled(&mut late).unwrap().unwrap_err(), NotStored::Closed);
    let mut next = Stepped::new(OsDisk::default(), &scratch.config());
    next.turn();
    assert_eq!(items(&next.replays()), [1, 2]);
}

#[test]
fn a_spool_that_is_started_works_and_measures_its_syncs() {
    let scratch = Scratch::new("started");
    let (budget, ledgers) = (Budget::new(MEMORY), [Arc::default(), Arc::default()]);
    let (said, heard) = crossbeam_channel::bounded(100);
    let wake = Box::new(move || said.try_send(()).unwrap_or_default());
    let spool = Spool::start(&scratch.config(), ("otlp", Signal::Logs), &budget, ledgers, wake).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let storing = spool.store(record(5, 1000));
    let custody = runtime.block_on(async { tokio::time::timeout(PATIENCE, storing).await.unwrap() });
    custody.unwrap().released();
    let replay = loop {
        match spool.next_replay() {
            Some(replay) => break replay,
            None => heard.recv_timeout(PATIENCE).expect("a wake-up when there is something"),
        }
    };
    assert_eq!(replay.record.items, 5);
    replay.custody.settled();
    spool.close().blocking_recv().unwrap();
    let stats = spool.stats();
    assert!(stats.syncs > 0 && stats.sync_nanos > 0);
    assert_eq!(stats.sync_buckets.iter().sum::<u64>(), stats.syncs);
    assert!(scratch.is_empty(), "{:?}", scratch.files());
}
