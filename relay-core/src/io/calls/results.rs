//! Calls of one connection that wait until it is known what becomes of their requests. Some hundred of them may; a batch settles many at
//! once, on any core, and this connection is woken once for all of them. Must never allocate for each.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Context;
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use tokio::time::Sleep;

use super::super::core::Core;
use crate::batch::{Answers, Settled};
use crate::stats::Counted;

/// Where batches leave what has become of requests, by the streams of their calls.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    // A lock that is held for a push or a swap; a batch of another core may have to say something at the same moment.
    settled: Mutex<Vec<(u32, Settled)>>,
    waker: AtomicWaker,
}

impl Answers for Inbox {
    fn answer(&self, ticket: u32, settled: Settled) {
        let mut all = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        all.push((ticket, settled));
        let is_first = all.len() == 1;
        drop(all);
        if is_first {
            self.waker.wake();
        }
    }
}

/// The calls that wait.
#[derive(Default)]
pub(super) struct Results {
    pub(super) inbox: Arc<Inbox>,
    // Ascending by stream.
    waiting: VecDeque<Waiting>,
    // What was taken out of the inbox, and the next one's memory.
    taken: Vec<(u32, Settled)>,
    // At the earliest deadline, or before: it is looked at anew when it has passed.
    late: Option<Pin<Box<Sleep>>>,
}

struct Waiting {
    stream: u32,
    counted: Counted,
    deadline: Option<Instant>,
    _awaited: AwaitedResult,
}

impl Results {
    /// `stream` waits, until `deadline` if its sender has one.
    pub(super) fn wait(
        &mut self,
        stream: u32,
        counted: Counted,
        deadline: Option<Instant>,
        awaited: AwaitedResult,
    ) {
        if let Some(deadline) = deadline {
            let is_earlier = |late: &Pin<Box<Sleep>>| late.deadline().into_std() > deadline;
            if self.late.as_ref().is_none_or(is_earlier) {
                self.late = Some(Box::pin(tokio::time::sleep_until(deadline.into())));
            }
        }
        let at = match self.waiting.back() {
            Some(last) if last.stream > stream => self.waiting.partition_point(|known| known.stream < stream),
            _ => self.waiting.len(),
        };
        self.waiting.insert(at, Waiting { stream, counted, deadline, _awaited: awaited });
    }

    /// What has become of calls since it was asked last: the result, or `None` for one whose sender's deadline has passed.
    pub(super) fn ended(
        &mut self,
        cx: &mut Context<'_>,
        now: impl FnOnce() -> Instant,
    ) -> Vec<(u32, Counted, Option<Settled>)> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        self.inbox.waker.register(cx.waker());
        std::mem::swap(
            &mut *self.inbox.settled.lock().unwrap_or_else(PoisonError::into_inner),
            &mut self.taken,
        );
        let mut ended = Vec::with_capacity(self.taken.len());
        for (stream, settled) in self.taken.drain(..) {
            // One that was late has its answer already.
            if let Ok(at) = self.waiting.binary_search_by_key(&stream, |waiting| waiting.stream)
                && let Some(waiting) = self.waiting.remove(at)
            {
                ended.push((stream, waiting.counted, Some(settled)));
            }
        }
        if self.late.as_mut().is_some_and(|late| late.as_mut().poll(cx).is_ready()) {
            self.give_up_late(now(), &mut ended);
            // Registers the new timer.
            if let Some(late) = &mut self.late
                && late.as_mut().poll(cx).is_ready()
            {
                cx.waker().wake_by_ref();
            }
        }
        ended
    }

    fn give_up_late(&mut self, now: Instant, ended: &mut Vec<(u32, Counted, Option<Settled>)>) {
        self.waiting.retain(|waiting| {
            let is_late = waiting.deadline.is_some_and(|deadline| deadline <= now);
            if is_late {
                ended.push((waiting.stream, waiting.counted, None));
            }
            !is_late
        });
        let next = self.waiting.iter().filter_map(|waiting| waiting.deadline).min();
        self.late = next.map(|next| Box::pin(tokio::time::sleep_until(next.into())));
    }
}

/// The deadline of a call that has so long from `now` on; none if that is for ever.
pub(super) fn deadline(now: impl FnOnce() -> Instant, timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| now().checked_add(timeout))
}

/// Counts a call that waits for the upstream's answer, so that a drain leaves its connection open.
pub(crate) struct AwaitedResult(Rc<Core>);

impl AwaitedResult {
    pub(crate) fn new(core: &Rc<Core>) -> Self {
        core.awaited_results.set(core.awaited_results.get() + 1);
        Self(Rc::clone(core))
    }
}

impl Drop for AwaitedResult {
    fn drop(&mut self) {
        let awaited = &self.0.awaited_results;
        awaited.set(awaited.get() - 1);
    }
}
