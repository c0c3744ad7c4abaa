//! A server's side of an HTTP/2 connection that takes unary calls: bytes in, answers queued to be written.
//!
//! Must never touch a socket, nor hold an answer back that the peer's windows allow.

use super::super::http2::frame::{
    self, FRAME_BYTES_MAX, Head, INITIAL_WINDOW_BYTES, NO_ERROR, PREFACE, TABLE_BYTES, Used, Violation,
};
use super::super::http2::headers::{Fields, HeaderReader};
use super::super::http2::output::Output;
use super::super::http2::reader::{Event, FrameReader};
use super::Rules;
use super::answer::{ANSWER_BYTES, Answers};
use super::ledger::Ledger;
use super::message::{Message, UNIMPLEMENTED};

/// `SETTINGS_MAX_FRAME_SIZE`.
const SETTINGS_MAX_FRAME_SIZE: u16 = 5;
/// Stream window, bytes: most requests need no WINDOW_UPDATE of their own.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
/// Connection window, bytes: half of it goes by before a WINDOW_UPDATE is due.
const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;

/// A request that is arriving.
#[derive(Debug)]
struct Stream {
    id: u32,
    message: Message,
    used: Used,
    /// What the peer lets us send on it.
    window: i64,
}

/// A success that the peer's windows do not allow yet.
#[derive(Debug)]
struct Waiting {
    stream: u32,
    window: i64,
}

/// See the file's head.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) output: Output,
    /// What of the client's preface is still to come.
    preface: &'static [u8],
    reader: FrameReader,
    headers: HeaderReader,
    answers: Answers,
    /// By id, each above the last.
    streams: Vec<Stream>,
    last_stream: u32,
    waiting: Vec<Waiting>,
    window: i64,
    peer_window_bytes: u32,
    peer_table_bytes: u32,
    used: Used,
}

impl Session {
    /// A connection that has just been accepted: settings are queued.
    pub(super) fn new() -> Self {
        let mut output = Output::default();
        let settings = [
            (SETTINGS_MAX_FRAME_SIZE, FRAME_BYTES_MAX as u32),
            (frame::SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW_BYTES),
        ];
        frame::put_settings(output.frames(), &settings);
        frame::put_window_update(output.frames(), 0, CONNECTION_WINDOW_BYTES - INITIAL_WINDOW_BYTES);
        Self {
            output,
            preface: PREFACE,
            reader: FrameReader::default(),
            headers: HeaderReader::default(),
            answers: Answers::default(),
            streams: Vec::new(),
            last_stream: 0,
            waiting: Vec::new(),
            window: INITIAL_WINDOW_BYTES.into(),
            peer_window_bytes: INITIAL_WINDOW_BYTES,
            peer_table_bytes: TABLE_BYTES,
            used: Used::default(),
        }
    }

    /// Takes what the peer sent.
    ///
    /// # Errors
    /// [`Violation`]: the connection must be closed.
    pub(super) fn handle_input(
        &mut self,
        mut input: &[u8],
        rules: &Rules,
        ledger: &mut Ledger,
    ) -> Result<(), Violation> {
        self.take_preface(&mut input)?;
        let mut reader = std::mem::take(&mut self.reader);
        while let Some(event) = reader.next(&mut input)? {
            match event {
                Event::Data { stream, bytes, flow_bytes, end_stream } => {
                    self.used.note(self.output.frames(), 0, flow_bytes, CONNECTION_WINDOW_BYTES);
                    self.handle_data(stream, bytes, flow_bytes, end_stream, rules, ledger);
                }
                Event::Headers { stream, block, end_stream } => {
                    let fields = self.headers.read(block)?;
                    self.handle_headers(stream, fields, end_stream, rules, ledger);
                }
                Event::Other { head, payload } => self.handle_other(head, payload)?,
            }
        }
        self.reader = reader;
        Ok(())
    }

    fn take_preface(&mut self, input: &mut &[u8]) -> Result<(), Violation> {
        if self.preface.is_empty() {
            return Ok(());
        }
        let len = self.preface.len().min(input.len());
        let (expected, preface) = self.preface.split_at(len);
        let (found, rest) = input.split_at(len);
        (self.preface, *input) = (preface, rest);
        if found == expected { Ok(()) } else { Err(Violation("no client preface")) }
    }

    fn handle_headers(
        &mut self,
        stream: u32,
        fields: Fields,
        end_stream: bool,
        rules: &Rules,
        ledger: &mut Ledger,
    ) {
        // A stream that is open gets trailers, and one that is closed nothing.
        if stream > self.last_stream {
            self.last_stream = stream;
            if !fields.is_export {
                return self.refuse(stream, UNIMPLEMENTED, end_stream, ledger);
            }
            let (message, window) = (Message::new(fields.encoding), self.peer_window_bytes.into());
            self.streams.push(Stream { id: stream, message, used: Used::default(), window });
        }
        if let Some(place) = self.find(stream).filter(|_| end_stream) {
            self.finish(place, rules, ledger);
        }
    }

    fn handle_data(
        &mut self,
        stream: u32,
        bytes: &[u8],
        flow_bytes: u32,
        end_stream: bool,
        rules: &Rules,
        ledger: &mut Ledger,
    ) {
        // It may be closed because it was answered early.
        let Some(place) = self.find(stream) else { return };
        let found = &mut self.streams[place];
        if let Err(code) = found.message.feed(bytes, rules) {
            self.streams.remove(place);
            return self.refuse(stream, code, end_stream, ledger);
        }
        if end_stream {
            self.finish(place, rules, ledger);
        } else {
            found.used.note(self.output.frames(), stream, flow_bytes, STREAM_WINDOW_BYTES);
        }
    }

    fn handle_other(&mut self, head: Head, payload: &[u8]) -> Result<(), Violation> {
        match head.kind {
            frame::SETTINGS if !head.has(frame::ACK) => self.handle_settings(payload)?,
            frame::PING if !head.has(frame::ACK) => frame::put_ping_ack(self.output.frames(), payload),
            frame::WINDOW_UPDATE => {
                let more = i64::from(frame::number(payload)?);
                if head.stream == 0 {
                    self.window += more;
                } else if let Some(place) = self.find(head.stream) {
                    self.streams[place].window += more;
                } else if let Some(waiting) = self.waiting.iter_mut().find(|one| one.stream == head.stream) {
                    waiting.window += more;
                }
                self.answer_waiting();
            }
            frame::RST_STREAM => {
                if let Some(place) = self.find(head.stream) {
                    self.streams.remove(place);
                }
                self.waiting.retain(|one| one.stream != head.stream);
            }
            // Acknowledgements, GOAWAY, PRIORITY, and kinds that nobody knows (RFC 9113, section 4.1).
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
                    let more = i64::from(value) - i64::from(self.peer_window_bytes);
                    self.streams.iter_mut().for_each(|stream| stream.window += more);
                    self.waiting.iter_mut().for_each(|one| one.window += more);
                    self.peer_window_bytes = value;
                }
                frame::SETTINGS_HEADER_TABLE_SIZE
                    if self.last_stream > 0 && value < self.peer_table_bytes =>
                {
                    return Err(Violation(
                        "a smaller header table in mid-connection is more than a sink can do",
                    ));
                }
                frame::SETTINGS_HEADER_TABLE_SIZE => self.peer_table_bytes = value,
                _ => {}
            }
        }
        frame::put_settings_ack(self.output.frames());
        self.answer_waiting();
        Ok(())
    }

    fn find(&self, stream: u32) -> Option<usize> {
        self.streams.binary_search_by_key(&stream, |found| found.id).ok()
    }

    /// The request has ended: counts it, and answers.
    fn finish(&mut self, place: usize, rules: &Rules, ledger: &mut Ledger) {
        let Stream { id, message, window, .. } = self.streams.remove(place);
        let ended = message.finish(rules, &mut ledger.opened);
        let code = ledger.note(ended);
        if code == 0 && (window < ANSWER_BYTES || self.window < ANSWER_BYTES) {
            self.waiting.push(Waiting { stream: id, window });
        } else {
            self.answer(id, code);
        }
    }

    /// Refuses a request, perhaps before its end: then the peer is told that the rest is not wanted (RFC 9113, section 8.1).
    fn refuse(&mut self, stream: u32, code: i32, ended: bool, ledger: &mut Ledger) {
        ledger.note(Err(code));
        self.answer(stream, code);
        if !ended {
            frame::put_reset(self.output.frames(), stream, NO_ERROR);
        }
    }

    fn answer(&mut self, stream: u32, code: i32) {
        if code == 0 {
            self.window -= ANSWER_BYTES;
        }
        self.answers.put(self.output.frames(), stream, code, self.peer_table_bytes);
    }

    fn answer_waiting(&mut self) {
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.retain(|one| {
            let blocked = one.window < ANSWER_BYTES || self.window < ANSWER_BYTES;
            if !blocked {
                self.answer(one.stream, 0);
            }
            blocked
        });
        self.waiting = waiting;
    }
}

#[cfg(test)]
mod tests;
