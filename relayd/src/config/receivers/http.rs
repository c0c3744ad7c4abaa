//! `receivers.otlp.protocols.http` (Collector, otlpreceiver.HTTPConfig and confighttp.ServerConfig). Must never open a
//! socket.

use std::time::Duration;

use relay_core::otlp::Signal;

use crate::config::auth::ServerAuth;
use crate::config::endpoint::{Address, HostPort};
use crate::config::extensions::Extensions;
use crate::config::headers::{Carrier, is_token, read_headers};
use crate::config::processors::MemoryLimiter;
use crate::config::secret::Secret;
use crate::config::section::Section;
use crate::config::tls::{self, TlsServer};

/// An OTLP/HTTP server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpServer {
    /// `endpoint` and `transport`: where to listen, not empty. Default 0.0.0.0:4318 (the Collector: localhost:4318). A list is
    /// relayd's own.
    pub endpoints: Vec<Address>,
    /// `tls`. Default none: plaintext.
    pub tls: Option<TlsServer>,
    /// `auth`. Default none: everybody may send.
    pub auth: Option<ServerAuth>,
    /// `traces_url_path`. Default `/v1/traces`. Each path begins with a slash, and no two are the same.
    pub traces_url_path: String,
    /// `metrics_url_path`. Default `/v1/metrics`.
    pub metrics_url_path: String,
    /// `logs_url_path`. Default `/v1/logs`.
    pub logs_url_path: String,
    /// `profiles_url_path`. Default `/v1development/profiles`. The Collector does not have this key.
    pub profiles_url_path: String,
    /// `max_request_body_size`: the largest body in bytes, before and after decompression. Default 64 MiB (OTLP 1.11,
    /// section Limits; the Collector: 20 MiB); 0 means the default.
    pub max_request_body_bytes: usize,
    /// `compression_algorithms`: what a body may be encoded with. Default all that there are. Not empty.
    pub compression_algorithms: Vec<ContentEncoding>,
    /// `response_headers`: added to every response, names in lower case. Default none.
    pub response_headers: Vec<(String, Secret)>,
    /// `cors`: what pages of other origins may do. Default none: browsers send nothing.
    pub cors: Option<Cors>,
    /// `read_timeout` for a whole request. `None` (the default, or 0) leaves it to the daemon's own bounds, here and below.
    pub read_timeout: Option<Duration>,
    /// `read_header_timeout` for the head of a request.
    pub read_header_timeout: Option<Duration>,
    /// `write_timeout` from the head of a request to the end of its response.
    pub write_timeout: Option<Duration>,
    /// `idle_timeout`, `keepalive.idle_timeout`: how long a connection may wait for its next request.
    pub idle_timeout: Option<Duration>,
    /// `keep_alives_enabled`, `keepalive.enabled`: whether a connection may have more than one request. Default true.
    pub keep_alives_enabled: bool,
    /// A `memory_limiter` that `middlewares` names. It bounds the process, as the processor does.
    pub memory_limiter: Option<MemoryLimiter>,
}

/// A content coding, by the Collector's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentEncoding {
    /// `""`: not encoded.
    Identity,
    /// `gzip`
    Gzip,
    /// `zstd`
    Zstd,
    /// `zlib`
    Zlib,
    /// `deflate`: the same format as `zlib` (RFC 9110 section 8.4.1.2).
    Deflate,
    /// `snappy`
    Snappy,
    /// `x-snappy-framed`
    SnappyFramed,
    /// `lz4`
    Lz4,
}

impl ContentEncoding {
    /// All, by name (confighttp, defaultCompressionAlgorithms).
    const NAMES: [(&'static str, Self); 8] = [
        ("", Self::Identity),
        ("gzip", Self::Gzip),
        ("zstd", Self::Zstd),
        ("zlib", Self::Zlib),
        ("snappy", Self::Snappy),
        ("deflate", Self::Deflate),
        ("lz4", Self::Lz4),
        ("x-snappy-framed", Self::SnappyFramed),
    ];

    /// The value of `content-encoding`; empty for [`Self::Identity`].
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, encoding)| *encoding == self).map_or("", |(name, _)| name)
    }
}

/// `cors` (Collector, confighttp.CORSConfig). Credentials are allowed, as in the Collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// `allowed_origins`: `https://*.example.com` or `*`, each with at most one star. Not empty.
    pub allowed_origins: Vec<String>,
    /// `allowed_headers` besides those that need no permission; `*` for all.
    pub allowed_headers: Vec<String>,
    /// `exposed_headers`: what a page may read of a response.
    pub exposed_headers: Vec<String>,
    /// `max_age`: for how many seconds a browser may remember the answer. `None` (the default, or 0) says nothing.
    pub max_age_seconds: Option<u64>,
}

impl HttpServer {
    /// The port of OTLP over HTTP (OTLP specification, section OTLP/HTTP Default Port).
    pub const PORT: u16 = 4318;
    const BODY_BYTES: usize = 64 << 20;

    /// All defaults, listening on `host`.
    #[must_use]
    pub fn on(host: &str) -> Self {
        Self::at(vec![Address::Tcp(HostPort::new(host, Self::PORT))])
    }

    /// All defaults, listening at `endpoints`.
    #[must_use]
    pub fn at(endpoints: Vec<Address>) -> Self {
        Self {
            endpoints,
            tls: None,
            auth: None,
            traces_url_path: Signal::Traces.http_path().to_owned(),
            metrics_url_path: Signal::Metrics.http_path().to_owned(),
            logs_url_path: Signal::Logs.http_path().to_owned(),
            profiles_url_path: Signal::Profiles.http_path().to_owned(),
            max_request_body_bytes: Self::BODY_BYTES,
            compression_algorithms: ContentEncoding::NAMES.map(|(_, encoding)| encoding).to_vec(),
            response_headers: Vec::new(),
            cors: None,
            read_timeout: None,
            read_header_timeout: None,
            write_timeout: None,
            idle_timeout: None,
            keep_alives_enabled: true,
            memory_limiter: None,
        }
    }

    /// The path on which a signal is received.
    #[must_use]
    pub fn url_path(&self, signal: Signal) -> &str {
        match signal {
            Signal::Traces => &self.traces_url_path,
            Signal::Metrics => &self.metrics_url_path,
            Signal::Logs => &self.logs_url_path,
            Signal::Profiles => &self.profiles_url_path,
        }
    }
}

/// Reads the protocol.
pub(super) fn read(mut http: Section<'_>, extensions: &Extensions) -> HttpServer {
    let mut server = HttpServer::at(super::read_endpoints(&mut http, HttpServer::PORT));
    read_paths(&mut http, &mut server);
    if let Some(bytes) = http.whole("max_request_body_size").filter(|bytes| *bytes > 0) {
        server.max_request_body_bytes = super::saturate(bytes);
    }
    if let Some(names) = http.texts("compression_algorithms") {
        server.compression_algorithms = read_encodings(&http, &names);
    }
    if let Some(node) = http.value("response_headers") {
        let path = http.path_of("response_headers");
        server.response_headers = read_headers(node, &path, Carrier::HttpResponse, http.diagnostics());
    }
    server.cors = http.optional("cors").and_then(read_cors);
    let mut timeout = |key| http.duration(key).filter(|timeout| !timeout.is_zero());
    server.read_timeout = timeout("read_timeout");
    server.read_header_timeout = timeout("read_header_timeout");
    server.write_timeout = timeout("write_timeout");
    read_keepalive(&mut http, &mut server);
    if http.bool("include_metadata") == Some(true) {
        http.advisory("include_metadata", "nothing in a pipeline of relayd reads request metadata");
    }
    server.tls = http.optional("tls").and_then(tls::read_server);
    server.auth = extensions.read_server_auth(&mut http);
    server.memory_limiter = extensions.read_middlewares(&mut http);
    http.finish();
    server
}

fn read_paths(http: &mut Section<'_>, server: &mut HttpServer) {
    let keys: [(&'static str, &mut String); 4] = [
        ("traces_url_path", &mut server.traces_url_path),
        ("metrics_url_path", &mut server.metrics_url_path),
        ("logs_url_path", &mut server.logs_url_path),
        ("profiles_url_path", &mut server.profiles_url_path),
    ];
    let mut seen: Vec<(&str, String)> = Vec::new();
    for (key, path) in keys {
        if let Some(text) = http.text(key).filter(|text| !text.is_empty()) {
            let fits = |byte: u8| (0x21..=0x7e).contains(&byte) && byte != b'?' && byte != b'#';
            if !text.bytes().all(fits) {
                http.error(key, format!("expected a path such as /v1/traces, found {text:?}"));
            }
            // As the Collector does (otlpreceiver, SanitizedURLPath).
            *path = if text.starts_with('/') { text.to_owned() } else { format!("/{text}") };
        }
        if let Some((first, _)) = seen.iter().find(|(_, other)| other == path) {
            http.error(key, format!("{first} is {path} too; a path belongs to one signal"));
        }
        seen.push((key, path.clone()));
    }
}

fn read_encodings(http: &Section<'_>, names: &[&str]) -> Vec<ContentEncoding> {
    const KEY: &str = "compression_algorithms";
    let mut encodings = Vec::new();
    for name in names {
        match ContentEncoding::NAMES.iter().find(|(known, _)| known == name) {
            Some((_, encoding)) if encodings.contains(encoding) => {}
            Some((_, encoding)) => encodings.push(*encoding),
            None => {
                let all = ContentEncoding::NAMES.map(|(name, _)| format!("{name:?}")).join(", ");
                http.error(KEY, format!("expected some of {all}, found {name:?}"));
            }
        }
    }
    if names.is_empty() {
        http.error(KEY, "an empty list would refuse every request; remove it to accept all encodings");
    }
    encodings
}

fn read_cors(mut cors: Section<'_>) -> Option<Cors> {
    let mut texts =
        |key| -> Vec<String> { cors.texts(key).unwrap_or_default().into_iter().map(str::to_owned).collect() };
    let (allowed_origins, allowed_headers, exposed_headers) =
        (texts("allowed_origins"), texts("allowed_headers"), texts("exposed_headers"));
    for (key, headers) in [("allowed_headers", &allowed_headers), ("exposed_headers", &exposed_headers)] {
        if let Some(wrong) = headers.iter().find(|name| !is_token(name)) {
            cors.error(key, format!("not a name of an HTTP header: {wrong:?}"));
        }
    }
    let is_wrong = |origin: &&String| {
        origin.matches('*').count() > 1 || !origin.bytes().all(|byte| (0x21..=0x7e).contains(&byte))
    };
    if let Some(wrong) = allowed_origins.iter().find(is_wrong) {
        cors.error(
            "allowed_origins",
            format!("expected an origin with at most one star, as in https://*.example.com, found {wrong:?}"),
        );
    }
    let max_age_seconds = cors.whole("max_age").filter(|seconds| *seconds > 0);
    if allowed_origins.is_empty() {
        cors.warn("", "without effect: it has no allowed_origins");
    }
    cors.finish();
    (!allowed_origins.is_empty()).then_some(Cors {
        allowed_origins,
        allowed_headers,
        exposed_headers,
        max_age_seconds,
    })
}

/// The section `keepalive`, or its old form: two keys beside it. Not both, as in the Collector.
fn read_keepalive(http: &mut Section<'_>, server: &mut HttpServer) {
    let idle = http.duration("idle_timeout").filter(|timeout| !timeout.is_zero());
    let enabled = http.bool("keep_alives_enabled");
    server.idle_timeout = idle;
    server.keep_alives_enabled = enabled.unwrap_or(true);
    if http.value("keepalive").is_none() {
        return;
    }
    if idle.is_some() || enabled == Some(false) {
        http.error("keepalive", "idle_timeout or keep_alives_enabled is given too; keep one form");
    }
    match http.optional("keepalive") {
        None => server.keep_alives_enabled = false,
        Some(mut keepalive) => {
            server.keep_alives_enabled = true;
            if let Some(idle) = keepalive.duration("idle_timeout") {
                server.idle_timeout = (!idle.is_zero()).then_some(idle);
            }
            keepalive.finish();
        }
    }
}
