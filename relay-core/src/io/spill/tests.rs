//! The log's thread over a real file system; its turns taken by hand where time or a fault matters, so that nothing here waits for luck.

use std::future::Future;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::Receiver;

use super::OsDisk;
use super::custody::{Command, NotStored, Storing};
use super::spool::{Replay, Spool};
use super::worker::{Next, Worker};
use crate::batch::{Custody, DropReason, Encoding, Ledger, Origin, Part};
use crate::config::{SpillConfig, WhenFull};
use crate::io::clock;
use crate::limits::{
    SPILL_ADOPT_INTERVAL, SPILL_READ_RETRY, SPILL_REPLAY_BYTES, SPILL_RETRY_MAX, SPILL_RETRY_MIN,
};
use crate::otlp::Signal;
use crate::queue::Budget;
use crate::spill::{Disk, NewRecord};

mod cores;
mod faulty;

use faulty::{Doing, Watched};

/// A directory of its own, removed at the end.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new(name: &str) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("relay-spool-{name}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    fn config(&self) -> SpillConfig {
        SpillConfig { free_bytes_min: 0, ..SpillConfig::new(self.path()) }
    }

    fn is_empty(&self) -> bool {
        self.files().is_empty()
    }

    /// All files below it.
    fn files(&self) -> Vec<PathBuf> {
        let (mut found, mut pending) = (Vec::new(), vec![self.0.clone()]);
        while let Some(dir) = pending.pop() {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { pending.push(path) } else { found.push(path) }
            }
        }
        found
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// A spool whose turns are taken by hand, in a time of its own.
struct Stepped<D: Disk> {
    spool: Arc<Spool>,
    worker: Option<Worker<D>>,
    commands: Receiver<Command>,
    budget: Arc<Budget>,
    ledgers: [Arc<Ledger>; 2],
    wakes: Arc<AtomicUsize>,
    now: Instant,
    unix_ms: u64,
}

const MEMORY: usize = 64 << 20;

/// For what other threads do.
const PATIENCE: Duration = Duration::from_secs(60);

impl<D: Disk> Stepped<D> {
    fn new(disk: D, config: &SpillConfig) -> Self {
        Self::with_memory(disk, config, MEMORY)
    }

    fn with_memory(disk: D, config: &SpillConfig, bytes: usize) -> Self {
        let (budget, ledgers) = (Budget::new(bytes), [Arc::default(), Arc::default()]);
        let wakes: Arc<AtomicUsize> = Arc::default();
        let count = Arc::clone(&wakes);
        let wake = Box::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let (spool, worker, commands) = Spool::on(
            (disk, Arc::default()),
            config,
            ("otlp/a", Signal::Traces),
            &budget,
            ledgers.clone(),
            wake,
        );
        let (now, unix_ms) = (clock::now() + Duration::from_millis(1), clock::unix_ms());
        Self { spool, worker: Some(worker), commands, budget, ledgers, wakes, now, unix_ms }
    }

    /// Lets the thread do what there is to do; until when it would wait then.
    fn turn(&mut self) -> Next {
        let worker = self.worker.as_mut().unwrap();
        for _ in 0..10_000 {
            self.commands.try_iter().for_each(|command| worker.take(command));
            match worker.turn(self.now, self.unix_ms) {
                Next::Turn => {}
                Next::End => {
                    self.worker = None;
                    return Next::End;
                }
                wait if self.commands.is_empty() => return wait,
                Next::Wait(_) => {}
            }
        }
        panic!("it goes on turning without getting anywhere");
    }

    fn pass(&mut self, time: Duration) -> Next {
        self.now += time;
        self.unix_ms += u64::try_from(time.as_millis()).unwrap();
        self.turn()
    }

    fn store(&mut self, record: NewRecord) -> Result<Arc<dyn Custody>, NotStored> {
        let mut storing = self.spool.store(record);
        self.turn();
        settled(&mut storing).expect("the turn has answered it")
    }

    /// Stores it and lets memory go of it.
    fn leave(&mut self, record: NewRecord) {
        self.store(record).unwrap().released();
        self.turn();
    }

    /// Takes what is read back until nothing comes.
    fn replays(&mut self) -> Vec<Replay> {
        let mut replays = Vec::new();
        for _ in 0..10_000 {
            match self.spool.next_replay() {
                Some(replay) => replays.push(replay),
                None => {
                    self.turn();
                    match self.spool.next_replay() {
                        Some(replay) => replays.push(replay),
                        None => return replays,
                    }
                }
            }
        }
        panic!("the backlog does not end");
    }

    fn wakes(&self) -> usize {
        self.wakes.swap(0, Ordering::Relaxed)
    }

    /// As a `kill -9`: nothing is closed, and the kernel takes back the locks.
    fn kill(mut self) {
        self.worker = None;
    }
}

/// What `storing` says, if it says anything yet.
fn settled(storing: &mut Storing) -> Option<Result<Arc<dyn Custody>, NotStored>> {
    match Pin::new(storing).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(stored) => Some(stored),
        Poll::Pending => None,
    }
}

/// One request of `items` items; its bytes say which.
fn record(items: u64, bytes: usize) -> NewRecord {
    let payload: Vec<u8> = items.to_be_bytes().into_iter().cycle().take(bytes).collect();
    NewRecord {
        signal: Signal::Traces,
        encoding: None,
        items,
        unix_ms: clock::unix_ms(),
        parts: vec![Part { bytes, items, origin: Origin::default() }],
        payload: crate::batch::Rope::new(vec![Bytes::from(payload)]),
    }
}

fn items(replays: &[Replay]) -> Vec<u64> {
    replays.iter().map(|replay| replay.record.items).collect()
}

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
    let (spool, worker, commands) = Spool::on(
        (disk.clone(), Arc::default()),
        &scratch.config(),
        ("otlp", Signal::Traces),
        &Budget::new(MEMORY),
        [Arc::default(), Arc::default()],
        Box::new(|| ()),
    );
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
fn what_a_process_has_left_is_adopted_after_a_close_and_after_a_kill() {
    let scratch = Scratch::new("adopt");
    for kills in [false, true] {
        let mut before = Stepped::new(OsDisk::default(), &scratch.config());
        before.leave(record(5, 1000));
        before.leave(NewRecord { encoding: Some(Encoding::Gzip), ..record(1, 1000) });
        let in_memory = before.store(record(9, 1000)).unwrap();
        before.store(record(11, 1000)).unwrap().settled();
        if kills {
            before.kill();
        } else {
            drop(in_memory);
            before.spool.close();
            assert_eq!(before.turn(), Next::End);
        }
        let mut after = Stepped::new(OsDisk::default(), &scratch.config());
        after.turn();
        let replays = after.replays();
        // What was settled in the moment of the kill may come again: nobody has written it down yet.
        let expected: &[u64] = if kills { &[5, 1, 9, 11] } else { &[5, 1, 9] };
        assert_eq!(items(&replays), expected, "killed: {kills}");
        let [of_items, of_unopened] = [0, 1].map(|at| after.ledgers[at].counts().recovered);
        assert_eq!((of_items, of_unopened), (expected.iter().sum::<u64>() - 1, 1));
        assert!(after.spool.stats().adopted_segments > 0 && after.wakes() > 0);
        replays.iter().for_each(|replay| replay.custody.settled());
        drop(replays);
        after.spool.close();
        assert_eq!(after.turn(), Next::End);
        assert!(scratch.is_empty(), "{:?}", scratch.files());
    }
}

/// A surge rollout: the new process runs beside the old one, and takes over when that ends.
#[test]
fn two_at_once_send_nothing_twice() {
    let scratch = Scratch::new("surge");
    let mut old = Stepped::new(OsDisk::default(), &scratch.config());
    old.leave(record(1, 100));
    let mut new = Stepped::new(OsDisk::default(), &scratch.config());
    let Next::Wait(Some(again)) = new.turn() else { panic!("it looks again while another is there") };
    assert_eq!(again, new.now + SPILL_ADOPT_INTERVAL);
    new.leave(record(2, 100));
    assert_eq!((items(&old.replays()), items(&new.replays())), (vec![1], vec![2]), "each its own");
    new.turn();
    new.pass(SPILL_ADOPT_INTERVAL);
    assert_eq!(new.spool.stats().adopted_segments, 0, "the other lives");
    old.turn();
    old.spool.close();
    assert_eq!(old.turn(), Next::End);
    new.pass(SPILL_ADOPT_INTERVAL);
    let replays = new.replays();
    let mut all = items(&replays);
    all.sort_unstable();
    assert_eq!(all, [1, 2]);
    replays.iter().for_each(|replay| replay.custody.settled());
    drop(replays);
    new.turn();
    new.pass(Duration::from_secs(10));
    assert_eq!(
        new.pass(Duration::from_secs(10)),
        Next::Wait(None),
        "nobody else is there, and nothing on disk"
    );
}

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
    let (spool, worker, commands) = Spool::on(
        (disk.clone(), Arc::default()),
        &scratch.config(),
        ("otlp", Signal::Traces),
        &Budget::new(MEMORY),
        [Arc::default(), Arc::default()],
        Box::new(|| ()),
    );
    disk.panic_at(Doing::Write);
    let mut storing = spool.store(record(1, 100));
    assert!(std::thread::spawn(move || worker.run(&commands)).join().is_err());
    assert_eq!(settled(&mut storing).unwrap().unwrap_err(), NotStored::Closed);
    assert!(!spool.is_taking() && spool.stats().fault.is_some_and(|fault| fault.contains("panicked")));
    assert!(spool.close().blocking_recv().is_err(), "nobody waits for it");
}

#[test]
fn a_start_says_what_is_wrong_with_its_directory_and_writes_nothing() {
    let scratch = Scratch::new("start");
    let start = |config: &SpillConfig| {
        let ledgers = [Arc::default(), Arc::default()];
        Spool::start(config, ("otlp", Signal::Logs), &Budget::new(MEMORY), ledgers, Box::new(|| ()))
    };
    let missing = scratch.path().join("missing");
    let error = start(&SpillConfig::new(&missing)).unwrap_err();
    assert!(error.to_string().contains(missing.to_str().unwrap()), "{error}");
    let spool = start(&scratch.config()).unwrap();
    spool.close().blocking_recv().unwrap();
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
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
