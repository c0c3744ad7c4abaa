//! Protobuf's wire format over untrusted bytes, contiguous or cut into segments: the only code of the crate
//! that indexes what a peer sent. It must never panic, allocate per field, or know what a field means.
//!
//! Source of every rule: the protobuf encoding guide (protobuf.dev/programming-guides/encoding). Where
//! decoders differ, this one accepts whatever prost accepts: varints of up to ten bytes, also overlong ones;
//! field numbers 1 to 2^29-1; groups, which are skipped, nested at most
//! [`NESTING_DEPTH_MAX`](crate::limits::NESTING_DEPTH_MAX) deep.

mod error;
mod gathered;
mod input;
mod reader;
mod segment_reader;
mod segments;
mod varint;

pub use error::{DecodeError, DecodeErrorKind};
pub use gathered::Gathered;
pub use input::{Input, Tag, WireType, expect_wire_type, message, skip, tag};
pub use reader::{Field, FieldValue, Reader};
pub use segment_reader::SegmentReader;
pub use segments::{SegmentIndex, Segments};
pub(crate) use varint::read_varint;
pub use varint::{VARINT_BYTES_MAX, append_varint, varint_len};
