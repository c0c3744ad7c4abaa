//! Where bytes lie: telling memory that came from a source from memory that was made on the way.

use std::io::IoSlice;
use std::ops::Range;

use bytes::{Buf, Bytes};

/// What an HTTP/2 peer that was told nothing else takes per DATA frame (RFC 9113, section 6.5.2).
pub(crate) const FRAME_BYTES: usize = 16 << 10;

/// A slice of memory as addresses.
pub(crate) type Span = Range<usize>;

pub(crate) fn span_of(bytes: &[u8]) -> Span {
    let range = bytes.as_ptr_range();
    range.start as usize..range.end as usize
}

pub(crate) fn lies_in(inner: &Span, sources: &[Span]) -> bool {
    sources.iter().any(|source| source.start <= inner.start && inner.end <= source.end)
}

/// Reads `body` as h2 does: DATA frame by DATA frame, each written with up to 16 ranges at a time (the number
/// that `Take::chunks_vectored` gives). Returns the ranges that the socket is handed, in order, none of them
/// empty.
pub(crate) fn written_ranges(mut body: impl Buf) -> Vec<Span> {
    let mut ranges = Vec::new();
    while body.has_remaining() {
        let frame_bytes = body.remaining().min(FRAME_BYTES);
        let mut frame = (&mut body).take(frame_bytes);
        while frame.has_remaining() {
            let mut slices = [IoSlice::new(&[]); 16];
            let filled = frame.chunks_vectored(&mut slices);
            let sent: Vec<Span> = slices[..filled].iter().map(|slice| span_of(slice)).collect();
            let sent_bytes = sent.iter().map(Range::len).sum();
            assert!(sent_bytes > 0, "a reader with bytes left gives some");
            ranges.extend(sent);
            frame.advance(sent_bytes);
        }
    }
    ranges
}

/// The same with ranges that continue one another joined: runs of memory.
pub(crate) fn runs(ranges: &[Span]) -> Vec<Span> {
    let mut runs: Vec<Span> = Vec::new();
    for range in ranges {
        match runs.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => runs.push(range.clone()),
        }
    }
    runs
}

/// A body cut as DATA frames cut it; every piece a slice of `body`, as h2 hands out slices of its receive
/// buffers.
pub(crate) fn data_frames(body: &Bytes) -> Vec<Bytes> {
    (0..body.len()).step_by(FRAME_BYTES).map(|at| body.slice(at..body.len().min(at + FRAME_BYTES))).collect()
}
