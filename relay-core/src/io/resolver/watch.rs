//! Looks names up again and again: by a timer, sooner when somebody asks for it, with a growing delay after failures. What is known
//! stays in use whatever DNS says, until there are other addresses. Must never share a thread with senders.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::membership::{Lookups, Membership, Target, sorted, target};
use super::{Resolve, ResolveError};
use crate::io::clock::{self, Dice};
use crate::limits;
use crate::upstream::{Endpoint, HostName};

/// How often a name is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Between lookups; a tenth more or less, so that agents which start together do not ask together.
    pub(crate) interval: Duration,
    /// For one lookup.
    pub(crate) timeout: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { interval: limits::RESOLVE_INTERVAL, timeout: limits::RESOLVE_TIMEOUT }
    }
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The names of a relay that is being built.
pub(crate) struct Resolver {
    resolve: Arc<dyn Resolve>,
    pace: Pace,
    watched: Vec<(Endpoint, Pace, Membership)>,
    tasks: Vec<Task>,
}

impl Resolver {
    /// Asks `resolve`, each name every `interval` where nothing else is said.
    pub(crate) fn new(resolve: Arc<dyn Resolve>, interval: Duration) -> Self {
        let interval = interval.max(limits::RESOLVE_INTERVAL_MIN);
        Self { resolve, pace: Pace { interval, ..Pace::default() }, watched: Vec::new(), tasks: Vec::new() }
    }

    /// The addresses of `endpoint`. A name is looked up for the first time after [`Resolver::start`]; endpoints that are the
    /// same are looked up together.
    pub(crate) fn watch(&mut self, endpoint: &Endpoint) -> Membership {
        self.watch_at(endpoint, self.pace)
    }

    /// The same, at a pace of its own.
    pub(crate) fn watch_at(&mut self, endpoint: &Endpoint, pace: Pace) -> Membership {
        let known = self.watched.iter().find(|known| known.0 == *endpoint && known.1 == pace);
        if let Some((_, _, membership)) = known {
            return membership.clone();
        }
        let membership = match target(endpoint) {
            Target::Fixed(addresses) => Membership::fixed(&addresses),
            Target::Name(name, port) => {
                let (addresses, seen) = watch::channel(Arc::default());
                let lookups = Arc::new(Lookups::default());
                let watcher = Watcher {
                    resolve: Arc::clone(&self.resolve),
                    name,
                    port,
                    pace,
                    addresses,
                    lookups: Arc::clone(&lookups),
                    log: Log::default(),
                };
                self.tasks.push(Box::pin(watcher.run()));
                Membership::watched(seen, lookups)
            }
        };
        self.watched.push((endpoint.clone(), pace, membership.clone()));
        membership
    }

    /// Begins to look up, if there is any name. The thread ends when all memberships are gone. Called before any thread is pinned
    /// to a core.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn start(self) -> io::Result<()> {
        if self.tasks.is_empty() { Ok(()) } else { spawn(self.tasks) }
    }
}

#[cfg(not(feature = "simulation"))]
fn spawn(tasks: Vec<Task>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let work = move || {
        runtime.block_on(async move {
            // A task of its own for each: one that panics, in a resolver of the embedding service, must not stop the others.
            let mut running: tokio::task::JoinSet<()> = tasks.into_iter().collect();
            while let Some(ended) = running.join_next().await {
                if let Err(error) = ended {
                    tracing::error!(%error, "looking up a name has panicked; its addresses stay as they are");
                }
            }
        });
        // A lookup that hangs must not hold the end up.
        runtime.shutdown_background();
    };
    std::thread::Builder::new().name("relay-dns".to_owned()).spawn(work).map(drop)
}

#[cfg(feature = "simulation")]
#[expect(clippy::unnecessary_wraps, reason = "as the thread's, which may not start")]
fn spawn(tasks: Vec<Task>) -> io::Result<()> {
    for task in tasks {
        drop(tokio::task::spawn_local(task));
    }
    Ok(())
}

/// One name.
struct Watcher {
    resolve: Arc<dyn Resolve>,
    name: HostName,
    port: u16,
    pace: Pace,
    addresses: watch::Sender<Arc<[SocketAddr]>>,
    lookups: Arc<Lookups>,
    log: Log,
}

impl Watcher {
    async fn run(mut self) {
        let (dice, mut failures) = (Dice::new(), 0_u32);
        loop {
            self.lookups.begun.add(1);
            let found = tokio::select! {
                biased;
                () = self.addresses.closed() => return,
                found = tokio::time::timeout(self.pace.timeout, self.resolve.resolve(&self.name)) => found,
            };
            failures = match found.unwrap_or(Err(ResolveError::TimedOut)) {
                Ok(found) if !found.is_empty() => {
                    self.publish(&found);
                    0
                }
                Ok(_) => self.failed(&ResolveError::Unknown, failures),
                Err(error) => self.failed(&error, failures),
            };
            let again_min = limits::RESOLVE_AGAIN_MIN.min(self.pace.interval);
            let again_min = again_min.mul_f64(1.0 + dice.roll() / 2.0);
            tokio::select! {
                biased;
                () = self.addresses.closed() => return,
                () = tokio::time::sleep(delay(self.pace.interval, failures, dice.roll())) => {}
                () = wanted(&self.lookups, again_min) => {}
            }
        }
    }

    fn publish(&self, found: &[IpAddr]) {
        let found = sorted(found.iter().map(|ip| SocketAddr::new(*ip, self.port)).collect());
        let changed = self.addresses.send_if_modified(|known| {
            let differs = **known != *found;
            if differs {
                let (before, now) = (known.len(), found.len());
                tracing::info!(name = %self.name, before, now, "the addresses of an upstream have changed");
                *known = found;
            }
            differs
        });
        self.lookups.changed.add(u64::from(changed));
    }

    fn failed(&mut self, error: &ResolveError, failures: u32) -> u32 {
        self.lookups.failed.add(1);
        if let Some(left_out) = self.log.allow(clock::now()) {
            let kept = self.addresses.borrow().len();
            tracing::warn!(name = %self.name, %error, kept, left_out, "cannot look up an upstream; trying again");
        }
        failures.saturating_add(1)
    }
}

/// Resolves when somebody has asked for a lookup, not before `pause` is over.
async fn wanted(lookups: &Lookups, pause: Duration) {
    tokio::time::sleep(pause).await;
    lookups.wanted.notified().await;
}

/// The time between two lookups: the interval, or after failures in a row a part of it that doubles with each.
/// `random` is uniform in 0..1.
fn delay(interval: Duration, failures: u32, random: f64) -> Duration {
    match failures.checked_sub(1) {
        None => interval.mul_f64(0.9 + random / 5.0),
        Some(doublings) => {
            let doubled =
                limits::RESOLVE_RETRY_MIN.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX));
            doubled.min(interval).mul_f64(0.5 + random / 2.0)
        }
    }
}

/// One line an interval about a name that fails.
#[derive(Default)]
struct Log {
    last: Option<Instant>,
    left_out: u64,
}

impl Log {
    fn allow(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < limits::LOG_INTERVAL) {
            self.left_out += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests;
