//! Whether relayd is alive, and what probes are told about it (Collector, healthcheckextension). Must never say
//! "available" when a core is dead or the drain has begun.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use relay_core::config::ListenAddress;
use relay_core::{RelayHandle, StatsReader};
use tokio::sync::Notify;

use crate::clock;
use crate::http::Answer;

/// A running relay, from its start to its drain. Lives on the control thread.
#[derive(Debug)]
pub(crate) struct Life {
    // None from the beginning of the drain.
    relay: RefCell<Option<RelayHandle>>,
    stats: StatsReader,
    listening_on: Vec<ListenAddress>,
    died: Notify,
    said_dead: Cell<bool>,
    started: Instant,
    started_unix: Duration,
}

impl Life {
    /// The life of `relay`, from now.
    pub(crate) fn new(relay: RelayHandle) -> Self {
        Self {
            stats: relay.stats_reader(),
            listening_on: relay.listening_on(),
            relay: RefCell::new(Some(relay)),
            died: Notify::new(),
            said_dead: Cell::new(false),
            started: clock::now(),
            started_unix: clock::unix_time(),
        }
    }

    /// Whether it receives and all of its cores are alive. A probe that finds a dead core ends the run.
    pub(crate) fn is_healthy(&self) -> bool {
        let Some(alive) = self.relay.borrow().as_ref().map(RelayHandle::is_healthy) else { return false };
        if !alive && !self.said_dead.replace(true) {
            self.died.notify_one();
        }
        alive
    }

    /// Resolves when a probe has found a dead core.
    pub(crate) async fn noticed_death(&self) {
        self.died.notified().await;
    }

    /// Gives the relay out to be drained; `None` if that was done before.
    pub(crate) fn begin_drain(&self) -> Option<RelayHandle> {
        self.relay.borrow_mut().take()
    }

    /// Reads the relay's counters, also while it drains.
    pub(crate) fn stats(&self) -> &StatsReader {
        &self.stats
    }

    /// The addresses received on.
    pub(crate) fn listening_on(&self) -> &[ListenAddress] {
        &self.listening_on
    }

    /// Time since the start.
    pub(crate) fn uptime(&self) -> Duration {
        clock::now().saturating_duration_since(self.started)
    }
}

/// What a probe is told: 200 while spans are taken, else 503.
pub(crate) fn answer(life: &Life) -> Answer {
    let healthy = life.is_healthy();
    let since = clock::rfc3339(u64::try_from(life.started_unix.as_nanos()).unwrap_or(u64::MAX));
    let uptime = life.uptime().as_secs_f64();
    let (status, text) = if healthy {
        (StatusCode::OK, "Server available")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "Server not available")
    };
    let body = serde_json::json!({ "status": text, "upSince": since, "uptime": format!("{uptime:.3}s") });
    Answer { status, content_type: "application/json", body: body.to_string().into_bytes() }
}
