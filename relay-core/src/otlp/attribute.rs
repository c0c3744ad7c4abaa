//! Attributes and their values. Values nest without bound on the wire; nothing here recurses on them except
//! printing, which stops where reading does.

use std::fmt;

use super::fields::{any_value, array_value, key_value, key_value_list};
use super::parts::{Parts, Singular};
use crate::limits::NESTING_DEPTH_MAX;
use crate::wire::{DecodeError, DecodeErrorKind, Field, Reader};

/// A `KeyValue`: an attribute, or an entry of a value that is a list of them. Not yet looked into.
#[derive(Clone, Copy, Debug)]
pub struct KeyValueView<'a> {
    body: Reader<'a>,
    /// Values around it.
    depth: u32,
}

/// An `AnyValue`, read one level deep.
// A word for the tag: with a byte, bool's payload would lie beside it and copies of a value be made in
// pieces.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
#[non_exhaustive]
pub enum AnyValueView<'a> {
    /// No value, which OTLP allows ("empty"), or an index into a string table, which only profiles have.
    Unset,
    /// `string_value`
    String(&'a str),
    /// `bool_value`
    Bool(bool),
    /// `int_value`
    Int(i64),
    /// `double_value`
    Double(f64),
    /// `array_value`
    Array(ArrayView<'a>),
    /// `kvlist_value`
    KeyValues(KeyValuesView<'a>),
    /// `bytes_value`
    Bytes(&'a [u8]),
}

/// An `ArrayValue`.
#[derive(Clone, Copy, Debug)]
pub struct ArrayView<'a> {
    parts: Parts<'a>,
    depth: u32,
}

/// A `KeyValueList`.
#[derive(Clone, Copy, Debug)]
pub struct KeyValuesView<'a> {
    parts: Parts<'a>,
    depth: u32,
}

/// The attributes in field `field` of a message.
#[inline]
pub(super) fn attributes<'a>(
    parts: &Parts<'a>,
    field: u32,
) -> impl Iterator<Item = Result<KeyValueView<'a>, DecodeError>> + Clone + use<'a> {
    parts.views(field, |body| Ok(KeyValueView { body, depth: 0 }))
}

impl<'a> KeyValueView<'a> {
    /// The key; empty if there is none.
    ///
    /// # Errors
    /// It is not UTF-8, or the attribute's own fields are malformed.
    #[inline]
    pub fn key(&self) -> Result<&'a str, DecodeError> {
        let key = match self.usual() {
            Some((key, _)) => key,
            None => self.find_key()?,
        };
        key.text(key_value::KEY)
    }

    /// The key as it came: to compare it with a known one its UTF-8 need not be checked, which is a good part
    /// of the work.
    ///
    /// # Errors
    /// The attribute's own fields are malformed.
    #[inline]
    pub fn key_bytes(&self) -> Result<&'a [u8], DecodeError> {
        match self.usual() {
            Some((key, _)) => Ok(key.bytes()),
            None => self.find_key().map(|key| key.bytes()),
        }
    }

    /// The value; [`AnyValueView::Unset`] if there is none.
    ///
    /// # Errors
    /// It is malformed, or lies deeper than [`NESTING_DEPTH_MAX`] values, or the attribute's own
    /// fields are malformed.
    #[inline]
    pub fn value(&self) -> Result<AnyValueView<'a>, DecodeError> {
        match self.usual() {
            Some((_, value)) => AnyValueView::read(value, self.depth + 1),
            None => self.find_value(),
        }
    }

    /// Key and value together, for whoever reads both: one pass instead of two.
    ///
    /// # Errors
    /// Those of [`key`](Self::key) and [`value`](Self::value).
    #[inline]
    pub fn pair(&self) -> Result<(&'a str, AnyValueView<'a>), DecodeError> {
        match self.usual() {
            Some((key, value)) => Ok((key.text(key_value::KEY)?, AnyValueView::read(value, self.depth + 1)?)),
            None => Ok((self.find_key()?.text(key_value::KEY)?, self.find_value()?)),
        }
    }

    /// Key and value, if they are what every sender writes: a short key, then a short value, and nothing
    /// else.
    #[inline(always)]
    fn usual(&self) -> Option<(Reader<'a>, Reader<'a>)> {
        let mut rest = self.body;
        match (rest.short_field(), rest.short_field()) {
            (Some((key_value::KEY, key)), Some((key_value::VALUE, value))) if rest.is_empty() => {
                Some((key, value))
            }
            _ => None,
        }
    }

    #[inline(never)]
    fn find_key(&self) -> Result<Reader<'a>, DecodeError> {
        let mut key = Reader::default();
        let mut rest = self.body;
        while let Some(field) = rest.field()? {
            if field.number == key_value::KEY {
                key = field.length_delimited()?;
            }
        }
        Ok(key)
    }

    #[inline(never)]
    fn find_value(&self) -> Result<AnyValueView<'a>, DecodeError> {
        let mut value = Singular::default();
        let mut rest = self.body;
        while let Some(field) = rest.field()? {
            if field.number == key_value::VALUE {
                value.add(field.length_delimited()?);
            }
        }
        match value.parts(&Parts::single(self.body), key_value::VALUE) {
            Some(parts) => match parts.as_single() {
                Some(body) => AnyValueView::read(body, self.depth + 1),
                None => AnyValueView::read_any(&parts, self.depth + 1),
            },
            None => Ok(AnyValueView::Unset),
        }
    }
}

impl<'a> AnyValueView<'a> {
    #[inline]
    fn read(body: Reader<'a>, depth: u32) -> Result<Self, DecodeError> {
        // What every sender writes: one variant and nothing else.
        let mut rest = body;
        if let Some((any_value::STRING_VALUE, text)) = rest.short_field()
            && rest.is_empty()
            && depth <= NESTING_DEPTH_MAX
        {
            return text.text(any_value::STRING_VALUE).map(Self::String);
        }
        Self::read_one(body, depth)
    }

    fn read_one(body: Reader<'a>, depth: u32) -> Result<Self, DecodeError> {
        let mut rest = body;
        match rest.field()? {
            Some(field) if rest.is_empty() => Self::from_field(&field, depth, Parts::single),
            _ => Self::read_any(&Parts::single(body), depth),
        }
    }

    /// A oneof given several times: the last one wins, but a message given twice in a row is merged.
    #[inline(never)]
    fn read_any(parts: &Parts<'a>, depth: u32) -> Result<Self, DecodeError> {
        let mut fields = parts.fields();
        let mut last: Option<Field<'a>> = None;
        // How many of the last variant came in a row, and how many of each message variant there were in all.
        let mut row = 0;
        let (mut arrays, mut lists) = (0, 0);
        while let Some(field) = fields.next()? {
            match field.number {
                any_value::BOOL_VALUE | any_value::INT_VALUE | any_value::STRING_VALUE_STRINDEX => {
                    field.varint()?;
                }
                any_value::DOUBLE_VALUE => {
                    field.fixed64()?;
                }
                any_value::STRING_VALUE..=any_value::BYTES_VALUE => {
                    field.length_delimited()?;
                }
                _ => continue,
            }
            row = if last.is_some_and(|last| last.number == field.number) { row + 1 } else { 1 };
            arrays += u32::from(field.number == any_value::ARRAY_VALUE);
            lists += u32::from(field.number == any_value::KVLIST_VALUE);
            last = Some(field);
        }
        let Some(last) = last else { return Ok(Self::Unset) };
        let total = if last.number == any_value::ARRAY_VALUE { arrays } else { lists };
        Self::from_field(&last, depth, |message| match row {
            1 => Parts::single(message),
            _ => parts.child(last.number, total - row),
        })
    }

    /// The value that `field` is; `parts` finds the parts of a message variant, the last of which it is
    /// given.
    #[inline(always)]
    fn from_field(
        field: &Field<'a>,
        depth: u32,
        parts: impl FnOnce(Reader<'a>) -> Parts<'a>,
    ) -> Result<Self, DecodeError> {
        if depth > NESTING_DEPTH_MAX {
            return Err(too_deep(field));
        }
        Ok(match field.number {
            any_value::STRING_VALUE => Self::String(field.length_delimited()?.text(field.number)?),
            any_value::BOOL_VALUE => Self::Bool(field.varint()? != 0),
            any_value::INT_VALUE => Self::Int(field.varint()?.cast_signed()),
            any_value::DOUBLE_VALUE => Self::Double(f64::from_bits(field.fixed64()?)),
            any_value::ARRAY_VALUE => {
                Self::Array(ArrayView { parts: parts(field.length_delimited()?), depth })
            }
            any_value::KVLIST_VALUE => {
                Self::KeyValues(KeyValuesView { parts: parts(field.length_delimited()?), depth })
            }
            any_value::BYTES_VALUE => Self::Bytes(field.length_delimited()?.bytes()),
            // "process the data as if this value were absent" (common.proto, outside profiles)
            any_value::STRING_VALUE_STRINDEX => field.varint().map(|_| Self::Unset)?,
            _ => Self::Unset,
        })
    }
}

#[cold]
fn too_deep(field: &Field<'_>) -> DecodeError {
    DecodeError::new(field.offset, field.number, DecodeErrorKind::TooDeep { max: NESTING_DEPTH_MAX.into() })
}

impl<'a> ArrayView<'a> {
    /// The values in order; ends after the first error.
    pub fn values(&self) -> impl Iterator<Item = Result<AnyValueView<'a>, DecodeError>> + Clone + use<'a> {
        let depth = self.depth + 1;
        self.parts.views(array_value::VALUES, move |body| AnyValueView::read(body, depth))
    }
}

impl<'a> KeyValuesView<'a> {
    /// The entries in order; ends after the first error.
    pub fn entries(&self) -> impl Iterator<Item = Result<KeyValueView<'a>, DecodeError>> + Clone + use<'a> {
        let depth = self.depth;
        self.parts.views(key_value_list::VALUES, move |body| Ok(KeyValueView { body, depth }))
    }
}

impl fmt::Display for AnyValueView<'_> {
    /// Prints for people: text without quotes and with its control characters escaped (it comes from a
    /// stranger and goes to a terminal), `[a, b]`, `{key=value}`, bytes in hexadecimal; what is malformed
    /// prints its error.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unset => Ok(()),
            Self::String(text) => write_escaped(f, text),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Double(value) => write!(f, "{value}"),
            Self::Bytes(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
            Self::Array(array) => {
                f.write_str("[")?;
                for (index, value) in array.values().enumerate() {
                    write_separator(f, index)?;
                    write_or_error(f, value)?;
                }
                f.write_str("]")
            }
            Self::KeyValues(list) => {
                f.write_str("{")?;
                for (index, entry) in list.entries().enumerate() {
                    write_separator(f, index)?;
                    write_or_error(f, entry)?;
                }
                f.write_str("}")
            }
        }
    }
}

impl fmt::Display for KeyValueView<'_> {
    /// Prints `key=value`, as [`AnyValueView`] prints.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key() {
            Ok(key) => write_escaped(f, key)?,
            Err(error) => write!(f, "<{error}>")?,
        }
        f.write_str("=")?;
        write_or_error(f, self.value())
    }
}

fn write_separator(f: &mut fmt::Formatter<'_>, index: usize) -> fmt::Result {
    if index == 0 { Ok(()) } else { f.write_str(", ") }
}

fn write_or_error<T: fmt::Display>(f: &mut fmt::Formatter<'_>, value: Result<T, DecodeError>) -> fmt::Result {
    match value {
        Ok(value) => value.fmt(f),
        Err(error) => write!(f, "<{error}>"),
    }
}

fn write_escaped(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let mut from = 0;
    for (at, control) in text.match_indices(char::is_control) {
        f.write_str(text.get(from..at).unwrap_or_default())?;
        write!(f, "{}", control.escape_default())?;
        from = at + control.len();
    }
    f.write_str(text.get(from..).unwrap_or_default())
}
