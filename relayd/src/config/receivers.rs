//! The section `receivers`: `otlp` over gRPC and HTTP, on two ports or one. Must never open a socket.

mod grpc;
mod http;

use super::components::{Components, Kind, State, read_components};
use super::endpoint::{Address, HostPort};
use super::error::Diagnostics;
use super::extensions::Extensions;
use super::listen;
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

/// One place where a receiver listens, and what is spoken there: one protocol, or both, which are told apart by what a connection
/// begins with. Their `tls` and `auth` are the same then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener<'a> {
    /// Where.
    pub address: &'a Address,
    /// Whether OTLP over gRPC is.
    pub grpc: bool,
    /// Whether OTLP over HTTP is.
    pub http: bool,
}

impl Receiver {
    /// Where it listens: all endpoints of gRPC, then those that HTTP has for itself.
    pub fn listeners(&self) -> impl Iterator<Item = Listener<'_>> {
        let grpc = self.grpc.as_ref().map_or(&[][..], |grpc| &grpc.endpoints);
        let http = self.http.as_ref().map_or(&[][..], |http| &http.endpoints);
        // Port 0 is a port of its own for each.
        let is_in =
            |list: &[Address], address: &Address| list.iter().any(|other| other.clashes_with(address));
        let of_grpc =
            grpc.iter().map(move |address| Listener { address, grpc: true, http: is_in(http, address) });
        let alone = http.iter().filter(move |address| !is_in(grpc, address));
        of_grpc.chain(alone.map(|address| Listener { address, grpc: false, http: true }))
    }

    /// Whether both protocols are spoken on one port.
    #[must_use]
    pub fn shares_a_port(&self) -> bool {
        self.listeners().any(|listener| listener.grpc && listener.http)
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
    if let (true, Some(grpc), Some(http)) = (receiver.shares_a_port(), &receiver.grpc, &receiver.http) {
        check_one_port(&protocols, grpc, http);
    }
    protocols.finish();
    Some(receiver)
}

/// One port asks everybody for the same: none may be let in by the other protocol.
fn check_one_port(protocols: &Section<'_>, grpc: &GrpcServer, http: &HttpServer) {
    if grpc.tls != http.tls {
        let what = "grpc has the same endpoint but another tls; make both the same, or use two ports";
        protocols.error("http", what);
    }
    if grpc.auth != http.auth {
        let what = "grpc has the same endpoint but another auth; make both the same, or use two ports";
        protocols.error("http", what);
    }
    for address in &http.endpoints {
        let overlaps = grpc.endpoints.iter().find(|other| *other != address && other.clashes_with(address));
        if let Some(other) = overlaps {
            let what = format!(
                "{address} overlaps grpc's endpoint {other}; write the same for both, or use two ports"
            );
            protocols.error("http", what);
        }
    }
}

/// Where a protocol listens; not empty.
fn read_endpoints(section: &mut Section<'_>, default_port: u16) -> Vec<Address> {
    let addresses = listen::read_all(section);
    if addresses.is_empty() {
        return vec![Address::Tcp(HostPort::new("0.0.0.0", default_port))];
    }
    addresses
}

/// Bytes that memory can hold: a size that is larger says "no limit" (`max_recv_msg_size_mib: 999999999`).
fn saturate(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
