//! The connections of one core to one address of an OTLP/HTTP upstream, and one attempt to send a batch over them. Must never be used
//! by another core.

use std::error::Error as _;
use std::io;
use std::sync::Arc;

use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::TokioTimer;

use super::super::http::OnThisCore;
use super::super::shared::UpstreamShared;
use super::answer;
use super::dialler::{DialError, Dialler, Way};
use super::template::{Body, HttpTemplate};
use crate::batch::{Encoding, Rope};
use crate::config::{HttpConnections, HttpUpstreamConfig};
use crate::limits;
use crate::stats::UpstreamCounters;
use crate::upstream::{Outcome, Place};

/// How one upstream is connected to.
pub(crate) struct HttpConnector {
    way: Way,
    connections: HttpConnections,
    upstream: Arc<UpstreamShared>,
    counters: Arc<UpstreamCounters>,
}

impl HttpConnector {
    pub(crate) fn new(
        (config, template): (&HttpUpstreamConfig, &HttpTemplate),
        upstream: Arc<UpstreamShared>,
        counters: Arc<UpstreamCounters>,
    ) -> Self {
        let way = Way { url: config.url.clone(), via: template.via.clone() };
        Self { way, connections: config.connections, upstream, counters }
    }

    /// Connects to `place`, and has what more connections it takes made there when they are wanted.
    ///
    /// # Errors
    /// What the operating system says, or in words why a handshake failed.
    pub(crate) async fn connect(&self, place: &Place) -> io::Result<HttpClient> {
        let (upstream, counters) = (Arc::clone(&self.upstream), Arc::clone(&self.counters));
        let dialler = Dialler::new((self.way.clone(), place.clone()), upstream, counters);
        dialler.dial_ahead().await?;
        Ok(HttpClient(client(&self.connections, dialler)))
    }
}

/// A pool of connections to one address.
pub(crate) struct HttpClient(Client<Dialler, Body>);

/// How sending a request once has ended.
pub(crate) enum Tried {
    /// It was answered.
    Answered(Outcome),
    /// It was lost on the way, for this reason.
    Lost(String),
    /// There was no connection to send it over, for the reason given if this one was tried.
    NotConnected(Option<String>),
}

impl HttpClient {
    /// Sends a message, which is encoded as configured or as it came, once. Takes as long as the upstream does: the caller bounds it.
    pub(crate) async fn send(&self, template: &HttpTemplate, message: (&Rope, Option<Encoding>)) -> Tried {
        match self.0.request(template.request(message)).await {
            Ok(response) => match answer::outcome(response).await {
                Outcome::Lost { cause } => Tried::Lost(cause),
                outcome => Tried::Answered(outcome),
            },
            Err(error) if error.is_connect() => Tried::NotConnected(dial_error(&error)),
            Err(error) => Tried::Lost(chain(&error)),
        }
    }
}

/// `None` if nobody has dialled.
fn dial_error(error: &legacy::Error) -> Option<String> {
    match error.source().and_then(|source| source.downcast_ref::<DialError>()) {
        Some(DialError::GivenUp) => None,
        Some(DialError::Failed(error)) => Some(error.to_string()),
        None => Some(chain(error)),
    }
}

/// An error and what is behind it, each said once: hyper's own words name the place, not the cause.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = error.source();
    }
    text
}

fn client(connections: &HttpConnections, dialler: Dialler) -> Client<Dialler, Body> {
    let idle_max = if connections.keep_alive { connections.idle_max } else { 0 };
    Client::builder(OnThisCore)
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(connections.idle_timeout)
        .pool_max_idle_per_host(idle_max)
        .http1_max_buf_size(limits::READ_BYTES)
        .http2_max_header_list_size(limits::HEADER_LIST_BYTES_MAX)
        .http2_keep_alive_interval(connections.http2_ping_interval)
        .http2_keep_alive_timeout(connections.http2_ping_timeout)
        .http2_keep_alive_while_idle(true)
        .build(dialler)
}
