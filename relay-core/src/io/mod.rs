//! Carries decisions out: sockets, threads, clocks, HTTP/2. It takes none of its own that `upstream`, `queue` or `batch`
//! could take.
//!
//! One OS thread per core runs one single-threaded runtime; everything in [`core`] and below belongs to that thread.
//! Only [`shared`] is seen by several threads.

pub(crate) mod addresses;
pub(crate) mod admission;
pub(crate) mod affinity;
pub(crate) mod apart;
pub(crate) mod auth;
pub(crate) mod call;
pub(crate) mod calls;
pub(crate) mod channel;
pub(crate) mod clock;
pub(crate) mod connection;
pub(crate) mod core;
pub(crate) mod core_thread;
pub(crate) mod death;
pub mod encoding;
pub(crate) mod export;
pub(crate) mod gather;
pub(crate) mod http;
pub(crate) mod http_export;
pub(crate) mod inbound;
pub(crate) mod incoming;
pub(crate) mod intake;
pub(crate) mod keyed;
pub(crate) mod lease;
pub(crate) mod link;
pub(crate) mod listener;
pub(crate) mod listening;
pub(crate) mod log_limit;
pub(crate) mod not_delivered;
pub(crate) mod origins;
pub(crate) mod pool;
pub(crate) mod reply;
pub(crate) mod resolver;
mod route;
pub(crate) mod sender;
pub(crate) mod shared;
#[cfg(feature = "simulation")]
pub mod simulation;
pub(crate) mod socket;
pub(crate) mod spill;
pub(crate) mod tls;
pub(crate) mod transcode;
pub(crate) mod turnstile;
pub(crate) mod unopened;
