//! Text from strangers, made safe and short for a terminal. Must never pass a control character on.

use std::fmt::{self, Write};

/// Displays text with its control characters escaped, so that a span's name cannot move the cursor or ring the bell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Safe<'a>(pub(crate) &'a str);

impl fmt::Display for Safe<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if is_unsafe(c) {
                write!(f, "{}", c.escape_default())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// Control characters, and the marks that change the direction of what follows (Unicode Technical Report 36).
fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Safe text of at most `chars_max` characters, the last one an ellipsis if something is left out.
pub(crate) fn shortened(text: &str, chars_max: usize) -> String {
    // Escaping makes longer, never shorter: no more than this is needed of a text that may be megabytes long.
    let head: String = text.chars().take(chars_max + 1).collect();
    let safe = Safe(&head).to_string();
    if safe.chars().count() <= chars_max {
        return safe;
    }
    safe.chars().take(chars_max.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(Safe("a\x1b[31mb\n\u{202e}é").to_string(), "a\\u{1b}[31mb\\n\\u{202e}é");
    }

    #[test]
    fn long_text_is_cut_with_a_mark() {
        assert_eq!(shortened("abcd", 4), "abcd");
        assert_eq!(shortened("äbcde", 4), "äbc…");
        assert_eq!(shortened("\x07\x07", 4), "\\u{…");
    }
}
