//! A span as views: [`SpanView`] is where its bytes are, [`SpanFields`] where each of its fields is. Text,
//! ids, attributes, events and links are read only when asked for.

use std::fmt;

use super::attribute::attributes;
use super::fields::span;
use super::parts::{Parts, Singular};
use super::{EventView, KeyValueView, LinkView, SpanId, StatusView, TraceId};
use crate::wire::{DecodeError, Field, FieldValue, Input, Reader};

/// A `Span`, not yet looked into. Each accessor passes over the span once; to read several fields ask for
/// [`fields`](Self::fields) once.
#[derive(Clone, Copy, Debug)]
pub struct SpanView<'a> {
    body: Reader<'a>,
}

/// A `Span`, whose own fields have been found in one pass. Of a scalar given several times the last is kept;
/// a status given several times is merged.
#[derive(Clone, Copy, Debug)]
pub struct SpanFields<'a> {
    body: Reader<'a>,
    trace_id: Reader<'a>,
    span_id: Reader<'a>,
    parent_span_id: Reader<'a>,
    trace_state: Reader<'a>,
    name: Reader<'a>,
    kind: SpanKind,
    flags: u32,
    start_time_unix_nano: u64,
    end_time_unix_nano: u64,
    attributes: Run<'a>,
    dropped_attributes_count: u32,
    events: Run<'a>,
    dropped_events_count: u32,
    links: Run<'a>,
    dropped_links_count: u32,
    status: Singular<'a>,
}

/// From the first to the last occurrence of a repeated field, so that reading them does not pass over the
/// whole span again.
#[derive(Clone, Copy, Debug, Default)]
struct Run<'a> {
    /// From the first occurrence on; empty if there is none.
    body: Reader<'a>,
    /// Bytes of `body` after the last occurrence.
    after: usize,
}

/// A `Span.SpanKind`; unknown kinds keep their number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SpanKind(pub i32);

impl SpanKind {
    /// `SPAN_KIND_UNSPECIFIED`
    pub const UNSPECIFIED: Self = Self(0);
    /// `SPAN_KIND_INTERNAL`: within one application.
    pub const INTERNAL: Self = Self(1);
    /// `SPAN_KIND_SERVER`: handles a request from outside.
    pub const SERVER: Self = Self(2);
    /// `SPAN_KIND_CLIENT`: makes a request to the outside.
    pub const CLIENT: Self = Self(3);
    /// `SPAN_KIND_PRODUCER`: hands a message to a broker.
    pub const PRODUCER: Self = Self(4);
    /// `SPAN_KIND_CONSUMER`: takes a message from a broker.
    pub const CONSUMER: Self = Self(5);
}

impl fmt::Display for SpanKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::UNSPECIFIED => f.write_str("unspecified"),
            Self::INTERNAL => f.write_str("internal"),
            Self::SERVER => f.write_str("server"),
            Self::CLIENT => f.write_str("client"),
            Self::PRODUCER => f.write_str("producer"),
            Self::CONSUMER => f.write_str("consumer"),
            Self(kind) => write!(f, "{kind}"),
        }
    }
}

impl<'a> Run<'a> {
    /// Adds a field that lies between `before` and `after`.
    #[inline]
    fn add(&mut self, before: Reader<'a>, after: Reader<'a>) {
        if self.body.is_empty() {
            self.body = before;
        }
        self.after = after.remaining();
    }

    #[inline]
    fn parts(&self) -> Parts<'a> {
        Parts::single(self.body.until(self.after))
    }
}

impl<'a> SpanView<'a> {
    #[inline]
    pub(super) const fn new(body: Reader<'a>) -> Self {
        Self { body }
    }

    /// Over the bytes of a message alone.
    pub(crate) const fn over(message: &'a [u8]) -> Self {
        Self::new(Reader::new(message))
    }

    /// The bytes of the `Span` message, without its tag and length.
    pub fn bytes(&self) -> &'a [u8] {
        self.body.bytes()
    }

    /// Finds every field of the span in one pass.
    ///
    /// # Errors
    /// The span's lengths do not nest, or a known field has another wire type than its schema says.
    /// Text, ids and nested messages are not looked into.
    #[inline]
    pub fn fields(&self) -> Result<SpanFields<'a>, DecodeError> {
        let mut found = SpanFields { body: self.body, ..SpanFields::default() };
        let mut rest = self.body;
        loop {
            let before = rest;
            if let Some((number, value)) = rest.short_field()
                && found.set_message(number, value, before, rest)
            {
                continue;
            }
            rest = before;
            let Some(field) = rest.field()? else { return Ok(found) };
            if !matches!(field.value, FieldValue::LengthDelimited(value)
                if found.set_message(field.number, value, before, rest))
            {
                found.set_scalar(&field)?;
            }
        }
    }

    /// The trace; `None` if empty.
    ///
    /// # Errors
    /// Those of [`fields`](Self::fields), or it is not 16 bytes long.
    pub fn trace_id(&self) -> Result<Option<TraceId>, DecodeError> {
        self.fields()?.trace_id()
    }

    /// The span's own id; `None` if empty.
    ///
    /// # Errors
    /// Those of [`fields`](Self::fields), or it is not 8 bytes long.
    pub fn span_id(&self) -> Result<Option<SpanId>, DecodeError> {
        self.fields()?.span_id()
    }

    /// The parent's id; `None` for a root.
    ///
    /// # Errors
    /// Those of [`fields`](Self::fields), or it is not 8 bytes long.
    pub fn parent_span_id(&self) -> Result<Option<SpanId>, DecodeError> {
        self.fields()?.parent_span_id()
    }

    /// The name.
    ///
    /// # Errors
    /// Those of [`fields`](Self::fields), or it is not UTF-8.
    pub fn name(&self) -> Result<&'a str, DecodeError> {
        self.fields()?.name()
    }
}

impl Default for SpanFields<'_> {
    #[inline]
    fn default() -> Self {
        let none = Reader::default();
        Self {
            body: none,
            trace_id: none,
            span_id: none,
            parent_span_id: none,
            trace_state: none,
            name: none,
            kind: SpanKind::UNSPECIFIED,
            flags: 0,
            start_time_unix_nano: 0,
            end_time_unix_nano: 0,
            attributes: Run::default(),
            dropped_attributes_count: 0,
            events: Run::default(),
            dropped_events_count: 0,
            links: Run::default(),
            dropped_links_count: 0,
            status: Singular::default(),
        }
    }
}

impl<'a> SpanFields<'a> {
    /// Takes a field that lies between `before` and `after`; false if it is none of those that are
    /// length-delimited.
    #[inline(always)]
    fn set_message(&mut self, number: u32, value: Reader<'a>, before: Reader<'a>, after: Reader<'a>) -> bool {
        match number {
            span::TRACE_ID => self.trace_id = value,
            span::SPAN_ID => self.span_id = value,
            span::TRACE_STATE => self.trace_state = value,
            span::PARENT_SPAN_ID => self.parent_span_id = value,
            span::NAME => self.name = value,
            span::ATTRIBUTES => self.attributes.add(before, after),
            span::EVENTS => self.events.add(before, after),
            span::LINKS => self.links.add(before, after),
            span::STATUS => self.status.add(value),
            _ => return false,
        }
        true
    }

    #[inline]
    fn set_scalar(&mut self, field: &Field<'a>) -> Result<(), DecodeError> {
        match field.number {
            span::KIND => self.kind = SpanKind(field.uint32()?.cast_signed()),
            span::START_TIME_UNIX_NANO => self.start_time_unix_nano = field.fixed64()?,
            span::END_TIME_UNIX_NANO => self.end_time_unix_nano = field.fixed64()?,
            span::DROPPED_ATTRIBUTES_COUNT => self.dropped_attributes_count = field.uint32()?,
            span::DROPPED_EVENTS_COUNT => self.dropped_events_count = field.uint32()?,
            span::DROPPED_LINKS_COUNT => self.dropped_links_count = field.uint32()?,
            span::FLAGS => self.flags = field.fixed32()?,
            // Not length-delimited, or it would not have come here.
            span::TRACE_ID..=span::NAME | span::ATTRIBUTES | span::EVENTS | span::LINKS | span::STATUS => {
                field.length_delimited()?;
            }
            _ => {}
        }
        Ok(())
    }

    /// The trace id as it came, of whatever length.
    pub(crate) fn trace_id_bytes(&self) -> &'a [u8] {
        self.trace_id.bytes()
    }

    /// The trace; `None` if empty.
    ///
    /// # Errors
    /// It is not 16 bytes long.
    pub fn trace_id(&self) -> Result<Option<TraceId>, DecodeError> {
        TraceId::read(self.trace_id, span::TRACE_ID)
    }

    /// The span's own id; `None` if empty.
    ///
    /// # Errors
    /// It is not 8 bytes long.
    pub fn span_id(&self) -> Result<Option<SpanId>, DecodeError> {
        SpanId::read(self.span_id, span::SPAN_ID)
    }

    /// The parent's id; `None` for a root.
    ///
    /// # Errors
    /// It is not 8 bytes long.
    pub fn parent_span_id(&self) -> Result<Option<SpanId>, DecodeError> {
        SpanId::read(self.parent_span_id, span::PARENT_SPAN_ID)
    }

    /// W3C `tracestate`; empty if there is none.
    ///
    /// # Errors
    /// It is not UTF-8.
    pub fn trace_state(&self) -> Result<&'a str, DecodeError> {
        self.trace_state.text(span::TRACE_STATE)
    }

    /// The name.
    ///
    /// # Errors
    /// It is not UTF-8.
    pub fn name(&self) -> Result<&'a str, DecodeError> {
        self.name.text(span::NAME)
    }

    /// The kind.
    pub fn kind(&self) -> SpanKind {
        self.kind
    }

    /// W3C trace flags (bits 0 to 7) and whether the parent is remote (bits 8 and 9).
    pub fn flags(&self) -> u32 {
        self.flags
    }

    /// When it began, nanoseconds since the Unix epoch; 0 if unknown.
    pub fn start_time_unix_nano(&self) -> u64 {
        self.start_time_unix_nano
    }

    /// When it ended, nanoseconds since the Unix epoch; 0 if unknown.
    pub fn end_time_unix_nano(&self) -> u64 {
        self.end_time_unix_nano
    }

    /// Nanoseconds from start to end; 0 if the sender's clock went backwards.
    pub fn duration_nanos(&self) -> u64 {
        self.end_time_unix_nano.saturating_sub(self.start_time_unix_nano)
    }

    /// The attributes in order; ends after the first error.
    #[inline]
    pub fn attributes(
        &self,
    ) -> impl Iterator<Item = Result<KeyValueView<'a>, DecodeError>> + Clone + use<'a> {
        attributes(&self.attributes.parts(), span::ATTRIBUTES)
    }

    /// Attributes that the sender dropped.
    pub fn dropped_attributes_count(&self) -> u32 {
        self.dropped_attributes_count
    }

    /// The events in order; ends after the first error.
    #[inline]
    pub fn events(&self) -> impl Iterator<Item = Result<EventView<'a>, DecodeError>> + Clone + use<'a> {
        self.events.parts().views(span::EVENTS, EventView::read)
    }

    /// Events that the sender dropped.
    pub fn dropped_events_count(&self) -> u32 {
        self.dropped_events_count
    }

    /// The links in order; ends after the first error.
    #[inline]
    pub fn links(&self) -> impl Iterator<Item = Result<LinkView<'a>, DecodeError>> + Clone + use<'a> {
        self.links.parts().views(span::LINKS, LinkView::read)
    }

    /// Links that the sender dropped.
    pub fn dropped_links_count(&self) -> u32 {
        self.dropped_links_count
    }

    /// The status, merged if it is given several times; `None` means the same as a status of code "unset".
    ///
    /// # Errors
    /// It is malformed.
    pub fn status(&self) -> Result<Option<StatusView<'a>>, DecodeError> {
        self.status.parts(&Parts::single(self.body), span::STATUS).map(StatusView::read).transpose()
    }
}
