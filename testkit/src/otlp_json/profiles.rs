//! profiles.proto.

use opentelemetry_proto::tonic::profiles::v1development::{
    KeyValueAndUnit, Line, Location, Mapping, Profile, ProfilesDictionary, Sample, ValueType,
};
use serde_json::{Value, json};

use super::Form;
use super::common::{any_value_of, list, option};

fn value_type_of(of: &ValueType) -> Value {
    json!({ "typeStrindex": of.type_strindex, "unitStrindex": of.unit_strindex })
}

pub(super) fn profile_of(profile: &Profile, form: Form) -> Value {
    json!({
        "sampleType": option(profile.sample_type.as_ref(), value_type_of),
        "samples": list(&profile.samples, |sample| sample_of(sample, form)),
        "timeUnixNano": form.unsigned(profile.time_unix_nano),
        "durationNano": form.unsigned(profile.duration_nano),
        "periodType": option(profile.period_type.as_ref(), value_type_of),
        "period": form.signed(profile.period),
        "profileId": form.profile_id(&profile.profile_id),
        "droppedAttributesCount": profile.dropped_attributes_count,
        "originalPayloadFormat": profile.original_payload_format,
        "originalPayload": form.bytes(&profile.original_payload),
        "attributeIndices": profile.attribute_indices,
    })
}

fn sample_of(sample: &Sample, form: Form) -> Value {
    json!({
        "stackIndex": sample.stack_index,
        "attributeIndices": sample.attribute_indices,
        "linkIndex": sample.link_index,
        "values": list(&sample.values, |value| form.signed(*value)),
        "timestampsUnixNano": list(&sample.timestamps_unix_nano, |time| form.unsigned(*time)),
    })
}

pub(super) fn dictionary_of(dictionary: &ProfilesDictionary, form: Form) -> Value {
    let attribute = |of: &KeyValueAndUnit| {
        json!({
            "keyStrindex": of.key_strindex,
            "value": option(of.value.as_ref(), |value| any_value_of(value, form)),
            "unitStrindex": of.unit_strindex,
        })
    };
    json!({
        "mappingTable": list(&dictionary.mapping_table, |mapping| mapping_of(mapping, form)),
        "locationTable": list(&dictionary.location_table, |location| location_of(location, form)),
        "functionTable": list(&dictionary.function_table, |of| json!({
            "nameStrindex": of.name_strindex,
            "systemNameStrindex": of.system_name_strindex,
            "filenameStrindex": of.filename_strindex,
            "startLine": form.signed(of.start_line),
        })),
        "linkTable": list(&dictionary.link_table, |of| json!({
            "traceId": form.id(&of.trace_id),
            "spanId": form.id(&of.span_id),
        })),
        "stringTable": dictionary.string_table,
        "attributeTable": list(&dictionary.attribute_table, attribute),
        "stackTable": list(&dictionary.stack_table, |of| json!({ "locationIndices": of.location_indices })),
    })
}

fn mapping_of(mapping: &Mapping, form: Form) -> Value {
    json!({
        "memoryStart": form.unsigned(mapping.memory_start),
        "memoryLimit": form.unsigned(mapping.memory_limit),
        "fileOffset": form.unsigned(mapping.file_offset),
        "filenameStrindex": mapping.filename_strindex,
        "attributeIndices": mapping.attribute_indices,
    })
}

fn location_of(location: &Location, form: Form) -> Value {
    let line = |line: &Line| {
        json!({
            "functionIndex": line.function_index,
            "line": form.signed(line.line),
            "column": form.signed(line.column),
        })
    };
    json!({
        "mappingIndex": location.mapping_index,
        "address": form.unsigned(location.address),
        "lines": list(&location.lines, line),
        "attributeIndices": location.attribute_indices,
    })
}
