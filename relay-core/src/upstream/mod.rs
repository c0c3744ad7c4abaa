//! Decisions about forwarding: what an answer means, whether and when to try again, which address to use, when to
//! reconnect, how to isolate what an upstream refuses.
//!
//! Plain state machines: the time and the random number come in as arguments, nothing here waits or sends.

mod address;
mod balance;
mod decision;
mod endpoint;
mod isolation;
mod outcome;
mod reconnect;
mod retry;
mod retry_table;
mod ring;
mod size_words;
mod suspects;

pub use address::{Address, Gate, Place, Takes};
#[cfg(feature = "io")]
pub(crate) use balance::draw;
pub use balance::{Balancer, Pick, Table, Wish};
pub use decision::{Decision, Sent, decide};
pub use endpoint::{Endpoint, EndpointError, HostName, NameServer};
pub use isolation::{Blame, IsolationBudget, Turns};
pub use outcome::{Outcome, Verdict};
pub use reconnect::reconnect_delay;
pub use retry::{Retry, RetryPolicy};
pub use retry_table::RetryTable;
pub use ring::Ring;
pub use suspects::Suspects;
