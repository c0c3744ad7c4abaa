//! common.proto and resource.proto, and what every message needs.

use serde_json::{Value, json};

use super::Form;
use crate::oracle::{AnyValue, EntityRef, InstrumentationScope, KeyValue, Resource, any_value};

/// An array of what `write` makes of each.
pub(super) fn list<T>(values: &[T], write: impl Fn(&T) -> Value) -> Value {
    values.iter().map(write).collect()
}

/// What `write` makes of the value; `null` for none.
pub(super) fn option<T>(value: Option<&T>, write: impl Fn(&T) -> Value) -> Value {
    value.map_or(Value::Null, write)
}

/// Adds a member to an object that was just made.
pub(super) fn with(mut object: Value, key: &str, value: Value) -> Value {
    object[key] = value;
    object
}

pub(super) fn attributes_of(attributes: &[KeyValue], form: Form) -> Value {
    list(attributes, |attribute| {
        json!({
            "key": attribute.key,
            "value": option(attribute.value.as_ref(), |value| any_value_of(value, form)),
            "keyStrindex": attribute.key_strindex,
        })
    })
}

pub(super) fn any_value_of(value: &AnyValue, form: Form) -> Value {
    use any_value::Value as Any;
    match &value.value {
        None => json!({}),
        Some(Any::StringValue(text)) => json!({ "stringValue": text }),
        Some(Any::BoolValue(flag)) => json!({ "boolValue": flag }),
        Some(Any::IntValue(int)) => json!({ "intValue": form.signed(*int) }),
        Some(Any::DoubleValue(double)) => json!({ "doubleValue": form.double(*double) }),
        Some(Any::BytesValue(bytes)) => json!({ "bytesValue": form.bytes(bytes) }),
        Some(Any::StringValueStrindex(index)) => json!({ "stringValueStrindex": index }),
        Some(Any::ArrayValue(array)) => {
            json!({ "arrayValue": { "values": list(&array.values, |value| any_value_of(value, form)) } })
        }
        Some(Any::KvlistValue(map)) => {
            json!({ "kvlistValue": { "values": attributes_of(&map.values, form) } })
        }
    }
}

pub(super) fn resource_of(resource: &Resource, form: Form) -> Value {
    let entity_ref = |entity: &EntityRef| {
        json!({
            "schemaUrl": entity.schema_url,
            "type": entity.r#type,
            "idKeys": entity.id_keys,
            "descriptionKeys": entity.description_keys,
        })
    };
    json!({
        "attributes": attributes_of(&resource.attributes, form),
        "droppedAttributesCount": resource.dropped_attributes_count,
        "entityRefs": list(&resource.entity_refs, entity_ref),
    })
}

pub(super) fn scope_of(scope: &InstrumentationScope, form: Form) -> Value {
    json!({
        "name": scope.name,
        "version": scope.version,
        "attributes": attributes_of(&scope.attributes, form),
        "droppedAttributesCount": scope.dropped_attributes_count,
    })
}
