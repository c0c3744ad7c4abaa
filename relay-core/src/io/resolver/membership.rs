//! The addresses of one endpoint, as those see them who connect. Must never wait for a lookup.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;

use tokio::sync::{Notify, watch};

use crate::stats::{Counter, ResolutionStats};
use crate::upstream::{Endpoint, HostName};

/// A set of addresses that may change. Clones see the same set; each learns of changes for itself.
#[derive(Clone, Debug)]
pub(crate) struct Membership {
    addresses: watch::Receiver<Arc<[SocketAddr]>>,
    // None for a set that is fixed.
    lookups: Option<Arc<Lookups>>,
}

/// What the watcher of a name and those who use its addresses share.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    /// Somebody wants to know soon.
    pub(super) wanted: Notify,
    pub(super) begun: Counter,
    pub(super) failed: Counter,
    pub(super) changed: Counter,
}

impl Membership {
    /// A set that never changes.
    pub(crate) fn fixed(addresses: &[SocketAddr]) -> Self {
        Self { addresses: watch::channel(sorted(addresses.to_vec())).1, lookups: None }
    }

    pub(super) fn watched(addresses: watch::Receiver<Arc<[SocketAddr]>>, lookups: Arc<Lookups>) -> Self {
        Self { addresses, lookups: Some(lookups) }
    }

    /// The addresses now, sorted, each once, at most [`crate::limits::UPSTREAM_ADDRESSES_MAX`]. Empty for a unix socket, and for a
    /// name until it is known.
    pub(crate) fn current(&self) -> Arc<[SocketAddr]> {
        Arc::clone(&self.addresses.borrow())
    }

    /// Resolves when the set has changed since this clone was last told so; never for one that is fixed.
    pub(crate) async fn changed(&mut self) {
        if self.addresses.changed().await.is_err() {
            // Nobody will ever change it.
            std::future::pending::<()>().await;
        }
    }

    /// Asks for a lookup soon, as after a failed dial: at most one in [`crate::limits::RESOLVE_AGAIN_MIN`].
    pub(crate) fn refresh(&self) {
        if let Some(lookups) = &self.lookups {
            lookups.wanted.notify_one();
        }
    }

    /// What was looked up; `None` for a set that is fixed.
    pub(crate) fn stats(&self) -> Option<ResolutionStats> {
        let lookups = self.lookups.as_ref()?;
        Some(ResolutionStats {
            lookups: lookups.begun.get(),
            failures: lookups.failed.get(),
            changes: lookups.changed.get(),
            addresses: self.addresses.borrow().len(),
        })
    }
}

/// Where an endpoint leads.
pub(super) enum Target {
    /// There, for ever.
    Fixed(Vec<SocketAddr>),
    /// To this port of the addresses of a name.
    Name(HostName, u16),
}

/// What of an endpoint has to be looked up.
pub(super) fn target(endpoint: &Endpoint) -> Target {
    match endpoint {
        Endpoint::Addresses(addresses) => Target::Fixed(addresses.clone()),
        Endpoint::Unix(_) | Endpoint::Abstract(_) => Target::Fixed(Vec::new()),
        Endpoint::Tcp { host, port } => literal(host, *port).map_or_else(
            || Target::Name(HostName { host: host.clone(), server: None }, *port),
            Target::Fixed,
        ),
        Endpoint::Dns { server, host, port } => literal(host, *port).map_or_else(
            || Target::Name(HostName { host: host.clone(), server: Some(server.clone()) }, *port),
            Target::Fixed,
        ),
    }
}

/// An address that is written out; nothing if it names an interface that is not there.
pub(super) fn literal(host: &str, port: u16) -> Option<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse() {
        return Some(vec![SocketAddr::new(ip, port)]);
    }
    let (address, zone) = host.split_once('%')?;
    let address: Ipv6Addr = address.parse().ok()?;
    let addresses = interface(zone).map(|number| SocketAddrV6::new(address, port, 0, number).into());
    Some(addresses.into_iter().collect())
}

/// The number of the interface that a zone (RFC 4007 section 11) says, by its number or its name (netdevice(7)).
fn interface(zone: &str) -> Option<u32> {
    zone.parse().ok().or_else(|| {
        let any = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::DGRAM, None).ok()?;
        rustix::net::netdevice::name_to_index(&any, zone).ok()
    })
}

/// In the one order that all relays have them in, each once; the first ones if there are too many.
pub(super) fn sorted(mut addresses: Vec<SocketAddr>) -> Arc<[SocketAddr]> {
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(crate::limits::UPSTREAM_ADDRESSES_MAX);
    addresses.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed(text: &str) -> Vec<SocketAddr> {
        match target(&Endpoint::parse(text).unwrap()) {
            Target::Fixed(addresses) => addresses,
            Target::Name(name, _) => panic!("{text} is taken for the name {name}"),
        }
    }

    #[test]
    fn what_is_written_out_is_never_looked_up() {
        assert_eq!(fixed("10.0.0.1:4317"), ["10.0.0.1:4317".parse().unwrap()]);
        assert_eq!(fixed("[::1]:4317"), ["[::1]:4317".parse().unwrap()]);
        assert_eq!(fixed("dns://10.0.0.10/127.0.0.1:1"), ["127.0.0.1:1".parse().unwrap()]);
        assert_eq!(fixed("[fe80::1%1]:4317"), ["[fe80::1%1]:4317".parse().unwrap()]);
        assert!(fixed("unix:/run/otlp.sock").is_empty());
        let name = target(&Endpoint::parse("dns://[::1]:5353/collector:4317").unwrap());
        assert!(matches!(name, Target::Name(name, 4317) if name.to_string() == "collector at [::1]:5353"));
    }

    #[test]
    fn a_set_is_sorted_bounded_and_has_each_address_once() {
        let membership =
            Membership::fixed(&["10.0.0.2:1", "10.0.0.1:1", "10.0.0.2:1"].map(|at| at.parse().unwrap()));
        let addresses: Vec<String> = membership.current().iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["10.0.0.1:1", "10.0.0.2:1"]);
        assert!(membership.stats().is_none());
        let many: Vec<SocketAddr> =
            (0..=u16::MAX).map(|port| SocketAddr::from(([10, 0, 0, 1], port))).collect();
        assert_eq!(Membership::fixed(&many).current().len(), crate::limits::UPSTREAM_ADDRESSES_MAX);
    }
}
