//! The sum of the stats of several relays. Every field is named here, so that a new one cannot be forgotten: a counter that goes
//! back looks like a restart. Must never decide.

use super::{
    AddressStats, ReceiverStats, ResolutionStats, SignalStats, SpillStats, Stats, TierStats, TlsStats,
    UpstreamStats,
};

impl Stats {
    /// Adds what another relay has done and holds, for the sum over relays of one process that follow each other: receivers by name
    /// and transport, upstreams by name and signal. What was unknown is put behind; bounds are added too.
    pub fn add(&mut self, other: &Self) {
        let Self { receivers, upstreams, held_bytes, held_bytes_max, connections, deaths, connection_panics } =
            other;
        for more in receivers {
            let same =
                |known: &&mut ReceiverStats| (&known.name, known.transport) == (&more.name, more.transport);
            match self.receivers.iter_mut().find(same) {
                Some(known) => known.add(more),
                None => self.receivers.push(more.clone()),
            }
        }
        for more in upstreams {
            let same = |known: &&mut UpstreamStats| (&known.name, known.signal) == (&more.name, more.signal);
            match self.upstreams.iter_mut().find(same) {
                Some(known) => known.add(more),
                None => self.upstreams.push(more.clone()),
            }
        }
        self.held_bytes += held_bytes;
        self.held_bytes_max += held_bytes_max;
        self.connections += connections;
        for (core, death) in deaths.iter().enumerate() {
            match self.deaths.get_mut(core) {
                Some(known) => *known = known.take().or_else(|| death.clone()),
                None => self.deaths.push(death.clone()),
            }
        }
        self.connection_panics += connection_panics;
    }
}

impl ReceiverStats {
    fn add(&mut self, other: &Self) {
        let Self { name: _, transport: _, signals, rejected_requests, connections, tls } = other;
        for (sum, more) in self.signals.iter_mut().zip(signals) {
            let SignalStats {
                accepted_items,
                refused_items,
                accepted_requests,
                accepted_unopened,
                refused_unopened,
            } = more;
            sum.accepted_items += accepted_items;
            sum.refused_items += refused_items;
            sum.accepted_requests += accepted_requests;
            sum.accepted_unopened += accepted_unopened;
            sum.refused_unopened += refused_unopened;
        }
        for (sum, more) in self.rejected_requests.iter_mut().zip(rejected_requests) {
            *sum += more;
        }
        self.connections += connections;
        self.tls = TlsStats::sum(self.tls, *tls);
    }
}

impl UpstreamStats {
    fn add(&mut self, other: &Self) {
        let Self {
            name: _,
            signal: _,
            items,
            unopened,
            enqueue_failed_items,
            enqueue_failed_unopened,
            queue_batches,
            queue_batches_max,
            held_bytes,
            calls,
            attempts,
            retries,
            isolating_calls,
            isolated_requests,
            suspects,
            connects,
            addresses,
            size_triggers,
            timeout_triggers,
            batch_items,
            batch_bytes,
            tls,
            resolution,
            tier,
            call_panics,
            spill,
        } = other;
        self.items += *items;
        self.unopened += *unopened;
        self.enqueue_failed_items += enqueue_failed_items;
        self.enqueue_failed_unopened += enqueue_failed_unopened;
        self.queue_batches += queue_batches;
        self.queue_batches_max += queue_batches_max;
        self.held_bytes += held_bytes;
        self.calls += calls;
        self.attempts += attempts;
        self.retries += retries;
        self.isolating_calls += isolating_calls;
        self.isolated_requests += isolated_requests;
        self.suspects += suspects;
        self.connects += connects;
        AddressStats::add_known(&mut self.addresses, addresses);
        self.size_triggers += size_triggers;
        self.timeout_triggers += timeout_triggers;
        self.batch_items += batch_items;
        self.batch_bytes += batch_bytes;
        self.tls = TlsStats::sum(self.tls, *tls);
        self.call_panics += call_panics;
        self.tier = TierStats::sum(self.tier.take(), tier.as_ref());
        self.spill = SpillStats::sum(self.spill.take(), spill.as_ref());
        self.resolution = ResolutionStats::sum(self.resolution, *resolution);
    }
}

impl AddressStats {
    /// The addresses are those of the first, which is the newer one: what another one had beside them is in use no more.
    fn add_known(first: &mut [Self], second: &[Self]) {
        for known in first {
            let Some(more) = second.iter().find(|more| more.address == known.address) else { continue };
            let Self { address: _, is_up: _, calls, answered, failures, bytes_max: _ } = more;
            known.calls += calls;
            known.answered += answered;
            known.failures += failures;
        }
    }
}

impl TlsStats {
    /// The certificate is that of the first, which is the newer one.
    fn sum(first: Option<Self>, second: Option<Self>) -> Option<Self> {
        let Some((first, second)) = first.zip(second) else { return first.or(second) };
        Some(Self {
            handshake_failures: first.handshake_failures + second.handshake_failures,
            reload_failures: first.reload_failures + second.reload_failures,
            not_after_unix_seconds: first.not_after_unix_seconds.or(second.not_after_unix_seconds),
        })
    }
}

impl ResolutionStats {
    /// The addresses in use are those of the first, which is the newer one.
    fn sum(first: Option<Self>, second: Option<Self>) -> Option<Self> {
        let Some((first, second)) = first.zip(second) else { return first.or(second) };
        Some(Self {
            lookups: first.lookups + second.lookups,
            failures: first.failures + second.failures,
            changes: first.changes + second.changes,
            addresses: first.addresses,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::Signal;
    use crate::stats::Transport;

    fn stats(exporter: &str, delivered: u64) -> Stats {
        let mut upstream =
            UpstreamStats { name: exporter.to_owned(), retries: 1, ..UpstreamStats::default() };
        upstream.items.enqueued = delivered;
        upstream.items.delivered = delivered;
        let mut receiver =
            ReceiverStats { name: "otlp".to_owned(), connections: 2, ..ReceiverStats::default() };
        receiver.signals[0].accepted_items = delivered;
        Stats { receivers: vec![receiver], upstreams: vec![upstream], held_bytes: 5, ..Stats::default() }
    }

    /// Scenario: a relay, its successor with another exporter, and one with the first exporter again. Guarantee: what has the same
    /// name and kind is one row.
    #[test]
    fn the_same_name_is_the_same_row() {
        let mut sum = stats("a", 10);
        sum.add(&stats("b", 20));
        sum.add(&stats("a", 30));
        let mut logs = stats("a", 7);
        logs.upstreams[0].signal = Signal::Logs;
        logs.receivers[0].transport = Transport::Http;
        sum.add(&logs);
        let rows: Vec<_> = sum
            .upstreams
            .iter()
            .map(|up| (up.name.as_str(), up.signal, up.items.delivered, up.retries))
            .collect();
        let traces = Signal::Traces;
        assert_eq!(rows, [("a", traces, 40, 2), ("b", traces, 20, 1), ("a", Signal::Logs, 7, 1)]);
        let rows: Vec<_> =
            sum.receivers.iter().map(|r| (r.transport, r.accepted_items(), r.connections)).collect();
        assert_eq!(rows, [(Transport::Grpc, 60, 6), (Transport::Http, 7, 2)]);
        assert_eq!(sum.held_bytes, 20);
    }
}
