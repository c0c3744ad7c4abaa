//! One lookup for whoever must know before there is a relay: what to listen on, whom to ask. Must never be used where data flows:
//! it blocks.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use super::membership::literal;
use super::{Resolve, ResolveError, SystemResolver};
use crate::upstream::HostName;

/// All addresses of `host` with `port`, found as those of upstreams are: an address that is written out at once (an IPv6 one
/// perhaps with a zone), a name by `/etc/hosts`, then by the DNS servers of `/etc/resolv.conf` within `within`. Not empty. Blocks;
/// may be called inside a runtime. libc's `getaddrinfo` is not asked: a static binary has no working one.
///
/// # Errors
/// Why there is no address.
pub fn lookup(host: &str, port: u16, within: Duration) -> Result<Vec<SocketAddr>, ResolveError> {
    if let Some(known) = literal(host, port) {
        return if known.is_empty() { Err(ResolveError::Unknown) } else { Ok(known) };
    }
    let failed = |error: std::io::Error| ResolveError::Failed(error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let asked = SystemResolver.resolve(&HostName { host: host.to_owned(), server: None });
    let (answer, answered) = mpsc::sync_channel(1);
    // A thread of its own: a runtime cannot block inside another one.
    let work = move || {
        let found = runtime.block_on(async move { tokio::time::timeout(within, asked).await });
        // Nobody waits any more only if the caller has panicked.
        answer.send(found.unwrap_or(Err(ResolveError::TimedOut))).ok();
        runtime.shutdown_background();
    };
    std::thread::Builder::new().name("relay-lookup".to_owned()).spawn(work).map_err(failed)?;
    let gone = || ResolveError::Failed("the lookup has panicked".to_owned());
    let found = answered.recv().unwrap_or_else(|_| Err(gone()))?;
    if found.is_empty() {
        return Err(ResolveError::Unknown);
    }
    Ok(found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(500);

    /// Guarantee: what is written out, and what `/etc/hosts` or RFC 6761 says, needs no server; an unknown name and an unknown
    /// interface are errors within the time; a runtime around it does no harm.
    #[tokio::test]
    async fn finds_addresses_inside_a_runtime() {
        assert_eq!(lookup("10.0.0.1", 1, SOON).unwrap(), ["10.0.0.1:1".parse().unwrap()]);
        assert_eq!(lookup("::1", 2, SOON).unwrap(), ["[::1]:2".parse().unwrap()]);
        let local = lookup("localhost", 3, SOON).unwrap();
        assert!(local.iter().all(|at| at.ip().is_loopback() && at.port() == 3) && !local.is_empty());
        assert!(lookup("nobody.invalid", 4, SOON).is_err());
        assert_eq!(lookup("fe80::1%nothing0", 4, SOON), Err(ResolveError::Unknown));
        let by_name = lookup("fe80::1%lo", 5, SOON).unwrap();
        assert_eq!(by_name, lookup("fe80::1%1", 5, SOON).unwrap(), "lo is the first interface");
    }
}
