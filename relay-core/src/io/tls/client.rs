//! TLS towards an upstream: shakes hands and verifies who it is. Must never send to one that is not the one meant, unless that
//! was asked for.

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio_rustls::{TlsConnector, TlsStream};

use super::pem;
use super::reason::words;
use super::reload::{Made, Reloading};
use super::verify::{any_server, not_after_unix_seconds, server_verifier};
use super::{TlsError, provider, versions};
use crate::config::TlsClientConfig;
use crate::io::socket::Socket;
use crate::stats::TlsStats;

/// What an upstream is shaken hands with. Seen by all cores.
#[derive(Clone, Debug)]
pub(crate) struct TlsDialer {
    config: Arc<Reloading<ClientConfig>>,
    name: Option<ServerName<'static>>,
}

impl TlsDialer {
    /// Reads everything for the first time. `about` names the upstream in logs; `alpn` are the protocols offered, best first.
    ///
    /// # Errors
    /// Which source cannot be used, and why.
    pub(crate) fn new(
        about: String,
        config: &TlsClientConfig,
        alpn: &'static [&'static [u8]],
    ) -> Result<Self, TlsError> {
        let name = config.server_name_override.as_deref().map(server_name).transpose()?;
        let identity = config.identity.as_ref();
        let sources = [
            config.ca.as_ref().filter(|_| !config.insecure_skip_verify),
            identity.map(|identity| &identity.certificate),
            identity.map(|identity| &identity.key),
        ];
        let load = config.clone();
        let config = Reloading::new(about, &sources, config.reload_interval, move || build(&load, alpn))?;
        Ok(Self { config, name })
    }

    /// How it is.
    pub(crate) fn stats(&self) -> TlsStats {
        self.config.stats()
    }

    /// Shakes hands over a connected socket with `host`, a name or an address.
    ///
    /// # Errors
    /// Why it failed, in words.
    pub(crate) async fn connect(&self, host: &str, socket: Socket) -> io::Result<Socket> {
        let connected = self.shake_hands(host, socket).await;
        if connected.is_err() {
            self.config.counters.handshake_failures.add(1);
        }
        connected
    }

    async fn shake_hands(&self, host: &str, socket: Socket) -> io::Result<Socket> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => server_name(host).map_err(io::Error::other)?,
        };
        let connector = TlsConnector::from(self.config.current().await);
        match connector.connect(name, socket).await {
            Ok(stream) => Ok(Socket::Tls(Box::new(TlsStream::Client(stream)))),
            Err(error) => Err(io::Error::new(error.kind(), words(&error, "upstream"))),
        }
    }
}

fn server_name(text: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(text.to_owned()).map_err(|_| TlsError::ServerName(text.to_owned()))
}

fn build(config: &TlsClientConfig, alpn: &[&[u8]]) -> Result<Made<ClientConfig>, TlsError> {
    let verifier = if config.insecure_skip_verify {
        any_server()
    } else {
        server_verifier(config.ca.as_ref(), config.include_system_roots)?
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&versions(config.min_version, config.max_version)?)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut ends = None;
    let mut built = match &config.identity {
        Some(identity) => {
            let (chain, key) = pem::identity(identity)?;
            ends = chain.first().and_then(not_after_unix_seconds);
            let built = builder.with_client_auth_cert(chain, key);
            built.map_err(|error| TlsError::identity(identity, error))?
        }
        None => builder.with_no_client_auth(),
    };
    built.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Made { config: Arc::new(built), not_after_unix_seconds: ends })
}
