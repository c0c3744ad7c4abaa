//! One `Export` call to an OTLP/gRPC upstream, from the batch to its [`Outcome`].

use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::buf::Chain;
use bytes::{Buf, Bytes};
use http::uri::Authority;
use http::{HeaderName, HeaderValue, StatusCode};

use super::auth::{AuthError, Credentials};
use super::link::Link;
use crate::batch::{Encoding, Rope, RopeReader};
use crate::config::{Compression, GrpcConfig};
use crate::grpc::{
    Code, ExportResponse, MessageAssembler, Status, decode_message, format_timeout, prefix, retry_delay,
};
use crate::http2::{Answer, Ended, RequestHead, literal_field};
use crate::limits::UPSTREAM_RESPONSE_BYTES_MAX;
use crate::otlp::Signal;
use crate::upstream::Outcome;

/// The body of a call as it is written: the message's prefix, then the rope as it is.
pub(crate) type Body = Chain<Bytes, RopeReader>;

const ENCODING_FIELD: &str = "grpc-encoding";

/// OTLP Exporter specification, "User Agent": the exporter's name and version, after those of the product.
pub(crate) const USER_AGENT_VALUE: &str =
    concat!("relayd/", env!("CARGO_PKG_VERSION"), " OTel-OTLP-Exporter-Rust/", env!("CARGO_PKG_VERSION"));

/// What was configured and cannot be said in a call's headers.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TemplateError {
    #[error("header {0:?} is not a valid name or has a value that is not valid")]
    Header(String),
    #[error("{0:?} is not a valid authority of a URI")]
    Authority(String),
    #[error("{0:?} is not a valid URI")]
    Url(String),
    #[error("{0}")]
    Proxy(String),
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error("gRPC has no name for the compression {0:?}")]
    Compression(Compression),
}

/// What all calls to one upstream have in common; made once, and again when the credentials have changed.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    head: Arc<RequestHead>,
    pub(crate) compression: Compression,
    // Whether calls name their encodings themselves, because some of them have that in which their requests came.
    names_encoding: bool,
    changing: Option<Arc<Changing>>,
}

/// A head whose credentials change.
struct Changing {
    credentials: Credentials,
    https: bool,
    shared: Vec<(&'static str, String)>,
    secret: Vec<(HeaderName, HeaderValue)>,
    current: Mutex<(HeaderValue, Arc<RequestHead>)>,
}

impl std::fmt::Debug for Changing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.credentials.fmt(f)
    }
}

impl Changing {
    fn head(&self) -> Arc<RequestHead> {
        let value = self.credentials.value();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.0 != value {
            let shown = Some((self.credentials.name(), &value));
            let head = Arc::new(head(self.https, &self.shared, &self.secret, shown));
            *current = (value, head);
        }
        Arc::clone(&current.1)
    }
}

impl Template {
    /// For calls with requests of `signal`; `unopened` says that some of them are encoded as they came.
    pub(crate) fn new(config: &GrpcConfig, signal: Signal, unopened: bool) -> Result<Self, TemplateError> {
        let authority = config.authority.clone().unwrap_or_else(|| config.endpoint.authority());
        let user_agent = config.user_agent.as_deref().unwrap_or(USER_AGENT_VALUE);
        if Authority::try_from(authority.as_str()).is_err() {
            return Err(TemplateError::Authority(authority));
        }
        let timeout = format_timeout(config.timeout);
        let mut shared = vec![
            (":path", signal.grpc_path().to_owned()),
            (":authority", authority),
            ("te", "trailers".to_owned()),
            ("content-type", "application/grpc".to_owned()),
            ("user-agent", user_agent.to_owned()),
            ("grpc-timeout", timeout),
        ];
        let encoding = config.compression.grpc_name();
        let encoding = encoding.ok_or(TemplateError::Compression(config.compression))?;
        if config.compression != Compression::None && !unopened {
            shared.push((ENCODING_FIELD, encoding.to_owned()));
        }
        let mut secret = Vec::with_capacity(config.headers.len());
        for (name, value) in &config.headers {
            let error = || TemplateError::Header(name.clone());
            let name = HeaderName::try_from(name.to_ascii_lowercase()).map_err(|_| error())?;
            let value = HeaderValue::try_from(value).map_err(|_| error())?;
            secret.push((name, value));
        }
        let credentials = config.auth.as_deref().map(Credentials::new).transpose()?;
        let value = credentials.as_ref().map(|credentials| (credentials.name(), credentials.value()));
        let https = config.tls.is_some();
        let shown = value.as_ref().map(|(name, value)| (*name, value));
        let head = Arc::new(head(https, &shared, &secret, shown));
        let value = value.map(|(_, value)| value);
        let changing = credentials.filter(|credentials| !credentials.is_fixed()).zip(value);
        let changing = changing.map(|(credentials, value)| {
            let current = Mutex::new((value, Arc::clone(&head)));
            Arc::new(Changing { credentials, https, shared, secret, current })
        });
        Ok(Self { head, compression: config.compression, names_encoding: unopened, changing })
    }

    /// The head of a call that begins now.
    fn head(&self) -> Arc<RequestHead> {
        self.changing.as_ref().map_or_else(|| Arc::clone(&self.head), |changing| changing.head())
    }
}

fn head(
    https: bool,
    shared: &[(&'static str, String)],
    secret: &[(HeaderName, HeaderValue)],
    credentials: Option<(&HeaderName, &HeaderValue)>,
) -> RequestHead {
    // Shown once: a server would look at the first of two alone.
    let others = secret.iter().filter(|(name, _)| credentials.is_none_or(|(shown, _)| shown != name));
    let secret = others.map(|(name, value)| (name, value)).chain(credentials);
    RequestHead::new(
        https,
        shared.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())),
        secret.map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes())),
    )
}

/// How sending a message once has ended.
pub(crate) enum Tried {
    /// With an answer, or with the reason why it cannot be sent at all.
    Ended(Outcome),
    /// The upstream leaves, or takes no more calls on this connection, and has not looked at it.
    NotProcessed,
    /// On the way, for this reason.
    Lost(String),
}

/// Sends `message`, which is encoded as it says, as one call and reads the answer. Takes as long as the upstream does: the caller
/// bounds it.
pub(crate) async fn export(
    link: &Rc<Link>,
    template: &Template,
    (message, encoding): (&Rope, Option<Encoding>),
) -> Tried {
    let Some(prefix) = prefix(encoding.is_some(), message.len()) else {
        return Tried::Ended(refused(
            Code::RESOURCE_EXHAUSTED,
            "message length too large for gRPC".to_owned(),
        ));
    };
    let name = encoding.filter(|_| template.names_encoding).and_then(Encoding::grpc_name);
    let own_field = name.map(|name| literal_field(ENCODING_FIELD.as_bytes(), name.as_bytes()));
    let body = Bytes::copy_from_slice(&prefix).chain(message.reader());
    match link.call(&template.head(), own_field.as_deref().unwrap_or_default(), body).await {
        Ok(Ended::Answered(answer)) => Tried::Ended(outcome(*answer)),
        Ok(Ended::Reset(reason)) => Tried::Lost(format!("upstream reset the call: {}", reason.0)),
        Ok(Ended::NotProcessed) => Tried::NotProcessed,
        Err(cause) => Tried::Lost(cause),
    }
}

/// What an answer means.
fn outcome(answer: Answer) -> Outcome {
    let Some(code) = answer.grpc_status else {
        return not_grpc(&answer);
    };
    if code != Code::OK {
        let retry_delay = retry_delay(&answer.grpc_status_details);
        let status = Status::new(code, decode_message(&answer.grpc_message));
        return Outcome::Refused { status, retry_delay };
    }
    // A body that cannot be read says nothing about partial success; the status stands.
    let partial = read_message(answer.body).and_then(|response| response.partial_success).unwrap_or_default();
    let rejected = u64::try_from(partial.rejected_items).unwrap_or(0);
    Outcome::Accepted { rejected, message: partial.error_message }
}

/// An answer without a `grpc-status`: what its HTTP head says.
fn not_grpc(answer: &Answer) -> Outcome {
    if answer.http_status != 200 {
        let code = Code::from_http(answer.http_status);
        let status = answer.http_status;
        let text =
            StatusCode::from_u16(status).map_or_else(|_| status.to_string(), |known| known.to_string());
        return refused(code, format!("upstream answered HTTP status {text}"));
    }
    if !answer.is_grpc {
        let seen = String::from_utf8_lossy(&answer.content_type);
        return refused(Code::UNKNOWN, format!("upstream is no gRPC server: content-type {seen:?}"));
    }
    refused(Code::UNKNOWN, "upstream ended the call without a grpc-status".to_owned())
}

fn read_message(body: Vec<u8>) -> Option<ExportResponse> {
    let mut assembler = MessageAssembler::new(UPSTREAM_RESPONSE_BYTES_MAX);
    assembler.push(body.into()).ok()?;
    let message = assembler.finish().ok().filter(|message| !message.compressed)?;
    <ExportResponse as prost::Message>::decode(message.body.to_bytes()).ok()
}

fn refused(code: Code, message: String) -> Outcome {
    Outcome::Refused { status: Status::new(code, message), retry_delay: None }
}
