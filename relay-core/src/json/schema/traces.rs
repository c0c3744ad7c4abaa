//! opentelemetry/proto/collector/trace/v1/trace_service.proto and trace/v1/trace.proto.

use super::common::{KEY_VALUE, RESOURCE, SCOPE};
use super::{Kind, Message, many, one};

pub(super) static REQUEST: Message =
    Message { fields: &[many("resourceSpans", 1, Kind::Message(&RESOURCE_SPANS))] };

static RESOURCE_SPANS: Message = Message {
    fields: &[
        one("resource", 1, Kind::Message(&RESOURCE)),
        many("scopeSpans", 2, Kind::Message(&SCOPE_SPANS)),
        one("schemaUrl", 3, Kind::String),
    ],
};

static SCOPE_SPANS: Message = Message {
    fields: &[
        one("scope", 1, Kind::Message(&SCOPE)),
        many("spans", 2, Kind::Message(&SPAN)),
        one("schemaUrl", 3, Kind::String),
    ],
};

static SPAN: Message = Message {
    fields: &[
        one("traceId", 1, Kind::TraceId),
        one("spanId", 2, Kind::SpanId),
        one("traceState", 3, Kind::String),
        one("parentSpanId", 4, Kind::SpanId),
        one("flags", 16, Kind::Fixed32),
        one("name", 5, Kind::String),
        one("kind", 6, Kind::Enum),
        one("startTimeUnixNano", 7, Kind::Fixed64),
        one("endTimeUnixNano", 8, Kind::Fixed64),
        many("attributes", 9, Kind::Message(&KEY_VALUE)),
        one("droppedAttributesCount", 10, Kind::Uint32),
        many("events", 11, Kind::Message(&EVENT)),
        one("droppedEventsCount", 12, Kind::Uint32),
        many("links", 13, Kind::Message(&LINK)),
        one("droppedLinksCount", 14, Kind::Uint32),
        one("status", 15, Kind::Message(&STATUS)),
    ],
};

static EVENT: Message = Message {
    fields: &[
        one("timeUnixNano", 1, Kind::Fixed64),
        one("name", 2, Kind::String),
        many("attributes", 3, Kind::Message(&KEY_VALUE)),
        one("droppedAttributesCount", 4, Kind::Uint32),
    ],
};

static LINK: Message = Message {
    fields: &[
        one("traceId", 1, Kind::TraceId),
        one("spanId", 2, Kind::SpanId),
        one("traceState", 3, Kind::String),
        many("attributes", 4, Kind::Message(&KEY_VALUE)),
        one("droppedAttributesCount", 5, Kind::Uint32),
        one("flags", 6, Kind::Fixed32),
    ],
};

static STATUS: Message = Message { fields: &[one("message", 2, Kind::String), one("code", 3, Kind::Enum)] };
