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

    /// Whether it receives and all cores that do are alive. A probe that finds a dead core says so to the run.
    pub(crate) fn is_healthy(&self) -> bool {
        let Some(alive) = self.generations.borrow().current().map(Generation::is_healthy) else {
            return false;
        };
        if !alive && !self.said_dead.replace(true) {
            self.died.notify_one();
        }
        alive
    }

    /// Whether any core is alive, while it receives.
    pub(crate) fn is_alive(&self) -> bool {
        self.generations.borrow().current().is_some_and(Generation::is_alive)
    }

    /// Why it is not healthy, where a core has died.
    pub(crate) fn reason(&self) -> Option<String> {
        let deaths = self.generations.borrow().current().map(Generation::deaths).unwrap_or_default();
        let dead = deaths
            .iter()
            .enumerate()
            .filter_map(|(core, why)| Some(format!("core {core} has died: {}", why.as_ref()?)));
        let dead: Vec<String> = dead.collect();
        (!dead.is_empty()).then(|| dead.join("; "))
    }

    /// What is out of order and keeps nobody out: disks that exporters cannot write to.
    pub(crate) fn disk_faults(&self) -> Option<String> {
        let faults = self.generations.borrow().current().map(Generation::disk_faults).unwrap_or_default();
        (!faults.is_empty()).then(|| faults.join("; "))
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
    let mut body = serde_json::json!({ "status": text, "upSince": since, "uptime": format!("{uptime:.3}s") });
    for (key, text) in [("reason", life.reason()), ("storage", life.disk_faults())] {
        if let (Some(fields), Some(text)) = (body.as_object_mut(), text) {
            fields.insert(key.to_owned(), text.into());
        }
    }
    Answer { status, content_type: "application/json", body: body.to_string().into_bytes() }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use relay_core::Relay;
    use relay_core::config::{ReceiverConfig, UpstreamConfig};

    use super::*;
    use crate::printer::Printer;
    use crate::samples::sample;

    /// Bytes whose owner panics when a core lets go of them.
    struct Bomb(Vec<u8>);

    impl AsRef<[u8]> for Bomb {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(self.0.is_empty(), "the bomb of a test");
        }
    }

    fn kill_a_core(life: &Life) {
        let dead = || life.generations().current().map_or(0, |relay| relay.deaths().iter().flatten().count());
        let before = dead();
        let spans = sample(0, 1).requests.first().map(|request| request.to_vec());
        let bomb = Bytes::from_owner(Bomb(spans.unwrap()));
        life.generations().current().unwrap().submit(bomb);
        for _ in 0..2000 {
            if dead() > before {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("no core has died");
    }

    /// Guarantee: from the death of a core on probes hear 503 and why, the run is told once and goes on, until the last one dies.
    #[tokio::test]
    async fn probes_hear_of_a_dead_core_and_why() {
        let sink = std::sync::Arc::new(Printer::new().0);
        let receiver = ReceiverConfig::new("otlp", "127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap());
        let relay =
            Relay::builder().receiver(receiver).upstream(UpstreamConfig::sink("printer", sink)).cores(2);
        let life = Life::new(Generation::of(relay.start().unwrap()));
        assert_eq!((answer(&life).status, life.reason()), (StatusCode::OK, None));
        kill_a_core(&life);
        let said = answer(&life);
        assert_eq!(said.status, StatusCode::SERVICE_UNAVAILABLE);
        let body = String::from_utf8(said.body).unwrap();
        assert!(
            body.contains("\"reason\":\"core 0 has died: it has panicked: the bomb of a test\""),
            "{body}"
        );
        tokio::time::timeout(Duration::from_secs(5), life.noticed_death()).await.unwrap();
        assert!(life.is_alive());
        kill_a_core(&life);
        assert!(!life.is_alive() && life.reason().unwrap().contains("; core 1 has died: "));
    }
}
