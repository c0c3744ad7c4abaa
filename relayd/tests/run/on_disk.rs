//! What relayd keeps on disk, as a process: nothing while the upstream takes it, everything when it does not, over kills, restarts, reloads
//! and a disk at fault.

use std::path::Path;
use std::process::Command;

use testkit::collector::{Collector, Script};

use crate::daemon::{Dir, PATIENCE, Relayd, http};
use crate::{closed_port, config, send_spans, wait_for_metrics};

const STORAGE: &str = "sending_queue: {storage: file_storage}";

/// One pipeline to `endpoint`, whose exporter has `directory`.
fn with_storage(endpoint: &str, directory: &Path, keys: &str) -> String {
    let storage = format!("{{file_storage: {{directory: '{}', min_free_mib: 0}}, ", directory.display());
    config(endpoint, keys).replacen("extensions: {", &format!("extensions: {storage}"), 1).replacen(
        "extensions: [",
        "extensions: [file_storage, ",
        1,
    )
}

fn files_below(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        found.push(entry.path().display().to_string());
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_below(&entry.path()));
        }
    }
    found
}

/// Ends it, which is to be without a loss; what the last line says behind `exporter otlp: `.
fn end(mut relayd: Relayd) -> String {
    relayd.signal("-TERM");
    let (status, _) = relayd.wait();
    let report = relayd.stderr.wait_for("shutdown complete");
    assert_eq!(status.code(), Some(0), "{report}");
    report.split("exporter otlp: ").nth(1).unwrap().to_owned()
}

/// Guarantee: with an upstream that takes what comes, not one file or directory is made.
#[test]
fn a_healthy_upstream_has_nothing_written() {
    let (collector, dir) = (Collector::start(Script::ok()), Dir::new("disk-healthy"));
    let yaml = with_storage(&collector.addr().to_string(), &dir.path(""), STORAGE);
    let relayd = Relayd::with_config(&yaml, &[]);
    let receiver = relayd.address_of("receiver otlp");
    (0..5).for_each(|seed| send_spans(&receiver, 100, seed));
    assert_eq!(collector.span_count(), 500, "delivered before it is answered");
    assert_eq!(files_below(&dir.path("")), [] as [String; 0]);
    assert_eq!(end(relayd), "received 500 = delivered 500 + refused back 0 + dropped 0");
    assert_eq!(files_below(&dir.path("")), [] as [String; 0]);
}

/// Scenario: an upstream that is away; spans are acknowledged; SIGTERM; a successor whose upstream is there. Guarantee: they are on
/// disk, which metrics and the last line say and which is no loss; the successor delivers each once and leaves nothing there.
#[test]
fn what_is_left_at_the_end_is_delivered_by_the_next() {
    let dir = Dir::new("disk-restart");
    let away = with_storage(&closed_port(), &dir.path(""), STORAGE);
    let relayd = Relayd::with_config(&away, &["--shutdown-timeout=300ms"]);
    let (receiver, metrics) = (relayd.address_of("receiver otlp"), relayd.address_of("metrics"));
    send_spans(&receiver, 250, 1);
    let page =
        wait_for_metrics(&metrics, &["relayd_spill_items{data_type=\"traces\",exporter=\"otlp\"} 250"]);
    for line in [
        "relayd_spill_records{data_type=\"traces\",exporter=\"otlp\"} 1",
        "relayd_spill_stored_items{data_type=\"traces\",exporter=\"otlp\"} 250",
        "relayd_spill_capacity_bytes{data_type=\"traces\",exporter=\"otlp\"} 1073741824",
        "relayd_spill_fault{data_type=\"traces\",exporter=\"otlp\"} 0",
        "# TYPE relayd_spill_sync_duration_seconds histogram",
    ] {
        assert!(page.lines().any(|found| found == line), "no {line:?} in {page}");
    }
    assert_eq!(end(relayd), "received 250 = delivered 0 + refused back 0 + dropped 0 + 250 on disk");

    let collector = Collector::start(Script::ok());
    let back = with_storage(&collector.addr().to_string(), &dir.path(""), STORAGE);
    let relayd = Relayd::with_config(&back, &[]);
    assert_eq!(collector.wait_for_spans(250, PATIENCE), 250);
    let recovered = "relayd_spill_recovered_items{data_type=\"traces\",exporter=\"otlp\"} 250";
    let nothing = "relayd_spill_items{data_type=\"traces\",exporter=\"otlp\"} 0";
    wait_for_metrics(&relayd.address_of("metrics"), &[recovered, nothing]);
    assert_eq!(end(relayd), "received 0 + recovered 250 = delivered 250 + refused back 0 + dropped 0");
    let segments = files_below(&dir.path("")).into_iter().filter(|path| path.ends_with(".seg"));
    assert_eq!(segments.collect::<Vec<_>>(), [] as [String; 0]);
    assert_eq!(collector.span_count(), 250);
}

/// Scenario: spans are acknowledged while the upstream is away, and the process is killed. Guarantee: the next one delivers them.
#[test]
fn what_was_acknowledged_outlives_a_kill() {
    let dir = Dir::new("disk-kill");
    let away = with_storage(&closed_port(), &dir.path(""), STORAGE);
    let mut relayd = Relayd::with_config(&away, &[]);
    let receiver = relayd.address_of("receiver otlp");
    (0..4).for_each(|seed| send_spans(&receiver, 50, seed));
    relayd.signal("-KILL");
    relayd.wait();
    let collector = Collector::start(Script::ok());
    let relayd =
        Relayd::with_config(&with_storage(&collector.addr().to_string(), &dir.path(""), STORAGE), &[]);
    assert_eq!(collector.wait_for_spans(200, PATIENCE), 200);
    assert_eq!(end(relayd), "received 0 + recovered 200 = delivered 200 + refused back 0 + dropped 0");
}

/// Scenario: a rollout with a surge: the old process has spans on disk when a successor on its directory starts. Guarantee: they stay the
/// old one's until it ends; then the successor takes them over while it runs, and delivers each once.
#[test]
fn a_successor_that_overlaps_takes_over() {
    let (collector, dir) = (Collector::start(Script::ok()), Dir::new("disk-surge"));
    let away = with_storage(&closed_port(), &dir.path(""), STORAGE);
    let old = Relayd::with_config(&away, &["--shutdown-timeout=300ms"]);
    send_spans(&old.address_of("receiver otlp"), 60, 1);
    let new = Relayd::with_config(&with_storage(&collector.addr().to_string(), &dir.path(""), STORAGE), &[]);
    send_spans(&new.address_of("receiver otlp"), 7, 2);
    assert_eq!(collector.span_count(), 7, "the old one's are nobody else's");
    assert_eq!(end(old), "received 60 = delivered 0 + refused back 0 + dropped 0 + 60 on disk");
    assert_eq!(collector.wait_for_spans(67, PATIENCE), 67);
    assert_eq!(end(new), "received 7 + recovered 60 = delivered 67 + refused back 0 + dropped 0");
    assert_eq!(collector.span_count(), 67);
}

/// Scenario: spans are on disk and in a call when SIGTERM and then SIGINT come. Guarantee: what is on disk is not called lost.
#[test]
fn a_second_signal_says_what_is_on_disk() {
    let dir = Dir::new("disk-second");
    let away = with_storage(&closed_port(), &dir.path(""), STORAGE);
    let mut relayd = Relayd::with_config(&away, &["--shutdown-timeout=1h"]);
    send_spans(&relayd.address_of("receiver otlp"), 40, 1);
    relayd.signal("-TERM");
    relayd.stderr.wait_for("SIGTERM received; draining");
    relayd.signal("-INT");
    assert_eq!(relayd.wait().0.code(), Some(1));
    relayd.stderr.wait_for("by a second signal: 0 spans were held and are lost, 40 are on disk");
}

/// Scenario: spans are stored because the upstream is away; a reload names one that is there. Guarantee: the former relay leaves them on
/// disk, the new one takes them over while it runs and delivers each once, and the sum says how both fit together.
#[test]
fn a_reload_takes_over_what_is_on_disk() {
    let (collector, dir) = (Collector::start(Script::ok()), Dir::new("disk-reload"));
    let spool = dir.path("spool");
    std::fs::create_dir(&spool).unwrap();
    let path = dir.put("agent.yaml", &with_storage(&closed_port(), &spool, STORAGE));
    let relayd = Relayd::start(&["--config", &path, "--shutdown-timeout=500ms"]);
    send_spans(&relayd.address_of("receiver otlp"), 120, 1);
    dir.put("agent.yaml", &with_storage(&collector.addr().to_string(), &spool, STORAGE));
    relayd.signal("-HUP");
    relayd.stderr.wait_for("configuration read again: in use");
    let former = relayd.stderr.wait_for("the relay of a former configuration has drained");
    assert!(
        former.ends_with("received 120 = delivered 0 + refused back 0 + dropped 0 + 120 on disk"),
        "{former}"
    );
    assert_eq!(collector.wait_for_spans(120, PATIENCE), 120);
    let page = relayd.address_of("metrics");
    wait_for_metrics(&page, &["otelcol_exporter_sent_spans{exporter=\"otlp\"} 120"]);
    let report = end(relayd);
    let sum = "received 120 + recovered 120 = delivered 120 + refused back 0 + dropped 0 + 120 on disk; of 2 \
               configurations (what one left on disk and the next recovered is in both sums)";
    assert_eq!(report, sum);
    assert_eq!(collector.span_count(), 120);
}

/// Scenario: the directory becomes a file while relayd runs, spans come, the directory comes back. Guarantee: the sender waits and is
/// answered when they are safe; health says why and stays 200; metrics say it too, as long as it lasts.
#[test]
fn a_disk_at_fault_is_said_and_recovers() {
    let dir = Dir::new("disk-fault");
    let spool = dir.path("spool");
    std::fs::create_dir(&spool).unwrap();
    let relayd =
        Relayd::with_config(&with_storage(&closed_port(), &spool, STORAGE), &["--shutdown-timeout=300ms"]);
    let (receiver, metrics) = (relayd.address_of("receiver otlp"), relayd.address_of("metrics"));
    let health = relayd.address_of("health_check");
    std::fs::remove_dir(&spool).unwrap();
    std::fs::write(&spool, "").unwrap();
    let sender = std::thread::spawn(move || send_spans(&receiver, 30, 1));
    wait_for_metrics(&metrics, &["relayd_spill_fault{data_type=\"traces\",exporter=\"otlp\"} 1"]);
    let (status, body) = http(&health, "GET", "/");
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(body.contains("\"storage\":\"exporter otlp (traces): "), "{body}");
    assert!(!sender.is_finished(), "answered before anything is safe");
    std::fs::remove_file(&spool).unwrap();
    std::fs::create_dir(&spool).unwrap();
    sender.join().unwrap();
    wait_for_metrics(&metrics, &["relayd_spill_fault{data_type=\"traces\",exporter=\"otlp\"} 0"]);
    assert!(!http(&health, "GET", "/").1.contains("storage"));
    assert_eq!(end(relayd), "received 30 = delivered 0 + refused back 0 + dropped 0 + 30 on disk");
}

/// Guarantee: `validate` does not look at the disk; a start without the directory says what to do.
#[test]
fn a_missing_directory_is_said_at_the_start() {
    let dir = Dir::new("disk-missing");
    let missing = dir.path("spool");
    let yaml = format!("--config=yaml:{}", with_storage("up:4317", &missing, STORAGE));
    let run = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_relayd")).args(args).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(run(&["validate", &yaml]), (Some(0), String::new()));
    let why = format!(
        "extensions.file_storage.directory: {} does not exist; make it, or set create_directory: true\n",
        missing.display()
    );
    assert_eq!(run(&[&yaml]), (Some(1), why));
    assert!(!missing.exists());
}

/// Scenario: an exporter of one pipeline leaves spans on disk; then logs have a pipeline with it too, by which its upstreams have other
/// names. Guarantee: what is on disk belongs to the exporter and the signal, and is found.
#[test]
fn another_pipeline_does_not_hide_what_is_on_disk() {
    let (collector, dir) = (Collector::start(Script::ok()), Dir::new("disk-pipelines"));
    let away = with_storage(&closed_port(), &dir.path(""), STORAGE);
    let relayd = Relayd::with_config(&away, &["--shutdown-timeout=100ms"]);
    send_spans(&relayd.address_of("receiver otlp"), 40, 1);
    assert_eq!(end(relayd), "received 40 = delivered 0 + refused back 0 + dropped 0 + 40 on disk");
    let back = with_storage(&collector.addr().to_string(), &dir.path(""), STORAGE);
    let back = back.replacen("pipelines: {", "pipelines: {logs: {receivers: [otlp], exporters: [otlp]}, ", 1);
    let mut relayd = Relayd::with_config(&back, &[]);
    assert_eq!(collector.wait_for_spans(40, PATIENCE), 40);
    relayd.signal("-TERM");
    assert_eq!(relayd.wait().0.code(), Some(0));
    let report = relayd.stderr.wait_for("shutdown complete");
    assert!(report.contains("exporter otlp@traces: received 0 + recovered 40 = delivered 40 + "), "{report}");
}
