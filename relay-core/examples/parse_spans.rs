//! Reads an OTLP trace request through the lazy views and prints its spans: service, name, duration,
//! attributes.
//!
//! `cargo run --example parse_spans [FILE]`: FILE holds one encoded `ExportTraceServiceRequest`, as an
//! OTLP/HTTP sender would POST it. Without a file it shows a small request of its own.

use std::error::Error;
use std::time::Duration;

use bytes::{BufMut, Bytes};
use relay_core::otlp::{AnyValueView, RawRequest, RequestView, ResourceSpansView, Signal, SpanView};
use relay_core::wire::{DecodeError, append_varint};

fn main() -> Result<(), Box<dyn Error>> {
    let message = match std::env::args_os().nth(1) {
        Some(path) => Bytes::from(std::fs::read(path)?),
        None => Bytes::from(sample()),
    };
    // Framing proves the lengths around each span; what is inside is looked at when the views are asked for
    // it.
    let request = RawRequest::new(message).frame(Signal::Traces)?;
    println!("{} spans in {} bytes", request.items(), request.len());

    let message = request.segments().contiguous();
    for resource_spans in RequestView::new(&message).resource_spans() {
        let resource_spans = resource_spans?;
        let service = service_name(&resource_spans)?;
        for scope_spans in resource_spans.scope_spans() {
            for span in scope_spans?.spans() {
                print_span(service, &span?)?;
            }
        }
    }
    Ok(())
}

fn service_name<'a>(resource_spans: &ResourceSpansView<'a>) -> Result<&'a str, DecodeError> {
    if let Some(resource) = resource_spans.resource()? {
        for attribute in resource.attributes() {
            let attribute = attribute?;
            if let ("service.name", AnyValueView::String(name)) = (attribute.key()?, attribute.value()?) {
                return Ok(name);
            }
        }
    }
    Ok("unknown service")
}

fn print_span(service: &str, span: &SpanView<'_>) -> Result<(), DecodeError> {
    // One pass over the span finds all its fields; asking the view for each would be a pass each.
    let span = span.fields()?;
    let duration = Duration::from_nanos(span.duration_nanos());
    println!("{service}: {} ({}, {duration:?})", span.name()?, span.kind());
    if let Some(trace_id) = span.trace_id()? {
        println!("    trace {trace_id}");
    }
    for attribute in span.attributes() {
        println!("    {}", attribute?);
    }
    for event in span.events() {
        println!("    event {}", event?.name()?);
    }
    Ok(())
}

/// An `ExportTraceServiceRequest` of one span, written field by field.
fn sample() -> Vec<u8> {
    let string_value = |text: &str| field(1, text.as_bytes());
    let attribute = |key: &str, value: Vec<u8>| [field(1, key.as_bytes()), field(2, &value)].concat();
    let status_code = attribute("http.response.status_code", vec![3 << 3, 42]); // int_value
    let span = [
        field(1, &[0x5b; 16]), // trace_id
        field(2, &[0x2a; 8]),  // span_id
        field(5, b"GET /healthz"),
        vec![6 << 3, 2],                       // kind: server
        fixed64(7, 1_767_225_600_000_000_000), // start_time_unix_nano
        fixed64(8, 1_767_225_600_001_250_000), // end_time_unix_nano
        field(9, &attribute("url.path", string_value("/healthz"))),
        field(9, &status_code),
        field(11, &field(2, b"handler started")),
    ]
    .concat();
    let resource = field(1, &attribute("service.name", string_value("checkout")));
    let resource_spans = [field(1, &resource), field(2, &field(2, &span))].concat();
    field(1, &resource_spans)
}

/// A length-delimited field.
fn field(number: u32, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    append_varint(&mut out, u64::from(number << 3 | 2));
    append_varint(&mut out, value.len() as u64);
    out.put_slice(value);
    out
}

fn fixed64(number: u8, value: u64) -> Vec<u8> {
    let mut out = vec![number << 3 | 1];
    out.put_u64_le(value);
    out
}
