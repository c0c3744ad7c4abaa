//! Visiting every field of every span through the views, against decoding with prost and visiting its structs.

#![allow(clippy::expect_used, reason = "a bench whose set-up fails must stop")]

use std::hint::black_box;

use criterion::Criterion;
use relay_benches::payload::{self, Payload};
use relay_benches::{Allocator, criterion, side_by_side, walk};
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
    for message in &payload.messages {
        let decoded = oracle::decode(message).expect("a request");
        assert_eq!(walk::views(message), Ok(walk::structs(&decoded)), "both visit the same");
    }
    let mut group = criterion.benchmark_group(format!("walk/{}", payload.name));
    group.throughput(payload.throughput());
    group.bench_function("views", |bencher| bencher.iter(|| view_all(payload)));
    group.bench_function("prost", |bencher| bencher.iter(|| decode_all(payload)));
    group.finish();
    let (what, requests) = (format!("walking {}", payload.name), payload.messages.len());
    side_by_side::print(&what, "prost", requests, || view_all(payload), || decode_all(payload));
}

fn view_all(payload: &Payload) {
    for message in &payload.messages {
        black_box(walk::views(black_box(message)).expect("a request"));
    }
}

fn decode_all(payload: &Payload) {
    for message in &payload.messages {
        let decoded = oracle::decode(black_box(message)).expect("a request");
        black_box(walk::structs(&decoded));
    }
}
