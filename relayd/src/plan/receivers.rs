//! From the configuration's receivers to relay-core's: one for each port. Must never bind.

use relay_core::config::{CorsConfig, HttpConfig, ReceiverConfig};
use relay_core::limits as core_limits;

use super::{auth, pairs, tls, upstream_name};
use crate::config::{Config, Cors, GrpcServer, HttpServer, Listener, Receiver};
use crate::listen;

/// What relay-core listens on, in the order of the configuration; of each receiver gRPC first. One for each socket: those of one
/// receiver have its name and settings.
///
/// # Errors
/// A line for each address that cannot be resolved.
pub(super) fn make(config: &Config, notices: &mut Vec<String>) -> Result<Vec<ReceiverConfig>, Vec<String>> {
    let (mut made, mut errors) = (Vec::new(), Vec::new());
    for (index, receiver) in config.receivers.iter().enumerate() {
        notices.extend(without_effect(receiver));
        for listener in receiver.listeners() {
            match sockets(config, index, receiver, listener) {
                Ok(sockets) => made.extend(sockets),
                Err(error) => errors.push(error),
            }
        }
    }
    if errors.is_empty() { Ok(made) } else { Err(errors) }
}

/// The sockets of one endpoint: `localhost` has one for each family. A receiver feeds all pipelines that name it.
fn sockets(
    config: &Config,
    index: usize,
    receiver: &Receiver,
    listener: Listener<'_>,
) -> Result<Vec<ReceiverConfig>, String> {
    let addresses =
        listen::addresses(listener.address).map_err(|error| format!("receiver {} {error}", receiver.id))?;
    let feeds = pairs(config).filter(|(pipeline, _)| pipeline.receivers.contains(&index));
    let upstreams: Vec<String> =
        feeds.map(|(pipeline, exporter)| upstream_name(config, pipeline, exporter)).collect();
    let grpc = receiver.grpc.as_ref().filter(|_| listener.grpc);
    let http = receiver.http.as_ref().filter(|_| listener.http);
    let tls = grpc.map_or_else(|| http.and_then(|http| http.tls.as_ref()), |grpc| grpc.tls.as_ref());
    let auth = grpc.map_or_else(|| http.and_then(|http| http.auth.as_ref()), |grpc| grpc.auth.as_ref());
    let (tls, auth) = (tls.map(tls::server), auth.map(auth::server_auth));
    Ok(addresses
        .into_iter()
        .map(|address| {
            let bare = ReceiverConfig {
                upstreams: upstreams.clone(),
                tls: tls.clone(),
                auth: auth.clone(),
                grpc: grpc.is_some(),
                http: http.map(http_config),
                ..ReceiverConfig::new(receiver.id.clone(), address)
            };
            match (grpc, http) {
                // One port has one limit on requests.
                (Some(grpc), _) => with_grpc(bare, grpc),
                (None, Some(http)) => {
                    ReceiverConfig { message_bytes_max: http.max_request_body_bytes, ..bare }
                }
                (None, None) => bare,
            }
        })
        .collect())
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
    if let (true, Some(grpc), Some(http)) = (receiver.shares_a_port(), &receiver.grpc, &receiver.http)
        && grpc.max_recv_msg_bytes != http.max_request_body_bytes
    {
        notices.push(format!(
            "receivers.{id}: one port has one limit on requests, max_recv_msg_size_mib: {} bytes",
            grpc.max_recv_msg_bytes
        ));
    }
    notices
}
