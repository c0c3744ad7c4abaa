//! The relay of a simulated world as a process: started, drained with a successor beside it, killed. Every process that there was
//! keeps its books here. Must never change what the relay does.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use relay_core::config::{Destination, ReceiverConfig, UpstreamConfig};
use relay_core::simulation::Network;
use relay_core::stats::Stats;
use relay_core::upstream::Endpoint;
use relay_core::{Relay, StatsReader};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, LocalSet, spawn_local};

use super::names::Names;
use super::plan::{Plan, relay_host};
use super::server::PORT;

/// Name under which the servers of an exporter are known.
pub(crate) fn server_name(exporter: usize) -> String {
    format!("collectors-{exporter}")
}

/// One process, running or ended.
pub(crate) struct Process {
    stats: Rc<RefCell<Option<StatsReader>>>,
    stop: RefCell<Option<oneshot::Sender<Duration>>>,
    task: RefCell<Option<JoinHandle<()>>>,
    pub(crate) end: RefCell<End>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum End {
    NotYet,
    Drained { took: Duration, deadline: Duration },
    Killed,
}

impl Process {
    /// Starts the relay of `plan`.
    pub(crate) fn start(plan: &Plan, network: &Network, names: &Names) -> Rc<Self> {
        let (stop, stopped) = oneshot::channel();
        let process = Rc::new(Self {
            stats: Rc::default(),
            stop: RefCell::new(Some(stop)),
            task: RefCell::default(),
            end: RefCell::new(End::NotYet),
        });
        let mut builder = Relay::builder()
            .receiver(receiver(plan))
            .cores(plan.relay.cores)
            .resolver(Arc::new(names.clone()))
            .held_bytes_max(plan.relay.held_bytes_max);
        for exporter in 0..plan.exporters.len() {
            builder = builder.upstream(upstream(plan, exporter));
        }
        let (this, stats) = (Rc::downgrade(&process), Rc::clone(&process.stats));
        let clock = network.clone();
        let main = async move {
            let handle = builder.start().unwrap();
            stats.replace(Some(handle.stats_reader()));
            let Ok(deadline) = stopped.await else { return };
            let began = clock.elapsed();
            let last = handle.drain(deadline).await;
            let took = clock.elapsed() - began;
            clock.log(format!("relay drained in {took:?}: {:?}", books(&last)));
            if let Some(this) = this.upgrade() {
                this.end.replace(End::Drained { took, deadline });
            }
        };
        let main = network.enter(relay_host(), async move { LocalSet::new().run_until(main).await });
        process.task.replace(Some(spawn_local(main)));
        process
    }

    /// Tells it to drain, and waits for its end.
    pub(crate) async fn drain(&self, deadline: Duration) {
        if let Some(stop) = self.stop.take() {
            stop.send(deadline).ok();
        }
        let task = self.task.take();
        if let Some(task) = task {
            task.await.ok();
        }
    }

    pub(crate) async fn kill(&self) {
        let task = self.task.take();
        if let Some(task) = task {
            task.abort();
            task.await.ok();
            self.end.replace(End::Killed);
        }
    }

    /// `None` until it has started.
    pub(crate) fn stats(&self) -> Option<Stats> {
        self.stats.borrow().as_ref().map(StatsReader::stats)
    }
}

/// What of the stats is the same whenever the run is.
pub(crate) fn books(stats: &Stats) -> Vec<String> {
    let upstreams = stats.upstreams.iter().map(|upstream| {
        format!(
            "{}: {:?} held {} attempts {} retries {} connects {}",
            upstream.name,
            upstream.items,
            upstream.held_bytes,
            upstream.attempts,
            upstream.retries,
            upstream.connects
        )
    });
    let receivers = stats.receivers.iter().map(|receiver| {
        format!(
            "{}: accepted {} refused {}",
            receiver.name,
            receiver.accepted_items(),
            receiver.refused_items()
        )
    });
    upstreams.chain(receivers).collect()
}

fn receiver(plan: &Plan) -> ReceiverConfig {
    let mut receiver = ReceiverConfig::new("otlp", SocketAddr::new(relay_host(), PORT));
    receiver.connection_age_max = plan.relay.connection_age_max;
    receiver
}

fn upstream(plan: &Plan, exporter: usize) -> UpstreamConfig {
    let endpoint = Endpoint::parse(&format!("{}:{PORT}", server_name(exporter))).unwrap();
    let mut config = UpstreamConfig::grpc(format!("exporter-{exporter}"), endpoint);
    let relay = &plan.relay;
    config.linger = relay.linger;
    config.calls_max = relay.calls_max;
    config.queue = relay.queue;
    config.on_full = relay.on_full;
    config.wait_for_result = relay.wait_for_result;
    config.batch.items_max = relay.batch_items_max;
    if let Destination::Grpc(grpc) = &mut config.destination {
        grpc.timeout = relay.timeout;
        grpc.retry = relay.retry;
        grpc.compression = relay.compression;
    }
    config
}
