//! Instructions per request, counted by valgrind: figures that a busy machine does not change.
//!
//! `cargo run --profile bench -p relay-benches --bin instructions` runs itself under `valgrind --tool=callgrind`, each case with few and with
//! many rounds; the difference is free of start-up. With a case and a number it runs that case so many times and prints nothing.

#![allow(clippy::expect_used, reason = "a bench whose set-up fails must stop")]

use std::hint::black_box;
use std::process::Command;

use relay_benches::Allocator;
use relay_benches::batching::{Core, read_frames, request_of, write_nothing};
use relay_benches::payload::{Payload, all, in_frames, named};
use relay_benches::walk;
use relay_core::edit::{SplitLimit, split};
use relay_core::otlp::RawRequest;
use relay_core::wire::Segments;
use testkit::oracle;

#[global_allocator]
static ALLOCATOR: Allocator = mimalloc::MiMalloc;

/// Rounds of the two runs whose difference counts.
const ROUNDS: [u64; 2] = [4, 14];
/// Work on a payload, by name.
const ON_PAYLOAD: [&str; 5] = ["frame", "frame-segments", "walk", "decode", "decode-walk"];
/// Payloads that are measured.
const PAYLOADS: [&str; 4] = ["kube-1", "kube-10", "kube-100", "recorded-18"];
/// Work on requests of so many bytes.
const BATCH_BYTES: [usize; 5] = [256, 1 << 10, 4 << 10, 16 << 10, 64 << 10];
/// Requests in a batch.
const BATCH_REQUESTS: usize = 16;

fn main() {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next(), arguments.next().and_then(|rounds| rounds.parse().ok())) {
        (Some(case), Some(rounds)) => run(&case, rounds),
        _ => report(),
    }
}

fn report() {
    let payloads: Vec<Payload> =
        all().into_iter().filter(|one| PAYLOADS.contains(&one.name.as_str())).collect();
    println!("instructions per request:");
    for payload in &payloads {
        let requests = payload.messages.len() as u64;
        let counts = ON_PAYLOAD.map(|work| count(&format!("{work}:{}", payload.name)) / requests);
        let line: Vec<String> =
            ON_PAYLOAD.iter().zip(counts).map(|(work, count)| format!("{work} {count}")).collect();
        println!("{:>12}: {}", payload.name, line.join(", "));
    }
    for bytes in BATCH_BYTES {
        let [copy, reference] =
            ["copy", "reference"].map(|way| count(&format!("{way}:{bytes}")) / BATCH_REQUESTS as u64);
        println!("{bytes:>6} bytes: received, framed, merged, read: copy {copy}, reference {reference}");
    }
    let whole = count("split:5120");
    println!("5 MiB request split to 4 MiB: {whole}");
}

/// Instructions of one round of `case`.
fn count(case: &str) -> u64 {
    let [few, many] = ROUNDS.map(|rounds| total(case, rounds));
    (many - few) / (ROUNDS[1] - ROUNDS[0])
}

fn total(case: &str, rounds: u64) -> u64 {
    let program = std::env::current_exe().expect("this program");
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args([case, &rounds.to_string()])
        .output()
        .expect("valgrind is installed");
    let said = String::from_utf8_lossy(&run.stderr);
    let collected = said.split("Collected :").nth(1).and_then(|rest| rest.split_whitespace().next());
    collected.and_then(|number| number.parse().ok()).unwrap_or_else(|| {
        eprintln!("{case}: {said}");
        std::process::exit(1)
    })
}

fn run(case: &str, rounds: u64) {
    let (work, on) = case.split_once(':').unwrap_or((case, ""));
    match on.parse::<usize>() {
        Ok(kib) if work == "split" => run_split(kib << 10, rounds),
        Ok(bytes) => run_batch(work, bytes, rounds),
        Err(_) => {
            let payload = named(on).expect("a payload of that name");
            run_on_payload(work, &payload, rounds);
        }
    }
}

fn run_batch(way: &str, bytes: usize, rounds: u64) {
    let threshold = if way == "copy" { usize::MAX } else { 0 };
    let mut core = Core::new(&request_of(bytes), 4, threshold);
    for _ in 0..rounds {
        core.turn(BATCH_REQUESTS, |batch| read_frames(batch, write_nothing));
    }
}

fn run_split(bytes: usize, rounds: u64) {
    let request = RawRequest::new(in_frames(&request_of(bytes))).frame().expect("a request");
    for _ in 0..rounds {
        black_box(split(black_box(&request), SplitLimit { bytes_max: 4 << 20, items_max: u64::MAX }));
    }
}

fn run_on_payload(work: &str, payload: &Payload, rounds: u64) {
    let contiguous: Vec<Segments> = payload.messages.iter().cloned().map(Segments::from).collect();
    let segmented = payload.segmented();
    for _ in 0..rounds {
        for ((message, contiguous), segmented) in payload.messages.iter().zip(&contiguous).zip(&segmented) {
            match work {
                "frame" => drop(black_box(RawRequest::new(contiguous.clone()).frame())),
                "frame-segments" => drop(black_box(RawRequest::new(segmented.clone()).frame())),
                "walk" => drop(black_box(walk::views(black_box(message)))),
                "decode" => drop(black_box(oracle::decode(black_box(message)))),
                _ => {
                    let decoded = oracle::decode(black_box(message)).expect("a request");
                    black_box(walk::structs(&decoded));
                }
            }
        }
    }
}
