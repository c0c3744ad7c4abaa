//! Reading protobuf from one contiguous slice. Every offset in its errors counts from the start of the
//! outermost message.

use std::fmt;

use super::varint::read_varint;
use super::{DecodeError, DecodeErrorKind, Input, Tag, WireType, skip, tag};

/// A position in contiguous bytes; copying it costs three words, and a copy reads on independently.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    /// What is left.
    bytes: &'a [u8],
    /// Bytes from the start of the outermost message to the end of `bytes`: the one offset that reading does
    /// not move.
    end: usize,
}

/// One field of a message as the wire has it.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    /// Field number, 1 to 2^29-1.
    pub number: u32,
    /// Bytes from the start of the outermost message to the value (after the tag, before a length).
    pub offset: usize,
    /// The value.
    pub value: FieldValue<'a>,
}

/// A value as the wire has it, before the schema gives it a meaning.
#[derive(Clone, Copy, Debug)]
pub enum FieldValue<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 2: the bytes after the length.
    LengthDelimited(Reader<'a>),
    /// Wire types 3 and 4: a group, skipped whole.
    Group,
    /// Wire type 5.
    Fixed32(u32),
}

impl<'a> Field<'a> {
    /// The value of a field of type int32, int64, uint32, uint64, bool or enum.
    ///
    /// # Errors
    /// [`DecodeErrorKind::WireTypeMismatch`].
    #[inline]
    pub fn varint(&self) -> Result<u64, DecodeError> {
        match self.value {
            FieldValue::Varint(value) => Ok(value),
            _ => Err(self.mismatch(WireType::Varint)),
        }
    }

    /// The value of a field of type uint32, or the bits of an int32 or enum: the low 32 bits of the varint,
    /// as every protobuf decoder takes them.
    ///
    /// # Errors
    /// [`DecodeErrorKind::WireTypeMismatch`].
    #[inline]
    pub fn uint32(&self) -> Result<u32, DecodeError> {
        self.varint().map(|value| (value & 0xffff_ffff) as u32)
    }

    /// The value of a field of type fixed64, or the bits of a double.
    ///
    /// # Errors
    /// [`DecodeErrorKind::WireTypeMismatch`].
    #[inline]
    pub fn fixed64(&self) -> Result<u64, DecodeError> {
        match self.value {
            FieldValue::Fixed64(value) => Ok(value),
            _ => Err(self.mismatch(WireType::Fixed64)),
        }
    }

    /// The value of a field of type fixed32.
    ///
    /// # Errors
    /// [`DecodeErrorKind::WireTypeMismatch`].
    #[inline]
    pub fn fixed32(&self) -> Result<u32, DecodeError> {
        match self.value {
            FieldValue::Fixed32(value) => Ok(value),
            _ => Err(self.mismatch(WireType::Fixed32)),
        }
    }

    /// The value of a field of type string, bytes or message.
    ///
    /// # Errors
    /// [`DecodeErrorKind::WireTypeMismatch`].
    #[inline]
    pub fn length_delimited(&self) -> Result<Reader<'a>, DecodeError> {
        match self.value {
            FieldValue::LengthDelimited(value) => Ok(value),
            _ => Err(self.mismatch(WireType::LengthDelimited)),
        }
    }

    #[cold]
    fn mismatch(&self, expected: WireType) -> DecodeError {
        let actual = match self.value {
            FieldValue::Varint(_) => WireType::Varint,
            FieldValue::Fixed64(_) => WireType::Fixed64,
            FieldValue::LengthDelimited(_) => WireType::LengthDelimited,
            FieldValue::Group => WireType::StartGroup,
            FieldValue::Fixed32(_) => WireType::Fixed32,
        };
        DecodeError::new(self.offset, self.number, DecodeErrorKind::WireTypeMismatch { expected, actual })
    }
}

impl Default for Reader<'_> {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl<'a> Reader<'a> {
    /// Reads `bytes` as an outermost message.
    #[inline]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, end: bytes.len() }
    }

    /// What is left to read.
    #[inline]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// True when nothing is left.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What lies between this position and a later one of the same message, which has `remaining` bytes left.
    #[inline]
    pub fn until(&self, remaining: usize) -> Self {
        let len = self.bytes.len().saturating_sub(remaining);
        match self.bytes.split_at_checked(len) {
            Some((bytes, rest)) => Self { bytes, end: self.end - rest.len() },
            None => Self::default(),
        }
    }

    /// The rest as text, as a field of type string has it.
    ///
    /// # Errors
    /// [`DecodeErrorKind::InvalidUtf8`] in field `field`.
    #[inline]
    pub fn text(&self, field: u32) -> Result<&'a str, DecodeError> {
        match std::str::from_utf8(self.bytes) {
            Ok(text) => Ok(text),
            Err(_) => Err(self.error(field, DecodeErrorKind::InvalidUtf8)),
        }
    }

    /// Takes the next field if it is what senders write most: length-delimited, with a number up to 15 and a
    /// length of one byte. Otherwise reads nothing; [`field`](Self::field) then finds out what there is.
    #[inline(always)]
    pub fn short_field(&mut self) -> Option<(u32, Self)> {
        let [key, len, rest @ ..] = self.bytes else { return None };
        if *key & 0x87 != WireType::LengthDelimited as u8 || *key < 8 || *len >= 0x80 {
            return None;
        }
        let (bytes, rest) = rest.split_at_checked(usize::from(*len))?;
        self.bytes = rest;
        Some((u32::from(*key >> 3), Self { bytes, end: self.end - rest.len() }))
    }

    /// Reads the next field, tag and value; `None` at the end of the message. Groups are skipped and reported
    /// as [`FieldValue::Group`].
    ///
    /// # Errors
    /// Those of [`tag()`] and [`skip()`].
    #[inline(always)]
    pub fn field(&mut self) -> Result<Option<Field<'a>>, DecodeError> {
        let Some(tag) = tag(self)? else { return Ok(None) };
        let number = tag.field;
        let offset = self.offset();
        let value = match tag.wire_type {
            WireType::LengthDelimited => {
                let len = self.varint(number)?;
                FieldValue::LengthDelimited(self.take(len, number)?)
            }
            WireType::Varint => FieldValue::Varint(self.varint(number)?),
            WireType::Fixed64 => FieldValue::Fixed64(u64::from_le_bytes(self.fixed(number)?)),
            WireType::Fixed32 => FieldValue::Fixed32(u32::from_le_bytes(self.fixed(number)?)),
            WireType::StartGroup | WireType::EndGroup => self.group(tag)?,
        };
        Ok(Some(Field { number, offset, value }))
    }

    #[cold]
    fn group(&mut self, tag: Tag) -> Result<FieldValue<'a>, DecodeError> {
        skip(self, tag)?;
        Ok(FieldValue::Group)
    }

    #[inline]
    fn fixed<const LEN: usize>(&mut self, field: u32) -> Result<[u8; LEN], DecodeError> {
        let Some((value, rest)) = self.bytes.split_first_chunk::<LEN>() else {
            return Err(self.error(field, DecodeErrorKind::Truncated));
        };
        self.bytes = rest;
        Ok(*value)
    }

    /// A varint of more than two bytes, or a wrong one.
    #[cold]
    #[inline(never)]
    fn long_varint(&mut self, field: u32) -> Result<u64, DecodeError> {
        match read_varint(self.bytes) {
            Ok((value, len)) => {
                self.bytes = self.bytes.get(len..).unwrap_or_default();
                Ok(value)
            }
            Err(kind) => Err(self.error(field, kind)),
        }
    }

    /// What is wrong at this position.
    #[cold]
    #[inline(never)]
    fn error(&self, field: u32, kind: DecodeErrorKind) -> DecodeError {
        DecodeError::new(self.offset(), field, kind)
    }
}

impl Input for Reader<'_> {
    #[inline]
    fn offset(&self) -> usize {
        self.end - self.bytes.len()
    }

    #[inline]
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    #[inline(always)]
    fn varint(&mut self, field: u32) -> Result<u64, DecodeError> {
        match self.bytes {
            [first, rest @ ..] if *first < 0x80 => {
                self.bytes = rest;
                Ok(u64::from(*first))
            }
            [first, second, rest @ ..] if *second < 0x80 => {
                self.bytes = rest;
                Ok(u64::from(*first & 0x7f) | u64::from(*second) << 7)
            }
            _ => self.long_varint(field),
        }
    }

    #[inline(always)]
    fn take(&mut self, len: u64, field: u32) -> Result<Self, DecodeError> {
        let split = usize::try_from(len).ok().and_then(|len| self.bytes.split_at_checked(len));
        let Some((bytes, rest)) = split else {
            return Err(self.error(field, DecodeErrorKind::LengthPastEnd { len, left: self.bytes.len() }));
        };
        self.bytes = rest;
        Ok(Self { bytes, end: self.end - rest.len() })
    }

    #[inline(always)]
    fn advance(&mut self, len: u64, field: u32) -> Result<(), DecodeError> {
        self.take(len, field).map(|_| ())
    }
}

impl fmt::Debug for Reader<'_> {
    /// Prints position and length: payload bytes belong to the sender and not into logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("offset", &self.offset()).field("len", &self.bytes.len()).finish()
    }
}
