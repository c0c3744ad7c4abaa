//! `exporters.otlp_http` (Collector, otlphttpexporter and confighttp.ClientConfig). Must never connect.

use std::time::Duration;

use relay_core::otlp::Signal;
use relay_core::upstream::RetryPolicy;

use super::compression::{self, Compression, Passthrough};
use crate::config::auth::ClientAuth;
use crate::config::extensions::Extensions;
use crate::config::headers::Carrier;
use crate::config::node::Node;
use crate::config::queue::{self, SendingQueue, Statuses};
use crate::config::secret::Secret;
use crate::config::section::Section;
use crate::config::tls::{self, TlsClient};
use crate::config::url::{HttpUrl, Proxy, parse_proxy, parse_url};

/// OTLP over HTTP to an upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct OtlpHttpExporter {
    /// `traces_endpoint`, or `endpoint` and `/v1/traces`. At least one of the four is there.
    pub traces_url: Option<HttpUrl>,
    /// `metrics_endpoint`, or `endpoint` and `/v1/metrics`.
    pub metrics_url: Option<HttpUrl>,
    /// `logs_endpoint`, or `endpoint` and `/v1/logs`.
    pub logs_url: Option<HttpUrl>,
    /// `profiles_endpoint`, or `endpoint` and `/v1development/profiles`.
    pub profiles_url: Option<HttpUrl>,
    /// `tls`, for URLs with https.
    pub tls: TlsClient,
    /// `compression`. Default gzip.
    pub compression: Compression,
    /// `compression_params.level`: 1 to 9, for zstd 1 to 22. `None` (the default, or 0) is the encoder's own.
    pub compression_level: Option<i32>,
    /// `compressed_passthrough`. Default off.
    pub passthrough: Passthrough,
    /// `timeout` of one request. Default 30 s; `None` (given as 0) means that it may take forever.
    pub timeout: Option<Duration>,
    /// `headers`: sent with every request, names in lower case, in the order of the file. `host` and `user-agent` replace
    /// relayd's own.
    pub headers: Vec<(String, Secret)>,
    /// `auth`: a header that changes when its file does. Never the name of one in `headers`.
    pub auth: Option<ClientAuth>,
    /// `proxy_url`. `None` (the default) leaves it to HTTP_PROXY, HTTPS_PROXY and NO_PROXY of the environment.
    pub proxy: Option<Proxy>,
    /// How connections are kept.
    pub connections: HttpConnections,
    /// `retry_on_failure`.
    pub retry: RetryPolicy,
    /// `sending_queue`; `None` if it is not enabled: a request is acknowledged when the upstream has answered.
    pub queue: Option<SendingQueue>,
}

/// The pool of connections of an exporter. Defaults are those of Go's `http.DefaultTransport`, as in the Collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConnections {
    /// `max_idle_conns`, over all hosts. Default 100; `None` (given as 0) is unbounded.
    pub idle_max: Option<usize>,
    /// `max_idle_conns_per_host`. Default 2, also for 0.
    pub idle_per_host_max: usize,
    /// `max_conns_per_host`, idle or not. `None` (the default, or 0) leaves it to `sending_queue.num_consumers`.
    pub per_host_max: Option<usize>,
    /// `idle_conn_timeout`: how long an idle one is kept. Default 90 s; `None` (given as 0) is for ever.
    pub idle_timeout: Option<Duration>,
    /// False for `disable_keep_alives: true`: a connection for each request.
    pub keep_alives: bool,
    /// `force_attempt_http2`: over TLS, HTTP/2 is offered and HTTP/1.1 is the way back. Default true.
    pub http2: bool,
    /// `http2_read_idle_timeout`: after how long without a frame a ping is sent. `None` (the default, or 0): never.
    pub http2_read_idle_timeout: Option<Duration>,
    /// `http2_ping_timeout`: how long its answer may take. Default 15 s, also for 0.
    pub http2_ping_timeout: Duration,
}

impl Default for HttpConnections {
    fn default() -> Self {
        Self {
            idle_max: Some(100),
            idle_per_host_max: 2,
            per_host_max: None,
            idle_timeout: Some(Duration::from_secs(90)),
            keep_alives: true,
            http2: true,
            http2_read_idle_timeout: None,
            http2_ping_timeout: Duration::from_secs(15),
        }
    }
}

impl OtlpHttpExporter {
    /// Where a signal is sent; `None` if neither `endpoint` nor the signal's own is given.
    #[must_use]
    pub fn url(&self, signal: Signal) -> Option<&HttpUrl> {
        match signal {
            Signal::Traces => self.traces_url.as_ref(),
            Signal::Metrics => self.metrics_url.as_ref(),
            Signal::Logs => self.logs_url.as_ref(),
            Signal::Profiles => self.profiles_url.as_ref(),
        }
    }

    /// All URLs that are given.
    pub fn urls(&self) -> impl Iterator<Item = &HttpUrl> {
        Signal::ALL.into_iter().filter_map(|signal| self.url(signal))
    }
}

/// Reads the exporter. `None` if an error was recorded that leaves no URL.
pub(super) fn read(mut section: Section<'_>, extensions: &Extensions) -> Option<OtlpHttpExporter> {
    let [traces_url, metrics_url, logs_url, profiles_url] = read_urls(&mut section);
    let urls: Vec<&HttpUrl> =
        [&traces_url, &metrics_url, &logs_url, &profiles_url].into_iter().flatten().collect();
    let no_url = urls.is_empty();
    let tls = read_tls(&mut section, urls.iter().any(|url| url.tls));
    let (compression, compression_level) = compression::read_http(&mut section);
    let passthrough = compression::read_passthrough(&mut section);
    let timeout = section.duration("timeout").unwrap_or(Duration::from_secs(30));
    let (headers, auth) = super::read_headers_and_auth(&mut section, Carrier::HttpRequest, extensions);
    if auth.is_some() && urls.iter().any(|url| !url.tls) {
        section.warn("auth", "sent in plaintext: the endpoint is http://");
    }
    let proxy = section.text("proxy_url").filter(|text| !text.is_empty()).and_then(|text| {
        let parsed = parse_proxy(text);
        parsed.map_err(|what| section.error("proxy_url", what)).ok()
    });
    let connections = read_connections(&mut section);
    let retry = section.section("retry_on_failure");
    let retry = retry.map_or_else(RetryPolicy::default, |retry| queue::read_retry(retry, Statuses::Http));
    let queue = match section.section("sending_queue") {
        Some(queue) => queue::read_queue(queue, extensions),
        None => Some(SendingQueue::default()),
    };
    read_encoding(&mut section);
    if section.optional("cookies").is_some() {
        section.error("cookies", "not supported: relayd keeps no cookies; remove it");
    }
    super::read_rest(&mut section);
    section.finish();
    (!no_url).then_some(OtlpHttpExporter {
        traces_url,
        metrics_url,
        logs_url,
        profiles_url,
        tls,
        compression,
        compression_level,
        passthrough,
        timeout: (!timeout.is_zero()).then_some(timeout),
        headers,
        auth,
        proxy,
        connections,
        retry,
        queue,
    })
}

/// The URLs in the order of [`Signal::ALL`]. All are missing after an error only.
fn read_urls(section: &mut Section<'_>) -> [Option<HttpUrl>; 4] {
    const KEYS: [(Signal, &str); 4] = [
        (Signal::Traces, "traces_endpoint"),
        (Signal::Metrics, "metrics_endpoint"),
        (Signal::Logs, "logs_endpoint"),
        (Signal::Profiles, "profiles_endpoint"),
    ];
    let base = read_url(section, "endpoint");
    if base.as_ref().is_some_and(|base| base.path_and_query.contains('?')) {
        section.error("endpoint", "a path is put behind it, so it has no query (?); use traces_endpoint");
    }
    let urls =
        KEYS.map(|(signal, key)| read_url(section, key).or_else(|| Some(below(base.as_ref()?, signal))));
    let mut is_absent = |key| section.value(key).is_none_or(Node::is_empty);
    // A URL that is wrong is its own error.
    if KEYS.iter().all(|(_, key)| is_absent(key)) && is_absent("endpoint") {
        section.error("endpoint", "an otlp_http exporter needs an endpoint, as in http://otel-gateway:4318");
    }
    urls
}

/// The URL of a key; empty counts as absent.
fn read_url(section: &mut Section<'_>, key: &'static str) -> Option<HttpUrl> {
    let text = section.text(key).filter(|text| !text.is_empty())?;
    parse_url(text).map_err(|what| section.error(key, what)).ok()
}

/// The URL of a signal below the base (OTLP exporter specification, Endpoint URLs for OTLP/HTTP).
fn below(base: &HttpUrl, signal: Signal) -> HttpUrl {
    let path = base.path_and_query.strip_suffix('/').unwrap_or(&base.path_and_query);
    HttpUrl { path_and_query: format!("{path}{}", signal.http_path()), ..base.clone() }
}

/// The URL decides whether there is TLS, as in the Collector; `insecure` says nothing here.
fn read_tls(section: &mut Section<'_>, used: bool) -> TlsClient {
    let (tls, insecure) = section.section("tls").map_or_else(Default::default, tls::read_client);
    if insecure && used {
        section.warn("tls", "insecure is without effect: https:// in the endpoint asks for TLS");
    }
    if !used && tls != TlsClient::default() {
        section.warn("tls", "sent in plaintext: the endpoint is http://, so these keys have no effect");
    }
    tls
}

fn read_encoding(section: &mut Section<'_>) {
    match section.text("encoding") {
        None | Some("proto") => {}
        Some("json") => section.error(
            "encoding",
            "not supported: relayd forwards protobuf, which every OTLP/HTTP server takes; remove it",
        ),
        Some(other) => section.error("encoding", format!("expected proto, found {other:?}")),
    }
}

/// The keys of the pool, some of them in the section `keepalive` or in their old place beside it; not both, as in the
/// Collector.
fn read_connections(section: &mut Section<'_>) -> HttpConnections {
    let mut connections = HttpConnections::default();
    let old = read_idle(section, &mut connections);
    let disabled = section.bool("disable_keep_alives") == Some(true);
    connections.keep_alives = !disabled;
    if section.value("keepalive").is_some() {
        if old || disabled {
            let what = "max_idle_conns, max_idle_conns_per_host, idle_conn_timeout or disable_keep_alives is given too; \
                        keep one form";
            section.error("keepalive", what);
        }
        match section.optional("keepalive") {
            None => connections.keep_alives = false,
            Some(mut keepalive) => {
                connections.keep_alives = true;
                read_idle(&mut keepalive, &mut connections);
                keepalive.finish();
            }
        }
    }
    connections.per_host_max = section.whole("max_conns_per_host").filter(|n| *n > 0).map(saturate);
    connections.http2 = section.bool("force_attempt_http2").unwrap_or(connections.http2);
    let mut timeout = |key| section.duration(key).filter(|timeout: &Duration| !timeout.is_zero());
    connections.http2_read_idle_timeout = timeout("http2_read_idle_timeout");
    if let Some(timeout) = timeout("http2_ping_timeout") {
        connections.http2_ping_timeout = timeout;
    }
    connections
}

/// What is said of idle connections; whether anything was, other than a zero.
fn read_idle(section: &mut Section<'_>, connections: &mut HttpConnections) -> bool {
    let all = section.whole("max_idle_conns");
    let per_host = section.whole("max_idle_conns_per_host").filter(|n| *n > 0);
    let timeout = section.duration("idle_conn_timeout");
    if let Some(all) = all {
        connections.idle_max = (all > 0).then(|| saturate(all));
    }
    if let Some(per_host) = per_host {
        connections.idle_per_host_max = saturate(per_host);
    }
    if let Some(timeout) = timeout {
        connections.idle_timeout = (!timeout.is_zero()).then_some(timeout);
    }
    all.is_some_and(|all| all > 0) || per_host.is_some() || timeout.is_some_and(|timeout| !timeout.is_zero())
}

fn saturate(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
