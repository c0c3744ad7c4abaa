//! As much HTTP/2 as one unary gRPC method needs, from bytes to bytes: what `load` and `sink` have in common.
//!
//! Must never touch a socket beyond writing what is queued, and must never spend on a request what could be spent once on a connection:
//! load and sink share a core, and neither may be what is measured. Whoever wants HTTP/2 whole, or broken on purpose, takes
//! [`crate::raw`] or tonic.
//!
//! | module | holds |
//! | --- | --- |
//! | `frame` | frame heads, settings, and the control frames that are sent |
//! | `reader` | frames out of whatever pieces arrive; header blocks in one piece |
//! | `hpack` | RFC 7541: the decoder, and the few representations that are sent |
//! | `static_table` | RFC 7541, appendix A |
//! | `headers` | the fields that decide something, and a cache of blocks that were decoded before |
//! | `output` | what is to be written, without copying payloads |

pub(super) mod frame;
pub(super) mod headers;
pub(super) mod hpack;
pub(super) mod output;
pub(super) mod reader;
mod static_table;
