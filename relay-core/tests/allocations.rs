//! Proves by a counting allocator that steady-state framing, queueing and batching allocate nothing per span,
//! and shows what the whole relay allocates per request over loopback. Counts, never times.

#![cfg(test)]

mod support;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use relay_core::Relay;
use relay_core::batch::{Batch, BatchBuilder, BatchLimits, Ledger};
use relay_core::config::{ReceiverConfig, UpstreamConfig};
use relay_core::limits::{ARENA_BLOCK_BYTES_MAX, INLINE_COPY_BYTES_MAX};
use relay_core::otlp::RawRequest;
use relay_core::queue::{Budget, Lanes};
use relay_core::upstream::Endpoint;
use support::pointers::{FRAME_BYTES, data_frames};
use support::{SOON, loopback, quiet_peer, settled};
use testkit::alloc::{CountingAllocator, Counts, measure, process_counts, thread_counts};
use testkit::generate::kube_like_bytes;
use testkit::raw::{RawClient, RawRequest as Call, grpc_message};
use testkit::wire::put_len_field;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Tests that count what the whole process allocates must be alone in it.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn builder(inline_copy_bytes_max: usize) -> BatchBuilder {
    let limits = BatchLimits {
        bytes_max: 64 << 20,
        items_max: u64::MAX,
        items_target: u64::MAX,
        inline_copy_bytes_max,
    };
    BatchBuilder::new(limits, &Budget::new(usize::MAX), None, Arc::new(Ledger::default()))
}

/// Frames, batches and seals `messages`, as a core does with what it receives.
fn batch(builder: &mut BatchBuilder, messages: Vec<RawRequest>) -> Batch {
    messages.into_iter().for_each(|message| builder.push(message.frame().unwrap(), None));
    builder.seal().unwrap()
}

/// What a batch of `messages` costs after a first one has warmed up.
fn steady_batch(builder: &mut BatchBuilder, messages: &[Bytes]) -> Counts {
    let requests = || messages.iter().map(|message| RawRequest::new(message.clone())).collect::<Vec<_>>();
    drop(batch(builder, requests()));
    let requests = requests();
    let (sealed, counts) = measure(|| batch(builder, requests));
    drop(sealed);
    counts
}

/// Framing costs no memory at all, in one piece or in DATA frames, however many spans there are.
#[test]
fn framing_allocates_nothing() {
    let _alone = alone();
    for spans in [1, 100, 1000] {
        let message = kube_like_bytes(spans, 1);
        let whole = RawRequest::new(message.clone());
        let frames =
            RawRequest::new(data_frames(&message).into_iter().collect::<relay_core::wire::Segments>());
        let (framed, counts) = measure(|| [whole.frame().unwrap(), frames.frame().unwrap()]);
        assert_eq!((framed.map(|framed| framed.items()), counts), ([spans as u64; 2], Counts::default()));
    }
}

/// Framing, joining a batch and sealing cost the same number of allocations for 1, 100 and 1000 spans per
/// request.
#[test]
fn batching_by_reference_costs_the_same_for_any_number_of_spans() {
    let _alone = alone();
    let mut builder = builder(0);
    let costs = [1, 100, 1000].map(|spans| {
        let messages: Vec<Bytes> = (0..8).map(|seed| kube_like_bytes(spans, seed)).collect();
        steady_batch(&mut builder, &messages)
    });
    println!(
        "allocations per batch of 8 requests of 1, 100, 1000 spans, by reference: {:?}",
        costs.map(|c| c.allocations)
    );
    assert_eq!(costs[0], costs[1]);
    assert_eq!(costs[1], costs[2]);
    // The lists of ranges and parts, grown a few times, and the rope.
    assert!(costs[0].allocations <= 8, "{costs:?}");
}

/// Copying into the arena costs one allocation per block and none per request or span: requests of the same
/// size with 1 and with 1,000 spans cost the same, and many requests cost as many as the blocks that they
/// fill.
#[test]
fn batching_into_the_arena_costs_blocks_not_spans() {
    let _alone = alone();
    let mut builder = builder(INLINE_COPY_BYTES_MAX);
    let cost = |builder: &mut BatchBuilder, spans| {
        let message = request_of(8 << 10, spans);
        assert!(message.len() < INLINE_COPY_BYTES_MAX);
        steady_batch(builder, &vec![message; 200]).allocations
    };
    let (one, many) = (cost(&mut builder, 1), cost(&mut builder, 1000));
    let blocks = (200 * (8 << 10) / ARENA_BLOCK_BYTES_MAX) as u64;
    println!(
        "allocations per batch of 200 requests of 8 KiB: {one} for 1 span each, {many} for 1000; {blocks} blocks"
    );
    // The sizes differ by what a block more or less costs.
    assert!(one.abs_diff(many) <= 4, "{one} and {many}");
    // Twice: a block and what shares it among batch and retries. The rest are the first, smaller blocks and
    // the lists.
    assert!(one <= 2 * blocks + 24, "{one}");
}

/// A request of about `bytes` bytes in `spans` spans, all of the same size.
fn request_of(bytes: usize, spans: usize) -> Bytes {
    let mut scope_spans = Vec::new();
    for _ in 0..spans {
        let mut span = Vec::new();
        put_len_field(&mut span, 5, &vec![b'n'; (bytes / spans).saturating_sub(4)]);
        put_len_field(&mut scope_spans, 2, &span);
    }
    let (mut resource_spans, mut request) = (Vec::new(), Vec::new());
    put_len_field(&mut resource_spans, 2, &scope_spans);
    put_len_field(&mut request, 1, &resource_spans);
    request.into()
}

/// A sealed batch goes through the queue without an allocation, its own core's way and stolen.
#[test]
fn queueing_allocates_nothing() {
    let _alone = alone();
    let lanes = Lanes::new(2, 64);
    let mut batches: Vec<Batch> = (0..32)
        .map(|seed| batch(&mut builder(0), vec![RawRequest::new(kube_like_bytes(10, seed))]))
        .collect();
    let mut popped = Vec::with_capacity(64);
    let ((), counts) = measure(|| {
        for (at, batch) in batches.drain(..).enumerate() {
            lanes.push(at % 2, batch).unwrap();
        }
        popped.extend(std::iter::from_fn(|| lanes.pop(0)));
    });
    assert_eq!((popped.len(), counts), (32, Counts::default()));
}

/// What the relay's threads alone allocate per request, from socket to socket, after a warm-up.
fn relayed(payload: &Bytes) -> (f64, f64) {
    const CALLS: u64 = 100;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let (addr, seen) = quiet_peer::start().await;
        let config = UpstreamConfig::grpc("otlp", Endpoint::parse(&addr.to_string()).unwrap());
        let relay =
            Relay::builder().receiver(ReceiverConfig::new("otlp", loopback())).upstream(config).cores(1);
        let relay = relay.start().unwrap();
        let client = RawClient::connect(relay.listening_on()[0]).await.unwrap();
        let body = grpc_message(payload);
        let mut relays = Counts::default();
        for call in 0..2 * CALLS {
            // Client and upstream live on this thread: what others allocate is the relay's.
            let before = (process_counts(), thread_counts());
            let response = client.send(Call::export(vec![body.clone()])).await.unwrap();
            assert_eq!(response.grpc_status(), Some(0));
            while seen.calls.get() <= call {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            let (process, thread) = (process_counts() - before.0, thread_counts() - before.1);
            if call >= CALLS {
                relays.allocations += process.allocations - thread.allocations;
                relays.allocated_bytes += process.allocated_bytes - thread.allocated_bytes;
            }
        }
        settled(&relay.drain(SOON).await);
        (relays.allocations as f64 / CALLS as f64, relays.allocated_bytes as f64 / CALLS as f64)
    })
}

/// The whole relay, one call in and one call out per request: allocations per request do not grow with its
/// spans. Requests of the same size, which cost HTTP/2 the same, are compared; the kube-like ones of growing
/// size are printed, and bounded by what a DATA frame may cost.
#[test]
fn the_relay_allocates_nothing_per_span() {
    let _alone = alone();
    println!("spans  bytes    allocations/request  allocated bytes/payload byte");
    let row = |payload: &Bytes, spans: usize| {
        let (allocations, bytes) = relayed(payload);
        let len = payload.len();
        println!("{spans:>5}  {len:>7}  {allocations:>19.1}  {:>28.2}", bytes / len as f64);
        allocations
    };
    let by_size = [1, 10, 100, 512].map(|spans| {
        let payload = kube_like_bytes(spans, 1);
        (payload.len().div_ceil(FRAME_BYTES) as f64, row(&payload, spans))
    });
    let (_, least) = by_size[0];
    for (frames, allocations) in by_size {
        // Per DATA frame at most: a receive buffer, its growth, its sharing, its place in two lists, a window
        // update.
        assert!(
            allocations <= least + 8.0 * frames,
            "{allocations} for {frames} frames, {least} for the least"
        );
    }
    for bytes in [8 << 10, 64 << 10] {
        let [one, many] = [1, 1000].map(|spans| row(&request_of(bytes, spans), spans));
        // How DATA frames fall into reads differs from call to call; a thousand spans cost less than twenty
        // allocations.
        assert!((one - many).abs() < 20.0, "{bytes} bytes: {one} allocations for 1 span, {many} for 1000");
    }
}
