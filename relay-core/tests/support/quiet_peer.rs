//! An OTLP/gRPC upstream that runs on the caller's own runtime and keeps nothing: for tests that count what
//! the relay's threads allocate, where a collector on a thread of its own would be counted too. Must never
//! look into a message.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::{TcpListener, TcpStream};

/// What has come so far.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) calls: Cell<u64>,
    pub(crate) bytes: Cell<u64>,
}

/// Listens on loopback and answers every call with success. Needs a `LocalSet`.
pub(crate) async fn start() -> (SocketAddr, Rc<Seen>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let seen = Rc::new(Seen::default());
    let counting = Rc::clone(&seen);
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::task::spawn_local(serve(stream, Rc::clone(&counting)));
        }
    });
    (addr, seen)
}

async fn serve(stream: TcpStream, seen: Rc<Seen>) {
    stream.set_nodelay(true).unwrap();
    let handshake = Builder::new()
        .initial_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .handshake::<_, Bytes>(stream);
    let Ok(mut connection) = handshake.await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let seen = Rc::clone(&seen);
        tokio::task::spawn_local(async move { answer(request, respond, &seen).await.ok() });
    }
}

async fn answer(
    request: Request<h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
    seen: &Seen,
) -> Result<(), h2::Error> {
    let mut body = request.into_body();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        seen.bytes.set(seen.bytes.get() + chunk.len() as u64);
    }
    seen.calls.set(seen.calls.get() + 1);
    let mut response = Response::new(());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    let mut stream = respond.send_response(response, false)?;
    stream.send_data(Bytes::from_static(&[0; 5]), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    stream.send_trailers(trailers)
}
