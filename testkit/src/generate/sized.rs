//! Kube-like requests whose spans have a size that is asked for.
//!
//! Must never make a span that a receiver could tell from another by anything but its size: ids, times and names stay.

use bytes::Bytes;
use prost::Message;

use super::kube::{Xorshift, kube_like_request};
use crate::oracle::{AnyValue, KeyValue, Span, any_value, encode};

/// Attribute that fills a span up.
const FILLER_KEY: &str = "http.request.body";
/// What the filler costs beside its value: tags, lengths and its key.
const FILLER_BYTES: usize = FILLER_KEY.len() + 12;

/// [`super::kube_like_request`] with spans of `span_bytes` bytes each, give or take a dozen; encoded. Spans of less than about 100 bytes
/// keep their ids, times and name.
#[must_use]
pub fn kube_like_bytes_sized(spans: usize, seed: u64, span_bytes: usize) -> Bytes {
    let mut request = kube_like_request(spans, seed);
    let mut random = Xorshift::new(seed);
    for resource_spans in &mut request.resource_spans {
        for span in resource_spans.scope_spans.iter_mut().flat_map(|scope_spans| &mut scope_spans.spans) {
            shrink(span, span_bytes);
            grow(span, span_bytes, &mut random);
        }
    }
    encode(&request).into()
}

/// Takes events, then attributes off, last first, until the span is small enough or has none.
fn shrink(span: &mut Span, span_bytes: usize) {
    while span.encoded_len() > span_bytes && span.events.pop().is_some() {}
    while span.encoded_len() > span_bytes && span.attributes.pop().is_some() {}
}

/// Adds an attribute of hexadecimal digits, which compress to about half, as ids and tokens in real spans do.
fn grow(span: &mut Span, span_bytes: usize, random: &mut Xorshift) {
    let missing = span_bytes.saturating_sub(span.encoded_len() + FILLER_BYTES);
    if missing == 0 {
        return;
    }
    let mut filler = String::with_capacity(missing + 16);
    while filler.len() < missing {
        filler.push_str(&format!("{:016x}", random.next_u64()));
    }
    filler.truncate(missing);
    let value = Some(AnyValue { value: Some(any_value::Value::StringValue(filler)) });
    span.attributes.push(KeyValue { key: FILLER_KEY.to_owned(), value, ..KeyValue::default() });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{decode, flatten};

    #[test]
    fn spans_have_the_size_asked_for() {
        for span_bytes in [150, 300, 475, 1_000, 20_000] {
            let request = decode(&kube_like_bytes_sized(20, 1, span_bytes)).unwrap();
            let spans = flatten(&request);
            assert_eq!(spans.len(), 20);
            for flat in spans {
                let size = flat.span.encoded_len();
                assert!(size.abs_diff(span_bytes) <= FILLER_BYTES + 1, "{size} for {span_bytes}");
                assert_eq!((flat.span.trace_id.len(), flat.span.span_id.len()), (16, 8));
            }
        }
    }
}
