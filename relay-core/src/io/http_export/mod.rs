//! Forwarding over OTLP/HTTP, by hyper: one batch is one `POST` of protobuf, its body written from where the batch is.
//!
//! `template` (what all requests have in common) -> `channel` (one core's pool of connections, and one attempt) -> `dialler` (a new
//! connection: directly, or by `proxy` and its `tunnel`; one at a time, and not before the backoff is over) -> `answer` (what was
//! answered, as an [`Outcome`](crate::upstream::Outcome)). Must never follow a redirect, keep a cookie, or look into a payload.

mod answer;
mod channel;
mod dialler;
mod proxy;
mod template;
mod tunnel;
mod wire;

pub(crate) use channel::HttpChannel;
pub(crate) use template::HttpTemplate;
