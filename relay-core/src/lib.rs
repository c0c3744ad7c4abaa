//! Relays OTLP as raw bytes, every signal of it: lazy views, batching by concatenation, per-core queues, forwarding.
//!
//! ```text
//! socket -> http2 -> grpc message -> framed request -> admission -> open batch -> per-core queue -> upstream -> outcome
//!                                      |                |                            |                        |
//!                                      +-- refuse <-----+                            +---- Receipt <----------+
//! ```
//!
//! What it is for: forwarding export requests of OTLP at the cost of moving their bytes. A request is proven down to
//! the boundary of its items ([`otlp::RawRequest::frame`]), never decoded; requests are merged by putting their bytes one after
//! the other ([`batch`]); a merged batch is written to the upstream from the memory that it was received in.
//!
//! What it is not: a pipeline framework. There are no processors. A [`otlp::Signal`] is data; views are there for traces alone.
//!
//! Start with [`Relay::builder`] to run a relay inside your service, or with [`otlp::RequestView`] to read spans without
//! decoding them. Every bound is in [`limits`].
//!
//! # Features
//! - `io` (default): sockets, threads, clocks; without it the crate is the pure core, without tokio's runtime.
//! - `simulation`: all sockets, threads and clocks are those of a simulated network, for tests. Never in a product.
#![forbid(unsafe_code)]

pub mod limits;

pub mod wire;

pub mod otlp;

pub mod edit;

pub mod json;

pub mod grpc;

pub mod http2;

pub mod queue;

pub mod batch;

pub mod spill;

pub mod upstream;

#[cfg(feature = "io")]
pub mod config;
#[cfg(feature = "io")]
mod io;
#[cfg(feature = "io")]
mod relay;
#[cfg(feature = "io")]
pub mod stats;

#[cfg(feature = "io")]
pub use io::encoding;
#[cfg(feature = "io")]
pub use io::listening::ListeningSocket;
#[cfg(feature = "io")]
pub use io::resolver::{Resolve, ResolveError, Resolving, lookup};
#[cfg(feature = "simulation")]
pub use io::simulation;
#[cfg(feature = "io")]
pub use relay::{Relay, RelayBuilder, RelayHandle, StartError, StatsReader, SubmitError};
