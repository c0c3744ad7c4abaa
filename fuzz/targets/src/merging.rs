//! Merging and cutting: batches by concatenation, bisecting, splitting.

use std::sync::Arc;

use bytes::Bytes;
use relay_core::batch::{Batch, BatchBuilder, BatchLimits, Ledger};
use relay_core::edit::{SplitLimit, split as split_request};
use relay_core::otlp::{FramedRequest, RawRequest, Signal};
use relay_core::queue::Budget;
use relay_core::wire::Segments;
use testkit::oracle::{FlatSpan, decode, flatten, flatten_all, merge};

use crate::cut;

fn frame(message: &[u8], seed: u8) -> Option<FramedRequest> {
    // Every other seed in one piece.
    let segments = if seed & 1 == 0 {
        Segments::from(message.to_vec())
    } else {
        cut(message, seed).into_iter().collect()
    };
    RawRequest::new(segments).frame(Signal::Traces).ok()
}

fn bytes_of(batch: &Batch) -> Vec<u8> {
    batch.rope().pieces().concat()
}

/// Two bytes say where the rest is cut into two requests, and how they are batched. Where both frame: the
/// batch's bytes are theirs one after the other, it frames and has their spans, it comes apart at the border,
/// prost reads it as both merged, and the budget is whole again.
pub fn concat(data: &[u8]) {
    let [choice, at, message @ ..] = data else { return };
    let (first, second) = message.split_at(message.len() * usize::from(*at) / 256);
    let (Some(a), Some(b)) = (frame(first, *choice), frame(second, !*choice)) else { return };
    let (a_items, b_items) = (a.items(), b.items());
    let budget = Budget::new(usize::MAX);
    let ledger = Arc::new(Ledger::default());
    let limits = BatchLimits {
        bytes_max: usize::MAX,
        items_max: u64::MAX,
        items_target: u64::MAX,
        inline_copy_bytes_max: usize::from(*choice) * 4,
    };
    let mut builder = BatchBuilder::new(Signal::Traces, limits, &budget, None, Arc::clone(&ledger));
    builder.push(a, None);
    builder.push(b, None);
    let batch = builder.seal().unwrap();
    assert_eq!(bytes_of(&batch), message, "merging is concatenation");
    let again = frame(message, *choice).expect("what frames apart frames together");
    assert_eq!((again.items(), batch.items()), (a_items + b_items, a_items + b_items));
    if let (Ok(a), Ok(b)) = (decode(first), decode(second)) {
        assert_eq!(keys(&flatten(&decode(message).unwrap())), keys(&flatten(&merge(a, b))));
    }
    let (left, right) = batch.bisect();
    let right = right.expect("two parts");
    assert_eq!((bytes_of(&left), bytes_of(&right)), (first.to_vec(), second.to_vec()));
    assert_eq!((left.items(), right.items()), (a_items, b_items));
    left.deliver(0);
    right.deliver(0);
    drop(builder);
    assert_eq!((budget.used(), ledger.counts().held()), (0, 0));
}

/// Two bytes choose the limit in bytes, one that in spans, one the pieces that the request comes in; the rest
/// is the request. Where it frames: every output is within the limit and frames, no span is lost without
/// being counted, and prost reads the same spans.
pub fn split(data: &[u8]) {
    let [low, high, items, choice, message @ ..] = data else { return };
    let Some(request) = frame(message, *choice) else { return };
    let bytes_max = usize::from(u16::from_le_bytes([*low, *high]));
    let items_max = if *items == u8::MAX { u64::MAX } else { u64::from(*items) };
    let cut = split_request(&request, SplitLimit { bytes_max, items_max });
    let mut items = cut.dropped_items;
    let mut outputs: Vec<Bytes> = Vec::new();
    for output in &cut.requests {
        assert!(output.len() <= bytes_max && output.items() <= items_max, "over the limit");
        let again = RawRequest::new(output.segments().clone()).frame(Signal::Traces).expect("outputs frame");
        assert_eq!((again.items(), again.resources()), (output.items(), output.resources()));
        items += output.items();
        outputs.push(output.to_bytes());
    }
    assert_eq!(items, request.items(), "every span is sent or counted");
    if cut.dropped_items == 0
        && let Ok(expected) = decode(message)
    {
        let decoded: Vec<_> =
            outputs.iter().map(|output| decode(output).expect("prost reads outputs")).collect();
        assert_eq!(keys(&flatten_all(&decoded)), keys(&flatten(&expected)));
    }
}

/// Encodings, in which a NaN equals itself.
fn keys(spans: &[FlatSpan]) -> Vec<Vec<u8>> {
    spans.iter().map(FlatSpan::key).collect()
}
