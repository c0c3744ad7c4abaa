//! A scripted HTTP/1.1 server by hand: what stands behind the relay's OTLP/HTTP exporter in tests.
//!
//! It shares no code with hyper, shows every byte of a request as it came, and can break off where no library would. It must never
//! know OTLP: paths, encodings and answers are the script's business.
//!
//! ```no_run
//! use testkit::http_upstream::{HttpReply, HttpUpstream};
//!
//! let mut upstream = HttpUpstream::start(|call| {
//!     println!("{} {}: {} bytes over connection {}", call.method, call.target, call.body.len(), call.connection);
//!     HttpReply::status(200)
//! });
//! println!("send to http://{}", upstream.addr());
//! upstream.stop();
//! ```

pub(crate) mod message;
mod script;
mod server;

pub use script::{HttpCall, HttpReply};
pub use server::HttpUpstream;
