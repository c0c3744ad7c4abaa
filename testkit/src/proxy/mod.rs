//! A TCP proxy between sender and relay, or relay and collector, that breaks the network on command.
//!
//! Must never look into what it forwards. It runs on a thread and runtime of its own.
//!
//! ```no_run
//! # let upstream: std::net::SocketAddr = "127.0.0.1:4317".parse().unwrap();
//! use testkit::proxy::{Cut, Proxy};
//! let proxy = Proxy::start(upstream);
//! println!("send to {}", proxy.addr());
//! proxy.cut(Cut::Rst); // every connection dies
//! proxy.refuse(); // nobody listens any more
//! proxy.accept(); // the same port listens again
//! ```

mod control;
mod forward;

pub use control::{Cut, Proxy, Stall};
