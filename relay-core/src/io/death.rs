//! What happens when a core dies: what it held is given up and counted, and what others can go on with goes to them.
//!
//! Must never take a core down because of one task: a panic in a connection or a call ends that connection or call alone, and is
//! counted. A core dies of a panic in its own loop, in its senders, or in what accepts.

use std::any::Any;
use std::sync::atomic::Ordering;

use super::listening::ListeningSocket;
use super::shared::{Command, Shared};
use crate::batch::DropReason;

/// What a panic has said.
pub(super) fn words(panic: &(dyn Any + Send)) -> &str {
    let formatted = panic.downcast_ref::<String>().map(String::as_str);
    formatted.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given")
}

/// Says that the core has died, and why: from now on nothing is handed to it.
pub(super) fn announce(shared: &Shared, number: usize, why: String) {
    let Some(core) = shared.cores.get(number) else { return };
    let living = shared.living().filter(|living| *living != number).count();
    tracing::error!(core = number, "a core has died: {why}; what it held is lost, {living} cores go on");
    // Once.
    core.death.set(why).ok();
}

/// Settles what the core leaves behind, when its tasks are gone.
pub(super) fn settle(shared: &Shared, number: usize) {
    for upstream in &shared.upstreams {
        // The others take what waited in its lane.
        upstream.lanes.abandon(number);
        upstream.room_came();
    }
    if shared.acceptor.load(Ordering::SeqCst) == number {
        move_listeners(shared);
    }
    if shared.living().next().is_none() {
        give_up_queues(shared, DropReason::Aborted);
    }
}

/// Gives up what waits in the queues when nobody is left to send it.
pub(crate) fn give_up_queues(shared: &Shared, reason: DropReason) {
    for upstream in &shared.upstreams {
        while let Some(batch) = upstream.lanes.pop(0) {
            batch.drop_for(reason);
        }
    }
}

/// Lets another core accept. The sockets go on listening meanwhile, so that who connects now is only served a moment later.
fn move_listeners(shared: &Shared) {
    for number in shared.living() {
        // Before it has them, so that they go on from there if it dies too.
        shared.acceptor.store(number, Ordering::SeqCst);
        let copies: Vec<ListeningSocket> = shared.spare_listeners().clone();
        let taken = shared.cores.get(number).map(|core| core.inbox.try_send(Command::Accept(copies)));
        if matches!(taken, Some(Ok(()))) {
            tracing::warn!(core = number, "accepts from now on");
            return;
        }
    }
    // Nobody serves who connects now: refused is better than unanswered.
    shared.spare_listeners().clear();
}
