//! What callers of the gRPC server are answered when they are refused, or taken in part. Full success is written by
//! [`crate::http2::Server`].

use http::StatusCode;
use prost::Message as _;

use super::call::Rejection;
use crate::encoding::GRPC_ACCEPT;
use crate::grpc::{Code, ExportResponse, PartialSuccess, encode_message, prefix, status_details_with_retry};
use crate::http2::Server;
use crate::limits::PARTIAL_MESSAGE_BYTES_MAX;

/// Refuses a call: an error status as a response without a body ("Trailers-Only"), or a plain HTTP status for a caller that
/// does not speak gRPC (gRPC over HTTP2: 415 for another content type). With [`Rejection::retry_delay`], the sender is asked to
/// come back (OTLP/gRPC, "Throttling").
pub(crate) fn refuse(http2: &mut Server, stream: u32, rejection: &Rejection) {
    let mut fields: Vec<(&[u8], Vec<u8>)> = Vec::with_capacity(6);
    match rejection.http {
        Some(status) => {
            fields.push((b":status", status.as_str().as_bytes().to_vec()));
            if status == StatusCode::METHOD_NOT_ALLOWED {
                fields.push((b"allow", b"POST".to_vec()));
            }
        }
        None => grpc_fields(rejection, &mut fields),
    }
    http2.refuse(stream, fields.iter().map(|(name, value)| (*name, &value[..])));
}

/// Accepts a call with a partial success: what the upstream rejected, or its warning.
pub(crate) fn accept_partly(http2: &mut Server, stream: u32, rejected: u64, message: &str) {
    let response = partial_success(rejected, message).encode_to_vec();
    let mut framed = prefix(false, response.len()).map(|prefix| prefix.to_vec()).unwrap_or_default();
    framed.extend_from_slice(&response);
    http2.accept_with(stream, framed);
}

/// The response message of a partial success. Its text is cut where it is long: OTLP, "the server MUST limit response size".
pub(crate) fn partial_success(rejected: u64, message: &str) -> ExportResponse {
    let cut = message.floor_char_boundary(PARTIAL_MESSAGE_BYTES_MAX);
    let error_message = message.get(..cut).unwrap_or_default().to_owned();
    let rejected_items = i64::try_from(rejected).unwrap_or(i64::MAX);
    ExportResponse { partial_success: Some(PartialSuccess { rejected_items, error_message }) }
}

fn grpc_fields(rejection: &Rejection, fields: &mut Vec<(&[u8], Vec<u8>)>) {
    let status = &rejection.status;
    fields.push((b":status", b"200".to_vec()));
    fields.push((b"content-type", b"application/grpc".to_vec()));
    fields.push((b"grpc-status", status.code.0.to_string().into_bytes()));
    fields.push((b"grpc-message", encode_message(&status.message).into_bytes()));
    if let Some(delay) = rejection.retry_delay() {
        let details = status_details_with_retry(status.code, &status.message, delay);
        fields.push((b"grpc-status-details-bin", details.into_bytes()));
    }
    if status.code == Code::UNIMPLEMENTED {
        fields.push((b"grpc-accept-encoding", GRPC_ACCEPT.as_bytes().to_vec()));
    }
}
