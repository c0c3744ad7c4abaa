//! `${env:NAME}`, `${env:NAME:-default}`, `${NAME}`, `${file:path}` and the escape `$$` (Collector, confmap).
//! A value that is nothing but one `${...}` is parsed as YAML; inside a larger text it stays text.
//! Must never print what a variable holds.

use std::cell::Cell;

use super::error::{Diagnostics, Origin};
use super::node::{Entry, Node, Value};
use super::source::{World, set_origin};
use super::yaml;

/// How often the result of a `${...}` may hold another one: against variables that name each other.
const LEVELS_MAX: usize = 16;
/// The longest text that expansion may make: against variables that double each other.
const TEXT_BYTES_MAX: usize = 4 << 20;
/// How many references a configuration may have in all, those inside others counted: against variables that double
/// each other into nothing.
const REFERENCES_MAX: usize = 10_000;

/// Fills in every value of the tree (keys stay as they are). Errors and unset variables are recorded.
#[must_use]
pub fn expand(node: Node, world: &dyn World, diag: &Diagnostics) -> Node {
    expand_tree(node, &Scope { world, diag, references: Cell::new(0) }, "", 0)
}

struct Scope<'a> {
    world: &'a dyn World,
    diag: &'a Diagnostics,
    references: Cell<usize>,
}

/// Where a text with `${...}` stands, for messages.
#[derive(Clone, Copy)]
struct Site<'a> {
    origin: &'a Origin,
    path: &'a str,
    level: usize,
}

fn expand_tree(node: Node, scope: &Scope<'_>, path: &str, level: usize) -> Node {
    let Node { value, origin, text } = node;
    let value = match value {
        Value::String(string) if string.contains('$') => {
            return expand_string(string, scope, Site { origin: &origin, path, level });
        }
        Value::Map(entries) => {
            let expand_entry = |Entry { key, node }| {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                Entry { node: expand_tree(node, scope, &path, level), key }
            };
            Value::Map(entries.into_iter().map(expand_entry).collect())
        }
        Value::List(items) => {
            Value::List(items.into_iter().map(|item| expand_tree(item, scope, path, level)).collect())
        }
        scalar => scalar,
    };
    Node { value, origin, text }
}

fn expand_string(string: String, scope: &Scope<'_>, site: Site<'_>) -> Node {
    let done = if whole_reference(&string).is_some() {
        expand_whole(&string, scope, site)
    } else {
        expand_text(&string, scope, site).map(|text| Node::new(Value::String(text), site.origin.clone()))
    };
    done.unwrap_or_else(|what| {
        scope.diag.error(site.origin, site.path, what);
        Node::new(Value::Null, site.origin.clone())
    })
}

/// The value is one `${...}`: whatever YAML it gives, even a map, takes its place.
fn expand_whole(string: &str, scope: &Scope<'_>, site: Site<'_>) -> Result<Node, String> {
    let inner = whole_reference(string).unwrap_or_default();
    let deeper = deeper(site)?;
    let reference = expand_text(inner, scope, deeper)?;
    let Some(found) = look_up(&reference, scope, site)? else {
        return Ok(Node::new(Value::Null, site.origin.clone()));
    };
    // Not YAML means that it is meant as it is, as in the Collector: a password may begin with a bracket.
    let mut node = yaml::parse(&found.text, &found.source)
        .unwrap_or_else(|_| Node::new(Value::String(found.text.clone()), site.origin.clone()));
    if found.is_file {
        node.origin = site.origin.clone();
    } else {
        set_origin(&mut node, site.origin);
    }
    if matches!(node.value, Value::Bool(_) | Value::Int(_) | Value::Float(_)) {
        node.text = Some(found.text);
    }
    Ok(expand_tree(node, scope, site.path, deeper.level))
}

/// Fills in a text: from left to right, `$$` is a dollar sign, `${...}` is looked up, all else is kept.
fn expand_text(text: &str, scope: &Scope<'_>, site: Site<'_>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        rest = after;
        if let Some(escaped) = after.strip_prefix('$') {
            out.push('$');
            rest = escaped;
        } else if let Some((inner, tail)) = reference_at(after) {
            let deeper = deeper(site)?;
            let reference = expand_text(inner, scope, deeper)?;
            if let Some(found) = look_up(&reference, scope, site)? {
                out.push_str(&expand_text(&as_text(found), scope, deeper)?);
            }
            rest = tail;
        } else {
            out.push('$');
        }
        if out.len() > TEXT_BYTES_MAX {
            return Err(format!("expands to more than {} MiB", TEXT_BYTES_MAX >> 20));
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn deeper(site: Site<'_>) -> Result<Site<'_>, String> {
    if site.level >= LEVELS_MAX {
        return Err(format!("references inside references, more than {LEVELS_MAX} levels"));
    }
    Ok(Site { level: site.level + 1, ..site })
}

/// The inside of a text that is nothing but one `${...}`.
fn whole_reference(text: &str) -> Option<&str> {
    match reference_at(text.strip_prefix('$')?)? {
        (inner, "") => Some(inner),
        _ => None,
    }
}

/// Splits `{inner}tail`; braces inside must pair.
fn reference_at(text: &str) -> Option<(&str, &str)> {
    let body = text.strip_prefix('{')?;
    let mut open = 1_usize;
    for (at, c) in body.char_indices() {
        match c {
            '{' => open += 1,
            '}' => open -= 1,
            _ => {}
        }
        if open == 0 {
            let (inner, tail) = body.split_at_checked(at)?;
            return Some((inner, tail.strip_prefix('}')?));
        }
    }
    None
}

struct Found {
    text: String,
    source: String,
    is_file: bool,
}

/// What a reference stands for; `None` for a variable that is not set.
fn look_up(reference: &str, scope: &Scope<'_>, site: Site<'_>) -> Result<Option<Found>, String> {
    scope.references.set(scope.references.get() + 1);
    if scope.references.get() > REFERENCES_MAX {
        return Err(format!("more than {REFERENCES_MAX} references in all"));
    }
    match reference.split_once(':') {
        None => variable(reference, scope, site),
        Some(("env", name)) => variable(name, scope, site),
        Some(("file", path)) => match scope.world.read_file(path) {
            // Editors and `kubectl create secret` leave a line end that no header can hold.
            Ok(text) => Ok(Some(Found {
                text: text.trim_end_matches(['\r', '\n']).to_owned(),
                source: path.to_owned(),
                is_file: true,
            })),
            Err(error) => Err(format!("cannot read the file {path:?}: {error}")),
        },
        Some(("yaml", text)) => {
            Ok(Some(Found { text: text.to_owned(), source: "yaml:".to_owned(), is_file: false }))
        }
        Some(("http" | "https", _)) => {
            Err("configuration is not fetched over the network; mount it as a file and use ${file:path}"
                .to_owned())
        }
        Some((name, rest)) if rest.starts_with('-') => {
            Err(format!("a default needs the scheme; write ${{env:{name}:{rest}}}"))
        }
        Some((scheme, _)) => Err(format!("unknown scheme {scheme:?}; use ${{env:NAME}} or ${{file:path}}")),
    }
}

fn variable(name: &str, scope: &Scope<'_>, site: Site<'_>) -> Result<Option<Found>, String> {
    let (name, default) = match name.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (name, None),
    };
    let first_fits = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !first_fits || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Err(format!("{name:?} is not the name of an environment variable (letters, digits, _)"));
    }
    let value = scope.world.variable(name).or_else(|| default.map(str::to_owned));
    if value.is_none() {
        let what = format!("the environment variable {name} is not set; the value is empty");
        scope.diag.warn(site.origin, site.path, what);
    }
    Ok(value.map(|text| Found { text, source: format!("env:{name}"), is_file: false }))
}

/// Inside a larger text: a YAML string without its quotes, anything else as it is written (Collector, confmap).
fn as_text(found: Found) -> String {
    match yaml::parse(&found.text, &found.source) {
        Ok(Node { value: Value::String(text), .. }) => text,
        _ => found.text,
    }
}
