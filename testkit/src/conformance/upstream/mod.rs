//! A scripted upstream of either protocol, with a log of what arrived.
//!
//! What is answered depends on the marks in a message, so that data of one item never meets the script of another. What no script
//! names is accepted.

mod answer;
mod log;
mod server;

pub(super) use answer::Answer;
pub(super) use log::{Arrival, MARK_START};
pub(super) use server::{Protocol, Upstream, wait_until};
