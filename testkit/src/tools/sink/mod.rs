//! `testkit sink`: an OTLP/gRPC receiver that takes everything, counts it and forgets it, or keeps the bytes in a file.
//!
//! Must never decode below the span boundary, nor keep what it only counts: in benches it stands behind the relay, on the core of the
//! load, and must cost little.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use super::dump::Dump;
use super::ending;
use super::listening::listen_on;
use super::poll::Waker;
use super::process::{cpu_seconds, raise_open_files};
use driver::Driver;
use ledger::Ledger;

mod answer;
mod driver;
mod ledger;
mod message;
mod opened;
mod session;
mod spans;

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

/// What the sink counts beside requests and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Count {
    /// Nothing: messages are not even looked into.
    None,
    /// Spans.
    #[default]
    Spans,
}

/// What is done with messages.
#[derive(Debug, Clone, Copy)]
struct Rules {
    recv_bytes_max: usize,
    count: Count,
    /// Messages are kept in a file.
    keeps: bool,
}

/// [`run_counting`] spans.
///
/// # Errors
/// As there.
pub async fn run(args: &Args) -> io::Result<(Value, bool)> {
    run_counting(args, Count::Spans).await
}

/// Receives until it is told to end. Gives the JSON object and whether nothing was refused; `cpu_seconds` is of the whole process. Says
/// on standard error where it listens.
///
/// # Errors
/// An address it cannot listen on, a file it cannot write.
pub async fn run_counting(args: &Args, count: Count) -> io::Result<(Value, bool)> {
    raise_open_files();
    let listener = listen_on(args.listen)?;
    eprintln!("{}", json!({ "listening": listener.local_addr()?.to_string() }));
    let dump = args.dump.as_deref().map(Dump::append_to).transpose()?;
    let rules = Rules { recv_bytes_max: args.max_recv_mib << 20, count, keeps: dump.is_some() };
    let (ledger, waker) = (Ledger { dump, ..Ledger::default() }, Arc::new(Waker::new()?));
    let started = Instant::now();
    // The loop blocks in epoll on a thread of its own; this one waits for the end, at no cost.
    let (ended, mut has_ended) = tokio::sync::oneshot::channel();
    let its_waker = Arc::clone(&waker);
    std::thread::spawn(move || ended.send(Driver::run(listener, rules, ledger, &its_waker)).ok());
    let mut early = None;
    tokio::select! {
        told = ending::end(args.seconds, args.until_stdin_closes) => told?,
        result = &mut has_ended => early = Some(result),
    }
    waker.wake();
    let result = match early {
        Some(result) => result,
        None => has_ended.await,
    };
    let mut ledger = result.map_err(io::Error::other)??;
    ledger.flush()?;
    let object = json!({
        "requests": ledger.requests, "spans": ledger.spans, "bytes": ledger.bytes,
        "wire_bytes": ledger.wire_bytes, "refused": ledger.refused, "connections": ledger.connections,
        "seconds": started.elapsed().as_secs_f64(), "cpu_seconds": cpu_seconds(),
    });
    Ok((object, ledger.refused == 0))
}
