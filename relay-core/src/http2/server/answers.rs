//! How answers are written: header blocks from few constants, by reference to the peer's table where it allows that.

use super::{
    EMPTY_MESSAGE, EMPTY_MESSAGE_BYTES, INDEX_CONTENT_TYPE, INDEX_GRPC_STATUS, STATUS_200, Server, find,
};
use crate::http2::frame::{self, END_HEADERS, END_STREAM, FRAME_BYTES_DEFAULT, HEAD_BYTES, Head, Kind};
use crate::http2::hpack;

impl Server {
    /// Answers with the stream's message, or lets it wait for the peer's window.
    pub(super) fn accept_now(&mut self, stream: u32) {
        let stream_window = self.peer_stream_window;
        let Some(open) = find(&mut self.streams, stream).filter(|open| !open.answered) else { return };
        let message_bytes = match open.message.len() {
            0 => EMPTY_MESSAGE_BYTES,
            len => i64::try_from(len).unwrap_or(i64::MAX),
        };
        if self.send_window < message_bytes || stream_window + open.send_delta < message_bytes {
            self.waiting += usize::from(!open.waiting);
            open.waiting = true;
            return;
        }
        self.waiting -= usize::from(open.waiting);
        (open.waiting, open.answered) = (false, true);
        let (ended, message) = (open.remote_ended, std::mem::take(&mut open.message));
        // A call makes up for a few frames that say nothing: acknowledgements, pings, window updates.
        self.idle_frames = self.idle_frames.saturating_sub(16);
        self.send_window -= message_bytes;
        self.put_success(stream, if message.is_empty() { &EMPTY_MESSAGE } else { &message });
        if ended {
            self.forget(stream);
        }
    }

    /// The three frames of success.
    pub(super) fn put_success(&mut self, stream: u32, message: &[u8]) {
        let at = self.begin_block();
        self.out.push(STATUS_200);
        match (self.may_index, self.indexed) {
            (true, true) => hpack::put_index(&mut self.out, INDEX_CONTENT_TYPE),
            (true, false) => hpack::put_indexing(&mut self.out, b"content-type", b"application/grpc"),
            (false, _) => hpack::put_literal(&mut self.out, b"content-type", b"application/grpc"),
        }
        self.end_block(at, stream, 0);
        frame::put(&mut self.out, Kind::DATA, 0, stream, message);
        let at = self.begin_block();
        match (self.may_index, self.indexed) {
            (true, true) => hpack::put_index(&mut self.out, INDEX_GRPC_STATUS),
            (true, false) => hpack::put_indexing(&mut self.out, b"grpc-status", b"0"),
            (false, _) => hpack::put_literal(&mut self.out, b"grpc-status", b"0"),
        }
        self.end_block(at, stream, END_STREAM);
        self.indexed = self.may_index;
    }

    /// Leaves room for a HEADERS head; gives where it is.
    pub(super) fn begin_block(&mut self) -> usize {
        let at = self.out.len();
        self.out.extend_from_slice(&[0; HEAD_BYTES]);
        if !self.table_cleared {
            // RFC 7541, section 4.2: a smaller table is acknowledged by the next block. None at all is small enough.
            self.out.push(0x20);
            self.table_cleared = true;
        }
        at
    }

    /// Fills in the head of the block that began at `at`.
    pub(super) fn end_block(&mut self, at: usize, stream: u32, flags: u8) {
        let len = self.out.len() - at - HEAD_BYTES;
        if len > FRAME_BYTES_DEFAULT {
            return self.cut_block(at, stream, flags);
        }
        let head = Head { len, kind: Kind::HEADERS, flags: flags | END_HEADERS, stream };
        if let Some(room) = self.out.get_mut(at..at + HEAD_BYTES) {
            room.copy_from_slice(&head.bytes());
        }
    }

    /// Cuts a block that is longer than a peer's frames may be (RFC 9113, section 4.3): an error message can be.
    fn cut_block(&mut self, at: usize, stream: u32, flags: u8) {
        let block = self.out.split_off(at + HEAD_BYTES);
        self.out.truncate(at);
        let frames = block.len().div_ceil(FRAME_BYTES_DEFAULT);
        for (nth, payload) in (1..).zip(block.chunks(FRAME_BYTES_DEFAULT)) {
            let (kind, flags) = if nth == 1 { (Kind::HEADERS, flags) } else { (Kind::CONTINUATION, 0) };
            let end = if nth == frames { END_HEADERS } else { 0 };
            frame::put(&mut self.out, kind, flags | end, stream, payload);
        }
    }

    /// Answers that waited for the peer's window, as far as it goes now.
    pub(super) fn retry_waiting(&mut self) {
        if self.waiting == 0 || self.send_window < EMPTY_MESSAGE_BYTES {
            return;
        }
        let waiting: Vec<u32> =
            self.streams.iter().filter(|stream| stream.waiting).map(|stream| stream.id).collect();
        waiting.into_iter().for_each(|stream| self.accept_now(stream));
    }

    /// Forgets a stream; says whether it was open.
    pub(super) fn forget(&mut self, stream: u32) -> bool {
        if let Some(last) = self.streams.last()
            && last.id == stream
        {
            self.waiting -= usize::from(last.waiting);
            self.streams.pop();
            return true;
        }
        let Ok(at) = self.streams.binary_search_by_key(&stream, |open| open.id) else { return false };
        let gone = self.streams.remove(at);
        self.waiting -= usize::from(gone.waiting);
        true
    }

    /// The peer has said that nothing more of this call comes.
    pub(super) fn remote_end(&mut self, stream: u32) {
        let Some(open) = find(&mut self.streams, stream) else { return };
        open.remote_ended = true;
        if open.answered {
            self.forget(stream);
        }
    }
}
