//! OTLP on raw bytes: framed requests of every signal, and lazy views of traces. Nothing here decodes what nobody asks for,
//! changes a byte, or trusts the order of fields.
//!
//! [`RawRequest`] (bytes) -> [`FramedRequest`] (lengths proven, items counted) -> views (fields read on
//! demand).
//!
//! What holds for every view:
//! - It borrows the message and copies none of it; it is `Copy` and a few words large.
//! - Fields may come in any order. Of a scalar given several times the last one counts; a message field that
//!   is given several times where the schema has one is merged, so that attributes of all its parts are seen
//!   (protobuf encoding guide, "Last One Wins").
//! - Making a view of a small message (an event, an attribute, a resource) passes once over its own fields
//!   and holds known ones to their wire types; text, ids and nested messages are judged when they are asked
//!   for.
//! - Iterators yield `Result` and end after the first error.
//! - Offsets in errors count from the start of the message that [`RequestView::new`] was given.

mod attribute;
mod event;
pub mod fields;
mod framing;
mod ids;
mod level;
mod parts;
mod request;
mod resource;
mod signal;
mod span;

pub use attribute::{AnyValueView, ArrayView, KeyValueView, KeyValuesView};
pub use event::{EventView, LinkView, StatusCode, StatusView};
pub use framing::{FramedRequest, RawRequest};
pub use ids::{SpanId, TraceId};
pub(crate) use level::Level;
pub use request::{RequestView, ResourceSpansView, ScopeSpansView};
pub use resource::{ResourceView, ScopeView};
pub use signal::Signal;
pub use span::{SpanFields, SpanKind, SpanView};
