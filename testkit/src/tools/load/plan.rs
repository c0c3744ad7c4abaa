//! What is sent: bodies made before anything is measured, and how many of them at a time.
//!
//! Must never change while it is measured.

use std::io;
use std::time::Duration;

use bytes::Bytes;

use super::Args;
use super::grpc::head::RequestHead;
use super::protocol::Protocol;
use crate::generate::{kube_like_bytes, kube_like_bytes_sized};
use crate::payloads::recorded_resliced;
use crate::wire::count_spans;

/// What every connection reads.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) protocol: Protocol,
    /// Of gRPC calls.
    pub(super) head: RequestHead,
    /// What is sent in turn: messages with gRPC's prefix, or whole requests of HTTP/1.1.
    pub(super) bodies: Vec<Bytes>,
    /// The spans of each.
    pub(super) spans: Vec<u64>,
    /// Calls in flight on a connection.
    pub(super) in_flight: usize,
    pub(super) timeout: Duration,
}

impl Plan {
    /// # Errors
    /// `InvalidInput` where there would be nothing to send.
    pub(super) fn new(args: &Args, authority: &str) -> io::Result<Self> {
        let timeout = Duration::from_secs_f64(args.timeout_seconds);
        let messages = messages(args);
        if messages.is_empty() || args.in_flight == 0 || args.connections == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "no messages, calls or connections to send",
            ));
        }
        let spans =
            messages.iter().map(|message| count_spans(message).expect("our own requests are well-formed"));
        Ok(Self {
            protocol: args.protocol,
            head: RequestHead::new(authority, timeout, args.gzip),
            spans: spans.collect(),
            bodies: messages
                .iter()
                .map(|message| args.protocol.body(message, args.gzip, authority))
                .collect(),
            in_flight: args.in_flight,
            timeout,
        })
    }

    /// Bytes of a body, on average; over HTTP with its head.
    pub(super) fn body_bytes(&self) -> usize {
        self.bodies.iter().map(Bytes::len).sum::<usize>() / self.bodies.len()
    }
}

fn messages(args: &Args) -> Vec<Bytes> {
    let from = |source: &str| args.recorded_source.as_deref().is_none_or(|wanted| wanted == source);
    if args.recorded || args.recorded_source.is_some() {
        recorded_resliced().into_iter().filter(|one| from(one.name)).map(|one| one.bytes).collect()
    } else {
        let spans = args.spans_per_request;
        let sized = |bytes| kube_like_bytes_sized(spans, 1, bytes);
        vec![args.span_bytes.map_or_else(|| kube_like_bytes(spans, 1), sized)]
    }
}
