//! The consistent hash ring of the Collector's load_balancing exporter (opentelemetry-collector-contrib v0.161,
//! exporter/loadbalancingexporter/consistent_hashing.go), position for position: relayd and Collectors in one tier must send a trace
//! to the same member. Must never differ from it, however well another ring would spread.

use std::collections::HashSet;

/// Positions on the ring (`maxPositions`).
const POSITIONS: u32 = 131_071;

/// Points of each member (`defaultWeight`).
const POINTS_PER_MEMBER: u32 = 200;

/// Positions that are looked at, one after the other, for a point whose own is taken (`linearProbeLimit`).
const PROBES_MAX: u32 = 10;

/// Which member has which keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ring {
    // Ascending by position, each position once; with the member's place in the list that the ring was made of.
    points: Vec<(u32, usize)>,
}

impl Ring {
    /// The ring of `members`, by the names that the Collector gives them: as configured for a static list, `ip:port` with IPv6 in
    /// brackets for addresses of DNS. Their order does not matter.
    pub fn new<S: AsRef<str>>(members: &[S]) -> Self {
        let mut candidates: Vec<(u32, u32, &str, usize)> = Vec::new();
        for (at, member) in members.iter().enumerate() {
            let name = member.as_ref();
            candidates.extend((0..POINTS_PER_MEMBER).map(|point| {
                let mut hasher = crc32fast::Hasher::new();
                hasher.update(name.as_bytes());
                hasher.update(&point.to_le_bytes());
                let hash = hasher.finalize();
                (hash % POSITIONS, hash, name, at)
            }));
        }
        candidates.sort_unstable();
        let mut taken = HashSet::new();
        let mut points: Vec<(u32, usize)> = Vec::with_capacity(candidates.len());
        for (position, _, _, at) in candidates {
            let mut free = (0..PROBES_MAX).map(|probe| (position + probe) % POSITIONS);
            // Not even in the tenth place: the member has one point less.
            if let Some(position) = free.find(|position| !taken.contains(position)) {
                taken.insert(position);
                points.push((position, at));
            }
        }
        points.sort_unstable();
        Self { points }
    }

    /// The member that has `key`, by its place in the list; `None` if there is no member.
    pub fn member(&self, key: &[u8]) -> Option<usize> {
        let position = crc32fast::hash(key) % POSITIONS;
        let next = self.points.partition_point(|(point, _)| *point < position);
        self.points.get(next).or_else(|| self.points.first()).map(|(_, member)| *member)
    }
}

#[cfg(test)]
mod tests;
