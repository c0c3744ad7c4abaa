//! Status codes and the `grpc-message` header's percent encoding.

use std::borrow::Cow;

/// A gRPC status code, by number; unknown numbers survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Code(pub u32);

impl Code {
    /// Success.
    pub const OK: Self = Self(0);
    /// The call was cancelled, typically by its caller.
    pub const CANCELLED: Self = Self(1);
    /// Unknown error.
    pub const UNKNOWN: Self = Self(2);
    /// The request is wrong, whatever the state of the server.
    pub const INVALID_ARGUMENT: Self = Self(3);
    /// The deadline passed first.
    pub const DEADLINE_EXCEEDED: Self = Self(4);
    /// Something asked for was not found.
    pub const NOT_FOUND: Self = Self(5);
    /// Something to be created exists.
    pub const ALREADY_EXISTS: Self = Self(6);
    /// The caller may not do this.
    pub const PERMISSION_DENIED: Self = Self(7);
    /// A limit was reached; in OTLP retryable only with `RetryInfo`.
    pub const RESOURCE_EXHAUSTED: Self = Self(8);
    /// The system is not in the state needed.
    pub const FAILED_PRECONDITION: Self = Self(9);
    /// The operation was aborted.
    pub const ABORTED: Self = Self(10);
    /// Past the valid range.
    pub const OUT_OF_RANGE: Self = Self(11);
    /// No such service or method, or no such encoding.
    pub const UNIMPLEMENTED: Self = Self(12);
    /// An invariant of the server is broken; also what gRPC libraries answer to a message that they cannot decode.
    pub const INTERNAL: Self = Self(13);
    /// Not available now; try again.
    pub const UNAVAILABLE: Self = Self(14);
    /// Unrecoverable loss of data.
    pub const DATA_LOSS: Self = Self(15);
    /// No valid credentials.
    pub const UNAUTHENTICATED: Self = Self(16);

    /// The names of the codes, by number.
    pub const NAMES: [&'static str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];

    /// The value of a `grpc-status` header; anything that is not a number is `UNKNOWN`.
    pub fn parse(value: &[u8]) -> Self {
        let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
        number.map_or(Self::UNKNOWN, Self)
    }

    /// The code of a name, as gRPC (`DEADLINE_EXCEEDED`) and Go (`DeadlineExceeded`) write them.
    pub fn named(name: &str) -> Option<Self> {
        let plain = |name: &str| name.replace('_', "").to_ascii_uppercase().replace("CANCELED", "CANCELLED");
        let at = Self::NAMES.iter().position(|known| plain(known) == plain(name))?;
        u32::try_from(at).ok().map(Self)
    }

    /// What an HTTP status means when there is no `grpc-status` (gRPC documentation, "HTTP to gRPC Status Code
    /// Mapping").
    pub fn from_http(status: u16) -> Self {
        match status {
            400 => Self::INTERNAL,
            401 => Self::UNAUTHENTICATED,
            403 => Self::PERMISSION_DENIED,
            404 => Self::UNIMPLEMENTED,
            429 | 502 | 503 | 504 => Self::UNAVAILABLE,
            _ => Self::UNKNOWN,
        }
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = usize::try_from(self.0).ok().and_then(|at| Self::NAMES.get(at));
        match name {
            Some(name) => f.write_str(name),
            None => write!(f, "CODE_{}", self.0),
        }
    }
}

/// A status: code and a message for developers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The code.
    pub code: Code,
    /// English text for developers; never parsed.
    pub message: Cow<'static, str>,
}

impl Status {
    /// A status of `code` with `message`.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into() }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

/// `grpc-message` as it stands in a header: printable ASCII but `%` as it is, every other byte as `%XX`.
pub fn encode_message(message: &str) -> String {
    use std::fmt::Write;
    let mut encoded = String::with_capacity(message.len());
    for byte in message.bytes() {
        if (b' '..=b'~').contains(&byte) && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").ok();
        }
    }
    encoded
}

/// The text of a `grpc-message` header; what is not valid encoding or UTF-8 is kept readable, never refused.
pub fn decode_message(value: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((&byte, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let decoded = hex.filter(|_| byte == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(decoded.unwrap_or(byte));
        rest = if decoded.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_header() {
        for text in ["", "plain", "100 % of ünïcode\nand\tcontrol", "%41"] {
            let encoded = encode_message(text);
            assert!(encoded.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            assert_eq!(decode_message(encoded.as_bytes()), text);
        }
        assert_eq!(decode_message(b"50% off %zz %4"), "50% off %zz %4");
    }

    #[test]
    fn codes_have_their_names() {
        assert_eq!(Code::parse(b"14").to_string(), "UNAVAILABLE");
        assert_eq!(Code::parse(b"99").to_string(), "CODE_99");
        assert_eq!(Code::parse(b"x"), Code::UNKNOWN);
        for name in ["DEADLINE_EXCEEDED", "DeadlineExceeded", "deadline_exceeded"] {
            assert_eq!(Code::named(name), Some(Code::DEADLINE_EXCEEDED));
        }
        assert_eq!((Code::named("Canceled"), Code::named("GONE")), (Some(Code::CANCELLED), None));
        assert_eq!(Code::from_http(503), Code::UNAVAILABLE);
    }
}
