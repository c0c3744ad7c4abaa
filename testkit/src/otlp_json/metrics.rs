//! metrics.proto.

use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint, SummaryDataPoint,
    exemplar, exponential_histogram_data_point::Buckets, metric::Data, number_data_point,
};
use serde_json::{Value, json};

use super::Form;
use super::common::{attributes_of, list, option, with};

pub(super) fn metric_of(metric: &Metric, form: Form) -> Value {
    let shared = json!({
        "name": metric.name,
        "description": metric.description,
        "unit": metric.unit,
        "metadata": attributes_of(&metric.metadata, form),
    });
    let numbers = |points: &[NumberDataPoint]| list(points, |point| number_point_of(point, form));
    match &metric.data {
        None => shared,
        Some(Data::Gauge(gauge)) => {
            with(shared, "gauge", json!({ "dataPoints": numbers(&gauge.data_points) }))
        }
        Some(Data::Sum(sum)) => {
            let data = json!({
                "dataPoints": numbers(&sum.data_points),
                "aggregationTemporality": sum.aggregation_temporality,
                "isMonotonic": sum.is_monotonic,
            });
            with(shared, "sum", data)
        }
        Some(Data::Histogram(histogram)) => {
            let points = list(&histogram.data_points, |point| histogram_point_of(point, form));
            let temporality = histogram.aggregation_temporality;
            with(shared, "histogram", json!({ "dataPoints": points, "aggregationTemporality": temporality }))
        }
        Some(Data::ExponentialHistogram(histogram)) => {
            let points = list(&histogram.data_points, |point| exponential_point_of(point, form));
            let data = json!({
                "dataPoints": points,
                "aggregationTemporality": histogram.aggregation_temporality,
            });
            with(shared, "exponentialHistogram", data)
        }
        Some(Data::Summary(summary)) => {
            let points = list(&summary.data_points, |point| summary_point_of(point, form));
            with(shared, "summary", json!({ "dataPoints": points }))
        }
    }
}

fn number_point_of(point: &NumberDataPoint, form: Form) -> Value {
    let shared = json!({
        "attributes": attributes_of(&point.attributes, form),
        "startTimeUnixNano": form.unsigned(point.start_time_unix_nano),
        "timeUnixNano": form.unsigned(point.time_unix_nano),
        "exemplars": list(&point.exemplars, |exemplar| exemplar_of(exemplar, form)),
        "flags": point.flags,
    });
    match point.value {
        None => shared,
        Some(number_data_point::Value::AsDouble(value)) => with(shared, "asDouble", form.double(value)),
        Some(number_data_point::Value::AsInt(value)) => with(shared, "asInt", form.signed(value)),
    }
}

fn exemplar_of(exemplar: &Exemplar, form: Form) -> Value {
    let shared = json!({
        "filteredAttributes": attributes_of(&exemplar.filtered_attributes, form),
        "timeUnixNano": form.unsigned(exemplar.time_unix_nano),
        "spanId": form.id(&exemplar.span_id),
        "traceId": form.id(&exemplar.trace_id),
    });
    match exemplar.value {
        None => shared,
        Some(exemplar::Value::AsDouble(value)) => with(shared, "asDouble", form.double(value)),
        Some(exemplar::Value::AsInt(value)) => with(shared, "asInt", form.signed(value)),
    }
}

fn histogram_point_of(point: &HistogramDataPoint, form: Form) -> Value {
    json!({
        "attributes": attributes_of(&point.attributes, form),
        "startTimeUnixNano": form.unsigned(point.start_time_unix_nano),
        "timeUnixNano": form.unsigned(point.time_unix_nano),
        "count": form.unsigned(point.count),
        "sum": option(point.sum.as_ref(), |sum| form.double(*sum)),
        "bucketCounts": list(&point.bucket_counts, |count| form.unsigned(*count)),
        "explicitBounds": list(&point.explicit_bounds, |bound| form.double(*bound)),
        "exemplars": list(&point.exemplars, |exemplar| exemplar_of(exemplar, form)),
        "flags": point.flags,
        "min": option(point.min.as_ref(), |min| form.double(*min)),
        "max": option(point.max.as_ref(), |max| form.double(*max)),
    })
}

fn exponential_point_of(point: &ExponentialHistogramDataPoint, form: Form) -> Value {
    let buckets = |buckets: &Buckets| {
        json!({
            "offset": buckets.offset,
            "bucketCounts": list(&buckets.bucket_counts, |count| form.unsigned(*count)),
        })
    };
    json!({
        "attributes": attributes_of(&point.attributes, form),
        "startTimeUnixNano": form.unsigned(point.start_time_unix_nano),
        "timeUnixNano": form.unsigned(point.time_unix_nano),
        "count": form.unsigned(point.count),
        "sum": option(point.sum.as_ref(), |sum| form.double(*sum)),
        "scale": point.scale,
        "zeroCount": form.unsigned(point.zero_count),
        "positive": option(point.positive.as_ref(), buckets),
        "negative": option(point.negative.as_ref(), buckets),
        "flags": point.flags,
        "exemplars": list(&point.exemplars, |exemplar| exemplar_of(exemplar, form)),
        "min": option(point.min.as_ref(), |min| form.double(*min)),
        "max": option(point.max.as_ref(), |max| form.double(*max)),
        "zeroThreshold": form.double(point.zero_threshold),
    })
}

fn summary_point_of(point: &SummaryDataPoint, form: Form) -> Value {
    json!({
        "attributes": attributes_of(&point.attributes, form),
        "startTimeUnixNano": form.unsigned(point.start_time_unix_nano),
        "timeUnixNano": form.unsigned(point.time_unix_nano),
        "count": form.unsigned(point.count),
        "sum": form.double(point.sum),
        "quantileValues": list(&point.quantile_values, |at| json!({
            "quantile": form.double(at.quantile),
            "value": form.double(at.value),
        })),
        "flags": point.flags,
    })
}
