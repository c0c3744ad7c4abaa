//! Sample traces for `relayd send`: a web shop's checkout, one that fails, and the start of a pod on a node. Encoded
//! straight into OTLP's wire format. Must never claim to be anything but samples: `sample: true` is on every resource.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use bytes::Bytes;
use relay_core::otlp::fields::{
    any_value, key_value, request, resource, resource_spans, scope, scope_spans, span, status,
};
use relay_core::otlp::{SpanId, SpanKind, StatusCode, TraceId};
use relay_core::wire::append_varint;

/// A trace, as its services send it: a request each.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) id: TraceId,
    /// The root span's name.
    pub(crate) name: &'static str,
    pub(crate) spans: usize,
    pub(crate) requests: Vec<Bytes>,
}

/// One span of a story.
struct Step {
    service: &'static str,
    name: &'static str,
    kind: SpanKind,
    /// Number of the step that it belongs to; its own number for the root.
    parent: usize,
    start_micros: u64,
    micros: u64,
    error: &'static str,
    attribute: (&'static str, &'static str),
}

const fn step(
    (service, name, kind): (&'static str, &'static str, SpanKind),
    parent: usize,
    (start_micros, micros): (u64, u64),
    attribute: (&'static str, &'static str),
) -> Step {
    Step { service, name, kind, parent, start_micros, micros, error: "", attribute }
}

const fn failed(step: Step, error: &'static str) -> Step {
    Step { error, ..step }
}

const SERVER: SpanKind = SpanKind::SERVER;
const CLIENT: SpanKind = SpanKind::CLIENT;
const INTERNAL: SpanKind = SpanKind::INTERNAL;

const CHECKOUT: [Step; 9] = [
    step(("frontend", "POST /cart/checkout", SERVER), 0, (0, 184_300), ("http.response.status_code", "200")),
    step(("frontend", "shop.Checkout/PlaceOrder", CLIENT), 0, (4_100, 176_800), ("rpc.system", "grpc")),
    step(("checkout", "shop.Checkout/PlaceOrder", SERVER), 1, (5_600, 173_900), ("app.order.items", "3")),
    step(("checkout", "prepare order", INTERNAL), 2, (6_000, 41_200), ("app.currency", "EUR")),
    step(("checkout", "SELECT shop.products", CLIENT), 3, (9_300, 12_700), ("db.system.name", "postgresql")),
    step(("checkout", "shop.Payment/Charge", CLIENT), 2, (49_000, 118_400), ("rpc.system", "grpc")),
    step(("payment", "shop.Payment/Charge", SERVER), 5, (50_300, 115_000), ("app.payment.method", "card")),
    step(("payment", "POST bank.example", CLIENT), 6, (52_000, 88_000), ("http.response.status_code", "201")),
    step(("payment", "INSERT payments", CLIENT), 6, (142_000, 19_500), ("db.system.name", "postgresql")),
];

const DECLINED: [Step; 7] = [
    failed(
        step(
            ("frontend", "POST /cart/checkout", SERVER),
            0,
            (0, 96_100),
            ("http.response.status_code", "402"),
        ),
        "payment failed",
    ),
    step(("frontend", "shop.Checkout/PlaceOrder", CLIENT), 0, (3_900, 90_700), ("rpc.system", "grpc")),
    step(("checkout", "shop.Checkout/PlaceOrder", SERVER), 1, (5_200, 88_100), ("app.order.items", "1")),
    step(("checkout", "SELECT shop.products", CLIENT), 2, (6_100, 9_900), ("db.system.name", "postgresql")),
    step(("checkout", "shop.Payment/Charge", CLIENT), 2, (18_000, 73_000), ("rpc.system", "grpc")),
    step(("payment", "shop.Payment/Charge", SERVER), 4, (19_400, 70_200), ("app.payment.method", "card")),
    failed(
        step(
            ("payment", "POST bank.example", CLIENT),
            5,
            (21_000, 67_000),
            ("http.response.status_code", "402"),
        ),
        "card declined: insufficient funds",
    ),
];

const POD_START: [Step; 8] = [
    step(("kubelet", "syncPod", INTERNAL), 0, (0, 2_340_000), ("k8s.pod", "shop/checkout-7d9c5")),
    step(
        ("kubelet", "runtime.v1.RuntimeService/RunPodSandbox", CLIENT),
        0,
        (21_000, 640_000),
        ("rpc.system", "grpc"),
    ),
    step(
        ("crio", "runtime.v1.RuntimeService/RunPodSandbox", SERVER),
        1,
        (22_400, 637_000),
        ("rpc.system", "grpc"),
    ),
    step(("crio", "networkStart", INTERNAL), 2, (180_000, 401_000), ("cni.network", "ovn-kubernetes")),
    step(
        ("kubelet", "runtime.v1.ImageService/PullImage", CLIENT),
        0,
        (670_000, 1_310_000),
        ("rpc.system", "grpc"),
    ),
    step(
        ("crio", "runtime.v1.ImageService/PullImage", SERVER),
        4,
        (671_500, 1_307_000),
        ("image", "shop/checkout:1.4"),
    ),
    step(
        ("crio", "runtime.v1.RuntimeService/CreateContainer", SERVER),
        0,
        (1_990_000, 190_000),
        ("container", "checkout"),
    ),
    step(
        ("crio", "runtime.v1.RuntimeService/StartContainer", SERVER),
        0,
        (2_190_000, 120_000),
        ("container", "checkout"),
    ),
];

/// The sample of this number; they repeat. `now` is nanoseconds since the Unix epoch: the trace ended just then.
pub(crate) fn sample(number: u32, now: u64) -> Sample {
    match number % 3 {
        0 => tell(&CHECKOUT, now),
        1 => tell(&DECLINED, now),
        _ => tell(&POD_START, now),
    }
}

fn tell(steps: &[Step], now: u64) -> Sample {
    let trace = TraceId(random());
    let ids: Vec<SpanId> = steps.iter().map(|_| SpanId(random())).collect();
    let lasted_micros = steps.iter().map(|step| step.start_micros + step.micros).max().unwrap_or_default();
    let began = now.saturating_sub(lasted_micros * 1000);
    let mut services: Vec<(&str, Vec<u8>)> = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        let (Some(id), parent) = (ids.get(number), ids.get(step.parent)) else { continue };
        let parent = parent.filter(|_| step.parent != number);
        let bytes = encode_span(step, trace, (*id, parent), began);
        match services.iter_mut().find(|(service, _)| *service == step.service) {
            Some((_, spans)) => put_bytes(spans, scope_spans::SPANS, &bytes),
            None => {
                let mut spans = Vec::new();
                put_bytes(&mut spans, scope_spans::SPANS, &bytes);
                services.push((step.service, spans));
            }
        }
    }
    let requests =
        services.into_iter().map(|(service, spans)| encode_request(service, &spans).into()).collect();
    Sample { id: trace, name: steps.first().map_or("", |step| step.name), spans: steps.len(), requests }
}

/// Bytes that nobody else has: std seeds each `RandomState` from the operating system's randomness.
fn random<const LEN: usize>() -> [u8; LEN] {
    let mut bytes = [0; LEN];
    for chunk in bytes.chunks_mut(8) {
        let word = RandomState::new().build_hasher().finish().to_ne_bytes();
        chunk.iter_mut().zip(word).for_each(|(byte, random)| *byte = random);
    }
    bytes
}

fn encode_request(service: &str, spans: &[u8]) -> Vec<u8> {
    let mut own = Vec::new();
    put_bytes(&mut own, resource::ATTRIBUTES, &attribute("service.name", service));
    put_bytes(&mut own, resource::ATTRIBUTES, &attribute("sample", "true"));
    let mut library = Vec::new();
    put_bytes(&mut library, scope::NAME, b"relayd send");
    put_bytes(&mut library, scope::VERSION, env!("CARGO_PKG_VERSION").as_bytes());
    let mut scoped = Vec::new();
    put_bytes(&mut scoped, scope_spans::SCOPE, &library);
    scoped.extend_from_slice(spans);
    let mut all = Vec::new();
    put_bytes(&mut all, resource_spans::RESOURCE, &own);
    put_bytes(&mut all, resource_spans::SCOPE_SPANS, &scoped);
    let mut message = Vec::new();
    put_bytes(&mut message, request::RESOURCE_SPANS, &all);
    message
}

fn encode_span(step: &Step, trace: TraceId, (id, parent): (SpanId, Option<&SpanId>), began: u64) -> Vec<u8> {
    let start = began + step.start_micros * 1000;
    let mut out = Vec::new();
    put_bytes(&mut out, span::TRACE_ID, &trace.0);
    put_bytes(&mut out, span::SPAN_ID, &id.0);
    if let Some(parent) = parent {
        put_bytes(&mut out, span::PARENT_SPAN_ID, &parent.0);
    }
    put_bytes(&mut out, span::NAME, step.name.as_bytes());
    put_enum(&mut out, span::KIND, step.kind.0);
    put_fixed64(&mut out, span::START_TIME_UNIX_NANO, start);
    put_fixed64(&mut out, span::END_TIME_UNIX_NANO, start + step.micros * 1000);
    let (key, value) = step.attribute;
    put_bytes(&mut out, span::ATTRIBUTES, &attribute(key, value));
    if !step.error.is_empty() {
        let mut error = Vec::new();
        put_bytes(&mut error, status::MESSAGE, step.error.as_bytes());
        put_enum(&mut error, status::CODE, StatusCode::ERROR.0);
        put_bytes(&mut out, span::STATUS, &error);
    }
    out
}

fn attribute(key: &str, value: &str) -> Vec<u8> {
    let mut text = Vec::new();
    put_bytes(&mut text, any_value::STRING_VALUE, value.as_bytes());
    let mut pair = Vec::new();
    put_bytes(&mut pair, key_value::KEY, key.as_bytes());
    put_bytes(&mut pair, key_value::VALUE, &text);
    pair
}

/// Wire types: protobuf encoding guide, "Message Structure".
fn put_tag(out: &mut Vec<u8>, field: u32, wire_type: u32) {
    append_varint(out, u64::from(field << 3 | wire_type));
}

fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_tag(out, field, 2);
    append_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_enum(out: &mut Vec<u8>, field: u32, value: i32) {
    put_tag(out, field, 0);
    append_varint(out, u64::from(value.unsigned_abs()));
}

fn put_fixed64(out: &mut Vec<u8>, field: u32, value: u64) {
    put_tag(out, field, 1);
    out.extend_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use relay_core::otlp::RequestView;

    use super::*;
    use crate::summary;

    /// Guarantee: what is sent is read back span by span, as one tree per trace, and ends now.
    #[test]
    fn every_sample_is_one_whole_trace() {
        let now = 1_700_000_000_000_000_000;
        for number in 0..3 {
            let sample = sample(number, now);
            let mut spans = Vec::new();
            for request in &sample.requests {
                summary::read(&RequestView::new(request), |span| spans.push(span.unwrap()));
            }
            let ids: HashSet<SpanId> = spans.iter().map(|span| span.id).collect();
            assert_eq!((spans.len(), ids.len()), (sample.spans, sample.spans));
            assert!(spans.iter().all(|span| span.trace == sample.id));
            assert_eq!(spans.iter().filter(|span| span.parent.is_none()).count(), 1);
            assert!(spans.iter().filter_map(|span| span.parent).all(|parent| ids.contains(&parent)));
            assert_eq!(spans.iter().map(|span| span.start + span.duration).max(), Some(now));
            assert_eq!(spans.iter().any(|span| span.error.is_some()), number == 1);
        }
        assert_ne!(sample(0, now).id, sample(0, now).id);
    }
}
