//! A relay without sockets, tasks and clocks: what relay-core does to a request from the bytes of a read to the ranges of a write, and
//! to the answer on its way back.
//!
//! Joins relay-core's public layers as its `io` does (`io::calls`, `io::core`, `io::export`, `io::link`), and must do neither less nor
//! more than they do for a request that is whole and admitted. Not in it: the kernel, tokio, filling the read buffer.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

use bytes::buf::Chain;
use bytes::{Buf, Bytes};
use relay_core::batch::{Batch, BatchBuilder, Ledger, RopeReader};
use relay_core::grpc::{Code, MessageAssembler, parse_timeout, prefix};
use relay_core::http2::{Client, Ended, Event, Fields, RequestHead, Server, ServerConfig};
use relay_core::limits;
use relay_core::otlp::Signal;
use relay_core::queue::Lanes;

use crate::batching;
use crate::go_peer::{Exporter, Upstream};

/// One core's relay between one exporter and one upstream.
#[derive(Debug)]
pub struct InMemory {
    server: Server,
    // The call whose body is arriving.
    open: Option<(u32, MessageAssembler)>,
    builder: BatchBuilder,
    lanes: Lanes<Batch>,
    client: Client<Chain<Bytes, RopeReader>>,
    head: RequestHead,
    // The batch that is on its way, and the call that it is the body of.
    sent: Option<(u32, Batch)>,
    ledger: Arc<Ledger>,
}

impl Default for InMemory {
    fn default() -> Self {
        Self::new()
    }
}

impl InMemory {
    /// A relay whose peers have said hello.
    #[must_use]
    pub fn new() -> Self {
        let fields = [
            (":path", Signal::Traces.grpc_path()),
            (":authority", "collector:4317"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", "relayd/0.1.0 OTel-OTLP-Exporter-Rust/0.1.0"),
            ("grpc-timeout", "5000m"),
        ];
        let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let ledger = Arc::new(Ledger::default());
        let mut relay = Self {
            server: Server::new(ServerConfig {
                streams_max: limits::STREAMS_PER_CONNECTION_MAX,
                stream_window_bytes: limits::STREAM_WINDOW_BYTES,
                connection_window_bytes: limits::CONNECTION_WINDOW_BYTES,
                header_list_bytes_max: limits::HEADER_LIST_BYTES_MAX,
            }),
            open: None,
            builder: batching::builder_for(limits::INLINE_COPY_BYTES_MAX, Arc::clone(&ledger)),
            lanes: Lanes::new(1, limits::QUEUE_BATCHES_MAX),
            client: Client::new(),
            head: RequestHead::new(false, fields, std::iter::empty()),
            sent: None,
            ledger,
        };
        relay.take(Exporter::hello());
        relay.client.receive(&Upstream::hello()).expect("the upstream keeps the rules");
        relay.write(batching::write_nothing);
        relay
    }

    /// Items that the upstream has accepted.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.ledger.counts().delivered
    }

    /// Takes what one read has brought from the exporter, and writes the answers.
    pub fn take(&mut self, mut read: Bytes) {
        self.server.begin_turn();
        while let Some(event) = self.server.receive(&mut read).expect("the exporter keeps the rules") {
            match event {
                Event::Call { stream, .. } => {
                    assert!(is_acceptable(self.server.fields()), "the exporter calls Export");
                    let assembler = MessageAssembler::new(limits::RECEIVE_MESSAGE_BYTES_MAX);
                    self.open = Some((stream, assembler));
                }
                Event::Data { stream, bytes, end } => self.body(stream, bytes, end),
                Event::Reset { .. } => panic!("the exporter gives nothing up"),
            }
        }
        let output = self.server.output();
        let written = output.len();
        output.drain(..written);
    }

    fn body(&mut self, stream: u32, bytes: Bytes, end: bool) {
        let len = bytes.len();
        let (_, assembler) = self.open.as_mut().expect("one call at a time");
        if end {
            assembler.push(bytes).expect("a message");
        } else {
            let (piece, message) = (limits::PIECE_COPY_BYTES_MAX, limits::INLINE_COPY_BYTES_MAX);
            assembler.push_kept(bytes, piece, message).expect("a message");
        }
        self.server.release(stream, len);
        if !end {
            return;
        }
        if let Some((stream, assembler)) = self.open.take() {
            let request = batching::frame(assembler.finish().expect("a whole message").body);
            assert!(self.builder.fits(request.len(), request.items()), "the batches are small enough");
            self.builder.push(request, None);
            self.server.accept(stream);
        }
    }

    /// Sends what has been taken as one call, and writes all of it. `write` is given the ranges of a vectored write, and says how many
    /// bytes of them it has taken.
    pub fn send(&mut self, write: impl FnMut(&[IoSlice<'_>]) -> usize) {
        let sealed = self.builder.seal().expect("requests were taken");
        assert!(self.lanes.push(0, sealed).is_ok(), "the queue has room");
        let batch = self.lanes.pop(0).expect("a batch was queued");
        let prefix = prefix(false, batch.rope().len()).expect("less than 4 GiB");
        let body = Bytes::copy_from_slice(&prefix).chain(batch.rope().reader());
        let stream = self.client.open(&self.head, body).expect("the upstream takes calls");
        self.sent = Some((stream, batch));
        self.write(write);
    }

    fn write(&mut self, mut write: impl FnMut(&[IoSlice<'_>]) -> usize) {
        while self.client.fill() {
            let mut slices = [IoSlice::new(&[]); limits::WRITE_SLICES_MAX];
            let filled = self.client.slices(&mut slices);
            let written = write(&slices[..filled]);
            self.client.written(written);
        }
    }

    /// Takes the upstream's answer to the call that was sent, and lets go of its batch.
    pub fn answered(&mut self, read: &[u8]) {
        self.client.receive(read).expect("the upstream keeps the rules");
        let (ended, batch) = (self.client.next_ended(), self.sent.take());
        let (Some((stream, Ended::Answered(answer))), Some((sent, batch))) = (ended, batch) else {
            panic!("the call was answered");
        };
        assert!(stream == sent && answer.grpc_status == Some(Code::OK));
        let mut assembler = MessageAssembler::new(limits::UPSTREAM_RESPONSE_BYTES_MAX);
        assembler.push(answer.body.into()).expect("a message");
        assert!(assembler.finish().expect("a whole message").body.is_empty(), "full success");
        batch.deliver(0);
    }
}

/// Looks at the fields that admission looks at.
fn is_acceptable(fields: &Fields) -> bool {
    let (mut matching, mut timeout) = (0, None);
    for (name, value) in fields.iter() {
        match name {
            b":method" => matching += usize::from(value == b"POST"),
            b":path" => matching += usize::from(value == Signal::Traces.grpc_path().as_bytes()),
            b"content-type" => matching += usize::from(value == b"application/grpc"),
            b"grpc-timeout" => timeout = parse_timeout(value),
            _ => {}
        }
    }
    matching == 3 && timeout.is_some()
}

/// A relay that has warmed up, and what is to come from its peers.
#[derive(Debug)]
pub struct Steady {
    /// The relay.
    pub relay: InMemory,
    // The reads of each call, and after how many of them a batch is sent.
    calls: VecDeque<Vec<Bytes>>,
    calls_per_batch: usize,
    answers: VecDeque<Vec<u8>>,
}

impl Steady {
    /// Prepares `calls` calls with `message`, and as many before them that warm the relay up: tables are full, buffers have grown.
    #[must_use]
    pub fn new(message: &[u8], calls: usize, calls_per_batch: usize) -> Self {
        assert!(calls.is_multiple_of(calls_per_batch));
        let (mut exporter, mut upstream) = (Exporter::default(), Upstream::default());
        let mut steady = Self {
            relay: InMemory::new(),
            calls: (0..2 * calls).map(|_| exporter.call(message, limits::READ_BYTES)).collect(),
            calls_per_batch,
            answers: (0..2 * calls / calls_per_batch)
                .map(|_| upstream.answer(calls_per_batch * message.len() + relay_core::grpc::PREFIX_BYTES))
                .collect(),
        };
        steady.run(calls);
        steady
    }

    /// Relays `calls` of the prepared calls.
    pub fn run(&mut self, calls: usize) {
        for _ in 0..calls / self.calls_per_batch {
            for reads in self.calls.drain(..self.calls_per_batch) {
                reads.into_iter().for_each(|read| self.relay.take(read));
            }
            self.relay.send(batching::write_nothing);
            self.relay.answered(&self.answers.pop_front().expect("an answer was prepared"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::{FRAME_BYTES, generated};

    /// Scenario: two hundred calls of any size, alone and merged. Every span is delivered, so what is measured is the whole way.
    #[test]
    fn every_prepared_call_is_delivered() {
        for (spans, calls_per_batch) in [(1, 1), (1, 20), (512, 1), (512, 4)] {
            let mut steady = Steady::new(&generated(spans).messages[0], 100, calls_per_batch);
            assert_eq!(steady.relay.delivered(), 100 * spans as u64);
            steady.run(100);
            assert_eq!(steady.relay.delivered(), 200 * spans as u64);
            assert!(steady.calls.is_empty() && steady.answers.is_empty());
        }
    }

    /// What the upstream is written, heads of frames taken away, is the message that the exporter sent.
    #[test]
    fn the_upstream_is_written_what_was_sent() {
        let message = &generated(512).messages[0];
        let (mut relay, mut exporter) = (InMemory::new(), Exporter::default());
        exporter.call(message, limits::READ_BYTES).into_iter().for_each(|read| relay.take(read));
        let mut written = Vec::new();
        relay.send(|slices| {
            slices.iter().for_each(|slice| written.extend_from_slice(slice));
            slices.iter().map(|slice| slice.len()).sum()
        });
        let (mut rest, mut body) = (&written[..], Vec::new());
        while let Some((&[a, b, c, kind, ..], after)) = rest.split_first_chunk::<9>() {
            let len = u32::from_be_bytes([0, a, b, c]) as usize;
            assert!(len <= FRAME_BYTES);
            if kind == 0 {
                body.extend_from_slice(&after[..len]);
            }
            rest = &after[len..];
        }
        assert_eq!(body, testkit::raw::grpc_message(message));
    }
}
