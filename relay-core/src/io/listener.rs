//! Accepting: hands each new connection to the core with the fewest, and at the end leaves none behind that the kernel has
//! completed. Must never lose one that was accepted.

use std::io;
use std::rc::Rc;
use std::sync::atomic::Ordering;

#[cfg(not(feature = "simulation"))]
use tokio::net::TcpListener;
use tokio::sync::mpsc::error::TrySendError;

use super::core::Core;
use super::listening::{Listener, ListeningSocket};
use super::sender::Phase;
use super::shared::Command;
#[cfg(feature = "simulation")]
use super::simulation::TcpListener;
use super::socket::Socket;
use crate::limits::{ACCEPT_BACKLOG, ACCEPT_PAUSE, ACCEPT_SETTLE, CONNECTIONS_MAX};

/// A listener on the runtime of the core that accepts.
enum Accepting {
    Tcp(TcpListener),
    Unix(tokio::net::UnixListener),
}

impl Accepting {
    fn new(socket: &ListeningSocket) -> io::Result<Self> {
        match socket.listener()? {
            Listener::Tcp(listener) => TcpListener::from_std(listener).map(Self::Tcp),
            Listener::Unix(listener) => tokio::net::UnixListener::from_std(listener).map(Self::Unix),
        }
    }

    async fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| Socket::Tcp(stream)),
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| Socket::Unix(stream)),
        }
    }
}

/// Accepts until the drain. SO_REUSEPORT alone would hash a node's handful of long-lived connections onto few cores;
/// one acceptor that counts does not.
pub(crate) async fn accept(core: Rc<Core>, receiver: usize, socket: ListeningSocket) {
    let listener = match Accepting::new(&socket) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "cannot accept connections");
            return;
        }
    };
    let (mut phase, mut closing) = (core.phase.clone(), core.closing.clone());
    loop {
        let accepted = tokio::select! {
            biased;
            // First: senders that come all the time must not keep the drain from being seen.
            _ = closing.wait_for(|closing| *closing) => break,
            _ = phase.wait_for(|phase| *phase != Phase::Running) => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(socket) => hand_over(&core, receiver, socket),
            Err(error) => {
                if let Some(left_out) = core.log_limit().allow(receiver, "accept") {
                    tracing::warn!(%error, left_out, "accept failed");
                }
                // Out of file descriptors: without a pause this would spin.
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // What waits in a socket that has another holder is for that one to accept.
    if socket.is_last() {
        empty(&core, receiver, &listener, &socket).await;
    }
}

/// Accepts all that the kernel has completed. Closing the listener would reset it.
async fn empty(core: &Rc<Core>, receiver: usize, listener: &Accepting, socket: &ListeningSocket) {
    socket.refuse_new();
    let mut settled = std::pin::pin!(tokio::time::sleep(ACCEPT_SETTLE));
    // Bounded where new ones cannot be kept away.
    for _ in 0..2 * ACCEPT_BACKLOG {
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            () = settled.as_mut() => return,
        };
        match accepted {
            Ok(socket) => hand_over(core, receiver, socket),
            Err(error) => tracing::debug!(%error, "accept failed"),
        }
    }
}

fn hand_over(core: &Rc<Core>, receiver: usize, socket: Socket) {
    let shared = &core.shared;
    if shared.connections() >= CONNECTIONS_MAX {
        if let Some(left_out) = core.log_limit().allow(receiver, "connections") {
            tracing::warn!(left_out, "more than {CONNECTIONS_MAX} connections; closing new ones");
        }
        return;
    }
    let Some((number, target)) = shared.least_loaded() else { return };
    // Counted here, so that the next choice sees it; the connection's task gives it back.
    target.connections.fetch_add(1, Ordering::Relaxed);
    if number == core.number {
        core.serve(socket, receiver);
        return;
    }
    let back = match socket.detach() {
        Ok(socket) => match target.inbox.try_send(Command::Connection(socket, receiver)) {
            Ok(()) => return,
            Err(TrySendError::Full(command) | TrySendError::Closed(command)) => Some(command),
        },
        Err(_) => None,
    };
    target.connections.fetch_sub(1, Ordering::Relaxed);
    // A core that is busy, has drained already or has died: better served here than closed.
    if let (Some(Command::Connection(socket, receiver)), Some(own)) = (back, shared.cores.get(core.number)) {
        own.connections.fetch_add(1, Ordering::Relaxed);
        core.adopt(socket, receiver);
    }
}
