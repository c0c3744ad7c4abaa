//! Protobuf to OTLP/JSON: against the testkit's own spelling and prost for whatever a request may hold, merged and damaged ones included;
//! then what was recorded of real programs and of the Collector.

#![cfg(test)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use prost::Message;
use relay_core::json::{Layout, from_protobuf, to_protobuf};
use relay_core::limits::NESTING_DEPTH_MAX;
use relay_core::otlp::Signal;
use relay_core::wire::{DecodeError, DecodeErrorKind};
use serde_json::{Value, json};
use testkit::generate::{
    Sizes, arb_any_value, arb_request, arbitrary_logs, arbitrary_metrics, arbitrary_profiles,
};
use testkit::oracle::{AnyValue, ExportTraceServiceRequest, KeyValue, ResourceSpans, ScopeSpans, Span};
use testkit::oracle::{any_value, encode};
use testkit::otlp_json::{self, Form, with_whole_ids};
use testkit::payloads::recorded;
use testkit::permute::encode_permuted;
use testkit::wire::{put_len_field, put_varint, sub_messages};

const BYTES_MAX: usize = 16 << 20;

/// The text of a request, and how many of its fields are unknown.
fn text(signal: Signal, request: &[u8], layout: Layout) -> Result<(String, u64), DecodeError> {
    let mut out = b"before".to_vec();
    let unknown = from_protobuf(signal, request, layout, &mut out);
    assert!(out.starts_with(b"before"));
    assert!(unknown.is_ok() || out.len() == 6, "an error leaves nothing behind");
    unknown.map(|unknown| (String::from_utf8(out.split_off(6)).unwrap(), unknown))
}

fn line(signal: Signal, request: &[u8]) -> Result<String, DecodeError> {
    text(signal, request, Layout::Line).map(|(text, _)| text)
}

/// Without members that mean the same as their absence, and ids of profiles in the one spelling that the Collector reads.
fn normal(mut value: Value) -> Value {
    match &mut value {
        Value::Array(values) => values.iter_mut().for_each(|value| *value = normal(value.take())),
        Value::Object(members) => {
            members.values_mut().for_each(|value| *value = normal(value.take()));
            if let Some(Value::String(id)) = members.get_mut("profileId")
                && id.len() == 24
            {
                *id = STANDARD.decode(&*id).unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
            }
            let defaults =
                [json!(null), json!(false), json!(0), json!(0.0), json!("0"), json!(""), json!([])];
            members.retain(|_, value| !defaults.contains(value));
        }
        _ => {}
    }
    value
}

/// The text says what the testkit says, spells nothing otherwise, and is read as the same request again.
fn same_request<M: Message + Default + PartialEq>(signal: Signal, request: &M, spell: fn(&M, Form) -> Value) {
    same_bytes(signal, &request.encode_to_vec(), request, spell);
}

fn same_bytes<M: Message + Default + PartialEq>(
    signal: Signal,
    bytes: &[u8],
    request: &M,
    spell: fn(&M, Form) -> Value,
) {
    let line = line(signal, bytes).unwrap();
    assert!(!line.contains('\n'));
    let value: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(normal(value.clone()), normal(spell(request, Form::default())));
    let again = to_protobuf(signal, line.as_bytes(), BYTES_MAX).unwrap();
    assert!(M::decode(&*again).unwrap() == *request, "{line}");
    let (indented, _) = text(signal, bytes, Layout::Indented).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&indented).unwrap(), value);
}

/// All items of a request merged into one, as protobuf reads one that comes in parts.
fn merged(request: &[u8]) -> Vec<u8> {
    let below = |messages: Vec<Vec<u8>>, number| -> Vec<Vec<u8>> {
        messages.iter().flat_map(|one| sub_messages(one, number).unwrap()).map(<[u8]>::to_vec).collect()
    };
    let items = below(below(below(vec![request.to_vec()], 1), 2), 2).concat();
    [2, 2, 1].iter().fold(items, |inner, number| {
        let mut outer = Vec::new();
        put_len_field(&mut outer, *number, &inner);
        outer
    })
}

fn same_merged<M: Message + Default + PartialEq>(signal: Signal, request: &M, spell: fn(&M, Form) -> Value) {
    let bytes = merged(&request.encode_to_vec());
    same_bytes(signal, &bytes, &M::decode(&*bytes).unwrap(), spell);
}

/// A request of one span.
fn request_of(span: Span) -> ExportTraceServiceRequest {
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..Default::default() }];
    ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..Default::default() }] }
}

/// A request whose one span is these bytes.
fn request_of_bytes(span: &[u8]) -> Vec<u8> {
    [2, 2, 1].iter().fold(span.to_vec(), |inner, number| {
        let mut outer = Vec::new();
        put_len_field(&mut outer, *number, &inner);
        outer
    })
}

/// A request whose one attribute has a value of these bytes.
fn request_of_any_value(value: &[u8]) -> Vec<u8> {
    let (mut attribute, mut span) = (Vec::new(), Vec::new());
    put_len_field(&mut attribute, 1, b"k");
    put_len_field(&mut attribute, 2, value);
    put_len_field(&mut span, 9, &attribute);
    request_of_bytes(&span)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn traces_survive(request in arb_request().prop_map(with_whole_ids)) {
        same_request(Signal::Traces, &request, otlp_json::traces);
        same_merged(Signal::Traces, &request, otlp_json::traces);
    }

    #[test]
    fn metrics_survive(request in arbitrary_metrics()) {
        same_request(Signal::Metrics, &request, otlp_json::metrics);
        same_merged(Signal::Metrics, &request, otlp_json::metrics);
    }

    #[test]
    fn logs_survive(request in arbitrary_logs()) {
        same_request(Signal::Logs, &request, otlp_json::logs);
        same_merged(Signal::Logs, &request, otlp_json::logs);
    }

    #[test]
    fn profiles_survive(request in arbitrary_profiles()) {
        same_request(Signal::Profiles, &request, otlp_json::profiles);
        same_merged(Signal::Profiles, &request, otlp_json::profiles);
    }

    /// Fields in any order with unknown ones between them: the text is the same, and the unknown ones are counted.
    #[test]
    fn order_does_not_matter(request in arb_request().prop_map(with_whole_ids), seed in any::<u64>()) {
        let plain = text(Signal::Traces, &encode(&request), Layout::Line).unwrap();
        prop_assert_eq!(plain.1, 0);
        let permuted = text(Signal::Traces, &encode_permuted(&request, seed, false), Layout::Line).unwrap();
        prop_assert_eq!(&permuted, &plain);
        let (with_unknown, unknown) =
            text(Signal::Traces, &encode_permuted(&request, seed, true), Layout::Line).unwrap();
        prop_assert_eq!(with_unknown, plain.0);
        prop_assert!(unknown > 0);
    }

    /// Whatever comes twice in a value: of a oneof the last member alone, merged with what came of it right before.
    #[test]
    fn values_in_parts(values in prop::collection::vec(arb_any_value(Sizes::default()), 1..5)) {
        let bytes = request_of_any_value(&values.iter().flat_map(AnyValue::encode_to_vec).collect::<Vec<_>>());
        let request = ExportTraceServiceRequest::decode(&*bytes).unwrap();
        same_bytes(Signal::Traces, &bytes, &request, otlp_json::traces);
    }

    /// What prost decodes is written, if its ids are whole, and is the same; what it does not is an error, or JSON.
    #[test]
    fn damage_is_an_error_or_a_request(
        request in arb_request().prop_map(with_whole_ids), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut bytes = encode(&request);
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        match (line(Signal::Traces, &bytes), ExportTraceServiceRequest::decode(&*bytes)) {
            (Ok(_), Ok(decoded)) => same_bytes(Signal::Traces, &bytes, &decoded, otlp_json::traces),
            (Ok(line), Err(_)) => prop_assert!(serde_json::from_str::<Value>(&line).is_ok(), "{line}"),
            (Err(error), Ok(_)) => prop_assert!(matches!(error.kind, DecodeErrorKind::IdLength { .. }), "{error}"),
            (Err(_), Err(_)) => {}
        }
    }

    /// Bytes of no meaning.
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200), signal in 0..4_usize) {
        if let Ok(line) = line(Signal::ALL[signal], &bytes) {
            prop_assert!(serde_json::from_str::<Value>(&line).is_ok(), "{line}");
        }
    }
}

#[test]
fn the_text_of_a_span() {
    let attribute = |key: &str, value| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..Default::default()
    };
    let span = Span {
        trace_id: (1..=16).collect(),
        span_id: vec![0xab; 8],
        name: "a \"name\"\u{7}\u{2028}ü\u{1f980}".to_owned(),
        kind: -7,
        start_time_unix_nano: u64::MAX,
        flags: u32::MAX,
        attributes: vec![
            attribute("int", any_value::Value::IntValue(i64::MIN)),
            attribute("no", any_value::Value::BoolValue(false)),
            attribute("bytes", any_value::Value::BytesValue(vec![0xfb, 0xff])),
            attribute("list", any_value::Value::ArrayValue(Default::default())),
        ],
        status: Some(Default::default()),
        ..Default::default()
    };
    let bytes = encode(&request_of(span));
    assert_eq!(
        line(Signal::Traces, &bytes).unwrap(),
        concat!(
            r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"0102030405060708090a0b0c0d0e0f10","#,
            r#""spanId":"abababababababab","flags":4294967295,"name":"a \"name\"\u0007"#,
            "\u{2028}ü\u{1f980}",
            r#"","kind":-7,"startTimeUnixNano":"18446744073709551615","attributes":["#,
            r#"{"key":"int","value":{"intValue":"-9223372036854775808"}},{"key":"no","value":{"boolValue":false}},"#,
            r#"{"key":"bytes","value":{"bytesValue":"+/8="}},{"key":"list","value":{"arrayValue":{}}}],"#,
            r#""status":{}}]}]}]}"#
        )
    );
    let indented =
        text(Signal::Traces, &encode(&request_of(Span { kind: 2, ..Span::default() })), Layout::Indented);
    let expected = r#"{
  "resourceSpans": [
    {
      "scopeSpans": [
        {
          "spans": [
            {
              "kind": 2
            }
          ]
        }
      ]
    }
  ]
}"#;
    assert_eq!(indented.unwrap().0, expected);
    assert_eq!(line(Signal::Traces, b"").unwrap(), "{}");
    assert_eq!(text(Signal::Logs, b"", Layout::Indented).unwrap().0, "{}");
}

/// Doubles as ProtoJSON has them, exact to the last bit.
#[test]
fn doubles() {
    for (double, written) in [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (0.1, "0.1"),
        (5e-324, "5e-324"),
        (f64::MAX, "1.7976931348623157e+308"),
        (9_007_199_254_740_993.0, "9007199254740992.0"),
        (f64::INFINITY, "\"Infinity\""),
        (f64::NEG_INFINITY, "\"-Infinity\""),
        (f64::NAN, "\"NaN\""),
    ] {
        let bytes = request_of_any_value(
            &AnyValue { value: Some(any_value::Value::DoubleValue(double)) }.encode_to_vec(),
        );
        let line = line(Signal::Traces, &bytes).unwrap();
        assert!(line.contains(&format!(r#""value":{{"doubleValue":{written}}}"#)), "{line}");
        let again = to_protobuf(Signal::Traces, line.as_bytes(), BYTES_MAX).unwrap();
        assert!(again == bytes || double.is_nan(), "{line}");
    }
}

/// Repeated scalars are read packed, one by one, and both; what is there once takes the last, whatever it says.
#[test]
fn scalars_in_every_form() {
    let mut point = Vec::new();
    for (tag, value) in [(6 << 3 | 1, 1_u64), (7 << 3 | 1, 1.5_f64.to_bits()), (6 << 3 | 1, 2)] {
        put_varint(&mut point, tag);
        point.extend(value.to_le_bytes());
    }
    put_len_field(&mut point, 6, &[3_u64.to_le_bytes(), 4_u64.to_le_bytes()].concat());
    put_len_field(&mut point, 7, &[]);
    for count in [9_u64, 8] {
        put_varint(&mut point, 4 << 3 | 1);
        point.extend(count.to_le_bytes());
    }
    let wrapped = [1, 9, 2, 2, 1].iter().fold(point, |inner, number| {
        let mut outer = Vec::new();
        put_len_field(&mut outer, *number, &inner);
        outer
    });
    let expected =
        r#"{"dataPoints":[{"count":"8","bucketCounts":["1","2","3","4"],"explicitBounds":[1.5]}]}"#;
    let line = line(Signal::Metrics, &wrapped).unwrap();
    assert!(line.contains(expected), "{line}");
}

/// What is wrong, and at which byte.
#[test]
fn errors_say_where() {
    let of = |number: u64, value: &[u8]| {
        let mut span = Vec::new();
        put_varint(&mut span, number << 3 | 2);
        put_varint(&mut span, value.len() as u64);
        span.extend_from_slice(value);
        request_of_bytes(&span)
    };
    for (bytes, message) in [
        (of(1, &[7; 5]), "byte 7, field 1: id of 5 bytes where 16 belong"),
        (of(4, &[7; 9]), "byte 7, field 4: id of 9 bytes where 8 belong"),
        (of(5, b"\xff"), "byte 8, field 5: string is not UTF-8"),
        (of(6, b"ab"), "byte 7, field 6: wire type length-delimited where varint belongs"),
        (of(9, b"\x0a\x05a"), "byte 10, field 1: length 5 runs past the end (1 bytes left)"),
        (b"\x0a\x05".to_vec(), "byte 2, field 1: length 5 runs past the end (0 bytes left)"),
        (b"\x08\x05".to_vec(), "byte 1, field 1: wire type varint where length-delimited belongs"),
    ] {
        assert_eq!(line(Signal::Traces, &bytes).unwrap_err().to_string(), message, "{bytes:x?}");
    }
}

/// As deep as prost decodes, and no deeper: on a stack as small as a thread's may be.
#[test]
fn nesting_is_bounded() {
    let nested = |lists: usize| {
        let value = (0..lists).fold(AnyValue::default(), |inner, _| AnyValue {
            value: Some(any_value::Value::ArrayValue(testkit::oracle::ArrayValue { values: vec![inner] })),
        });
        request_of_any_value(&value.encode_to_vec())
    };
    let check = move || {
        let lists_max = (NESTING_DEPTH_MAX as usize - 5) / 2;
        assert!(ExportTraceServiceRequest::decode(&*nested(lists_max)).is_ok());
        let deepest = line(Signal::Traces, &nested(lists_max)).unwrap();
        assert_eq!(to_protobuf(Signal::Traces, deepest.as_bytes(), BYTES_MAX).unwrap(), nested(lists_max));
        assert!(ExportTraceServiceRequest::decode(&*nested(lists_max + 1)).is_err());
        let error = line(Signal::Traces, &nested(lists_max + 1)).unwrap_err();
        assert_eq!(error.kind, DecodeErrorKind::TooDeep { max: NESTING_DEPTH_MAX.into() });
    };
    std::thread::Builder::new().stack_size(512 << 10).spawn(check).unwrap().join().unwrap();
}

/// Millions of parts of one message are read once, and held once.
#[test]
fn many_parts_take_linear_time() {
    let span = [0x7a, 0x02, 0x18, 0x01].repeat(1 << 18);
    let line = line(Signal::Traces, &request_of_bytes(&span)).unwrap();
    assert!(line.ends_with(r#""spans":[{"status":{"code":1}}]}]}]}"#), "{line}");
}

#[test]
fn what_real_programs_sent() {
    let recorded = recorded();
    assert!(!recorded.is_empty());
    for recorded in recorded {
        let request = ExportTraceServiceRequest::decode(&*recorded.bytes).unwrap();
        same_bytes(Signal::Traces, &recorded.bytes, &request, otlp_json::traces);
    }
}

/// What the Collector v0.161 made of JSON, written as JSON again: what the JSON said, but where a case says why not.
#[test]
fn what_the_collector_forwarded() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../../e2e/json_cases/cases.json")).unwrap();
    let mut written = 0;
    for case in &cases {
        let signal = Signal::from_name(case["signal"].as_str().unwrap()).unwrap();
        let Some(bytes) = case["collector"]["bytes"].as_str().map(|text| STANDARD.decode(text).unwrap())
        else {
            continue;
        };
        let line = line(signal, &bytes).unwrap_or_else(|error| panic!("{}: {error}", case["name"]));
        let again = to_protobuf(signal, line.as_bytes(), BYTES_MAX).unwrap();
        assert_eq!(self::line(signal, &again).unwrap(), line, "{}", case["name"]);
        // What is there but empty, and ids of zeros, are the Collector's own additions.
        if case["differs"].is_null() {
            let ours = to_protobuf(signal, case["body"].as_str().unwrap().as_bytes(), BYTES_MAX).unwrap();
            let said = |bytes: &[u8]| {
                let line = self::line(signal, bytes).unwrap();
                let mut leaves = Vec::new();
                gather_leaves(&serde_json::from_str(&line).unwrap(), &mut leaves);
                leaves
            };
            let (ours, theirs) = (said(&ours), said(&bytes));
            assert!(ours == theirs || theirs.is_empty(), "{}: {ours:?} {theirs:?}", case["name"]);
        }
        written += 1;
    }
    assert!(written >= 60, "{written}");
}

/// All scalars that say something, with the keys that they stand under.
fn gather_leaves(value: &Value, leaves: &mut Vec<String>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| gather_leaves(value, leaves)),
        Value::Object(members) => {
            for (key, value) in members {
                let default = ["0", "", "0.0", "false"].contains(&value.to_string().trim_matches('"'));
                let zeros =
                    key.ends_with("Id") && value.as_str().is_some_and(|id| id.trim_matches('0').is_empty());
                if value.is_array() || value.is_object() {
                    gather_leaves(value, leaves);
                } else if !default && !zeros {
                    leaves.push(format!("{key}={value}"));
                }
            }
        }
        other => leaves.push(other.to_string()),
    }
}
