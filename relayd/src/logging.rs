//! The daemon's log: standard error, console or JSON (`service.telemetry.logs`). Must never make a core wait.

use std::io::{self, IsTerminal, Write};

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Registry, reload};

use crate::config::{LogLevel, Logs};
use crate::outlet::Outlet;

/// Hands each line to an outlet.
struct LogWriter(Outlet);

struct LineWriter(Outlet);

impl Write for LineWriter {
    // The formatter writes each line by one call.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.put(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for LogWriter {
    type Writer = LineWriter;

    fn make_writer(&self) -> LineWriter {
        LineWriter(self.0.clone())
    }
}

/// By which the level can be set while the process runs.
pub(crate) type LevelHandle = reload::Handle<Targets, Registry>;

/// Sends the log of the process to `outlet`. `library` is the least severe level that the relaying itself logs at.
///
/// # Errors
/// The process has a log already.
pub(crate) fn start(logs: Logs, library: LogLevel, outlet: Outlet) -> Result<LevelHandle, TryInitError> {
    let (targets, handle) = reload::Layer::new(targets(logs.level, library));
    let layer = tracing_subscriber::fmt::layer().with_target(false).with_writer(LogWriter(outlet));
    if logs.json {
        let layer = layer.json().flatten_event(true).with_current_span(false).with_span_list(false);
        tracing_subscriber::registry().with(layer.with_filter(targets)).try_init()?;
    } else {
        let layer = layer.with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
        tracing_subscriber::registry().with(layer.with_filter(targets)).try_init()?;
    }
    Ok(handle)
}

/// From now on lines below `level` are left out.
pub(crate) fn set_level(handle: &LevelHandle, level: LogLevel) {
    if let Err(error) = handle.reload(targets(level, level)) {
        tracing::warn!(%error, "cannot set the level of the log");
    }
}

fn targets(own: LogLevel, library: LogLevel) -> Targets {
    // What the libraries below say is of use to their authors only, unless it is a warning.
    Targets::new()
        .with_target("relayd", level(own))
        .with_target("relay_core", level(library))
        .with_default(Level::WARN.min(level(own)))
}

fn level(level: LogLevel) -> Level {
    match level {
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Info => Level::INFO,
        LogLevel::Warn => Level::WARN,
        LogLevel::Error => Level::ERROR,
    }
}
