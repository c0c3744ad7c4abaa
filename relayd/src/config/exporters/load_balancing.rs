//! `exporters.load_balancing` (opentelemetry-collector-contrib, loadbalancingexporter, also `loadbalancing`): spans go to the member of a
//! tier that has their trace or service. Must never resolve a name.

use std::time::Duration;

use relay_core::config::Members;
use relay_core::edit::RoutingKey;
use relay_core::upstream::Endpoint;

use super::compression::Passthrough;
use super::grpc::{self, OtlpExporter};
use crate::config::extensions::Extensions;
use crate::config::node::Value;
use crate::config::queue;
use crate::config::section::Section;
use crate::config::storage;

/// What `port` is where it is not said, and what a hostname gets that has none.
const PORT: u16 = 4317;

/// OTLP over gRPC to the members of a tier.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadBalancingExporter {
    /// `protocol.otlp`, with `timeout`, `retry_on_failure` and `sending_queue` of the exporter itself where those are given. Its endpoint
    /// is not used.
    pub otlp: OtlpExporter,
    /// `routing_key`. Default traceID.
    pub key: RoutingKey,
    /// `resolver.static` or `resolver.dns`.
    pub members: Members,
}

const KEYS: [(&str, Option<RoutingKey>); 6] = [
    ("traceID", Some(RoutingKey::TraceId)),
    ("service", Some(RoutingKey::Service)),
    ("metric", None),
    ("resource", None),
    ("streamID", None),
    ("attributes", None),
];

/// Reads the exporter. `None` if an error was recorded that leaves nobody to send to.
pub(super) fn read(mut section: Section<'_>, extensions: &Extensions) -> Option<LoadBalancingExporter> {
    let key = read_key(&mut section);
    let members = section.section("resolver").and_then(read_resolver);
    if members.is_none() && section.value("resolver").is_none() {
        section.error("resolver", "expected one: static with hostnames, or dns with a hostname");
    }
    let otlp = match section.section("protocol") {
        Some(mut protocol) => {
            let otlp = protocol.section("otlp").map(|mut otlp| {
                storage::refuse_in_queue_of(&mut otlp);
                grpc::read_member(otlp, extensions)
            });
            protocol.finish();
            otlp
        }
        None => None,
    };
    let Some(mut otlp) = otlp else {
        section.error(
            "protocol",
            "expected the settings of the members, as in protocol: {otlp: {tls: {insecure: true}}}",
        );
        section.finish();
        return None;
    };
    // One queue for all members; as in the Collector, that is the exporter's own if there is one.
    if let Some(timeout) = section.duration("timeout") {
        otlp.timeout = (!timeout.is_zero()).then_some(timeout);
    }
    if let Some(retry) = section.section("retry_on_failure") {
        otlp.retry = queue::read_retry(retry, queue::Statuses::Grpc);
    }
    storage::refuse_in_queue_of(&mut section);
    if let Some(own) = section.section("sending_queue") {
        otlp.queue = queue::read_queue(own, extensions);
    }
    if otlp.passthrough != Passthrough::Off {
        let what = "a request that is not opened cannot be taken apart by trace; remove it";
        section.error("protocol.otlp.compressed_passthrough", what);
    }
    section.finish();
    Some(LoadBalancingExporter { otlp, key, members: members? })
}

fn read_key(section: &mut Section<'_>) -> RoutingKey {
    let chosen = section.choice("routing_key", &KEYS);
    section.refuse(
        "routing_attributes",
        "relayd routes by traceID and service; use one of them, or a gateway Collector",
    );
    match chosen {
        Some(Some(key)) => key,
        Some(None) => {
            let what = "relayd routes by traceID and service; use one of them, or send to a Collector that has this key";
            section.error("routing_key", what);
            RoutingKey::default()
        }
        None => RoutingKey::default(),
    }
}

fn read_resolver(mut section: Section<'_>) -> Option<Members> {
    const HEADLESS: &str = "use dns with the name of a headless service";
    section.refuse("k8s", HEADLESS);
    section.refuse("aws_cloud_map", "use dns: a Cloud Map service with DNS is found by its name");
    let list = section.section("static").map(read_static);
    let dns = section.section("dns").map(read_dns);
    let members = match (list, dns) {
        (Some(_), Some(_)) => {
            section.error("", "only one resolver may be given: static or dns");
            None
        }
        (Some(members), None) | (None, Some(members)) => members,
        (None, None) => {
            let refused = section.value("k8s").is_some() || section.value("aws_cloud_map").is_some();
            if !refused {
                section.error("", "expected one: static with hostnames, or dns with a hostname");
            }
            None
        }
    };
    section.finish();
    members
}

/// The name on the ring is the text as it stands, and 4317 is the port where it has none (loadbalancer.go, endpointWithPort).
fn read_static(mut section: Section<'_>) -> Option<Members> {
    let hostnames = section.texts("hostnames").unwrap_or_default();
    let mut members = Vec::new();
    for hostname in hostnames.iter().filter(|hostname| !hostname.is_empty()) {
        let with_port =
            if hostname.contains(':') { (*hostname).to_owned() } else { format!("{hostname}:{PORT}") };
        match Endpoint::parse(&with_port) {
            Ok(endpoint) => members.push(((*hostname).to_owned(), endpoint)),
            Err(error) => section.error("hostnames", error.to_string()),
        }
    }
    if members.is_empty() {
        section.error("hostnames", "expected at least one, as in [gateway-1:4317, gateway-2:4317]");
    }
    // In any order the ring is the same.
    members.sort_by(|(a, _), (b, _)| a.cmp(b));
    section.finish();
    (!members.is_empty()).then_some(Members::Static(members))
}

fn read_dns(mut section: Section<'_>) -> Option<Members> {
    let host = section.text("hostname").filter(|host| !host.is_empty()).map(str::to_owned);
    if host.is_none() {
        section.error("hostname", "expected a name, as in otel-gateway-headless.observability");
    }
    let port = match section.value("port").map(|node| (&node.value, node.as_text())) {
        None | Some((_, Some(""))) => Ok(None),
        Some((Value::Int(port), _)) => u16::try_from(*port).map(Some).map_err(|_| ()),
        Some((_, Some(text))) => text.parse().map(Some).map_err(|_| ()),
        Some(_) => Err(()),
    };
    let port = match port {
        Ok(Some(0)) | Err(()) => {
            section.error("port", "expected a port from 1 to 65535");
            None
        }
        Ok(port) => port,
    };
    let mut duration =
        |key, default| section.duration(key).filter(|given| !given.is_zero()).unwrap_or(default);
    let interval = duration("interval", Duration::from_secs(5));
    let timeout = duration("timeout", Duration::from_secs(1));
    section.finish();
    Some(Members::Dns { host: host?, port, interval, timeout })
}
