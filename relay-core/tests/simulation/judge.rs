//! Holds the books of the relay against what clients and servers saw. Must never excuse what no fault of the plan explains.

use std::collections::BTreeMap;
use std::time::Duration;

use relay_core::batch::{DropReason, LedgerCounts};
use relay_core::limits::{ARENA_BLOCK_BYTES_MAX, DRAIN_SETTLE_MAX};
use relay_core::simulation::Link;
use relay_core::stats::Stats;

use super::plan::Fault;
use super::relay::{End, books};
use super::server::POISON;
use super::truth::{Account, Taken};
use super::world::World;

/// Longest way of an answer, there and back, with what else waits before it.
const WAY_MAX: Duration = Duration::from_millis(500);
/// An answer that was given this long before a fault has arrived.
const ARRIVED_AFTER: Duration = Duration::from_secs(2);

/// What each core may hold above the bound: what a request was found to need when it was taken, which is a block of the arena.
const OVERSHOOT_BYTES_MAX: usize = ARENA_BLOCK_BYTES_MAX;

/// What must hold at every moment.
pub(crate) fn look(world: &World, stats: &Stats) {
    let max = world.plan.relay.held_bytes_max + world.plan.relay.cores * OVERSHOOT_BYTES_MAX;
    if stats.held_bytes > max {
        world.truth.violation(format!("{} bytes are held, more than {max}", stats.held_bytes));
    }
    for upstream in &stats.upstreams {
        let items = upstream.items;
        if items.enqueued < items.delivered + items.dropped_total() {
            world.truth.violation(format!("more was settled than taken: {items:?}"));
        }
    }
}

/// What must hold at the end.
pub(crate) fn judge(world: &World) {
    for relay in world.relays.borrow().iter() {
        let (Some(stats), end) = (relay.stats(), *relay.end.borrow()) else { continue };
        world.network.log(format!("{end:?}: {:?}", books(&stats)));
        ended(world, &stats, end);
    }
    for exporter in 0..world.plan.exporters.len() {
        let counts = counts(world, exporter);
        reasons(world, exporter, &counts);
        delivered(world, exporter, &counts);
        duplicates(world, exporter);
        lost(world, exporter, counts);
    }
    acknowledged(world);
}

/// The books of one process when it has ended.
fn ended(world: &World, stats: &Stats, end: End) {
    let violation = |text: String| world.truth.violation(format!("{text}: {end:?} {:?}", books(stats)));
    match end {
        End::NotYet => violation("a relay has not ended".to_owned()),
        // What it held is lost with it.
        End::Killed => return,
        End::Drained { took, deadline } => {
            if took > deadline + DRAIN_SETTLE_MAX + Duration::from_millis(100) {
                violation("a drain took longer than its deadline".to_owned());
            }
        }
    }
    let held: u64 = stats.upstreams.iter().map(|upstream| upstream.items.held()).sum();
    if held > 0 || stats.held_bytes > 0 || stats.upstreams.iter().any(|upstream| upstream.held_bytes > 0) {
        violation(format!("{held} items and {} bytes are held after the drain", stats.held_bytes));
    }
    let enqueue_failed: u64 = stats.upstreams.iter().map(|upstream| upstream.enqueue_failed_items).sum();
    let accepted: u64 = stats.receivers.iter().map(|receiver| receiver.accepted_items()).sum();
    let enqueued = stats.upstreams.iter().map(|upstream| upstream.items.enqueued);
    // A request that one of several exporters refuses is refused, though others have taken it.
    if enqueued.clone().any(|enqueued| enqueued < accepted) {
        violation("more was accepted than taken".to_owned());
    }
    if enqueue_failed == 0
        && !world.plan.relay.wait_for_result
        && enqueued.clone().any(|taken| taken > accepted)
    {
        violation("more was taken than accepted".to_owned());
    }
}

/// The books of one exporter over all processes; what a killed one held counts as aborted.
fn counts(world: &World, exporter: usize) -> LedgerCounts {
    let mut counts = LedgerCounts::default();
    for relay in world.relays.borrow().iter() {
        if let Some(stats) = relay.stats() {
            let items = stats.upstreams[exporter].items;
            counts += items;
            counts.dropped[DropReason::Aborted as usize] += items.held();
        }
    }
    counts
}

/// Nothing is dropped for a reason that no fault of the plan gives.
fn reasons(world: &World, exporter: usize, counts: &LedgerCounts) {
    let account = world.truth.read();
    let (plan, ends) = (&world.plan, world.relays.borrow());
    let limit = size_limit(world, exporter);
    let over_deadline = |end: End| matches!(end, End::Drained { took, deadline } if took >= deadline);
    let mut unexplained = Vec::new();
    for reason in DropReason::ALL {
        let is_explained = match reason {
            DropReason::Aborted => ends.iter().any(|relay| *relay.end.borrow() == End::Killed),
            DropReason::ItemTooLarge => account.spans.values().any(|made| made.bytes > limit),
            DropReason::PartialSuccess => account.taken.iter().any(|taken| taken.rejected > 0),
            DropReason::Rejected => account.requests.iter().any(|request| request.poisoned),
            DropReason::RetriesExhausted => {
                let max = plan.relay.retry.max_elapsed_time;
                !plan.relay.retry.enabled || max.is_some_and(|max| max < Duration::from_secs(60))
            }
            DropReason::ShutdownDeadline => ends.iter().any(|relay| over_deadline(*relay.end.borrow())),
            _ => false,
        };
        if counts.dropped_for(reason) > 0 && !is_explained {
            unexplained.push(reason.name());
        }
    }
    drop(account);
    for reason in unexplained {
        world.truth.violation(format!("exporter {exporter}: items were dropped as {reason}: {counts:?}"));
    }
}

/// What the relay calls delivered was taken; what was taken and answered in time is called delivered.
fn delivered(world: &World, exporter: usize, counts: &LedgerCounts) {
    let account = world.truth.read();
    let (mut all, mut certain) = (0, 0);
    for taken in account.taken.iter().filter(|taken| taken.exporter == exporter) {
        let items = taken.spans.len() as u64 - taken.rejected;
        all += items;
        certain += if is_certain(world, taken) { items } else { 0 };
    }
    drop(account);
    if counts.delivered > all || counts.delivered < certain {
        let delivered = counts.delivered;
        world.truth.violation(format!(
            "exporter {exporter}: {delivered} items count as delivered; servers took {all}, {certain} of them for sure"
        ));
    }
}

/// A span arrives more often than it was sent only where it was unknown whether it had arrived.
fn duplicates(world: &World, exporter: usize) {
    let account = world.truth.read();
    let mut arrived: BTreeMap<u64, (usize, usize)> = BTreeMap::new();
    for taken in account.taken.iter().filter(|taken| taken.exporter == exporter) {
        let is_certain = is_certain(world, taken);
        for span in &taken.spans {
            let (times, unknown) = arrived.entry(*span).or_default();
            *times += 1;
            *unknown += usize::from(!is_certain);
        }
    }
    let mut doubled = Vec::new();
    for (span, (times, unknown)) in arrived {
        let attempts = account.requests[account.spans[&span].request].attempts;
        if times > attempts + unknown {
            doubled.push(format!("span {span:x} arrived {times} times, sent {attempts} times"));
        }
    }
    drop(account);
    if let Some(first) = doubled.first() {
        let count = doubled.len();
        world.truth.violation(format!("exporter {exporter}: {count} spans were doubled: {first}"));
    }
}

/// Every acknowledged span has arrived, or was dropped and counted under a reason that explains it.
fn lost(world: &World, exporter: usize, mut counts: LedgerCounts) {
    let account = world.truth.read();
    let limit = size_limit(world, exporter);
    let arrived: std::collections::BTreeSet<u64> = account
        .taken
        .iter()
        .filter(|taken| taken.exporter == exporter)
        .flat_map(|taken| taken.spans.iter().copied())
        .collect();
    let mut missing = 0;
    let acknowledged = account.requests.iter().filter(|request| request.acknowledged);
    let mut first = None;
    for span in acknowledged.flat_map(|request| &request.spans) {
        if arrived.contains(span) {
            continue;
        }
        let mut explanations =
            vec![DropReason::RetriesExhausted, DropReason::ShutdownDeadline, DropReason::Aborted];
        if account.spans[span].content.span.name == POISON {
            explanations.insert(0, DropReason::Rejected);
        }
        if account.spans[span].bytes > limit {
            explanations.insert(0, DropReason::ItemTooLarge);
        }
        let explained = explanations.into_iter().find(|reason| counts.dropped_for(*reason) > 0);
        match explained {
            Some(reason) => counts.dropped[reason as usize] -= 1,
            None => {
                missing += 1;
                first = first.or(Some(*span));
            }
        }
    }
    drop(account);
    if let Some(first) = first {
        world.truth.violation(format!(
            "exporter {exporter}: {missing} acknowledged spans neither arrived nor were dropped for a reason, for example {first:x}"
        ));
    }
}

/// What clients were told is what the relay counts.
fn acknowledged(world: &World) {
    let told: u64 = {
        let account: std::cell::Ref<'_, Account> = world.truth.read();
        let acknowledged = account.requests.iter().filter(|request| request.acknowledged);
        acknowledged.map(|request| request.spans.len() as u64).sum()
    };
    let relays = world.relays.borrow();
    let stats = relays.iter().filter_map(|relay| relay.stats());
    let accepted: u64 =
        stats.flat_map(|stats| stats.receivers).map(|receiver| receiver.accepted_items()).sum();
    if told > accepted {
        world.truth.violation(format!("{told} spans were acknowledged, {accepted} count as accepted"));
    }
}

/// The smallest message that some server of an exporter refuses for its size, less what a message is more than its span.
fn size_limit(world: &World, exporter: usize) -> usize {
    let limits = world.servers[exporter].iter().map(|server| server.message_bytes_max());
    limits.min().unwrap_or(usize::MAX)
}

/// Whether the relay has heard for sure that this call was taken.
fn is_certain(world: &World, taken: &Taken) -> bool {
    let Some(answered) = taken.answered else { return false };
    let in_time = answered - taken.began + WAY_MAX < world.plan.relay.timeout;
    let [dialled, accepted] = taken.connection;
    let slow = |link: &Link| link.bytes_per_second.is_some();
    let is_slow = slow(&world.plan.weather)
        || world.plan.faults.iter().any(|(_, fault)| matches!(fault, Fault::Weather(link) if slow(link)));
    let near = |at: &Duration| *at + WAY_MAX >= taken.began && *at <= answered + ARRIVED_AFTER;
    let troubles = world.servers[taken.exporter][taken.server].troubles.borrow();
    let troubled = troubles.iter().chain(world.troubles.borrow().iter()).any(near);
    in_time && !is_slow && !troubled && !world.network.was_hit(dialled, accepted)
}
