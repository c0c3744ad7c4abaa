//! A whole relay in this process, between a closed-loop load on bare h2 and testkit's sink, all over loopback.
//!
//! The relay has threads of its own, so that their CPU time can be told from the load's and the sink's: on a busy machine that is the
//! figure to look at.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, HeaderValue, Request};
use relay_core::config::{ReceiverConfig, UpstreamConfig};
use relay_core::stats::UpstreamStats;
use relay_core::upstream::Endpoint;
use relay_core::{Relay, RelayHandle, StatsReader};
use testkit::raw::{CONNECTION_WINDOW_BYTES, EXPORT_PATH, STREAM_WINDOW_BYTES, grpc_message};
use testkit::tools::sink;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

/// Connections of the load.
pub const CONNECTIONS: usize = 4;
/// Calls in flight on each.
pub const CALLS: usize = 8;
/// Held bytes at which the load waits for the sink, so that it is not overload that is measured.
const HELD_BYTES: usize = 8 << 20;
/// Pause before a refused request is sent again, and between two looks at what the relay still holds.
const PAUSE: Duration = Duration::from_micros(100);

/// A running relay with its load and its sink.
#[derive(Debug)]
pub struct Bench {
    runtime: Runtime,
    senders: Vec<SendRequest<Bytes>>,
    head: Request<()>,
    relay: RelayHandle,
}

/// What one run has cost.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// From the first request to the delivery of the last.
    pub elapsed: Duration,
    /// CPU time of the relay's core threads, user and system.
    pub cpu: Duration,
    /// Requests that were refused and sent again.
    pub refused: u64,
}

impl Bench {
    /// Starts a sink, a relay with one core before it, and the load's connections.
    #[must_use]
    pub fn start() -> Self {
        let sink = start_sink();
        let endpoint = Endpoint::parse(&sink.to_string()).expect("an address");
        let relay = Relay::builder()
            .receiver(ReceiverConfig::new("otlp", SocketAddr::from((Ipv4Addr::LOCALHOST, 0))))
            .upstream(UpstreamConfig::grpc("otlp", endpoint))
            .cores(1)
            .start()
            .expect("a free port");
        let address = relay.listening_on()[0].tcp().expect("a TCP address");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let senders = runtime.block_on(async {
            let mut senders = Vec::new();
            for _ in 0..CONNECTIONS {
                senders.push(connect(address).await);
            }
            senders
        });
        Self { runtime, senders, head: head(address), relay }
    }

    /// Sends `requests` requests, `messages` in turn, and waits until the sink has them.
    #[must_use]
    pub fn exchange(&self, messages: &[Bytes], requests: u64) -> Cost {
        let plan = Arc::new(Plan {
            messages: messages.iter().map(|message| grpc_message(message)).collect(),
            requests,
            next: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            stats: self.relay.stats_reader(),
        });
        let (started, cpu) = (Instant::now(), relay_cpu());
        self.runtime.block_on(async {
            let workers: Vec<_> = (0..CONNECTIONS * CALLS)
                .map(|number| {
                    let sender = self.senders[number % CONNECTIONS].clone();
                    tokio::spawn(work(sender, self.head.clone(), Arc::clone(&plan)))
                })
                .collect();
            for worker in workers {
                worker.await.expect("a worker does not panic");
            }
            while self.upstream().items.held() > 0 {
                tokio::time::sleep(PAUSE).await;
            }
        });
        Cost {
            elapsed: started.elapsed(),
            cpu: relay_cpu() - cpu,
            refused: plan.refused.load(Ordering::Relaxed),
        }
    }

    /// What the relay says of its upstream.
    #[must_use]
    pub fn upstream(&self) -> UpstreamStats {
        self.relay.stats().upstreams.swap_remove(0)
    }
}

/// What the workers share.
#[derive(Debug)]
struct Plan {
    messages: Vec<Bytes>,
    requests: u64,
    next: AtomicU64,
    refused: AtomicU64,
    stats: StatsReader,
}

async fn work(sender: SendRequest<Bytes>, head: Request<()>, plan: Arc<Plan>) {
    loop {
        let number = plan.next.fetch_add(1, Ordering::Relaxed);
        if number >= plan.requests {
            return;
        }
        while plan.stats.stats().held_bytes > HELD_BYTES {
            tokio::time::sleep(PAUSE).await;
        }
        let message = &plan.messages[number as usize % plan.messages.len()];
        while call(&sender, head.clone(), message.clone()).await.expect("the relay answers") != 0 {
            plan.refused.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// One call; gives the gRPC status code.
async fn call(sender: &SendRequest<Bytes>, head: Request<()>, message: Bytes) -> Result<i32, h2::Error> {
    let mut ready = sender.clone().ready().await?;
    let (response, mut body) = ready.send_request(head, false)?;
    // Where this fails the call was answered early; the answer is what counts.
    body.send_data(message, true).ok();
    let (head, mut stream) = response.await?.into_parts();
    while let Some(chunk) = stream.data().await {
        stream.flow_control().release_capacity(chunk?.len())?;
    }
    let trailers = stream.trailers().await?;
    Ok(status(trailers.as_ref().unwrap_or(&head.headers)))
}

fn status(fields: &HeaderMap) -> i32 {
    let status = fields.get("grpc-status").and_then(|status| status.to_str().ok()?.parse().ok());
    status.expect("a gRPC status")
}

async fn connect(address: SocketAddr) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.expect("the relay listens");
    stream.set_nodelay(true).expect("a TCP socket");
    let (sender, connection) = h2::client::Builder::new()
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .handshake(stream)
        .await
        .expect("the relay speaks HTTP/2");
    tokio::spawn(async move { connection.await.ok() });
    sender
}

fn head(address: SocketAddr) -> Request<()> {
    let mut head = Request::post(format!("http://{address}{EXPORT_PATH}")).body(()).expect("an address");
    head.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    head.headers_mut().insert("te", HeaderValue::from_static("trailers"));
    head
}

/// A sink on a thread of its own, until the process ends.
fn start_sink() -> SocketAddr {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
    let listen = free.local_addr().expect("an address");
    drop(free);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let args =
            sink::Args { listen, max_recv_mib: 4, dump: None, seconds: None, until_stdin_closes: false };
        runtime.block_on(sink::run(&args)).expect("the port was free a moment ago");
        // The sink ends when the user interrupts it, and with it the bench.
        std::process::exit(130);
    });
    while std::net::TcpStream::connect(listen).is_err() {
        std::thread::sleep(PAUSE);
    }
    listen
}

/// CPU time of the threads named `relay-core-N` of this process.
fn relay_cpu() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    let of_relay = tasks.filter_map(|task| {
        let path = task.ok()?.path();
        let name = std::fs::read_to_string(path.join("comm")).ok()?;
        name.starts_with("relay-core-").then(|| cpu_in(&path))?
    });
    of_relay.sum()
}

/// CPU time of the calling thread.
#[must_use]
pub fn own_cpu() -> Duration {
    cpu_in(Path::new("/proc/thread-self")).expect("Linux")
}

/// CPU time, user and system, of a task (proc(5), `schedstat`: nanoseconds on a CPU).
fn cpu_in(task: &Path) -> Option<Duration> {
    let times = std::fs::read_to_string(task.join("schedstat")).ok()?;
    times.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}
