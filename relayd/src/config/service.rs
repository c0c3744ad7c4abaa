//! The section `service`: which components run, and how they are joined to pipelines. Must never read a component's
//! own keys.

use relay_core::otlp::Signal;

use super::components::{Components, Kind, State};
use super::endpoint::Address;
use super::error::Diagnostics;
use super::exporters::{Exporter, ExporterKind, Verbosity};
use super::node::Entry;
use super::processors::{Batch, MemoryLimiter, Processor};
use super::receivers::{Listener, Receiver};
use super::section::{Section, nearest};

/// One pipeline of one signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pipeline {
    /// As in the file, `traces` or `logs/name`.
    pub name: String,
    /// What stands before the slash.
    pub signal: Signal,
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
    let signal = match signal_of(&entry.key) {
        Ok(signal) => signal,
        Err(what) => {
            mark_used(entry, definitions);
            diag.error(origin, &path, what);
            return None;
        }
    };
    let mut section = Section::open(&entry.node, path, diag);
    let receivers = resolve(&mut section, "receivers", &mut definitions.receivers, diag);
    let processors = section.list("processors");
    let processors = definitions.processors.resolve(processors, &section.path_of("processors"), diag);
    let exporters = resolve(&mut section, "exporters", &mut definitions.exporters, diag);
    let (batch, memory_limiter) = read_processors(&section, &processors, &definitions.processors);
    let pipeline = Pipeline { name: entry.key.clone(), signal, receivers, batch, memory_limiter, exporters };
    check_exporters(&section, &pipeline, &definitions.exporters);
    section.finish();
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

/// The signal of a pipeline's name.
fn signal_of(name: &str) -> Result<Signal, String> {
    let word = name.split_once('/').map_or(name, |(word, _)| word);
    match Signal::from_name(word) {
        Some(_) if name.ends_with('/') => Err(format!("a pipeline is named {word} or {word}/name")),
        Some(signal) => Ok(signal),
        None => Err(match nearest(word, &Signal::ALL.map(Signal::name)) {
            Some(near) => format!("unknown signal \"{word}\"; did you mean \"{near}\"?"),
            None => {
                let all = Signal::ALL.map(Signal::name).join(", ");
                format!("unknown signal \"{word}\"; a pipeline is named {all}, each perhaps with /name")
            }
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

/// What an exporter cannot do for the pipeline's signal, and what it does otherwise than one may expect.
fn check_exporters(section: &Section<'_>, pipeline: &Pipeline, exporters: &Components<Exporter>) {
    let signal = pipeline.signal;
    for component in pipeline.exporters.iter().filter_map(|index| exporters.all.get(*index)) {
        let State::Ready(exporter) = &component.state else { continue };
        let id = &component.id;
        if let Some(batch) = &pipeline.batch
            && exporter.kind.has_own_batches()
        {
            let what = format!(
                "the exporter \"{id}\" has sending_queue.batch, which wins over the processor \"{}\"",
                batch.id
            );
            section.warn("", what);
        }
        match &exporter.kind {
            ExporterKind::OtlpHttp(otlp) if otlp.url(signal).is_none() => {
                let what = format!("the exporter \"{id}\" needs endpoint or {}_endpoint", signal.name());
                section.error("exporters", what);
            }
            ExporterKind::LoadBalancing(_) if signal != Signal::Traces => {
                let what = format!(
                    "the exporter \"{id}\" shares out traces alone; send {} by otlp, which spreads them over all addresses",
                    signal.name()
                );
                section.error("exporters", what);
            }
            ExporterKind::Debug(debug) if signal != Signal::Traces && debug.verbosity != Verbosity::Basic => {
                let what = format!("the exporter \"{id}\" prints only counts of {}", signal.items());
                section.warn("exporters", what);
            }
            _ => {}
        }
    }
    if pipeline.batch.is_some() && !signal.concatenates() {
        section.warn("processors", "profiles are not merged: each request has a dictionary of its own");
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

    /// Two receivers on one address: it would be left to chance which one a sender meets.
    pub(super) fn check_addresses(&self, diag: &Diagnostics) {
        let mut seen: Vec<(&str, &Address)> = Vec::new();
        for component in self.receivers.all.iter().filter(|component| component.used) {
            let State::Ready(receiver) = &component.state else { continue };
            for Listener { address, grpc, .. } in receiver.listeners() {
                let clash =
                    seen.iter().find(|(id, other)| *id != component.id && other.clashes_with(address));
                if let Some((first, _)) = clash {
                    let section = Kind::Receiver.section();
                    let protocol = if grpc { "grpc" } else { "http" };
                    let path = format!("{section}.{}.protocols.{protocol}.endpoint", component.id);
                    diag.error(
                        &component.origin,
                        &path,
                        format!("{address} is already taken by \"{first}\""),
                    );
                }
                seen.push((&component.id, address));
            }
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
