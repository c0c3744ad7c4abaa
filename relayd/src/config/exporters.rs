//! The section `exporters`: `otlp` (also `otlp_grpc`), `otlp_http` (also `otlphttp`), `load_balancing` and `debug` (also `logging`). Must
//! never connect, and must never show the value of a header.

mod compression;
mod debug;
mod grpc;
mod http;
mod load_balancing;

use super::auth::ClientAuth;
use super::components::{Components, Kind, State, read_components, type_of};
use super::error::Diagnostics;
use super::extensions::Extensions;
use super::headers::{Carrier, read_headers};
use super::node::Node;
use super::queue::SendingQueue;
use super::secret::Secret;
use super::section::Section;
use super::storage::Spill;

pub use compression::{Compression, Passthrough};
pub use debug::{DebugExporter, Verbosity};
pub use grpc::OtlpExporter;
pub use http::{HttpConnections, OtlpHttpExporter};
pub use load_balancing::LoadBalancingExporter;

/// An exporter that a pipeline uses.
#[derive(Clone, Debug, PartialEq)]
pub struct Exporter {
    /// As in the file, `otlp/2`; the label `exporter` of the metrics.
    pub id: String,
    /// Where it sends.
    pub kind: ExporterKind,
}

/// The kinds of exporters.
#[derive(Clone, Debug, PartialEq)]
pub enum ExporterKind {
    /// `otlp`, `otlp_grpc`: to an upstream, over gRPC.
    Otlp(Box<OtlpExporter>),
    /// `otlp_http`, `otlphttp`: to an upstream, over HTTP.
    OtlpHttp(Box<OtlpHttpExporter>),
    /// `load_balancing`, `loadbalancing`: to the members of a tier, over gRPC.
    LoadBalancing(Box<LoadBalancingExporter>),
    /// `debug`, `logging`: to the log.
    Debug(DebugExporter),
    /// Each arriving trace in a readable form on standard output. Only in the embedded default; no key makes one.
    Printer,
}

impl ExporterKind {
    /// Its queue, if it has one.
    #[must_use]
    pub fn queue(&self) -> Option<&SendingQueue> {
        match self {
            Self::Otlp(otlp) => otlp.queue.as_ref(),
            Self::OtlpHttp(otlp) => otlp.queue.as_ref(),
            Self::LoadBalancing(tier) => tier.otlp.queue.as_ref(),
            Self::Debug(_) | Self::Printer => None,
        }
    }

    /// Whether it has batches of its own (`sending_queue.batch`).
    #[must_use]
    pub fn has_own_batches(&self) -> bool {
        self.queue().is_some_and(|queue| queue.batch.is_some())
    }

    /// What it does with its storage, if it has one.
    #[must_use]
    pub fn spill(&self) -> Option<&Spill> {
        self.queue()?.spill.as_ref()
    }
}

/// Reads all exporters.
pub(super) fn read(node: Option<&Node>, extensions: &Extensions, diag: &Diagnostics) -> Components<Exporter> {
    read_components(Kind::Exporter, node, diag, |id, section| {
        let kind = match type_of(id) {
            "debug" | "logging" => Some(ExporterKind::Debug(debug::read(id, section))),
            "otlp_http" | "otlphttp" => {
                http::read(section, extensions).map(|otlp| ExporterKind::OtlpHttp(Box::new(otlp)))
            }
            "load_balancing" | "loadbalancing" => {
                let tier = load_balancing::read(section, extensions);
                tier.map(|tier| ExporterKind::LoadBalancing(Box::new(tier)))
            }
            _ => grpc::read(section, extensions).map(|otlp| ExporterKind::Otlp(Box::new(otlp))),
        };
        kind.map_or(State::Refused, |kind| State::Ready(Exporter { id: id.to_owned(), kind }))
    })
}

/// `headers` and `auth`. A header that both write would depend on who writes last.
fn read_headers_and_auth(
    section: &mut Section<'_>,
    carrier: Carrier,
    extensions: &Extensions,
) -> (Vec<(String, Secret)>, Option<ClientAuth>) {
    let node = section.value("headers");
    let path = section.path_of("headers");
    let headers = node.map(|node| read_headers(node, &path, carrier, section.diagnostics()));
    let headers = headers.unwrap_or_default();
    let auth = extensions.read_client_auth(section);
    if let Some(auth) = &auth
        && headers.iter().any(|(name, _)| name == auth.header())
    {
        let name = auth.header();
        section
            .error("auth", format!("it writes the header {name}, which headers has too; remove one of them"));
    }
    (headers, auth)
}

/// Keys of both kinds that relayd needs nothing for, or does not have.
fn read_rest(section: &mut Section<'_>) {
    section.advisory("read_buffer_size", "relayd sizes its buffers by what arrives");
    section.advisory("write_buffer_size", "relayd writes payloads from where they were received");
    section.refuse("batcher", "use sending_queue.batch");
    section.refuse("middlewares", "relayd has none for exporters; remove it");
}
