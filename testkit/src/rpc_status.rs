//! `google.rpc.Status` and `RetryInfo` (googleapis google/rpc/status.proto, error_details.proto), as far as OTLP uses them
//! (OTLP specification, section "OTLP/gRPC Throttling"): written by the scripted collector, read from the relay's refusals.
//!
//! Must never know other error details; they are carried as they are.

use std::time::Duration;

use prost::Message;

/// Type URL of `google.rpc.RetryInfo` inside an `Any`.
pub const RETRY_INFO_TYPE: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// `google.rpc.Status`, the content of `grpc-status-details-bin`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RpcStatus {
    /// gRPC status code.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// Text for developers.
    #[prost(string, tag = "2")]
    pub message: String,
    /// Details, of which [`RETRY_INFO_TYPE`] is the one OTLP names.
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Any {
    /// Names the type of `value`.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// An encoded message.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<ProtoDuration>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct ProtoDuration {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// The bytes of `grpc-status-details-bin` (before base64) for a status with a retry delay.
#[must_use]
pub fn encode_retry_info(code: i32, message: &str, retry_after: Duration) -> Vec<u8> {
    let retry_delay =
        ProtoDuration { seconds: retry_after.as_secs() as i64, nanos: retry_after.subsec_nanos() as i32 };
    let value = RetryInfo { retry_delay: Some(retry_delay) }.encode_to_vec();
    let details = vec![Any { type_url: RETRY_INFO_TYPE.to_owned(), value }];
    RpcStatus { code, message: message.to_owned(), details }.encode_to_vec()
}

/// The retry delay in the bytes of `grpc-status-details-bin` (after base64), if there is a `RetryInfo` with one.
#[must_use]
pub fn decode_retry_info(details: &[u8]) -> Option<Duration> {
    let status = RpcStatus::decode(details).ok()?;
    let any = status.details.iter().find(|any| any.type_url == RETRY_INFO_TYPE)?;
    let delay = RetryInfo::decode(any.value.as_slice()).ok()?.retry_delay?;
    Some(Duration::new(u64::try_from(delay.seconds).ok()?, u32::try_from(delay.nanos).ok()?))
}

/// The retry delay that a tonic client received with a refusal.
#[must_use]
pub fn retry_delay(status: &tonic::Status) -> Option<Duration> {
    decode_retry_info(status.details())
}

/// [`decode_retry_info`] on the header as it stands in trailers: base64, padded or not.
#[must_use]
pub fn retry_delay_in(trailers: &http::HeaderMap) -> Option<Duration> {
    use base64::Engine;
    use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let engine = GeneralPurpose::new(&base64::alphabet::STANDARD, lenient);
    decode_retry_info(&engine.decode(trailers.get("grpc-status-details-bin")?).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_delay_survives_the_way_through_a_trailer() {
        use base64::Engine;
        let bytes = encode_retry_info(14, "later", Duration::from_millis(1_250));
        let text = base64::engine::general_purpose::STANDARD_NO_PAD.encode(&bytes);
        let trailers =
            [("grpc-status-details-bin".parse().unwrap(), text.parse().unwrap())].into_iter().collect();
        assert_eq!(retry_delay_in(&trailers), Some(Duration::from_millis(1_250)));
    }

    /// Bytes written out by hand from the .proto files: code 14, then one Any whose RetryInfo says 2 s.
    #[test]
    fn retry_delay_is_read_from_foreign_bytes() {
        let mut bytes = vec![0x08, 14, 0x1a, 48, 0x0a, 40];
        bytes.extend_from_slice(RETRY_INFO_TYPE.as_bytes());
        bytes.extend_from_slice(&[0x12, 4, 0x0a, 2, 0x08, 2]);
        assert_eq!(decode_retry_info(&bytes), Some(Duration::from_secs(2)));
        assert_eq!(decode_retry_info(&[0x08, 14]), None);
        assert_eq!(decode_retry_info(&[0xff]), None);
    }
}
