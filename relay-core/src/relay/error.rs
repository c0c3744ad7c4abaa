//! Why a relay does not start, or does not take what is handed in.

use crate::config::ListenAddress;
use crate::otlp::Signal;
use crate::wire::DecodeError;

/// Why a relay did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// There is nowhere to forward to.
    #[error("no upstream: add one with RelayBuilder::upstream")]
    NoUpstream,
    /// Two upstreams have the same name.
    #[error("two upstreams are named {0:?}")]
    DuplicateUpstream(String),
    /// The credentials that a receiver asks for cannot be used.
    #[error("receiver {receiver:?}: {message}")]
    Auth {
        /// The receiver.
        receiver: String,
        /// Why; shows no credentials.
        message: String,
    },
    /// A header that a receiver shall add to its answers is not valid HTTP.
    #[error(
        "receiver {receiver:?}: response header {name:?} is not a valid name or has a value that is not valid"
    )]
    ResponseHeader {
        /// The receiver.
        receiver: String,
        /// The header; its value is not shown.
        name: String,
    },
    /// A receiver names an upstream that was not added.
    #[error("receiver {receiver:?} names upstream {upstream:?}, which does not exist")]
    UnknownUpstream {
        /// The receiver.
        receiver: String,
        /// What it names.
        upstream: String,
    },
    /// A header of an upstream is not valid HTTP.
    #[error("upstream {upstream:?}: {message}")]
    Header {
        /// The upstream.
        upstream: String,
        /// What is wrong.
        message: String,
    },
    /// An address cannot be listened on.
    #[error("receiver {receiver:?} cannot listen on {address}: {error}")]
    Listen {
        /// The receiver.
        receiver: String,
        /// Its address.
        address: ListenAddress,
        /// What the operating system says.
        error: std::io::Error,
    },
    /// A certificate, a key or another setting of TLS cannot be used.
    #[error("{component}: tls: {message}")]
    Tls {
        /// The receiver or upstream.
        component: String,
        /// What is wrong, and with which file.
        message: String,
    },
    /// The directory for what is not delivered soon enough cannot be used.
    #[error("upstream {upstream:?}: {error}")]
    Spill {
        /// The upstream.
        upstream: String,
        /// What is wrong, and with which directory.
        error: std::io::Error,
    },
    /// The members of a tier have no disk behind them: what waits is sorted anew when they change.
    #[error("upstream {0:?}: a tier of members has no disk behind it; remove its spill")]
    SpillOfTier(String),
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

/// Why a submitted request was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// It is not an export request of its signal: do not try again.
    #[error("not an {}: {}", .0.request(), .1)]
    Malformed(Signal, DecodeError),
    /// No upstream takes the signal.
    #[error("no upstream takes {}", .0.name())]
    Unserved(Signal),
    /// The byte budget or a core's inbox is full: try again later.
    #[error("the relay is full; try again later")]
    Full,
    /// The relay is draining, or has.
    #[error("the relay is draining")]
    Draining,
}
