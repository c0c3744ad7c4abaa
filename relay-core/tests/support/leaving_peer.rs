//! An OTLP/gRPC upstream on h2 that says GOAWAY on a connection after some calls, and keeps what it was sent. Must never leave a call
//! unanswered that it has taken.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::future::join_all;
use h2::RecvStream;
use h2::server::{SendResponse, handshake};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::{TcpListener, TcpStream};

/// The messages that were taken, each with its five bytes of prefix, and the connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taken(Arc<Mutex<(Vec<Bytes>, usize)>>);

impl Taken {
    pub(crate) fn messages(&self) -> Vec<Bytes> {
        self.0.lock().unwrap().0.clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.0.lock().unwrap().1
    }
}

/// Listens on loopback, for the rest of the process, on a thread of its own.
pub(crate) fn start(calls_per_connection: usize) -> (SocketAddr, Taken) {
    let taken = Taken::default();
    let (tell, told) = std::sync::mpsc::channel();
    let keep = taken.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind(super::loopback()).await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                keep.0.lock().unwrap().1 += 1;
                tokio::spawn(serve(stream, calls_per_connection, keep.clone()));
            }
        });
    });
    (told.recv().unwrap(), taken)
}

async fn serve(stream: TcpStream, calls_max: usize, taken: Taken) {
    stream.set_nodelay(true).unwrap();
    let Ok(mut connection) = handshake(stream).await else { return };
    let (mut calls, mut answers) = (0, Vec::new());
    while let Some(Ok((request, respond))) = connection.accept().await {
        calls += 1;
        // What comes after the last one that it looks at is reset or ignored by h2 itself.
        if calls == calls_max {
            connection.graceful_shutdown();
        }
        answers.push(tokio::spawn(answer(request, respond, taken.clone())));
    }
    join_all(answers).await;
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    taken: Taken,
) -> Result<(), h2::Error> {
    let (mut body, mut message) = (request.into_body(), Vec::new());
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        message.extend_from_slice(&chunk);
    }
    taken.0.lock().unwrap().0.push(message.into());
    let mut response = Response::new(());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    let mut stream = respond.send_response(response, false)?;
    stream.send_data(Bytes::from_static(&[0; 5]), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    stream.send_trailers(trailers)
}
