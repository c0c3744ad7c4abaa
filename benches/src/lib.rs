//! What the benches share. Measures only: nothing here is on the path of the data, and no speed is asserted anywhere, because
//! a machine that is busy with something else must not fail a build.
//!
//! | module | holds |
//! | --- | --- |
//! | [`payload`] | what is measured on: generated and recorded requests, in one piece and as they arrive |
//! | [`walk`] | visiting every field of every span, through the views and through prost's structs |
//! | [`side_by_side`] | two ways to do the same work, timed in turn, and their ratio |
//! | [`batching`] | requests in receive buffers, merged and read as h2 reads a batch |
//! | [`pipe`] | a TCP connection to oneself, one thread, 16 KiB frames |
//! | [`go_peer`] | the bytes that grpc-go sends, as an exporter and as an upstream |
//! | [`in_memory`] | a whole relay without sockets |
//! | [`relaying`] | a whole relay between a closed-loop load and a sink |

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench whose set-up fails must stop and say where"
)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the numbers here are small and our own, or only added up"
)]
#![allow(clippy::disallowed_methods, reason = "benches read clocks")]

pub mod batching;
pub mod go_peer;
pub mod in_memory;
pub mod payload;
pub mod pipe;
pub mod relaying;
pub mod side_by_side;
pub mod walk;

use std::time::Duration;

use criterion::Criterion;

/// The allocator of every bench, because it is relayd's: prost's decoding gains from it, too.
pub type Allocator = mimalloc::MiMalloc;

/// Criterion with times that keep a whole `cargo bench -p relay-benches` under four minutes.
#[must_use]
pub fn criterion() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
        .sample_size(20)
        .without_plots()
        // Filters, `--profile-time`, and trying each bench once when there is no `--bench`.
        .configure_from_args()
}

/// Whether this run measures. Without `--bench` on the command line (`cargo test --benches`) each bench is tried once.
#[must_use]
pub fn is_measuring() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}
