//! What the fuzz targets check: each function takes any bytes and panics when a law is broken.
//! `fuzz/fuzz_targets` runs them under libFuzzer, `tests/replay.rs` over the corpora in git.
//!
//! Nothing here may be lenient where the laws differ from what prost does; known differences are named where
//! they are.
#![forbid(unsafe_code)]
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a broken law must stop the run where it broke"
)]
#![allow(clippy::cast_possible_truncation, reason = "inputs are far smaller than 4 GiB")]

mod encodings;
mod grpc;
mod http2;
mod json;
mod merging;
mod reading;
pub mod rebuild;
mod spill;

pub use encodings::encodings;
pub use grpc::grpc_messages;
pub use http2::{http2_frames, http2_server};
pub use json::json;
pub use merging::{concat, split};
pub use reading::{framing, views_against_prost, wire};
pub use spill::{spill_damaged, spill_segment};

/// Takes any bytes and panics when a law is broken.
pub type Target = fn(&[u8]);

/// The targets, by the name of their corpus.
pub const TARGETS: [(&str, Target); 12] = [
    ("concat", concat),
    ("encodings", encodings),
    ("framing", framing),
    ("grpc_messages", grpc_messages),
    ("http2_frames", http2_frames),
    ("http2_server", http2_server),
    ("json", json),
    ("spill_damaged", spill_damaged),
    ("spill_segment", spill_segment),
    ("split", split),
    ("views_against_prost", views_against_prost),
    ("wire", wire),
];

/// Cuts `bytes` into owned pieces of 1 to 64 bytes, where depends on `seed` alone.
fn cut(bytes: &[u8], seed: u8) -> Vec<bytes::Bytes> {
    let mut state = u64::from(seed) + 1;
    let mut rest = bytes;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (piece, tail) = rest.split_at(((state >> 58) as usize + 1).min(rest.len()));
        pieces.push(bytes::Bytes::copy_from_slice(piece));
        rest = tail;
    }
    pieces
}
