//! What callers of the gRPC server are answered. Header maps are made once and cloned: building them anew costs more
//! than the rest of an answer.

use bytes::Bytes;
use h2::Reason;
use h2::server::SendResponse;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use crate::grpc::{Code, ExportResponse, Status, encode_message, status_details_with_retry};
use crate::limits::REFUSED_RETRY_DELAY;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const APPLICATION_GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// An empty message: full success leaves `partial_success` unset (OTLP, "Full Success").
const EMPTY_MESSAGE: &[u8] = &[0; 5];

/// Prepared answers of one core.
#[derive(Debug)]
pub(crate) struct Replies {
    head: HeaderMap,
    ok: HeaderMap,
}

impl Replies {
    pub(crate) fn new() -> Self {
        let head = HeaderMap::from_iter([(CONTENT_TYPE, APPLICATION_GRPC)]);
        let ok = HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from_static("0"))]);
        // The answer is a message without fields; the type is named so that a change of it is noticed here.
        debug_assert_eq!(prost::Message::encoded_len(&ExportResponse::default()), 0);
        Self { head, ok }
    }

    /// Full success. An error means that the caller has gone.
    pub(crate) fn accept(&self, respond: &mut SendResponse<Bytes>) -> Result<(), h2::Error> {
        let mut response = Response::new(());
        *response.headers_mut() = self.head.clone();
        let mut stream = respond.send_response(response, false)?;
        stream.send_data(Bytes::from_static(EMPTY_MESSAGE), false)?;
        stream.send_trailers(self.ok.clone())
    }

    /// An error status, as a response without a body ("Trailers-Only"). With `retry`, the sender is asked to come
    /// back (OTLP/gRPC, "Throttling").
    pub(crate) fn refuse(
        &self,
        respond: &mut SendResponse<Bytes>,
        status: &Status,
        retry: bool,
    ) -> Result<(), h2::Error> {
        let mut response = Response::new(());
        let headers = response.headers_mut();
        *headers = self.head.clone();
        headers.insert(GRPC_STATUS, HeaderValue::from(status.code.0));
        if let Ok(message) = HeaderValue::try_from(encode_message(&status.message)) {
            headers.insert(GRPC_MESSAGE, message);
        }
        if retry {
            let details = status_details_with_retry(status.code, &status.message, REFUSED_RETRY_DELAY);
            if let Ok(details) = HeaderValue::try_from(details) {
                headers.insert(GRPC_STATUS_DETAILS, details);
            }
        }
        if status.code == Code::UNIMPLEMENTED {
            headers.insert(GRPC_ACCEPT_ENCODING, HeaderValue::from_static("identity,gzip"));
        }
        respond.send_response(response, true).map(drop)
    }

    /// Not a gRPC call at all: a plain HTTP status (gRPC over HTTP2: 415 for another content type).
    pub(crate) fn refuse_http(
        respond: &mut SendResponse<Bytes>,
        status: StatusCode,
    ) -> Result<(), h2::Error> {
        let mut response = Response::new(());
        *response.status_mut() = status;
        if status == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(Method::POST.as_str()));
        }
        respond.send_response(response, true).map(drop)
    }

    /// Ends a call that cannot be answered in words.
    pub(crate) fn reset(respond: &mut SendResponse<Bytes>) {
        respond.send_reset(Reason::CANCEL);
    }
}
