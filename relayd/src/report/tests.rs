//! The report of books that add up, and of books that do not.

use relay_core::batch::LedgerCounts;
use relay_core::stats::{ReceiverStats, SignalStats};

use super::*;
use crate::config::{self, System};
use crate::plan;

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
        items: LedgerCounts { enqueued: 90, delivered: 84, dropped, ..LedgerCounts::default() },
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
    stats.upstreams[0].unopened =
        LedgerCounts { enqueued: 5, delivered: 4, dropped, ..LedgerCounts::default() };
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

/// Scenario: 7 spans were found on disk, 12 of all stay there; unopened requests likewise. Guarantee: the books have both, what is on disk
/// is not given up, and a span that is neither is said.
#[test]
fn what_is_on_disk_is_in_the_books() {
    let mut stats = stats();
    let upstream = &mut stats.upstreams[0];
    (upstream.items.recovered, upstream.items.on_disk) = (7, 12);
    upstream.items.delivered -= 5;
    upstream.items.dropped = [0; DropReason::ALL.len()];
    upstream.items.dropped[DropReason::Corrupt as usize] = 6;
    upstream.unopened = LedgerCounts { recovered: 2, on_disk: 2, ..LedgerCounts::default() };
    let report = books(false).close(&stats, Duration::ZERO);
    assert_eq!(
        report.line,
        "shutdown complete in 0.0s: accepted 90 spans, refused 10; exporter otlp: received 100 + recovered 7 = \
         delivered 79 + refused back 10 + dropped 6 (corrupt 6) + 12 on disk; unopened requests: received 0 + \
         recovered 2 = delivered 0 + refused back 0 + dropped 0 + 2 on disk"
    );
    assert!(report.adds_up);
    assert_eq!(report.given_up, 0);
    stats.upstreams[0].items.on_disk -= 1;
    let report = books(false).close(&stats, Duration::ZERO);
    assert!(!report.adds_up && report.line.contains("(does NOT add up, held 1)"), "{}", report.line);
}

/// Scenario: a relay left 12 spans on disk, and the next one recovered and delivered them. Guarantee: its successor's books close, and the
/// sum says why both have them.
#[test]
fn what_one_leaves_the_next_recovers() {
    let mut first = stats();
    first.upstreams[0].items.delivered -= 12;
    first.upstreams[0].items.on_disk = 12;
    let mut next = Stats { upstreams: first.upstreams.clone(), ..Stats::default() };
    next.upstreams[0].items = LedgerCounts { recovered: 12, delivered: 12, ..LedgerCounts::default() };
    next.upstreams[0].enqueue_failed_items = 0;
    assert!(books(false).close(&first, Duration::ZERO).adds_up);
    assert!(books(false).close(&next, Duration::ZERO).adds_up);
    next.add(&first);
    let report = sum(&next, &Ended { relays: 2, ..Ended::default() }, Duration::ZERO);
    assert!(
        report.line.ends_with(
            "received 100 + recovered 12 = delivered 84 + refused back 10 + dropped 6 (rejected 4, \
             shutdown_deadline 2) + 12 on disk; of 2 configurations (what one left on disk and the next \
             recovered is in both sums)"
        ),
        "{}",
        report.line
    );
}

/// Guarantee: senders that are answered when their request is safe may go away before; those that are answered when it is queued may not.
#[test]
fn a_storage_answers_late() {
    let late = |acknowledge: &str| {
        let yaml = format!(
            "yaml:{{receivers: {{otlp: {{protocols: {{grpc: }}}}}}, extensions: {{file_storage: }}, exporters: {{otlp: {{endpoint: \
             'up:4317', sending_queue: {{storage: file_storage, acknowledge: {acknowledge}}}}}}}, \
             service: {{extensions: [file_storage], pipelines: {{traces: {{receivers: [otlp], exporters: [otlp]}}}}}}}}"
        );
        let (config, _) = config::load(&[yaml], &[], &System).unwrap();
        let plan = plan::make(&config, |exporter| panic!("{exporter:?} is an upstream")).unwrap();
        Books::new(&plan).answers_late
    };
    assert_eq!((late("when_safe"), late("when_queued")), (vec![true], vec![false]));
}
