//! Trace and span ids: fixed-size bytes, printed as OTLP/JSON and W3C Trace Context write them.

use std::fmt;

use crate::wire::{DecodeError, DecodeErrorKind, Input, Reader};

/// A trace id, 16 bytes; prints as 32 lowercase hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(pub [u8; 16]);

/// A span id, 8 bytes; prints as 16 lowercase hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(pub [u8; 8]);

impl TraceId {
    pub(super) fn read(value: Reader<'_>, field: u32) -> Result<Option<Self>, DecodeError> {
        read_id(value, field).map(|id| id.map(Self))
    }
}

impl SpanId {
    pub(super) fn read(value: Reader<'_>, field: u32) -> Result<Option<Self>, DecodeError> {
        read_id(value, field).map(|id| id.map(Self))
    }
}

/// An empty id is an absent one: proto3 does not tell them apart, and a root span has no parent.
#[inline]
fn read_id<const LEN: usize>(value: Reader<'_>, field: u32) -> Result<Option<[u8; LEN]>, DecodeError> {
    match <[u8; LEN]>::try_from(value.bytes()) {
        Ok(id) => Ok(Some(id)),
        Err(_) if value.is_empty() => Ok(None),
        Err(_) => {
            let kind = DecodeErrorKind::IdLength { expected: LEN, len: value.remaining() };
            Err(DecodeError::new(value.offset(), field, kind))
        }
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceId({self})")
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpanId({self})")
    }
}
