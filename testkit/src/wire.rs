//! A minimal protobuf walker: varints, fields, and the way to raw spans, for tests that compare bytes and not values.
//!
//! Must never be used by the relay nor use it: it is the second opinion. It knows no OTLP beyond the three field numbers on the
//! way from a request to its spans (opentelemetry/proto/trace/v1/trace.proto).

use bytes::{BufMut, Bytes};

/// Why bytes are not a protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes end inside a tag, a length or a value.
    #[error("message ends inside a field")]
    Truncated,
    /// A varint goes on after its tenth byte or does not fit 64 bits.
    #[error("varint does not fit 64 bits")]
    Varint,
    /// A tag has wire type 3, 4, 6 or 7, or field number 0.
    #[error("tag {0} has an unsupported wire type or field number 0")]
    Tag(u64),
}

/// What a field holds, by wire type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 2, without its length.
    Len(&'a [u8]),
    /// Wire type 5.
    Fixed32(u32),
}

/// One field as it stands on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Field number, at least 1.
    pub number: u32,
    /// What it holds.
    pub payload: Payload<'a>,
    /// Tag, length and payload exactly as found.
    pub raw: &'a [u8],
}

/// Takes a varint off the front of `bytes`.
///
/// # Errors
/// [`WireError::Truncated`] or [`WireError::Varint`]; `bytes` is then left somewhere inside the varint.
pub fn take_varint(bytes: &mut &[u8]) -> Result<u64, WireError> {
    let mut value = 0_u64;
    for shift in (0..70).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(WireError::Truncated)?;
        *bytes = rest;
        if shift == 63 && byte > 1 {
            // The tenth byte has room for one bit: prost and Go refuse more.
            return Err(WireError::Varint);
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(WireError::Varint)
}

fn take<'a>(bytes: &mut &'a [u8], len: u64) -> Result<&'a [u8], WireError> {
    let len = usize::try_from(len).map_err(|_| WireError::Truncated)?;
    let (head, rest) = bytes.split_at_checked(len).ok_or(WireError::Truncated)?;
    *bytes = rest;
    Ok(head)
}

/// Takes one field off the front of `bytes`.
///
/// # Errors
/// Any [`WireError`].
pub fn take_field<'a>(bytes: &mut &'a [u8]) -> Result<Field<'a>, WireError> {
    let start = *bytes;
    let tag = take_varint(bytes)?;
    let payload = match tag & 7 {
        0 => Payload::Varint(take_varint(bytes)?),
        1 => Payload::Fixed64(u64::from_le_bytes(take(bytes, 8)?.try_into().expect("eight bytes"))),
        2 => {
            let len = take_varint(bytes)?;
            Payload::Len(take(bytes, len)?)
        }
        5 => Payload::Fixed32(u32::from_le_bytes(take(bytes, 4)?.try_into().expect("four bytes"))),
        _ => return Err(WireError::Tag(tag)),
    };
    let number = u32::try_from(tag >> 3).map_err(|_| WireError::Tag(tag))?;
    if number == 0 {
        return Err(WireError::Tag(tag));
    }
    Ok(Field { number, payload, raw: &start[..start.len() - bytes.len()] })
}

/// All fields of a message in wire order.
///
/// # Errors
/// Any [`WireError`].
pub fn fields(mut bytes: &[u8]) -> Result<Vec<Field<'_>>, WireError> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        found.push(take_field(&mut bytes)?);
    }
    Ok(found)
}

/// Appends a minimal varint.
pub fn put_varint(out: &mut impl BufMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8((value as u8) | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Appends a length-delimited field: tag, length, bytes.
pub fn put_len_field(out: &mut impl BufMut, number: u32, bytes: &[u8]) {
    put_varint(out, u64::from(number) << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.put_slice(bytes);
}

/// Cuts a file of messages, each preceded by its length as a varint, into the messages (slices of `file`).
///
/// # Errors
/// [`WireError`] when the last message is cut short.
pub fn split_delimited(file: &Bytes) -> Result<Vec<Bytes>, WireError> {
    let mut rest: &[u8] = file;
    let mut messages = Vec::new();
    while !rest.is_empty() {
        let len = take_varint(&mut rest)?;
        messages.push(file.slice_ref(take(&mut rest, len)?));
    }
    Ok(messages)
}

/// A span's bytes with everything it inherits, as found on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RawSpan {
    /// All occurrences of `ResourceSpans.resource` (field 1), concatenated: that is how protobuf merges them.
    pub resource: Bytes,
    /// `ResourceSpans.schema_url` (field 3), the last one.
    pub resource_schema_url: Bytes,
    /// All occurrences of `ScopeSpans.scope` (field 1), concatenated.
    pub scope: Bytes,
    /// `ScopeSpans.schema_url` (field 3), the last one.
    pub scope_schema_url: Bytes,
    /// The span's bytes without tag and length.
    pub span: Bytes,
}

/// Every span of an encoded `ExportTraceServiceRequest` with its raw headers, in wire order. No span is decoded; the bytes are slices of
/// `request`.
///
/// # Errors
/// Any [`WireError`] above the span boundary.
pub fn raw_spans(request: &Bytes) -> Result<Vec<RawSpan>, WireError> {
    let mut found = Vec::new();
    for resource_spans in sub_messages(request, 1)? {
        let (resource, resource_schema_url) = header(request, resource_spans)?;
        for scope_spans in sub_messages(resource_spans, 2)? {
            let (scope, scope_schema_url) = header(request, scope_spans)?;
            for span in sub_messages(scope_spans, 2)? {
                found.push(RawSpan {
                    resource: resource.clone(),
                    resource_schema_url: resource_schema_url.clone(),
                    scope: scope.clone(),
                    scope_schema_url: scope_schema_url.clone(),
                    span: request.slice_ref(span),
                });
            }
        }
    }
    Ok(found)
}

/// Counts the spans of an encoded request without allocating: what a cheap sink can afford per message.
///
/// # Errors
/// Any [`WireError`] above the span boundary.
pub fn count_spans(mut request: &[u8]) -> Result<u64, WireError> {
    let mut count = 0;
    while !request.is_empty() {
        let Field { number: 1, payload: Payload::Len(mut resource_spans), .. } = take_field(&mut request)?
        else {
            continue;
        };
        while !resource_spans.is_empty() {
            let Field { number: 2, payload: Payload::Len(mut scope_spans), .. } =
                take_field(&mut resource_spans)?
            else {
                continue;
            };
            while !scope_spans.is_empty() {
                let field = take_field(&mut scope_spans)?;
                count += u64::from(field.number == 2 && matches!(field.payload, Payload::Len(_)));
            }
        }
    }
    Ok(count)
}

/// The contents of all length-delimited fields with this number, in wire order: a repeated sub-message's elements.
///
/// # Errors
/// Any [`WireError`].
pub fn sub_messages(message: &[u8], number: u32) -> Result<Vec<&[u8]>, WireError> {
    let found = fields(message)?.into_iter().filter(|field| field.number == number);
    Ok(found
        .filter_map(|field| if let Payload::Len(bytes) = field.payload { Some(bytes) } else { None })
        .collect())
}

/// Field 1 (resource or scope) and field 3 (schema URL): the same numbers in `ResourceSpans` and `ScopeSpans`.
fn header(request: &Bytes, message: &[u8]) -> Result<(Bytes, Bytes), WireError> {
    let owner = match sub_messages(message, 1)?.as_slice() {
        [] => Bytes::new(),
        [one] => request.slice_ref(one),
        several => several.concat().into(),
    };
    let schema_url =
        sub_messages(message, 3)?.last().map(|bytes| request.slice_ref(bytes)).unwrap_or_default();
    Ok((owner, schema_url))
}
