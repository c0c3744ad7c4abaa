//! How names end, and that a page is what Prometheus reads.

use relay_core::stats::{AddressStats, TlsStats};

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
