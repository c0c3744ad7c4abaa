//! Metrics of each address of an exporter. Must never have a row for an address that is in use no more.

use std::collections::BTreeMap;

use relay_core::stats::{AddressStats, UpstreamStats};

use super::page::{Page, Unit, labels};
use crate::plan::About;

/// Of each address of each exporter; `about` and `upstreams` go in step. The upstreams of an exporter, one for each of its pipelines,
/// are added up: it is up where all of them find it up, and takes what the least of them is known to be allowed.
pub(super) fn upstreams(page: &mut Page<'_>, about: &[About], upstreams: &[UpstreamStats]) {
    let mut sums: BTreeMap<(&str, &str), AddressStats> = BTreeMap::new();
    for (about, upstream) in about.iter().zip(upstreams) {
        for of in &upstream.addresses {
            let sum = sums
                .entry((&about.exporter, &of.address))
                .or_insert_with(|| AddressStats { is_up: true, ..AddressStats::default() });
            sum.is_up &= of.is_up;
            sum.calls += of.calls;
            sum.answered += of.answered;
            sum.failures += of.failures;
            sum.bytes_max = [sum.bytes_max, of.bytes_max].into_iter().flatten().min();
        }
    }
    let rows = |value: fn(&AddressStats) -> Option<u64>| {
        let row = |((exporter, address), sum): (&(&str, &str), &AddressStats)| {
            Some((labels(&[("address", address), ("exporter", exporter)]), value(sum)?))
        };
        sums.iter().filter_map(row).collect::<Vec<_>>()
    };
    let help = "Whether the address is used: 0 after a failure, until there is a connection to it again.";
    page.gauge("relayd_exporter_address_up", help, Unit::None, rows(|sum| Some(u64::from(sum.is_up))));
    let help = "Calls to the address that are not answered yet.";
    page.gauge("relayd_exporter_address_in_flight_calls", help, Unit::None, rows(|sum| Some(sum.calls)));
    let help = "Calls that the address has answered, with whatever status.";
    page.counter("relayd_exporter_address_answered_calls", help, rows(|sum| Some(sum.answered)));
    let help = "Times that the address failed: no connection, or no answer.";
    page.counter("relayd_exporter_address_failures", help, rows(|sum| Some(sum.failures)));
    let help = "The largest message that the address is known to take; no row while it has refused none for its size.";
    let learned = rows(|sum| sum.bytes_max.map(|bytes| bytes as u64));
    page.gauge("relayd_exporter_address_message_max", help, Unit::Bytes, learned);
}
