//! Listening: binds a receiver's address, accepts, and hands each connection to the core with the fewest.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::atomic::Ordering;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::TcpStream;

use super::core::Core;
use super::sender::Phase;
use super::shared::Command;
use crate::limits::{ACCEPT_BACKLOG, ACCEPT_PAUSE, CONNECTIONS_MAX, KEEPALIVE_IDLE, KEEPALIVE_INTERVAL};

/// Binds and listens on `address`.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    // A successor process may bind while this one drains, so that no sender meets a closed port.
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(ACCEPT_BACKLOG)?;
    Ok(socket.into())
}

/// Accepts until the drain. SO_REUSEPORT alone would hash a node's handful of long-lived connections onto few cores;
/// one acceptor that counts does not.
pub(crate) async fn accept(core: Rc<Core>, receiver: usize, listener: TcpListener) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "cannot accept connections");
            return;
        }
    };
    let mut phase = core.phase.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = phase.wait_for(|phase| *phase != Phase::Running) => return,
        };
        match accepted {
            Ok((stream, _)) => hand_over(&core, receiver, stream),
            Err(error) => {
                if let Some(left_out) = core.log_limit().allow(receiver, "accept") {
                    tracing::warn!(%error, left_out, "accept failed");
                }
                // Out of file descriptors: without a pause this would spin.
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// What every socket gets, of senders and of upstreams: no delay of small writes, and the kernel notices dead peers.
pub(crate) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

fn hand_over(core: &Rc<Core>, receiver: usize, stream: TcpStream) {
    let shared = &core.shared;
    if shared.connections() >= CONNECTIONS_MAX {
        if let Some(left_out) = core.log_limit().allow(receiver, "connections") {
            tracing::warn!(left_out, "more than {CONNECTIONS_MAX} connections; closing new ones");
        }
        return;
    }
    let number = shared.least_loaded();
    let Some(target) = shared.cores.get(number) else { return };
    // Counted here, so that the next choice sees it; the connection's task gives it back.
    target.connections.fetch_add(1, Ordering::Relaxed);
    if number == core.number {
        core.serve(stream, receiver);
        return;
    }
    let handed =
        stream.into_std().ok().map(|stream| target.inbox.try_send(Command::Connection(stream, receiver)));
    if !matches!(handed, Some(Ok(()))) {
        target.connections.fetch_sub(1, Ordering::Relaxed);
        if let Some(left_out) = core.log_limit().allow(receiver, "hand_over") {
            tracing::warn!(left_out, "a core takes no more connections; closing new ones");
        }
    }
}
