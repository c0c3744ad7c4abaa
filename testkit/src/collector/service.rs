//! `Export` of every signal by hand, because tonic's generated services give the decoded message and drop the bytes.
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
use super::signal::Signal;
use crate::oracle::{
    DecodeError, ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse, decode,
};
use crate::rpc_status::encode_retry_info;

/// What tonic's server calls for every request.
#[derive(Debug, Clone)]
pub(super) struct ExportService {
    pub(super) record: Arc<Record>,
    pub(super) script: Arc<Mutex<Script>>,
    pub(super) recv_bytes_max: usize,
    pub(super) gzip: bool,
}

impl<B> Service<http::Request<B>> for ExportService
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
        let Some(signal) = Signal::of_grpc_path(request.uri().path()) else {
            return Box::pin(async { Ok(Status::unimplemented("no such method").into_http()) });
        };
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
            Ok(grpc.unary(Export(service, signal), request).await)
        })
    }
}

struct Export(ExportService, Signal);

impl tonic::server::UnaryService<RawMessage> for Export {
    type Response = ExportTraceServiceResponse;
    type Future = BoxFuture<Response<Self::Response>, Status>;

    fn call(&mut self, request: Request<RawMessage>) -> Self::Future {
        let Self(service, signal) = self;
        let (service, signal) = (service.clone(), *signal);
        Box::pin(async move { service.export(signal, request).await })
    }
}

impl ExportService {
    async fn export(
        &self,
        signal: Signal,
        request: Request<RawMessage>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let peer = request.remote_addr();
        let (metadata, _, message) = request.into_parts();
        let mut call = Call {
            signal,
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
        call.raw = raw;
        match read(signal, &call.raw) {
            Ok(request) => call.request = request,
            Err(error) => {
                call.outcome = Outcome::Unreadable;
                self.record.push(call);
                return Err(Status::internal(format!("grpc: error unmarshalling request: {error}")));
            }
        }
        let (index, number) = self.record.push(call.clone());
        let script = self.script.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let reply = wait_out(script.reply(&call, number)).await;
        let (outcome, answer) = answer(reply);
        self.record.finish(index, outcome);
        answer
    }
}

/// The decoded request of traces; of another signal only the proof that it could be decoded.
fn read(signal: Signal, message: &[u8]) -> Result<ExportTraceServiceRequest, DecodeError> {
    if signal == Signal::Traces {
        return decode(message);
    }
    signal.check(message).map(|()| ExportTraceServiceRequest::default())
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
            // The other signals' responses have the same fields with the same numbers (opentelemetry/proto/collector/*/v1/).
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
