//! `testkit sink`: an OTLP/gRPC receiver on bare h2 that takes everything, counts it and forgets it, or keeps the bytes in a file.
//!
//! Must never decode below the span boundary: in benches it stands behind the relay and must cost little.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};

use super::dump::Dump;
use crate::raw::{CONNECTION_WINDOW_BYTES, EXPORT_PATH, STREAM_WINDOW_BYTES};
use crate::wire::count_spans;

/// Length of gRPC's prefix: flag and length.
const PREFIX_BYTES: usize = 5;
/// The success response: an empty message.
const EMPTY_MESSAGE: Bytes = Bytes::from_static(&[0; PREFIX_BYTES]);

/// Arguments of `testkit sink`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:14317")]
    pub listen: SocketAddr,
    /// Largest message in MiB, after decompression; larger ones get `RESOURCE_EXHAUSTED`, as grpc-go answers.
    #[arg(long, default_value_t = 4)]
    pub max_recv_mib: usize,
    /// Append every accepted message to this file, for `compare --received`.
    #[arg(long)]
    pub dump: Option<PathBuf>,
    /// End after so many seconds (otherwise on SIGTERM or ctrl-c).
    #[arg(long)]
    pub seconds: Option<f64>,
    /// End when standard input closes.
    #[arg(long)]
    pub until_stdin_closes: bool,
}

#[derive(Debug, Default)]
struct Counts {
    connections: AtomicU64,
    requests: AtomicU64,
    spans: AtomicU64,
    bytes: AtomicU64,
    wire_bytes: AtomicU64,
    refused: AtomicU64,
}

#[derive(Debug)]
struct Sink {
    counts: Counts,
    recv_bytes_max: usize,
    dump: Option<Mutex<Dump>>,
}

/// Receives until it is told to end. Gives the JSON object and whether nothing was refused. Says on standard error where it listens.
///
/// # Errors
/// An address it cannot listen on, a file it cannot write.
pub async fn run(args: &Args) -> io::Result<(Value, bool)> {
    let listener = TcpListener::bind(args.listen).await?;
    eprintln!("{}", json!({ "listening": listener.local_addr()?.to_string() }));
    let dump = args.dump.as_deref().map(Dump::append_to).transpose()?.map(Mutex::new);
    let sink = Arc::new(Sink { counts: Counts::default(), recv_bytes_max: args.max_recv_mib << 20, dump });
    let started = Instant::now();
    tokio::select! {
        () = accept(&listener, &sink) => {}
        ended = end(args) => ended?,
    }
    if let Some(dump) = &sink.dump {
        dump.lock().unwrap_or_else(PoisonError::into_inner).flush()?;
    }
    let counts = &sink.counts;
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let object = json!({
        "requests": load(&counts.requests), "spans": load(&counts.spans), "bytes": load(&counts.bytes),
        "wire_bytes": load(&counts.wire_bytes), "refused": load(&counts.refused),
        "connections": load(&counts.connections), "seconds": started.elapsed().as_secs_f64(),
    });
    Ok((object, load(&counts.refused) == 0))
}

/// Waits for whichever end was asked for.
async fn end(args: &Args) -> io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let seconds = args.seconds.map(Duration::from_secs_f64);
    let stdin = args.until_stdin_closes.then(watch_stdin);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = async { tokio::time::sleep(seconds.unwrap_or_default()).await }, if seconds.is_some() => {}
        () = async { if let Some(closed) = stdin { closed.await.unwrap_or(()) } }, if args.until_stdin_closes => {}
    }
    Ok(())
}

/// Reads standard input to its end on a thread of its own, which may outlive the sink; then the receiver resolves.
fn watch_stdin() -> tokio::sync::oneshot::Receiver<()> {
    let (closed, watcher) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        io::copy(&mut io::stdin(), &mut io::sink()).ok();
        closed.send(()).ok();
    });
    watcher
}

async fn accept(listener: &TcpListener, sink: &Arc<Sink>) {
    loop {
        // A connection that failed before it was accepted is the peer's affair.
        let Ok((stream, _)) = listener.accept().await else { continue };
        sink.counts.connections.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(serve(stream, Arc::clone(sink)));
    }
}

async fn serve(stream: TcpStream, sink: Arc<Sink>) {
    stream.set_nodelay(true).ok();
    let handshake = h2::server::Builder::new()
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .handshake::<_, Bytes>(stream);
    let Ok(mut connection) = handshake.await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let sink = Arc::clone(&sink);
        // An error here is a stream that the peer has reset.
        tokio::spawn(async move { sink.answer(request, respond).await.ok() });
    }
}

impl Sink {
    async fn answer(
        &self,
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
    ) -> Result<(), h2::Error> {
        let code = if request.uri().path() == EXPORT_PATH { self.take(request).await? } else { 12 };
        if code == 0 {
            let mut body = respond.send_response(head(), false)?;
            body.send_data(EMPTY_MESSAGE, false)?;
            return body.send_trailers(status(0));
        }
        self.counts.refused.fetch_add(1, Ordering::Relaxed);
        let mut only = head();
        only.headers_mut().extend(status(code));
        respond.send_response(only, true).map(drop)
    }

    /// Reads the whole request and gives the gRPC status it deserves.
    async fn take(&self, request: Request<RecvStream>) -> Result<i32, h2::Error> {
        let mut stream = request.into_body();
        // One DATA frame is the common case and is not copied.
        let mut first = Bytes::new();
        let mut joined = BytesMut::new();
        while let Some(chunk) = stream.data().await {
            let chunk = chunk?;
            stream.flow_control().release_capacity(chunk.len())?;
            if joined.is_empty() && first.is_empty() {
                first = chunk;
                continue;
            }
            if joined.is_empty() {
                joined.reserve(expected_bytes(&first).min(PREFIX_BYTES + self.recv_bytes_max));
                joined.extend_from_slice(&first);
            }
            joined.extend_from_slice(&chunk);
            if joined.len() > PREFIX_BYTES + self.recv_bytes_max {
                return Ok(8);
            }
        }
        Ok(self.count(if joined.is_empty() { first } else { joined.freeze() }))
    }

    fn count(&self, mut body: Bytes) -> i32 {
        let whole_bytes = body.len();
        if whole_bytes < PREFIX_BYTES || whole_bytes != expected_bytes(&body) {
            return 13;
        }
        let compressed = body.get_u8() == 1;
        body.advance(PREFIX_BYTES - 1);
        let message = if compressed {
            match self.inflate(&body) {
                Ok(message) => message,
                Err(_) => return 13,
            }
        } else {
            body
        };
        if message.len() > self.recv_bytes_max {
            return 8;
        }
        let Ok(spans) = count_spans(&message) else { return 13 };
        if let Some(dump) = &self.dump
            && dump.lock().unwrap_or_else(PoisonError::into_inner).write(&message).is_err()
        {
            return 13;
        }
        self.counts.requests.fetch_add(1, Ordering::Relaxed);
        self.counts.spans.fetch_add(spans, Ordering::Relaxed);
        self.counts.bytes.fetch_add(message.len() as u64, Ordering::Relaxed);
        self.counts.wire_bytes.fetch_add(whole_bytes as u64, Ordering::Relaxed);
        0
    }

    /// Inflates at most one byte more than is allowed, which is enough to know that it is too much.
    fn inflate(&self, compressed: &[u8]) -> io::Result<Bytes> {
        let mut inflated = Vec::new();
        let limit = self.recv_bytes_max as u64 + 1;
        flate2::read::MultiGzDecoder::new(compressed).take(limit).read_to_end(&mut inflated)?;
        Ok(inflated.into())
    }
}

/// Prefix and message, as the prefix says; 0 where there is no whole prefix.
fn expected_bytes(body: &[u8]) -> usize {
    match body {
        [_, a, b, c, d, ..] => PREFIX_BYTES + u32::from_be_bytes([*a, *b, *c, *d]) as usize,
        _ => 0,
    }
}

fn head() -> Response<()> {
    let mut response = Response::new(());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

fn status(code: i32) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert("grpc-status", code.into());
    trailers
}
