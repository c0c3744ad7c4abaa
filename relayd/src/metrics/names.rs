//! Metrics of names and of tiers: how upstreams are found, and what became of batches at each member. The tiers' have the names of the
//! Collector's load_balancing exporter (documentation.md there). Must never have more rows than there are addresses in use.

use std::collections::BTreeMap;

use relay_core::stats::{TierStats, UpstreamStats};

use super::page::{Page, Unit, labels};
use crate::plan::About;

/// Lookups of each exporter's name. Its upstreams, one for each of its pipelines, are looked up together: the first stands for all.
pub(super) fn exporters(page: &mut Page<'_>, about: &[About], upstreams: &[UpstreamStats]) {
    let mut names = BTreeMap::new();
    for (about, upstream) in about.iter().zip(upstreams) {
        if let Some(resolution) = upstream.resolution {
            names.entry(about.exporter.as_str()).or_insert(resolution);
        }
    }
    if names.is_empty() {
        return;
    }
    let of = |exporter: &&str| labels(&[("exporter", exporter)]);
    let help = "Lookups of the upstream's name.";
    page.counter("relayd_resolver_lookups", help, names.iter().map(|(name, r)| (of(name), r.lookups)));
    let help = "Lookups that failed or found no address; the addresses known before stay in use.";
    page.counter("relayd_resolver_failures", help, names.iter().map(|(name, r)| (of(name), r.failures)));
    let help = "Changes of the set of addresses.";
    page.counter("relayd_resolver_changes", help, names.iter().map(|(name, r)| (of(name), r.changes)));
    let help = "Addresses of the upstream's name.";
    let addresses = names.iter().map(|(name, r)| (of(name), r.addresses as u64));
    page.gauge("relayd_resolver_addresses", help, Unit::None, addresses);
}

/// What the members of all tiers that are found in one way add up to, as in the Collector.
#[derive(Default)]
struct Found {
    good: u64,
    bad: u64,
    updates: u64,
    members: u64,
}

impl Found {
    fn add(&mut self, tier: &TierStats, upstream: &UpstreamStats) {
        self.members += tier.members as u64;
        match upstream.resolution {
            Some(resolution) => {
                self.good += resolution.lookups.saturating_sub(resolution.failures);
                self.bad += resolution.failures;
                self.updates += resolution.changes;
            }
            // A list is looked at once.
            None => (self.good, self.updates) = (self.good + 1, self.updates + 1),
        }
    }
}

/// The members of tiers.
pub(super) fn tiers(page: &mut Page<'_>, upstreams: &[UpstreamStats]) {
    let (mut found, mut outcomes): (BTreeMap<&str, Found>, BTreeMap<&str, [u64; 2]>) = Default::default();
    for upstream in upstreams {
        let Some(tier) = &upstream.tier else { continue };
        found.entry(if tier.is_dns { "dns" } else { "static" }).or_default().add(tier, upstream);
        for (endpoint, [good, bad]) in &tier.outcomes {
            let [good_sum, bad_sum] = outcomes.entry(endpoint).or_default();
            (*good_sum, *bad_sum) = (*good_sum + good, *bad_sum + bad);
        }
    }
    if found.is_empty() {
        return;
    }
    let by = |resolver: &&str| labels(&[("resolver", resolver)]);
    let with_success =
        |resolver: &str, success: &str| labels(&[("resolver", resolver), ("success", success)]);
    let resolutions = found.iter().flat_map(|(resolver, found)| {
        [(with_success(resolver, "false"), found.bad), (with_success(resolver, "true"), found.good)]
    });
    let help = "Number of times the resolver has triggered new resolutions.";
    page.counter("otelcol_loadbalancer_num_resolutions", help, resolutions);
    let help = "Current number of backends in use.";
    let members = found.iter().map(|(resolver, found)| (by(resolver), found.members));
    page.gauge("otelcol_loadbalancer_num_backends", help, Unit::None, members);
    let help = "Number of times the list of backends was updated.";
    let updates = found.iter().map(|(resolver, found)| (by(resolver), found.updates));
    page.counter("otelcol_loadbalancer_num_backend_updates", help, updates);
    let of = |endpoint: &str, success: &str| labels(&[("endpoint", endpoint), ("success", success)]);
    let rows = outcomes
        .iter()
        .flat_map(|(endpoint, [good, bad])| [(of(endpoint, "false"), *bad), (of(endpoint, "true"), *good)]);
    let help = "Number of successes and failures for each endpoint.";
    page.counter("otelcol_loadbalancer_backend_outcome", help, rows);
}
