//! Whether relayd is alive, and what probes are told about it (Collector, healthcheckextension). Must never say
//! "available" when a core is dead or the drain has begun.

use std::cell::{Cell, RefCell, RefMut};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use tokio::sync::Notify;

use crate::clock;
use crate::generations::{Generation, Generations};
use crate::http::Answer;

/// The relays of this process, from the first start to the last drain. Lives on the control thread.
#[derive(Debug)]
pub(crate) struct Life {
    generations: RefCell<Generations>,
    died: Notify,
    said_dead: Cell<bool>,
    started: Instant,
    started_unix: Duration,
}

impl Life {
    /// The life of the relay `first`, from now.
    pub(crate) fn new(first: Generation) -> Self {
        let mut generations = Generations::default();
        // There was none before it.
        drop(generations.replace(Some(first)));
        Self {
            generations: RefCell::new(generations),
            died: Notify::new(),
            said_dead: Cell::new(false),
            started: clock::now(),
            started_unix: clock::unix_time(),
        }
    }

    /// Whether it receives and all cores that do are alive. A probe that finds a dead core ends the run.
    pub(crate) fn is_healthy(&self) -> bool {
        let Some(alive) = self.generations.borrow().current().map(Generation::is_healthy) else {
            return false;
        };
        if !alive && !self.said_dead.replace(true) {
            self.died.notify_one();
        }
        alive
    }

    /// Resolves when a probe has found a dead core.
    pub(crate) async fn noticed_death(&self) {
        self.died.notified().await;
    }

    /// All relays; not to be held over an await.
    pub(crate) fn generations(&self) -> RefMut<'_, Generations> {
        self.generations.borrow_mut()
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
