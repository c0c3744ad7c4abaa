//! One request's body while it arrives: counted on the way, or kept where that cannot be.
//!
//! Must never keep more than is allowed, nor anything that only has to be counted.

use std::io::{self, Read};

use super::super::http2::headers::Encoding;
use super::opened::{Contents, Opened};
use super::spans::SpanCounter;
use super::{Count, Rules};
use crate::wire::count_spans;

/// Length of gRPC's prefix: flag and length.
const PREFIX_BYTES: usize = 5;

/// gRPC status codes that the sink gives (google/rpc/code.proto), as grpc-go does.
pub(super) const RESOURCE_EXHAUSTED: i32 = 8;
pub(super) const UNIMPLEMENTED: i32 = 12;
pub(super) const INTERNAL: i32 = 13;

/// What becomes of the bytes after the prefix.
#[derive(Debug)]
enum Content {
    /// The prefix is not there yet.
    Unknown,
    Counted(SpanCounter),
    Passed,
    Kept(Vec<u8>),
}

/// A body that is arriving.
#[derive(Debug)]
pub(super) struct Message {
    prefix: [u8; PREFIX_BYTES],
    /// Bytes of prefix and message so far.
    received: usize,
    encoding: Encoding,
    content: Content,
    malformed: bool,
}

/// A message that is taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) spans: u64,
    /// Bytes of the message, uncompressed.
    pub(super) bytes: usize,
    /// Bytes of prefix and message as they came.
    pub(super) wire_bytes: usize,
    /// The message, where it is to be kept.
    pub(super) kept: Option<Vec<u8>>,
}

impl Message {
    pub(super) fn new(encoding: Encoding) -> Self {
        let (prefix, content) = ([0; PREFIX_BYTES], Content::Unknown);
        Self { prefix, received: 0, encoding, content, malformed: false }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// The gRPC status code of a message that is too large: there is no need to wait for its end.
    pub(super) fn feed(&mut self, mut bytes: &[u8], rules: &Rules) -> Result<(), i32> {
        let missing = PREFIX_BYTES.saturating_sub(self.received).min(bytes.len());
        if missing > 0 {
            let (prefix, rest) = bytes.split_at(missing);
            self.prefix[self.received..self.received + missing].copy_from_slice(prefix);
            bytes = rest;
            self.received += missing;
            if self.received == PREFIX_BYTES {
                self.content = self.content_of(rules);
            }
        }
        self.received += bytes.len();
        if self.received > PREFIX_BYTES + rules.recv_bytes_max {
            return Err(RESOURCE_EXHAUSTED);
        }
        match &mut self.content {
            // What goes beyond the claimed length is refused at the end, and walking on is then of no use.
            Content::Counted(counter) if !self.malformed => self.malformed = counter.feed(bytes).is_err(),
            Content::Kept(kept) => kept.extend_from_slice(bytes),
            _ => {}
        }
        Ok(())
    }

    fn claimed_bytes(&self) -> usize {
        let [_, length @ ..] = self.prefix;
        u32::from_be_bytes(length) as usize
    }

    fn is_compressed(&self) -> bool {
        self.prefix[0] == 1
    }

    fn content_of(&self, rules: &Rules) -> Content {
        if self.is_compressed() || rules.keeps {
            Content::Kept(Vec::with_capacity(self.claimed_bytes().min(rules.recv_bytes_max)))
        } else if rules.count == Count::Spans {
            Content::Counted(SpanCounter::new(self.claimed_bytes() as u64))
        } else {
            Content::Passed
        }
    }

    /// The end of the body. What is only counted is looked up in `opened` before it is decompressed.
    ///
    /// # Errors
    /// The gRPC status code of a message that is refused.
    pub(super) fn finish(self, rules: &Rules, opened: &mut Opened) -> Result<Taken, i32> {
        let wire_bytes = self.received;
        if wire_bytes < PREFIX_BYTES || wire_bytes != PREFIX_BYTES + self.claimed_bytes() || self.malformed {
            return Err(INTERNAL);
        }
        if self.is_compressed() && self.encoding == Encoding::Other {
            return Err(UNIMPLEMENTED);
        }
        let bytes = wire_bytes - PREFIX_BYTES;
        let is_compressed = self.is_compressed();
        let whole = match self.content {
            Content::Counted(counter) => {
                let spans = counter.finish().map_err(|_| INTERNAL)?;
                return Ok(Taken { spans, bytes, wire_bytes, kept: None });
            }
            Content::Kept(whole) => whole,
            Content::Unknown | Content::Passed => {
                return Ok(Taken { spans: 0, bytes, wire_bytes, kept: None });
            }
        };
        if is_compressed && !rules.keeps {
            let Contents { spans, bytes } = open(whole, rules, opened)?;
            return Ok(Taken { spans, bytes, wire_bytes, kept: None });
        }
        let whole =
            if is_compressed { inflate(&whole, rules.recv_bytes_max).map_err(|_| INTERNAL)? } else { whole };
        let Contents { spans, bytes } = contents_of(&whole, rules)?;
        Ok(Taken { spans, bytes, wire_bytes, kept: rules.keeps.then_some(whole) })
    }
}

fn contents_of(message: &[u8], rules: &Rules) -> Result<Contents, i32> {
    if message.len() > rules.recv_bytes_max {
        return Err(RESOURCE_EXHAUSTED);
    }
    let spans = match rules.count {
        Count::Spans => count_spans(message).map_err(|_| INTERNAL)?,
        Count::None => 0,
    };
    Ok(Contents { spans, bytes: message.len() })
}

/// What is in a compressed message that is not kept.
fn open(compressed: Vec<u8>, rules: &Rules, opened: &mut Opened) -> Result<Contents, i32> {
    if let Some(contents) = opened.find(&compressed) {
        return Ok(contents);
    }
    let whole = inflate(&compressed, rules.recv_bytes_max).map_err(|_| INTERNAL)?;
    let contents = contents_of(&whole, rules)?;
    opened.note(compressed, contents);
    Ok(contents)
}

/// Inflates at most one byte more than is allowed, which is enough to know that it is too much.
fn inflate(compressed: &[u8], bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut inflated = Vec::new();
    flate2::read::MultiGzDecoder::new(compressed).take(bytes_max as u64 + 1).read_to_end(&mut inflated)?;
    Ok(inflated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::kube_like_bytes;
    use crate::raw::{grpc_message, grpc_message_compressed, grpc_message_with, gzip};

    const RULES: Rules = Rules { recv_bytes_max: 10_000, count: Count::Spans, keeps: false };

    fn take(body: &[u8], encoding: Encoding, rules: &Rules) -> Result<Taken, i32> {
        let mut message = Message::new(encoding);
        for piece in body.chunks(333) {
            message.feed(piece, rules)?;
        }
        message.finish(rules, &mut Opened::default())
    }

    /// Guarantee: a compressed message that comes again is counted again, and a bad one is refused again.
    #[test]
    fn what_comes_again_counts_again() {
        let mut opened = Opened::default();
        let bad = grpc_message_compressed(&gzip(b"\x0a\x7f"));
        let good = grpc_message_compressed(&gzip(&kube_like_bytes(3, 1)));
        for _ in 0..3 {
            let mut take = |body: &[u8]| {
                let mut message = Message::new(Encoding::Gzip);
                message.feed(body, &RULES).unwrap();
                message.finish(&RULES, &mut opened)
            };
            assert_eq!(take(&good).unwrap().spans, 3);
            assert_eq!(take(&bad), Err(INTERNAL));
        }
    }

    /// Guarantee: plain or compressed, counted or kept, the figures are the same.
    #[test]
    fn figures_do_not_depend_on_the_way() {
        let request = kube_like_bytes(7, 1);
        let (plain, packed) = (grpc_message(&request), grpc_message_compressed(&gzip(&request)));
        for keeps in [false, true] {
            for (body, encoding) in [(&plain, Encoding::Unsaid), (&packed, Encoding::Gzip)] {
                let taken = take(body, encoding, &Rules { keeps, ..RULES }).unwrap();
                let kept = keeps.then(|| request.to_vec());
                assert_eq!(taken, Taken { spans: 7, bytes: request.len(), wire_bytes: body.len(), kept });
            }
        }
        let uncounted = take(&plain, Encoding::Unsaid, &Rules { count: Count::None, ..RULES }).unwrap();
        assert_eq!((uncounted.spans, uncounted.bytes), (0, request.len()));
    }

    #[test]
    fn bad_messages_get_the_codes_of_grpc_go() {
        let code = |body: &[u8], encoding| take(body, encoding, &RULES).unwrap_err();
        let large = vec![0; 10_001];
        assert_eq!(code(&grpc_message(&large), Encoding::Unsaid), RESOURCE_EXHAUSTED);
        assert_eq!(code(&grpc_message_compressed(&gzip(&large)), Encoding::Gzip), RESOURCE_EXHAUSTED);
        assert_eq!(code(&grpc_message_compressed(b"not gzip"), Encoding::Gzip), INTERNAL);
        assert_eq!(code(&grpc_message_compressed(b"zstd"), Encoding::Other), UNIMPLEMENTED);
        assert_eq!(code(&grpc_message(b"\x0a\x7f"), Encoding::Unsaid), INTERNAL);
        assert_eq!(code(&grpc_message_with(0, 3, b"\x0a\x01"), Encoding::Unsaid), INTERNAL);
        assert_eq!(code(&grpc_message_with(0, 1, b"\x0a\x00"), Encoding::Unsaid), INTERNAL);
        assert_eq!(code(b"\0\0\0", Encoding::Unsaid), INTERNAL);
        assert_eq!(code(b"", Encoding::Unsaid), INTERNAL);
    }
}
