//! The per-core queues: own lane, stealing, and hand-off between two threads, awake and asleep.

#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a bench reads clocks, and stops if its set-up fails"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use relay_benches::{Allocator, criterion};
use relay_core::queue::{Budget, Lanes};
use tokio::runtime::Runtime;

#[global_allocator]
static ALLOCATOR: Allocator = mimalloc::MiMalloc;

/// Lanes, as on a node of four cores.
const CORES: usize = 4;
/// Items that a lane takes.
const LANE_ITEMS: usize = 1000;

fn main() {
    let mut criterion = criterion();
    let mut group = criterion.benchmark_group("queue");
    group.throughput(Throughput::Elements(1));
    let lanes = Lanes::new(CORES, LANE_ITEMS);
    group.bench_function("push-pop-own", |bencher| {
        bencher.iter(|| {
            lanes.push(0, black_box(1_u64)).expect("room");
            black_box(lanes.pop(0))
        });
    });
    group.bench_function("push-steal", |bencher| {
        bencher.iter(|| {
            lanes.push(0, black_box(1_u64)).expect("room");
            // The farthest thief looks into every other lane first.
            black_box(lanes.pop(1))
        });
    });
    group.bench_function("pop-nothing", |bencher| bencher.iter(|| black_box(lanes.pop(0))));
    let budget = Budget::child(&Budget::new(usize::MAX / 2), usize::MAX / 2);
    group.bench_function("charge-and-return", |bencher| {
        bencher.iter(|| black_box(budget.try_charge(black_box(4096)).is_some()));
    });
    group.bench_function("two-threads-awake", |bencher| bencher.iter_custom(two_threads_awake));
    group.bench_function("two-threads-asleep", |bencher| bencher.iter_custom(two_threads_asleep));
    group.finish();
    bench_contended(&mut criterion);
    criterion.final_summary();
}

/// A full lane that is worked off by its own core and by a thief at the same time.
fn bench_contended(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue-of-1000");
    group.throughput(Throughput::Elements(LANE_ITEMS as u64));
    let lanes = Lanes::new(CORES, LANE_ITEMS);
    group.bench_function("fill-and-drain", |bencher| {
        bencher.iter(|| {
            for item in 0..LANE_ITEMS {
                lanes.push(0, item).expect("room");
            }
            while let Some(item) = lanes.pop(0) {
                black_box(item);
            }
        });
    });
    group.finish();
}

/// One thread pushes as fast as there is room, this one pops without ever waiting.
fn two_threads_awake(items: u64) -> Duration {
    let lanes = Arc::new(Lanes::new(2, LANE_ITEMS));
    let producer = Arc::clone(&lanes);
    let started = Instant::now();
    let thread = std::thread::spawn(move || {
        for mut item in 0..items {
            while let Err(full) = producer.push(0, item) {
                item = full.0;
                std::thread::yield_now();
            }
        }
    });
    let mut left = items;
    while left > 0 {
        match lanes.pop(1) {
            Some(item) => {
                black_box(item);
                left -= 1;
            }
            None => std::thread::yield_now(),
        }
    }
    thread.join().expect("the producer does not panic");
    started.elapsed()
}

/// An item goes to another thread, which sleeps in its event loop, and back: twice a wake-up per item.
fn two_threads_asleep(items: u64) -> Duration {
    let lanes = Arc::new(Lanes::new(2, LANE_ITEMS));
    let other = Arc::clone(&lanes);
    let thread = std::thread::spawn(move || {
        runtime().block_on(async {
            for _ in 0..items {
                let item = take(&other, 1).await;
                other.push(0, item).expect("room");
            }
        });
    });
    let elapsed = runtime().block_on(async {
        let started = Instant::now();
        for item in 0..items {
            lanes.push(1, item).expect("room");
            black_box(take(&lanes, 0).await);
        }
        started.elapsed()
    });
    thread.join().expect("the other thread does not panic");
    elapsed
}

/// Takes an item that was pushed to this core, and sleeps until there is one.
async fn take(lanes: &Lanes<u64>, core: usize) -> u64 {
    loop {
        lanes.set_idle(core, true);
        // Only its own: with `pop` each side would steal back what it has just sent.
        if lanes.len_of(core) > 0
            && let Some(item) = lanes.pop(core)
        {
            lanes.set_idle(core, false);
            return item;
        }
        lanes.woken(core).await;
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
}
