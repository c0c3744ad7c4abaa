//! From the configuration's `load_balancing` exporter to relay-core's tier. Must never resolve a name.

use relay_core::config::{Destination, KeyedConfig, Members, UpstreamConfig};
use relay_core::upstream::Endpoint;

use crate::config::{Address, HostPort, LoadBalancingExporter};

/// `upstream`, which is set up as for one server, with the members of `tier` in its place.
pub(super) fn shared_out(mut upstream: UpstreamConfig, tier: &LoadBalancingExporter) -> UpstreamConfig {
    if let Destination::Grpc(grpc) = &upstream.destination {
        let keyed = KeyedConfig { grpc: (**grpc).clone(), key: tier.key, members: tier.members.clone() };
        upstream.destination = Destination::Keyed(Box::new(keyed));
    }
    upstream
}

/// Where the members of a list are; those of a name are not known yet.
pub(super) fn addresses(members: &Members) -> Vec<Address> {
    match members {
        Members::Static(list) => list.iter().flat_map(|(_, endpoint)| of_endpoint(endpoint)).collect(),
        Members::Dns { .. } => Vec::new(),
    }
}

/// Where an exporter's endpoint leads, each address of a list for itself.
pub(super) fn addresses_of(endpoint: &Address) -> Vec<Address> {
    match endpoint {
        Address::Upstream(endpoint) => of_endpoint(endpoint),
        other => vec![other.clone()],
    }
}

fn of_endpoint(endpoint: &Endpoint) -> Vec<Address> {
    match endpoint {
        Endpoint::Addresses(list) => {
            let address =
                |at: &std::net::SocketAddr| Address::Tcp(HostPort::new(&at.ip().to_string(), at.port()));
            list.iter().map(address).collect()
        }
        Endpoint::Tcp { host, port } => vec![Address::Tcp(HostPort::new(host, *port))],
        other => vec![Address::Upstream(other.clone())],
    }
}

/// Who they are, for the line that announces the exporter.
pub(crate) fn in_words(members: &Members) -> String {
    match members {
        Members::Static(list) => list.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", "),
        Members::Dns { host, .. } => format!("the addresses of {host}"),
    }
}
