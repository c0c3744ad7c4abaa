//! HTTP/2 (RFC 9113) for the one shape that OTLP/gRPC has, a unary call: without sockets, clocks or tasks.
//!
//! [`Server`] is told what has come and says what happened ([`Event`]) and what is to be written; it forwards DATA as slices of
//! the buffer that was read, whole or not, so a payload is never gathered or copied here. What it does not know is ignored or
//! refused as the standard says; nothing is left to another implementation.

pub mod client;
pub mod frame;
pub mod hpack;
mod huffman;
mod request;
pub mod server;
mod table;

pub use client::{Answer, Client, Ended};
pub use hpack::Fields;
pub use request::{RequestHead, literal_field};
pub use server::{Event, Server, ServerConfig, Violation};
