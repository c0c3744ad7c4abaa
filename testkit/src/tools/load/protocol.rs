//! The three transports of OTLP that the load speaks, and what of a request differs between them.
//!
//! Must never be asked while the load is measured: all of this is done beforehand.

use bytes::Bytes;
use prost::Message;

use crate::oracle::ExportTraceServiceRequest;
use crate::otlp_json::{Form, traces};
use crate::raw::{grpc_message, grpc_message_compressed, gzip};

/// How requests are sent, by the names of `OTEL_EXPORTER_OTLP_PROTOCOL` (OpenTelemetry specification, "Protocol Exporter").
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// gRPC: protobuf over HTTP/2.
    #[value(name = "grpc")]
    Grpc,
    /// Protobuf over HTTP/1.1.
    #[value(name = "http/protobuf")]
    HttpProtobuf,
    /// JSON over HTTP/1.1: 64-bit numbers as strings, defaults left out.
    #[value(name = "http/json")]
    HttpJson,
}

impl Protocol {
    pub(super) fn is_http(self) -> bool {
        self != Self::Grpc
    }

    /// `message`, a traces request as protobuf, as it goes out to `authority`: for gRPC with its prefix, for HTTP with the request's head.
    pub(super) fn body(self, message: &Bytes, is_gzip: bool, authority: &str) -> Bytes {
        let content = match self {
            Self::Grpc if is_gzip => return grpc_message_compressed(&gzip(message)),
            Self::Grpc => return grpc_message(message),
            Self::HttpProtobuf => message.clone(),
            Self::HttpJson => json_of(message),
        };
        let content = if is_gzip { gzip(&content).into() } else { content };
        let mut request = self.head(content.len(), is_gzip, authority).into_bytes();
        request.extend_from_slice(&content);
        request.into()
    }

    /// The head of a request, as Go's net/http writes it (OTLP specification, section OTLP/HTTP Request).
    fn head(self, content_bytes: usize, is_gzip: bool, authority: &str) -> String {
        let content_type = if self == Self::HttpJson { "application/json" } else { "application/x-protobuf" };
        let encoding = if is_gzip { "Content-Encoding: gzip\r\n" } else { "" };
        format!(
            "POST /v1/traces HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: testkit/{}\r\nContent-Length: {content_bytes}\r\n{encoding}\
             Content-Type: {content_type}\r\n\r\n",
            env!("CARGO_PKG_VERSION"),
        )
    }
}

fn json_of(message: &Bytes) -> Bytes {
    let request =
        ExportTraceServiceRequest::decode(message.clone()).expect("our own requests are well-formed");
    traces(&request, Form { sparse: true, ..Form::default() }).to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::kube_like_bytes;
    use crate::wire::count_spans;
    use std::io::Read;

    fn split(request: &[u8]) -> (String, &[u8]) {
        let end = request.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        (String::from_utf8(request[..end].to_vec()).unwrap(), &request[end..])
    }

    /// Guarantee: the head says what the content is and how long, and the content is the request.
    #[test]
    fn heads_say_what_follows() {
        let message = kube_like_bytes(3, 1);
        let plain = Protocol::HttpProtobuf.body(&message, false, "a:4318");
        let (head, content) = split(&plain);
        let start = "POST /v1/traces HTTP/1.1\r\nHost: a:4318\r\n";
        assert!(head.starts_with(start) && !head.contains("Content-Encoding"), "{head}");
        assert!(head.contains("\r\nContent-Type: application/x-protobuf\r\n"), "{head}");
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", message.len())) && content == message);

        let packed = Protocol::HttpProtobuf.body(&message, true, "a:4318");
        let (head, content) = split(&packed);
        assert!(head.contains("\r\nContent-Encoding: gzip\r\n"), "{head}");
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", content.len())), "{head}");
        let mut opened = Vec::new();
        flate2::read::GzDecoder::new(content).read_to_end(&mut opened).unwrap();
        assert_eq!(count_spans(&opened), Ok(3));

        let json = Protocol::HttpJson.body(&message, false, "a:4318");
        let (head, content) = split(&json);
        assert!(head.contains("\r\nContent-Type: application/json\r\n"), "{head}");
        let value: serde_json::Value = serde_json::from_slice(content).unwrap();
        let spans = value["resourceSpans"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|of| of["scopeSpans"].as_array().unwrap());
        assert_eq!(spans.map(|of| of["spans"].as_array().unwrap().len()).sum::<usize>(), 3);
    }
}
