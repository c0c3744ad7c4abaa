//! `testkit numbered`: several clients, each on a connection of its own with one call in flight as the SDKs have it, whose spans bear
//! numbers; `testkit tally` then says of each what became of it.
//!
//! Must never call a request acknowledged that was not answered with OK, nor refused one whose answer was lost.

use std::cell::RefCell;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::{LocalSet, spawn_local};

use super::ending;
use client::{Client, Seen};
use report::Report;
use request::Shape;

mod client;
pub mod report;
pub mod request;

/// Arguments of `testkit numbered`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The receiver.
    #[arg(long, default_value = "127.0.0.1:4317")]
    pub endpoint: String,
    /// Start of every client's `service.name`; its number comes behind it.
    #[arg(long, default_value = "numbered")]
    pub name: String,
    /// Clients.
    #[arg(long, default_value_t = 10)]
    pub clients: u16,
    /// Requests per second of all clients together; without it, each call follows the last.
    #[arg(long)]
    pub rate: Option<f64>,
    /// How long to send; without it, until SIGTERM or ctrl-c.
    #[arg(long)]
    pub seconds: Option<f64>,
    /// Spans in each request.
    #[arg(long, default_value_t = 10)]
    pub spans: u16,
    /// Bytes of each span, about.
    #[arg(long, default_value_t = 300)]
    pub span_bytes: usize,
    /// Seconds that one attempt may take.
    #[arg(long, default_value_t = 10.0)]
    pub timeout_seconds: f64,
    /// Give a request up after so many seconds of trying again.
    #[arg(long, default_value_t = 60.0)]
    pub retry_seconds: f64,
    /// In every so manieth request of client 0, the first span has a trace id of 15 bytes, which no receiver that decodes it takes.
    #[arg(long)]
    pub poison_every: Option<u32>,
    /// In the first request of client 0 that comes after half of the time, the first span has so many bytes.
    #[arg(long, requires = "seconds")]
    pub huge_bytes: Option<usize>,
    /// Where to write what became of each request, for `tally --sent`.
    #[arg(long)]
    pub report: PathBuf,
}

/// Sends until the time is over or a signal says so, and every client has an answer to its last request. Gives the JSON object and
/// whether any request was acknowledged.
///
/// # Errors
/// A report that cannot be written; a receiver that is not there is in the counts.
pub async fn run(args: &Args) -> io::Result<(Value, bool)> {
    let (stop, stopped) = watch::channel(false);
    let started = Instant::now();
    let seen = Rc::new(RefCell::new(Seen::new(started)));
    let shape = Shape { spans: args.spans, span_bytes: args.span_bytes };
    let clients = LocalSet::new()
        .run_until(async {
            let running: Vec<_> = (0..args.clients)
                .map(|number| Client::new(args, number, shape, started, Rc::clone(&seen), stopped.clone()))
                .map(|client| spawn_local(client.run()))
                .collect();
            ending::end(args.seconds, false).await?;
            stop.send(true).ok();
            let mut ended = Vec::with_capacity(running.len());
            for client in running {
                ended.push(client.await.map_err(io::Error::other)?);
            }
            io::Result::Ok(ended)
        })
        .await?;
    let huge = clients.iter().enumerate().find_map(|(client, sent)| Some((client, sent.huge?)));
    let report = Report {
        name: args.name.clone(),
        spans: args.spans,
        outcomes: clients.into_iter().map(|sent| sent.outcomes).collect(),
    };
    report.write(&args.report)?;
    let seen = seen.borrow();
    let count = |wanted: &[u8]| report.outcomes.iter().flatten().filter(|code| wanted.contains(code)).count();
    let acknowledged = count(&[report::ACKNOWLEDGED, report::REPEATED]);
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    let object = json!({
        "requests": acknowledged, "spans": acknowledged * usize::from(args.spans), "seconds": started.elapsed().as_secs_f64(),
        "repeated": count(&[report::REPEATED]), "refused": count(&[report::REFUSED]), "unknown": count(&[report::UNKNOWN]),
        "answers_refusing": seen.refusals, "attempts_broken": seen.broken, "connections": seen.connections,
        "longest_gap_ms": milliseconds(seen.longest_gap), "slowest_ms": milliseconds(seen.slowest),
        "huge": huge.map(|(client, number)| json!([client, number, 0])),
    });
    Ok((object, acknowledged > 0))
}
