//! proptest strategies for every field of a metrics request (opentelemetry/proto/metrics/v1/metrics.proto).
//!
//! Must never favour what real programs send: points without a value and bounds that fit no counts are as likely as ordinary ones.
//! Ids, though, are whole or absent, as servers demand them.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar,
    exponential_histogram_data_point::Buckets, metric::Data, number_data_point,
    summary_data_point::ValueAtQuantile,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::arbitrary::{
    Sizes, arb_attributes, arb_count, arb_double, arb_enum, arb_nanos, arb_resource, arb_scope, arb_whole_id,
};

/// Points of a metric.
const POINTS_MAX: usize = 2;
/// Counts, bounds and quantiles of a point.
const BUCKETS_MAX: usize = 4;

/// Any metrics request of default [`Sizes`]; `spans_max` bounds the metrics of a scope, `events_max` the exemplars of a point.
pub fn arbitrary_metrics() -> BoxedStrategy<ExportMetricsServiceRequest> {
    let sizes = Sizes::default();
    vec(arb_resource_metrics(sizes), Sizes::counts(sizes.resources_max))
        .prop_map(|resource_metrics| ExportMetricsServiceRequest { resource_metrics })
        .boxed()
}

fn arb_resource_metrics(sizes: Sizes) -> BoxedStrategy<ResourceMetrics> {
    let scope_metrics = vec(arb_scope_metrics(sizes), Sizes::counts(sizes.scopes_max));
    (option::of(arb_resource(sizes)), scope_metrics, sizes.texts())
        .prop_map(|(resource, scope_metrics, schema_url)| ResourceMetrics {
            resource,
            scope_metrics,
            schema_url,
        })
        .boxed()
}

fn arb_scope_metrics(sizes: Sizes) -> BoxedStrategy<ScopeMetrics> {
    let metrics = vec(arb_metric(sizes), Sizes::counts(sizes.spans_max));
    (option::of(arb_scope(sizes)), metrics, sizes.texts())
        .prop_map(|(scope, metrics, schema_url)| ScopeMetrics { scope, metrics, schema_url })
        .boxed()
}

fn arb_metric(sizes: Sizes) -> BoxedStrategy<Metric> {
    (sizes.texts(), sizes.texts(), sizes.texts(), arb_attributes(sizes), option::of(arb_data(sizes)))
        .prop_map(|(name, description, unit, metadata, data)| Metric {
            name,
            description,
            unit,
            metadata,
            data,
        })
        .boxed()
}

/// Any kind of metric.
fn arb_data(sizes: Sizes) -> BoxedStrategy<Data> {
    let numbers = || vec(arb_number_point(sizes), 0..=POINTS_MAX);
    let sum = (numbers(), arb_enum(2), any::<bool>()).prop_map(|(data_points, temporality, is_monotonic)| {
        Data::Sum(Sum { data_points, aggregation_temporality: temporality, is_monotonic })
    });
    let histogram = (vec(arb_histogram_point(sizes), 0..=POINTS_MAX), arb_enum(2))
        .prop_map(|(data_points, temporality)| Histogram {
            data_points,
            aggregation_temporality: temporality,
        })
        .prop_map(Data::Histogram);
    let exponential = (vec(arb_exponential_point(sizes), 0..=POINTS_MAX), arb_enum(2))
        .prop_map(|(data_points, temporality)| ExponentialHistogram {
            data_points,
            aggregation_temporality: temporality,
        })
        .prop_map(Data::ExponentialHistogram);
    prop_oneof![
        numbers().prop_map(|data_points| Data::Gauge(Gauge { data_points })),
        sum,
        histogram,
        exponential,
        vec(arb_summary_point(sizes), 0..=POINTS_MAX)
            .prop_map(|data_points| Data::Summary(Summary { data_points })),
    ]
    .boxed()
}

fn arb_number_point(sizes: Sizes) -> BoxedStrategy<NumberDataPoint> {
    use number_data_point::Value;
    let value = prop_oneof![arb_double().prop_map(Value::AsDouble), any::<i64>().prop_map(Value::AsInt)];
    (arb_attributes(sizes), arb_nanos(), arb_nanos(), arb_exemplars(sizes), any::<u32>(), option::of(value))
        .prop_map(|(attributes, start_time_unix_nano, time_unix_nano, exemplars, flags, value)| {
            NumberDataPoint { attributes, start_time_unix_nano, time_unix_nano, exemplars, flags, value }
        })
        .boxed()
}

/// Sum, least and greatest of a histogram's point: absent and zero are not the same.
fn arb_extremes() -> BoxedStrategy<[Option<f64>; 3]> {
    let optional = || prop_oneof![2 => option::of(arb_double()), 1 => Just(Some(0.0))];
    (optional(), optional(), optional()).prop_map(|(sum, min, max)| [sum, min, max]).boxed()
}

fn arb_histogram_point(sizes: Sizes) -> BoxedStrategy<HistogramDataPoint> {
    let head = (arb_attributes(sizes), arb_nanos(), arb_nanos(), any::<u64>(), arb_extremes());
    let buckets = (vec(any::<u64>(), 0..=BUCKETS_MAX), vec(arb_double(), 0..=BUCKETS_MAX));
    (head, buckets, arb_exemplars(sizes), any::<u32>())
        .prop_map(|(head, (bucket_counts, explicit_bounds), exemplars, flags)| {
            let (attributes, start_time_unix_nano, time_unix_nano, count, [sum, min, max]) = head;
            HistogramDataPoint {
                attributes,
                start_time_unix_nano,
                time_unix_nano,
                count,
                sum,
                bucket_counts,
                explicit_bounds,
                exemplars,
                flags,
                min,
                max,
            }
        })
        .boxed()
}

fn arb_exponential_point(sizes: Sizes) -> BoxedStrategy<ExponentialHistogramDataPoint> {
    let head = (arb_attributes(sizes), arb_nanos(), arb_nanos(), any::<u64>(), arb_extremes());
    let body =
        (any::<i32>(), any::<u64>(), option::of(arb_buckets()), option::of(arb_buckets()), arb_double());
    (head, body, arb_exemplars(sizes), any::<u32>())
        .prop_map(|(head, body, exemplars, flags)| {
            let (attributes, start_time_unix_nano, time_unix_nano, count, [sum, min, max]) = head;
            let (scale, zero_count, positive, negative, zero_threshold) = body;
            ExponentialHistogramDataPoint {
                attributes,
                start_time_unix_nano,
                time_unix_nano,
                count,
                sum,
                scale,
                zero_count,
                positive,
                negative,
                flags,
                exemplars,
                min,
                max,
                zero_threshold,
            }
        })
        .boxed()
}

fn arb_buckets() -> BoxedStrategy<Buckets> {
    (any::<i32>(), vec(any::<u64>(), 0..=BUCKETS_MAX))
        .prop_map(|(offset, bucket_counts)| Buckets { offset, bucket_counts })
        .boxed()
}

fn arb_summary_point(sizes: Sizes) -> BoxedStrategy<SummaryDataPoint> {
    let quantile =
        (arb_double(), arb_double()).prop_map(|(quantile, value)| ValueAtQuantile { quantile, value });
    let head = (arb_attributes(sizes), arb_nanos(), arb_nanos());
    (head, any::<u64>(), arb_double(), vec(quantile, 0..=BUCKETS_MAX), arb_count())
        .prop_map(|(head, count, sum, quantile_values, flags)| {
            let (attributes, start_time_unix_nano, time_unix_nano) = head;
            SummaryDataPoint {
                attributes,
                start_time_unix_nano,
                time_unix_nano,
                count,
                sum,
                quantile_values,
                flags,
            }
        })
        .boxed()
}

fn arb_exemplars(sizes: Sizes) -> BoxedStrategy<Vec<Exemplar>> {
    use exemplar::Value;
    let value = prop_oneof![arb_double().prop_map(Value::AsDouble), any::<i64>().prop_map(Value::AsInt)];
    let exemplar = (arb_attributes(sizes), arb_nanos(), arb_whole_id(8), arb_whole_id(16), option::of(value))
        .prop_map(|(filtered_attributes, time_unix_nano, span_id, trace_id, value)| Exemplar {
            filtered_attributes,
            time_unix_nano,
            span_id,
            trace_id,
            value,
        });
    vec(exemplar, Sizes::counts(sizes.events_max)).boxed()
}
