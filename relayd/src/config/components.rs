//! What receivers, processors, exporters and extensions have in common: names (`otlp/2`), unknown and skipped types,
//! use by pipelines. Must never know the keys of a component.

use super::error::{Diagnostics, Origin};
use super::hints::{self, Fate};
use super::node::{Node, Value};
use super::section::{Section, nearest};

/// The kinds of components, named as the sections of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `receivers`
    Receiver,
    /// `processors`
    Processor,
    /// `exporters`
    Exporter,
    /// `extensions`
    Extension,
}

impl Kind {
    /// The section's name.
    #[must_use]
    pub fn section(self) -> &'static str {
        match self {
            Self::Receiver => "receivers",
            Self::Processor => "processors",
            Self::Exporter => "exporters",
            Self::Extension => "extensions",
        }
    }

    /// One of them, for messages.
    #[must_use]
    pub fn noun(self) -> &'static str {
        match self {
            Self::Receiver => "receiver",
            Self::Processor => "processor",
            Self::Exporter => "exporter",
            Self::Extension => "extension",
        }
    }

    /// The types that this version has.
    #[must_use]
    pub fn supported(self) -> &'static [&'static str] {
        match self {
            Self::Receiver => &["otlp"],
            Self::Processor => &["batch", "memory_limiter"],
            Self::Exporter => &[
                "otlp",
                "otlp_grpc",
                "otlphttp",
                "otlp_http",
                "load_balancing",
                "loadbalancing",
                "debug",
                "logging",
            ],
            Self::Extension => {
                &["health_check", "bearertokenauth", "basicauth", "memory_limiter", "file_storage"]
            }
        }
    }
}

/// What became of a component's definition.
#[derive(Debug)]
pub(super) enum State<T> {
    /// Understood (perhaps with errors in single keys, which are recorded).
    Ready(T),
    /// A harmless one that this version does not have; a warning says so, and pipelines do without it.
    Skipped,
    /// An error is recorded; a pipeline that names it adds no second one.
    Refused,
}

/// One definition.
#[derive(Debug)]
pub(super) struct Component<T> {
    pub(super) id: String,
    pub(super) origin: Origin,
    pub(super) state: State<T>,
    /// Set by the first pipeline (or `service.extensions`) that names it.
    pub(super) used: bool,
}

/// All definitions of a kind, in the order of the file.
#[derive(Debug)]
pub(super) struct Components<T> {
    pub(super) kind: Kind,
    pub(super) all: Vec<Component<T>>,
}

/// The type of a component: what stands before the slash.
#[must_use]
pub(super) fn type_of(id: &str) -> &str {
    id.split_once('/').map_or(id, |(kind, _)| kind)
}

/// Reads a section of components; `read` gets the id and the body of each supported one.
pub(super) fn read_components<T>(
    kind: Kind,
    node: Option<&Node>,
    diag: &Diagnostics,
    mut read: impl FnMut(&str, Section<'_>) -> State<T>,
) -> Components<T> {
    let mut all = Vec::new();
    let Some(node) = node else { return Components { kind, all } };
    for entry in Section::open(node, kind.section(), diag).named() {
        let path = format!("{}.{}", kind.section(), entry.key);
        let origin = &entry.node.origin;
        let state = match judge(kind, &entry.key) {
            Verdict::Supported => read(&entry.key, Section::open(&entry.node, path, diag)),
            Verdict::Skip(why) => {
                diag.warn(origin, &path, why);
                State::Skipped
            }
            Verdict::Refuse(why) => {
                diag.error(origin, &path, why);
                State::Refused
            }
        };
        all.push(Component { id: entry.key.clone(), origin: origin.clone(), state, used: false });
    }
    Components { kind, all }
}

impl<T> Components<T> {
    /// The indices into `all` that a list of ids names, each marked as used. Skipped ones are left out.
    pub(super) fn resolve(&mut self, ids: &[Node], path: &str, diag: &Diagnostics) -> Vec<usize> {
        let mut found = Vec::new();
        for node in ids {
            let Some(id) = text(node) else {
                diag.error(&node.origin, path, format!("expected a name, found {}", node.kind()));
                continue;
            };
            let Some(index) = self.all.iter().position(|component| component.id == id) else {
                diag.error(&node.origin, path, self.undefined(id));
                continue;
            };
            if found.contains(&index) {
                diag.error(&node.origin, path, format!("\"{id}\" is named twice"));
                continue;
            }
            found.push(index);
            if let Some(component) = self.all.get_mut(index) {
                component.used = true;
            }
        }
        found.retain(|index| {
            self.all.get(*index).is_some_and(|component| !matches!(component.state, State::Skipped))
        });
        found
    }

    /// True if a list names something and every name in it is a skipped one.
    pub(super) fn all_skipped(&self, ids: &[Node]) -> bool {
        let skipped = |id: &str| {
            self.all.iter().any(|component| component.id == id && matches!(component.state, State::Skipped))
        };
        !ids.is_empty() && ids.iter().all(|node| text(node).is_some_and(skipped))
    }

    /// Warns of every supported component that nothing names, as the Collector silently drops them.
    pub(super) fn warn_unused(&self, diag: &Diagnostics) {
        for component in &self.all {
            if !component.used && matches!(component.state, State::Ready(_)) {
                let path = format!("{}.{}", self.kind.section(), component.id);
                let user = if self.kind == Kind::Extension { "service.extensions" } else { "a pipeline" };
                diag.warn(
                    &component.origin,
                    &path,
                    format!("defined but not used by {user}; it is not started"),
                );
            }
        }
    }

    /// What to say of an id that nothing defines.
    pub(super) fn undefined(&self, id: &str) -> String {
        let ids = self.all.iter().map(|component| component.id.as_str()).collect::<Vec<_>>();
        let section = self.kind.section();
        match nearest(id, &ids) {
            Some(near) => format!("\"{id}\" is not defined in {section}; did you mean \"{near}\"?"),
            None if ids.is_empty() => format!("\"{id}\" is not defined: there are no {section}"),
            None => format!("\"{id}\" is not defined in {section}; defined there: {}", ids.join(", ")),
        }
    }
}

fn text(node: &Node) -> Option<&str> {
    match &node.value {
        Value::String(text) => Some(text.trim()),
        _ => node.as_text(),
    }
}

enum Verdict {
    Supported,
    Skip(String),
    Refuse(String),
}

fn judge(kind: Kind, id: &str) -> Verdict {
    let component = type_of(id);
    if component.is_empty() || id.ends_with('/') {
        return Verdict::Refuse("a component is named type or type/name, as in otlp/2".to_owned());
    }
    if kind.supported().contains(&component) {
        return Verdict::Supported;
    }
    match hints::fate(kind, component) {
        Some(Fate::Skip(why)) => Verdict::Skip(format!("skipped: {why}")),
        Some(Fate::Refuse(way_out)) => {
            Verdict::Refuse(format!("the {} \"{component}\" is not in this version: {way_out}", kind.noun()))
        }
        None => Verdict::Refuse(match nearest(component, kind.supported()) {
            Some(near) => format!("unknown {} \"{component}\"; did you mean \"{near}\"?", kind.noun()),
            None => {
                let all = kind.supported().join(", ");
                format!("unknown {} \"{component}\"; this version has {all}", kind.noun())
            }
        }),
    }
}
