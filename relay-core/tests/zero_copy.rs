//! Proves what relay-core says about copies: between the memory that a socket was read into and the ranges that
//! a socket is given to write no payload byte of a request of `INLINE_COPY_BYTES_MAX` or more is copied, and each
//! smaller one is copied once.

#![cfg(test)]

mod support;

use std::io::IoSlice;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes};
use relay_core::Relay;
use relay_core::batch::{Batch, BatchBuilder, BatchLimits, Ledger, Settled};
use relay_core::config::{BatchSink, ReceiverConfig, UpstreamConfig};
use relay_core::edit::{SplitLimit, split};
use relay_core::grpc::{MessageAssembler, PREFIX_BYTES, prefix};
use relay_core::http2::frame::{self, END_HEADERS, END_STREAM, HEAD_BYTES, Head, Kind};
use relay_core::http2::{Client, Event, RequestHead, Server, ServerConfig, hpack};
use relay_core::limits::{self, INLINE_COPY_BYTES_MAX, UPSTREAM_MESSAGE_BYTES_MAX};
use relay_core::otlp::{FramedRequest, RawRequest, Signal};
use relay_core::queue::Budget;
use relay_core::upstream::{Endpoint, Outcome};
use support::pointers::{Span, data_frames, lies_in, runs, span_of};
use support::{SOON, drain, loopback, quiet_peer, settled};
use testkit::alloc::{CountingAllocator, measure, process_counts, thread_counts};
use testkit::generate::kube_like_bytes;
use testkit::raw::{RawClient, RawRequest as Call, grpc_message};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Tests that count what the whole process allocates must be alone in it.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

const LIMITS: BatchLimits = BatchLimits {
    bytes_max: UPSTREAM_MESSAGE_BYTES_MAX,
    items_max: u64::MAX,
    items_target: u64::MAX,
    inline_copy_bytes_max: INLINE_COPY_BYTES_MAX,
};

fn builder() -> BatchBuilder {
    BatchBuilder::new(Signal::Traces, LIMITS, &Budget::new(usize::MAX), None, Arc::new(Ledger::default()))
}

/// A request of at least `bytes_min` bytes.
fn message(bytes_min: usize, seed: u64) -> Bytes {
    let message = kube_like_bytes(2 + bytes_min / 400, seed);
    assert!(message.len() >= bytes_min);
    message
}

/// A request, and where its bytes lie in the memory that was read into.
struct Received {
    request: FramedRequest,
    lies: Vec<Span>,
}

/// The way of a request in: a read, HTTP/2, message, framing.
fn receive(message: &Bytes) -> Received {
    let body = grpc_message(message);
    let (mut block, mut wire, mut places) = (vec![0x83, 0x86], frame::PREFACE.to_vec(), Vec::new());
    hpack::put_literal(&mut block, b":path", Signal::Traces.grpc_path().as_bytes());
    frame::put_settings(&mut wire, &[]);
    frame::put(&mut wire, Kind::HEADERS, END_HEADERS, 1, &block);
    let pieces = data_frames(&body);
    for (nth, piece) in pieces.iter().enumerate() {
        let flags = if nth + 1 == pieces.len() { END_STREAM } else { 0 };
        frame::put(&mut wire, Kind::DATA, flags, 1, piece);
        places.push(wire.len() - piece.len()..wire.len());
    }
    places[0].start += PREFIX_BYTES;
    let mut read = Bytes::from(wire);
    let lies = places.into_iter().map(|place| span_of(&read[place])).collect();

    let mut server = Server::new(ServerConfig {
        streams_max: 1,
        stream_window_bytes: limits::STREAM_WINDOW_BYTES,
        connection_window_bytes: limits::CONNECTION_WINDOW_BYTES,
        header_list_bytes_max: limits::HEADER_LIST_BYTES_MAX,
    });
    let mut assembler = MessageAssembler::new(64 << 20);
    while let Some(event) = server.receive(&mut read).unwrap() {
        if let Event::Data { stream, bytes, .. } = event {
            server.release(stream, bytes.len());
            assembler.push(bytes).unwrap();
        }
    }
    Received {
        request: RawRequest::new(assembler.finish().unwrap().body).frame(Signal::Traces).unwrap(),
        lies,
    }
}

/// The way of a batch out: the ranges of message bytes that the socket is given, in order.
fn payload_ranges(batch: &Batch) -> Vec<Span> {
    let (mut client, mut hello) = (Client::new(), Vec::new());
    frame::put_settings(&mut hello, &[(frame::setting::INITIAL_WINDOW_SIZE, 1 << 30)]);
    frame::put_window_update(&mut hello, 0, 1 << 30);
    client.receive(&hello).unwrap();
    assert!(client.fill());
    client.written(limits::WRITE_AHEAD_BYTES);

    let path = [(&b":path"[..], Signal::Traces.grpc_path().as_bytes())];
    let head = RequestHead::new(false, path.into_iter(), std::iter::empty());
    let prefix = Bytes::copy_from_slice(&prefix(false, batch.rope().len()).unwrap());
    client.open(&head, prefix.clone().chain(batch.rope().reader())).unwrap();
    let (mut ranges, mut data_left) = (Vec::new(), 0);
    while client.fill() {
        let mut slices = [IoSlice::new(&[]); limits::WRITE_SLICES_MAX];
        let filled = client.slices(&mut slices);
        for slice in &slices[..filled] {
            if data_left > 0 {
                data_left -= slice.len();
                ranges.push(span_of(slice));
            } else {
                data_left = data_after(slice);
            }
        }
        let written = slices[..filled].iter().map(|slice| slice.len()).sum();
        client.written(written);
    }
    assert_eq!(ranges.remove(0), span_of(&prefix));
    assert_eq!(total(&ranges), batch.rope().len());
    ranges
}

/// Bytes of DATA that follow a slice of whole frames, or of the head of a DATA frame.
fn data_after(mut frames: &[u8]) -> usize {
    while let Some((head, after)) = frames.split_first_chunk::<HEAD_BYTES>() {
        let head = Head::parse(*head);
        if head.kind == Kind::DATA {
            assert!(after.is_empty(), "payload is not copied behind its head");
            return head.len;
        }
        frames = &after[head.len..];
    }
    0
}

fn total(ranges: &[Span]) -> usize {
    ranges.iter().map(Range::len).sum()
}

/// From the read buffer through HTTP/2 and batching to the ranges of DATA frames: large requests are written from where they
/// arrived.
#[test]
fn a_large_request_is_written_from_the_memory_it_came_in() {
    let _alone = alone();
    for bytes in [INLINE_COPY_BYTES_MAX, 5 * INLINE_COPY_BYTES_MAX, 3 << 20] {
        let Received { request, lies } = receive(&message(bytes, 1));
        let mut builder = builder();
        builder.push(request, None);
        let batch = builder.seal().unwrap();
        let ranges = payload_ranges(&batch);
        assert!(ranges.iter().all(|range| lies_in(range, &lies)));
        assert_eq!(runs(&ranges), lies, "every byte once, in order");
    }
}

/// Scenario: several large requests and runs of small ones in one batch. The large ones lie where they came;
/// the small ones of a run lie in the arena behind one another, and no more memory than the arena was
/// allocated for them.
#[test]
fn small_requests_are_copied_once_into_contiguous_memory() {
    let _alone = alone();
    let large: Vec<Bytes> = (0..2).map(|seed| message(2 * INLINE_COPY_BYTES_MAX, seed)).collect();
    let small: Vec<Bytes> = (0..4).map(|seed| kube_like_bytes(1, 10 + seed)).collect();
    let order = [&small[0], &small[1], &large[0], &small[2], &large[1], &small[3]];
    let (requests, lies): (Vec<_>, Vec<_>) =
        order.map(receive).into_iter().map(|received| (received.request, received.lies)).unzip();
    let mut builder = builder();
    let (batch, counts) = measure(|| {
        requests.into_iter().for_each(|request| builder.push(request, None));
        builder.seal().unwrap()
    });
    let runs = runs(&payload_ranges(&batch));
    let mut left = &runs[..];
    let copied_then_large =
        [(small[0].len() + small[1].len(), &lies[2][..]), (small[2].len(), &lies[4]), (small[3].len(), &[])];
    for (copied_bytes, large) in copied_then_large {
        let (copied, after) = left.split_first().unwrap();
        assert_eq!(copied.len(), copied_bytes);
        assert!(!lies_in(copied, &lies.concat()), "in the arena");
        let (in_place, after) = after.split_at(large.len());
        assert_eq!(in_place, large);
        left = after;
    }
    assert!(left.is_empty());
    // A second copy of the small ones would have to lie somewhere: beside the arena's one block only the
    // lists of parts and ranges were allocated.
    let small_bytes: usize = small.iter().map(Bytes::len).sum();
    let arena_bytes = limits::ARENA_BLOCK_BYTES_MIN;
    assert!(small_bytes < arena_bytes, "the scenario fits into one block: {small_bytes}");
    assert!(counts.allocated_bytes < (arena_bytes + small_bytes) as u64, "{counts:?}");
}

/// Splitting inside a request: runs of spans lie in the source, only tags and lengths of the containers are
/// new; as `edit::split` gives it and as a sealed batch that an upstream has refused is cut.
#[test]
fn a_split_request_is_written_from_the_memory_it_came_in() {
    let _alone = alone();
    let message = message(1 << 20, 3);
    let Received { request, lies } = receive(&message);
    let bytes_max = 100_000;
    let check = |ranges: &[Span]| {
        let new = ranges.iter().filter(|range| !lies_in(range, &lies));
        let new_bytes: usize = new.clone().map(Range::len).sum();
        // Per output: tag and length of one ResourceSpans and at most two ScopeSpans.
        assert!(new.count() <= 3 && new_bytes <= 3 * 5, "{new_bytes} bytes are new");
        total(ranges) - new_bytes
    };
    let cut = split(&request, SplitLimit { bytes_max, items_max: u64::MAX });
    assert!(cut.requests.len() > 10 && cut.dropped_items == 0);
    for request in &cut.requests {
        let ranges: Vec<Span> = request.segments().iter().map(|segment| span_of(segment)).collect();
        assert!(check(&ranges) > 0);
    }
    let mut builder = builder();
    builder.push(request, None);
    let batches = builder.seal().unwrap().split(bytes_max);
    assert_eq!(batches.len(), cut.requests.len());
    let from_source: usize = batches.iter().map(|batch| check(&payload_ranges(batch))).sum();
    assert!(from_source >= message.len() - 64, "{from_source} of {} bytes", message.len());
}

/// Bisecting a refused batch copies nothing either.
#[test]
fn halves_of_a_batch_share_its_memory() {
    let _alone = alone();
    let received = (0..4).map(|seed| receive(&message(INLINE_COPY_BYTES_MAX, seed)));
    let (requests, lies): (Vec<_>, Vec<_>) = received.map(|one| (one.request, one.lies)).unzip();
    let mut builder = builder();
    requests.into_iter().for_each(|request| builder.push(request, None));
    let (first, second) = builder.seal().unwrap().bisect();
    let second = second.unwrap();
    let halves = [payload_ranges(&first), payload_ranges(&second)].concat();
    assert_eq!(runs(&halves), lies.concat());
}

/// Keeps where the bytes of every batch lie, and the batch's memory, so that no address is used twice.
#[derive(Default)]
struct Recorder(Mutex<Vec<Bytes>>);

impl BatchSink for Recorder {
    fn deliver(&self, batch: &Batch) -> Outcome {
        self.0.lock().unwrap().extend(batch.rope().pieces().iter().cloned());
        Outcome::Accepted { rejected: 0, message: String::new() }
    }
}

fn submit_to(sinks: &[Arc<Recorder>], request: &Bytes) {
    let upstream =
        |(n, sink): (usize, &Arc<Recorder>)| UpstreamConfig::sink(format!("sink/{n}"), sink.clone());
    let relay =
        sinks.iter().enumerate().map(upstream).fold(Relay::builder().cores(2), |relay, u| relay.upstream(u));
    let relay = relay.start().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(relay.submit(Signal::Traces, request.clone()).unwrap()), Settled::Delivered);
    let stats = drain(relay, SOON);
    assert!(stats.upstreams.iter().all(|upstream| upstream.items.held() == 0 && upstream.held_bytes == 0));
    // The sinks keep the bytes, and what several share is held until the last lets go of it: counted once, not once for each.
    assert_eq!(stats.held_bytes, if sinks.len() > 1 { request.len() } else { 0 });
}

fn recorded(sink: &Recorder) -> Vec<Span> {
    runs(&sink.0.lock().unwrap().iter().map(|piece| span_of(piece)).collect::<Vec<_>>())
}

/// The whole relay: what an upstream is handed of a large request are the bytes that were submitted, where
/// they were submitted; split where it is larger than the upstream takes; the same memory for each of several
/// upstreams.
#[test]
fn a_submitted_request_reaches_every_upstream_in_place() {
    let _alone = alone();
    let request = message(1 << 20, 4);
    let sinks = [Arc::default(), Arc::default()];
    submit_to(&sinks, &request);
    assert_eq!(recorded(&sinks[0]), [span_of(&request)]);
    assert_eq!(recorded(&sinks[1]), [span_of(&request)]);

    let too_large = message(9 << 20, 5);
    let sinks = [Arc::default()];
    submit_to(&sinks, &too_large);
    let pieces = recorded(&sinks[0]);
    let inside = pieces.iter().filter(|piece| lies_in(piece, &[span_of(&too_large)]));
    let inside_bytes: usize = inside.map(Range::len).sum();
    assert!(inside_bytes >= too_large.len() - 64 && total(&pieces) - inside_bytes <= 3 * 3 * 5);
}

/// A small request for several upstreams is copied once for all of them, not once for each.
#[test]
fn upstreams_share_the_one_copy_of_a_small_request() {
    let _alone = alone();
    let request = kube_like_bytes(1, 6);
    let sinks = [Arc::default(), Arc::default(), Arc::default()];
    submit_to(&sinks, &request);
    let copy = recorded(&sinks[0]);
    assert!(copy.len() == 1 && copy[0].len() == request.len() && copy[0] != span_of(&request));
    assert!(sinks.iter().all(|sink| recorded(sink) == copy));
}

/// Bytes that the relay's threads allocate per payload byte, while `calls` requests go from socket to socket.
fn relayed_bytes_per_byte(inline_copy_bytes_max: usize, payload: &Bytes, calls: u64) -> f64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let (addr, seen) = quiet_peer::start().await;
        let mut config = UpstreamConfig::grpc("otlp", Endpoint::parse(&addr.to_string()).unwrap());
        config.batch.inline_copy_bytes_max = inline_copy_bytes_max;
        let relay =
            Relay::builder().receiver(ReceiverConfig::new("otlp", loopback())).upstream(config).cores(1);
        let relay = relay.start().unwrap();
        let client = RawClient::connect(relay.listening_on()[0].tcp().unwrap()).await.unwrap();
        let body = grpc_message(payload);
        let mut allocated_bytes = 0;
        // The first calls open connections and grow buffers.
        for call in 0..calls + 4 {
            // Client and upstream live on this thread: what others allocate is the relay's.
            let before = (process_counts(), thread_counts());
            let response = client.send(Call::export(vec![body.clone()])).await.unwrap();
            assert_eq!(response.grpc_status(), Some(0));
            while seen.calls.get() <= call {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            let (process, thread) = (process_counts() - before.0, thread_counts() - before.1);
            if call >= 4 {
                allocated_bytes += process.allocated_bytes - thread.allocated_bytes;
            }
        }
        assert_eq!(seen.bytes.get(), (calls + 4) * body.len() as u64);
        settled(&relay.drain(SOON).await);
        allocated_bytes as f64 / (calls * payload.len() as u64) as f64
    })
}

/// Over real sockets, by allocation: bytes cannot be copied without memory to copy them to. The read buffers that
/// the payload stays in are about 1 byte per byte; a copy of the payload anywhere in the relay would make it 2.
/// That the measure would notice is shown by a relay told to copy.
#[test]
fn a_large_request_costs_receive_buffers_and_no_copy() {
    let _alone = alone();
    let payload = message(2 << 20, 7);
    let by_reference = relayed_bytes_per_byte(INLINE_COPY_BYTES_MAX, &payload, 10);
    let copied = relayed_bytes_per_byte(usize::MAX, &payload, 10);
    println!(
        "bytes allocated per payload byte: {by_reference:.2} by reference, {copied:.2} when told to copy"
    );
    assert!(by_reference < 1.5, "{by_reference}");
    assert!(copied > by_reference + 0.9, "{copied} and {by_reference}: the measure is blind");
}
