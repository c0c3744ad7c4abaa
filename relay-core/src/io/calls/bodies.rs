//! Bodies of calls that have to wait: for memory, or for their senders.

use std::time::Instant;

use super::super::admission::{Asking, asking};
use super::super::call::Call;
use super::super::turnstile::Waiting;
use super::{Calls, Open, Wait, body_timeout, memory_full};
use crate::limits;

impl Calls {
    /// There is no room for more of this body: its sender gets no window until there is.
    pub(super) fn hold_back(&mut self, stream: u32) {
        let Some(Open { wait: Wait::Body { call, pass, .. }, .. }) =
            self.place_of(stream).map(|at| self.open.remove(at))
        else {
            return;
        };
        let (peer, owed) = (&self.peer, call.owed());
        let wait = self.core.wait_for_room_max(self.receiver, call.timeout).saturating_sub(call.waited);
        match self.core.wait_for_memory((peer, &peer.wake), (owed, pass), wait) {
            Some(waiting) => self.wait(stream, Wait::BodyRoom { call, ended: false, waiting }),
            None => {
                self.http2.release(stream, call.unreleased());
                self.refuse(stream, &memory_full());
            }
        }
    }

    /// Asks again for a body whose sender is held back, if its turn has come.
    pub(super) fn retry_body(
        &mut self,
        stream: u32,
        mut call: Call,
        ended: bool,
        (mut waiting, now): (Waiting, Instant),
    ) {
        let Some(asking) = asking(&waiting, now) else {
            return self.wait(stream, Wait::BodyRoom { call, ended, waiting });
        };
        match call.charge(&self.core.shared.budget) {
            Some(release) => {
                self.http2.release(stream, release);
                call.waited += waiting.waited(now);
                if ended {
                    drop(waiting);
                    return self.complete(stream, call);
                }
                waiting.bytes.clear();
                let pass = (asking == Asking::InTurn).then_some(waiting);
                self.wait(stream, Wait::Body { call, old: false, pass });
            }
            None if asking == Asking::Last => {
                self.http2.release(stream, call.unreleased());
                self.refuse(stream, &memory_full());
            }
            None => self.wait(stream, Wait::BodyRoom { call, ended, waiting }),
        }
    }

    /// Gives up the bodies that were waited for when this was last called.
    pub(crate) fn give_up_old_bodies(&mut self) {
        for mut open in std::mem::take(&mut self.open) {
            match &mut open.wait {
                Wait::Body { call, old: true, .. } => {
                    self.http2.release(open.stream, call.unreleased());
                    self.refuse(open.stream, &body_timeout(limits::BODY_TIMEOUT));
                    continue;
                }
                Wait::Body { old, .. } => *old = true,
                _ => {}
            }
            self.open.push(open);
        }
    }
}
