//! Splitting a request that is larger than its upstream takes: 5 MiB and about 64 MiB to 4 MiB, as it arrives in 16 KiB payloads, against
//! decoding and encoding it with prost, which any other way to split would do at least.

#![allow(clippy::expect_used, reason = "a bench whose set-up fails must stop")]

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, SamplingMode, Throughput};
use relay_benches::payload::in_frames;
use relay_benches::{Allocator, criterion, side_by_side};
use relay_core::edit::{SplitLimit, split};
use relay_core::limits::UPSTREAM_MESSAGE_BYTES_MAX;
use relay_core::otlp::{FramedRequest, RawRequest, Signal};
use testkit::generate::kube_like_bytes;
use testkit::oracle;

#[global_allocator]
static ALLOCATOR: Allocator = mimalloc::MiMalloc;

/// Spans of the two requests.
const SPANS: [usize; 2] = [11_000, 140_000];
/// The upstream's limit.
const LIMIT: SplitLimit = SplitLimit { bytes_max: UPSTREAM_MESSAGE_BYTES_MAX, items_max: u64::MAX };

fn main() {
    let mut criterion = criterion().sample_size(10).measurement_time(Duration::from_secs(1));
    for spans in SPANS {
        bench(&mut criterion, &kube_like_bytes(spans, 1));
    }
    criterion.final_summary();
}

fn bench(criterion: &mut Criterion, message: &Bytes) {
    let name = format!("{:.1} MiB", message.len() as f64 / f64::from(1 << 20));
    let contiguous = framed(RawRequest::new(message.clone()));
    let segmented = framed(RawRequest::new(in_frames(message)));
    let cut = split(&segmented, LIMIT);
    assert_eq!(cut.dropped_items, 0, "every span fits");
    assert!(cut.requests.iter().all(|request| request.len() <= LIMIT.bytes_max));
    let mut group = criterion.benchmark_group(format!("split/{name}"));
    group.sampling_mode(SamplingMode::Flat);
    group.throughput(Throughput::ElementsAndBytes {
        elements: contiguous.items(),
        bytes: message.len() as u64,
    });
    group.bench_function("contiguous", |bencher| bencher.iter(|| black_box(split(&contiguous, LIMIT))));
    group.bench_function("16k-segments", |bencher| bencher.iter(|| black_box(split(&segmented, LIMIT))));
    group.finish();
    let what = format!("splitting {name} into {}", cut.requests.len());
    let ours = || drop(black_box(split(black_box(&segmented), LIMIT)));
    side_by_side::print(&what, "prost decode and encode", 1, ours, || decode_encode(message));
}

fn framed(request: RawRequest) -> FramedRequest {
    request.frame(Signal::Traces).expect("a request")
}

fn decode_encode(message: &Bytes) {
    let decoded = oracle::decode(black_box(message)).expect("a request");
    black_box(oracle::encode(&decoded));
}
