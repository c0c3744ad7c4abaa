//! Recorded traffic of real programs (see `testkit/payloads/README.md`), for tests and benches on bytes nobody here made up.
//!
//! Must never edit what it hands out as recorded; only [`recorded_resliced`] groups spans anew, and says so.

use std::io::Read;

use bytes::Bytes;

use crate::oracle::{ExportTraceServiceRequest, ResourceSpans, ScopeSpans, Span, decode, encode};
use crate::wire::split_delimited;

/// Spans in a re-cut request: the median of what one source sends at a time.
pub const RESLICED_SPANS: usize = 18;

/// Name and gzip bytes of each recording.
const FILES: [(&str, &[u8]); 3] = [
    ("kube-apiserver-etcd", include_bytes!("../payloads/kube-apiserver-etcd.pb.gz")),
    ("crio", include_bytes!("../payloads/crio.pb.gz")),
    ("containerd", include_bytes!("../payloads/containerd.pb.gz")),
];

/// One recorded request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The recording it is from: `kube-apiserver-etcd`, `crio` or `containerd`.
    pub name: &'static str,
    /// The encoded `ExportTraceServiceRequest`.
    pub bytes: Bytes,
}

/// Every recorded request, byte for byte, in the order of recording. Unpacks 1.8 MB on every call.
#[must_use]
pub fn recorded() -> Vec<Recorded> {
    let unpacked =
        FILES.iter().map(|(name, file)| (*name, unpack(file).expect("the recordings are well-formed")));
    unpacked
        .flat_map(|(name, messages)| messages.into_iter().map(move |bytes| Recorded { name, bytes }))
        .collect()
}

/// The recorded spans in requests of about what one source sends: grouped by resource, [`RESLICED_SPANS`] at a time, encoded by
/// prost. The recorder had batched them into requests of up to 2,560 spans.
#[must_use]
pub fn recorded_resliced() -> Vec<Recorded> {
    let mut resliced = Vec::new();
    for Recorded { name, bytes } in recorded() {
        let request = decode(&bytes).expect("the recordings are well-formed");
        resliced.extend(reslice(&request, RESLICED_SPANS).into_iter().map(|bytes| Recorded { name, bytes }));
    }
    resliced
}

/// Cuts a request into encoded requests of one resource and at most `spans_max` (> 0) spans each, spans in order.
#[must_use]
pub fn reslice(request: &ExportTraceServiceRequest, spans_max: usize) -> Vec<Bytes> {
    let mut cut = Vec::new();
    for resource_spans in &request.resource_spans {
        let spans: Vec<(&ScopeSpans, &Span)> = resource_spans
            .scope_spans
            .iter()
            .flat_map(|scope_spans| scope_spans.spans.iter().map(move |span| (scope_spans, span)))
            .collect();
        cut.extend(spans.chunks(spans_max).map(|run| regroup(resource_spans, run)));
    }
    cut
}

fn regroup(headers: &ResourceSpans, run: &[(&ScopeSpans, &Span)]) -> Bytes {
    let scope_spans = run
        .chunk_by(|(first, _), (second, _)| std::ptr::eq(*first, *second))
        .filter_map(|group| {
            let (header, _) = group.first()?;
            Some(ScopeSpans {
                scope: header.scope.clone(),
                spans: group.iter().map(|(_, span)| (*span).clone()).collect(),
                schema_url: header.schema_url.clone(),
            })
        })
        .collect();
    let resource_spans = ResourceSpans {
        resource: headers.resource.clone(),
        scope_spans,
        schema_url: headers.schema_url.clone(),
    };
    encode(&ExportTraceServiceRequest { resource_spans: vec![resource_spans] }).into()
}

/// Unpacks a recording: gzip of messages, each preceded by its length as a varint.
///
/// # Errors
/// `InvalidData` (or flate2's own) where it is not that.
pub fn unpack(file: &[u8]) -> std::io::Result<Vec<Bytes>> {
    let mut unpacked = Vec::new();
    flate2::read::MultiGzDecoder::new(file).read_to_end(&mut unpacked)?;
    split_delimited(&unpacked.into())
        .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error))
}
