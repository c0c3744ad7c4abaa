//! What dead processes have left, living ones beside, and a directory that cannot be used.

use std::sync::Arc;
use std::time::Duration;

use super::super::OsDisk;
use super::super::spool::Spool;
use super::super::worker::Next;
use super::stepped::{MEMORY, Scratch, Stepped, items, record};
use crate::batch::Encoding;
use crate::config::SpillConfig;
use crate::limits::SPILL_ADOPT_INTERVAL;
use crate::otlp::Signal;
use crate::queue::Budget;
use crate::spill::NewRecord;

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
