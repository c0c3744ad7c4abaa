//! Where an upstream is: `host:port`, a list of addresses or a unix socket, as the Collector's exporters and gRPC write it. Must never
//! resolve a name.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use crate::limits::UPSTREAM_ADDRESSES_MAX;

/// Where to connect; a name is not resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// TCP.
    Tcp {
        /// Name or address; an IPv6 address without brackets.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// TCP, the name asked of a DNS server of its own.
    Dns {
        /// Whom to ask.
        server: NameServer,
        /// Name.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// TCP, at addresses that are known; 1 to [`UPSTREAM_ADDRESSES_MAX`].
    Addresses(Vec<SocketAddr>),
    /// A unix stream socket at this path.
    Unix(PathBuf),
    /// A unix stream socket in Linux's abstract namespace, of this name without its leading zero byte.
    Abstract(Vec<u8>),
}

/// A name to look up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostName {
    /// The name as it was configured, without a port.
    pub host: String,
    /// Whom to ask, instead of the servers of this machine.
    pub server: Option<NameServer>,
}

/// A DNS server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NameServer {
    /// Name or address; an IPv6 address without brackets.
    pub host: String,
    /// UDP and TCP port.
    pub port: u16,
}

/// The port of DNS (RFC 1035 section 4.2).
const DNS_PORT: u16 = 53;

/// Why a text is not an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// No port, or not a number of 1 to 65535.
    #[error("{0:?} has no port; write host:port, for example otel-collector:4317")]
    Port(String),
    /// No host.
    #[error("{0:?} has no host; write host:port, for example otel-collector:4317")]
    Host(String),
    /// Not a list of addresses with ports.
    #[error(
        "{0:?} is not a list of addresses; write ipv4:10.0.0.1:4317,10.0.0.2:4317 or ipv6:[fd00::1]:4317"
    )]
    Addresses(String),
    /// More addresses than are kept.
    #[error("more than {UPSTREAM_ADDRESSES_MAX} addresses; give them a name and write dns:///name:port")]
    TooManyAddresses,
    /// Not a DNS server.
    #[error("{0:?} names no DNS server; write dns:///host:port or dns://server:53/host:port")]
    Server(String),
    /// No path or name of a unix socket.
    #[error("{0:?} names no socket; write unix:///path or unix-abstract:name")]
    Socket(String),
    /// A scheme that is not supported.
    #[error(
        "{0:?} has a scheme that is not supported; write host:port, http://host:port, dns:///host:port, \
         dns://server/host:port, passthrough:///host:port, ipv4:address:port,..., ipv6:[address]:port,..., unix:///path or \
         unix-abstract:name"
    )]
    Scheme(String),
}

impl Endpoint {
    /// Reads `host:port`, `[v6]:port`, `http://host:port`, `unix:///path`, and the forms of gRPC Name Resolution: `dns:///host:port`,
    /// `dns://server:53/host:port`, `passthrough:///host:port`, `ipv4:address:port,...`, `ipv6:[address]:port,...`, `unix:path`,
    /// `unix-abstract:name`. Whether TLS is spoken is said elsewhere, so `https` is refused.
    ///
    /// # Errors
    /// Says what is missing and how to write it.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        if let Some(name) = text.strip_prefix("unix-abstract:") {
            return Self::socket(text, name, |name| Self::Abstract(name.as_bytes().to_vec()));
        }
        if let Some(path) = text.strip_prefix("unix:") {
            // unix:///path has an empty authority; what is not absolute then is none.
            let path = path.strip_prefix("//").unwrap_or(path);
            return Self::socket(text, path, |path| Self::Unix(PathBuf::from(path)));
        }
        for (scheme, v4) in [("ipv4:", true), ("ipv6:", false)] {
            if let Some(list) = text.strip_prefix(scheme) {
                return Self::addresses(text, list.strip_prefix("///").unwrap_or(list), v4);
            }
        }
        if let Some(target) = text.strip_prefix("dns:") {
            return Self::dns(text, target);
        }
        let bare =
            text.strip_prefix("http://").or_else(|| text.strip_prefix("passthrough:///")).unwrap_or(text);
        let (host, port) = host_port(text, bare)?;
        Ok(Self::Tcp { host, port })
    }

    /// `dns:host:port` or `dns://[server]/host:port`, without the scheme.
    fn dns(text: &str, target: &str) -> Result<Self, EndpointError> {
        let (server, target) = match target.strip_prefix("//") {
            None => ("", target),
            Some(rest) => rest.split_once('/').ok_or_else(|| EndpointError::Server(text.to_owned()))?,
        };
        let (host, port) = host_port(text, target)?;
        if server.is_empty() {
            return Ok(Self::Tcp { host, port });
        }
        let server = NameServer::parse(server).ok_or_else(|| EndpointError::Server(text.to_owned()))?;
        Ok(Self::Dns { server, host, port })
    }

    fn addresses(text: &str, list: &str, v4: bool) -> Result<Self, EndpointError> {
        let addresses = list.split(',').map(|address| address.trim().parse().ok());
        let fits = |address: &SocketAddr| address.is_ipv4() == v4 && address.port() != 0;
        let addresses: Option<Vec<SocketAddr>> = addresses.map(|address| address.filter(fits)).collect();
        match addresses {
            None => Err(EndpointError::Addresses(text.to_owned())),
            Some(addresses) if addresses.len() > UPSTREAM_ADDRESSES_MAX => {
                Err(EndpointError::TooManyAddresses)
            }
            Some(addresses) => Ok(Self::Addresses(addresses)),
        }
    }

    fn socket(text: &str, name: &str, make: impl Fn(&str) -> Self) -> Result<Self, EndpointError> {
        if name.is_empty() { Err(EndpointError::Socket(text.to_owned())) } else { Ok(make(name)) }
    }

    /// Name or address of the host, the first one of a list; `localhost` for a unix socket, as grpc-go has it.
    pub fn host(&self) -> String {
        match self {
            Self::Tcp { host, .. } | Self::Dns { host, .. } => host.clone(),
            Self::Addresses(addresses) => addresses.first().map(|at| at.ip().to_string()).unwrap_or_default(),
            Self::Unix(_) | Self::Abstract(_) => "localhost".to_owned(),
        }
    }

    /// `host:port` as it stands in a URI, an IPv6 address in brackets, of a list the first; `localhost` for a unix socket.
    pub fn authority(&self) -> String {
        match self {
            Self::Tcp { host, port } | Self::Dns { host, port, .. } => bracketed(host, *port),
            Self::Addresses(addresses) => addresses.first().map(SocketAddr::to_string).unwrap_or_default(),
            Self::Unix(_) | Self::Abstract(_) => self.host(),
        }
    }
}

impl NameServer {
    /// `server`, `server:port`, `[v6]:port` or an IPv6 address alone; `None` for anything else.
    fn parse(text: &str) -> Option<Self> {
        if text.parse::<Ipv6Addr>().is_ok() {
            return Some(Self { host: text.to_owned(), port: DNS_PORT });
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']')?;
                host.parse::<Ipv6Addr>().ok()?;
                (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
            }
            None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map_or(Some(DNS_PORT), |port| port.parse().ok()).filter(|port| *port != 0)?;
        (!host.is_empty()).then(|| Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for NameServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bracketed(&self.host, self.port))
    }
}

/// As an operator reads it: the name, and who is asked if that is said.
impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        self.server.as_ref().map_or(Ok(()), |server| write!(f, " at {server}"))
    }
}

/// Host and port of `bare`, a part of `text`.
fn host_port(text: &str, bare: &str) -> Result<(String, u16), EndpointError> {
    let bare = bare.strip_suffix('/').unwrap_or(bare);
    if bare.contains('/') {
        return Err(EndpointError::Scheme(text.to_owned()));
    }
    let (host, port) = bare.rsplit_once(':').ok_or_else(|| EndpointError::Port(text.to_owned()))?;
    let port = port.parse().ok().filter(|port| *port != 0);
    let port = port.ok_or_else(|| EndpointError::Port(text.to_owned()))?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() {
        return Err(EndpointError::Host(text.to_owned()));
    }
    Ok((host.to_owned(), port))
}

fn bracketed(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// As [`Endpoint::parse`] reads it.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { .. } => f.write_str(&self.authority()),
            Self::Dns { server, .. } => write!(f, "dns://{server}/{}", self.authority()),
            Self::Addresses(addresses) => {
                let scheme = if addresses.first().is_some_and(SocketAddr::is_ipv6) { "ipv6" } else { "ipv4" };
                let list: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
                write!(f, "{scheme}:{}", list.join(","))
            }
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Abstract(name) => write!(f, "unix-abstract:{}", name.escape_ascii()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for text in [
            "collector:4317",
            "http://collector:4317",
            "http://collector:4317/",
            "dns:///collector:4317",
            "dns:collector:4317",
            "passthrough:///collector:4317",
        ] {
            assert_eq!(Endpoint::parse(text).unwrap().authority(), "collector:4317", "{text}");
        }
        let v6 = Endpoint::parse("[::1]:4317").unwrap();
        assert_eq!((v6.host().as_str(), v6.authority().as_str()), ("::1", "[::1]:4317"));
    }

    /// gRPC Name Resolution, "DNS": the authority is the server to ask.
    #[test]
    fn a_dns_server_of_its_own() {
        let servers = [
            ("10.0.0.10", "10.0.0.10", 53),
            ("kube-dns.kube-system:5353", "kube-dns.kube-system", 5353),
            ("[fd00::a]", "fd00::a", 53),
            ("[fd00::a]:5353", "fd00::a", 5353),
            ("fd00::a", "fd00::a", 53),
        ];
        for (text, host, port) in servers {
            let endpoint = Endpoint::parse(&format!("dns://{text}/collector:4317")).unwrap();
            let server = NameServer { host: host.to_owned(), port };
            assert_eq!(
                endpoint,
                Endpoint::Dns { server, host: "collector".to_owned(), port: 4317 },
                "{text}"
            );
            assert_eq!(Endpoint::parse(&endpoint.to_string()).unwrap(), endpoint);
            assert_eq!(endpoint.authority(), "collector:4317");
        }
        for bad in
            ["dns://collector:4317", "dns://:53/c:1", "dns://[::1/c:1", "dns://s:0/c:1", "dns://[::1]53/c:1"]
        {
            assert_eq!(Endpoint::parse(bad), Err(EndpointError::Server(bad.to_owned())));
        }
    }

    #[test]
    fn lists_of_addresses() {
        for text in ["ipv4:10.0.0.1:4317,10.0.0.2:4318", "ipv6:[fd00::1]:4317,[fd00::2]:4317"] {
            let endpoint = Endpoint::parse(text).unwrap();
            assert!(matches!(&endpoint, Endpoint::Addresses(list) if list.len() == 2));
            assert_eq!(endpoint.to_string(), text);
        }
        let two = Endpoint::parse("ipv4:///10.0.0.1:4317").unwrap();
        assert_eq!((two.host().as_str(), two.authority().as_str()), ("10.0.0.1", "10.0.0.1:4317"));
        for bad in
            ["ipv4:", "ipv4:10.0.0.1", "ipv4:[::1]:1", "ipv6:1.2.3.4:1", "ipv4:1.2.3.4:1,", "ipv4:1.2.3.4:0"]
        {
            assert_eq!(Endpoint::parse(bad), Err(EndpointError::Addresses(bad.to_owned())));
        }
        let many = vec!["10.0.0.1:1"; UPSTREAM_ADDRESSES_MAX + 1].join(",");
        assert_eq!(Endpoint::parse(&format!("ipv4:{many}")), Err(EndpointError::TooManyAddresses));
    }

    #[test]
    fn unix_sockets() {
        let path = Endpoint::Unix("/run/otlp.sock".into());
        for text in ["unix:///run/otlp.sock", "unix:/run/otlp.sock"] {
            assert_eq!(Endpoint::parse(text).unwrap(), path, "{text}");
        }
        assert_eq!(Endpoint::parse("unix:otlp.sock").unwrap(), Endpoint::Unix("otlp.sock".into()));
        assert_eq!(Endpoint::parse("unix-abstract:otlp").unwrap(), Endpoint::Abstract(b"otlp".to_vec()));
        assert_eq!(
            (path.authority().as_str(), path.to_string().as_str()),
            ("localhost", "unix:/run/otlp.sock")
        );
    }

    #[test]
    fn errors_say_the_way_out() {
        assert_eq!(Endpoint::parse("collector"), Err(EndpointError::Port("collector".into())));
        assert_eq!(Endpoint::parse("collector:0"), Err(EndpointError::Port("collector:0".into())));
        assert_eq!(Endpoint::parse(":4317"), Err(EndpointError::Host(":4317".into())));
        assert_eq!(Endpoint::parse("unix://"), Err(EndpointError::Socket("unix://".into())));
        assert_eq!(Endpoint::parse("unix-abstract:"), Err(EndpointError::Socket("unix-abstract:".into())));
        assert!(matches!(Endpoint::parse("https://c:4317"), Err(EndpointError::Scheme(_))));
    }
}
