//! Where configuration comes from: `--config` URIs and `--set` pairs, files and environment variables behind a small
//! trait, so that tests need neither. Must never understand a key.

use std::io::{self, Read};

use super::error::{Diagnostics, Origin, Problem};
use super::merge::{nest, split_paths};
use super::node::{Node, Value};
use super::yaml;

/// The largest file that is read. A ConfigMap holds at most 1 MiB.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// What the configuration may look at outside its own text.
pub trait World {
    /// An environment variable; `None` if it is not set. A value that is not UTF-8 counts as not set.
    fn variable(&self, name: &str) -> Option<String>;
    /// A whole file as text.
    ///
    /// # Errors
    /// What the system says, `InvalidData` for a file that is not UTF-8 or larger than 4 MiB.
    fn read_file(&self, path: &str) -> io::Result<String>;
}

/// The process' own environment and file system.
#[derive(Clone, Copy, Debug)]
pub struct System;

impl World for System {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn read_file(&self, path: &str) -> io::Result<String> {
        let mut text = String::new();
        // One byte more than allowed tells a file of exactly that size from a larger one.
        std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "larger than 4 MiB"));
        }
        Ok(text)
    }
}

/// Reads what one `--config` names: a bare path, `file:PATH`, `env:NAME`, or `yaml:TEXT`.
/// Errors are recorded; `None` then.
pub fn read(uri: &str, world: &dyn World, diag: &Diagnostics) -> Option<Node> {
    let text = match scheme(uri) {
        ("file", path) => world.read_file(path).map(|text| (text, path)).map_err(|error| {
            let what = format!("cannot read the configuration file: {error}");
            (path, what)
        }),
        ("env", name) => world
            .variable(name)
            .map(|text| (text, uri))
            .ok_or_else(|| (uri, "the environment variable is not set".to_owned())),
        // The text itself may hold a secret, so it does not become the name of the source.
        ("yaml", text) => Ok((text.to_owned(), "yaml:")),
        ("http" | "https", _) => Err((
            uri,
            "configuration is not fetched over the network; mount it as a file (a ConfigMap) and name its path"
                .to_owned(),
        )),
        (unknown, _) => {
            Err((uri, format!("unknown scheme {unknown:?}; use a path, file:, env: or yaml:")))
        }
    };
    let parsed = match text {
        Ok((text, source)) => yaml::parse(&text, source),
        Err((source, what)) => {
            Err(Problem { origin: Some(Origin::of_source(source)), path: String::new(), what })
        }
    };
    parsed.map_or_else(
        |problem| {
            record(problem, diag);
            None
        },
        |node| only_map(split_paths(node), diag),
    )
}

/// Reads one `--set a.b=c`; the value is YAML. Errors are recorded; `None` then.
pub fn read_set(pair: &str, diag: &Diagnostics) -> Option<Node> {
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    // Only the key names the source: the value may be a secret.
    let origin = Origin::of_source(&format!("--set {key}"));
    let path = key.split('.').collect::<Vec<_>>();
    if !pair.contains('=') || path.iter().any(|part| part.is_empty()) {
        diag.error(&origin, "", "expected KEY=VALUE with the parts of the key joined by dots, as in a.b=c");
        return None;
    }
    match yaml::parse(value, "") {
        Ok(mut node) => {
            set_origin(&mut node, &origin);
            Some(nest(&path, node, &origin))
        }
        Err(problem) => {
            diag.error(&origin, "", problem.what);
            None
        }
    }
}

/// Gives a whole tree one place.
pub fn set_origin(node: &mut Node, origin: &Origin) {
    node.origin = origin.clone();
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| set_origin(item, origin)),
        Value::Map(entries) => entries.iter_mut().for_each(|entry| set_origin(&mut entry.node, origin)),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::String(_) => {}
    }
}

/// Splits `env:NAME` in two. A single letter before the colon is a drive or a file name, not a scheme, and so is
/// anything that has a slash: both are paths (as in the Collector, where schemes have two letters at least).
fn scheme(uri: &str) -> (&str, &str) {
    match uri.split_once(':') {
        Some((scheme, rest))
            if scheme.len() > 1
                && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+.-".contains(&b)) =>
        {
            (scheme, rest)
        }
        _ => ("file", uri),
    }
}

fn only_map(node: Node, diag: &Diagnostics) -> Option<Node> {
    match node.value {
        Value::Map(_) => Some(node),
        Value::Null => {
            diag.warn(&node.origin, "", "this configuration is empty");
            Some(Node::new(Value::Map(Vec::new()), node.origin))
        }
        _ => {
            let what = format!("expected a map with receivers, exporters and service, found {}", node.kind());
            diag.error(&node.origin, "", what);
            None
        }
    }
}

fn record(problem: Problem, diag: &Diagnostics) {
    match problem.origin {
        Some(origin) => diag.error(&origin, &problem.path, problem.what),
        None => diag.error_anywhere(problem.what),
    }
}
