//! Merging: requests of 256 bytes to 64 KiB from receive buffers into a batch of about 64 KiB or 1 MiB, by copy into the arena against
//! by reference, read as h2 reads a batch and written to a socket. Its table is where `limits::INLINE_COPY_BYTES_MAX` comes from.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a bench whose set-up fails must stop")]

use std::cell::RefCell;
use std::io::IoSlice;

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use relay_benches::batching::{
    Core, HEAD_BYTES, PAGE_BYTES, builder, frame, read_frames, request_of, write_nothing,
};
use relay_benches::payload::{FRAME_BYTES, in_frames};
use relay_benches::pipe::Pipe;
use relay_benches::{Allocator, criterion, side_by_side};
use relay_core::wire::Segments;

#[global_allocator]
static ALLOCATOR: Allocator = mimalloc::MiMalloc;

/// Sizes of requests, in bytes.
const REQUEST_BYTES: [usize; 9] =
    [256, 512, 1 << 10, 2 << 10, 4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10];
/// What criterion measures of them; the table has all.
const CRITERION_BYTES: [usize; 3] = [512, 4 << 10, 64 << 10];
/// Size of a batch, in bytes: a light moment, and load.
const BATCH_BYTES: [usize; 2] = [64 << 10, 1 << 20];
/// Senders: a few busy ones, and a node's.
const CONNECTIONS: [usize; 2] = [4, 200];
/// Thresholds that copy every request, and none.
const COPY: usize = usize::MAX;
const REFERENCE: usize = 0;

fn main() {
    let mut criterion = criterion();
    for bytes in CRITERION_BYTES {
        bench(&mut criterion, &request_of(bytes));
    }
    criterion.final_summary();
    for (batch_bytes, connections) in
        BATCH_BYTES.into_iter().flat_map(|bytes| CONNECTIONS.map(|connections| (bytes, connections)))
    {
        table(batch_bytes, connections);
    }
    held_table();
    page_table();
}

fn bench(criterion: &mut Criterion, request: &Bytes) {
    let [_, batch_bytes] = BATCH_BYTES;
    let requests = batch_bytes / request.len();
    let mut group = criterion.benchmark_group(format!("batch/{}", request.len()));
    let spans = requests as u64 * frame(Segments::from(request.clone())).items();
    group.throughput(Throughput::ElementsAndBytes {
        elements: spans,
        bytes: (requests * request.len()) as u64,
    });
    for (name, threshold) in [("copy", COPY), ("reference", REFERENCE)] {
        let mut core = Core::new(request, 4, threshold);
        group.bench_function(name, |bencher| {
            bencher.iter(|| core.turn(requests, |batch| read_frames(batch, write_nothing)));
        });
        let (mut core, mut pipe) = (Core::new(request, 4, threshold), Pipe::new());
        group.bench_function(format!("{name}-writev"), |bencher| {
            bencher.iter(|| core.turn(requests, |batch| read_frames(batch, |slices| pipe.write(slices))));
        });
    }
    group.finish();
}

/// Nanoseconds per request, both ways: without and with the kernel.
fn table(batch_bytes: usize, connections: usize) {
    println!("\nbatches of {} KiB from {connections} connections, ns per request", batch_bytes >> 10);
    println!(
        "{:>8} | {:>22} | {:>22} | reference / copy",
        "bytes", "copy: memory, writev", "ref: memory, writev"
    );
    for request in REQUEST_BYTES.map(request_of) {
        let requests = (batch_bytes / request.len()).max(1);
        let [mut copy, mut reference] =
            [COPY, REFERENCE].map(|threshold| Core::new(&request, connections, threshold));
        let memory = side_by_side::time(
            || copy.turn(requests, |batch| read_frames(batch, write_nothing)),
            || reference.turn(requests, |batch| read_frames(batch, write_nothing)),
        );
        // Both write to the same socket.
        let pipe = RefCell::new(Pipe::new());
        let written = side_by_side::time(
            || copy.turn(requests, |batch| read_frames(batch, |slices| pipe.borrow_mut().write(slices))),
            || reference.turn(requests, |batch| read_frames(batch, |slices| pipe.borrow_mut().write(slices))),
        );
        if let (Some(memory), Some(written)) = (memory, written) {
            let each = |nanos: f64| nanos / requests as f64;
            println!(
                "{:>8} | {:>10.0} {:>11.0} | {:>10.0} {:>11.0} | {:.2} {:.2}",
                request.len(),
                each(memory.ours),
                each(written.ours),
                each(memory.theirs),
                each(written.theirs),
                memory.ratio(),
                written.ratio(),
            );
        }
    }
}

/// What a batch of 1 MiB is charged for the memory it holds, as a multiple of its bytes.
fn held_table() {
    println!("\nheld bytes per byte of a batch of 1 MiB (what the budget is charged): copy, reference");
    for request in REQUEST_BYTES.map(request_of) {
        let held = [COPY, REFERENCE].map(|threshold| {
            let mut builder = builder(threshold);
            for _ in 0..(1 << 20) / request.len() {
                builder.push(frame(in_frames(&request)), None);
            }
            let batch = builder.seal().expect("requests were pushed");
            let held = batch.held_bytes() as f64 / batch.rope().len() as f64;
            batch.deliver(0);
            held
        });
        println!("{:>8} | {:>6.2} | {:>6.2}", request.len(), held[0], held[1]);
    }
}

/// What one frame costs by the offset of its payload in a page of memory, with 9 bytes of head before it: the kernel copies it to the same
/// offset of a page of its own, plus 9. Where the kernel's offset is a little larger than ours, each load waits for the store before it.
fn page_table() {
    println!(
        "\nwritev of a 16 KiB frame by the offset of its payload in a page, against an offset of half a page"
    );
    let memory = vec![0; 8 * PAGE_BYTES];
    let aligned = memory.as_ptr().align_offset(PAGE_BYTES);
    let pipe = RefCell::new(Pipe::new());
    let write = |offset: usize| {
        let payload = &memory[aligned + offset..][..FRAME_BYTES];
        pipe.borrow_mut().write(&[IoSlice::new(&[0; HEAD_BYTES]), IoSlice::new(payload)]);
    };
    for offset in [0, 8, 9, 16, 64, 256, PAGE_BYTES - 7, PAGE_BYTES - 6, PAGE_BYTES - 5, PAGE_BYTES - 4] {
        if let Some(sides) = side_by_side::time(|| write(PAGE_BYTES / 2), || write(offset)) {
            println!("{offset:>8} | {:>6.0} ns | {:.2} times", sides.theirs, sides.ratio());
        }
    }
}
