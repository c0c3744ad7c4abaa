//! A network that exists in this process only, for tests that fail by seed: hosts, listeners and TCP-like connections with latency,
//! bandwidth, bounded buffers, partitions, resets in mid-message and half-closed ends, in tokio's paused time. Behind the feature
//! `simulation`, and never in a product: with that feature all TCP of this crate is this.
//!
//! ```text
//! Network::enter(host, process) -- polls the process with its host as "here" --> TcpStream::connect, TcpListener::bind, Dice
//! ```
//!
//! One thread runs a whole world. All chance comes from the seed of its [`Network`], all time from the runtime's paused clock: the
//! same seed is the same run. Must never read a clock, a random source or a socket of the operating system.

mod clock;
mod here;
mod listener;
mod network;
mod pipe;
mod stream;

pub(crate) use clock::{now, wall};
pub use here::{Entered, here};
pub(crate) use here::{dice_seed, inherit};
pub use listener::TcpListener;
pub(crate) use listener::{bind_tcp, keep_new_away};
pub use network::{Link, Network};
pub use stream::TcpStream;
pub(crate) use stream::{keep_alive, notice_silence};
