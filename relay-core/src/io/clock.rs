//! The clock and the dice: the only place of the crate that asks the operating system for either.

use std::cell::Cell;
use std::time::{Duration, Instant};

#[cfg(feature = "simulation")]
pub(crate) use super::simulation::{dice_seed, now, wall};
#[cfg(not(feature = "simulation"))]
pub(crate) use real::{dice_seed, now, wall};

#[cfg_attr(feature = "simulation", expect(dead_code, reason = "a simulation has its own"))]
mod real {
    use std::hash::{BuildHasher, Hasher, RandomState};
    use std::time::{Instant, SystemTime};

    /// The monotonic time.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one clock of the crate; everything else is told the time"
    )]
    pub(crate) fn now() -> Instant {
        Instant::now()
    }

    /// The time of day, which may jump: only to compare with what a peer says as a date.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one clock of the crate; everything else is told the time"
    )]
    pub(crate) fn wall() -> SystemTime {
        SystemTime::now()
    }

    /// The standard library seeds every RandomState from the operating system.
    pub(crate) fn dice_seed() -> u64 {
        RandomState::new().build_hasher().finish()
    }
}

/// Milliseconds since 1970, for what outlives the process.
pub(crate) fn unix_ms() -> u64 {
    let since = wall().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Sleeps until `at`.
pub(crate) async fn sleep_until(at: Instant) {
    tokio::time::sleep_until(at.into()).await;
}

/// Blocks this thread, and so its core.
pub(crate) fn block(pause: Duration) {
    std::thread::sleep(pause);
}

/// Random numbers for jitter; not for secrets.
#[derive(Debug)]
pub(crate) struct Dice(Cell<u64>);

impl Dice {
    pub(crate) fn new() -> Self {
        Self(Cell::new(dice_seed() | 1))
    }

    /// Uniform in 0..1 (xorshift64*, Vigna 2016).
    #[expect(clippy::cast_precision_loss, reason = "53 bits are what an f64 holds exactly")]
    pub(crate) fn roll(&self) -> f64 {
        let mut x = self.0.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.0.set(x);
        (x.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rolls_fill_the_range() {
        let dice = Dice::new();
        let rolls: Vec<f64> = (0..1000).map(|_| dice.roll()).collect();
        assert!(rolls.iter().all(|roll| (0.0..1.0).contains(roll)));
        assert!(rolls.iter().any(|roll| *roll < 0.1) && rolls.iter().any(|roll| *roll > 0.9));
    }
}
