//! The exporters `debug` and `logging`: batches as text in the log (Collector, debugexporter). The data is delivered
//! whatever becomes of the text. Must never wait for whoever reads the log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use relay_core::batch::Batch;
use relay_core::config::BatchSink;
use relay_core::otlp::{RequestView, Signal};
use relay_core::upstream::Outcome;

use crate::clock;
use crate::config::{DebugExporter, Verbosity};
use crate::debug_text::{Chunks, write_detailed, write_normal};
use crate::outlet::Outlet;

/// Writes batches to the log.
#[derive(Debug)]
pub(crate) struct DebugSink {
    exporter: String,
    verbosity: Verbosity,
    // All cores deliver here; held for a few instructions.
    sampler: Mutex<Sampler>,
    // Where the log goes: text that it has no room for is not made.
    outlet: Outlet,
}

impl DebugSink {
    /// A sink for the exporter of this id, whose log goes to `outlet`.
    pub(crate) fn new(exporter: &str, settings: &DebugExporter, outlet: Outlet) -> Self {
        let sampler = Sampler::new(settings.sampling_initial, settings.sampling_thereafter);
        Self {
            exporter: exporter.to_owned(),
            verbosity: settings.verbosity,
            sampler: Mutex::new(sampler),
            outlet,
        }
    }

    fn write(&self, batch: &Batch) {
        let bytes = batch.rope().slice(0, batch.rope().len());
        let bytes = bytes.contiguous();
        let request = RequestView::new(&bytes);
        // The requests of all signals have their resources in the same field.
        let (exporter, resources, items) = (&self.exporter, request.resource_spans().count(), batch.items());
        match batch.signal() {
            Signal::Traces => tracing::info!(exporter, "resource spans" = resources, spans = items, "Traces"),
            Signal::Metrics => {
                tracing::info!(exporter, "resource metrics" = resources, "data points" = items, "Metrics");
                return;
            }
            Signal::Logs => {
                tracing::info!(exporter, "resource logs" = resources, "log records" = items, "Logs");
                return;
            }
            Signal::Profiles => {
                tracing::info!(exporter, "resource profiles" = resources, samples = items, "Profiles");
                return;
            }
        }
        let write = match self.verbosity {
            Verbosity::Basic => return,
            Verbosity::Normal => write_normal,
            Verbosity::Detailed => write_detailed,
        };
        let mut emit = |text: String| {
            tracing::info!("\n{text}");
            self.outlet.has_room()
        };
        let mut chunks = Chunks::new(&mut emit);
        write(&mut chunks, &request);
        let left_out = chunks.finish();
        if left_out > 0 {
            self.outlet.leave_out(left_out);
        }
    }
}

impl BatchSink for DebugSink {
    fn deliver(&self, batch: &Batch) -> Outcome {
        let wanted = tracing::enabled!(tracing::Level::INFO)
            && self.sampler.lock().unwrap_or_else(PoisonError::into_inner).take(clock::now());
        if wanted {
            if self.outlet.has_room() {
                self.write(batch);
            } else {
                self.outlet.leave_out(batch.items());
            }
        }
        Outcome::Accepted { rejected: 0, message: String::new() }
    }
}

/// Of each second's messages the first few, then one of so many (zap's sampler, which the Collector logs through).
#[derive(Debug)]
struct Sampler {
    initial: u64,
    thereafter: u64,
    second_began: Option<Instant>,
    seen: u64,
}

impl Sampler {
    fn new(initial: u64, thereafter: u64) -> Self {
        Self { initial, thereafter, second_began: None, seen: 0 }
    }

    fn take(&mut self, now: Instant) -> bool {
        let within = |began: &Instant| now.saturating_duration_since(*began) < Duration::from_secs(1);
        if !self.second_began.as_ref().is_some_and(within) {
            self.second_began = Some(now);
            self.seen = 0;
        }
        self.seen += 1;
        match self.seen.checked_sub(self.initial) {
            None | Some(0) => true,
            Some(past) => self.thereafter > 0 && past.is_multiple_of(self.thereafter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_the_first_ones_of_each_second_then_one_of_so_many() {
        let now = clock::now();
        let taken = |initial, thereafter| {
            let mut sampler = Sampler::new(initial, thereafter);
            let first = (0..10).filter(|_| sampler.take(now)).count();
            let next_second = (0..10).filter(|_| sampler.take(now + Duration::from_secs(1))).count();
            (first, next_second)
        };
        assert_eq!(taken(2, 1), (10, 10));
        assert_eq!(taken(2, 4), (4, 4));
        assert_eq!(taken(3, 0), (3, 3));
    }
}
