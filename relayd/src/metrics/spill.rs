//! Metrics of what exporters have on disk. Must never have a row for an exporter without a storage.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use relay_core::stats::{SYNC_BOUNDS_MICROS, SpillStats, UpstreamStats};

use super::of_data;
use super::page::{Histogram, Page, Unit};
use crate::limits::{FORECAST_SAMPLES_MAX, FORECAST_WINDOW};
use crate::plan::About;

/// An exporter's data of one signal: its name, and the exporter.
type Key<'a> = (&'a str, &'a str);

/// What was on disk at the last scrapes, to say when it will be gone.
#[derive(Debug, Default)]
pub(crate) struct Forecast {
    /// For each signal and exporter the records at the times of scrapes, the oldest first.
    seen: BTreeMap<(String, String), VecDeque<(Instant, u64)>>,
}

impl Forecast {
    /// Takes in that there are `records` at `now`, and says in how many seconds there will be none: the records left by the rate at which
    /// they have become fewer in the last [`FORECAST_WINDOW`]. `None` while they do not, and while nothing is known.
    fn seconds(&mut self, (signal, exporter): Key<'_>, records: u64, now: Instant) -> Option<f64> {
        let seen = self.seen.entry((signal.to_owned(), exporter.to_owned())).or_default();
        // Of those before the window the last one stays: it is what the window began with.
        let is_past = |at: &Instant| now.saturating_duration_since(*at) >= FORECAST_WINDOW;
        while seen.len() >= FORECAST_SAMPLES_MAX || seen.get(1).is_some_and(|(at, _)| is_past(at)) {
            seen.pop_front();
        }
        let first = seen.front().copied();
        seen.push_back((now, records));
        if records == 0 {
            return Some(0.0);
        }
        let (at, before) = first?;
        let elapsed: Duration = now.saturating_duration_since(at);
        let gone = before.checked_sub(records).filter(|gone| *gone > 0)?;
        #[expect(clippy::cast_precision_loss, reason = "a forecast")]
        let seconds = elapsed.as_secs_f64() * records as f64 / gone as f64;
        Some(seconds)
    }
}

/// The disks of all exporters; `about` and `upstreams` go in step. `unix_ms` and `now` are the time of the scrape.
pub(super) fn exporters(
    page: &mut Page<'_>,
    (about, upstreams): (&[About], &[UpstreamStats]),
    forecast: &mut Forecast,
    (unix_ms, now): (u64, Instant),
) {
    let mut disks: BTreeMap<Key<'_>, SpillStats> = BTreeMap::new();
    for (about, upstream) in about.iter().zip(upstreams) {
        let Some(spill) = &upstream.spill else { continue };
        let key = (upstream.signal.name(), about.exporter.as_str());
        let known = disks.remove(&key);
        // Those of several pipelines each have a bound.
        let bytes_max = known.as_ref().map_or(0, |known| known.bytes_max).saturating_add(spill.bytes_max);
        if let Some(sum) = SpillStats::sum(known, Some(spill)) {
            disks.insert(key, SpillStats { bytes_max, ..sum });
        }
    }
    gauges(page, &disks, unix_ms);
    counters(page, &disks);
    let syncs = disks.iter().map(|(key, disk)| (of_data(*key), sync_times(disk)));
    let help = "How long it took to make sure that what was written is on disk.";
    page.histogram("relayd_spill_sync_duration_seconds", help, Unit::Seconds, syncs);
    let left = disks
        .iter()
        .filter_map(|(key, disk)| Some((of_data(*key), forecast.seconds(*key, disk.records, now)?)));
    let left = left.collect();
    let help = "In how many seconds nothing will be left on disk, as it went in the last minute; no row while it does not become less.";
    page.family("relayd_spill_drain_seconds", help, Unit::Seconds, Some(left), false);
}

fn gauges(page: &mut Page<'_>, disks: &BTreeMap<Key<'_>, SpillStats>, unix_ms: u64) {
    let rows = |value: fn(&SpillStats) -> Option<u64>| {
        let rows = disks.iter().filter_map(|(key, disk)| Some((of_data(*key), value(disk)?)));
        rows.collect::<Vec<_>>()
    };
    let help = "Bytes of the files on disk.";
    page.gauge("relayd_spill_bytes", help, Unit::Bytes, rows(|disk| Some(disk.bytes)));
    let help = "The bound on them; no row where there is none.";
    let bound = rows(|disk| (disk.bytes_max != u64::MAX).then_some(disk.bytes_max));
    page.gauge("relayd_spill_capacity_bytes", help, Unit::Bytes, bound);
    let help = "Batches on disk that are not delivered.";
    page.gauge("relayd_spill_records", help, Unit::None, rows(|disk| Some(disk.records)));
    let help = "Items in them (of unopened requests, requests).";
    page.gauge("relayd_spill_items", help, Unit::None, rows(|disk| Some(disk.items + disk.unopened)));
    let age = disks.iter().map(|(key, disk)| {
        let age = disk.oldest_unix_ms.map_or(0, |oldest| unix_ms.saturating_sub(oldest));
        (of_data(*key), Duration::from_millis(age).as_secs_f64())
    });
    let help = "How long ago the oldest of them came; 0 where there is none.";
    page.family("relayd_spill_oldest_age_seconds", help, Unit::Seconds, Some(age.collect()), false);
    let help = "1 while the disk takes nothing; the log says why.";
    page.gauge("relayd_spill_fault", help, Unit::None, rows(|disk| Some(u64::from(disk.fault.is_some()))));
}

fn counters(page: &mut Page<'_>, disks: &BTreeMap<Key<'_>, SpillStats>) {
    type Value = fn(&SpillStats) -> u64;
    let counters: [(&str, &str, Value); 11] = [
        ("stored_records", "Batches written.", |disk| disk.stored_records),
        ("stored_items", "Items in them (of unopened requests, requests).", |disk| disk.stored_items),
        ("stored_bytes", "Bytes written, with all that stands beside batches.", |disk| disk.written_bytes),
        ("replayed_records", "Batches read back to be sent.", |disk| disk.replayed_records),
        ("replayed_items", "Items in them.", |disk| disk.replayed_items),
        ("recovered_items", "Items that were found on disk, left by a process before this one.", |disk| {
            disk.recovered_items
        }),
        ("expired_items", "Items dropped because they were on disk for longer than max_age.", |disk| {
            disk.expired_items
        }),
        ("evicted_items", "Items dropped to make room (when_full: drop_oldest).", |disk| disk.evicted_items),
        ("corrupt_records", "Batches that could not be read back.", |disk| disk.corrupt_records),
        ("poisoned_segments", "Files given up for writing because a write or a sync had failed.", |disk| {
            disk.poisoned_segments
        }),
        ("failed_stores", "Batches that could not be written, and stayed in memory.", |disk| {
            disk.stores_failed
        }),
    ];
    for (name, help, value) in counters {
        let rows = disks.iter().map(|(key, disk)| (of_data(*key), value(disk)));
        page.counter(&format!("relayd_spill_{name}"), help, rows);
    }
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus knows only doubles")]
fn sync_times(disk: &SpillStats) -> Histogram {
    let bounds = SYNC_BOUNDS_MICROS.iter().map(|micros| *micros as f64 / 1e6);
    let mut count = 0;
    let buckets = bounds.zip(disk.sync_buckets).map(|(bound, more)| {
        count += more;
        (bound, count)
    });
    Histogram { buckets: buckets.collect(), count: disk.syncs, sum: disk.sync_nanos as f64 / 1e9 }
}
