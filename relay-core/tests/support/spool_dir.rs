//! A directory for what goes to disk, and what the tests of it ask again and again.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use relay_core::stats::Stats;
use testkit::collector::Collector;
use tokio::time::Instant;

/// Empty at first, removed at the end.
#[derive(Debug)]
pub(crate) struct SpoolDir(PathBuf);

impl SpoolDir {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("relay-spool-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Files and directories below it.
    pub(crate) fn entries(&self) -> Vec<PathBuf> {
        let (mut found, mut open) = (Vec::new(), vec![self.0.clone()]);
        while let Some(dir) = open.pop() {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path.clone());
                }
                found.push(path);
            }
        }
        found
    }

    /// Whether there is no file. The directory of an upstream may stay.
    pub(crate) fn is_empty(&self) -> bool {
        !self.entries().iter().any(|path| path.is_file())
    }
}

impl Drop for SpoolDir {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// Waits for what comes soon.
pub(crate) fn wait_until(mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < until, "it has not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Asserts that the collector has so many spans, each once.
pub(crate) fn assert_once(collector: &Collector, spans: usize) {
    let all = collector.spans();
    let ids: HashSet<Vec<u8>> =
        all.iter().map(|span| [&span.span.trace_id[..], &span.span.span_id[..]].concat()).collect();
    assert_eq!((all.len(), ids.len()), (spans, spans));
}

/// Items that final stats say are on disk, where the books of memory are closed.
pub(crate) fn kept(stats: &Stats) -> u64 {
    let upstream = &stats.upstreams[0];
    let items = upstream.items;
    assert_eq!(items.held(), items.on_disk, "{upstream:?}");
    assert_eq!((stats.held_bytes, items.dropped_total()), (0, 0), "{upstream:?}");
    let spill = upstream.spill.as_ref().unwrap();
    assert_eq!(spill.fault, None);
    items.on_disk
}
