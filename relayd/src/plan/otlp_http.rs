//! From an `otlp_http` exporter to what relay-core is told. Must never connect, and must never show a secret.

use relay_core::config::{
    Compression, Destination, ForwardProxy, HttpConnections, HttpUpstreamConfig, HttpUrl, Proxy,
    UpstreamConfig,
};
use relay_core::otlp::Signal;

use super::{auth, passthrough, queued, tls};
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
    let url = HttpUrl {
        tls: url.tls,
        host: url.address.host.clone(),
        port: url.address.port,
        path_and_query: url.path_and_query.clone(),
    };
    let compression = Compression::for_http(compression_name(otlp.compression), otlp.compression_level);
    let headers = otlp.headers.iter().map(|(name, value)| (name.clone(), value.reveal().to_owned()));
    let http = HttpUpstreamConfig {
        timeout: otlp.timeout.unwrap_or(CALL_TIMEOUT_NONE),
        headers: headers.collect(),
        tls: tls::client(&otlp.tls),
        auth: otlp.auth.as_ref().map(|auth| Box::new(auth::client_auth(auth))),
        compression: compression.map_err(|what| error(what.to_string()))?,
        retry: otlp.retry,
        proxy: otlp.proxy.as_ref().map_or(Proxy::FromEnvironment, proxy),
        connections: connections(&otlp.connections),
        ..HttpUpstreamConfig::new(url.clone())
    };
    let mut upstream = UpstreamConfig::http(name, url);
    upstream.destination = Destination::Http(Box::new(http));
    upstream.passthrough = passthrough(otlp.passthrough);
    Ok(queued(upstream, otlp.queue.as_ref(), processor, notices))
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use relay_core::config::{OnFull, Passthrough};

    use super::*;
    use crate::config::{ExporterKind, System};

    /// What becomes of an exporter `otlp_http` with `keys`, for `signal`.
    fn planned(keys: &str, signal: Signal) -> (UpstreamConfig, Vec<String>) {
        let yaml = format!(
            "yaml:{{receivers: {{otlp: {{protocols: {{grpc: }}}}}}, exporters: {{otlp_http: {{{keys}}}}}, \
             service: {{pipelines: {{{}: {{receivers: [otlp], exporters: [otlp_http]}}}}}}}}",
            signal.name()
        );
        let config = config::load(&[yaml], &[], &System).unwrap().0;
        let ExporterKind::OtlpHttp(otlp) = &config.exporters[0].kind else { panic!("{config:?}") };
        let mut notices = Vec::new();
        let upstream = upstream("otlp_http".to_owned(), signal, otlp, None, &mut notices).unwrap();
        (upstream, notices)
    }

    fn http(keys: &str, signal: Signal) -> HttpUpstreamConfig {
        match planned(keys, signal).0.destination {
            Destination::Http(http) => *http,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn defaults_are_those_of_the_collector() {
        let (upstream, notices) = planned("endpoint: 'http://up:4318'", Signal::Traces);
        assert_eq!((upstream.calls_max, upstream.on_full), (10, OnFull::Refuse));
        assert_eq!((upstream.passthrough, notices), (Passthrough::Off, Vec::new()));
        let http = http("endpoint: 'http://up:4318'", Signal::Traces);
        assert_eq!(http.url.to_string(), "http://up:4318/v1/traces");
        assert_eq!((http.timeout, http.compression), (Duration::from_secs(30), Compression::GZIP));
        assert_eq!((http.proxy, http.connections), (Proxy::FromEnvironment, HttpConnections::default()));
    }

    /// OTLP exporter specification, "Endpoint URLs for OTLP/HTTP": behind the base a path of the signal, its own URL as it is.
    #[test]
    fn x22_each_signal_has_its_url() {
        let url = |keys, signal| http(keys, signal).url.to_string();
        let base = "endpoint: 'http://up:4318/otlp/', metrics_endpoint: 'https://other/m?k=v'";
        assert_eq!(url(base, Signal::Traces), "http://up:4318/otlp/v1/traces");
        assert_eq!(url(base, Signal::Logs), "http://up:4318/otlp/v1/logs");
        assert_eq!(url(base, Signal::Profiles), "http://up:4318/otlp/v1development/profiles");
        assert_eq!(url(base, Signal::Metrics), "https://other/m?k=v");
        assert_eq!(url("traces_endpoint: 'http://[::1]'", Signal::Traces), "http://[::1]/");
    }

    #[test]
    fn keys_arrive() {
        let keys = "endpoint: 'https://up', timeout: 0, compression: zstd, compression_params: {level: 3}, \
                    headers: {X-Token: s3}, proxy_url: 'http://me:pw@proxy:3128', compressed_passthrough: alone, \
                    tls: {insecure_skip_verify: true}, max_idle_conns_per_host: 7, max_idle_conns: 5, \
                    idle_conn_timeout: 9s, max_conns_per_host: 3, force_attempt_http2: false, \
                    http2_read_idle_timeout: 4s, http2_ping_timeout: 2s, retry_on_failure: {enabled: false}, \
                    sending_queue: {enabled: false}";
        let upstream = planned(keys, Signal::Traces).0;
        assert_eq!((upstream.wait_for_result, upstream.passthrough), (true, Passthrough::Alone));
        let http = http(keys, Signal::Traces);
        assert_eq!((http.timeout, http.compression), (CALL_TIMEOUT_NONE, Compression::Zstd(3)));
        assert_eq!(http.headers, [("x-token".to_owned(), "s3".to_owned())]);
        assert!(http.url.tls && http.tls.insecure_skip_verify && !http.retry.enabled);
        let credentials = Some("me:pw".to_owned());
        let proxy = ForwardProxy { tls: false, host: "proxy".to_owned(), port: 3128, credentials };
        assert_eq!(http.proxy, Proxy::Through(proxy));
        let connections = HttpConnections {
            idle_max: 5,
            idle_timeout: Some(Duration::from_secs(9)),
            connections_max: Some(3),
            keep_alive: true,
            http2: false,
            http2_ping_interval: Some(Duration::from_secs(4)),
            http2_ping_timeout: Duration::from_secs(2),
        };
        assert_eq!(http.connections, connections);
    }

    #[test]
    fn every_compression_has_its_name() {
        for name in ["none", "gzip", "zlib", "deflate", "zstd", "snappy", "x-snappy-framed", "lz4"] {
            let http = http(&format!("endpoint: 'http://up', compression: {name}"), Signal::Logs);
            assert_eq!(http.compression, Compression::for_http(name, None).unwrap(), "{name}");
        }
    }
}
