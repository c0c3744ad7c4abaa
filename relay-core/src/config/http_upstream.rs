//! An OTLP/HTTP server to forward to, as an embedding service says it. Plain data: must never read the environment or connect, and
//! must never show the value of a header or a password.

use std::fmt;
use std::time::Duration;

use http::Uri;
use http::uri::Authority;

use super::{ClientAuth, Compression, TlsClientConfig};
use crate::limits;
use crate::upstream::RetryPolicy;

/// Where an upstream takes the requests of its one signal, as `POST`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUrl {
    /// True for `https`.
    pub tls: bool,
    /// Name or address; an IPv6 address without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Path and query as they are sent; begins with a slash.
    pub path_and_query: String,
}

/// Why a text is not the URL of an OTLP/HTTP upstream. It is not shown: it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HttpUrlError {
    /// Not a URL with a host, or one with another scheme.
    #[error("expected http://host:port/path or https://host:port/path")]
    Form,
    /// `user:password@`
    #[error("a user and a password in a URL are not sent; use a header")]
    Credentials,
}

impl HttpUrl {
    /// Reads `http://host:port/path` or `https://`; without a port 80 or 443, without a path `/`. The URL is used as it is: nothing is
    /// put behind it (OTLP exporter specification, "Endpoint URLs for OTLP/HTTP", per-signal URLs).
    ///
    /// # Errors
    /// Says what is expected.
    pub fn parse(text: &str) -> Result<Self, HttpUrlError> {
        let uri: Uri = text.parse().map_err(|_| HttpUrlError::Form)?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(HttpUrlError::Form),
        };
        let authority = uri.authority().ok_or(HttpUrlError::Form)?;
        if authority.as_str().contains('@') {
            return Err(HttpUrlError::Credentials);
        }
        let port = port(authority, tls).ok_or(HttpUrlError::Form)?;
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() || text.contains('#') {
            return Err(HttpUrlError::Form);
        }
        Ok(Self {
            tls,
            host: host.to_owned(),
            port,
            path_and_query: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        })
    }

    /// Host and port as the `host` header has them: without the scheme's own port (RFC 9110 section 4.2.3), an IPv6 address in
    /// brackets.
    pub fn authority(&self) -> String {
        let host = bracketed(&self.host);
        if self.port == port_of(self.tls) { host } else { format!("{host}:{}", self.port) }
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path_and_query)
    }
}

fn port_of(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

/// The port of an authority without a user, or the scheme's; `None` for one that is no number, which `http` passes over.
pub(crate) fn port(authority: &Authority, tls: bool) -> Option<u16> {
    match authority.port_u16() {
        None if authority.as_str() == authority.host() => Some(port_of(tls)),
        port => port.filter(|port| *port != 0),
    }
}

/// A host as it stands in a URI: an IPv6 address in brackets.
pub(crate) fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// Through what an upstream is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Proxy {
    /// As `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` of the environment (or their lower case) say when the relay starts; as in Go,
    /// an upstream on this host's loopback is never reached through one.
    #[default]
    FromEnvironment,
    /// Through this one.
    Through(ForwardProxy),
    /// Through none.
    None,
}

/// A forward proxy (RFC 9110 section 3.7): asked for a tunnel to an `https` upstream, and for the resource of an `http` one.
#[derive(Clone, PartialEq, Eq)]
pub struct ForwardProxy {
    /// Whether TLS is spoken to the proxy itself.
    pub tls: bool,
    /// Name or address; an IPv6 address without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// `user:password` for `Proxy-Authorization: Basic`, not encoded yet.
    pub credentials: Option<String>,
}

impl fmt::Debug for ForwardProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}", bracketed(&self.host), self.port)
    }
}

/// How the connections to an OTLP/HTTP upstream are kept. Every core has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpConnections {
    /// Connections of each core that are kept while nothing is sent. Default 2.
    pub idle_max: usize,
    /// How long one is kept; `None` for as long as the upstream does. Default 90 s.
    pub idle_timeout: Option<Duration>,
    /// Connections over all cores, idle or not, at least one for each core. Default none beyond
    /// [`calls_max`](super::UpstreamConfig::calls_max): a connection of HTTP/1.1 carries one call.
    pub connections_max: Option<usize>,
    /// False closes each connection after one call. Default true.
    pub keep_alive: bool,
    /// Whether HTTP/2 is offered over TLS; an upstream that does not take it gets HTTP/1.1. Default true.
    pub http2: bool,
    /// After how long without a frame a connection of HTTP/2 is asked whether it lives. Default never.
    pub http2_ping_interval: Option<Duration>,
    /// How long that answer may take. Default 15 s.
    pub http2_ping_timeout: Duration,
}

impl Default for HttpConnections {
    fn default() -> Self {
        Self {
            idle_max: limits::HTTP_IDLE_CONNECTIONS_MAX,
            idle_timeout: Some(limits::HTTP_IDLE_TIMEOUT),
            connections_max: None,
            keep_alive: true,
            http2: true,
            http2_ping_interval: None,
            http2_ping_timeout: limits::HTTP2_PING_TIMEOUT,
        }
    }
}

/// An OTLP/HTTP server to forward to, in protobuf.
#[derive(Clone)]
pub struct HttpUpstreamConfig {
    /// Where the requests of the upstream's signal are sent.
    pub url: HttpUrl,
    /// TLS, for an `https` URL and for a proxy that speaks it. Default: the host's certificate store.
    pub tls: TlsClientConfig,
    /// Time for one attempt (`timeout`). Default 30 s.
    pub timeout: Duration,
    /// Headers sent with every request (`headers`); `host` and `user-agent` replace the relay's own. Values may be secrets and are
    /// never printed.
    pub headers: Vec<(String, String)>,
    /// Credentials that every request shows, besides `headers`. Default none.
    pub auth: Option<Box<ClientAuth>>,
    /// Compression of requests (`compression`). Default none, unlike the Collector's gzip (`docs/decisions/0002`).
    pub compression: Compression,
    /// Retries (`retry_on_failure`).
    pub retry: RetryPolicy,
    /// Through what it is reached (`proxy_url`). Default as the environment says.
    pub proxy: Proxy,
    /// How connections are kept.
    pub connections: HttpConnections,
}

impl HttpUpstreamConfig {
    /// `url` with the defaults.
    pub fn new(url: HttpUrl) -> Self {
        Self {
            url,
            tls: TlsClientConfig::default(),
            timeout: limits::HTTP_UPSTREAM_TIMEOUT,
            headers: Vec::new(),
            auth: None,
            compression: Compression::None,
            retry: RetryPolicy::default(),
            proxy: Proxy::FromEnvironment,
            connections: HttpConnections::default(),
        }
    }
}

impl fmt::Debug for HttpUpstreamConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("HttpUpstreamConfig")
            .field("url", &self.url)
            .field("tls", &self.tls)
            .field("timeout", &self.timeout)
            .field("headers", &names)
            .field("auth", &self.auth)
            .field("compression", &self.compression)
            .field("retry", &self.retry)
            .field("proxy", &self.proxy)
            .field("connections", &self.connections)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the OTLP exporter specification, "Endpoint URLs for OTLP/HTTP": a signal's own URL is used as it is.
    #[test]
    fn urls_are_used_as_they_are() {
        for (text, shown) in [
            ("http://collector:4318/v1/traces", "http://collector:4318/v1/traces"),
            ("http://collector:4318", "http://collector:4318/"),
            ("https://collector:443/mycollector/?token=1", "https://collector/mycollector/?token=1"),
            ("http://[::1]:4318/v1/logs", "http://[::1]:4318/v1/logs"),
            ("http://collector", "http://collector/"),
        ] {
            assert_eq!(HttpUrl::parse(text).unwrap().to_string(), shown);
        }
        let v6 = HttpUrl::parse("https://[::1]/").unwrap();
        assert_eq!((v6.tls, v6.host.as_str(), v6.port), (true, "::1", 443));
        for text in [
            "collector:4318",
            "ftp://c/",
            "http://",
            "/v1/traces",
            "http://c/#top",
            "http:// c/",
            "http://c:x/",
        ] {
            assert_eq!(HttpUrl::parse(text), Err(HttpUrlError::Form), "{text}");
        }
        assert_eq!(HttpUrl::parse("http://me:secret@c/"), Err(HttpUrlError::Credentials));
    }

    #[test]
    fn secrets_are_never_shown() {
        let mut config = HttpUpstreamConfig::new(HttpUrl::parse("http://c/").unwrap());
        config.headers.push(("authorization".to_owned(), "secret".to_owned()));
        let credentials = Some("me:secret".to_owned());
        config.proxy =
            Proxy::Through(ForwardProxy { tls: false, host: "proxy".to_owned(), port: 3128, credentials });
        let shown = format!("{config:?}");
        assert!(!shown.contains("secret") && shown.contains("http://proxy:3128"), "{shown}");
    }
}
