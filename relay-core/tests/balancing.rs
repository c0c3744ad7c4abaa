//! A whole relay with several addresses behind one upstream, on real sockets: all of them are used, and whatever becomes of one,
//! nothing is lost and the others go on.

#![cfg(test)]

mod support;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use relay_core::config::{Destination, UpstreamConfig};
use relay_core::stats::AddressStats;
use relay_core::upstream::{Balancer, Endpoint, HostName};
use relay_core::{RelayHandle, Resolve, ResolveError, Resolving};
use support::http_out::url_upstream;
use support::{
    SOON, assert_ok, builder, drain, encoded, endpoint, leaving_peer, request, send_all, settled, upstream,
};
use testkit::collector::{Collector, Options, Outcome, Reply, Script};
use testkit::http_upstream::{HttpCall, HttpReply, HttpUpstream};
use testkit::oracle::{decode, flatten};
use tonic::Code;

/// Collectors at one port of 127.0.0.2, 127.0.0.3 and so on.
fn collectors(scripts: Vec<Script>) -> Vec<Collector> {
    let mut port = 0;
    let start = |(at, script): (usize, Script)| {
        let listen = SocketAddr::from(([127, 0, 0, u8::try_from(at + 2).unwrap()], port));
        let collector = Collector::start_with(Options { listen, ..Options::default() }, script);
        port = collector.addr().port();
        collector
    };
    scripts.into_iter().enumerate().map(start).collect()
}

/// An upstream of all these addresses that retries fast.
fn to(addresses: &[SocketAddr]) -> UpstreamConfig {
    let list: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    at(Endpoint::parse(&format!("ipv4:{}", list.join(","))).unwrap())
}

fn at(endpoint: Endpoint) -> UpstreamConfig {
    let mut config = upstream(SocketAddr::from(([127, 0, 0, 1], 1)));
    if let Destination::Grpc(grpc) = &mut config.destination {
        grpc.endpoint = endpoint;
    }
    config
}

fn grpc(config: &mut UpstreamConfig) -> &mut relay_core::config::GrpcConfig {
    let Destination::Grpc(grpc) = &mut config.destination else { panic!() };
    grpc
}

fn addresses(collectors: &[Collector]) -> Vec<SocketAddr> {
    collectors.iter().map(Collector::addr).collect()
}

/// Sends requests of one span, each in a connection's turn of 20, until told to stop; gives how many.
struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<()>,
}

impl Load {
    fn start(relay: &RelayHandle) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count, to) = (Arc::clone(&stop), Arc::clone(&sent), endpoint(relay));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let from = count.load(Ordering::Relaxed);
                assert_ok(&send_all(to, (from..from + 20).map(|seed| encoded(1, seed))));
                count.store(from + 20, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        Self { stop, sent, thread }
    }

    fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.sent.load(Ordering::Relaxed)
    }
}

/// How often each span has arrived.
fn arrived(collectors: &[Collector]) -> HashMap<Vec<u8>, usize> {
    let mut seen = HashMap::new();
    for span in collectors.iter().flat_map(Collector::spans) {
        *seen.entry(span.span.span_id).or_default() += 1;
    }
    seen
}

fn span_id(seed: u64) -> Vec<u8> {
    flatten(&request(1, seed))[0].span.span_id.clone()
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "the test measures real time")]
    Instant::now()
}

/// Waits for what must come soon.
fn soon(what: &str, condition: impl Fn() -> bool) {
    let until = now() + SOON;
    while !condition() {
        assert!(now() < until, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn of(relay: &RelayHandle, address: SocketAddr) -> Option<AddressStats> {
    let stats = relay.stats();
    stats.upstreams[0].addresses.iter().find(|of| of.address == address.to_string()).cloned()
}

/// Three equal collectors under load get about the same number of calls, by default and in turn; with `pick_first` one gets all.
#[test]
fn all_addresses_get_their_share() {
    for balancer in [Balancer::LeastInFlight, Balancer::RoundRobin, Balancer::PickFirst] {
        let collectors = collectors(vec![Script::always(Reply::ok_after(Duration::from_millis(1))); 3]);
        let mut config = to(&addresses(&collectors));
        grpc(&mut config).balancer = balancer;
        // Each request is a call, so that there are many.
        config.batch.items_max = 1;
        let relay = builder(config).cores(1).start().unwrap();
        for turn in 0..10 {
            assert_ok(&send_all(endpoint(&relay), (turn * 60..turn * 60 + 60).map(|seed| encoded(1, seed))));
        }
        assert_eq!(settled(&drain(relay, SOON)).delivered, 600);
        let mut shares: Vec<usize> = collectors.iter().map(Collector::call_count).collect();
        shares.sort_unstable();
        assert_eq!(shares.iter().sum::<usize>(), 600, "{balancer:?} {shares:?}");
        println!("{balancer:?}: {shares:?}");
        if balancer == Balancer::PickFirst {
            assert_eq!(shares, [0, 0, 600]);
        } else {
            assert!(shares[2] * 2 <= shares[0] * 3, "{balancer:?}: {shares:?}");
        }
    }
}

/// Each of three collectors is killed and comes back, in turn, under load: every span arrives, and the others never stop.
#[test]
fn a_killed_collector_costs_nothing() {
    let mut collectors = collectors(vec![Script::ok(); 3]);
    let relay = builder(to(&addresses(&collectors))).start().unwrap();
    let load = Load::start(&relay);
    for collector in &mut collectors {
        soon("a first call", || collector.call_count() > 0);
        collector.stop();
        let (before, sent) = (relay.stats().upstreams[0].items.delivered, load.sent());
        soon("the others go on", || relay.stats().upstreams[0].items.delivered > before + 200);
        assert!(load.sent() > sent);
        collector.restart();
        let calls = collector.call_count();
        soon("it is found again", || collector.call_count() > calls);
    }
    let sent = load.stop();
    let items = settled(&drain(relay, SOON));
    assert_eq!((items.enqueued, items.delivered), (sent, sent));
    let seen = arrived(&collectors);
    let lost = (0..sent).filter(|seed| !seen.contains_key(&span_id(*seed))).count();
    assert_eq!(lost, 0);
}

/// What an embedding service knows of its names.
#[derive(Clone, Debug, Default)]
struct Names(Arc<Mutex<Vec<IpAddr>>>);

impl Names {
    fn set(&self, collectors: &[&Collector]) {
        *self.0.lock().unwrap() = collectors.iter().map(|collector| collector.addr().ip()).collect();
    }
}

impl Resolve for Names {
    fn resolve(&self, _: &HostName) -> Resolving {
        let known = self.0.lock().unwrap().clone();
        Box::pin(async move { if known.is_empty() { Err(ResolveError::Unknown) } else { Ok(known) } })
    }
}

/// A relay starts without DNS and holds what comes; an address that is added gets its share, one that is removed no further call.
#[test]
fn addresses_come_and_go() {
    let collectors = collectors(vec![Script::ok(); 2]);
    let (first, second) = (&collectors[0], &collectors[1]);
    let names = Names::default();
    let config = at(Endpoint::Tcp { host: "gateway.test".to_owned(), port: first.addr().port() });
    let relay = builder(config).resolver(Arc::new(names.clone()));
    let relay = relay.resolve_interval(Duration::from_millis(100)).start().unwrap();
    assert_ok(&send_all(endpoint(&relay), (1 << 40..(1 << 40) + 5).map(|seed| encoded(1, seed))));
    assert!(relay.stats().upstreams[0].addresses.is_empty());
    assert_eq!(relay.stats().upstreams[0].items.held(), 5);
    names.set(&[first]);
    assert_eq!(first.wait_for_spans(5, SOON), 5);
    let load = Load::start(&relay);
    names.set(&[first, second]);
    soon("the new one is used", || second.call_count() > 10);
    names.set(&[second]);
    soon("the old one is left", || of(&relay, first.addr()).is_none());
    // What was in flight is answered, then nothing comes any more.
    std::thread::sleep(Duration::from_millis(100));
    let calls = first.call_count();
    let before = second.call_count();
    soon("the rest goes to the other", || second.call_count() > before + 20);
    assert_eq!(first.call_count(), calls);
    let sent = load.stop();
    let stats = drain(relay, SOON);
    let items = settled(&stats);
    assert_eq!((items.enqueued, items.delivered), (sent + 5, sent + 5));
    assert_eq!(stats.upstreams[0].retries, 0, "nothing was cut off");
    assert_eq!(first.span_count() + second.span_count(), usize::try_from(sent).unwrap() + 5);
}

/// One address accepts connections and says nothing, another one takes calls and never answers: the third goes on at once.
#[test]
fn a_black_hole_delays_nobody_else() {
    let hole = TcpListener::bind("127.0.0.9:0").unwrap();
    let collectors = collectors(vec![Script::ok(), Script::always(Reply::NeverAnswer)]);
    let all = [addresses(&collectors), vec![hole.local_addr().unwrap()]].concat();
    let mut config = to(&all);
    grpc(&mut config).timeout = Duration::from_millis(300);
    let relay = builder(config).start().unwrap();
    let begun = now();
    let load = Load::start(&relay);
    soon("calls are answered", || relay.stats().upstreams[0].items.delivered > 1000);
    println!("1000 spans in {:?}", begun.elapsed());
    soon("the silent one is left", || of(&relay, collectors[1].addr()).is_some_and(|of| of.failures > 0));
    let sent = load.stop();
    assert_eq!(settled(&drain(relay, SOON)).delivered, sent);
    assert_eq!(collectors[0].span_count() as u64, sent);
    // One probe at a time: not a share of the load.
    let stuck = collectors[1].call_count();
    assert!(stuck <= 40, "{stuck} calls were tried on the silent one");
}

/// A server that says GOAWAY after every ten calls: no call is lost, none is sent twice, none counts as failed.
#[test]
fn goaway_loses_and_doubles_nothing() {
    let peers = [leaving_peer::start(10), leaving_peer::start(10)];
    let mut config = to(&peers.each_ref().map(|peer| peer.0));
    config.batch.items_max = 1;
    let relay = builder(config).start().unwrap();
    for turn in 0..10 {
        assert_ok(&send_all(endpoint(&relay), (turn * 50..turn * 50 + 50).map(|seed| encoded(1, seed))));
    }
    let stats = drain(relay, SOON);
    assert_eq!(settled(&stats).delivered, 500);
    assert_eq!((stats.upstreams[0].attempts, stats.upstreams[0].retries), (500, 0));
    let messages: Vec<_> = peers.iter().flat_map(|peer| peer.1.messages()).collect();
    let mut ids: Vec<_> = messages
        .iter()
        .map(|message| decode(&message[5..]).unwrap())
        .collect::<Vec<_>>()
        .iter()
        .flat_map(flatten)
        .map(|span| span.span.span_id)
        .collect();
    assert_eq!(ids.len(), 500);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 500);
    assert!(peers.iter().map(|peer| peer.1.connections()).sum::<usize>() >= 30);
}

/// Connections that are old are replaced under load: each new one is there before the old one is left, and no call notices.
#[test]
fn old_connections_are_replaced() {
    let collectors = collectors(vec![Script::always(Reply::ok_after(Duration::from_millis(2))); 2]);
    let mut config = to(&addresses(&collectors));
    grpc(&mut config).connection_age_max = Duration::from_millis(100);
    let relay = builder(config).start().unwrap();
    let load = Load::start(&relay);
    soon("many are replaced", || relay.stats().upstreams[0].connects > 20);
    let sent = load.stop();
    let stats = drain(relay, SOON);
    assert_eq!((settled(&stats).delivered, stats.upstreams[0].retries), (sent, 0));
    assert_eq!(collectors.iter().map(Collector::span_count).sum::<usize>() as u64, sent);
    assert!(stats.upstreams[0].addresses.iter().all(|of| of.failures == 0 && of.calls == 0));
}

/// A collector that asks for a rest gets one: the other one is used, and when the rest is over, a single call shows whether it goes on.
#[test]
fn a_throttled_address_is_probed_by_one_call() {
    const REST: Duration = Duration::from_millis(600);
    // Calls before `throttles` is set are taken; the first ones after it ask for a rest; the first after the rest takes its time.
    let throttles = Arc::new(AtomicBool::new(false));
    let (asked, probing) = (Arc::clone(&throttles), Arc::new(Mutex::new(None::<Instant>)));
    let script = Script::by(move |_, _| {
        let mut throttled = probing.lock().unwrap();
        match *throttled {
            None if asked.load(Ordering::Relaxed) => *throttled = Some(now()),
            None => return Reply::Ok,
            Some(since) if since.elapsed() < REST / 2 => {}
            Some(_) => {
                asked.store(false, Ordering::Relaxed);
                return Reply::ok_after(Duration::from_millis(300));
            }
        }
        Reply::unavailable(Some(REST))
    });
    let collectors = collectors(vec![Script::ok(), script]);
    let relay = builder(to(&addresses(&collectors))).start().unwrap();
    let load = Load::start(&relay);
    soon("it is used", || collectors[1].call_count() > 20);
    throttles.store(true, Ordering::Relaxed);
    soon("it is probed", || !throttles.load(Ordering::Relaxed));
    let probed = collectors[1].call_count();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(collectors[1].call_count(), probed, "the others wait for the answer");
    soon("it is used again", || collectors[1].call_count() > probed + 20);
    let calls = collectors[1].calls();
    let refused: Vec<Instant> = calls
        .iter()
        .filter(|call| call.outcome == Outcome::Refused(Code::Unavailable))
        .map(|call| call.at)
        .collect();
    let quiet = calls[probed - 1].at.duration_since(*refused.last().unwrap());
    assert!(quiet >= REST - Duration::from_millis(50), "it rested for {quiet:?}");
    let sent = load.stop();
    assert_eq!(settled(&drain(relay, SOON)).delivered, sent);
}

/// Large messages go where they fit; the collector with the smaller limit refuses one for each core, and gets the small ones.
#[test]
fn limits_are_learned_for_each_address() {
    let small =
        Options { recv_bytes_max: 200 << 10, listen: "127.0.0.2:0".parse().unwrap(), ..Options::default() };
    let small = Collector::start_with(small, Script::ok());
    let large = Options { listen: "127.0.0.3:0".parse().unwrap(), ..Options::default() };
    let large = Collector::start_with(large, Script::ok());
    let relay = builder(to(&[small.addr(), large.addr()])).cores(1).start().unwrap();
    for seed in 0..30 {
        assert_ok(&send_all(endpoint(&relay), [encoded(1500, seed)]));
        assert_ok(&send_all(endpoint(&relay), [encoded(1, 1000 + seed)]));
    }
    soon("all of it is there", || small.span_count() + large.span_count() == 30 * 1501);
    let learned = of(&relay, small.addr()).unwrap().bytes_max;
    assert!(learned.is_some_and(|bytes| (64 << 10..=300 << 10).contains(&bytes)), "{learned:?}");
    assert_eq!(of(&relay, large.addr()).unwrap().bytes_max, None);
    let refused = small.calls().iter().filter(|call| call.outcome == Outcome::TooLarge).count();
    assert!((1..=10).contains(&refused), "{refused}");
    assert!(small.span_count() > 0);
    assert_eq!(settled(&drain(relay, SOON)).delivered, 30 * 1501);
}

/// The addresses of an OTLP/HTTP upstream are used as those of gRPC: each gets its share, the requests still name the URL, and one
/// that is killed or silent costs nothing.
#[test]
fn otlp_http_uses_all_addresses() {
    let counts: Arc<Mutex<HashMap<&str, u64>>> = Arc::default();
    let mut port = 0;
    let mut servers: Vec<HttpUpstream> = ["127.0.0.2", "127.0.0.3"]
        .map(|ip| {
            let counts = Arc::clone(&counts);
            let answer = move |call: &HttpCall| {
                assert!(call.header("host").unwrap().starts_with("gateway.test:"));
                *counts.lock().unwrap().entry(ip).or_default() += 1;
                HttpReply::status(200)
            };
            let server = HttpUpstream::start_on(format!("{ip}:{port}").parse().unwrap(), answer).unwrap();
            port = server.addr().port();
            server
        })
        .into();
    let hole = TcpListener::bind(("127.0.0.9", port)).unwrap();
    let names = Names(Arc::new(Mutex::new(
        ["127.0.0.2", "127.0.0.3", "127.0.0.9"].map(|ip| ip.parse().unwrap()).into(),
    )));
    let config = url_upstream(&format!("http://gateway.test:{port}/v1/traces"), |http| {
        http.timeout = Duration::from_millis(300);
    });
    let relay = builder(config).resolver(Arc::new(names)).start().unwrap();
    let load = Load::start(&relay);
    let count = |ip| counts.lock().unwrap().get(ip).copied().unwrap_or_default();
    soon("both are used", || count("127.0.0.2") > 20 && count("127.0.0.3") > 20);
    servers[0].stop();
    let before = count("127.0.0.3");
    soon("the other goes on", || count("127.0.0.3") > before + 50);
    servers[0].restart();
    let before = count("127.0.0.2");
    soon("it is found again", || count("127.0.0.2") > before + 5);
    let sent = load.stop();
    assert_eq!(settled(&drain(relay, SOON)).delivered, sent);
    drop(hole);
}
