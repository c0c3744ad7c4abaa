//! The whole relay in worlds that break by seed, in virtual time: clients and servers on h2, a relay of several cores between them,
//! partitions, slow and half-open servers, resets in mid-message, restarts and crashes. After every run all is added up: accepted =
//! delivered + held + dropped by reason, by the account of those who sent and those who received.
//!
//! ```text
//! cargo test -p relay-core --features simulation --test simulation                   # 20 seeds
//! SIMULATION_SEEDS=1000 cargo test ...                                               # as CI does
//! SIMULATION_SEED=42 cargo test ... -- --nocapture                                   # one, with its log of events
//! ```

#![cfg(test)]

mod client;
mod judge;
mod plan;
mod relay;
mod server;
mod truth;
mod world;

use std::cell::RefCell;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use world::{Report, run};

thread_local! {
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// What has panicked on this thread since this was asked last: tokio keeps the panics of tasks to itself.
fn panics() -> Vec<String> {
    PANICS.take()
}

fn catch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.with_borrow_mut(|panics| panics.push(info.to_string()));
            before(info);
        }));
    });
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

fn print(seed: u64, report: &Report) {
    for (at, line) in &report.log {
        println!("{:>10.3} s  {line}", at.as_secs_f64());
    }
    println!("seed {seed}: {} spans, {:016x}", report.spans, report.digest());
}

/// Every seed's world adds up. A seed that does not is named, and can be replayed.
#[test]
fn books_add_up_in_every_world() {
    catch_panics();
    if let Some(seed) = number("SIMULATION_SEED") {
        let report = run(seed);
        print(seed, &report);
        assert!(report.violations.is_empty(), "seed {seed}: {:#?}", report.violations);
        return;
    }
    let (first, count) = (number("SIMULATION_FIRST").unwrap_or(0), number("SIMULATION_SEEDS").unwrap_or(20));
    let (next, spans) = (AtomicU64::new(first), AtomicUsize::new(0));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let failed: Vec<String> = std::thread::scope(|scope| {
        let work = || {
            let mut failed = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= first + count {
                    return failed;
                }
                let report = run(seed);
                spans.fetch_add(report.spans, Ordering::Relaxed);
                failed.extend(report.violations.first().map(|first| format!("seed {seed}: {first}")));
            }
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    println!("{count} worlds, {} spans", spans.load(Ordering::Relaxed));
    assert!(
        failed.is_empty(),
        "{} of {count} worlds do not add up; replay one with SIMULATION_SEED=<seed>:\n{}",
        failed.len(),
        failed.join("\n")
    );
}

/// A failing seed is worth something because it fails again.
#[test]
fn the_same_seed_is_the_same_run() {
    catch_panics();
    for seed in 0..10 {
        let (first, second) = (run(seed), run(seed));
        let differs = first.log.iter().zip(&second.log).find(|(a, b)| a != b);
        assert_eq!(first.digest(), second.digest(), "seed {seed}: {differs:#?}");
    }
}
