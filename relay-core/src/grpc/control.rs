//! The control messages of OTLP/gRPC, by prost: they are small and rare, and never a payload.
//!
//! Written by hand after google/rpc/status.proto, google/rpc/error_details.proto, google/protobuf/{any,duration}.proto
//! and opentelemetry/proto/collector/trace/v1/trace_service.proto (the responses of other signals have the same numbers), so that nobody needs protoc.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use prost::Message;

use super::{Code, Status};

/// google.rpc.Status.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// google.protobuf.Any.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// google.rpc.RetryInfo with its google.protobuf.Duration.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<ProtoDuration>,
}

/// google.protobuf.Duration.
#[derive(Clone, PartialEq, Message)]
struct ProtoDuration {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// `ExportTraceServiceResponse` and its like: empty for full success.
#[derive(Clone, PartialEq, Message)]
pub struct ExportResponse {
    /// Set when something was rejected, or a warning is attached.
    #[prost(message, optional, tag = "1")]
    pub partial_success: Option<PartialSuccess>,
}

/// `ExportTracePartialSuccess` and its like.
#[derive(Clone, PartialEq, Message)]
pub struct PartialSuccess {
    /// Items rejected; 0 with a non-empty message is a warning.
    #[prost(int64, tag = "1")]
    pub rejected_items: i64,
    /// English text for developers.
    #[prost(string, tag = "2")]
    pub error_message: String,
}

const RETRY_INFO_TYPE: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// `status` as `google.rpc.Status`, without details: the body of an OTLP/HTTP refusal.
pub fn status_bytes(status: &Status) -> Vec<u8> {
    let code = i32::try_from(status.code.0).unwrap_or(2);
    RpcStatus { code, message: status.message.to_string(), details: Vec::new() }.encode_to_vec()
}

/// The message of a `google.rpc.Status`; `None` for what is none.
pub fn status_message(bytes: &[u8]) -> Option<String> {
    RpcStatus::decode(bytes).ok().map(|status| status.message)
}

/// The value of a `grpc-status-details-bin` header: the status with a `RetryInfo` of `delay` (OTLP/gRPC, "Throttling").
pub fn status_details_with_retry(code: Code, message: &str, delay: Duration) -> String {
    let seconds = i64::try_from(delay.as_secs()).unwrap_or(i64::MAX);
    let nanos = i32::try_from(delay.subsec_nanos()).unwrap_or(0);
    let info = RetryInfo { retry_delay: Some(ProtoDuration { seconds, nanos }) };
    let details = vec![Any { type_url: RETRY_INFO_TYPE.to_owned(), value: info.encode_to_vec() }];
    let status = RpcStatus { code: i32::try_from(code.0).unwrap_or(2), message: message.to_owned(), details };
    STANDARD_NO_PAD.encode(status.encode_to_vec())
}

/// The delay that a `grpc-status-details-bin` header asks for, if it carries a `RetryInfo`. A `RetryInfo` without a
/// delay, or with a negative one, asks for a delay of zero.
pub fn retry_delay(details: &[u8]) -> Option<Duration> {
    // The gRPC document asks readers to take base64 with and without padding.
    let bytes = STANDARD_NO_PAD.decode(details).or_else(|_| STANDARD.decode(details)).ok()?;
    let status = RpcStatus::decode(&bytes[..]).ok()?;
    let info = status.details.iter().find(|any| any.type_url == RETRY_INFO_TYPE)?;
    let delay = RetryInfo::decode(&info.value[..]).ok()?.retry_delay.unwrap_or_default();
    let (seconds, nanos) = (u64::try_from(delay.seconds), u32::try_from(delay.nanos));
    Some(Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0).min(999_999_999)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_info_there_and_back() {
        for delay in [Duration::ZERO, Duration::from_millis(1500), Duration::from_secs(90_000)] {
            let details = status_details_with_retry(Code::UNAVAILABLE, "queue is full", delay);
            assert_eq!(retry_delay(details.as_bytes()), Some(delay));
        }
    }

    #[test]
    fn padding_is_optional_and_garbage_is_no_delay() {
        let details = status_details_with_retry(Code::UNAVAILABLE, "x", Duration::from_secs(3));
        let bytes = STANDARD_NO_PAD.decode(&details).unwrap();
        assert_eq!(retry_delay(STANDARD.encode(bytes).as_bytes()), Some(Duration::from_secs(3)));
        assert_eq!(retry_delay(b"!!"), None);
        assert_eq!(retry_delay(STANDARD_NO_PAD.encode(b"\x08\x0e").as_bytes()), None, "no details");
    }
}
