//! A listening socket. Several may listen on one address, as with SO_REUSEPORT; a new connection then goes to one of them.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use super::here::here;
use super::network::Network;
use super::stream::TcpStream;
use crate::io::listening::Purpose;

/// Connections that are complete and wait to be accepted.
pub(super) type Queue = Arc<Mutex<Waiting>>;

#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) streams: VecDeque<TcpStream>,
    pub(super) acceptor: Option<Waker>,
}

/// Listens until the last clone is dropped.
#[derive(Debug)]
pub struct TcpListener(Arc<Socket>);

#[derive(Debug)]
struct Socket {
    network: Network,
    address: SocketAddr,
    number: u64,
    queue: Queue,
}

impl TcpListener {
    /// Listens on `address`, whatever host it is on.
    ///
    /// # Errors
    /// Outside of a simulated process.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let (network, _) = here().ok_or(io::ErrorKind::NetworkUnreachable)?;
        let queue = Queue::default();
        let mut state = network.lock();
        let number = state.number();
        state.listeners.entry(address).or_default().push((number, Arc::clone(&queue)));
        drop(state);
        Ok(Self(Arc::new(Socket { network, address, number, queue })))
    }

    /// As tokio's, where a listener comes from the standard library.
    ///
    /// # Errors
    /// None.
    pub fn from_std(listener: Self) -> io::Result<Self> {
        Ok(listener)
    }

    /// As the standard library's: another handle of the same socket.
    ///
    /// # Errors
    /// None.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(Arc::clone(&self.0)))
    }

    /// As the standard library's; nothing blocks here anyway.
    ///
    /// # Errors
    /// None.
    pub fn set_nonblocking(&self, _: bool) -> io::Result<()> {
        Ok(())
    }

    /// The address listened on.
    ///
    /// # Errors
    /// None.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.0.address)
    }

    /// The next connection, and the address that dialled it.
    ///
    /// # Errors
    /// None.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        std::future::poll_fn(|cx| {
            let mut waiting = lock(&self.0.queue);
            match waiting.streams.pop_front() {
                Some(stream) => {
                    let peer = stream.peer_addr();
                    Poll::Ready(peer.map(|peer| (stream, peer)))
                }
                None => {
                    waiting.acceptor = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

impl Socket {
    fn leave(&self) {
        let mut state = self.network.lock();
        if let Some(listeners) = state.listeners.get_mut(&self.address) {
            listeners.retain(|(number, _)| *number != self.number);
            if listeners.is_empty() {
                state.listeners.remove(&self.address);
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.leave();
        // The kernel resets what nobody has accepted.
        let streams = std::mem::take(&mut lock(&self.queue).streams);
        streams.into_iter().for_each(TcpStream::abort);
    }
}

pub(super) fn lock(queue: &Queue) -> MutexGuard<'_, Waiting> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As the real one: address reuse is what this network does anyway.
pub(crate) fn bind_tcp(address: SocketAddr, _: Purpose) -> io::Result<TcpListener> {
    TcpListener::bind(address)
}

/// As the real one.
pub(crate) fn keep_new_away(listener: &TcpListener) -> io::Result<()> {
    listener.0.leave();
    Ok(())
}
