//! The configuration: the Collector's own YAML, read as the Collector reads it, into plain values that the daemon
//! starts from. A key or component that relayd does not have is an error that names its file, line, full key and the
//! way out; a harmless legacy one is a warning; nothing is ignored in silence.
//!
//! The way of a file: `source` (URIs, `--set`) -> `yaml` (values with places) -> `merge` -> `expand` (`${...}`) ->
//! `section` (typed readers that know which keys were asked for) -> one file per section -> `load` joins them.
//!
//! Must never open a socket, resolve a name, open a file that a component names, or read a clock. Of relay-core it takes
//! plain values only.

pub mod auth;
pub mod components;
pub mod duration;
pub mod endpoint;
pub mod error;
pub mod expand;
pub mod exporters;
pub mod extensions;
pub mod headers;
pub mod hints;
mod listen;
pub mod load;
mod memory;
pub mod merge;
pub mod node;
pub mod processors;
pub mod queue;
pub mod receivers;
pub mod secret;
pub mod section;
pub mod service;
pub mod source;
pub mod storage;
pub mod telemetry;
pub mod tls;
pub mod url;
pub mod yaml;

#[cfg(test)]
mod tests;

pub use auth::{BearerToken, ClientAuth, Credential, Credentials, Htpasswd, ServerAuth, Tokens};
pub use endpoint::{Address, HostPort};
pub use error::{ConfigError, Notice, Severity};
pub use exporters::{
    Compression, DebugExporter, Exporter, ExporterKind, HttpConnections, LoadBalancingExporter, OtlpExporter,
    OtlpHttpExporter, Passthrough, Verbosity,
};
pub use extensions::HealthCheck;
pub use load::{Config, load};
pub use processors::{Batch, MemoryLimiter};
pub use queue::{QueueBatch, SendingQueue, Sizer};
pub use receivers::{ContentEncoding, Cors, GrpcServer, HttpServer, Keepalive, Listener, Receiver};
pub use secret::Secret;
pub use service::Pipeline;
pub use source::{System, World};
pub use storage::{FileStorage, Spill};
pub use telemetry::{LogLevel, Logs, Metrics, MetricsLevel};
pub use tls::{Identity, Pem, TlsClient, TlsServer, TlsVersion, TlsVersions};
pub use url::{HttpUrl, Proxy};
