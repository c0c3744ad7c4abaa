//! Which network and which host the code that runs now belongs to. Set while a process is polled, and then only: must never be
//! remembered by what outlives a poll.

use std::cell::RefCell;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::network::Network;

thread_local! {
    static HERE: RefCell<Option<(Network, IpAddr)>> = const { RefCell::new(None) };
}

/// The network and the host of what is polled now; `None` outside of every process.
pub fn here() -> Option<(Network, IpAddr)> {
    HERE.with_borrow(Clone::clone)
}

/// A seed for the dice of what is polled now: drawn from the network's own.
pub(crate) fn dice_seed() -> u64 {
    // Outside of a simulated process there is nothing to be repeated.
    here().map_or(1, |(network, _)| network.draw())
}

/// A process: a future that runs on a host.
#[must_use = "futures do nothing unless polled"]
pub struct Entered<F> {
    place: Option<(Network, IpAddr)>,
    process: Pin<Box<F>>,
}

impl<F> std::fmt::Debug for Entered<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entered")
            .field("host", &self.place.as_ref().map(|(_, host)| host))
            .finish_non_exhaustive()
    }
}

impl<F: Future> Entered<F> {
    pub(super) fn new(place: Option<(Network, IpAddr)>, process: F) -> Self {
        Self { place, process: Box::pin(process) }
    }
}

impl<F: Future> Future for Entered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let outside = HERE.replace(self.place.clone());
        let _leave = Leave(outside);
        self.process.as_mut().poll(cx)
    }
}

/// A future that runs where the caller does, whoever polls it.
pub(crate) fn inherit<F: Future>(future: F) -> Entered<F> {
    Entered::new(here(), future)
}

/// Puts back what was there before; also when the process panics.
struct Leave(Option<(Network, IpAddr)>);

impl Drop for Leave {
    fn drop(&mut self) {
        HERE.set(self.0.take());
    }
}
