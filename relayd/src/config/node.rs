//! The tree a configuration is before it is understood: YAML values with their places. Null and absent are
//! different things here, as they are in the Collector (`grpc:` means "enabled with defaults").
//! Must never interpret a key.

use super::error::Origin;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What it is.
    pub value: Value,
    /// Where it stands: for the value of a map, the place of its key, since that is the line a reader looks for.
    pub origin: Origin,
    /// The text that a `${...}` gave for this value, if it is not a string by itself: a key that wants a string
    /// (a header `X-Id: ${env:ID}` with `ID=0123`) gets the text, not the number.
    pub text: Option<String>,
}

/// The kinds of YAML values, resolved by the core schema (YAML 1.2.2 section 10.3).
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `~`, `null`, or nothing after the colon.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// A whole number that fits in 64 bits.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// Everything else, and everything in quotes.
    String(String),
    /// A list.
    List(Vec<Node>),
    /// A map in the order of the file; no key appears twice.
    Map(Vec<Entry>),
}

/// One key of a map.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key as text.
    pub key: String,
    /// Its value; the value's origin is the place of the key.
    pub node: Node,
}

impl Node {
    /// A value at a place.
    #[must_use]
    pub fn new(value: Value, origin: Origin) -> Self {
        Self { value, origin, text: None }
    }

    /// True for null.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// True for what says nothing: null, an empty list or map, an empty string.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match &self.value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::List(items) => items.is_empty(),
            Value::Map(entries) => entries.is_empty(),
            Value::Bool(_) | Value::Int(_) | Value::Float(_) => false,
        }
    }

    /// The node as the text a string key gets: the string itself, or what a `${...}` gave. `None` for other kinds.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => self.text.as_deref(),
        }
    }

    /// The kind of the value in words, with its article, for messages.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Int(_) | Value::Float(_) => "a number",
            Value::String(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

/// The value of `key` in a map's entries.
pub fn find_mut<'a>(entries: &'a mut [Entry], key: &str) -> Option<&'a mut Node> {
    entries.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.node)
}
