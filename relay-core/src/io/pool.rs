//! The connections of one core to all addresses of one upstream: asks `upstream` where a call goes, dials what it needs, and waits
//! while there is nowhere to go. Must never wait for one address while another is of use.

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::channel::{Channel, Site};
use super::clock;
use super::lease::Lease;
use super::sender::Phase;
use crate::limits::{CONNECTED_ADDRESSES_MAX, DIAL_NEXT_DELAY, DRAIN_RETRY_DELAY_MAX};
use crate::upstream::{Address, Balancer, Gate, Pick, Takes, Wish, draw};

/// Belongs to one core.
pub(crate) struct Pool {
    site: Rc<Site>,
    phase: watch::Receiver<Phase>,
    members: RefCell<Members>,
    // Where in the list this core begins to dial: cores, and relays, that cannot use all addresses use different ones.
    first: usize,
    following: RefCell<Option<JoinHandle<()>>>,
}

/// The addresses, and the channel to each.
struct Members {
    addresses: Arc<[Arc<Address>]>,
    channels: Vec<Rc<Channel>>,
}

/// Where a call may go.
pub(crate) enum Acquired {
    /// Over this connection.
    Lease(Lease),
    /// Nowhere: no address takes more than this many bytes.
    TooLarge(usize),
    /// Nowhere in the time that it had.
    GivenUp,
}

impl Pool {
    pub(crate) fn new(site: Site, phase: watch::Receiver<Phase>) -> Rc<Self> {
        let (first, _) = draw(usize::from(u16::MAX), site.dice.roll());
        let members = RefCell::new(Members { addresses: Arc::default(), channels: Vec::new() });
        let pool =
            Rc::new(Self { site: Rc::new(site), phase, members, first, following: RefCell::default() });
        pool.update();
        let following = Rc::downgrade(&pool);
        let mut membership = pool.site.addresses.membership();
        *pool.following.borrow_mut() = Some(tokio::task::spawn_local(async move {
            loop {
                membership.changed().await;
                let Some(pool) = following.upgrade() else { return };
                pool.update();
            }
        }));
        pool
    }

    /// Takes over the addresses as they are now. Connections to those that stay are kept.
    fn update(&self) {
        let addresses = self.site.addresses.update(&self.site.dice);
        let mut members = self.members.borrow_mut();
        let mut known = std::mem::take(&mut members.channels);
        let channel = |address: &Arc<Address>| {
            let at = known.iter().position(|channel| Arc::ptr_eq(channel.address(), address));
            at.map_or_else(
                || Channel::new(Rc::clone(&self.site), Arc::clone(address)),
                |at| known.swap_remove(at),
            )
        };
        members.channels = addresses.iter().map(channel).collect();
        members.addresses = addresses;
        drop(members);
        known.iter().for_each(|left| left.remove());
        self.site.tell_all();
        self.site.changed.notify_waiters();
    }

    /// A connection on which a call with a message of `bytes` may start now (0 if nothing is known of its size). Waits for it, through
    /// failed dials and while the upstream has asked for a rest, until `give_up_at`.
    pub(crate) async fn acquire(&self, bytes: usize, give_up_at: Option<Instant>) -> Acquired {
        match self.pick(bytes, false) {
            Ok(acquired) => acquired,
            Err(_) => self.acquire_later(bytes, give_up_at).await,
        }
    }

    async fn acquire_later(&self, bytes: usize, give_up_at: Option<Instant>) -> Acquired {
        let mut impatience = pin!(self.impatience());
        let mut urgent = false;
        loop {
            // Before the look, so that no change is missed between it and the wait.
            let (here, anywhere) = (self.site.changed.notified(), self.site.addresses.changed.notified());
            let until = match self.pick(bytes, urgent) {
                Ok(acquired) => return acquired,
                Err(until) => until,
            };
            if give_up_at.is_some_and(|at| at <= clock::now()) {
                return Acquired::GivenUp;
            }
            if urgent {
                impatience.set(self.impatience());
            }
            urgent = false;
            let until = until.into_iter().chain(give_up_at).min();
            let time = async {
                match until {
                    Some(until) => clock::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = here => {}
                () = anywhere => {}
                () = time => {}
                () = &mut impatience => urgent = true,
            }
        }
    }

    /// Resolves when a drain allows no longer wait, from its beginning or from now.
    async fn impatience(&self) {
        let mut phase = self.phase.clone();
        // `drop`: what `wait_for` returns is a read lock, and holding it over the sleep below would block the drain.
        let draining = phase.wait_for(|phase| *phase != Phase::Running).await.map(drop);
        if draining.is_err() {
            return std::future::pending().await;
        }
        tokio::time::sleep(DRAIN_RETRY_DELAY_MAX).await;
    }

    /// Looks once; if there is nowhere to go, says until when at the longest.
    fn pick(&self, bytes: usize, urgent: bool) -> Result<Acquired, Option<Instant>> {
        let (now, random) = (clock::now(), self.site.dice.roll());
        let members = self.members.borrow();
        let (table, channels) = (&self.site.addresses.table, &members.channels);
        channels.iter().for_each(|channel| channel.tidy());
        if table.balancer() == Balancer::PickFirst {
            dial_first(channels, bytes, now, urgent);
        } else {
            self.dial_all(channels, bytes, now, urgent);
        }
        let wish = Wish { bytes, now, random, urgent };
        let has_room = |at: usize| channels.get(at).is_some_and(|channel| channel.has_room());
        match table.pick(&members.addresses, &wish, has_room) {
            Pick::Address { at, probe } => {
                let channel = channels.get(at).ok_or(None)?;
                let connected = channel.connected().ok_or(None)?;
                Ok(Acquired::Lease(Lease::new(Rc::clone(channel), connected, (bytes, probe))))
            }
            Pick::Wait(until) if table.balancer() == Balancer::PickFirst => {
                Err(Some(until.map_or(now + DIAL_NEXT_DELAY, |until| until.min(now + DIAL_NEXT_DELAY))))
            }
            Pick::Wait(until) => Err(until),
            Pick::TooLarge(bytes_max) => Ok(Acquired::TooLarge(bytes_max)),
        }
    }

    /// Dials what has no connection, or an old one, as far as that is allowed.
    fn dial_all(&self, channels: &[Rc<Channel>], bytes: usize, now: Instant, urgent: bool) {
        if !channels.iter().any(|channel| channel.wants_dial(now)) {
            return;
        }
        let in_use = |channel: &&Rc<Channel>| channel.dialling_since().is_some() || serves(channel, bytes);
        let mut room = CONNECTED_ADDRESSES_MAX.saturating_sub(channels.iter().filter(in_use).count());
        let (before, after) = channels.split_at(self.first_of(channels.len()));
        for channel in after.iter().chain(before).filter(|channel| channel.wants_dial(now)) {
            let replaces = channel.is_connected();
            if (replaces || room > 0) && channel.address().claim_dial(now, urgent) {
                room -= usize::from(!replaces);
                channel.dial(now);
            }
        }
    }

    /// A number below `count`, or 0.
    fn first_of(&self, count: usize) -> usize {
        self.first.checked_rem(count).unwrap_or(0)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if let Some(following) = &*self.following.borrow() {
            following.abort();
        }
    }
}

/// Whether a message of `bytes` may go there now, as far as is known.
fn serves(channel: &Channel, bytes: usize) -> bool {
    let address = channel.address();
    let rests = matches!(address.gate(), Gate::Throttled(_));
    channel.is_connected() && !rests && address.takes(bytes) == Takes::Yes
}

/// Keeps one connection that serves; while there is none, dials one address after the other, without waiting for one that does not
/// answer.
fn dial_first(channels: &[Rc<Channel>], bytes: usize, now: Instant, urgent: bool) {
    if let Some(serving) = channels.iter().find(|channel| serves(channel, bytes)) {
        if serving.wants_dial(now) && serving.address().claim_dial(now, urgent) {
            serving.dial(now);
        }
        return;
    }
    let mut by_rank: Vec<&Rc<Channel>> = channels.iter().filter(|channel| !channel.is_connected()).collect();
    by_rank.sort_by(|a, b| a.address().rank().total_cmp(&b.address().rank()));
    for channel in by_rank {
        match channel.dialling_since() {
            Some(since) if now.saturating_duration_since(since) < DIAL_NEXT_DELAY => return,
            Some(_) => {}
            None if channel.address().claim_dial(now, urgent) => return channel.dial(now),
            None => {}
        }
    }
}
