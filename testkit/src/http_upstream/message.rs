//! Reading HTTP/1.1 messages off a socket (RFC 9112): heads, and bodies by length, in chunks, or until the end.
//!
//! Must never read past a message's end nor more than its bounds; what a peer sends is shown as it is, not corrected.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes of a head, larger than any header an OTLP peer sends.
const HEAD_BYTES_MAX: usize = 256 << 10;
/// Bytes of a body, four times what OTLP recommends as a limit.
const BODY_BYTES_MAX: usize = 256 << 20;
/// Bytes of the line before a chunk: its size in hex and extensions.
const CHUNK_LINE_BYTES_MAX: usize = 256;

/// The first line of a message and its headers.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) first_line: String,
    pub(crate) headers: HeaderMap,
}

/// The reading side of a connection, with what was read ahead.
#[derive(Debug)]
pub(crate) struct Incoming<R> {
    reader: R,
    ahead: BytesMut,
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

impl<R: AsyncRead + Unpin> Incoming<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, ahead: BytesMut::with_capacity(64 << 10) }
    }

    /// Reads more; false at the end of the stream.
    async fn more(&mut self) -> io::Result<bool> {
        Ok(self.reader.read_buf(&mut self.ahead).await? > 0)
    }

    /// The next head, or `None` where the peer has closed between two messages.
    ///
    /// # Errors
    /// The socket's; `InvalidData` for what is no HTTP/1.1 head; `UnexpectedEof` inside one.
    pub(crate) async fn head(&mut self) -> io::Result<Option<Head>> {
        let end = loop {
            if let Some(at) = self.ahead.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if self.ahead.len() > HEAD_BYTES_MAX {
                return Err(bad("the head does not end"));
            }
            if !self.more().await? {
                let clean = self.ahead.is_empty();
                return if clean { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        };
        let text = self.ahead.split_to(end);
        let mut lines = <[u8]>::split(&text, |&byte| byte == b'\n').map(<[u8]>::trim_ascii);
        let first_line = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
        let mut headers = HeaderMap::new();
        for line in lines.filter(|line| !line.is_empty()) {
            let colon =
                line.iter().position(|&byte| byte == b':').ok_or_else(|| bad("a header without colon"))?;
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            let name = HeaderName::from_bytes(name).map_err(|_| bad("no header name"))?;
            headers.append(name, HeaderValue::from_bytes(value).map_err(|_| bad("no header value"))?);
        }
        Ok(Some(Head { first_line, headers }))
    }

    /// The body that belongs to a head; without length and chunks it goes `to_the_end` of the connection, or is empty.
    ///
    /// # Errors
    /// The socket's; `InvalidData` for a wrong framing or more than the bound; `UnexpectedEof` inside the body.
    pub(crate) async fn body(&mut self, headers: &HeaderMap, to_the_end: bool) -> io::Result<Bytes> {
        let field = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if field("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            return self.chunks().await;
        }
        match field("content-length") {
            Some(length) => {
                let length = length.parse().map_err(|_| bad("no content-length"))?;
                self.exactly(length).await
            }
            None if to_the_end => {
                while self.more().await? {
                    if self.ahead.len() > BODY_BYTES_MAX {
                        return Err(bad("the body is over the bound"));
                    }
                }
                Ok(self.ahead.split().freeze())
            }
            None => Ok(Bytes::new()),
        }
    }

    async fn exactly(&mut self, length: usize) -> io::Result<Bytes> {
        if length > BODY_BYTES_MAX {
            return Err(bad("the body is over the bound"));
        }
        self.ahead.reserve(length.saturating_sub(self.ahead.len()));
        while self.ahead.len() < length {
            if !self.more().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.ahead.split_to(length).freeze())
    }

    async fn chunks(&mut self) -> io::Result<Bytes> {
        let mut body = BytesMut::new();
        loop {
            let line = self.line().await?;
            let size = line.split(|&byte| byte == b';').next().unwrap_or_default();
            let size = std::str::from_utf8(size.trim_ascii()).map_err(|_| bad("no chunk size"))?;
            let size = usize::from_str_radix(size, 16).map_err(|_| bad("no chunk size"))?;
            if size == 0 {
                // Trailers, if any, end with an empty line.
                while !self.line().await?.is_empty() {}
                return Ok(body.freeze());
            }
            if body.len() + size > BODY_BYTES_MAX {
                return Err(bad("the body is over the bound"));
            }
            body.extend_from_slice(&self.exactly(size).await?);
            if !self.line().await?.is_empty() {
                return Err(bad("a chunk goes on after its end"));
            }
        }
    }

    async fn line(&mut self) -> io::Result<Bytes> {
        loop {
            if let Some(at) = self.ahead.windows(2).position(|window| window == b"\r\n") {
                let line = self.ahead.split_to(at).freeze();
                self.ahead.advance(2);
                return Ok(line);
            }
            if self.ahead.len() > CHUNK_LINE_BYTES_MAX + HEAD_BYTES_MAX {
                return Err(bad("a line does not end"));
            }
            if !self.more().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_all(mut bytes: &[u8]) -> Vec<(String, Bytes)> {
        let mut incoming = Incoming::new(&mut bytes);
        let mut messages = Vec::new();
        while let Some(head) = incoming.head().await.unwrap() {
            messages.push((head.first_line, incoming.body(&head.headers, false).await.unwrap()));
        }
        messages
    }

    /// Scenario: three messages one after the other, by length, without a body, in chunks with an extension and a trailer.
    /// Guarantee: each is cut where it ends.
    #[tokio::test(flavor = "current_thread")]
    async fn messages_end_where_they_say() {
        let bytes = b"POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /b HTTP/1.1\r\n\r\n\
            POST /c HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2;x=y\r\nab\r\n1\r\nc\r\n0\r\nt: 1\r\n\r\n";
        let read = read_all(bytes).await;
        let bodies: Vec<&[u8]> = read.iter().map(|(_, body)| body.as_ref()).collect();
        assert_eq!(bodies, [b"abc".as_ref(), b"", b"abc"]);
        assert_eq!(read[2].0, "POST /c HTTP/1.1");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_message_that_stops_is_an_error() {
        for bytes in
            [&b"POST / HTTP/1.1\r\ncontent-le"[..], b"POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\nab"]
        {
            let mut reader = bytes;
            let mut incoming = Incoming::new(&mut reader);
            let read = async {
                let head = incoming.head().await?.unwrap();
                incoming.body(&head.headers, false).await
            };
            assert_eq!(read.await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        }
    }
}
