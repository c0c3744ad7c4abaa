//! How names end, and that a page is what Prometheus reads.

use std::time::{Duration, Instant};

use relay_core::batch::LedgerCounts;
use relay_core::stats::{AddressStats, SpillStats, TlsStats};

use super::*;

fn page(settings: &Metrics) -> String {
    let mut page = Page { settings, families: Vec::new() };
    page.counter("otelcol_exporter_sent_spans", "Sent.", [(labels(&[("exporter", "otlp/\"a\"")]), 7)]);
    page.gauge("relayd_held_bytes", "Held.", Unit::Bytes, [(Vec::new(), 3)]);
    page.family("otelcol_process_cpu_seconds", "CPU.", Unit::Seconds, Some(vec![(Vec::new(), 0.25)]), true);
    page.family("otelcol_process_memory_rss", "RSS.", Unit::Bytes, Some(vec![(Vec::new(), 1.0)]), false);
    page.family("unknown", "Nothing is known.", Unit::None, None, false);
    let mut text = Vec::new();
    TextEncoder::new().encode(&page.families, &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

/// The Collector's default reader has `without_type_suffix`, `without_units` and `without_scope_info`.
#[test]
fn names_are_bare_by_default() {
    let expected = "\
# HELP otelcol_exporter_sent_spans Sent.
# TYPE otelcol_exporter_sent_spans counter
otelcol_exporter_sent_spans{exporter=\"otlp/\\\"a\\\"\"} 7
# HELP relayd_held_bytes Held.
# TYPE relayd_held_bytes gauge
relayd_held_bytes 3
# HELP otelcol_process_cpu_seconds CPU.
# TYPE otelcol_process_cpu_seconds counter
otelcol_process_cpu_seconds 0.25
# HELP otelcol_process_memory_rss RSS.
# TYPE otelcol_process_memory_rss gauge
otelcol_process_memory_rss 1
";
    assert_eq!(page(&Metrics::default()), expected);
}

/// A reader that the user writes has all of them, unless it says otherwise.
#[test]
fn names_end_in_unit_and_type_when_the_user_has_a_reader() {
    let settings = Metrics { type_suffix: true, unit_suffix: true, scope_info: true, ..Metrics::default() };
    let text = page(&settings);
    for start in [
        "otelcol_exporter_sent_spans_total{exporter=\"otlp/\\\"a\\\"\",otel_scope_name=\"relayd\",",
        "relayd_held_bytes{otel_scope_name=",
        "otelcol_process_cpu_seconds_total{",
        "otelcol_process_memory_rss_bytes{",
    ] {
        assert!(text.lines().any(|line| line.starts_with(start)), "no {start} in {text}");
    }
}

fn about(exporter: &str) -> About {
    let exporter = exporter.to_owned();
    About { exporter, processor: None, queue: QueueLimit::Unbounded, unopened: false, held_bytes_max: 1 }
}

/// Scenario: a receiver with TLS and one without, an exporter in two pipelines whose upstreams read a rotated file at different
/// times. Guarantee: no row for who has no TLS, sums for the exporter, and the certificate that ends first.
#[test]
fn tls_is_shown_where_it_is_spoken() {
    let stats = |handshake_failures, ends| {
        Some(TlsStats { handshake_failures, reload_failures: 1, not_after_unix_seconds: ends })
    };
    let secured =
        ReceiverStats { name: "otlp/tls".to_owned(), tls: stats(2, Some(9)), ..ReceiverStats::default() };
    let plain = ReceiverStats { name: "otlp".to_owned(), ..ReceiverStats::default() };
    let upstreams = [stats(3, Some(20)), stats(4, Some(10)), None, stats(0, None)];
    let upstreams = upstreams.map(|tls| UpstreamStats { tls, ..UpstreamStats::default() });
    let settings = Metrics::default();
    let mut page = Page { settings: &settings, families: Vec::new() };
    tls::receivers(&mut page, &[&secured, &plain]);
    tls::upstreams(&mut page, &["otlp", "otlp", "plain", "other"].map(about), &upstreams);
    let mut text = Vec::new();
    TextEncoder::new().encode(&page.families, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let rows: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let receiver = format!("receiver=\"otlp/tls\",transport=\"{}\"", Transport::default().name());
    let expected = [
        format!("relayd_tls_handshake_failures{{{receiver}}} 2"),
        format!("relayd_tls_reload_failures{{{receiver}}} 1"),
        format!("relayd_tls_certificate_expiration_timestamp_seconds{{{receiver}}} 9"),
        "relayd_upstream_tls_handshake_failures{exporter=\"other\"} 0".to_owned(),
        "relayd_upstream_tls_handshake_failures{exporter=\"otlp\"} 7".to_owned(),
        "relayd_upstream_tls_reload_failures{exporter=\"other\"} 1".to_owned(),
        "relayd_upstream_tls_reload_failures{exporter=\"otlp\"} 2".to_owned(),
        "relayd_upstream_tls_certificate_expiration_timestamp_seconds{exporter=\"otlp\"} 10".to_owned(),
    ];
    assert_eq!(rows, expected);
}

/// Scenario: an exporter in two pipelines, one of which finds its address down, beside an address with a learned limit. Guarantee: one
/// row per exporter and address, sums of what is counted, and no limit where none is known.
#[test]
fn addresses_are_added_up_for_each_exporter() {
    let address = |address: &str, is_up, answered, bytes_max| AddressStats {
        address: address.to_owned(),
        is_up,
        answered,
        bytes_max,
        ..AddressStats::default()
    };
    let first = vec![address("10.0.0.1:4317", true, 5, None), address("10.0.0.2:4317", true, 1, Some(9))];
    let second = vec![address("10.0.0.1:4317", false, 2, None)];
    let upstreams = [first, second].map(|addresses| UpstreamStats { addresses, ..UpstreamStats::default() });
    let settings = Metrics::default();
    let mut page = Page { settings: &settings, families: Vec::new() };
    addresses::upstreams(&mut page, &["otlp", "otlp"].map(about), &upstreams);
    let mut text = Vec::new();
    TextEncoder::new().encode(&page.families, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    for row in [
        "relayd_exporter_address_up{address=\"10.0.0.1:4317\",exporter=\"otlp\"} 0",
        "relayd_exporter_address_up{address=\"10.0.0.2:4317\",exporter=\"otlp\"} 1",
        "relayd_exporter_address_answered_calls{address=\"10.0.0.1:4317\",exporter=\"otlp\"} 7",
        "relayd_exporter_address_message_max{address=\"10.0.0.2:4317\",exporter=\"otlp\"} 9",
    ] {
        assert!(text.lines().any(|line| line == row), "no {row} in {text}");
    }
    assert!(!text.contains("message_max{address=\"10.0.0.1"), "{text}");
}

fn spill_page(about: &[About], upstreams: &[UpstreamStats], forecast: &mut Forecast, at: Instant) -> String {
    let settings = Metrics::default();
    let mut page = Page { settings: &settings, families: Vec::new() };
    spill::exporters(&mut page, (about, upstreams), forecast, (90_500, at));
    let mut text = Vec::new();
    TextEncoder::new().encode(&page.families, &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

fn on_disk(records: u64) -> UpstreamStats {
    let mut spill = SpillStats {
        bytes: 4096,
        bytes_max: 1 << 30,
        records,
        items: 10 * records,
        unopened: 1,
        oldest_unix_ms: Some(90_000 - records),
        stored_records: 7,
        stored_items: 70,
        written_bytes: 5000,
        replayed_records: 2,
        replayed_items: 20,
        recovered_items: 30,
        expired_items: 4,
        evicted_items: 5,
        corrupt_records: 6,
        poisoned_segments: 1,
        stores_failed: 3,
        syncs: 4,
        sync_nanos: 2_500_000_000,
        ..SpillStats::default()
    };
    spill.sync_buckets[1] = 2;
    spill.sync_buckets[9] = 1;
    spill.sync_buckets[10] = 1;
    UpstreamStats { spill: Some(spill), ..UpstreamStats::default() }
}

/// Scenario: an exporter in two pipelines with a disk, beside one without. Guarantee: sums for the first, of which each class of a
/// histogram has those below it; no row for the second.
#[test]
fn disks_are_added_up_for_each_exporter() {
    let mut faulted = on_disk(40);
    faulted.spill.as_mut().unwrap().fault = Some("no space left".to_owned());
    let upstreams = [on_disk(60), UpstreamStats::default(), faulted];
    let about = ["otlp", "plain", "otlp"].map(about);
    let text = spill_page(&about, &upstreams, &mut Forecast::default(), clock::now());
    let rows: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let of = "{data_type=\"traces\",exporter=\"otlp\"}";
    let plain = [
        ("bytes", "8192"),
        ("capacity_bytes", "2147483648"),
        ("records", "100"),
        ("items", "1002"),
        ("oldest_age_seconds", "0.56"),
        ("fault", "1"),
        ("stored_records", "14"),
        ("stored_items", "140"),
        ("stored_bytes", "10000"),
        ("replayed_records", "4"),
        ("replayed_items", "40"),
        ("recovered_items", "60"),
        ("expired_items", "8"),
        ("evicted_items", "10"),
        ("corrupt_records", "12"),
        ("poisoned_segments", "2"),
        ("failed_stores", "6"),
    ];
    let expected: Vec<String> =
        plain.iter().map(|(name, value)| format!("relayd_spill_{name}{of} {value}")).collect();
    let (before, histogram) = rows.split_at(expected.len());
    assert_eq!(before, expected);
    let name = "relayd_spill_sync_duration_seconds";
    let bucket = |bound: &str, count: u32| {
        format!("{name}_bucket{{data_type=\"traces\",exporter=\"otlp\",le=\"{bound}\"}} {count}")
    };
    for row in [
        bucket("0.00025", 0),
        bucket("0.0005", 4),
        bucket("0.1", 4),
        bucket("1", 6),
        bucket("+Inf", 8),
        format!("{name}_sum{of} 5"),
        format!("{name}_count{of} 8"),
    ] {
        assert!(histogram.contains(&row.as_str()), "no {row} in {histogram:#?}");
    }
    assert!(!text.contains("drain_seconds"), "{text}");
    assert!(text.contains("# TYPE relayd_spill_sync_duration_seconds histogram\n"), "{text}");
}

/// Guarantee: no bound, no row of it; nothing on disk has no age.
#[test]
fn a_disk_without_a_bound_has_no_capacity() {
    let spill = SpillStats { bytes_max: u64::MAX, ..SpillStats::default() };
    let upstreams = [UpstreamStats { spill: Some(spill), ..UpstreamStats::default() }];
    let text = spill_page(&[about("otlp")], &upstreams, &mut Forecast::default(), clock::now());
    assert!(!text.contains("capacity"), "{text}");
    assert!(
        text.contains("relayd_spill_oldest_age_seconds{data_type=\"traces\",exporter=\"otlp\"} 0\n"),
        "{text}"
    );
    assert!(
        text.contains("relayd_spill_drain_seconds{data_type=\"traces\",exporter=\"otlp\"} 0\n"),
        "{text}"
    );
}

/// Scenario: scrapes every 15 s while a backlog grows, then drains by 10 batches a second. Guarantee: nothing is foretold of one that
/// grows; then the rate is that of the last minute, not of all time.
#[test]
fn the_forecast_goes_by_the_last_minute() {
    let (mut forecast, start) = (Forecast::default(), clock::now());
    let mut left = |seconds: u64, records: u64| {
        let at = start + Duration::from_secs(seconds);
        let text = spill_page(&[about("otlp")], &[on_disk(records)], &mut forecast, at);
        let row = text.lines().find(|line| line.starts_with("relayd_spill_drain_seconds{"));
        row.map(|row| row.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
    };
    for (at, records) in [(0, 5000), (15, 6000), (30, 7000)] {
        assert_eq!(left(at, records), None);
    }
    // 5000 of 75 s ago are beyond the window: it is 7000 of a minute ago that counts.
    for (at, records) in [(45, 6850), (60, 6700), (75, 6550)] {
        left(at, records);
    }
    assert_eq!(left(90, 6400), Some(640.0));
    assert_eq!(left(105, 0), Some(0.0));
    left(106, 5);
    assert_eq!(left(166, 6), None, "it grows again");
}

/// Guarantee: a queue that is bounded in items shows what is in memory, which the bound is for, and not what is on disk.
#[test]
fn what_is_on_disk_is_not_in_the_queue() {
    let about = About { queue: QueueLimit::Items(100), ..about("otlp") };
    let items =
        LedgerCounts { enqueued: 500, recovered: 40, delivered: 20, on_disk: 490, ..LedgerCounts::default() };
    let upstream = UpstreamStats { items, ..UpstreamStats::default() };
    let settings = Metrics::default();
    let mut page = Page { settings: &settings, families: Vec::new() };
    Source { about: vec![about] }.queues(&mut page, &[upstream]);
    let mut text = Vec::new();
    TextEncoder::new().encode(&page.families, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(
        text.contains("otelcol_exporter_queue_size{data_type=\"traces\",exporter=\"otlp\"} 30\n"),
        "{text}"
    );
}
