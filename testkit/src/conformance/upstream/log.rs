//! What arrived at an upstream, and the scripts by mark.
//!
//! Must never forget an arrival; messages are dropped after an item, what is known of them stays.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;

use super::answer::Answer;
use crate::collector::Signal;

/// How every mark begins; no other text of the suite does.
pub(in super::super) const MARK_START: &str = "otlpconf-";

/// One request at an upstream.
#[derive(Debug, Clone)]
pub(in super::super) struct Arrival {
    /// `None` where the path is none of the four.
    pub(in super::super) signal: Option<Signal>,
    /// Method and path.
    pub(in super::super) target: String,
    pub(in super::super) headers: HeaderMap,
    /// As it came, still compressed (HTTP alone).
    pub(in super::super) body: Bytes,
    /// The message; empty where its encoding cannot be read here.
    pub(in super::super) message: Bytes,
    /// The marks in it, each once, in order.
    pub(in super::super) marks: Vec<String>,
    pub(in super::super) at: Instant,
    /// Tells connections of one upstream apart.
    pub(in super::super) connection: String,
}

impl Arrival {
    pub(in super::super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(in super::super) fn has(&self, mark: &str) -> bool {
        self.marks.iter().any(|found| found.starts_with(mark))
    }
}

#[derive(Debug)]
struct Rule {
    mark: String,
    first: VecDeque<Answer>,
    then: Answer,
}

#[derive(Debug, Default)]
struct State {
    arrivals: Vec<Arrival>,
    rules: Vec<Rule>,
}

/// Shared between an upstream's server and the items.
#[derive(Debug, Default)]
pub(super) struct Log(Mutex<State>);

impl Log {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an arrival and gives what the script has for it: the first rule whose mark it holds.
    pub(super) fn arrive(&self, mut arrival: Arrival) -> Answer {
        arrival.marks = marks_in(&arrival.message);
        let mut state = self.lock();
        let rule = state.rules.iter_mut().find(|rule| arrival.has(&rule.mark));
        let answer =
            rule.map_or(Answer::Accept, |rule| rule.first.pop_front().unwrap_or_else(|| rule.then.clone()));
        state.arrivals.push(arrival);
        answer
    }

    /// Requests with this mark get `first` in turn, then `then`.
    pub(super) fn script(&self, mark: &str, first: Vec<Answer>, then: Answer) {
        let mut state = self.lock();
        state.rules.retain(|rule| rule.mark != mark);
        state.rules.push(Rule { mark: mark.to_owned(), first: first.into(), then });
    }

    pub(super) fn forget_rules(&self) {
        self.lock().rules.clear();
    }

    pub(super) fn forget_messages(&self) {
        for arrival in &mut self.lock().arrivals {
            arrival.body = Bytes::new();
            arrival.message = Bytes::new();
        }
    }

    pub(super) fn with_mark(&self, mark: &str) -> Vec<Arrival> {
        self.lock().arrivals.iter().filter(|arrival| arrival.has(mark)).cloned().collect()
    }

    /// How many arrivals hold this mark, without copying them.
    pub(super) fn count(&self, mark: &str) -> usize {
        self.lock().arrivals.iter().filter(|arrival| arrival.has(mark)).count()
    }

    /// How many different marks that begin like this have arrived.
    pub(super) fn distinct(&self, mark_start: &str) -> usize {
        let state = self.lock();
        let all = state.arrivals.iter().flat_map(|arrival| &arrival.marks);
        all.filter(|mark| mark.starts_with(mark_start)).collect::<std::collections::HashSet<_>>().len()
    }

    /// How many arrivals there are, and how many of them carry none of our items.
    pub(super) fn totals(&self) -> (usize, usize) {
        let state = self.lock();
        (state.arrivals.len(), state.arrivals.iter().filter(|arrival| arrival.marks.is_empty()).count())
    }
}

/// Every mark in the bytes of a message, whatever its encoding: marks are plain text in all of them.
fn marks_in(message: &[u8]) -> Vec<String> {
    let start = MARK_START.as_bytes();
    let mut marks: Vec<String> = Vec::new();
    let mut rest = message;
    while let Some(at) = rest.iter().position(|&byte| byte == start[0]) {
        rest = &rest[at..];
        if rest.starts_with(start) {
            let in_mark = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
            let end = rest.iter().position(|byte| !in_mark(byte)).unwrap_or(rest.len());
            let mark = String::from_utf8_lossy(&rest[..end]);
            // The second dot ends a mark; a letter behind it is the message's.
            let mark = mark.match_indices('.').nth(1).map_or("", |(dot, _)| &mark[..=dot]);
            if !mark.is_empty() && !marks.iter().any(|found| found == mark) {
                marks.push(mark.to_owned());
            }
            rest = &rest[end..];
        } else {
            rest = &rest[1..];
        }
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: marks with bytes before and behind them that could belong to them, twice the same one, and one cut short.
    #[test]
    fn marks_are_found_in_any_bytes() {
        let message =
            b"oo\x12otlpconf-1-G01.1.0.9\x00otlpconf-1-G01.1.\xffo{\"name\":\"otlpconf-1-J02.7.\"}otlpconf-";
        assert_eq!(marks_in(message), ["otlpconf-1-G01.1.", "otlpconf-1-J02.7."]);
    }
}
