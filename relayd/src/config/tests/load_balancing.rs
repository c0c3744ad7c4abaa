//! The exporter `load_balancing`: what it takes, and what it says of what it does not.

use std::time::Duration;

use relay_core::config::Members;
use relay_core::edit::RoutingKey;
use relay_core::upstream::Endpoint;

use super::{Fake, errors};
use crate::config::ExporterKind;
use crate::config::exporters::LoadBalancingExporter;

fn file(exporter: &str, signal: &str) -> String {
    format!(
        "receivers: {{otlp: {{protocols: {{grpc: {{}}}}}}}}\nexporters:\n  load_balancing: {exporter}\nservice: {{pipelines: \
         {{{signal}: {{receivers: [otlp], exporters: [load_balancing]}}}}}}\n"
    )
}

fn read(exporter: &str) -> (LoadBalancingExporter, Vec<String>) {
    let (config, notices) = Fake::default().file("agent.yaml", file(exporter, "traces")).load().unwrap();
    let ExporterKind::LoadBalancing(tier) = config.exporters[0].kind.clone() else { panic!("{config:?}") };
    (*tier, notices.iter().map(|notice| notice.problem.to_string()).collect())
}

#[test]
fn defaults_are_the_collectors() {
    let (tier, _) = read("{protocol: {otlp: {}}, resolver: {dns: {hostname: gateways}}}");
    let dns = Members::Dns {
        host: "gateways".to_owned(),
        port: None,
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(1),
    };
    assert_eq!((tier.key, tier.members), (RoutingKey::TraceId, dns));
    assert!(tier.otlp.tls.is_some() && tier.otlp.queue.is_some() && tier.otlp.retry.enabled);
    assert_eq!(tier.otlp.timeout, Some(Duration::from_secs(5)));
}

/// Keys of the exporter go before those of its protocol; a port may be a text or a number.
#[test]
fn every_key_is_read() {
    let exporter = "{routing_key: service, timeout: 2s, retry_on_failure: {enabled: false}, sending_queue: {num_consumers: 3},
        protocol: {otlp: {endpoint: 'x:1', tls: {insecure: true}, compression: none, timeout: 9s, balancer_name: pick_first,
          sending_queue: {num_consumers: 8}}},
        resolver: {dns: {hostname: gateways, port: '4319', interval: 1m, timeout: 3s}}}";
    let (tier, notices) = read(exporter);
    assert_eq!((tier.key, tier.otlp.timeout), (RoutingKey::Service, Some(Duration::from_secs(2))));
    assert!(!tier.otlp.retry.enabled && tier.otlp.tls.is_none());
    assert_eq!(tier.otlp.queue.map(|queue| queue.num_consumers), Some(3));
    let (interval, timeout) = (Duration::from_secs(60), Duration::from_secs(3));
    let dns = Members::Dns { host: "gateways".to_owned(), port: Some(4319), interval, timeout };
    assert_eq!(tier.members, dns);
    assert!(
        notices.iter().any(|notice| notice.contains("the members are those of the resolver")),
        "{notices:?}"
    );
    let (tier, _) = read("{protocol: {otlp: {}}, resolver: {dns: {hostname: gateways, port: 4319}}}");
    assert!(matches!(tier.members, Members::Dns { port: Some(4319), .. }));
}

/// The text is the name on the ring, whatever its port.
#[test]
fn hostnames_keep_their_names() {
    let (tier, _) =
        read("{protocol: {otlp: {}}, resolver: {static: {hostnames: ['gw-b', 'gw-a:4319', '10.0.0.1:1']}}}");
    let at = |name: &str, endpoint: &str| (name.to_owned(), Endpoint::parse(endpoint).unwrap());
    let expected =
        vec![at("10.0.0.1:1", "10.0.0.1:1"), at("gw-a:4319", "gw-a:4319"), at("gw-b", "gw-b:4317")];
    assert_eq!(tier.members, Members::Static(expected));
}

#[test]
fn what_is_wrong_is_said_with_the_way_out() {
    let dns = "resolver: {dns: {hostname: gateways}}";
    let table = [
        (format!("{{{dns}}}"), "protocol: expected the settings of the members"),
        ("{protocol: {otlp: {}}}".to_owned(), "resolver: expected one: static with hostnames, or dns"),
        (
            "{protocol: {otlp: {}}, resolver: {}}".to_owned(),
            "resolver: expected one: static with hostnames, or dns",
        ),
        (
            "{protocol: {otlp: {}}, resolver: {k8s: {service: gw}}}".to_owned(),
            "resolver.k8s: not supported: use dns with the name of a headless service",
        ),
        (
            "{protocol: {otlp: {}}, resolver: {aws_cloud_map: {service_name: gw}}}".to_owned(),
            "resolver.aws_cloud_map: not supported: use dns",
        ),
        (
            "{protocol: {otlp: {}}, resolver: {dns: {hostname: a}, static: {hostnames: [b]}}}".to_owned(),
            "only one resolver may be given",
        ),
        (
            "{protocol: {otlp: {}}, resolver: {static: {hostnames: []}}}".to_owned(),
            "resolver.static.hostnames: expected at least one",
        ),
        (
            "{protocol: {otlp: {}}, resolver: {dns: {hostname: a, port: 0}}}".to_owned(),
            "resolver.dns.port: expected a port from 1 to 65535",
        ),
        ("{protocol: {otlp: {}}, resolver: {dns: {}}}".to_owned(), "resolver.dns.hostname: expected a name"),
        (
            format!("{{routing_key: streamID, protocol: {{otlp: {{}}}}, {dns}}}"),
            "routing_key: relayd routes by traceID and service",
        ),
        (
            format!("{{routing_key: x, protocol: {{otlp: {{}}}}, {dns}}}"),
            "routing_key: expected one of traceID",
        ),
        (
            format!("{{protocol: {{otlp: {{compressed_passthrough: alone}}}}, {dns}}}"),
            "protocol.otlp.compressed_passthrough: a request that is not opened",
        ),
        (format!("{{protocol: {{otlp: {{}}}}, {dns}, x: 1}}"), "x: unknown key"),
    ];
    for (exporter, expected) in table {
        let found = errors(Fake::default().file("agent.yaml", file(&exporter, "traces")).load());
        let [error] = found.as_slice() else { panic!("{exporter}: {found:?}") };
        assert!(
            error.contains(&format!("exporters.load_balancing.{expected}")) || error.contains(expected),
            "{error}"
        );
    }
}

#[test]
fn it_is_for_traces() {
    let exporter = "{protocol: {otlp: {}}, resolver: {dns: {hostname: gateways}}}";
    let found = errors(Fake::default().file("agent.yaml", file(exporter, "logs")).load());
    assert!(found.len() == 1 && found[0].contains("shares out traces alone; send logs by otlp"), "{found:?}");
}
