//! The client's side of one HTTP/2 connection: calls in, frames to write out as slices of their bodies; answers back.
//!
//! A body is written from the memory that it lies in, many frames with one vectored write. Must never copy a body byte, and never
//! gather more of an answer than [`crate::limits::UPSTREAM_RESPONSE_BYTES_MAX`].

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

use super::frame::{
    self, END_HEADERS, END_STREAM, FRAME_BYTES_DEFAULT, HEAD_BYTES, Head, Kind, PREFACE, Reason, STREAM_MAX,
    WINDOW_BYTES_DEFAULT, setting,
};
use super::hpack::{Decoder, Fields};
use super::request::RequestHead;
use crate::grpc::Code;
use crate::limits::{CONNECTION_WINDOW_BYTES, HEADER_LIST_BYTES_MAX, STREAM_WINDOW_BYTES, WRITE_AHEAD_BYTES};

/// Calls at once until the peer has said how many it takes: what most servers say.
const STREAMS_UNTIL_TOLD: usize = 100;

/// Room for the heads of this many DATA frames is allocated at once, in bytes.
const HEADS_BYTES: usize = 4 << 10;

/// The answer to a call, as far as gRPC looks at it. Fields of the head and of the trailers are the same to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// `:status`; 0 while none has come.
    pub http_status: u16,
    /// Whether `content-type` is gRPC's.
    pub is_grpc: bool,
    /// `content-type`, where it is not.
    pub content_type: Vec<u8>,
    /// `grpc-status`, if it has come.
    pub grpc_status: Option<Code>,
    /// `grpc-message`, percent-encoded.
    pub grpc_message: Vec<u8>,
    /// `grpc-status-details-bin`.
    pub grpc_status_details: Vec<u8>,
    /// The body; cut off where it is too large.
    pub body: Vec<u8>,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With an answer.
    Answered(Box<Answer>),
    /// The peer has reset it.
    Reset(Reason),
    /// The peer leaves, and has not looked at it.
    NotProcessed,
}

#[derive(Debug)]
pub(super) struct Call<B> {
    pub(super) id: u32,
    // What is not queued for writing yet; `None` when the end has been.
    body: Option<B>,
    pub(super) send_delta: i64,
    pub(super) answer: Box<Answer>,
    pub(super) received: usize,
}

/// One connection. `B` is a body whose [`Buf::copy_to_bytes`] gives slices of its memory.
#[derive(Debug)]
pub struct Client<B> {
    // What has come and is not a whole frame yet.
    pub(super) input: Vec<u8>,
    pub(super) continues: Option<Head>,
    pub(super) block: Vec<u8>,
    pub(super) decoder: Decoder,
    pub(super) fields: Fields,
    // Ascending ids.
    pub(super) calls: Vec<Call<B>>,
    pub(super) ended: VecDeque<(u32, Ended)>,
    pub(super) next_id: u32,
    pub(super) send_window: i64,
    pub(super) peer_stream_window: i64,
    pub(super) peer_streams_max: usize,
    pub(super) frame_bytes_max: usize,
    pub(super) unreleased: usize,
    // Whether heads may use the peer's header table, whether they have, and whether a table that it wants smaller was emptied.
    pub(super) may_index: bool,
    indexed: bool,
    pub(super) table_cleared: bool,
    // The last stream that a peer which leaves looks at.
    pub(super) last: Option<u32>,
    pub(super) settled: bool,
    // Frames other than DATA.
    pub(super) control: Vec<u8>,
    heads: BytesMut,
    queue: VecDeque<Bytes>,
    queue_bytes: usize,
}

impl<B: Buf> Client<B> {
    /// A connection that begins here: preface and settings are to be written.
    pub fn new() -> Self {
        let mut control = PREFACE.to_vec();
        frame::put_settings(
            &mut control,
            &[
                (setting::ENABLE_PUSH, 0),
                (setting::INITIAL_WINDOW_SIZE, STREAM_WINDOW_BYTES),
                (setting::MAX_HEADER_LIST_SIZE, HEADER_LIST_BYTES_MAX),
            ],
        );
        let more = i64::from(CONNECTION_WINDOW_BYTES) - WINDOW_BYTES_DEFAULT;
        frame::put_window_update(&mut control, 0, u32::try_from(more).unwrap_or(0));
        Self {
            input: Vec::new(),
            continues: None,
            block: Vec::new(),
            decoder: Decoder::default(),
            fields: Fields::default(),
            calls: Vec::new(),
            ended: VecDeque::new(),
            next_id: 1,
            send_window: WINDOW_BYTES_DEFAULT,
            peer_stream_window: WINDOW_BYTES_DEFAULT,
            peer_streams_max: STREAMS_UNTIL_TOLD,
            frame_bytes_max: FRAME_BYTES_DEFAULT,
            unreleased: 0,
            may_index: true,
            indexed: false,
            table_cleared: true,
            last: None,
            settled: false,
            control,
            heads: BytesMut::new(),
            queue: VecDeque::new(),
            queue_bytes: 0,
        }
    }

    /// Whether the peer's settings have come: it speaks HTTP/2.
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// Whether no further call will ever be opened here.
    pub fn is_leaving(&self) -> bool {
        self.last.is_some() || self.next_id > STREAM_MAX
    }

    /// Whether a call may be opened now.
    pub fn has_room(&self) -> bool {
        !self.is_leaving() && self.calls.len() < self.peer_streams_max
    }

    /// Calls that have not ended.
    pub fn open_calls(&self) -> usize {
        self.calls.len()
    }

    /// Opens a call and gives its stream; the body goes out as the peer's windows allow. `None` when [`Client::has_room`] says no.
    pub fn open(&mut self, head: &RequestHead, body: B) -> Option<u32> {
        self.open_with(head, &[], body)
    }

    /// As [`Client::open`], with fields of this call alone ([`super::literal_field`]) behind those of `head`.
    pub fn open_with(&mut self, head: &RequestHead, own_fields: &[u8], body: B) -> Option<u32> {
        if !self.has_room() {
            return None;
        }
        let id = self.next_id;
        self.next_id += 2;
        let block = head.block(self.may_index, self.indexed);
        let cleared: &[u8] = if self.table_cleared { &[] } else { &[0x20] };
        let len = cleared.len() + block.len() + own_fields.len();
        let frame = Head { len, kind: Kind::HEADERS, flags: END_HEADERS, stream: id };
        self.control.extend_from_slice(&frame.bytes());
        self.control.extend_from_slice(cleared);
        self.control.extend_from_slice(block);
        self.control.extend_from_slice(own_fields);
        (self.table_cleared, self.indexed) = (true, self.may_index);
        self.calls.push(Call { id, body: Some(body), send_delta: 0, answer: Box::default(), received: 0 });
        Some(id)
    }

    /// Gives up a call; its answer will not be told.
    pub fn cancel(&mut self, stream: u32) {
        if self.forget(stream).is_some() {
            frame::put_reset(&mut self.control, stream, Reason::CANCEL);
        }
    }

    /// A call that has ended since, with its stream.
    pub fn next_ended(&mut self) -> Option<(u32, Ended)> {
        self.ended.pop_front()
    }

    /// Bytes of frames other than DATA that are not queued yet. A peer makes them grow (pings): the caller must not go on reading
    /// while they are many.
    pub fn control_bytes(&self) -> usize {
        self.control.len()
    }

    /// Queues what may be written now, up to [`WRITE_AHEAD_BYTES`]; says whether anything is to be written.
    pub fn fill(&mut self) -> bool {
        if self.queue_bytes >= WRITE_AHEAD_BYTES {
            return true;
        }
        if !self.control.is_empty() {
            let control = std::mem::take(&mut self.control);
            self.enqueue(control.into());
        }
        // The oldest call first: one that is complete can be answered, many halves cannot.
        let mut at = 0;
        while self.queue_bytes < WRITE_AHEAD_BYTES && self.send_window > 0 {
            let Some(call) = self.calls.get_mut(at) else { break };
            let window = self.send_window.min(self.peer_stream_window + call.send_delta);
            let (Some(body), Ok(window @ 1..)) = (&mut call.body, usize::try_from(window)) else {
                at += 1;
                continue;
            };
            let len = body.remaining().min(window).min(self.frame_bytes_max);
            let end = len == body.remaining();
            let (id, spent) = (call.id, i64::try_from(len).unwrap_or(i64::MAX));
            call.send_delta -= spent;
            self.send_window -= spent;
            if self.heads.capacity() < HEAD_BYTES {
                self.heads.reserve(HEADS_BYTES);
            }
            let flags = if end { END_STREAM } else { 0 };
            self.heads.extend_from_slice(&Head { len, kind: Kind::DATA, flags, stream: id }.bytes());
            let head = self.heads.split().freeze();
            self.queue_bytes += HEAD_BYTES + len;
            self.queue.push_back(head);
            let mut left = len;
            while left > 0 {
                let piece = body.copy_to_bytes(body.chunk().len().min(left));
                left -= piece.len();
                self.queue.push_back(piece);
            }
            if end {
                call.body = None;
            }
        }
        !self.queue.is_empty()
    }

    /// The bytes to write next, in order; returns how many slices were filled in.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, bytes) in slices.iter_mut().zip(&self.queue) {
            *slice = IoSlice::new(bytes);
            filled += 1;
        }
        filled
    }

    /// So many bytes were written.
    pub fn written(&mut self, mut bytes: usize) {
        self.queue_bytes -= bytes.min(self.queue_bytes);
        while let Some(front) = self.queue.front_mut() {
            if bytes < front.len() {
                front.advance(bytes);
                return;
            }
            bytes -= front.len();
            self.queue.pop_front();
        }
    }

    fn enqueue(&mut self, bytes: Bytes) {
        self.queue_bytes += bytes.len();
        self.queue.push_back(bytes);
    }

    /// Ends a call with its answer; what is left of its body is not sent.
    pub(super) fn finish(&mut self, stream: u32) {
        if let Some(call) = self.forget(stream) {
            if call.body.is_some() {
                // RFC 9113, section 8.1: the peer has answered without wanting the rest.
                frame::put_reset(&mut self.control, stream, Reason::CANCEL);
            }
            self.ended.push_back((stream, Ended::Answered(call.answer)));
        }
    }

    pub(super) fn find(&mut self, stream: u32) -> Option<&mut Call<B>> {
        let at = self.calls.binary_search_by_key(&stream, |call| call.id).ok()?;
        self.calls.get_mut(at)
    }

    pub(super) fn forget(&mut self, stream: u32) -> Option<Call<B>> {
        let at = self.calls.binary_search_by_key(&stream, |call| call.id).ok()?;
        Some(self.calls.remove(at))
    }
}

impl<B: Buf> Default for Client<B> {
    fn default() -> Self {
        Self::new()
    }
}

mod frames;

#[cfg(test)]
mod tests;
