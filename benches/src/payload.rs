//! What the benches are run on: generated requests of several sizes and the recorded ones.
//!
//! Must never hold requests that the oracle does not decode to the spans it says.

use bytes::{Bytes, BytesMut};
use criterion::Throughput;
use relay_core::wire::Segments;
use testkit::generate::kube_like_bytes;
use testkit::oracle::{decode, span_count};
use testkit::payloads::{Recorded, recorded, recorded_resliced};

/// Payload of one HTTP/2 DATA frame at the default `SETTINGS_MAX_FRAME_SIZE`, in bytes (RFC 9113 section 4.2).
pub const FRAME_BYTES: usize = 16 << 10;

/// Spans per request of the generated payloads.
pub const GENERATED_SPANS: [usize; 4] = [1, 10, 100, 512];

/// Requests that are measured together, once each in turn.
#[derive(Clone, Debug)]
pub struct Payload {
    /// Name in the output: `kube-100`, `recorded-18`.
    pub name: String,
    /// Encoded `ExportTraceServiceRequest`s.
    pub messages: Vec<Bytes>,
    /// Spans in all of them.
    pub spans: u64,
    /// Bytes of all of them.
    pub bytes: u64,
}

impl Payload {
    fn new(name: impl Into<String>, messages: Vec<Bytes>) -> Self {
        let spans =
            messages.iter().map(|message| span_count(&decode(message).expect("a request")) as u64).sum();
        let bytes = messages.iter().map(|message| message.len() as u64).sum();
        Self { name: name.into(), messages, spans, bytes }
    }

    /// Spans and bytes per second, for all messages once.
    #[must_use]
    pub fn throughput(&self) -> Throughput {
        Throughput::ElementsAndBytes { elements: self.spans, bytes: self.bytes }
    }

    /// The messages as they arrive: cut into DATA payloads, each in a buffer of its own.
    #[must_use]
    pub fn segmented(&self) -> Vec<Segments> {
        self.messages.iter().map(|message| in_frames(message)).collect()
    }
}

/// One generated request of `spans` spans.
#[must_use]
pub fn generated(spans: usize) -> Payload {
    Payload::new(format!("kube-{spans}"), vec![kube_like_bytes(spans, 1)])
}

/// The generated requests, then the recorded spans in requests of 18 (the median of one source), then the recorded requests as the
/// recorder sent them (up to 2,560 spans).
#[must_use]
pub fn all() -> Vec<Payload> {
    let mut all: Vec<_> = GENERATED_SPANS.into_iter().map(generated).collect();
    all.push(Payload::new("recorded-18", bytes_of(recorded_resliced())));
    all.push(Payload::new("recorded", bytes_of(recorded())));
    all
}

/// The payload of that name among [`all`], without making the others.
#[must_use]
pub fn named(name: &str) -> Option<Payload> {
    match name.split_once('-') {
        Some(("kube", spans)) => spans.parse().ok().map(generated),
        _ => all().into_iter().find(|payload| payload.name == name),
    }
}

fn bytes_of(recorded: Vec<Recorded>) -> Vec<Bytes> {
    recorded.into_iter().map(|one| one.bytes).collect()
}

/// `message` cut after every [`FRAME_BYTES`], each piece in memory of its own.
#[must_use]
pub fn in_frames(message: &[u8]) -> Segments {
    message.chunks(FRAME_BYTES).map(|piece| BytesMut::from(piece).freeze()).collect()
}
