//! The sink's answers, encoded once.
//!
//! Must never be made anew for a request: from the second answer on, a success is 35 bytes that differ in the stream alone.

use super::super::http2::frame::{DATA, END_HEADERS, END_STREAM, HEADERS, TABLE_BYTES, put_head};
use super::super::http2::hpack::{NEWEST, Name, put_indexed, put_literal, put_table_size};

/// The success message: empty, after its prefix (gRPC over HTTP/2, "Length-Prefixed-Message").
const EMPTY_MESSAGE: [u8; 5] = [0; 5];
/// What an answer takes off the windows.
pub(super) const ANSWER_BYTES: i64 = EMPTY_MESSAGE.len() as i64;

/// `:status: 200` of the static table.
const STATUS_200: u64 = 8;
const CONTENT_TYPE: (Name, &str) = (Name::Index(31), "application/grpc");
const GRPC_STATUS: Name = Name::Spelled("grpc-status");

/// Encodes a connection's answers.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Whether the peer's table has our two entries, or has been said to be empty.
    begun: bool,
}

impl Answers {
    /// Appends the answer with `code` to a stream. `table_bytes` is the peer's dynamic table.
    pub(super) fn put(&mut self, out: &mut Vec<u8>, stream: u32, code: i32, table_bytes: u32) {
        let indexes = table_bytes >= TABLE_BYTES;
        let mut head = Vec::with_capacity(32);
        if code == 0 && indexes && self.begun {
            put_frames(out, stream, &[0x88, 0x80 | (NEWEST as u8 + 1)], &[0x80 | NEWEST as u8]);
            return;
        }
        if !indexes && !self.begun {
            put_table_size(&mut head, 0);
            self.begun = true;
        }
        put_indexed(&mut head, STATUS_200);
        if code == 0 {
            let mut trailers = Vec::with_capacity(16);
            put_literal(&mut head, indexes, CONTENT_TYPE.0, CONTENT_TYPE.1);
            put_literal(&mut trailers, indexes, GRPC_STATUS, "0");
            self.begun = true;
            put_frames(out, stream, &head, &trailers);
        } else {
            // "Trailers-Only", and nothing of it into the table: its places are counted on.
            put_literal(&mut head, false, CONTENT_TYPE.0, CONTENT_TYPE.1);
            put_literal(&mut head, false, GRPC_STATUS, &code.to_string());
            put_head(out, head.len(), HEADERS, END_HEADERS | END_STREAM, stream);
            out.extend_from_slice(&head);
        }
    }
}

fn put_frames(out: &mut Vec<u8>, stream: u32, head: &[u8], trailers: &[u8]) {
    put_head(out, head.len(), HEADERS, END_HEADERS, stream);
    out.extend_from_slice(head);
    put_head(out, EMPTY_MESSAGE.len(), DATA, 0, stream);
    out.extend_from_slice(&EMPTY_MESSAGE);
    put_head(out, trailers.len(), HEADERS, END_HEADERS | END_STREAM, stream);
    out.extend_from_slice(trailers);
}

#[cfg(test)]
mod tests {
    use super::super::super::http2::headers::HeaderReader;
    use super::super::super::http2::reader::{Event, FrameReader};
    use super::*;

    /// Guarantee: successes and refusals in any order are read as such, with and without a dynamic table.
    #[test]
    fn answers_are_read_back() {
        for table_bytes in [0, 4_096, 65_536] {
            let (mut answers, mut out) = (Answers::default(), Vec::new());
            let codes = [12, 0, 0, 8, 0];
            for (place, code) in codes.iter().enumerate() {
                out.clear();
                answers.put(&mut out, place as u32 * 2 + 1, *code, table_bytes);
            }
            assert!(table_bytes == 0 || out.len() == 35, "{}", out.len());
            let (mut answers, mut out) = (Answers::default(), Vec::new());
            for (place, code) in codes.iter().enumerate() {
                answers.put(&mut out, place as u32 * 2 + 1, *code, table_bytes);
            }
            let (mut frames, mut headers, mut input) =
                (FrameReader::default(), HeaderReader::default(), &out[..]);
            let (mut ended, mut statuses) = (Vec::new(), 0);
            while let Some(event) = frames.next(&mut input).unwrap() {
                let Event::Headers { stream, block, end_stream } = event else { continue };
                let fields = headers.read(block).unwrap();
                statuses += u32::from(fields.http_status == 200);
                if end_stream {
                    ended.push((stream, fields.grpc_status.unwrap()));
                }
            }
            assert_eq!(statuses, 5);
            assert_eq!(ended, [(1, 12), (3, 0), (5, 0), (7, 8), (9, 0)]);
        }
    }
}
