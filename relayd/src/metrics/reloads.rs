//! Metrics of reloading the configuration, and the counts behind them. Must never say success while the configuration in use is not
//! the one that stands in the files.

use std::cell::Cell;
use std::time::Duration;

use super::page::{Page, Unit, labels};
use crate::clock;

/// What became of the configurations that were read; the first one was taken.
#[derive(Debug)]
pub(crate) struct Reloads {
    taken: Cell<u64>,
    unchanged: Cell<u64>,
    refused: Cell<u64>,
    last_refused: Cell<bool>,
    last_success: Cell<Duration>,
}

impl Reloads {
    /// At the start.
    pub(crate) fn new() -> Self {
        Self {
            taken: Cell::new(0),
            unchanged: Cell::new(0),
            refused: Cell::new(0),
            last_refused: Cell::new(false),
            last_success: Cell::new(clock::unix_time()),
        }
    }

    /// Counts one that was taken, or that is the one in use.
    pub(crate) fn success(&self, changed: bool) {
        let counter = if changed { &self.taken } else { &self.unchanged };
        counter.update(|count| count + 1);
        self.last_refused.set(false);
        self.last_success.set(clock::unix_time());
    }

    /// Counts one that was not taken.
    pub(crate) fn failure(&self) {
        self.refused.update(|count| count + 1);
        self.last_refused.set(true);
    }
}

/// `leaving` relays drain because their configuration was replaced.
pub(super) fn add(page: &mut Page<'_>, reloads: &Reloads, leaving: usize) {
    let one = |value: u64| [(Vec::new(), value)];
    let help =
        "1 if the configuration that was read last is in use, 0 if it is of no use and the one before stays.";
    let success = u64::from(!reloads.last_refused.get());
    page.gauge("relayd_config_reload_success", help, Unit::None, one(success));
    let help = "When the configuration in use was last read, in seconds since 1970.";
    let last = reloads.last_success.get().as_secs();
    page.gauge("relayd_config_last_reload_success_timestamp_seconds", help, Unit::Seconds, one(last));
    let results =
        [("failure", &reloads.refused), ("success", &reloads.taken), ("unchanged", &reloads.unchanged)];
    let rows = results.map(|(result, count)| (labels(&[("result", result)]), count.get()));
    page.counter("relayd_config_reloads", "Times that the configuration was read again.", rows);
    let help = "Relays that drain because their configuration was replaced.";
    page.gauge("relayd_draining_relays", help, Unit::None, one(leaving as u64));
}
