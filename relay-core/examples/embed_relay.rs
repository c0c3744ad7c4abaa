//! Runs a relay inside a program: receives OTLP/gRPC on loopback, and takes requests from the program itself.
//!
//! The upstream is a function here, so that the example runs alone; with `UpstreamConfig::grpc` it is a Collector.
//! Run: `cargo run -p relay-core --example embed_relay`

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use relay_core::Relay;
use relay_core::batch::Batch;
use relay_core::config::{BatchSink, ReceiverConfig, UpstreamConfig};
use relay_core::otlp::Signal;
use relay_core::upstream::Outcome;

/// Accepts everything and says how much it was.
struct Printer;

impl BatchSink for Printer {
    fn deliver(&self, batch: &Batch) -> Outcome {
        let (spans, bytes, requests) = (batch.items(), batch.rope().len(), batch.parts().len());
        println!("a batch of {spans} spans, {bytes} bytes, merged from {requests} requests");
        Outcome::Accepted { rejected: 0, message: String::new() }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut printer = UpstreamConfig::sink("printer", Arc::new(Printer));
    printer.linger = Duration::from_millis(50);
    let relay = Relay::builder()
        .receiver(ReceiverConfig::new("otlp", SocketAddr::from((Ipv4Addr::LOCALHOST, 0))))
        .upstream(printer)
        .start()?;
    for address in relay.listening_on() {
        println!("listening on {address}");
    }

    // ExportTraceServiceRequest { resource_spans { scope_spans { spans { name: "hello" } } } }, as bytes of protobuf.
    let request = Bytes::from_static(b"\x0a\x0b\x12\x09\x12\x07\x2a\x05hello");
    let receipts: Vec<_> =
        (0..3).map(|_| relay.submit(Signal::Traces, request.clone())).collect::<Result<_, _>>()?;
    for receipt in receipts {
        println!("{:?}", receipt.await);
    }

    let stats = relay.drain(Duration::from_secs(5)).await;
    println!("{:?}", stats.upstreams.first().map(|upstream| upstream.items));
    Ok(())
}
