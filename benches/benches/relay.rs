//! The whole relay over loopback: gRPC in, merged, gRPC out, 4 connections with 8 calls in flight, closed loop, one core.
//!
//! Beside criterion's wall-clock figures (the load and the sink share the machine) it prints the CPU time of the relay's own thread.

use std::io::IoSlice;
use std::time::Duration;

use criterion::Criterion;
use relay_benches::payload::{self, FRAME_BYTES, Payload};
use relay_benches::pipe::Pipe;
use relay_benches::relaying::{Bench, own_cpu};
use relay_benches::{Allocator, criterion, is_measuring};

#[global_allocator]
static ALLOCATOR: Allocator = mimalloc::MiMalloc;

/// Requests of one round of the CPU figures.
const ROUND_REQUESTS: u64 = 2_000;
/// Rounds; the cheapest counts.
const ROUNDS: u64 = 5;
/// Time of one round of the kernel's figure.
const KERNEL_ROUND: Duration = Duration::from_millis(30);

fn main() {
    let bench = Bench::start();
    let mut criterion = criterion().sample_size(10).measurement_time(Duration::from_secs(1));
    for payload in payload::all().into_iter().filter(|payload| payload.name != "recorded") {
        measure(&mut criterion, &bench, &payload);
        if is_measuring() {
            print_cpu(&bench, &payload);
        }
    }
    criterion.final_summary();
}

fn measure(criterion: &mut Criterion, bench: &Bench, payload: &Payload) {
    let mut group = criterion.benchmark_group(format!("relay/{}", payload.name));
    // One turn of all messages, as everywhere: an iteration is as many requests as the payload has.
    group.throughput(payload.throughput());
    let turn = payload.messages.len() as u64;
    group.bench_function("loopback", |bencher| {
        bencher.iter_custom(|turns| bench.exchange(&payload.messages, turns * turn).elapsed);
    });
    group.finish();
}

/// The least of some rounds, so that other programs disturb it least, beside what the kernel takes to move the same bytes in and out.
fn print_cpu(bench: &Bench, payload: &Payload) {
    let before = bench.upstream();
    let mut pipe = Pipe::new();
    let (mut relay, mut kernel, mut refused) = (f64::INFINITY, f64::INFINITY, 0);
    let mut elapsed = f64::INFINITY;
    for _ in 0..ROUNDS {
        let cost = bench.exchange(&payload.messages, ROUND_REQUESTS);
        relay = relay.min(cost.cpu.as_secs_f64() / ROUND_REQUESTS as f64);
        elapsed = elapsed.min(cost.elapsed.as_secs_f64() / ROUND_REQUESTS as f64);
        kernel = kernel.min(seconds_in_kernel(&mut pipe, payload));
        refused += cost.refused;
    }
    let calls = (bench.upstream().attempts - before.attempts).max(1);
    let spans = payload.spans as f64 / payload.messages.len() as f64;
    println!(
        "relay {}: CPU {:.2} us per request, {:.3} per span, {:.1} times the kernel's for the same bytes in and out; \
         {:.0} requests/s, {:.0} spans/s; {:.1} requests per call upstream; {refused} refused",
        payload.name,
        relay * 1e6,
        relay * 1e6 / spans,
        relay / kernel,
        1.0 / elapsed,
        spans / elapsed,
        (ROUND_REQUESTS * ROUNDS) as f64 / calls as f64,
    );
}

/// CPU seconds that one request's bytes take through a socket, written and read in frames of 16 KiB.
fn seconds_in_kernel(pipe: &mut Pipe, payload: &Payload) -> f64 {
    let started = own_cpu();
    let mut requests = 0;
    while own_cpu() - started < KERNEL_ROUND {
        for frame in payload.messages.iter().flat_map(|message| message.chunks(FRAME_BYTES)) {
            pipe.write(&[IoSlice::new(frame)]);
        }
        requests += payload.messages.len();
    }
    (own_cpu() - started).as_secs_f64() / requests as f64
}
