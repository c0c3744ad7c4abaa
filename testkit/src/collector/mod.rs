//! A scripted OTLP/gRPC collector of all signals on tonic: what stands behind the relay in tests.
//!
//! It is another implementation of gRPC than the relay's server and client (tonic and hyper against bare h2) and keeps each
//! message's raw bytes. It must never be lenient: a message prost cannot read is answered as grpc-go answers it.
//!
//! ```no_run
//! use testkit::collector::{Collector, Reply, Script};
//! use std::time::Duration;
//!
//! let busy = Reply::unavailable(Some(Duration::from_millis(50)));
//! let mut collector = Collector::start(Script::sequence(vec![busy], Reply::Ok));
//! println!("send to {}", collector.addr());
//! assert_eq!(collector.wait_for_spans(18, Duration::from_secs(5)), 18);
//! collector.stop();
//! ```

mod record;
mod script;
mod server;
mod service;
mod signal;

pub use record::{Call, Outcome};
pub use script::{Reply, Script};
pub use server::{Collector, Options};
pub use signal::Signal;
