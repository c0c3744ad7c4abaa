//! Two ways to do the same work, timed in turn in one run: what is left of a disturbance by other programs is small in the ratio of
//! the fastest rounds.

use std::time::{Duration, Instant};

use crate::is_measuring;

/// One round of one side takes about so long.
const ROUND: Duration = Duration::from_millis(4);
/// Rounds of each side.
const ROUNDS: u32 = 40;

/// What each side takes for one call.
#[derive(Clone, Copy, Debug)]
pub struct Sides {
    /// Nanoseconds of the first.
    pub ours: f64,
    /// Nanoseconds of the second.
    pub theirs: f64,
}

impl Sides {
    /// How often the first fits into the second.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.theirs / self.ours
    }
}

/// Times both, alternating; `None` when this run does not measure (each is called once then).
pub fn time(mut ours: impl FnMut(), mut theirs: impl FnMut()) -> Option<Sides> {
    if !is_measuring() {
        ours();
        theirs();
        return None;
    }
    let calls = (calls_per_round(&mut ours), calls_per_round(&mut theirs));
    let mut fastest = Sides { ours: f64::INFINITY, theirs: f64::INFINITY };
    for _ in 0..ROUNDS {
        fastest.ours = fastest.ours.min(nanos_per_call(&mut ours, calls.0));
        fastest.theirs = fastest.theirs.min(nanos_per_call(&mut theirs, calls.1));
    }
    Some(fastest)
}

/// Times both and prints a line: `what`, how many times faster than `baseline`, and both times per `units` (requests, say).
pub fn print(what: &str, baseline: &str, units: usize, ours: impl FnMut(), theirs: impl FnMut()) {
    let Some(sides) = time(ours, theirs) else { return };
    let each = |nanos: f64| nanos / units as f64;
    println!(
        "{what}: {:.1} times faster than {baseline} ({:.0} ns against {:.0} ns)",
        sides.ratio(),
        each(sides.ours),
        each(sides.theirs),
    );
}

fn calls_per_round(work: &mut impl FnMut()) -> u32 {
    let mut calls = 1;
    loop {
        let took = Duration::from_nanos((nanos_per_call(work, calls) * f64::from(calls)) as u64);
        if took >= ROUND / 2 || calls > 1 << 24 {
            return calls;
        }
        calls *= 2;
    }
}

fn nanos_per_call(work: &mut impl FnMut(), calls: u32) -> f64 {
    let start = Instant::now();
    for _ in 0..calls {
        work();
    }
    start.elapsed().as_nanos() as f64 / f64::from(calls)
}
