//! The daemon's own metrics as Prometheus text, under the Collector's names where it has one (Collector, "Internal
//! telemetry"). Made only when scraped. Must never keep a counter of its own: the relay has them all.

use std::collections::BTreeMap;

use hyper::StatusCode;
use prometheus::proto::LabelPair;
use prometheus::{Encoder, TEXT_FORMAT, TextEncoder};
use relay_core::batch::DropReason;
use relay_core::config::QueueLimit;
use relay_core::otlp::Signal;
use relay_core::stats::{ReceiverStats, RejectReason, SignalStats, Stats, Transport, UpstreamStats};

use crate::config::Metrics;
use crate::health::Life;
use crate::http::Answer;
use crate::plan::About;
use crate::{clock, process};

mod addresses;
mod names;
mod page;
mod reloads;
mod spill;
mod tls;

use page::{Page, Unit, labels};
pub(crate) use reloads::Reloads;
pub(crate) use spill::Forecast;

/// What each upstream of a scrape stands for.
#[derive(Debug)]
struct Source {
    about: Vec<About>,
}

/// What the Collector calls the items of a signal in the names of metrics.
fn unit_of(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "spans",
        Signal::Metrics => "metric_points",
        Signal::Logs => "log_records",
        Signal::Profiles => "profile_samples",
    }
}

/// The answer to a scrape; `forecast` has what earlier ones have seen.
pub(crate) fn answer(settings: &Metrics, life: &Life, reloads: &Reloads, forecast: &mut Forecast) -> Answer {
    let mut page = Page { settings, families: Vec::new() };
    let (about, stats) = life.generations().totals();
    let source = Source { about };
    let served = |signal: &Signal| stats.upstreams.iter().any(|upstream| upstream.signal == *signal);
    let signals: Vec<Signal> = Signal::ALL.into_iter().filter(served).collect();
    let embedded = |receiver: &&ReceiverStats| receiver.transport == Transport::Submit;
    let listening: Vec<&ReceiverStats> =
        stats.receivers.iter().filter(|receiver| !embedded(receiver)).collect();
    receivers(&mut page, &listening, &signals);
    for signal in signals {
        source.items(&mut page, &stats.upstreams, signal);
    }
    source.exporters(&mut page, &stats.upstreams);
    addresses::upstreams(&mut page, &source.about, &stats.upstreams);
    source.refusals(&mut page, &stats.upstreams);
    names::exporters(&mut page, &source.about, &stats.upstreams);
    names::tiers(&mut page, &stats.upstreams);
    let unix_ms = u64::try_from(clock::unix_time().as_millis()).unwrap_or(u64::MAX);
    spill::exporters(&mut page, (&source.about, &stats.upstreams), forecast, (unix_ms, clock::now()));
    tls::receivers(&mut page, &listening);
    tls::upstreams(&mut page, &source.about, &stats.upstreams);
    if source.about.iter().any(|about| about.unopened) {
        source.unopened(&mut page, &stats.upstreams, &listening);
    }
    source.batching(&mut page, &stats.upstreams);
    relay(&mut page, &stats);
    reloads::add(&mut page, reloads, life.generations().leaving());
    process_metrics(&mut page, life.uptime().as_secs_f64());
    let mut body = Vec::new();
    match TextEncoder::new().encode(&page.families, &mut body) {
        Ok(()) => Answer { status: StatusCode::OK, content_type: TEXT_FORMAT, body },
        Err(error) => Answer {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            content_type: "text/plain; charset=utf-8",
            body: format!("{error}\n").into_bytes(),
        },
    }
}

impl Source {
    /// An exporter of several pipelines has several upstreams; its metrics are their sums.
    fn sums<'a, 'u, K: Ord>(
        &'a self,
        upstreams: impl Iterator<Item = &'u UpstreamStats>,
        key: impl Fn(&'a About, &UpstreamStats) -> Option<K>,
        value: impl Fn(&UpstreamStats) -> u64,
    ) -> BTreeMap<K, u64> {
        let mut sums = BTreeMap::new();
        for (about, upstream) in self.about.iter().zip(upstreams) {
            if let Some(key) = key(about, upstream) {
                *sums.entry(key).or_default() += value(upstream);
            }
        }
        sums
    }

    /// What became of the items of one signal.
    fn items(&self, page: &mut Page<'_>, upstreams: &[UpstreamStats], signal: Signal) {
        type Value = fn(&UpstreamStats) -> u64;
        let (unit, items) = (unit_of(signal), signal.items());
        let counters: [(&str, &str, Value); 3] = [
            ("sent", "that the upstream accepted", |u| u.items.delivered),
            ("send_failed", "given up after they were queued", |u| {
                u.items.dropped_total() - u.items.dropped_for(DropReason::QueueFull)
            }),
            // Refused back to their sender, or taken by other exporters alone.
            ("enqueue_failed", "that found the queue full", |u| {
                u.enqueue_failed_items + u.items.dropped_for(DropReason::QueueFull)
            }),
        ];
        let of_signal = |about: &'_ About, upstream: &UpstreamStats| {
            (upstream.signal == signal).then(|| about.exporter.clone())
        };
        for (name, help, value) in counters {
            let sums = self.sums(upstreams.iter(), of_signal, value);
            let rows = sums.into_iter().map(|(exporter, sum)| (labels(&[("exporter", &exporter)]), sum));
            page.counter(
                &format!("otelcol_exporter_{name}_{unit}"),
                &format!("Number of {items} {help}."),
                rows,
            );
        }
        let rejected = |u: &UpstreamStats| u.items.dropped_for(DropReason::PartialSuccess);
        let rows = self.sums(upstreams.iter(), of_signal, rejected).into_iter();
        let rows = rows.map(|(exporter, sum)| (labels(&[("exporter", &exporter)]), sum));
        let help = format!("Number of {items} that the upstream rejected in a partial success.");
        page.counter(&format!("relayd_exporter_rejected_{unit}"), &help, rows);
        let mut rows = Vec::new();
        for reason in DropReason::ALL {
            let sums = self.sums(upstreams.iter(), of_signal, |u| u.items.dropped_for(reason));
            let row = |(exporter, sum): (String, u64)| {
                (labels(&[("exporter", &exporter), ("reason", reason.name())]), sum)
            };
            rows.extend(sums.into_iter().map(row));
        }
        let help = format!("Number of {items} given up after they were accepted, by reason.");
        page.counter(&format!("relayd_dropped_{unit}"), &help, rows);
    }

    /// What the upstreams refuse for good, and what it costs to find it.
    fn refusals(&self, page: &mut Page<'_>, upstreams: &[UpstreamStats]) {
        type Value = fn(&UpstreamStats) -> u64;
        let counters: [(&str, &str, Value); 2] = [
            (
                "relayd_exporter_isolating_calls",
                "Calls that isolated what the upstream refuses for good, or carried what suspects had sent.",
                |u| u.isolating_calls,
            ),
            (
                "relayd_exporter_isolated_requests",
                "Requests that the upstream refused for good alone.",
                |u| u.isolated_requests,
            ),
        ];
        let exporter = |about: &'_ About, _: &UpstreamStats| Some(about.exporter.clone());
        for (name, help, value) in counters {
            let sums = self.sums(upstreams.iter(), exporter, value);
            let rows = sums.into_iter().map(|(exporter, sum)| (labels(&[("exporter", &exporter)]), sum));
            page.counter(name, help, rows);
        }
        let suspects = self.sums(upstreams.iter(), exporter, |u| u.suspects as u64);
        let rows = suspects.into_iter().map(|(exporter, sum)| (labels(&[("exporter", &exporter)]), sum));
        let help = "Connections of senders whose requests are kept apart, because the upstream has refused one for good.";
        page.gauge("relayd_exporter_suspects", help, Unit::None, rows);
    }

    /// How full the queues are, in what bounds them. The documented alert divides one by the other, and must see what
    /// makes relayd refuse: that is bytes, or items where `sending_queue.sizer` is items.
    fn queues(&self, page: &mut Page<'_>, upstreams: &[UpstreamStats]) {
        let mut sizes: BTreeMap<(&str, &str), (u64, u64)> = BTreeMap::new();
        for (about, upstream) in self.about.iter().zip(upstreams) {
            let (size, capacity) = match about.queue {
                // What is on disk alone is not in the queue that the bound is for.
                QueueLimit::Items(max) => (upstream.items.held().saturating_sub(upstream.items.on_disk), max),
                QueueLimit::Bytes(max) => (upstream.held_bytes as u64, max.min(about.held_bytes_max)),
                QueueLimit::Unbounded | QueueLimit::Requests(_) => {
                    (upstream.held_bytes as u64, about.held_bytes_max)
                }
            };
            let sum = sizes.entry((upstream.signal.name(), about.exporter.as_str())).or_default();
            *sum = (sum.0 + size, sum.1 + capacity as u64);
        }
        let size = sizes.iter().map(|(key, (size, _))| (of_data(*key), *size));
        let help = "What is held for the upstream: bytes, or items where sending_queue.sizer is items.";
        page.gauge("otelcol_exporter_queue_size", help, Unit::None, size);
        let capacity = sizes.iter().map(|(key, (_, capacity))| (of_data(*key), *capacity));
        let help = "What may be held for the upstream, in the same unit.";
        page.gauge("otelcol_exporter_queue_capacity", help, Unit::None, capacity);
    }

    fn exporters(&self, page: &mut Page<'_>, upstreams: &[UpstreamStats]) {
        type Value = fn(&UpstreamStats) -> u64;
        let counters: [(&str, &str, Value); 3] = [
            ("relayd_call_panics", "Calls to the upstream that ended by a panic.", |u| u.call_panics),
            ("relayd_upstream_connects", "Connections made to the upstream.", |u| u.connects),
            ("relayd_upstream_retries", "Attempts to send that were repeated.", |u| u.retries),
        ];
        let exporter = |about: &'_ About, _: &UpstreamStats| Some(about.exporter.clone());
        for (name, help, value) in counters {
            let sums = self.sums(upstreams.iter(), exporter, value);
            let rows = sums.into_iter().map(|(exporter, sum)| (labels(&[("exporter", &exporter)]), sum));
            page.counter(name, help, rows);
        }
        self.queues(page, upstreams);
        let key =
            |about: &'_ About, u: &UpstreamStats| Some((u.signal.name().to_owned(), about.exporter.clone()));
        let calls = self.sums(upstreams.iter(), key, |u| u.calls);
        let rows = calls.iter().map(|((signal, exporter), calls)| (of_data((signal, exporter)), *calls));
        let help = "Calls to the upstream that are not answered yet.";
        page.gauge("otelcol_exporter_in_flight_requests", help, Unit::None, rows);
        let waiting = self.sums(upstreams.iter(), exporter, |u| u.queue_batches as u64);
        let rows = waiting.into_iter().map(|(exporter, sum)| (labels(&[("exporter", &exporter)]), sum));
        page.gauge("relayd_waiting_batches", "Sealed batches that no call has taken yet.", Unit::None, rows);
    }

    /// Requests that are forwarded unopened: their items are in no other count.
    fn unopened(&self, page: &mut Page<'_>, upstreams: &[UpstreamStats], receivers: &[&ReceiverStats]) {
        let accepted = receivers.iter().map(|receiver| {
            let sum = receiver.signals.iter().map(|of| of.accepted_unopened).sum();
            (labels(&[("receiver", &receiver.name), ("transport", receiver.transport.name())]), sum)
        });
        let help = "Requests that were acknowledged without being opened; their items are not counted.";
        page.counter("relayd_accepted_unopened_requests", help, accepted);
        let key = |about: &'_ About, _: &UpstreamStats| about.unopened.then(|| about.exporter.clone());
        let sent = self.sums(upstreams.iter(), key, |u| u.unopened.delivered);
        let rows = sent.into_iter().map(|(exporter, sum)| (labels(&[("exporter", &exporter)]), sum));
        page.counter("relayd_sent_unopened_requests", "Of those, requests that the upstream accepted.", rows);
        let mut rows = Vec::new();
        for reason in DropReason::ALL {
            let sums = self.sums(upstreams.iter(), key, |u| u.unopened.dropped_for(reason));
            let row = |(exporter, sum): (String, u64)| {
                (labels(&[("exporter", &exporter), ("reason", reason.name())]), sum)
            };
            rows.extend(sums.into_iter().map(row));
        }
        page.counter("relayd_dropped_unopened_requests", "Of those, requests given up, by reason.", rows);
    }

    fn batching(&self, page: &mut Page<'_>, upstreams: &[UpstreamStats]) {
        type Value = fn(&UpstreamStats) -> u64;
        let counters: [(&str, &str, Value); 2] = [
            ("otelcol_processor_batch_batch_size_trigger_send", "Batches sent because of their size.", |u| {
                u.size_triggers
            }),
            ("otelcol_processor_batch_timeout_trigger_send", "Batches sent because of their age.", |u| {
                u.timeout_triggers
            }),
        ];
        for (name, help, value) in counters {
            let sums = self.sums(upstreams.iter(), |about, _| about.processor.clone(), value);
            let rows = sums.into_iter().map(|(processor, sum)| (labels(&[("processor", &processor)]), sum));
            page.counter(name, help, rows);
        }
    }
}

fn of_data((signal, exporter): (&str, &str)) -> Vec<LabelPair> {
    labels(&[("data_type", signal), ("exporter", exporter)])
}

fn receivers(page: &mut Page<'_>, receivers: &[&ReceiverStats], signals: &[Signal]) {
    let named = |receiver: &ReceiverStats| {
        labels(&[("receiver", &receiver.name), ("transport", receiver.transport.name())])
    };
    type Value = fn(SignalStats) -> u64;
    let counters: [(&str, &str, Value); 2] = [
        ("accepted", "that were acknowledged to their sender", |of| of.accepted_items),
        ("refused", "of well-formed requests that were answered with an error", |of| of.refused_items),
    ];
    for signal in signals {
        for (name, help, value) in counters {
            let rows = receivers.iter().map(|receiver| (named(receiver), value(receiver.of(*signal))));
            let name = format!("otelcol_receiver_{name}_{}", unit_of(*signal));
            page.counter(&name, &format!("Number of {} {help}.", signal.items()), rows);
        }
    }
    let accepted = receivers.iter().map(|receiver| (named(receiver), receiver.accepted_requests()));
    page.counter("relayd_accepted_requests", "Requests that were acknowledged.", accepted);
    let connections = receivers.iter().map(|receiver| (named(receiver), receiver.connections));
    page.counter("relayd_accepted_connections", "Connections of senders.", connections);
    let rejected = receivers.iter().flat_map(|receiver| {
        let reasons = RejectReason::ALL.into_iter().zip(receiver.rejected_requests);
        reasons.map(|(reason, count)| {
            let (name, transport) = (receiver.name.as_str(), receiver.transport.name());
            (labels(&[("reason", reason.name()), ("receiver", name), ("transport", transport)]), count)
        })
    });
    let help = "Requests that were answered with an error, by reason.";
    page.counter("relayd_rejected_requests", help, rejected);
}

fn relay(page: &mut Page<'_>, stats: &Stats) {
    let one = |value: usize| [(Vec::new(), value as u64)];
    page.gauge("relayd_held_bytes", "Bytes of memory held in all.", Unit::Bytes, one(stats.held_bytes));
    let help = "The bound on held bytes; above it requests are refused.";
    page.gauge("relayd_held_bytes_max", help, Unit::None, one(stats.held_bytes_max));
    page.gauge("relayd_connections", "Open connections of senders.", Unit::None, one(stats.connections));
    let dead = stats.deaths.iter().enumerate();
    let dead = dead.map(|(core, why)| (labels(&[("core", &core.to_string())]), u64::from(why.is_some())));
    page.gauge("relayd_core_dead", "1 for a core that has died.", Unit::None, dead);
    let help = "Connections of senders that ended by a panic.";
    page.counter("relayd_connection_panics", help, [(Vec::new(), stats.connection_panics)]);
}

fn process_metrics(page: &mut Page<'_>, uptime_seconds: f64) {
    let usage = process::usage();
    let help = "Seconds since the start.";
    page.family(
        "otelcol_process_uptime",
        help,
        Unit::Seconds,
        Some(vec![(Vec::new(), uptime_seconds)]),
        true,
    );
    let cpu = usage.cpu_seconds.map(|seconds| vec![(Vec::new(), seconds)]);
    let help = "CPU time, user and system.";
    page.family("otelcol_process_cpu_seconds", help, Unit::Seconds, cpu, true);
    #[expect(clippy::cast_precision_loss, reason = "Prometheus knows only doubles")]
    let rss = usage.resident_bytes.map(|bytes| vec![(Vec::new(), bytes as f64)]);
    page.family("otelcol_process_memory_rss", "Resident memory.", Unit::Bytes, rss, false);
}

#[cfg(test)]
mod tests;
