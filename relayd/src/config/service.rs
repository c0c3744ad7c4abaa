//! The section `service`: which components run, and how they are joined to pipelines. Must never read a component's
//! own keys.

use super::components::{Components, Kind, State};
use super::error::{Diagnostics, Origin};
use super::exporters::{Exporter, ExporterKind};
use super::node::Entry;
use super::processors::{Batch, MemoryLimiter, Processor};
use super::receivers::Receiver;
use super::section::{Section, nearest};

/// One pipeline of traces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pipeline {
    /// As in the file, `traces` or `traces/name`.
    pub name: String,
    /// Indices into [`super::Config::receivers`]; not empty.
    pub receivers: Vec<usize>,
    /// The `batch` processor, if the pipeline names one. An exporter with `sending_queue.batch` does without it.
    pub batch: Option<Batch>,
    /// The `memory_limiter`, if the pipeline names one.
    pub memory_limiter: Option<MemoryLimiter>,
    /// Indices into [`super::Config::exporters`]; not empty. Each gets everything.
    pub exporters: Vec<usize>,
}

/// All definitions that pipelines can name.
#[derive(Debug)]
pub(super) struct Definitions {
    pub(super) receivers: Components<Receiver>,
    pub(super) processors: Components<Processor>,
    pub(super) exporters: Components<Exporter>,
}

/// Reads `service.pipelines`; the indices are into the definitions.
pub(super) fn read_pipelines(
    service: &mut Section<'_>,
    definitions: &mut Definitions,
    diag: &Diagnostics,
) -> Vec<Pipeline> {
    let section = service.section("pipelines");
    let entries = section.as_ref().map_or(&[] as &[Entry], Section::named);
    if entries.is_empty() {
        service.error(
            "pipelines",
            "at least one pipeline is needed, as in traces: {receivers: [otlp], exporters: [otlp]}",
        );
    }
    entries.iter().filter_map(|entry| read_pipeline(entry, definitions, diag)).collect()
}

fn read_pipeline(entry: &Entry, definitions: &mut Definitions, diag: &Diagnostics) -> Option<Pipeline> {
    let path = format!("service.pipelines.{}", entry.key);
    let origin = &entry.node.origin;
    if entry.node.is_null() {
        diag.advise(origin, &path, "no pipeline: null takes it away");
        return None;
    }
    if let Some(what) = refuse_signal(&entry.key) {
        mark_used(entry, definitions);
        diag.error(origin, &path, what);
        return None;
    }
    let mut section = Section::open(&entry.node, path, diag);
    let receivers = resolve(&mut section, "receivers", &mut definitions.receivers, diag);
    let processors = section.list("processors");
    let processors = definitions.processors.resolve(processors, &section.path_of("processors"), diag);
    let exporters = resolve(&mut section, "exporters", &mut definitions.exporters, diag);
    let (batch, memory_limiter) = read_processors(&section, &processors, &definitions.processors);
    section.finish();
    let pipeline = Pipeline { name: entry.key.clone(), receivers, batch, memory_limiter, exporters };
    warn_two_batches(&pipeline, &definitions.exporters, origin, diag);
    Some(pipeline)
}

/// The components of one of the two required lists. Nothing left is an error, unless another error explains it.
fn resolve<T>(
    section: &mut Section<'_>,
    key: &'static str,
    components: &mut Components<T>,
    diag: &Diagnostics,
) -> Vec<usize> {
    let ids = section.list(key);
    let found = components.resolve(ids, &section.path_of(key), diag);
    let noun = components.kind.noun();
    if ids.is_empty() {
        section.error(key, format!("a pipeline needs at least one {noun}"));
    } else if components.all_skipped(ids) {
        section.error(
            key,
            format!("all of its {key} were skipped; a pipeline needs at least one {noun} of this version"),
        );
    }
    found
}

/// This version has traces only; the rest is said plainly, because a pipeline that is left out loses data.
fn refuse_signal(name: &str) -> Option<String> {
    let signal = name.split_once('/').map_or(name, |(signal, _)| signal);
    match signal {
        "traces" if name.ends_with('/') => Some("a pipeline is named traces or traces/name".to_owned()),
        "traces" => None,
        "metrics" | "logs" | "profiles" => Some(format!(
            "this version has traces only; remove the pipeline or send {signal} to the Collector directly"
        )),
        _ => Some(match nearest(signal, &["traces", "metrics", "logs"]) {
            Some(near) => format!("unknown signal \"{signal}\"; did you mean \"{near}\"?"),
            None => format!("unknown signal \"{signal}\"; a pipeline is named traces or traces/name"),
        }),
    }
}

/// What a refused pipeline names is used all the same: "defined but not used" would only distract.
fn mark_used(entry: &Entry, definitions: &mut Definitions) {
    let silent = Diagnostics::default();
    let mut section = Section::open(&entry.node, "", &silent);
    definitions.receivers.resolve(section.list("receivers"), "", &silent);
    definitions.processors.resolve(section.list("processors"), "", &silent);
    definitions.exporters.resolve(section.list("exporters"), "", &silent);
}

fn read_processors(
    section: &Section<'_>,
    indices: &[usize],
    processors: &Components<Processor>,
) -> (Option<Batch>, Option<MemoryLimiter>) {
    let (mut batch, mut limiter) = (None, None);
    for component in indices.iter().filter_map(|index| processors.all.get(*index)) {
        match &component.state {
            State::Ready(Processor::Batch(_)) if batch.is_some() => {
                section.error("processors", "two batch processors in one pipeline; keep one");
            }
            State::Ready(Processor::Batch(first)) => batch = Some(first.clone()),
            State::Ready(Processor::MemoryLimiter(_)) if limiter.is_some() => {
                section.error("processors", "two memory limiters in one pipeline; keep one");
            }
            State::Ready(Processor::MemoryLimiter(first)) => limiter = Some(first.clone()),
            State::Skipped | State::Refused => {}
        }
    }
    (batch, limiter)
}

fn warn_two_batches(
    pipeline: &Pipeline,
    exporters: &Components<Exporter>,
    origin: &Origin,
    diag: &Diagnostics,
) {
    let Some(batch) = &pipeline.batch else { return };
    for component in pipeline.exporters.iter().filter_map(|index| exporters.all.get(*index)) {
        if let State::Ready(Exporter { kind: ExporterKind::Otlp(otlp), .. }) = &component.state
            && otlp.queue.as_ref().is_some_and(|queue| queue.batch.is_some())
        {
            let what = format!(
                "the exporter \"{}\" has sending_queue.batch, which wins over the processor \"{}\"",
                component.id, batch.id
            );
            diag.warn(origin, &format!("service.pipelines.{}", pipeline.name), what);
        }
    }
}

impl Definitions {
    /// Only what pipelines use, and the pipelines with their indices changed to match.
    pub(super) fn keep_used(self, pipelines: &mut [Pipeline]) -> (Vec<Receiver>, Vec<Exporter>) {
        let (receivers, new_receivers) = compact(self.receivers);
        let (exporters, new_exporters) = compact(self.exporters);
        for pipeline in pipelines {
            renumber(&mut pipeline.receivers, &new_receivers);
            renumber(&mut pipeline.exporters, &new_exporters);
        }
        (receivers, exporters)
    }

    /// Two receivers on one address: the second could not listen.
    pub(super) fn check_addresses(&self, diag: &Diagnostics) {
        let mut seen: Vec<(&str, String)> = Vec::new();
        for component in self.receivers.all.iter().filter(|component| component.used) {
            let State::Ready(receiver) = &component.state else { continue };
            let address = receiver.grpc.endpoint.to_string();
            if let Some((first, _)) =
                seen.iter().find(|(_, other)| *other == address && !other.ends_with(":0"))
            {
                let path = format!("{}.{}.protocols.grpc.endpoint", Kind::Receiver.section(), component.id);
                diag.error(&component.origin, &path, format!("{address} is already taken by \"{first}\""));
            }
            seen.push((&component.id, address));
        }
    }
}

/// The ready and used ones, and for each old index the new one.
fn compact<T>(components: Components<T>) -> (Vec<T>, Vec<Option<usize>>) {
    let mut kept = Vec::new();
    let mut new_indices = Vec::with_capacity(components.all.len());
    for component in components.all {
        new_indices.push(match component.state {
            State::Ready(value) if component.used => {
                kept.push(value);
                Some(kept.len() - 1)
            }
            _ => None,
        });
    }
    (kept, new_indices)
}

fn renumber(indices: &mut Vec<usize>, new_indices: &[Option<usize>]) {
    *indices = indices.iter().filter_map(|old| new_indices.get(*old).copied().flatten()).collect();
}
