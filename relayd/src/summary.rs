//! What the printer keeps of a span. Made on a core's thread from the raw bytes; must never keep a reference to them, nor
//! more than a few short texts.

use std::sync::Arc;

use relay_core::otlp::{
    AnyValueView, RequestView, ResourceSpansView, SpanFields, SpanId, SpanView, StatusCode, TraceId,
};
use relay_core::wire::DecodeError;

use crate::limits::PRINTED_TEXT_CHARS_MAX;
use crate::text::shortened;

/// A span, in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SpanSummary {
    pub(crate) trace: TraceId,
    pub(crate) id: SpanId,
    pub(crate) parent: Option<SpanId>,
    pub(crate) name: String,
    /// `service.name` of its resource.
    pub(crate) service: Arc<str>,
    /// Nanoseconds since the Unix epoch.
    pub(crate) start: u64,
    /// Nanoseconds.
    pub(crate) duration: u64,
    /// The words of an error status; `None` if there is no error.
    pub(crate) error: Option<String>,
}

/// Reads a request; `keep` gets every span, or why it cannot be shown.
pub(crate) fn read(request: &RequestView<'_>, mut keep: impl FnMut(Result<SpanSummary, DecodeError>)) {
    for resource_spans in request.resource_spans() {
        if let Err(error) = resource_spans.and_then(|spans| read_resource(&spans, &mut keep)) {
            keep(Err(error));
        }
    }
}

fn read_resource(
    resource_spans: &ResourceSpansView<'_>,
    keep: &mut impl FnMut(Result<SpanSummary, DecodeError>),
) -> Result<(), DecodeError> {
    let service = service_name(resource_spans)?;
    for scope_spans in resource_spans.scope_spans() {
        for span in scope_spans?.spans() {
            keep(span.and_then(|span| read_span(span, &service)));
        }
    }
    Ok(())
}

/// Semantic conventions, "Service": `service.name` is required, `unknown_service` where it is not known.
fn service_name(resource_spans: &ResourceSpansView<'_>) -> Result<Arc<str>, DecodeError> {
    if let Some(resource) = resource_spans.resource()? {
        for attribute in resource.attributes() {
            let attribute = attribute?;
            if attribute.key()? == "service.name"
                && let AnyValueView::String(name) = attribute.value()?
            {
                return Ok(shortened(name, PRINTED_TEXT_CHARS_MAX).into());
            }
        }
    }
    Ok("unknown_service".into())
}

fn read_span(span: SpanView<'_>, service: &Arc<str>) -> Result<SpanSummary, DecodeError> {
    let span = span.fields()?;
    Ok(SpanSummary {
        trace: span.trace_id()?.unwrap_or(TraceId([0; 16])),
        id: span.span_id()?.unwrap_or(SpanId([0; 8])),
        // Some senders write a root's parent as zeros instead of leaving it out.
        parent: span.parent_span_id()?.filter(|id| id.0 != [0; 8]),
        name: shortened(span.name()?, PRINTED_TEXT_CHARS_MAX),
        service: Arc::clone(service),
        start: span.start_time_unix_nano(),
        duration: span.duration_nanos(),
        error: error(&span)?,
    })
}

/// The status message, else what an `exception` event says, which is all that many instrumentations leave.
fn error(span: &SpanFields<'_>) -> Result<Option<String>, DecodeError> {
    let Some(status) = span.status()?.filter(|status| status.code() == StatusCode::ERROR) else {
        return Ok(None);
    };
    if !status.message()?.is_empty() {
        return Ok(Some(shortened(status.message()?, PRINTED_TEXT_CHARS_MAX)));
    }
    for event in span.events() {
        let event = event?;
        if event.name()? != "exception" {
            continue;
        }
        for attribute in event.attributes() {
            let attribute = attribute?;
            if attribute.key()? == "exception.message"
                && let AnyValueView::String(message) = attribute.value()?
            {
                return Ok(Some(shortened(message, PRINTED_TEXT_CHARS_MAX)));
            }
        }
    }
    Ok(Some("error".to_owned()))
}
