//! What hangs on a span: events, links, status, as views. Each has had its own fields found; attributes and
//! text are read on demand.

use std::fmt;

use super::attribute::attributes;
use super::fields::{event, link, status};
use super::parts::Parts;
use super::{KeyValueView, SpanId, TraceId};
use crate::wire::{DecodeError, Reader};

/// A `Span.Event`.
#[derive(Clone, Copy, Debug)]
pub struct EventView<'a> {
    parts: Parts<'a>,
    time_unix_nano: u64,
    name: Reader<'a>,
    dropped_attributes_count: u32,
}

/// A `Span.Link`.
#[derive(Clone, Copy, Debug)]
pub struct LinkView<'a> {
    parts: Parts<'a>,
    trace_id: Reader<'a>,
    span_id: Reader<'a>,
    trace_state: Reader<'a>,
    dropped_attributes_count: u32,
    flags: u32,
}

/// A `Status`.
#[derive(Clone, Copy, Debug)]
pub struct StatusView<'a> {
    message: Reader<'a>,
    code: StatusCode,
}

/// A `Status.StatusCode`; unknown codes keep their number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct StatusCode(pub i32);

impl StatusCode {
    /// `STATUS_CODE_UNSET`: nobody judged the span.
    pub const UNSET: Self = Self(0);
    /// `STATUS_CODE_OK`
    pub const OK: Self = Self(1);
    /// `STATUS_CODE_ERROR`
    pub const ERROR: Self = Self(2);
}

impl fmt::Display for StatusCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::UNSET => f.write_str("unset"),
            Self::OK => f.write_str("ok"),
            Self::ERROR => f.write_str("error"),
            Self(code) => write!(f, "{code}"),
        }
    }
}

impl<'a> EventView<'a> {
    #[inline]
    pub(super) fn read(body: Reader<'a>) -> Result<Self, DecodeError> {
        let parts = Parts::single(body);
        let mut view =
            Self { parts, time_unix_nano: 0, name: Reader::default(), dropped_attributes_count: 0 };
        let mut rest = body;
        while let Some(field) = rest.field()? {
            match field.number {
                event::TIME_UNIX_NANO => view.time_unix_nano = field.fixed64()?,
                event::NAME => view.name = field.length_delimited()?,
                event::DROPPED_ATTRIBUTES_COUNT => view.dropped_attributes_count = field.uint32()?,
                _ => {}
            }
        }
        Ok(view)
    }

    /// When it happened, nanoseconds since the Unix epoch; 0 if unknown.
    pub fn time_unix_nano(&self) -> u64 {
        self.time_unix_nano
    }

    /// The name.
    ///
    /// # Errors
    /// It is not UTF-8.
    pub fn name(&self) -> Result<&'a str, DecodeError> {
        self.name.text(event::NAME)
    }

    /// The attributes in order; ends after the first error.
    #[inline]
    pub fn attributes(
        &self,
    ) -> impl Iterator<Item = Result<KeyValueView<'a>, DecodeError>> + Clone + use<'a> {
        attributes(&self.parts, event::ATTRIBUTES)
    }

    /// Attributes that the sender dropped.
    pub fn dropped_attributes_count(&self) -> u32 {
        self.dropped_attributes_count
    }
}

impl<'a> LinkView<'a> {
    #[inline]
    pub(super) fn read(body: Reader<'a>) -> Result<Self, DecodeError> {
        let none = Reader::default();
        let mut view = Self {
            parts: Parts::single(body),
            trace_id: none,
            span_id: none,
            trace_state: none,
            dropped_attributes_count: 0,
            flags: 0,
        };
        let mut rest = body;
        while let Some(field) = rest.field()? {
            match field.number {
                link::TRACE_ID => view.trace_id = field.length_delimited()?,
                link::SPAN_ID => view.span_id = field.length_delimited()?,
                link::TRACE_STATE => view.trace_state = field.length_delimited()?,
                link::DROPPED_ATTRIBUTES_COUNT => view.dropped_attributes_count = field.uint32()?,
                link::FLAGS => view.flags = field.fixed32()?,
                _ => {}
            }
        }
        Ok(view)
    }

    /// Trace of the linked span; `None` if empty.
    ///
    /// # Errors
    /// It is not 16 bytes long.
    pub fn trace_id(&self) -> Result<Option<TraceId>, DecodeError> {
        TraceId::read(self.trace_id, link::TRACE_ID)
    }

    /// The linked span; `None` if empty.
    ///
    /// # Errors
    /// It is not 8 bytes long.
    pub fn span_id(&self) -> Result<Option<SpanId>, DecodeError> {
        SpanId::read(self.span_id, link::SPAN_ID)
    }

    /// W3C `tracestate` of the link; empty if there is none.
    ///
    /// # Errors
    /// It is not UTF-8.
    pub fn trace_state(&self) -> Result<&'a str, DecodeError> {
        self.trace_state.text(link::TRACE_STATE)
    }

    /// The attributes in order; ends after the first error.
    #[inline]
    pub fn attributes(
        &self,
    ) -> impl Iterator<Item = Result<KeyValueView<'a>, DecodeError>> + Clone + use<'a> {
        attributes(&self.parts, link::ATTRIBUTES)
    }

    /// Attributes that the sender dropped.
    pub fn dropped_attributes_count(&self) -> u32 {
        self.dropped_attributes_count
    }

    /// W3C trace flags (bits 0 to 7) and whether the linked span is remote (bits 8 and 9).
    pub fn flags(&self) -> u32 {
        self.flags
    }
}

impl<'a> StatusView<'a> {
    pub(super) fn read(parts: Parts<'a>) -> Result<Self, DecodeError> {
        let mut view = Self { message: Reader::default(), code: StatusCode::UNSET };
        let mut fields = parts.fields();
        while let Some(field) = fields.next()? {
            match field.number {
                status::MESSAGE => view.message = field.length_delimited()?,
                status::CODE => view.code = StatusCode(field.uint32()?.cast_signed()),
                _ => {}
            }
        }
        Ok(view)
    }

    /// For people: what went wrong; empty if nobody said.
    ///
    /// # Errors
    /// It is not UTF-8.
    pub fn message(&self) -> Result<&'a str, DecodeError> {
        self.message.text(status::MESSAGE)
    }

    /// The judgement.
    pub fn code(&self) -> StatusCode {
        self.code
    }
}
