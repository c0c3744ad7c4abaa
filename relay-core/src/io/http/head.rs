//! The head of an OTLP/HTTP request: whether its body may come, and how it is to be read. OTLP specification, OTLP/HTTP.

use std::borrow::Cow;

use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderValue, Method, StatusCode, request};

use super::super::auth::{Gate, Verifying};
use super::super::call::Rejection;
use super::super::shared::ReceiverShared;
use super::format::Format;
use crate::config::HttpConfig;
use crate::encoding::{Encoding, HTTP_ACCEPT};
use crate::grpc::Code;
use crate::otlp::Signal;
use crate::stats::RejectReason;

/// A request whose body may come.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) signal: Signal,
    pub(super) format: Format,
    pub(super) encoding: Option<Encoding>,
    /// Set while it is not known whether the sender's password is right.
    pub(super) verifying: Option<Verifying>,
}

/// Judges the head of a request to `receiver`.
pub(super) fn judge(
    receiver: &ReceiverShared,
    http: &HttpConfig,
    parts: &request::Parts,
) -> Result<Head, Rejection> {
    // Before anything is said about what is served here.
    let shown = |gate: &Gate| gate.check(parts.headers.get(gate.header()).map(HeaderValue::as_bytes));
    let verifying = receiver.gate.as_ref().map_or(Ok(None), shown)?;
    let path = parts.uri.path();
    let signal = Signal::ALL.into_iter().zip(&http.paths).find(|(_, served)| *served == path);
    let Some((signal, _)) = signal else {
        let message = format!("{} is not served here; {} is", shortened(path), http.paths.join(", "));
        return Err(with_status(
            RejectReason::UnknownPath,
            Code::UNIMPLEMENTED,
            StatusCode::NOT_FOUND,
            message,
        ));
    };
    if parts.method != Method::POST {
        let message =
            format!("{} is not allowed; OTLP/HTTP requests are POST", shortened(parts.method.as_str()));
        let status = StatusCode::METHOD_NOT_ALLOWED;
        return Err(with_status(RejectReason::Method, Code::UNIMPLEMENTED, status, message));
    }
    if receiver.routes(signal).is_empty() {
        return Err(Rejection::unserved(signal));
    }
    let Some(format) = Format::of(&parts.headers) else {
        let message = "content-type must be application/x-protobuf or application/json";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(with_status(RejectReason::ContentType, Code::INVALID_ARGUMENT, status, message));
    };
    let encoding = encoding(http, &parts.headers)?;
    Ok(Head { signal, format, encoding, verifying })
}

fn encoding(http: &HttpConfig, headers: &HeaderMap) -> Result<Option<Encoding>, Rejection> {
    let mut named = headers.get_all(CONTENT_ENCODING).iter();
    let Some(value) = named.next() else { return Ok(None) };
    let name = value.to_str().unwrap_or("?").trim().to_ascii_lowercase();
    let refused = || {
        let message = format!(
            "content-encoding {:?} is not supported; use one of {}",
            shortened(&name),
            supported(http)
        );
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Err(with_status(RejectReason::UnsupportedEncoding, Code::UNIMPLEMENTED, status, message))
    };
    if named.next().is_some() {
        return refused();
    }
    match Encoding::from_http(name.as_bytes()) {
        Ok(None) => Ok(None),
        Ok(Some(encoding)) if http.encodings.is_empty() || http.encodings.contains(&name) => {
            Ok(Some(encoding))
        }
        _ => refused(),
    }
}

/// The names of the encodings that are taken, for `Accept-Encoding` of a refusal (RFC 9110 section 15.5.16).
pub(super) fn supported(http: &HttpConfig) -> Cow<'static, str> {
    if http.encodings.is_empty() {
        return HTTP_ACCEPT.into();
    }
    let named: Vec<&str> =
        http.encodings.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
    if named.is_empty() { "identity".into() } else { named.join(", ").into() }
}

/// So much of what a sender says is repeated to it, in characters.
const SAID_CHARS_MAX: usize = 128;

fn shortened(text: &str) -> String {
    text.chars().take(SAID_CHARS_MAX).collect()
}

fn with_status(
    reason: RejectReason,
    code: Code,
    status: StatusCode,
    message: impl Into<String>,
) -> Rejection {
    Rejection { http: Some(status), ..Rejection::new(reason, code, message) }
}
