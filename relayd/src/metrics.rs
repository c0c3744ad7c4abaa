//! The daemon's own metrics as Prometheus text, under the Collector's names where it has one (Collector, "Internal
//! telemetry"). Made only when scraped. Must never keep a counter of its own: the relay has them all.

use std::collections::BTreeMap;
use std::rc::Rc;

use hyper::StatusCode;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Encoder, TEXT_FORMAT, TextEncoder};
use relay_core::batch::DropReason;
use relay_core::config::QueueLimit;
use relay_core::stats::{ReceiverStats, RejectReason, Stats, UpstreamStats};

use crate::config::Metrics;
use crate::health::Life;
use crate::http::Answer;
use crate::plan::About;
use crate::process;

/// Where a scrape's answer comes from.
#[derive(Debug)]
pub(crate) struct Source {
    receivers: usize,
    /// What each upstream stands for.
    about: Vec<About>,
    settings: Metrics,
    life: Rc<Life>,
}

/// What the unit of a metric is called at the end of its name, if `without_units` is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    None,
    Bytes,
    Seconds,
}

impl Source {
    /// A source for the relay behind `life`, which has so many receivers and upstreams that stand for `about`.
    pub(crate) fn new(receivers: usize, about: Vec<About>, settings: &Metrics, life: &Rc<Life>) -> Self {
        Self { receivers, about, settings: settings.clone(), life: Rc::clone(life) }
    }

    /// The answer to a scrape.
    pub(crate) fn answer(&self) -> Answer {
        let mut page = Page { settings: &self.settings, families: Vec::new() };
        let stats = self.life.stats().stats();
        receivers(&mut page, stats.receivers.get(..self.receivers).unwrap_or_default());
        self.exporters(&mut page, &stats.upstreams);
        self.batching(&mut page, &stats.upstreams);
        relay(&mut page, &stats);
        process_metrics(&mut page, self.life.uptime().as_secs_f64());
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

    /// An exporter of several pipelines has several upstreams; its metrics are their sums.
    fn sums(
        &self,
        upstreams: &[UpstreamStats],
        value: impl Fn(&UpstreamStats) -> u64,
    ) -> BTreeMap<&str, u64> {
        let mut sums = BTreeMap::new();
        for (about, upstream) in self.about.iter().zip(upstreams) {
            *sums.entry(about.exporter.as_str()).or_default() += value(upstream);
        }
        sums
    }

    /// How full the queues are, in what bounds them. The documented alert divides one by the other, and must see what
    /// makes relayd refuse: that is bytes, or spans where `sending_queue.sizer` is items.
    fn queues(&self, page: &mut Page<'_>, upstreams: &[UpstreamStats]) {
        let mut sizes: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for (about, upstream) in self.about.iter().zip(upstreams) {
            let (size, capacity) = match about.queue {
                QueueLimit::Items(max) => (upstream.items.held(), max),
                QueueLimit::Bytes(max) => (upstream.held_bytes as u64, max.min(about.held_bytes_max)),
                QueueLimit::Unbounded | QueueLimit::Requests(_) => {
                    (upstream.held_bytes as u64, about.held_bytes_max)
                }
            };
            let sum = sizes.entry(about.exporter.as_str()).or_default();
            *sum = (sum.0 + size, sum.1 + capacity as u64);
        }
        let labels = |exporter| labels(&[("data_type", "traces"), ("exporter", exporter)]);
        let size = sizes.iter().map(|(exporter, (size, _))| (labels(exporter), *size));
        let help = "What is held for the upstream: bytes, or spans where sending_queue.sizer is items.";
        page.gauge("otelcol_exporter_queue_size", help, Unit::None, size);
        let capacity = sizes.iter().map(|(exporter, (_, capacity))| (labels(exporter), *capacity));
        let help = "What may be held for the upstream, in the same unit.";
        page.gauge("otelcol_exporter_queue_capacity", help, Unit::None, capacity);
    }

    fn exporters(&self, page: &mut Page<'_>, upstreams: &[UpstreamStats]) {
        type Value = fn(&UpstreamStats) -> u64;
        let counters: [(&str, &str, Value); 5] = [
            ("otelcol_exporter_sent_spans", "Spans that the upstream accepted.", |u| u.items.delivered),
            ("otelcol_exporter_send_failed_spans", "Spans given up after they were queued.", |u| {
                u.items.dropped_total()
            }),
            ("otelcol_exporter_enqueue_failed_spans", "Spans refused because the queue was full.", |u| {
                u.enqueue_failed_items
            }),
            ("relayd_upstream_connects", "Connections made to the upstream.", |u| u.connects),
            ("relayd_upstream_retries", "Attempts to send that were repeated.", |u| u.retries),
        ];
        for (name, help, value) in counters {
            let sums = self.sums(upstreams, value);
            let rows = sums.into_iter().map(|(exporter, sum)| (labels(&[("exporter", exporter)]), sum));
            page.counter(name, help, rows);
        }
        self.queues(page, upstreams);
        let calls = self.sums(upstreams, |u| u.calls);
        let rows = calls
            .into_iter()
            .map(|(exporter, calls)| (labels(&[("data_type", "traces"), ("exporter", exporter)]), calls));
        let help = "Calls to the upstream that are not answered yet.";
        page.gauge("otelcol_exporter_in_flight_requests", help, Unit::None, rows);
        let waiting = self.sums(upstreams, |u| u.queue_batches as u64);
        let rows = waiting.into_iter().map(|(exporter, sum)| (labels(&[("exporter", exporter)]), sum));
        page.gauge("relayd_waiting_batches", "Sealed batches that no call has taken yet.", Unit::None, rows);
        let dropped = DropReason::ALL.into_iter().flat_map(|reason| {
            let sums = self.sums(upstreams, |u| u.items.dropped_for(reason));
            sums.into_iter().map(move |(exporter, sum)| {
                (labels(&[("exporter", exporter), ("reason", reason.name())]), sum)
            })
        });
        let rows: Vec<_> = dropped.collect();
        page.counter("relayd_dropped_spans", "Spans given up after they were queued, by reason.", rows);
    }

    fn batching(&self, page: &mut Page<'_>, upstreams: &[UpstreamStats]) {
        let sums = |value: fn(&UpstreamStats) -> u64| {
            let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
            for (about, upstream) in self.about.iter().zip(upstreams) {
                if let Some(processor) = &about.processor {
                    *sums.entry(processor.as_str()).or_default() += value(upstream);
                }
            }
            sums.into_iter().map(|(processor, sum)| (labels(&[("processor", processor)]), sum))
        };
        let size = sums(|u| u.size_triggers);
        page.counter(
            "otelcol_processor_batch_batch_size_trigger_send",
            "Batches sent because of their size.",
            size,
        );
        let time = sums(|u| u.timeout_triggers);
        page.counter(
            "otelcol_processor_batch_timeout_trigger_send",
            "Batches sent because of their age.",
            time,
        );
    }
}

fn receivers(page: &mut Page<'_>, receivers: &[ReceiverStats]) {
    let rows = |value: fn(&ReceiverStats) -> u64| {
        receivers.iter().map(move |receiver| {
            (labels(&[("receiver", &receiver.name), ("transport", "grpc")]), value(receiver))
        })
    };
    let help = "Spans that were acknowledged to their sender.";
    page.counter("otelcol_receiver_accepted_spans", help, rows(|receiver| receiver.accepted_items));
    let help = "Spans of well-formed requests that were answered with an error.";
    page.counter("otelcol_receiver_refused_spans", help, rows(|receiver| receiver.refused_items));
    let accepted = "Requests that were acknowledged.";
    page.counter("relayd_accepted_requests", accepted, rows(|receiver| receiver.accepted_requests));
    page.counter(
        "relayd_accepted_connections",
        "Connections of senders.",
        rows(|receiver| receiver.connections),
    );
    let rejected = receivers.iter().flat_map(|receiver| {
        let reasons = RejectReason::ALL.into_iter().zip(receiver.rejected_requests);
        reasons.map(|(reason, count)| {
            (labels(&[("reason", reason.name()), ("receiver", &receiver.name)]), count)
        })
    });
    page.counter(
        "relayd_rejected_requests",
        "Requests that were answered with an error, by reason.",
        rejected,
    );
}

fn relay(page: &mut Page<'_>, stats: &Stats) {
    let one = |value: usize| [(Vec::new(), value as u64)];
    page.gauge("relayd_held_bytes", "Bytes of memory held in all.", Unit::Bytes, one(stats.held_bytes));
    let help = "The bound on held bytes; above it requests are refused.";
    page.gauge("relayd_held_bytes_max", help, Unit::None, one(stats.held_bytes_max));
    page.gauge("relayd_connections", "Open connections of senders.", Unit::None, one(stats.connections));
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

type Row<V> = (Vec<LabelPair>, V);

/// Families in the order in which they are added.
struct Page<'a> {
    settings: &'a Metrics,
    families: Vec<MetricFamily>,
}

impl Page<'_> {
    fn counter(&mut self, name: &str, help: &str, rows: impl IntoIterator<Item = Row<u64>>) {
        self.family(name, help, Unit::None, Some(to_doubles(rows)), true);
    }

    fn gauge(&mut self, name: &str, help: &str, unit: Unit, rows: impl IntoIterator<Item = Row<u64>>) {
        self.family(name, help, unit, Some(to_doubles(rows)), false);
    }

    /// A family without rows is left out.
    fn family(&mut self, name: &str, help: &str, unit: Unit, rows: Option<Vec<Row<f64>>>, counts: bool) {
        let rows = rows.unwrap_or_default();
        if rows.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(self.name(name, unit, counts));
        family.set_help(help.to_owned());
        family.set_field_type(if counts { MetricType::COUNTER } else { MetricType::GAUGE });
        let metrics = rows.into_iter().map(|(labels, value)| self.metric(labels, value, counts));
        family.set_metric(metrics.collect());
        self.families.push(family);
    }

    /// As the Collector's Prometheus reader ends names: unit, then `_total` for counters, each at most once.
    fn name(&self, name: &str, unit: Unit, counts: bool) -> String {
        let mut name = name.to_owned();
        let suffix = match unit {
            Unit::None => "",
            Unit::Bytes => "_bytes",
            Unit::Seconds => "_seconds",
        };
        if self.settings.unit_suffix && !name.ends_with(suffix) {
            name.push_str(suffix);
        }
        if self.settings.type_suffix && counts {
            name.push_str("_total");
        }
        name
    }

    fn metric(&self, mut labels: Vec<LabelPair>, value: f64, counts: bool) -> Metric {
        if self.settings.scope_info {
            labels.push(label("otel_scope_name", "relayd"));
            labels.push(label("otel_scope_version", env!("CARGO_PKG_VERSION")));
        }
        let mut metric = Metric::from_label(labels);
        if counts {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        metric
    }
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus knows only doubles; exact up to 2^53")]
fn to_doubles(rows: impl IntoIterator<Item = Row<u64>>) -> Vec<Row<f64>> {
    rows.into_iter().map(|(labels, value)| (labels, value as f64)).collect()
}

fn labels(pairs: &[(&str, &str)]) -> Vec<LabelPair> {
    pairs.iter().map(|(name, value)| label(name, value)).collect()
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

#[cfg(test)]
mod tests;
