//! Every bound of the crate: name, unit, reason. No other file holds a number that limits something.

use std::time::Duration;

mod spill;
mod upstream;

pub use spill::*;
pub use upstream::*;

/// Largest request that a receiver takes, in bytes, before and after decompression. OTLP 1.11, "OTLP/gRPC": 64 MiB is
/// the recommended default; `max_recv_msg_size_mib` changes it per receiver.
pub const RECEIVE_MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Largest request sent upstream, in bytes, before compression: what a grpc-go server (the Collector, Jaeger) takes by
/// default. The batcher never makes a larger one.
pub const UPSTREAM_MESSAGE_BYTES_MAX: usize = 4 << 20;

/// Nesting of AnyValue (and of groups in unknown fields) that a reader follows: prost's and protobuf-go's own order of
/// magnitude; deeper input is an error, not a stack overflow.
pub const NESTING_DEPTH_MAX: u32 = 100;

/// A request shorter than this many bytes is copied once into the batch's arena; a longer one travels by reference.
/// From 8 KiB on a reference takes less time than a copy, from 16 KiB on it holds no more memory than it shows: measured by
/// `cargo bench -p relay-benches --bench batch` (see benches/RESULTS.md).
pub const INLINE_COPY_BYTES_MAX: usize = 16 << 10;

/// A piece of a larger request that is shorter than this many bytes, and has to wait for the rest, is copied: neither a byte nor a
/// segment of TCP at a time may hold, or be charged, a receive buffer each, or a request that fits the budget would not get in. So
/// what it is charged is about twice itself at most; from here on a copy takes longer than a reference ([`INLINE_COPY_BYTES_MAX`]).
/// Frames of a request that fill the buffers are not touched; what a read cuts off at its end may be.
pub const PIECE_COPY_BYTES_MAX: usize = 8 << 10;

/// First arena block of a batch, in bytes: a node's trickle fits into it.
pub const ARENA_BLOCK_BYTES_MIN: usize = 4 << 10;

/// Largest arena block, in bytes: four HTTP/2 frames of the default size, so a frame is written from one or two ranges.
pub const ARENA_BLOCK_BYTES_MAX: usize = 64 << 10;

/// What a by-reference slice is charged at the least, in bytes: a DATA frame of the default size and its head. Slices share the
/// read buffer of their core ([`READ_BYTES`]); large requests, the only ones that are held by slices, fill it.
pub const RECEIVE_BLOCK_BYTES: usize = (16 << 10) + 9;

/// Requests merged into one batch: bounds the part list (24 bytes each) where requests are tiny.
pub const BATCH_PARTS_MAX: usize = 16 << 10;

/// Pieces of a resource or scope header that a split repeats as slices of the source; a header cut into more of them (its
/// fields stand between spans, which no known sender does) is joined by one copy, so that a hostile one cannot multiply
/// pieces by outputs.
pub const SPLIT_HEADER_PIECES_MAX: usize = 16;

/// Requests that one request may be split into. The largest request that a receiver takes needs 16 of the upstream's size;
/// a hostile one, with nearly a limit's worth of resource around each span, would multiply itself without a bound.
pub const SPLIT_REQUESTS_MAX: usize = 1024;

/// Bytes held in all, by default. A few batches of the largest size per core are in flight at any time; more than that
/// only waits. The process needs 22 MiB with it under the standard loads, up to 45 from 64 busy connections on
/// (benches/RESULTS.md). `memory_limiter` changes it.
pub const HELD_BYTES_MAX: usize = 20 << 20;

/// Bytes held in all, by default, when one request alone is very large: so that the receiver's limit of 64 MiB is one.
/// With `memory_limiter` there is no such exception.
pub const HELD_BYTES_BURST_MAX: usize = 96 << 20;

/// Sealed batches waiting per core and upstream (the Collector's `queue_size` counts the same after a batch processor).
pub const QUEUE_BATCHES_MAX: usize = 1000;

/// Core threads.
pub const CORES_MAX: usize = 64;

/// Commands waiting for one core: connections handed over, submitted requests.
pub const CORE_INBOX_MAX: usize = 1024;

/// Open connections of senders, over all cores: a node has tens, a gateway thousands.
pub const CONNECTIONS_MAX: usize = 16_384;

/// Concurrent calls of one connection (`max_concurrent_streams`).
pub const STREAMS_PER_CONNECTION_MAX: u32 = 256;

/// Flow-control window of one call, in bytes: a request of this size arrives without waiting for a window update.
pub const STREAM_WINDOW_BYTES: u32 = 1 << 20;

/// Flow-control window of one sender's connection, in bytes: what a network of 1 GB/s and 1 ms holds, and what one connection
/// can make the relay hold unasked.
pub const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;

/// Bytes of one header list, in and out: gRPC needs a few hundred.
pub const HEADER_LIST_BYTES_MAX: u32 = 16 << 10;

/// Bytes of one header block before it is decoded, CONTINUATION frames included: twice the list, which is more than any coding
/// of an allowed list takes.
pub const HTTP2_BLOCK_BYTES_MAX: usize = 32 << 10;

/// Frames of a connection that bring no call any further (pings, settings, empty or tiny DATA, resets at 16 each), less what
/// served calls and turns of the connection make up for: an honest peer stays near 0, a flood is ended.
pub const HTTP2_IDLE_FRAMES_MAX: u32 = 10_000;

/// What a core reads at once, in bytes: four full DATA frames. One such buffer per core serves all its connections.
pub const READ_BYTES: usize = 64 << 10;

/// A read buffer with less room than this is left to those who hold parts of it.
pub const READ_ROOM_BYTES_MIN: usize = 16 << 10;

/// Reads of one connection before the others of its core get their turn.
pub const READS_PER_TURN_MAX: usize = 4;

/// Longest time for which a core lets wake-ups gather before it waits for its sockets; never longer than the linger of any upstream.
/// At 1,000 requests per second five come in it. Senders' timeouts are a thousand times longer.
pub const GATHER_PAUSE: Duration = Duration::from_millis(5);

/// Longest time for which an open batch gathers requests while a call is in flight, where their senders wait for its answer: more than
/// calls inside a cluster take, so that there is mostly one; far less than a sender notices.
pub const AWAITED_GATHER_MAX: Duration = Duration::from_millis(5);

/// Longest pause that may be asked for: what is late by more is a stall.
pub const GATHER_PAUSE_MAX: Duration = Duration::from_millis(50);

/// Wake-ups that come faster than this on average are not gathered: the core is awake anyway.
pub const GATHER_GAP_MIN: Duration = Duration::from_micros(200);

/// Calls that come with each wake-up on average, at most: more are gathered already.
pub const GATHER_CALLS_PER_WAKE_MAX: u32 = 4;

/// Wake-ups that are looked at before it is decided whether to pause.
pub const GATHER_OBSERVE_WAKES: u32 = 32;

/// Pauses after which it is seen whether calls still come as fast.
pub const GATHER_CHECK_PAUSES: u32 = 16;

/// Pauses in a row before it is looked how calls come without.
pub const GATHER_PAUSES_MAX: u32 = 512;

/// Wake-ups that pass before pauses are tried again that have slowed the senders down: what was lost by trying is then a fraction of
/// a per cent to some per cent.
pub const GATHER_AGAIN_WAKES: u32 = 8192;

/// Answers to one connection that wait for it to read them, in bytes: until it does, nothing more is read from it.
pub const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Time for a sender to finish the HTTP/2 preface and settings, and before that for its TLS handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// TLS handshakes of senders at a time, per receiver; others wait for their turn, up to [`HANDSHAKE_TIMEOUT`]. One that
/// stalls may hold 64 KiB, the longest ClientHello: without a bound, connections that only begin would take more memory than the
/// data. A handshake takes some milliseconds, so this many do not slow down senders that all come back at once.
pub const TLS_HANDSHAKES_MAX: usize = 1024;

/// Time between two looks, at handshakes, whether a file of certificates or keys has changed. A look is a few `stat`s, and
/// kubelet itself brings a changed secret within about a minute: the new one is in use soon after it is there, and far
/// before the old one, which is rotated days or hours ahead, expires.
pub const TLS_RELOAD_INTERVAL: Duration = Duration::from_secs(5);

/// Longest time that a handshake waits for that look: reading is local, and when the disk hangs, the certificate in use is good
/// enough.
pub const TLS_RELOAD_WAIT_MAX: Duration = Duration::from_secs(1);

/// Largest file of certificates or keys, in bytes: a bundle of all public roots is a quarter of it.
pub const TLS_PEM_BYTES_MAX: u64 = 1 << 20;

/// Time for the body of one call to arrive.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Time for the head of an OTLP/HTTP request to arrive, also the time that a connection is kept without one: as long as the idle
/// connections of common clients (otel-go's transport: 90 s) would be useful, far shorter than a leak matters.
pub const HTTP_HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// What is read of a connection to see which protocol it speaks, in bytes: the head of most requests.
pub const HTTP_HEAD_READ_BYTES: usize = 1 << 10;

/// What is read of an HTTP/1.1 connection at once, in bytes, and the longest head of a request. A piece of a body holds the buffer that it
/// was read into, which is charged as [`RECEIVE_BLOCK_BYTES`]: a larger buffer would hold more than is counted.
pub const HTTP_READ_BYTES_MAX: usize = 16 << 10;

/// What is read of the body of a refused OTLP/HTTP request, in bytes, so that its connection can be used again.
pub const HTTP_DISCARD_BYTES_MAX: usize = 256 << 10;

/// Time for that.
pub const HTTP_DISCARD_TIMEOUT: Duration = Duration::from_secs(1);

/// JSON requests that wait to be read: browsers and scripts send few.
pub const JSON_REQUESTS_MAX: usize = 64;

/// How often the files of tokens, users and passwords are looked at while they are used: rotated credentials are valid on both sides
/// for far longer. Nothing looks when nothing is used.
pub const AUTH_RELOAD_INTERVAL: Duration = Duration::from_secs(1);

/// Largest file of tokens, users or passwords, in bytes: some ten thousand users.
pub const AUTH_FILE_BYTES_MAX: u64 = 1 << 20;

/// Tokens that a receiver takes: each request is compared with all of them.
pub const AUTH_TOKENS_MAX: usize = 256;

/// Longest user and password that a request may show, in bytes: bcrypt looks at 72 of the password.
pub const AUTH_CREDENTIALS_BYTES_MAX: usize = 1 << 10;

/// Users and passwords that wait to be checked for the first time; whoever comes then is told to come back.
pub const AUTH_VERIFYING_MAX: usize = 64;

/// Longest wait for such a check, after which the sender is told to come back: less than the 10 s of otel-go's exporters.
pub const AUTH_WAIT_MAX: Duration = Duration::from_secs(5);

/// Users with their passwords that are known to be right, and as many that are known to be wrong: 32 bytes each. When they are more, all
/// of that kind are checked again.
pub const AUTH_OUTCOMES_MAX: usize = 16 << 10;

/// Highest cost of a bcrypt hash: about a second for each check. `htpasswd -B` writes 5, and most others 10 or 12.
pub const BCRYPT_COST_MAX: u32 = 14;

/// Longest wait for room in a full queue when the receiver blocks (`block_on_overflow`), for all that one call waits for (memory for
/// its body, room in the queue): the 10 s that otel-go's exporters give all their attempts together. A call's own shorter deadline
/// wins.
pub const BLOCK_WAIT_MAX: Duration = Duration::from_secs(10);

/// Wait for room before a sender is refused: a full queue has room again within the time of one call to the upstream, and
/// a short wait holds senders back without their noticing. Far below the 1 s that a sender on a node may be kept waiting.
pub const REFUSE_WAIT_MAX: Duration = Duration::from_millis(250);

/// Bytes of complete requests that wait for room in a full queue, per relay; when they are used up, senders are refused
/// at once.
pub const WAITING_BYTES_MAX: usize = 8 << 20;

/// How long an upstream that is full may hold back what other upstreams of the same requests would take; then it is passed over. As long as
/// a refused sender is asked to stay away ([`REFUSED_RETRY_DELAY`]): who was refused once is not refused again. A stall that is shorter
/// loses nothing.
pub const FULL_PATIENCE: Duration = REFUSED_RETRY_DELAY;

/// Bytes that a connection may be let in with per turn while requests wait for room: what is copied into a batch at most. A larger
/// request waits for as many rounds as it has of these.
pub const TURN_BYTES: usize = INLINE_COPY_BYTES_MAX;

/// What bodies that are not complete leave free of the byte budget, as a fraction of it (one fourth): room for one of them at a time to be
/// completed. Without it a budget full of halves would let none of them end.
pub const BODY_RESERVE_DIVISOR: usize = 4;

/// An upstream's words about a partial success as they are passed on to a sender, in bytes: the answer is one small frame.
pub const PARTIAL_MESSAGE_BYTES_MAX: usize = 4 << 10;

/// The delay that a refused sender is asked for (`RetryInfo`). Longer than a short stall of the upstream; far shorter
/// than the 10 s that otel-go's exporters have for all their attempts.
pub const REFUSED_RETRY_DELAY: Duration = Duration::from_secs(1);

/// Largest delay between attempts while draining: a drain has seconds, not minutes.
pub const DRAIN_RETRY_DELAY_MAX: Duration = Duration::from_millis(500);

/// Time for senders to see that a drain has begun (GOAWAY, `Connection: close`) before connections without a call are closed.
pub const DRAIN_CONNECTIONS_MAX: Duration = Duration::from_secs(1);

/// How long an idle connection of HTTP/1.1 is left open when a drain begins: a request may be on its way, and is answered.
pub const DRAIN_IDLE_HTTP1: Duration = Duration::from_millis(500);

/// Time for calls that have begun to end before a drain closes their connections: a large body over a slow network.
pub const DRAIN_CALLS_MAX: Duration = Duration::from_secs(5);

/// How long a listener that goes away still accepts, while new handshakes are kept from beginning: handshakes inside a cluster end.
pub const ACCEPT_SETTLE: Duration = Duration::from_millis(5);

/// Time that closing the listeners may take before senders are asked to go all the same.
pub const ACCEPT_CLOSE_MAX: Duration = Duration::from_millis(200);

/// Time between two looks whether they are closed.
pub const ACCEPT_LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// Pause after a failed `accept`, for example when file descriptors ran out.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The least time between two log lines of one kind; what was left out is counted in the next.
pub const LOG_INTERVAL: Duration = Duration::from_secs(10);

const _: () = assert!(
    HELD_BYTES_BURST_MAX > HELD_BYTES_MAX / 2 + RECEIVE_MESSAGE_BYTES_MAX,
    "a request of the receiver's limit must fit"
);
const _: () = assert!(ARENA_BLOCK_BYTES_MIN <= ARENA_BLOCK_BYTES_MAX);
const _: () = assert!(UPSTREAM_MESSAGE_BYTES_MAX <= RECEIVE_MESSAGE_BYTES_MAX);

/// What inflating needs besides the bytes that it makes, in bytes: the window that a zstd frame may ask for
/// ([`ZSTD_WINDOW_LOG_MAX`]) and one block on either side of it, a block of lz4 that came in pieces, or much less.
pub const INFLATE_WORK_BYTES_MAX: usize = 9 << 20;

/// The largest window of a zstd frame that is inflated, as a power of two: 8 MiB, the most that the Collector's own exporters use,
/// and what RFC 8878 section 3.1.1.1.2 has everybody support.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// A zstd context that has grown beyond this many bytes is not kept for the next message: what ordinary messages need is less.
pub const ZSTD_CONTEXT_KEPT_BYTES_MAX: usize = 2 << 20;

/// Level of zstd where none is configured: the least CPU.
pub const ZSTD_LEVEL_DEFAULT: u8 = 1;

/// Highest level of zstd: the Collector's highest is about this one. Above it a batch takes seconds of a core and hundreds of MiB.
pub const ZSTD_LEVEL_MAX: u8 = 11;

/// Level of gzip and zlib where none is configured: the least CPU.
pub const FLATE_LEVEL_DEFAULT: u8 = 1;

/// Highest level of gzip and zlib.
pub const FLATE_LEVEL_MAX: u8 = 9;

/// Connections that the kernel holds until they are accepted.
pub const ACCEPT_BACKLOG: i32 = 1024;

/// How often a call that waits for room looks again when nothing has told it to.
pub const FULL_LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// How often a drain looks whether everything is settled. Nothing ticks before a drain.
pub const DRAIN_LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Time for calls in flight to notice that a drain is over and give up their batches.
pub const DRAIN_SETTLE_MAX: Duration = Duration::from_millis(200);

/// Smallest message that an upstream is believed to take, in bytes: refusals of smaller ones as too large do not shrink
/// batches any further.
pub const LEARNED_BYTES_MIN: usize = 64 << 10;

/// Silence after which the kernel asks a peer whether it is still there (TCP keepalive; costs no wake-up of ours).
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);

/// Time between the kernel's questions to a silent peer.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// Time that an upstream's host may leave data unacknowledged before its connection is ended (TCP_USER_TIMEOUT).
pub const UPSTREAM_SILENCE_MAX: Duration = Duration::from_secs(30);
