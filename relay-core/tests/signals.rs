//! Metrics, logs and profiles through the code that traces take: framing and splitting held against a wire walker of the tests' own,
//! and a relay that keeps signals apart.

#![cfg(test)]

mod support;

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;
use relay_core::batch::DropReason;
use relay_core::config::{HttpConfig, ReceiverConfig, UpstreamConfig};
use relay_core::edit::{SplitLimit, split};
use relay_core::otlp::{FramedRequest, RawRequest, Signal};
use relay_core::wire::Segments;
use relay_core::{Relay, SubmitError};
use support::http1::Http1;
use support::{SOON, drain, loopback, settled, upstream};
use testkit::collector::{Collector, Reply, Script};
use testkit::generate::{arb_request, arbitrary_logs, arbitrary_metrics, arbitrary_profiles};
use testkit::raw::{RawRequest as RawCall, exchange, grpc_message};
use testkit::wire::{Payload, fields};

/// Which fields of the message at each depth hold the next; the last is the leaf, which is never cut.
fn levels(signal: Signal) -> &'static [&'static [u32]] {
    match signal {
        Signal::Metrics => &[&[1], &[2], &[2], &[5, 7, 9, 10, 11], &[1]],
        _ => &[&[1], &[2], &[2]],
    }
}

/// A leaf with everything that stands around it, from the outside in.
type Leaf = (Vec<Vec<u8>>, Vec<u8>);

fn leaves(message: &[u8], levels: &[&[u32]], around: &mut Vec<Vec<u8>>, found: &mut Vec<Leaf>) {
    let Some((children, below)) = levels.split_first() else { return };
    let is_child =
        |number: u32, payload: &Payload<'_>| children.contains(&number) && matches!(payload, Payload::Len(_));
    let parsed = fields(message).unwrap();
    let rest = parsed.iter().filter(|field| !is_child(field.number, &field.payload));
    around.push(rest.flat_map(|field| field.raw.to_vec()).collect());
    for field in &parsed {
        match field.payload {
            Payload::Len(_) if !children.contains(&field.number) => {}
            Payload::Len(body) if !below.is_empty() => leaves(body, below, around, found),
            Payload::Len(_) => found.push((around.clone(), field.raw.to_vec())),
            _ => {}
        }
    }
    around.pop();
}

fn leaves_of(signal: Signal, message: &[u8]) -> Vec<Leaf> {
    let mut found = Vec::new();
    leaves(message, levels(signal), &mut Vec::new(), &mut found);
    if signal != Signal::Profiles {
        // Other fields of the request go with the first output only; of profiles they go with every one.
        found.iter_mut().for_each(|(around, _)| around[0].clear());
    }
    found
}

/// Items of a leaf: a profile's are its samples.
fn items(signal: Signal, (_, leaf): &Leaf) -> u64 {
    if signal != Signal::Profiles {
        return 1;
    }
    let whole = fields(leaf).unwrap();
    let Payload::Len(profile) = whole[0].payload else { panic!("a profile is a message") };
    fields(profile).unwrap().iter().filter(|field| field.number == 2).count() as u64
}

fn frame(signal: Signal, message: impl Into<Segments>) -> FramedRequest {
    RawRequest::new(message).frame(signal).unwrap()
}

fn any_request() -> impl Strategy<Value = (Signal, Vec<u8>)> {
    prop_oneof![
        arb_request().prop_map(|request| (Signal::Traces, request.encode_to_vec())),
        arbitrary_metrics().prop_map(|request| (Signal::Metrics, request.encode_to_vec())),
        arbitrary_logs().prop_map(|request| (Signal::Logs, request.encode_to_vec())),
        arbitrary_profiles().prop_map(|request| (Signal::Profiles, request.encode_to_vec())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Items are counted where each signal has them, in one piece or in many; a cut-off request is refused or smaller.
    #[test]
    fn items_are_counted((signal, message) in any_request(), piece in 1_usize..40, cut: prop::sample::Index) {
        let expected: u64 = leaves_of(signal, &message).iter().map(|leaf| items(signal, leaf)).sum();
        prop_assert_eq!(frame(signal, message.clone()).items(), expected);
        let pieces: Segments = message.chunks(piece).map(Bytes::copy_from_slice).collect();
        prop_assert_eq!(frame(signal, pieces).items(), expected);
        if !message.is_empty() {
            let short = message[..cut.index(message.len())].to_vec();
            if let Ok(framed) = RawRequest::new(short).frame(signal) {
                prop_assert!(framed.items() <= expected);
            }
        }
    }

    /// Outputs are within the limit, and hold what the source holds in its order, with all that stands around it; or it is counted.
    #[test]
    fn a_split_loses_nothing((signal, message) in any_request(), share in 1_usize..20, items_max in 1_u64..50) {
        let source = leaves_of(signal, &message);
        let limit = SplitLimit { bytes_max: (message.len() * share / 20).max(1), items_max };
        let request = frame(signal, message);
        let cut = split(&request, limit);
        let mut kept = Vec::new();
        for output in &cut.requests {
            prop_assert!(output.len() <= limit.bytes_max && output.items() <= items_max);
            prop_assert_eq!(frame(signal, output.segments().clone()).items(), output.items());
            kept.extend(leaves_of(signal, &output.to_bytes()));
        }
        let count = |leaves: &[Leaf]| leaves.iter().map(|leaf| items(signal, leaf)).sum::<u64>();
        prop_assert_eq!(count(&kept) + cut.dropped_items, count(&source));
        let mut rest = source.iter();
        for leaf in &kept {
            prop_assert!(rest.any(|source| source == leaf), "an item is new, twice, or out of order");
        }
    }
}

/// One request of each signal with one item.
fn smallest(signal: Signal) -> Vec<u8> {
    match signal {
        // resource_metrics { scope_metrics { metrics { gauge { data_points {} } } } }
        Signal::Metrics => b"\x0a\x08\x12\x06\x12\x04\x2a\x02\x0a\x00".to_vec(),
        // resource_profiles { scope_profiles { profiles { samples {} } } }, dictionary { string_table: "" }
        Signal::Profiles => b"\x0a\x06\x12\x04\x12\x02\x12\x00\x12\x02\x2a\x00".to_vec(),
        Signal::Traces | Signal::Logs => b"\x0a\x04\x12\x02\x12\x00".to_vec(),
    }
}

fn call(relay: &relay_core::RelayHandle, signal: Signal) -> Option<i32> {
    let export = RawCall::export(vec![grpc_message(&smallest(signal))]).with_path(signal.grpc_path());
    exchange(relay.listening_on()[0].tcp().unwrap(), vec![export]).remove(0).unwrap().grpc_status()
}

/// Every signal goes to the upstreams of its own, over gRPC, HTTP and from the embedding service; requests of one signal are merged,
/// but never those of profiles.
#[test]
fn signals_stay_apart_and_profiles_alone() {
    let sinks: Vec<_> = Signal::ALL.map(|_| std::sync::Arc::new(Sink::default())).into();
    let receiver =
        ReceiverConfig { http: Some(HttpConfig::default()), ..ReceiverConfig::new("otlp", loopback()) };
    let mut builder = Relay::builder().receiver(receiver).cores(1);
    for (signal, sink) in Signal::ALL.into_iter().zip(&sinks) {
        let name = signal.name();
        builder = builder.upstream(UpstreamConfig {
            signal,
            linger: SOON,
            ..UpstreamConfig::sink(name, std::sync::Arc::clone(sink) as _)
        });
    }
    let relay = builder.start().unwrap();
    for signal in Signal::ALL {
        for _ in 0..2 {
            assert_eq!(call(&relay, signal), Some(0));
        }
        let answer = Http1::connect(relay.listening_on()[0].tcp().unwrap())
            .post(signal.http_path(), &smallest(signal));
        assert_eq!(answer.status, 200);
        drop(relay.submit(signal, smallest(signal).into()).unwrap());
    }
    let stats = drain(relay, SOON);
    settled(&stats);
    for (at, (signal, sink)) in Signal::ALL.into_iter().zip(&sinks).enumerate() {
        let counts = stats.receivers.iter().map(|receiver| receiver.of(signal).accepted_items);
        assert_eq!(counts.collect::<Vec<_>>(), [2, 1, 1]);
        assert_eq!((stats.upstreams[at].signal, stats.upstreams[at].items.delivered), (signal, 4));
        let batches = sink.0.lock().unwrap().clone();
        assert!(batches.iter().all(|(of, _)| *of == signal));
        let together = batches.iter().map(|(_, parts)| *parts).collect::<Vec<_>>();
        assert_eq!(together, if signal == Signal::Profiles { vec![1; 4] } else { vec![4] });
    }
}

/// Remembers the signal and the number of parts of each batch.
#[derive(Default)]
struct Sink(std::sync::Mutex<Vec<(Signal, usize)>>);

impl relay_core::config::BatchSink for Sink {
    fn deliver(&self, batch: &relay_core::batch::Batch) -> relay_core::upstream::Outcome {
        self.0.lock().unwrap().push((batch.signal(), batch.parts().len()));
        relay_core::upstream::Outcome::Accepted { rejected: 0, message: String::new() }
    }
}

/// The upstreams of one exporter hold together what it may hold: a signal does not make the share of the others smaller.
#[test]
fn signals_of_one_exporter_share_its_bytes() {
    let collector = Collector::start(Script::always(Reply::NeverAnswer));
    let mut builder = Relay::builder().receiver(ReceiverConfig::new("otlp", loopback())).cores(1);
    for signal in [Signal::Traces, Signal::Metrics, Signal::Logs] {
        let name = signal.name().to_owned();
        builder = builder.upstream(UpstreamConfig {
            name,
            signal,
            budget_group: "otlp".into(),
            ..upstream(collector.addr())
        });
    }
    let relay = builder.held_bytes_max(300 << 10).start().unwrap();
    let large = || RawCall::export(vec![grpc_message(&support::encoded(450, 1))]);
    let answers = exchange(support::endpoint(&relay), vec![large()]);
    assert_eq!(answers[0].as_ref().unwrap().grpc_status(), Some(0), "more than a third of the budget");
    let refused = exchange(support::endpoint(&relay), vec![large().with_path(Signal::Logs.grpc_path())]);
    assert_eq!(refused[0].as_ref().unwrap().grpc_status(), Some(14), "the traces hold most of it");
    drain(relay, std::time::Duration::ZERO);
}

/// A signal without an upstream is not served; an upstream without the signal's service costs that signal alone.
#[test]
fn a_signal_that_nobody_takes_is_unimplemented() {
    let collector = Collector::start(Script::by_call(|call, _| match call.signal {
        testkit::collector::Signal::Traces => Reply::Ok,
        _ => Reply::status(tonic::Code::Unimplemented, "unknown service"),
    }));
    let metrics =
        UpstreamConfig { name: "metrics".into(), signal: Signal::Metrics, ..upstream(collector.addr()) };
    let relay = Relay::builder()
        .receiver(ReceiverConfig::new("otlp", loopback()))
        .upstream(upstream(collector.addr()))
        .upstream(metrics)
        .cores(1)
        .start()
        .unwrap();
    assert_eq!(call(&relay, Signal::Logs), Some(12));
    let refused = relay.submit(Signal::Logs, smallest(Signal::Logs).into());
    assert!(matches!(refused, Err(SubmitError::Unserved(Signal::Logs))));
    for _ in 0..3 {
        assert_eq!([call(&relay, Signal::Traces), call(&relay, Signal::Metrics)], [Some(0), Some(0)]);
    }
    let stats = drain(relay, SOON);
    assert_eq!(settled(&stats).delivered, 3);
    assert_eq!(stats.upstreams[1].items.dropped_for(DropReason::Unimplemented), 3);
}
