//! The section `receivers`: `otlp` over gRPC and HTTP, on two ports or one. Must never open a socket.

mod grpc;
mod http;

use super::components::{Components, Kind, State, read_components};
use super::endpoint::{self, Address, HostPort};
use super::error::Diagnostics;
use super::extensions::Extensions;
use super::node::Node;
use super::processors::MemoryLimiter;
use super::section::Section;

pub use grpc::{GrpcServer, Keepalive};
pub use http::{ContentEncoding, Cors, HttpServer};

/// A receiver that a pipeline uses. It has at least one protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// As in the file, `otlp` or `otlp/name`; the label `receiver` of the metrics.
    pub id: String,
    /// `protocols.grpc`: OTLP over gRPC.
    pub grpc: Option<GrpcServer>,
    /// `protocols.http`: OTLP over HTTP.
    pub http: Option<HttpServer>,
}

impl Receiver {
    /// True if both protocols are on one address: one listener then tells them apart by what a connection begins with.
    /// Their `tls` is the same.
    #[must_use]
    pub fn one_port(&self) -> bool {
        match (&self.grpc, &self.http) {
            (Some(grpc), Some(http)) => grpc.endpoint.clashes_with(&http.endpoint),
            _ => false,
        }
    }

    /// The addresses that it listens on, with the name of the protocol: one or two.
    pub fn listeners(&self) -> impl Iterator<Item = (&'static str, &Address)> {
        let grpc = self.grpc.as_ref().map(|grpc| ("grpc", &grpc.endpoint));
        let http = self.http.as_ref().filter(|_| !self.one_port()).map(|http| ("http", &http.endpoint));
        grpc.into_iter().chain(http)
    }

    /// The memory limiters that its `middlewares` name.
    pub fn memory_limiters(&self) -> impl Iterator<Item = &MemoryLimiter> {
        let grpc = self.grpc.as_ref().and_then(|grpc| grpc.memory_limiter.as_ref());
        grpc.into_iter().chain(self.http.as_ref().and_then(|http| http.memory_limiter.as_ref()))
    }
}

/// Reads all receivers.
pub(super) fn read(node: Option<&Node>, extensions: &Extensions, diag: &Diagnostics) -> Components<Receiver> {
    read_components(Kind::Receiver, node, diag, |id, section| {
        read_otlp(id, section, extensions).map_or(State::Refused, State::Ready)
    })
}

fn read_otlp(id: &str, mut section: Section<'_>, extensions: &Extensions) -> Option<Receiver> {
    let protocols = section.section("protocols");
    let Some(mut protocols) = protocols else {
        section
            .error("protocols", "an otlp receiver needs a protocol; write protocols: {grpc: {}, http: {}}");
        section.finish();
        return None;
    };
    section.finish();
    // `grpc:` (null) means "enabled with defaults"; only absence disables.
    let grpc = protocols.section("grpc").and_then(Section::unless_disabled);
    let grpc = grpc.map(|section| grpc::read(section, extensions));
    let http = protocols.section("http").and_then(Section::unless_disabled);
    let http = http.map(|section| http::read(section, extensions));
    if grpc.is_none() && http.is_none() {
        protocols.error("", "at least one protocol is needed; write grpc: {} or http: {}");
    }
    let receiver = Receiver { id: id.to_owned(), grpc, http };
    if let (true, Some(grpc), Some(http)) = (receiver.one_port(), &receiver.grpc, &receiver.http)
        && grpc.tls != http.tls
    {
        protocols.error(
            "http",
            "grpc has the same endpoint but another tls; make both the same, or use two ports",
        );
    }
    // One port asks everybody for the same: none may be let in by the other protocol.
    if let (true, Some(grpc), Some(http)) = (receiver.one_port(), &receiver.grpc, &receiver.http)
        && grpc.auth != http.auth
    {
        protocols.error(
            "http",
            "grpc has the same endpoint but another auth; make both the same, or use two ports",
        );
    }
    protocols.finish();
    Some(receiver)
}

/// `endpoint` and `transport` of a server (Collector, confignet.AddrConfig).
fn read_endpoint(section: &mut Section<'_>, default_port: u16) -> Address {
    let transport = section.text("transport");
    let unix = match transport {
        None | Some("" | "tcp") => false,
        Some("unix") => true,
        Some("tcp4" | "tcp6") => {
            section.error("transport", "write tcp; the address says which family, as in 0.0.0.0 or [::]");
            false
        }
        Some(other) => {
            section.error("transport", format!("expected tcp or unix, found {other:?}"));
            false
        }
    };
    let default = Address::Tcp(HostPort::new("0.0.0.0", default_port));
    let Some(text) = section.text("endpoint") else {
        if unix {
            section.error("endpoint", "transport: unix needs a path, as in /run/relay.sock");
        }
        return default;
    };
    match endpoint::parse_listen_any(text, unix) {
        Ok(Address::Unix(_) | Address::Abstract(_)) if transport == Some("tcp") => {
            section.error("transport", "the endpoint is a unix socket; write unix");
            default
        }
        Ok(address) => address,
        Err(what) => {
            section.error("endpoint", what);
            default
        }
    }
}

/// Bytes that memory can hold: a size that is larger says "no limit" (`max_recv_msg_size_mib: 999999999`).
fn saturate(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
