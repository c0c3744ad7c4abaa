//! A unary OTLP/gRPC call on bare h2, for tools that want to know all that the receiver said.
//!
//! Must never touch the payload: the message is framed once and sent as one refcounted buffer.

use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use prost::Message;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::oracle::ExportTraceServiceResponse;
use crate::raw::{CONNECTION_WINDOW_BYTES, EXPORT_PATH, STREAM_WINDOW_BYTES};
use crate::rpc_status::retry_delay_in;

/// gRPC status codes that this client itself decides on (google/rpc/code.proto).
const UNKNOWN: i32 = 2;

/// How long closing a connection may take before it is dropped.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// One HTTP/2 connection to a receiver.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) send: SendRequest<Bytes>,
    driver: JoinHandle<()>,
}

impl Connection {
    /// Connects to `127.0.0.1:4317`, `localhost:4317` or either with `http://` before it.
    pub(super) async fn open(endpoint: &str) -> io::Result<Self> {
        let authority = endpoint.strip_prefix("http://").unwrap_or(endpoint).trim_end_matches('/');
        let stream = TcpStream::connect(authority).await?;
        stream.set_nodelay(true)?;
        let (send, connection) = h2::client::Builder::new()
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .handshake(stream)
            .await
            .map_err(io::Error::other)?;
        // How a connection ended shows in its calls.
        let driver = tokio::spawn(async move { connection.await.unwrap_or(()) });
        Ok(Self { send, driver })
    }

    /// Closes in order: GOAWAY once its calls are done, then FIN.
    pub(super) async fn close(self) {
        let Self { send, mut driver } = self;
        drop(send);
        if tokio::time::timeout(CLOSE_TIMEOUT, &mut driver).await.is_err() {
            driver.abort();
        }
    }
}

/// The head of every call: made once, cloned per call.
pub(super) fn head(endpoint: &str, timeout: Duration, gzip: bool) -> Request<()> {
    let authority = endpoint.strip_prefix("http://").unwrap_or(endpoint).trim_end_matches('/');
    let mut head = Request::post(format!("http://{authority}{EXPORT_PATH}")).body(()).expect("an address");
    let headers = head.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert("te", HeaderValue::from_static("trailers"));
    headers.insert("user-agent", HeaderValue::from_static("testkit"));
    headers.insert("grpc-timeout", format!("{}m", timeout.as_millis()).parse().expect("digits and a letter"));
    if gzip {
        headers.insert("grpc-encoding", HeaderValue::from_static("gzip"));
    }
    head
}

/// What the receiver said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    /// gRPC status code; HTTP errors are mapped as gRPC's "HTTP to gRPC Status Code Mapping" says.
    pub(super) code: i32,
    /// `RetryInfo`, if there was one.
    pub(super) retry_after: Option<Duration>,
    /// `partial_success.rejected_spans`.
    pub(super) rejected_spans: i64,
}

/// One call. `message` is the framed message.
///
/// # Errors
/// h2's, when there was no answer.
pub(super) async fn call(
    send: &SendRequest<Bytes>,
    head: Request<()>,
    message: Bytes,
) -> Result<Answer, h2::Error> {
    let mut ready = send.clone().ready().await?;
    let (response, mut body) = ready.send_request(head, false)?;
    // A stream that was answered early takes no data any more; the answer is what counts.
    body.send_data(message, true).ok();
    let (head, mut stream) = response.await?.into_parts();
    let mut content = BytesMut::new();
    while let Some(chunk) = stream.data().await {
        let chunk = chunk?;
        stream.flow_control().release_capacity(chunk.len())?;
        content.extend_from_slice(&chunk);
    }
    let trailers = stream.trailers().await?;
    Ok(answer(head.status, trailers.as_ref().unwrap_or(&head.headers), &content))
}

fn answer(status: StatusCode, trailers: &HeaderMap, content: &[u8]) -> Answer {
    let told = trailers.get("grpc-status").and_then(|code| code.to_str().ok()?.parse().ok());
    let code = told.unwrap_or_else(|| match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => UNKNOWN,
    });
    let retry_after = if code == 0 { None } else { retry_delay_in(trailers) };
    Answer { code, retry_after, rejected_spans: rejected_spans(content) }
}

fn rejected_spans(mut content: &[u8]) -> i64 {
    if content.len() <= 5 {
        return 0;
    }
    content.advance(5);
    let response = ExportTraceServiceResponse::decode(content).unwrap_or_default();
    response.partial_success.map_or(0, |partial| partial.rejected_spans)
}

/// Whether OTLP lets a sender try again (OTLP specification, section "Failures", table of codes).
pub(super) fn is_retryable(answer: &Answer) -> bool {
    match answer.code {
        // CANCELLED, DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS
        1 | 4 | 10 | 11 | 14 | 15 => true,
        // RESOURCE_EXHAUSTED: only if the server says when.
        8 => answer.retry_after.is_some(),
        _ => false,
    }
}
