//! Relays that forward over OTLP/HTTP to a scripted server, and what that server saw.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use relay_core::config::{Destination, HttpUpstreamConfig, HttpUrl, Proxy, UpstreamConfig};
use relay_core::otlp::Signal;
use relay_core::upstream::RetryPolicy;
use relay_core::{Relay, RelayHandle};
use testkit::http_upstream::{HttpCall, HttpReply, HttpUpstream};

/// What a server was asked, in order.
#[derive(Clone, Default)]
pub(crate) struct Asked(Arc<Mutex<Vec<HttpCall>>>);

impl Asked {
    pub(crate) fn calls(&self) -> Vec<HttpCall> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

/// A server that remembers its calls; `decide` also gets the number of the call, from 0.
pub(crate) fn server(
    decide: impl Fn(&HttpCall, usize) -> HttpReply + Send + Sync + 'static,
) -> (HttpUpstream, Asked) {
    let asked = Asked::default();
    let remember = asked.clone();
    let upstream = HttpUpstream::start(move |call| {
        let number = {
            let mut calls = remember.0.lock().unwrap();
            calls.push(call.clone());
            calls.len() - 1
        };
        decide(call, number)
    });
    (upstream, asked)
}

/// A server that answers each call with the next of `replies`, and success after the last.
pub(crate) fn scripted(replies: Vec<HttpReply>) -> (HttpUpstream, Asked) {
    server(move |_, number| replies.get(number).cloned().unwrap_or_else(|| HttpReply::status(200)))
}

/// An upstream for traces at `addr` that retries fast.
pub(crate) fn http_upstream(addr: SocketAddr) -> UpstreamConfig {
    url_upstream(&format!("http://{addr}/v1/traces"), |_| {})
}

/// One for traces at `url`, changed.
pub(crate) fn url_upstream(url: &str, change: impl FnOnce(&mut HttpUpstreamConfig)) -> UpstreamConfig {
    let mut http = HttpUpstreamConfig::new(HttpUrl::parse(url).unwrap());
    http.retry = RetryPolicy {
        initial_interval: Duration::from_millis(20),
        max_interval: Duration::from_millis(100),
        ..RetryPolicy::default()
    };
    http.proxy = Proxy::None;
    change(&mut http);
    let mut config = UpstreamConfig::http("otlp_http", http.url.clone());
    config.destination = Destination::Http(Box::new(http));
    config
}

/// A relay on one core that is given requests by [`submit`].
pub(crate) fn relay(upstream: UpstreamConfig) -> RelayHandle {
    Relay::builder().upstream(upstream).cores(1).start().unwrap()
}

/// Hands in a request of traces, and does not wait.
pub(crate) fn submit(relay: &RelayHandle, request: Bytes) {
    drop(relay.submit(Signal::Traces, request).unwrap());
}
