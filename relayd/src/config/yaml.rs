//! YAML text to [`Node`]s, with places, anchors, aliases and merge keys (`<<`). Depth and size are bounded, so that
//! no file can exhaust stack or memory. Must never know what a key means.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use super::error::{Origin, Problem};
use super::node::{Entry, Node, Value};

/// Levels of nesting. The Collector's deepest key has 8.
const DEPTH_MAX: usize = 64;
/// Values after aliases are filled in: against nested anchors that expand exponentially.
const NODES_MAX: usize = 100_000;
/// The namespace of YAML's own tags (YAML 1.2.2 section 10.3).
const CORE_TAGS: &str = "tag:yaml.org,2002:";

/// Reads one YAML document. An empty text is null.
///
/// # Errors
/// The first thing that is not YAML, a key that appears twice, more than one document, a tag that is not YAML's
/// own, or a bound that is exceeded; with its line.
pub fn parse(text: &str, source: &str) -> Result<Node, Problem> {
    let source: Arc<str> = source.into();
    let mut builder = Builder::default();
    let mut parser = Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    while let Some(next) = parser.next_event() {
        let (event, span) = next.map_err(|error| {
            let origin = origin_at(&source, error.marker());
            problem(origin, format!("not YAML: {}", error.info()))
        })?;
        builder.handle(event, origin_at(&source, &span.start))?;
    }
    let start = Origin { source, line: 1, column: 1 };
    Ok(builder.root.unwrap_or_else(|| Node::new(Value::Null, start)))
}

/// What a plain (unquoted) scalar is, by the core schema. An empty text is null.
#[must_use]
pub fn resolve_plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Value::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Value::Float(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        _ => {}
    }
    let based = |prefix: &str, radix: u32| {
        text.strip_prefix(prefix).and_then(|digits| i64::from_str_radix(digits, radix).ok())
    };
    let whole = based("0x", 16).or_else(|| based("0o", 8)).or_else(|| text.parse().ok());
    if let Some(number) = whole {
        return Value::Int(number);
    }
    // The first test keeps out "inf" and "nan", which Rust reads as numbers and YAML as text.
    match text.parse::<f64>() {
        Ok(number) if text.bytes().any(|byte| byte.is_ascii_digit()) => Value::Float(number),
        _ => Value::String(text.to_owned()),
    }
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    root: Option<Node>,
    documents: usize,
    nodes: usize,
}

/// A list or map whose end has not come yet.
struct Open {
    origin: Origin,
    anchor: usize,
    body: Body,
    /// Values inside, for the budget of aliases.
    nodes: usize,
    /// Levels below.
    depth: usize,
}

enum Body {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, merged: Vec<Entry>, key: Option<(String, Origin)> },
}

#[derive(Clone)]
struct Anchored {
    node: Node,
    nodes: usize,
    depth: usize,
}

impl Builder {
    fn handle(&mut self, event: Event<'_>, origin: Origin) -> Result<(), Problem> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => self.start_document(origin),
            Event::Scalar(text, style, anchor, tag) => {
                let value = scalar(text, style, tag.as_deref(), &origin)?;
                self.close(Anchored { node: Node::new(value, origin), nodes: 1, depth: 0 }, anchor)
            }
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                Some(anchored) => {
                    let mut copy = anchored.clone();
                    copy.node.origin = origin;
                    self.close(copy, 0)
                }
                None => Err(problem(origin, "an alias inside the value that it names")),
            },
            Event::SequenceStart(anchor, tag) => {
                self.open(Body::List(Vec::new()), anchor, tag.as_deref(), "seq", origin)
            }
            Event::MappingStart(anchor, tag) => {
                let body = Body::Map { entries: Vec::new(), merged: Vec::new(), key: None };
                self.open(body, anchor, tag.as_deref(), "map", origin)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else { return Ok(()) };
                let (anchor, depth, nodes) = (open.anchor, open.depth + 1, open.nodes + 1);
                let value = match open.body {
                    Body::List(items) => Value::List(items),
                    Body::Map { entries, merged, .. } => Value::Map(with_merged(entries, merged)),
                };
                self.close(Anchored { node: Node::new(value, open.origin), nodes, depth }, anchor)
            }
        }
    }

    fn start_document(&mut self, origin: Origin) -> Result<(), Problem> {
        self.documents += 1;
        if self.documents > 1 {
            return Err(problem(origin, "a second YAML document; give each its own file and --config"));
        }
        Ok(())
    }

    fn open(
        &mut self,
        body: Body,
        anchor: usize,
        tag: Option<&Tag>,
        own_tag: &str,
        origin: Origin,
    ) -> Result<(), Problem> {
        if let Some(tag) = tag
            && !(tag.handle == CORE_TAGS && tag.suffix == own_tag)
        {
            return Err(problem(origin, "a YAML tag that does not fit; remove it"));
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(problem(origin, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        self.open.push(Open { origin, anchor, body, nodes: 0, depth: 0 });
        Ok(())
    }

    /// Puts a finished value where it belongs: under the open list or map, or at the root.
    fn close(&mut self, done: Anchored, anchor: usize) -> Result<(), Problem> {
        self.nodes += done.nodes;
        if self.nodes > NODES_MAX {
            return Err(problem(
                done.node.origin,
                format!("more than {NODES_MAX} values (aliases filled in)"),
            ));
        }
        if self.open.len() + done.depth > DEPTH_MAX {
            return Err(problem(done.node.origin, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, done.clone());
        }
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(done.node);
            return Ok(());
        };
        parent.nodes += done.nodes;
        parent.depth = parent.depth.max(done.depth);
        match &mut parent.body {
            Body::List(items) => {
                items.push(done.node);
                Ok(())
            }
            Body::Map { entries, merged, key } => match key.take() {
                None => key_text(done.node).map(|named| *key = Some(named)),
                Some((name, at)) if name == "<<" => add_merge(merged, done.node, &at),
                Some((name, at)) => add_entry(entries, name, at, done.node),
            },
        }
    }
}

/// Adds a pair to a map. The value takes the key's place as its origin.
fn add_entry(entries: &mut Vec<Entry>, key: String, at: Origin, mut node: Node) -> Result<(), Problem> {
    if let Some(first) = entries.iter().find(|entry| entry.key == key) {
        let what = format!("the key {key:?} is already given in line {}", first.node.origin.line);
        return Err(problem(at, what));
    }
    node.origin = at;
    entries.push(Entry { key, node });
    Ok(())
}

/// `<<: *base` or `<<: [*a, *b]` (YAML 1.1 merge key, which Collector files use): earlier ones win.
fn add_merge(merged: &mut Vec<Entry>, node: Node, at: &Origin) -> Result<(), Problem> {
    match node.value {
        Value::Map(entries) => {
            for entry in entries {
                if !merged.iter().any(|known| known.key == entry.key) {
                    merged.push(entry);
                }
            }
            Ok(())
        }
        Value::List(items) => items.into_iter().try_for_each(|item| match item.value {
            Value::Map(_) => add_merge(merged, item, at),
            _ => Err(problem(at.clone(), "a merge key takes a map or a list of maps")),
        }),
        _ => Err(problem(at.clone(), "a merge key takes a map or a list of maps")),
    }
}

fn with_merged(mut entries: Vec<Entry>, merged: Vec<Entry>) -> Vec<Entry> {
    for entry in merged {
        if !entries.iter().any(|own| own.key == entry.key) {
            entries.push(entry);
        }
    }
    entries
}

fn key_text(node: Node) -> Result<(String, Origin), Problem> {
    match node.value {
        Value::String(text) => Ok((text, node.origin)),
        Value::Int(number) => Ok((number.to_string(), node.origin)),
        Value::Bool(flag) => Ok((flag.to_string(), node.origin)),
        _ => Err(problem(node.origin, "a key must be a text")),
    }
}

fn scalar(
    text: Cow<'_, str>,
    style: ScalarStyle,
    tag: Option<&Tag>,
    origin: &Origin,
) -> Result<Value, Problem> {
    let Some(tag) = tag else {
        let plain = style == ScalarStyle::Plain;
        return Ok(if plain { resolve_plain(&text) } else { Value::String(text.into_owned()) });
    };
    let resolved = resolve_plain(&text);
    match (tag.handle.as_str(), tag.suffix.as_str(), resolved) {
        (CORE_TAGS, "str", _) => Ok(Value::String(text.into_owned())),
        (CORE_TAGS, "int", value @ Value::Int(_))
        | (CORE_TAGS, "bool", value @ Value::Bool(_))
        | (CORE_TAGS, "null", value @ Value::Null)
        | (CORE_TAGS, "float", value @ (Value::Float(_) | Value::Int(_))) => Ok(value),
        _ => Err(problem(origin.clone(), "a YAML tag that does not fit; remove it")),
    }
}

fn origin_at(source: &Arc<str>, marker: &Marker) -> Origin {
    Origin { source: source.clone(), line: marker.line(), column: marker.col() + 1 }
}

fn problem(origin: Origin, what: impl Into<String>) -> Problem {
    Problem { origin: Some(origin), path: String::new(), what: what.into() }
}
