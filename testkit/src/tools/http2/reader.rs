//! Frames out of whatever pieces a socket gives (RFC 9113, sections 4 and 6).
//!
//! Must never copy the payload of a DATA frame: it is handed on piece by piece, as it lies in the buffer it was read into. Everything
//! else is small, and is copied only if it arrives in pieces.

use super::frame::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, FRAME_BYTES_MAX, HEAD_BYTES, HEADERS, Head, PADDED,
    PRIORITY, Violation,
};

/// The longest header block that is put together, bytes.
const BLOCK_BYTES_MAX: usize = 64 << 10;

/// What has arrived.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::tools) enum Event<'a> {
    /// A piece of a DATA frame. `flow_bytes` is what it takes off the windows: padding counts.
    Data { stream: u32, bytes: &'a [u8], flow_bytes: u32, end_stream: bool },
    /// A whole header block, CONTINUATION frames joined, padding and priority taken off.
    Headers { stream: u32, block: &'a [u8], end_stream: bool },
    /// Any other frame.
    Other { head: Head, payload: &'a [u8] },
}

/// What is left of a DATA frame.
#[derive(Debug, Clone, Copy)]
struct DataLeft {
    stream: u32,
    len: usize,
    end_stream: bool,
}

/// A header block whose CONTINUATION is awaited.
#[derive(Debug)]
struct OpenBlock {
    stream: u32,
    end_stream: bool,
    block: Vec<u8>,
}

/// Takes bytes, gives events. Holds nothing but the beginning of a frame that is not there in full.
#[derive(Debug, Default)]
pub(in crate::tools) struct FrameReader {
    /// The beginning of a frame, or a whole one that has just been given out.
    partial: Vec<u8>,
    given_out: bool,
    data: Option<DataLeft>,
    open_block: Option<OpenBlock>,
}

impl FrameReader {
    /// The next event in `input`, which is advanced past it; `None` when more input is needed. Call it until then.
    ///
    /// # Errors
    /// [`Violation`]; nothing that follows makes sense then.
    pub(in crate::tools) fn next<'a, 'input: 'a>(
        &'a mut self,
        input: &mut &'input [u8],
    ) -> Result<Option<Event<'a>>, Violation> {
        if self.given_out {
            self.partial.clear();
            self.given_out = false;
        }
        while self.data.is_some() || self.read_head(input)? {
            if let Some(left) = self.data {
                return Ok(self.next_piece(left, input));
            }
            let Some(head) = self.gather(input) else { return Ok(None) };
            if matches!(head.kind, HEADERS | CONTINUATION) && !self.keep_block(head, input)? {
                self.pass(head, input);
                continue;
            }
            return self.give_out(head, input).map(Some);
        }
        Ok(None)
    }

    /// Whether a frame's head is there. That of a plain DATA frame is consumed; others stay, at the start of `partial` or `input`.
    fn read_head(&mut self, input: &mut &[u8]) -> Result<bool, Violation> {
        if self.partial.is_empty() {
            let Some(bytes) = input.first_chunk() else {
                self.partial.extend_from_slice(input);
                *input = &[];
                return Ok(false);
            };
            if self.begin(Head::parse(*bytes))? {
                *input = &input[HEAD_BYTES..];
            }
            return Ok(true);
        }
        if !self.fill_partial(HEAD_BYTES, input) {
            return Ok(false);
        }
        if self.begin(self.partial_head())? {
            self.partial.clear();
        }
        Ok(true)
    }

    /// Checks a head; `true` where it starts a plain DATA frame, which is then handed on in pieces.
    fn begin(&mut self, head: Head) -> Result<bool, Violation> {
        if head.len > FRAME_BYTES_MAX {
            return Err(Violation("a frame is longer than 16,384 bytes"));
        }
        if self.open_block.is_some() && head.kind != CONTINUATION {
            return Err(Violation("a header block is interrupted"));
        }
        let in_pieces = head.kind == DATA && !head.has(PADDED);
        if in_pieces {
            let end_stream = head.has(END_STREAM);
            self.data = Some(DataLeft { stream: head.stream, len: head.len, end_stream });
        }
        Ok(in_pieces)
    }

    fn next_piece<'a>(&mut self, left: DataLeft, input: &mut &'a [u8]) -> Option<Event<'a>> {
        if input.is_empty() && left.len > 0 {
            return None;
        }
        let (bytes, rest) = input.split_at(left.len.min(input.len()));
        *input = rest;
        let len = left.len - bytes.len();
        self.data = (len > 0).then_some(DataLeft { len, ..left });
        let end_stream = left.end_stream && len == 0;
        Some(Event::Data { stream: left.stream, bytes, flow_bytes: bytes.len() as u32, end_stream })
    }

    fn partial_head(&self) -> Head {
        Head::parse(self.partial[..HEAD_BYTES].try_into().expect("nine bytes"))
    }

    /// Moves bytes from `input` until `partial` has `len`; says whether it has.
    fn fill_partial(&mut self, len: usize, input: &mut &[u8]) -> bool {
        let missing = len.saturating_sub(self.partial.len()).min(input.len());
        let (moved, rest) = input.split_at(missing);
        self.partial.extend_from_slice(moved);
        *input = rest;
        self.partial.len() >= len
    }

    /// The head of the frame that now lies whole at the start of `partial` or, if that is empty, of `input`.
    fn gather(&mut self, input: &mut &[u8]) -> Option<Head> {
        if self.partial.is_empty() {
            let head = Head::parse(*input.first_chunk()?);
            if input.len() >= HEAD_BYTES + head.len {
                return Some(head);
            }
        } else if self.partial.len() >= HEAD_BYTES {
            let head = self.partial_head();
            return self.fill_partial(HEAD_BYTES + head.len, input).then_some(head);
        }
        self.partial.extend_from_slice(input);
        *input = &[];
        None
    }

    /// Moves past a gathered frame.
    fn pass(&mut self, head: Head, input: &mut &[u8]) {
        if self.partial.is_empty() {
            *input = &input[HEAD_BYTES + head.len..];
        } else {
            self.partial.clear();
        }
    }

    /// Keeps the fragment of a HEADERS or CONTINUATION frame if the block is not, or was not, in one piece. `true` when the block can be
    /// given out.
    fn keep_block(&mut self, head: Head, input: &[u8]) -> Result<bool, Violation> {
        if head.kind == HEADERS && head.has(END_HEADERS) {
            return Ok(true);
        }
        let frame = if self.partial.is_empty() { input } else { &self.partial };
        let payload = &frame[HEAD_BYTES..HEAD_BYTES + head.len];
        if head.kind == HEADERS {
            let block = fragment(head, payload)?.to_vec();
            let end_stream = head.has(END_STREAM);
            self.open_block = Some(OpenBlock { stream: head.stream, end_stream, block });
            return Ok(false);
        }
        let Some(open) = self.open_block.as_mut().filter(|open| open.stream == head.stream) else {
            return Err(Violation("a CONTINUATION frame continues nothing"));
        };
        open.block.extend_from_slice(payload);
        if open.block.len() > BLOCK_BYTES_MAX {
            return Err(Violation("a header block is longer than 64 KiB"));
        }
        Ok(head.has(END_HEADERS))
    }

    /// The event of a gathered frame.
    fn give_out<'a, 'input: 'a>(
        &'a mut self,
        head: Head,
        input: &mut &'input [u8],
    ) -> Result<Event<'a>, Violation> {
        if let Some(OpenBlock { stream, end_stream, block }) = self.open_block.take() {
            // Rare. The block must live as long as the event, and the last fragment's own bytes are of no more use.
            self.pass(head, input);
            self.partial = block;
            self.given_out = true;
            return Ok(Event::Headers { stream, block: &self.partial, end_stream });
        }
        let frame: &[u8] = if self.partial.is_empty() {
            let (frame, rest) = input.split_at(HEAD_BYTES + head.len);
            *input = rest;
            frame
        } else {
            self.given_out = true;
            &self.partial
        };
        let payload = &frame[HEAD_BYTES..];
        let (stream, end_stream) = (head.stream, head.has(END_STREAM));
        match head.kind {
            HEADERS => Ok(Event::Headers { stream, block: fragment(head, payload)?, end_stream }),
            DATA => Ok(Event::Data {
                stream,
                bytes: unpad(payload)?,
                flow_bytes: payload.len() as u32,
                end_stream,
            }),
            _ => Ok(Event::Other { head, payload }),
        }
    }
}

/// The payload of a HEADERS frame without padding and priority (RFC 9113, section 6.2).
fn fragment(head: Head, payload: &[u8]) -> Result<&[u8], Violation> {
    let payload = if head.has(PADDED) { unpad(payload)? } else { payload };
    if head.has(PRIORITY) {
        return payload.get(5..).ok_or(Violation("a HEADERS frame is too short"));
    }
    Ok(payload)
}

/// A padded payload without its padding (RFC 9113, section 6.1).
fn unpad(payload: &[u8]) -> Result<&[u8], Violation> {
    let (&pad, rest) = payload.split_first().ok_or(Violation("a padded frame is empty"))?;
    let len = rest.len().checked_sub(pad.into()).ok_or(Violation("padding is longer than its frame"))?;
    Ok(&rest[..len])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::frame::{PING, put_head};
    use super::*;

    /// An event with its bytes, DATA pieces of a frame joined.
    #[derive(Debug, PartialEq, Eq)]
    enum Seen {
        Data(u32, Vec<u8>, u32, bool),
        Headers(u32, Vec<u8>, bool),
        Other(Head, Vec<u8>),
    }

    fn read(reader: &mut FrameReader, mut input: &[u8], seen: &mut Vec<Seen>) -> Result<(), Violation> {
        while let Some(event) = reader.next(&mut input)? {
            match event {
                Event::Data { stream, bytes, flow_bytes, end_stream } => match seen.last_mut() {
                    // Streams differ from frame to frame in what is read here.
                    Some(Seen::Data(same, joined, flow, end)) if *same == stream => {
                        joined.extend_from_slice(bytes);
                        *flow += flow_bytes;
                        *end = end_stream;
                    }
                    _ => seen.push(Seen::Data(stream, bytes.to_vec(), flow_bytes, end_stream)),
                },
                Event::Headers { stream, block, end_stream } => {
                    seen.push(Seen::Headers(stream, block.to_vec(), end_stream));
                }
                Event::Other { head, payload } => seen.push(Seen::Other(head, payload.to_vec())),
            }
        }
        assert!(input.is_empty(), "all input is taken");
        Ok(())
    }

    fn put(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        put_head(out, payload.len(), kind, flags, stream);
        out.extend_from_slice(payload);
    }

    /// Every kind of frame there is, and what must be seen of it.
    fn conversation() -> (Vec<u8>, Vec<Seen>) {
        let mut wire = Vec::new();
        put(&mut wire, HEADERS, END_HEADERS, 1, b"block one");
        put(&mut wire, DATA, 0, 1, b"");
        put(&mut wire, PING, 0, 0, b"12345678");
        put(&mut wire, DATA, END_STREAM, 3, &[7; 300]);
        put(&mut wire, HEADERS, END_HEADERS | END_STREAM | PADDED | PRIORITY, 5, b"\x03prioblock\0\0\0");
        put(&mut wire, DATA, PADDED | END_STREAM, 7, b"\x02data\0\0");
        put(&mut wire, HEADERS, END_STREAM, 9, b"first ");
        put(&mut wire, CONTINUATION, 0, 9, b"second ");
        put(&mut wire, CONTINUATION, END_HEADERS, 9, b"third");
        put(&mut wire, DATA, END_STREAM, 11, b"end");
        let ping = Head { len: 8, kind: PING, flags: 0, stream: 0 };
        let seen = vec![
            Seen::Headers(1, b"block one".to_vec(), false),
            Seen::Data(1, Vec::new(), 0, false),
            Seen::Other(ping, b"12345678".to_vec()),
            Seen::Data(3, vec![7; 300], 300, true),
            Seen::Headers(5, b"lock".to_vec(), true),
            Seen::Data(7, b"data".to_vec(), 7, true),
            Seen::Headers(9, b"first second third".to_vec(), true),
            Seen::Data(11, b"end".to_vec(), 3, true),
        ];
        (wire, seen)
    }

    #[test]
    fn every_cut_gives_the_same_frames() {
        let (wire, expected) = conversation();
        for cut in 0..wire.len() {
            let (mut reader, mut seen) = (FrameReader::default(), Vec::new());
            read(&mut reader, &wire[..cut], &mut seen).unwrap();
            read(&mut reader, &wire[cut..], &mut seen).unwrap();
            assert_eq!(seen, expected, "cut at {cut}");
        }
        let (mut reader, mut seen) = (FrameReader::default(), Vec::new());
        for byte in &wire {
            read(&mut reader, std::slice::from_ref(byte), &mut seen).unwrap();
        }
        assert_eq!(seen, expected);
    }

    #[test]
    fn violations_are_told() {
        let refused = |frames: &[(u8, u8, u32, &[u8])]| {
            let mut wire = Vec::new();
            for (kind, flags, stream, payload) in frames {
                put(&mut wire, *kind, *flags, *stream, payload);
            }
            read(&mut FrameReader::default(), &wire, &mut Vec::new()).is_err()
        };
        assert!(refused(&[(DATA, 0, 1, &[0; FRAME_BYTES_MAX + 1])]));
        assert!(refused(&[(HEADERS, 0, 1, b"open"), (DATA, 0, 1, b"")]));
        assert!(refused(&[(HEADERS, 0, 1, b"open"), (CONTINUATION, END_HEADERS, 3, b"")]));
        assert!(refused(&[(CONTINUATION, END_HEADERS, 1, b"")]));
        assert!(refused(&[(DATA, PADDED, 1, b"\x05four")]));
        assert!(refused(&[(HEADERS, PRIORITY | END_HEADERS, 1, b"four")]));
    }

    proptest! {
        /// Guarantee: no input makes the reader panic or stop taking input without saying so.
        #[test]
        fn any_bytes_in_any_pieces_are_survived(
            wire in prop::collection::vec(prop_oneof![3 => 0_u8..12, 1 => any::<u8>()], 0..400),
            cuts in prop::collection::vec(1_usize..40, 1..20),
        ) {
            let mut reader = FrameReader::default();
            let mut rest = &wire[..];
            for len in cuts.iter().cycle() {
                let (piece, left) = rest.split_at((*len).min(rest.len()));
                rest = left;
                if read(&mut reader, piece, &mut Vec::new()).is_err() || rest.is_empty() {
                    break;
                }
            }
        }
    }
}
