//! Halves of surrogate pairs in JSON's escapes: what is left where a program has cut a text in two. Reads no other syntax of JSON.

use std::ops::Range;

/// An escape and the digits of its code unit: `\uD83D`.
const ESCAPE_BYTES: usize = 6;

/// The body with U+FFFD for each half of a surrogate pair, as the Collector reads it: a text that was cut in two must not cost the
/// request. Of the same length, so that places stay the same. `None` if there is none. RFC 8259, section 8.2, leaves it to the reader.
pub(super) fn replaced(json: &[u8]) -> Option<Vec<u8>> {
    let mut halves = Halves { json, at: 0 }.peekable();
    halves.peek()?;
    let mut body = json.to_vec();
    for half in halves {
        if let Some(digits) = body.get_mut(half) {
            digits.copy_from_slice(b"\\uFFFD");
        }
    }
    Some(body)
}

/// Where the escapes of halves are.
struct Halves<'a> {
    json: &'a [u8],
    at: usize,
}

impl Iterator for Halves<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        loop {
            let rest = self.json.get(self.at..)?;
            let escape = self.at + rest.iter().position(|byte| *byte == b'\\')?;
            match unit(self.json, escape) {
                // Another character is escaped, perhaps a backslash.
                None => self.at = escape + 2,
                Some(0xd800..=0xdbff) if self.is_low(escape + ESCAPE_BYTES) => {
                    self.at = escape + 2 * ESCAPE_BYTES;
                }
                Some(unit) => {
                    self.at = escape + ESCAPE_BYTES;
                    if matches!(unit, 0xd800..=0xdfff) {
                        return Some(escape..self.at);
                    }
                }
            }
        }
    }
}

impl Halves<'_> {
    fn is_low(&self, at: usize) -> bool {
        matches!(unit(self.json, at), Some(0xdc00..=0xdfff))
    }
}

/// The code unit whose escape begins at `at`.
fn unit(json: &[u8], at: usize) -> Option<u16> {
    let digits = json.get(at..at + ESCAPE_BYTES)?.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0, |high, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(high << 4 | u16::try_from(digit).ok()?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_halves_are_replaced() {
        for (text, expected) in [
            (r#""a\ud800b""#, r#""a\uFFFDb""#),
            (r#""\uD83d""#, r#""\uFFFD""#),
            (r#""\uDE00\ud83d""#, r#""\uFFFD\uFFFD""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\uFFFD\ud83d\ude00""#),
            (r#""\ud83d\n\\\ud83d\u0041""#, r#""\uFFFD\n\\\uFFFD\u0041""#),
            (r"\ud83", r"\ud83"),
            (r#""\\ud83d\ud83d\ude00\u00e4\""#, r#""\\ud83d\ud83d\ude00\u00e4\""#),
            (r"\", r"\"),
            ("", ""),
        ] {
            let changed = (text != expected).then(|| expected.as_bytes().to_vec());
            assert_eq!(replaced(text.as_bytes()), changed, "{text}");
        }
    }
}
