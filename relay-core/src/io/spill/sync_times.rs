//! How long syncs take, in the classes that are shown. Must never block: it is written beside the sync.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::stats::SYNC_BOUNDS_MICROS;

/// Counters of one log's syncs.
#[derive(Debug, Default)]
pub(super) struct SyncTimes {
    nanos: AtomicU64,
    classes: [AtomicU64; SYNC_BOUNDS_MICROS.len() + 1],
}

/// What [`SyncTimes`] say at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SyncCounts {
    pub(super) count: u64,
    pub(super) nanos: u64,
    /// Those of each class, none of them in two.
    pub(super) classes: [u64; SYNC_BOUNDS_MICROS.len() + 1],
}

impl SyncTimes {
    pub(super) fn add(&self, took: Duration) {
        let class = SYNC_BOUNDS_MICROS.partition_point(|bound| Duration::from_micros(*bound) < took);
        if let Some(count) = self.classes.get(class) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self) -> SyncCounts {
        let classes = self.classes.each_ref().map(|count| count.load(Ordering::Relaxed));
        SyncCounts { count: classes.iter().sum(), nanos: self.nanos.load(Ordering::Relaxed), classes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_is_in_the_first_class_that_holds_it() {
        let times = SyncTimes::default();
        for micros in [0, 250, 251, 1_000_000, 1_000_001, u64::from(u32::MAX)] {
            times.add(Duration::from_micros(micros));
        }
        let counts = times.snapshot();
        assert_eq!(counts.count, 6);
        assert_eq!(counts.classes, [2, 1, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(counts.nanos, (250 + 251 + 1_000_000 + 1_000_001 + u64::from(u32::MAX)) * 1000);
    }
}
