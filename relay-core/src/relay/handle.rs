//! A running relay: hand in requests, read what it has done, drain it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::SubmitError;
use crate::batch::{DropReason, Receipt};
use crate::config::ListenAddress;
use crate::io::core_thread::CoreThread;
use crate::io::listening::ListeningSocket;
use crate::io::shared::{Command, Shared};
use crate::io::{clock, death};
use crate::otlp::{RawRequest, Signal};
use crate::stats::Stats;

/// A running relay. Dropping it without [`RelayHandle::drain`] gives up what is held.
#[derive(Debug)]
pub struct RelayHandle {
    pub(super) shared: Arc<Shared>,
    pub(super) threads: Vec<CoreThread>,
}

impl RelayHandle {
    /// The addresses listened on, in the order of the receivers.
    pub fn listening_on(&self) -> Vec<ListenAddress> {
        self.shared.receivers.iter().map(|receiver| receiver.address.clone()).collect()
    }

    /// The sockets of the receivers, in their order, for a relay of this process that takes over
    /// ([`crate::RelayBuilder::receiver_on`]): start that one, then drain this one, and no connection is lost. `None` where nobody accepts
    /// any more.
    pub fn listeners(&self) -> Vec<Option<ListeningSocket>> {
        self.shared.receivers.iter().map(|receiver| receiver.socket.upgrade()).collect()
    }

    /// Hands in one export request of `signal` as protobuf bytes, for all upstreams of that signal, from any thread. Returns at
    /// once; the [`Receipt`] resolves when all of them have settled it.
    ///
    /// # Errors
    /// [`SubmitError::Malformed`] and [`SubmitError::Unserved`] for good; [`SubmitError::Full`] for now.
    pub fn submit(&self, signal: Signal, request: Bytes) -> Result<Receipt, SubmitError> {
        if self.shared.is_draining() {
            return Err(SubmitError::Draining);
        }
        let request = RawRequest::new(request).frame(signal);
        let request = request.map_err(|error| SubmitError::Malformed(signal, error))?;
        let takers = self.shared.upstreams.iter().filter(|upstream| upstream.config.signal == signal);
        if takers.clone().next().is_none() {
            return Err(SubmitError::Unserved(signal));
        }
        let mut receipt = Receipt::default();
        if request.items() == 0 {
            return Ok(receipt);
        }
        if !self.shared.budget.has_room(request.len()) {
            return Err(SubmitError::Full);
        }
        let receipts = takers.map(|_| receipt.sender()).collect();
        let (_, core) = self.shared.least_loaded().ok_or(SubmitError::Draining)?;
        core.inbox.try_send(Command::Submit(request, receipts)).map_err(|error| match error {
            mpsc::error::TrySendError::Closed(_) if self.shared.is_draining() => SubmitError::Draining,
            // Or the core has died just now: another one takes it next time.
            mpsc::error::TrySendError::Full(_) | mpsc::error::TrySendError::Closed(_) => SubmitError::Full,
        })?;
        Ok(receipt)
    }

    /// What the relay has done and holds.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Whether all cores are alive. One that died takes nothing and sends nothing any more; the others go on, and
    /// [`Stats::deaths`] says why.
    pub fn is_healthy(&self) -> bool {
        self.shared.living().count() == self.threads.len()
            && !self.threads.iter().any(CoreThread::is_finished)
    }

    /// Whether any core is alive.
    pub fn is_alive(&self) -> bool {
        self.shared.living().next().is_some()
    }

    /// A cheap way to read stats from elsewhere, also while [`RelayHandle::drain`] has the handle.
    pub fn stats_reader(&self) -> StatsReader {
        StatsReader(Arc::clone(&self.shared))
    }

    /// Stops receiving (senders are told by GOAWAY), sends what is held, and ends all threads. What no upstream has
    /// taken within `deadline` goes to the disk behind it, or is given up and counted as
    /// [`crate::batch::DropReason::ShutdownDeadline`]. Returns the final stats, in which memory holds nothing. Works in any async runtime.
    pub async fn drain(mut self, deadline: Duration) -> Stats {
        let until = clock::now() + deadline;
        self.shared.spare_listeners().clear();
        // Before senders are asked to go: one that comes again at once must not meet a listener that is about to close.
        let mut closing = Vec::new();
        for core in &self.shared.cores {
            let (done, closed) = oneshot::channel();
            if core.inbox.send(Command::StopAccepting(done)).await.is_ok() {
                closing.push(closed);
            }
        }
        for closed in closing {
            closed.await.ok();
        }
        self.shared.draining.store(true, Ordering::Release);
        let mut waiting = Vec::new();
        for core in &self.shared.cores {
            let (done, drained) = oneshot::channel();
            // An error means that the core has died: what it held is counted as aborted.
            if core.inbox.send(Command::Drain(until, done)).await.is_ok() {
                waiting.push(drained);
            }
        }
        for drained in waiting {
            drained.await.ok();
        }
        for thread in self.threads.drain(..) {
            // The thread has said that it is done: this waits for its last instructions only.
            thread.join().ok();
        }
        // What a core that died at the last moment has left to the others.
        death::give_up_queues(&self.shared, DropReason::Aborted);
        let spools = self.shared.upstreams.iter().filter_map(|upstream| upstream.spool());
        let closing: Vec<_> = spools.map(|spool| spool.close()).collect();
        for closed in closing {
            closed.await.ok();
        }
        self.shared.stats()
    }
}

impl Drop for RelayHandle {
    fn drop(&mut self) {
        self.shared.draining.store(true, Ordering::Release);
        self.shared.spare_listeners().clear();
        for core in &self.shared.cores {
            let (done, _) = oneshot::channel();
            core.inbox.try_send(Command::Drain(clock::now(), done)).ok();
        }
    }
}

/// Reads the stats of a relay.
#[derive(Clone, Debug)]
pub struct StatsReader(Arc<Shared>);

impl StatsReader {
    /// What the relay has done and holds.
    pub fn stats(&self) -> Stats {
        self.0.stats()
    }

    /// Whether a listener is accepted from still: no more once a drain has left the sockets to others.
    pub fn is_accepting(&self) -> bool {
        self.0.accepting.load(Ordering::Acquire) > 0
    }
}
