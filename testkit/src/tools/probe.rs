//! `testkit probe`: is somebody listening, and does he answer? A new connection every few milliseconds, an empty Export on each.
//!
//! Must never wait for one probe before the next: while one is held up, a gap would go unseen.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::{LocalSet, spawn_local};

use super::client::{Connection, call, head};
use super::ending;
use crate::raw::grpc_message;

/// A connection that takes longer than this was not taken by a listener at once: its SYN was lost or dropped, and sent again a second
/// later (RFC 6298 section 2).
const PROMPT: Duration = Duration::from_millis(200);

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
    /// Seconds that connecting and the call may take, each.
    #[arg(long, default_value_t = 5.0)]
    pub timeout_seconds: f64,
}

/// How a probe went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Probe {
    begun: Instant,
    /// When it was connected; `None` where it was refused or not taken in time.
    taken: Option<Instant>,
    /// When it was answered with OK.
    answered: Option<Instant>,
}

/// Probes until the time is over or a signal says so, and then for as long as the last ones take. Gives the JSON object and whether any
/// probe was answered: `longest_without_listener_ms` from a probe that was not taken at once to the next that was,
/// `longest_without_answer_ms` between two answers, `slowest_ms` of one probe.
///
/// # Errors
/// The handling of signals.
pub async fn run(args: &Args) -> io::Result<(Value, bool)> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let timeout = Duration::from_secs_f64(args.timeout_seconds);
    let probing = async {
        let pause = Duration::from_secs_f64(args.every_ms / 1e3);
        let mut due = Instant::now();
        loop {
            let (endpoint, seen) = (args.endpoint.clone(), Rc::clone(&seen));
            spawn_local(async move {
                let probe = probe(&endpoint, timeout).await;
                seen.borrow_mut().push(probe);
            });
            due = (due + pause).max(Instant::now());
            tokio::time::sleep_until(due.into()).await;
        }
    };
    let probes = LocalSet::new();
    probes
        .run_until(async {
            tokio::select! {
                () = probing => Ok(()),
                ended = ending::end(args.seconds, false) => ended,
            }
        })
        .await?;
    // What has begun ends by its own timeouts.
    probes.await;
    let mut seen = seen.take();
    seen.sort_by_key(|probe| probe.begun);
    Ok((object(&seen), seen.iter().any(|probe| probe.answered.is_some())))
}

async fn probe(endpoint: &str, timeout: Duration) -> Probe {
    let mut probe = Probe { begun: Instant::now(), taken: None, answered: None };
    let opened = tokio::time::timeout(timeout, Connection::open(endpoint)).await;
    let Ok(Ok(connection)) = opened else { return probe };
    probe.taken = Some(Instant::now());
    let called = call(&connection.send, head(endpoint, timeout, false), grpc_message(&[]));
    if let Ok(Ok(answer)) = tokio::time::timeout(timeout, called).await {
        probe.answered = (answer.code == 0).then(Instant::now);
    }
    connection.close().await;
    probe
}

/// `seen` in the order in which the probes began.
fn object(seen: &[Probe]) -> Value {
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    let late = |probe: &&Probe| probe.taken.is_some_and(|taken| taken - probe.begun > PROMPT);
    let mut answers: Vec<_> = seen.iter().filter_map(|probe| probe.answered).collect();
    answers.sort();
    let between = answers.windows(2).map(|pair| pair[1] - pair[0]).max();
    let slowest = seen.iter().filter_map(|probe| Some(probe.answered? - probe.begun)).max();
    json!({
        "probes": seen.len(),
        "refused": seen.iter().filter(|probe| probe.taken.is_none()).count(),
        "late": seen.iter().filter(late).count(),
        "unanswered": seen.iter().filter(|probe| probe.taken.is_some() && probe.answered.is_none()).count(),
        "longest_without_listener_ms": milliseconds(longest_without_listener(seen)),
        "longest_without_answer_ms": milliseconds(between.unwrap_or_default()),
        "slowest_ms": milliseconds(slowest.unwrap_or_default()),
    })
}

fn longest_without_listener(seen: &[Probe]) -> Duration {
    let (mut longest, mut since) = (Duration::ZERO, None);
    for probe in seen {
        if probe.taken.is_some_and(|taken| taken - probe.begun <= PROMPT) {
            longest = longest.max(since.take().map_or(Duration::ZERO, |since| probe.begun - since));
        } else {
            since.get_or_insert(probe.begun);
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantee: a gap lasts from the first probe that found nobody, or was taken only when it knocked again, to the next that found
    /// somebody.
    #[test]
    fn gaps_are_measured() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let probe = |begun, taken: Option<u64>| Probe {
            begun: at(begun),
            taken: taken.map(at),
            answered: taken.map(|ms| at(ms + 1)),
        };
        let seen = [
            probe(0, Some(1)),
            probe(5, None),
            probe(10, Some(11)),
            probe(15, Some(1_015)),
            probe(20, None),
            probe(25, Some(26)),
        ];
        let found = object(&seen);
        assert_eq!(found["longest_without_listener_ms"], 10.0);
        assert_eq!([&found["refused"], &found["late"], &found["unanswered"]], [2, 1, 0]);
        assert_eq!([&found["slowest_ms"], &found["longest_without_answer_ms"]], [1_001.0, 989.0]);
    }
}
