//! `exporters.otlp` (Collector, otlpexporter and configgrpc.ClientConfig). Must never connect.

use std::time::Duration;

use relay_core::upstream::{Balancer, RetryPolicy};

use super::compression::{self, Compression, Passthrough};
use crate::config::auth::ClientAuth;
use crate::config::endpoint::{self, Address, HostPort, Scheme};
use crate::config::extensions::Extensions;
use crate::config::headers::{Carrier, check_value};
use crate::config::queue::{self, SendingQueue, Statuses};
use crate::config::receivers::Keepalive;
use crate::config::secret::Secret;
use crate::config::section::Section;
use crate::config::tls::{self, TlsClient};

/// OTLP over gRPC to an upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct OtlpExporter {
    /// `endpoint`, without its scheme: whom to send to. Required. relayd uses all addresses of the name.
    pub endpoint: Address,
    /// `tls`; `None` is plaintext. The scheme of the endpoint decides: https is TLS and http is not, whatever
    /// `tls.insecure` says (OTLP exporter specification, Configuration Options, "insecure"; the Collector lets http
    /// decide nothing). Without a scheme it is TLS, unless `tls.insecure: true`.
    pub tls: Option<TlsClient>,
    /// `compression`. Default gzip.
    pub compression: Compression,
    /// `compressed_passthrough`. Default off.
    pub passthrough: Passthrough,
    /// `timeout` of one call. Default 5 s; `None` (given as 0) means that a call may take forever.
    pub timeout: Option<Duration>,
    /// `headers`: sent as metadata of every call, names in lower case, in the order of the file.
    pub headers: Vec<(String, Secret)>,
    /// `auth`: a header that changes when its file does. Never the name of one in `headers`.
    pub auth: Option<ClientAuth>,
    /// `authority`: what is sent as `:authority`, and the name that the certificate must have. Default the endpoint's
    /// host and port. `tls.server_name_override` goes before it for the certificate.
    pub authority: Option<String>,
    /// `user_agent`. Default relayd's own.
    pub user_agent: Option<String>,
    /// `keepalive`: pings on a quiet connection. `None` (the default) leaves dead upstreams to TCP.
    pub keepalive: Option<Keepalive>,
    /// `retry_on_failure`.
    pub retry: RetryPolicy,
    /// `sending_queue`; `None` if it is not enabled: a request is acknowledged when the upstream has answered.
    pub queue: Option<SendingQueue>,
    /// `balancer_name`. Default relayd's own: the less busy of two.
    pub balancer: Balancer,
}

/// Reads the exporter. `None` if an error was recorded that leaves no endpoint.
pub(super) fn read(mut section: Section<'_>, extensions: &Extensions) -> Option<OtlpExporter> {
    let endpoint = read_endpoint(&mut section);
    let scheme = endpoint.as_ref().and_then(|(_, scheme)| *scheme);
    let is_local = matches!(endpoint, Some((Address::Unix(_) | Address::Abstract(_), _)));
    let (endpoint, _) = endpoint.unzip();
    let otlp = read_client(section, extensions, (endpoint.as_ref(), scheme, is_local));
    endpoint.map(|_| otlp)
}

/// Reads how each member of a tier is spoken to. Where they are is said elsewhere.
pub(super) fn read_member(mut section: Section<'_>, extensions: &Extensions) -> OtlpExporter {
    section.advisory("endpoint", "the members are those of the resolver");
    read_client(section, extensions, (None, None, false))
}

/// Everything but the endpoint, which is `endpoint`, its scheme, and whether it is on this machine.
fn read_client(
    mut section: Section<'_>,
    extensions: &Extensions,
    (endpoint, scheme, is_local): (Option<&Address>, Option<Scheme>, bool),
) -> OtlpExporter {
    let tls = read_tls(&mut section, scheme);
    let compression = compression::read_grpc(&mut section);
    let passthrough = compression::read_passthrough(&mut section);
    let timeout = section.duration("timeout").unwrap_or(Duration::from_secs(5));
    let (headers, auth) = super::read_headers_and_auth(&mut section, Carrier::Grpc, extensions);
    // A unix socket does not leave the machine.
    if auth.is_some() && tls.is_none() && !is_local {
        let what = "it would go over the network in plaintext, which gRPC does not allow; use TLS";
        section.error("auth", what);
    }
    let authority = read_header_text(&mut section, "authority");
    let user_agent = read_header_text(&mut section, "user_agent");
    let keepalive = section.optional("keepalive").map(read_keepalive);
    let retry = section.section("retry_on_failure");
    let retry = retry.map_or_else(RetryPolicy::default, |retry| queue::read_retry(retry, Statuses::Grpc));
    let queue = match section.section("sending_queue") {
        Some(queue) => queue::read_queue(queue, extensions),
        None => Some(SendingQueue::default()),
    };
    let balancer = read_balancer(&mut section);
    if section.bool("wait_for_ready") == Some(true) {
        section.advisory(
            "wait_for_ready",
            "relayd always waits for a connection, as long as retry_on_failure goes on",
        );
    }
    super::read_rest(&mut section);
    section.finish();
    OtlpExporter {
        endpoint: endpoint.cloned().unwrap_or_else(|| Address::Tcp(HostPort::new("", 0))),
        tls,
        compression,
        passthrough,
        timeout: (!timeout.is_zero()).then_some(timeout),
        headers,
        auth,
        authority,
        user_agent,
        keepalive,
        retry,
        queue,
        balancer,
    }
}

/// The two that every gRPC client has. The Collector's default, round_robin, has its name from what gRPC can do; relayd's own has none.
fn read_balancer(section: &mut Section<'_>) -> Balancer {
    let Some(name) = section.text("balancer_name").filter(|name| !name.is_empty()) else {
        return Balancer::default();
    };
    Balancer::parse(name).unwrap_or_else(|| {
        let what = "relayd has round_robin and pick_first; without the key each call goes to the less busy of two addresses";
        section.error("balancer_name", what);
        Balancer::default()
    })
}

fn read_endpoint(section: &mut Section<'_>) -> Option<(Address, Option<Scheme>)> {
    let Some(node) = section.value("endpoint") else {
        section.error("endpoint", "an otlp exporter needs an endpoint, as in otel-gateway:4317");
        return None;
    };
    let text = node.as_text().filter(|text| !text.is_empty());
    let parsed = match text {
        Some(text) => endpoint::parse_upstream(text),
        None => Err(format!(
            "expected host:port, found {}",
            if node.is_empty() { "nothing" } else { node.kind() }
        )),
    };
    parsed.map_err(|what| section.error("endpoint", what)).ok()
}

/// `None` for plaintext. Keys that then have no effect are told: a certificate that is configured and not used would be
/// worse than an error.
fn read_tls(section: &mut Section<'_>, scheme: Option<Scheme>) -> Option<TlsClient> {
    let legacy = section.bool("insecure");
    if legacy.is_some() {
        section.warn("insecure", "the old place of this key; write tls: {insecure: true}");
    }
    let (tls, insecure) = section.section("tls").map_or_else(Default::default, tls::read_client);
    let insecure = insecure || legacy == Some(true);
    let plaintext = match scheme {
        Some(Scheme::Http) => true,
        Some(Scheme::Https) => {
            if insecure {
                section.warn("tls", "insecure is without effect: https:// in the endpoint asks for TLS");
            }
            false
        }
        // The Collector's own rule (configtls, ClientConfig.LoadTLSConfig).
        None if insecure && tls.ca.is_some() => {
            section.warn("tls", "insecure is without effect beside a CA, as in the Collector: TLS is used");
            false
        }
        None => insecure,
    };
    if plaintext && tls != TlsClient::default() {
        section.warn("tls", "sent in plaintext: the other keys of tls have no effect");
    }
    (!plaintext).then_some(tls)
}

/// A text that is sent in a header; empty counts as absent.
fn read_header_text(section: &mut Section<'_>, key: &'static str) -> Option<String> {
    let text = section.text(key).filter(|text| !text.is_empty())?;
    if let Err(what) = check_value(text) {
        section.error(key, what);
    }
    Some(text.to_owned())
}

/// Defaults as configgrpc.NewDefaultKeepaliveClientConfig; 0 means the default.
fn read_keepalive(mut section: Section<'_>) -> Keepalive {
    const DEFAULT: Duration = Duration::from_secs(10);
    let mut duration = |key| section.duration(key).filter(|duration| !duration.is_zero()).unwrap_or(DEFAULT);
    let (time, timeout) = (duration("time"), duration("timeout"));
    let without_calls = section.bool("permit_without_stream").unwrap_or(false);
    section.finish();
    Keepalive { time, timeout, without_calls }
}
