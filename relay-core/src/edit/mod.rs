//! New requests out of old bytes, without decoding: only tags and lengths are ever written anew, everything
//! else is a slice of its source.

mod compose;
mod partition;
mod routing_key;
mod split;

pub use partition::partition;
pub use routing_key::RoutingKey;
pub use split::{Split, SplitLimit, split, split_keeping};
