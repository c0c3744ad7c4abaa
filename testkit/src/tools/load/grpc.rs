//! A client's side of a gRPC connection that makes unary calls: bytes in, bytes queued to be written, calls that end.
//!
//! Must never touch a socket or a clock, nor send what the peer's windows and limits do not allow.

use std::time::{Duration, Instant};

use super::super::http2::frame::{
    self, CANCEL, DATA, END_HEADERS, END_STREAM, FRAME_BYTES_MAX, HEADERS, Head, INITIAL_WINDOW_BYTES,
    PREFACE, TABLE_BYTES, Used, Violation, put_head,
};
use super::super::http2::headers::HeaderReader;
use super::super::http2::output::Output;
use super::super::http2::reader::{Event, FrameReader};
use super::pace::Turn;
use super::plan::Plan;
use super::seen::{Ended, Seen};
use crate::raw::{CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES};

pub(super) mod head;

/// Streams above this are not opened: a new connection is, before ids run out at 2^31.
const STREAM_MAX: u32 = 0x7ff0_0000;

/// A call in flight.
#[derive(Debug)]
struct Call {
    stream: u32,
    /// Which of the plan's bodies it sends, and how many bytes of it are queued or sent.
    body: u32,
    sent: u32,
    /// What the peer lets it send; negative after the peer has shrunk its windows.
    window: i64,
    /// What the latency counts from, and when it really started.
    from: Instant,
    started: Instant,
    http_status: u16,
    grpc_status: Option<i32>,
}

/// What the peer allows.
#[derive(Debug)]
struct Peer {
    stream_window_bytes: u32,
    streams_max: usize,
    table_bytes: u32,
}

/// See the file's head.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) output: Output,
    reader: FrameReader,
    headers: HeaderReader,
    peer: Peer,
    /// The peer's SETTINGS are here: calls may start.
    settled: bool,
    /// No more calls may start, because the peer said so or ids run out.
    draining: bool,
    /// By stream id.
    calls: Vec<Call>,
    next_stream: u32,
    /// Calls with bytes left to send.
    unsent: usize,
    window: i64,
    used: Used,
}

impl Session {
    /// A connection that has just been opened: preface and settings are queued.
    pub(super) fn new() -> Self {
        let mut output = Output::default();
        let out = output.frames();
        out.extend_from_slice(PREFACE);
        let settings =
            [(frame::SETTINGS_ENABLE_PUSH, 0), (frame::SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW_BYTES)];
        frame::put_settings(out, &settings);
        frame::put_window_update(out, 0, CONNECTION_WINDOW_BYTES - INITIAL_WINDOW_BYTES);
        let peer = Peer {
            stream_window_bytes: INITIAL_WINDOW_BYTES,
            streams_max: usize::MAX,
            table_bytes: TABLE_BYTES,
        };
        Self {
            output,
            reader: FrameReader::default(),
            headers: HeaderReader::default(),
            peer,
            settled: false,
            draining: false,
            calls: Vec::new(),
            next_stream: 1,
            unsent: 0,
            window: INITIAL_WINDOW_BYTES.into(),
            used: Used::default(),
        }
    }

    /// Whether the peer has sent its settings: the connection is open.
    pub(super) fn is_settled(&self) -> bool {
        self.settled
    }

    /// Whether the connection is of no more use: no call is in flight, and none may start.
    pub(super) fn is_done(&self) -> bool {
        self.draining && self.calls.is_empty()
    }

    pub(super) fn can_start(&self, plan: &Plan) -> bool {
        self.settled && !self.draining && self.calls.len() < plan.in_flight.min(self.peer.streams_max)
    }

    /// Starts a call; the caller has asked [`Self::can_start`].
    pub(super) fn start(&mut self, turn: Turn, now: Instant, plan: &Plan, seen: &mut Seen) {
        let (stream, first) = (self.next_stream, self.next_stream == 1);
        self.next_stream += 2;
        self.draining |= self.next_stream > STREAM_MAX;
        let out = self.output.frames();
        let head = out.len();
        put_head(out, 0, HEADERS, END_HEADERS, stream);
        plan.head.put(out, first, self.peer.table_bytes);
        set_len(out, head);
        self.calls.push(Call {
            stream,
            body: (turn.number % plan.bodies.len() as u64) as u32,
            sent: 0,
            window: self.peer.stream_window_bytes.into(),
            from: turn.from,
            started: now,
            http_status: 0,
            grpc_status: None,
        });
        self.unsent += 1;
        seen.in_flight += 1;
    }

    /// Queues as much of the bodies as windows and one write allow.
    pub(super) fn fill(&mut self, plan: &Plan) {
        if self.unsent == 0 || self.window <= 0 {
            return;
        }
        for call in &mut self.calls {
            let len = plan.bodies[call.body as usize].len() as u32;
            while call.sent < len && call.window > 0 && self.window > 0 && !self.output.is_full() {
                let allowed = call.window.min(self.window).min(FRAME_BYTES_MAX as i64) as u32;
                let end = len.min(call.sent + allowed);
                let (bytes, flags) = (end - call.sent, if end == len { END_STREAM } else { 0 });
                put_head(self.output.frames(), bytes as usize, DATA, flags, call.stream);
                self.output.push_part(call.body, call.sent..end);
                call.sent = end;
                call.window -= i64::from(bytes);
                self.window -= i64::from(bytes);
                self.unsent -= usize::from(end == len);
            }
        }
    }

    /// Takes what the peer sent; calls that end with it are counted.
    ///
    /// # Errors
    /// [`Violation`]: the connection must be closed.
    pub(super) fn handle_input(
        &mut self,
        mut input: &[u8],
        now: Instant,
        plan: &Plan,
        seen: &mut Seen,
    ) -> Result<(), Violation> {
        let mut reader = std::mem::take(&mut self.reader);
        while let Some(event) = reader.next(&mut input)? {
            match event {
                Event::Data { stream, flow_bytes, end_stream, .. } => {
                    self.used.note(self.output.frames(), 0, flow_bytes, CONNECTION_WINDOW_BYTES);
                    if end_stream {
                        self.end_answered(stream, now, plan, seen);
                    }
                }
                Event::Headers { stream, block, end_stream } => {
                    let fields = self.headers.read(block)?;
                    if let Some(call) = self.find(stream).map(|place| &mut self.calls[place]) {
                        call.http_status = call.http_status.max(fields.http_status);
                        call.grpc_status = fields.grpc_status.or(call.grpc_status);
                    }
                    if end_stream {
                        self.end_answered(stream, now, plan, seen);
                    }
                }
                Event::Other { head, payload } => self.handle_other(head, payload, now, plan, seen)?,
            }
        }
        self.reader = reader;
        Ok(())
    }

    fn handle_other(
        &mut self,
        head: Head,
        payload: &[u8],
        now: Instant,
        plan: &Plan,
        seen: &mut Seen,
    ) -> Result<(), Violation> {
        match head.kind {
            frame::SETTINGS if !head.has(frame::ACK) => self.handle_settings(payload)?,
            frame::PING if !head.has(frame::ACK) => frame::put_ping_ack(self.output.frames(), payload),
            frame::WINDOW_UPDATE => {
                let more = i64::from(frame::number(payload)?);
                if head.stream == 0 {
                    self.window += more;
                } else if let Some(place) = self.find(head.stream) {
                    self.calls[place].window += more;
                }
            }
            frame::RST_STREAM => {
                if let Some(place) = self.find(head.stream) {
                    self.end(place, Ended::Reset, now, plan, seen);
                }
            }
            frame::GOAWAY => {
                self.draining = true;
                let last = frame::number(payload)?;
                while let Some(place) = self.calls.iter().position(|call| call.stream > last) {
                    self.end(place, Ended::Connection, now, plan, seen);
                }
            }
            frame::PUSH_PROMISE => return Err(Violation("a push that was not allowed")),
            // Acknowledgements, PRIORITY, and kinds that nobody knows (RFC 9113, section 4.1).
            _ => {}
        }
        Ok(())
    }

    fn handle_settings(&mut self, payload: &[u8]) -> Result<(), Violation> {
        for (name, value) in frame::settings(payload) {
            match name {
                frame::SETTINGS_INITIAL_WINDOW_SIZE if value > i32::MAX as u32 => {
                    return Err(Violation("a window of more than 2^31-1 bytes"));
                }
                frame::SETTINGS_INITIAL_WINDOW_SIZE => {
                    // It holds for streams that are open, too (RFC 9113, section 6.9.2).
                    let more = i64::from(value) - i64::from(self.peer.stream_window_bytes);
                    self.calls.iter_mut().for_each(|call| call.window += more);
                    self.peer.stream_window_bytes = value;
                }
                frame::SETTINGS_MAX_CONCURRENT_STREAMS => self.peer.streams_max = value as usize,
                frame::SETTINGS_HEADER_TABLE_SIZE => {
                    // Our fields are in the table already: rather than evict them, connect anew.
                    self.draining |= self.next_stream > 1 && value < TABLE_BYTES;
                    self.peer.table_bytes = value;
                }
                _ => {}
            }
        }
        frame::put_settings_ack(self.output.frames());
        self.settled = true;
        Ok(())
    }

    fn find(&self, stream: u32) -> Option<usize> {
        self.calls.binary_search_by_key(&stream, |call| call.stream).ok()
    }

    fn end_answered(&mut self, stream: u32, now: Instant, plan: &Plan, seen: &mut Seen) {
        if let Some(place) = self.find(stream) {
            let call = &self.calls[place];
            let code = call.grpc_status.unwrap_or_else(|| code_of(call.http_status));
            self.end(place, Ended::Answered(code), now, plan, seen);
        }
    }

    /// Ends a call. One that the peer may still want to hear more of is reset.
    fn end(&mut self, place: usize, ended: Ended, now: Instant, plan: &Plan, seen: &mut Seen) {
        let call = self.calls.remove(place);
        let is_unsent = (call.sent as usize) < plan.bodies[call.body as usize].len();
        self.unsent -= usize::from(is_unsent);
        if ended == Ended::Timeout || (is_unsent && matches!(ended, Ended::Answered(_))) {
            frame::put_reset(self.output.frames(), call.stream, CANCEL);
        }
        let micros = now.saturating_duration_since(call.from).as_micros();
        seen.end(ended, plan.spans[call.body as usize], u64::try_from(micros).unwrap_or(u64::MAX));
    }

    /// Ends the calls that have taken too long. Says whether there were any.
    pub(super) fn expire(&mut self, now: Instant, timeout: Duration, plan: &Plan, seen: &mut Seen) -> bool {
        let mut any = false;
        while let Some(place) = self.calls.iter().position(|call| now - call.started >= timeout) {
            self.end(place, Ended::Timeout, now, plan, seen);
            any = true;
        }
        any
    }

    /// The connection is lost, and with it the calls in flight.
    pub(super) fn lose(mut self, now: Instant, plan: &Plan, seen: &mut Seen) {
        while !self.calls.is_empty() {
            self.end(0, Ended::Connection, now, plan, seen);
        }
    }

    /// Queues a GOAWAY: nothing more will be asked.
    pub(super) fn say_goodbye(&mut self) {
        self.draining = true;
        frame::put_goaway(self.output.frames(), 0);
    }
}

/// Writes the length of the frame that starts at `head` and ends with `out` into its head.
fn set_len(out: &mut [u8], head: usize) {
    let len = (out.len() - head - frame::HEAD_BYTES) as u32;
    out[head..head + 3].copy_from_slice(&len.to_be_bytes()[1..]);
}

/// The gRPC status code where there is none (gRPC, "HTTP to gRPC Status Code Mapping").
fn code_of(http_status: u16) -> i32 {
    match http_status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

#[cfg(test)]
mod tests;
