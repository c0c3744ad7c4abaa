//! From the configuration's `tls` and upstreams' addresses to relay-core's. Must never open a file.

use relay_core::config::{PemSource, TlsClientConfig, TlsIdentity, TlsServerConfig, TlsVersion};
use relay_core::limits::TLS_RELOAD_INTERVAL;
use relay_core::upstream::Endpoint;

use crate::config::{self, Address, Identity, Pem, TlsClient, TlsServer};

/// Where an exporter connects to.
pub(super) fn endpoint(address: &Address) -> Endpoint {
    match address {
        Address::Tcp(at) => Endpoint::Tcp { host: at.host.clone(), port: at.port },
        Address::Upstream(endpoint) => endpoint.clone(),
        Address::Unix(path) => Endpoint::Unix(path.clone()),
        Address::Abstract(name) => Endpoint::Abstract(name.clone().into_bytes()),
    }
}

pub(super) fn server(tls: &TlsServer) -> TlsServerConfig {
    TlsServerConfig {
        client_ca: tls.client_ca_file.clone().map(PemSource::File),
        client_ca_reload: tls.client_ca_file_reload,
        min_version: version(tls.versions.min),
        max_version: version(tls.versions.max),
        reload_interval: tls.reload_interval.unwrap_or(TLS_RELOAD_INTERVAL),
        ..TlsServerConfig::new(identity(&tls.identity))
    }
}

pub(super) fn client(tls: &TlsClient) -> TlsClientConfig {
    TlsClientConfig {
        ca: tls.ca.as_ref().map(pem),
        include_system_roots: tls.include_system_ca_certs_pool,
        identity: tls.identity.as_ref().map(identity),
        insecure_skip_verify: tls.insecure_skip_verify,
        server_name_override: tls.server_name_override.clone(),
        min_version: version(tls.versions.min),
        max_version: version(tls.versions.max),
        reload_interval: tls.reload_interval.unwrap_or(TLS_RELOAD_INTERVAL),
    }
}

fn identity(identity: &Identity) -> TlsIdentity {
    TlsIdentity { certificate: pem(&identity.certificate), key: pem(&identity.key) }
}

fn pem(pem: &Pem) -> PemSource {
    match pem {
        Pem::File(path) => PemSource::File(path.clone()),
        Pem::Inline(text) => PemSource::Inline(text.reveal().to_owned().into_bytes()),
    }
}

fn version(version: config::TlsVersion) -> TlsVersion {
    match version {
        config::TlsVersion::V1_2 => TlsVersion::V1_2,
        config::TlsVersion::V1_3 => TlsVersion::V1_3,
    }
}
