//! HTTP as a client, one GET at a time, plaintext: `relayd health`, and what `relayd send --wait-for` reads. Must never wait
//! without a bound, and never start a relay or a thread of its own for an address that is written out.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::cli::HealthArgs;
use crate::config::HostPort;
use crate::limits::{ASK_BODY_BYTES_MAX, HEALTH_ASK_MAX};

/// Who is asked.
#[derive(Clone, Debug)]
pub(crate) enum Whom {
    Tcp(HostPort),
    Unix(PathBuf),
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

impl Answered {
    /// The beginning of the body, in one line.
    pub(crate) fn words(&self) -> String {
        const WORDS_CHARS_MAX: usize = 400;
        let text = String::from_utf8_lossy(&self.body);
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        words.chars().filter(|c| !c.is_control()).take(WORDS_CHARS_MAX).collect()
    }
}

/// `relayd health`: success if the answer is 200.
///
/// # Errors
/// Why it is not, in one line.
pub(crate) fn health(args: &HealthArgs) -> Result<ExitCode, String> {
    let (whom, name) = match &args.socket {
        Some(path) => (Whom::Unix(path.clone()), path.display().to_string()),
        None => (Whom::Tcp(args.endpoint.clone()), args.endpoint.to_string()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let answered = runtime.block_on(get(&whom, &args.path, HEALTH_ASK_MAX));
    let answered = answered.map_err(|why| format!("relayd health: {name} does not answer: {why}"))?;
    if answered.status == StatusCode::OK {
        return Ok(ExitCode::SUCCESS);
    }
    Err(format!("relayd health: {name} answers {}: {}", answered.status, answered.words()))
}

/// Asks for `path`.
///
/// # Errors
/// In words: nobody is there, it is not HTTP, it took longer than `within`, or the answer is larger than there is reason for.
pub(crate) async fn get(whom: &Whom, path: &str, within: Duration) -> Result<Answered, String> {
    let asked = async {
        match whom {
            Whom::Unix(socket) => {
                let stream = UnixStream::connect(socket).await.map_err(|error| error.to_string())?;
                exchange(stream, "localhost", path).await
            }
            Whom::Tcp(at) => {
                let stream = connect(at, within).await.map_err(|error| error.to_string())?;
                exchange(stream, &at.to_string(), path).await
            }
        }
    };
    let answered = tokio::time::timeout(within, asked).await;
    answered.unwrap_or_else(|_| Err(format!("no answer within {} s", within.as_secs_f64())))
}

/// To the first address that takes the connection. No host is this one.
async fn connect(at: &HostPort, within: Duration) -> io::Result<TcpStream> {
    let host = if at.host.is_empty() { "localhost" } else { &at.host };
    let addresses = relay_core::lookup(host, at.port, within).map_err(io::Error::other)?;
    let mut last = io::Error::other("the name has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    host: &str,
    path: &str,
) -> Result<Answered, String> {
    let words = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(words)?;
    let driving = tokio::spawn(connection);
    let request = Request::get(path).header(HOST, host).header(CONNECTION, "close");
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(words)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ASK_BODY_BYTES_MAX).collect().await;
    driving.abort();
    Ok(Answered { status, body: body.map_err(|error| error.to_string())?.to_bytes() })
}
