//! One member of a tier on one core: its sender, and the way back for what it could not send before it left. Must never decide who is a
//! member.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use super::tier::Tier;
use crate::batch::{Batch, DropReason};
use crate::io::clock;
use crate::io::sender::{Phase, Sender};
use crate::limits::{DRAIN_LOOK_INTERVAL, DRAIN_SETTLE_MAX, MEMBER_LEAVE_GRACE};

/// What is to be sorted anew. Shared by a core's members of one tier.
#[derive(Debug, Default)]
pub(super) struct Back {
    pub(super) batches: RefCell<VecDeque<Batch>>,
    pub(super) changed: Notify,
}

impl Back {
    pub(super) fn put(&self, batch: Batch) {
        self.batches.borrow_mut().push_back(batch);
        self.changed.notify_one();
    }
}

/// What a sender knows of being a member's.
#[derive(Debug)]
pub(crate) struct MemberSide {
    pub(super) name: String,
    pub(super) tier: Arc<Tier>,
    pub(super) back: Rc<Back>,
    // The core's own.
    pub(super) phase: watch::Receiver<Phase>,
    pub(super) left: Cell<bool>,
}

impl MemberSide {
    /// A batch has been settled: taken, or given up.
    pub(crate) fn ended(&self, taken: bool) {
        self.tier.ended(&self.name, taken);
    }

    /// Asked before `batch` is dropped for `reason`: takes it back if that is only because the member has left its tier.
    pub(crate) fn give_back(member: Option<&Self>, batch: Batch, reason: DropReason) -> Option<Batch> {
        let Some(member) = member else { return Some(batch) };
        let is_over = *member.phase.borrow() == Phase::Over;
        if reason == DropReason::ShutdownDeadline && member.left.get() && !is_over {
            member.back.put(batch);
            return None;
        }
        member.ended(false);
        Some(batch)
    }
}

/// Belongs to one core.
pub(super) struct Member {
    pub(super) sender: Rc<Sender>,
    pub(super) side: Rc<MemberSide>,
    pub(super) phase: watch::Sender<Phase>,
    pub(super) task: AbortHandle,
}

impl Member {
    /// Tells its sender how far the core's drain has come.
    pub(super) fn tell(&self, phase: Phase) {
        self.phase.send_if_modified(|known| std::mem::replace(known, phase) != phase);
    }

    /// Takes what no call has begun to send.
    pub(super) fn take_waiting(&self) {
        let intake = &self.sender.intake;
        while let Some(batch) = intake.next(true).or_else(|| intake.next_apart_whatever()) {
            self.side.back.put(batch);
        }
    }

    /// How many batches wait for a call, on this core.
    pub(super) fn waiting(&self) -> usize {
        let intake = &self.sender.intake;
        intake.upstream.lanes.len_of(intake.core)
    }

    pub(super) fn is_full(&self) -> bool {
        let intake = &self.sender.intake;
        intake.upstream.lanes.is_full(intake.core)
    }

    /// Ends it: calls in flight have a moment to be answered, then what they carry goes back.
    pub(super) async fn leave(self: Rc<Self>, leaving: Rc<RefCell<Vec<Rc<Self>>>>) {
        self.wait_idle(MEMBER_LEAVE_GRACE).await;
        self.tell(Phase::Over);
        self.wait_idle(DRAIN_SETTLE_MAX).await;
        self.task.abort();
        leaving.borrow_mut().retain(|member| !Rc::ptr_eq(member, &self));
        self.side.back.changed.notify_one();
    }

    async fn wait_idle(&self, longest: std::time::Duration) {
        let until = clock::now() + longest;
        while !self.sender.is_idle() && clock::now() < until {
            tokio::time::sleep(DRAIN_LOOK_INTERVAL).await;
            // Another core's sender of this member may have left something here.
            self.take_waiting();
        }
    }
}
