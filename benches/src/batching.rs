//! Merging as a core does it: requests come out of receive buffers, join a batch, and the batch is read frame by frame.
//!
//! The receive buffer is the model of tokio-util's `FramedRead` under h2 0.4, on which the relay stood when `INLINE_COPY_BYTES_MAX` was
//! chosen by this bench: 8 KiB at first, room for the rest of a frame on demand, payloads split off and shared, a new allocation when
//! something still holds the old one. The relay reads into larger buffers now; only [`crate::in_memory`] is what it does today.

use std::collections::VecDeque;
use std::hint::black_box;
use std::io::IoSlice;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use relay_core::batch::{Batch, BatchBuilder, BatchLimits, Ledger};
use relay_core::grpc::prefix;
use relay_core::limits;
use relay_core::otlp::{FramedRequest, RawRequest, Signal};
use relay_core::queue::Budget;
use relay_core::wire::Segments;
use testkit::oracle::{ExportTraceServiceRequest, ResourceSpans, ScopeSpans, Span, encode};

use crate::payload::FRAME_BYTES;

/// Head of an HTTP/2 frame, in bytes (RFC 9113 section 4.1).
pub const HEAD_BYTES: usize = 9;
/// A page of memory, in bytes.
pub const PAGE_BYTES: usize = 4 << 10;
/// First capacity of tokio-util's read buffer, in bytes.
const READ_BUFFER_BYTES: usize = 8 << 10;
/// Ranges that one vectored write takes, as tokio-util's `poll_write_buf` does.
const SLICES_MAX: usize = 64;
/// Batches that are on their way while the next one is filled.
const IN_FLIGHT: usize = 4;

/// A valid request of exactly `bytes` bytes (at least 64), with a span to about every 475 bytes.
#[must_use]
pub fn request_of(bytes: usize) -> Bytes {
    let spans = (bytes / 475).max(1);
    let of_names = |total: usize| {
        let span = |index: usize| Span {
            trace_id: vec![7; 16],
            span_id: (index as u64 + 1).to_be_bytes().to_vec(),
            name: "n".repeat(total / spans + usize::from(index < total % spans)),
            ..Span::default()
        };
        let scope_spans = ScopeSpans { spans: (0..spans).map(span).collect(), ..ScopeSpans::default() };
        let resource_spans = ResourceSpans { scope_spans: vec![scope_spans], ..ResourceSpans::default() };
        encode(&ExportTraceServiceRequest { resource_spans: vec![resource_spans] })
    };
    // The longest names that fit. Longer ones take longer length prefixes; where those skip a length the request is shorter by a byte
    // or two.
    let (mut fits, mut too_long) = (0, bytes + 1);
    while too_long - fits > 1 {
        let total = fits.midpoint(too_long);
        let found = if of_names(total).len() <= bytes { &mut fits } else { &mut too_long };
        *found = total;
    }
    of_names(fits).into()
}

/// One connection's read buffer, and an endless stream of one request in DATA frames before it.
#[derive(Debug)]
pub struct Connection {
    buffer: BytesMut,
    wire: Bytes,
    at: usize,
    lengths: Vec<usize>,
}

impl Connection {
    /// A connection on which `message` comes again and again.
    #[must_use]
    pub fn new(message: &[u8]) -> Self {
        let mut wire = BytesMut::new();
        for piece in message.chunks(FRAME_BYTES) {
            wire.put_bytes(0, HEAD_BYTES);
            wire.put_slice(piece);
        }
        let lengths = message.chunks(FRAME_BYTES).map(<[u8]>::len).collect();
        Self { buffer: BytesMut::with_capacity(READ_BUFFER_BYTES), wire: wire.freeze(), at: 0, lengths }
    }

    /// The next request, as slices of the read buffer.
    pub fn receive(&mut self) -> Segments {
        let mut segments = Segments::new();
        for index in 0..self.lengths.len() {
            let frame_bytes = HEAD_BYTES + self.lengths[index];
            while self.buffer.len() < frame_bytes {
                if self.buffer.len() >= HEAD_BYTES {
                    self.buffer.reserve(frame_bytes - self.buffer.len());
                }
                self.read();
            }
            let mut frame = self.buffer.split_to(frame_bytes);
            frame.advance(HEAD_BYTES);
            segments.push(frame.freeze());
            self.buffer.reserve(HEAD_BYTES.saturating_sub(self.buffer.len()));
        }
        segments
    }

    /// One `read`: as much as the buffer has room for, for the sender is ahead. The copy stands for the kernel's.
    fn read(&mut self) {
        self.buffer.reserve(1);
        let mut room = self.buffer.capacity() - self.buffer.len();
        while room > 0 {
            let now = room.min(self.wire.len() - self.at);
            self.buffer.put_slice(&self.wire[self.at..self.at + now]);
            self.at = (self.at + now) % self.wire.len();
            room -= now;
        }
    }
}

/// A core with some connections and one upstream.
#[derive(Debug)]
pub struct Core {
    connections: Vec<Connection>,
    builder: BatchBuilder,
    in_flight: VecDeque<Batch>,
    next: usize,
}

impl Core {
    /// A core that copies requests shorter than `inline_copy_bytes_max` and takes longer ones by reference.
    #[must_use]
    pub fn new(message: &[u8], connections: usize, inline_copy_bytes_max: usize) -> Self {
        Self {
            connections: (0..connections).map(|_| Connection::new(message)).collect(),
            builder: builder(inline_copy_bytes_max),
            in_flight: VecDeque::new(),
            next: 0,
        }
    }

    /// Receives `requests`, from each connection in turn, merges them into one batch, writes it, and lets go of the batch that has
    /// been on its way for longest.
    pub fn turn(&mut self, requests: usize, write: impl FnOnce(&Batch)) {
        for _ in 0..requests {
            let count = self.connections.len();
            let connection = &mut self.connections[self.next % count];
            self.next += 1;
            self.builder.push(frame(connection.receive()), None);
        }
        let batch = self.builder.seal().expect("requests were pushed");
        write(&batch);
        self.in_flight.push_back(batch);
        if self.in_flight.len() > IN_FLIGHT
            && let Some(oldest) = self.in_flight.pop_front()
        {
            oldest.deliver(0);
        }
    }
}

/// A builder that never refuses.
#[must_use]
pub fn builder(inline_copy_bytes_max: usize) -> BatchBuilder {
    builder_for(inline_copy_bytes_max, Arc::new(Ledger::default()))
}

/// A builder that never refuses, and whose items are entered in `ledger`.
#[must_use]
pub fn builder_for(inline_copy_bytes_max: usize, ledger: Arc<Ledger>) -> BatchBuilder {
    let limits = BatchLimits {
        bytes_max: limits::UPSTREAM_MESSAGE_BYTES_MAX,
        items_max: u64::MAX,
        items_target: u64::MAX,
        inline_copy_bytes_max,
    };
    BatchBuilder::new(Signal::Traces, limits, &Budget::new(usize::MAX / 2), None, ledger)
}

/// Frames what is known to be a request.
#[must_use]
pub fn frame(segments: Segments) -> FramedRequest {
    RawRequest::new(segments).frame(Signal::Traces).expect("a request")
}

/// Reads a batch as h2 does, behind its gRPC prefix, one DATA frame (head and payload) after the other. `write` is given a frame's next
/// ranges, as many as one vectored write takes, and says how many bytes of them it has taken.
///
/// Before the head stand 0 to 4 KiB, in turn, as other frames do: where a source and the kernel's page have the same offset the
/// kernel's copy is half as slow again (see the table of page offsets), and neither side shall win by that.
pub fn read_frames(batch: &Batch, mut write: impl FnMut(&[IoSlice<'_>]) -> usize) {
    let prefix = prefix(false, batch.rope().len()).expect("less than 4 GiB");
    let mut message = Bytes::copy_from_slice(&prefix).chain(batch.rope().reader());
    let mut before_bytes = (0..PAGE_BYTES).step_by(PAGE_BYTES / 16).cycle();
    while message.has_remaining() {
        let head = &[0; PAGE_BYTES + HEAD_BYTES][..before_bytes.next().unwrap_or_default() + HEAD_BYTES];
        let mut frame = head.chain((&mut message).take(FRAME_BYTES));
        while frame.has_remaining() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let filled = frame.chunks_vectored(&mut slices);
            let taken = write(&slices[..filled]);
            frame.advance(taken);
        }
    }
}

/// A write that takes everything and does nothing.
#[must_use]
pub fn write_nothing(slices: &[IoSlice<'_>]) -> usize {
    black_box(slices).iter().map(|slice| slice.len()).sum()
}
