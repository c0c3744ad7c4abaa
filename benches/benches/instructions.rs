//! Instructions of the work that relayd does on a request, counted by valgrind's callgrind: figures that a busy machine does not change.
//!
//! `benches/instructions/run` runs it and holds the counts against the record. Every function does its work [`ROUNDS`] times after a
//! set-up that is not counted. prost's decoding is here because it is what the views are measured against.

#![allow(missing_docs, reason = "the names of the functions are the names in the record")]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a bench whose set-up fails must stop and say where"
)]
#![allow(unused_qualifications, reason = "gungraun's macros write paths out")]

use std::hint::black_box;

use gungraun::{Callgrind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main};
use relay_benches::Allocator;
use relay_benches::batching::{Core, read_frames, request_of, write_nothing};
use relay_benches::in_memory::Steady;
use relay_benches::payload::{Payload, generated, in_frames, named};
use relay_benches::walk;
use relay_core::edit::{SplitLimit, split};
use relay_core::limits::{INLINE_COPY_BYTES_MAX, UPSTREAM_MESSAGE_BYTES_MAX};
use relay_core::otlp::{FramedRequest, RawRequest, Signal};
use relay_core::wire::Segments;
use testkit::oracle;

#[global_allocator]
static ALLOCATOR: Allocator = mimalloc::MiMalloc;

/// Rounds of each function.
const ROUNDS: usize = 100;
/// Calls upstream are answered so often that under load about this many requests share one.
const MERGED: usize = 20;
/// Requests in a batch that is measured without HTTP/2.
const BATCH_REQUESTS: usize = 16;

/// Requests to work on, one a round.
fn requests(messages: impl IntoIterator<Item = Segments>) -> Vec<Segments> {
    let messages: Vec<Segments> = messages.into_iter().collect();
    messages.iter().cycle().take(ROUNDS).cloned().collect()
}

fn whole(spans: usize) -> Vec<Segments> {
    requests(generated(spans).messages.into_iter().map(Segments::from))
}

fn as_frames(spans: usize) -> Vec<Segments> {
    requests(generated(spans).segmented())
}

/// Requests of 18 spans as Kubernetes' own programs sent them.
fn recorded() -> Payload {
    named("recorded-18").expect("the recorded payload")
}

fn recorded_whole(_: ()) -> Vec<Segments> {
    requests(recorded().messages.into_iter().map(Segments::from))
}

#[library_benchmark]
#[bench::spans_1(args = (1), setup = whole)]
#[bench::spans_10(args = (10), setup = whole)]
#[bench::spans_100(args = (100), setup = whole)]
#[bench::spans_100_in_16_kib_frames(args = (100), setup = as_frames)]
#[bench::recorded_18(args = (()), setup = recorded_whole)]
fn frame(requests: Vec<Segments>) -> Vec<Option<FramedRequest>> {
    let mut framed = Vec::with_capacity(requests.len());
    framed.extend(requests.into_iter().map(|request| RawRequest::new(request).frame(Signal::Traces).ok()));
    framed
}

fn message(spans: usize) -> Payload {
    generated(spans)
}

fn recorded_messages(_: ()) -> Payload {
    recorded()
}

#[library_benchmark]
#[bench::spans_1(args = (1), setup = message)]
#[bench::spans_100(args = (100), setup = message)]
#[bench::recorded_18(args = (()), setup = recorded_messages)]
fn walk_views(payload: Payload) -> Payload {
    for message in payload.messages.iter().cycle().take(ROUNDS) {
        black_box(walk::views(black_box(message))).expect("a request");
    }
    payload
}

#[library_benchmark]
#[bench::spans_1(args = (1), setup = message)]
#[bench::spans_100(args = (100), setup = message)]
#[bench::recorded_18(args = (()), setup = recorded_messages)]
fn decode_by_prost_and_walk(payload: Payload) -> Payload {
    for message in payload.messages.iter().cycle().take(ROUNDS) {
        let decoded = oracle::decode(black_box(message)).expect("a request");
        black_box(walk::structs(&decoded));
    }
    payload
}

/// A core whose connections bring requests of `bytes` bytes, after two batches.
fn core(bytes: usize, inline_copy_bytes_max: usize) -> Core {
    let mut core = Core::new(&request_of(bytes), 4, inline_copy_bytes_max);
    (0..8).for_each(|_| core.turn(BATCH_REQUESTS, |batch| read_frames(batch, write_nothing)));
    core
}

fn merging(bytes: usize) -> Core {
    core(bytes, INLINE_COPY_BYTES_MAX)
}

#[library_benchmark]
#[bench::requests_16_of_1_kib(args = (1 << 10), setup = merging)]
#[bench::requests_16_of_4_kib(args = (4 << 10), setup = merging)]
#[bench::requests_16_of_64_kib(args = (64 << 10), setup = merging)]
fn merge(mut core: Core) -> Core {
    for _ in 0..ROUNDS {
        core.turn(BATCH_REQUESTS, |batch| read_frames(batch, write_nothing));
    }
    core
}

fn too_large(bytes: usize) -> FramedRequest {
    RawRequest::new(in_frames(&request_of(bytes))).frame(Signal::Traces).expect("a request")
}

#[library_benchmark]
#[bench::mib_5(args = (5 << 20), setup = too_large)]
fn split_once_to_4_mib(request: FramedRequest) -> FramedRequest {
    let limit = SplitLimit { bytes_max: UPSTREAM_MESSAGE_BYTES_MAX, items_max: u64::MAX };
    black_box(split(black_box(&request), limit));
    request
}

fn alone(spans: usize) -> Steady {
    Steady::new(&generated(spans).messages[0], ROUNDS, 1)
}

fn merged(spans: usize) -> Steady {
    Steady::new(&generated(spans).messages[0], ROUNDS, MERGED)
}

#[library_benchmark]
#[bench::alone_spans_1(args = (1), setup = alone)]
#[bench::alone_spans_10(args = (10), setup = alone)]
#[bench::alone_spans_100(args = (100), setup = alone)]
#[bench::alone_spans_512(args = (512), setup = alone)]
#[bench::merged_by_20_spans_1(args = (1), setup = merged)]
#[bench::merged_by_20_spans_10(args = (10), setup = merged)]
#[bench::merged_by_20_spans_100(args = (100), setup = merged)]
fn relay(mut steady: Steady) -> Steady {
    steady.run(ROUNDS);
    steady
}

library_benchmark_group!(
    name = instructions,
    benchmarks = [frame, walk_views, decode_by_prost_and_walk, merge, split_once_to_4_mib, relay]
);

main!(
    config = LibraryBenchmarkConfig::default()
        // glibc copies 4 KiB and more by `rep movsb`, of which callgrind counts every byte as an instruction.
        .env("GLIBC_TUNABLES", "glibc.cpu.x86_rep_movsb_threshold=1073741824")
        .tool(Callgrind::with_args(["--cache-sim=no"])),
    library_benchmark_groups = instructions
);
