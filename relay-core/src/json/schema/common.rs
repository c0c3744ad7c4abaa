//! opentelemetry/proto/common/v1/common.proto and resource/v1/resource.proto.

use super::{Kind, Message, either, many, one};

pub(super) static ANY_VALUE: Message = Message {
    fields: &[
        either("stringValue", 1, Kind::String),
        either("boolValue", 2, Kind::Bool),
        either("intValue", 3, Kind::Int64),
        either("doubleValue", 4, Kind::Double),
        either("arrayValue", 5, Kind::Message(&ARRAY_VALUE)),
        either("kvlistValue", 6, Kind::Message(&KEY_VALUE_LIST)),
        either("bytesValue", 7, Kind::Bytes),
        either("stringValueStrindex", 8, Kind::Int32),
    ],
};

static ARRAY_VALUE: Message = Message { fields: &[many("values", 1, Kind::Message(&ANY_VALUE))] };

static KEY_VALUE_LIST: Message = Message { fields: &[many("values", 1, Kind::Message(&KEY_VALUE))] };

pub(super) static KEY_VALUE: Message = Message {
    fields: &[
        one("key", 1, Kind::String),
        one("value", 2, Kind::Message(&ANY_VALUE)),
        one("keyStrindex", 3, Kind::Int32),
    ],
};

pub(super) static SCOPE: Message = Message {
    fields: &[
        one("name", 1, Kind::String),
        one("version", 2, Kind::String),
        many("attributes", 3, Kind::Message(&KEY_VALUE)),
        one("droppedAttributesCount", 4, Kind::Uint32),
    ],
};

pub(super) static RESOURCE: Message = Message {
    fields: &[
        many("attributes", 1, Kind::Message(&KEY_VALUE)),
        one("droppedAttributesCount", 2, Kind::Uint32),
        many("entityRefs", 3, Kind::Message(&ENTITY_REF)),
    ],
};

static ENTITY_REF: Message = Message {
    fields: &[
        one("schemaUrl", 1, Kind::String),
        one("type", 2, Kind::String),
        many("idKeys", 3, Kind::String),
        many("descriptionKeys", 4, Kind::String),
    ],
};
