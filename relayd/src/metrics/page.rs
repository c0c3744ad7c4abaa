//! A page of Prometheus text: families, how their names end, labels. Must never know what a metric means.

use prometheus::proto::{Bucket, Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use crate::config::Metrics;

/// What the unit of a metric is called at the end of its name, if `without_units` is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    None,
    Bytes,
    Seconds,
}

pub(super) type Row<V> = (Vec<LabelPair>, V);

/// How often a thing took how long.
pub(super) struct Histogram {
    /// Upper bounds from below, and how many took at most so long.
    pub(super) buckets: Vec<(f64, u64)>,
    pub(super) count: u64,
    pub(super) sum: f64,
}

/// Families in the order in which they are added.
pub(super) struct Page<'a> {
    pub(super) settings: &'a Metrics,
    pub(super) families: Vec<MetricFamily>,
}

impl Page<'_> {
    pub(super) fn counter(&mut self, name: &str, help: &str, rows: impl IntoIterator<Item = Row<u64>>) {
        self.family(name, help, Unit::None, Some(to_doubles(rows)), true);
    }

    pub(super) fn gauge(
        &mut self,
        name: &str,
        help: &str,
        unit: Unit,
        rows: impl IntoIterator<Item = Row<u64>>,
    ) {
        self.family(name, help, unit, Some(to_doubles(rows)), false);
    }

    pub(super) fn histogram(
        &mut self,
        name: &str,
        help: &str,
        unit: Unit,
        rows: impl IntoIterator<Item = Row<Histogram>>,
    ) {
        let metrics: Vec<Metric> = rows
            .into_iter()
            .map(|(labels, value)| {
                let mut histogram = prometheus::proto::Histogram::default();
                histogram.set_sample_count(value.count);
                histogram.set_sample_sum(value.sum);
                let buckets = value.buckets.into_iter().map(|(bound, count)| {
                    let mut bucket = Bucket::default();
                    bucket.set_upper_bound(bound);
                    bucket.set_cumulative_count(count);
                    bucket
                });
                histogram.set_bucket(buckets.collect());
                let mut metric = Metric::from_label(self.scoped(labels));
                metric.set_histogram(histogram);
                metric
            })
            .collect();
        self.push(name, help, (unit, MetricType::HISTOGRAM), metrics);
    }

    /// A family without rows is left out.
    pub(super) fn family(
        &mut self,
        name: &str,
        help: &str,
        unit: Unit,
        rows: Option<Vec<Row<f64>>>,
        counts: bool,
    ) {
        let rows = rows.unwrap_or_default();
        let metrics = rows.into_iter().map(|(labels, value)| self.metric(labels, value, counts));
        let metrics: Vec<Metric> = metrics.collect();
        let kind = if counts { MetricType::COUNTER } else { MetricType::GAUGE };
        self.push(name, help, (unit, kind), metrics);
    }

    fn push(&mut self, name: &str, help: &str, (unit, kind): (Unit, MetricType), metrics: Vec<Metric>) {
        if metrics.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(self.name(name, unit, kind == MetricType::COUNTER));
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
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

    fn scoped(&self, mut labels: Vec<LabelPair>) -> Vec<LabelPair> {
        if self.settings.scope_info {
            labels.push(label("otel_scope_name", "relayd"));
            labels.push(label("otel_scope_version", env!("CARGO_PKG_VERSION")));
        }
        labels
    }

    fn metric(&self, labels: Vec<LabelPair>, value: f64, counts: bool) -> Metric {
        let mut metric = Metric::from_label(self.scoped(labels));
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

pub(super) fn labels(pairs: &[(&str, &str)]) -> Vec<LabelPair> {
    pairs.iter().map(|(name, value)| label(name, value)).collect()
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}
