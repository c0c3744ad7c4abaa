//! The same request written differently: fields in another order, unknown fields between them. Protobuf readers must not care
//! (protobuf.dev, Encoding, "Field Order"; OTLP specification, section "Future Versions and Interoperability").
//!
//! Must never change the value: the order among the elements of one repeated field stays as it was.

use std::collections::{BTreeMap, VecDeque};

use crate::generate::Xorshift;
use crate::oracle::{ExportTraceServiceRequest, encode};
use crate::wire::{Payload, fields, put_len_field, put_varint};

/// The message types of a trace request, as far as they hold other messages or unknown fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Message {
    Request,
    ResourceSpans,
    Resource,
    EntityRef,
    ScopeSpans,
    Scope,
    Span,
    Event,
    Link,
    Status,
    KeyValue,
    AnyValue,
    ArrayValue,
    KeyValueList,
}

impl Message {
    /// The type of field `number` of this message where it is itself a message.
    fn child(self, number: u32) -> Option<Self> {
        Some(match (self, number) {
            (Self::Request, 1) => Self::ResourceSpans,
            (Self::ResourceSpans, 1) => Self::Resource,
            (Self::ResourceSpans, 2) => Self::ScopeSpans,
            (Self::ScopeSpans, 1) => Self::Scope,
            (Self::ScopeSpans, 2) => Self::Span,
            (Self::Resource, 1) | (Self::Scope | Self::Event, 3) | (Self::Span, 9) | (Self::Link, 4) => {
                Self::KeyValue
            }
            (Self::Resource, 3) => Self::EntityRef,
            (Self::Span, 11) => Self::Event,
            (Self::Span, 13) => Self::Link,
            (Self::Span, 15) => Self::Status,
            (Self::KeyValue, 2) | (Self::ArrayValue, 1) => Self::AnyValue,
            (Self::AnyValue, 5) => Self::ArrayValue,
            (Self::AnyValue, 6) => Self::KeyValueList,
            (Self::KeyValueList, 1) => Self::KeyValue,
            _ => return None,
        })
    }

    /// Field numbers that this message does not use, low enough to have a one- or two-byte tag.
    fn unused(self) -> [u32; 3] {
        match self {
            Self::Request | Self::ArrayValue | Self::KeyValueList => [2, 3, 15],
            Self::ResourceSpans | Self::ScopeSpans | Self::Resource | Self::KeyValue => [4, 6, 15],
            Self::EntityRef | Self::Scope | Self::Event => [5, 7, 15],
            Self::Link => [7, 8, 15],
            Self::Span => [17, 18, 100],
            // 1 was the deprecated code; old senders still write it.
            Self::Status => [1, 4, 15],
            Self::AnyValue => [9, 10, 15],
        }
    }
}

/// Encodes `request` with the fields of every message shuffled by `seed` and, if asked, unknown fields of every wire type in every
/// message, with numbers from 2000 up and with low numbers the message does not use. prost decodes it to an equal value.
#[must_use]
pub fn encode_permuted(request: &ExportTraceServiceRequest, seed: u64, unknown_fields: bool) -> Vec<u8> {
    permute_bytes(&encode(request), seed, unknown_fields)
}

/// The same for an encoded request, which must be well-formed (it panics otherwise).
#[must_use]
pub fn permute_bytes(request: &[u8], seed: u64, unknown_fields: bool) -> Vec<u8> {
    let mut random = Xorshift::new(seed);
    rewrite(Message::Request, request, &mut random, unknown_fields)
}

fn rewrite(kind: Message, message: &[u8], random: &mut Xorshift, unknown_fields: bool) -> Vec<u8> {
    let mut order = Vec::new();
    let mut queues: BTreeMap<u32, VecDeque<Vec<u8>>> = BTreeMap::new();
    for field in fields(message).expect("prost's encoding is well-formed") {
        let bytes = match (field.payload, kind.child(field.number)) {
            (Payload::Len(inner), Some(child)) => {
                let mut bytes = Vec::with_capacity(field.raw.len());
                put_len_field(&mut bytes, field.number, &rewrite(child, inner, random, unknown_fields));
                bytes
            }
            _ => field.raw.to_vec(),
        };
        order.push(field.number);
        queues.entry(field.number).or_default().push_back(bytes);
    }
    if unknown_fields {
        // At least one, so that empty messages get one too.
        for _ in 0..=random.below(2) {
            let (number, bytes) = unknown_field(kind, random);
            order.push(number);
            queues.entry(number).or_default().push_back(bytes);
        }
    }
    for last in (1..order.len()).rev() {
        order.swap(last, random.below(last + 1));
    }
    let mut out = Vec::with_capacity(message.len());
    for number in order {
        out.extend(
            queues.get_mut(&number).and_then(VecDeque::pop_front).expect("one entry per number in the order"),
        );
    }
    out
}

/// A field no version of the message knows, of a random wire type. Its content must not look like anything either.
fn unknown_field(kind: Message, random: &mut Xorshift) -> (u32, Vec<u8>) {
    let high = 2000 + random.below(1 << 20) as u32;
    let number = if random.below(2) == 0 { high } else { *random.pick(&kind.unused()) };
    let tag = u64::from(number) << 3;
    let mut bytes = Vec::new();
    match random.below(4) {
        0 => {
            put_varint(&mut bytes, tag);
            let shift = random.below(64);
            put_varint(&mut bytes, random.next_u64() >> shift);
        }
        1 => {
            put_varint(&mut bytes, tag | 1);
            bytes.extend(random.next_u64().to_le_bytes());
        }
        2 => {
            let content: Vec<u8> = (0..random.below(20)).map(|_| random.next_u64() as u8).collect();
            put_len_field(&mut bytes, number, &content);
        }
        _ => {
            put_varint(&mut bytes, tag | 5);
            bytes.extend((random.next_u64() as u32).to_le_bytes());
        }
    }
    (number, bytes)
}
