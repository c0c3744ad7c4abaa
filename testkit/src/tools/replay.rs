//! `testkit replay`: recorded requests over OTLP/gRPC, byte for byte, one at a time.
//!
//! Must never count a request as sent that was not answered with OK.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

use super::client::{Answer, Connection, call, head, is_retryable};
use super::dump::{self, Dump};
use super::unique::with_trace_ids_xored;
use crate::oracle::decode;
use crate::payloads::{RESLICED_SPANS, recorded, reslice};
use crate::raw::grpc_message;
use crate::wire::count_spans;

const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const LONGEST_BACKOFF: Duration = Duration::from_secs(2);

/// Arguments of `testkit replay`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The receiver.
    #[arg(long, default_value = "127.0.0.1:4317")]
    pub endpoint: String,
    /// Recordings (.pb.gz) or dumps to send; without any, the built-in recordings.
    #[arg(long, num_args = 1..)]
    pub file: Vec<PathBuf>,
    /// How often to send all of it.
    #[arg(long, default_value_t = 1)]
    pub repeat: u64,
    /// Cut the recordings to about what one source sends at a time (18 spans), encoded anew.
    #[arg(long)]
    pub resliced: bool,
    /// Give each repeat its own trace ids.
    #[arg(long)]
    pub unique: bool,
    /// Open a new connection after so many requests.
    #[arg(long)]
    pub reconnect_every: Option<u64>,
    /// Requests per second; without it, as fast as they are answered.
    #[arg(long)]
    pub rate: Option<f64>,
    /// Try again what the specification calls retryable, and what was lost with its connection.
    #[arg(long)]
    pub retry: bool,
    /// Give a request up after so many seconds of trying again.
    #[arg(long, default_value_t = 60.0)]
    pub retry_seconds: f64,
    /// Seconds that one attempt may take.
    #[arg(long, default_value_t = 10.0)]
    pub timeout_seconds: f64,
    /// Append every request that was answered with OK to this file, for `compare --sent`.
    #[arg(long)]
    pub dump: Option<PathBuf>,
}

#[derive(Debug, Default)]
struct Counts {
    requests: u64,
    spans: u64,
    refused: u64,
    broken: u64,
    retried: u64,
    failed: u64,
    failed_spans: u64,
    rejected_spans: i64,
    connections: u64,
}

/// Sends everything. Gives the JSON object and whether every request was accepted.
///
/// # Errors
/// Unreadable files; a receiver that refuses is in the counts.
pub async fn run(args: &Args) -> io::Result<(Value, bool)> {
    let messages = messages(args)?;
    let timeout = Duration::from_secs_f64(args.timeout_seconds);
    let head = head(&args.endpoint, timeout, false);
    let mut replay = Replay { args, head, timeout, connection: None, counts: Counts::default() };
    let mut dump = args.dump.as_deref().map(Dump::append_to).transpose()?;
    let started = Instant::now();
    let mut number = 0_u64;
    for repeat in 0..args.repeat {
        for message in &messages {
            if let Some(rate) = args.rate {
                let due = started + Duration::from_secs_f64(number as f64 / rate);
                tokio::time::sleep_until(due.into()).await;
            }
            if args.reconnect_every.is_some_and(|every| number > 0 && number.is_multiple_of(every)) {
                replay.disconnect().await;
            }
            number += 1;
            let unique = if args.unique { repeat } else { 0 };
            let message = with_trace_ids_xored(message, unique).map_err(io::Error::other)?;
            if let (true, Some(dump)) = (replay.deliver(&message).await, &mut dump) {
                dump.write(&message)?;
            }
        }
    }
    replay.disconnect().await;
    if let Some(dump) = &mut dump {
        dump.flush()?;
    }
    let Counts {
        requests,
        spans,
        refused,
        broken,
        retried,
        failed,
        failed_spans,
        rejected_spans,
        connections,
    } = replay.counts;
    let object = json!({
        "requests": requests, "spans": spans, "refused": refused, "broken": broken, "retried": retried,
        "failed": failed, "failed_spans": failed_spans, "rejected_spans": rejected_spans,
        "connections": connections, "seconds": started.elapsed().as_secs_f64(),
    });
    Ok((object, failed == 0))
}

fn messages(args: &Args) -> io::Result<Vec<Bytes>> {
    let mut messages = Vec::new();
    for path in &args.file {
        messages.extend(dump::read(path)?);
    }
    if args.file.is_empty() {
        messages.extend(recorded().into_iter().map(|one| one.bytes));
    }
    if !args.resliced {
        return Ok(messages);
    }
    let mut cut = Vec::new();
    for message in &messages {
        cut.extend(reslice(&decode(message).map_err(io::Error::other)?, RESLICED_SPANS));
    }
    Ok(cut)
}

struct Replay<'a> {
    args: &'a Args,
    head: Request<()>,
    timeout: Duration,
    connection: Option<Connection>,
    counts: Counts,
}

impl Replay<'_> {
    /// Sends one request until it is accepted or given up.
    async fn deliver(&mut self, message: &Bytes) -> bool {
        let spans = count_spans(message).unwrap_or(0);
        let framed = grpc_message(message);
        let give_up = Instant::now() + Duration::from_secs_f64(self.args.retry_seconds);
        let mut backoff = FIRST_BACKOFF;
        loop {
            let answer = self.attempt(&framed).await;
            let wait = match &answer {
                Some(answer) if answer.code == 0 => {
                    self.counts.requests += 1;
                    self.counts.spans += spans;
                    self.counts.rejected_spans += answer.rejected_spans;
                    return true;
                }
                Some(answer) => {
                    self.counts.refused += 1;
                    is_retryable(answer).then(|| answer.retry_after.unwrap_or(backoff))
                }
                None => {
                    self.counts.broken += 1;
                    Some(backoff)
                }
            };
            match wait {
                Some(wait) if self.args.retry && Instant::now() + wait < give_up => {
                    self.counts.retried += 1;
                    tokio::time::sleep(wait).await;
                    backoff = (backoff * 2).min(LONGEST_BACKOFF);
                }
                _ => {
                    self.counts.failed += 1;
                    self.counts.failed_spans += spans;
                    return false;
                }
            }
        }
    }

    /// One attempt; `None` where there was no answer. The connection is then given up.
    async fn attempt(&mut self, framed: &Bytes) -> Option<Answer> {
        if self.connection.is_none() {
            self.connection = Some(Connection::open(&self.args.endpoint).await.ok()?);
            self.counts.connections += 1;
        }
        let connection = self.connection.as_ref()?;
        let called = call(&connection.send, self.head.clone(), framed.clone());
        let answered = tokio::time::timeout(self.timeout, called).await;
        let answer = answered.ok().and_then(Result::ok);
        if answer.is_none() {
            self.connection = None;
        }
        answer
    }

    async fn disconnect(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.close().await;
        }
    }
}
