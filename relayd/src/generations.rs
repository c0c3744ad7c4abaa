//! The relays of this process: the one that receives, those that drain because their configuration was replaced, and what those
//! have done that have ended. Counters never go back: all of them are added up. Must never decide when to replace one.

use relay_core::config::{ListenAddress, ReceiverConfig};
use relay_core::stats::{SpillStats, Stats, UpstreamStats};
use relay_core::{ListeningSocket, Relay, RelayHandle, StatsReader};

use crate::activation::Inherited;
use crate::limits::PAST_UPSTREAMS_MAX;
use crate::plan::{About, Plan};
use crate::report::{Books, Report};

/// A relay that receives.
#[derive(Debug)]
pub(crate) struct Generation {
    relay: RelayHandle,
    seen: Seen,
    books: Books,
    // Of each socket.
    places: Vec<Place>,
    bound: String,
}

/// What a socket is for.
#[derive(Debug)]
struct Place {
    receiver: String,
    /// As configured.
    listen: ListenAddress,
    spoken: &'static str,
}

/// A relay to be drained, and what its end is held against.
#[derive(Debug)]
pub(crate) struct Departing {
    pub(crate) relay: RelayHandle,
    pub(crate) books: Books,
    number: u64,
}

/// What the books of those say that have ended.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    /// How many have.
    pub(crate) relays: u64,
    /// Of how many the books did not add up.
    pub(crate) wrong: u64,
    /// Items that were held and are lost.
    pub(crate) given_up: u64,
}

/// What a scrape sees of a relay, also while it drains.
#[derive(Debug)]
struct Seen {
    stats: StatsReader,
    /// In the order of its upstreams.
    about: Vec<About>,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Generations {
    current: Option<Generation>,
    leaving: Vec<(u64, Seen)>,
    past: Stats,
    past_about: Vec<About>,
    ended: Ended,
    departed: u64,
}

impl Generation {
    /// Starts what `plan` says. A receiver takes over the socket of the relay `before`, or one that the process was started with,
    /// and binds only what neither has.
    ///
    /// # Errors
    /// Why it cannot start; nothing has changed then.
    pub(crate) fn start(plan: Plan, before: Option<&Self>, inherited: &Inherited) -> Result<Self, String> {
        let books = Books::new(&plan);
        let mut receivers = inherited.assign(plan.receivers)?;
        if let Some(before) = before {
            before.hand_over(&mut receivers);
        }
        let places = receivers.iter().map(|(receiver, _)| Place::of(receiver)).collect();
        let bound = &plan.bound;
        let mut builder =
            Relay::builder().held_bytes_max(bound.bytes).held_bytes_burst_max(bound.burst_bytes);
        let bound = bound.to_string();
        if let Some(pause) = plan.gather_pause {
            builder = builder.gather_pause(pause);
        }
        for upstream in plan.upstreams {
            builder = builder.upstream(upstream);
        }
        for (receiver, socket) in receivers {
            builder = match socket {
                Some(socket) => builder.receiver_on(receiver, socket),
                None => builder.receiver(receiver),
            };
        }
        let relay = builder.start().map_err(|error| error.to_string())?;
        let seen = Seen { stats: relay.stats_reader(), about: plan.about };
        Ok(Self { relay, seen, books, places, bound })
    }

    /// Gives each receiver that has no socket yet the one that a receiver with its address has here, first that of its name: port 0
    /// is as many sockets as there are receivers with it.
    fn hand_over(&self, receivers: &mut [(ReceiverConfig, Option<ListeningSocket>)]) {
        let mut free: Vec<_> = self.places.iter().zip(self.relay.listeners()).collect();
        for by_name in [true, false] {
            for (receiver, socket) in receivers.iter_mut().filter(|(_, socket)| socket.is_none()) {
                let fits = |(place, free): &(&Place, Option<ListeningSocket>)| {
                    let named =
                        if by_name { place.receiver == receiver.name } else { !is_any_port(&place.listen) };
                    free.is_some() && named && place.listen == receiver.listen
                };
                if let Some(at) = free.iter().position(fits) {
                    *socket = free.swap_remove(at).1;
                }
            }
        }
    }

    /// Each socket: its receiver, its address, and what is spoken there.
    pub(crate) fn listening_on(&self) -> Vec<(&str, ListenAddress, &'static str)> {
        let places = self.places.iter().zip(self.relay.listening_on());
        places.map(|(place, address)| (place.receiver.as_str(), address, place.spoken)).collect()
    }

    /// How much it may hold, and why, in words.
    pub(crate) fn bound(&self) -> &str {
        &self.bound
    }

    /// Whether all of its cores are alive.
    pub(crate) fn is_healthy(&self) -> bool {
        self.relay.is_healthy()
    }

    /// Whether any of its cores is alive.
    pub(crate) fn is_alive(&self) -> bool {
        self.relay.is_alive()
    }

    /// For each exporter and signal that cannot write to its disk, why.
    pub(crate) fn disk_faults(&self) -> Vec<String> {
        let upstreams = self.seen.stats.stats().upstreams.into_iter();
        let faults = upstreams.filter_map(|upstream| {
            let fault = upstream.spill?.fault?;
            Some(format!("exporter {} ({}): {fault}", upstream.name, upstream.signal.name()))
        });
        faults.collect()
    }

    /// For each core why it has died, if it has.
    pub(crate) fn deaths(&self) -> Vec<Option<String>> {
        self.seen.stats.stats().deaths
    }
}

impl Place {
    fn of(receiver: &ReceiverConfig) -> Self {
        let spoken = match (receiver.grpc, &receiver.http) {
            (true, Some(_)) => "gRPC and HTTP",
            (false, _) => "HTTP",
            (true, None) => "gRPC",
        };
        Self { receiver: receiver.name.clone(), listen: receiver.listen.clone(), spoken }
    }
}

#[cfg(test)]
impl Generation {
    pub(crate) fn of(relay: RelayHandle) -> Self {
        let seen = Seen { stats: relay.stats_reader(), about: Vec::new() };
        Self { relay, seen, books: Books::default(), places: Vec::new(), bound: String::new() }
    }

    pub(crate) fn submit(&self, traces: bytes::Bytes) {
        drop(self.relay.submit(relay_core::otlp::Signal::Traces, traces).unwrap());
    }
}

fn is_any_port(listen: &ListenAddress) -> bool {
    listen.tcp().is_some_and(|address| address.port() == 0)
}

impl Generations {
    /// The relay that receives; `None` before the start and from the beginning of the last drain.
    pub(crate) fn current(&self) -> Option<&Generation> {
        self.current.as_ref()
    }

    /// Relays that drain.
    pub(crate) fn leaving(&self) -> usize {
        self.leaving.len()
    }

    /// Whether one of those that drain accepts connections still.
    pub(crate) fn is_leaving_accepting(&self) -> bool {
        self.leaving.iter().any(|(_, seen)| seen.stats.is_accepting())
    }

    /// Puts a relay (or none, at the end) in the place of the one that receives, which is given out to be drained.
    #[must_use]
    pub(crate) fn replace(&mut self, next: Option<Generation>) -> Option<Departing> {
        let Generation { relay, seen, books, .. } = std::mem::replace(&mut self.current, next)?;
        let number = self.departed;
        self.departed += 1;
        self.leaving.push((number, seen));
        Some(Departing { relay, books, number })
    }

    /// Files what a relay has done that has drained.
    pub(crate) fn file(&mut self, number: u64, mut stats: Stats, report: &Report) {
        let Some(at) = self.leaving.iter().position(|(leaving, _)| *leaving == number) else { return };
        let (_, seen) = self.leaving.remove(at);
        // Bounds and certificates of what is no more would be added to those of what is.
        stats.held_bytes_max = 0;
        stats
            .receivers
            .iter_mut()
            .filter_map(|r| r.tls.as_mut())
            .for_each(|tls| tls.not_after_unix_seconds = None);
        for upstream in &mut stats.upstreams {
            upstream.queue_batches_max = 0;
            if let Some(spill) = &mut upstream.spill {
                leave_disk(spill);
            }
            if let Some(tls) = &mut upstream.tls {
                tls.not_after_unix_seconds = None;
            }
            let known = self.past.upstreams.iter().any(|past| past.name == upstream.name);
            if !known && self.past.upstreams.len() >= PAST_UPSTREAMS_MAX {
                EARLIER.clone_into(&mut upstream.name);
            }
        }
        let about = seen.about.into_iter().zip(&stats.upstreams).map(|(about, upstream)| About {
            exporter: if upstream.name == EARLIER { EARLIER.to_owned() } else { about.exporter },
            held_bytes_max: 0,
            queue: relay_core::config::QueueLimit::Unbounded,
            ..about
        });
        add(&mut self.past, &mut self.past_about, &stats, about.collect::<Vec<_>>().iter());
        self.ended.relays += 1;
        self.ended.wrong += u64::from(!report.adds_up);
        self.ended.given_up += report.given_up;
    }

    /// What all relays have done and hold, rows of one name and signal added up, and what each upstream stands for.
    pub(crate) fn totals(&self) -> (Vec<About>, Stats) {
        let (mut about, mut sum) = (Vec::new(), Stats::default());
        let seen = self.current.iter().map(|current| &current.seen);
        for seen in seen.chain(self.leaving.iter().rev().map(|(_, seen)| seen)) {
            add(&mut sum, &mut about, &seen.stats.stats(), seen.about.iter());
        }
        add(&mut sum, &mut about, &self.past, self.past_about.iter());
        (about, sum)
    }

    /// What the books of those say that have ended.
    pub(crate) fn ended(&self) -> &Ended {
        &self.ended
    }
}

/// Takes out what is there at a moment: it is the next one's, or nobody's.
fn leave_disk(spill: &mut SpillStats) {
    (spill.bytes, spill.segments, spill.records, spill.items, spill.unopened) = (0, 0, 0, 0, 0);
    (spill.oldest_unix_ms, spill.fault, spill.bytes_max) = (None, None, 0);
}

/// The exporter whose counts have those of more exporters than are remembered by name.
const EARLIER: &str = "(earlier)";

fn add<'a>(
    sum: &mut Stats,
    sum_about: &mut Vec<About>,
    stats: &Stats,
    about: impl Iterator<Item = &'a About>,
) {
    for (at, (about, upstream)) in about.zip(&stats.upstreams).enumerate() {
        let same = |known: &UpstreamStats| (&known.name, known.signal) == (&upstream.name, upstream.signal);
        if !sum.upstreams.iter().chain(stats.upstreams.iter().take(at)).any(same) {
            sum_about.push(about.clone());
        }
    }
    sum.add(stats);
}

impl Departing {
    /// Which one it is, for [`Generations::file`].
    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}
