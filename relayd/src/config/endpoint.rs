//! `host:port` as listeners and upstreams have it: the form is checked here, names are resolved by who connects.
//! Must never resolve.

use std::fmt;
use std::net::Ipv6Addr;

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// A name, an IPv4 address or an IPv6 address without brackets; empty means all addresses of this machine
    /// (only for listeners).
    pub host: String,
    /// The port; 0 lets the system choose one (only for listeners).
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl HostPort {
    /// From parts that are known to be right (defaults).
    #[must_use]
    pub fn new(host: &str, port: u16) -> Self {
        Self { host: host.to_owned(), port }
    }
}

/// The address of a listener: `0.0.0.0:4317`, `localhost:4317`, `[::]:4317`, `:4317`.
///
/// # Errors
/// What is wrong and the right form, to be put after the key.
pub fn parse_listen(text: &str) -> Result<HostPort, String> {
    if text.starts_with("unix:") {
        return Err("unix sockets are not in this version; use host:port".to_owned());
    }
    if let Some((scheme, _)) = text.split_once("://") {
        return Err(format!("a listener has no scheme; write host:port without \"{scheme}://\""));
    }
    parse_host_port(text)
}

/// An upstream of a gRPC exporter, and whether its scheme already says plaintext (`http://`). `dns:///` and
/// `passthrough:///` are accepted and dropped: relayd resolves every name and uses all of its addresses.
///
/// # Errors
/// What is wrong and the right form, to be put after the key.
pub fn parse_upstream(text: &str) -> Result<(HostPort, bool), String> {
    if text.starts_with("unix:") || text.starts_with("unix-abstract:") {
        return Err("unix sockets are not in this version; use host:port".to_owned());
    }
    if text.starts_with("https://") {
        return Err("TLS to the upstream is not in this version; use host:port with tls.insecure: true \
                    inside the cluster, or send through a Collector that speaks TLS"
            .to_owned());
    }
    let (address, plaintext) = match text.split_once("://") {
        None => (text.strip_prefix("dns:").unwrap_or(text), false),
        Some(("http", rest)) => (rest, true),
        Some(("dns" | "passthrough", rest)) => match rest.rsplit_once('/') {
            None | Some(("", _)) => (rest.trim_start_matches('/'), false),
            Some(_) => {
                return Err(
                    "a name server of its own is not in this version; write dns:///host:port".to_owned()
                );
            }
        },
        Some((scheme, _)) => return Err(format!("unknown scheme \"{scheme}://\"; use host:port")),
    };
    let address = parse_host_port(address)?;
    if address.host.is_empty() {
        return Err("an upstream needs a host; write host:port".to_owned());
    }
    if address.port == 0 {
        return Err("an upstream needs a port from 1 to 65535".to_owned());
    }
    Ok((address, plaintext))
}

fn parse_host_port(text: &str) -> Result<HostPort, String> {
    let bad = |why: &str| Err(format!("expected host:port, found {text:?}: {why}"));
    let Some((host, port)) = text.rsplit_once(':') else {
        return bad("the port is missing");
    };
    if text.matches(':').count() > 1 && !host.starts_with('[') {
        return bad("an IPv6 address stands in brackets, as in [::1]:4317");
    }
    let Ok(port) = port.parse::<u16>() else {
        return bad("the port is a number from 0 to 65535");
    };
    let host = match host.strip_prefix('[').map(|inner| inner.strip_suffix(']')) {
        None if is_name(host) => host,
        None => return bad("the host has a character that no name has"),
        Some(Some(inner)) if is_ipv6(inner) => inner,
        Some(_) => return bad("not an IPv6 address in brackets"),
    };
    Ok(HostPort { host: host.to_owned(), port })
}

fn is_name(host: &str) -> bool {
    host.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '.' | '_'))
}

fn is_ipv6(inner: &str) -> bool {
    // A zone (RFC 4007 section 11) names an interface, which only the socket call can check.
    inner.split('%').next().is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
}
