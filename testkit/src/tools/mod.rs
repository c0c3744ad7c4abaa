//! The subcommands of the `testkit` program, for e2e runs and benches. Each takes its arguments and gives a JSON object.
//!
//! Must never print anything but that object to standard output: scripts read it.
//!
//! | command | does |
//! | --- | --- |
//! | [`replay`] | sends recorded requests byte for byte, one at a time, as a patient program would |
//! | [`load`] | sends as much as the receiver takes, or at a fixed rate, and measures latency |
//! | [`sink`] | receives, counts and, if asked, keeps every message |
//! | [`compare`] | finds what a sink lost, invented or got twice |

mod client;
pub mod compare;
pub mod dump;
pub mod load;
pub mod replay;
pub mod sink;
pub mod unique;
