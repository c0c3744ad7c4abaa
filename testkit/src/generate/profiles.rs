//! proptest strategies for every field of a profiles request (opentelemetry/proto/profiles/v1development/profiles.proto).
//!
//! Must never favour what real programs send: indices point anywhere, negative ones included. Ids, though, are whole or absent, as
//! servers demand them.

use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::profiles::v1development::{
    Function, KeyValueAndUnit, Line, Link, Location, Mapping, Profile, ProfilesDictionary, ResourceProfiles,
    Sample, ScopeProfiles, Stack, ValueType,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::arbitrary::{Sizes, arb_any_value, arb_count, arb_nanos, arb_resource, arb_scope, arb_whole_id};

/// Entries of a table or of a list of indices.
const ENTRIES_MAX: usize = 3;

/// Any profiles request of default [`Sizes`]; `spans_max` bounds the profiles of a scope and the samples of a profile.
pub fn arbitrary_profiles() -> BoxedStrategy<ExportProfilesServiceRequest> {
    let sizes = Sizes::default();
    let resource_profiles = vec(arb_resource_profiles(sizes), Sizes::counts(sizes.resources_max));
    (resource_profiles, option::of(arb_dictionary(sizes)))
        .prop_map(|(resource_profiles, dictionary)| ExportProfilesServiceRequest {
            resource_profiles,
            dictionary,
        })
        .boxed()
}

fn arb_resource_profiles(sizes: Sizes) -> BoxedStrategy<ResourceProfiles> {
    let scope_profiles = vec(arb_scope_profiles(sizes), Sizes::counts(sizes.scopes_max));
    (option::of(arb_resource(sizes)), scope_profiles, sizes.texts())
        .prop_map(|(resource, scope_profiles, schema_url)| ResourceProfiles {
            resource,
            scope_profiles,
            schema_url,
        })
        .boxed()
}

fn arb_scope_profiles(sizes: Sizes) -> BoxedStrategy<ScopeProfiles> {
    (option::of(arb_scope(sizes)), vec(arb_profile(sizes), Sizes::counts(sizes.spans_max)), sizes.texts())
        .prop_map(|(scope, profiles, schema_url)| ScopeProfiles { scope, profiles, schema_url })
        .boxed()
}

fn arb_profile(sizes: Sizes) -> BoxedStrategy<Profile> {
    let value_type = || option::of(arb_value_type());
    let head = (value_type(), vec(arb_sample(), Sizes::counts(sizes.spans_max)), arb_nanos(), any::<u64>());
    let middle = (value_type(), any::<i64>(), arb_whole_id(16), arb_count());
    let payload = (sizes.texts(), vec(any::<u8>(), 0..=sizes.text_max));
    (head, middle, payload, arb_indices())
        .prop_map(|(head, middle, payload, attribute_indices)| {
            let (sample_type, samples, time_unix_nano, duration_nano) = head;
            let (period_type, period, profile_id, dropped_attributes_count) = middle;
            let (original_payload_format, original_payload) = payload;
            Profile {
                sample_type,
                samples,
                time_unix_nano,
                duration_nano,
                period_type,
                period,
                profile_id,
                dropped_attributes_count,
                original_payload_format,
                original_payload,
                attribute_indices,
            }
        })
        .boxed()
}

fn arb_indices() -> BoxedStrategy<Vec<i32>> {
    vec(any::<i32>(), 0..=ENTRIES_MAX).boxed()
}

fn arb_value_type() -> BoxedStrategy<ValueType> {
    (any::<i32>(), any::<i32>())
        .prop_map(|(type_strindex, unit_strindex)| ValueType { type_strindex, unit_strindex })
        .boxed()
}

fn arb_sample() -> BoxedStrategy<Sample> {
    let timestamps = vec(arb_nanos(), 0..=ENTRIES_MAX);
    (any::<i32>(), arb_indices(), any::<i32>(), vec(any::<i64>(), 0..=ENTRIES_MAX), timestamps)
        .prop_map(|(stack_index, attribute_indices, link_index, values, timestamps_unix_nano)| Sample {
            stack_index,
            attribute_indices,
            link_index,
            values,
            timestamps_unix_nano,
        })
        .boxed()
}

fn arb_dictionary(sizes: Sizes) -> BoxedStrategy<ProfilesDictionary> {
    let attribute = (any::<i32>(), option::of(arb_any_value(sizes)), any::<i32>()).prop_map(
        |(key_strindex, value, unit_strindex)| KeyValueAndUnit { key_strindex, value, unit_strindex },
    );
    let link = (arb_whole_id(16), arb_whole_id(8)).prop_map(|(trace_id, span_id)| Link { trace_id, span_id });
    let stack = arb_indices().prop_map(|location_indices| Stack { location_indices });
    (
        vec(arb_mapping(), 0..=ENTRIES_MAX),
        vec(arb_location(), 0..=ENTRIES_MAX),
        vec(arb_function(), 0..=ENTRIES_MAX),
        vec(link, 0..=ENTRIES_MAX),
        vec(sizes.texts(), 0..=ENTRIES_MAX),
        vec(attribute, 0..=ENTRIES_MAX),
        vec(stack, 0..=ENTRIES_MAX),
    )
        .prop_map(|(mappings, locations, functions, links, strings, attributes, stacks)| ProfilesDictionary {
            mapping_table: mappings,
            location_table: locations,
            function_table: functions,
            link_table: links,
            string_table: strings,
            attribute_table: attributes,
            stack_table: stacks,
        })
        .boxed()
}

fn arb_mapping() -> BoxedStrategy<Mapping> {
    (any::<[u64; 3]>(), any::<i32>(), arb_indices())
        .prop_map(|([memory_start, memory_limit, file_offset], filename_strindex, attribute_indices)| {
            Mapping { memory_start, memory_limit, file_offset, filename_strindex, attribute_indices }
        })
        .boxed()
}

fn arb_location() -> BoxedStrategy<Location> {
    let line = (any::<i32>(), any::<i64>(), any::<i64>()).prop_map(|(function_index, line, column)| Line {
        function_index,
        line,
        column,
    });
    (any::<i32>(), any::<u64>(), vec(line, 0..=ENTRIES_MAX), arb_indices())
        .prop_map(|(mapping_index, address, lines, attribute_indices)| Location {
            mapping_index,
            address,
            lines,
            attribute_indices,
        })
        .boxed()
}

fn arb_function() -> BoxedStrategy<Function> {
    (any::<[i32; 3]>(), any::<i64>())
        .prop_map(|([name_strindex, system_name_strindex, filename_strindex], start_line)| Function {
            name_strindex,
            system_name_strindex,
            filename_strindex,
            start_line,
        })
        .boxed()
}
