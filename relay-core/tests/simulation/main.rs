//! The whole relay in worlds that break by seed, in virtual time: clients and servers on h2, a relay of several cores between them,
//! partitions, slow and half-open servers, resets in mid-message, restarts and crashes. After every run all is added up: accepted =
//! delivered + held + dropped by reason, by the account of those who sent and those who received.
//!
//! ```text
//! cargo test -p relay-core --features simulation --test simulation                   # 20 seeds
//! SIMULATION_SEEDS=1000 cargo test ...                                               # as CI does
//! SIMULATION_SEED=42 cargo test ... -- --nocapture                                   # one, with its log (SIMULATION_LOG=debug: more)
//! ```

#![cfg(test)]

mod client;
mod judge;
mod names;
mod plan;
mod relay;
mod server;
mod truth;
mod world;

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Once, OnceLock};

use tokio::time::Instant;
use tracing::Level;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use world::run;

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

/// Shows the log of a world while it runs, by its own time.
fn show_log() {
    let level = std::env::var("SIMULATION_LOG").map_or(Level::INFO, |level| level.parse().unwrap());
    tracing_subscriber::fmt().with_max_level(level).with_timer(WorldTime).with_ansi(false).init();
}

struct WorldTime;

impl FormatTime for WorldTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        static BEGINNING: OnceLock<Instant> = OnceLock::new();
        let at = Instant::now() - *BEGINNING.get_or_init(Instant::now);
        write!(writer, "{:>8.3} s", at.as_secs_f64())
    }
}

/// Every seed's world adds up. A seed that does not is named, and can be replayed.
#[test]
fn books_add_up_in_every_world() {
    catch_panics();
    if let Some(seed) = number("SIMULATION_SEED") {
        show_log();
        let report = run(seed);
        println!("seed {seed}: {} spans, {:016x}", report.spans, report.digest());
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
