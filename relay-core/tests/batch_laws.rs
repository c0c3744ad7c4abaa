//! The laws of batching, by random requests and random cuts: what goes in comes out in order, items and
//! charges add up, and every receipt is answered once and truthfully. prost is the oracle.

#![cfg(test)]

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use relay_core::batch::{
    Batch, BatchBuilder, BatchLimits, DropReason, Ledger, Origin, Places, Receipt, Settled,
};
use relay_core::otlp::{RawRequest, Signal};
use relay_core::queue::Budget;
use relay_core::wire::Segments;
use testkit::generate::arb_request;
use testkit::oracle::{ExportTraceServiceRequest, FlatSpan, decode, flatten, flatten_all};
use testkit::permute::encode_permuted;

/// What may happen to the batches before they are settled, each to one of them.
#[derive(Clone, Debug)]
enum Cut {
    Bisect(Index),
    /// To this share of its bytes, in percent.
    Split(Index, usize),
    Halve(Index),
    /// The requests of one sender of three are taken out.
    Partition(Index, u32),
}

/// How a batch ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Delivered,
    Rejected,
    /// Dropped without a word, as by a task that is cancelled.
    Abandoned,
}

fn arb_cuts() -> impl Strategy<Value = Vec<Cut>> {
    let cut = prop_oneof![
        any::<Index>().prop_map(Cut::Bisect),
        (any::<Index>(), 10..110_usize).prop_map(|(at, percent)| Cut::Split(at, percent)),
        any::<Index>().prop_map(Cut::Halve),
        (any::<Index>(), 0..3_u32).prop_map(|(at, origin)| Cut::Partition(at, origin)),
    ];
    vec(cut, 0..6)
}

fn arb_end() -> impl Strategy<Value = End> {
    prop_oneof![4 => Just(End::Delivered), 1 => Just(End::Rejected), 1 => Just(End::Abandoned)]
}

struct Bench {
    budget: Arc<Budget>,
    places: Places,
    ledger: Arc<Ledger>,
    builder: BatchBuilder,
}

impl Bench {
    fn new(inline_copy_bytes_max: usize, in_items: bool) -> Self {
        let limits = BatchLimits {
            bytes_max: 1 << 20,
            items_max: u64::MAX,
            items_target: u64::MAX,
            inline_copy_bytes_max,
        };
        let (budget, ledger) = (Budget::new(usize::MAX), Arc::new(Ledger::default()));
        let places = Places { budget: Budget::new(usize::MAX), in_items };
        let builder =
            BatchBuilder::new(Signal::Traces, limits, &budget, Some(places.clone()), Arc::clone(&ledger));
        Self { budget, places, ledger, builder }
    }
}

fn apply(batches: &mut Vec<Batch>, cut: &Cut) {
    let (Cut::Bisect(at) | Cut::Split(at, _) | Cut::Halve(at) | Cut::Partition(at, _)) = cut;
    if batches.is_empty() {
        return;
    }
    let at = at.index(batches.len());
    let batch = batches.remove(at);
    let cut = match cut {
        Cut::Bisect(_) => {
            let (first, second) = batch.bisect();
            std::iter::once(first).chain(second).collect()
        }
        Cut::Split(_, percent) => {
            let bytes_max = batch.rope().len() * percent / 100;
            let cut = batch.split(bytes_max);
            let is_right = |batch: &Batch| batch.rope().len() <= bytes_max || batch.items() == 1;
            assert!(cut.iter().all(is_right), "over the limit, and more than one item");
            cut
        }
        Cut::Halve(_) => {
            let (items, can) = (batch.items(), batch.items() > 1 || batch.parts().len() > 1);
            let halves = batch.halve();
            assert_eq!((halves.iter().map(Batch::items).sum::<u64>(), halves.len() > 1), (items, can));
            halves
        }
        Cut::Partition(_, origin) => {
            let (rest, taken) = batch.partition(|of| of == Origin(*origin));
            let is_of = |batch: &Batch, right| {
                batch.parts().iter().all(|part| (part.origin == Origin(*origin)) == right)
            };
            assert!(
                rest.iter().all(|rest| is_of(rest, false)) && taken.iter().all(|taken| is_of(taken, true))
            );
            rest.into_iter().chain(taken).collect()
        }
    };
    batches.splice(at..at, cut);
}

fn spans_of(batches: &[Batch]) -> Vec<FlatSpan> {
    let requests: Vec<ExportTraceServiceRequest> =
        batches.iter().map(|batch| decode(&batch.rope().pieces().concat()).unwrap()).collect();
    flatten_all(&requests)
}

fn answer(receipt: Receipt) -> Option<Settled> {
    match pin!(receipt).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(settled) => Some(settled),
        Poll::Pending => None,
    }
}

fn check_parts(batches: &[Batch]) {
    for batch in batches {
        let parts = batch.parts();
        assert_eq!(parts.iter().map(|part| part.bytes).sum::<usize>(), batch.rope().len());
        assert_eq!(parts.iter().map(|part| part.items).sum::<u64>(), batch.items());
        let framed = RawRequest::new(batch.rope().slice(0, usize::MAX)).frame(Signal::Traces).unwrap();
        assert_eq!(framed.items(), batch.items());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn what_goes_in_comes_out(
        requests in vec((arb_request(), any::<u64>(), any::<bool>()), 1..8),
        cuts in arb_cuts(),
        ends in vec(arb_end(), 1..8),
        inline_copy_bytes_max in prop_oneof![Just(0), Just(usize::MAX), 0..500_usize],
        piece_bytes in prop_oneof![Just(usize::MAX), 1..200_usize],
        in_items: bool,
    ) {
        let mut bench = Bench::new(inline_copy_bytes_max, in_items);
        let mut expected = Vec::new();
        let mut receipts = Vec::new();
        let mut message = Vec::new();
        for ((request, seed, asked), origin) in requests.iter().zip((0..3).cycle()) {
            bench.builder.set_origin(Origin(origin));
            let bytes = encode_permuted(request, *seed, true);
            let segments: Segments = bytes.chunks(piece_bytes).map(Bytes::copy_from_slice).collect();
            let mut receipt = asked.then(Receipt::default);
            let sender = receipt.as_mut().map(Receipt::sender);
            bench.builder.push(RawRequest::new(segments).frame(Signal::Traces).unwrap(), sender);
            let spans = flatten(request);
            receipts.extend(receipt.map(|receipt| (receipt, keys(&spans))));
            expected.extend(spans);
            message.extend(bytes);
        }
        let total = expected.len() as u64;
        prop_assert_eq!(bench.ledger.counts().enqueued, total);
        let places = if in_items { expected.len() } else { requests.len() };
        prop_assert_eq!(bench.places.budget.used(), places);

        let mut batches: Vec<Batch> = bench.builder.seal().into_iter().collect();
        prop_assert_eq!(batches.iter().flat_map(|b| b.rope().pieces().concat()).collect::<Vec<_>>(), message);
        prop_assert_eq!(bench.budget.used(), batches.iter().map(Batch::held_bytes).sum::<usize>());
        let held = bench.budget.used();
        for cut in &cuts {
            apply(&mut batches, cut);
        }
        check_parts(&batches);
        let lost = bench.ledger.counts().dropped_for(DropReason::ItemTooLarge);
        let found = spans_of(&batches);
        prop_assert_eq!(found.len() as u64 + lost, total);
        if lost == 0 {
            let (mut found, mut expected) = (keys(&found), keys(&expected));
            if cuts.iter().any(|cut| matches!(cut, Cut::Partition(..))) {
                // Those that were taken out come after the others.
                found.sort_unstable();
                expected.sort_unstable();
            }
            prop_assert_eq!(found, expected);
        }
        prop_assert!(bench.budget.used() <= held, "cutting holds no more");
        prop_assert_eq!(bench.budget.used(), batches.iter().map(Batch::held_bytes).sum::<usize>());
        if lost == 0 && cuts.iter().all(|cut| matches!(cut, Cut::Bisect(_))) {
            prop_assert_eq!((bench.budget.used(), bench.places.budget.used()), (held, places));
        }
        if lost == 0 && in_items && cuts.len() == 1 {
            prop_assert_eq!(bench.places.budget.used(), expected.len());
        }

        let (mut delivered, mut ended) = (Vec::new(), 0);
        for (batch, end) in batches.into_iter().zip(ends.iter().cycle()) {
            ended += batch.items();
            match end {
                End::Delivered => {
                    delivered.extend(spans_of(std::slice::from_ref(&batch)));
                    batch.deliver(0);
                }
                End::Rejected => batch.drop_for(DropReason::Rejected),
                End::Abandoned => drop(batch),
            }
            prop_assert_eq!(bench.ledger.counts().held(), total - lost - ended);
        }
        let counts = bench.ledger.counts();
        prop_assert_eq!((counts.delivered, counts.held()), (delivered.len() as u64, 0));
        drop(bench.builder);
        prop_assert_eq!((bench.budget.used(), bench.places.budget.used()), (0, 0));
        let delivered: BTreeSet<Vec<u8>> = keys(&delivered).into_iter().collect();
        for (receipt, spans) in receipts {
            let settled = answer(receipt);
            prop_assert!(settled.is_some(), "a receipt was never answered");
            let all = spans.iter().all(|span| delivered.contains(span));
            prop_assert!(settled != Some(Settled::Delivered) || all, "told delivered, and was not");
            let lost = spans.iter().filter(|span| !delivered.contains(*span)).count() as u64;
            let told = match &settled { Some(Settled::Partial { rejected, .. }) => *rejected, _ => lost };
            prop_assert_eq!(told, lost);
        }
    }

    /// A partial success of a merged call: no sender is told of more than were its own, all of no more than were rejected, and everything
    /// is told where nothing is in doubt.
    #[test]
    fn partial_success_is_told_as_far_as_it_is_known(
        spans in vec(1..20_usize, 1..6), share in 0..=100_u64,
    ) {
        let mut bench = Bench::new(100, true);
        let receipts: Vec<Receipt> = spans.iter().map(|spans| {
            let (mut receipt, request) = (Receipt::default(), testkit::generate::kube_like_bytes(*spans, 1));
            bench.builder.push(RawRequest::new(request).frame(Signal::Traces).unwrap(), Some(receipt.sender()));
            receipt
        }).collect();
        let items = spans.iter().sum::<usize>() as u64;
        let rejected = items * share / 100;
        bench.builder.seal().unwrap().deliver_with(rejected, "quota");
        let mut sum = 0;
        for (receipt, spans) in receipts.into_iter().zip(&spans) {
            let Some(Settled::Partial { rejected: told, message }) = answer(receipt) else { panic!("not partial") };
            prop_assert!(told <= *spans as u64 && message.ends_with("quota"));
            sum += told;
        }
        prop_assert!(sum <= rejected && (spans.len() > 1 && rejected < items || sum == rejected));
    }

    /// A partial success: what the upstream has rejected is counted, never more than there was.
    #[test]
    fn partial_success_is_counted(request in arb_request(), rejected: u64) {
        let mut bench = Bench::new(100, true);
        bench.builder.push(RawRequest::new(testkit::oracle::encode(&request)).frame(Signal::Traces).unwrap(), None);
        let items = flatten(&request).len() as u64;
        if let Some(batch) = bench.builder.seal() {
            batch.deliver(rejected);
        }
        let counts = bench.ledger.counts();
        prop_assert_eq!(counts.dropped_for(DropReason::PartialSuccess), rejected.min(items));
        prop_assert_eq!((counts.enqueued, counts.held()), (items, 0));
    }
}

fn keys(spans: &[FlatSpan]) -> Vec<Vec<u8>> {
    spans.iter().map(FlatSpan::key).collect()
}
