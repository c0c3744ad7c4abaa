//! Maps of headers: `headers` of an exporter, `response_headers` of a receiver. Values are often tokens: must never show
//! one, not even in an error.

use super::error::Diagnostics;
use super::node::{Node, Value};
use super::secret::Secret;
use super::section::Section;

/// What carries the headers, which decides the names that are free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    /// Metadata of a gRPC call.
    Grpc,
    /// An HTTP request.
    HttpRequest,
    /// An HTTP response.
    HttpResponse,
}

/// Headers as a map, or as the Collector's newer list of `{name, value}`: names in lower case, in the order of the file.
pub(super) fn read_headers(
    node: &Node,
    path: &str,
    carrier: Carrier,
    diag: &Diagnostics,
) -> Vec<(String, Secret)> {
    let mut headers: Vec<(String, Secret)> = Vec::new();
    let mut add = |name: &str, value: &Node| {
        let path = format!("{path}.{name}");
        match check_header(name, value, carrier) {
            Ok((name, _)) if headers.iter().any(|(known, _)| *known == name) => {
                diag.error(&value.origin, &path, "given twice (names are compared in lower case)");
            }
            Ok((name, value)) => headers.push((name, Secret::new(value))),
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

fn check_header(name: &str, value: &Node, carrier: Carrier) -> Result<(String, String), String> {
    let name = check_name(name, carrier)?;
    let text = match value.as_text() {
        Some(text) => text,
        None if value.is_null() => "",
        None => return Err(format!("expected a text, found {}; put it in quotes", value.kind())),
    };
    check_value(text)?;
    Ok((name, text.to_owned()))
}

/// A name in lower case, if it can be sent and is not what the protocol itself writes.
///
/// # Errors
/// What is wrong, to be put after the key.
fn check_name(name: &str, carrier: Carrier) -> Result<String, String> {
    let name = name.to_ascii_lowercase();
    match carrier {
        Carrier::Grpc => {
            // gRPC over HTTP2, Custom-Metadata.
            let fits =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.".contains(&byte);
            if name.is_empty() || !name.bytes().all(fits) {
                return Err("not a name of gRPC metadata (letters, digits, _ - .)".to_owned());
            }
            if name == "user-agent" {
                return Err("use the key user_agent of the exporter".to_owned());
            }
            if name.starts_with("grpc-")
                || ["content-type", "te", "connection", "host"].contains(&name.as_str())
            {
                return Err("this header belongs to gRPC itself; remove it".to_owned());
            }
            if name.ends_with("-bin") {
                return Err("binary headers are not in this version; remove it".to_owned());
            }
        }
        Carrier::HttpRequest | Carrier::HttpResponse => {
            if !is_token(&name) {
                return Err("not a name of an HTTP header".to_owned());
            }
            let own = [
                "connection",
                "content-encoding",
                "content-length",
                "content-type",
                "keep-alive",
                "te",
                "trailer",
                "transfer-encoding",
                "upgrade",
            ];
            // Retry-After is how a full relay speaks to its senders.
            let answers =
                carrier == Carrier::HttpResponse && ["date", "retry-after"].contains(&name.as_str());
            if own.contains(&name.as_str()) || answers {
                return Err("relayd writes this header itself; remove it".to_owned());
            }
        }
    }
    Ok(name)
}

/// Whether a name can be that of an HTTP header (RFC 9110 section 5.6.2, token).
pub(super) fn is_token(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(fits)
}

/// Whether a text can be the value of a header: visible ASCII and spaces.
///
/// # Errors
/// What is wrong, without the value.
pub(super) fn check_value(text: &str) -> Result<(), String> {
    if text.bytes().all(|byte| (0x20..=0x7e).contains(&byte)) {
        return Ok(());
    }
    Err("the value has a character that no header can hold (a line end?)".to_owned())
}
