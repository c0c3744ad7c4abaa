//! Deterministic requests that look like what kube-apiserver sends about its own work and its calls to etcd.
//!
//! Must never read a clock or a random source: the same (spans, seed) gives the same bytes for ever, so that benches of different
//! days and programs compare.

use bytes::Bytes;

use crate::oracle::{
    AnyValue, ExportTraceServiceRequest, InstrumentationScope, KeyValue, Resource, ResourceSpans, ScopeSpans,
    Span, Status, any_value, encode, span,
};

/// Spans that share a trace id: the median of the recorded requests.
const SPANS_PER_TRACE: u64 = 18;
/// 2026-01-01T00:00:00Z.
const EPOCH_NANOS: u64 = 1_767_225_600_000_000_000;

/// A small generator of repeatable numbers (xorshift64*, Vigna 2016). Not for secrets.
#[derive(Debug, Clone)]
pub struct Xorshift(u64);

impl Xorshift {
    /// A generator whose sequence depends on `seed` alone; any seed will do.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(mix(seed) | 1)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number in `0..bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { (self.next_u64() % bound as u64) as usize }
    }

    /// One of `choices`, which must not be empty.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }
}

/// splitmix64's finalizer: a bijection, so that distinct inputs stay distinct.
fn mix(value: u64) -> u64 {
    let mut bits = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

/// A request of `spans` spans of about 475 bytes each under one resource and (from two spans on) two scopes: 1 span is about
/// 0.9 KB, 100 are about 48 KB, 512 about 243 KB. Span ids are unique over all (seed, index) with seed < 2^40 and index < 2^24.
#[must_use]
pub fn kube_like_request(spans: usize, seed: u64) -> ExportTraceServiceRequest {
    let mut random = Xorshift::new(seed);
    let (mut served, mut called) = (Vec::new(), Vec::new());
    for index in 0..spans {
        if index % 2 == 0 {
            served.push(server_span(seed, index as u64, &mut random));
        } else {
            called.push(client_span(seed, index as u64, &mut random));
        }
    }
    let scopes =
        [("net/http/otelhttp", "0.68.0", served), ("google.golang.org/grpc/otelgrpc", "0.68.0", called)];
    let scope_spans =
        scopes.into_iter().filter(|(_, _, spans)| !spans.is_empty()).map(|(name, version, spans)| {
            ScopeSpans {
                scope: Some(InstrumentationScope {
                    name: format!("go.opentelemetry.io/contrib/instrumentation/{name}"),
                    version: version.to_owned(),
                    ..InstrumentationScope::default()
                }),
                spans,
                schema_url: String::new(),
            }
        });
    let resource_spans = ResourceSpans {
        resource: Some(resource(seed)),
        scope_spans: scope_spans.collect(),
        schema_url: "https://opentelemetry.io/schemas/1.39.0".to_owned(),
    };
    ExportTraceServiceRequest { resource_spans: vec![resource_spans] }
}

/// [`kube_like_request`], encoded.
#[must_use]
pub fn kube_like_bytes(spans: usize, seed: u64) -> Bytes {
    encode(&kube_like_request(spans, seed)).into()
}

fn resource(seed: u64) -> Resource {
    let attributes = vec![
        text("service.name", "kube-apiserver"),
        text("service.instance.id", &format!("kube-apiserver-{:016x}", mix(!seed))),
        text("telemetry.sdk.language", "go"),
        text("telemetry.sdk.name", "opentelemetry"),
        text("telemetry.sdk.version", "1.40.0"),
        text("host.name", "control-plane-0.cluster.example"),
        text("k8s.node.name", "control-plane-0"),
        int("process.pid", 2417),
    ];
    Resource { attributes, ..Resource::default() }
}

fn server_span(seed: u64, index: u64, random: &mut Xorshift) -> Span {
    const VERBS: [&str; 4] = ["GET", "PUT", "POST", "PATCH"];
    const PATHS: [&str; 4] = [
        "/api/v1/namespaces/kube-system/pods/coredns-7db6d8ff4d-x2x8q",
        "/api/v1/nodes/control-plane-0/status?timeout=10s&fieldManager=kubelet",
        "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/worker-1",
        "/apis/apps/v1/namespaces/openshift-monitoring/deployments/prometheus",
    ];
    let (verb, path) = (*random.pick(&VERBS), *random.pick(&PATHS));
    let attributes = vec![
        text("http.request.method", verb),
        text("url.path", path),
        text("server.address", "api.cluster.example"),
        int("server.port", 6443),
        text("client.address", "10.0.12.7"),
        text("user_agent.original", "kubelet/v1.37.2 (linux/amd64) kubernetes/4c2a8d1"),
        text("audit-id", &format!("{:016x}", random.next_u64())),
        int("http.response.status_code", 200),
    ];
    let events = vec![event(index, "About to write a response")];
    Span {
        name: verb.to_owned(),
        kind: span::SpanKind::Server as i32,
        attributes,
        events,
        ..shell(seed, index, random)
    }
}

fn client_span(seed: u64, index: u64, random: &mut Xorshift) -> Span {
    const METHODS: [&str; 3] =
        ["etcdserverpb.KV/Range", "etcdserverpb.KV/Txn", "etcdserverpb.Lease/LeaseGrant"];
    let method = *random.pick(&METHODS);
    let attributes = vec![
        text("rpc.method", method),
        text("rpc.system.name", "grpc"),
        text("server.address", "etcd-0.etcd.openshift-etcd.svc"),
        int("server.port", 2379),
        text("rpc.response.status_code", "OK"),
        text("etcd.key", "/registry/leases/kube-node-lease/worker-1"),
        int("etcd.revision", 1_000_000 + random.below(1_000_000) as i64),
        bool_value("serializable", random.below(2) == 0),
    ];
    let events = vec![event(index, "message sent"), event(index, "message received")];
    Span {
        name: method.to_owned(),
        kind: span::SpanKind::Client as i32,
        attributes,
        events,
        ..shell(seed, index, random)
    }
}

/// What both kinds of span have: ids, times, status, flags.
fn shell(seed: u64, index: u64, random: &mut Xorshift) -> Span {
    let id = |index: u64| mix(seed << 24 | index).to_be_bytes().to_vec();
    let root = index - index % SPANS_PER_TRACE;
    let mut trace_id = mix(!seed).to_be_bytes().to_vec();
    trace_id.extend(mix(seed << 24 | root).to_be_bytes());
    let start_time_unix_nano = EPOCH_NANOS + index * 1_000_000;
    Span {
        trace_id,
        span_id: id(index),
        parent_span_id: if index == root { Vec::new() } else { id(root) },
        start_time_unix_nano,
        end_time_unix_nano: start_time_unix_nano + 100_000 + random.below(5_000_000) as u64,
        status: Some(Status::default()),
        flags: 0x101,
        ..Span::default()
    }
}

fn event(index: u64, name: &str) -> span::Event {
    span::Event {
        time_unix_nano: EPOCH_NANOS + index * 1_000_000 + 50_000,
        name: name.to_owned(),
        attributes: vec![int("message.id", index as i64)],
        dropped_attributes_count: 0,
    }
}

fn key_value(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn text(key: &str, value: &str) -> KeyValue {
    key_value(key, any_value::Value::StringValue(value.to_owned()))
}

fn int(key: &str, value: i64) -> KeyValue {
    key_value(key, any_value::Value::IntValue(value))
}

fn bool_value(key: &str, value: bool) -> KeyValue {
    key_value(key, any_value::Value::BoolValue(value))
}
