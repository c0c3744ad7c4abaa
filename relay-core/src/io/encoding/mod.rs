//! The encodings that bodies come in and go out in: gzip, zlib, zstd, snappy and lz4, those that the Collector takes.
//!
//! [`inflate`] reads what a peer has sent: whole, or not at all. What it makes is bounded while it grows, what it needs besides by
//! [`INFLATE_WORK_BYTES_MAX`](crate::limits::INFLATE_WORK_BYTES_MAX). [`deflate`] writes what the Collector reads, as
//! [`Compression`](crate::config::Compression) says. Nothing here may know what the bytes mean.
//!
//! | encoding | gRPC | HTTP | members or frames one after the other | ends |
//! | --- | --- | --- | --- | --- |
//! | [`Encoding::Gzip`] | `gzip` | `gzip` | read to the last | with a sum |
//! | [`Encoding::Zlib`] | - | `zlib`, `deflate` | refused | with a sum |
//! | [`Encoding::Zstd`] | `zstd` | `zstd` | read to the last, skippable ones skipped | with a mark, mostly a sum |
//! | [`Encoding::Snappy`] | - | `snappy` | refused | at its length, no sum |
//! | [`Encoding::SnappyFramed`] | `snappy` | `x-snappy-framed`, `snappy` | read to the last | anywhere between chunks; sums |
//! | [`Encoding::Lz4`] | - | `lz4` | read to the last, skippable ones skipped | with a mark, mostly a sum |

mod deflate;
mod flate;
mod inflate;
mod lz4;
mod name;
mod output;
mod snappy;
mod zstd;

pub use crate::batch::Encoding;
pub use deflate::deflate;
pub use inflate::{InflateError, inflate, said_bytes};
pub use name::{GRPC_ACCEPT, HTTP_ACCEPT, Unsupported};
