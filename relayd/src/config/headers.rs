//! `headers` of an exporter: metadata of every call, often tokens. Must never show a value, not even in an error.

use std::fmt;

use super::error::Diagnostics;
use super::node::{Node, Value};
use super::section::Section;

/// A value that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The value, for sending only.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<hidden>")
    }
}

/// `headers` as a map, or as the Collector's newer list of `{name, value}`.
pub(super) fn read_headers(node: &Node, path: &str, diag: &Diagnostics) -> Vec<(String, Secret)> {
    let mut headers: Vec<(String, Secret)> = Vec::new();
    let mut add = |name: &str, value: &Node| {
        let path = format!("{path}.{name}");
        match check_header(name, value) {
            Ok((name, _)) if headers.iter().any(|(known, _)| *known == name) => {
                diag.error(&value.origin, &path, "given twice (names are compared in lower case)");
            }
            Ok((name, value)) => headers.push((name, Secret(value))),
            Err(what) => diag.error(&value.origin, &path, what),
        }
    };
    if let Value::List(items) = &node.value {
        for item in items {
            let mut pair = Section::open(item, path, diag);
            let (name, value) = (pair.text("name"), pair.value("value"));
            match (name, value) {
                (Some(name), Some(value)) => add(name, value),
                _ => pair.error("", "a header in a list needs name and value"),
            }
            pair.finish();
        }
    } else {
        for entry in Section::open(node, path, diag).named() {
            add(&entry.key, &entry.node);
        }
    }
    headers
}

/// A name in lower case and its value, if gRPC can send them (gRPC over HTTP2, Custom-Metadata).
fn check_header(name: &str, value: &Node) -> Result<(String, String), String> {
    let name = name.to_ascii_lowercase();
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.".contains(&byte);
    if name.is_empty() || !name.bytes().all(fits) {
        return Err("not a name of gRPC metadata (letters, digits, _ - .)".to_owned());
    }
    if name.starts_with("grpc-")
        || ["content-type", "te", "user-agent", "connection", "host"].contains(&name.as_str())
    {
        return Err("this header belongs to gRPC itself; remove it".to_owned());
    }
    if name.ends_with("-bin") {
        return Err("binary headers are not in this version; remove it".to_owned());
    }
    let text = match value.as_text() {
        Some(text) => text,
        None if value.is_null() => "",
        None => return Err(format!("expected a text, found {}; put it in quotes", value.kind())),
    };
    if !text.bytes().all(|byte| (0x20..=0x7e).contains(&byte)) {
        return Err("the value has a character that no header can hold (a line end?)".to_owned());
    }
    Ok((name, text.to_owned()))
}
