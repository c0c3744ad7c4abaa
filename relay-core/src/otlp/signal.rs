//! The signals of OTLP as data: names, paths, what an item is. The messages of all have the same shape down to the item, so nothing
//! else in the crate is made once per signal.

/// A signal of OTLP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Signal {
    /// Traces; an item is a span.
    #[default]
    Traces,
    /// Metrics; an item is a data point.
    Metrics,
    /// Logs; an item is a log record.
    Logs,
    /// Profiles (v1development); an item is a sample.
    Profiles,
}

impl Signal {
    /// All signals, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Traces, Self::Metrics, Self::Logs, Self::Profiles];

    /// The name in configuration and logs: `traces`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
            Self::Profiles => "profiles",
        }
    }

    /// The signal of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|signal| signal.name() == name)
    }

    /// What its items are called in logs: `spans`.
    pub const fn items(self) -> &'static str {
        match self {
            Self::Traces => "spans",
            Self::Metrics => "data points",
            Self::Logs => "log records",
            Self::Profiles => "profile samples",
        }
    }

    /// The JSON name of the count in its `partial_success`.
    pub const fn rejected_json_name(self) -> &'static str {
        match self {
            Self::Traces => "rejectedSpans",
            Self::Metrics => "rejectedDataPoints",
            Self::Logs => "rejectedLogRecords",
            Self::Profiles => "rejectedProfiles",
        }
    }

    /// The request message of its service, as errors name it.
    pub const fn request(self) -> &'static str {
        match self {
            Self::Traces => "ExportTraceServiceRequest",
            Self::Metrics => "ExportMetricsServiceRequest",
            Self::Logs => "ExportLogsServiceRequest",
            Self::Profiles => "ExportProfilesServiceRequest",
        }
    }

    /// The path of its unary `Export` call (OTLP/gRPC).
    pub const fn grpc_path(self) -> &'static str {
        match self {
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Self::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            Self::Profiles => "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export",
        }
    }

    /// The default path of its requests (OTLP/HTTP).
    pub const fn http_path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Metrics => "/v1/metrics",
            Self::Logs => "/v1/logs",
            Self::Profiles => "/v1development/profiles",
        }
    }

    /// Whether two of its requests, one after the other, are a request that holds both. Not so for profiles: each request has a
    /// dictionary that its own indices point into.
    pub const fn concatenates(self) -> bool {
        !matches!(self, Self::Profiles)
    }
}
