//! OTLP/HTTP of a receiver, by hyper: HTTP/1.1 with keep-alive and HTTP/2 without TLS's negotiation (RFC 9113 section 3.3), protobuf
//! and JSON.
//!
//! `serve` (a connection) -> `head` (whether a request may come) -> `body` (its bytes, as slices of what was received) -> `request`
//! (framing and admission, shared with gRPC) -> `answer`. A request of protobuf takes the same way without a copy as over gRPC; one of
//! JSON is decoded by a thread of its own, [`super::transcode`].

mod answer;
mod body;
mod cors;
mod format;
mod head;
mod prefixed;
mod request;
mod serve;

pub(crate) use answer::configured_headers;
pub(crate) use format::Format;
pub(crate) use serve::{OnThisCore, Preface, serve, sniff};
