//! An upstream's answer as an [`Outcome`]: its status, its `Retry-After`, and what its body says. Must never read more of a body than
//! its limit, nor log more than a few words of it.

use std::time::{Duration, SystemTime};

use http::Response;
use http::header::{LOCATION, RETRY_AFTER};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde_json::Value;

use super::super::clock;
use super::super::http::Format;
use crate::grpc::{Code, ExportResponse, PartialSuccess, Status, status_message};
use crate::limits::{UPSTREAM_RESPONSE_BYTES_MAX, UPSTREAM_WORDS_CHARS_MAX};
use crate::otlp::Signal;
use crate::upstream::Outcome;

/// Reads an answer. Takes as long as the upstream does: the caller bounds it.
pub(super) async fn outcome(response: Response<Incoming>) -> Outcome {
    let (parts, body) = response.into_parts();
    let status = parts.status;
    let body = match Limited::new(body, UPSTREAM_RESPONSE_BYTES_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            // OTLP 1.11, "OTLP/HTTP Response": not to be retried, whatever the status.
            let text = format!("{status}, and its answer goes on after {UPSTREAM_RESPONSE_BYTES_MAX} bytes");
            return Outcome::Refused {
                status: Status::new(Code::RESOURCE_EXHAUSTED, text),
                retry_delay: None,
            };
        }
        Err(error) if status.is_success() => {
            return Outcome::Lost { cause: format!("the answer broke off: {error}") };
        }
        // The status says enough.
        Err(_) => bytes::Bytes::new(),
    };
    let format = Format::of(&parts.headers);
    if status.is_success() {
        let partial = partial_success(format, &body).unwrap_or_default();
        let rejected = u64::try_from(partial.rejected_items).unwrap_or(0);
        return Outcome::Accepted { rejected, message: shortened(&partial.error_message) };
    }
    let message = match parts.headers.get(LOCATION) {
        Some(location) if status.is_redirection() => {
            // Its query may repeat a token of the endpoint's.
            let location = location.as_bytes().split(|byte| *byte == b'?').next().unwrap_or_default();
            let location = shortened(&String::from_utf8_lossy(location));
            format!("redirects are not followed; the upstream names {location} as its endpoint")
        }
        _ => words(format, &body),
    };
    let retry_after = parts.headers.get(RETRY_AFTER);
    let retry_after = retry_after.and_then(|value| read_retry_after(value.as_bytes(), clock::wall()));
    Outcome::HttpRefused { status: status.as_u16(), message, retry_after }
}

/// `partial_success` of a response message; a body that cannot be read says nothing about it, and the status stands.
fn partial_success(format: Option<Format>, body: &[u8]) -> Option<PartialSuccess> {
    match format {
        Some(Format::Protobuf) => <ExportResponse as prost::Message>::decode(body).ok()?.partial_success,
        Some(Format::Json) => {
            let response: Value = serde_json::from_slice(body).ok()?;
            let partial = response.get("partialSuccess")?;
            let rejected = Signal::ALL.iter().find_map(|signal| partial.get(signal.rejected_json_name()));
            // 64-bit numbers are strings in JSON, and numbers are taken (OTLP 1.11, "JSON Protobuf Encoding").
            let rejected = rejected.and_then(|number| {
                number.as_i64().or_else(|| number.as_str().and_then(|text| text.parse().ok()))
            });
            let message = partial.get("errorMessage").and_then(Value::as_str);
            Some(PartialSuccess {
                rejected_items: rejected.unwrap_or(0),
                error_message: message.unwrap_or_default().to_owned(),
            })
        }
        None => None,
    }
}

/// What a refusal says: the message of its `google.rpc.Status`, or its text.
fn words(format: Option<Format>, body: &[u8]) -> String {
    let said = match format {
        Some(Format::Protobuf) => status_message(body),
        Some(Format::Json) => serde_json::from_slice(body)
            .ok()
            .and_then(|status: Value| status.get("message").and_then(Value::as_str).map(str::to_owned)),
        None => None,
    };
    shortened(&said.unwrap_or_else(|| {
        // Four bytes of a character at the most.
        let start = body.get(..body.len().min(4 * UPSTREAM_WORDS_CHARS_MAX)).unwrap_or_default();
        String::from_utf8_lossy(start).into_owned()
    }))
}

/// The first words, in one line.
fn shortened(text: &str) -> String {
    let mut words = String::new();
    for word in
        text.split(|char: char| char.is_whitespace() || char.is_control()).filter(|word| !word.is_empty())
    {
        if !words.is_empty() {
            words.push(' ');
        }
        words.push_str(word);
        if words.chars().nth(UPSTREAM_WORDS_CHARS_MAX).is_some() {
            let cut: String = words.chars().take(UPSTREAM_WORDS_CHARS_MAX).collect();
            return format!("{cut}...");
        }
    }
    words
}

/// `Retry-After` (RFC 9110 section 10.2.3): seconds, or a date, of which one that has passed means at once.
fn read_retry_after(value: &[u8], now: SystemTime) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::status_bytes;

    #[test]
    fn retry_after_in_both_forms() {
        let now = httpdate::parse_http_date("Fri, 31 Dec 1999 23:59:50 GMT").unwrap();
        let read = |value: &str| read_retry_after(value.as_bytes(), now).map(|delay| delay.as_secs());
        assert_eq!(read("120"), Some(120));
        assert_eq!(read("0"), Some(0));
        // The three forms of RFC 9110 section 5.6.7.
        assert_eq!(read("Fri, 31 Dec 1999 23:59:59 GMT"), Some(9));
        assert_eq!(read("Friday, 31-Dec-99 23:59:59 GMT"), Some(9));
        assert_eq!(read("Fri Dec 31 23:59:59 1999"), Some(9));
        assert_eq!(read("Fri, 31 Dec 1999 23:59:00 GMT"), Some(0), "has passed");
        for bad in ["", "-1", "soon", "1.5"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn refusals_are_read_in_every_form() {
        let status = status_bytes(&Status::new(Code::INVALID_ARGUMENT, "bad span"));
        assert_eq!(words(Some(Format::Protobuf), &status), "bad span");
        assert_eq!(words(Some(Format::Json), br#"{"code":3,"message":"bad span"}"#), "bad span");
        assert_eq!(words(Some(Format::Json), b"not json"), "not json");
        assert_eq!(words(None, b"<html>\r\n  <b>502</b>\x00 Bad Gateway\n"), "<html> <b>502</b> Bad Gateway");
        assert_eq!(words(None, b"a\xffb"), "a\u{fffd}b");
        let long = words(None, "ü".repeat(100_000).as_bytes());
        assert_eq!(long.chars().count(), UPSTREAM_WORDS_CHARS_MAX + 3);
        assert_eq!(words(Some(Format::Protobuf), b""), "");
    }

    #[test]
    fn partial_success_in_every_form() {
        let read = |format, body: &[u8]| {
            partial_success(format, body).map(|partial| (partial.rejected_items, partial.error_message))
        };
        assert_eq!(read(Some(Format::Protobuf), b"\x0a\x05\x08\x03\x12\x01q"), Some((3, "q".to_owned())));
        assert_eq!(read(Some(Format::Protobuf), b""), None);
        assert_eq!(read(Some(Format::Protobuf), b"\xff"), None);
        let quoted = br#"{"partialSuccess":{"rejectedDataPoints":"3","errorMessage":"q"}}"#;
        assert_eq!(read(Some(Format::Json), quoted), Some((3, "q".to_owned())));
        assert_eq!(
            read(Some(Format::Json), br#"{"partialSuccess":{"rejectedSpans":3}}"#),
            Some((3, String::new()))
        );
        assert_eq!(read(Some(Format::Json), b"{}"), None);
        assert_eq!(read(None, quoted), None);
    }
}
