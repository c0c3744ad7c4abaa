//! Addresses as listeners and upstreams have them: the form is checked here, names are resolved by who connects.
//! Must never resolve.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use relay_core::upstream::Endpoint;

/// The longest path of a socket, in bytes (unix(7): 108 with the zero at its end).
const SOCKET_PATH_BYTES_MAX: usize = 107;

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

    /// `localhost`, which is the loopback address of both families (RFC 6761 section 6.3).
    #[must_use]
    pub fn is_localhost(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost")
    }

    /// Whether a listener here listens where `other` does, ports aside. Names other than `localhost` are not resolved.
    fn covers(&self, other: &Self) -> bool {
        let of_both = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
        match (self.host.parse::<IpAddr>(), other.host.parse::<IpAddr>()) {
            _ if self.host == other.host || self.host.is_empty() || self.host == "::" => true,
            (Ok(ip), Ok(other)) => ip == other || (ip == Ipv4Addr::UNSPECIFIED && other.is_ipv4()),
            (Ok(ip), Err(_)) => ip == Ipv4Addr::UNSPECIFIED && other.is_localhost(),
            (Err(_), Ok(other)) => self.is_localhost() && of_both.contains(&other),
            (Err(_), Err(_)) => self.is_localhost() && other.is_localhost(),
        }
    }
}

/// Where a stream socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP.
    Tcp(HostPort),
    /// What only an upstream has: a name with a DNS server of its own, or a list of addresses.
    Upstream(Endpoint),
    /// A unix socket in the file system, at most 107 bytes of path.
    Unix(PathBuf),
    /// A unix socket in Linux's abstract name space (unix(7)), its name without the leading zero.
    Abstract(String),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Upstream(endpoint) => endpoint.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Abstract(name) => write!(f, "unix-abstract:{name}"),
        }
    }
}

impl Address {
    /// Whether a sender to one of two listeners could mean the other: the same, or one among all addresses of the other; but
    /// never ports that the system chooses.
    #[must_use]
    pub fn clashes_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp(one), Self::Tcp(other)) => {
                one.port == other.port && one.port != 0 && (one.covers(other) || other.covers(one))
            }
            _ => self == other,
        }
    }
}

/// The scheme of an upstream, which says whether TLS is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `http://`: plaintext.
    Http,
    /// `https://`: TLS.
    Https,
}

/// The address of a TCP listener: `0.0.0.0:4317`, `localhost:4317`, `[::]:4317`, `:4317`.
///
/// # Errors
/// What is wrong and the right form, to be put after the key.
pub fn parse_listen(text: &str) -> Result<HostPort, String> {
    if text.starts_with("unix:") || text.starts_with("unix-abstract:") {
        return Err("a unix socket is not possible here; use host:port".to_owned());
    }
    if let Some((scheme, _)) = text.split_once("://") {
        return Err(format!("a listener has no scheme; write host:port without \"{scheme}://\""));
    }
    parse_host_port(text)
}

/// The address of a listener that may be a unix socket: as for TCP, or `unix:///run/x.sock`, `unix-abstract:name`; with
/// `transport: unix` also `/run/x.sock` and `@name`, as in Go's `net.Listen`.
///
/// # Errors
/// What is wrong and the right form, to be put after the key.
pub fn parse_listen_any(text: &str, unix: bool) -> Result<Address, String> {
    match parse_unix(text) {
        Some(socket) => socket,
        None if !unix => parse_listen(text).map(Address::Tcp),
        None => match text.strip_prefix('@') {
            Some(name) => abstract_socket(name),
            None => socket_file(text),
        },
    }
}

/// An upstream of a gRPC exporter and its scheme, if it has one that says something about TLS: the forms of gRPC Name Resolution,
/// and `http://`, `https://`. `dns:///` and `passthrough:///` are accepted and dropped: relayd resolves every name itself.
///
/// # Errors
/// What is wrong and the right form, to be put after the key.
pub fn parse_upstream(text: &str) -> Result<(Address, Option<Scheme>), String> {
    if let Some(socket) = parse_unix(text) {
        return Ok((socket?, None));
    }
    if text.starts_with("ipv4:") || text.starts_with("ipv6:") {
        let list = Endpoint::parse(text).map_err(|error| error.to_string())?;
        return Ok((Address::Upstream(list), None));
    }
    let (address, scheme) = match text.split_once("://") {
        None => (text.strip_prefix("dns:").unwrap_or(text), None),
        Some(("http", rest)) => (rest, Some(Scheme::Http)),
        Some(("https", rest)) => (rest, Some(Scheme::Https)),
        Some(("dns" | "passthrough", rest)) => match rest.rsplit_once('/') {
            None | Some(("", _)) => (rest.trim_start_matches('/'), None),
            Some(_) => {
                let named = Endpoint::parse(text).map_err(|error| error.to_string())?;
                return Ok((Address::Upstream(named), None));
            }
        },
        Some((scheme, _)) => return Err(format!("unknown scheme \"{scheme}://\"; use host:port")),
    };
    let address = check_upstream(parse_host_port(address)?)?;
    Ok((Address::Tcp(address), scheme))
}

/// What can be connected to: a host and a port that are said.
///
/// # Errors
/// What is missing.
pub(super) fn check_upstream(address: HostPort) -> Result<HostPort, String> {
    if address.host.is_empty() {
        return Err("an upstream needs a host; write host:port".to_owned());
    }
    if address.port == 0 {
        return Err("an upstream needs a port from 1 to 65535".to_owned());
    }
    Ok(address)
}

/// `unix:path`, `unix:///path`, `unix-abstract:name` (gRPC Name Resolution); `None` for what is not a unix socket.
fn parse_unix(text: &str) -> Option<Result<Address, String>> {
    if let Some(name) = text.strip_prefix("unix-abstract:") {
        return Some(abstract_socket(name.strip_prefix("//").unwrap_or(name)));
    }
    let rest = text.strip_prefix("unix:")?;
    Some(match rest.strip_prefix("//") {
        Some(path) if !path.starts_with('/') && !path.is_empty() => {
            Err("after unix:// comes an absolute path, as in unix:///run/relay.sock".to_owned())
        }
        Some(path) => socket_file(path),
        None => socket_file(rest),
    })
}

fn socket_file(path: &str) -> Result<Address, String> {
    check_socket_name(path, "a unix socket needs a path, as in unix:///run/relay.sock")?;
    Ok(Address::Unix(PathBuf::from(path)))
}

fn abstract_socket(name: &str) -> Result<Address, String> {
    check_socket_name(name, "an abstract socket needs a name, as in unix-abstract:relay")?;
    Ok(Address::Abstract(name.to_owned()))
}

fn check_socket_name(name: &str, empty: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err(empty.to_owned());
    }
    if name.len() > SOCKET_PATH_BYTES_MAX || name.contains('\0') {
        return Err(format!("the path of a socket is at most {SOCKET_PATH_BYTES_MAX} bytes"));
    }
    Ok(())
}

/// `host:port`, the host perhaps empty.
///
/// # Errors
/// What is wrong and the right form, to be put after the key.
pub(super) fn parse_host_port(text: &str) -> Result<HostPort, String> {
    let bad = |why: &str| {
        // What stands before an @ may be a password.
        let found = if text.contains('@') { String::new() } else { format!(", found {text:?}") };
        Err(format!("expected host:port{found}: {why}"))
    };
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
