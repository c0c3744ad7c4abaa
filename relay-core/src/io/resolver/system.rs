//! Names as the machine has them: `/etc/hosts`, then the DNS servers of `/etc/resolv.conf` with its search domains. Must keep nothing
//! between lookups: both files may change, and who asks has a timer of its own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_resolver::config::{
    LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts, ServerOrderingStrategy,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{Hosts, TokioResolver, system_conf};

use super::{Resolve, ResolveError, Resolving};
use crate::upstream::{HostName, NameServer};

/// Asks for A and AAAA records (hosts(5), resolv.conf(5)). The files are read anew for each lookup.
#[derive(Debug)]
pub(crate) struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: &HostName) -> Resolving {
        let HostName { host, server } = name.clone();
        Box::pin(async move {
            match server {
                None => by_system(&host).await,
                Some(server) => by_server(&host, &server).await,
            }
        })
    }
}

async fn by_system(host: &str) -> Result<Vec<IpAddr>, ResolveError> {
    let name = name(host)?;
    let known = in_hosts_file(&name);
    if !known.is_empty() {
        return Ok(known);
    }
    // RFC 6761 section 6.3: never asked for.
    if name.is_localhost() {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let (config, options) = system_conf::read_system_conf().unwrap_or_else(|_| {
        // resolv.conf(5): without a server it is the one on this machine.
        let local = NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into());
        (ResolverConfig::from_name_servers(vec![local]), ResolverOpts::default())
    });
    ask(name, config, options).await
}

async fn by_server(host: &str, server: &NameServer) -> Result<Vec<IpAddr>, ResolveError> {
    // The server may have a name itself, which the machine's own servers know.
    let servers = match server.host.parse() {
        Ok(ip) => vec![ip],
        Err(_) => by_system(&server.host).await?,
    };
    let servers = servers.into_iter().map(|ip| {
        let mut config = NameServerConfig::udp_and_tcp(ip);
        config.connections.iter_mut().for_each(|connection| connection.port = server.port);
        config
    });
    let mut name = name(host)?;
    // Search domains are this machine's; another server is asked for the name as it stands, as grpc-go does.
    name.set_fqdn(true);
    ask(name, ResolverConfig::from_name_servers(servers.collect()), ResolverOpts::default()).await
}

async fn ask(
    name: Name,
    config: ResolverConfig,
    mut options: ResolverOpts,
) -> Result<Vec<IpAddr>, ResolveError> {
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    // Looked at before: what stands there is not asked for.
    options.use_hosts_file = ResolveHosts::Never;
    // resolv.conf(5): in the order of the file, one after the other.
    options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
    options.num_concurrent_reqs = 1;
    *builder.options_mut() = options;
    let resolver = builder.build().map_err(|error| ResolveError::Failed(error.to_string()))?;
    match resolver.lookup_ip(name).await {
        Ok(found) => Ok(found.iter().collect()),
        Err(error) if error.is_nx_domain() || error.is_no_records_found() => Err(ResolveError::Unknown),
        Err(NetError::Timeout) => Err(ResolveError::TimedOut),
        Err(error) => Err(ResolveError::Failed(error.to_string())),
    }
}

fn name(host: &str) -> Result<Name, ResolveError> {
    // Relaxed: names of services may have underscores.
    Name::from_str_relaxed(host)
        .map_err(|error| ResolveError::Failed(format!("not a name that DNS can have: {error}")))
}

fn in_hosts_file(name: &Name) -> Vec<IpAddr> {
    let hosts = Hosts::from_system().unwrap_or_default();
    let of = |kind| hosts.lookup_static_host(&Query::query(name.clone(), kind));
    let found = [RecordType::A, RecordType::AAAA].into_iter().filter_map(of);
    found
        .flat_map(|found| {
            found.answers().iter().filter_map(|record| record.data.ip_addr()).collect::<Vec<_>>()
        })
        .collect()
}

#[cfg(test)]
mod tests;
