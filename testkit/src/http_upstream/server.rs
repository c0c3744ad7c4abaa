//! Starting, stopping and serving. It runs on a thread and runtime of its own, so that tests of any runtime, or none, can use it.
//!
//! Must never keep a socket after `stop`, and must never answer before the script has seen the whole request.

use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::oneshot;

use super::message::{Head, Incoming};
use super::script::{HttpCall, HttpReply};

type Decide = dyn Fn(&HttpCall) -> HttpReply + Send + Sync;

/// A running or stopped server; dropping it stops it.
pub struct HttpUpstream {
    addr: SocketAddr,
    decide: Arc<Decide>,
    connections: Arc<AtomicU64>,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl std::fmt::Debug for HttpUpstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpUpstream").field("addr", &self.addr).finish_non_exhaustive()
    }
}

impl HttpUpstream {
    /// Starts on a free port of 127.0.0.1; `decide` is asked for the reply to every request. Panics if it cannot listen.
    #[must_use]
    pub fn start(decide: impl Fn(&HttpCall) -> HttpReply + Send + Sync + 'static) -> Self {
        let free_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self::start_on(free_port, decide).expect("the server can listen")
    }

    /// Starts on `listen`.
    ///
    /// # Errors
    /// The socket's, if it cannot listen there.
    pub fn start_on(
        listen: SocketAddr,
        decide: impl Fn(&HttpCall) -> HttpReply + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let connections = Arc::new(AtomicU64::new(0));
        let mut upstream = Self { addr: listen, decide: Arc::new(decide), connections, running: None };
        upstream.listen()?;
        Ok(upstream)
    }

    /// Where it listens (also while it is stopped).
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many connections were accepted so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Listens again on the same port. Nothing happens if it runs; panics if the port is taken for good.
    pub fn restart(&mut self) {
        if self.running.is_none() {
            self.listen().expect("the server can listen again");
        }
    }

    /// Stops as a killed process does: the port refuses, connections are cut, calls in flight stay unanswered.
    pub fn stop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            stop.send(()).ok();
            thread.join().ok();
        }
    }

    fn listen(&mut self) -> io::Result<()> {
        let (stop, stopped) = oneshot::channel();
        let (listening, listens) = mpsc::sync_channel(1);
        let (addr, decide) = (self.addr, Arc::clone(&self.decide));
        let connections = Arc::clone(&self.connections);
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                tokio::select! {
                    () = accept(addr, decide, connections, &listening) => {}
                    _ = stopped => {}
                }
            });
            // Dropping the runtime drops the connections' tasks, and their sockets with them.
        });
        self.addr = listens.recv().map_err(io::Error::other)??;
        self.running = Some((stop, thread));
        Ok(())
    }
}

impl Drop for HttpUpstream {
    fn drop(&mut self) {
        self.stop();
    }
}

type Listening = mpsc::SyncSender<io::Result<SocketAddr>>;

async fn accept(addr: SocketAddr, decide: Arc<Decide>, connections: Arc<AtomicU64>, listening: &Listening) {
    let listener = match crate::listener::listen(addr).await {
        Ok(listener) => listener,
        Err(error) => return drop(listening.send(Err(error))),
    };
    drop(listening.send(listener.local_addr()));
    while let Ok((stream, _)) = listener.accept().await {
        let number = connections.fetch_add(1, Ordering::Relaxed) + 1;
        let decide = Arc::clone(&decide);
        // A connection that breaks is the peer's business, or the script's wish.
        tokio::spawn(async move { serve(stream, number, &*decide).await.ok() });
    }
}

async fn serve(stream: TcpStream, connection: u64, decide: &Decide) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (reader, mut writer) = stream.into_split();
    let mut incoming = Incoming::new(reader);
    while let Some(Head { first_line, headers }) = incoming.head().await? {
        if headers.get("expect").is_some_and(|value| value == "100-continue") {
            writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let body = incoming.body(&headers, false).await?;
        let mut words = first_line.split(' ').map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let call = HttpCall { method, target, headers, body, connection, at: Instant::now() };
        if !reply(&mut writer, decide(&call)).await? {
            return Ok(());
        }
    }
    Ok(())
}

/// Carries a reply out; false where the connection is over.
async fn reply(writer: &mut OwnedWriteHalf, mut reply: HttpReply) -> io::Result<bool> {
    while let HttpReply::Delay(delay, then) = reply {
        tokio::time::sleep(delay).await;
        reply = *then;
    }
    match reply {
        HttpReply::Answer { status, headers, body } => {
            let mut head = format!("HTTP/1.1 {status} scripted\r\ncontent-length: {}\r\n", body.len());
            for (name, value) in headers {
                write!(head, "{name}: {value}\r\n").map_err(io::Error::other)?;
            }
            head.push_str("\r\n");
            writer.write_all(&[head.as_bytes(), &body].concat()).await?;
            Ok(true)
        }
        HttpReply::NeverAnswer => std::future::pending().await,
        HttpReply::Close => Ok(false),
        HttpReply::ResetAfter(begun) => {
            writer.write_all(&begun).await?;
            // So that the reset does not overtake what was written.
            tokio::time::sleep(Duration::from_millis(20)).await;
            socket2::SockRef::from(writer.as_ref()).set_linger(Some(Duration::ZERO))?;
            Ok(false)
        }
        HttpReply::Endless { status, bytes_max } => {
            let head = format!("HTTP/1.1 {status} scripted\r\ntransfer-encoding: chunked\r\n\r\n");
            writer.write_all(head.as_bytes()).await?;
            let chunk = Bytes::from([b"10000\r\n".as_ref(), &[b'x'; 0x1_0000], b"\r\n"].concat());
            for _ in 0..bytes_max.div_ceil(0x1_0000) {
                writer.write_all(&chunk).await?;
            }
            Ok(false)
        }
        HttpReply::Delay(..) => Ok(false),
    }
}
