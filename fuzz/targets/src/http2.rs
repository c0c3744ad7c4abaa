//! The HTTP/2 server under any peer: any bytes, and any frames with anything a caller may do between them.

use std::collections::BTreeMap;

use bytes::Bytes;
use relay_core::http2::frame::Reason;
use relay_core::http2::{Event, Server, ServerConfig, Violation};

use crate::cut;

const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const STREAMS_MAX: u32 = 6;
/// Larger than any input: no peer can exceed it.
const WINDOW_LARGE: u32 = 16 << 20;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;

/// The first byte chooses the windows, the manner and the cut, the rest is what a peer sends, after a good beginning or not: no
/// panic, what is written are whole frames and not much more than what was read, events are of open calls alone, slices of the
/// input, and the same in any cut.
pub fn http2_server(data: &[u8]) {
    let Some((&choice, sent)) = data.split_first() else { return };
    let sent = if choice & 0x80 == 0 { [HELLO, sent].concat() } else { sent.to_vec() };
    let mut whole = Driven::new(choice, WINDOW_LARGE);
    let mut pieces = Driven::new(choice, WINDOW_LARGE);
    whole.feed([Bytes::copy_from_slice(&sent)]);
    pieces.feed(cut(&sent, choice));
    whole.assert_same(&pieces);
    Driven::new(choice, window(choice)).feed(cut(&sent, !choice));
}

/// The input is a list of frames, well formed ones mostly, and of what a caller does between them: the same laws.
pub fn http2_frames(data: &[u8]) {
    let Some((&choice, script)) = data.split_first() else { return };
    let mut whole = Driven::new(choice, WINDOW_LARGE);
    let mut pieces = Driven::new(choice, WINDOW_LARGE);
    let mut narrow = Driven::new(choice, window(choice));
    for driven in [&mut whole, &mut pieces, &mut narrow] {
        driven.feed([Bytes::from_static(HELLO)]);
    }
    let mut script = Script(script);
    let mut last = Vec::new();
    // Frames can be said many times: a bound for the bytes, so that a run stays short.
    let mut left = 128 << 10;
    while let Some(step) = script.step(&mut last) {
        let Step::Send(frame) = step else {
            [&mut whole, &mut pieces, &mut narrow].into_iter().for_each(|driven| driven.act(&step));
            continue;
        };
        left -= frame.len().min(left);
        if left == 0 {
            break;
        }
        whole.feed([Bytes::copy_from_slice(&frame)]);
        pieces.feed(cut(&frame, choice));
        narrow.feed([Bytes::copy_from_slice(&frame)]);
    }
    whole.assert_same(&pieces);
}

fn window(choice: u8) -> u32 {
    [64, 1000, 65_535, 1 << 20][usize::from(choice) % 4]
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Call(u32, bool, Vec<(Vec<u8>, Vec<u8>)>),
    Data(u32, Vec<u8>, bool),
    Reset(u32),
}

#[derive(Debug, Default)]
struct Call {
    ended: bool,
    // As far as the peer was told, or has told.
    answered: bool,
    gone: bool,
    // Bytes not released.
    held: usize,
}

/// A server, and what its caller and its peer know of it.
struct Driven {
    server: Server,
    manner: u32,
    calls: BTreeMap<u32, Call>,
    seen: Vec<Seen>,
    read_bytes: usize,
    written_bytes: usize,
    // Frames that were written, but for window updates.
    written: Vec<u8>,
    violation: Option<Violation>,
}

impl Driven {
    fn new(choice: u8, window: u32) -> Self {
        let config = ServerConfig {
            streams_max: STREAMS_MAX,
            stream_window_bytes: window,
            connection_window_bytes: window,
            header_list_bytes_max: 4096,
        };
        Self {
            server: Server::new(config),
            manner: u32::from(choice >> 2 & 7),
            calls: BTreeMap::new(),
            seen: Vec::new(),
            read_bytes: 0,
            written_bytes: 0,
            written: Vec::new(),
            violation: None,
        }
    }

    /// Gives the server its input and answers as the manner is; nothing after a violation.
    fn feed(&mut self, pieces: impl IntoIterator<Item = Bytes>) {
        for mut piece in pieces {
            let source = piece.as_ptr_range();
            self.read_bytes += piece.len();
            while self.violation.is_none() && !piece.is_empty() {
                match self.server.receive(&mut piece) {
                    Ok(Some(event)) => {
                        if let Event::Data { bytes, .. } = &event
                            && !bytes.is_empty()
                        {
                            let slice = bytes.as_ptr_range();
                            assert!(source.start <= slice.start && slice.end <= source.end, "a copy");
                        }
                        self.take(event);
                    }
                    Ok(None) => assert!(piece.is_empty(), "what is not read must not be lost"),
                    Err(violation) => self.violation = Some(violation),
                }
                assert!(self.server.open_streams() <= STREAMS_MAX as usize);
            }
            self.look_at_output();
        }
        self.look_at_output();
        let unanswered = self.calls.values().filter(|call| !call.answered && !call.gone).count();
        assert!(self.server.open_streams() >= unanswered);
    }

    fn take(&mut self, event: Event) {
        self.look_at_output();
        match event {
            Event::Call { stream, end } => {
                let fields = self.server.fields();
                assert!(!fields.is_too_large() && fields.has(b":path"));
                let fields = fields.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
                self.seen.push(Seen::Call(stream, end, fields));
                let new = Call { ended: end, ..Call::default() };
                assert!(stream % 2 == 1 && self.calls.insert(stream, new).is_none(), "call {stream} is new");
                match (stream / 2 + self.manner) % 8 {
                    0 => self.act(&Step::Refuse(stream)),
                    1 => self.act(&Step::Reset(stream)),
                    _ => {}
                }
            }
            Event::Data { stream, bytes, end } => {
                assert!(end || !bytes.is_empty(), "an event that says nothing");
                let call = self.calls.get_mut(&stream).expect("DATA of a call");
                assert!(!call.ended && !call.gone && !call.answered, "call {stream}: {call:?}");
                call.ended = end;
                call.held += bytes.len();
                match self.seen.last_mut() {
                    Some(Seen::Data(last, all, ended)) if *last == stream && !*ended => {
                        all.extend_from_slice(&bytes);
                        *ended = end;
                    }
                    _ => self.seen.push(Seen::Data(stream, bytes.to_vec(), end)),
                }
            }
            Event::Reset { stream } => {
                self.seen.push(Seen::Reset(stream));
                // A call whose header list was too large was answered without an event.
                let call = self.calls.entry(stream).or_default();
                assert!(!call.gone, "call {stream} is over");
                call.gone = true;
                self.act(&Step::Release(stream));
            }
        }
        let ended = self.calls.iter().filter(|(_, call)| call.ended && !call.gone && !call.answered);
        for stream in ended.map(|(stream, _)| *stream).collect::<Vec<_>>() {
            if (stream / 2 + self.manner) % 8 != 2 {
                self.act(&Step::Accept(stream));
            }
        }
    }

    /// What a caller does; of any call, also one that never was.
    fn act(&mut self, step: &Step) {
        if self.violation.is_some() {
            return;
        }
        match step {
            Step::Accept(stream) => self.server.accept(*stream),
            Step::Refuse(stream) => {
                let message = vec![b'm'; if stream % 64 == 9 { 20_000 } else { 10 }];
                let fields =
                    [(&b":status"[..], &b"200"[..]), (b"grpc-status", b"14"), (b"grpc-message", &message)];
                self.server.refuse(*stream, fields.into_iter());
                // Its length is the caller's choice.
                self.read_bytes += message.len();
            }
            Step::Reset(stream) => {
                self.server.reset(*stream, Reason::CANCEL);
                if let Some(call) = self.calls.get_mut(stream) {
                    call.gone = true;
                }
            }
            Step::Release(stream) => {
                let held = self.calls.get_mut(stream).map_or(0, |call| std::mem::take(&mut call.held));
                self.server.release(*stream, held);
            }
            Step::ReleaseAll => {
                let streams: Vec<u32> = self.calls.keys().copied().collect();
                streams.into_iter().for_each(|stream| self.act(&Step::Release(stream)));
            }
            Step::Leave => self.server.leave(),
            Step::Turn => self.server.begin_turn(),
            Step::Send(_) => {}
        }
        // What the steps make it write.
        self.read_bytes += 32;
        self.look_at_output();
        if self.server.is_done() {
            assert_eq!(self.server.open_streams(), 0);
        }
    }

    /// Takes what is to be written: whole frames, of streams that the peer has opened, a GOAWAY last after a violation.
    fn look_at_output(&mut self) {
        let out = std::mem::take(self.server.output());
        self.written_bytes += out.len();
        assert!(
            self.written_bytes <= 256 + 3 * self.read_bytes + 64 * self.calls.len(),
            "{} bytes make it write {}",
            self.read_bytes,
            self.written_bytes
        );
        let (mut rest, mut last) = (&out[..], None);
        while let [a, b, c, kind, flags, s0, s1, s2, s3, after @ ..] = rest {
            let len = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            assert!(len <= 16 << 10 && len <= after.len(), "a frame of {len} bytes");
            let stream = u32::from_be_bytes([*s0, *s1, *s2, *s3]);
            if *kind != WINDOW_UPDATE {
                self.written.extend_from_slice(&rest[..9 + len]);
            }
            let call = self.calls.get_mut(&stream);
            match (*kind, call) {
                (HEADERS, Some(call)) if flags & END_STREAM != 0 => {
                    assert!(!call.answered && !call.gone, "call {stream} is answered once");
                    call.answered = true;
                }
                // Its event may still be on the way; the server's word counts.
                (RST_STREAM, Some(call)) => call.answered = true,
                (DATA, call) => assert!(call.is_some_and(|call| !call.answered && !call.gone)),
                _ => {}
            }
            last = Some(*kind);
            rest = &after[len..];
        }
        assert!(rest.is_empty(), "a frame is cut");
        assert!(self.violation.is_none() || last.is_none_or(|kind| kind == GOAWAY));
    }

    fn assert_same(&self, other: &Self) {
        assert_eq!(self.seen, other.seen, "the cut must not matter");
        assert_eq!(self.violation, other.violation, "the cut must not matter");
        assert_eq!(self.written, other.written, "the cut must not matter");
    }
}

/// One step of a script.
enum Step {
    Send(Vec<u8>),
    Accept(u32),
    Refuse(u32),
    Reset(u32),
    Release(u32),
    ReleaseAll,
    Leave,
    Turn,
}

/// Bytes that are read as steps.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let (bytes, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        bytes.to_vec()
    }

    /// Mostly a client's number.
    fn stream(&mut self) -> Option<u32> {
        let byte = u32::from(self.byte()?);
        Some(if byte < 240 { 2 * (byte % 40) + 1 } else { byte - 240 })
    }

    fn step(&mut self, last: &mut Vec<u8>) -> Option<Step> {
        let op = self.byte()?;
        let frame = match op % 16 {
            0..=3 => {
                let (stream, flags) = (self.stream()?, self.byte()?);
                // END_HEADERS unless asked for otherwise.
                let flags = if flags & 0x80 == 0 { flags | 4 } else { flags & !4 };
                let block = self.block()?;
                frame(HEADERS, flags, stream, &padded(flags, block))
            }
            4..=6 => {
                let (stream, flags, len) = (self.stream()?, self.byte()?, self.byte()?);
                let len = usize::from(len) * if op & 0x80 == 0 { 1 } else { 64 };
                frame(DATA, flags & !0x20, stream, &padded(flags & !0x20, vec![op; len]))
            }
            7 => frame(9, self.byte()?, self.stream()?, &self.block()?),
            8 => {
                let pairs = (0..op / 64)
                    .map_while(|_| Some([0, self.byte()? % 8, 0, self.byte()? / 16, self.byte()?, 0]));
                let pairs: Vec<[u8; 6]> = pairs.collect();
                frame(4, 0, 0, &pairs.concat())
            }
            9 => {
                let stream = if op & 0x10 == 0 { 0 } else { self.stream()? };
                let bytes = [u32::from(self.byte()?), 5, 0x7fff_0000][usize::from(op >> 6) % 3];
                frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())
            }
            10 => frame(RST_STREAM, 0, self.stream()?, &[0, 0, 0, op]),
            11 => frame(6, op >> 7, 0, if op & 0x40 == 0 { b"leaving!" } else { b"keepaliv" }),
            12 => {
                let (kind, flags, stream, len) = (self.byte()?, self.byte()?, self.stream()?, self.byte()?);
                frame(kind, flags, stream, &self.bytes(len.into()))
            }
            13 => self.bytes(usize::from(op >> 4)),
            14 => return self.action(op >> 4),
            _ => last.repeat(usize::from(op >> 4) * 20),
        };
        last.clone_from(&frame);
        last.truncate(512);
        Some(Step::Send(frame))
    }

    fn action(&mut self, choice: u8) -> Option<Step> {
        Some(match choice {
            0..=3 => Step::Accept(self.stream()?),
            4 | 5 => Step::Refuse(self.stream()?),
            6 => Step::Reset(self.stream()?),
            7..=9 => Step::Release(self.stream()?),
            10..=12 => Step::ReleaseAll,
            13 => Step::Leave,
            _ => Step::Turn,
        })
    }

    /// A header block: a request, one with more fields, by the table, or anything.
    fn block(&mut self) -> Option<Vec<u8>> {
        let choice = self.byte()?;
        let request = [0x83, 0x86, 0x84];
        Some(match choice % 8 {
            0..=2 => request.to_vec(),
            3 => {
                let value = vec![choice; usize::from(choice) / 2];
                [&request[..], &[0x40, 1, b'a' + (choice >> 5), choice / 2], &value].concat()
            }
            4 => [&request[..], &self.bytes(usize::from(choice >> 3))].concat(),
            5 => [&request[..], &[0xbe | (choice >> 6); 30]].concat(),
            6 => [&[0x20 | choice >> 3], &request[..]].concat(),
            _ => self.bytes(usize::from(choice >> 3)),
        })
    }
}

/// The payload that the flags promise: padding of a few bytes, a priority.
fn padded(flags: u8, payload: Vec<u8>) -> Vec<u8> {
    let pad = usize::from(flags >> 4 & 2) + payload.len() % 3;
    let (is_padded, has_priority) = (flags & 8 != 0, flags & 0x20 != 0);
    let length = if is_padded { vec![pad as u8] } else { Vec::new() };
    let priority = if has_priority { vec![0; 5] } else { Vec::new() };
    [length, priority, payload, vec![0; if is_padded { pad } else { 0 }]].concat()
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let head = (payload.len() as u32).to_be_bytes();
    [&head[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}
