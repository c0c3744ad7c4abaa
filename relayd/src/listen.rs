//! Addresses of listeners: from `host:port` to what can be bound. Must never bind it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};

use crate::config::HostPort;

/// The address that a listener on `endpoint` binds. No host means all addresses, of both families where the host has
/// both; of a name with several addresses an IPv4 one is taken first, as Go's `net.Listen` does, so that `localhost` is
/// 127.0.0.1 whatever the order in `/etc/hosts`.
///
/// # Errors
/// The name has no address.
pub(crate) fn resolve(endpoint: &HostPort) -> io::Result<SocketAddr> {
    if endpoint.host.is_empty() {
        return Ok(SocketAddr::new(any(), endpoint.port));
    }
    let addresses: Vec<SocketAddr> = (endpoint.host.as_str(), endpoint.port).to_socket_addrs()?.collect();
    let first = addresses.iter().find(|address| address.is_ipv4()).or_else(|| addresses.first());
    first.copied().ok_or_else(|| io::Error::other("the name has no address"))
}

/// All addresses of this host: `[::]`, which takes IPv4 too (Linux, `net.ipv6.bindv6only`), if there is IPv6.
fn any() -> IpAddr {
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)) {
        Ok(_) => Ipv6Addr::UNSPECIFIED.into(),
        Err(_) => Ipv4Addr::UNSPECIFIED.into(),
    }
}
