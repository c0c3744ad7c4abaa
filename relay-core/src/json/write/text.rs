//! JSON as text: where commas, line ends and quotes belong. Knows no message, and must never write what is not JSON when its functions
//! are called in the order of the grammar.

use std::io::Write as _;

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::Layout;

/// Spaces that a level is indented by.
const INDENT: usize = 2;

pub(super) struct Text<'o> {
    out: &'o mut Vec<u8>,
    layout: Layout,
    level: usize,
    /// Nothing stands yet in the innermost object or array.
    empty: bool,
}

// Writing to a vector cannot fail: the results say nothing.
impl<'o> Text<'o> {
    pub(super) fn new(out: &'o mut Vec<u8>, layout: Layout) -> Self {
        Self { out, layout, level: 0, empty: true }
    }

    /// Begins an object or an array.
    pub(super) fn begin(&mut self, open: char) {
        self.char(open);
        self.level += 1;
        self.empty = true;
    }

    /// Ends it.
    pub(super) fn end(&mut self, close: char) {
        self.level -= 1;
        if !self.empty {
            self.new_line();
        }
        self.char(close);
        self.empty = false;
    }

    /// What stands before an element of an array.
    pub(super) fn element(&mut self) {
        if !self.empty {
            self.char(',');
        }
        self.new_line();
        self.empty = false;
    }

    /// What stands before the value of a member of an object. Keys need no escapes.
    pub(super) fn key(&mut self, key: &str) {
        self.element();
        let space = if self.layout == Layout::Indented { " " } else { "" };
        write!(self.out, "\"{key}\":{space}").ok();
    }

    pub(super) fn string(&mut self, text: &str) {
        serde_json::to_writer(&mut *self.out, text).ok();
    }

    /// A number of at most 32 bits, or a truth value.
    pub(super) fn bare(&mut self, value: impl Serialize) {
        serde_json::to_writer(&mut *self.out, &value).ok();
    }

    /// A number of 64 bits, as a string: most readers would take it for a double (ProtoJSON).
    pub(super) fn quoted(&mut self, value: impl Serialize) {
        self.char('"');
        self.bare(value);
        self.char('"');
    }

    /// The shortest digits that are read as this double again.
    pub(super) fn double(&mut self, value: f64) {
        match value {
            _ if value.is_nan() => self.string("NaN"),
            f64::INFINITY => self.string("Infinity"),
            f64::NEG_INFINITY => self.string("-Infinity"),
            _ => self.bare(value),
        }
    }

    pub(super) fn hex(&mut self, bytes: &[u8]) {
        self.char('"');
        for byte in bytes {
            for half in [byte >> 4, byte & 0xf] {
                self.char(char::from_digit(half.into(), 16).unwrap_or_default());
            }
        }
        self.char('"');
    }

    pub(super) fn base64(&mut self, bytes: &[u8]) {
        write!(self.out, "\"{}\"", Base64Display::new(bytes, &STANDARD)).ok();
    }

    /// Punctuation or a digit: one byte.
    fn char(&mut self, char: char) {
        self.out.extend(u8::try_from(char));
    }

    fn new_line(&mut self) {
        if self.layout == Layout::Indented {
            self.out.push(b'\n');
            self.out.resize(self.out.len() + self.level * INDENT, b' ');
        }
    }
}
