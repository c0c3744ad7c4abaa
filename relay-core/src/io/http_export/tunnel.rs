//! A tunnel through a proxy by `CONNECT` (RFC 9110 section 9.3.6). Must never read past the proxy's answer: what follows belongs to
//! whoever uses the tunnel.

use std::io;

use http::HeaderValue;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::limits::PROXY_ANSWER_BYTES_MAX;

/// Asks the proxy at the other end of `socket` for a connection to `authority`, a host and a port. Takes as long as the proxy does:
/// the caller bounds it.
///
/// # Errors
/// The socket's, or in words that the proxy refuses.
pub(super) async fn open(
    socket: &mut (impl AsyncRead + AsyncWrite + Unpin),
    authority: &str,
    authorization: Option<&HeaderValue>,
) -> io::Result<()> {
    let mut request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n").into_bytes();
    if let Some(value) = authorization {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(value.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    socket.write_all(&request).await?;
    socket.flush().await?;
    let head = read_head(socket).await?;
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let status = line.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    match status {
        // All of 2xx; a tunnel has no body.
        [b'2', _, _] => Ok(()),
        b"407" => Err(io::Error::other("the proxy asks for other credentials (407)")),
        _ => {
            let line: String = String::from_utf8_lossy(line).chars().take(100).collect();
            Err(io::Error::other(format!("the proxy refuses a tunnel: {}", line.escape_debug())))
        }
    }
}

/// One byte after the other: once per connection, and what comes after the head stays in the socket.
async fn read_head(socket: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(256);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= PROXY_ANSWER_BYTES_MAX {
            return Err(io::Error::other("the proxy's answer does not end"));
        }
        match socket.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(io::Error::other("the proxy has closed the connection"));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(head)
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    /// Lets a proxy answer; gives back what it was asked and how that ended.
    async fn ask(answer: &[u8]) -> (String, Result<Vec<u8>, String>) {
        let (mut near, mut far) = duplex(1 << 16);
        far.write_all(answer).await.unwrap();
        let value = HeaderValue::from_static("Basic x");
        let opened = open(&mut near, "c:443", Some(&value)).await.map_err(|error| error.to_string());
        let mut asked = vec![0; 1 << 10];
        let len = far.read(&mut asked).await.unwrap();
        drop(far);
        let mut rest = Vec::new();
        near.read_to_end(&mut rest).await.unwrap();
        (String::from_utf8_lossy(&asked[..len]).into_owned(), opened.map(|()| rest))
    }

    fn run<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test)
    }

    #[test]
    fn what_follows_the_answer_is_not_read() {
        let (asked, rest) = run(ask(b"HTTP/1.1 200 Connection established\r\nvia: p\r\n\r\nhello"));
        assert_eq!(asked, "CONNECT c:443 HTTP/1.1\r\nHost: c:443\r\nProxy-Authorization: Basic x\r\n\r\n");
        assert_eq!(rest, Ok(b"hello".to_vec()));
    }

    #[test]
    fn refusals_are_said() {
        for (answer, said) in [
            (&b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"[..], "other credentials (407)"),
            (b"HTTP/1.1 403 Forbidden\r\n\r\n", "refuses a tunnel: HTTP/1.1 403 Forbidden"),
            (b"SSH-2.0-x\r\n\r\n", "refuses a tunnel: SSH-2.0-x"),
            (&[b'x'; PROXY_ANSWER_BYTES_MAX], "does not end"),
        ] {
            let error = run(ask(answer)).1.unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
