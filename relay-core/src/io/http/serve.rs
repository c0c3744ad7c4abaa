//! One connection of a sender that speaks OTLP/HTTP: which version of HTTP it speaks, its bounds, its end at a drain.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

use super::super::connection::draining;
use super::super::core::Core;
use super::super::origins::OpenOrigin;
use super::prefixed::Prefixed;
use super::request;
use crate::config::HttpConfig;
use crate::limits;
use crate::stats::Transport;

/// What the first bytes of a connection say.
#[derive(Debug)]
pub(crate) enum Preface {
    /// The beginning of HTTP/2's preface, and what was read.
    Http2(Bytes),
    /// Something else, and what was read.
    Http1(Bytes),
}

/// The first bytes of HTTP/2's preface (RFC 9113 section 3.4): no request of HTTP/1.1 begins with them.
const HTTP2_BEGINS: &[u8] = b"PRI ";

/// Reads until it is certain which version of HTTP the peer speaks.
///
/// # Errors
/// The connection ended, or the peer was silent for [`limits::HANDSHAKE_TIMEOUT`].
pub(crate) async fn sniff<S: AsyncRead + Unpin>(socket: &mut S) -> io::Result<Preface> {
    let mut first = BytesMut::with_capacity(limits::HTTP_HEAD_READ_BYTES);
    let reading = async {
        // Until it has all of the beginning, or differs from it.
        while first.len() < HTTP2_BEGINS.len() && HTTP2_BEGINS.starts_with(&first) {
            if socket.read_buf(&mut first).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
        }
        Ok(())
    };
    tokio::time::timeout(limits::HANDSHAKE_TIMEOUT, reading).await.map_err(|_| io::ErrorKind::TimedOut)??;
    let http2 = first.starts_with(HTTP2_BEGINS);
    let first = first.freeze();
    Ok(if http2 { Preface::Http2(first) } else { Preface::Http1(first) })
}

/// Serves a connection whose first bytes are `preface`, until it ends.
pub(crate) async fn serve<S>(
    core: Rc<Core>,
    (receiver, open): (usize, OpenOrigin),
    socket: S,
    preface: Preface,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    if let Some(counters) = core.receiver_counters(receiver, Transport::Http) {
        counters.connections.add(1);
    }
    let Some(shared) = core.receiver(receiver) else { return };
    let Some(http) = &shared.config.http else { return };
    let (http1, http2_builder) = (http1_builder(http), http2_builder(shared.config.streams_max));
    let (http2, first) = match preface {
        Preface::Http2(first) => (true, first),
        Preface::Http1(first) => (false, first),
    };
    let io = TokioIo::new(Prefixed { first, socket });
    let drain = draining(Rc::clone(&core));
    let peer = Rc::new(core.new_peer());
    let service = service_fn(move |asked| {
        request::answer((Rc::clone(&core), Rc::clone(&peer)), (receiver, open.origin), asked)
    });
    let served = if http2 {
        let connection = http2_builder.serve_connection(io, service);
        until_drained(connection, drain, Duration::ZERO, |connection| connection.graceful_shutdown()).await
    } else {
        // Until then the answer to the next request says that it was the last one.
        let (connection, idle) = (http1.serve_connection(io, service), limits::DRAIN_IDLE_HTTP1);
        until_drained(connection, drain, idle, |connection| connection.graceful_shutdown()).await
    };
    if let Err(error) = served {
        // A sender that goes away is not an event; what is wrong with a head hyper has answered.
        tracing::debug!(%error, "connection of a sender ended");
    }
}

/// Runs a connection to its end, which a drain asks it for, `grace` after it has begun.
async fn until_drained<C: Future>(
    connection: C,
    drain: impl Future<Output = ()>,
    grace: Duration,
    leave: impl FnOnce(std::pin::Pin<&mut C>),
) -> C::Output {
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        biased;
        ended = connection.as_mut() => return ended,
        () = async { drain.await; tokio::time::sleep(grace).await } => {}
    }
    leave(connection.as_mut());
    connection.await
}

fn http1_builder(http: &HttpConfig) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(http.head_timeout.max(Duration::from_millis(1)))
        .keep_alive(http.keep_alive)
        .max_buf_size(limits::HTTP_READ_BYTES_MAX);
    builder
}

fn http2_builder(streams_max: u32) -> http2::Builder<OnThisCore> {
    let mut builder = http2::Builder::new(OnThisCore);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(streams_max)
        .max_header_list_size(limits::HEADER_LIST_BYTES_MAX)
        .initial_stream_window_size(limits::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(limits::CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(limits::ANSWER_BYTES_MAX);
    builder
}

/// Runs what hyper spawns on the core that it is spawned on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OnThisCore;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for OnThisCore {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
