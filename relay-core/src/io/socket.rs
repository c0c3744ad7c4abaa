//! A connected stream, whatever it runs over: TCP, a unix socket, or TLS over one of them; and how an upstream is dialled. It
//! moves bytes and must never look at them.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

#[cfg(not(feature = "simulation"))]
use std::net::TcpStream as StdTcpStream;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
#[cfg(not(feature = "simulation"))]
use tokio::net::TcpStream;
use tokio::net::UnixStream;
use tokio_rustls::TlsStream;

#[cfg(feature = "simulation")]
use super::simulation::{TcpStream, TcpStream as StdTcpStream, keep_alive, notice_silence};
use super::tls::{TlsDialer, in_words};
use crate::upstream::{Endpoint, Place};

/// A connected stream. What is written over TLS may stay in its buffer until it is flushed; a flush of the others is free.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Over one of the other two.
    Tls(Box<TlsStream<Self>>),
}

/// An accepted connection on its way to another core's runtime.
#[derive(Debug)]
pub(crate) enum DetachedSocket {
    Tcp(StdTcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Socket {
    /// Takes it off this thread's runtime.
    ///
    /// # Errors
    /// What the operating system says; a TLS stream stays where it is.
    pub(crate) fn detach(self) -> io::Result<DetachedSocket> {
        match self {
            Self::Tcp(stream) => stream.into_std().map(DetachedSocket::Tcp),
            Self::Unix(stream) => stream.into_std().map(DetachedSocket::Unix),
            Self::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Puts it on this thread's runtime.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn attach(socket: DetachedSocket) -> io::Result<Self> {
        match socket {
            DetachedSocket::Tcp(stream) => TcpStream::from_std(stream).map(Self::Tcp),
            DetachedSocket::Unix(stream) => UnixStream::from_std(stream).map(Self::Unix),
        }
    }

    /// What every TCP socket gets, of senders and of upstreams: no delay of small writes, and the kernel notices dead peers.
    ///
    /// # Errors
    /// What the operating system says: the peer is gone.
    pub(crate) fn tune(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => {
                stream.set_nodelay(true)?;
                keep_alive(stream)
            }
            Self::Unix(_) => Ok(()),
            Self::Tls(stream) => stream.get_ref().0.tune(),
        }
    }

    /// Resolves when there is something to read, if only the end.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.readable().await,
            Self::Unix(stream) => stream.readable().await,
            // It may hold something already; only a read can tell.
            Self::Tls(_) => Ok(()),
        }
    }

    /// The address of the other side, if it has one.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok(),
            Self::Unix(_) => None,
            Self::Tls(stream) => stream.get_ref().0.peer(),
        }
    }

    /// The protocol that was agreed on by ALPN (RFC 7301), for example `h2`; `None` without TLS or without ALPN.
    pub(crate) fn alpn(&self) -> Option<&[u8]> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => None,
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol(),
        }
    }
}

/// Connects to `place`, where `endpoint` is, with TLS if there is a dialler for it. Takes as long as the network does: the caller
/// bounds it. Never asks for the address of a name.
///
/// # Errors
/// What the operating system says, or in words why the TLS handshake failed.
pub(crate) async fn dial(place: &Place, endpoint: &Endpoint, tls: Option<&TlsDialer>) -> io::Result<Socket> {
    let socket = match (place, endpoint) {
        (Place::Tcp(address), _) => {
            let stream = TcpStream::connect(*address).await?;
            notice_silence(&stream)?;
            Socket::Tcp(stream)
        }
        (Place::Socket(_), Endpoint::Unix(path)) => Socket::Unix(UnixStream::connect(path).await?),
        (Place::Socket(_), Endpoint::Abstract(name)) => {
            Socket::Unix(UnixStream::connect(abstract_path(name)).await?)
        }
        (Place::Socket(_), _) => return Err(io::ErrorKind::InvalidInput.into()),
    };
    socket.tune()?;
    match tls {
        // Boxed: a dial without TLS need not be as large as a handshake.
        Some(tls) => Box::pin(tls.connect(&endpoint.host(), socket)).await,
        None => Ok(socket),
    }
}

#[cfg(not(feature = "simulation"))]
fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    use crate::limits::{KEEPALIVE_IDLE, KEEPALIVE_INTERVAL};
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
    socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// Keepalive is silent while data is unacknowledged; without this a dead host's connection lives for many minutes.
#[cfg(not(feature = "simulation"))]
#[cfg_attr(not(target_os = "linux"), expect(clippy::unnecessary_wraps, reason = "Linux can refuse it"))]
fn notice_silence(stream: &TcpStream) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    socket2::SockRef::from(stream).set_tcp_user_timeout(Some(crate::limits::UPSTREAM_SILENCE_MAX))?;
    Ok(())
}

/// The name of an abstract socket as tokio and socket2 take it: after a zero byte (unix(7)).
pub(super) fn abstract_path(name: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let mut path = Vec::with_capacity(name.len() + 1);
    path.push(0);
    path.extend_from_slice(name);
    PathBuf::from(std::ffi::OsString::from_vec(path))
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => {
                let peer = if matches!(**stream, TlsStream::Client(_)) { "upstream" } else { "sender" };
                Pin::new(stream.as_mut()).poll_read(cx, buffer).map_err(|error| in_words(error, peer))
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        // All three are.
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            // Nothing of theirs waits in this process.
            Self::Tcp(_) | Self::Unix(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}
