//! Puts the spans of a trace together that arrive in several requests, because several services send them. A plain state
//! machine that is told the time. Must never hold more than its limits say.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Instant;

use relay_core::otlp::TraceId;

use crate::limits::{TRACE_OPEN_MAX, TRACE_QUIET, TRACE_SPANS_MAX, TRACES_OPEN_MAX, TRACES_REMEMBERED_MAX};
use crate::summary::SpanSummary;

/// The spans of one trace that came about together.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) id: TraceId,
    pub(crate) spans: Vec<SpanSummary>,
    /// Spans that came but were not kept.
    pub(crate) spans_left_out: usize,
    /// Other spans of it were shown before.
    pub(crate) continued: bool,
    first_came: Instant,
    last_came: Instant,
}

/// Traces whose spans are still coming.
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    // At most TRACES_OPEN_MAX.
    open: HashMap<TraceId, Trace>,
    // The same ids in both, at most TRACES_REMEMBERED_MAX; the queue says which one is the oldest.
    shown: HashSet<TraceId>,
    shown_in_order: VecDeque<TraceId>,
}

impl Trace {
    fn due_at(&self) -> Instant {
        (self.last_came + TRACE_QUIET).min(self.first_came + TRACE_OPEN_MAX)
    }
}

impl Assembly {
    /// Adds a span that came at `now`. Returns the oldest trace if there is no room for one more.
    #[must_use]
    pub(crate) fn add(&mut self, span: SpanSummary, now: Instant) -> Option<Trace> {
        let mut crowded_out = None;
        if !self.open.contains_key(&span.trace) && self.open.len() >= TRACES_OPEN_MAX {
            let oldest = self.open.values().min_by_key(|trace| trace.first_came).map(|trace| trace.id);
            crowded_out = oldest.and_then(|id| self.close(id));
        }
        let continued = self.shown.contains(&span.trace);
        let trace = self.open.entry(span.trace).or_insert_with(|| Trace {
            id: span.trace,
            spans: Vec::new(),
            spans_left_out: 0,
            continued,
            first_came: now,
            last_came: now,
        });
        trace.last_came = now;
        if trace.spans.len() < TRACE_SPANS_MAX {
            trace.spans.push(span);
        } else {
            trace.spans_left_out += 1;
        }
        crowded_out
    }

    /// When the next trace is to be shown; `None` while there is none.
    pub(crate) fn due_at(&self) -> Option<Instant> {
        self.open.values().map(Trace::due_at).min()
    }

    /// The traces that are to be shown at `now`, oldest first.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<Trace> {
        self.take(|trace| trace.due_at() <= now)
    }

    /// All traces, oldest first.
    pub(crate) fn take_all(&mut self) -> Vec<Trace> {
        self.take(|_| true)
    }

    fn take(&mut self, wanted: impl Fn(&Trace) -> bool) -> Vec<Trace> {
        let ids: Vec<TraceId> =
            self.open.values().filter(|trace| wanted(trace)).map(|trace| trace.id).collect();
        let mut traces: Vec<Trace> = ids.into_iter().filter_map(|id| self.close(id)).collect();
        traces.sort_by_key(|trace| trace.first_came);
        traces
    }

    fn close(&mut self, id: TraceId) -> Option<Trace> {
        let trace = self.open.remove(&id)?;
        if self.shown.insert(id) {
            self.shown_in_order.push_back(id);
        }
        if self.shown_in_order.len() > TRACES_REMEMBERED_MAX
            && let Some(oldest) = self.shown_in_order.pop_front()
        {
            self.shown.remove(&oldest);
        }
        Some(trace)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use relay_core::otlp::SpanId;

    use super::*;
    use crate::clock;

    fn span(trace: u32) -> SpanSummary {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&trace.to_be_bytes());
        SpanSummary {
            trace: TraceId(id),
            id: SpanId([1; 8]),
            parent: None,
            name: String::new(),
            service: "s".into(),
            start: 0,
            duration: 0,
            error: None,
        }
    }

    /// Scenario: spans of one trace come in two requests, then one more after it was shown.
    #[test]
    fn spans_that_come_close_together_are_one_trace() {
        let (mut assembly, start) = (Assembly::default(), clock::now());
        assert!(assembly.add(span(1), start).is_none());
        let later = start + TRACE_QUIET / 2;
        assert!(assembly.add(span(1), later).is_none());
        assert_eq!(assembly.due_at(), Some(later + TRACE_QUIET));
        assert!(assembly.take_due(start + TRACE_QUIET).is_empty());
        let shown = assembly.take_due(later + TRACE_QUIET);
        assert_eq!((shown.len(), shown[0].spans.len(), shown[0].continued), (1, 2, false));
        assert_eq!(assembly.due_at(), None);
        assert!(assembly.add(span(1), later + Duration::from_secs(9)).is_none());
        assert!(assembly.take_all()[0].continued);
    }

    /// Guarantee: a trace whose spans never stop coming is shown all the same.
    #[test]
    fn a_trace_does_not_stay_open_for_ever() {
        let (mut assembly, start) = (Assembly::default(), clock::now());
        let mut now = start;
        while now < start + TRACE_OPEN_MAX {
            assert!(assembly.take_due(now).is_empty());
            assert!(assembly.add(span(1), now).is_none());
            now += TRACE_QUIET / 2;
        }
        assert_eq!(assembly.take_due(now).len(), 1);
    }

    /// Guarantee: neither traces nor spans nor remembered ids grow past their limits, and nothing is lost uncounted.
    #[test]
    fn memory_is_bounded() {
        let (mut assembly, now) = (Assembly::default(), clock::now());
        let traces = TRACES_REMEMBERED_MAX + TRACES_OPEN_MAX + 7;
        let shown: usize =
            (0..traces).filter_map(|n| assembly.add(span(u32::try_from(n).unwrap()), now)).count();
        assert_eq!((assembly.open.len(), shown), (TRACES_OPEN_MAX, traces - TRACES_OPEN_MAX));
        assert_eq!(assembly.take_all().len(), TRACES_OPEN_MAX);
        assert_eq!(
            (assembly.shown.len(), assembly.shown_in_order.len()),
            (TRACES_REMEMBERED_MAX, TRACES_REMEMBERED_MAX)
        );
        for _ in 0..TRACE_SPANS_MAX + 5 {
            assert!(assembly.add(span(1), now).is_none());
        }
        let big = assembly.take_all().remove(0);
        assert_eq!((big.spans.len(), big.spans_left_out), (TRACE_SPANS_MAX, 5));
    }
}
