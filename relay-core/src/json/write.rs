//! Protobuf to OTLP/JSON in one pass, driven by the tables of the messages: a request of any signal as the text that the Collector and
//! [`to_protobuf`](super::to_protobuf) read. Must never hold a tree of values, or change what a request says: what protobuf merges is
//! merged, what it overwrites is left out.

mod text;

use std::slice;

use self::text::Text;
use super::schema::{self, Field, Kind, Message};
use crate::limits::NESTING_DEPTH_MAX;
use crate::otlp::Signal;
use crate::wire::{self, DecodeError, DecodeErrorKind, FieldValue, Input, Reader, WireType};

/// Bytes of a trace's id, and of a profile's.
const LONG_ID_BYTES: usize = 16;

/// Bytes of a span's id.
const SPAN_ID_BYTES: usize = 8;

/// How the text is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One line without a space, for programs: what the Collector's file exporter writes and its otlpjsonfile receiver reads.
    Line,
    /// A line for each value, indented by two spaces, for people.
    Indented,
}

/// Appends a request in protobuf, the `Export...ServiceRequest` of `signal`, to `out` as OTLP/JSON, without a line's end. Returns how
/// many fields no table knows: they are left out. The rules are those of the [module](super); what is there is written, also if it is
/// a default.
///
/// # Errors
/// The request is not protobuf of its signal, has text that is not UTF-8, an id of a wrong length, or is nested deeper than
/// [`NESTING_DEPTH_MAX`] messages; `out` is as it was. A value that another one overwrites is not looked into.
pub fn from_protobuf(
    signal: Signal,
    request: &[u8],
    layout: Layout,
    out: &mut Vec<u8>,
) -> Result<u64, DecodeError> {
    let start = out.len();
    let mut writer = Writer { text: Text::new(out, layout), depth: 0, unknown_fields: 0 };
    match writer.put_message(schema::request(signal), &[Reader::new(request)]) {
        Ok(()) => Ok(writer.unknown_fields),
        Err(error) => {
            out.truncate(start);
            Err(error)
        }
    }
}

struct Writer<'o> {
    text: Text<'o>,
    /// Messages that are open around the one being written.
    depth: u32,
    unknown_fields: u64,
}

/// The fields of a message from some place on. It may have come in several parts, which protobuf reads as one ("Last One Wins" in its
/// encoding guide).
#[derive(Clone)]
struct Fields<'p, 'a> {
    part: Reader<'a>,
    following: slice::Iter<'p, Reader<'a>>,
}

impl<'a> Fields<'_, 'a> {
    fn next(&mut self) -> Result<Option<wire::Field<'a>>, DecodeError> {
        loop {
            if let Some(field) = self.part.field()? {
                return Ok(Some(field));
            }
            let Some(part) = self.following.next() else { return Ok(None) };
            self.part = *part;
        }
    }
}

/// Where the values of a field are.
struct Found<'p, 'a> {
    /// From the first of them on.
    from: Fields<'p, 'a>,
    values: usize,
}

impl<'a> Found<'_, 'a> {
    fn each(
        &self,
        number: u32,
        mut visit: impl FnMut(wire::Field<'a>) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        let (mut fields, mut left) = (self.from.clone(), self.values);
        while left > 0
            && let Some(field) = fields.next()?
        {
            if field.number == number {
                left -= 1;
                visit(field)?;
            }
        }
        Ok(())
    }
}

impl Writer<'_> {
    /// Writes a message as an object whose keys are in the order of its table.
    fn put_message(&mut self, message: &'static Message, parts: &[Reader<'_>]) -> Result<(), DecodeError> {
        let found = self.find(message, parts)?;
        self.text.begin('{');
        for (field, found) in message.fields.iter().zip(found) {
            if let Some(found) = found {
                self.text.key(field.name);
                self.put_field(field, &found)?;
            }
        }
        self.text.end('}');
        Ok(())
    }

    /// Where each field of the table is, by its place in it.
    fn find<'p, 'a>(
        &mut self,
        message: &'static Message,
        parts: &'p [Reader<'a>],
    ) -> Result<Vec<Option<Found<'p, 'a>>>, DecodeError> {
        // On the heap: a hundred messages lie within each other on a small stack.
        let mut found: Vec<_> = message.fields.iter().map(|_| None).collect();
        let mut chosen = None;
        let mut fields = Fields { part: Reader::default(), following: parts.iter() };
        loop {
            let from = fields.clone();
            let Some(next) = fields.next()? else { return Ok(found) };
            let Some(index) = message.fields.iter().position(|field| field.number == next.number) else {
                self.unknown_fields += 1;
                continue;
            };
            let is_member = message.fields.get(index).is_some_and(|field| field.one_of);
            if is_member
                && let Some(before) = chosen.replace(index)
                && before != index
                && let Some(before) = found.get_mut(before)
            {
                *before = None;
            }
            if let Some(place) = found.get_mut(index) {
                place.get_or_insert(Found { from, values: 0 }).values += 1;
            }
        }
    }

    fn put_field(&mut self, field: &Field, found: &Found<'_, '_>) -> Result<(), DecodeError> {
        if field.repeated {
            self.text.begin('[');
            found.each(field.number, |value| self.put_elements(field.kind, &value))?;
            self.text.end(']');
            return Ok(());
        }
        if let Kind::Message(message) = field.kind
            && found.values > 1
        {
            return self.put_merged(message, field.number, found);
        }
        let mut last = None;
        found.each(field.number, |value| {
            last = Some(value);
            Ok(())
        })?;
        last.map_or(Ok(()), |value| self.put_value(field.kind, &value))
    }

    /// Writes one message for all that came.
    fn put_merged(
        &mut self,
        message: &'static Message,
        number: u32,
        found: &Found<'_, '_>,
    ) -> Result<(), DecodeError> {
        let mut parts = Vec::new();
        let mut offset = 0;
        found.each(number, |value| {
            offset = value.offset;
            let part = value.length_delimited()?;
            if !part.is_empty() {
                parts.push(part);
            }
            Ok(())
        })?;
        self.put_nested(message, &parts, (offset, number))
    }

    /// Writes what one field has of a repeated one: one value, or a run of packed ones. Both are read whatever the schema says (protobuf
    /// encoding guide, "Packed Repeated Fields").
    fn put_elements(&mut self, kind: Kind, field: &wire::Field<'_>) -> Result<(), DecodeError> {
        let mut run = match field.value {
            FieldValue::LengthDelimited(run) if kind.packs() => run,
            _ => {
                self.text.element();
                return self.put_value(kind, field);
            }
        };
        while !run.is_empty() {
            let bits = match kind.wire_type() {
                WireType::Fixed32 => fixed(&mut run, 4, field.number)?,
                WireType::Fixed64 => fixed(&mut run, 8, field.number)?,
                _ => run.varint(field.number)?,
            };
            self.text.element();
            self.put_scalar(kind, bits);
        }
        Ok(())
    }

    fn put_value(&mut self, kind: Kind, field: &wire::Field<'_>) -> Result<(), DecodeError> {
        let bits = match kind.wire_type() {
            WireType::Varint => field.varint()?,
            WireType::Fixed32 => u64::from(field.fixed32()?),
            WireType::Fixed64 => field.fixed64()?,
            _ => return self.put_delimited(kind, field),
        };
        self.put_scalar(kind, bits);
        Ok(())
    }

    fn put_delimited(&mut self, kind: Kind, field: &wire::Field<'_>) -> Result<(), DecodeError> {
        let value = field.length_delimited()?;
        match kind {
            Kind::Message(message) => {
                return self.put_nested(message, &[value], (field.offset, field.number));
            }
            Kind::String => self.text.string(value.text(field.number)?),
            // Not base64, as ProtoJSON has a profile's id: the Collector takes hex alone.
            Kind::ProfileId | Kind::TraceId => self.text.hex(id(value, LONG_ID_BYTES, field)?),
            Kind::SpanId => self.text.hex(id(value, SPAN_ID_BYTES, field)?),
            _ => self.text.base64(value.bytes()),
        }
        Ok(())
    }

    fn put_nested(
        &mut self,
        message: &'static Message,
        parts: &[Reader<'_>],
        (offset, number): (usize, u32),
    ) -> Result<(), DecodeError> {
        if self.depth == NESTING_DEPTH_MAX {
            let kind = DecodeErrorKind::TooDeep { max: NESTING_DEPTH_MAX.into() };
            return Err(DecodeError::new(offset, number, kind));
        }
        self.depth += 1;
        self.put_message(message, parts)?;
        self.depth -= 1;
        Ok(())
    }

    /// Writes a number or a truth value as the type in the schema has it: of 32 bits the low ones count, as for every decoder.
    fn put_scalar(&mut self, kind: Kind, bits: u64) {
        let low = (bits & 0xffff_ffff) as u32;
        match kind {
            Kind::Bool => self.text.bare(bits != 0),
            Kind::Double => self.text.double(f64::from_bits(bits)),
            Kind::Enum | Kind::Int32 => self.text.bare(low.cast_signed()),
            Kind::Fixed32 | Kind::Uint32 => self.text.bare(low),
            Kind::Int64 | Kind::Sfixed64 => self.text.quoted(bits.cast_signed()),
            Kind::Sint32 => self.text.bare((low >> 1).cast_signed() ^ -(low & 1).cast_signed()),
            _ => self.text.quoted(bits),
        }
    }
}

/// Takes `len` bytes as a number, little-endian.
fn fixed(run: &mut Reader<'_>, len: u64, number: u32) -> Result<u64, DecodeError> {
    let bytes = run.take(len, number)?;
    Ok(bytes.bytes().iter().rev().fold(0, |high, byte| high << 8 | u64::from(*byte)))
}

/// The bytes of an id, whole or none: no reader takes another length (OTLP specification, and the Collector).
fn id<'a>(value: Reader<'a>, expected: usize, field: &wire::Field<'_>) -> Result<&'a [u8], DecodeError> {
    let len = value.bytes().len();
    if len == expected || len == 0 {
        return Ok(value.bytes());
    }
    Err(DecodeError::new(field.offset, field.number, DecodeErrorKind::IdLength { expected, len }))
}
