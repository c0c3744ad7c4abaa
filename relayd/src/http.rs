//! Small HTTP/1 servers for probes and scrapers, on the control thread: bounded connections, heads and times.
//! Must never read a request's body, and never take time from the cores.

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use relay_core::ListeningSocket;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::limits::{HTTP_ACCEPT_PAUSE, HTTP_BUFFER_BYTES_MAX, HTTP_CONNECTIONS_MAX, HTTP_HEADER_TIMEOUT};

/// What is answered to a path.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content_type: &'static str,
    pub(crate) body: Vec<u8>,
}

/// A listener on this thread's runtime.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

impl Listener {
    /// A descriptor of its own for `socket`.
    ///
    /// # Errors
    /// What the operating system says: out of file descriptors.
    pub(crate) fn of(socket: &ListeningSocket) -> io::Result<Self> {
        if let Some(listener) = socket.tcp()? {
            return tokio::net::TcpListener::from_std(listener).map(Self::Tcp);
        }
        let listener = socket.unix()?.ok_or(io::ErrorKind::Unsupported)?;
        tokio::net::UnixListener::from_std(listener).map(Self::Unix)
    }

    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Self::Tcp(listener) => Ok(Box::new(listener.accept().await?.0)),
            Self::Unix(listener) => Ok(Box::new(listener.accept().await?.0)),
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

type Pages = Rc<dyn Fn(&str) -> Option<Answer>>;

/// Serves `listener` until this is dropped; open connections then go on. `answer` gets the path; `None` means 404. Needs a
/// LocalSet.
pub(crate) async fn serve(listener: Listener, answer: impl Fn(&str) -> Option<Answer> + 'static) {
    let pages: Pages = Rc::new(answer);
    let open = Rc::new(Cell::new(0));
    loop {
        match listener.accept().await {
            // One too many is closed at once: a probe that holds connections open must not keep others out of memory.
            Ok(stream) if open.get() >= HTTP_CONNECTIONS_MAX => drop(stream),
            Ok(stream) => {
                open.set(open.get() + 1);
                tokio::task::spawn_local(converse(
                    stream,
                    Rc::clone(&pages),
                    OpenConnection(Rc::clone(&open)),
                ));
            }
            Err(error) => {
                tracing::debug!(%error, "accept of a probe failed");
                // Out of file descriptors: without a pause this would spin.
                tokio::time::sleep(HTTP_ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Counts a connection while it is open.
struct OpenConnection(Rc<Cell<usize>>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

async fn converse(stream: Box<dyn Stream>, pages: Pages, _open: OpenConnection) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = respond(&request, &pages);
        async move { Ok::<_, Infallible>(response) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HTTP_HEADER_TIMEOUT)
        .max_buf_size(HTTP_BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a probe's connection ended");
    }
}

fn respond(request: &Request<Incoming>, pages: &Pages) -> Response<Full<Bytes>> {
    let answer = match pages(request.uri().path()) {
        None => plain(StatusCode::NOT_FOUND, "not found\n"),
        Some(_) if !matches!(*request.method(), Method::GET | Method::HEAD) => {
            plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n")
        }
        Some(answer) => answer,
    };
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = answer.status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    if answer.status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

fn plain(status: StatusCode, text: &str) -> Answer {
    Answer { status, content_type: "text/plain; charset=utf-8", body: text.as_bytes().to_vec() }
}
