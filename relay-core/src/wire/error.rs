//! What can be wrong with protobuf bytes, and where. Holds no payload byte: an error may be logged as it is.

use std::fmt;

use super::WireType;

/// Malformed protobuf: what is wrong, at which byte, in which field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DecodeError {
    /// Bytes from the start of the outermost message to the element that cannot be read.
    pub offset: usize,
    /// Number of the field being read; 0 when its number could not be read.
    pub field: u32,
    /// What is wrong.
    pub kind: DecodeErrorKind,
}

impl DecodeError {
    /// An error of `kind` at `offset` bytes from the start of the outermost message, in field `field` (0 =
    /// none).
    #[cold]
    pub const fn new(offset: usize, field: u32, kind: DecodeErrorKind) -> Self {
        Self { offset, field, kind }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field {
            0 => write!(f, "byte {}: {}", self.offset, self.kind),
            field => write!(f, "byte {}, field {field}: {}", self.offset, self.kind),
        }
    }
}

impl std::error::Error for DecodeError {}

/// The ways in which bytes are not the protobuf message that they should be. All are the sender's fault, and
/// none is cured by sending the same bytes again.
// Words for the tag and every field: a byte among them makes the optimizer take each result that could be an
// error apart into bytes, and walking a span then takes half as long again (measured).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[repr(u64)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// A tag's field number is 0 or more than 2^29-1.
    #[error("field number {number} is outside 1..=536870911")]
    FieldNumberOutOfRange {
        /// The number as it was read; a tag that does not fit 32 bits is given whole, shifted like any other.
        number: u64,
    },
    /// A group ends that did not begin, or ends under another field number than it began.
    #[error("end of a group that was not open")]
    GroupUnbalanced,
    /// A trace id is not 16, or a span id not 8 bytes long (and not empty either).
    #[error("id of {len} bytes where {expected} belong")]
    IdLength {
        /// Bytes that an id of this kind has.
        expected: usize,
        /// Bytes found.
        len: usize,
    },
    /// A string field holds something else than UTF-8.
    #[error("string is not UTF-8")]
    InvalidUtf8,
    /// A length-delimited field claims more bytes than its message has left.
    #[error("length {len} runs past the end ({left} bytes left)")]
    LengthPastEnd {
        /// Bytes claimed.
        len: u64,
        /// Bytes left in the enclosing message.
        left: usize,
    },
    /// Groups, or values inside values, nest deeper than
    /// [`NESTING_DEPTH_MAX`](crate::limits::NESTING_DEPTH_MAX).
    #[error("nested deeper than {max} levels")]
    TooDeep {
        /// Levels allowed.
        max: u64,
    },
    /// The message ends within a tag, a varint, a fixed-size value or a group.
    #[error("message ends in the middle of a field")]
    Truncated,
    /// Wire types 6 and 7 do not exist.
    #[error("wire type {wire_type} does not exist")]
    UnknownWireType {
        /// The wire type found.
        wire_type: u64,
    },
    /// A varint takes more than ten bytes or more than 64 bits.
    #[error("varint is longer than 64 bits")]
    VarintTooLong,
    /// A known field is encoded as another type than the schema says.
    #[error("wire type {actual} where {expected} belongs")]
    WireTypeMismatch {
        /// What the schema says.
        expected: WireType,
        /// What was found.
        actual: WireType,
    },
}
