//! The visitor: takes values as serde_json finds them and writes each as the field that its key names. Recursion is bounded by the
//! depth of messages; what is ignored is skipped without any.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::error::{Fault, JsonError};
use super::output::Output;
use super::scalar;
use super::schema::{self, Field, Kind, Message};
use super::surrogate;
use crate::otlp::Signal;
use crate::wire::WireType;

/// How much larger JSON is than its protobuf, at the least, where programs have written both: what is allocated at first.
const SHRINKS_BY: usize = 2;

/// Turns the OTLP/JSON body of a request into the same request in protobuf: the `Export...ServiceRequest` of `signal`, at most
/// `bytes_max` bytes. The rules are those of the [module](super).
///
/// # Errors
/// [`JsonError::Malformed`] for whatever is no JSON object or breaks a rule (OTLP specification, section "Bad Data": not to be tried
/// again), an empty body included; [`JsonError::TooLarge`].
pub fn to_protobuf(signal: Signal, json: &[u8], bytes_max: usize) -> Result<Vec<u8>, JsonError> {
    let result = read(signal, json, bytes_max);
    // serde_json takes no half of a surrogate pair. Who sends one pays for a second reading; nobody else for a look.
    if matches!(result, Err(JsonError::Malformed { .. }))
        && let Some(replaced) = surrogate::replaced(json)
    {
        return read(signal, &replaced, bytes_max);
    }
    result
}

fn read(signal: Signal, json: &[u8], bytes_max: usize) -> Result<Vec<u8>, JsonError> {
    let mut output = Output::new(json.len() / SHRINKS_BY, bytes_max);
    let mut input = serde_json::Deserializer::from_slice(json);
    // Its own bound counts arrays too; ours is in messages, like that of whoever decodes the result.
    input.disable_recursion_limit();
    let fields = Fields { message: schema::request(signal), output: &mut output };
    match input.deserialize_any(fields).and_then(|()| input.end()) {
        Ok(()) => Ok(output.into_bytes()),
        Err(error) => Err(output.into_error(&error)),
    }
}

/// Writes the members of an object as the fields of a message, without a tag or length before them.
struct Fields<'a> {
    message: &'static Message,
    output: &'a mut Output,
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { message, output } = self;
        while let Some(known) = map.next_key_seed(Key(message))? {
            match known {
                None => map.next_value::<IgnoredAny>().map(|_| ())?,
                Some(field) => {
                    let value = Value { field, element: false, output };
                    map.next_value_seed(value).inspect_err(|_| output.passed_key(field.name))?;
                }
            }
        }
        Ok(())
    }

    // serde's own refusals would quote the text.
    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Err(E::custom(Fault::WrongType { found: "a string", expected: "an object" }))
    }
}

/// Finds the field that a key names: `None` for an unknown one.
struct Key(&'static Message);

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Option<&'static Field>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Option<&'static Field>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.fields.iter().find(|field| field.name == key))
    }
}

/// Writes a value as `field`, or as an element of it.
struct Value<'a> {
    field: &'static Field,
    /// The value stands in the array of a repeated field.
    element: bool,
    output: &'a mut Output,
}

impl Value<'_> {
    fn wrong_type(&self, found: &'static str) -> Fault {
        let is_array = self.field.repeated && !self.element;
        let expected = if is_array { "an array" } else { self.field.kind.expected() };
        Fault::WrongType { found, expected }
    }

    /// An array's place is not taken by a single value.
    fn expect_single(&self, found: &'static str) -> Result<(), Fault> {
        if self.field.repeated && !self.element { Err(self.wrong_type(found)) } else { Ok(()) }
    }

    fn put_tag(&mut self, wire_type: WireType) -> Result<(), Fault> {
        self.output.put_varint(u64::from(self.field.number) << 3 | wire_type as u64)
    }

    /// The tag before a value; packed ones have theirs in common.
    fn put_value_tag(&mut self) -> Result<(), Fault> {
        let kind = self.field.kind;
        if self.element && kind.packs() { Ok(()) } else { self.put_tag(kind.wire_type()) }
    }

    fn put_bool(mut self, value: bool) -> Result<(), Fault> {
        self.expect_single("a boolean")?;
        match self.field.kind {
            Kind::Bool => {
                self.put_value_tag()?;
                self.output.put_varint(u64::from(value))
            }
            _ => Err(self.wrong_type("a boolean")),
        }
    }

    fn put_double(mut self, value: f64) -> Result<(), Fault> {
        self.put_value_tag()?;
        self.output.put_fixed64(value.to_bits())
    }

    fn put_number(self, value: f64) -> Result<(), Fault> {
        self.expect_single("a number")?;
        match self.field.kind {
            Kind::Double => self.put_double(value),
            kind if kind.packs() && !matches!(kind, Kind::Bool) => {
                self.put_integer(scalar::integer_of_double(value)?)
            }
            _ => Err(self.wrong_type("a number")),
        }
    }

    fn put_integer(mut self, value: i128) -> Result<(), Fault> {
        self.expect_single("a number")?;
        let kind = self.field.kind;
        let bits = match kind {
            // Rounds to the nearest, as reading the digits would.
            Kind::Double => (value as f64).to_bits(),
            Kind::Enum | Kind::Int32 => i64::from(i32::try_from(value)?).cast_unsigned(),
            Kind::Fixed32 | Kind::Uint32 => u64::from(u32::try_from(value)?),
            Kind::Fixed64 | Kind::Uint64 => u64::try_from(value)?,
            Kind::Int64 | Kind::Sfixed64 => i64::try_from(value)?.cast_unsigned(),
            Kind::Sint32 => zigzag(i32::try_from(value)?),
            _ => return Err(self.wrong_type("a number")),
        };
        self.put_value_tag()?;
        match kind.wire_type() {
            WireType::Varint => self.output.put_varint(bits),
            WireType::Fixed32 => self.output.put_fixed32(u32::try_from(bits)?),
            _ => self.output.put_fixed64(bits),
        }
    }

    fn put_text(mut self, text: &str) -> Result<(), Fault> {
        self.expect_single("a string")?;
        let kind = self.field.kind;
        match kind {
            // Names MUST NOT be used (OTLP specification, "JSON Protobuf Encoding").
            Kind::Bool | Kind::Enum | Kind::Message(_) => return Err(self.wrong_type("a string")),
            Kind::Double => return self.put_double(scalar::double_of_text(text)?),
            _ if kind.packs() => return self.put_integer(scalar::integer_of_text(text)?),
            _ => {}
        }
        self.put_value_tag()?;
        match kind {
            Kind::Bytes => self.output.put_bytes(&scalar::bytes_of_base64(text)?),
            Kind::ProfileId => self.output.put_bytes(&scalar::profile_id_of_text(text)?),
            Kind::SpanId => self.put_id::<8>(text),
            Kind::TraceId => self.put_id::<16>(text),
            _ => self.output.put_bytes(text.as_bytes()),
        }
    }

    fn put_id<const LEN: usize>(self, text: &str) -> Result<(), Fault> {
        if text.is_empty() {
            return self.output.put_bytes(&[]);
        }
        let mut id = [0; LEN];
        scalar::id_of_hex(text, &mut id)?;
        self.output.put_bytes(&id)
    }

    fn put_null(mut self) -> Result<(), Fault> {
        match self.field.kind {
            _ if !self.element => Ok(()),
            Kind::Message(_) => {
                self.put_value_tag()?;
                self.output.put_bytes(&[])
            }
            _ => Err(Fault::NullElement),
        }
    }
}

/// How `sint32` is written (protobuf encoding guide, "Signed Integers").
fn zigzag(value: i32) -> u64 {
    u64::from((value << 1 ^ value >> 31).cast_unsigned())
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.field.kind.expected())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.put_null().map_err(E::custom)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.put_bool(value).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.put_integer(i128::from(value)).map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.put_integer(i128::from(value)).map_err(E::custom)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.put_number(value).map_err(E::custom)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.put_text(text).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut array: A) -> Result<(), A::Error> {
        if !self.field.repeated || self.element {
            return Err(Error::custom(self.wrong_type("an array")));
        }
        let packed = self.field.kind.packs();
        let start = if packed {
            // Length-delimited, whatever its elements are.
            self.put_tag(WireType::LengthDelimited)
                .and_then(|()| self.output.open())
                .map_err(Error::custom)?
        } else {
            0
        };
        let Self { field, output, .. } = self;
        let mut index = 0;
        while array
            .next_element_seed(Value { field, element: true, output })
            .inspect_err(|_| output.passed_index(index))?
            .is_some()
        {
            index += 1;
        }
        if packed { output.close(start).map_err(Error::custom) } else { Ok(()) }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, map: A) -> Result<(), A::Error> {
        let Kind::Message(message) = self.field.kind else {
            return Err(Error::custom(self.wrong_type("an object")));
        };
        self.expect_single("an object").map_err(Error::custom)?;
        self.put_value_tag().map_err(Error::custom)?;
        let start = self.output.open_message().map_err(Error::custom)?;
        Fields { message, output: &mut *self.output }.visit_map(map)?;
        self.output.close_message(start).map_err(Error::custom)
    }
}
