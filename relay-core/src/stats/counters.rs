//! The counters behind the stats: each core writes its own, and whoever asks adds them up.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Counted, ReceiverStats, RejectReason, UpstreamStats};
use crate::otlp::Signal;

/// A counter that one core writes and anybody reads.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        // Relaxed: counters order nothing.
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn sub(&self, less: u64) {
        self.0.fetch_sub(less, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
struct SignalCounters {
    accepted_items: Counter,
    refused_items: Counter,
    accepted_requests: Counter,
    accepted_unopened: Counter,
    refused_unopened: Counter,
}

/// The counters of one transport of a receiver on one core; aligned so that cores do not share a cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct ReceiverCounters {
    pub(crate) connections: Counter,
    signals: [SignalCounters; Signal::ALL.len()],
    rejected_requests: [Counter; RejectReason::ALL.len()],
}

impl ReceiverCounters {
    pub(crate) fn accept(&self, counted: Counted) {
        if let Some(counters) = self.signals.get(counted.signal as usize) {
            counters.accepted_items.add(counted.items);
            counters.accepted_requests.add(1);
            counters.accepted_unopened.add(counted.unopened);
        }
    }

    /// A request answered with an error, and its items if they were ever counted.
    pub(crate) fn reject(&self, reason: RejectReason, counted: Option<Counted>) {
        if let Some(counter) = self.rejected_requests.get(reason as usize) {
            counter.add(1);
        }
        if let Some(counted) = counted
            && let Some(counters) = self.signals.get(counted.signal as usize)
        {
            counters.refused_items.add(counted.items);
            counters.refused_unopened.add(counted.unopened);
        }
    }

    pub(crate) fn add_to(&self, stats: &mut ReceiverStats) {
        for (sum, counters) in stats.signals.iter_mut().zip(&self.signals) {
            sum.accepted_items += counters.accepted_items.get();
            sum.refused_items += counters.refused_items.get();
            sum.accepted_requests += counters.accepted_requests.get();
            sum.accepted_unopened += counters.accepted_unopened.get();
            sum.refused_unopened += counters.refused_unopened.get();
        }
        stats.connections += self.connections.get();
        for (sum, counter) in stats.rejected_requests.iter_mut().zip(&self.rejected_requests) {
            *sum += counter.get();
        }
    }
}

/// The counters of one upstream on one core, besides its ledger.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct UpstreamCounters {
    pub(crate) enqueue_failed_items: Counter,
    pub(crate) enqueue_failed_unopened: Counter,
    pub(crate) calls: Counter,
    pub(crate) attempts: Counter,
    pub(crate) retries: Counter,
    pub(crate) isolating_calls: Counter,
    pub(crate) isolated_requests: Counter,
    pub(crate) panics: Counter,
    pub(crate) connects: Counter,
    pub(crate) size_triggers: Counter,
    pub(crate) timeout_triggers: Counter,
    pub(crate) batch_items: Counter,
    pub(crate) batch_bytes: Counter,
}

impl UpstreamCounters {
    pub(crate) fn add_to(&self, stats: &mut UpstreamStats) {
        stats.enqueue_failed_items += self.enqueue_failed_items.get();
        stats.enqueue_failed_unopened += self.enqueue_failed_unopened.get();
        stats.calls += self.calls.get();
        stats.attempts += self.attempts.get();
        stats.retries += self.retries.get();
        stats.isolating_calls += self.isolating_calls.get();
        stats.isolated_requests += self.isolated_requests.get();
        stats.call_panics += self.panics.get();
        stats.connects += self.connects.get();
        stats.size_triggers += self.size_triggers.get();
        stats.timeout_triggers += self.timeout_triggers.get();
        stats.batch_items += self.batch_items.get();
        stats.batch_bytes += self.batch_bytes.get();
    }
}

/// What goes wrong with TLS at one receiver or upstream; rare, so one for all cores.
#[derive(Debug, Default)]
pub(crate) struct TlsCounters {
    pub(crate) handshake_failures: Counter,
    pub(crate) reload_failures: Counter,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_index_their_own_counter() {
        let counters = ReceiverCounters::default();
        for (at, reason) in RejectReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at, "{}", reason.name());
            counters.reject(reason, Some(Counted { signal: Signal::Logs, items: 2, unopened: 0 }));
        }
        let mut stats = ReceiverStats::default();
        counters.add_to(&mut stats);
        assert_eq!(stats.rejected_requests, [1; RejectReason::ALL.len()]);
        let refused = 2 * RejectReason::ALL.len() as u64;
        assert_eq!((stats.refused_items(), stats.of(Signal::Logs).refused_items), (refused, refused));
    }
}
