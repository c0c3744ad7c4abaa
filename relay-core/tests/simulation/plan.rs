//! What a seed decides before a world begins: who there is, how the relay is configured, and which faults come when. Plain data;
//! must never look at what happens.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use relay_core::config::{Compression, OnFull, QueueLimit};
use relay_core::simulation::Link;
use relay_core::upstream::RetryPolicy;
use testkit::generate::Xorshift;

/// Time in which faults may begin and must have ended.
pub(crate) const FAULTS: Duration = Duration::from_secs(60);

/// One world.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) relay: RelayPlan,
    pub(crate) clients: Vec<ClientPlan>,
    pub(crate) exporters: Vec<ExporterPlan>,
    /// When, and what; ascending.
    pub(crate) faults: Vec<(Duration, Fault)>,
    /// Of all links, at first.
    pub(crate) weather: Link,
}

#[derive(Debug)]
pub(crate) struct RelayPlan {
    pub(crate) cores: usize,
    pub(crate) held_bytes_max: usize,
    pub(crate) linger: Duration,
    pub(crate) calls_max: usize,
    pub(crate) queue: QueueLimit,
    pub(crate) on_full: OnFull,
    pub(crate) wait_for_result: bool,
    pub(crate) compression: Compression,
    pub(crate) timeout: Duration,
    pub(crate) retry: RetryPolicy,
    pub(crate) batch_items_max: u64,
    pub(crate) connection_age_max: Option<Duration>,
}

#[derive(Clone, Debug)]
pub(crate) struct ClientPlan {
    pub(crate) requests: usize,
    pub(crate) spans_max: usize,
    pub(crate) calls_max: usize,
    /// Longest pause between two requests.
    pub(crate) pause: Duration,
    pub(crate) gzip: bool,
    /// Requests out of 100 that hold a span which upstreams refuse for good.
    pub(crate) poison_share: usize,
    /// Requests out of 100 that hold a span of this many bytes.
    pub(crate) large_share: usize,
    pub(crate) large_bytes: usize,
}

#[derive(Debug)]
pub(crate) struct ExporterPlan {
    pub(crate) servers: Vec<ServerPlan>,
}

#[derive(Clone, Debug)]
pub(crate) struct ServerPlan {
    /// Largest message that it takes.
    pub(crate) message_bytes_max: usize,
    pub(crate) streams_max: u32,
    /// Calls after which it says GOAWAY on a connection.
    pub(crate) calls_per_connection: Option<u32>,
    pub(crate) delay: Duration,
    /// Whether what it takes is taken before the delay: what is answered too late has been taken then.
    pub(crate) takes_first: bool,
}

/// What breaks, and what mends it again. Servers are named by exporter and number.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    PartServer(usize, usize),
    HealServer(usize, usize),
    ResetServer(usize, usize),
    PartClient(usize),
    HealClient(usize),
    ResetClient(usize),
    Mood(usize, usize, Mood),
    CrashServer(usize, usize),
    StartServer(usize, usize),
    /// A successor starts this long before the relay is told to drain, with this deadline; or after it has ended.
    Restart {
        deadline: Duration,
        overlap: Option<Duration>,
    },
    /// The relay is killed, and started again after a while.
    CrashRelay(Duration),
    Weather(Link),
    Name(usize, NameMood),
    /// The name of an exporter's servers loses one of them, which goes on serving whom it knows.
    Leaves(usize, usize),
    Joins(usize, usize),
}

/// How a name is answered for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum NameMood {
    #[default]
    Well,
    Unknown,
    Empty,
    Silent,
}

/// How a server behaves.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Mood {
    Well,
    /// Answers later than usual.
    Slow(Duration),
    /// Takes calls and answers nothing.
    Mute,
    /// Accepts connections and reads nothing.
    Deaf,
    /// Refuses with this gRPC status, and perhaps with a time to wait.
    Refuse(i32, Option<Duration>),
    /// Takes all but some spans.
    Partial(i64),
    /// Resets calls.
    Reset,
    /// Says GOAWAY and drops the connection at every call.
    Leave,
}

pub(crate) fn relay_host() -> IpAddr {
    Ipv4Addr::new(10, 0, 0, 1).into()
}

pub(crate) fn client_host(client: usize) -> IpAddr {
    Ipv4Addr::new(10, 1, 0, u8::try_from(client + 1).unwrap()).into()
}

pub(crate) fn server_host(exporter: usize, server: usize) -> IpAddr {
    Ipv4Addr::new(10, 2, u8::try_from(exporter).unwrap(), u8::try_from(server + 1).unwrap()).into()
}

/// Small numbers by chance.
pub(crate) struct Dice(Xorshift);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Xorshift::new(seed))
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0.below(bound)
    }

    /// From `min` to `max`.
    pub(crate) fn between(&mut self, min: usize, max: usize) -> usize {
        min + self.0.below(max - min + 1)
    }

    /// True this often out of 100.
    pub(crate) fn percent(&mut self, share: usize) -> bool {
        self.0.below(100) < share
    }

    pub(crate) fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        self.0.pick(choices).clone()
    }

    pub(crate) fn millis(&mut self, min: u64, max: u64) -> Duration {
        Duration::from_millis(min + self.0.next_u64() % (max - min + 1))
    }
}

impl Plan {
    /// The world of `seed`.
    pub(crate) fn of(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let clients = (0..dice.between(1, 4)).map(|_| client(&mut dice)).collect();
        let exporters = (0..if dice.percent(25) { 2 } else { 1 }).map(|_| exporter(&mut dice)).collect();
        let mut plan = Self {
            relay: relay(&mut dice),
            clients,
            exporters,
            faults: Vec::new(),
            weather: weather(&mut dice),
        };
        for _ in 0..dice.between(0, 8) {
            plan.add_fault(&mut dice);
        }
        plan.faults.sort_by_key(|(at, _)| *at);
        plan
    }

    fn add_fault(&mut self, dice: &mut Dice) {
        let exporter = dice.below(self.exporters.len());
        let server = dice.below(self.exporters[exporter].servers.len());
        let client = dice.below(self.clients.len());
        let begins = dice.millis(0, 50_000);
        let longest = if dice.percent(70) { 5_000 } else { 40_000 };
        let ends = begins + dice.millis(1, longest);
        let ends = ends.min(FAULTS);
        let pair = match dice.below(14) {
            0 => (Fault::PartServer(exporter, server), Some(Fault::HealServer(exporter, server))),
            1 => (Fault::ResetServer(exporter, server), None),
            2 => (Fault::PartClient(client), Some(Fault::HealClient(client))),
            3 => (Fault::ResetClient(client), None),
            4..=7 => {
                let mood = mood(dice);
                (Fault::Mood(exporter, server, mood), Some(Fault::Mood(exporter, server, Mood::Well)))
            }
            8 => (Fault::CrashServer(exporter, server), Some(Fault::StartServer(exporter, server))),
            9 => (Fault::Weather(weather(dice)), Some(Fault::Weather(Link::default()))),
            10 => {
                let overlap = dice.percent(70).then(|| dice.millis(0, 500));
                (Fault::Restart { deadline: dice.millis(1_000, 30_000), overlap }, None)
            }
            11 => {
                let mood = dice.pick(&[NameMood::Unknown, NameMood::Empty, NameMood::Silent]);
                (Fault::Name(exporter, mood), Some(Fault::Name(exporter, NameMood::Well)))
            }
            12 => (Fault::Leaves(exporter, server), Some(Fault::Joins(exporter, server))),
            _ => (Fault::CrashRelay(dice.millis(0, 2_000)), None),
        };
        self.faults.push((begins, pair.0));
        self.faults.extend(pair.1.map(|end| (ends, end)));
    }
}

fn relay(dice: &mut Dice) -> RelayPlan {
    let queue = match dice.below(4) {
        0 => QueueLimit::Requests(dice.between(2, 50)),
        1 => QueueLimit::Items(dice.between(50, 500)),
        2 => QueueLimit::Bytes(dice.between(128 << 10, 1 << 20)),
        _ => QueueLimit::Unbounded,
    };
    RelayPlan {
        cores: dice.between(1, 3),
        held_bytes_max: dice.pick(&[256 << 10, 512 << 10, 1 << 20, 20 << 20]),
        linger: dice.pick(&[Duration::ZERO, Duration::from_millis(50), Duration::from_millis(200)]),
        calls_max: dice.pick(&[1, 2, 4, 10]),
        queue,
        on_full: if dice.percent(30) { OnFull::Block } else { OnFull::Refuse },
        wait_for_result: dice.percent(25),
        compression: if dice.percent(25) { Compression::Gzip(1) } else { Compression::None },
        timeout: dice.millis(1_000, 5_000),
        retry: RetryPolicy {
            initial_interval: dice.millis(50, 5_000),
            max_interval: dice.millis(1_000, 30_000),
            max_elapsed_time: match dice.below(4) {
                0 => None,
                1 => Some(dice.millis(2_000, 20_000)),
                _ => Some(Duration::from_secs(300)),
            },
            enabled: !dice.percent(5),
            ..RetryPolicy::default()
        },
        batch_items_max: dice.pick(&[u64::MAX, 10, 100]),
        connection_age_max: dice.percent(20).then(|| dice.millis(1_000, 20_000)),
    }
}

fn client(dice: &mut Dice) -> ClientPlan {
    ClientPlan {
        requests: dice.between(3, 30),
        spans_max: dice.between(1, 20),
        calls_max: dice.pick(&[1, 1, 4, 16]),
        pause: dice.millis(1, 2_000),
        gzip: dice.percent(30),
        poison_share: if dice.percent(20) { dice.between(1, 30) } else { 0 },
        large_share: if dice.percent(30) { dice.between(1, 30) } else { 0 },
        large_bytes: dice.between(1 << 10, 100 << 10),
    }
}

fn exporter(dice: &mut Dice) -> ExporterPlan {
    let bytes_max = if dice.percent(25) { dice.between(20 << 10, 200 << 10) } else { 4 << 20 };
    ExporterPlan { servers: (0..dice.between(1, 3)).map(|_| server(dice, bytes_max)).collect() }
}

fn server(dice: &mut Dice, message_bytes_max: usize) -> ServerPlan {
    // Well within every timeout: a server that is always too slow takes nothing for ever.
    let slowest = if dice.percent(80) { 50 } else { 300 };
    ServerPlan {
        message_bytes_max,
        streams_max: dice.pick(&[1, 2, 100, 100]),
        calls_per_connection: dice.percent(25).then(|| u32::try_from(dice.between(1, 10)).unwrap()),
        delay: dice.millis(0, slowest),
        takes_first: dice.percent(50),
    }
}

fn mood(dice: &mut Dice) -> Mood {
    // CANCELLED, DEADLINE_EXCEEDED, ABORTED, UNAVAILABLE, DATA_LOSS; RESOURCE_EXHAUSTED where a time goes with it.
    match dice.below(8) {
        0 => Mood::Slow(dice.millis(100, 10_000)),
        1 => Mood::Mute,
        2 => Mood::Deaf,
        3 => Mood::Refuse(dice.pick(&[1, 4, 10, 14, 15]), None),
        4 => Mood::Refuse(dice.pick(&[14, 8]), Some(dice.millis(10, 5_000))),
        5 => Mood::Partial(1),
        6 => Mood::Reset,
        _ => Mood::Leave,
    }
}

fn weather(dice: &mut Dice) -> Link {
    let calm = Link::default();
    let latency = (dice.millis(0, 5), dice.millis(5, 100));
    match dice.below(6) {
        0 => Link { latency, ..calm },
        1 => Link { segment_bytes_max: dice.between(1, 2_000), ..calm },
        2 => Link { latency, buffer_bytes: dice.between(1 << 10, 64 << 10), ..calm },
        3 => Link { latency, cut_share: 0.3, cut_bytes_max: dice.between(100, 50_000), ..calm },
        4 => Link { bytes_per_second: Some(dice.pick(&[20_000, 200_000, 2_000_000])), ..calm },
        _ => calm,
    }
}
