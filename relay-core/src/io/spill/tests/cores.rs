//! Several threads at one spool, as the cores of a relay are.

use std::collections::HashSet;
use std::sync::{Arc, Condvar, Mutex};

use super::stepped::{PATIENCE, Scratch, record};
use crate::config::SpillConfig;
use crate::io::spill::Spool;
use crate::otlp::Signal;
use crate::queue::Budget;

/// How often cores were woken.
#[derive(Debug, Default)]
struct Wakes(Mutex<u64>, Condvar);

impl Wakes {
    fn wake(&self) {
        *self.0.lock().unwrap() += 1;
        self.1.notify_all();
    }

    fn count(&self) -> u64 {
        *self.0.lock().unwrap()
    }

    fn wait_beyond(&self, count: u64) {
        let waited = self.1.wait_timeout_while(self.0.lock().unwrap(), PATIENCE, |now| *now == count);
        assert!(!waited.unwrap().1.timed_out(), "nobody was woken");
    }
}

/// Cores that store, settle, let go, forget and replay at once. Whoever finds nothing to replay sleeps until it is woken, so a wake-up that
/// is missing is a failure.
#[test]
fn many_cores_lose_nothing_and_are_woken() {
    const CORES: u64 = 4;
    const EACH: u64 = 150;
    let scratch = Scratch::new("cores");
    let config = SpillConfig { fsync: false, segment_bytes_max: 64 << 10, ..scratch.config() };
    let (budget, ledgers, wakes) =
        (Budget::new(1 << 20), [Arc::default(), Arc::default()], Arc::<Wakes>::default());
    let of_spool = Arc::clone(&wakes);
    let wake = Box::new(move || of_spool.wake());
    let spool = Spool::start(&config, ("otlp", Signal::Traces), &budget, ledgers, wake).unwrap();
    // What was settled, and what was let go after it was read back.
    let done: Arc<Mutex<(Vec<u64>, HashSet<u64>)>> = Arc::default();
    let core = |core: u64| {
        let (spool, wakes, done) = (Arc::clone(&spool), Arc::clone(&wakes), Arc::clone(&done));
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            for id in core * EACH..(core + 1) * EACH {
                let custody = runtime.block_on(spool.store(record(id, 3000))).unwrap();
                match id % 3 {
                    0 => {
                        custody.settled();
                        done.lock().unwrap().0.push(id);
                    }
                    1 => custody.released(),
                    _ => drop(custody),
                }
            }
            loop {
                let woken = wakes.count();
                let is_over = || done.lock().unwrap().0.len() >= usize::try_from(CORES * EACH).unwrap();
                if is_over() {
                    return wakes.wake();
                }
                let Some(replay) = spool.next_replay() else {
                    wakes.wait_beyond(woken);
                    continue;
                };
                let id = replay.record.items;
                let mut done = done.lock().unwrap();
                if id % 5 != 0 || !done.1.insert(id) {
                    replay.custody.settled();
                    done.0.push(id);
                }
            }
        }
    };
    let threads: Vec<_> = (0..CORES).map(|number| std::thread::spawn(core(number))).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let mut settled = std::mem::take(&mut done.lock().unwrap().0);
    settled.sort_unstable();
    assert_eq!(settled, (0..CORES * EACH).collect::<Vec<u64>>(), "each once");
    spool.close().blocking_recv().unwrap();
    assert!(scratch.is_empty() && budget.used() == 0, "{:?} {}", scratch.files(), budget.used());
}
