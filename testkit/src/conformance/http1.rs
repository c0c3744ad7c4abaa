//! An HTTP/1.1 client by hand: sends what it is given, shows the answer as it came.
//!
//! Must never follow, retry, decompress or reuse a connection that the caller has not asked it to.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;

use bytes::Bytes;
use http::HeaderMap;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::http_upstream::message::Incoming;

/// A request, byte for byte.
#[derive(Debug, Clone)]
pub(super) struct HttpRequest {
    pub(super) method: &'static str,
    pub(super) target: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
}

impl HttpRequest {
    /// A POST of `body` with this content type.
    pub(super) fn post(target: &str, content_type: &str, body: impl Into<Bytes>) -> Self {
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        Self { method: "POST", target: target.to_owned(), headers, body: body.into() }
    }

    pub(super) fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// An answer, byte for byte.
#[derive(Debug, Clone)]
pub(super) struct HttpAnswer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl HttpAnswer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The media type of the body, without parameters, in lower case.
    pub(super) fn media_type(&self) -> String {
        let value = self.header("content-type").unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct HttpClient {
    addr: SocketAddr,
    incoming: Incoming<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl HttpClient {
    pub(super) async fn connect(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        Ok(Self { addr, incoming: Incoming::new(reader), writer })
    }

    /// Sends a request and reads the answer, which may come before the body has gone out.
    ///
    /// # Errors
    /// The socket's; `InvalidData` for what is no HTTP/1.1; `UnexpectedEof` where the connection ends before the answer does.
    pub(super) async fn send(&mut self, request: &HttpRequest) -> io::Result<HttpAnswer> {
        let HttpRequest { method, target, headers, body } = request;
        let mut head = format!("{method} {target} HTTP/1.1\r\nhost: {}\r\n", self.addr);
        if *method == "POST" || !body.is_empty() {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let Self { incoming, writer, .. } = self;
        let write = async move {
            writer.write_all(head.as_bytes()).await?;
            writer.write_all(body).await
        };
        let mut read = pin!(answer(incoming));
        tokio::select! {
            biased;
            early = &mut read => early,
            // A body that is not taken to its end is the server's right; its answer tells.
            _ = write => read.await,
        }
    }
}

async fn answer(incoming: &mut Incoming<OwnedReadHalf>) -> io::Result<HttpAnswer> {
    loop {
        let head = incoming.head().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut words = head.first_line.split(' ');
        let is_http = words.next().is_some_and(|version| version.starts_with("HTTP/1."));
        let status = words.next().and_then(|status| status.parse().ok()).filter(|_| is_http);
        let status: u16 =
            status.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no HTTP/1.1 answer"))?;
        if status == 100 {
            continue;
        }
        let has_body = status >= 200 && status != 204 && status != 304;
        let body = if has_body { incoming.body(&head.headers, true).await? } else { Bytes::new() };
        return Ok(HttpAnswer { status, headers: head.headers, body });
    }
}
