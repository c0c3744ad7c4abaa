//! What the server is asked and what it answers.
//!
//! Must never look at more than one request: what depends on earlier ones is kept by the closure that decides.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;

/// One request, byte for byte.
#[derive(Debug, Clone)]
pub struct HttpCall {
    /// As in the request line.
    pub method: String,
    /// The request target as in the request line: path and query.
    pub target: String,
    /// All headers; names in lower case, as `http` keeps them.
    pub headers: HeaderMap,
    /// The body without its framing; compressed as it came.
    pub body: Bytes,
    /// The connection it came over, counted from 1 over restarts.
    pub connection: u64,
    /// When it had arrived in full.
    pub at: Instant,
}

impl HttpCall {
    /// A header as text, `None` if absent or not text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpReply {
    /// A whole response.
    Answer {
        /// HTTP status.
        status: u16,
        /// Headers besides `content-length`, which is the body's.
        headers: Vec<(String, String)>,
        /// Body.
        body: Bytes,
    },
    /// Waits, then gives the other reply.
    Delay(Duration, Box<Self>),
    /// Takes the request and answers nothing; the connection stays.
    NeverAnswer,
    /// Closes the connection without an answer.
    Close,
    /// Writes these bytes as they are and resets the connection.
    ResetAfter(Bytes),
    /// A response of this status whose body goes on until the peer closes or so many bytes are sent, and then breaks off.
    Endless {
        /// HTTP status.
        status: u16,
        /// Bytes of body at most.
        bytes_max: usize,
    },
}

impl HttpReply {
    /// An empty response of type `application/x-protobuf`: what OTLP calls full success, where the status is 200.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::answer(status, &[], Bytes::new())
    }

    /// A response of type `application/x-protobuf` with further headers and a body.
    #[must_use]
    pub fn answer(status: u16, headers: &[(&str, &str)], body: Bytes) -> Self {
        let of_protobuf = ("content-type", "application/x-protobuf");
        let headers = std::iter::once(&of_protobuf).chain(headers);
        let headers = headers.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self::Answer { status, headers, body }
    }
}
