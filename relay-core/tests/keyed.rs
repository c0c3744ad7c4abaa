//! A whole relay before a tier of three: each span reaches the member that the ring gives its trace to, once, whatever becomes of
//! the others.

#![cfg(test)]

mod support;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message as _;
use relay_core::config::{Destination, KeyedConfig, Members, UpstreamConfig};
use relay_core::edit::RoutingKey;
use relay_core::upstream::{Endpoint, HostName, Ring};
use relay_core::{Resolve, ResolveError, Resolving};
use support::{SOON, assert_ok, builder, drain, endpoint, request, send_all, settled, upstream};
use testkit::collector::{Collector, Options, Reply, Script};
use testkit::oracle;
use tonic::Code;

/// Collectors at one port of 127.0.0.2, 127.0.0.3 and so on.
fn collectors(count: u8) -> Vec<Collector> {
    let mut port = 0;
    let start = |last: u8| {
        let listen = SocketAddr::from(([127, 0, 0, last + 2], port));
        let collector = Collector::start_with(Options { listen, ..Options::default() }, Script::ok());
        port = collector.addr().port();
        collector
    };
    (0..count).map(start).collect()
}

fn to(members: Members, key: RoutingKey) -> UpstreamConfig {
    let mut config = upstream(SocketAddr::from(([127, 0, 0, 1], 1)));
    let Destination::Grpc(grpc) = config.destination.clone() else { panic!() };
    config.destination = Destination::Keyed(Box::new(KeyedConfig { grpc: *grpc, key, members }));
    config
}

fn names(collectors: &[Collector]) -> Vec<String> {
    collectors.iter().map(|collector| collector.addr().to_string()).collect()
}

fn list(collectors: &[Collector]) -> Members {
    let member = |name: String| (name.clone(), Endpoint::parse(&name).unwrap());
    Members::Static(names(collectors).into_iter().map(member).collect())
}

/// A request of 12 spans of 6 traces that no other has.
fn mixed(seed: u64) -> Bytes {
    let mut request = request(12, seed);
    let spans = request.resource_spans.iter_mut().flat_map(|resource| &mut resource.scope_spans);
    for (at, span) in spans.flat_map(|scope| &mut scope.spans).enumerate() {
        span.trace_id = trace_id(seed, at as u64 / 2);
    }
    Bytes::from(oracle::encode(&request))
}

fn trace_id(seed: u64, number: u64) -> Vec<u8> {
    let trace = (seed * 6 + number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    [trace.to_be_bytes(), seed.to_be_bytes()].concat()
}

/// How many spans have arrived at each; fails if one is not where `ring` has its trace, or came twice.
fn arrived(collectors: &[Collector], ring: &Ring) -> Vec<usize> {
    let mut seen = std::collections::HashSet::new();
    let mut counts = Vec::new();
    for (at, collector) in collectors.iter().enumerate() {
        let spans = collector.spans();
        for span in &spans {
            assert_eq!(ring.member(&span.span.trace_id), Some(at));
            assert!(seen.insert(span.span.span_id.clone()), "twice");
        }
        counts.push(spans.len());
    }
    counts
}

#[expect(clippy::disallowed_methods, reason = "a test's own clock")]
fn soon(what: &str, condition: impl Fn() -> bool) {
    let until = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn spans(collectors: &[Collector]) -> usize {
    collectors.iter().map(Collector::span_count).sum()
}

#[test]
fn each_span_reaches_the_member_of_its_trace_once() {
    let collectors = collectors(3);
    let relay = builder(to(list(&collectors), RoutingKey::TraceId)).start().unwrap();
    assert_ok(&send_all(endpoint(&relay), (0..100).map(mixed)));
    let stats = drain(relay, SOON);
    assert_eq!(settled(&stats).delivered, 1200);
    let counts = arrived(&collectors, &Ring::new(&names(&collectors)));
    assert_eq!(counts.iter().sum::<usize>(), 1200);
    assert!(counts.iter().all(|count| *count > 150), "{counts:?}");
    let tier = stats.upstreams[0].tier.as_ref().unwrap();
    assert_eq!((tier.members, tier.is_dns, tier.outcomes.len()), (3, false, 3));
    assert!(tier.outcomes.values().all(|[taken, lost]| *taken > 0 && *lost == 0), "{tier:?}");
}

/// All spans of one service go to one member, wherever its requests come in.
#[test]
fn a_service_has_one_member() {
    let collectors = collectors(3);
    let relay = builder(to(list(&collectors), RoutingKey::Service)).start().unwrap();
    assert_ok(&send_all(endpoint(&relay), (0..20).map(mixed)));
    assert_eq!(settled(&drain(relay, SOON)).delivered, 240);
    let ring = Ring::new(&names(&collectors));
    for (at, collector) in collectors.iter().enumerate() {
        for span in collector.spans() {
            let attributes = &span.resource.as_ref().unwrap().attributes;
            let service = attributes.iter().find(|attribute| attribute.key == "service.name").unwrap();
            let Some(oracle::any_value::Value::StringValue(name)) =
                service.value.as_ref().unwrap().value.clone()
            else {
                panic!("{service:?}")
            };
            assert_eq!(ring.member(format!("service.name={name}|").as_bytes()), Some(at));
        }
    }
}

/// A member that is down keeps what is its own waiting, and nothing else.
#[test]
fn a_dead_member_does_not_hold_up_the_others() {
    let mut collectors = collectors(3);
    collectors[1].stop();
    let ring = Ring::new(&names(&collectors));
    let relay = builder(to(list(&collectors), RoutingKey::TraceId)).start().unwrap();
    let messages: Vec<Bytes> = (0..200).map(mixed).collect();
    let of_dead: usize = messages
        .iter()
        .flat_map(|message| oracle::flatten(&oracle::decode(message).unwrap()))
        .filter(|span| ring.member(&span.span.trace_id) == Some(1))
        .count();
    assert_ok(&send_all(endpoint(&relay), messages));
    soon("the others get theirs", || spans(&collectors) == 2400 - of_dead);
    collectors[1].restart();
    soon("what waited arrives", || spans(&collectors) == 2400);
    arrived(&collectors, &ring);
    assert_eq!(settled(&drain(relay, SOON)).delivered, 2400);
}

#[derive(Debug, Clone)]
struct Names(Arc<Mutex<Vec<IpAddr>>>);

impl Resolve for Names {
    fn resolve(&self, name: &HostName) -> Resolving {
        assert_eq!(name.host, "gateways.example");
        let found = self.0.lock().unwrap().clone();
        Box::pin(async move { if found.is_empty() { Err(ResolveError::Unknown) } else { Ok(found) } })
    }
}

/// Nothing is bound to a dead address: when DNS takes it away, what waited for it goes where the new ring has it. And a start without
/// DNS loses nothing.
#[test]
fn what_waits_for_a_member_that_leaves_goes_to_the_others() {
    let mut collectors = collectors(3);
    let ips: Vec<IpAddr> = collectors.iter().map(|collector| collector.addr().ip()).collect();
    let port = Some(collectors[0].addr().port());
    let (interval, timeout) = (Duration::from_millis(100), Duration::from_secs(1));
    let members = Members::Dns { host: "gateways.example".to_owned(), port, interval, timeout };
    let resolver = Names(Arc::default());
    let relay =
        builder(to(members, RoutingKey::TraceId)).resolver(Arc::new(resolver.clone())).start().unwrap();

    assert_ok(&send_all(endpoint(&relay), (0..20).map(mixed)));
    assert_eq!(spans(&collectors), 0, "nobody is known");
    *resolver.0.lock().unwrap() = ips.clone();
    soon("all of it arrives", || spans(&collectors) == 240);
    arrived(&collectors, &Ring::new(&names(&collectors)));

    let gone = collectors.remove(1);
    let before = gone.span_count();
    let mut gone = gone;
    gone.stop();
    assert_ok(&send_all(endpoint(&relay), (20..120).map(mixed)));
    let rest = |collectors: &[Collector]| spans(collectors) + before;
    std::thread::sleep(Duration::from_millis(300));
    assert!(rest(&collectors) < 1440, "some of it waits for the dead one");
    resolver.0.lock().unwrap().remove(1);
    soon("what waited goes to the others", || rest(&collectors) == 1440);
    let stats = drain(relay, SOON);
    assert_eq!(settled(&stats).delivered, 1440);
    let upstream = &stats.upstreams[0];
    let resolution = upstream.resolution.unwrap();
    assert_eq!((upstream.tier.as_ref().unwrap().members, resolution.changes), (2, 2));
    assert!(resolution.failures > 0 && upstream.tier.as_ref().unwrap().is_dns);
}

/// Who waits for the result is answered when all members have answered, and told of the one that refuses.
#[test]
fn a_waiting_sender_is_told_what_all_members_say() {
    let collectors = collectors(2);
    let mut config = to(list(&collectors), RoutingKey::TraceId);
    config.wait_for_result = true;
    let relay = builder(config).start().unwrap();
    assert_ok(&send_all(endpoint(&relay), [mixed(1)]));
    assert_eq!(spans(&collectors), 12, "answered when all is there");
    collectors[0].set_script(Script::always(Reply::status(Code::InvalidArgument, "no")));
    // Ports are others in each run, so where traces belong is too.
    let ring = Ring::new(&names(&collectors));
    let is_shared = |seed: &u64| {
        let mut members = (0..6).map(|number| ring.member(&trace_id(*seed, number)));
        let first = members.next();
        members.any(|member| Some(member) != first)
    };
    let answers = send_all(endpoint(&relay), [mixed((2..100).find(is_shared).unwrap())]);
    // One member has refused its share for good, another has taken its own: sending all of it again would double that.
    assert_eq!(answers[0].grpc_status(), Some(0));
    let response = oracle::ExportTraceServiceResponse::decode(&answers[0].body[5..]).unwrap();
    let partial = response.partial_success.unwrap();
    assert!((1..12).contains(&partial.rejected_spans) && partial.error_message == "no", "{partial:?}");
    let books = settled(&drain(relay, SOON));
    assert!(books.delivered > 12 && books.delivered + books.dropped_total() == 24, "{books:?}");
}
