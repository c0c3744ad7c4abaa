//! The report of books that add up, and of books that do not.

use relay_core::batch::LedgerCounts;
use relay_core::stats::{ReceiverStats, SignalStats};

use super::*;

fn books(answers_late: bool) -> Books {
    Books { fed_by: vec![vec!["otlp".to_owned()]], answers_late: vec![answers_late] }
}

/// 100 spans offered: 90 taken, of which 84 went through and 6 did not, and 10 refused.
fn stats() -> Stats {
    let mut dropped = [0; DropReason::ALL.len()];
    dropped[DropReason::Rejected as usize] = 4;
    dropped[DropReason::ShutdownDeadline as usize] = 2;
    let upstream = UpstreamStats {
        name: "otlp".to_owned(),
        items: LedgerCounts { enqueued: 90, delivered: 84, dropped },
        enqueue_failed_items: 10,
        ..UpstreamStats::default()
    };
    let mut receiver = ReceiverStats { name: "otlp".to_owned(), ..ReceiverStats::default() };
    receiver.signals[0] =
        SignalStats { accepted_items: 90, refused_items: 10, accepted_requests: 9, ..SignalStats::default() };
    Stats { receivers: vec![receiver], upstreams: vec![upstream], ..Stats::default() }
}

/// What was never opened is counted in requests, in books of its own.
#[test]
fn unopened_requests_have_their_own_books() {
    let mut stats = stats();
    stats.receivers[0].signals[0].accepted_unopened = 5;
    let mut dropped = [0; DropReason::ALL.len()];
    dropped[DropReason::Aborted as usize] = 1;
    stats.upstreams[0].unopened = LedgerCounts { enqueued: 5, delivered: 4, dropped };
    let report = books(false).close(&stats, Duration::ZERO);
    assert!(report.adds_up, "{}", report.line);
    assert!(report.line.contains("accepted 5 unopened requests, refused 0"));
    assert!(
        report.line.ends_with(
            "unopened requests: received 5 = delivered 4 + refused back 0 + dropped 1 (aborted 1)"
        )
    );
    stats.receivers[0].signals[0].accepted_unopened = 6;
    assert!(!books(false).close(&stats, Duration::ZERO).adds_up);
}

/// Every other signal has books of its own, and is named once anything of it came.
#[test]
fn signals_are_not_mixed() {
    let mut stats = stats();
    let logs =
        SignalStats { accepted_items: 7, refused_items: 0, accepted_requests: 1, ..SignalStats::default() };
    stats.receivers[0].signals[Signal::Logs as usize] = logs;
    let report = books(false).close(&stats, Duration::ZERO);
    assert!(
        report.adds_up && report.line.contains("refused 10; accepted 7 log records, refused 0; exporter")
    );
    stats.upstreams[0].signal = Signal::Logs;
    assert!(!books(false).close(&stats, Duration::ZERO).adds_up);
}

#[test]
fn every_span_has_its_place() {
    let report = books(false).close(&stats(), Duration::from_millis(420));
    assert_eq!(
        report.line,
        "shutdown complete in 0.4s: accepted 90 spans, refused 10; exporter otlp: received 100 = delivered 84 + \
         refused back 10 + dropped 6 (rejected 4, shutdown_deadline 2)"
    );
    assert!(report.adds_up);
    assert_eq!(report.given_up, 2);
}

/// Guarantee: a span too few or too many, in the exporter's books or between receiver and exporter, is said.
#[test]
fn what_does_not_add_up_is_said() {
    let spoil: [fn(&mut Stats); 4] = [
        |stats| stats.upstreams[0].items.delivered -= 1,
        |stats| stats.upstreams[0].items.delivered += 1,
        |stats| stats.receivers[0].signals[0].accepted_items += 1,
        |stats| stats.receivers[0].signals[0].accepted_items -= 1,
    ];
    for spoil in spoil {
        let mut stats = stats();
        spoil(&mut stats);
        let report = books(false).close(&stats, Duration::ZERO);
        assert!(!report.adds_up && report.line.contains("does NOT add up"), "{}", report.line);
    }
}

/// Scenario: a sender that waited for the result went away before it came. Its spans are in the exporter's books only.
#[test]
fn a_sender_that_went_away_is_no_contradiction() {
    let mut stats = stats();
    stats.receivers[0].signals[0].accepted_items -= 5;
    assert!(books(true).close(&stats, Duration::ZERO).adds_up);
    stats.receivers[0].signals[0].accepted_items += 6;
    assert!(!books(true).close(&stats, Duration::ZERO).adds_up);
}
