//! An OTLP/gRPC client that behaves: tonic's, as a program would use it.
//!
//! Must never retry: the test decides what a refusal means.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use tonic::codec::CompressionEncoding;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::oracle::{ExportTraceServiceRequest, ExportTraceServiceResponse};

/// How requests are sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SendOptions {
    /// Compress messages with gzip.
    pub gzip: bool,
    /// Send a `grpc-timeout` and give up after it.
    pub timeout: Option<Duration>,
}

/// One connection to an OTLP/gRPC receiver. Clones share it; calls through clones run side by side.
#[derive(Debug, Clone)]
pub struct Sender {
    client: TraceServiceClient<Channel>,
    timeout: Option<Duration>,
}

impl Sender {
    /// Connects to `endpoint`: `127.0.0.1:4317` or a URL.
    ///
    /// # Errors
    /// `UNAVAILABLE` where nothing listens, `INVALID_ARGUMENT` where `endpoint` is no address.
    pub async fn connect(endpoint: &str, options: SendOptions) -> Result<Self, Status> {
        let url = if endpoint.contains("://") { endpoint.to_owned() } else { format!("http://{endpoint}") };
        let endpoint =
            Endpoint::from_shared(url).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let channel = endpoint
            .tcp_nodelay(true)
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(16 << 20)
            .connect()
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let mut client = TraceServiceClient::new(channel);
        if options.gzip {
            client = client.send_compressed(CompressionEncoding::Gzip);
        }
        Ok(Self { client, timeout: options.timeout })
    }

    /// Sends one request.
    ///
    /// # Errors
    /// The receiver's status, or tonic's own where there was none.
    pub async fn send(
        &self,
        request: ExportTraceServiceRequest,
    ) -> Result<ExportTraceServiceResponse, Status> {
        let mut request = Request::new(request);
        if let Some(timeout) = self.timeout {
            request.set_timeout(timeout);
        }
        self.client.clone().export(request).await.map(tonic::Response::into_inner)
    }
}

/// Connects and sends one request, plain and without a time limit.
///
/// # Errors
/// As [`Sender::connect`] and [`Sender::send`].
pub async fn send(
    endpoint: &str,
    request: ExportTraceServiceRequest,
) -> Result<ExportTraceServiceResponse, Status> {
    Sender::connect(endpoint, SendOptions::default()).await?.send(request).await
}

/// [`send`] with options, for tests without a runtime (it must not be called inside one).
///
/// # Errors
/// As [`send`].
pub fn send_blocking(
    endpoint: &str,
    request: ExportTraceServiceRequest,
    options: SendOptions,
) -> Result<ExportTraceServiceResponse, Status> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { Sender::connect(endpoint, options).await?.send(request).await })
}
