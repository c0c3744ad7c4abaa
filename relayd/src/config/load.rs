//! From sources to a [`Config`]: read, merge, expand, understand, join. Every step records its errors, so that one
//! run reports them all. Must never start anything.

use std::time::Duration;

use relay_core::limits::GATHER_PAUSE_MAX;

use super::components::{Kind, State};
use super::error::{ConfigError, Diagnostics, Notice, Origin};
use super::exporters::{Exporter, ExporterKind};
use super::extensions::HealthCheck;
use super::merge::merge;
use super::node::{Node, Value};
use super::receivers::{GrpcServer, Receiver};
use super::section::Section;
use super::service::{self, Definitions, Pipeline};
use super::source::{self, World};
use super::telemetry::{self, Logs, Metrics};
use super::{expand, exporters, extensions, processors, receivers};

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
    /// The smallest soft limit of all memory limiters in use, in bytes: above it requests are refused. A limiter
    /// bounds the process, not its pipeline, as in the Collector. `None` without a limiter: the daemon's own default.
    pub memory_limit_bytes: Option<usize>,
    /// `service.relayd.gather_pause`: how long wake-ups may gather, zero for never; `None` for the default.
    pub gather_pause: Option<Duration>,
}

impl Config {
    /// What runs without any `--config`: receive on 127.0.0.1:4317 and print every trace. No health check and no
    /// metrics, so that the first try needs one port only.
    #[must_use]
    pub fn embedded_default() -> Self {
        let grpc = GrpcServer::on("127.0.0.1");
        Self {
            receivers: vec![Receiver { id: "otlp".to_owned(), grpc }],
            pipelines: vec![Pipeline {
                name: "traces".to_owned(),
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
    let mut definitions = Definitions {
        receivers: receivers::read(section.value(Kind::Receiver.section()), diag),
        processors: processors::read(section.value(Kind::Processor.section()), world, diag),
        exporters: exporters::read(section.value(Kind::Exporter.section()), diag),
    };
    let mut extensions = extensions::read(section.value(Kind::Extension.section()), diag);
    section.refuse(
        "connectors",
        "connectors work on decoded data; do it in the gateway Collector that relayd sends to",
    );
    let service = section.section("service");
    let Some(mut service) = service else {
        section.error("service", "the section service is missing; it says which pipelines run");
        section.finish();
        return None;
    };
    section.finish();
    let named = extensions.resolve(service.list("extensions"), "service.extensions", diag);
    let mut pipelines = service::read_pipelines(&mut service, &mut definitions, diag);
    let telemetry = telemetry::read(service.section("telemetry"), diag);
    let gather_pause = read_own(service.section("relayd"));
    service.finish();
    definitions.check_addresses(diag);
    definitions.receivers.warn_unused(diag);
    definitions.processors.warn_unused(diag);
    definitions.exporters.warn_unused(diag);
    extensions.warn_unused(diag);
    if let Some(second) = named.get(1).and_then(|index| extensions.all.get(*index)) {
        let path = format!("extensions.{}", second.id);
        diag.error(&second.origin, &path, "a second health_check; relayd answers probes at one address");
    }
    let health_check = extensions.all.into_iter().find_map(|component| match component.state {
        State::Ready(check) if component.used => Some(check),
        _ => None,
    });
    let (receivers, exporters) = definitions.keep_used(&mut pipelines);
    let limiters = pipelines.iter().filter_map(|pipeline| pipeline.memory_limiter.as_ref());
    let memory_limit_bytes = limiters.map(|limiter| limiter.soft_limit_bytes).min();
    Some(Config {
        receivers,
        pipelines,
        exporters,
        health_check,
        metrics: telemetry.metrics,
        logs: telemetry.logs,
        memory_limit_bytes,
        gather_pause,
    })
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
