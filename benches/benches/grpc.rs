//! The length-prefixed message of a call: put together from DATA payloads without a copy, against joining them into one buffer.

#![allow(clippy::expect_used, reason = "a bench whose set-up fails must stop")]

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::Criterion;
use relay_benches::payload::{self, FRAME_BYTES, Payload};
use relay_benches::{Allocator, criterion, side_by_side};
use relay_core::grpc::{MessageAssembler, prefix};
use relay_core::limits::RECEIVE_MESSAGE_BYTES_MAX;
use testkit::raw::grpc_message;

#[global_allocator]
static ALLOCATOR: Allocator = mimalloc::MiMalloc;

fn main() {
    let mut criterion = criterion();
    criterion.bench_function("grpc/prefix", |bencher| bencher.iter(|| prefix(false, black_box(48_000))));
    for payload in [1, 10, 100, 512].map(payload::generated) {
        bench(&mut criterion, &payload);
    }
    criterion.final_summary();
}

fn bench(criterion: &mut Criterion, payload: &Payload) {
    let calls: Vec<Vec<Bytes>> = payload.messages.iter().map(data_payloads).collect();
    let mut group = criterion.benchmark_group(format!("grpc/{}", payload.name));
    group.throughput(payload.throughput());
    group.bench_function("assemble", |bencher| bencher.iter(|| calls.iter().for_each(|call| assemble(call))));
    group.bench_function("join", |bencher| bencher.iter(|| calls.iter().for_each(|call| join(call))));
    group.finish();
    side_by_side::print(
        &format!("gRPC message of {}", payload.name),
        "joining its payloads",
        calls.len(),
        || calls.iter().for_each(|call| assemble(call)),
        || calls.iter().for_each(|call| join(call)),
    );
}

/// What h2 hands out for a call with this message.
fn data_payloads(message: &Bytes) -> Vec<Bytes> {
    grpc_message(message).chunks(FRAME_BYTES).map(Bytes::copy_from_slice).collect()
}

fn assemble(call: &[Bytes]) {
    let mut assembler = MessageAssembler::new(RECEIVE_MESSAGE_BYTES_MAX);
    for payload in black_box(call) {
        assembler.push(payload.clone()).expect("a message");
    }
    black_box(assembler.finish().expect("a whole message"));
}

fn join(call: &[Bytes]) {
    let mut joined = BytesMut::new();
    for payload in black_box(call) {
        joined.extend_from_slice(payload);
    }
    black_box(joined.freeze());
}
