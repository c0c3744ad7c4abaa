//! What is said about the calls to one upstream: one line for each kind and interval. Must never show what is in a batch.

use std::sync::atomic::Ordering;

use super::Sender;
use crate::batch::{Batch, DropReason};
use crate::upstream::{Address, Outcome, Verdict};

impl Sender {
    pub(super) fn log_outcome(&self, outcome: &Outcome, address: Option<&Address>, batch: &Batch) {
        let exporter = &self.intake.upstream.config.name;
        let (kind, text) = match outcome {
            Outcome::Accepted { rejected: 0, message } if message.is_empty() => return,
            Outcome::Accepted { rejected, message } => (
                "partial_success",
                format!("partial success: {rejected} {} rejected: {message}", batch.signal().items()),
            ),
            Outcome::Refused { status, .. } => ("refused", status.to_string()),
            Outcome::HttpRefused { status, message, .. } => ("refused", format!("HTTP {status}: {message}")),
            Outcome::Lost { cause } => ("lost", cause.clone()),
        };
        if outcome.verdict_by(&self.route.retry().table, batch.rope().len()) == Verdict::Unimplemented {
            return self.say_unimplemented(&text, batch);
        }
        if let Some(left_out) = self.log.allow(self.about, kind) {
            let (signal, items, bytes) = (batch.signal().name(), batch.items(), batch.rope().len());
            let address = address.map(|address| address.place().to_string());
            tracing::warn!(exporter, address, signal, items, bytes, left_out, "upstream: {text}");
        }
    }

    /// That an upstream does not take a signal (Jaeger takes traces alone) is no outage: it is said once, and counted.
    fn say_unimplemented(&self, text: &str, batch: &Batch) {
        if !self.intake.upstream.said_unimplemented.swap(true, Ordering::Relaxed) {
            let (exporter, signal) = (&self.intake.upstream.config.name, batch.signal());
            // A wrong path is answered with the same status.
            let or_url = if self.route.has_path() { "Correct the endpoint, or take" } else { "Take" };
            tracing::error!(
                exporter,
                "upstream does not take {}: {text}; all {} for it are dropped and counted. {or_url} the exporter out of the {} \
                 pipeline",
                signal.name(),
                signal.items(),
                signal.name()
            );
        }
    }

    pub(super) fn log_stored(&self) {
        if let Some(left_out) = self.log.allow(self.about, "stored") {
            let exporter = &self.intake.upstream.config.name;
            tracing::info!(
                exporter,
                left_out,
                "not delivered in time: batches go to disk and are sent from there"
            );
        }
    }

    pub(super) fn log_drop(&self, batch: &Batch, reason: DropReason) {
        if reason == DropReason::Unimplemented {
            return;
        }
        if let Some(left_out) = self.log.allow(self.about, reason.name()) {
            let exporter = &self.intake.upstream.config.name;
            let (items, reason, what) = (batch.items(), reason.name(), batch.signal().items());
            if batch.parts().len() == 1 {
                let (sender, receiver) = self.sender_of(batch);
                tracing::error!(exporter, items, reason, sender, receiver, left_out, "{what} dropped");
            } else {
                tracing::error!(exporter, items, reason, left_out, "{what} dropped");
            }
        }
    }
}
