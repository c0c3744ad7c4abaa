//! Reading the configuration again while relayd runs: validate, start what it says, then let the former relay drain. What cannot be
//! taken changes nothing. Must never end the process.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::activation::Inherited;
use crate::config::{Config, Severity};
use crate::generations::{Departing, Generation};
use crate::health::Life;
use crate::limits::{CONFIG_LOOK_INTERVAL, RELAYS_LEAVING_MAX, TAKE_OVER_LOOK_INTERVAL, TAKE_OVER_MAX};
use crate::logging::{self, LevelHandle};
use crate::metrics::Reloads;
use crate::outlet::Outlet;
use crate::printer::PrinterSink;
use crate::probes::Probes;
use crate::report::Report;
use crate::watch::{Sources, Watch};
use crate::{clock, notify, plan, run, storage};

/// What a reload goes by, and what it changes.
pub(crate) struct Control {
    pub(crate) sources: Sources,
    pub(crate) watch: Watch,
    /// What runs.
    pub(crate) config: Config,
    pub(crate) life: Rc<Life>,
    pub(crate) probes: Probes,
    pub(crate) reloads: Rc<Reloads>,
    pub(crate) inherited: Inherited,
    pub(crate) level: LevelHandle,
    pub(crate) printer_sink: Arc<PrinterSink>,
    pub(crate) stderr: Outlet,
    pub(crate) drain_deadline: Duration,
    pub(crate) departures: Departures,
}

/// Relays that drain, and whether a reload waits.
#[derive(Default)]
pub(crate) struct Departures {
    draining: JoinSet<Report>,
    wanted: bool,
    said_waiting: bool,
}

impl Control {
    /// Reads the configuration again as soon as it can be.
    pub(crate) fn want(&mut self) {
        self.departures.wanted = true;
    }

    /// Resolves when [`Control::reload`] may have something to do: a file has changed, or a relay has drained.
    pub(crate) async fn changed(&mut self) {
        let (watch, draining) = (&mut self.watch, &mut self.departures.draining);
        tokio::select! {
            () = settled_change(watch) => self.departures.wanted = true,
            Some(drained) = draining.join_next() => if let Ok(report) = drained {
                say_former(&report);
            },
        }
    }

    /// Carries out a reload that is wanted, if not too many relays drain still.
    pub(crate) async fn reload(&mut self) {
        if !self.departures.wanted {
            return;
        }
        if self.life.generations().leaving() >= RELAYS_LEAVING_MAX {
            if !std::mem::replace(&mut self.departures.said_waiting, true) {
                tracing::info!(
                    "the configuration is read again when one of {RELAYS_LEAVING_MAX} relays has drained"
                );
            }
            return;
        }
        (self.departures.wanted, self.departures.said_waiting) = (false, false);
        notify::reloading();
        match self.take_new() {
            Ok(changed) => {
                self.taken_over().await;
                self.reloads.success(changed);
                tracing::info!(
                    "configuration read again: {}",
                    if changed { "in use" } else { "nothing changed" }
                );
            }
            Err(problems) => {
                self.reloads.failure();
                let problems = problems.trim().replace('\n', "; ");
                tracing::error!("configuration not taken, the one before stays in use: {problems}");
            }
        }
        notify::ready();
    }

    /// Resolves when every new connection is the new relay's.
    async fn taken_over(&self) {
        let until = clock::now() + TAKE_OVER_MAX;
        loop {
            // The former relay's drain begins meanwhile.
            tokio::time::sleep(TAKE_OVER_LOOK_INTERVAL).await;
            if !self.life.generations().is_leaving_accepting() || clock::now() >= until {
                return;
            }
        }
    }

    /// Whether anything has changed.
    ///
    /// # Errors
    /// Why the new configuration is not taken, one problem a line; nothing has changed then.
    fn take_new(&mut self) -> Result<bool, String> {
        let (loaded, watch) = self.sources.load();
        self.watch = watch;
        let (config, notices) = loaded?;
        if config == self.config {
            return Ok(false);
        }
        plan::check(&config).map_err(|errors| errors.join("\n"))?;
        let sockets = self.probes.bind(&config)?;
        let next = if relays_the_same(&config, &self.config) { None } else { Some(self.start(&config)?) };
        for notice in notices {
            run::say_notice(notice.severity == Severity::Warning, &notice.to_string());
        }
        if config.logs.level != self.config.logs.level {
            logging::set_level(&self.level, config.logs.level);
        }
        if config.logs.json != self.config.logs.json {
            tracing::warn!("service.telemetry.logs.encoding: changes when relayd is started again");
        }
        if let Some(next) = next {
            run::announce(&config, &next);
            let former = self.life.generations().replace(Some(next));
            self.drain(former);
        }
        self.probes.serve(&config, sockets, &self.life, &self.reloads);
        self.config = config;
        Ok(true)
    }

    fn start(&self, config: &Config) -> Result<Generation, String> {
        storage::prepare(config).map_err(|errors| errors.join("\n"))?;
        let plan = plan::make(config, |exporter| run::sink(exporter, &self.printer_sink, &self.stderr));
        let plan = plan.map_err(|errors| errors.join("\n"))?;
        for notice in &plan.notices {
            tracing::warn!("{notice}");
        }
        Generation::start(plan, self.life.generations().current(), &self.inherited)
    }

    fn drain(&mut self, departing: Option<Departing>) {
        let Some(departing) = departing else { return };
        let (life, deadline) = (Rc::clone(&self.life), self.drain_deadline);
        self.departures.draining.spawn_local(async move {
            let (number, began) = (departing.number(), clock::now());
            let stats = departing.relay.drain(deadline).await;
            let report = departing.books.close(&stats, clock::now().saturating_duration_since(began));
            life.generations().file(number, stats, &report);
            report
        });
    }

    /// Drains all relays; the report of the only one, if there was one only.
    pub(crate) async fn drain_all(&mut self) -> Option<Report> {
        let last = self.life.generations().replace(None);
        self.drain(last);
        let mut report = None;
        while let Some(drained) = self.departures.draining.join_next().await {
            report = drained.ok();
        }
        report
    }
}

/// Whether two configurations differ in nothing that a relay is told.
fn relays_the_same(new: &Config, old: &Config) -> bool {
    let new = Config {
        health_check: old.health_check.clone(),
        metrics: old.metrics.clone(),
        logs: old.logs,
        ..new.clone()
    };
    new == *old
}

async fn settled_change(watch: &mut Watch) {
    if !watch.has_files() {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(CONFIG_LOOK_INTERVAL).await;
        if watch.has_settled_change() {
            return;
        }
    }
}

fn say_former(report: &Report) {
    let said = report.line.trim_start_matches("shutdown complete in ");
    let line = format!("the relay of a former configuration has drained in {said}");
    if !report.adds_up {
        tracing::error!("{line}");
    } else if report.given_up > 0 {
        tracing::warn!("{line}");
    } else {
        tracing::info!("{line}");
    }
}
