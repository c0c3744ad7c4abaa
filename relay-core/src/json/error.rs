//! What can be wrong with OTLP/JSON, and where. Holds no text of the payload, unknown keys included: an error may be logged and sent back as
//! it is.

use std::fmt;
use std::num::TryFromIntError;

use crate::limits::NESTING_DEPTH_MAX;

/// Why a body cannot be turned into protobuf. Sending the same body again cures neither.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// The body is not JSON, or not a request of its signal.
    #[error("{place}: {what}")]
    Malformed {
        /// What is wrong.
        what: String,
        /// Where reading stopped.
        place: Place,
    },
    /// The protobuf would take more bytes than allowed.
    #[error("the request takes more than {bytes_max} bytes as protobuf")]
    TooLarge {
        /// Bytes allowed.
        bytes_max: usize,
    },
}

impl JsonError {
    /// Whether it is its size alone that is wrong.
    pub fn is_too_large(&self) -> bool {
        matches!(self, Self::TooLarge { .. })
    }
}

/// A place in a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column in bytes, from 1; 0 is before the first byte of a line.
    pub column: usize,
    /// Known keys and indices on the way to the value, `resourceSpans[0].resource`; empty at the top.
    pub path: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)?;
        if self.path.is_empty() { Ok(()) } else { write!(f, ", {}", self.path) }
    }
}

/// What is wrong with a value that is JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("string is not base64")]
    Base64,
    #[error("string is not hex")]
    Hex,
    #[error("id of {digits} hex digits where {expected} belong")]
    IdLength { digits: usize, expected: usize },
    #[error("null in an array of scalars")]
    NullElement,
    #[error("number is not a finite double")]
    NotDouble,
    #[error("number is not an integer that is known exactly")]
    NotInteger,
    #[error("profile id of {len} bytes where 16 belong")]
    ProfileIdLength { len: usize },
    #[error("integer is out of the field's range")]
    Range(#[from] TryFromIntError),
    #[error("messages nested deeper than {NESTING_DEPTH_MAX} levels")]
    TooDeep,
    #[error("too large")]
    TooLarge,
    #[error("{found} where {expected} belongs")]
    WrongType { found: &'static str, expected: &'static str },
}
