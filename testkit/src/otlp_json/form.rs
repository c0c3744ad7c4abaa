//! What JSON leaves open, and one answer each. Knows no message.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// How a request is spelled. The default is what SDKs write: numbers of 64 bits as strings, hex in lower case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// Integers of 64 bits are numbers.
    pub integers_as_numbers: bool,
    /// Doubles are strings.
    pub doubles_as_strings: bool,
    /// Hex in upper case, base64 of the URL-safe alphabet without padding, profile ids in hex.
    pub bytes_swapped: bool,
    /// Fields that hold their default are left out, where protobuf does not tell it from absence.
    pub sparse: bool,
    /// Every object has keys that no message has, snake_case ones among them, with values of every kind.
    pub unknown_keys: bool,
}

impl Form {
    /// All thirty-two.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let forms = (0..32).map(|bits| Self {
            integers_as_numbers: bits & 1 != 0,
            doubles_as_strings: bits & 2 != 0,
            bytes_swapped: bits & 4 != 0,
            sparse: bits & 8 != 0,
            unknown_keys: bits & 16 != 0,
        });
        forms.collect()
    }

    pub(super) fn finish(self, mut request: Value) -> Value {
        if self.sparse {
            drop_defaults(&mut request);
        }
        if self.unknown_keys {
            add_unknown_keys(&mut request);
        }
        request
    }

    pub(super) fn signed(self, value: i64) -> Value {
        if self.integers_as_numbers { json!(value) } else { json!(value.to_string()) }
    }

    pub(super) fn unsigned(self, value: u64) -> Value {
        if self.integers_as_numbers { json!(value) } else { json!(value.to_string()) }
    }

    pub(super) fn double(self, value: f64) -> Value {
        match value {
            _ if value.is_nan() => json!("NaN"),
            f64::INFINITY => json!("Infinity"),
            f64::NEG_INFINITY => json!("-Infinity"),
            _ if self.doubles_as_strings => json!(format!("{value:e}")),
            _ => json!(value),
        }
    }

    pub(super) fn id(self, id: &[u8]) -> Value {
        let digits = id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        json!(if self.bytes_swapped { digits.to_uppercase() } else { digits })
    }

    /// The id of a profile: ProtoJSON says base64, the Collector writes hex.
    pub(super) fn profile_id(self, id: &[u8]) -> Value {
        if self.bytes_swapped { self.id(id) } else { self.bytes(id) }
    }

    pub(super) fn bytes(self, bytes: &[u8]) -> Value {
        json!(if self.bytes_swapped { URL_SAFE_NO_PAD.encode(bytes) } else { STANDARD.encode(bytes) })
    }
}

/// Members that are there or not, whatever they hold: those of a oneof, and `optional` ones.
const PRESENCE: [&str; 18] = [
    "arrayValue",
    "asDouble",
    "asInt",
    "boolValue",
    "bytesValue",
    "doubleValue",
    "exponentialHistogram",
    "gauge",
    "histogram",
    "intValue",
    "kvlistValue",
    "max",
    "min",
    "stringValue",
    "stringValueStrindex",
    "sum",
    "summary",
    "value",
];

/// Removes members whose absence means what they say. A message that is there stays there, if empty.
fn drop_defaults(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(drop_defaults),
        Value::Object(members) => {
            members.values_mut().for_each(drop_defaults);
            members
                .retain(|key, value| !value.is_null() && (PRESENCE.contains(&&**key) || !is_default(value)));
        }
        _ => {}
    }
}

fn is_default(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        // A "0" may be a text.
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(_) => false,
    }
}

/// Adds members that no message has to every object.
fn add_unknown_keys(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(add_unknown_keys),
        Value::Object(members) => {
            members.values_mut().for_each(add_unknown_keys);
            let unknown = json!({
                "": 1e300,
                "Name": [[], [{ "name": "no" }]],
                "aa": null,
                "dropped_attributes_count": 7,
                "resource_spans": [{}],
                "string_value": "no",
                "trace_id": "no hex",
                "zz": { "key": true, "values": [-1, 1.5, "\u{0}\u{1F980}"] },
            });
            let Value::Object(unknown) = unknown else { return };
            members.extend(unknown);
        }
        _ => {}
    }
}
