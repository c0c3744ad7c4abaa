//! The four signals of OTLP: their names, gRPC methods and HTTP paths, and whether bytes are one of their requests.
//!
//! Must never know what a signal's items look like: prost's types do.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use prost::{DecodeError, Message};

use crate::oracle::ExportTraceServiceRequest;

/// What a request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Data points.
    Metrics,
    /// Log records.
    Logs,
    /// Samples; the specification still calls them a development.
    Profiles,
}

impl Signal {
    /// All of them, in the specification's order.
    pub const ALL: [Self; 4] = [Self::Traces, Self::Metrics, Self::Logs, Self::Profiles];

    /// As it is called in configurations: `traces`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
            Self::Profiles => "profiles",
        }
    }

    /// The path of `Export`: service and method.
    #[must_use]
    pub fn grpc_path(self) -> &'static str {
        match self {
            Self::Traces => crate::raw::EXPORT_PATH,
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Self::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            Self::Profiles => "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export",
        }
    }

    /// The path of OTLP/HTTP (specification, section "OTLP/HTTP Request").
    #[must_use]
    pub fn http_path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Metrics => "/v1/metrics",
            Self::Logs => "/v1/logs",
            Self::Profiles => "/v1development/profiles",
        }
    }

    /// The signal whose `Export` has this path.
    #[must_use]
    pub fn of_grpc_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|signal| signal.grpc_path() == path)
    }

    /// Whether prost can read `message` as this signal's request.
    ///
    /// # Errors
    /// prost's.
    pub fn check(self, message: &[u8]) -> Result<(), DecodeError> {
        match self {
            Self::Traces => ExportTraceServiceRequest::decode(message).map(drop),
            Self::Metrics => ExportMetricsServiceRequest::decode(message).map(drop),
            Self::Logs => ExportLogsServiceRequest::decode(message).map(drop),
            Self::Profiles => ExportProfilesServiceRequest::decode(message).map(drop),
        }
    }
}
