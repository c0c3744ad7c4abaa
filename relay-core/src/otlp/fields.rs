//! Field numbers of OTLP 1.11, quoted from opentelemetry-proto: of traces, and what the other signals have besides. Holds
//! constants only.

/// opentelemetry/proto/collector/trace/v1/trace_service.proto, `message ExportTraceServiceRequest`. The requests of the other
/// signals have `ResourceMetrics`, `ResourceLogs`, `ResourceProfiles` in the same place.
pub mod request {
    /// `repeated opentelemetry.proto.trace.v1.ResourceSpans resource_spans = 1;`
    pub const RESOURCE_SPANS: u32 = 1;
    /// `ExportProfilesServiceRequest`: `opentelemetry.proto.profiles.v1development.ProfilesDictionary dictionary = 2;`
    pub const DICTIONARY: u32 = 2;
}

/// opentelemetry/proto/metrics/v1/metrics.proto, `message Metric`.
pub mod metric {
    /// `oneof data`: `Gauge gauge = 5; Sum sum = 7; Histogram histogram = 9; ExponentialHistogram exponential_histogram = 10;
    /// Summary summary = 11;`
    pub const DATA: [u32; 5] = [5, 7, 9, 10, 11];
}

/// opentelemetry/proto/metrics/v1/metrics.proto, `message Gauge`, `Sum`, `Histogram`, `ExponentialHistogram`, `Summary`.
pub mod data {
    /// `repeated NumberDataPoint data_points = 1;` and its like.
    pub const DATA_POINTS: u32 = 1;
}

/// opentelemetry/proto/profiles/v1development/profiles.proto, `message Profile`.
pub mod profile {
    /// `repeated Sample samples = 2;`
    pub const SAMPLES: u32 = 2;
}

/// opentelemetry/proto/trace/v1/trace.proto, `message ResourceSpans`; `ResourceMetrics`, `ResourceLogs` and `ResourceProfiles` have
/// the same numbers.
pub mod resource_spans {
    /// `opentelemetry.proto.resource.v1.Resource resource = 1;`
    pub const RESOURCE: u32 = 1;
    /// `repeated ScopeSpans scope_spans = 2;`
    pub const SCOPE_SPANS: u32 = 2;
    /// `string schema_url = 3;`
    pub const SCHEMA_URL: u32 = 3;
}

/// opentelemetry/proto/trace/v1/trace.proto, `message ScopeSpans`; `ScopeMetrics`, `ScopeLogs` and `ScopeProfiles` have the same
/// numbers.
pub mod scope_spans {
    /// `opentelemetry.proto.common.v1.InstrumentationScope scope = 1;`
    pub const SCOPE: u32 = 1;
    /// `repeated Span spans = 2;`
    pub const SPANS: u32 = 2;
    /// `string schema_url = 3;`
    pub const SCHEMA_URL: u32 = 3;
}

/// opentelemetry/proto/trace/v1/trace.proto, `message Span`.
pub mod span {
    /// `bytes trace_id = 1;`
    pub const TRACE_ID: u32 = 1;
    /// `bytes span_id = 2;`
    pub const SPAN_ID: u32 = 2;
    /// `string trace_state = 3;`
    pub const TRACE_STATE: u32 = 3;
    /// `bytes parent_span_id = 4;`
    pub const PARENT_SPAN_ID: u32 = 4;
    /// `string name = 5;`
    pub const NAME: u32 = 5;
    /// `SpanKind kind = 6;`
    pub const KIND: u32 = 6;
    /// `fixed64 start_time_unix_nano = 7;`
    pub const START_TIME_UNIX_NANO: u32 = 7;
    /// `fixed64 end_time_unix_nano = 8;`
    pub const END_TIME_UNIX_NANO: u32 = 8;
    /// `repeated opentelemetry.proto.common.v1.KeyValue attributes = 9;`
    pub const ATTRIBUTES: u32 = 9;
    /// `uint32 dropped_attributes_count = 10;`
    pub const DROPPED_ATTRIBUTES_COUNT: u32 = 10;
    /// `repeated Event events = 11;`
    pub const EVENTS: u32 = 11;
    /// `uint32 dropped_events_count = 12;`
    pub const DROPPED_EVENTS_COUNT: u32 = 12;
    /// `repeated Link links = 13;`
    pub const LINKS: u32 = 13;
    /// `uint32 dropped_links_count = 14;`
    pub const DROPPED_LINKS_COUNT: u32 = 14;
    /// `Status status = 15;`
    pub const STATUS: u32 = 15;
    /// `fixed32 flags = 16;`
    pub const FLAGS: u32 = 16;
}

/// opentelemetry/proto/trace/v1/trace.proto, `message Span.Event`.
pub mod event {
    /// `fixed64 time_unix_nano = 1;`
    pub const TIME_UNIX_NANO: u32 = 1;
    /// `string name = 2;`
    pub const NAME: u32 = 2;
    /// `repeated opentelemetry.proto.common.v1.KeyValue attributes = 3;`
    pub const ATTRIBUTES: u32 = 3;
    /// `uint32 dropped_attributes_count = 4;`
    pub const DROPPED_ATTRIBUTES_COUNT: u32 = 4;
}

/// opentelemetry/proto/trace/v1/trace.proto, `message Span.Link`.
pub mod link {
    /// `bytes trace_id = 1;`
    pub const TRACE_ID: u32 = 1;
    /// `bytes span_id = 2;`
    pub const SPAN_ID: u32 = 2;
    /// `string trace_state = 3;`
    pub const TRACE_STATE: u32 = 3;
    /// `repeated opentelemetry.proto.common.v1.KeyValue attributes = 4;`
    pub const ATTRIBUTES: u32 = 4;
    /// `uint32 dropped_attributes_count = 5;`
    pub const DROPPED_ATTRIBUTES_COUNT: u32 = 5;
    /// `fixed32 flags = 6;`
    pub const FLAGS: u32 = 6;
}

/// opentelemetry/proto/trace/v1/trace.proto, `message Status`; field 1 is reserved.
pub mod status {
    /// `string message = 2;`
    pub const MESSAGE: u32 = 2;
    /// `StatusCode code = 3;`
    pub const CODE: u32 = 3;
}

/// opentelemetry/proto/resource/v1/resource.proto, `message Resource`.
pub mod resource {
    /// `repeated opentelemetry.proto.common.v1.KeyValue attributes = 1;`
    pub const ATTRIBUTES: u32 = 1;
    /// `uint32 dropped_attributes_count = 2;`
    pub const DROPPED_ATTRIBUTES_COUNT: u32 = 2;
}

/// opentelemetry/proto/common/v1/common.proto, `message InstrumentationScope`.
pub mod scope {
    /// `string name = 1;`
    pub const NAME: u32 = 1;
    /// `string version = 2;`
    pub const VERSION: u32 = 2;
    /// `repeated KeyValue attributes = 3;`
    pub const ATTRIBUTES: u32 = 3;
    /// `uint32 dropped_attributes_count = 4;`
    pub const DROPPED_ATTRIBUTES_COUNT: u32 = 4;
}

/// opentelemetry/proto/common/v1/common.proto, `message KeyValue`.
pub mod key_value {
    /// `string key = 1;`
    pub const KEY: u32 = 1;
    /// `AnyValue value = 2;`
    pub const VALUE: u32 = 2;
}

/// opentelemetry/proto/common/v1/common.proto, `message AnyValue`, `oneof value`.
pub mod any_value {
    /// `string string_value = 1;`
    pub const STRING_VALUE: u32 = 1;
    /// `bool bool_value = 2;`
    pub const BOOL_VALUE: u32 = 2;
    /// `int64 int_value = 3;`
    pub const INT_VALUE: u32 = 3;
    /// `double double_value = 4;`
    pub const DOUBLE_VALUE: u32 = 4;
    /// `ArrayValue array_value = 5;`
    pub const ARRAY_VALUE: u32 = 5;
    /// `KeyValueList kvlist_value = 6;`
    pub const KVLIST_VALUE: u32 = 6;
    /// `bytes bytes_value = 7;`
    pub const BYTES_VALUE: u32 = 7;
    /// `int32 string_value_strindex = 8;` (status Development, profiles only)
    pub const STRING_VALUE_STRINDEX: u32 = 8;
}

/// opentelemetry/proto/common/v1/common.proto, `message ArrayValue`.
pub mod array_value {
    /// `repeated AnyValue values = 1;`
    pub const VALUES: u32 = 1;
}

/// opentelemetry/proto/common/v1/common.proto, `message KeyValueList`.
pub mod key_value_list {
    /// `repeated KeyValue values = 1;`
    pub const VALUES: u32 = 1;
}
