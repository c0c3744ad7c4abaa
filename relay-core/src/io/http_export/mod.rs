//! Forwarding over OTLP/HTTP, by hyper: one batch is one `POST` of protobuf, its body written from where the batch is.
//!
//! `template` (what all requests have in common) -> `client` (one core's connections to one address, and one attempt) -> `dialler` (a
//! new connection: directly, or by `proxy` and its `tunnel`; one at a time) -> `answer` (what was answered, as an
//! [`Outcome`](crate::upstream::Outcome)). Which address, and when it is tried again, is `pool`'s. Must never follow a redirect, keep a cookie, or look into a payload.

mod answer;
mod client;
mod dialler;
mod proxy;
mod template;
mod tunnel;
mod wire;

pub(crate) use client::{HttpClient, HttpConnector, Tried};
pub(crate) use template::HttpTemplate;
