//! Requests whose spans bear numbers, and how the numbers are read back.
//!
//! Must never make two spans of the same ids in one run, and must never leave an id all zero: that is an invalid one.

use bytes::Bytes;

use crate::oracle::{
    AnyValue, ExportTraceServiceRequest, InstrumentationScope, KeyValue, Resource, ResourceSpans, ScopeSpans,
    Span, any_value, encode,
};

/// First bytes of every trace id.
const MARK: [u8; 8] = *b"numbered";
/// Bytes of a span beside its padding, about.
const SPAN_BYTES_LEAST: usize = 120;
/// Nanoseconds since 1970 at which all spans begin: 2026-01-01. What they say of time is not looked at.
const BEGUN_UNIX_NANO: u64 = 1_767_225_600_000_000_000;

/// What all requests of a run have in common.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Spans in each.
    pub spans: u16,
    /// Bytes of each span, about.
    pub span_bytes: usize,
}

/// A span's number: client, request of that client, place in the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Number {
    /// The client, from 0.
    pub client: u16,
    /// The client's request, from 0.
    pub request: u32,
    /// The place of the span in it, from 0.
    pub span: u16,
}

impl Number {
    fn trace_id(self) -> Vec<u8> {
        let request = (u64::from(self.client) << 32) | u64::from(self.request);
        [MARK, request.to_be_bytes()].concat()
    }

    fn span_id(self) -> Vec<u8> {
        // One more, so that the very first is not all zero.
        let [place, client] = [self.span + 1, self.client].map(u16::to_be_bytes);
        [&client[..], &self.request.to_be_bytes()[..], &place[..]].concat()
    }

    /// The number that a span's ids say; `None` for spans that are none of ours.
    #[must_use]
    pub fn read(trace_id: &[u8], span_id: &[u8]) -> Option<Self> {
        let (client, rest) = span_id.split_first_chunk()?;
        let (request, place) = rest.split_first_chunk()?;
        let client = u16::from_be_bytes(*client);
        let span = u16::from_be_bytes(place.try_into().ok()?).checked_sub(1)?;
        let number = Self { client, request: u32::from_be_bytes(*request), span };
        (trace_id == number.trace_id()).then_some(number)
    }
}

/// What is wrong with the first span of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oddity {
    /// Nothing.
    None,
    /// A trace id of 15 bytes: what frames the request sees nothing, whoever decodes it refuses it.
    Poison,
    /// It has so many bytes, about.
    Huge(usize),
}

/// The request `request` of `client`, whose resource is the service `service`.
#[must_use]
pub fn numbered(service: &str, client: u16, request: u32, shape: Shape, oddity: Oddity) -> Bytes {
    let spans = (0..shape.spans).map(|span| {
        let oddity = if span == 0 { oddity } else { Oddity::None };
        one_span(Number { client, request, span }, shape.span_bytes, oddity)
    });
    let scope = InstrumentationScope { name: "testkit".to_owned(), ..InstrumentationScope::default() };
    let scope_spans = ScopeSpans { scope: Some(scope), spans: spans.collect(), schema_url: String::new() };
    let resource =
        Resource { attributes: vec![text("service.name", service.to_owned())], ..Resource::default() };
    let resource_spans =
        ResourceSpans { resource: Some(resource), scope_spans: vec![scope_spans], schema_url: String::new() };
    encode(&ExportTraceServiceRequest { resource_spans: vec![resource_spans] }).into()
}

fn one_span(number: Number, span_bytes: usize, oddity: Oddity) -> Span {
    let bytes = if let Oddity::Huge(bytes) = oddity { bytes } else { span_bytes };
    let padding = "x".repeat(bytes.saturating_sub(SPAN_BYTES_LEAST));
    let mut trace_id = number.trace_id();
    if oddity == Oddity::Poison {
        trace_id.truncate(15);
    }
    let start = BEGUN_UNIX_NANO + u64::from(number.request);
    Span {
        trace_id,
        span_id: number.span_id(),
        name: "numbered".to_owned(),
        kind: 1,
        start_time_unix_nano: start,
        end_time_unix_nano: start + 1,
        attributes: vec![text("padding", padding)],
        ..Span::default()
    }
}

fn text(key: &str, value: String) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value)) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{decode, flatten};

    /// Guarantee: every span's number is read back, its size is about what was asked for, and a foreign span has none.
    #[test]
    fn numbers_are_read_back() {
        let shape = Shape { spans: 3, span_bytes: 500 };
        let message = numbered("s", 7, 70_000, shape, Oddity::Huge(9_000));
        let spans = flatten(&decode(&message).unwrap());
        let read: Vec<_> =
            spans.iter().map(|one| Number::read(&one.span.trace_id, &one.span.span_id).unwrap()).collect();
        let expected = [0, 1, 2].map(|span| Number { client: 7, request: 70_000, span });
        assert_eq!(read, expected);
        assert!((10_000..10_300).contains(&message.len()), "{}", message.len());
        assert_eq!(Number::read(&[1; 16], &spans[0].span.span_id), None);
        assert_eq!(Number::read(&spans[0].span.trace_id, &[]), None);
    }

    /// Guarantee: a poisonous request differs from a good one in one byte of one id (and the lengths around it).
    #[test]
    fn poison_is_a_short_trace_id() {
        let shape = Shape { spans: 2, span_bytes: 200 };
        let [good, bad] = [Oddity::None, Oddity::Poison].map(|oddity| numbered("s", 1, 2, shape, oddity));
        let spans = flatten(&decode(&bad).unwrap());
        assert_eq!([15, 16], [spans[0].span.trace_id.len(), spans[1].span.trace_id.len()]);
        assert_eq!(good.len(), bad.len() + 1);
    }
}
