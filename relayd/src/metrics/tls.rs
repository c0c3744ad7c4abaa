//! Metrics of TLS, in both directions. Must never have a row for who speaks none: no row is how one sees that.

use std::collections::BTreeMap;

use prometheus::proto::LabelPair;
use relay_core::stats::{ReceiverStats, TlsStats, UpstreamStats};

use super::page::{Page, Unit, labels};
use crate::plan::About;

/// The families of one direction: their names, and of whom their help speaks.
struct Families {
    handshake_failures: &'static str,
    reload_failures: &'static str,
    expiration: &'static str,
    peers: &'static str,
}

const OF_RECEIVERS: Families = Families {
    handshake_failures: "relayd_tls_handshake_failures",
    reload_failures: "relayd_tls_reload_failures",
    expiration: "relayd_tls_certificate_expiration_timestamp_seconds",
    peers: "senders",
};

const OF_UPSTREAMS: Families = Families {
    handshake_failures: "relayd_upstream_tls_handshake_failures",
    reload_failures: "relayd_upstream_tls_reload_failures",
    expiration: "relayd_upstream_tls_certificate_expiration_timestamp_seconds",
    peers: "the upstream",
};

/// Of each receiver that speaks TLS; `receivers` are those that listen.
pub(super) fn receivers(page: &mut Page<'_>, receivers: &[&ReceiverStats]) {
    let rows = receivers.iter().filter_map(|receiver| {
        let named = labels(&[("receiver", &receiver.name), ("transport", receiver.transport.name())]);
        Some((named, receiver.tls?))
    });
    add(page, &OF_RECEIVERS, &rows.collect::<Vec<_>>());
}

/// Of each exporter that speaks TLS; `about` and `upstreams` go in step.
pub(super) fn upstreams(page: &mut Page<'_>, about: &[About], upstreams: &[UpstreamStats]) {
    let mut exporters: BTreeMap<&str, TlsStats> = BTreeMap::new();
    for (about, upstream) in about.iter().zip(upstreams) {
        if let Some(stats) = upstream.tls {
            let sum = exporters.entry(&about.exporter).or_default();
            sum.handshake_failures += stats.handshake_failures;
            sum.reload_failures += stats.reload_failures;
            // The upstreams of an exporter read the same files, each at its own time.
            let ends = [sum.not_after_unix_seconds, stats.not_after_unix_seconds];
            sum.not_after_unix_seconds = ends.into_iter().flatten().min();
        }
    }
    let rows = exporters.into_iter().map(|(exporter, stats)| (labels(&[("exporter", exporter)]), stats));
    add(page, &OF_UPSTREAMS, &rows.collect::<Vec<_>>());
}

fn add(page: &mut Page<'_>, families: &Families, rows: &[(Vec<LabelPair>, TlsStats)]) {
    let each =
        |value: fn(&TlsStats) -> u64| rows.iter().map(move |(labels, stats)| (labels.clone(), value(stats)));
    let help = format!("TLS handshakes with {} that failed.", families.peers);
    page.counter(families.handshake_failures, &help, each(|stats| stats.handshake_failures));
    let help = "Changed certificate files that could not be taken into use; the old ones stay.";
    page.counter(families.reload_failures, help, each(|stats| stats.reload_failures));
    let ends =
        rows.iter().filter_map(|(labels, stats)| Some((labels.clone(), stats.not_after_unix_seconds?)));
    let help = "When the certificate in use ends, in seconds since 1970.";
    page.gauge(families.expiration, help, Unit::Seconds, ends);
}
