//! A trace as a picture of text: a headline, then its spans as an indented tree with offsets and durations. Pure; must
//! never show more lines than its limits say.

use std::collections::HashMap;
use std::fmt::Write;

use relay_core::otlp::SpanId;

use crate::assembly::Trace;
use crate::limits::{SERVICES_NAMED_MAX, TRACE_INDENT_MAX, TRACE_LINES_MAX};
use crate::summary::SpanSummary;

/// How to emphasise: by escape sequences on a terminal, else not at all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    pub(crate) colours: bool,
}

impl Style {
    fn paint(self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    fn green(self, text: &str) -> String {
        self.paint("32", text)
    }
}

/// The picture, whole lines, an empty one at the end.
pub(crate) fn draw(trace: &Trace, style: Style) -> String {
    let rows = tree(&trace.spans);
    let start = trace.spans.iter().map(|span| span.start).min().unwrap_or_default();
    let mut text = headline(trace, &rows, start, style);
    // Writing to a String cannot fail.
    for (depth, span) in rows.iter().take(TRACE_LINES_MAX) {
        let (offset, length) = (span.start.saturating_sub(start), span.duration);
        let times = style.dim(&format!("{:>9}  {:>9}", duration(offset), duration(length)));
        let indent = "  ".repeat((*depth).min(TRACE_INDENT_MAX));
        write!(text, "  {times}  {indent}{}  {}", style.bold(&span.service), span.name).ok();
        if let Some(error) = &span.error {
            write!(text, "  {}", style.red(&format!("✗ {error}"))).ok();
        }
        text.push('\n');
    }
    let more = rows.len().saturating_sub(TRACE_LINES_MAX) + trace.spans_left_out;
    if more > 0 {
        writeln!(text, "  {}", style.dim(&format!("... {more} more spans"))).ok();
    }
    text.push('\n');
    text
}

fn headline(trace: &Trace, rows: &[(usize, &SpanSummary)], start: u64, style: Style) -> String {
    let end =
        trace.spans.iter().map(|span| span.start.saturating_add(span.duration)).max().unwrap_or_default();
    let errors = trace.spans.iter().filter(|span| span.error.is_some()).count();
    let mark = if errors > 0 { style.red("✗") } else { style.green("✓") };
    let name = rows.first().map_or("", |(_, span)| span.name.as_str());
    let spans = trace.spans.len() + trace.spans_left_out;
    let mut facts = vec![duration(end.saturating_sub(start)), counted(spans, "span")];
    if errors > 0 {
        facts.push(style.red(&counted(errors, "error")));
    }
    // In the order of the tree: callers before whom they call.
    let mut services: Vec<&str> = Vec::new();
    for (_, span) in rows {
        if !services.contains(&&*span.service) && services.len() <= SERVICES_NAMED_MAX {
            services.push(&span.service);
        }
    }
    facts.push(if services.len() > SERVICES_NAMED_MAX {
        format!("more than {SERVICES_NAMED_MAX} services")
    } else {
        services.join(", ")
    });
    let continued = if trace.continued { " (more of a trace shown above)" } else { "" };
    let id = style.dim(&format!("trace {}{continued}", trace.id));
    format!("{mark} {}  {}\n  {id}\n", style.bold(name), facts.join(" · "))
}

/// The spans with their depths, parents before children, siblings by time. A span whose parent has not come stands where
/// a root does.
fn tree(spans: &[SpanSummary]) -> Vec<(usize, &SpanSummary)> {
    let mut by_time: Vec<(usize, &SpanSummary)> = spans.iter().enumerate().collect();
    by_time.sort_by_key(|(_, span)| (span.start, std::cmp::Reverse(span.duration)));
    let ids: HashMap<SpanId, usize> = spans.iter().enumerate().map(|(at, span)| (span.id, at)).collect();
    let mut children: HashMap<usize, Vec<usize>> = HashMap::new();
    let mut roots = Vec::new();
    for (at, span) in &by_time {
        match span.parent.and_then(|parent| ids.get(&parent)).filter(|parent| *parent != at) {
            Some(parent) => children.entry(*parent).or_default().push(*at),
            None => roots.push(*at),
        }
    }
    let mut seen = vec![false; spans.len()];
    let mut rows = Vec::with_capacity(spans.len());
    // Behind the roots whatever is left: spans that are each other's parents have no root.
    for root in roots.into_iter().chain(by_time.iter().map(|(at, _)| *at)) {
        let mut waiting = vec![(0, root)];
        while let Some((depth, at)) = waiting.pop() {
            let (Some(seen), Some(span)) = (seen.get_mut(at), spans.get(at)) else { continue };
            if std::mem::replace(seen, true) {
                continue;
            }
            rows.push((depth, span));
            let below = children.get(&at).map(Vec::as_slice).unwrap_or_default();
            waiting.extend(below.iter().rev().map(|child| (depth + 1, *child)));
        }
    }
    rows
}

fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// Nanoseconds in the unit that people would choose.
#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn duration(nanos: u64) -> String {
    let nanos = nanos as f64;
    match nanos {
        n if n < 1e3 => format!("{n:.0} ns"),
        n if n < 1e6 => format!("{:.1} µs", n / 1e3),
        n if n < 1e9 => format!("{:.1} ms", n / 1e6),
        n => format!("{:.2} s", n / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use relay_core::otlp::TraceId;

    use super::*;
    use crate::assembly::Assembly;
    use crate::clock;
    use crate::limits::TRACE_SPANS_MAX;

    fn span(id: u8, parent: u8, start_ms: u64, ms: u64) -> SpanSummary {
        SpanSummary {
            trace: TraceId([7; 16]),
            id: SpanId([id; 8]),
            parent: (parent > 0).then_some(SpanId([parent; 8])),
            name: format!("op{id}"),
            service: if id < 3 { "shop" } else { "db" }.into(),
            start: start_ms * 1_000_000,
            duration: ms * 1_000_000,
            error: (id == 3).then(|| "deadlock".to_owned()),
        }
    }

    fn drawn(spans: impl IntoIterator<Item = SpanSummary>) -> String {
        let mut assembly = Assembly::default();
        for span in spans {
            assert!(assembly.add(span, clock::now()).is_none());
        }
        draw(&assembly.take_all().remove(0), Style { colours: false })
    }

    /// The whole picture, of spans that came in no order.
    #[test]
    fn a_tree_with_an_error() {
        let text = drawn([span(3, 2, 30, 5), span(2, 1, 20, 40), span(4, 1, 70, 1), span(1, 0, 10, 100)]);
        let expected = "\
✗ op1  100.0 ms · 4 spans · 1 error · shop, db
  trace 07070707070707070707070707070707
       0 ns   100.0 ms  shop  op1
    10.0 ms    40.0 ms    shop  op2
    20.0 ms     5.0 ms      db  op3  ✗ deadlock
    60.0 ms     1.0 ms    db  op4

";
        assert_eq!(text, expected);
    }

    /// Guarantee: spans that claim to be each other's parents, or their own, are shown once each.
    #[test]
    fn circles_end() {
        let text = drawn([span(1, 2, 0, 1), span(2, 1, 1, 1), span(4, 4, 2, 1), span(5, 9, 3, 1)]);
        for name in ["op1", "op2", "op4", "op5"] {
            let lines = text.lines().skip(1).filter(|line| line.ends_with(name)).count();
            assert_eq!(lines, 1, "{name} in {text}");
        }
    }

    #[test]
    fn long_traces_are_cut_and_counted() {
        let spans = (0..TRACE_SPANS_MAX + 30).map(|_| span(1, 0, 0, 1));
        let text = drawn(spans);
        let more = format!("... {} more spans", TRACE_SPANS_MAX + 30 - TRACE_LINES_MAX);
        assert!(text.contains(&more), "{text}");
        assert_eq!(text.lines().count(), TRACE_LINES_MAX + 4);
    }

    #[test]
    fn durations_in_the_unit_of_their_size() {
        let texts = [0, 999, 1500, 2_000_000, 61_000_000_000].map(duration);
        assert_eq!(texts, ["0 ns", "999 ns", "1.5 µs", "2.0 ms", "61.00 s"]);
    }
}
