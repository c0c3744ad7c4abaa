//! OTLP/JSON to protobuf and back, each in one pass: a visitor over serde_json writes protobuf as it reads, and a walk over protobuf writes
//! JSON, both driven by the same tables of the messages. The only part of the crate that reads payloads whole; it must never hold a tree
//! of values, or run on behalf of requests that came as protobuf and go on as such.
//!
//! Sources: OTLP specification, section "JSON Protobuf Encoding", and the ProtoJSON format (protobuf.dev/programming-guides/json) which
//! it builds on.
//!
//! - Keys are lowerCamelCase; all others are unknown and ignored with their values, whatever those are and however deep.
//! - `null` is an absent field. In an array it is an empty message, as the Collector has it, and an error where scalars belong: leaving
//!   it out would move its neighbours, such as the counts of buckets.
//! - Trace and span ids are hex of either case, whole or empty. A profile's id is base64, or hex as the Collector writes it.
//! - Integers are numbers or decimal strings, exact to 64 bits; `1.0` and `1e3` are integers below 2^53, where a double is one.
//! - Doubles are numbers, decimal strings, `"NaN"`, `"Infinity"`, `"-Infinity"`.
//! - Enums are integers; names are refused.
//! - Other bytes are base64, in the standard or the URL-safe alphabet, padded or not.
//! - Half a surrogate pair in a string is U+FFFD, as in the Collector.
//! - A key given twice is a field given twice: the last scalar counts, messages merge, arrays are joined.
//!
//! Of what may be spelled in two ways, writing chooses: hex in lower case, 64-bit integers as strings, the standard alphabet with padding,
//! and hex for a profile's id, since the Collector takes nothing else there.

mod error;
mod output;
mod read;
mod scalar;
mod schema;
mod surrogate;
mod write;

pub use error::{JsonError, Place};
pub use read::to_protobuf;
pub use write::{Layout, from_protobuf};
