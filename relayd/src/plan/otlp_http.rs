//! From an `otlp_http` exporter to what relay-core is told. Must never connect, and must never show a secret.

use relay_core::config::{
    Compression, Destination, ForwardProxy, HttpConnections, HttpUpstreamConfig, HttpUrl, Proxy,
    UpstreamConfig,
};
use relay_core::otlp::Signal;

use super::{batched, passthrough, queued, tls};
use crate::config::{self, Batch, OtlpHttpExporter};
use crate::limits::CALL_TIMEOUT_NONE;

/// The upstream `name` for requests of `signal`.
///
/// # Errors
/// What the exporter asks for and relayd does not do, in a line.
pub(super) fn upstream(
    name: String,
    signal: Signal,
    otlp: &OtlpHttpExporter,
    processor: Option<&Batch>,
    notices: &mut Vec<String>,
) -> Result<UpstreamConfig, Vec<String>> {
    let error = |what: String| vec![format!("exporters.{name}: {what}")];
    let Some(url) = otlp.url(signal) else {
        return Err(error(format!("no endpoint for {}", signal.name())));
    };
    if otlp.auth.is_some() {
        return Err(error("authentication is not sent yet".to_owned()));
    }
    let url = HttpUrl {
        tls: url.tls,
        host: url.address.host.clone(),
        port: url.address.port,
        path_and_query: url.path_and_query.clone(),
    };
    let compression = Compression::for_http(compression_name(otlp.compression), otlp.compression_level);
    let headers = otlp.headers.iter().map(|(name, value)| (name.clone(), value.reveal().to_owned()));
    let http = HttpUpstreamConfig {
        tls: tls::client(&otlp.tls),
        timeout: otlp.timeout.unwrap_or(CALL_TIMEOUT_NONE),
        headers: headers.collect(),
        compression: compression.map_err(|what| error(what.to_string()))?,
        retry: otlp.retry,
        proxy: otlp.proxy.as_ref().map_or(Proxy::FromEnvironment, proxy),
        connections: connections(&otlp.connections),
        ..HttpUpstreamConfig::new(url.clone())
    };
    let mut upstream = UpstreamConfig::http(name, url);
    upstream.destination = Destination::Http(Box::new(http));
    upstream.passthrough = passthrough(otlp.passthrough);
    Ok(match &otlp.queue {
        // Without a queue the Collector answers when the upstream has.
        None => {
            upstream.wait_for_result = true;
            batched(upstream, processor)
        }
        Some(queue) => queued(upstream, queue, processor, notices),
    })
}

fn compression_name(compression: config::Compression) -> &'static str {
    match compression {
        config::Compression::None => "none",
        config::Compression::Gzip => "gzip",
        config::Compression::Zstd => "zstd",
        config::Compression::Snappy => "snappy",
        config::Compression::SnappyFramed => "x-snappy-framed",
        config::Compression::Zlib => "zlib",
        config::Compression::Deflate => "deflate",
        config::Compression::Lz4 => "lz4",
    }
}

fn proxy(proxy: &config::Proxy) -> Proxy {
    Proxy::Through(ForwardProxy {
        tls: proxy.tls,
        host: proxy.address.host.clone(),
        port: proxy.address.port,
        credentials: proxy.credentials.as_ref().map(|credentials| credentials.reveal().to_owned()),
    })
}

/// An upstream has one host, so the lesser of the two bounds on idle connections is the one that holds.
fn connections(connections: &config::HttpConnections) -> HttpConnections {
    HttpConnections {
        idle_max: connections
            .idle_max
            .map_or(connections.idle_per_host_max, |all| all.min(connections.idle_per_host_max)),
        idle_timeout: connections.idle_timeout,
        connections_max: connections.per_host_max,
        keep_alive: connections.keep_alives,
        http2: connections.http2,
        http2_ping_interval: connections.http2_read_idle_timeout,
        http2_ping_timeout: connections.http2_ping_timeout,
    }
}
