//! Who the senders are: a number for each connection, and what to call it in a log line when what it sent is refused long after. Must
//! never be asked on the way of the data: a request carries the number alone.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::batch::Origin;
use crate::limits::ORIGINS_LEFT_MAX;

/// The connections of senders, open ones and some that have closed.
#[derive(Debug)]
pub(crate) struct Origins {
    receivers: Vec<String>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    last: u32,
    senders: HashMap<Origin, Sender>,
    // Closed ones, the oldest first.
    left: VecDeque<Origin>,
}

/// One connection of a sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sender {
    /// Number of the receiver that it came to.
    pub(crate) receiver: usize,
    /// `None` over a unix socket.
    pub(crate) peer: Option<SocketAddr>,
}

/// The number of an open connection, which is remembered for some time after this is dropped.
#[derive(Debug)]
pub(crate) struct OpenOrigin {
    pub(crate) origin: Origin,
    of: Arc<Origins>,
}

impl Origins {
    /// Of senders to receivers of these names.
    pub(crate) fn new(receivers: Vec<String>) -> Self {
        Self { receivers, known: Mutex::default() }
    }

    /// A number for a new connection.
    pub(crate) fn open(of: &Arc<Self>, sender: Sender) -> OpenOrigin {
        let mut known = of.lock();
        // 0 is nobody; after 2^32 connections numbers come again, of those that have long gone.
        known.last = known.last.checked_add(1).unwrap_or(1);
        let origin = Origin(known.last);
        known.senders.insert(origin, sender);
        OpenOrigin { origin, of: Arc::clone(of) }
    }

    /// Who has this number: its address and the receiver that it came to, as far as they are known.
    pub(crate) fn words(&self, origin: Origin) -> (String, &str) {
        let Some(sender) = self.lock().senders.get(&origin).copied() else {
            return ("unknown".to_owned(), "");
        };
        let peer = sender.peer.map_or_else(|| "a unix socket".to_owned(), |peer| peer.to_string());
        (peer, self.receivers.get(sender.receiver).map_or("", |name| name.as_str()))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OpenOrigin {
    fn drop(&mut self) {
        let mut known = self.of.lock();
        known.left.push_back(self.origin);
        if known.left.len() > ORIGINS_LEFT_MAX
            && let Some(oldest) = known.left.pop_front()
        {
            known.senders.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_left_are_remembered_for_a_while() {
        let origins = Arc::new(Origins::new(vec!["a".to_owned(), "otlp".to_owned()]));
        let sender = |port| Sender { receiver: 1, peer: Some(([127, 0, 0, 1], port).into()) };
        let first = Origins::open(&origins, sender(7));
        let number = first.origin;
        drop(first);
        assert_eq!(origins.words(number), ("127.0.0.1:7".to_owned(), "otlp"));
        for _ in 0..=ORIGINS_LEFT_MAX {
            drop(Origins::open(&origins, sender(8)));
        }
        assert_eq!(origins.words(number).0, "unknown");
        assert_eq!(origins.lock().senders.len(), ORIGINS_LEFT_MAX);
    }
}
