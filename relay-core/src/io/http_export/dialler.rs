//! New connections to an OTLP/HTTP upstream, as hyper's pool asks for them: one dial at a time, none before the backoff is over.
//! Must never wait for the backoff itself: the caller does, where no attempt's timeout runs.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use http::Uri;
use hyper_util::rt::TokioIo;

use super::super::clock::{self, Dice};
use super::super::shared::UpstreamShared;
use super::super::socket::{self, Socket};
use super::proxy::Via;
use super::tunnel;
use super::wire::Wire;
use crate::config::{HttpUrl, bracketed};
use crate::limits::CONNECT_TIMEOUT;
use crate::stats::UpstreamCounters;
use crate::upstream::{Endpoint, Reconnect};

/// Why there is no new connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    /// It was tried.
    #[error("{0}")]
    Failed(#[from] io::Error),
    /// It was not tried: another dial has just failed.
    #[error("waiting before the next dial")]
    TooEarly,
}

/// Dials one upstream for one core. Clones share the backoff.
#[derive(Clone)]
pub(super) struct Dialler(Arc<Shared>);

// The pool asks for what may be sent to another thread, though nothing here ever is: hence locks, which nobody else holds.
struct Shared {
    url: HttpUrl,
    via: Option<Via>,
    upstream: Arc<UpstreamShared>,
    counters: Arc<UpstreamCounters>,
    dialling: tokio::sync::Mutex<()>,
    backoff: Mutex<Backoff>,
}

struct Backoff {
    reconnect: Reconnect,
    // When the next dial may be; None after an answer.
    not_before: Option<Instant>,
    dice: Dice,
}

impl Dialler {
    pub(super) fn new(
        (url, via): (HttpUrl, Option<Via>),
        upstream: Arc<UpstreamShared>,
        counters: Arc<UpstreamCounters>,
    ) -> Self {
        let backoff = Backoff { reconnect: Reconnect::default(), not_before: None, dice: Dice::new() };
        let (dialling, backoff) = (tokio::sync::Mutex::default(), Mutex::new(backoff));
        Self(Arc::new(Shared { url, via, upstream, counters, dialling, backoff }))
    }

    /// When the next dial may be, if not now.
    pub(super) fn not_before(&self) -> Option<Instant> {
        self.backoff().not_before.filter(|at| *at > clock::now())
    }

    /// A request was answered, with whatever status: the upstream is alive.
    pub(super) fn answered(&self) {
        let mut backoff = self.backoff();
        backoff.reconnect.answered();
        backoff.not_before = None;
    }

    /// A dial has failed, or a connection has ended without an answer.
    pub(super) fn failed(&self) {
        let mut backoff = self.backoff();
        let random = backoff.dice.roll();
        backoff.not_before = Some(backoff.reconnect.failed(clock::now(), random));
    }

    fn backoff(&self) -> MutexGuard<'_, Backoff> {
        self.0.backoff.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn dial(self) -> Result<TokioIo<Wire>, DialError> {
        // One alone finds out that an upstream is down.
        let _alone = self.0.dialling.lock().await;
        if self.not_before().is_some() {
            return Err(DialError::TooEarly);
        }
        let dialled = tokio::time::timeout(CONNECT_TIMEOUT, self.connect()).await;
        let socket = dialled.unwrap_or_else(|_| Err(io::Error::other("timed out")));
        match socket {
            Ok(socket) => {
                self.0.counters.connects.add(1);
                let absolute_form = self.0.via.is_some() && !self.0.url.tls;
                Ok(TokioIo::new(Wire { socket, absolute_form }))
            }
            Err(error) => {
                self.failed();
                Err(error.into())
            }
        }
    }

    async fn connect(&self) -> io::Result<Socket> {
        let HttpUrl { tls, host, port, .. } = &self.0.url;
        let upstream = &self.0.upstream;
        let Some(via) = &self.0.via else {
            let endpoint = Endpoint::Tcp { host: host.clone(), port: *port };
            return socket::dial(&endpoint, upstream.tls.as_ref()).await;
        };
        let mut socket = socket::dial(&via.endpoint, upstream.proxy_tls.as_ref()).await?;
        if *tls {
            let authority = format!("{}:{port}", bracketed(host));
            tunnel::open(&mut socket, &authority, via.authorization.as_ref()).await?;
        }
        match &upstream.tls {
            Some(tls) => tls.connect(host, socket).await,
            None => Ok(socket),
        }
    }
}

impl tower_service::Service<Uri> for Dialler {
    type Response = TokioIo<Wire>;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<TokioIo<Wire>, DialError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    /// There is one upstream: the URI is always its own.
    fn call(&mut self, _: Uri) -> Self::Future {
        Box::pin(self.clone().dial())
    }
}
