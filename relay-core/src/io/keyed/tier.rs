//! A tier as all cores see it: who its members are, what they share, and what became of batches at each. Must never send.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::config::{Destination, KeyedConfig, Members, QueueLimit};
use crate::io::export::Template;
use crate::io::resolver::{Membership, Pace, Resolver};
use crate::io::shared::{RouteConfig, UpstreamShared};
use crate::limits::{MEMBER_BATCHES_MAX, RESOLVE_INTERVAL_MIN, UPSTREAM_ADDRESSES_MAX};
use crate::queue::Lanes;
use crate::stats::{AddressStats, TierStats};
use crate::upstream::Endpoint;

/// The port of members that are known by their addresses alone (OTLP specification, "OTLP/gRPC Default Port").
const PORT: u16 = 4317;

/// Belongs to one upstream, and to no core.
pub(crate) struct Tier {
    config: KeyedConfig,
    // None for a list, which never changes.
    membership: Option<Membership>,
    // Where the names of a list lead.
    resolver: Mutex<Resolver>,
    // By their names on the ring; cores hold them.
    members: Mutex<HashMap<String, Weak<UpstreamShared>>>,
    outcomes: Mutex<BTreeMap<String, [u64; 2]>>,
}

impl Tier {
    /// The tier of `config`, whose members `resolver` finds.
    pub(crate) fn new(config: &KeyedConfig, resolver: &mut Resolver) -> Arc<Self> {
        let membership = match &config.members {
            Members::Static(list) => {
                for (_, endpoint) in list {
                    drop(resolver.watch(endpoint));
                }
                None
            }
            Members::Dns { host, port, interval, timeout } => {
                let endpoint = Endpoint::Tcp { host: host.clone(), port: port.unwrap_or(PORT) };
                let pace = Pace { interval: (*interval).max(RESOLVE_INTERVAL_MIN), timeout: *timeout };
                Some(resolver.watch_at(&endpoint, pace))
            }
        };
        Arc::new(Self {
            config: config.clone(),
            membership,
            resolver: Mutex::new(resolver.known()),
            members: Mutex::default(),
            outcomes: Mutex::default(),
        })
    }

    pub(crate) fn config(&self) -> &KeyedConfig {
        &self.config
    }

    /// Who tells that there are other members than before, if that can be.
    pub(crate) fn membership(&self) -> Option<Membership> {
        self.membership.clone()
    }

    /// The members now, by their names on the ring.
    pub(super) fn names(&self) -> Vec<(String, Endpoint)> {
        let named = |address: &SocketAddr| (self.name(*address), Endpoint::Addresses(vec![*address]));
        match (&self.config.members, &self.membership) {
            (Members::Static(list), _) => list.clone(),
            (Members::Dns { .. }, Some(membership)) => membership.current().iter().map(named).collect(),
            (Members::Dns { .. }, None) => Vec::new(),
        }
    }

    /// As the Collector writes it (loadbalancingexporter, resolver_dns.go).
    fn name(&self, address: SocketAddr) -> String {
        let ip = address.ip().to_canonical();
        let ip = if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
        match &self.config.members {
            Members::Dns { port: None, .. } => ip,
            _ => format!("{ip}:{}", address.port()),
        }
    }

    /// What the cores share of a member: `parent` is the upstream of the tier, whose books, bounds and TLS are the member's too.
    /// `None` if it cannot be set up, which `parent` itself has ruled out.
    pub(super) fn member(
        &self,
        parent: &UpstreamShared,
        (name, endpoint): (&str, &Endpoint),
    ) -> Option<Arc<UpstreamShared>> {
        let mut members = locked(&self.members);
        if let Some(known) = members.get(name).and_then(Weak::upgrade) {
            return Some(known);
        }
        members.retain(|_, member| member.strong_count() > 0);
        let mut grpc = self.config.grpc.clone();
        grpc.endpoint = endpoint.clone();
        let template = Template::new(&grpc, parent.config.signal, false).ok()?;
        let with_tls = grpc.clone();
        // Files of certificates are read once, by the parent.
        grpc.tls = None;
        let mut config = parent.config.clone();
        config.destination = Destination::Grpc(Box::new(grpc));
        config.queue = QueueLimit::Unbounded;
        let cores = parent.ledgers.len();
        let made = UpstreamShared::new(config, cores, &parent.budget, &mut locked(&self.resolver));
        let mut member = made.ok()?;
        if let Some(member) = Arc::get_mut(&mut member) {
            if let RouteConfig::Grpc(grpc, _) = &mut member.route {
                **grpc = (with_tls, template);
            }
            member.tls.clone_from(&parent.tls);
            member.counters.clone_from(&parent.counters);
            member.lanes = Lanes::new(cores, MEMBER_BATCHES_MAX);
        }
        members.insert(name.to_owned(), Arc::downgrade(&member));
        Some(member)
    }

    /// A batch has been settled at a member: taken or given up.
    pub(super) fn ended(&self, name: &str, taken: bool) {
        let mut outcomes = locked(&self.outcomes);
        if outcomes.len() >= UPSTREAM_ADDRESSES_MAX && !outcomes.contains_key(name) {
            // Pods come and go: those that have gone make room.
            let members = locked(&self.members);
            outcomes.retain(|name, _| members.get(name).is_some_and(|member| member.strong_count() > 0));
        }
        let [good, bad] = outcomes.entry(name.to_owned()).or_default();
        *(if taken { good } else { bad }) += 1;
    }

    pub(crate) fn stats(&self) -> TierStats {
        TierStats {
            is_dns: self.membership.is_some(),
            members: self.names().len(),
            outcomes: locked(&self.outcomes).clone(),
        }
    }

    /// The addresses of all members.
    pub(crate) fn addresses(&self) -> Vec<AddressStats> {
        let members: Vec<_> = locked(&self.members).values().filter_map(Weak::upgrade).collect();
        let addresses = members.iter().filter_map(|member| match &member.route {
            RouteConfig::Grpc(_, addresses) => Some(addresses.stats()),
            _ => None,
        });
        addresses.flatten().collect()
    }
}

impl fmt::Debug for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt(f)
    }
}

/// Nothing under these locks can be left half done.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
