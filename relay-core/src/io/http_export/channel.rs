//! The connections of one core to one OTLP/HTTP upstream, and one attempt to send a batch over them. Must never be used by another
//! core.

use std::error::Error as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::TokioTimer;

use super::super::clock;
use super::super::http::OnThisCore;
use super::super::log_limit::LogLimit;
use super::super::shared::UpstreamShared;
use super::answer;
use super::dialler::{DialError, Dialler};
use super::template::{Body, HttpTemplate};
use crate::batch::{Encoding, Rope};
use crate::config::{Compression, HttpConnections, HttpUpstreamConfig};
use crate::limits;
use crate::stats::UpstreamCounters;
use crate::upstream::Outcome;

/// A pool of connections, made when they are wanted.
pub(crate) struct HttpChannel {
    client: Client<Dialler, Body>,
    dialler: Dialler,
    template: HttpTemplate,
    upstream: Arc<UpstreamShared>,
    // For logs.
    url: String,
    log: Rc<LogLimit>,
    about: usize,
}

/// How sending a request once has ended.
enum Tried {
    /// Answered, or lost on the way.
    Ended(Outcome),
    /// There was no connection to send it over, for the reason given if this one was tried.
    NotConnected(Option<String>),
}

impl HttpChannel {
    /// `about` is the upstream's number in logs.
    pub(crate) fn new(
        (config, template): (&HttpUpstreamConfig, &HttpTemplate),
        (about, upstream): (usize, Arc<UpstreamShared>),
        counters: Arc<UpstreamCounters>,
        log: Rc<LogLimit>,
    ) -> Self {
        let target = (config.url.clone(), template.via.clone());
        let dialler = Dialler::new(target, Arc::clone(&upstream), counters);
        let client = client(&config.connections, dialler.clone());
        let url = config.url.to_string();
        // A query may hold a token.
        let url = url.split('?').next().unwrap_or_default().to_owned();
        Self { client, dialler, template: template.clone(), upstream, url, log, about }
    }

    pub(crate) fn compression(&self) -> Compression {
        self.template.compression
    }

    /// One attempt to send a message, which is encoded as configured or as it came; of `timeout` from when there is a connection or one is dialled. Waits through failed dials until `give_up_at`.
    pub(crate) async fn export(
        &self,
        message: (&Rope, Option<Encoding>),
        timeout: Duration,
        give_up_at: Option<Instant>,
    ) -> Outcome {
        loop {
            if let Some(at) = self.dialler.not_before() {
                clock::sleep_until(give_up_at.map_or(at, |give_up_at| at.min(give_up_at))).await;
            }
            if give_up_at.is_some_and(|give_up_at| give_up_at <= clock::now()) {
                return Outcome::Lost { cause: "no connection to the upstream".to_owned() };
            }
            match tokio::time::timeout(timeout, self.attempt(message)).await {
                Ok(Tried::Ended(outcome)) => {
                    match &outcome {
                        Outcome::Lost { .. } => self.dialler.failed(),
                        _ => self.dialler.answered(),
                    }
                    return outcome;
                }
                Ok(Tried::NotConnected(cause)) => self.log_failure(cause.as_deref()),
                Err(_) => return Outcome::Lost { cause: format!("no answer within {timeout:?}") },
            }
        }
    }

    async fn attempt(&self, message: (&Rope, Option<Encoding>)) -> Tried {
        match self.client.request(self.template.request(message)).await {
            Ok(response) => Tried::Ended(answer::outcome(response).await),
            Err(error) if error.is_connect() => Tried::NotConnected(dial_error(&error)),
            Err(error) => Tried::Ended(Outcome::Lost { cause: chain(&error) }),
        }
    }

    fn log_failure(&self, cause: Option<&str>) {
        if let Some(error) = cause
            && let Some(left_out) = self.log.allow(self.about, "dial")
        {
            let (exporter, endpoint) = (&self.upstream.config.name, &self.url);
            tracing::warn!(
                exporter,
                endpoint,
                error,
                left_out,
                "cannot connect to the upstream; holding data, retrying"
            );
        }
    }
}

/// `None` if nobody has dialled.
fn dial_error(error: &legacy::Error) -> Option<String> {
    match error.source().and_then(|source| source.downcast_ref::<DialError>()) {
        Some(DialError::TooEarly) => None,
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
