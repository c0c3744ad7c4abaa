//! The two forms of an OTLP/HTTP message, requests and answers alike, by their content types.

use http::HeaderMap;
use http::header::CONTENT_TYPE;

/// How a message of OTLP/HTTP is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// `application/x-protobuf`.
    Protobuf,
    /// `application/json`.
    Json,
}

impl Format {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }

    /// What a `Content-Type` says, whatever its parameters; `None` for any other type.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
        let essence = value.split(';').next().unwrap_or_default().trim();
        [Self::Protobuf, Self::Json]
            .into_iter()
            .find(|format| essence.eq_ignore_ascii_case(format.content_type()))
    }

    /// The format of an answer to whoever has sent these headers: JSON, which a person can read, where they name none.
    pub(super) fn of_answer(headers: &HeaderMap) -> Self {
        Self::of(headers).unwrap_or(Self::Json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_may_have_parameters() {
        let format = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, http::HeaderValue::from_static(value));
            Format::of(&headers)
        };
        assert_eq!(format("Application/JSON; charset=utf-8"), Some(Format::Json));
        assert_eq!(format("application/x-protobuf"), Some(Format::Protobuf));
        assert_eq!((format("text/html"), Format::of(&HeaderMap::new())), (None, None));
    }
}
