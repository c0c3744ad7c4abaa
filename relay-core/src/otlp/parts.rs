//! The parts of a message as views read them: fields in any order, and a singular message field that is given
//! several times, which protobuf merges into one message (encoding guide, "Last One Wins"). Allocates
//! nothing: a merged message is a way to find its parts again.

use crate::wire::{DecodeError, Field, Reader};

/// One message, be it in one part or in several.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts<'a> {
    /// What `path` starts from; the message itself if there is no step.
    body: Reader<'a>,
    /// Field numbers that lead from `body` to the parts, 0 for no step: `[0, 0]` is one part, `[0, f]` every
    /// field `f` of `body`, `[f, g]` every field `g` of every field `f`. Two steps are the most that a chain
    /// of singular fields has: `KeyValue.value`, then its `array_value`.
    path: [u8; 2],
    /// Parts to pass over: those that another variant of a oneof has overwritten.
    skip: u32,
}

impl<'a> Parts<'a> {
    /// A message in one part.
    #[inline]
    pub(super) const fn single(body: Reader<'a>) -> Self {
        Self { body, path: [0, 0], skip: 0 }
    }

    /// The message in field `field` of this one, where that is given several times, without the first `skip`
    /// of them. This message must itself be at most one step away from its body.
    pub(super) const fn child(&self, field: u32, skip: u32) -> Self {
        let [_, last] = self.path;
        // Singular message fields of OTLP have numbers up to 15.
        Self { body: self.body, path: [last, (field & 0xff) as u8], skip }
    }

    /// The message where it is in one part.
    #[inline]
    pub(super) fn as_single(&self) -> Option<Reader<'a>> {
        (self.path == [0, 0]).then_some(self.body)
    }

    /// The message's fields in the order of the wire.
    #[inline]
    pub(super) fn fields(&self) -> Fields<'a> {
        let mut fields = Fields {
            inner: Reader::default(),
            middle: self.body,
            outer: Reader::default(),
            path: self.path,
            skip: self.skip,
        };
        match self.path {
            [0, 0] => fields.inner = self.body,
            [0, _] => {}
            _ => {
                fields.outer = self.body;
                fields.middle = Reader::default();
            }
        }
        fields
    }

    /// Values of the repeated message field `field` as `read` makes them, in order; ends after the first
    /// error.
    #[inline]
    pub(super) fn views<T, R>(&self, field: u32, read: R) -> Views<'a, R>
    where
        R: FnMut(Reader<'a>) -> Result<T, DecodeError>,
    {
        Views { fields: Some(self.fields()), field, read }
    }
}

/// Iterates over the fields of a message in one or several parts.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    /// What is left of the current part.
    inner: Reader<'a>,
    /// What is left to search for parts.
    middle: Reader<'a>,
    /// What is left to search for what is to be searched for parts.
    outer: Reader<'a>,
    path: [u8; 2],
    skip: u32,
}

impl<'a> Fields<'a> {
    /// True when a message in one part has been read to its end.
    #[inline]
    fn is_done(&self) -> bool {
        self.inner.is_empty() && self.path == [0, 0]
    }

    #[inline(always)]
    pub(super) fn next(&mut self) -> Result<Option<Field<'a>>, DecodeError> {
        loop {
            if let Some(field) = self.inner.field()? {
                return Ok(Some(field));
            }
            if self.path == [0, 0] || !self.next_part()? {
                return Ok(None);
            }
        }
    }

    /// The next value of message field `number`.
    #[inline(never)]
    fn find(&mut self, number: u32) -> Result<Option<Reader<'a>>, DecodeError> {
        while let Some(field) = self.next()? {
            if field.number == number {
                return field.length_delimited().map(Some);
            }
        }
        Ok(None)
    }

    #[cold]
    fn next_part(&mut self) -> Result<bool, DecodeError> {
        let [first, second] = self.path;
        loop {
            if let Some(part) = find(&mut self.middle, second.into())? {
                if let Some(skip) = self.skip.checked_sub(1) {
                    self.skip = skip;
                    continue;
                }
                self.inner = part;
                return Ok(true);
            }
            if first == 0 {
                return Ok(false);
            }
            let Some(next) = find(&mut self.outer, first.into())? else { return Ok(false) };
            self.middle = next;
        }
    }
}

fn find<'a>(reader: &mut Reader<'a>, number: u32) -> Result<Option<Reader<'a>>, DecodeError> {
    while let Some(field) = reader.field()? {
        if field.number == number {
            return field.length_delimited().map(Some);
        }
    }
    Ok(None)
}

/// Iterates over the values of one repeated message field; ends after the first error.
#[derive(Clone, Debug)]
pub(super) struct Views<'a, R> {
    /// `None` after an error.
    fields: Option<Fields<'a>>,
    field: u32,
    read: R,
}

impl<'a, T, R> Iterator for Views<'a, R>
where
    R: FnMut(Reader<'a>) -> Result<T, DecodeError>,
{
    type Item = Result<T, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let fields = self.fields.as_mut()?;
        // Senders write the elements one after the other, most of them short.
        let before = fields.inner;
        let found = match fields.inner.short_field() {
            Some((number, body)) if number == self.field => (self.read)(body),
            None if fields.is_done() => return None,
            _ => {
                fields.inner = before;
                match fields.find(self.field) {
                    Ok(Some(body)) => (self.read)(body),
                    Ok(None) => return None,
                    Err(error) => Err(error),
                }
            }
        };
        if found.is_err() {
            self.fields = None;
        }
        Some(found)
    }
}

/// Collects the occurrences of a singular message field while its parent is read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Singular<'a> {
    only: Option<Reader<'a>>,
    repeated: bool,
}

impl<'a> Singular<'a> {
    #[inline]
    pub(super) fn add(&mut self, message: Reader<'a>) {
        self.repeated |= self.only.is_some();
        self.only = Some(message);
    }

    /// The message, if there was any: field `field` of `parent`.
    #[inline]
    pub(super) fn parts(&self, parent: &Parts<'a>, field: u32) -> Option<Parts<'a>> {
        self.only.map(|only| if self.repeated { parent.child(field, 0) } else { Parts::single(only) })
    }
}
