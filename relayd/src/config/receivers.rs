//! The section `receivers`: `otlp` over gRPC. Must never open a socket.

use std::time::Duration;

use super::components::{Components, Kind, State, read_components};
use super::endpoint::HostPort;
use super::error::Diagnostics;
use super::node::Node;
use super::section::Section;

/// A receiver that a pipeline uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// As in the file, `otlp` or `otlp/name`; the label `receiver` of the metrics.
    pub id: String,
    /// OTLP over gRPC.
    pub grpc: GrpcServer,
}

/// `receivers.otlp.protocols.grpc` (Collector, configgrpc.ServerConfig).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcServer {
    /// `endpoint`: where to listen. Default 0.0.0.0:4317 (the Collector: localhost:4317), because the senders of a
    /// node come from other network namespaces too. The name is resolved by who listens.
    pub endpoint: HostPort,
    /// `max_recv_msg_size_mib`, in bytes: the largest message, after decompression. Default 64 MiB; 0 means the
    /// default; never above 4 GiB - 1, the largest that a gRPC length prefix can say.
    pub max_recv_msg_bytes: usize,
    /// `max_concurrent_streams` of one connection. Default 256 (the Collector: unlimited); 0 means the default.
    pub max_concurrent_streams: u32,
    /// `keepalive.server_parameters.max_connection_age`: after how long a connection gets GOAWAY, so that senders
    /// spread over the replicas of a gateway. `None` (the default, or 0) means never.
    pub max_connection_age: Option<Duration>,
    /// `keepalive.server_parameters.max_connection_age_grace`: how long calls may still run after that GOAWAY.
    /// `None` (the default, or 0) means until they end.
    pub max_connection_age_grace: Option<Duration>,
}

impl GrpcServer {
    /// The port of OTLP over gRPC (OTLP specification, section OTLP/gRPC Default Port).
    pub const PORT: u16 = 4317;
    const RECV_MSG_MIB: u64 = 64;
    const STREAMS: u32 = 256;

    /// All defaults, listening on `host`.
    #[must_use]
    pub fn on(host: &str) -> Self {
        Self {
            endpoint: HostPort::new(host, Self::PORT),
            max_recv_msg_bytes: message_bytes(Self::RECV_MSG_MIB),
            max_concurrent_streams: Self::STREAMS,
            max_connection_age: None,
            max_connection_age_grace: None,
        }
    }
}

const TLS: &str =
    "TLS on the receiver is not in this version; remove it and keep the port inside the node or cluster";

/// Reads all receivers.
pub(super) fn read(node: Option<&Node>, diag: &Diagnostics) -> Components<Receiver> {
    read_components(Kind::Receiver, node, diag, |id, section| {
        read_otlp(section).map_or(State::Refused, |grpc| State::Ready(Receiver { id: id.to_owned(), grpc }))
    })
}

fn read_otlp(mut section: Section<'_>) -> Option<GrpcServer> {
    let protocols = section.section("protocols");
    let Some(mut protocols) = protocols else {
        section.error("protocols", "an otlp receiver needs a protocol; write protocols: {grpc: {}}");
        section.finish();
        return None;
    };
    section.finish();
    let grpc = protocols.section("grpc").map(read_grpc);
    if protocols.present("http").is_some() {
        let what = "OTLP/HTTP is not served by this version; port 4318 stays closed";
        protocols.warn("http", what);
    }
    if grpc.is_none() {
        protocols.error(
            "grpc",
            "this version receives OTLP over gRPC only; add grpc: {} beside or instead of http",
        );
    }
    protocols.finish();
    grpc
}

fn read_grpc(mut grpc: Section<'_>) -> GrpcServer {
    let mut server = GrpcServer::on("0.0.0.0");
    if let Some(endpoint) = grpc.listen("endpoint") {
        server.endpoint = endpoint;
    }
    match grpc.text("transport") {
        None | Some("tcp") => {}
        Some(other) => grpc.error("transport", format!("only tcp is in this version, found {other:?}")),
    }
    if let Some(mib) = grpc.whole("max_recv_msg_size_mib").filter(|mib| *mib > 0) {
        server.max_recv_msg_bytes = message_bytes(mib);
    }
    if let Some(streams) = grpc.whole("max_concurrent_streams").filter(|streams| *streams > 0) {
        server.max_concurrent_streams = u32::try_from(streams).unwrap_or(u32::MAX);
    }
    grpc.advisory("read_buffer_size", "relayd sizes its buffers by what arrives");
    grpc.advisory("write_buffer_size", "relayd sizes its buffers by what it answers");
    if let Some(keepalive) = grpc.section("keepalive") {
        read_keepalive(keepalive, &mut server);
    }
    if grpc.bool("include_metadata") == Some(true) {
        grpc.error(
            "include_metadata",
            "request metadata is not carried on in this version; remove it or set false",
        );
    }
    grpc.refuse("tls", TLS);
    grpc.refuse("auth", "authentication is not in this version; remove it, or put a Collector in front");
    grpc.refuse("middlewares", "remove it; memory_limiter is a processor here and refuses before reading");
    grpc.finish();
    server
}

fn read_keepalive(mut keepalive: Section<'_>, server: &mut GrpcServer) {
    if let Some(mut parameters) = keepalive.section("server_parameters") {
        let not_zero = |age: &Duration| !age.is_zero();
        server.max_connection_age = parameters.duration("max_connection_age").filter(not_zero);
        server.max_connection_age_grace = parameters.duration("max_connection_age_grace").filter(not_zero);
        parameters.advisory("max_connection_idle", "an idle connection costs relayd nothing and stays open");
        parameters.advisory("time", "relayd detects dead senders by TCP keepalive");
        parameters.advisory("timeout", "relayd detects dead senders by TCP keepalive");
        parameters.finish();
    }
    if let Some(mut policy) = keepalive.section("enforcement_policy") {
        policy.advisory("min_time", "relayd does not close connections for frequent pings");
        policy.advisory("permit_without_stream", "relayd always permits pings");
        policy.finish();
    }
    keepalive.finish();
}

/// MiB to bytes, up to the largest gRPC message (gRPC over HTTP2, Length-Prefixed-Message: four bytes of length).
fn message_bytes(mib: u64) -> usize {
    let bytes = mib.saturating_mul(1 << 20).min(u64::from(u32::MAX));
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
