//! TLS of a receiver: shakes hands with senders. Must never serve one whose certificate was asked for and not proven.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::Acceptor;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::{LazyConfigAcceptor, TlsStream};

use super::pem;
use super::reason::{kind, words};
use super::reload::{Made, Reloading};
use super::verify::{client_verifier, not_after_unix_seconds};
use super::{ALPN_HTTP1, ALPN_HTTP2, TlsError, provider, versions};
use crate::config::{PemSource, ReceiverConfig, TlsServerConfig};
use crate::io::core::Core;
use crate::io::sender::Phase;
use crate::io::socket::Socket;
use crate::limits::{HANDSHAKE_TIMEOUT, TLS_HANDSHAKES_MAX};
use crate::stats::TlsStats;

/// What a receiver shakes hands with. Seen by all cores.
#[derive(Debug)]
pub(crate) struct TlsServer {
    config: Arc<Reloading<ServerConfig>>,
    handshakes: Semaphore,
}

impl TlsServer {
    /// Of a receiver that speaks TLS; reads everything for the first time.
    ///
    /// # Errors
    /// Which source cannot be used, and why.
    pub(crate) fn of_receiver(receiver: &ReceiverConfig) -> Result<Option<Self>, TlsError> {
        let Some(tls) = &receiver.tls else { return Ok(None) };
        let alpn: &[&[u8]] = match (receiver.grpc, &receiver.http) {
            (true, None) => &[ALPN_HTTP2],
            _ => &[ALPN_HTTP2, ALPN_HTTP1],
        };
        Self::new(format!("receiver {}", receiver.name), tls, alpn).map(Some)
    }

    /// `about` names the receiver in logs; `alpn` are the protocols served, best first.
    fn new(
        about: String,
        config: &TlsServerConfig,
        alpn: &'static [&'static [u8]],
    ) -> Result<Self, TlsError> {
        let mut config = config.clone();
        if let Some(ca) = config.client_ca.as_mut().filter(|_| !config.client_ca_reload) {
            // Errors name the file; what is not to be read again is kept.
            pem::roots(Some(ca), false)?;
            *ca = PemSource::Inline(pem::read(ca)?);
        }
        let sources =
            [Some(&config.identity.certificate), Some(&config.identity.key), config.client_ca.as_ref()];
        let (load, interval) = (config.clone(), config.reload_interval);
        let config = Reloading::new(about, &sources, interval, move || build(&load, alpn))?;
        Ok(Self { config, handshakes: Semaphore::new(TLS_HANDSHAKES_MAX) })
    }

    /// How it is.
    pub(crate) fn stats(&self) -> TlsStats {
        self.config.stats()
    }

    /// `None` for a peer that left before it said hello.
    async fn accept(&self, socket: Socket) -> io::Result<Option<Socket>> {
        let turn = async {
            // Who says nothing (connections that a load balancer opens ahead) takes no turn of others.
            socket.readable().await?;
            // An error would mean that it was closed, which it never is.
            Ok::<_, io::Error>(self.handshakes.acquire().await.ok())
        };
        let _turn = timeout(HANDSHAKE_TIMEOUT, turn).await??;
        timeout(HANDSHAKE_TIMEOUT, self.shake_hands(socket)).await?
    }

    async fn shake_hands(&self, socket: Socket) -> io::Result<Option<Socket>> {
        let hello = match LazyConfigAcceptor::new(Acceptor::default(), socket).await {
            Ok(hello) => hello,
            Err(error) if left(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let config = self.config.current().await;
        let stream = hello.into_stream(config).await?;
        Ok(Some(Socket::Tls(Box::new(TlsStream::Server(stream)))))
    }
}

fn left(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset)
}

fn build(config: &TlsServerConfig, alpn: &[&[u8]]) -> Result<Made<ServerConfig>, TlsError> {
    let (chain, key) = pem::identity(&config.identity)?;
    let not_after_unix_seconds = chain.first().and_then(not_after_unix_seconds);
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&versions(config.min_version, config.max_version)?)?;
    let builder = match &config.client_ca {
        Some(ca) => builder.with_client_cert_verifier(client_verifier(ca)?),
        None => builder.with_no_client_auth(),
    };
    let built = builder.with_single_cert(chain, key);
    let mut built = built.map_err(|error| TlsError::identity(&config.identity, error))?;
    built.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Made { config: Arc::new(built), not_after_unix_seconds })
}

/// Shakes hands on a connection that was accepted by the receiver of this number, if that speaks TLS; otherwise gives it back
/// as it is. `Err` when there is nobody to serve: that is counted and logged already, where it is worth it.
pub(crate) async fn accept_tls(core: &Rc<Core>, receiver: usize, socket: Socket) -> Result<Socket, ()> {
    match core.receiver(receiver).and_then(|receiver| receiver.tls.as_ref()) {
        // Boxed: the task of a connection without TLS must not be as large as a handshake.
        Some(tls) => Box::pin(shake_hands(core, receiver, tls, socket)).await,
        None => Ok(socket),
    }
}

async fn shake_hands(
    core: &Rc<Core>,
    receiver: usize,
    tls: &TlsServer,
    socket: Socket,
) -> Result<Socket, ()> {
    let mut phase = core.phase.clone();
    let accepted = tokio::select! {
        biased;
        accepted = tls.accept(socket) => accepted,
        _ = phase.wait_for(|phase| *phase != Phase::Running) => return Err(()),
    };
    let error = match accepted {
        Ok(Some(socket)) => return Ok(socket),
        // A probe of the port (they do so all day).
        Ok(None) => return Err(()),
        Err(error) => error,
    };
    tls.config.counters.handshake_failures.add(1);
    if let Some(left_out) = core.log_limit().allow(receiver, kind(&error)) {
        let name = core.receiver(receiver).map_or("", |receiver| receiver.config.name.as_str());
        tracing::warn!(receiver = name, left_out, "connection refused: {}", words(&error, "sender"));
    }
    Err(())
}
