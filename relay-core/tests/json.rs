//! OTLP/JSON to protobuf: against prost for whatever a request may hold, and rule by rule. What the real Collector makes of JSON is in
//! e2e/json_cases, and held here too.

#![cfg(test)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use prost::Message;
use relay_core::json::{JsonError, Place, to_protobuf};
use relay_core::limits::NESTING_DEPTH_MAX;
use relay_core::otlp::Signal;
use serde_json::{Value, json};
use testkit::generate::{arb_request, arbitrary_logs, arbitrary_metrics, arbitrary_profiles};
use testkit::oracle::{AnyValue, ExportTraceServiceRequest, Span, any_value};
use testkit::otlp_json::{self, Form, with_whole_ids};

const BYTES_MAX: usize = 1 << 20;

fn traces(body: &str) -> Result<ExportTraceServiceRequest, JsonError> {
    let bytes = to_protobuf(Signal::Traces, body.as_bytes(), BYTES_MAX)?;
    Ok(ExportTraceServiceRequest::decode(&*bytes).unwrap())
}

fn span_body(members: &str) -> String {
    format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{members}}}]}}]}}]}}"#)
}

/// The span with these members.
fn span(members: &str) -> Result<Span, JsonError> {
    traces(&span_body(members)).map(|mut request| request.resource_spans[0].scope_spans[0].spans.remove(0))
}

fn any_value_body(value: &str) -> String {
    span_body(&format!(r#""attributes":[{{"key":"k","value":{value}}}]"#))
}

/// The attribute value that is spelled like this.
fn any_value(value: &str) -> Result<Option<any_value::Value>, JsonError> {
    let mut request = traces(&any_value_body(value))?;
    let mut attributes = std::mem::take(&mut request.resource_spans[0].scope_spans[0].spans[0].attributes);
    Ok(attributes.remove(0).value.unwrap().value)
}

/// What was wrong, and where.
fn malformed(error: JsonError) -> (String, Place) {
    match error {
        JsonError::Malformed { what, place } => (what, place),
        other => panic!("{other}"),
    }
}

/// A request of a signal, decoded by prost and spelled as OTLP/JSON again.
fn spelled(signal: Signal, bytes: &[u8]) -> Result<Value, prost::DecodeError> {
    fn of<M: Message + Default>(
        bytes: &[u8],
        spell: fn(&M, Form) -> Value,
    ) -> Result<Value, prost::DecodeError> {
        M::decode(bytes).map(|request| {
            spell(&request, Form { sparse: true, integers_as_numbers: true, ..Form::default() })
        })
    }
    match signal {
        Signal::Logs => of(bytes, otlp_json::logs),
        Signal::Metrics => of(bytes, otlp_json::metrics),
        Signal::Profiles => of(bytes, otlp_json::profiles),
        Signal::Traces => of(bytes, otlp_json::traces),
    }
}

/// A body, as prost and the testkit understand what it was turned into.
fn respelled(signal: Signal, body: &str) -> Result<Value, JsonError> {
    to_protobuf(signal, body.as_bytes(), BYTES_MAX).map(|bytes| spelled(signal, &bytes).unwrap())
}

/// However a request is spelled, it is that request.
fn same_request<M: Message + Default + PartialEq>(signal: Signal, request: &M, spell: fn(&M, Form) -> Value) {
    for form in Form::all() {
        let body = spell(request, form).to_string();
        let bytes =
            to_protobuf(signal, body.as_bytes(), BYTES_MAX).unwrap_or_else(|error| panic!("{error}\n{body}"));
        assert!(M::decode(&*bytes).unwrap() == *request, "{form:?}\n{body}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn traces_survive(request in arb_request().prop_map(with_whole_ids)) {
        same_request(Signal::Traces, &request, otlp_json::traces);
    }

    #[test]
    fn metrics_survive(request in arbitrary_metrics()) {
        same_request(Signal::Metrics, &request, otlp_json::metrics);
    }

    #[test]
    fn logs_survive(request in arbitrary_logs()) {
        same_request(Signal::Logs, &request, otlp_json::logs);
    }

    #[test]
    fn profiles_survive(request in arbitrary_profiles()) {
        same_request(Signal::Profiles, &request, otlp_json::profiles);
    }

    /// Bytes of no meaning, and requests that were damaged: an error or protobuf that decodes, within the limit.
    #[test]
    fn damage_is_an_error_or_a_request(
        request in arbitrary_metrics(), at in any::<prop::sample::Index>(), byte in any::<u8>(), bytes_max in 0..4096_usize,
    ) {
        let mut body = otlp_json::metrics(&request, Form::default()).to_string().into_bytes();
        let at = at.index(body.len());
        body[at] = byte;
        if let Ok(bytes) = to_protobuf(Signal::Metrics, &body, bytes_max) {
            prop_assert!(bytes.len() <= bytes_max);
            prop_assert!(spelled(Signal::Metrics, &bytes).is_ok());
        }
    }
}

/// Every value of a oneof stays what it is, defaults included.
#[test]
fn any_values() {
    use any_value::Value as Any;
    for (body, value) in [
        (r"{}", None),
        (r#"{"intValue":null}"#, None),
        (r#"{"stringValue":null,"other":{}}"#, None),
        (r#"{"stringValue":""}"#, Some(Any::StringValue(String::new()))),
        (r#"{"stringValue":"\u00fc\ud83e\udd80\n"}"#, Some(Any::StringValue("ü🦀\n".to_owned()))),
        (r#"{"boolValue":false}"#, Some(Any::BoolValue(false))),
        (r#"{"intValue":"0"}"#, Some(Any::IntValue(0))),
        (r#"{"intValue":0}"#, Some(Any::IntValue(0))),
        (r#"{"intValue":-0}"#, Some(Any::IntValue(0))),
        (r#"{"intValue":"-9223372036854775808"}"#, Some(Any::IntValue(i64::MIN))),
        (r#"{"intValue":-9223372036854775808}"#, Some(Any::IntValue(i64::MIN))),
        (r#"{"intValue":9223372036854775807}"#, Some(Any::IntValue(i64::MAX))),
        (r#"{"intValue":1.0}"#, Some(Any::IntValue(1))),
        (r#"{"intValue":1e3}"#, Some(Any::IntValue(1000))),
        (r#"{"intValue":"1e3"}"#, Some(Any::IntValue(1000))),
        (r#"{"doubleValue":0}"#, Some(Any::DoubleValue(0.0))),
        (r#"{"doubleValue":-1}"#, Some(Any::DoubleValue(-1.0))),
        (r#"{"doubleValue":18446744073709551615}"#, Some(Any::DoubleValue(18_446_744_073_709_551_615.0))),
        (r#"{"doubleValue":"1.5"}"#, Some(Any::DoubleValue(1.5))),
        (r#"{"doubleValue":1e-400}"#, Some(Any::DoubleValue(0.0))),
        (r#"{"doubleValue":"Infinity"}"#, Some(Any::DoubleValue(f64::INFINITY))),
        (r#"{"doubleValue":"-Infinity"}"#, Some(Any::DoubleValue(f64::NEG_INFINITY))),
        (r#"{"bytesValue":""}"#, Some(Any::BytesValue(Vec::new()))),
        (r#"{"bytesValue":"AQID/w=="}"#, Some(Any::BytesValue(vec![1, 2, 3, 255]))),
        (r#"{"bytesValue":"AQID_w"}"#, Some(Any::BytesValue(vec![1, 2, 3, 255]))),
        (r#"{"stringValueStrindex":-1}"#, Some(Any::StringValueStrindex(-1))),
        (r#"{"arrayValue":{}}"#, Some(Any::ArrayValue(Default::default()))),
        (r#"{"kvlistValue":{"values":null}}"#, Some(Any::KvlistValue(Default::default()))),
        (r#"{"stringValue":"a","intValue":1}"#, Some(Any::IntValue(1))),
        (r#"{"intValue":1,"stringValue":"a"}"#, Some(Any::StringValue("a".to_owned()))),
        (r#"{"intValue":1,"intValue":2}"#, Some(Any::IntValue(2))),
    ] {
        assert_eq!(any_value(body), Ok(value), "{body}");
    }
    let Ok(Some(Any::DoubleValue(nan))) = any_value(r#"{"doubleValue":"NaN"}"#) else { panic!("no double") };
    assert!(nan.is_nan());
}

#[test]
fn arrays_keep_their_places() {
    use any_value::Value as Any;
    let Ok(Some(Any::ArrayValue(array))) = any_value(r#"{"arrayValue":{"values":[{"intValue":1},null,{}]}}"#)
    else {
        panic!("no array")
    };
    let one = AnyValue { value: Some(Any::IntValue(1)) };
    assert_eq!(array.values, [one, AnyValue::default(), AnyValue::default()]);
}

#[test]
fn members_of_a_span() {
    let plain = Span::default();
    for (members, expected) in [
        ("", plain.clone()),
        (r#""kind":2"#, Span { kind: 2, ..plain.clone() }),
        (r#""kind":-7"#, Span { kind: -7, ..plain.clone() }),
        (r#""kind":null"#, plain.clone()),
        (r#""flags":4294967295"#, Span { flags: u32::MAX, ..plain.clone() }),
        (r#""flags":"257""#, Span { flags: 257, ..plain.clone() }),
        (
            r#""startTimeUnixNano":"18446744073709551615""#,
            Span { start_time_unix_nano: u64::MAX, ..plain.clone() },
        ),
        (r#""endTimeUnixNano":18446744073709551615"#, Span { end_time_unix_nano: u64::MAX, ..plain.clone() }),
        (
            r#""endTimeUnixNano":9007199254740993"#,
            Span { end_time_unix_nano: (1 << 53) + 1, ..plain.clone() },
        ),
        (
            r#""spanId":"eEE19b7ec3c1b174""#,
            Span { span_id: b"\xee\xe1\x9b\x7e\xc3\xc1\xb1\x74".to_vec(), ..plain.clone() },
        ),
        (r#""parentSpanId":"","traceId":null"#, plain.clone()),
        (r#""name":"a","name":"b""#, Span { name: "b".to_owned(), ..plain.clone() }),
        (r#""\u006eame":"a""#, Span { name: "a".to_owned(), ..plain.clone() }),
        (r#""kind":2,"kind":0"#, plain.clone()),
        // Keys that are no keys.
        (r#""span_id":"0000000000000001","Kind":2,"kinds":[3],"":4,"6":5"#, plain.clone()),
        (r#""new":{"kind":[{"spanId":false}]},"newer":1e300,"flags":1"#, Span { flags: 1, ..plain.clone() }),
    ] {
        assert_eq!(span(members), Ok(expected), "{members}");
    }
}

/// Joined and merged as protobuf does with fields that come twice.
#[test]
fn keys_given_twice() {
    let once = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"a"},{"key":"b"}],"droppedAttributesCount":2}},{}]}"#;
    let twice = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"a"}],"droppedAttributesCount":1},
        "resource":{"attributes":[{"key":"b"}],"droppedAttributesCount":2}}],"resourceSpans":[{}]}"#;
    assert_eq!(traces(twice), traces(once));
    let point = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"histogram":{"dataPoints":[{
        "bucketCounts":[1,"2"],"explicitBounds":[],"bucketCounts":[3]}]}}]}]}]}"#;
    let spelled = respelled(Signal::Metrics, point).unwrap();
    let metric = &spelled["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0];
    assert_eq!(metric["histogram"], json!({ "dataPoints": [{ "bucketCounts": [1, 2, 3] }] }));
}

/// A sum of zero is not no sum.
#[test]
fn presence_is_kept() {
    let body = |point: &str| {
        format!(
            r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"histogram":{{"dataPoints":[{point}]}}}}]}}]}}]}}"#
        )
    };
    for (point, expected) in [
        (r"{}", json!({})),
        (r#"{"sum":null,"min":null}"#, json!({})),
        (r#"{"sum":0,"min":"0","max":0.0}"#, json!({ "sum": 0.0, "min": 0.0, "max": 0.0 })),
        (r#"{"count":"0"}"#, json!({})),
    ] {
        let spelled = respelled(Signal::Metrics, &body(point)).unwrap();
        let points =
            &spelled["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0]["histogram"]["dataPoints"];
        assert_eq!(*points, json!([expected]), "{point}");
    }
}

/// Values of a wrong kind, with the words of their errors.
#[test]
fn wrong_values() {
    for (members, what) in [
        (r#""kind":"SPAN_KIND_SERVER""#, "a string where an enum's integer belongs"),
        (r#""kind":"2""#, "a string where an enum's integer belongs"),
        (r#""kind":1.5"#, "number is not an integer that is known exactly"),
        (r#""kind":2147483648"#, "integer is out of the field's range"),
        (r#""flags":-1"#, "integer is out of the field's range"),
        (r#""flags":4294967296"#, "integer is out of the field's range"),
        (r#""flags":true"#, "a boolean where an integer belongs"),
        (r#""flags":"""#, "number is not an integer that is known exactly"),
        (r#""startTimeUnixNano":18446744073709551616"#, "number is not an integer that is known exactly"),
        (r#""startTimeUnixNano":"18446744073709551616""#, "integer is out of the field's range"),
        (r#""startTimeUnixNano":1.5e18"#, "number is not an integer that is known exactly"),
        (r#""startTimeUnixNano":"-1""#, "integer is out of the field's range"),
        (r#""name":1"#, "a number where a string belongs"),
        (r#""name":1.5"#, "a number where a string belongs"),
        (r#""name":{}"#, "an object where a string belongs"),
        (r#""name":["a"]"#, "an array where a string belongs"),
        (r#""traceId":"0""#, "id of 1 hex digits where 32 belong"),
        (r#""spanId":"00000000000000zz""#, "string is not hex"),
        (r#""spanId":"5pbUfsPBsXQ=""#, "id of 12 hex digits where 16 belong"),
        (r#""spanId":1"#, "a number where a string of hex belongs"),
        (r#""status":[]"#, "an array where an object belongs"),
        (r#""status":"ok""#, "a string where an object belongs"),
        (r#""status":0"#, "a number where an object belongs"),
        (r#""events":{}"#, "an object where an array belongs"),
        (r#""events":"""#, "a string where an array belongs"),
        (r#""events":1"#, "a number where an array belongs"),
        (r#""events":false"#, "a boolean where an array belongs"),
        (r#""events":[[]]"#, "an array where an object belongs"),
        (r#""events":[1]"#, "a number where an object belongs"),
    ] {
        let (found, place) = malformed(span(members).unwrap_err());
        let key = members.split('"').nth(1).unwrap();
        assert_eq!(found, what, "{members}");
        assert!(place.path.starts_with(&format!("resourceSpans[0].scopeSpans[0].spans[0].{key}")), "{place}");
    }
    for (value, what) in [
        (r#"{"boolValue":"true"}"#, "a string where true or false belongs"),
        (r#"{"boolValue":1}"#, "a number where true or false belongs"),
        (r#"{"boolValue":1.0}"#, "a number where true or false belongs"),
        (r#"{"intValue":true}"#, "a boolean where an integer belongs"),
        (r#"{"intValue":"one"}"#, "number is not an integer that is known exactly"),
        (r#"{"doubleValue":"+Inf"}"#, "number is not a finite double"),
        (r#"{"doubleValue":1e400}"#, "number out of range"),
        (r#"{"bytesValue":"*"}"#, "string is not base64"),
        (r#"{"bytesValue":[1]}"#, "an array where a string of base64 belongs"),
        (r#"{"arrayValue":[]}"#, "an array where an object belongs"),
        (r#""a""#, "a string where an object belongs"),
    ] {
        assert_eq!(malformed(any_value(value).unwrap_err()).0, what, "{value}");
    }
    let body = r#"{"dictionary":{"stringTable":["",null]}}"#;
    let (what, place) = malformed(respelled(Signal::Profiles, body).unwrap_err());
    assert_eq!((&*what, &*place.path), ("null in an array of scalars", "dictionary.stringTable[1]"));
}

/// Bodies that are not JSON, or no object.
#[test]
fn wrong_bodies() {
    for body in [
        "",
        " \n",
        "\u{feff}{}",
        "null",
        "true",
        "7",
        "\"\"",
        "\"a long text that no error repeats\"",
        "[]",
        "[{}]",
        "{",
        "{}}",
        "{} {}",
        "{}x",
        "{,}",
        "{\"a\":1,}",
        "{\"a\" 1}",
        "{a:1}",
        "{'a':1}",
        "{\"resourceSpans\":[{},]}",
        "{\"resourceSpans\":[{}",
        "{\"resourceSpans\":[}]",
        "{\"a\":01}",
        "{\"a\":+1}",
        "{\"a\":NaN}",
        "{\"a\":tru}",
        "{\"a\":\"\\x\"}",
        "{} // no comment",
    ] {
        let error = traces(body).unwrap_err();
        assert!(!error.to_string().contains("long text"), "{error}");
        malformed(error);
    }
    for name in [r"\u12", r"\ud83d\u12", "\n", "\\"] {
        malformed(span(&format!("\"name\":\"{name}\"")).unwrap_err());
    }
    for name in [&b"\xff"[..], b"\xc3", b"\xed\xa0\x80", b"\xc0\x80"] {
        let body = [b"{\"resourceSpans\":[{\"schemaUrl\":\"", name, b"\"}]}"].concat();
        malformed(to_protobuf(Signal::Traces, &body, BYTES_MAX).unwrap_err());
    }
}

/// A text that was cut in the middle of an emoji costs the half, not the request; errors keep their places.
#[test]
fn half_a_surrogate_pair_is_replaced() {
    for (name, read) in [
        (r"a\ud83d", "a\u{fffd}"),
        (r"\ude00b", "\u{fffd}b"),
        (r"\ud800\u0041", "\u{fffd}A"),
        (r"\ud83d\ud83d\ude00", "\u{fffd}\u{1f600}"),
        (r"\\ud83d\ud83d", "\\ud83d\u{fffd}"),
    ] {
        assert_eq!(span(&format!(r#""name":"{name}""#)).unwrap().name, read);
    }
    assert_eq!(span(r#""\ud83d":1,"name":"a""#).unwrap().name, "a");
    assert_eq!(malformed(span(r#""spanId":"\ud83d0000000000000""#).unwrap_err()).0, "string is not hex");
    let places = [r#""name":"\ud83d\ude00","flags":-1"#, r#""name":"\ud83d\ude3d\ud83d","flags":-1"#];
    let place = |members| malformed(span(members).unwrap_err()).1;
    assert_eq!(place(places[0]).column + 6, place(places[1]).column);
}

#[test]
fn errors_say_where() {
    let body = "{\n  \"resourceSpans\": [{}, {\n    \"scopeSpans\": [{\"spans\": [{\"flags\": \"x\"}]}]}]\n}";
    let error = traces(body).unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 3, column 43, resourceSpans[1].scopeSpans[0].spans[0].flags: number is not an integer that is known exactly"
    );
    assert_eq!(
        traces("[]").unwrap_err().to_string(),
        "line 1, column 2: invalid type: sequence, expected an object"
    );
    assert_eq!(traces("").unwrap_err().to_string(), "line 1, column 0: EOF while parsing a value");
}

/// The limit is that of the protobuf, to the byte.
#[test]
fn the_output_is_bounded() {
    let spans =
        vec![r#"{"name":"a name","flags":1,"attributes":[{"key":"k","value":{"bytesValue":"AQID"}}]}"#; 200]
            .join(",");
    let bodies = [
        (Signal::Traces, format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{spans}]}}]}}]}}"#)),
        (
            Signal::Profiles,
            format!(r#"{{"dictionary":{{"stringTable":[{}]}}}}"#, vec!["\"\""; 3000].join(",")),
        ),
        (
            Signal::Metrics,
            format!(
                r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"histogram":{{"dataPoints":[{{"bucketCounts":[{}]}}]}}}}]}}]}}]}}"#,
                vec!["0"; 3000].join(",")
            ),
        ),
    ];
    for (signal, body) in bodies {
        let whole = to_protobuf(signal, body.as_bytes(), usize::MAX).unwrap();
        assert_eq!(to_protobuf(signal, body.as_bytes(), whole.len()).as_ref(), Ok(&whole));
        for bytes_max in [0, 1, whole.len() / 2, whole.len() - 1] {
            let cut = to_protobuf(signal, body.as_bytes(), bytes_max);
            assert_eq!(cut, Err(JsonError::TooLarge { bytes_max }));
        }
    }
    assert_eq!(to_protobuf(Signal::Traces, b"{}", 0), Ok(Vec::new()));
}

/// Numbers of a megabyte are no way to keep a core busy.
#[test]
fn long_numbers() {
    let digits = "1".repeat(1 << 20);
    let zeros = "0".repeat(1 << 20);
    assert_eq!(
        malformed(any_value(&format!(r#"{{"doubleValue":{digits}}}"#)).unwrap_err()).0,
        "number out of range"
    );
    for (value, double) in [
        (format!("0.{zeros}1"), 0.0),
        (format!("1.{zeros}1"), 1.0),
        (format!("0.{digits}"), 1.0 / 9.0),
        (format!("\"0.{digits}\""), 1.0 / 9.0),
        (format!("{digits}e-{}", digits.len()), 1.0 / 9.0),
    ] {
        let read = any_value(&format!(r#"{{"doubleValue":{value}}}"#)).unwrap();
        assert_eq!(read, Some(any_value::Value::DoubleValue(double)));
    }
    for value in [digits.clone(), format!("\"{digits}\"")] {
        malformed(any_value(&format!(r#"{{"intValue":{value}}}"#)).unwrap_err());
    }
}

/// Values within values, `lists` deep, and text around them.
fn nested(lists: usize) -> String {
    any_value_body(&format!(
        "{}{{}}{}",
        r#"{"kvlistValue":{"values":[{"value":"#.repeat(lists),
        "}]}}".repeat(lists)
    ))
}

/// As deep as prost decodes, and no deeper: on a stack as small as a thread's may be.
#[test]
fn nesting_is_bounded() {
    let check = || {
        // Request, resource, scope, span, attribute, value: the last is five messages below the first.
        let lists_max = (NESTING_DEPTH_MAX as usize - 5) / 3;
        assert!(traces(&nested(lists_max)).is_ok());
        let (what, place) = malformed(traces(&nested(lists_max + 1)).unwrap_err());
        assert_eq!(what, "messages nested deeper than 100 levels");
        assert!(place.path.ends_with("kvlistValue.values[0].value"), "{place}");
        malformed(traces(&nested(10_000)).unwrap_err());
        // The values of an array are two messages apart.
        for (arrays, fits) in [(47, true), (48, false)] {
            let value =
                format!("{}{{}}{}", r#"{"arrayValue":{"values":["#.repeat(arrays), "]}}".repeat(arrays));
            assert_eq!(traces(&any_value_body(&value)).is_ok(), fits, "{arrays}");
        }
        // What is ignored is not followed.
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
            let ignored = format!("{}0{}", open.repeat(100_000), close.repeat(100_000));
            assert_eq!(span(&format!(r#""unknown":{ignored},"kind":3"#)).unwrap().kind, 3);
            malformed(span(&format!(r#""unknown":{}"#, open.repeat(100_000))).unwrap_err());
            malformed(span(&format!(r#""events":{ignored}"#)).unwrap_err());
            malformed(traces(&ignored).err().unwrap_or_else(|| span("\"kind\":[]").unwrap_err()));
        }
    };
    std::thread::Builder::new().stack_size(512 << 10).spawn(check).unwrap().join().unwrap();
}

/// What a server that keeps no presence of messages, and no ids of zeros, cannot tell apart.
fn without_presence(value: &mut Value) {
    const ONEOFS: [&str; 7] =
        ["arrayValue", "exponentialHistogram", "gauge", "histogram", "kvlistValue", "sum", "summary"];
    match value {
        Value::Array(values) => values.iter_mut().for_each(without_presence),
        Value::Object(members) => {
            members.values_mut().for_each(without_presence);
            members.retain(|key, value| {
                let empty = value.as_object().is_some_and(serde_json::Map::is_empty);
                let id = key.ends_with("Id")
                    && value.as_str().is_some_and(|id| id.bytes().all(|digit| b"0A=".contains(&digit)));
                !id && (!empty || ONEOFS.contains(&&**key))
            });
        }
        _ => {}
    }
}

/// What the Collector v0.161 answered and forwarded, by a record of a run: the same here, but where the case says why not.
#[test]
fn what_the_collector_makes_of_it() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../../e2e/json_cases/cases.json")).unwrap();
    assert!(cases.len() >= 80);
    let mut problems = Vec::new();
    for case in &cases {
        let signal = Signal::from_name(case["signal"].as_str().unwrap()).unwrap();
        let normal = |bytes: &[u8]| {
            let mut request = spelled(signal, bytes).unwrap();
            without_presence(&mut request);
            // The Collector forwards nothing that has no items.
            let items = ["\"spans\"", "\"dataPoints\"", "\"logRecords\"", "\"samples\""];
            let text = request.to_string();
            Some(if items.iter().any(|key| text.contains(key)) { request } else { json!({}) })
        };
        let ours = to_protobuf(signal, case["body"].as_str().unwrap().as_bytes(), BYTES_MAX);
        let ours_normal = ours.as_ref().ok().and_then(|bytes| normal(bytes));
        let theirs =
            case["collector"]["bytes"].as_str().and_then(|text| normal(&STANDARD.decode(text).unwrap()));
        if (ours_normal == theirs) == case["differs"].is_string() {
            problems.push(format!(
                "{}\n  here:      {ours_normal:?} {:?}\n  Collector: {theirs:?}",
                case["name"],
                ours.err()
            ));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
