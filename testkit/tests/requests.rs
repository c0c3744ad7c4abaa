//! The oracle, the generators and the recordings, held against each other.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use std::collections::HashSet;

use proptest::prelude::*;
use testkit::generate::{Sizes, arb_request, arb_request_sized, kube_like_bytes, kube_like_request};
use testkit::oracle::{any_value, decode, encode, flatten, flatten_all, merge, multiset, span_count};
use testkit::payloads::{RESLICED_SPANS, recorded, recorded_resliced};
use testkit::permute::{encode_permuted, permute_bytes};
use testkit::wire::{WireError, count_spans, fields, raw_spans, take_varint};

proptest! {
    /// Scenario: fields shuffled at every level, with and without unknown fields.
    /// Guarantee: prost reads the same value, so permuted bytes can stand for the original in any property.
    #[test]
    fn permuted_encoding_decodes_to_the_same_request(request in arb_request(), seed: u64, unknown: bool) {
        let permuted = encode_permuted(&request, seed, unknown);
        prop_assert_eq!(decode(&permuted).unwrap(), request);
    }

    /// Guarantee: the raw walker and prost agree on which spans there are, in which order, whatever the field order.
    #[test]
    fn raw_walk_agrees_with_prost(request in arb_request(), seed: u64) {
        let permuted = encode_permuted(&request, seed, true);
        prop_assert_eq!(count_spans(&permuted).unwrap(), span_count(&request) as u64);
        let raw = raw_spans(&permuted.clone().into()).unwrap();
        let flat = flatten(&request);
        prop_assert_eq!(raw.len(), flat.len());
        for (raw, flat) in raw.iter().zip(&flat) {
            let span: testkit::oracle::Span = prost::Message::decode(raw.span.clone()).unwrap();
            let resource: testkit::oracle::Resource = prost::Message::decode(raw.resource.clone()).unwrap();
            let scope: testkit::oracle::InstrumentationScope = prost::Message::decode(raw.scope.clone()).unwrap();
            prop_assert_eq!(&span, &flat.span);
            prop_assert_eq!(resource, flat.resource.clone().unwrap_or_default());
            prop_assert_eq!(scope, flat.scope.clone().unwrap_or_default());
            prop_assert_eq!(&raw.resource_schema_url[..], flat.resource_schema_url.as_bytes());
            prop_assert_eq!(&raw.scope_schema_url[..], flat.scope_schema_url.as_bytes());
        }
    }

    /// Guarantee: the law everything rests on, in prost alone: concatenated encodings decode to the merged request.
    #[test]
    fn concatenation_is_a_merge(first in arb_request(), second in arb_request()) {
        let bytes = [encode(&first), encode(&second)].concat();
        let flat = flatten_all([&first, &second]);
        let merged = merge(first, second);
        prop_assert_eq!(flatten(&merged), flat);
        prop_assert_eq!(decode(&bytes).unwrap(), merged);
    }

    /// Guarantee: bytes that are no message give an error or fields that cover them exactly, never a panic.
    #[test]
    fn fields_cover_their_input(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(found) = fields(&bytes) {
            prop_assert_eq!(found.iter().map(|field| field.raw).collect::<Vec<_>>().concat(), bytes);
        }
    }
}

/// Scenario: two hundred default requests. Guarantee: the strategies reach every kind of value, absence included.
#[test]
fn strategies_reach_every_kind() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = arb_request();
    let (mut kinds, mut shapes) = (HashSet::new(), HashSet::new());
    for _ in 0..200 {
        for flat in flatten(&strategy.new_tree(&mut runner).unwrap().current()) {
            for attribute in &flat.span.attributes {
                kinds.insert(match attribute.value.as_ref().map(|value| &value.value) {
                    None => "absent",
                    Some(None) => "unset",
                    Some(Some(any_value::Value::StringValue(_))) => "string",
                    Some(Some(any_value::Value::BoolValue(_))) => "bool",
                    Some(Some(any_value::Value::IntValue(_))) => "int",
                    Some(Some(any_value::Value::DoubleValue(_))) => "double",
                    Some(Some(any_value::Value::ArrayValue(_))) => "array",
                    Some(Some(any_value::Value::KvlistValue(_))) => "kvlist",
                    Some(Some(any_value::Value::BytesValue(_))) => "bytes",
                    Some(Some(any_value::Value::StringValueStrindex(_))) => "strindex",
                });
            }
            shapes.insert(("event", flat.span.events.is_empty()));
            shapes.insert(("link", flat.span.links.is_empty()));
            shapes.insert(("status", flat.span.status.is_none()));
            shapes.insert(("resource", flat.resource.is_none()));
            shapes.insert(("scope", flat.scope.is_none()));
            shapes.insert(("trace id", flat.span.trace_id.is_empty()));
        }
    }
    assert_eq!(kinds.len(), 10, "{kinds:?}");
    assert_eq!(shapes.len(), 12, "{shapes:?}");
}

/// Guarantee: the sizes bound what is built, so that a test can ask for large requests without waiting for huge ones.
#[test]
fn sizes_are_upper_bounds() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let sizes =
        Sizes { resources_max: 1, scopes_max: 1, spans_max: 40, attributes_max: 1, ..Sizes::default() };
    let strategy = arb_request_sized(sizes);
    let counts: Vec<usize> =
        (0..50).map(|_| span_count(&strategy.new_tree(&mut runner).unwrap().current())).collect();
    assert!(counts.iter().all(|count| *count <= 40) && counts.iter().any(|count| *count > 20), "{counts:?}");
}

/// Guarantee: kube-like requests have the sizes that the published figures name, and the same bytes on every call.
#[test]
fn kube_like_requests_have_the_stated_sizes() {
    for (spans, low, high) in
        [(1, 800, 1_000), (10, 4_800, 5_600), (100, 46_500, 49_500), (512, 236_000, 250_000)]
    {
        let bytes = kube_like_bytes(spans, 7);
        assert!((low..high).contains(&bytes.len()), "{spans} spans take {} bytes", bytes.len());
        assert_eq!(bytes, kube_like_bytes(spans, 7));
        assert_eq!(count_spans(&bytes).unwrap(), spans as u64);
    }
}

/// Guarantee: no two spans of any two (seed, index) share an id, and every parent is in the request.
#[test]
fn kube_like_span_ids_are_unique() {
    let mut seen = HashSet::new();
    for seed in 0..50 {
        let spans: Vec<_> =
            flatten(&kube_like_request(100, seed)).into_iter().map(|flat| flat.span).collect();
        let ids: HashSet<_> = spans.iter().map(|span| span.span_id.clone()).collect();
        assert!(
            spans.iter().all(|span| span.parent_span_id.is_empty() || ids.contains(&span.parent_span_id))
        );
        assert!(spans.iter().all(|span| span.trace_id.len() == 16 && span.span_id.len() == 8));
        assert!(ids.into_iter().all(|id| seen.insert(id)));
    }
    assert_eq!(seen.len(), 5_000);
}

/// Guarantee: the recordings are whole: the numbers of spans that their README names.
#[test]
fn recordings_hold_the_stated_spans() {
    let count = |name: &str| -> usize {
        recorded()
            .iter()
            .filter(|one| one.name == name)
            .map(|one| span_count(&decode(&one.bytes).unwrap()))
            .sum()
    };
    assert_eq!((count("kube-apiserver-etcd"), count("crio"), count("containerd")), (5_552, 143, 83));
}

/// Guarantee: re-cutting loses and changes no span, and gives requests of a source's size.
#[test]
fn resliced_recordings_are_the_same_spans() {
    let spans = |all: Vec<testkit::payloads::Recorded>| {
        let decoded: Vec<_> = all.iter().map(|one| decode(&one.bytes).unwrap()).collect();
        multiset(&flatten_all(&decoded))
    };
    let resliced = recorded_resliced();
    let mut sizes: Vec<usize> = resliced.iter().map(|one| one.bytes.len()).collect();
    sizes.sort_unstable();
    let median = sizes[sizes.len() / 2];
    assert!((3_500..7_000).contains(&median), "median {median} bytes");
    assert!(resliced.iter().all(|one| count_spans(&one.bytes).unwrap() <= RESLICED_SPANS as u64));
    assert_eq!(spans(resliced), spans(recorded()));
}

/// Guarantee: permuting works on recorded bytes too, and does change them.
#[test]
fn recordings_can_be_permuted() {
    for one in recorded() {
        let permuted = permute_bytes(&one.bytes, 3, true);
        assert_ne!(permuted, one.bytes);
        assert_eq!(decode(&permuted).unwrap(), decode(&one.bytes).unwrap());
    }
}

/// Guarantee: the walker names what is wrong.
#[test]
fn malformed_bytes_are_told_apart() {
    assert_eq!(fields(&[0x0a, 0x05, 1]), Err(WireError::Truncated));
    assert_eq!(fields(&[0x0b]), Err(WireError::Tag(0x0b)));
    assert_eq!(fields(&[0x02, 0x00]), Err(WireError::Tag(0x02)));
    assert_eq!(take_varint(&mut [0xff; 11].as_slice()), Err(WireError::Varint));
    assert_eq!(
        take_varint(&mut [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01].as_slice()),
        Ok(u64::MAX)
    );
}
