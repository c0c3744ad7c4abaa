//! `receivers.otlp.protocols.grpc` (Collector, configgrpc.ServerConfig). Must never open a socket.

use std::time::Duration;

use crate::config::auth::ServerAuth;
use crate::config::endpoint::{Address, HostPort};
use crate::config::extensions::Extensions;
use crate::config::processors::MemoryLimiter;
use crate::config::section::Section;
use crate::config::tls::{self, TlsServer};

/// A gRPC server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcServer {
    /// `endpoint` and `transport`: where to listen, not empty. Default 0.0.0.0:4317 (the Collector: localhost:4317), because the
    /// senders of a node come from other network namespaces too. Names are resolved by who listens. A list is relayd's own.
    pub endpoints: Vec<Address>,
    /// `tls`. Default none: plaintext.
    pub tls: Option<TlsServer>,
    /// `auth`. Default none: everybody may send.
    pub auth: Option<ServerAuth>,
    /// `max_recv_msg_size_mib`, in bytes: the largest message, after decompression. Default 64 MiB (OTLP 1.11, section
    /// Limits; the Collector: 4 MiB); 0 means the default; never above 4 GiB - 1, the largest that a gRPC length
    /// prefix can say.
    pub max_recv_msg_bytes: usize,
    /// `max_concurrent_streams` of one connection. Default 256 (the Collector: unlimited); 0 means the default.
    pub max_concurrent_streams: u32,
    /// `keepalive.server_parameters.max_connection_idle`: after how long without a call a connection gets GOAWAY. `None`
    /// (the default, or 0) means never.
    pub max_connection_idle: Option<Duration>,
    /// `keepalive.server_parameters.max_connection_age`: after how long a connection gets GOAWAY, so that senders
    /// spread over the replicas of a gateway. `None` (the default, or 0) means never.
    pub max_connection_age: Option<Duration>,
    /// `keepalive.server_parameters.max_connection_age_grace`: how long calls may still run after that GOAWAY.
    /// `None` (the default, or 0) means until they end.
    pub max_connection_age_grace: Option<Duration>,
    /// `keepalive.server_parameters.{time, timeout}`. `None` (neither is given) leaves dead senders to TCP keepalive.
    pub keepalive: Option<Keepalive>,
    /// A `memory_limiter` that `middlewares` names. It bounds the process, as the processor does.
    pub memory_limiter: Option<MemoryLimiter>,
}

/// HTTP/2 pings on a quiet connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// `time`: after how long without a frame a ping is sent. Above 0.
    pub time: Duration,
    /// `timeout`: how long the answer may take before the connection is closed. Above 0.
    pub timeout: Duration,
    /// Whether an idle connection is pinged too. Always true for a server; `permit_without_stream` for a client.
    pub without_calls: bool,
}

impl Keepalive {
    /// grpc-go's `keepalive.ServerParameters.Time`.
    const SERVER_TIME: Duration = Duration::from_secs(2 * 3600);
    /// grpc-go's `keepalive.ServerParameters.Timeout`.
    const SERVER_TIMEOUT: Duration = Duration::from_secs(20);
}

impl GrpcServer {
    /// The port of OTLP over gRPC (OTLP specification, section OTLP/gRPC Default Port).
    pub const PORT: u16 = 4317;
    const RECV_MSG_MIB: u64 = 64;
    const STREAMS: u32 = 256;

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
            max_recv_msg_bytes: message_bytes(Self::RECV_MSG_MIB),
            max_concurrent_streams: Self::STREAMS,
            max_connection_idle: None,
            max_connection_age: None,
            max_connection_age_grace: None,
            keepalive: None,
            memory_limiter: None,
        }
    }
}

/// Reads the protocol.
pub(super) fn read(mut grpc: Section<'_>, extensions: &Extensions) -> GrpcServer {
    let mut server = GrpcServer::at(super::read_endpoints(&mut grpc, GrpcServer::PORT));
    if let Some(mib) = grpc.whole("max_recv_msg_size_mib").filter(|mib| *mib > 0) {
        server.max_recv_msg_bytes = message_bytes(mib);
    }
    if let Some(streams) = grpc.whole("max_concurrent_streams").filter(|streams| *streams > 0) {
        server.max_concurrent_streams = u32::try_from(streams).unwrap_or(u32::MAX);
    }
    grpc.advisory("read_buffer_size", "relayd sizes its buffers by what arrives");
    grpc.advisory("write_buffer_size", "relayd sizes its buffers by what it answers");
    if let Some(keepalive) = grpc.optional("keepalive") {
        read_keepalive(keepalive, &mut server);
    }
    if grpc.bool("include_metadata") == Some(true) {
        grpc.advisory("include_metadata", "nothing in a pipeline of relayd reads request metadata");
    }
    server.tls = grpc.optional("tls").and_then(tls::read_server);
    server.auth = extensions.read_server_auth(&mut grpc);
    server.memory_limiter = extensions.read_middlewares(&mut grpc);
    grpc.finish();
    server
}

fn read_keepalive(mut keepalive: Section<'_>, server: &mut GrpcServer) {
    if let Some(mut parameters) = keepalive.optional("server_parameters") {
        let mut duration = |key| parameters.duration(key).filter(|duration| !duration.is_zero());
        server.max_connection_idle = duration("max_connection_idle");
        server.max_connection_age = duration("max_connection_age");
        server.max_connection_age_grace = duration("max_connection_age_grace");
        let (time, timeout) = (duration("time"), duration("timeout"));
        server.keepalive = (time.is_some() || timeout.is_some()).then(|| Keepalive {
            time: time.unwrap_or(Keepalive::SERVER_TIME),
            timeout: timeout.unwrap_or(Keepalive::SERVER_TIMEOUT),
            without_calls: true,
        });
        parameters.finish();
    }
    if let Some(mut policy) = keepalive.optional("enforcement_policy") {
        policy.advisory("min_time", "relayd does not close connections for frequent pings");
        policy.advisory("permit_without_stream", "relayd always permits pings");
        policy.finish();
    }
    keepalive.finish();
}

/// MiB to bytes, up to the largest gRPC message (gRPC over HTTP2, Length-Prefixed-Message: four bytes of length).
fn message_bytes(mib: u64) -> usize {
    super::saturate(mib.saturating_mul(1 << 20).min(u64::from(u32::MAX)))
}
