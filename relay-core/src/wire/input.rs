//! Tags, messages and skipping, written once for contiguous and segmented bytes. Never looks into a value.

use std::fmt;

use super::{DecodeError, DecodeErrorKind};
use crate::limits::NESTING_DEPTH_MAX;

const FIELD_NUMBER_MAX: u64 = (1 << 29) - 1;

/// Bytes that are read from front to back: the seam between [`Reader`](super::Reader) and
/// [`SegmentReader`](super::SegmentReader). Generic code over it is compiled once for each, so that the
/// contiguous case pays nothing for the segmented one.
///
/// `field` in each method is the number of the field being read; it only goes into errors.
pub trait Input: Clone {
    /// Bytes from the start of the outermost message to the next byte.
    fn offset(&self) -> usize;

    /// Bytes left.
    fn remaining(&self) -> usize;

    /// Reads a varint.
    ///
    /// # Errors
    /// [`DecodeErrorKind::Truncated`], [`DecodeErrorKind::VarintTooLong`].
    fn varint(&mut self, field: u32) -> Result<u64, DecodeError>;

    /// Takes the next `len` bytes as an input of their own.
    ///
    /// # Errors
    /// [`DecodeErrorKind::LengthPastEnd`].
    fn take(&mut self, len: u64, field: u32) -> Result<Self, DecodeError>;

    /// Passes over the next `len` bytes.
    ///
    /// # Errors
    /// [`DecodeErrorKind::LengthPastEnd`].
    fn advance(&mut self, len: u64, field: u32) -> Result<(), DecodeError>;
}

/// How a field's value is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum WireType {
    /// Type 0: int32 to uint64, bool, enum.
    Varint = 0,
    /// Type 1: eight bytes, little-endian.
    Fixed64 = 1,
    /// Type 2: a length and as many bytes: string, bytes, message.
    LengthDelimited = 2,
    /// Type 3: begins a group, which no OTLP message has; unknown ones are skipped.
    StartGroup = 3,
    /// Type 4: ends a group.
    EndGroup = 4,
    /// Type 5: four bytes, little-endian.
    Fixed32 = 5,
}

impl WireType {
    #[inline]
    const fn from_key(key: u64) -> Result<Self, DecodeErrorKind> {
        match key & 7 {
            0 => Ok(Self::Varint),
            1 => Ok(Self::Fixed64),
            2 => Ok(Self::LengthDelimited),
            3 => Ok(Self::StartGroup),
            4 => Ok(Self::EndGroup),
            5 => Ok(Self::Fixed32),
            6 => Err(DecodeErrorKind::UnknownWireType { wire_type: 6 }),
            _ => Err(DecodeErrorKind::UnknownWireType { wire_type: 7 }),
        }
    }
}

impl fmt::Display for WireType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Varint => "varint",
            Self::Fixed64 => "fixed64",
            Self::LengthDelimited => "length-delimited",
            Self::StartGroup => "start of group",
            Self::EndGroup => "end of group",
            Self::Fixed32 => "fixed32",
        })
    }
}

/// What stands before each value: which field it is, and how it is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Field number, 1 to 2^29-1.
    pub field: u32,
    /// Encoding of the value that follows.
    pub wire_type: WireType,
}

/// Reads the next tag; `None` at the end of the message.
///
/// # Errors [`DecodeErrorKind::FieldNumberOutOfRange`], [`DecodeErrorKind::UnknownWireType`], and those of
/// [`Input::varint`].
#[inline(always)]
pub fn tag<I: Input>(input: &mut I) -> Result<Option<Tag>, DecodeError> {
    if input.remaining() == 0 {
        return Ok(None);
    }
    let offset = input.offset();
    let key = input.varint(0)?;
    let number = key >> 3;
    let field = match u32::try_from(number) {
        Ok(field) if field != 0 && number <= FIELD_NUMBER_MAX => field,
        _ => return Err(DecodeError::new(offset, 0, DecodeErrorKind::FieldNumberOutOfRange { number })),
    };
    match WireType::from_key(key) {
        Ok(wire_type) => Ok(Some(Tag { field, wire_type })),
        Err(kind) => Err(DecodeError::new(offset, field, kind)),
    }
}

/// Holds a known field to the type that its schema gives.
///
/// # Errors
/// [`DecodeErrorKind::WireTypeMismatch`] at `offset`, bytes from the start of the outermost message.
#[inline]
pub fn expect_wire_type(tag: Tag, expected: WireType, offset: usize) -> Result<(), DecodeError> {
    if tag.wire_type == expected {
        return Ok(());
    }
    let kind = DecodeErrorKind::WireTypeMismatch { expected, actual: tag.wire_type };
    Err(DecodeError::new(offset, tag.field, kind))
}

/// Reads the value after `tag` as a length-delimited message and returns its bytes as an input of their own.
///
/// # Errors
/// [`DecodeErrorKind::WireTypeMismatch`], and those of [`Input::varint`] and [`Input::take`].
#[inline]
pub fn message<I: Input>(input: &mut I, tag: Tag) -> Result<I, DecodeError> {
    expect_wire_type(tag, WireType::LengthDelimited, input.offset())?;
    let len = input.varint(tag.field)?;
    input.take(len, tag.field)
}

/// Passes over the value after `tag`, whatever it is.
///
/// # Errors [`DecodeErrorKind::GroupUnbalanced`], [`DecodeErrorKind::TooDeep`],
/// [`DecodeErrorKind::Truncated`], and those of [`tag()`] and [`Input`].
#[inline]
pub fn skip<I: Input>(input: &mut I, tag: Tag) -> Result<(), DecodeError> {
    match tag.wire_type {
        WireType::LengthDelimited => {
            let len = input.varint(tag.field)?;
            input.advance(len, tag.field)
        }
        WireType::Varint => input.varint(tag.field).map(|_| ()),
        WireType::Fixed64 => skip_fixed(input, 8, tag.field),
        WireType::Fixed32 => skip_fixed(input, 4, tag.field),
        WireType::StartGroup => skip_group(input, tag.field),
        WireType::EndGroup => {
            Err(DecodeError::new(input.offset(), tag.field, DecodeErrorKind::GroupUnbalanced))
        }
    }
}

#[inline]
fn skip_fixed<I: Input>(input: &mut I, len: usize, field: u32) -> Result<(), DecodeError> {
    if input.remaining() < len {
        return Err(DecodeError::new(input.offset(), field, DecodeErrorKind::Truncated));
    }
    input.advance(len as u64, field)
}

/// Skips a group by a stack of its open field numbers, which lives in one array: no recursion on untrusted
/// depth.
#[cold]
fn skip_group<I: Input>(input: &mut I, field: u32) -> Result<(), DecodeError> {
    let mut open = [0u32; NESTING_DEPTH_MAX as usize];
    let mut depth = 0;
    let mut entered = field;
    loop {
        let Some(slot) = open.get_mut(depth) else {
            let kind = DecodeErrorKind::TooDeep { max: NESTING_DEPTH_MAX.into() };
            return Err(DecodeError::new(input.offset(), entered, kind));
        };
        *slot = entered;
        depth += 1;
        loop {
            let offset = input.offset();
            let innermost = depth.checked_sub(1).and_then(|index| open.get(index)).copied();
            let (Some(innermost), Some(next)) = (innermost, tag(input)?) else {
                return Err(DecodeError::new(offset, field, DecodeErrorKind::Truncated));
            };
            match next.wire_type {
                WireType::StartGroup => {
                    entered = next.field;
                    break;
                }
                WireType::EndGroup if next.field != innermost => {
                    return Err(DecodeError::new(offset, next.field, DecodeErrorKind::GroupUnbalanced));
                }
                WireType::EndGroup => {
                    depth -= 1;
                    if depth == 0 {
                        return Ok(());
                    }
                }
                _ => skip(input, next)?,
            }
        }
    }
}
