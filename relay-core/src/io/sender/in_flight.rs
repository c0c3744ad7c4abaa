//! What a call in flight counts for: its place among the calls of its core, and the memory that it holds.

use std::rc::Rc;
use std::sync::atomic::Ordering;

use super::Sender;
use crate::batch::Batch;
use crate::io::apart::Family;

/// Counts a call in flight; also when its task panics.
pub(super) struct CallGuard {
    sender: Rc<Sender>,
    pub(super) kind: Kind,
    bytes: usize,
}

/// What a call carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Batch,
    /// What is isolated, or comes from suspects.
    Apart,
    /// What was read back from disk.
    Replay,
}

impl CallGuard {
    pub(super) fn new(sender: &Rc<Sender>, kind: Kind, family: &Family) -> Self {
        // Read where there is a disk; else nobody touches what all cores write.
        let has_disk = sender.intake.upstream.spool().is_some();
        let bytes = family.pending.iter().map(Batch::held_bytes).sum::<usize>() * usize::from(has_disk);
        if has_disk {
            sender.intake.upstream.calls_bytes.fetch_add(bytes, Ordering::Relaxed);
            // A call began, so nothing had to go to disk for it; who still finds no room asks again.
            sender.intake.take_room_wanted();
            sender.replayed_last.set(kind == Kind::Replay);
        }
        sender.calls.set(sender.calls.get() + 1);
        sender.intake.set_calling(true);
        sender.intake.counters.calls.add(1);
        if kind == Kind::Replay {
            sender.replays.set(sender.replays.get() + 1);
        }
        if kind == Kind::Apart {
            sender.apart_calls.set(sender.apart_calls.get() + 1);
            sender.intake.counters.isolating_calls.add(1);
        }
        Self { sender: Rc::clone(sender), kind, bytes }
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        let sender = &self.sender;
        sender.calls.set(sender.calls.get() - 1);
        sender.intake.set_calling(sender.calls.get() > 0);
        if self.bytes > 0 {
            sender.intake.upstream.calls_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        }
        if self.kind == Kind::Replay {
            sender.replays.set(sender.replays.get() - 1);
        }
        if self.kind == Kind::Apart {
            sender.apart_calls.set(sender.apart_calls.get() - 1);
            sender.intake.upstream.lanes.wake(sender.intake.core);
        }
        sender.intake.counters.calls.sub(1);
        if std::thread::panicking() {
            sender.intake.counters.panics.add(1);
            if let Some(left_out) = sender.log.allow(sender.about, "panic") {
                let exporter = &sender.intake.upstream.config.name;
                tracing::error!(exporter, left_out, "a call has panicked; what it held is dropped");
            }
        }
        sender.call_ended.notify_one();
        sender.intake.upstream.room_came();
    }
}
