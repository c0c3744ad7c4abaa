//! The OTLP specification as a suite against a running system: 66 items, each tried from outside.
//!
//! Receivers are tried with raw clients that see every byte of an answer; exporters by scripted upstreams, with data that goes in at
//! the system's own receiver. Every piece of data carries a mark of its own, so that what comes late or merged is still told
//! apart. The suite must never know which system it talks to, must never wait without a bound, and must never call an item passed
//! that it has not seen: what cannot be seen in this configuration is skipped, with the reason.
//!
//! | module | holds |
//! | --- | --- |
//! | [`catalog`] | the items: number, level, title, what each depends on |
//! | [`options`] | the command line: addresses, and what the system is configured to do |
//! | `world` | what an item works with: clients, upstreams, marks |
//! | `upstream` | a scripted upstream of either protocol with a log of what arrived |
//! | `payload`, `http1` | requests of every signal; an HTTP/1.1 client |
//! | `items` | how each item is decided |
//! | [`suite`], [`report`] | running the items; lines and JSON |

pub mod catalog;
mod http1;
mod items;
pub mod options;
mod payload;
pub mod report;
pub mod suite;
mod upstream;
pub mod verdict;
mod world;
