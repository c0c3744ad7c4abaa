//! URLs of OTLP/HTTP upstreams and proxies. A URL may hold a password: must never show one that was refused.

use std::fmt;

use super::endpoint::{HostPort, check_upstream, parse_host_port};
use super::secret::Secret;

/// `http://host:port/path` or `https://host:port/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUrl {
    /// True for `https`.
    pub tls: bool,
    /// Whom to connect to; port 80 or 443 if the URL has none.
    pub address: HostPort,
    /// Path and query, as they are sent; begins with a slash.
    pub path_and_query: String,
}

impl HttpUrl {
    /// Host and port as the `host` header has them: without the scheme's own port (RFC 9110 section 4.2.3).
    #[must_use]
    pub fn authority(&self) -> String {
        let authority = self.address.to_string();
        match authority.strip_suffix(&format!(":{}", port_of(self.tls))) {
            Some(host) => host.to_owned(),
            None => authority,
        }
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path_and_query)
    }
}

/// A forward proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// True if the connection to the proxy is TLS (`https://`).
    pub tls: bool,
    /// Where it listens.
    pub address: HostPort,
    /// `user:password` for `Proxy-Authorization: Basic`, not encoded yet.
    pub credentials: Option<Secret>,
}

/// Reads the URL of an upstream. An empty path is `/` (OTLP exporter specification, Endpoint URLs for OTLP/HTTP).
///
/// # Errors
/// What is wrong and the right form, to be put after the key.
pub fn parse_url(text: &str) -> Result<HttpUrl, String> {
    let (tls, authority, path) = split(text, "an otlp_http exporter")?;
    if authority.contains('@') {
        return Err("user and password in a URL are not supported; use the extension basicauth".to_owned());
    }
    let path_and_query = match path {
        path if path.contains('#') => return Err("a URL to send to has no fragment (#)".to_owned()),
        path if !path.bytes().all(|byte| (0x21..=0x7e).contains(&byte)) => {
            return Err("the path has a character that must be percent-encoded".to_owned());
        }
        path if path.starts_with('/') => path.to_owned(),
        path => format!("/{path}"),
    };
    let address = host_port(authority, tls).map_err(|what| {
        // An unencoded slash in a password ends the authority inside it.
        if path.contains('@') { "expected http://host:port".to_owned() } else { what }
    })?;
    Ok(HttpUrl { tls, address, path_and_query })
}

/// Reads `proxy_url`: `http://` or `https://`, perhaps with user and password (percent-encoded where they must be).
///
/// # Errors
/// What is wrong, without the URL: it may hold a password.
pub fn parse_proxy(text: &str) -> Result<Proxy, String> {
    let (tls, authority, path) = split(text, "proxy_url")?;
    if !matches!(path, "" | "/") {
        return Err("a proxy has no path; write http://host:port".to_owned());
    }
    let (credentials, authority) = match authority.rsplit_once('@') {
        None => (None, authority),
        Some((user, authority)) => {
            let decoded = percent_decode(user).ok_or("user and password are not percent-encoded text")?;
            let pair = if decoded.contains(':') { decoded } else { format!("{decoded}:") };
            (Some(Secret::new(pair)), authority)
        }
    };
    Ok(Proxy { tls, address: host_port(authority, tls)?, credentials })
}

/// Whether it is TLS, the authority, and the rest.
fn split<'a>(text: &'a str, whose: &str) -> Result<(bool, &'a str, &'a str), String> {
    let (scheme, rest) =
        text.split_once("://").ok_or_else(|| format!("{whose} needs a URL, as in http://host:port"))?;
    let tls = match scheme.to_ascii_lowercase().as_str() {
        "http" => false,
        "https" => true,
        "socks5" | "socks5h" => return Err("SOCKS proxies are not in this version; use http://".to_owned()),
        other => return Err(format!("unknown scheme \"{other}://\"; use http:// or https://")),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
    Ok((tls, authority, path))
}

fn port_of(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

fn host_port(authority: &str, tls: bool) -> Result<HostPort, String> {
    // What stands behind the last bracket is the port: the colons of an IPv6 address are inside.
    let has_port = authority.rsplit_once(']').map_or(authority, |(_, port)| port).contains(':');
    let address = if has_port {
        parse_host_port(authority)?
    } else {
        parse_host_port(&format!("{authority}:{}", port_of(tls)))?
    };
    check_upstream(address)
}

/// `None` for a broken escape, or for what is not UTF-8 or has control characters.
fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex(bytes.next()?)? * 16 + hex(bytes.next()?)?,
            byte => byte,
        });
    }
    String::from_utf8(decoded).ok().filter(|text| !text.chars().any(char::is_control))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}
