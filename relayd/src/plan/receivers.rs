//! From the configuration's receivers to relay-core's: one for each port. Must never bind.

use relay_core::config::{CorsConfig, HttpConfig, ReceiverConfig};
use relay_core::limits as core_limits;

use super::{auth, pairs, tls, upstream_name};
use crate::config::{Address, Config, Cors, GrpcServer, HttpServer, Receiver, ServerAuth, TlsServer};

/// What relay-core listens on, in the order of the configuration; of each receiver gRPC first.
///
/// # Errors
/// A line for each address that cannot be resolved.
pub(super) fn make(config: &Config, notices: &mut Vec<String>) -> Result<Vec<ReceiverConfig>, Vec<String>> {
    let (mut made, mut errors) = (Vec::new(), Vec::new());
    for (index, receiver) in config.receivers.iter().enumerate() {
        notices.extend(without_effect(receiver));
        for listener in listeners(config, index, receiver) {
            match listener {
                Ok(listener) => made.push(listener),
                Err(error) => errors.push(error),
            }
        }
    }
    if errors.is_empty() { Ok(made) } else { Err(errors) }
}

/// The listeners of one receiver: one for each protocol, or one for both.
fn listeners(config: &Config, index: usize, receiver: &Receiver) -> Vec<Result<ReceiverConfig, String>> {
    let bare = |address: &Address, tls, auth| listener(config, index, &receiver.id, (address, tls, auth));
    let mut made = Vec::new();
    if let Some(grpc) = &receiver.grpc {
        let listener = bare(&grpc.endpoint, grpc.tls.as_ref(), grpc.auth.as_ref());
        let both = receiver.http.as_ref().filter(|_| receiver.one_port());
        made.push(
            listener
                .map(|listener| ReceiverConfig { http: both.map(http_config), ..with_grpc(listener, grpc) }),
        );
    }
    if let Some(http) = receiver.http.as_ref().filter(|_| !receiver.one_port()) {
        let listener = bare(&http.endpoint, http.tls.as_ref(), http.auth.as_ref());
        made.push(listener.map(|listener| ReceiverConfig {
            grpc: false,
            http: Some(http_config(http)),
            message_bytes_max: http.max_request_body_bytes,
            ..listener
        }));
    }
    made
}

/// A receiver feeds all pipelines that name it.
fn listener(
    config: &Config,
    index: usize,
    id: &str,
    (address, tls, auth): (&Address, Option<&TlsServer>, Option<&ServerAuth>),
) -> Result<ReceiverConfig, String> {
    let listen = tls::listen_address(address).map_err(|error| format!("receiver {id} {error}"))?;
    let feeds = pairs(config).filter(|(pipeline, _)| pipeline.receivers.contains(&index));
    let upstreams = feeds.map(|(pipeline, exporter)| upstream_name(config, pipeline, exporter)).collect();
    let (tls, auth) = (tls.map(tls::server), auth.map(auth::server_auth));
    Ok(ReceiverConfig { upstreams, tls, auth, ..ReceiverConfig::new(id.to_owned(), listen) })
}

fn with_grpc(listener: ReceiverConfig, grpc: &GrpcServer) -> ReceiverConfig {
    ReceiverConfig {
        message_bytes_max: grpc.max_recv_msg_bytes,
        streams_max: grpc.max_concurrent_streams,
        connection_age_max: grpc.max_connection_age,
        connection_age_grace: grpc.max_connection_age_grace,
        connection_idle_max: grpc.max_connection_idle,
        ..listener
    }
}

fn http_config(http: &HttpServer) -> HttpConfig {
    let default = HttpConfig::default();
    let headers = http.response_headers.iter();
    HttpConfig {
        paths: [
            http.traces_url_path.clone(),
            http.metrics_url_path.clone(),
            http.logs_url_path.clone(),
            http.profiles_url_path.clone(),
        ],
        encodings: http.compression_algorithms.iter().map(|encoding| encoding.name().to_owned()).collect(),
        response_headers: headers.map(|(name, value)| (name.clone(), value.reveal().to_owned())).collect(),
        cors: http.cors.as_ref().map(cors_config),
        // hyper has one time for a head and for the wait until it begins.
        head_timeout: http.read_header_timeout.max(http.idle_timeout).unwrap_or(default.head_timeout),
        body_timeout: http.read_timeout.unwrap_or(core_limits::BODY_TIMEOUT),
        keep_alive: http.keep_alives_enabled,
    }
}

fn cors_config(cors: &Cors) -> CorsConfig {
    CorsConfig {
        allowed_origins: cors.allowed_origins.clone(),
        allowed_headers: cors.allowed_headers.clone(),
        exposed_headers: cors.exposed_headers.clone(),
        max_age_seconds: u32::try_from(cors.max_age_seconds.unwrap_or(0)).unwrap_or(u32::MAX),
    }
}

/// After how long without an answer TCP gives a silent peer up: the kernel asks nine times.
const DEAD_PEER_SECONDS: u64 =
    core_limits::KEEPALIVE_IDLE.as_secs() + 9 * core_limits::KEEPALIVE_INTERVAL.as_secs();

/// Keys that were given and change nothing.
fn without_effect(receiver: &Receiver) -> Vec<String> {
    let id = &receiver.id;
    let mut notices = Vec::new();
    if receiver.grpc.as_ref().is_some_and(|grpc| grpc.keepalive.is_some()) {
        notices.push(format!(
            "receivers.{id}: no HTTP/2 pings are sent for keepalive; TCP keepalive finds dead senders within \
             {DEAD_PEER_SECONDS} s"
        ));
    }
    if let Some(http) = &receiver.http {
        if http.write_timeout.is_some() {
            notices.push(format!(
                "receivers.{id}: write_timeout is not applied: answers are a few bytes, and what waits for them is bounded"
            ));
        }
        if let (Some(header), Some(idle)) = (http.read_header_timeout, http.idle_timeout)
            && header != idle
        {
            notices.push(format!(
                "receivers.{id}: read_header_timeout and idle_timeout are one time here, the longer of both: {:?}",
                header.max(idle)
            ));
        }
    }
    if let (true, Some(grpc), Some(http)) = (receiver.one_port(), &receiver.grpc, &receiver.http)
        && grpc.max_recv_msg_bytes != http.max_request_body_bytes
    {
        notices.push(format!(
            "receivers.{id}: one port has one limit on requests, max_recv_msg_size_mib: {} bytes",
            grpc.max_recv_msg_bytes
        ));
    }
    notices
}
