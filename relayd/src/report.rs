//! The last line: what became of every item. A self check: it says so when the books do not add up.
//! Must never round, estimate or leave an item out.

use std::fmt::Write;
use std::time::Duration;

use relay_core::batch::{DropReason, LedgerCounts};
use relay_core::config::Acknowledge;
use relay_core::otlp::Signal;
use relay_core::stats::{SignalStats, Stats, UpstreamStats};

use crate::generations::Ended;
use crate::plan::Plan;

/// Which receivers feed which upstreams, to check the one against the other.
#[derive(Debug, Default)]
pub(crate) struct Books {
    /// For each upstream the names of the receivers that feed it.
    fed_by: Vec<Vec<String>>,
    /// For each upstream whether a sender may go away between the queue and the answer.
    answers_late: Vec<bool>,
}

/// The report and whether it adds up.
#[derive(Debug)]
pub(crate) struct Report {
    /// One line.
    pub(crate) line: String,
    /// False means that items were lost without a count, or counted twice.
    pub(crate) adds_up: bool,
    /// Items that no upstream took before the end, or that a core held that died.
    pub(crate) given_up: u64,
}

impl Books {
    /// The books of a relay that runs by `plan`.
    pub(crate) fn new(plan: &Plan) -> Self {
        let feeds = |name: &String| {
            let mut feeding: Vec<String> = Vec::new();
            for receiver in plan.receivers.iter().filter(|receiver| receiver.upstreams.contains(name)) {
                // A receiver that listens on two ports is one name.
                if !feeding.contains(&receiver.name) {
                    feeding.push(receiver.name.clone());
                }
            }
            feeding
        };
        Self {
            fed_by: plan.upstreams.iter().map(|upstream| feeds(&upstream.name)).collect(),
            // A sender's answer waits for all upstreams that its request went to.
            answers_late: {
                let late = plan.upstreams.iter().any(|upstream| {
                    let spill = upstream.spill.as_ref();
                    upstream.wait_for_result
                        || spill.is_some_and(|spill| spill.acknowledge == Acknowledge::WhenSafe)
                });
                vec![late; plan.upstreams.len()]
            },
        }
    }

    /// Checks final stats, in which nothing is held but what is on disk, and says them in one line.
    pub(crate) fn close(&self, stats: &Stats, elapsed: Duration) -> Report {
        let mut line = beginning(elapsed);
        write_received(&mut line, stats);
        let mut adds_up = true;
        for (index, upstream) in stats.upstreams.iter().enumerate() {
            write_upstream(&mut line, upstream);
            let books_close = closes(&upstream.items) && closes(&upstream.unopened);
            if !books_close || !self.matches_receivers(index, upstream, stats) {
                adds_up = false;
                let in_memory = |books: &LedgerCounts| books.held().saturating_sub(books.on_disk);
                let held = in_memory(&upstream.items) + in_memory(&upstream.unopened);
                write!(line, " (does NOT add up, held {held})").ok();
            }
        }
        let given_up = |upstream: &UpstreamStats| {
            let reasons = [DropReason::ShutdownDeadline, DropReason::Aborted].into_iter();
            reasons
                .map(|reason| upstream.items.dropped_for(reason) + upstream.unopened.dropped_for(reason))
                .sum::<u64>()
        };
        Report { line, adds_up, given_up: stats.upstreams.iter().map(given_up).sum() }
    }

    /// What the receivers answered for is what the upstream was offered.
    fn matches_receivers(&self, index: usize, upstream: &UpstreamStats, stats: &Stats) -> bool {
        let Some(feeds) = self.fed_by.get(index) else { return false };
        let receivers = stats.receivers.iter().filter(|receiver| feeds.contains(&receiver.name));
        let of_signal: Vec<SignalStats> = receivers.map(|receiver| receiver.of(upstream.signal)).collect();
        let answered: u64 = of_signal.iter().map(|of| of.accepted_items + of.refused_items).sum();
        let offered = upstream.items.enqueued + upstream.enqueue_failed_items;
        let unopened: u64 = of_signal.iter().map(|of| of.accepted_unopened + of.refused_unopened).sum();
        let unopened_offered = upstream.unopened.enqueued + upstream.enqueue_failed_unopened;
        if self.answers_late.get(index).copied().unwrap_or(false) {
            // A sender that went away before the result was never answered; its items were relayed all the same.
            return answered <= offered && unopened <= unopened_offered;
        }
        answered == offered && unopened == unopened_offered
    }
}

/// Whether all that came is delivered, given up, or on disk.
fn closes(books: &LedgerCounts) -> bool {
    books.enqueued + books.recovered == books.delivered + books.dropped_total() + books.on_disk
}

/// The last line where the configuration was replaced at times: the stats of all relays, each of which was checked at its own end.
pub(crate) fn sum(stats: &Stats, ended: &Ended, elapsed: Duration) -> Report {
    let mut line = beginning(elapsed);
    write_received(&mut line, stats);
    stats.upstreams.iter().for_each(|upstream| write_upstream(&mut line, upstream));
    let Ended { relays, wrong, given_up } = *ended;
    // Writing to a String cannot fail.
    write!(line, "; of {relays} configurations").ok();
    if stats.upstreams.iter().any(|upstream| upstream.items.recovered + upstream.unopened.recovered > 0) {
        line.push_str(" (what one left on disk and the next recovered is in both sums)");
    }
    if wrong > 0 {
        write!(line, ", of which {wrong} do NOT add up").ok();
    }
    Report { line, adds_up: wrong == 0, given_up }
}

fn beginning(elapsed: Duration) -> String {
    format!("shutdown complete in {:.1}s: ", elapsed.as_secs_f64())
}

/// What was received of each signal that anything was received of; traces in any case.
fn write_received(line: &mut String, stats: &Stats) {
    let mut separator = "";
    for signal in Signal::ALL {
        let received = || stats.receivers.iter().map(|receiver| receiver.of(signal));
        let accepted: u64 = received().map(|of| of.accepted_items).sum();
        let refused: u64 = received().map(|of| of.refused_items).sum();
        if signal == Signal::Traces || accepted + refused > 0 {
            // Writing to a String cannot fail.
            write!(line, "{separator}accepted {accepted} {}, refused {refused}", signal.items()).ok();
            separator = "; ";
        }
    }
    let of_all = || stats.receivers.iter().flat_map(|receiver| receiver.signals);
    let (accepted, refused) = (
        of_all().map(|of| of.accepted_unopened).sum::<u64>(),
        of_all().map(|of| of.refused_unopened).sum::<u64>(),
    );
    if accepted + refused > 0 {
        write!(line, "; accepted {accepted} unopened requests, refused {refused}").ok();
    }
}

fn write_upstream(line: &mut String, upstream: &UpstreamStats) {
    // Writing to a String cannot fail.
    write!(line, "; exporter {}: ", upstream.name).ok();
    write_books(line, &upstream.items, upstream.enqueue_failed_items);
    let unopened = &upstream.unopened;
    if unopened.enqueued + unopened.recovered + upstream.enqueue_failed_unopened > 0 {
        line.push_str("; unopened requests: ");
        write_books(line, &upstream.unopened, upstream.enqueue_failed_unopened);
    }
}

fn write_books(line: &mut String, items: &LedgerCounts, refused: u64) {
    let received = items.enqueued + refused;
    let (delivered, dropped) = (items.delivered, items.dropped_total());
    write!(line, "received {received}").ok();
    if items.recovered > 0 {
        write!(line, " + recovered {}", items.recovered).ok();
    }
    write!(line, " = delivered {delivered} + refused back {refused} + dropped {dropped}").ok();
    let reasons = DropReason::ALL.into_iter().map(|reason| (reason.name(), items.dropped_for(reason)));
    let reasons: Vec<String> =
        reasons.filter(|(_, count)| *count > 0).map(|(name, count)| format!("{name} {count}")).collect();
    if !reasons.is_empty() {
        write!(line, " ({})", reasons.join(", ")).ok();
    }
    if items.on_disk > 0 {
        write!(line, " + {} on disk", items.on_disk).ok();
    }
}

#[cfg(test)]
mod tests;
