//! The messages of OTLP as data: JSON names, field numbers, kinds. Taken from opentelemetry-proto 1.10; a test holds every table against
//! what prost writes.

mod common;
mod logs;
mod metrics;
mod profiles;
mod traces;

use crate::otlp::Signal;
use crate::wire::WireType;

/// A message: its fields, in the order of the .proto file.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) fields: &'static [Field],
}

/// A field of a message.
#[derive(Debug)]
pub(super) struct Field {
    /// lowerCamelCase, as in JSON.
    pub(super) name: &'static str,
    pub(super) number: u32,
    pub(super) kind: Kind,
    pub(super) repeated: bool,
    /// It belongs to the oneof of its message: the last member of it that is there is the only one. No message has two oneofs.
    pub(super) one_of: bool,
}

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Bool,
    Bytes,
    Double,
    Enum,
    Fixed32,
    Fixed64,
    Int32,
    Int64,
    Message(&'static Message),
    ProfileId,
    Sfixed64,
    Sint32,
    SpanId,
    String,
    TraceId,
    Uint32,
    Uint64,
}

impl Kind {
    /// The wire type of a value that stands alone.
    pub(super) const fn wire_type(self) -> WireType {
        match self {
            Self::Bool
            | Self::Enum
            | Self::Int32
            | Self::Int64
            | Self::Sint32
            | Self::Uint32
            | Self::Uint64 => WireType::Varint,
            Self::Double | Self::Fixed64 | Self::Sfixed64 => WireType::Fixed64,
            Self::Bytes
            | Self::Message(_)
            | Self::ProfileId
            | Self::SpanId
            | Self::String
            | Self::TraceId => WireType::LengthDelimited,
            Self::Fixed32 => WireType::Fixed32,
        }
    }

    /// Whether repeated values share one field (protobuf encoding guide, "Packed Repeated Fields": all scalars in proto3).
    pub(super) const fn packs(self) -> bool {
        !matches!(self.wire_type(), WireType::LengthDelimited)
    }

    /// What belongs here, for errors.
    pub(super) const fn expected(self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::Bytes | Self::ProfileId => "a string of base64",
            Self::Double => "a number",
            Self::Enum => "an enum's integer",
            Self::Message(_) => "an object",
            Self::SpanId | Self::TraceId => "a string of hex",
            Self::String => "a string",
            _ => "an integer",
        }
    }
}

/// A field that is there once or not at all.
const fn one(name: &'static str, number: u32, kind: Kind) -> Field {
    Field { name, number, kind, repeated: false, one_of: false }
}

/// A field of the message's oneof.
const fn either(name: &'static str, number: u32, kind: Kind) -> Field {
    Field { name, number, kind, repeated: false, one_of: true }
}

/// A field that is there any number of times.
const fn many(name: &'static str, number: u32, kind: Kind) -> Field {
    Field { name, number, kind, repeated: true, one_of: false }
}

/// The request message of a signal.
pub(super) const fn request(signal: Signal) -> &'static Message {
    match signal {
        Signal::Logs => &logs::REQUEST,
        Signal::Metrics => &metrics::REQUEST,
        Signal::Profiles => &profiles::REQUEST,
        Signal::Traces => &traces::REQUEST,
    }
}
