//! `testkit probe`: is somebody listening, and does he answer? A new connection every few milliseconds, an empty Export on each.
//!
//! Must never open two connections at a time: a receiver that is slow would then look like one that is busy.

use std::io;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::client::{Connection, call, head};
use super::ending;
use crate::raw::grpc_message;

/// Arguments of `testkit probe`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The receiver.
    #[arg(long, default_value = "127.0.0.1:4317")]
    pub endpoint: String,
    /// Milliseconds from one connection to the next.
    #[arg(long, default_value_t = 5.0)]
    pub every_ms: f64,
    /// How long to probe; without it, until SIGTERM or ctrl-c.
    #[arg(long)]
    pub seconds: Option<f64>,
    /// Seconds that one probe may take.
    #[arg(long, default_value_t = 5.0)]
    pub timeout_seconds: f64,
}

/// What the probes have seen.
#[derive(Debug, Default)]
struct Seen {
    probes: u64,
    refused: u64,
    unanswered: u64,
    /// The last connection that was taken, and whether one was refused since.
    last_taken: Option<(Instant, bool)>,
    longest_refused: Duration,
    last_answered: Option<Instant>,
    longest_unanswered: Duration,
}

impl Seen {
    fn note_taken(&mut self) {
        let now = Instant::now();
        if let Some((last, true)) = self.last_taken {
            self.longest_refused = self.longest_refused.max(now - last);
        }
        self.last_taken = Some((now, false));
    }

    fn note_refused(&mut self) {
        self.refused += 1;
        if let Some((_, refused)) = &mut self.last_taken {
            *refused = true;
        }
    }

    fn note_answered(&mut self) {
        let now = Instant::now();
        if let Some(last) = self.last_answered {
            self.longest_unanswered = self.longest_unanswered.max(now - last);
        }
        self.last_answered = Some(now);
    }
}

/// Probes until the time is over or a signal says so. Gives the JSON object and whether any probe was answered:
/// `longest_without_listener_ms` from the last connection before one that was refused to the next that was taken,
/// `longest_without_answer_ms` between any two answers.
///
/// # Errors
/// The handling of signals.
pub async fn run(args: &Args) -> io::Result<(Value, bool)> {
    let mut seen = Seen::default();
    let probing = async {
        let pause = Duration::from_secs_f64(args.every_ms / 1e3);
        let timeout = Duration::from_secs_f64(args.timeout_seconds);
        loop {
            let next = Instant::now() + pause;
            probe(&args.endpoint, timeout, &mut seen).await;
            tokio::time::sleep_until(next.into()).await;
        }
    };
    tokio::select! {
        () = probing => {}
        ended = ending::end(args.seconds, false) => ended?,
    }
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    let object = json!({
        "probes": seen.probes, "refused": seen.refused, "unanswered": seen.unanswered,
        "longest_without_listener_ms": milliseconds(seen.longest_refused),
        "longest_without_answer_ms": milliseconds(seen.longest_unanswered),
    });
    Ok((object, seen.last_answered.is_some()))
}

async fn probe(endpoint: &str, timeout: Duration, seen: &mut Seen) {
    seen.probes += 1;
    let opened = tokio::time::timeout(timeout, Connection::open(endpoint)).await;
    let Ok(Ok(connection)) = opened else {
        seen.note_refused();
        return;
    };
    seen.note_taken();
    let called = call(&connection.send, head(endpoint, timeout, false), grpc_message(&[]));
    match tokio::time::timeout(timeout, called).await {
        Ok(Ok(answer)) if answer.code == 0 => seen.note_answered(),
        _ => seen.unanswered += 1,
    }
    connection.close().await;
}
