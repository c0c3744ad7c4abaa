//! Counts by a counting allocator what steady state costs: framing and queueing nothing, batching and HTTP/2 so many per request and
//! none per span, the whole relay over loopback as many more as its tasks take. Counts are exact where nothing but the code decides
//! them, and bounded where the cut of reads does. Never times.

#![cfg(test)]

mod support;

use std::io::IoSlice;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::buf::Chain;
use bytes::{Buf, Bytes, BytesMut};
use relay_core::Relay;
use relay_core::batch::{Batch, BatchBuilder, BatchLimits, Ledger, RopeReader};
use relay_core::config::{ReceiverConfig, UpstreamConfig};
use relay_core::grpc::{Code, MessageAssembler, prefix};
use relay_core::http2::frame::{self, END_HEADERS, END_STREAM, Kind};
use relay_core::http2::{Client, Ended, Event, RequestHead, Server, ServerConfig, hpack};
use relay_core::limits::{self, ARENA_BLOCK_BYTES_MAX, INLINE_COPY_BYTES_MAX};
use relay_core::otlp::{RawRequest, Signal};
use relay_core::queue::{Budget, Lanes};
use relay_core::upstream::Endpoint;
use support::pointers::data_frames;
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
    BatchBuilder::new(Signal::Traces, limits, &Budget::new(usize::MAX), None, Arc::new(Ledger::default()))
}

/// Frames, batches and seals `messages`, as a core does with what it receives.
fn batch(builder: &mut BatchBuilder, messages: Vec<RawRequest>) -> Batch {
    messages.into_iter().for_each(|message| builder.push(message.frame(Signal::Traces).unwrap(), None));
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
        let (framed, counts) =
            measure(|| [whole.frame(Signal::Traces).unwrap(), frames.frame(Signal::Traces).unwrap()]);
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
    // The lists of ranges and parts, each grown once, and the rope.
    assert_eq!(costs[0].allocations, 5);
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
    // Twice: a block and what shares it among batch and retries. The rest are the first, smaller blocks and the lists. The requests of
    // one span are 2 % longer, which is one block more.
    assert_eq!((one, many), (70, 68));
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

/// Sealed batches go through the queue, their own core's way and stolen, for one allocation in 31 of them: a block of the list.
#[test]
fn queueing_allocates_a_block_for_many_batches() {
    let _alone = alone();
    let lanes = Lanes::new(2, 1024);
    let mut batches: Vec<Batch> = (0..32 * 31)
        .map(|seed| batch(&mut builder(0), vec![RawRequest::new(kube_like_bytes(10, seed))]))
        .collect();
    let mut popped = Vec::with_capacity(1024);
    let ((), counts) = measure(|| {
        for (at, batch) in batches.drain(..).enumerate() {
            lanes.push(at % 2, batch).unwrap();
        }
        popped.extend(std::iter::from_fn(|| lanes.pop(0)));
    });
    assert_eq!(popped.len(), 32 * 31);
    assert!(counts.allocations <= 32 + 2 && counts.deallocations <= 32, "{counts:?}");
}

/// relay-core's layers between an exporter and an upstream that are bytes: what a request costs from the read to the answer's end.
struct Pieces {
    server: Server,
    call: Option<(u32, MessageAssembler)>,
    builder: BatchBuilder,
    lanes: Lanes<Batch>,
    client: Client<Chain<Bytes, RopeReader>>,
    head: RequestHead,
}

const HEAD: [(&[u8], &[u8]); 4] = [
    (b":path", Signal::Traces.grpc_path().as_bytes()),
    (b":authority", b"collector:4317"),
    (b"content-type", b"application/grpc"),
    (b"te", b"trailers"),
];

impl Pieces {
    fn new() -> Self {
        let mut server = Server::new(ServerConfig {
            streams_max: limits::STREAMS_PER_CONNECTION_MAX,
            stream_window_bytes: limits::STREAM_WINDOW_BYTES,
            connection_window_bytes: limits::CONNECTION_WINDOW_BYTES,
            header_list_bytes_max: limits::HEADER_LIST_BYTES_MAX,
        });
        let mut hello = frame::PREFACE.to_vec();
        frame::put_settings(&mut hello, &[]);
        assert!(server.receive(&mut hello.into()).unwrap().is_none());
        let (mut client, mut hello) = (Client::new(), Vec::new());
        frame::put_settings(&mut hello, &[(frame::setting::INITIAL_WINDOW_SIZE, 1 << 30)]);
        frame::put_window_update(&mut hello, 0, 1 << 30);
        client.receive(&hello).unwrap();
        let head = RequestHead::new(false, HEAD.into_iter(), std::iter::empty());
        let (builder, lanes) = (builder(INLINE_COPY_BYTES_MAX), Lanes::new(1, 64));
        Self { server, call: None, builder, lanes, client, head }
    }

    /// Takes a read that holds one call.
    fn take(&mut self, mut read: Bytes) {
        self.server.begin_turn();
        while let Some(event) = self.server.receive(&mut read).unwrap() {
            match event {
                Event::Call { stream, .. } => {
                    self.call = Some((stream, MessageAssembler::new(limits::RECEIVE_MESSAGE_BYTES_MAX)));
                }
                Event::Data { stream, bytes, end } => {
                    self.server.release(stream, bytes.len());
                    self.call.as_mut().unwrap().1.push(bytes).unwrap();
                    if end {
                        let message = self.call.take().unwrap().1.finish().unwrap();
                        self.builder.push(RawRequest::new(message.body).frame(Signal::Traces).unwrap(), None);
                        self.server.accept(stream);
                    }
                }
                Event::Reset { .. } => unreachable!("nobody gives up"),
            }
        }
        self.server.output().clear();
    }

    /// Sends what was taken as one call, and writes all of it.
    fn send(&mut self) -> Batch {
        self.lanes.push(0, self.builder.seal().unwrap()).unwrap();
        let batch = self.lanes.pop(0).unwrap();
        let prefix = Bytes::copy_from_slice(&prefix(false, batch.rope().len()).unwrap());
        self.client.open(&self.head, prefix.chain(batch.rope().reader())).unwrap();
        while self.client.fill() {
            let mut slices = [IoSlice::new(&[]); limits::WRITE_SLICES_MAX];
            let filled = self.client.slices(&mut slices);
            let written = slices[..filled].iter().map(|slice| slice.len()).sum();
            self.client.written(written);
        }
        batch
    }

    /// Takes the answer to what was sent.
    fn answered(&mut self, answer: &[u8], batch: Batch) {
        self.client.receive(answer).unwrap();
        let Some((_, Ended::Answered(answer))) = self.client.next_ended() else { panic!("no answer") };
        assert_eq!(answer.grpc_status, Some(Code::OK));
        batch.deliver(0);
    }
}

/// A call as one read brings it: every field joins the relay's header table, and pushes older ones out.
fn call_on(stream: u32, payload: &Bytes) -> Bytes {
    let (mut block, mut wire) = (vec![0x83, 0x86], Vec::new());
    let timeout = format!("{}u", 9_999_999 - stream);
    for (name, value) in HEAD.into_iter().chain([(&b"grpc-timeout"[..], timeout.as_bytes())]) {
        hpack::put_indexing(&mut block, name, value);
    }
    frame::put(&mut wire, Kind::HEADERS, END_HEADERS, stream, &block);
    let body = grpc_message(payload);
    let frames = data_frames(&body);
    for (nth, piece) in frames.iter().enumerate() {
        let flags = if nth + 1 == frames.len() { END_STREAM } else { 0 };
        frame::put(&mut wire, Kind::DATA, flags, stream, piece);
    }
    // A slice of a receive buffer.
    BytesMut::from(&wire[..]).split().freeze()
}

fn answer_on(stream: u32) -> Vec<u8> {
    let (mut head, mut trailers, mut wire) = (vec![0x88], Vec::new(), Vec::new());
    hpack::put_literal(&mut head, b"content-type", b"application/grpc");
    hpack::put_literal(&mut trailers, b"grpc-status", b"0");
    frame::put(&mut wire, Kind::HEADERS, END_HEADERS, stream, &head);
    frame::put(&mut wire, Kind::DATA, 0, stream, &[0; 5]);
    frame::put(&mut wire, Kind::HEADERS, END_HEADERS | END_STREAM, stream, &trailers);
    wire
}

/// Allocations of taking `calls` calls in reads, of sending them in one batch, and of its answer: of each of a hundred batches after a
/// hundred that warm up, the median.
fn through_http2(payload: &Bytes, calls: u32) -> [u64; 3] {
    let mut pieces = Pieces::new();
    let mut costs: [Vec<u64>; 3] = Default::default();
    for nth in 0..200 {
        let reads: Vec<Bytes> =
            (0..calls).map(|call| call_on(2 * (nth * calls + call) + 1, payload)).collect();
        let answer = answer_on(2 * nth + 1);
        let ((), taken) = measure(|| reads.into_iter().for_each(|read| pieces.take(read)));
        let (batch, sent) = measure(|| pieces.send());
        let ((), answered) = measure(|| pieces.answered(&answer, batch));
        for (costs, counts) in costs.iter_mut().zip([taken, sent, answered]) {
            costs.push(counts.allocations);
        }
    }
    costs.map(|costs| median(&costs[100..]))
}

fn median(costs: &[u64]) -> u64 {
    let mut sorted = costs.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

/// One call in, one call out: allocations to take it, to send it, and to take the answer. None of them is for a span, and none is for
/// reading: what a call costs that is taken are blocks of the batch's arena and its lists of parts and ranges.
#[test]
fn http2_allocates_a_few_times_per_call_and_never_per_span() {
    let _alone = alone();
    let of = |spans, calls| through_http2(&kube_like_bytes(spans, 1), calls);
    // Copied into blocks of 4 KiB: one; and of 8 KiB: two.
    assert_eq!(of(1, 1), [2, 8, 1]);
    assert_eq!(of(10, 1), [5, 7, 1]);
    // By reference: the list of ranges grows with DATA frames, 3 and 15.
    assert_eq!(of(100, 1), [3, 6, 1]);
    assert_eq!(of(512, 1), [7, 6, 1]);
    // Twenty requests in one batch: half an allocation each.
    assert_eq!(of(1, 20), [10, 7, 1]);
    // The same number of DATA frames.
    for bytes in [8_000, 60_000] {
        let [one, many] = [1, 1000].map(|spans| through_http2(&request_of(bytes, spans), 1));
        assert_eq!(one, many, "{bytes} bytes in 1 span and in 1000");
    }
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
        let client = RawClient::connect(relay.listening_on()[0].tcp().unwrap()).await.unwrap();
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

/// tokio boxes a task's future of more than 2 KiB (16 in a release) by itself; that of a call has 2,120 bytes where nothing is optimized.
const BOXED_TASK: f64 = if cfg!(debug_assertions) { 1.0 } else { 0.0 };

/// The whole relay, one call in and one call out per request: four allocations more than HTTP/2 and batching take by themselves, for the
/// tasks that carry a call. Where a request comes in one read the average is exact (what follows an answer may be counted with the next
/// call); where it takes more, how DATA frames fall into reads differs from call to call.
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
    let of_kube = |spans| row(&kube_like_bytes(spans, 1), spans);
    let of_size = |bytes, spans| row(&request_of(bytes, spans), spans);
    let in_one_read = [of_kube(1), of_kube(10), of_size(8 << 10, 1), of_size(8 << 10, 1000)];
    for (allocations, expected) in in_one_read.into_iter().zip([15.0, 17.0, 17.0, 17.0]) {
        let expected = expected + BOXED_TASK;
        assert!((allocations - expected).abs() < 0.3, "{allocations}, not {expected}");
    }
    // In how many reads they come is the machine's affair, so these are bounds: far below one allocation per span.
    let in_many = [of_kube(100), of_kube(512), of_size(64 << 10, 1), of_size(64 << 10, 1000)];
    for (allocations, most) in in_many.into_iter().zip([21.0, 38.0, 24.0, 24.0]) {
        assert!(allocations <= most + BOXED_TASK, "{allocations}, more than {most}");
    }
}
