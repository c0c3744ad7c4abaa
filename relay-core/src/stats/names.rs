//! How upstreams are found, and the members of tiers: what a snapshot says of them, and its sum over relays that follow each other.

use std::collections::BTreeMap;

/// The members among which the spans of one upstream are shared out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TierStats {
    /// Whether they are found by DNS; else they are those of a list.
    pub is_dns: bool,
    /// Members now.
    pub members: usize,
    /// For each member by its name on the ring: batches that it has taken, and batches that were given up.
    pub outcomes: BTreeMap<String, [u64; 2]>,
}

/// Lookups of the name of one upstream. Upstreams of the same name are looked up together, and each shows the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResolutionStats {
    /// Lookups begun.
    pub lookups: u64,
    /// Of those, the ones that failed or found no address; the addresses known before stay in use.
    pub failures: u64,
    /// Changes of the set of addresses, the first one included.
    pub changes: u64,
    /// Addresses in use.
    pub addresses: usize,
}

impl TierStats {
    /// The members are those of the first, which is the newer one; what others had beside them has left.
    pub(super) fn sum(first: Option<Self>, second: Option<&Self>) -> Option<Self> {
        let (Some(mut sum), Some(second)) = (first.clone(), second) else {
            return first.or_else(|| second.cloned());
        };
        for (member, [taken, lost]) in &second.outcomes {
            let [all_taken, all_lost] = sum.outcomes.entry(member.clone()).or_default();
            (*all_taken, *all_lost) = (*all_taken + taken, *all_lost + lost);
        }
        Some(sum)
    }
}
