//! Resource and instrumentation scope as views: what a run of spans has in common. `Resource.entity_refs`,
//! whose status is Development, is not read (and is forwarded like every other field).

use super::KeyValueView;
use super::attribute::attributes;
use super::fields::{resource, scope};
use super::parts::Parts;
use crate::wire::{DecodeError, Reader};

/// A `Resource`, whose own fields have been found.
#[derive(Clone, Copy, Debug)]
pub struct ResourceView<'a> {
    parts: Parts<'a>,
    dropped_attributes_count: u32,
}

/// An `InstrumentationScope`, whose own fields have been found.
#[derive(Clone, Copy, Debug)]
pub struct ScopeView<'a> {
    parts: Parts<'a>,
    name: Reader<'a>,
    version: Reader<'a>,
    dropped_attributes_count: u32,
}

impl<'a> ResourceView<'a> {
    pub(super) fn read(parts: Parts<'a>) -> Result<Self, DecodeError> {
        let mut view = Self { parts, dropped_attributes_count: 0 };
        let mut fields = parts.fields();
        while let Some(field) = fields.next()? {
            if field.number == resource::DROPPED_ATTRIBUTES_COUNT {
                view.dropped_attributes_count = field.uint32()?;
            }
        }
        Ok(view)
    }

    /// The attributes in order; ends after the first error.
    pub fn attributes(
        &self,
    ) -> impl Iterator<Item = Result<KeyValueView<'a>, DecodeError>> + Clone + use<'a> {
        attributes(&self.parts, resource::ATTRIBUTES)
    }

    /// Attributes that the sender dropped.
    pub fn dropped_attributes_count(&self) -> u32 {
        self.dropped_attributes_count
    }
}

impl<'a> ScopeView<'a> {
    pub(super) fn read(parts: Parts<'a>) -> Result<Self, DecodeError> {
        let none = Reader::default();
        let mut view = Self { parts, name: none, version: none, dropped_attributes_count: 0 };
        let mut fields = parts.fields();
        while let Some(field) = fields.next()? {
            match field.number {
                scope::NAME => view.name = field.length_delimited()?,
                scope::VERSION => view.version = field.length_delimited()?,
                scope::DROPPED_ATTRIBUTES_COUNT => view.dropped_attributes_count = field.uint32()?,
                _ => {}
            }
        }
        Ok(view)
    }

    /// Name of the instrumentation; empty if unknown.
    ///
    /// # Errors
    /// It is not UTF-8.
    pub fn name(&self) -> Result<&'a str, DecodeError> {
        self.name.text(scope::NAME)
    }

    /// Version of the instrumentation; empty if unknown.
    ///
    /// # Errors
    /// It is not UTF-8.
    pub fn version(&self) -> Result<&'a str, DecodeError> {
        self.version.text(scope::VERSION)
    }

    /// The attributes in order; ends after the first error.
    pub fn attributes(
        &self,
    ) -> impl Iterator<Item = Result<KeyValueView<'a>, DecodeError>> + Clone + use<'a> {
        attributes(&self.parts, scope::ATTRIBUTES)
    }

    /// Attributes that the sender dropped.
    pub fn dropped_attributes_count(&self) -> u32 {
        self.dropped_attributes_count
    }
}
