//! Addresses of listeners: from what the configuration says to what can be bound. Must never keep it bound.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use relay_core::config::ListenAddress;

use crate::config::{Address, HostPort};
use crate::limits::LISTEN_LOOKUP_MAX;

/// What a receiver binds for one endpoint. No host means all addresses, of both families where the host has both; `localhost`
/// is the loopback address of each family, less one that this kernel does not have (with port 0 it is the first one alone: a free
/// port of one family may be taken in the other); any other name is one address.
///
/// # Errors
/// A name without an address, or `localhost` where there is no family at all.
pub(crate) fn addresses(address: &Address) -> Result<Vec<ListenAddress>, String> {
    match address {
        Address::Tcp(endpoint) if endpoint.is_localhost() && endpoint.port != 0 => {
            let found = loopback(endpoint.port, is_there);
            found.map_err(|error| format!("cannot listen on {endpoint}: {error}"))
        }
        other => one(other).map(|address| vec![address]),
    }
}

/// The one address that health or metrics bind: `localhost` is 127.0.0.1 where there is IPv4.
///
/// # Errors
/// A name without an address.
pub(crate) fn one(address: &Address) -> Result<ListenAddress, String> {
    match address {
        Address::Tcp(endpoint) => resolve(endpoint)
            .map(ListenAddress::from)
            .map_err(|error| format!("cannot listen on {endpoint}: {error}")),
        Address::Upstream(endpoint) => Err(format!("cannot listen on {endpoint}: it is an upstream's form")),
        Address::Unix(path) => Ok(ListenAddress::Unix(path.clone())),
        Address::Abstract(name) => Ok(ListenAddress::Abstract(name.clone().into_bytes())),
    }
}

/// Of a name with several addresses an IPv4 one is taken first, as Go's `net.Listen` does.
fn resolve(endpoint: &HostPort) -> Result<SocketAddr, String> {
    if endpoint.host.is_empty() {
        return Ok(SocketAddr::new(any(), endpoint.port));
    }
    if endpoint.is_localhost() {
        let v4 = is_there(Ipv4Addr::LOCALHOST.into()).is_ok();
        let ip = if v4 { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        return Ok(SocketAddr::new(ip, endpoint.port));
    }
    let found = relay_core::lookup(&endpoint.host, endpoint.port, LISTEN_LOOKUP_MAX);
    let addresses = found.map_err(|error| error.to_string())?;
    let first = addresses.iter().find(|address| address.is_ipv4()).or_else(|| addresses.first());
    first.copied().ok_or_else(|| "the name has no address".to_owned())
}

/// All addresses of this host: `[::]`, which takes IPv4 too, if there is IPv6.
fn any() -> IpAddr {
    match is_there(Ipv6Addr::UNSPECIFIED.into()) {
        Ok(()) => Ipv6Addr::UNSPECIFIED.into(),
        Err(_) => Ipv4Addr::UNSPECIFIED.into(),
    }
}

fn loopback(port: u16, is_there: impl Fn(IpAddr) -> io::Result<()>) -> io::Result<Vec<ListenAddress>> {
    let mut found = Vec::new();
    let mut missing = Ok(());
    for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)] {
        match is_there(ip) {
            Ok(()) => found.push(ListenAddress::from(SocketAddr::new(ip, port))),
            Err(error) => {
                tracing::info!("localhost:{port}: {ip} is left out, this host does not have it: {error}");
                missing = Err(error);
            }
        }
    }
    if found.is_empty() { missing.map(|()| found) } else { Ok(found) }
}

/// Whether this host has `ip`: a free port of it can be bound.
fn is_there(ip: IpAddr) -> io::Result<()> {
    TcpListener::bind((ip, 0)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(found: Vec<ListenAddress>) -> Vec<String> {
        found.iter().map(ToString::to_string).collect()
    }

    /// Guarantee: `localhost` is both families, one where there is one, and an error where there is none; one port of the
    /// system's choice is one socket; a list of all addresses is one socket too.
    #[test]
    fn localhost_is_both_families() {
        let lacks = |missing: &'static [bool]| {
            move |ip: IpAddr| {
                let lacks = missing.contains(&ip.is_ipv6());
                if lacks { Err(io::Error::from(io::ErrorKind::AddrNotAvailable)) } else { Ok(()) }
            }
        };
        assert_eq!(text(loopback(4317, lacks(&[])).unwrap()), ["127.0.0.1:4317", "[::1]:4317"]);
        assert_eq!(text(loopback(4317, lacks(&[true])).unwrap()), ["127.0.0.1:4317"]);
        assert_eq!(text(loopback(4317, lacks(&[false])).unwrap()), ["[::1]:4317"]);
        loopback(4317, lacks(&[true, false])).unwrap_err();
        let at = |host: &str, port| text(addresses(&Address::Tcp(HostPort::new(host, port))).unwrap());
        assert_eq!(at("localhost", 0), ["127.0.0.1:0"]);
        assert_eq!(at("10.1.2.3", 4317), ["10.1.2.3:4317"]);
        assert_eq!(at("::1", 4317), ["[::1]:4317"]);
        assert_eq!(at("", 4317).len(), 1);
    }
}
