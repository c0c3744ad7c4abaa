//! `testkit numbered`, `tally` and `probe` against `testkit sink`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may panic"
)]

use program::{Serving, scratch, testkit};

mod program;

/// Scenario: three clients send for a second into a sink that keeps all; one of its dumps is then read once and twice.
/// Guarantee: every acknowledged span is found once, or twice, under its client's service; without a dump's spans all are lost.
#[test]
fn every_number_is_accounted_for() {
    let [dump, report] = [scratch("numbered-dump"), scratch("numbered-report")];
    let [dump, report] = [dump.to_str().unwrap(), report.to_str().unwrap()];
    let sink = Serving::sink(&["--dump", dump]);
    let shape = ["--clients", "3", "--rate", "60", "--seconds", "1", "--spans", "4", "--span-bytes", "200"];
    let (sent, code) =
        testkit(&[&["numbered", "--endpoint", &sink.addr, "--report", report], &shape[..]].concat());
    assert_eq!(code, Some(0), "{sent}");
    let (counted, code) = sink.end();
    assert_eq!((code, &counted["spans"]), (Some(0), &sent["spans"]));
    let spans = sent["spans"].as_u64().unwrap();
    assert!(spans >= 40, "{sent}");
    let (once, code) = testkit(&["tally", "--sent", report, "--received", dump]);
    assert_eq!(code, Some(0));
    let of = |what: &str| once["sent"][what].as_u64().unwrap();
    assert_eq!([of("acknowledged"), of("lost"), of("twice"), of("refused")], [spans, 0, 0, 0]);
    let services: u64 = (0..3)
        .map(|client| once["services"][format!("numbered-{client}")]["distinct"].as_u64().unwrap())
        .sum();
    assert_eq!(services, spans);
    let (twice, _) = testkit(&["tally", "--sent", report, "--received", dump, dump]);
    assert_eq!([&twice["sent"]["lost"], &twice["sent"]["twice"]], [0, spans]);
    let empty = scratch("numbered-empty");
    std::fs::write(&empty, "").unwrap();
    let (nowhere, _) = testkit(&["tally", "--sent", report, "--received", empty.to_str().unwrap()]);
    assert_eq!(nowhere["sent"]["lost"], spans);
    assert_eq!(nowhere["sent"]["examples"].as_array().unwrap().len(), 5);
}

/// Guarantee: where somebody listens all the time no probe is refused; where nobody does all are, and the exit status says so. Clients
/// give up what nobody takes, and call it refused.
#[test]
fn absence_is_seen() {
    let report = scratch("absent-report");
    let sink = Serving::sink(&[]);
    let addr = sink.addr.clone();
    let (seen, code) = testkit(&["probe", "--endpoint", &addr, "--seconds", "0.3"]);
    assert_eq!((code, &seen["refused"], &seen["unanswered"]), (Some(0), &0.into(), &0.into()), "{seen}");
    assert_eq!(seen["longest_without_listener_ms"], 0.0);
    assert!(seen["longest_without_answer_ms"].as_f64().unwrap() > 1.0, "{seen}");
    sink.end();
    let (seen, code) = testkit(&["probe", "--endpoint", &addr, "--seconds", "0.1"]);
    assert_eq!((code, &seen["refused"]), (Some(1), &seen["probes"]), "{seen}");
    let short = ["--clients", "1", "--rate", "20", "--seconds", "0.1", "--retry-seconds", "0.2"];
    let arguments =
        [&["numbered", "--endpoint", &addr, "--report", report.to_str().unwrap()], &short[..]].concat();
    let (sent, code) = testkit(&arguments);
    assert_eq!((code, &sent["spans"], &sent["unknown"]), (Some(1), &0.into(), &0.into()), "{sent}");
    assert!(sent["refused"].as_u64().unwrap() > 0, "{sent}");
}
