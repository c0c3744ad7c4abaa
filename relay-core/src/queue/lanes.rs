//! Per-core bounded lock-free queues with stealing: each core pushes into its own lane; a consumer takes from its own
//! lane first and from the others when that one is empty, so that one busy core still uses every sender.
//!
//! No lock is ever taken and no consumer polls: a consumer that found nothing marks itself idle and waits to be woken.
//!
//! Memory order: a consumer stores `idle` and then looks at all lanes; a producer pushes and then reads `idle`. Both
//! pairs are SeqCst, so at least one of them sees the other and no wake-up is lost.

use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender};
use tokio::sync::Notify;

/// The lane is full; the item comes back.
#[derive(Debug)]
pub struct Full<T>(pub T);

/// One bounded queue per core.
#[derive(Debug)]
pub struct Lanes<T> {
    lanes: Box<[Lane<T>]>,
    items_max: usize,
}

#[derive(Debug)]
struct Lane<T> {
    sender: Sender<T>,
    receiver: Receiver<T>,
    idle: AtomicBool,
    // Its consumer is gone for good.
    abandoned: AtomicBool,
    wake: Notify,
}

impl<T> Lanes<T> {
    /// `cores` lanes of `items_max` items each.
    pub fn new(cores: usize, items_max: usize) -> Self {
        let lane = || {
            // crossbeam's bounded channel is an array that is written when it is made: with 1,000 batches for each of 64 cores
            // tens of MiB that an idle node would hold. Its list grows by blocks of 31; the bound is ours.
            let (sender, receiver) = crossbeam_channel::unbounded();
            let (idle, abandoned) = (AtomicBool::new(false), AtomicBool::new(false));
            Lane { sender, receiver, idle, abandoned, wake: Notify::new() }
        };
        Self { lanes: (0..cores).map(|_| lane()).collect(), items_max }
    }

    /// Puts `item` into the lane of `core` and wakes one idle consumer: the core's own, or another one when the own is
    /// busy or the lane backs up.
    ///
    /// # Errors
    /// [`Full`] with the item when the lane has no room (or `core` does not exist). Producers that push into one lane at the
    /// same moment may each take its last place.
    pub fn push(&self, core: usize, item: T) -> Result<(), Full<T>> {
        let Some(lane) = self.lanes.get(core) else { return Err(Full(item)) };
        if lane.sender.len() >= self.items_max {
            return Err(Full(item));
        }
        // It has a receiver as long as these lanes live.
        lane.sender.send(item).map_err(|refused| Full(refused.0))?;
        let own_was_idle = lane.rouse();
        if !own_was_idle || lane.receiver.len() > 1 {
            self.lanes.iter().find(|other| other.rouse());
        }
        Ok(())
    }

    /// Takes the oldest item of the lane of `core`, else one of another core's.
    pub fn pop(&self, core: usize) -> Option<T> {
        let own = self.lanes.get(core)?.receiver.try_recv().ok();
        own.or_else(|| {
            let others = self.lanes.iter().cycle().skip(core + 1).take(self.lanes.len().saturating_sub(1));
            others.into_iter().find_map(|lane| lane.receiver.try_recv().ok())
        })
    }

    /// Items waiting for `core`: in its lane, and in those whose consumer is gone.
    pub fn len_of(&self, core: usize) -> usize {
        let lanes = self.lanes.iter().enumerate();
        let waiting = lanes.filter(|(at, lane)| *at == core || lane.abandoned.load(Ordering::SeqCst));
        waiting.map(|(_, lane)| lane.receiver.len()).sum()
    }

    /// Says that the consumer of `core` is gone: the others are woken to take what is in its lane.
    pub fn abandon(&self, core: usize) {
        if let Some(lane) = self.lanes.get(core) {
            lane.abandoned.store(true, Ordering::SeqCst);
        }
        self.lanes.iter().for_each(|lane| lane.wake.notify_one());
    }

    /// Whether the lane of `core` takes no more.
    pub fn is_full(&self, core: usize) -> bool {
        self.lanes.get(core).is_none_or(|lane| lane.sender.len() >= self.items_max)
    }

    /// Items waiting in all lanes.
    pub fn len(&self) -> usize {
        self.lanes.iter().map(|lane| lane.receiver.len()).sum()
    }

    /// Whether nothing waits anywhere.
    pub fn is_empty(&self) -> bool {
        self.lanes.iter().all(|lane| lane.receiver.is_empty())
    }

    /// Says that the consumer of `core` is about to wait. Call [`Lanes::pop`] once more after it, then
    /// [`Lanes::woken`]: an item pushed in between is seen by one of the two.
    pub fn set_idle(&self, core: usize, idle: bool) {
        if let Some(lane) = self.lanes.get(core) {
            lane.idle.store(idle, Ordering::SeqCst);
        }
    }

    /// Resolves when the consumer of `core` has been woken. A wake-up before the call is not lost.
    pub async fn woken(&self, core: usize) {
        match self.lanes.get(core) {
            Some(lane) => lane.wake.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Wakes the consumer of `core`, idle or not: for what is not in a lane (an open batch, a drain).
    pub fn wake(&self, core: usize) {
        if let Some(lane) = self.lanes.get(core) {
            lane.wake.notify_one();
        }
    }
}

impl<T> Lane<T> {
    fn rouse(&self) -> bool {
        let was_idle = self.idle.swap(false, Ordering::SeqCst);
        if was_idle {
            self.wake.notify_one();
        }
        was_idle
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn own_lane_first_then_steal() {
        let lanes = Lanes::new(3, 4);
        lanes.push(0, 'a').unwrap();
        lanes.push(1, 'b').unwrap();
        lanes.push(0, 'c').unwrap();
        assert_eq!(
            [lanes.pop(1), lanes.pop(1), lanes.pop(2), lanes.pop(2)],
            [Some('b'), Some('a'), Some('c'), None]
        );
    }

    #[test]
    fn a_full_lane_gives_the_item_back() {
        let lanes = Lanes::new(2, 1);
        lanes.push(0, 1).unwrap();
        assert!(lanes.is_full(0) && !lanes.is_full(1));
        assert!(matches!(lanes.push(0, 2), Err(Full(2))));
        assert!(matches!(lanes.push(9, 3), Err(Full(3))));
        assert_eq!((lanes.len(), lanes.len_of(0)), (1, 1));
    }

    /// What a consumer leaves behind is the others' to empty, and they are told.
    #[tokio::test]
    async fn an_abandoned_lane_counts_for_the_others() {
        let lanes = Lanes::new(2, 8);
        lanes.push(0, 'x').unwrap();
        assert_eq!(lanes.len_of(1), 0);
        lanes.abandon(0);
        lanes.woken(1).await;
        assert_eq!((lanes.len_of(1), lanes.pop(1), lanes.len_of(1)), (1, Some('x'), 0));
    }

    /// A busy owner's second item wakes an idle neighbour.
    #[tokio::test]
    async fn a_backed_up_lane_wakes_a_thief() {
        let lanes = Lanes::new(2, 8);
        lanes.set_idle(1, true);
        lanes.push(0, 'x').unwrap();
        lanes.woken(1).await;
        assert_eq!(lanes.pop(1), Some('x'));
    }

    /// Two producers and two consumers on real threads: every item arrives once, and nobody sleeps for ever.
    #[test]
    fn nothing_is_lost_and_no_wake_up_is_missed() {
        const ITEMS: u64 = 20_000;
        let lanes = Arc::new(Lanes::new(2, 16));
        let sum = Arc::new(AtomicU64::new(0));
        let count = Arc::new(AtomicU64::new(0));
        let threads: Vec<_> = (0..2)
            .map(|core| {
                let (lanes, sum, count) = (Arc::clone(&lanes), Arc::clone(&sum), Arc::clone(&count));
                std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                    runtime.block_on(async {
                        while count.load(Ordering::SeqCst) < 2 * ITEMS {
                            let item = lanes.pop(core).or_else(|| {
                                lanes.set_idle(core, true);
                                lanes.pop(core)
                            });
                            let Some(item) = item else {
                                lanes.woken(core).await;
                                continue;
                            };
                            sum.fetch_add(item, Ordering::SeqCst);
                            if count.fetch_add(1, Ordering::SeqCst) + 1 == 2 * ITEMS {
                                lanes.wake(1 - core);
                            }
                        }
                    });
                })
            })
            .collect();
        let producers: Vec<_> = (0..2)
            .map(|core| {
                let lanes = Arc::clone(&lanes);
                std::thread::spawn(move || {
                    for mut item in 1..=ITEMS {
                        while let Err(Full(back)) = lanes.push(core, item) {
                            item = back;
                            std::thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        for thread in producers.into_iter().chain(threads) {
            thread.join().unwrap();
        }
        assert_eq!(sum.load(Ordering::SeqCst), ITEMS * (ITEMS + 1));
    }
}
