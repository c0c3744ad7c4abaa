//! From sources to a [`Config`]: read, merge, expand, understand, join. Every step records its errors, so that one
//! run reports them all. Must never start anything.

use std::time::Duration;

use relay_core::limits::GATHER_PAUSE_MAX;
use relay_core::otlp::Signal;

use super::components::{Kind, State};
use super::endpoint::{Address, HostPort};
use super::error::{ConfigError, Diagnostics, Notice, Origin};
use super::exporters::{Exporter, ExporterKind};
use super::extensions::{Extension, Extensions, HealthCheck};
use super::merge::merge;
use super::node::{Node, Value};
use super::receivers::{GrpcServer, HttpServer, Receiver};
use super::section::Section;
use super::service::{self, Definitions, Pipeline};
use super::source::{self, World};
use super::telemetry::{self, Logs, Metrics};
use super::{expand, exporters, extensions, memory, processors, receivers};

/// Everything that the daemon is told. Plain values; names of hosts are not resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What listens; only receivers that a pipeline uses.
    pub receivers: Vec<Receiver>,
    /// Not empty.
    pub pipelines: Vec<Pipeline>,
    /// What sends; only exporters that a pipeline uses.
    pub exporters: Vec<Exporter>,
    /// `health_check`, if `service.extensions` names it.
    pub health_check: Option<HealthCheck>,
    /// `/metrics`; `None` at level none. On by default.
    pub metrics: Option<Metrics>,
    /// The daemon's log.
    pub logs: Logs,
    /// The smallest soft limit of all memory limiters in use, processors and middlewares, in bytes: above it requests are refused. A limiter
    /// bounds the process, not its pipeline, as in the Collector. `None` without a limiter: the daemon's own default.
    pub memory_limit_bytes: Option<usize>,
    /// What the process may use, in bytes: the smallest limit of its control groups, else what the machine has. `None` if that is not
    /// known.
    pub memory_total_bytes: Option<u64>,
    /// `service.relayd.gather_pause`: how long wake-ups may gather, zero for never; `None` for the default.
    pub gather_pause: Option<Duration>,
}

impl Config {
    /// What runs without any `--config`: receive on localhost:4317 (gRPC) and localhost:4318 (HTTP), or both on
    /// `listen`, and print every trace. No health check and no metrics, so that the first try needs no other port.
    #[must_use]
    pub fn embedded_default(listen: Option<HostPort>) -> Self {
        let listen = listen.map(|listen| vec![Address::Tcp(listen)]);
        let grpc = listen.clone().map_or_else(|| GrpcServer::on("localhost"), GrpcServer::at);
        let http = listen.map_or_else(|| HttpServer::on("localhost"), HttpServer::at);
        Self {
            receivers: vec![Receiver { id: "otlp".to_owned(), grpc: Some(grpc), http: Some(http) }],
            pipelines: vec![Pipeline {
                name: "traces".to_owned(),
                signal: Signal::Traces,
                receivers: vec![0],
                batch: None,
                memory_limiter: None,
                exporters: vec![0],
            }],
            exporters: vec![Exporter { id: "printer".to_owned(), kind: ExporterKind::Printer }],
            health_check: None,
            metrics: None,
            logs: Logs::default(),
            memory_limit_bytes: None,
            memory_total_bytes: None,
            gather_pause: None,
        }
    }
}

/// Loads all `--config` URIs in order, then all `--set` pairs over them.
///
/// # Errors
/// Everything that is wrong, up to [`super::error::PROBLEMS_MAX`] problems, each with its place and the way out.
pub fn load(
    uris: &[String],
    sets: &[String],
    world: &dyn World,
) -> Result<(Config, Vec<Notice>), ConfigError> {
    let diag = Diagnostics::default();
    let files = uris.iter().filter_map(|uri| source::read(uri, world, &diag));
    let pairs = sets.iter().filter_map(|pair| source::read_set(pair, &diag));
    let first = uris.first().map_or("--set", String::as_str);
    let empty = Node::new(Value::Map(Vec::new()), Origin::of_source(first));
    let root = files.chain(pairs).fold(empty, merge);
    // A source that cannot be read makes every further message a guess.
    let config =
        if diag.has_errors() { None } else { read_root(&expand::expand(root, world, &diag), world, &diag) };
    diag.finish(config)
}

/// `None` if an error was recorded that leaves nothing to join.
fn read_root(root: &Node, world: &dyn World, diag: &Diagnostics) -> Option<Config> {
    let mut section = Section::open(root, "", diag);
    let mut service = section.section("service");
    // Receivers and exporters may name extensions, but only those that run.
    let mut extensions = extensions::read(section.value(Kind::Extension.section()), world, diag);
    let named = service.as_mut().map_or(&[][..], |service| service.list("extensions"));
    extensions.resolve(named, "service.extensions", diag);
    let mut definitions = Definitions {
        receivers: receivers::read(section.value(Kind::Receiver.section()), &extensions, diag),
        processors: processors::read(section.value(Kind::Processor.section()), world, diag),
        exporters: exporters::read(section.value(Kind::Exporter.section()), &extensions, diag),
    };
    section.refuse(
        "connectors",
        "connectors work on decoded data; do it in the gateway Collector that relayd sends to",
    );
    let Some(mut service) = service else {
        section.error("service", "the section service is missing; it says which pipelines run");
        section.finish();
        return None;
    };
    section.finish();
    let mut pipelines = service::read_pipelines(&mut service, &mut definitions, diag);
    let telemetry = telemetry::read(service.section("telemetry"), diag);
    let gather_pause = read_own(service.section("relayd"));
    service.finish();
    definitions.check_addresses(diag);
    definitions.receivers.warn_unused(diag);
    definitions.processors.warn_unused(diag);
    definitions.exporters.warn_unused(diag);
    extensions.warn_unused(diag);
    let (receivers, exporters) = definitions.keep_used(&mut pipelines);
    let storages = exporters.iter().filter_map(|exporter| exporter.kind.spill());
    let storages: Vec<&str> = storages.map(|spill| spill.storage.id.as_str()).collect();
    extensions.warn_idle_storages(&storages, diag);
    let health_check = only_health_check(extensions, diag);
    let limiters = pipelines.iter().filter_map(|pipeline| pipeline.memory_limiter.as_ref());
    let limiters = limiters.chain(receivers.iter().flat_map(Receiver::memory_limiters));
    let memory_limit_bytes = limiters.map(|limiter| limiter.soft_limit_bytes).min();
    Some(Config {
        receivers,
        pipelines,
        exporters,
        health_check,
        metrics: telemetry.metrics,
        logs: telemetry.logs,
        memory_limit_bytes,
        memory_total_bytes: memory::total_bytes(world),
        gather_pause,
    })
}

/// The `health_check` that runs; a second one is an error.
fn only_health_check(extensions: Extensions, diag: &Diagnostics) -> Option<HealthCheck> {
    let mut first = None;
    for component in extensions.all.into_iter().filter(|component| component.used) {
        let State::Ready(Extension::HealthCheck(check)) = component.state else { continue };
        if first.is_some() {
            let path = format!("extensions.{}", component.id);
            diag.error(
                &component.origin,
                &path,
                "a second health_check; relayd answers probes at one address",
            );
        }
        first.get_or_insert(check);
    }
    first
}

/// `service.relayd`: what only relayd has. A Collector does not start with it.
fn read_own(section: Option<Section<'_>>) -> Option<Duration> {
    let mut section = section?;
    let pause = section.duration("gather_pause").filter(|pause| {
        let allowed = *pause <= GATHER_PAUSE_MAX;
        if !allowed {
            section.error(
                "gather_pause",
                format!("at most {GATHER_PAUSE_MAX:?}: senders wait that much longer"),
            );
        }
        allowed
    });
    section.finish();
    pause
}
