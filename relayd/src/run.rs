//! A run of the daemon from a loaded configuration to the exit: build, start, serve probes, wait, drain, report.
//! Must never touch a span: the cores do.

use std::net::TcpListener;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use relay_core::config::BatchSink;
use relay_core::{Relay, RelayHandle};
use tokio::task::LocalSet;
use tracing::level_filters::{LevelFilter, STATIC_MAX_LEVEL};

use crate::config::{Config, Exporter, ExporterKind, HttpUrl, LogLevel};
use crate::debug::DebugSink;
use crate::health::Life;
use crate::limits::{CORE_CHECK_INTERVAL, OUTLET_FLUSH_MAX};
use crate::outlet::Outlet;
use crate::plan::{About, Plan};
use crate::printer::{Printer, PrinterSink};
use crate::report::{Books, Report};
use crate::signals::{Ask, Signals};
use crate::{clock, health, http, listen, logging, metrics, plan};

/// What a run starts from.
#[derive(Debug)]
pub(crate) struct Options {
    /// What to run.
    pub(crate) config: Config,
    /// Remarks about the configuration, to be logged first: whether it is a warning, and the text.
    pub(crate) notices: Vec<(bool, String)>,
    /// Time for the drain.
    pub(crate) shutdown_deadline: Duration,
}

/// Runs until a signal ends it.
///
/// # Errors
/// Why it did not start, one problem a line.
pub(crate) fn run(options: Options) -> Result<ExitCode, String> {
    let outlet = |name, error: std::io::Error| format!("cannot start the thread {name}: {error}");
    let stderr = Outlet::start("stderr", std::io::stderr()).map_err(|error| outlet("stderr", error))?;
    let ended = prepare_and_serve(options, &stderr);
    stderr.flush(OUTLET_FLUSH_MAX);
    ended.map(|clean| if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// True if nothing went wrong after the start.
fn prepare_and_serve(options: Options, stderr: &Outlet) -> Result<bool, String> {
    let Options { config, notices, shutdown_deadline } = options;
    plan::check(&config).map_err(|errors| errors.join("\n"))?;
    let prints = config.exporters.iter().any(|exporter| exporter.kind == ExporterKind::Printer);
    // Beside the traces on a terminal only what needs somebody.
    let library = if prints { LogLevel::Warn } else { config.logs.level };
    logging::start(config.logs, library, stderr.clone()).map_err(|error| error.to_string())?;
    if config.logs.level == LogLevel::Debug && LevelFilter::DEBUG > STATIC_MAX_LEVEL {
        tracing::warn!("service.telemetry.logs.level: debug lines are not in this build; level is info");
    }
    for (warning, text) in notices {
        if warning { tracing::warn!("{text}") } else { tracing::info!("{text}") }
    }
    let (printer_sink, printer) = Printer::new();
    let printer_sink = Arc::new(printer_sink);
    let plan = plan::make(&config, |exporter| sink(exporter, &printer_sink, stderr))
        .map_err(|errors| errors.join("\n"))?;
    for notice in &plan.notices {
        tracing::warn!("{notice}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start the control runtime: {error}"))?;
    let printer = prints.then_some(printer);
    LocalSet::new().block_on(&runtime, serve(config, plan, printer, (shutdown_deadline, stderr)))
}

fn sink(exporter: &Exporter, printer: &Arc<PrinterSink>, stderr: &Outlet) -> Arc<dyn BatchSink> {
    match &exporter.kind {
        ExporterKind::Debug(debug) => Arc::new(DebugSink::new(&exporter.id, debug, stderr.clone())),
        ExporterKind::Otlp(_)
        | ExporterKind::OtlpHttp(_)
        | ExporterKind::LoadBalancing(_)
        | ExporterKind::Printer => Arc::clone(printer) as Arc<dyn BatchSink>,
    }
}

async fn serve(
    config: Config,
    plan: Plan,
    printer: Option<Printer>,
    (shutdown_deadline, stderr): (Duration, &Outlet),
) -> Result<bool, String> {
    // Before anything is held: a signal that comes early must not kill.
    let mut signals = Signals::listen().map_err(|error| format!("cannot listen to signals: {error}"))?;
    let books = Books::new(&plan);
    let about = plan.about.clone();
    // Receivers start last: nobody is received before probes can say so.
    let probes = bind_probes(&config)?;
    let relay = start_relay(plan)?;
    announce(&config, &relay, printer.is_some());
    let life = Rc::new(Life::new(relay));
    serve_probes(&config, probes, &life, about);
    let printing = match printer {
        Some(printer) => {
            let spoken = ports(&config).map(|(_, spoken)| spoken);
            let listening_on: Vec<_> = life.listening_on().iter().cloned().zip(spoken).collect();
            Some(printer.start(&listening_on).map_err(|error| error.to_string())?)
        }
        None => None,
    };
    let died = wait_for_the_end(&mut signals, &life).await;
    let report = drain(&mut signals, &life, &books, shutdown_deadline).await;
    // A flood of text (the debug exporter's) must not crowd out the last line.
    stderr.flush(OUTLET_FLUSH_MAX);
    let clean = say_report(report, &life);
    if let Some(printing) = printing {
        printing.finish().await;
    }
    Ok(clean && !died)
}

fn start_relay(plan: Plan) -> Result<RelayHandle, String> {
    let mut builder = Relay::builder();
    if let Some(bytes) = plan.held_bytes_max {
        builder = builder.held_bytes_max(bytes);
    }
    if let Some(pause) = plan.gather_pause {
        builder = builder.gather_pause(pause);
    }
    for upstream in plan.upstreams {
        builder = builder.upstream(upstream);
    }
    for receiver in plan.receivers {
        builder = builder.receiver(receiver);
    }
    builder.start().map_err(|error| error.to_string())
}

/// The bound listeners of health and metrics.
struct Probes {
    health: Option<TcpListener>,
    metrics: Option<TcpListener>,
}

fn bind_probes(config: &Config) -> Result<Probes, String> {
    let health = config.health_check.as_ref().map(|check| {
        listen::bind(&check.endpoint)
            .map_err(|error| format!("health_check cannot listen on {}: {error}", check.endpoint))
    });
    let metrics = config.metrics.as_ref().map(|metrics| {
        listen::bind(&metrics.endpoint)
            .map_err(|error| format!("metrics cannot be served on {}: {error}", metrics.endpoint))
    });
    Ok(Probes { health: health.transpose()?, metrics: metrics.transpose()? })
}

/// The ports of all receivers, in relay-core's order: whose each is, and what is spoken there.
fn ports(config: &Config) -> impl Iterator<Item = (&str, &'static str)> {
    config.receivers.iter().flat_map(|receiver| {
        let both = receiver.one_port();
        receiver.listeners().map(move |(protocol, _)| {
            let spoken = match protocol {
                _ if both => "gRPC and HTTP",
                "http" => "HTTP",
                _ => "gRPC",
            };
            (receiver.id.as_str(), spoken)
        })
    })
}

fn announce(config: &Config, relay: &RelayHandle, quiet: bool) {
    if quiet {
        return;
    }
    for ((id, spoken), address) in ports(config).zip(relay.listening_on()) {
        tracing::info!("receiver {id} listening on {address} ({spoken})");
    }
    for exporter in &config.exporters {
        match &exporter.kind {
            ExporterKind::Otlp(otlp) => {
                tracing::info!("exporter {} sends to {} (gRPC)", exporter.id, otlp.endpoint);
            }
            ExporterKind::OtlpHttp(otlp) => {
                // One server takes several signals, as a rule.
                let mut servers: Vec<String> = otlp.urls().map(HttpUrl::authority).collect();
                servers.dedup();
                tracing::info!("exporter {} sends to {} (HTTP)", exporter.id, servers.join(", "));
            }
            ExporterKind::LoadBalancing(tier) => {
                let members = plan::load_balancing::in_words(&tier.members);
                tracing::info!("exporter {} shares spans out among {members} (gRPC)", exporter.id);
            }
            ExporterKind::Debug(_) | ExporterKind::Printer => {}
        }
    }
}

fn serve_probes(config: &Config, probes: Probes, life: &Rc<Life>, about: Vec<About>) {
    if let (Some(listener), Some(check)) = (probes.health, &config.health_check) {
        let (life, path) = (Rc::clone(life), check.path.clone());
        announce_probe("health_check", &listener, &path);
        http::serve(listener, move |asked| (asked == path).then(|| health::answer(&life)));
    }
    if let (Some(listener), Some(settings)) = (probes.metrics, &config.metrics) {
        announce_probe("metrics", &listener, "/metrics");
        let source = metrics::Source::new(about, settings, life);
        http::serve(listener, move |asked| (asked == "/metrics").then(|| source.answer()));
    }
}

fn announce_probe(what: &str, listener: &TcpListener, path: &str) {
    if let Ok(address) = listener.local_addr() {
        tracing::info!("{what} listening on {address}{path}");
    }
}

/// Resolves when the run is to end; true if because a core has died.
async fn wait_for_the_end(signals: &mut Signals, life: &Life) -> bool {
    loop {
        tokio::select! {
            ask = signals.next() => match ask {
                Ask::End(signal) => {
                    tracing::info!("{signal} received; draining");
                    return false;
                }
                Ask::Reload => tracing::warn!(
                    "SIGHUP received: reloading is not in this version; restart relayd to change its configuration"
                ),
            },
            () = life.noticed_death() => {}
            () = tokio::time::sleep(CORE_CHECK_INTERVAL) => {}
        }
        if !life.is_healthy() {
            tracing::error!("a core has died, and what it held with it; ending");
            return true;
        }
    }
}

/// Drains; `None` if nobody waited for the end.
async fn drain(signals: &mut Signals, life: &Life, books: &Books, deadline: Duration) -> Option<Report> {
    let (relay, began) = (life.begin_drain()?, clock::now());
    let drained = relay.drain(deadline);
    tokio::pin!(drained);
    loop {
        tokio::select! {
            stats = &mut drained => {
                let elapsed = clock::now().saturating_duration_since(began);
                return Some(books.close(&stats, elapsed));
            }
            ask = signals.next() => if matches!(ask, Ask::End(_)) { return None },
        }
    }
}

/// The last line of the log. False if the books do not add up, or are not closed.
fn say_report(report: Option<Report>, life: &Life) -> bool {
    let Some(report) = report else {
        let held: u64 = life.stats().stats().upstreams.iter().map(|upstream| upstream.items.held()).sum();
        tracing::error!("shutdown cut short by a second signal: {held} spans were held and are lost");
        return false;
    };
    if !report.adds_up {
        tracing::error!("{}", report.line);
    } else if report.given_up > 0 {
        tracing::warn!("{}", report.line);
    } else {
        tracing::info!("{}", report.line);
    }
    report.adds_up
}
