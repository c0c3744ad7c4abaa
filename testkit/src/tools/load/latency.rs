//! How long calls took: a histogram of fixed size, however many they are.
//!
//! Must never be off by more than its steps: exact below 2,048 microseconds, then at most 0.1 % too low.

/// Steps in each power of two, and exact values below twice that.
const STEPS: u64 = 1024;
const STEPS_LOG2: u32 = STEPS.ilog2();
/// Powers of two above: 2^32 microseconds are more than an hour.
const POWERS: usize = 32 - STEPS_LOG2 as usize;

/// Counts of latencies in microseconds; longer ones than 2^32 count as that.
#[derive(Debug)]
pub(super) struct Latencies {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { counts: vec![0; STEPS as usize * (POWERS + 1)], total: 0, max: 0 }
    }
}

impl Latencies {
    pub(super) fn record(&mut self, micros: u64) {
        let micros = micros.min(u64::from(u32::MAX));
        self.counts[place(micros)] += 1;
        self.total += 1;
        self.max = self.max.max(micros);
    }

    /// The value below or at which `share` of all lie (nearest rank), to the precision of the steps; 0 for none.
    pub(super) fn percentile(&self, share: f64) -> u64 {
        let rank = (self.total as f64 * share).ceil() as u64;
        let mut passed = 0;
        for (place, count) in self.counts.iter().enumerate() {
            passed += count;
            if *count > 0 && passed >= rank {
                return lowest(place);
            }
        }
        0
    }

    /// The longest, exactly.
    pub(super) fn max(&self) -> u64 {
        self.max
    }
}

/// Where a value is counted: itself below `2 * STEPS`, then by its highest bit and the `STEPS_LOG2` bits after it.
fn place(micros: u64) -> usize {
    let shift = (micros | STEPS).ilog2() - STEPS_LOG2;
    (u64::from(shift) * STEPS + (micros >> shift)) as usize
}

/// The lowest value that is counted at a place.
fn lowest(place: usize) -> u64 {
    let place = place as u64;
    let shift = (place / STEPS).saturating_sub(1);
    (place - shift * STEPS) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        let mut latencies = Latencies::default();
        assert_eq!((latencies.percentile(0.5), latencies.max()), (0, 0));
        (1..=100).rev().for_each(|micros| latencies.record(micros));
        let at = |share| latencies.percentile(share);
        assert_eq!((at(0.5), at(0.99), at(0.999), at(1.0)), (50, 99, 100, 100));
    }

    /// Guarantee: every value is counted where it belongs, and read back at most 0.1 % too low.
    #[test]
    fn values_are_read_back() {
        let values =
            (0..5_000).chain((0..32).map(|bit| (1 << bit) - 1)).chain((12..32).map(|bit| 5 << (bit - 2)));
        for micros in values {
            let mut latencies = Latencies::default();
            latencies.record(micros);
            let read = latencies.percentile(0.5);
            assert!(read <= micros && micros - read <= micros / 1_024, "{micros} read as {read}");
            assert!(micros >= 2_048 || read == micros);
        }
        let mut latencies = Latencies::default();
        latencies.record(u64::MAX);
        assert_eq!(latencies.max(), u64::from(u32::MAX));
    }
}
