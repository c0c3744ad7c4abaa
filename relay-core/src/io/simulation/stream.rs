//! A connected socket: what tokio's `TcpStream` is to its callers.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep, sleep_until};

use super::super::clock;
use super::here::here;
use super::listener::lock;
use super::network::Network;
use crate::limits::{ACCEPT_BACKLOG, UPSTREAM_SILENCE_MAX};

/// A host's next try where nobody has answered its first packet (RFC 6298 section 2).
const SYN_AGAIN: Duration = Duration::from_secs(1);

/// One end of a connection. Dropped, it closes as the kernel does: in order, or by a reset if something was left unread.
#[derive(Debug)]
pub struct TcpStream {
    network: Network,
    number: u64,
    side: usize,
    // One for reading, one for writing.
    timers: [Option<Pin<Box<Sleep>>>; 2],
}

/// What can be dialled.
pub trait Target {
    /// Its addresses on `network`, in the order to try them in.
    fn addresses(&self, network: &Network) -> Vec<SocketAddr>;
}

impl Target for SocketAddr {
    fn addresses(&self, _: &Network) -> Vec<SocketAddr> {
        vec![*self]
    }
}

impl Target for &[SocketAddr] {
    fn addresses(&self, _: &Network) -> Vec<SocketAddr> {
        self.to_vec()
    }
}

/// `host:port`.
impl Target for String {
    fn addresses(&self, network: &Network) -> Vec<SocketAddr> {
        if let Ok(address) = self.parse() {
            return vec![address];
        }
        let Some((name, Ok(port))) = self.rsplit_once(':').map(|(name, port)| (name, port.parse())) else {
            return Vec::new();
        };
        let named = network.lock().names.get(name).cloned().unwrap_or_default();
        named.into_iter().map(|address| SocketAddr::new(address, port)).collect()
    }
}

impl TcpStream {
    /// Connects from the host of the process that is polled to `target`. Takes for ever while there is a partition.
    ///
    /// # Errors
    /// `ConnectionRefused` where nobody listens.
    pub fn connect<T: Target>(target: T) -> impl Future<Output = io::Result<Self>> + Send + use<T> {
        let place = here();
        let addresses = place.as_ref().map(|(network, _)| target.addresses(network)).unwrap_or_default();
        async move {
            let (network, from) = place.ok_or(io::ErrorKind::NetworkUnreachable)?;
            let mut last = io::Error::new(io::ErrorKind::NotFound, "no address is known for the name");
            for address in addresses {
                match dial(&network, from, address).await {
                    Ok(stream) => return Ok(stream),
                    Err(error) => last = error,
                }
            }
            Err(last)
        }
    }

    /// As tokio's, where a socket goes to another runtime.
    ///
    /// # Errors
    /// None.
    pub fn into_std(self) -> io::Result<Self> {
        Ok(self)
    }

    /// See [`TcpStream::into_std`].
    ///
    /// # Errors
    /// None.
    pub fn from_std(stream: Self) -> io::Result<Self> {
        Ok(stream)
    }

    /// As tokio's: nothing is delayed here anyway.
    ///
    /// # Errors
    /// None.
    pub fn set_nodelay(&self, _: bool) -> io::Result<()> {
        Ok(())
    }

    /// The address of the other end.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.addresses().map(|[dialled, accepted]| if self.side == 0 { accepted } else { dialled })
    }

    /// The address that has dialled, and the one that has accepted.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn addresses(&self) -> io::Result<[SocketAddr; 2]> {
        let found = self.network.lock().connections.get(&self.number).map(|found| found.addresses);
        found.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Resolves when there is something to read, if only the end.
    ///
    /// # Errors
    /// The connection was reset.
    pub async fn readable(&self) -> io::Result<()> {
        loop {
            let at = {
                let mut state = self.network.lock();
                let Some(connection) = state.connections.get_mut(&self.number) else { return Ok(()) };
                let resets_at = connection.resets_at(self.side);
                let (_, read) = connection.pipes_of(self.side);
                resets_at.into_iter().chain(read.first_at()).chain(read.end_at).min()
            };
            let now = clock::now();
            match at {
                Some(at) if at <= now => return Ok(()),
                // Looks again: what comes meanwhile wakes readers, not this.
                _ => sleep(Duration::from_millis(1)).await,
            }
        }
    }

    /// Closes by a reset.
    pub(super) fn abort(self) {
        let mut state = self.network.lock();
        if let Some(connection) = state.connections.get_mut(&self.number) {
            connection.reset(1 - self.side, clock::now());
        }
    }

    fn poll_timer(&mut self, which: usize, at: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
        let (Some(timer), Some(at)) = (self.timers.get_mut(which), at) else { return Poll::Pending };
        let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(at.into())));
        if timer.deadline() != at.into() {
            timer.as_mut().reset(at.into());
        }
        timer.as_mut().poll(cx)
    }

    /// One read, or when it is worth trying again by itself.
    fn read(&self, buffer: &mut ReadBuf<'_>, cx: &Context<'_>) -> Result<io::Result<()>, Option<Instant>> {
        let (mut state, now) = (self.network.lock(), clock::now());
        let state = &mut *state;
        let Some(connection) = state.connections.get(&self.number) else {
            return Ok(Err(io::ErrorKind::NotConnected.into()));
        };
        let [dialled, accepted] = connection.addresses;
        let parted = state.parted_since(dialled.ip(), accepted.ip());
        let Some(connection) = state.connections.get_mut(&self.number) else { return Err(None) };
        let (resets_at, is_reset) = (connection.resets_at(self.side), connection.is_reset(self.side, now));
        let (written, read) = connection.pipes_of(self.side);
        if let Some(since) = parted {
            read.reader = Some(cx.waker().clone());
            // The kernel's patience with what is not acknowledged; the side that dialled has set it.
            let until = since + UPSTREAM_SILENCE_MAX;
            if self.side != 0 || !written.is_unread() {
                return Err(None);
            }
            if now < until {
                return Err(Some(until));
            }
            connection.reset(0, now);
            state.hit(self.number);
            return Ok(Err(io::ErrorKind::TimedOut.into()));
        }
        if let Some(bytes) = read.take(now, buffer.remaining()) {
            buffer.put_slice(&bytes);
            read.writer.take().into_iter().for_each(Waker::wake);
            return Ok(Ok(()));
        }
        if is_reset {
            return Ok(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if !read.is_unread() && read.end_at.is_some_and(|at| at <= now) {
            return Ok(Ok(()));
        }
        read.reader = Some(cx.waker().clone());
        Err(resets_at.into_iter().chain(read.first_at()).chain(read.end_at).filter(|at| *at > now).min())
    }

    /// One write of what there is room for, or when it is worth trying again by itself.
    fn write(&self, bytes: &[u8], cx: &Context<'_>) -> Result<io::Result<usize>, Option<Instant>> {
        let (mut state, now) = (self.network.lock(), clock::now());
        let state = &mut *state;
        let Some(connection) = state.connections.get_mut(&self.number) else {
            return Ok(Err(io::ErrorKind::NotConnected.into()));
        };
        if connection.is_reset(self.side, now) {
            return Ok(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let (resets_at, is_peer_gone) =
            (connection.resets_at(self.side), connection.is_closed(1 - self.side));
        let [dialled, accepted] = connection.addresses;
        let (written, _) = connection.pipes_of(self.side);
        if written.end_at.is_some() {
            return Ok(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = written.room();
        if room == 0 && !is_peer_gone {
            written.writer = Some(cx.waker().clone());
            return Err(resets_at);
        }
        let link = state.link_of(dialled.ip(), accepted.ip());
        let length = bytes.len().min(if is_peer_gone { bytes.len() } else { room });
        let most = u64::try_from(link.segment_bytes_max).unwrap_or(u64::MAX);
        let piece = if length > link.segment_bytes_max { state.between(1, most) } else { most };
        let length = length.min(usize::try_from(piece).unwrap_or(usize::MAX));
        let arrives_at = now + state.delay(&link, length);
        let Some(connection) = state.connections.get_mut(&self.number) else { return Err(None) };
        if is_peer_gone {
            // The other host has no such socket any more.
            connection.reset(self.side, arrives_at);
            return Ok(Ok(length));
        }
        let (written, _) = connection.pipes_of(self.side);
        let passes = written.cut_after.map_or(length, |left| left.min(length));
        if let Some(piece) = bytes.get(..passes).filter(|piece| !piece.is_empty()) {
            written.push(arrives_at, piece);
            written.cut_after = written.cut_after.map(|left| left - passes);
            written.reader.take().into_iter().for_each(Waker::wake);
        }
        if passes < length {
            let last_at = written.last_at;
            connection.reset(1 - self.side, last_at);
            connection.reset(self.side, arrives_at);
            state.hit(self.number);
        }
        Ok(Ok(length))
    }

    fn close(&self, whole: bool) {
        let (mut state, now) = (self.network.lock(), clock::now());
        let Some(connection) = state.connections.get(&self.number) else { return };
        let [dialled, accepted] = connection.addresses;
        let link = state.link_of(dialled.ip(), accepted.ip());
        let arrives_at = now + state.delay(&link, 0);
        let Some(connection) = state.connections.get_mut(&self.number) else { return };
        let (written, read) = connection.pipes_of(self.side);
        let (arrives_at, is_unread) = (arrives_at.max(written.last_at), read.is_unread());
        if whole && is_unread {
            connection.reset(1 - self.side, arrives_at);
        } else if written.end_at.is_none() {
            written.end_at = Some(arrives_at);
        }
        connection.pipes.iter_mut().for_each(super::pipe::Pipe::wake);
        if whole {
            if let Some(closed) = connection.closed.get_mut(self.side) {
                *closed = true;
            }
            if connection.closed == [true; 2] {
                state.connections.remove(&self.number);
            }
        }
    }
}

/// As the real one: a simulated host that is gone is noticed by [`notice_silence`] alone.
pub(crate) fn keep_alive(_: &TcpStream) -> io::Result<()> {
    Ok(())
}

/// As the real one: every connection that was dialled has [`UPSTREAM_SILENCE_MAX`].
pub(crate) fn notice_silence(_: &TcpStream) -> io::Result<()> {
    Ok(())
}

async fn dial(network: &Network, from: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
    loop {
        let way = {
            let mut state = network.lock();
            let link = state.link_of(from, to.ip());
            state.delay(&link, 0) + state.delay(&link, 0)
        };
        sleep(way).await;
        if let Some(connected) = try_to_connect(network, from, to) {
            return connected;
        }
        sleep(SYN_AGAIN).await;
    }
}

/// `None` where nothing answers: there is a partition, or nobody accepts.
fn try_to_connect(network: &Network, from: IpAddr, to: SocketAddr) -> Option<io::Result<TcpStream>> {
    let mut state = network.lock();
    if state.parted_since(from, to.ip()).is_some() {
        return None;
    }
    let listening = state.listeners.get(&to).map_or(0, Vec::len);
    let chosen = state.between(0, u64::try_from(listening).unwrap_or(0).saturating_sub(1));
    let chosen = usize::try_from(chosen).unwrap_or(0);
    let queue = state.listeners.get(&to).and_then(|listeners| listeners.get(chosen));
    let Some(queue) = queue.map(|(_, queue)| Arc::clone(queue)) else {
        return Some(Err(io::ErrorKind::ConnectionRefused.into()));
    };
    let mut waiting = lock(&queue);
    if waiting.streams.len() >= usize::try_from(ACCEPT_BACKLOG).unwrap_or(usize::MAX) {
        return None;
    }
    let number = state.connect(from, to);
    let end = |side| TcpStream { network: network.clone(), number, side, timers: [None, None] };
    waiting.streams.push_back(end(1));
    waiting.acceptor.take().into_iter().for_each(Waker::wake);
    Some(Ok(end(0)))
}

impl AsyncRead for TcpStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            match self.read(buffer, cx) {
                Ok(done) => return Poll::Ready(done),
                Err(at) => std::task::ready!(self.poll_timer(0, at, cx)),
            }
        }
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            match self.write(bytes, cx) {
                Ok(done) => return Poll::Ready(done),
                Err(at) => std::task::ready!(self.poll_timer(1, at, cx)),
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        self.poll_write(cx, &bytes)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.close(false);
        Poll::Ready(Ok(()))
    }
}

impl Drop for TcpStream {
    fn drop(&mut self) {
        self.close(true);
    }
}
