//! The section `service.telemetry`: the daemon's own log and metrics. Must never set up either.

use super::endpoint::HostPort;
use super::error::Diagnostics;
use super::section::Section;

/// `service.telemetry.logs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logs {
    /// `level`. Default info.
    pub level: LogLevel,
    /// `encoding`: false for console (the default), true for json.
    pub json: bool,
}

impl Default for Logs {
    fn default() -> Self {
        Self { level: LogLevel::Info, json: false }
    }
}

/// The least severe level that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// What happens once in a while.
    Info,
    /// What may need somebody.
    Warn,
    /// What needs somebody.
    Error,
}

/// `service.telemetry.metrics`: how `/metrics` is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Where. Default localhost:8888; `readers[0].pull.exporter.prometheus.{host,port}` or the older `address` change it.
    pub endpoint: HostPort,
    /// `level`. Default normal. `none` leaves out the whole section.
    pub level: MetricsLevel,
    /// Counters end in `_total`. False by default; true if the user gives `readers` without
    /// `without_type_suffix: true`.
    pub type_suffix: bool,
    /// Names end in their unit (`_bytes`, `_seconds`). False by default; true if the user gives `readers` without
    /// `without_units: true`.
    pub unit_suffix: bool,
    /// Every series has the labels `otel_scope_*`. False by default; true if the user gives `readers` without
    /// `without_scope_info: true`.
    pub scope_info: bool,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            endpoint: HostPort::new("localhost", 8888),
            level: MetricsLevel::Normal,
            type_suffix: false,
            unit_suffix: false,
            scope_info: false,
        }
    }
}

/// How many metrics there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsLevel {
    /// The essential ones.
    Basic,
    /// The Collector's default set.
    Normal,
    /// With histograms and more labels.
    Detailed,
}

/// What the section says; metrics are `None` at level none.
#[derive(Debug)]
pub(super) struct Telemetry {
    pub(super) logs: Logs,
    pub(super) metrics: Option<Metrics>,
}

/// Reads the section; absent means all defaults.
pub(super) fn read(section: Option<Section<'_>>, diag: &Diagnostics) -> Telemetry {
    let mut telemetry = Telemetry { logs: Logs::default(), metrics: Some(Metrics::default()) };
    let Some(mut section) = section else { return telemetry };
    if let Some(logs) = section.section("logs") {
        telemetry.logs = read_logs(logs);
    }
    if let Some(metrics) = section.section("metrics") {
        telemetry.metrics = read_metrics(metrics, diag);
    }
    section.advisory("resource", "relayd's own metrics carry no resource");
    section.refuse("traces", "relayd does not trace itself; remove it");
    section.finish();
    telemetry
}

fn read_logs(mut section: Section<'_>) -> Logs {
    const LEVELS: [(&str, LogLevel); 8] = [
        ("debug", LogLevel::Debug),
        ("info", LogLevel::Info),
        ("warn", LogLevel::Warn),
        ("error", LogLevel::Error),
        ("DEBUG", LogLevel::Debug),
        ("INFO", LogLevel::Info),
        ("WARN", LogLevel::Warn),
        ("ERROR", LogLevel::Error),
    ];
    let level = section.choice("level", &LEVELS).unwrap_or(LogLevel::Info);
    let json = section.choice("encoding", &[("console", false), ("json", true)]).unwrap_or(false);
    for key in ["development", "disable_caller", "disable_stacktrace", "disable_zap_resource"] {
        section.advisory(key, "relayd logs neither callers nor stack traces");
    }
    section.advisory("sampling", "relayd limits how often it repeats a line by itself");
    read_outputs(&mut section, "output_paths");
    read_outputs(&mut section, "error_output_paths");
    section.refuse("initial_fields", "remove it; let the log shipper add fields");
    section.refuse("processors", "relayd does not send its log by OTLP; let a log shipper read it");
    section.finish();
    Logs { level, json }
}

/// Lists of outputs: standard error is the one relayd has.
fn read_outputs(section: &mut Section<'_>, key: &'static str) {
    for node in section.list(key) {
        if node.as_text() != Some("stderr") {
            section.error(key, "relayd logs to standard error only; write [stderr] and redirect that");
        }
    }
}

fn read_metrics(mut section: Section<'_>, diag: &Diagnostics) -> Option<Metrics> {
    const LEVELS: [(&str, Option<MetricsLevel>); 4] = [
        ("none", None),
        ("basic", Some(MetricsLevel::Basic)),
        ("normal", Some(MetricsLevel::Normal)),
        ("detailed", Some(MetricsLevel::Detailed)),
    ];
    let mut metrics = Metrics::default();
    let level = section.choice("level", &LEVELS).unwrap_or(Some(MetricsLevel::Normal));
    if let Some(address) = section.listen("address") {
        section.warn("address", "the old form of readers[].pull.exporter.prometheus.{host, port}");
        metrics.endpoint = address;
    }
    if let Some(node) = section.value("readers") {
        let path = section.path_of("readers");
        match section.list("readers") {
            // An empty list means no reader: nothing is served, as in the Collector.
            [] => {
                section.finish();
                return None;
            }
            [reader] => read_reader(Section::open(reader, path, diag), &mut metrics),
            _ => diag.error(
                &node.origin,
                &path,
                "relayd has one reader; keep the pull reader and remove the others",
            ),
        }
    }
    section.refuse("views", "remove it; relayd's metrics have no views");
    section.finish();
    metrics.level = level?;
    Some(metrics)
}

fn read_reader(mut reader: Section<'_>, metrics: &mut Metrics) {
    reader.refuse("periodic", "relayd does not push its metrics; scrape them with a pull reader");
    let exporter = reader.section("pull").and_then(|mut pull| {
        let exporter = pull.section("exporter");
        pull.finish();
        exporter
    });
    if let Some(mut exporter) = exporter {
        match exporter.section("prometheus") {
            Some(prometheus) => read_prometheus(prometheus, metrics),
            None => exporter.error("prometheus", "a pull reader needs exporter: {prometheus: {host, port}}"),
        }
        exporter.finish();
    } else if reader.value("periodic").is_none() {
        reader.error("pull", "a reader needs pull: {exporter: {prometheus: {host, port}}}");
    }
    reader.finish();
}

fn read_prometheus(mut section: Section<'_>, metrics: &mut Metrics) {
    if let Some(host) = section.text("host") {
        metrics.endpoint.host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    }
    if let Some(port) = section.whole("port") {
        match u16::try_from(port) {
            Ok(port) => metrics.endpoint.port = port,
            Err(_) => section.error("port", format!("a port is at most 65535, found {port}")),
        }
    }
    metrics.type_suffix = section.bool("without_type_suffix") != Some(true);
    metrics.unit_suffix = section.bool("without_units") != Some(true);
    metrics.scope_info = section.bool("without_scope_info") != Some(true);
    section.advisory("with_resource_constant_labels", "relayd's own metrics carry no resource");
    section.advisory("translation_strategy", "the without_ keys say how names end");
    section.finish();
}
