//! The server's side of one HTTP/2 connection: frames in, [`Event`]s out; answers in, bytes to write out.
//!
//! Must never hold a payload: DATA leaves with the event. What a peer can make it hold is bounded: streams by the setting,
//! one header block by `block_bytes_max`, its own output by the caller, who must not go on reading while
//! [`Server::pending_bytes`] is large.

use bytes::{Buf, Bytes};

use super::frame::{
    self, ACK, END_HEADERS, END_STREAM, FRAME_BYTES_DEFAULT, HEAD_BYTES, Head, Kind, PREFACE, Reason,
    STREAM_MAX, WINDOW_BYTES_DEFAULT, WINDOW_BYTES_MAX, setting,
};
use super::hpack::{self, Decoder, Fields};
use crate::limits::{HTTP2_BLOCK_BYTES_MAX, HTTP2_IDLE_FRAMES_MAX};

/// What the server allows.
#[derive(Clone, Copy, Debug)]
pub struct ServerConfig {
    /// Calls at once.
    pub streams_max: u32,
    /// Window of one call, in bytes.
    pub stream_window_bytes: u32,
    /// Window of the connection, in bytes.
    pub connection_window_bytes: u32,
    /// Bytes of one header list, as RFC 7541 counts them.
    pub header_list_bytes_max: u32,
}

/// What has come.
#[derive(Debug)]
pub enum Event {
    /// A call has begun; its header fields are in [`Server::fields`]. With `end` it has no body.
    Call {
        /// Its stream.
        stream: u32,
        /// Whether nothing follows.
        end: bool,
    },
    /// Bytes of a call's body. They count in its window until [`Server::release`].
    Data {
        /// Its stream.
        stream: u32,
        /// A slice of what was given to [`Server::receive`].
        bytes: Bytes,
        /// Whether these are the last.
        end: bool,
    },
    /// The peer has given up a call, or broken a rule on it; it is forgotten. What it holds of the connection's window is still
    /// to be released.
    Reset {
        /// Its stream.
        stream: u32,
    },
}

/// The peer has broken the rules; the connection cannot go on. GOAWAY is among the bytes to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("peer broke the rules of HTTP/2: {0}")]
pub struct Violation(pub &'static str);

/// What the next bytes belong to.
#[derive(Clone, Copy, Debug)]
enum Expect {
    /// So many bytes of the preface have come.
    Preface(usize),
    Head,
    /// The payload of a frame that is read whole.
    Whole(Head),
    /// The first payload byte of a padded DATA frame.
    PadLength(Head),
    /// Payload of a DATA frame, then its padding.
    Data {
        stream: u32,
        left: usize,
        pad: usize,
        end: bool,
    },
    /// Bytes that mean nothing.
    Skip(usize),
}

#[derive(Debug)]
struct Stream {
    id: u32,
    // The peer has said END_STREAM.
    remote_ended: bool,
    // The answer is given; what still comes is thrown away.
    answered: bool,
    // A successful answer that waits for the peer's window.
    waiting: bool,
    // Its message with its prefix; none for the empty one.
    message: Vec<u8>,
    // Bytes that the peer may still send, and bytes released since the last WINDOW_UPDATE.
    receive_window: i64,
    released: i64,
    // What WINDOW_UPDATEs have added to the peer's initial window, less what was sent.
    send_delta: i64,
}

/// One connection.
#[derive(Debug)]
pub struct Server {
    config: ServerConfig,
    expect: Expect,
    // A head, a control frame's payload or a header block that has come in part.
    gathered: Vec<u8>,
    // The stream and flags of a header block that CONTINUATION goes on with, gathered in `block`.
    continues: Option<Head>,
    block: Vec<u8>,
    decoder: Decoder,
    fields: Fields,
    // Ascending ids.
    streams: Vec<Stream>,
    highest: u32,
    // The last stream that is not ignored for the connection's leaving: what a GOAWAY says, which must not grow.
    last_taken: u32,
    receive_window: i64,
    released: i64,
    send_window: i64,
    peer_stream_window: i64,
    // Whether answers may use the peer's header table, and whether they have.
    may_index: bool,
    indexed: bool,
    table_cleared: bool,
    waiting: usize,
    // Frames that brought no call any further, less what calls make up for.
    idle_frames: u32,
    settled: bool,
    leaving: Leaving,
    out: Vec<u8>,
}

/// How far a graceful end has come (RFC 9113, section 6.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    No,
    /// The peer has been told to open no streams; those that it had opened are known when it answers the PING.
    Announced,
    Final,
}

/// The payload of the PING that follows the first GOAWAY.
const LEAVING_PING: [u8; 8] = *b"leaving!";

/// `:status: 200` (RFC 7541, appendix A).
const STATUS_200: u8 = 0x88;
/// Where `content-type` and `grpc-status` stand in the peer's table once both have been sent.
const INDEX_CONTENT_TYPE: usize = 63;
const INDEX_GRPC_STATUS: usize = 62;
/// An empty message: full success leaves `partial_success` unset (OTLP, "Full Success").
const EMPTY_MESSAGE: [u8; 5] = [0; 5];
const EMPTY_MESSAGE_BYTES: i64 = 5;

impl Server {
    /// A connection that begins with the peer's preface. Its own settings are among the bytes to write.
    pub fn new(config: ServerConfig) -> Self {
        let mut out = Vec::with_capacity(64);
        frame::put_settings(
            &mut out,
            &[
                (setting::MAX_CONCURRENT_STREAMS, config.streams_max),
                (setting::INITIAL_WINDOW_SIZE, config.stream_window_bytes),
                (setting::MAX_HEADER_LIST_SIZE, config.header_list_bytes_max),
            ],
        );
        let more = i64::from(config.connection_window_bytes) - WINDOW_BYTES_DEFAULT;
        if let Ok(more @ 1..) = u32::try_from(more) {
            frame::put_window_update(&mut out, 0, more);
        }
        Self {
            config,
            expect: Expect::Preface(0),
            gathered: Vec::new(),
            continues: None,
            block: Vec::new(),
            decoder: Decoder::default(),
            fields: Fields::default(),
            streams: Vec::new(),
            highest: 0,
            last_taken: 0,
            receive_window: i64::from(config.connection_window_bytes).max(WINDOW_BYTES_DEFAULT),
            released: 0,
            send_window: WINDOW_BYTES_DEFAULT,
            peer_stream_window: WINDOW_BYTES_DEFAULT,
            may_index: true,
            indexed: false,
            table_cleared: true,
            waiting: 0,
            idle_frames: 0,
            settled: false,
            leaving: Leaving::No,
            out,
        }
    }

    /// Whether the peer has shown that it speaks HTTP/2: its preface and settings have come.
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// Calls that are not over.
    pub fn open_streams(&self) -> usize {
        self.streams.len()
    }

    /// The newest stream that the peer has opened; 0 before the first.
    pub fn last_stream(&self) -> u32 {
        self.highest
    }

    /// Whether the connection may be closed: it was asked to leave, the peer knows, and no call is open.
    pub fn is_done(&self) -> bool {
        self.leaving == Leaving::Final && self.streams.is_empty()
    }

    /// The header fields of the last [`Event::Call`].
    pub fn fields(&self) -> &Fields {
        &self.fields
    }

    /// Bytes that wait to be written.
    pub fn pending_bytes(&self) -> usize {
        self.out.len()
    }

    /// The bytes to write; the caller takes from the front what it could write.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// A new turn of reading has begun. Floods come in few turns; what is spread over many is no flood.
    pub fn begin_turn(&mut self) {
        self.idle_frames = self.idle_frames.saturating_sub(4);
    }

    /// Reads `input` up to the next event, which it returns; `None` when all of it was read.
    ///
    /// # Errors
    /// [`Violation`], after which nothing more may be given.
    pub fn receive(&mut self, input: &mut Bytes) -> Result<Option<Event>, Violation> {
        while !input.is_empty() {
            match self.expect {
                Expect::Preface(seen) => self.preface(input, seen)?,
                Expect::Head => {
                    let Some(head) = self.head(input) else { break };
                    self.begin(head)?;
                    if head.len == 0
                        && let Some(event) = self.empty(head)?
                    {
                        return Ok(Some(event));
                    }
                }
                Expect::Whole(head) => {
                    if let Some(event) = self.whole(head, input)? {
                        return Ok(Some(event));
                    }
                }
                Expect::PadLength(head) => {
                    let pad = usize::from(input.first().copied().unwrap_or_default());
                    input.advance(1);
                    let left = (head.len - 1).checked_sub(pad);
                    let Some(left) = left else {
                        return Err(self.violation(Reason::PROTOCOL_ERROR, "padding"));
                    };
                    self.expect = Expect::Data { stream: head.stream, left, pad, end: head.has(END_STREAM) };
                    // Padding counts in the windows, and is not the call's.
                    self.release(head.stream, pad + 1);
                    if left == 0
                        && let Some(event) =
                            self.data(Bytes::new(), head.stream, 0, pad, head.has(END_STREAM))
                    {
                        return Ok(Some(event));
                    }
                }
                Expect::Data { stream, left, pad, end } => {
                    let bytes = input.split_to(left.min(input.len()));
                    let left = left - bytes.len();
                    if let Some(event) = self.data(bytes, stream, left, pad, end) {
                        return Ok(Some(event));
                    }
                }
                Expect::Skip(left) => {
                    let skipped = left.min(input.len());
                    input.advance(skipped);
                    self.expect = if left == skipped { Expect::Head } else { Expect::Skip(left - skipped) };
                }
            }
        }
        Ok(None)
    }

    /// The body bytes of a call are out of the way: the peer may send as many again. Also for a call that is over.
    pub fn release(&mut self, stream: u32, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.released += bytes;
        // RFC 9113 leaves it open when to update; half a window keeps a sender going and updates rare.
        if self.released >= (i64::from(self.config.connection_window_bytes) / 2).max(1) {
            frame::put_window_update(&mut self.out, 0, u32::try_from(self.released).unwrap_or(u32::MAX >> 1));
            self.receive_window += self.released;
            self.released = 0;
        }
        let half = (i64::from(self.config.stream_window_bytes) / 2).max(1);
        if let Some(stream) = find(&mut self.streams, stream)
            && !stream.remote_ended
        {
            stream.released += bytes;
            if stream.released >= half {
                let update = u32::try_from(stream.released).unwrap_or(u32::MAX >> 1);
                frame::put_window_update(&mut self.out, stream.id, update);
                stream.receive_window += stream.released;
                stream.released = 0;
            }
        }
    }

    /// Answers a call with full success: an empty message and status 0. Where the peer's windows are too small for the message,
    /// the answer waits until they are not.
    pub fn accept(&mut self, stream: u32) {
        self.accept_with(stream, Vec::new());
    }

    /// As [`Server::accept`], with a message: one gRPC message with its prefix, that fits into one frame.
    pub fn accept_with(&mut self, stream: u32, message: Vec<u8>) {
        if let Some(open) = find(&mut self.streams, stream).filter(|open| !open.answered) {
            open.message = message;
        }
        self.accept_now(stream);
    }

    /// Answers a call with header fields alone ("Trailers-Only"); the rest of its body is thrown away.
    pub fn refuse<'a>(&mut self, stream: u32, fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
        let Some(open) = find(&mut self.streams, stream).filter(|open| !open.answered) else { return };
        self.waiting -= usize::from(open.waiting);
        (open.waiting, open.answered) = (false, true);
        let ended = open.remote_ended;
        let at = self.begin_block();
        fields.for_each(|(name, value)| hpack::put_literal(&mut self.out, name, value));
        self.end_block(at, stream, END_STREAM);
        if ended {
            self.forget(stream);
        }
    }

    /// Ends a call without an answer.
    pub fn reset(&mut self, stream: u32, reason: Reason) {
        if self.forget(stream) {
            frame::put_reset(&mut self.out, stream, reason);
        }
    }

    /// Asks the peer to open no more calls; the open ones go on (RFC 9113, section 6.8).
    pub fn leave(&mut self) {
        if self.leaving == Leaving::No {
            self.leaving = Leaving::Announced;
            frame::put_goaway(&mut self.out, STREAM_MAX, Reason::NO_ERROR);
            frame::put(&mut self.out, Kind::PING, 0, 0, &LEAVING_PING);
        }
    }
}

mod answers;
mod blocks;
mod frames;

/// The place of a stream that is open.
fn find(streams: &mut [Stream], id: u32) -> Option<&mut Stream> {
    // The newest are asked for most.
    match streams.last_mut() {
        Some(last) if last.id == id => streams.last_mut(),
        _ => {
            let at = streams.binary_search_by_key(&id, |stream| stream.id).ok()?;
            streams.get_mut(at)
        }
    }
}

#[cfg(test)]
mod tests;
