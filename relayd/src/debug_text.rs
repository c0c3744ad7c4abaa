//! The text of the debug exporter, as the Collector writes it (debugexporter, verbosity normal and detailed). What is
//! malformed is said where it stands. Must never panic on a span, and never keep more than one span's text past a chunk.

use std::fmt::{self, Write};

use relay_core::otlp::{
    AnyValueView, EventView, KeyValueView, LinkView, RequestView, ResourceSpansView, ScopeSpansView,
    SpanFields, SpanKind, SpanView, StatusCode,
};
use relay_core::wire::DecodeError;
use serde_json::Value as Json;

use crate::clock::go_time;
use crate::limits::DEBUG_CHUNK_BYTES;
use crate::text::Safe;

/// Takes chunks of whole lines; false says that it takes no more.
pub(crate) type Emit<'e> = &'e mut dyn FnMut(String) -> bool;

/// How a span is written.
pub(crate) type WriteSpan = fn(&mut Chunks<'_>, usize, SpanView<'_>) -> Result<(), DecodeError>;

/// Text that goes out in chunks.
pub(crate) struct Chunks<'e> {
    text: String,
    emit: Emit<'e>,
    open: bool,
    spans_left_out: u64,
}

impl<'e> Chunks<'e> {
    pub(crate) fn new(emit: Emit<'e>) -> Self {
        Self { text: String::new(), emit, open: true, spans_left_out: 0 }
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        self.text.write_fmt(line).ok();
        self.text.push('\n');
    }

    fn attribute(&mut self, name: &str, value: impl fmt::Display) {
        self.line(format_args!("    {name:<15}: {value}"));
    }

    fn end_of_span(&mut self) {
        if self.text.len() >= DEBUG_CHUNK_BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if !self.text.is_empty() {
            self.text.truncate(self.text.trim_end_matches('\n').len());
            self.open = (self.emit)(std::mem::take(&mut self.text));
        }
    }

    /// Ends the text; returns how many spans were not written because no more was taken.
    pub(crate) fn finish(mut self) -> u64 {
        self.flush();
        self.spans_left_out
    }
}

/// One line per span (verbosity normal).
pub(crate) fn write_normal(out: &mut Chunks<'_>, request: &RequestView<'_>) {
    for (number, resource_spans) in request.resource_spans().enumerate() {
        let written = resource_spans.and_then(|resource_spans| normal_resource(out, number, &resource_spans));
        say_error(out, written);
    }
}

/// Every field (verbosity detailed).
pub(crate) fn write_detailed(out: &mut Chunks<'_>, request: &RequestView<'_>) {
    for (number, resource_spans) in request.resource_spans().enumerate() {
        let written =
            resource_spans.and_then(|resource_spans| detailed_resource(out, number, &resource_spans));
        say_error(out, written);
    }
}

fn say_error(out: &mut Chunks<'_>, written: Result<(), DecodeError>) {
    if let Err(error) = written {
        out.line(format_args!("(malformed: {error})"));
    }
}

fn write_spans(out: &mut Chunks<'_>, scope: &ScopeSpansView<'_>, write: WriteSpan) {
    for (number, span) in scope.spans().enumerate() {
        if !out.open {
            out.spans_left_out += 1;
            continue;
        }
        let written = span.and_then(|span| write(out, number, span));
        say_error(out, written);
        out.end_of_span();
    }
}

fn normal_resource(
    out: &mut Chunks<'_>,
    number: usize,
    resource_spans: &ResourceSpansView<'_>,
) -> Result<(), DecodeError> {
    let mut attributes = String::new();
    if let Some(resource) = resource_spans.resource()? {
        attributes = joined(resource.attributes());
    }
    let schema = bracketed(resource_spans.schema_url()?);
    out.line(format_args!("ResourceTraces #{number}{schema}{attributes}"));
    for (number, scope_spans) in resource_spans.scope_spans().enumerate() {
        let scope_spans = scope_spans?;
        let (mut name, mut attributes) = (String::new(), String::new());
        if let Some(scope) = scope_spans.scope()? {
            let (own, version) = (scope.name()?, scope.version()?);
            let at = if version.is_empty() { "" } else { "@" };
            let space = if own.is_empty() && version.is_empty() { "" } else { " " };
            name = format!("{space}{}{at}{}", Safe(own), Safe(version));
            attributes = joined(scope.attributes());
        }
        let schema = bracketed(scope_spans.schema_url()?);
        out.line(format_args!("ScopeTraces #{number}{name}{schema}{attributes}"));
        write_spans(out, &scope_spans, normal_span);
    }
    Ok(())
}

fn normal_span(out: &mut Chunks<'_>, _: usize, span: SpanView<'_>) -> Result<(), DecodeError> {
    let span = span.fields()?;
    let (name, trace_id, span_id) = (span.name()?, id(span.trace_id()?), id(span.span_id()?));
    out.line(format_args!("{} {trace_id} {span_id}{}", Safe(name), joined(span.attributes())));
    Ok(())
}

fn bracketed(schema_url: &str) -> String {
    if schema_url.is_empty() { String::new() } else { format!(" [{}]", Safe(schema_url)) }
}

/// ` key=value key=value`
fn joined<'a>(attributes: impl Iterator<Item = Result<KeyValueView<'a>, DecodeError>>) -> String {
    let one = |attribute: Result<KeyValueView<'a>, DecodeError>| {
        let attribute = attribute?;
        Ok(format!(" {}={}", Safe(attribute.key()?), plain_value(&attribute.value()?)))
    };
    attributes
        .map(one)
        .map(|text| text.unwrap_or_else(|error: DecodeError| format!(" (malformed: {error})")))
        .collect()
}

fn detailed_resource(
    out: &mut Chunks<'_>,
    number: usize,
    resource_spans: &ResourceSpansView<'_>,
) -> Result<(), DecodeError> {
    out.line(format_args!("ResourceSpans #{number}"));
    out.line(format_args!("Resource SchemaURL: {}", Safe(resource_spans.schema_url()?)));
    if let Some(resource) = resource_spans.resource()? {
        write_attributes(out, "", "Resource attributes", resource.attributes());
    }
    for (number, scope_spans) in resource_spans.scope_spans().enumerate() {
        let scope_spans = scope_spans?;
        out.line(format_args!("ScopeSpans #{number}"));
        out.line(format_args!("ScopeSpans SchemaURL: {}", Safe(scope_spans.schema_url()?)));
        match scope_spans.scope()? {
            Some(scope) => {
                let (name, version) = (Safe(scope.name()?), Safe(scope.version()?));
                out.line(format_args!("InstrumentationScope {name} {version}"));
                write_attributes(out, "", "InstrumentationScope attributes", scope.attributes());
            }
            None => out.line(format_args!("InstrumentationScope  ")),
        }
        write_spans(out, &scope_spans, detailed_span);
    }
    Ok(())
}

fn detailed_span(out: &mut Chunks<'_>, number: usize, span: SpanView<'_>) -> Result<(), DecodeError> {
    out.line(format_args!("Span #{number}"));
    let span = span.fields()?;
    out.attribute("Trace ID", id(span.trace_id()?));
    out.attribute("Parent ID", id(span.parent_span_id()?));
    out.attribute("ID", id(span.span_id()?));
    out.attribute("Name", Safe(span.name()?));
    out.attribute("Kind", kind_name(span.kind()));
    if !span.trace_state()?.is_empty() {
        out.attribute("TraceState", Safe(span.trace_state()?));
    }
    out.attribute("Start time", go_time(span.start_time_unix_nano()));
    out.attribute("End time", go_time(span.end_time_unix_nano()));
    write_status(out, &span)?;
    out.attribute("DroppedAttributesCount", span.dropped_attributes_count());
    out.attribute("DroppedEventsCount", span.dropped_events_count());
    out.attribute("DroppedLinksCount", span.dropped_links_count());
    write_attributes(out, "", "Attributes", span.attributes());
    for (number, event) in span.events().enumerate() {
        if number == 0 {
            out.line(format_args!("Events:"));
        }
        write_event(out, number, &event?)?;
    }
    for (number, link) in span.links().enumerate() {
        if number == 0 {
            out.line(format_args!("Links:"));
        }
        write_link(out, number, &link?)?;
    }
    Ok(())
}

fn write_status(out: &mut Chunks<'_>, span: &SpanFields<'_>) -> Result<(), DecodeError> {
    let status = span.status()?;
    let code = match status.as_ref().map_or(StatusCode::UNSET, relay_core::otlp::StatusView::code) {
        StatusCode::UNSET => "Unset",
        StatusCode::OK => "Ok",
        StatusCode::ERROR => "Error",
        StatusCode(_) => "",
    };
    out.attribute("Status code", code);
    let message = status.as_ref().map_or(Ok(""), relay_core::otlp::StatusView::message)?;
    out.attribute("Status message", Safe(message));
    Ok(())
}

fn write_event(out: &mut Chunks<'_>, number: usize, event: &EventView<'_>) -> Result<(), DecodeError> {
    out.line(format_args!("SpanEvent #{number}"));
    out.line(format_args!("     -> Name: {}", Safe(event.name()?)));
    out.line(format_args!("     -> Timestamp: {}", go_time(event.time_unix_nano())));
    out.line(format_args!("     -> DroppedAttributesCount: {}", event.dropped_attributes_count()));
    write_attributes(out, "     ", "     -> Attributes:", event.attributes());
    Ok(())
}

fn write_link(out: &mut Chunks<'_>, number: usize, link: &LinkView<'_>) -> Result<(), DecodeError> {
    out.line(format_args!("SpanLink #{number}"));
    out.line(format_args!("     -> Trace ID: {}", id(link.trace_id()?)));
    out.line(format_args!("     -> ID: {}", id(link.span_id()?)));
    out.line(format_args!("     -> TraceState: {}", Safe(link.trace_state()?)));
    out.line(format_args!("     -> DroppedAttributesCount: {}", link.dropped_attributes_count()));
    write_attributes(out, "     ", "     -> Attributes:", link.attributes());
    Ok(())
}

/// A header, if there are any, and a line for each.
fn write_attributes<'a>(
    out: &mut Chunks<'_>,
    indent: &str,
    header: &str,
    attributes: impl Iterator<Item = Result<KeyValueView<'a>, DecodeError>>,
) {
    for (number, attribute) in attributes.enumerate() {
        if number == 0 {
            out.line(format_args!("{header}:"));
        }
        let parts = attribute.and_then(|attribute| Ok((attribute.key()?, attribute.value()?)));
        match parts {
            Ok((key, value)) => {
                let (key, kind, value) = (Safe(key), value_kind(&value), plain_value(&value));
                out.line(format_args!("{indent}     -> {key}: {kind}({value})"));
            }
            Err(error) => out.line(format_args!("{indent}     -> (malformed: {error})")),
        }
    }
}

fn value_kind(value: &AnyValueView<'_>) -> &'static str {
    match value {
        AnyValueView::String(_) => "Str",
        AnyValueView::Bool(_) => "Bool",
        AnyValueView::Int(_) => "Int",
        AnyValueView::Double(_) => "Double",
        AnyValueView::Array(_) => "Slice",
        AnyValueView::KeyValues(_) => "Map",
        AnyValueView::Bytes(_) => "Bytes",
        _ => "Empty",
    }
}

/// Lists and maps as JSON, all else as it prints.
fn plain_value(value: &AnyValueView<'_>) -> String {
    match value {
        AnyValueView::Array(_) | AnyValueView::KeyValues(_) => Safe(&json(value).to_string()).to_string(),
        _ => value.to_string(),
    }
}

/// Recurses no deeper than the views do, `relay_core::limits::NESTING_DEPTH_MAX`.
fn json(value: &AnyValueView<'_>) -> Json {
    let malformed = |error: DecodeError| Json::from(format!("(malformed: {error})"));
    match value {
        AnyValueView::String(text) => Json::from(*text),
        AnyValueView::Bool(value) => Json::from(*value),
        AnyValueView::Int(value) => Json::from(*value),
        AnyValueView::Double(value) => Json::from(*value),
        AnyValueView::Array(array) => {
            array.values().map(|value| value.map_or_else(malformed, |value| json(&value))).collect()
        }
        AnyValueView::KeyValues(list) => {
            let entry = |entry: Result<KeyValueView<'_>, DecodeError>| {
                let entry = entry?;
                Ok((entry.key()?.to_owned(), json(&entry.value()?)))
            };
            let entries = list
                .entries()
                .map(|one| entry(one).unwrap_or_else(|error: DecodeError| (String::new(), malformed(error))));
            entries.collect()
        }
        AnyValueView::Bytes(_) => Json::from(value.to_string()),
        _ => Json::Null,
    }
}

fn id(id: Option<impl fmt::Display>) -> String {
    id.map_or_else(String::new, |id| id.to_string())
}

fn kind_name(kind: SpanKind) -> &'static str {
    match kind {
        SpanKind::UNSPECIFIED => "Unspecified",
        SpanKind::INTERNAL => "Internal",
        SpanKind::SERVER => "Server",
        SpanKind::CLIENT => "Client",
        SpanKind::PRODUCER => "Producer",
        SpanKind::CONSUMER => "Consumer",
        SpanKind(_) => "",
    }
}

#[cfg(test)]
mod tests;
