//! OTLP/JSON: numbers, bytes and attribute values. What became of them is read at an upstream, decoded by prost.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric, number_data_point};
use prost::Message;
use serde_json::{Value, json};

use super::json::{of_span, the_span, through};
use crate::conformance::payload;
use crate::conformance::verdict::{Miss, Seen, demand, fail};
use crate::conformance::world::World;
use crate::oracle::{AnyValue, ArrayValue, KeyValue, KeyValueList, any_value::Value as Any};
use crate::raw::EXPORT_PATH;

const IDS: (&str, &str) = ("5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174");
/// Larger than a double can tell apart from its neighbours.
const LARGE: i64 = 9_007_199_254_740_993;

pub(super) async fn j05_integers(world: &World) -> Seen {
    for as_text in [true, false] {
        let number = |value: i64| if as_text { json!(value.to_string()) } else { json!(value) };
        let mark = world.mark("J05");
        let sent = of_span(&json!({"name": mark, "traceId": IDS.0, "spanId": IDS.1,
            "startTimeUnixNano": number(LARGE), "endTimeUnixNano": number(LARGE + 2),
            "attributes": [{"key": "n", "value": {"intValue": number(-LARGE)}}]}));
        let (_, span) = the_span(&through(world, "/v1/traces", &sent, &mark).await?, &mark)?;
        let of_attribute = span.attributes.into_iter().find_map(|attribute| attribute.value?.value);
        let found = (span.start_time_unix_nano, span.end_time_unix_nano, of_attribute);
        let large = LARGE.unsigned_abs();
        demand(found == (large, large + 2, Some(Any::IntValue(-LARGE))), || {
            format!(
                "{} times and an intValue became {found:?}",
                if as_text { "strings:" } else { "numbers:" }
            )
        })?;
        points(world, &number).await?;
    }
    Ok("times, intValue, asInt, counts and bucketCounts, beyond what a double can tell apart".to_owned())
}

async fn points(world: &World, number: &impl Fn(i64) -> Value) -> Result<(), Miss> {
    let mark = world.mark("J05");
    let sent = json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [
        {"name": mark, "sum": {"aggregationTemporality": 2, "isMonotonic": true,
            "dataPoints": [{"asInt": number(LARGE), "timeUnixNano": number(LARGE)}]}},
        {"name": mark, "histogram": {"aggregationTemporality": 1, "dataPoints": [{"count": number(LARGE),
            "bucketCounts": [number(1), number(LARGE)], "explicitBounds": [0.5], "timeUnixNano": number(LARGE)}]}},
    ]}]}]});
    let arrival = through(world, "/v1/metrics", &sent, &mark).await?;
    let decoded = ExportMetricsServiceRequest::decode(&*arrival.message).unwrap_or_default();
    let scopes = decoded.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
    let metrics: Vec<&Metric> =
        scopes.flat_map(|scope| &scope.metrics).filter(|metric| metric.name == mark).collect();
    let large = LARGE.unsigned_abs();
    let is_right = |metric: &&Metric| match &metric.data {
        Some(metric::Data::Sum(sum)) => sum.data_points.iter().all(|point| {
            point.value == Some(number_data_point::Value::AsInt(LARGE)) && point.time_unix_nano == large
        }),
        Some(metric::Data::Histogram(histogram)) => histogram
            .data_points
            .iter()
            .all(|point| point.count == large && point.bucket_counts == [1, large]),
        _ => false,
    };
    demand(metrics.len() == 2 && metrics.iter().all(is_right), || format!("the numbers became {metrics:?}"))
}

pub(super) async fn j06_bytes(world: &World) -> Seen {
    let mark = world.mark("J06");
    let sent = of_span(&json!({"name": mark, "traceId": IDS.0, "spanId": IDS.1,
        "attributes": [{"key": "b", "value": {"bytesValue": "AP8Q+/4="}}]}));
    let (_, span) = the_span(&through(world, "/v1/traces", &sent, &mark).await?, &mark)?;
    let found = span.attributes.into_iter().find_map(|attribute| attribute.value?.value);
    let expected = Any::BytesValue(vec![0x00, 0xff, 0x10, 0xfb, 0xfe]);
    demand(found == Some(expected), || format!("\"AP8Q+/4=\" became {found:?}"))?;
    Ok("bytesValue decoded from base64".to_owned())
}

fn value(value: Any) -> Option<AnyValue> {
    Some(AnyValue { value: Some(value) })
}

fn pair(key: &str, value: Option<AnyValue>) -> KeyValue {
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

/// Values of every kind, as protobuf and as JSON; the last has no value at all, which is legal, too.
fn every_value() -> (Vec<KeyValue>, Value) {
    let inner = |key: &str| pair(key, value(Any::IntValue(1)));
    let array = ArrayValue {
        values: [Any::StringValue(String::new()), Any::ArrayValue(ArrayValue { values: Vec::new() })]
            .into_iter()
            .filter_map(value)
            .collect(),
    };
    let protobuf = vec![
        pair("empty", value(Any::StringValue(String::new()))),
        pair("bytes", value(Any::BytesValue(vec![1, 2, 3]))),
        pair("bool", value(Any::BoolValue(false))),
        pair("double", value(Any::DoubleValue(-0.5))),
        pair("array", value(Any::ArrayValue(array))),
        pair("list", value(Any::KvlistValue(KeyValueList { values: vec![inner("a"), inner("b")] }))),
        pair("nothing", Some(AnyValue { value: None })),
    ];
    let json = json!([
        {"key": "empty", "value": {"stringValue": ""}},
        {"key": "bytes", "value": {"bytesValue": "AQID"}},
        {"key": "bool", "value": {"boolValue": false}},
        {"key": "double", "value": {"doubleValue": -0.5}},
        {"key": "array", "value": {"arrayValue": {"values": [{"stringValue": ""}, {"arrayValue": {"values": []}}]}}},
        {"key": "list", "value": {"kvlistValue": {"values": [
            {"key": "a", "value": {"intValue": "1"}}, {"key": "b", "value": {"intValue": 1}}]}}},
        {"key": "nothing", "value": {}},
    ]);
    (protobuf, json)
}

pub(super) async fn j08_values(world: &World) -> Seen {
    let (expected, as_json) = every_value();
    let mark = world.mark("J08");
    let sent = of_span(&json!({"name": mark, "traceId": IDS.0, "spanId": IDS.1, "attributes": as_json}));
    let (_, of_json) = the_span(&through(world, "/v1/traces", &sent, &mark).await?, &mark)?;
    let mark = world.mark("J08");
    let mut span = payload::span(&mark, world.number(), 0);
    span.attributes.clone_from(&expected);
    let response = world.export(EXPORT_PATH, &payload::of_spans(vec![span]).encode_to_vec()).await?;
    if response.grpc_status() != Some(0) {
        return fail(format!("in protobuf: status {:?} {}", response.grpc_status(), response.grpc_message()));
    }
    let (_, of_protobuf) = the_span(&world.arrived(&mark).await?, &mark)?;
    for (name, span) in [("JSON", of_json), ("protobuf", of_protobuf)] {
        let changed = expected.iter().find(|pair| {
            let found = span.attributes.iter().find(|found| found.key == pair.key);
            // An absent AnyValue and one without a value say the same.
            let of = |pair: &KeyValue| pair.value.clone().and_then(|value| value.value);
            found.map(of) != Some(of(pair))
        });
        demand(changed.is_none(), || format!("{name}: {changed:?} became {:?}", span.attributes))?;
    }
    Ok("empty, bytes, bool, double, nested array, list and no value, in JSON and in protobuf".to_owned())
}
