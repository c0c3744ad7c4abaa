//! Varints: reading one from the front of a slice, writing one, the length of one. Knows nothing of fields.

use bytes::BufMut;

use super::DecodeErrorKind;

/// Bytes of the longest varint: 64 bits, seven to a byte.
pub const VARINT_BYTES_MAX: usize = 10;

/// Reads a varint of any length from the front of `bytes`: the value, and how many bytes it took.
///
/// Overlong forms are accepted as prost and protobuf-go do, so that a request that either would take is not
/// refused.
///
/// # Errors
/// [`DecodeErrorKind::Truncated`] or [`DecodeErrorKind::VarintTooLong`].
#[inline]
pub(crate) fn read_varint(bytes: &[u8]) -> Result<(u64, usize), DecodeErrorKind> {
    // Tags below 16 and most lengths take one byte, nearly all other lengths two.
    match *bytes {
        [first, ..] if first < 0x80 => Ok((u64::from(first), 1)),
        [first, second, ..] if second < 0x80 => Ok((u64::from(first & 0x7f) | u64::from(second) << 7, 2)),
        _ => read_long_varint(bytes),
    }
}

#[cold]
fn read_long_varint(bytes: &[u8]) -> Result<(u64, usize), DecodeErrorKind> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(VARINT_BYTES_MAX).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            // Nine bytes carry 63 bits: the tenth has room for one.
            let fits = index + 1 < VARINT_BYTES_MAX || byte <= 1;
            return if fits { Ok((value, index + 1)) } else { Err(DecodeErrorKind::VarintTooLong) };
        }
    }
    Err(if bytes.len() < VARINT_BYTES_MAX {
        DecodeErrorKind::Truncated
    } else {
        DecodeErrorKind::VarintTooLong
    })
}

/// Bytes that the shortest varint of `value` takes, 1 to [`VARINT_BYTES_MAX`].
#[inline]
pub const fn varint_len(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Appends the shortest varint of `value`.
pub fn append_varint(out: &mut impl BufMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8((value & 0x7f) as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_width_survives_a_round_trip() {
        for shift in 0..64 {
            for value in [1u64 << shift, (1u64 << shift) - 1, u64::MAX >> shift] {
                let mut out = Vec::new();
                append_varint(&mut out, value);
                assert_eq!(out.len(), varint_len(value), "{value}");
                assert_eq!(read_varint(&out), Ok((value, out.len())));
                for cut in 0..out.len() {
                    assert_eq!(
                        read_varint(&out[..cut]),
                        Err(DecodeErrorKind::Truncated),
                        "{value} cut at {cut}"
                    );
                }
            }
        }
    }

    #[test]
    fn overlong_forms_are_read_and_more_than_64_bits_refused() {
        assert_eq!(read_varint(&[0x81, 0x80, 0x00, 0xff]), Ok((1, 3)));
        let mut ten = [0x80u8; 10];
        ten[9] = 0x01;
        assert_eq!(read_varint(&ten), Ok((1 << 63, 10)));
        ten[9] = 0x02;
        assert_eq!(read_varint(&ten), Err(DecodeErrorKind::VarintTooLong));
        assert_eq!(read_varint(&[0xff; 11]), Err(DecodeErrorKind::VarintTooLong));
        assert_eq!(read_varint(&[0xff; 10]), Err(DecodeErrorKind::VarintTooLong));
    }
}
