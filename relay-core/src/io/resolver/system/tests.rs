//! Against a DNS server whose messages are made by hand.

use std::net::SocketAddr;
use std::time::Duration;

use testkit::dns::DnsServer;

use super::*;

fn name_at(host: &str, server: SocketAddr) -> HostName {
    let server = NameServer { host: server.ip().to_string(), port: server.port() };
    HostName { host: host.to_owned(), server: Some(server) }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), future).await.unwrap() })
}

fn resolve(host: &str, server: &DnsServer) -> Result<Vec<IpAddr>, ResolveError> {
    let mut found = wait(SystemResolver.resolve(&name_at(host, server.address())))?;
    found.sort_unstable();
    Ok(found)
}

#[test]
fn addresses_of_both_kinds_are_found_and_nothing_is_kept() {
    let server =
        DnsServer::on_loopback("gw.example A 10.0.0.2\ngw.example A 10.0.0.1\ngw.example AAAA fd00::1");
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    assert_eq!(resolve("gw.example", &server), Ok(vec![ip("10.0.0.1"), ip("10.0.0.2"), ip("fd00::1")]));
    assert_eq!(resolve("GW.example.", &server).map(|found| found.len()), Ok(3));
    server.set("gw.example A 10.0.0.3");
    assert_eq!(resolve("gw.example", &server), Ok(vec![ip("10.0.0.3")]));
    assert_eq!(server.asked("gw.example"), 6, "A and AAAA each time");
}

/// More than fits into a datagram comes over TCP.
#[test]
fn a_large_service_is_found_whole() {
    let records: String = (0..200).map(|last| format!("gw.example A 10.0.0.{last}\n")).collect();
    let server = DnsServer::on_loopback(&records);
    assert_eq!(resolve("gw.example", &server).map(|found| found.len()), Ok(200));
}

#[test]
fn failures_are_told_apart() {
    let server = DnsServer::on_loopback("broken.example SERVFAIL\nempty.example EMPTY");
    assert_eq!(resolve("missing.example", &server), Err(ResolveError::Unknown));
    assert_eq!(resolve("empty.example", &server), Err(ResolveError::Unknown));
    assert!(matches!(resolve("broken.example", &server), Err(ResolveError::Failed(_))));
    let too_long = "x".repeat(70);
    assert!(matches!(resolve(&too_long, &server), Err(ResolveError::Failed(_))));
}

/// RFC 6761 section 6.3, or `/etc/hosts`: without any DNS server.
#[test]
fn localhost_is_this_machine() {
    let localhost = HostName { host: "localhost".to_owned(), server: None };
    let found = wait(SystemResolver.resolve(&localhost)).unwrap();
    assert!(!found.is_empty() && found.iter().all(IpAddr::is_loopback), "{found:?}");
}
