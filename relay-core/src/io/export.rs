//! One `Export` call to an OTLP/gRPC upstream, from the batch to its [`Outcome`].

use bytes::buf::Chain;
use bytes::{Buf, Bytes};
use h2::RecvStream;
use h2::client::SendRequest;
use http::header::{CONTENT_TYPE, TE, USER_AGENT};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri};

use crate::batch::{Rope, RopeReader};
use crate::config::{Compression, GrpcConfig};
use crate::grpc::{
    Code, ExportResponse, MessageAssembler, Status, TRACE_EXPORT_PATH, decode_message, format_timeout,
    prefix, retry_delay,
};
use crate::limits::UPSTREAM_RESPONSE_BYTES_MAX;
use crate::upstream::Outcome;

/// The body of a call as h2 writes it: the message's prefix, then the rope as it is.
pub(crate) type Body = Chain<Bytes, RopeReader>;

/// OTLP Exporter specification, "User Agent": the exporter's name and version, after those of the product.
const USER_AGENT_VALUE: &str =
    concat!("relayd/", env!("CARGO_PKG_VERSION"), " OTel-OTLP-Exporter-Rust/", env!("CARGO_PKG_VERSION"));

/// A header that was configured and is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TemplateError {
    #[error("header {0:?} is not a valid name or has a value that is not valid")]
    Header(String),
    #[error("{0:?} is not a valid authority of a URI")]
    Authority(String),
}

/// What all calls to one upstream have in common; made once.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    uri: Uri,
    headers: HeaderMap,
    pub(crate) compression: Compression,
}

impl Template {
    pub(crate) fn new(config: &GrpcConfig) -> Result<Self, TemplateError> {
        let authority = config.endpoint.authority();
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(Scheme::HTTP);
        uri.authority = Authority::try_from(authority.as_str()).ok();
        uri.path_and_query = Some(PathAndQuery::from_static(TRACE_EXPORT_PATH));
        let uri = Uri::from_parts(uri).map_err(|_| TemplateError::Authority(authority))?;
        let mut headers = HeaderMap::new();
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(USER_AGENT, HeaderValue::from_static(USER_AGENT_VALUE));
        if let Ok(timeout) = HeaderValue::try_from(format_timeout(config.timeout)) {
            headers.insert(HeaderName::from_static("grpc-timeout"), timeout);
        }
        if config.compression == Compression::Gzip {
            headers.insert(HeaderName::from_static("grpc-encoding"), HeaderValue::from_static("gzip"));
        }
        for (name, value) in &config.headers {
            let error = || TemplateError::Header(name.clone());
            let parsed = HeaderName::try_from(name.to_ascii_lowercase()).map_err(|_| error())?;
            let mut value = HeaderValue::try_from(value).map_err(|_| error())?;
            value.set_sensitive(true);
            headers.insert(parsed, value);
        }
        Ok(Self { uri, headers, compression: config.compression })
    }

    fn request(&self) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = http::Method::POST;
        *request.version_mut() = http::Version::HTTP_2;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// Sends `message` as one call and reads the answer. Takes as long as the upstream does: the caller bounds it.
pub(crate) async fn export(mut send: SendRequest<Body>, template: &Template, message: &Rope) -> Outcome {
    let Some(prefix) = prefix(template.compression == Compression::Gzip, message.len()) else {
        return refused(Code::RESOURCE_EXHAUSTED, "message length too large for gRPC".to_owned());
    };
    let body = Bytes::copy_from_slice(&prefix).chain(message.reader());
    let answer = match send.send_request(template.request(), false) {
        Ok((answer, mut stream)) => match stream.send_data(body, true) {
            Ok(()) => answer,
            Err(error) => return lost(&error),
        },
        Err(error) => return lost(&error),
    };
    match answer.await {
        Ok(response) => read_answer(response).await.unwrap_or_else(|error| lost(&error)),
        Err(error) => lost(&error),
    }
}

async fn read_answer(response: Response<RecvStream>) -> Result<Outcome, h2::Error> {
    let (head, mut stream) = response.into_parts();
    // Trailers-Only: the status stands in the headers.
    if head.headers.contains_key("grpc-status") {
        return Ok(outcome(&head.headers, None));
    }
    if head.status != StatusCode::OK {
        let code = Code::from_http(head.status.as_u16());
        return Ok(refused(code, format!("upstream answered HTTP status {}", head.status)));
    }
    let content_type = head.headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    if !content_type.starts_with(b"application/grpc") {
        let seen = String::from_utf8_lossy(content_type).into_owned();
        return Ok(refused(Code::UNKNOWN, format!("upstream is no gRPC server: content-type {seen:?}")));
    }
    let mut assembler = MessageAssembler::new(UPSTREAM_RESPONSE_BYTES_MAX);
    let mut malformed = None;
    while let Some(chunk) = stream.data().await {
        let chunk = chunk?;
        stream.flow_control().release_capacity(chunk.len())?;
        if malformed.is_none() {
            malformed = assembler.push(chunk).err();
        }
    }
    let trailers = stream.trailers().await?.unwrap_or_default();
    if !trailers.contains_key("grpc-status") {
        return Ok(refused(Code::UNKNOWN, "upstream ended the call without a grpc-status".to_owned()));
    }
    // A body that cannot be read says nothing about partial success; the status stands.
    let message = malformed.is_none().then(|| assembler.finish().ok()).flatten();
    let body = message.filter(|message| !message.compressed).map(|message| message.body.to_bytes());
    Ok(outcome(&trailers, body))
}

/// The outcome of headers or trailers that carry a `grpc-status`.
fn outcome(headers: &HeaderMap, body: Option<Bytes>) -> Outcome {
    let bytes = |name| headers.get(name).map_or(&b""[..], HeaderValue::as_bytes);
    let code = Code::parse(bytes("grpc-status"));
    if code != Code::OK {
        let retry_delay = retry_delay(bytes("grpc-status-details-bin"));
        let status = Status::new(code, decode_message(bytes("grpc-message")));
        return Outcome::Refused { status, retry_delay };
    }
    let response = body.and_then(|body| <ExportResponse as prost::Message>::decode(body).ok());
    let partial = response.and_then(|response| response.partial_success).unwrap_or_default();
    let rejected = u64::try_from(partial.rejected_spans).unwrap_or(0);
    Outcome::Accepted { rejected, message: partial.error_message }
}

fn refused(code: Code, message: String) -> Outcome {
    Outcome::Refused { status: Status::new(code, message), retry_delay: None }
}

fn lost(error: &h2::Error) -> Outcome {
    Outcome::Lost { cause: error.to_string() }
}
