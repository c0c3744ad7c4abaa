//! The bytes that grpc-go sends on a connection: calls as an exporter, answers as an upstream.
//!
//! Header blocks are written as golang.org/x/net/http2/hpack writes them: every field joins the table, texts are Huffman-coded where
//! that is shorter. The `grpc-timeout` of each call is another, so the table churns as it does on a node. Shares no code with
//! relay-core, and must never be measured: it runs in the set-up.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use testkit::raw::{EXPORT_PATH, grpc_message};

use crate::payload::FRAME_BYTES;

/// What a client sends first (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const INITIAL_WINDOW_SIZE: u16 = 4;
/// Window of the upstream for calls and for the connection, in bytes: never what is waited for.
const WINDOW_BYTES: u32 = 1 << 30;

/// The entries of HPACK's static table that match here (RFC 7541, appendix A): place, name, value.
const STATIC: [(usize, &str, &str); 7] = [
    (1, ":authority", ""),
    (3, ":method", "POST"),
    (4, ":path", "/"),
    (6, ":scheme", "http"),
    (8, ":status", "200"),
    (31, "content-type", ""),
    (58, "user-agent", ""),
];
/// Place of the newest entry of the dynamic table.
const NEWEST: usize = 62;
/// Size of the dynamic table, and what an entry counts beside its texts, in bytes (RFC 7541, section 4.1).
const TABLE_BYTES: usize = 4096;
const ENTRY_BYTES: usize = 32;

/// An exporter's connection.
#[derive(Debug, Default)]
pub struct Exporter {
    encoder: Encoder,
    calls: u32,
}

impl Exporter {
    /// What it sends when it has connected.
    #[must_use]
    pub fn hello() -> Bytes {
        let mut out = PREFACE.to_vec();
        put_frame(&mut out, SETTINGS, 0, 0, &[]);
        put_frame(&mut out, SETTINGS, ACK, 0, &[]);
        out.into()
    }

    /// The next call, as reads of at most `read_bytes` bytes out of one receive buffer.
    pub fn call(&mut self, message: &[u8], read_bytes: usize) -> Vec<Bytes> {
        let stream = 2 * self.calls + 1;
        // What is left of ten seconds, in microseconds: eight digits are allowed.
        let timeout = format!("{}u", 9_999_900 - u64::from(self.calls) * 37 % 1_000_000);
        self.calls += 1;
        let fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", EXPORT_PATH),
            (":authority", "10.0.0.1:4317"),
            ("content-type", "application/grpc"),
            ("user-agent", "OTel OTLP Exporter Go/1.38.0 grpc-go/1.75.0"),
            ("te", "trailers"),
            ("grpc-timeout", &timeout),
        ];
        let mut out = Vec::new();
        put_frame(&mut out, HEADERS, END_HEADERS, stream, &self.encoder.block(&fields));
        let body = grpc_message(message);
        let mut pieces = body.chunks(FRAME_BYTES).peekable();
        while let Some(piece) = pieces.next() {
            let flags = if pieces.peek().is_none() { END_STREAM } else { 0 };
            put_frame(&mut out, DATA, flags, stream, piece);
        }
        let mut buffer = BytesMut::from(&out[..]);
        let mut reads = Vec::new();
        while !buffer.is_empty() {
            reads.push(buffer.split_to(read_bytes.min(buffer.len())).freeze());
        }
        reads
    }
}

/// An upstream's connection.
#[derive(Debug, Default)]
pub struct Upstream {
    encoder: Encoder,
    calls: u32,
}

impl Upstream {
    /// What it sends when it is connected to.
    #[must_use]
    pub fn hello() -> Vec<u8> {
        let mut settings = INITIAL_WINDOW_SIZE.to_be_bytes().to_vec();
        settings.extend_from_slice(&WINDOW_BYTES.to_be_bytes());
        let mut out = Vec::new();
        put_frame(&mut out, SETTINGS, 0, 0, &settings);
        put_frame(&mut out, SETTINGS, ACK, 0, &[]);
        put_frame(&mut out, WINDOW_UPDATE, 0, 0, &WINDOW_BYTES.to_be_bytes());
        out
    }

    /// Full success for the next call, whose body of `body_bytes` bytes may come again.
    pub fn answer(&mut self, body_bytes: usize) -> Vec<u8> {
        let stream = 2 * self.calls + 1;
        self.calls += 1;
        let body_bytes = u32::try_from(body_bytes).expect("less than the window");
        let mut out = Vec::new();
        put_frame(&mut out, WINDOW_UPDATE, 0, 0, &body_bytes.to_be_bytes());
        let head = self.encoder.block(&[(":status", "200"), ("content-type", "application/grpc")]);
        put_frame(&mut out, HEADERS, END_HEADERS, stream, &head);
        put_frame(&mut out, DATA, 0, stream, &[0; 5]);
        let trailers = self.encoder.block(&[("grpc-status", "0"), ("grpc-message", "")]);
        put_frame(&mut out, HEADERS, END_HEADERS | END_STREAM, stream, &trailers);
        out
    }
}

fn put_frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let [_, len @ ..] = u32::try_from(payload.len()).expect("at most a frame").to_be_bytes();
    out.extend_from_slice(&len);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// Writes header blocks and knows the peer's table.
#[derive(Debug, Default)]
struct Encoder {
    // Newest first.
    table: VecDeque<(String, String)>,
    table_bytes: usize,
}

impl Encoder {
    fn block(&mut self, fields: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, value) in fields {
            self.put(&mut out, name, value);
        }
        out
    }

    fn put(&mut self, out: &mut Vec<u8>, name: &str, value: &str) {
        let entries = || {
            let dynamic = self.table.iter().enumerate();
            let dynamic = dynamic.map(|(at, (name, value))| (NEWEST + at, name.as_str(), value.as_str()));
            STATIC.iter().copied().chain(dynamic)
        };
        if let Some((place, ..)) = entries().find(|entry| (entry.1, entry.2) == (name, value)) {
            return put_integer(out, 0x80, 7, place);
        }
        match entries().find(|entry| entry.1 == name) {
            Some((place, ..)) => put_integer(out, 0x40, 6, place),
            None => {
                out.push(0x40);
                put_text(out, name);
            }
        }
        put_text(out, value);
        self.table.push_front((name.to_owned(), value.to_owned()));
        self.table_bytes += name.len() + value.len() + ENTRY_BYTES;
        while self.table_bytes > TABLE_BYTES {
            let (name, value) = self.table.pop_back().expect("its entries are what it counts");
            self.table_bytes -= name.len() + value.len() + ENTRY_BYTES;
        }
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let mut coded = Vec::new();
    httlib_huffman::encode(text.as_bytes(), &mut coded).expect("every byte has a code");
    let (flag, bytes) = if coded.len() < text.len() { (0x80, &coded[..]) } else { (0, text.as_bytes()) };
    put_integer(out, flag, 7, bytes.len());
    out.extend_from_slice(bytes);
}

/// An integer behind the flags of its first byte (RFC 7541, section 5.1).
fn put_integer(out: &mut Vec<u8>, flags: u8, bits: u32, value: usize) {
    let first_max = (1 << bits) - 1;
    if value < first_max {
        return out.push(flags | value as u8);
    }
    out.push(flags | first_max as u8);
    let mut rest = value - first_max;
    while rest >= 128 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}
