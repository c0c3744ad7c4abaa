//! What waits, and how much of it: the byte budget that admission reads, whose turn it is while there is no room, and the
//! per-core queues that senders drain.
//!
//! Nothing here knows what a request or a batch is.

mod budget;
mod lanes;
mod pressure;
mod turns;

pub use budget::{Budget, Charge};
pub use lanes::{Full, Lanes};
pub use pressure::Pressure;
pub use turns::{Room, Ticket, Turns, leaves_room};
