//! opentelemetry/proto/collector/profiles/v1development/profiles_service.proto and profiles/v1development/profiles.proto.

use super::common::{ANY_VALUE, RESOURCE, SCOPE};
use super::{Kind, Message, many, one};

pub(super) static REQUEST: Message = Message {
    fields: &[
        many("resourceProfiles", 1, Kind::Message(&RESOURCE_PROFILES)),
        one("dictionary", 2, Kind::Message(&DICTIONARY)),
    ],
};

static RESOURCE_PROFILES: Message = Message {
    fields: &[
        one("resource", 1, Kind::Message(&RESOURCE)),
        many("scopeProfiles", 2, Kind::Message(&SCOPE_PROFILES)),
        one("schemaUrl", 3, Kind::String),
    ],
};

static SCOPE_PROFILES: Message = Message {
    fields: &[
        one("scope", 1, Kind::Message(&SCOPE)),
        many("profiles", 2, Kind::Message(&PROFILE)),
        one("schemaUrl", 3, Kind::String),
    ],
};

static PROFILE: Message = Message {
    fields: &[
        one("sampleType", 1, Kind::Message(&VALUE_TYPE)),
        many("samples", 2, Kind::Message(&SAMPLE)),
        one("timeUnixNano", 3, Kind::Fixed64),
        one("durationNano", 4, Kind::Uint64),
        one("periodType", 5, Kind::Message(&VALUE_TYPE)),
        one("period", 6, Kind::Int64),
        one("profileId", 7, Kind::ProfileId),
        one("droppedAttributesCount", 8, Kind::Uint32),
        one("originalPayloadFormat", 9, Kind::String),
        one("originalPayload", 10, Kind::Bytes),
        many("attributeIndices", 11, Kind::Int32),
    ],
};

static VALUE_TYPE: Message =
    Message { fields: &[one("typeStrindex", 1, Kind::Int32), one("unitStrindex", 2, Kind::Int32)] };

static SAMPLE: Message = Message {
    fields: &[
        one("stackIndex", 1, Kind::Int32),
        many("attributeIndices", 2, Kind::Int32),
        one("linkIndex", 3, Kind::Int32),
        many("values", 4, Kind::Int64),
        many("timestampsUnixNano", 5, Kind::Fixed64),
    ],
};

static DICTIONARY: Message = Message {
    fields: &[
        many("mappingTable", 1, Kind::Message(&MAPPING)),
        many("locationTable", 2, Kind::Message(&LOCATION)),
        many("functionTable", 3, Kind::Message(&FUNCTION)),
        many("linkTable", 4, Kind::Message(&LINK)),
        many("stringTable", 5, Kind::String),
        many("attributeTable", 6, Kind::Message(&KEY_VALUE_AND_UNIT)),
        many("stackTable", 7, Kind::Message(&STACK)),
    ],
};

static MAPPING: Message = Message {
    fields: &[
        one("memoryStart", 1, Kind::Uint64),
        one("memoryLimit", 2, Kind::Uint64),
        one("fileOffset", 3, Kind::Uint64),
        one("filenameStrindex", 4, Kind::Int32),
        many("attributeIndices", 5, Kind::Int32),
    ],
};

static LOCATION: Message = Message {
    fields: &[
        one("mappingIndex", 1, Kind::Int32),
        one("address", 2, Kind::Uint64),
        many("lines", 3, Kind::Message(&LINE)),
        many("attributeIndices", 4, Kind::Int32),
    ],
};

static LINE: Message = Message {
    fields: &[
        one("functionIndex", 1, Kind::Int32),
        one("line", 2, Kind::Int64),
        one("column", 3, Kind::Int64),
    ],
};

static FUNCTION: Message = Message {
    fields: &[
        one("nameStrindex", 1, Kind::Int32),
        one("systemNameStrindex", 2, Kind::Int32),
        one("filenameStrindex", 3, Kind::Int32),
        one("startLine", 4, Kind::Int64),
    ],
};

static LINK: Message =
    Message { fields: &[one("traceId", 1, Kind::TraceId), one("spanId", 2, Kind::SpanId)] };

static KEY_VALUE_AND_UNIT: Message = Message {
    fields: &[
        one("keyStrindex", 1, Kind::Int32),
        one("value", 2, Kind::Message(&ANY_VALUE)),
        one("unitStrindex", 3, Kind::Int32),
    ],
};

static STACK: Message = Message { fields: &[many("locationIndices", 1, Kind::Int32)] };
