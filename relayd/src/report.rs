//! The last line: what became of every item. A self check: it says so when the books do not add up.
//! Must never round, estimate or leave an item out.

use std::fmt::Write;
use std::time::Duration;

use relay_core::batch::DropReason;
use relay_core::otlp::Signal;
use relay_core::stats::{Stats, UpstreamStats};

use crate::plan::Plan;

/// Which receivers feed which upstreams, to check the one against the other.
#[derive(Debug)]
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
    /// Items that no upstream took before the end.
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
                let late = plan.upstreams.iter().any(|upstream| upstream.wait_for_result);
                vec![late; plan.upstreams.len()]
            },
        }
    }

    /// Checks final stats, in which nothing is held, and says them in one line.
    pub(crate) fn close(&self, stats: &Stats, elapsed: Duration) -> Report {
        let mut line = format!("shutdown complete in {:.1}s: ", elapsed.as_secs_f64());
        write_received(&mut line, stats);
        let mut adds_up = true;
        for (index, upstream) in stats.upstreams.iter().enumerate() {
            write_upstream(&mut line, upstream);
            let books_close = settled(upstream) == upstream.items.enqueued;
            if !books_close || !self.matches_receivers(index, upstream, stats) {
                adds_up = false;
                write!(line, " (does NOT add up, held {})", upstream.items.held()).ok();
            }
        }
        let given_up = |upstream: &UpstreamStats| upstream.items.dropped_for(DropReason::ShutdownDeadline);
        Report { line, adds_up, given_up: stats.upstreams.iter().map(given_up).sum() }
    }

    /// What the receivers answered for is what the upstream was offered.
    fn matches_receivers(&self, index: usize, upstream: &UpstreamStats, stats: &Stats) -> bool {
        let Some(feeds) = self.fed_by.get(index) else { return false };
        let receivers = stats.receivers.iter().filter(|receiver| feeds.contains(&receiver.name));
        let of_signal = receivers.map(|receiver| receiver.of(upstream.signal));
        let answered: u64 = of_signal.map(|of| of.accepted_items + of.refused_items).sum();
        let offered = upstream.items.enqueued + upstream.enqueue_failed_items;
        if self.answers_late.get(index).copied().unwrap_or(false) {
            // A sender that went away before the result was never answered; its spans were relayed all the same.
            return answered <= offered;
        }
        answered == offered
    }
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
}

fn settled(upstream: &UpstreamStats) -> u64 {
    upstream.items.delivered + upstream.items.dropped_total()
}

fn write_upstream(line: &mut String, upstream: &UpstreamStats) {
    let (items, refused) = (&upstream.items, upstream.enqueue_failed_items);
    let received = items.enqueued + refused;
    // Writing to a String cannot fail.
    write!(
        line,
        "; exporter {}: received {received} = delivered {} + refused back {refused} + dropped {}",
        upstream.name,
        items.delivered,
        items.dropped_total()
    )
    .ok();
    let reasons = DropReason::ALL.into_iter().map(|reason| (reason.name(), items.dropped_for(reason)));
    let reasons: Vec<String> =
        reasons.filter(|(_, count)| *count > 0).map(|(name, count)| format!("{name} {count}")).collect();
    if !reasons.is_empty() {
        write!(line, " ({})", reasons.join(", ")).ok();
    }
}

#[cfg(test)]
mod tests;
