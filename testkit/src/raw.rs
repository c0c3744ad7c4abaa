//! A gRPC client on bare h2 that need not behave: any path, headers and body bytes, cut into any DATA frames, ended or not.
//!
//! Must never correct what it is given; it is how tests send what no client would.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use http::HeaderMap;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// The path of the only method OTLP has for traces.
pub const EXPORT_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// Stream window that this client announces, bytes.
pub const STREAM_WINDOW_BYTES: u32 = 4 << 20;
/// Connection window that this client announces, bytes.
pub const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// How a request ends after its last chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With `END_STREAM`.
    Stream,
    /// Not at all: the stream stays half open.
    Open,
    /// With `RST_STREAM(CANCEL)`.
    Reset,
}

/// A request, byte for byte.
#[derive(Debug, Clone)]
pub struct RawRequest {
    /// HTTP method.
    pub method: http::Method,
    /// Path of the URI.
    pub path: String,
    /// Headers, in addition to the pseudo-headers.
    pub headers: HeaderMap,
    /// The body, one DATA frame per chunk (h2 cuts chunks of more than 16 KiB further).
    pub chunks: Vec<Bytes>,
    /// Time to wait before each chunk but the first.
    pub pause: Duration,
    /// How it ends.
    pub end: End,
}

impl RawRequest {
    /// What an OTLP/gRPC client sends, with `chunks` as its body, prefix and all (see [`grpc_message`]).
    #[must_use]
    pub fn export(chunks: Vec<Bytes>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", http::HeaderValue::from_static("application/grpc"));
        headers.insert("te", http::HeaderValue::from_static("trailers"));
        Self {
            method: http::Method::POST,
            path: EXPORT_PATH.to_owned(),
            headers,
            chunks,
            pause: Duration::ZERO,
            end: End::Stream,
        }
    }

    /// The same with a header set or replaced. Panics if it is not a header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        let name: http::HeaderName = name.parse().expect("a header name");
        self.headers.insert(name, value.parse().expect("a header value"));
        self
    }

    /// The same with another path.
    #[must_use]
    pub fn with_path(self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self }
    }

    /// The same with another end.
    #[must_use]
    pub fn with_end(self, end: End) -> Self {
        Self { end, ..self }
    }
}

/// A gRPC message: flag, length, payload (gRPC over HTTP/2, "Length-Prefixed-Message").
#[must_use]
pub fn grpc_message(payload: &[u8]) -> Bytes {
    grpc_message_with(u8::from(false), payload.len() as u32, payload)
}

/// A gRPC message that says it is compressed. `payload` is taken as it is.
#[must_use]
pub fn grpc_message_compressed(payload: &[u8]) -> Bytes {
    grpc_message_with(u8::from(true), payload.len() as u32, payload)
}

/// A gRPC message with any flag and any claimed length, true or not.
#[must_use]
pub fn grpc_message_with(flag: u8, claimed_len: u32, payload: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(5 + payload.len());
    message.put_u8(flag);
    message.put_u32(claimed_len);
    message.put_slice(payload);
    message.freeze()
}

/// gzip of `bytes`, for compressed messages.
#[must_use]
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("a Vec takes all bytes")
}

/// A response, byte for byte.
#[derive(Debug, Clone)]
pub struct RawResponse {
    /// HTTP status.
    pub status: u16,
    /// Headers of the response.
    pub headers: HeaderMap,
    /// All DATA.
    pub body: Bytes,
    /// Trailers; `None` where the response was headers alone or ended with DATA.
    pub trailers: Option<HeaderMap>,
}

impl RawResponse {
    /// A header or trailer, trailers first.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        let trailer = self.trailers.as_ref().and_then(|trailers| trailers.get(name));
        trailer.or_else(|| self.headers.get(name))?.to_str().ok()
    }

    /// `grpc-status`, from the trailers or, in a "Trailers-Only" response, from the headers.
    #[must_use]
    pub fn grpc_status(&self) -> Option<i32> {
        self.field("grpc-status")?.parse().ok()
    }

    /// `grpc-message`, still percent-encoded; empty if absent.
    #[must_use]
    pub fn grpc_message(&self) -> &str {
        self.field("grpc-message").unwrap_or_default()
    }

    /// The delay of `RetryInfo` in `grpc-status-details-bin`.
    #[must_use]
    pub fn retry_delay(&self) -> Option<Duration> {
        let from_trailers = self.trailers.as_ref().and_then(crate::rpc_status::retry_delay_in);
        from_trailers.or_else(|| crate::rpc_status::retry_delay_in(&self.headers))
    }
}

/// One HTTP/2 connection. Requests on it run side by side.
#[derive(Debug)]
pub struct RawClient {
    send: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

impl RawClient {
    /// Connects with prior knowledge, without TLS. Needs a tokio runtime to run the connection on.
    ///
    /// # Errors
    /// The socket's, or h2's as `Other`.
    pub async fn connect(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let (send, connection) = h2::client::Builder::new()
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .handshake(stream)
            .await
            .map_err(io::Error::other)?;
        Ok(Self { send, connection: tokio::spawn(connection) })
    }

    /// Sends a request and reads the whole response. With [`End::Open`] the stream is held open until the response has ended, with
    /// [`End::Reset`] the error is h2's for the reset.
    ///
    /// # Errors
    /// h2's: connection lost, stream reset by the peer, GOAWAY.
    pub async fn send(&self, request: RawRequest) -> Result<RawResponse, h2::Error> {
        let mut ready = self.send.clone().ready().await?;
        let mut head = http::Request::new(());
        *head.method_mut() = request.method;
        // The authority has to be some name; no receiver of OTLP looks at it.
        *head.uri_mut() = format!("http://localhost{}", request.path).parse().expect("a path");
        *head.headers_mut() = request.headers;
        let ends_at_once = request.chunks.is_empty() && request.end == End::Stream;
        let (response, mut body) = ready.send_request(head, ends_at_once)?;
        let last = request.chunks.len().saturating_sub(1);
        for (index, chunk) in request.chunks.into_iter().enumerate() {
            if index > 0 && !request.pause.is_zero() {
                tokio::time::sleep(request.pause).await;
            }
            if body.send_data(chunk, index == last && request.end == End::Stream).is_err() {
                // The peer has answered or reset already: the response tells.
                break;
            }
        }
        if request.end == End::Reset {
            body.send_reset(h2::Reason::CANCEL);
        }
        let response = read_response(response).await;
        drop(body);
        response
    }

    /// Closes the connection when its streams are done: GOAWAY, then FIN. Says how the connection ended.
    ///
    /// # Errors
    /// h2's error that had already ended the connection.
    pub async fn close(self) -> Result<(), h2::Error> {
        let Self { send, connection } = self;
        drop(send);
        connection.await.unwrap_or(Ok(()))
    }
}

async fn read_response(response: ResponseFuture) -> Result<RawResponse, h2::Error> {
    let (head, mut stream) = response.await?.into_parts();
    let mut body = BytesMut::new();
    while let Some(chunk) = stream.data().await {
        let chunk = chunk?;
        stream.flow_control().release_capacity(chunk.len())?;
        body.extend_from_slice(&chunk);
    }
    let trailers = stream.trailers().await?;
    Ok(RawResponse { status: head.status.as_u16(), headers: head.headers, body: body.freeze(), trailers })
}

/// Sends all requests side by side on one new connection and waits for every response, for tests without a runtime (it must not be
/// called inside one). Panics if nothing listens at `addr`.
#[must_use]
pub fn exchange(addr: SocketAddr, requests: Vec<RawRequest>) -> Vec<Result<RawResponse, h2::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = std::sync::Arc::new(RawClient::connect(addr).await.expect("the peer listens"));
        let started: Vec<_> = requests
            .into_iter()
            .map(|request| {
                let client = std::sync::Arc::clone(&client);
                tokio::spawn(async move { client.send(request).await })
            })
            .collect();
        let mut responses = Vec::with_capacity(started.len());
        for task in started {
            responses.push(task.await.expect("sending does not panic"));
        }
        responses
    })
}
