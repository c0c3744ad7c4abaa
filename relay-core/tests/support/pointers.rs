//! Where bytes lie: telling memory that came from a source from memory that was made on the way.

use std::ops::Range;

use bytes::Bytes;

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
