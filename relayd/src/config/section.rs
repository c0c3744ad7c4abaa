//! A typed reader over one map of the configuration. It remembers which keys were asked for, so that every other key
//! is an error that names the nearest one. Must never ignore a key in silence.

use std::path::PathBuf;
use std::time::Duration;

use super::duration;
use super::endpoint::{self, HostPort};
use super::error::{Diagnostics, Origin};
use super::node::{Entry, Node, Value};
use super::secret::Secret;

/// How alike two names must be (1 is equal, by Damerau-Levenshtein) for "did you mean".
const LIKENESS_MIN: f64 = 0.6;

/// One map while it is read. Call [`Section::finish`] at the end: it reports what nobody asked for.
#[derive(Debug)]
pub struct Section<'a> {
    path: String,
    origin: Origin,
    entries: &'a [Entry],
    known: Vec<&'static str>,
    diag: &'a Diagnostics,
}

impl<'a> Section<'a> {
    /// Opens a node as a section; null is a section without keys, anything but a map is an error.
    #[must_use]
    pub fn open(node: &'a Node, path: impl Into<String>, diag: &'a Diagnostics) -> Self {
        let path = path.into();
        let entries = match &node.value {
            Value::Map(entries) => entries.as_slice(),
            Value::Null => &[],
            _ => {
                diag.error(&node.origin, &path, format!("expected a map, found {}", node.kind()));
                &[]
            }
        };
        Self { path, origin: node.origin.clone(), entries, known: Vec::new(), diag }
    }

    /// The place of the section's own key.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The full key of the section.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The full key of one of its keys; of the section itself for an empty key.
    #[must_use]
    pub fn path_of(&self, key: &str) -> String {
        match (self.path.as_str(), key) {
            ("", key) => key.to_owned(),
            (path, "") => path.to_owned(),
            (path, key) => format!("{path}.{key}"),
        }
    }

    /// All entries, for sections whose keys are names (components, pipelines, headers). Nothing is left to report then.
    #[must_use]
    pub fn named(&self) -> &'a [Entry] {
        self.entries
    }

    /// The value of a key, also when it is null; `None` if it is absent.
    pub fn present(&mut self, key: &'static str) -> Option<&'a Node> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }

    /// The value of a key; null counts as absent, so that the default stands, as in the Collector.
    pub fn value(&mut self, key: &'static str) -> Option<&'a Node> {
        self.present(key).filter(|node| !node.is_null())
    }

    /// A section below, also when its value is null; `None` if it is absent.
    pub fn section(&mut self, key: &'static str) -> Option<Self> {
        let node = self.present(key)?;
        Some(Self::open(node, self.path_of(key), self.diag))
    }

    /// A section that is off unless it is given: `None` if it is absent, null, or says `enabled: false` (Collector,
    /// configoptional).
    pub fn optional(&mut self, key: &'static str) -> Option<Self> {
        self.value(key)?;
        self.section(key)?.unless_disabled()
    }

    /// `None` if the section says `enabled: false`.
    #[must_use]
    pub fn unless_disabled(mut self) -> Option<Self> {
        (self.bool("enabled") != Some(false)).then_some(self)
    }

    /// `true` or `false`.
    pub fn bool(&mut self, key: &'static str) -> Option<bool> {
        self.typed(key, "true or false", |node| match node.value {
            Value::Bool(flag) => Some(flag),
            _ => None,
        })
    }

    /// A whole number from 0 up. Unit as the key says.
    pub fn whole(&mut self, key: &'static str) -> Option<u64> {
        self.typed(key, "a whole number from 0 up", |node| match node.value {
            Value::Int(number) => u64::try_from(number).ok(),
            _ => None,
        })
    }

    /// A whole number, perhaps negative.
    pub fn int(&mut self, key: &'static str) -> Option<i64> {
        self.typed(key, "a whole number", |node| match node.value {
            Value::Int(number) => Some(number),
            _ => None,
        })
    }

    /// A number.
    pub fn number(&mut self, key: &'static str) -> Option<f64> {
        self.typed(key, "a number", |node| match node.value {
            Value::Float(number) if number.is_finite() => Some(number),
            // A key that takes a fraction is far below 2^53, where this is exact.
            Value::Int(number) => i32::try_from(number).ok().map(f64::from),
            _ => None,
        })
    }

    /// A text.
    pub fn text(&mut self, key: &'static str) -> Option<&'a str> {
        let node = self.value(key)?;
        let text = node.as_text();
        if text.is_none() {
            let quote =
                if matches!(node.value, Value::List(_) | Value::Map(_)) { "" } else { "; put it in quotes" };
            self.error(key, format!("expected a text, found {}{quote}", node.kind()));
        }
        text
    }

    /// A text that must not be shown; empty counts as absent.
    pub fn secret(&mut self, key: &'static str) -> Option<Secret> {
        self.text(key).filter(|text| !text.is_empty()).map(Secret::new)
    }

    /// A path of a file; empty counts as absent.
    pub fn path_text(&mut self, key: &'static str) -> Option<PathBuf> {
        self.text(key).filter(|text| !text.is_empty()).map(PathBuf::from)
    }

    /// The texts of a list, or of one text with commas, as in the Collector; `None` if the key is absent.
    pub fn texts(&mut self, key: &'static str) -> Option<Vec<&'a str>> {
        let node = self.value(key)?;
        if let Some(text) = node.as_text() {
            return Some(text.split(',').collect());
        }
        let mut texts = Vec::new();
        for item in self.list(key) {
            match item.as_text() {
                Some(text) => texts.push(text),
                None => self.error(key, format!("expected a list of texts, found {} in it", item.kind())),
            }
        }
        Some(texts)
    }

    /// One word of a fixed set.
    pub fn choice<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let all = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
            self.error(key, format!("expected one of {all}, found {text:?}"));
        }
        found
    }

    /// A duration in Go's syntax; a bare number is nanoseconds, as in the Collector.
    pub fn duration(&mut self, key: &'static str) -> Option<Duration> {
        let node = self.value(key)?;
        let parsed = match &node.value {
            Value::Int(nanos) => u64::try_from(*nanos)
                .map(Duration::from_nanos)
                .map_err(|_| format!("must not be negative, found {nanos}")),
            Value::String(text) => duration::parse(text),
            _ => Err(format!("expected a duration such as \"200ms\" or \"1m30s\", found {}", node.kind())),
        };
        parsed.map_err(|what| self.error(key, what)).ok()
    }

    /// The address of a listener.
    pub fn listen(&mut self, key: &'static str) -> Option<HostPort> {
        let text = self.text(key)?;
        endpoint::parse_listen(text).map_err(|what| self.error(key, what)).ok()
    }

    /// The items of a list; null is an empty list.
    pub fn list(&mut self, key: &'static str) -> &'a [Node] {
        match self.value(key).map(|node| &node.value) {
            None => &[],
            Some(Value::List(items)) => items,
            Some(_) => {
                self.error(key, "expected a list");
                &[]
            }
        }
    }

    /// A key that the Collector has and relayd does not: an error with the way out, unless it says nothing.
    pub fn refuse(&mut self, key: &'static str, way_out: &str) {
        if self.present(key).is_some_and(|node| !node.is_empty()) {
            self.error(key, format!("not supported: {way_out}"));
        }
    }

    /// A key that is accepted and changes nothing here: a line at level info that says why.
    pub fn advisory(&mut self, key: &'static str, why: &str) {
        if let Some(node) = self.value(key) {
            self.diag.advise(&node.origin, &self.path_of(key), format!("accepted, without effect: {why}"));
        }
    }

    /// An error at a key (or at the section, if the key is absent).
    pub fn error(&self, key: &str, what: impl Into<String>) {
        self.diag.error(self.place(key), &self.path_of(key), what);
    }

    /// Where problems of this section are gathered.
    #[must_use]
    pub fn diagnostics(&self) -> &'a Diagnostics {
        self.diag
    }

    /// A warning at a key (or at the section, if the key is absent).
    pub fn warn(&self, key: &str, what: impl Into<String>) {
        self.diag.warn(self.place(key), &self.path_of(key), what);
    }

    /// Reports every key that nobody asked for.
    pub fn finish(self) {
        for Entry { key, node } in self.entries {
            if !self.known.contains(&key.as_str()) {
                let what = match nearest(key, &self.known) {
                    Some(near) => format!("unknown key; did you mean \"{near}\"?"),
                    None => format!("unknown key; known here: {}", self.known.join(", ")),
                };
                self.diag.error(&node.origin, &self.path_of(key), what);
            }
        }
    }

    fn typed<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl Fn(&Node) -> Option<T>,
    ) -> Option<T> {
        let node = self.value(key)?;
        let value = read(node);
        if value.is_none() {
            let found = match node.value {
                // Numbers are never secrets, and seeing one is half of the answer.
                Value::Int(number) => number.to_string(),
                Value::Float(number) => number.to_string(),
                _ => node.kind().to_owned(),
            };
            self.error(key, format!("expected {expected}, found {found}"));
        }
        value
    }

    fn place(&self, key: &str) -> &Origin {
        self.entries.iter().find(|entry| entry.key == key).map_or(&self.origin, |entry| &entry.node.origin)
    }
}

/// The candidate most like `name`, if any is alike enough to be meant.
#[must_use]
pub fn nearest<'a>(name: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let likeness = |candidate: &str| strsim::normalized_damerau_levenshtein(name, candidate);
    candidates
        .iter()
        .map(|candidate| (likeness(candidate), *candidate))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}
