//! Numbers, ids and bytes as ProtoJSON and OTLP/JSON spell them. Knows neither fields nor messages.

use base64::Engine as _;
use base64::alphabet::{self, Alphabet};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::error::Fault;

/// From here on a double may stand for an integer next to the one that was meant: 2^53.
const EXACT_BELOW: f64 = 9_007_199_254_740_992.0;

/// Bytes of a profile's id (opentelemetry/proto/profiles/v1development/profiles.proto).
const PROFILE_ID_BYTES: usize = 16;

/// The integer that a double stands for.
pub(super) fn integer_of_double(value: f64) -> Result<i128, Fault> {
    if value.abs() < EXACT_BELOW && value.fract() == 0.0 {
        // Printing and parsing would say the same without a cast, at fifty times the price.
        #[expect(clippy::cast_possible_truncation, reason = "a whole number below 2^53")]
        return Ok(value as i128);
    }
    Err(Fault::NotInteger)
}

/// The integer in a string: decimal, or a number such as `1e3` that is one.
pub(super) fn integer_of_text(text: &str) -> Result<i128, Fault> {
    match text.parse() {
        Ok(value) => Ok(value),
        Err(_) => integer_of_double(finite(text).ok_or(Fault::NotInteger)?),
    }
}

/// The double in a string.
pub(super) fn double_of_text(text: &str) -> Result<f64, Fault> {
    match text {
        "NaN" => Ok(f64::NAN),
        "Infinity" => Ok(f64::INFINITY),
        "-Infinity" => Ok(f64::NEG_INFINITY),
        _ => finite(text).ok_or(Fault::NotDouble),
    }
}

/// Rust reads `inf`, `nan` and 1e400 too, which are none of JSON's.
fn finite(text: &str) -> Option<f64> {
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

/// The bytes of an id of `id.len()` bytes, given in hex of either case.
pub(super) fn id_of_hex(text: &str, id: &mut [u8]) -> Result<(), Fault> {
    let expected = 2 * id.len();
    if text.len() != expected {
        return Err(Fault::IdLength { digits: text.len(), expected });
    }
    for (byte, pair) in id.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = pair.iter().try_fold(0, |high, &digit| Some(high << 4 | nibble(digit)?)).ok_or(Fault::Hex)?;
    }
    Ok(())
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// The id of a profile: base64 says ProtoJSON, hex says the Collector. Sixteen bytes are 22 or 24 characters in the one and 32 in the
/// other.
pub(super) fn profile_id_of_text(text: &str) -> Result<Vec<u8>, Fault> {
    if text.len() == 2 * PROFILE_ID_BYTES {
        let mut id = vec![0; PROFILE_ID_BYTES];
        return id_of_hex(text, &mut id).map(|()| id);
    }
    let id = bytes_of_base64(text)?;
    match id.len() {
        0 | PROFILE_ID_BYTES => Ok(id),
        len => Err(Fault::ProfileIdLength { len }),
    }
}

/// The bytes in a string of base64, of either alphabet, padded or not (ProtoJSON, `bytes`).
pub(super) fn bytes_of_base64(text: &str) -> Result<Vec<u8>, Fault> {
    const fn engine(alphabet: &Alphabet) -> GeneralPurpose {
        // Unused bits at the end need not be zero: Go's decoder, which the Collector uses, ignores them.
        let config = GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true);
        GeneralPurpose::new(alphabet, config)
    }
    const STANDARD: GeneralPurpose = engine(&alphabet::STANDARD);
    const URL_SAFE: GeneralPurpose = engine(&alphabet::URL_SAFE);
    let url_safe = text.bytes().any(|byte| matches!(byte, b'-' | b'_'));
    let engine = if url_safe { &URL_SAFE } else { &STANDARD };
    engine.decode(text).map_err(|_| Fault::Base64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers() {
        for (text, value) in [
            ("0", 0),
            ("-0", 0),
            ("18446744073709551615", i128::from(u64::MAX)),
            ("-9223372036854775808", i128::from(i64::MIN)),
            ("1.0", 1),
            ("-1.5e1", -15),
            ("9007199254740991.0", (1 << 53) - 1),
        ] {
            assert_eq!(integer_of_text(text), Ok(value), "{text}");
        }
        for text in
            ["", " 1", "1 ", "1.5", "0x10", "1_000", "NaN", "inf", "9007199254740992.0", "1e19", "1e400"]
        {
            assert_eq!(integer_of_text(text), Err(Fault::NotInteger), "{text}");
        }
        assert_eq!(integer_of_double(-0.0), Ok(0));
        assert_eq!(integer_of_double(f64::NAN), Err(Fault::NotInteger));
        assert_eq!(integer_of_double(f64::NEG_INFINITY), Err(Fault::NotInteger));
    }

    #[test]
    fn doubles() {
        assert!(double_of_text("NaN").unwrap().is_nan());
        assert_eq!(double_of_text("-Infinity"), Ok(f64::NEG_INFINITY));
        assert_eq!(double_of_text("-2.5e-3"), Ok(-0.0025));
        for text in ["", "nan", "inf", "infinity", "+Inf", "-inf", "1e400", " 1", "one"] {
            assert_eq!(double_of_text(text), Err(Fault::NotDouble), "{text}");
        }
    }

    #[test]
    fn hex_of_either_case() {
        let mut id = [0; 2];
        assert_eq!(id_of_hex("aF09", &mut id), Ok(()));
        assert_eq!(id, [0xaf, 0x09]);
        assert_eq!(id_of_hex("aF0", &mut id), Err(Fault::IdLength { digits: 3, expected: 4 }));
        for text in ["aF0g", "0x12", "+1-2", "ää"] {
            assert_eq!(id_of_hex(text, &mut id), Err(Fault::Hex), "{text}");
        }
    }

    #[test]
    fn base64_of_either_alphabet() {
        for text in ["+/8=", "-_8=", "+/8", "-_8", "+/9="] {
            assert_eq!(bytes_of_base64(text), Ok(vec![0xfb, 0xff]), "{text}");
        }
        for text in ["+_8=", "a", "====", "ab=c", "a b=", "é"] {
            assert_eq!(bytes_of_base64(text), Err(Fault::Base64), "{text}");
        }
    }

    #[test]
    fn profile_ids_in_both_spellings() {
        let id: Vec<u8> = (1..=16).collect();
        for text in ["0102030405060708090a0b0c0d0e0F10", "AQIDBAUGBwgJCgsMDQ4PEA==", "AQIDBAUGBwgJCgsMDQ4PEA"]
        {
            assert_eq!(profile_id_of_text(text), Ok(id.clone()), "{text}");
        }
        assert_eq!(profile_id_of_text(""), Ok(Vec::new()));
        assert_eq!(profile_id_of_text("AQID"), Err(Fault::ProfileIdLength { len: 3 }));
        assert_eq!(profile_id_of_text(&"zz".repeat(16)), Err(Fault::Hex));
    }
}
