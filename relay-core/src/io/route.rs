//! The way from one core to one upstream: which protocol is spoken, and one attempt to send a message. Must never decide whether
//! there is another attempt: `sender` asks `upstream` for that.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::channel::Channel;
use super::clock::{self, Dice};
use super::export::{Template, export};
use super::http_export::HttpChannel;
use super::intake::Intake;
use super::log_limit::LogLimit;
use super::shared::RouteConfig;
use crate::batch::{Batch, Encoding, Rope};
use crate::config::{BatchSink, Compression};
use crate::upstream::{Outcome, RetryPolicy};

/// Belongs to one core.
pub(crate) struct Route {
    way: Way,
    retry: RetryPolicy,
    attempt_timeout: Duration,
}

enum Way {
    Grpc(Rc<Channel>, Template),
    // The bound is that on connections: each carries one call; where HTTP/2 is agreed on, one is enough.
    Http(Box<HttpChannel>, usize),
    Sink(Arc<dyn BatchSink>),
}

impl Route {
    /// To the upstream of `intake`, whose number in logs is `about`.
    pub(crate) fn new((about, intake): (usize, &Intake), (log, dice): (Rc<LogLimit>, Rc<Dice>)) -> Self {
        let (upstream, counters) = (Arc::clone(&intake.upstream), Arc::clone(&intake.counters));
        let (way, retry, attempt_timeout) = match &intake.upstream.route {
            RouteConfig::Grpc(grpc) => {
                let (grpc, template) = &**grpc;
                let channel = Channel::new(grpc.endpoint.clone(), (about, upstream), counters, (log, dice));
                (Way::Grpc(channel, template.clone()), grpc.retry, grpc.timeout)
            }
            RouteConfig::Http(http) => {
                let (http, template) = &**http;
                let calls_max = http.connections.connections_max.unwrap_or(usize::MAX);
                let channel = HttpChannel::new((http, template), (about, upstream), counters, log);
                (Way::Http(Box::new(channel), calls_max), http.retry, http.timeout)
            }
            RouteConfig::Sink(sink) => (Way::Sink(Arc::clone(sink)), RetryPolicy::default(), Duration::MAX),
        };
        Self { way, retry, attempt_timeout }
    }

    /// How failed attempts are repeated.
    pub(crate) fn retry(&self) -> &RetryPolicy {
        &self.retry
    }

    /// Calls in flight, at most `configured`.
    pub(crate) fn calls_max(&self, configured: usize) -> usize {
        match &self.way {
            Way::Http(_, calls_max) => configured.min(*calls_max),
            Way::Grpc(..) | Way::Sink(_) => configured,
        }
    }

    /// How messages are to be compressed.
    pub(crate) fn compression(&self) -> Compression {
        match &self.way {
            Way::Grpc(_, template) => template.compression,
            Way::Http(channel, _) => channel.compression(),
            Way::Sink(_) => Compression::None,
        }
    }

    /// Whether the endpoint has a path, which may be a wrong one.
    pub(crate) fn has_path(&self) -> bool {
        matches!(self.way, Way::Http(..))
    }

    /// Sends the `message` of `batch`, encoded as it says, once. Waits for a connection until `give_up_at`.
    pub(crate) async fn attempt(
        &self,
        batch: &Batch,
        message: (&Rope, Option<Encoding>),
        give_up_at: Option<Instant>,
    ) -> Outcome {
        let give_up_at =
            if self.retry.enabled { give_up_at } else { Some(clock::now() + self.attempt_timeout) };
        match &self.way {
            Way::Grpc(channel, template) => self.attempt_grpc((channel, template), message, give_up_at).await,
            Way::Http(channel, _) => channel.export(message, self.attempt_timeout, give_up_at).await,
            Way::Sink(sink) => sink.deliver(batch),
        }
    }

    async fn attempt_grpc(
        &self,
        (channel, template): (&Rc<Channel>, &Template),
        message: (&Rope, Option<Encoding>),
        give_up_at: Option<Instant>,
    ) -> Outcome {
        let Some((link, generation)) = channel.ready(give_up_at).await else {
            return Outcome::Lost { cause: "no connection to the upstream".to_owned() };
        };
        let answers = channel.answers();
        match tokio::time::timeout(self.attempt_timeout, export(&link, template, message)).await {
            Ok(outcome) => {
                if !matches!(outcome, Outcome::Lost { .. }) {
                    channel.answered();
                }
                outcome
            }
            Err(_) => {
                if channel.answers() == answers {
                    channel.leave(generation);
                }
                Outcome::Lost { cause: format!("no answer within {:?}", self.attempt_timeout) }
            }
        }
    }
}
