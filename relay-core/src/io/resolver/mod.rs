//! The addresses of upstreams' names: looked up by a thread of its own, again and again, so that no sender ever waits for DNS and
//! no failure of a sender ever holds DNS up.

mod membership;
mod once;
mod system;
mod watch;

pub(crate) use membership::Membership;
pub use once::lookup;
pub(crate) use system::SystemResolver;
pub(crate) use watch::{Pace, Resolver};

use std::fmt::Debug;
use std::net::IpAddr;
use std::pin::Pin;

use crate::upstream::HostName;

/// The answer of [`Resolve::resolve`], when it comes.
pub type Resolving = Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, ResolveError>> + Send>>;

/// Finds the addresses of names: DNS by default, or an embedding service's own discovery
/// ([`crate::RelayBuilder::resolver`]).
pub trait Resolve: Send + Sync + Debug {
    /// All addresses of `name`, in any order. Called on a thread that is there for this alone and runs a tokio runtime; a lookup
    /// that takes longer than [`crate::limits::RESOLVE_TIMEOUT`] is dropped and counts as failed, and so does an empty
    /// answer. After a failure the addresses known before stay in use.
    fn resolve(&self, name: &HostName) -> Resolving;
}

/// Why a name has no addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// There is no such name, or it has no address.
    #[error("no address is known for this name")]
    Unknown,
    /// It could not be asked for.
    #[error("{0}")]
    Failed(String),
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
}
