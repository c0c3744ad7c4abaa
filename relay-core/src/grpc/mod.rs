//! gRPC over HTTP/2, the part that is not HTTP/2: length-prefixed messages, status codes, timeouts, encodings, and the
//! small control messages (`google.rpc.Status`, `RetryInfo`, `partial_success`).
//!
//! Source of the rules: the "gRPC over HTTP2" protocol document and "Compression" of the gRPC core documentation.
//! No socket and no clock here; payloads that are relayed are never decoded here.

mod control;
mod message;
mod status;
mod timeout;

pub use control::{
    ExportResponse, PartialSuccess, retry_delay, status_bytes, status_details_with_retry, status_message,
};
pub use message::{Message, MessageAssembler, MessageError, PREFIX_BYTES, prefix};
pub use status::{Code, Status, decode_message, encode_message};
pub use timeout::{format_timeout, parse_timeout};
