//! `TraceService/Export` by hand, because tonic's generated service gives the decoded message and drops the bytes.
//!
//! Must never read more of a message than the collector's limit allows, nor answer before the call is on record.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Buf, BufMut, Bytes};
use prost::Message;
use tonic::codec::{
    Codec, CompressionEncoding, DecodeBuf, Decoder, EnabledCompressionEncodings, EncodeBuf, Encoder,
};
use tonic::codegen::{Body, BoxFuture, Service, StdError};
use tonic::{Code, Request, Response, Status};

use super::record::{Call, Outcome, Record};
use super::script::{Reply, Script};
use crate::oracle::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse, decode,
};
use crate::rpc_status::encode_retry_info;

const EXPORT_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// The service that tonic's router calls.
#[derive(Debug, Clone)]
pub(super) struct TraceService {
    pub(super) record: Arc<Record>,
    pub(super) script: Arc<Mutex<Script>>,
    pub(super) recv_bytes_max: usize,
    pub(super) gzip: bool,
}

impl tonic::server::NamedService for TraceService {
    const NAME: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";
}

impl<B> Service<http::Request<B>> for TraceService
where
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        if request.uri().path() != EXPORT_PATH {
            return Box::pin(async { Ok(Status::unimplemented("no such method").into_http()) });
        }
        let service = self.clone();
        Box::pin(async move {
            let mut encodings = EnabledCompressionEncodings::default();
            if service.gzip {
                encodings.enable(CompressionEncoding::Gzip);
            }
            let mut grpc = tonic::server::Grpc::new(RawCodec { recv_bytes_max: service.recv_bytes_max })
                .apply_compression_config(encodings, EnabledCompressionEncodings::default())
                // The decoder below enforces the limit, with grpc-go's status instead of tonic's OUT_OF_RANGE.
                .apply_max_message_size_config(Some(usize::MAX), None);
            Ok(grpc.unary(Export(service), request).await)
        })
    }
}

struct Export(TraceService);

impl tonic::server::UnaryService<RawMessage> for Export {
    type Response = ExportTraceServiceResponse;
    type Future = BoxFuture<Response<Self::Response>, Status>;

    fn call(&mut self, request: Request<RawMessage>) -> Self::Future {
        let service = self.0.clone();
        Box::pin(async move { service.export(request).await })
    }
}

impl TraceService {
    async fn export(
        &self,
        request: Request<RawMessage>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let peer = request.remote_addr();
        let (metadata, _, message) = request.into_parts();
        let mut call = Call {
            raw: Bytes::new(),
            request: ExportTraceServiceRequest::default(),
            metadata: metadata.into_headers(),
            peer,
            at: Instant::now(),
            outcome: Outcome::Unanswered,
        };
        let raw = match message {
            RawMessage::Whole(raw) => raw,
            RawMessage::TooLarge(bytes) => {
                call.outcome = Outcome::TooLarge;
                self.record.push(call);
                let text =
                    format!("grpc: received message larger than max ({bytes} vs. {})", self.recv_bytes_max);
                return Err(Status::resource_exhausted(text));
            }
        };
        let decoded = decode(&raw);
        call.raw = raw;
        match decoded {
            Ok(decoded) => call.request = decoded,
            Err(error) => {
                call.outcome = Outcome::Unreadable;
                self.record.push(call);
                return Err(Status::internal(format!("grpc: error unmarshalling request: {error}")));
            }
        }
        let request = call.request.clone();
        let (index, number) = self.record.push(call);
        let script = self.script.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let reply = wait_out(script.reply(&request, number)).await;
        let (outcome, answer) = answer(reply);
        self.record.finish(index, outcome);
        answer
    }
}

/// Sits out delays; the caller's going away drops the future and leaves the call unanswered.
async fn wait_out(mut reply: Reply) -> Reply {
    loop {
        match reply {
            Reply::Delay(delay, then) => {
                tokio::time::sleep(delay).await;
                reply = *then;
            }
            Reply::NeverAnswer => std::future::pending().await,
            other => return other,
        }
    }
}

fn answer(reply: Reply) -> (Outcome, Result<Response<ExportTraceServiceResponse>, Status>) {
    match reply {
        Reply::PartialSuccess { rejected_spans, message } => {
            let partial = ExportTracePartialSuccess { rejected_spans, error_message: message };
            let response = ExportTraceServiceResponse { partial_success: Some(partial) };
            (Outcome::Partial(rejected_spans), Ok(Response::new(response)))
        }
        Reply::Status { code: Code::Ok, .. } | Reply::Ok => {
            (Outcome::Accepted, Ok(Response::new(ExportTraceServiceResponse::default())))
        }
        Reply::Status { code, message, retry_after } => {
            let status = match retry_after {
                Some(delay) => {
                    let details = encode_retry_info(code as i32, &message, delay);
                    Status::with_details(code, message, details.into())
                }
                None => Status::new(code, message),
            };
            (Outcome::Refused(code), Err(status))
        }
        Reply::Delay(..) | Reply::NeverAnswer => unreachable!("wait_out resolves these"),
    }
}

/// A message as it came, or the size of one that is over the limit.
#[derive(Debug)]
enum RawMessage {
    Whole(Bytes),
    TooLarge(usize),
}

#[derive(Debug, Clone, Copy)]
struct RawCodec {
    recv_bytes_max: usize,
}

impl Codec for RawCodec {
    type Encode = ExportTraceServiceResponse;
    type Decode = RawMessage;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for RawCodec {
    type Item = ExportTraceServiceResponse;
    type Error = Status;

    fn encode(&mut self, item: Self::Item, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put_slice(&item.encode_to_vec());
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = RawMessage;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<RawMessage>, Status> {
        let len = bytes.remaining();
        if len > self.recv_bytes_max {
            bytes.advance(len);
            return Ok(Some(RawMessage::TooLarge(len)));
        }
        Ok(Some(RawMessage::Whole(bytes.copy_to_bytes(len))))
    }
}
