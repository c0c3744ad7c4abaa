//! Runs one world: builds what its plan says, lets faults happen, heals everything, waits until the relay has nothing left, drains
//! it, and hands what happened to the judge. Must never decide by chance: that is the plan's.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::rc::Rc;
use std::time::Duration;

use relay_core::config::OnFull;
use relay_core::limits::{BLOCK_WAIT_MAX, REFUSE_WAIT_MAX};
use relay_core::simulation::{Link, Network};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::sleep;

use super::client::Client;
use super::judge;
use super::names::Names;
use super::plan::{Dice, FAULTS, Fault, Mood, NameMood, Plan, client_host, relay_host, server_host};
use super::relay::{Process, server_name};
use super::server::Server;
use super::truth::Truth;

/// Time that the relay has, when all is well again, to send what it holds.
const SETTLE_MAX: Duration = Duration::from_secs(180);
/// Deadline of the last drain.
const LAST_DEADLINE: Duration = Duration::from_secs(30);
/// How often the books are looked at.
const LOOK: Duration = Duration::from_millis(50);
/// What ways and schedulers take of an answer's time.
const ANSWER_SLACK: Duration = Duration::from_secs(2);

/// What came of one run.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) violations: Vec<String>,
    pub(crate) log: Vec<(Duration, String)>,
    pub(crate) spans: usize,
}

impl Report {
    /// The same for the same run.
    pub(crate) fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.log.hash(&mut hasher);
        hasher.finish()
    }
}

/// Runs the world of `seed`.
pub(crate) fn run(seed: u64) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    LocalSet::new().block_on(&runtime.unwrap(), async move {
        let world = World::new(seed);
        world.live().await;
        world.report()
    })
}

pub(crate) struct World {
    seed: u64,
    pub(crate) plan: Plan,
    pub(crate) network: Network,
    pub(crate) truth: Truth,
    names: Names,
    /// Servers that their name has lost.
    left: RefCell<BTreeSet<(usize, usize)>>,
    pub(crate) servers: Vec<Vec<Rc<Server>>>,
    /// All that there were; the last is the newest.
    pub(crate) relays: RefCell<Vec<Rc<Process>>>,
    restarting: tokio::sync::Mutex<()>,
    /// Times at which what a server answered may not have reached the relay, whatever server.
    pub(crate) troubles: RefCell<Vec<Duration>>,
}

impl World {
    fn new(seed: u64) -> Rc<Self> {
        let (plan, network, truth) = (Plan::of(seed), Network::new(seed), Truth::default());
        let server = |exporter: usize, number: usize| {
            let plan = plan.exporters[exporter].servers[number].clone();
            Server::new((exporter, number), plan, &network, &truth)
        };
        let servers = (0..plan.exporters.len())
            .map(|at| (0..plan.exporters[at].servers.len()).map(|number| server(at, number)).collect());
        let servers = servers.collect();
        Rc::new(Self {
            seed,
            network,
            truth,
            names: Names::default(),
            left: RefCell::default(),
            servers,
            plan,
            relays: RefCell::default(),
            restarting: tokio::sync::Mutex::default(),
            troubles: RefCell::default(),
        })
    }

    async fn live(self: &Rc<Self>) {
        self.network.log(format!("{:?}", self.plan));
        for (exporter, servers) in self.servers.iter().enumerate() {
            servers.iter().for_each(Server::start);
            self.set_name(exporter);
        }
        self.set_weather(self.plan.weather);
        self.start_relay();
        let clients = self.start_clients();
        let looking = tokio::task::spawn_local(Rc::clone(self).look());
        let mut restarts = JoinSet::new();
        for (at, fault) in &self.plan.faults {
            sleep(at.saturating_sub(self.network.elapsed())).await;
            self.network.log(format!("{fault:?}"));
            self.carry_out(fault, &mut restarts);
        }
        while restarts.join_next().await.is_some() {}
        self.heal();
        clients.join_all().await;
        self.settle().await;
        let newest = self.newest();
        newest.drain(LAST_DEADLINE).await;
        looking.abort();
    }

    fn start_clients(&self) -> JoinSet<()> {
        let relay = &self.plan.relay;
        let waits_for = relay.wait_for_result.then_some(self.plan.exporters.len());
        let bound = if relay.on_full == OnFull::Block { BLOCK_WAIT_MAX } else { REFUSE_WAIT_MAX };
        // Where the relay waits for results, or the way to it is not calm, the bound is not its own.
        let disturbs = |fault: &Fault| match fault {
            Fault::PartClient(_) => true,
            Fault::Weather(weather) => !is_calm(weather),
            _ => false,
        };
        let calm = is_calm(&self.plan.weather) && !self.plan.faults.iter().any(|(_, fault)| disturbs(fault));
        let answer_max = (calm && !relay.wait_for_result).then_some(bound + ANSWER_SLACK);
        let mut clients = JoinSet::new();
        for (number, plan) in self.plan.clients.iter().enumerate() {
            let dice = Dice::new(self.seed.wrapping_mul(31).wrapping_add(number as u64));
            let what = (&self.network, &self.truth);
            let client = Client::new((number, plan.clone()), dice, what, (waits_for, answer_max));
            clients.spawn_local(client.run());
        }
        clients
    }

    fn start_relay(&self) {
        let process = Process::start(&self.plan, &self.network, &self.names);
        self.relays.borrow_mut().push(process);
    }

    fn newest(&self) -> Rc<Process> {
        Rc::clone(self.relays.borrow().last().unwrap())
    }

    fn trouble(&self) {
        self.troubles.borrow_mut().push(self.network.elapsed());
    }

    /// Tells who asks for the servers of an exporter.
    fn set_name(&self, exporter: usize) {
        let left = self.left.borrow();
        let members = (0..self.servers[exporter].len()).filter(|server| !left.contains(&(exporter, *server)));
        let hosts: Vec<_> = members.map(|server| server_host(exporter, server)).collect();
        self.network.name(&server_name(exporter), hosts.clone());
        self.names.set(&server_name(exporter), hosts);
    }

    fn set_weather(&self, link: Link) {
        for servers in &self.servers {
            for server in servers {
                self.network.link(relay_host(), server_host(server.exporter, server.number), link);
            }
        }
        for client in 0..self.plan.clients.len() {
            self.network.link(relay_host(), client_host(client), link);
        }
    }

    fn carry_out(self: &Rc<Self>, fault: &Fault, restarts: &mut JoinSet<()>) {
        let server = |exporter: &usize, number: &usize| &self.servers[*exporter][*number];
        match fault {
            Fault::PartServer(exporter, number) => {
                server(exporter, number).trouble();
                self.network.part(relay_host(), server_host(*exporter, *number));
            }
            Fault::HealServer(exporter, number) => {
                server(exporter, number).trouble();
                self.network.heal(relay_host(), server_host(*exporter, *number));
            }
            Fault::ResetServer(exporter, number) => {
                server(exporter, number).trouble();
                self.network.reset(relay_host(), server_host(*exporter, *number));
            }
            Fault::PartClient(client) => self.network.part(relay_host(), client_host(*client)),
            Fault::HealClient(client) => self.network.heal(relay_host(), client_host(*client)),
            Fault::ResetClient(client) => self.network.reset(relay_host(), client_host(*client)),
            Fault::Mood(exporter, number, mood) => {
                server(exporter, number).mood.replace(mood.clone());
            }
            Fault::CrashServer(exporter, number) => {
                server(exporter, number).trouble();
                server(exporter, number).crash();
            }
            Fault::StartServer(exporter, number) => server(exporter, number).start(),
            Fault::Weather(weather) => self.set_weather(*weather),
            Fault::Name(exporter, mood) => self.names.set_mood(&server_name(*exporter), *mood),
            Fault::Leaves(exporter, number) => {
                self.left.borrow_mut().insert((*exporter, *number));
                self.set_name(*exporter);
            }
            Fault::Joins(exporter, number) => {
                self.left.borrow_mut().remove(&(*exporter, *number));
                self.set_name(*exporter);
            }
            Fault::Restart { deadline, overlap } => {
                restarts.spawn_local(Rc::clone(self).restart(*deadline, *overlap));
            }
            Fault::CrashRelay(pause) => {
                restarts.spawn_local(Rc::clone(self).crash(*pause));
            }
        }
    }

    async fn restart(self: Rc<Self>, deadline: Duration, overlap: Option<Duration>) {
        let _alone = self.restarting.lock().await;
        let old = self.newest();
        if let Some(overlap) = overlap {
            self.start_relay();
            sleep(overlap).await;
        }
        old.drain(deadline).await;
        // Its connections are closed with its process: what was on its way to it then is lost.
        self.trouble();
        if overlap.is_none() {
            self.start_relay();
        }
    }

    async fn crash(self: Rc<Self>, pause: Duration) {
        let _alone = self.restarting.lock().await;
        self.trouble();
        self.newest().kill().await;
        sleep(pause).await;
        self.start_relay();
    }

    fn heal(&self) {
        self.network.log("all is well");
        self.set_weather(Link::default());
        self.left.borrow_mut().clear();
        for (exporter, servers) in self.servers.iter().enumerate() {
            self.names.set_mood(&server_name(exporter), NameMood::Well);
            self.set_name(exporter);
            for server in servers {
                server.mood.replace(Mood::Well);
                self.network.heal(relay_host(), server_host(server.exporter, server.number));
            }
        }
        (0..self.plan.clients.len()).for_each(|client| self.network.heal(relay_host(), client_host(client)));
    }

    async fn settle(&self) {
        let until = self.network.elapsed().max(FAULTS) + SETTLE_MAX;
        loop {
            let stats = self.newest().stats().unwrap();
            if stats.upstreams.iter().all(|upstream| upstream.items.held() == 0) {
                return;
            }
            if self.network.elapsed() > until {
                let books = super::relay::books(&stats);
                return self.truth.violation(format!("still held after {SETTLE_MAX:?}: {books:?}"));
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    /// Looks at the books all the time.
    async fn look(self: Rc<Self>) {
        loop {
            sleep(LOOK).await;
            let relays = self.relays.borrow().clone();
            for relay in relays {
                relay.stats().into_iter().for_each(|stats| judge::look(&self, &stats));
            }
        }
    }

    fn report(&self) -> Report {
        judge::judge(self);
        let mut account = self.truth.write();
        account.violations.dedup();
        let mut violations = std::mem::take(&mut account.violations);
        violations.extend(super::panics());
        violations.iter().for_each(|violation| self.network.log(format!("VIOLATION: {violation}")));
        Report { violations, log: self.network.take_log(), spans: account.spans.len() }
    }
}

fn is_calm(weather: &Link) -> bool {
    weather.bytes_per_second.is_none()
        && weather.buffer_bytes >= 256 << 10
        && weather.segment_bytes_max > 1_000
}
