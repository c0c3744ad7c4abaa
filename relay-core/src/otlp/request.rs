//! The outer levels of a request as views: request, ResourceSpans, ScopeSpans. Reads no span.

use super::fields::{request, resource_spans, scope_spans};
use super::parts::{Parts, Singular};
use super::{ResourceView, ScopeView, SpanView};
use crate::wire::{DecodeError, Reader};

/// An `ExportTraceServiceRequest`.
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'a> {
    parts: Parts<'a>,
}

/// A `ResourceSpans`, whose own fields have been found.
#[derive(Clone, Copy, Debug)]
pub struct ResourceSpansView<'a> {
    parts: Parts<'a>,
    resource: Option<Parts<'a>>,
    schema_url: Reader<'a>,
}

/// A `ScopeSpans`, whose own fields have been found.
#[derive(Clone, Copy, Debug)]
pub struct ScopeSpansView<'a> {
    parts: Parts<'a>,
    scope: Option<Parts<'a>>,
    schema_url: Reader<'a>,
}

impl<'a> RequestView<'a> {
    /// Lays a view over the bytes of a message; reads none of them yet. The bytes need not be framed:
    /// what is wrong with them is found where it is read.
    #[inline]
    pub const fn new(message: &'a [u8]) -> Self {
        Self { parts: Parts::single(Reader::new(message)) }
    }

    /// The `ResourceSpans` in order; ends after the first error.
    #[inline]
    pub fn resource_spans(
        &self,
    ) -> impl Iterator<Item = Result<ResourceSpansView<'a>, DecodeError>> + Clone + use<'a> {
        self.parts.views(request::RESOURCE_SPANS, ResourceSpansView::read)
    }
}

impl<'a> ResourceSpansView<'a> {
    /// Over the bytes of a message alone.
    pub(crate) fn over(message: &'a [u8]) -> Result<Self, DecodeError> {
        Self::read(Reader::new(message))
    }

    fn read(body: Reader<'a>) -> Result<Self, DecodeError> {
        let parts = Parts::single(body);
        let mut resource = Singular::default();
        let mut schema_url = Reader::default();
        let mut rest = body;
        while let Some(field) = rest.field()? {
            match field.number {
                resource_spans::RESOURCE => resource.add(field.length_delimited()?),
                resource_spans::SCHEMA_URL => schema_url = field.length_delimited()?,
                _ => {}
            }
        }
        Ok(Self { parts, resource: resource.parts(&parts, resource_spans::RESOURCE), schema_url })
    }

    /// The resource, merged if it is given several times.
    ///
    /// # Errors
    /// It is malformed.
    pub fn resource(&self) -> Result<Option<ResourceView<'a>>, DecodeError> {
        self.resource.map(ResourceView::read).transpose()
    }

    /// Schema URL of the resource; empty if there is none.
    ///
    /// # Errors
    /// It is not UTF-8.
    pub fn schema_url(&self) -> Result<&'a str, DecodeError> {
        self.schema_url.text(resource_spans::SCHEMA_URL)
    }

    /// The `ScopeSpans` in order; ends after the first error.
    #[inline]
    pub fn scope_spans(
        &self,
    ) -> impl Iterator<Item = Result<ScopeSpansView<'a>, DecodeError>> + Clone + use<'a> {
        self.parts.views(resource_spans::SCOPE_SPANS, ScopeSpansView::read)
    }
}

impl<'a> ScopeSpansView<'a> {
    /// Over the bytes of a message alone.
    pub(crate) fn over(message: &'a [u8]) -> Result<Self, DecodeError> {
        Self::read(Reader::new(message))
    }

    fn read(body: Reader<'a>) -> Result<Self, DecodeError> {
        let parts = Parts::single(body);
        let mut scope = Singular::default();
        let mut schema_url = Reader::default();
        let mut rest = body;
        while let Some(field) = rest.field()? {
            match field.number {
                scope_spans::SCOPE => scope.add(field.length_delimited()?),
                scope_spans::SCHEMA_URL => schema_url = field.length_delimited()?,
                _ => {}
            }
        }
        Ok(Self { parts, scope: scope.parts(&parts, scope_spans::SCOPE), schema_url })
    }

    /// The instrumentation scope, merged if it is given several times.
    ///
    /// # Errors
    /// It is malformed.
    pub fn scope(&self) -> Result<Option<ScopeView<'a>>, DecodeError> {
        self.scope.map(ScopeView::read).transpose()
    }

    /// Schema URL of the scope's spans; empty if there is none.
    ///
    /// # Errors
    /// It is not UTF-8.
    pub fn schema_url(&self) -> Result<&'a str, DecodeError> {
        self.schema_url.text(scope_spans::SCHEMA_URL)
    }

    /// The spans in order, not yet looked into; ends after the first error.
    #[inline]
    pub fn spans(&self) -> impl Iterator<Item = Result<SpanView<'a>, DecodeError>> + Clone + use<'a> {
        self.parts.views(scope_spans::SPANS, |body| Ok(SpanView::new(body)))
    }
}
