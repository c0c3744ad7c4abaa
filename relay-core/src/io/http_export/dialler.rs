//! New connections to one address of an OTLP/HTTP upstream, as hyper's pool asks for them: one dial at a time, none after one has
//! failed. Must never try again: whoever holds the pool gives it up.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use http::Uri;
use hyper_util::rt::TokioIo;

use super::super::clock;
use super::super::shared::UpstreamShared;
use super::super::socket::{self, Socket};
use super::proxy::Via;
use super::tunnel;
use super::wire::Wire;
use crate::config::{HttpUrl, bracketed};
use crate::limits::{CONNECT_TIMEOUT, SPARE_CONNECTION_AGE_MAX};
use crate::stats::UpstreamCounters;
use crate::upstream::{Endpoint, Place};

/// Why there is no new connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    /// It was tried.
    #[error("{0}")]
    Failed(#[from] io::Error),
    /// It was not tried: another dial has just failed.
    #[error("another dial has just failed")]
    GivenUp,
}

/// What is asked for, and the proxy on the way there.
#[derive(Clone)]
pub(super) struct Way {
    pub(super) url: HttpUrl,
    pub(super) via: Option<Via>,
}

/// Dials one address for one core. Clones are the same.
#[derive(Clone)]
pub(super) struct Dialler(Arc<Shared>);

// The pool asks for what may be sent to another thread, though nothing here ever is: hence locks, which nobody else holds.
struct Shared {
    way: Way,
    place: Place,
    upstream: Arc<UpstreamShared>,
    counters: Arc<UpstreamCounters>,
    dialling: tokio::sync::Mutex<()>,
    has_failed: AtomicBool,
    // A connection that was made before anybody asked for it, and when.
    spare: Mutex<Option<(Socket, Instant)>>,
}

impl Dialler {
    /// `place` is where the upstream, or the proxy on the way there, stands.
    pub(super) fn new(
        (way, place): (Way, Place),
        upstream: Arc<UpstreamShared>,
        counters: Arc<UpstreamCounters>,
    ) -> Self {
        let (dialling, has_failed) = (tokio::sync::Mutex::default(), AtomicBool::new(false));
        Self(Arc::new(Shared {
            way,
            place,
            upstream,
            counters,
            dialling,
            has_failed,
            spare: Mutex::default(),
        }))
    }

    /// Connects, for the first request that asks. Takes as long as the network does: the caller bounds it, and counts the connection.
    ///
    /// # Errors
    /// What the operating system says, or in words why a handshake failed.
    pub(super) async fn dial_ahead(&self) -> io::Result<()> {
        let socket = self.connect().await?;
        *self.0.spare.lock().unwrap_or_else(PoisonError::into_inner) = Some((socket, clock::now()));
        Ok(())
    }

    async fn dial(self) -> Result<TokioIo<Wire>, DialError> {
        // One alone finds out that an address is down.
        let _alone = self.0.dialling.lock().await;
        if self.0.has_failed.load(Ordering::Relaxed) {
            return Err(DialError::GivenUp);
        }
        let spare = self.0.spare.lock().unwrap_or_else(PoisonError::into_inner).take();
        let spare = spare.filter(|(_, made)| clock::now() - *made <= SPARE_CONNECTION_AGE_MAX);
        if let Some((socket, _)) = spare {
            return Ok(self.wire(socket));
        }
        let dialled = tokio::time::timeout(CONNECT_TIMEOUT, self.connect()).await;
        match dialled.unwrap_or_else(|_| Err(io::Error::other("timed out"))) {
            Ok(socket) => {
                self.0.counters.connects.add(1);
                Ok(self.wire(socket))
            }
            Err(error) => {
                self.0.has_failed.store(true, Ordering::Relaxed);
                Err(error.into())
            }
        }
    }

    fn wire(&self, socket: Socket) -> TokioIo<Wire> {
        let absolute_form = self.0.way.via.is_some() && !self.0.way.url.tls;
        TokioIo::new(Wire { socket, absolute_form })
    }

    async fn connect(&self) -> io::Result<Socket> {
        let (HttpUrl { tls, host, port, .. }, place) = (&self.0.way.url, &self.0.place);
        let upstream = &self.0.upstream;
        let Some(via) = &self.0.way.via else {
            let endpoint = Endpoint::Tcp { host: host.clone(), port: *port };
            return socket::dial(place, &endpoint, upstream.tls.as_ref()).await;
        };
        let mut socket = socket::dial(place, &via.endpoint, upstream.proxy_tls.as_ref()).await?;
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

    /// There is one upstream, and one address of it: the URI is always its own.
    fn call(&mut self, _: Uri) -> Self::Future {
        Box::pin(self.clone().dial())
    }
}
