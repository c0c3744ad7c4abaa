//! A run of the daemon from a loaded configuration to the exit: build, start, serve probes, wait, drain, report.
//! Must never touch a span: the cores do.

use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use relay_core::config::BatchSink;
use relay_core::stats::UpstreamStats;
use tokio::task::LocalSet;
use tracing::level_filters::{LevelFilter, STATIC_MAX_LEVEL};

use crate::activation::Inherited;
use crate::config::{Config, Exporter, ExporterKind, HttpUrl, LogLevel};
use crate::debug::DebugSink;
use crate::generations::Generation;
use crate::health::Life;
use crate::limits::{CORE_CHECK_INTERVAL, OUTLET_FLUSH_MAX};
use crate::logging::LevelHandle;
use crate::metrics::Reloads;
use crate::outlet::Outlet;
use crate::plan::Plan;
use crate::printer::{Printer, PrinterSink};
use crate::probes::Probes;
use crate::reload::{Control, Departures};
use crate::report::{self, Report};
use crate::signals::{Ask, Signals};
use crate::watch::{Sources, Watch};
use crate::{clock, logging, notify, plan, storage};

/// What a run starts from.
#[derive(Debug)]
pub(crate) struct Options {
    /// What to run.
    pub(crate) config: Config,
    /// Where that comes from, to be read again.
    pub(crate) sources: Sources,
    /// The files of that.
    pub(crate) watch: Watch,
    /// Remarks about the configuration, to be logged first: whether it is a warning, and the text.
    pub(crate) notices: Vec<(bool, String)>,
    /// Time for the drain.
    pub(crate) shutdown_deadline: Duration,
    /// Listeners that the process was started with.
    pub(crate) inherited: Inherited,
}

/// What a run has, besides, when it begins to serve.
struct Outputs {
    level: LevelHandle,
    printer_sink: Arc<PrinterSink>,
    printer: Option<Printer>,
    stderr: Outlet,
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
    let config = &options.config;
    plan::check(config).map_err(|errors| errors.join("\n"))?;
    let prints = config.exporters.iter().any(|exporter| exporter.kind == ExporterKind::Printer);
    // Beside the traces on a terminal only what needs somebody.
    let library = if prints { LogLevel::Warn } else { config.logs.level };
    let level = logging::start(config.logs, library, stderr.clone()).map_err(|error| error.to_string())?;
    if config.logs.level == LogLevel::Debug && LevelFilter::DEBUG > STATIC_MAX_LEVEL {
        tracing::warn!("service.telemetry.logs.level: debug lines are not in this build; level is info");
    }
    for (warning, text) in &options.notices {
        say_notice(*warning, text);
    }
    storage::prepare(config).map_err(|errors| errors.join("\n"))?;
    let (printer_sink, printer) = Printer::new();
    let printer_sink = Arc::new(printer_sink);
    let plan = plan::make(config, |exporter| sink(exporter, &printer_sink, stderr))
        .map_err(|errors| errors.join("\n"))?;
    for notice in &plan.notices {
        tracing::warn!("{notice}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start the control runtime: {error}"))?;
    let printer = prints.then_some(printer);
    let outputs = Outputs { level, printer_sink, printer, stderr: stderr.clone() };
    LocalSet::new().block_on(&runtime, serve(options, plan, outputs))
}

/// Logs a remark about the configuration.
pub(crate) fn say_notice(warning: bool, text: &str) {
    if warning { tracing::warn!("{text}") } else { tracing::info!("{text}") }
}

/// What stands behind an exporter that is no upstream.
pub(crate) fn sink(exporter: &Exporter, printer: &Arc<PrinterSink>, stderr: &Outlet) -> Arc<dyn BatchSink> {
    match &exporter.kind {
        ExporterKind::Debug(debug) => Arc::new(DebugSink::new(&exporter.id, debug, stderr.clone())),
        ExporterKind::Otlp(_)
        | ExporterKind::OtlpHttp(_)
        | ExporterKind::LoadBalancing(_)
        | ExporterKind::Printer => Arc::clone(printer) as Arc<dyn BatchSink>,
    }
}

async fn serve(options: Options, plan: Plan, outputs: Outputs) -> Result<bool, String> {
    let Options { config, sources, watch, shutdown_deadline, inherited, .. } = options;
    let Outputs { level, printer_sink, printer, stderr } = outputs;
    // Before anything is held: a signal that comes early must not kill.
    let mut signals = Signals::listen().map_err(|error| format!("cannot listen to signals: {error}"))?;
    let mut probes = Probes::default();
    // Receivers start last: nobody is received before probes can say so.
    let sockets = probes.bind(&config)?;
    let relay = Generation::start(plan, None, &inherited)?;
    let greeted = relay.listening_on().into_iter().map(|(_, address, spoken)| (address, spoken)).collect();
    if printer.is_none() {
        announce(&config, &relay);
    }
    let (life, reloads) = (Rc::new(Life::new(relay)), Rc::new(Reloads::new()));
    probes.serve(&config, sockets, &life, &reloads);
    notify::ready();
    let printing = match printer {
        Some(printer) => Some(printer.start(greeted).map_err(|error| error.to_string())?),
        None => None,
    };
    let mut control = Control {
        sources,
        watch,
        config,
        life: Rc::clone(&life),
        probes,
        reloads,
        inherited,
        level,
        printer_sink,
        stderr: stderr.clone(),
        drain_deadline: shutdown_deadline,
        departures: Departures::default(),
    };
    let died = wait_for_the_end(&mut signals, &life, &mut control).await;
    notify::stopping();
    let report = drain(&mut signals, &mut control).await;
    // A flood of text (the debug exporter's) must not crowd out the last line.
    stderr.flush(OUTLET_FLUSH_MAX);
    let clean = say_report(report, &life);
    if let Some(printing) = printing {
        printing.finish().await;
    }
    Ok(clean && !died)
}

/// Says where `relay` receives, and where `config` has it send.
pub(crate) fn announce(config: &Config, relay: &Generation) {
    for (receiver, address, spoken) in relay.listening_on() {
        tracing::info!("receiver {receiver} listening on {address} ({spoken})");
    }
    tracing::info!("bytes held in memory: at most {}", relay.bound());
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
        if let Some(spill) = exporter.kind.spill() {
            tracing::info!("exporter {}: {}", exporter.id, storage::in_words(spill));
        }
    }
}

/// Resolves when the run is to end, by a signal or because no core is left; true if a core has died.
async fn wait_for_the_end(signals: &mut Signals, life: &Life, control: &mut Control) -> bool {
    let mut died = false;
    loop {
        tokio::select! {
            ask = signals.next() => match ask {
                Ask::End(signal) => {
                    tracing::info!("{signal} received; draining");
                    return died || !life.is_healthy();
                }
                Ask::Reload => control.want(),
            },
            () = control.changed() => {}
            () = life.noticed_death() => {}
            () = tokio::time::sleep(CORE_CHECK_INTERVAL) => {}
        }
        if !life.is_alive() {
            tracing::error!("all cores have died; ending");
            return true;
        }
        if !died && !life.is_healthy() {
            died = true;
            tracing::error!(
                "health is 503 from now on, and the exit code will be 1; restart relayd to have all cores"
            );
        }
        control.reload().await;
    }
}

/// Drains; `None` if nobody waited for the end.
async fn drain(signals: &mut Signals, control: &mut Control) -> Option<Report> {
    let (life, began) = (Rc::clone(&control.life), clock::now());
    let drained = control.drain_all();
    tokio::pin!(drained);
    loop {
        tokio::select! {
            report = &mut drained => {
                let generations = life.generations();
                if generations.ended().relays == 1 {
                    return report;
                }
                let elapsed = clock::now().saturating_duration_since(began);
                return Some(report::sum(&generations.totals().1, generations.ended(), elapsed));
            }
            ask = signals.next() => if matches!(ask, Ask::End(_)) { return None },
        }
    }
}

/// The last line of the log. False if anything was lost, or the books do not add up, or are not closed.
fn say_report(report: Option<Report>, life: &Life) -> bool {
    let Some(report) = report else {
        let (_, stats) = life.generations().totals();
        let held: u64 = stats.upstreams.iter().map(|upstream| upstream.items.held()).sum();
        // Also of what is in memory beside it.
        let on_disk = |upstream: &UpstreamStats| upstream.spill.as_ref().map_or(0, |spill| spill.items);
        let on_disk: u64 = stats.upstreams.iter().map(|up| on_disk(up).min(up.items.held())).sum();
        let lost = held - on_disk;
        let kept = if on_disk > 0 { format!(", {on_disk} are on disk") } else { String::new() };
        tracing::error!("shutdown cut short by a second signal: {lost} spans were held and are lost{kept}");
        return false;
    };
    if !report.adds_up {
        tracing::error!("{}", report.line);
    } else if report.given_up > 0 {
        tracing::warn!("{}", report.line);
    } else {
        tracing::info!("{}", report.line);
    }
    report.adds_up && report.given_up == 0
}
