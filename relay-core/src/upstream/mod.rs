//! Decisions about forwarding: what an answer means, whether and when to try again, when to reconnect, how to isolate
//! what an upstream refuses.
//!
//! Plain state machines: the time and the random number come in as arguments, nothing here waits or sends.

mod decision;
mod endpoint;
mod outcome;
mod reconnect;
mod retry;
mod ring;

pub use decision::{Decision, Isolation};
pub use endpoint::{Endpoint, EndpointError, HostName, NameServer};
pub use outcome::{Outcome, Verdict};
pub use reconnect::Reconnect;
pub use retry::{Retry, RetryPolicy};
pub use ring::Ring;
