//! What is said about the disk: one line for each kind and interval, with what it is about and the way out. Must never show what is in a
//! record.

use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use super::books::Books;
use crate::batch::DropReason;
use crate::spill::Adoption;

impl Books {
    /// Whether a line of this kind may be written now, and how many were left out.
    fn may_say(&self, kind: &'static str) -> Option<u64> {
        self.log.allow(0, kind)
    }

    /// Whose log it is, and where.
    fn place(&self) -> (&str, &str, String) {
        let name = &self.shared.name;
        (&name.upstream, name.signal.name(), name.directory.display().to_string())
    }

    pub(super) fn say_adopted(&self, adoption: &Adoption) {
        let Adoption { segments, bytes, still_locked } = *adoption;
        if segments == 0 {
            return;
        }
        if let Some(left_out) = self.may_say("adopted") {
            let (exporter, signal, directory) = self.place();
            tracing::info!(
                exporter,
                signal,
                directory,
                segments,
                bytes,
                still_locked,
                left_out,
                "took over what a process that has ended left on disk"
            );
        }
    }

    pub(super) fn say_cannot_adopt(&self, error: &impl Display, pause: Duration) {
        if let Some(left_out) = self.may_say("cannot_adopt") {
            let (exporter, signal, directory) = self.place();
            tracing::error!(
                exporter,
                signal,
                directory,
                %error,
                left_out,
                "cannot take over what is on disk; it stays there, next try in {pause:?}"
            );
        }
    }

    pub(super) fn say_recovered(&self, records: u64, items: u64, unopened: u64) {
        if let Some(left_out) = self.may_say("recovered") {
            let (exporter, signal, directory) = self.place();
            let total = self.stats.recovered_items;
            tracing::info!(
                exporter,
                signal,
                directory,
                records,
                items,
                unopened,
                total,
                left_out,
                "found on disk what was not delivered; it is sent beside what comes"
            );
        }
    }

    pub(super) fn say_lost(
        &self,
        reason: DropReason,
        (records, bytes): (u64, u64),
        (items, unopened): (u64, u64),
    ) {
        let Some(left_out) = self.may_say(reason.name()) else { return };
        let (exporter, signal, directory) = self.place();
        let (reason, total, text) = match reason {
            DropReason::Evicted => (
                "evicted",
                self.stats.evicted_items,
                "dropped the oldest on disk to make room for newer data",
            ),
            DropReason::Expired => {
                ("expired", self.stats.expired_items, "dropped what was on disk for longer than it may be")
            }
            _ => (
                "corrupt",
                self.stats.corrupt_records,
                "skipped what cannot be read back as it was written; check the disk",
            ),
        };
        tracing::error!(
            exporter, signal, directory, reason, records, bytes, items, unopened, total, left_out, "{text}"
        );
    }

    pub(super) fn say_poisoned(&self, segment: u64, error: &str) {
        if let Some(left_out) = self.may_say("poisoned") {
            let (exporter, signal, directory) = self.place();
            tracing::error!(
                exporter,
                signal,
                directory,
                segment,
                error,
                left_out,
                "a write to disk has failed: its file is not trusted any more, and what it was for is written to another"
            );
        }
    }

    pub(super) fn say_torn(&self, segment: u64, bytes: u64) {
        if let Some(left_out) = self.may_say("torn") {
            let (exporter, signal, directory) = self.place();
            let total = self.stats.torn_tails;
            tracing::warn!(
                exporter,
                signal,
                directory,
                segment,
                bytes,
                total,
                left_out,
                "cut off what a process was writing when it ended; nobody was told that it is safe"
            );
        }
    }

    pub(super) fn say_left_alone(&self, path: &Path, why: &str) {
        if let Some(left_out) = self.may_say("left_alone") {
            let (exporter, signal, _) = self.place();
            let path = path.display();
            tracing::error!(exporter, signal, %path, why, left_out, "a file on disk was left as it is");
        }
    }

    pub(super) fn say_failed(&self, what: &'static str, error: &str) {
        if let Some(left_out) = self.may_say(what) {
            let (exporter, signal, directory) = self.place();
            tracing::warn!(exporter, signal, directory, error, left_out, "cannot {what}; tried again");
        }
    }

    pub(super) fn say_fault(&self, error: &str, pause: Duration) {
        if let Some(left_out) = self.may_say("fault") {
            let (exporter, signal, directory) = self.place();
            let failed = self.failed;
            tracing::error!(
                exporter,
                signal,
                directory,
                error,
                failed,
                left_out,
                "nothing can be stored on disk: what is not delivered stays in memory, and senders are held back when that is full; \
                 next try in {pause:?}"
            );
        }
    }

    pub(super) fn say_fault_ended(&self, failed: u64) {
        if let Some(left_out) = self.may_say("fault_ended") {
            let (exporter, signal, directory) = self.place();
            tracing::info!(exporter, signal, directory, failed, left_out, "the disk takes data again");
        }
    }

    pub(super) fn say_full(&self, bytes: u64) {
        if let Some(left_out) = self.may_say("full") {
            let (exporter, signal, directory) = self.place();
            let bytes_max = self.shared.bytes_max;
            tracing::warn!(
                exporter,
                signal,
                directory,
                bytes,
                bytes_max,
                left_out,
                "the log has reached its bound: what is not delivered stays in memory, and senders are held back when that is full; \
                 raise the bound, or let the oldest be dropped"
            );
        }
    }

    pub(super) fn say_too_large(&self, bytes: usize) {
        if let Some(left_out) = self.may_say("too_large") {
            let (exporter, signal, directory) = self.place();
            tracing::warn!(
                exporter,
                signal,
                directory,
                bytes,
                left_out,
                "a batch is larger than the log takes and stays in memory; raise the bound of the log, or make batches smaller"
            );
        }
    }
}
