//! Proving and counting a request (`RawRequest::frame`) against decoding it with prost, in one piece and as 16 KiB DATA payloads.

#![allow(clippy::expect_used, reason = "a bench whose set-up fails must stop")]

use std::hint::black_box;

use criterion::{BenchmarkGroup, Criterion, measurement::WallTime};
use relay_benches::payload::{self, Payload};
use relay_benches::{Allocator, criterion, side_by_side};
use relay_core::otlp::{RawRequest, Signal};
use relay_core::wire::Segments;
use testkit::oracle;

#[global_allocator]
static ALLOCATOR: Allocator = mimalloc::MiMalloc;

fn main() {
    let mut criterion = criterion();
    for payload in payload::all() {
        bench(&mut criterion, &payload);
    }
    criterion.final_summary();
}

fn bench(criterion: &mut Criterion, payload: &Payload) {
    let contiguous: Vec<Segments> = payload.messages.iter().cloned().map(Segments::from).collect();
    let segmented = payload.segmented();
    let mut group: BenchmarkGroup<'_, WallTime> =
        criterion.benchmark_group(format!("framing/{}", payload.name));
    group.throughput(payload.throughput());
    group.bench_function("relay", |bencher| bencher.iter(|| frame_all(&contiguous)));
    group.bench_function("relay-16k-segments", |bencher| bencher.iter(|| frame_all(&segmented)));
    group.bench_function("prost-decode", |bencher| bencher.iter(|| decode_all(payload)));
    group.finish();
    let requests = payload.messages.len();
    for (name, messages) in [("", &contiguous), (" in 16 KiB segments", &segmented)] {
        let what = format!("framing {}{name}", payload.name);
        side_by_side::print(&what, "prost decode", requests, || frame_all(messages), || decode_all(payload));
    }
}

fn frame_all(messages: &[Segments]) {
    for message in messages {
        let framed = RawRequest::new(black_box(message).clone()).frame(Signal::Traces).expect("a request");
        black_box(framed.items());
    }
}

fn decode_all(payload: &Payload) {
    for message in &payload.messages {
        black_box(oracle::decode(black_box(message)).expect("a request"));
    }
}
