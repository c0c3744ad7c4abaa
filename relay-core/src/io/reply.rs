//! What callers of the gRPC server are answered when they are refused. Success is written by [`crate::http2::Server`].

use http::StatusCode;

use super::call::Rejection;
use crate::encoding::GRPC_ACCEPT;
use crate::grpc::{Code, encode_message, status_details_with_retry};
use crate::http2::Server;
use crate::limits::REFUSED_RETRY_DELAY;

/// Refuses a call: an error status as a response without a body ("Trailers-Only"), or a plain HTTP status for a caller that
/// does not speak gRPC (gRPC over HTTP2: 415 for another content type). With [`Rejection::is_retryable`], the sender is asked to
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

fn grpc_fields(rejection: &Rejection, fields: &mut Vec<(&[u8], Vec<u8>)>) {
    let status = &rejection.status;
    fields.push((b":status", b"200".to_vec()));
    fields.push((b"content-type", b"application/grpc".to_vec()));
    fields.push((b"grpc-status", status.code.0.to_string().into_bytes()));
    fields.push((b"grpc-message", encode_message(&status.message).into_bytes()));
    if rejection.is_retryable() {
        let details = status_details_with_retry(status.code, &status.message, REFUSED_RETRY_DELAY);
        fields.push((b"grpc-status-details-bin", details.into_bytes()));
    }
    if status.code == Code::UNIMPLEMENTED {
        fields.push((b"grpc-accept-encoding", GRPC_ACCEPT.as_bytes().to_vec()));
    }
}
