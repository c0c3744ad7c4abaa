//! One call's use of a connection: counted while it lasts, and what its end says of the address. Must never send anything.

use std::rc::Rc;
use std::sync::Arc;

use super::channel::{Channel, Connected};
use super::clock;
use crate::upstream::{Address, Outcome, Verdict};

/// Counts as a call in flight to its address until it is dropped.
pub(crate) struct Lease {
    channel: Rc<Channel>,
    connected: Rc<Connected>,
    // The size of the message; 0 if nothing is known of it.
    bytes: usize,
    // The call is to show whether the address is of use again, and has not yet.
    probe: bool,
    answers_before: u64,
}

impl Lease {
    pub(super) fn new(channel: Rc<Channel>, connected: Rc<Connected>, (bytes, probe): (usize, bool)) -> Self {
        channel.address().begin_call();
        connected.begin_call();
        let answers_before = connected.answers();
        Self { channel, connected, bytes, probe, answers_before }
    }

    /// What to send over.
    pub(crate) fn connected(&self) -> &Connected {
        &self.connected
    }

    /// Where it goes.
    pub(crate) fn address(&self) -> &Arc<Address> {
        self.channel.address()
    }

    /// The call was answered so, which means `verdict` for its message.
    pub(crate) fn answered(mut self, outcome: &Outcome, verdict: Verdict) {
        self.connected.answered();
        let probe = std::mem::take(&mut self.probe);
        let address = self.channel.address();
        if let Verdict::Retry { throttle: Some(delay) } = verdict {
            address.throttled(clock::now(), delay);
            return self.channel.site().tell_all();
        }
        let opened = address.answered(probe);
        match verdict {
            Verdict::Retry { .. } => address.avoid(clock::now()),
            Verdict::TooLarge if self.bytes > 0 => {
                let named = outcome.size_limit();
                address.learn(named.unwrap_or(self.bytes / 2), named.is_some());
                return self.channel.site().tell_all();
            }
            _ => {}
        }
        if opened {
            self.channel.site().tell_all();
        }
    }

    /// The call ended without an answer: its connection has ended, or the peer has reset it. `broken` says that a connection over
    /// which the peer answers nothing is left, because nothing else notices.
    pub(crate) fn lost(mut self, broken: bool) {
        let probe = std::mem::take(&mut self.probe);
        let left = broken && self.channel.leave(&self.connected);
        if probe || (left && self.connected.answers() == 0) {
            self.channel.fail();
        }
    }

    /// Nothing came for a whole attempt. If nothing else was answered meanwhile either, the connection is left: its host may be dead,
    /// or whoever accepts there does nothing else.
    pub(crate) fn timed_out(mut self) {
        if self.connected.answers() != self.answers_before {
            return;
        }
        let probe = std::mem::take(&mut self.probe);
        if self.channel.leave(&self.connected) || probe {
            self.channel.fail();
        }
    }

    /// No further connection to the address could be made, for the reason given if this call tried.
    pub(crate) fn not_connected(mut self, error: Option<&str>) {
        self.probe = false;
        self.channel.leave(&self.connected);
        self.channel.fail();
        if let Some(error) = error {
            self.channel.log_dial(error);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.channel.address().end_call();
        // The call was given up, or its server has not looked at it.
        if self.probe {
            self.channel.address().probe_lost();
            self.channel.site().addresses.changed.notify_waiters();
        }
    }
}
