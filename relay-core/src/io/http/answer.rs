//! Answers to OTLP/HTTP requests: success, and `google.rpc.Status` in the request's encoding. OTLP specification, OTLP/HTTP
//! Response.

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use prost::Message as _;

use super::super::call::Rejection;
use super::format::Format;
use super::head::supported;
use crate::config::HttpConfig;
use crate::grpc::{Code, ExportResponse, Status, status_bytes};
use crate::otlp::Signal;
use crate::stats::RejectReason;

pub(super) type AnswerBody = Full<Bytes>;

/// Full success: the response message without `partial_success`.
pub(super) fn success(format: Format) -> Response<AnswerBody> {
    let body = match format {
        Format::Protobuf => Bytes::new(),
        Format::Json => Bytes::from_static(b"{}"),
    };
    response(StatusCode::OK, format, body)
}

/// Success with a partial success: the response message of `signal`.
pub(super) fn partial_success(
    format: Format,
    signal: Signal,
    answer: &ExportResponse,
) -> Response<AnswerBody> {
    let body = match format {
        Format::Protobuf => answer.encode_to_vec(),
        Format::Json => {
            let partial = answer.partial_success.clone().unwrap_or_default();
            // 64-bit integers are decimal strings in JSON (OTLP, "JSON Protobuf Encoding").
            let count = partial.rejected_items.to_string();
            let said = serde_json::json!({ signal.rejected_json_name(): count, "errorMessage": partial.error_message });
            serde_json::json!({ "partialSuccess": said }).to_string().into_bytes()
        }
    };
    response(StatusCode::OK, format, body.into())
}

/// A refusal; where the sender shall come back, it says when ("OTLP/HTTP Throttling").
pub(super) fn refusal(
    format: Format,
    http: &HttpConfig,
    rejection: &Rejection,
    challenge: Option<&HeaderValue>,
) -> Response<AnswerBody> {
    let status = status(rejection);
    let mut response = response(status, format, status_body(format, &rejection.status));
    let headers = response.headers_mut();
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("POST"));
    }
    if rejection.reason == RejectReason::UnsupportedEncoding
        && let Ok(names) = HeaderValue::from_str(&supported(http))
    {
        headers.insert(ACCEPT_ENCODING, names);
    }
    if let Some(challenge) = challenge.filter(|_| status == StatusCode::UNAUTHORIZED) {
        // RFC 9110 section 15.5.2: a 401 says how to authenticate.
        headers.insert(WWW_AUTHENTICATE, challenge.clone());
    }
    if let Some(delay) = rejection.retry_delay() {
        // In whole seconds (RFC 9110 section 10.2.3), none of which would be no delay.
        let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    response
}

/// The headers that the configuration adds to every answer.
///
/// # Errors
/// The name of the first that is no header of HTTP.
pub(crate) fn configured_headers(http: &HttpConfig) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in &http.response_headers {
        let parsed = HeaderName::try_from(name.as_str()).ok().zip(HeaderValue::try_from(value.as_str()).ok());
        let (parsed, value) = parsed.ok_or_else(|| name.clone())?;
        headers.insert(parsed, value);
    }
    Ok(headers)
}

/// The HTTP status of a refusal ("OTLP/HTTP Response", "Failures").
fn status(rejection: &Rejection) -> StatusCode {
    if let Some(status) = rejection.http {
        return status;
    }
    match rejection.status.code {
        Code::INVALID_ARGUMENT => StatusCode::BAD_REQUEST,
        Code::UNAUTHENTICATED => StatusCode::UNAUTHORIZED,
        Code::PERMISSION_DENIED => StatusCode::FORBIDDEN,
        Code::UNIMPLEMENTED | Code::NOT_FOUND => StatusCode::NOT_FOUND,
        Code::DEADLINE_EXCEEDED => StatusCode::REQUEST_TIMEOUT,
        Code::RESOURCE_EXHAUSTED if rejection.reason == RejectReason::TooLarge => {
            StatusCode::PAYLOAD_TOO_LARGE
        }
        Code::RESOURCE_EXHAUSTED => StatusCode::TOO_MANY_REQUESTS,
        Code::UNAVAILABLE => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn status_body(format: Format, status: &Status) -> Bytes {
    match format {
        Format::Protobuf => status_bytes(status).into(),
        Format::Json => {
            serde_json::json!({ "code": status.code.0, "message": status.message }).to_string().into()
        }
    }
}

fn response(status: StatusCode, format: Format, body: Bytes) -> Response<AnswerBody> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    response
}
