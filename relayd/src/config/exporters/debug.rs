//! `exporters.debug` (Collector, debugexporter) and its old name `logging`. Must never print.

use crate::config::components::type_of;
use crate::config::section::Section;

/// An exporter to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DebugExporter {
    /// `verbosity`. Default basic.
    pub verbosity: Verbosity,
    /// `sampling_initial`: messages logged in each second before sampling begins. Default 2.
    pub sampling_initial: u64,
    /// `sampling_thereafter`: after those, one of so many is logged; 1 (the default) logs all, 0 none.
    pub sampling_thereafter: u64,
}

/// How much a debug exporter says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// One line of counts per request.
    Basic,
    /// One line per span.
    Normal,
    /// Every field.
    Detailed,
}

/// Reads the exporter `id`.
pub(super) fn read(id: &str, mut section: Section<'_>) -> DebugExporter {
    const WORDS: [(&str, Verbosity); 3] =
        [("basic", Verbosity::Basic), ("normal", Verbosity::Normal), ("detailed", Verbosity::Detailed)];
    const LEVELS: [(&str, Verbosity); 4] = [
        ("debug", Verbosity::Detailed),
        ("info", Verbosity::Normal),
        ("warn", Verbosity::Basic),
        ("error", Verbosity::Basic),
    ];
    if type_of(id) == "logging" {
        section.warn("", "the old name of the exporter debug; write debug");
    }
    let verbosity = section.choice("verbosity", &WORDS);
    let legacy = section.choice("loglevel", &LEVELS);
    match (verbosity, legacy) {
        (Some(_), Some(_)) => section.error("loglevel", "remove it; verbosity is given too"),
        (None, Some(_)) => {
            section.warn("loglevel", "the old form of verbosity (debug is detailed, info is normal)");
        }
        _ => {}
    }
    let exporter = DebugExporter {
        verbosity: verbosity.or(legacy).unwrap_or(Verbosity::Basic),
        sampling_initial: section.whole("sampling_initial").unwrap_or(2),
        sampling_thereafter: section.whole("sampling_thereafter").unwrap_or(1),
    };
    section.advisory("use_internal_logger", "relayd has one log, and this exporter writes to it");
    section.refuse("output_paths", "relayd writes to its log; redirect that");
    section.refuse("sending_queue", "remove it; this exporter has no queue");
    section.finish();
    exporter
}
