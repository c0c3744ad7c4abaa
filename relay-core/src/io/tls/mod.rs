//! TLS by rustls with ring, on both sides: builds its configurations out of PEM, reads rotated files again, shakes hands, and
//! says in words why that failed. The provider is named wherever one is needed: nothing here depends on a default of the
//! process. Must never log a key, or let a broken file replace a good one.
//!
//! What happens when files change: at a handshake, and at most once per interval, they are looked at on a thread of the
//! runtime's blocking pool. An idle relay looks at nothing; a slow disk delays one handshake by at most
//! [`crate::limits::TLS_RELOAD_WAIT_MAX`] and no core at all. Open connections keep what they began with.

mod client;
mod pem;
mod reason;
mod reload;
mod server;
mod system;
mod verify;

use std::sync::Arc;

use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;

pub(crate) use client::TlsDialer;
pub(crate) use pem::TlsError;
pub(crate) use reason::in_words;
pub(crate) use server::{TlsServer, accept_tls};

use crate::config::TlsVersion;

/// ALPN protocol of HTTP/2 (RFC 9113 section 3.2).
pub(crate) const ALPN_HTTP2: &[u8] = b"h2";

/// ALPN protocol of HTTP/1.1 (RFC 7301 section 6).
pub(crate) const ALPN_HTTP1: &[u8] = b"http/1.1";

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The versions from `min` to `max`.
fn versions(min: TlsVersion, max: TlsVersion) -> Result<Vec<&'static SupportedProtocolVersion>, TlsError> {
    let all = [(TlsVersion::V1_2, &rustls::version::TLS12), (TlsVersion::V1_3, &rustls::version::TLS13)];
    let chosen: Vec<_> = all.into_iter().filter(|(v, _)| (min..=max).contains(v)).map(|(_, v)| v).collect();
    if chosen.is_empty() { Err(TlsError::Versions) } else { Ok(chosen) }
}
