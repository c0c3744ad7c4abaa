//! The subcommands of the `testkit` program, for e2e runs and benches. Each takes its arguments and gives a JSON object.
//!
//! Must never print anything but that object to standard output: scripts read it.
//!
//! | command | does |
//! | --- | --- |
//! | [`replay`] | sends recorded requests byte for byte, one at a time, as a patient program would |
//! | [`load`] | sends as much as the receiver takes, or at a fixed rate, and measures latency |
//! | [`sink`] | receives, counts and, if asked, keeps every message |
//! | [`tcp_relay`] | carries bytes between connections: the floor of what a relay costs |
//! | [`dns`] | answers DNS queries from a file that may change |
//! | [`certificates`] | makes keys and certificates for runs with TLS |
//! | [`numbered`] | sends spans that bear numbers from several clients, as patient programs would |
//! | [`tally`] | finds what became of them, and what arrived of every service |
//! | [`probe`] | connects every few milliseconds: how long is nobody there? |
//! | [`compare`] | finds what a sink lost, invented or got twice |
//!
//! `load` and `sink` speak HTTP/2 through the few frames of `http2`, `load` HTTP/1.1 besides, straight on epoll (`poll`); the others are
//! on the h2 crate.

pub mod certificates;
mod client;
pub mod compare;
pub mod dns;
pub mod dump;
mod ending;
mod http2;
mod listening;
pub mod load;
pub mod numbered;
mod poll;
pub mod probe;
mod process;
pub mod replay;
pub mod sink;
pub mod tally;
pub mod tcp_relay;
pub mod unique;
