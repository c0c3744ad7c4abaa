//! What waits, and how much of it: the byte budget that admission reads, and the per-core queues that senders drain.
//!
//! Nothing here knows what a request or a batch is.

mod budget;
mod lanes;

pub use budget::{Budget, Charge};
pub use lanes::{Full, Lanes};
