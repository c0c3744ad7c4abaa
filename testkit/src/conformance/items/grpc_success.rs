//! What an OTLP/gRPC receiver has to take.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

use crate::collector::Signal;
use crate::conformance::payload;
use crate::conformance::upstream::Protocol;
use crate::conformance::verdict::{Miss, Seen, demand, skip};
use crate::conformance::world::{World, call, connect_grpc};
use crate::oracle::{ExportTraceServiceRequest, ResourceSpans, ScopeSpans};
use crate::raw::{EXPORT_PATH, RawRequest, RawResponse, grpc_message, grpc_message_compressed, gzip};
use crate::wire::put_len_field;

/// gRPC status UNIMPLEMENTED.
const UNIMPLEMENTED: i32 = 12;

fn expect_ok(what: &str, response: &RawResponse) -> Result<(), Miss> {
    demand(response.grpc_status() == Some(0), || format!("{what}: {}", status_words(response)))
}

/// Name and text of a gRPC status.
pub(super) fn status_words(response: &RawResponse) -> String {
    let name = response.grpc_status().map_or_else(
        || format!("no gRPC status, HTTP {}", response.status),
        |code| format!("{:?}", tonic::Code::from_i32(code)),
    );
    format!("{name} {}", response.grpc_message()).trim_end().to_owned()
}

pub(super) async fn g01_signals(world: &World) -> Seen {
    let mut without = Vec::new();
    for signal in Signal::ALL {
        let mark = world.mark("G01");
        let response = world.export(signal.grpc_path(), &payload::one(signal, &mark, world.number())).await?;
        if signal == Signal::Profiles && response.grpc_status() == Some(UNIMPLEMENTED) {
            without.push("profiles (a development still) UNIMPLEMENTED");
            continue;
        }
        expect_ok(signal.name(), &response)?;
        if world.upstreams().next().is_some() {
            let arrival = world.arrived(&mark).await?;
            demand(arrival.signal == Some(signal), || {
                format!("{} arrived as {}", signal.name(), arrival.target)
            })?;
        }
    }
    let unknown = world.export("/opentelemetry.proto.collector.other.v1.OtherService/Export", b"").await?;
    demand(unknown.grpc_status() == Some(UNIMPLEMENTED), || {
        format!("an unknown service: {}", status_words(&unknown))
    })?;
    without.insert(0, "all signals taken, unknown service UNIMPLEMENTED");
    Ok(without.join("; "))
}

pub(super) async fn g02_port(world: &World) -> Seen {
    let addr = world.receiver(Protocol::Grpc)?;
    if !world.features().default_ports {
        return skip("the port is configured: --has default-ports is not given");
    }
    let standard = SocketAddr::new(addr.ip(), 4317);
    let request =
        RawRequest::export(vec![grpc_message(&payload::one(Signal::Traces, &world.mark("G02"), 1))]);
    expect_ok("Export on 4317", &call(&connect_grpc(standard).await?, request).await?)?;
    Ok(format!("served on {standard}"))
}

pub(super) async fn g03_encodings(world: &World) -> Seen {
    let mut arrived = String::new();
    for encoding in ["identity", "gzip"] {
        let mark = world.mark("G03");
        let message = payload::one(Signal::Traces, &mark, world.number());
        let framed = if encoding == "gzip" {
            grpc_message_compressed(&gzip(&message))
        } else {
            grpc_message(&message)
        };
        let request = RawRequest::export(vec![framed]).with_header("grpc-encoding", encoding);
        expect_ok(encoding, &world.grpc(request).await?)?;
        arrived = world.tell_arrival(&mark).await?;
    }
    Ok(format!("both taken; {arrived}"))
}

pub(super) async fn g05_limit(world: &World) -> Seen {
    let Some(limit) = world.features().limit_bytes else {
        let mark = world.mark("G05");
        let spans: Vec<_> = (0..10_240).map(|_| payload::span(&mark, world.number(), 1_024)).collect();
        let count = spans.len();
        let message = payload::of_spans(spans).encode_to_vec();
        expect_ok(&format!("{} bytes", message.len()), &world.export(EXPORT_PATH, &message).await?)?;
        if world.upstreams().next().is_some() {
            world.all_arrived(&mark, count).await?;
        }
        return Ok(format!("a request of {} bytes taken by default", message.len()));
    };
    let fits = payload::sized(&world.mark("G05"), world.number(), limit);
    demand(fits.len() == limit, || format!("the suite cannot make a request of {limit} bytes"))?;
    expect_ok(&format!("{limit} bytes, the limit"), &world.export(EXPORT_PATH, &fits).await?)?;
    let over = payload::sized(&world.mark("G05"), world.number(), limit + 1);
    let refused = world.export(EXPORT_PATH, &over).await?;
    demand(refused.grpc_status() != Some(0), || format!("{} bytes taken, the limit is {limit}", over.len()))?;
    Ok(format!("{limit} bytes taken, one more: {}", status_words(&refused)))
}

pub(super) async fn g07_empty_response(world: &World) -> Seen {
    for signal in [Signal::Traces, Signal::Metrics, Signal::Logs] {
        let message = payload::one(signal, &world.mark("G07"), world.number());
        let response = world.export(signal.grpc_path(), &message).await?;
        expect_ok(signal.name(), &response)?;
        demand(*response.body == [0; 5], || {
            format!(
                "{}: the message is {:02x?} instead of empty",
                signal.name(),
                response.body.get(5..).unwrap_or_default()
            )
        })?;
    }
    Ok("flag 0 and length 0, nothing else".to_owned())
}

pub(super) async fn g08_empty_request(world: &World) -> Seen {
    for signal in [Signal::Traces, Signal::Metrics, Signal::Logs] {
        // No bytes; a Resource... without anything; with an empty Resource; with an empty Scope...
        for message in [&b""[..], b"\x0a\x00", b"\x0a\x02\x0a\x00", b"\x0a\x02\x12\x00"] {
            let response = world.export(signal.grpc_path(), message).await?;
            expect_ok(&format!("{} {message:02x?}", signal.name()), &response)?;
        }
    }
    Ok("0 bytes, and containers without items, of three signals".to_owned())
}

pub(super) async fn g15_parallel(world: &World) -> Seen {
    const CALLS: usize = 100;
    let client = std::sync::Arc::new(world.connect_grpc().await?);
    let started = Instant::now();
    let mut calls = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let message = grpc_message(&payload::one(Signal::Traces, &world.mark("G15"), world.number()));
        let mut request = RawRequest::export(vec![message.slice(..20), message.slice(20..)]);
        // Each is open for a while: they cannot but run side by side.
        request.pause = Duration::from_millis(500);
        let client = std::sync::Arc::clone(&client);
        calls.push(tokio::spawn(async move { call(&client, request).await }));
    }
    for running in calls {
        let response = running.await.map_err(|error| Miss::Fail(error.to_string()))??;
        expect_ok("one of 100 calls", &response)?;
    }
    Ok(format!("{CALLS} calls that each take 500 ms in {} ms", started.elapsed().as_millis()))
}

/// Fields that no version of OTLP has, at four levels, each with its own mark; they must not stop the message, nor get lost.
pub(super) async fn g16_unknown_fields(world: &World) -> Seen {
    const UNKNOWN_FIELD: u32 = 19_001;
    let mark = world.mark("G16");
    let marks: Vec<String> = (0..4).map(|_| world.mark("G16")).collect();
    let with = |mut message: Vec<u8>, mark: &str| {
        put_len_field(&mut message, UNKNOWN_FIELD, mark.as_bytes());
        message
    };
    let span = with(payload::span(&mark, world.number(), 0).encode_to_vec(), &marks[0]);
    let containing = |message: Vec<u8>, number, inner: &[u8]| {
        let mut message = message;
        put_len_field(&mut message, number, inner);
        message
    };
    let scope_spans = with(containing(ScopeSpans::default().encode_to_vec(), 2, &span), &marks[1]);
    let of_resource = ResourceSpans { resource: Some(Resource::default()), ..ResourceSpans::default() };
    let resource_spans = with(containing(of_resource.encode_to_vec(), 2, &scope_spans), &marks[2]);
    let request = containing(ExportTraceServiceRequest::default().encode_to_vec(), 1, &resource_spans);
    let request = with(request, &marks[3]);
    expect_ok("a request with unknown fields", &world.export(EXPORT_PATH, &request).await?)?;
    if world.upstreams().next().is_none() {
        return skip("taken; whether they are forwarded needs an upstream");
    }
    let arrival = world.arrived(&mark).await?;
    let levels = ["Span", "ScopeSpans", "ResourceSpans", "request"];
    let lost: Vec<&str> =
        marks.iter().zip(levels).filter(|(mark, _)| !arrival.has(mark)).map(|(_, level)| level).collect();
    demand(lost.is_empty(), || format!("taken, but the unknown fields of {} are gone", lost.join(", ")))?;
    Ok("taken, and forwarded at all four levels".to_owned())
}
