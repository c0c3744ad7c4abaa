//! `testkit tally`: what became of the spans of `numbered` runs, and how many spans of every service arrived.
//!
//! Must never count a span as there once that is there twice, nor one as lost that nobody was promised.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::dump;
use super::numbered::report::{ACKNOWLEDGED, REFUSED, REPEATED, Report};
use super::numbered::request::Number;
use crate::oracle::{Resource, any_value, decode};

/// Of the spans that are lost, so many are named.
const EXAMPLES: usize = 5;

/// Arguments of `testkit tally`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Reports of `numbered`.
    #[arg(long, num_args = 1..)]
    pub sent: Vec<PathBuf>,
    /// What arrived: dumps of sinks.
    #[arg(long, required = true, num_args = 1..)]
    pub received: Vec<PathBuf>,
}

/// How often each span of a service arrived, by its ids.
type Service = HashMap<(Vec<u8>, Vec<u8>), u32>;

/// What arrived.
#[derive(Debug, Default)]
pub struct Arrived {
    services: BTreeMap<String, Service>,
}

/// What became of the spans of one client, or of several.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fate {
    /// Spans that were acknowledged.
    pub acknowledged: u64,
    /// Of those, spans that are nowhere.
    pub lost: u64,
    /// Spans that arrived more often than once although their sender sent them once (or was refused before), by how often.
    pub twice: u64,
    /// The same of spans that their sender repeated because an answer was lost.
    pub repeated: u64,
    /// Spans whose sender was refused for good.
    pub refused: u64,
    /// Of those, spans that arrived.
    pub refused_arrived: u64,
    /// Spans of which the sender does not know.
    pub unknown: u64,
    /// Of those, spans that arrived.
    pub unknown_arrived: u64,
    /// Some of the lost ones.
    pub examples: Vec<Number>,
}

/// Reads all files. Gives the JSON object and `true`: what is lost is for the caller to judge.
///
/// # Errors
/// Unreadable files, and messages in them that prost does not take.
pub fn run(args: &Args) -> io::Result<(Value, bool)> {
    let mut arrived = Arrived::default();
    let mut files = Vec::with_capacity(args.received.len());
    for path in &args.received {
        let mut spans = 0;
        for message in dump::read(path)? {
            spans += arrived.add(&message)?;
        }
        files.push(json!({ "path": path, "spans": spans }));
    }
    let (mut all, mut clients) = (Fate::default(), serde_json::Map::new());
    for path in &args.sent {
        let report = Report::read(path)?;
        for (client, outcomes) in report.outcomes.iter().enumerate() {
            let service = format!("{}-{client}", report.name);
            let client = u16::try_from(client).map_err(io::Error::other)?;
            let fate = arrived.fate(&service, client, report.spans, outcomes);
            clients.insert(service, fate.json());
            all.add(&fate);
        }
    }
    let services: serde_json::Map<_, _> = arrived
        .services
        .iter()
        .map(|(name, spans)| {
            let times = spans.values().map(|&times| u64::from(times)).sum::<u64>();
            (name.clone(), json!({ "spans": times, "distinct": spans.len() }))
        })
        .collect();
    Ok((json!({ "files": files, "services": services, "clients": clients, "sent": all.json() }), true))
}

impl Arrived {
    /// Adds a request that arrived; gives how many spans it has.
    ///
    /// # Errors
    /// `InvalidData` for what prost does not take.
    pub fn add(&mut self, message: &[u8]) -> io::Result<u64> {
        let request = decode(message).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let mut count = 0;
        for resource_spans in request.resource_spans {
            let name = resource_spans.resource.map(service_name).unwrap_or_default();
            let service = self.services.entry(name).or_default();
            for span in resource_spans.scope_spans.into_iter().flat_map(|scope_spans| scope_spans.spans) {
                *service.entry((span.trace_id, span.span_id)).or_default() += 1;
                count += 1;
            }
        }
        Ok(count)
    }

    /// What became of a client's spans, by the codes of its requests.
    #[must_use]
    pub fn fate(&self, service: &str, client: u16, spans: u16, outcomes: &[u8]) -> Fate {
        let mut fate = Fate::default();
        let found: HashMap<Number, u32> = self.services.get(service).map_or_else(HashMap::new, |found| {
            let read = |((trace, span), &times): (&(Vec<u8>, Vec<u8>), &u32)| {
                Some((Number::read(trace, span)?, times))
            };
            found.iter().filter_map(read).collect()
        });
        for (request, &code) in (0..).zip(outcomes) {
            for span in 0..spans {
                let number = Number { client, request, span };
                fate.note(code, number, found.get(&number).copied().unwrap_or(0));
            }
        }
        fate
    }
}

impl Fate {
    fn note(&mut self, code: u8, number: Number, times: u32) {
        let arrived = u64::from(times > 0);
        let (all, there) = match code {
            ACKNOWLEDGED | REPEATED => {
                if times == 0 && self.examples.len() < EXAMPLES {
                    self.examples.push(number);
                }
                self.lost += 1 - arrived;
                (&mut self.acknowledged, None)
            }
            REFUSED => (&mut self.refused, Some(&mut self.refused_arrived)),
            _ => (&mut self.unknown, Some(&mut self.unknown_arrived)),
        };
        *all += 1;
        if let Some(there) = there {
            *there += arrived;
        }
        let more = u64::from(times.saturating_sub(1));
        if matches!(code, ACKNOWLEDGED | REFUSED) {
            self.twice += more;
        } else {
            self.repeated += more;
        }
    }

    fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.lost += other.lost;
        self.twice += other.twice;
        self.repeated += other.repeated;
        self.refused += other.refused;
        self.refused_arrived += other.refused_arrived;
        self.unknown += other.unknown;
        self.unknown_arrived += other.unknown_arrived;
        let room = EXAMPLES.saturating_sub(self.examples.len());
        self.examples.extend(other.examples.iter().take(room));
    }

    fn json(&self) -> Value {
        let examples: Vec<_> =
            self.examples.iter().map(|one| json!([one.client, one.request, one.span])).collect();
        json!({
            "acknowledged": self.acknowledged, "lost": self.lost, "twice": self.twice, "repeated": self.repeated,
            "refused": self.refused, "refused_arrived": self.refused_arrived, "unknown": self.unknown,
            "unknown_arrived": self.unknown_arrived, "examples": examples,
        })
    }
}

fn service_name(resource: Resource) -> String {
    let value = resource
        .attributes
        .into_iter()
        .find(|one| one.key == "service.name")
        .and_then(|one| one.value?.value);
    if let Some(any_value::Value::StringValue(name)) = value { name } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::super::numbered::report::UNKNOWN;
    use super::super::numbered::request::{Oddity, Shape, numbered};
    use super::*;

    /// Guarantee: every outcome is counted under its own head, and a span that the sender repeated is not called the relay's double.
    #[test]
    fn every_fate_is_told_apart() {
        let shape = Shape { spans: 2, span_bytes: 130 };
        let mut arrived = Arrived::default();
        for request in [0, 0, 1, 1, 3, 5] {
            arrived.add(&numbered("s-4", 4, request, shape, Oddity::None)).unwrap();
        }
        let outcomes = [ACKNOWLEDGED, REPEATED, ACKNOWLEDGED, REFUSED, REFUSED, UNKNOWN, UNKNOWN];
        let found = arrived.fate("s-4", 4, 2, &outcomes);
        let lost = [0, 1].map(|span| Number { client: 4, request: 2, span });
        let expected = Fate {
            acknowledged: 6,
            lost: 2,
            twice: 2,
            repeated: 2,
            refused: 4,
            refused_arrived: 2,
            unknown: 4,
            unknown_arrived: 2,
            examples: lost.to_vec(),
        };
        assert_eq!(found, expected);
        assert_eq!(arrived.fate("other", 4, 2, &[ACKNOWLEDGED]).lost, 2);
    }
}
