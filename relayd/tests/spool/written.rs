//! Directories for the tests, written by the log itself. Each lives as long as its [`Storage`].

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use relay_core::batch::{Encoding, Origin, Part, Rope};
use relay_core::otlp::Signal;
use relay_core::spill::{Log, LogConfig, NewRecord, OsDisk, log_dir_name, owner_name};

/// When all of it is written, in milliseconds since 1970: 2023-11-14T22:13:20.123Z.
pub(crate) const NOW: u64 = 1_700_000_000_123;

/// A directory of file_storage.
pub(crate) struct Storage(PathBuf);

impl Storage {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("spool-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(fs::canonicalize(path).unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The log of an exporter, by the process of this number.
    pub(crate) fn log(&self, exporter: &str, signal: Signal, process: u32) -> Log<OsDisk> {
        let dir = self.0.join(log_dir_name(exporter, signal));
        let owner = owner_name(NOW - 1000 + u64::from(process), process);
        Log::new(OsDisk::default(), dir, owner, LogConfig { free_bytes_min: 0, ..LogConfig::default() })
    }

    /// All segments, by path.
    pub(crate) fn segments(&self) -> Vec<PathBuf> {
        let (mut found, mut pending) = (Vec::new(), vec![self.0.clone()]);
        while let Some(dir) = pending.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    pending.push(path);
                } else if path.extension().is_some_and(|extension| extension == "seg") {
                    found.push(path);
                }
            }
        }
        found.sort();
        found
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// A batch of requests with so many items each.
pub(crate) fn record(signal: Signal, requests: &[(Bytes, u64)]) -> NewRecord {
    let parts = requests.iter().map(|(bytes, items)| Part {
        bytes: bytes.len(),
        items: *items,
        origin: Origin::default(),
    });
    NewRecord {
        signal,
        encoding: None,
        items: requests.iter().map(|(_, items)| items).sum(),
        unix_ms: NOW - 500,
        parts: parts.collect(),
        payload: Rope::new(requests.iter().map(|(bytes, _)| bytes.clone()).collect()),
    }
}

/// A batch of requests that nobody has opened.
pub(crate) fn unopened(signal: Signal, encoding: Encoding, requests: &[Bytes]) -> NewRecord {
    let requests: Vec<_> = requests.iter().map(|bytes| (bytes.clone(), 1)).collect();
    NewRecord { encoding: Some(encoding), ..record(signal, &requests) }
}
