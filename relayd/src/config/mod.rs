//! The configuration: the Collector's own YAML, read as the Collector reads it, into plain values that the daemon
//! starts from. A key or component that relayd does not have is an error that names its file, line, full key and the
//! way out; a harmless legacy one is a warning; nothing is ignored in silence.
//!
//! The way of a file: `source` (URIs, `--set`) -> `yaml` (values with places) -> `merge` -> `expand` (`${...}`) ->
//! `section` (typed readers that know which keys were asked for) -> one file per section -> `load` joins them.
//!
//! Must never depend on relay-core, open a socket, resolve a name or read a clock.

pub mod components;
pub mod duration;
pub mod endpoint;
pub mod error;
pub mod expand;
pub mod exporters;
pub mod extensions;
pub mod headers;
pub mod hints;
pub mod load;
mod memory;
pub mod merge;
pub mod node;
pub mod processors;
pub mod queue;
pub mod receivers;
pub mod section;
pub mod service;
pub mod source;
pub mod telemetry;
pub mod yaml;

#[cfg(test)]
mod tests;

pub use endpoint::HostPort;
pub use error::{ConfigError, Notice, Severity};
pub use exporters::{Compression, DebugExporter, Exporter, ExporterKind, OtlpExporter, Verbosity};
pub use extensions::HealthCheck;
pub use headers::Secret;
pub use load::{Config, load};
pub use processors::{Batch, MemoryLimiter};
pub use queue::{QueueBatch, SendingQueue, Sizer};
pub use receivers::{GrpcServer, Receiver};
pub use service::Pipeline;
pub use source::{System, World};
pub use telemetry::{LogLevel, Logs, Metrics, MetricsLevel};
